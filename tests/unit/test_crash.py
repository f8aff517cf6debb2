"""Crash points: who dies where, how often, and that nobody does unless told to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leyden import crash

PASSES_THREE = """
import os
import resource
from leyden import crash
crash.arm("worker")
if os.environ.get(crash.ENVIRONMENT, "").startswith("@"):
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))  # a point needs nothing that the process has no more of
for n in range(3):
    crash.point("encoded")
    crash.soon("sent")
    print(n, flush=True)
"""


def passes_three(told: str | None) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != "LEYDEN_CRASH_AT"}
    if told is not None:
        environment["LEYDEN_CRASH_AT"] = told
    return subprocess.run(
        [sys.executable, "-c", PASSES_THREE], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize(
    ("told", "passed"),
    [
        (None, 3),
        ("", 3),
        ("encoded", 0),
        ("worker/encoded:3", 2),
        ("sender/encoded", 3),
        ("encoded:4", 3),
        ("sender/encoded,claimed:1,encoded:2", 1),
    ],
)
def test_only_the_named_process_dies_at_the_named_point_and_count(told: str | None, passed: int) -> None:
    child = passes_three(told)
    assert child.stdout.split() == [str(n) for n in range(passed)]
    assert child.returncode == (0 if passed == 3 else -signal.SIGKILL)


def test_what_is_asked_for_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "asked").write_text("worker/encoded:3")
    assert passes_three(f"@{tmp_path / 'asked'}").stdout.split() == ["0", "1"]


def test_with_a_mark_a_process_dies_only_once(tmp_path: Path) -> None:
    mark = tmp_path / "died"
    told = f"worker/encoded:2:{mark}"
    assert passes_three(told).returncode == -signal.SIGKILL
    assert mark.exists()
    assert passes_three(told).returncode == 0


def test_a_point_that_does_not_exist_is_an_error() -> None:
    child = passes_three("worker/encodde")
    assert child.returncode == 1
    assert "no point 'encodde'" in child.stderr


@pytest.mark.parametrize(
    ("told", "places"),
    [
        ("", ()),
        ("encoded:4,worker/claimed", ()),
        ("worker/encoded:2:/a/died,sender/sent:1:/b/died", ("/a", "/b")),
        ("@/c/crash-at", ("/c",)),
    ],
)
def test_where_a_process_that_is_to_die_reads_and_writes(
    told: str, places: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(crash.ENVIRONMENT, told)
    assert crash.places() == places
