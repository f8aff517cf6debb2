"""Only one service works on a spool, whichever process has died."""

import os
import subprocess
import sys
import threading

import pytest

from leyden.spool.lock import SpoolInUse, SpoolLock, holder

# Takes the lock, hands it to an orphan that lives until its standard input ends, and dies or stays.
CHILD = """
import os, subprocess, sys
from pathlib import Path
from leyden.spool.lock import SpoolLock
lock = SpoolLock(Path(sys.argv[1]))
if sys.argv[2] == "orphan":
    subprocess.Popen(["cat"], pass_fds=[lock.fd], stdout=subprocess.DEVNULL)
    print(os.getpid(), flush=True)
    os._exit(0)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def child(tmp_path):
    started = []

    def start(what):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield start
    for process in started:
        with process:  # closes its standard input, and waits
            pass


def test_a_second_service_is_refused_at_once(tmp_path, child):
    _, pid = child("stay")
    with pytest.raises(SpoolInUse, match=f"process id {pid} works on this spool .*{tmp_path}/lock"):
        SpoolLock(tmp_path)
    assert holder(tmp_path) == pid
    assert (tmp_path / "lock").read_text() == f"{pid}\n"


def test_a_killed_service_leaves_nothing_behind(tmp_path, child):
    process, _ = child("stay")
    process.kill()
    lock = SpoolLock(tmp_path)
    assert holder(tmp_path) == os.getpid()
    lock.release()
    assert holder(tmp_path) is None


def test_an_orphan_is_waited_for(tmp_path, child):
    process, pid = child("orphan")
    process.wait()
    with pytest.raises(SpoolInUse, match=f"process {pid} is gone, but one that it started still holds"):
        SpoolLock(tmp_path, wait_s=0.1)
    threading.Timer(0.2, process.stdin.close).start()
    SpoolLock(tmp_path, wait_s=30.0).release()


def test_the_lock_is_taken_back_from_a_child_that_does_not_end(tmp_path):
    lock = SpoolLock(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=(lock.fd,)):
        lock.take_back()
        SpoolLock(tmp_path, wait_s=0.0).release()


@pytest.mark.parametrize("recorded", ["", "0\n", "1\n", "-1\n", "-4711\n", "99999999999999999999\n", "x", "dead"])
def test_no_process_is_named_that_must_not_be_signalled(tmp_path, child, recorded):
    """The lock is held, and its file holds no pid, that of a process group, of init, or of a process that is gone."""
    _, pid = child("stay")
    if recorded == "dead":
        gone = subprocess.Popen(["true"])
        gone.wait()
        recorded = f"{gone.pid}\n"
    (tmp_path / "lock").write_text(recorded)
    assert holder(tmp_path) is None
    (tmp_path / "lock").write_text(f"{pid}\n")
    assert holder(tmp_path) == pid


def test_the_pid_is_written_over_a_longer_one(tmp_path):
    """It is overwritten; if the file were emptied first, a full disk might have no room for it."""
    (tmp_path / "lock").write_text("123456789012345\n")
    lock = SpoolLock(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_spool_that_does_not_exist_has_no_holder(tmp_path):
    assert holder(tmp_path) is None
    SpoolLock(tmp_path / "made" / "for it").release()
    assert holder(tmp_path / "made" / "for it") is None
