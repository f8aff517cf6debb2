"""Whether a service runs on a spool, and how it is stopped: by what holds the lock."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leyden.operate.reading import Reading, Result, write
from leyden.operate.service import Reloading, Stopped, reload, status, stop

HOLD = """
import signal, sys
from pathlib import Path
from leyden.spool.lock import SpoolLock
signal.signal(signal.SIGTERM, {on_term})
signal.signal(signal.SIGHUP, signal.SIG_IGN)
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


def said_by(pid: int, begun_ns: int) -> Reading:
    return Reading(pid, 2, 0.0, ("A",), Result.CHANGED, begun_ns, 0.0)


def test_without_a_service_nothing_is_reloaded(tmp_path: Path) -> None:
    assert reload(tmp_path, 1.0) == Reloading(None)


def test_who_asks_for_a_reload_is_told_of_a_reading_that_began_after_it_had_asked(
    tmp_path: Path, hold: Callable[[str], int]
) -> None:
    pid = hold("signal.SIG_DFL")
    (tmp_path / "state").mkdir()
    write(tmp_path, said_by(pid, time.monotonic_ns()))
    assert reload(tmp_path, 0.3) == Reloading(pid)  # it began before
    found: list[Reloading] = []
    asking = threading.Thread(target=lambda: found.append(reload(tmp_path, 30.0)))
    asking.start()
    while not (tmp_path / "bell" / "reload").exists() or asking.is_alive():
        write(tmp_path, said_by(pid + 1, time.monotonic_ns()))  # of another service
        write(tmp_path, expected := said_by(pid, time.monotonic_ns()))
        asking.join(0.1)
    assert found[0].reading is not None
    assert found[0].reading.begun_ns <= expected.begun_ns
    assert found[0].reading.pid == pid


def test_who_waits_for_a_service_that_ends_does_not_wait_to_the_end(tmp_path: Path, hold: Callable[[str], int]) -> None:
    pid = hold("signal.SIG_DFL")
    found: list[Reloading] = []
    asking = threading.Thread(target=lambda: found.append(reload(tmp_path, 600.0)))
    asking.start()
    while not (tmp_path / "bell" / "reload").exists():
        asking.join(0.01)
    os.kill(pid, signal.SIGKILL)
    asking.join(60.0)
    assert found == [Reloading(pid)]


def test_what_an_earlier_service_said_is_not_taken_for_this_ones(tmp_path: Path, hold: Callable[[str], int]) -> None:
    pid = hold("signal.SIG_DFL")
    (tmp_path / "state").mkdir()
    write(tmp_path, said_by(pid + 1, 1))
    assert status(tmp_path).reading is None
    write(tmp_path, expected := said_by(pid, 1))
    assert status(tmp_path).reading == expected
