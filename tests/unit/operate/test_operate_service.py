"""Whether a service runs on a spool, and how it is stopped: by what holds the lock."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leyden.operate.service import Stopped, status, stop

HOLD = """
import signal, sys
from pathlib import Path
from leyden.spool.lock import SpoolLock
signal.signal(signal.SIGTERM, {on_term})
lock = SpoolLock(Path(sys.argv[1]))
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Start a process that holds the lock of the spool; gives its pid."""
    made: list[subprocess.Popen[str]] = []

    def start(on_term: str) -> int:
        code = HOLD.format(on_term=on_term)
        made.append(
            subprocess.Popen([sys.executable, "-c", code, os.fspath(tmp_path)], stdout=subprocess.PIPE, text=True)
        )
        assert made[0].stdout is not None
        assert made[0].stdout.readline() == "held\n"
        return made[0].pid

    yield start
    for process in made:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_a_spool_without_a_service(tmp_path: Path) -> None:
    place = tmp_path / "prepared" / "PACS" / "10" / "12345678"
    place.mkdir(parents=True)
    (place / "by-hand.dcm").write_bytes(b"dataset")
    found = status(tmp_path)
    assert (found.pid, [(c.stage, c.destination, c.files) for c in found.counts]) == (None, [("prepared", "PACS", 1)])
    assert stop(tmp_path, 1.0) == Stopped(None, False)


def test_a_service_is_known_and_stopped(tmp_path: Path, hold: Callable[[str], int]) -> None:
    pid = hold("signal.SIG_DFL")
    assert status(tmp_path).pid == pid
    assert stop(tmp_path, 30.0) == Stopped(pid, True)
    assert status(tmp_path).pid is None


def test_a_service_that_goes_on_is_told_apart(tmp_path: Path, hold: Callable[[str], int]) -> None:
    pid = hold("signal.SIG_IGN")
    assert stop(tmp_path, 0.2) == Stopped(pid, False)
    assert status(tmp_path).pid == pid
