"""The log never stops what it tells of."""

import errno
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leyden import log
from leyden.journal.events import Retried
from leyden.journal.lines import tell

logger = logging.getLogger("leyden.test")


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(log, "FOLLOW_S", 0.0)
    root, umask = logging.getLogger(), os.umask(0o077)
    ours = logging.getLogger("leyden").level
    monkeypatch.setattr(log, "structured", False)
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()  # pytest's own, which set_up() would close
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("leyden").setLevel(ours)
    os.umask(umask)


def lines(path: Path) -> list[str]:
    return [line.split("me: ")[1] for line in path.read_text().splitlines()]


def test_a_record_is_one_line_in_both_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("me", tmp_path / "log")
    logger.info("forged\n2026-01-01 \x1b[31m \udcff")
    (line,) = (tmp_path / "log" / "leyden.log").read_text().splitlines()
    assert line.endswith("INFO    me: forged2026-01-01 \\x1b[31m \\udcff")
    assert "me: forged2026" in capsys.readouterr().err
    assert (tmp_path / "log" / "leyden.log").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o700


def test_a_file_that_was_moved_is_followed(tmp_path: Path) -> None:
    log.set_up("me", tmp_path / "log")
    logger.info("one")
    (tmp_path / "log" / "leyden.log").rename(tmp_path / "moved")
    logger.info("two")
    assert lines(tmp_path / "moved") == ["one"]
    assert lines(tmp_path / "log" / "leyden.log") == ["two"]


def test_a_folder_that_was_moved_is_made_again(tmp_path: Path) -> None:
    log.set_up("me", tmp_path / "log")
    (tmp_path / "log").rename(tmp_path / "moved")
    logger.info("two")
    assert lines(tmp_path / "log" / "leyden.log") == ["two"]


def test_a_place_that_cannot_be_written_raises_nothing_and_is_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.set_up("me", tmp_path / "log")
    (tmp_path / "log").rename(tmp_path / "moved")
    (tmp_path / "log").touch()
    logger.info("two")
    logger.info("three")
    assert lines(tmp_path / "moved" / "leyden.log") == ["two", "three"]  # what is open still takes it
    said = capsys.readouterr().err
    assert said.count("can't be written, see standard error") == 1
    assert "me: three" in said
    (tmp_path / "log").unlink()
    logger.info("four")
    assert lines(tmp_path / "log" / "leyden.log") == ["four"]


def test_a_full_disk_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log.set_up("me", tmp_path)

    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        logger.info("one")
        logger.info("two")
    logger.info("three")
    assert lines(tmp_path / "leyden.log") == ["three"]
    said = capsys.readouterr().err
    assert said.count("No space left on device") == 1
    assert "me: one" in said


def test_a_standard_error_that_is_closed_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log.set_up("me", tmp_path)
    for stream in (None, open(os.devnull)):  # noqa: SIM115
        if stream is not None:
            stream.close()
        monkeypatch.setattr("sys.stderr", stream)
        logger.info("heard")
    assert lines(tmp_path / "leyden.log") == ["heard", "heard"]


def test_where_it_cannot_begin_it_says_so_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").touch()
    with pytest.raises(OSError, match="log"):
        log.set_up("me", tmp_path / "log")
    logger.info("heard")
    assert "me: heard" in capsys.readouterr().err


def test_the_file_is_looked_at_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "FOLLOW_S", 1000.0)
    log.set_up("me", tmp_path)
    logger.info("one")
    looked: list[Path] = []
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda path, **more: (looked.append(path), real(path, **more))[1])
    logger.info("two")
    assert not looked
    assert lines(tmp_path / "leyden.log") == ["one", "two"]


def test_rotation_keeps_some_and_never_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log, "ROTATE_BYTES", 1)
    log.set_up("me", tmp_path)
    for n in range(8):
        logger.info("%d", n)
        log.rotate(tmp_path)
    assert [lines(tmp_path / f"leyden.log.{n}") for n in range(1, 6)] == [["7"], ["6"], ["5"], ["4"], ["3"]]
    assert len(list(tmp_path.iterdir())) == 5
    logger.info("on")

    def read_only(old: Path, new: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", read_only)
    log.rotate(tmp_path)
    log.rotate(tmp_path)
    assert capsys.readouterr().err.count("is not rotated") == 1
    log.rotate(tmp_path / "gone")


JSON = log.LogSettings("json", "debug")


def test_in_the_form_json_a_record_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("sender-0", tmp_path, JSON)
    logger.debug("forged\n\x1b[31m \x9b \u2028 ü")
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("a fault")
    shown, fault = (tmp_path / "leyden.log").read_text().split("\n")[:-1]
    assert "\x1b" not in shown
    assert "\x9b" not in shown
    assert "\u2028" not in shown
    said = json.loads(shown)
    assert said.pop("at").endswith("Z")
    assert said == {"level": "debug", "role": "sender-0", "message": "forged\n\x1b[31m \x9b \u2028 ü"}
    assert json.loads(fault)["traceback"].startswith("Traceback")
    assert json.loads(capsys.readouterr().err.splitlines()[0])["role"] == "sender-0"


def test_an_event_has_its_fields_in_the_form_json(tmp_path: Path) -> None:
    log.set_up("sender-0", tmp_path, JSON)
    event = Retried("1", at_s=2.0, destination="P\udcff", stage="prepared")
    tell(event)
    (line,) = (tmp_path / "leyden.log").read_text().splitlines()
    said = json.loads(line)
    assert (said["event"], said["receipt"], said["stage"]) == ("retried", "1", "prepared")
    assert said["message"] == "1 for P\udcff: back in prepared/"


def test_what_is_below_the_level_is_not_logged_and_libraries_never_tell_more(tmp_path: Path) -> None:
    log.set_up("me", tmp_path, log.LogSettings(level="warning"))
    logger.info("one")
    log.adopt(log.LogSettings(level="debug"))
    logger.debug("two")
    logging.getLogger("asyncio").debug("three")
    log.adopt(log.AS_EVER)
    logger.debug("four")
    logger.info("five")
    assert lines(tmp_path / "leyden.log") == ["two", "five"]


def test_a_terminal_shows_colours_unless_NO_COLOR_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for no_color, seen in (("", "\x1b[31mERROR\x1b[0m"), ("1", " ERROR ")):
        monkeypatch.setenv("NO_COLOR", no_color)
        terminal, ours = os.openpty()
        with open(ours, "w", buffering=1) as stream:
            monkeypatch.setattr("sys.stderr", stream)
            log.set_up("me", tmp_path)
            logger.error("broken")
            assert seen in os.read(terminal, 1000).decode()
        os.close(terminal)
    assert "\x1b" not in (tmp_path / "leyden.log").read_text()
    text = "2026-11-29 12:00:00.000 WARNING me: ERROR one\n2026-11-29 12:00:00.001 INFO    me: two\n"
    assert log.coloured(text) == text.replace("WARNING", "\x1b[33mWARNING\x1b[0m")
