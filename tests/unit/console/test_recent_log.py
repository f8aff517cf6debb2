"""The last lines of the log, as text or JSON."""

from pathlib import Path

from leyden.console.calls import system
from leyden.console.calls.system import recent

TEXT = """\
2026-11-29 13:00:00.001 INFO    leyden: ready: port 104
2026-11-29 13:00:01.002 WARNING sender-0: PACS: it does not answer: a: b
2026-11-29 13:00:02.003 ERROR   planner-0: a fault of ours
    Traceback (most recent call last):
"""
JSON = '{"at":"2026-11-29T13:00:03.004Z","level":"error","role":"receiver-0","message":"full"}\n{"at": cut off\n'


def test_both_forms_are_read(tmp_path: Path) -> None:
    path = tmp_path / "leyden.log"
    path.write_text(TEXT + JSON)
    found = recent(path, 10, "DEBUG")
    assert [(line.level, line.logger, line.message) for line in found] == [
        ("INFO", "leyden", "ready: port 104"),
        ("WARNING", "sender-0", "PACS: it does not answer: a: b"),
        ("ERROR", "planner-0", "a fault of ours"),
        ("ERROR", "receiver-0", "full"),
    ]
    assert found[-1].timestamp == "2026-11-29T13:00:03.004Z"
    assert [line.logger for line in recent(path, 2, "WARNING")] == ["planner-0", "receiver-0"]


def test_of_a_long_log_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "leyden.log"
    line = TEXT.splitlines(keepends=True)[0]
    path.write_text(line * (2 * system.TAIL_BYTES // len(line)))
    found = recent(path, 10**9, "DEBUG")
    assert system.TAIL_BYTES // len(line) - 1 <= len(found) <= system.TAIL_BYTES // len(line)


def test_without_a_log_there_are_no_lines(tmp_path: Path) -> None:
    assert recent(tmp_path / "leyden.log", 10, "DEBUG") == ()
