"""The supervisor as a process: its signals, and a machine that refuses it one thing or another."""

import errno
import os
import queue
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from leyden import supervisor
from leyden.config.load import load
from leyden.heartbeat import ROW_BYTES, Heartbeat
from leyden.spool.entry import Entry, ReceiptClock, claim_name, key
from leyden.spool.lock import SpoolLock
from leyden.spool.moves import make_folder
from leyden.spool.stage import Stage
from leyden.systemd import Systemd
from support.notified import Notified
from support.peers import Pacs
from support.service import Service, free_port, make_late, node, wait_for

# `leyden run` with some of its parts changed: what is said below goes in at the mark.
CODE = """
import errno, os, signal, sys
from functools import partial
from pathlib import Path
from leyden import supervisor
from leyden.config.load import load
from leyden.spool import moves, recover
from leyden.spool.stage import Stage
folder = Path(sys.argv[1])
supervisor.RESTART_DELAY_S, supervisor.RESTART_DELAY_MAX_S = 0.05, 0.5
{change}
again = partial(load, folder, {{}}, os.environ)
sys.exit(supervisor.run(*again(), again))
"""

FULL_WHILE_SAID = """
supervisor.RETRY_LEFT_S = 0.1
real = os.mkdir
def mkdir(path, *more):
    if "/prepared/PACS/" in os.fspath(path) and (folder / "full").exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    real(path, *more)
os.mkdir = mkdir
"""

READ_ONLY_WHILE_SAID = """
real = recover.reclaim
def reclaim(*given, **named):
    if (folder / "broken").exists():
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    return real(*given, **named)
recover.reclaim = reclaim
"""

STOP_IN = """
real = {0}
def stop(*given, **named):
    os.kill(os.getpid(), signal.SIGTERM)
    return real(*given, **named)
{0} = stop
"""


class Changed(Service):
    """A service whose supervisor has `change` run in it first."""

    def start_changed(self, change: str, **environment: str) -> "Changed":
        self.process = subprocess.Popen(
            [sys.executable, "-c", CODE.format(change=change), str(self.folder)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self._said = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, self._said), daemon=True).start()
        return self

    def ended(self) -> tuple[int, str]:
        """The exit code, and all that was said."""
        assert self.process is not None
        code = self.process.wait(20)
        while self._said.get(timeout=20) is not None:
            pass
        return code, "".join(self.lines)


@pytest.fixture
def changed(tmp_path: Path) -> Iterator[Callable[..., Changed]]:
    made: list[Changed] = []

    def make(nodes: str, **config: object) -> Changed:
        made.append(Changed(tmp_path / "leyden", nodes, workers=1, **{"arenaMib": 16, **config}))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.mark.parametrize(
    "where", ["supervisor.SpoolLock", "supervisor.Spool.prepare", "recover.recover", "supervisor._arena"]
)
def test_a_stop_at_any_moment_of_the_start_is_heard(changed: Callable[..., Changed], where: str) -> None:
    code, said = changed(node("PACS", 1)).start_changed(STOP_IN.format(where)).ended()
    assert code == 0, said
    assert "stopped; what was not delivered waits in the spool" in said
    assert " ready: " not in said


@pytest.mark.parametrize("what", ["cache/new", "cache", "log", "cache/prepared/PACS", "cache/lock"])
def test_what_stands_in_the_way_is_named(changed: Callable[..., Changed], what: str) -> None:
    leyden = changed(node("PACS", 1))
    path = leyden.folder / what
    make_folder(str(path.parent))
    path.mkdir() if what == "cache/lock" else path.touch()
    code, said = leyden.start_changed("").ended()
    assert code == 2
    assert "Traceback" not in said
    assert f"not started: [Errno {errno.EISDIR if what == 'cache/lock' else errno.EEXIST}" in said or (
        f"not started: [Errno {errno.ENOTDIR}" in said
    )
    assert f"{leyden.folder}/{what.split('/')[0]}" in said


def test_a_service_on_a_full_disk_starts_and_brings_back_later_what_it_could_not(
    changed: Callable[..., Changed], pacs: Callable[..., Pacs]
) -> None:
    images = pacs("PACS")
    leyden = changed(node("PACS", images.port))
    entry = Entry(ReceiptClock(0).next(time.time_ns() // 1000), key("1.2"), key("study"), key("CT1"))
    claim = leyden.spool / "active" / "worker-0" / claim_name(Stage.PREPARED, "PACS", "10", entry)
    make_folder(str(claim.parent))
    claim.write_bytes(b"not DICOM: it will stand in failed/")
    (leyden.folder / "full").touch()
    leyden.start_changed(FULL_WHILE_SAID)
    leyden.wait_line(" ready: ")
    leyden.wait_line("1 claims stay in active/, to be tried again later: [Errno 28]")
    assert claim.exists()
    (leyden.folder / "full").unlink()
    wait_for(lambda: any((leyden.spool / "failed").glob("*.dcm")))
    assert not claim.exists()
    assert leyden.stop() == 0


def test_a_supervisor_outlives_a_spool_that_is_read_only(changed: Callable[..., Changed]) -> None:
    leyden = changed(node("PACS", 1)).start_changed(READ_ONLY_WHILE_SAID)
    leyden.wait_line(" ready: ")
    (leyden.folder / "broken").touch()
    leyden.role("sender-0").kill()
    leyden.wait_line("the claims of sender-0 can't be given back yet: [Errno 30]")
    leyden.wait_line("sender-0 can't be started: [Errno 30]")
    (leyden.folder / "broken").unlink()
    wait_for(lambda: any("sender" in process.cmdline() for process in leyden.processes()[1:]))
    assert leyden.stop() == 0


def test_a_supervisor_outlives_a_lack_of_descriptors(changed: Callable[..., Changed]) -> None:
    leyden = changed(node("PACS", 1)).start_changed("")
    leyden.wait_line(" ready: ")
    assert leyden.process is not None
    limits = resource.prlimit(leyden.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(leyden.process.pid, resource.RLIMIT_NOFILE, (8, limits[1]))
    leyden.role("worker-0").kill()
    leyden.wait_line("worker-0 can't be started: [Errno 24]")
    resource.prlimit(leyden.process.pid, resource.RLIMIT_NOFILE, limits)
    wait_for(lambda: any("worker" in process.cmdline() for process in leyden.processes()[1:]))
    assert leyden.stop() == 0


def test_there_is_a_heartbeat_for_every_role_that_there_may_be() -> None:
    rows = 600
    fd = os.memfd_create("heartbeats")
    try:
        os.ftruncate(fd, rows * ROW_BYTES)
        first, last = Heartbeat(fd, 0), Heartbeat(fd, rows - 1)
        last.alive(1.0)
        assert Heartbeat(fd, rows - 1).deadline_s() == last.deadline_s() > 0.0
        assert first.deadline_s() == 0.0
    finally:
        os.close(fd)


VOUCHES = """
import sys
from leyden.heartbeat import Heartbeat
heartbeat = Heartbeat(int(sys.argv[1]), 0)
heartbeat.alive(60.0)
print("alive", flush=True)
while True:
    heartbeat.alive(60.0)
"""


def test_a_row_that_is_being_written_never_looks_like_another_time() -> None:
    fd = os.memfd_create("heartbeats")
    os.ftruncate(fd, ROW_BYTES)
    command = [sys.executable, "-c", VOUCHES, str(fd)]
    with subprocess.Popen(command, pass_fds=[fd], stdout=subprocess.PIPE) as role:
        try:
            assert role.stdout is not None
            assert role.stdout.readline() == b"alive\n"
            heartbeat, begin_s = Heartbeat(fd, 0), time.monotonic()
            seen = [heartbeat.deadline_s() for _ in range(300_000)]
            assert begin_s < min(seen)
            assert max(seen) < time.monotonic() + 60.0
        finally:
            role.kill()
            os.close(fd)


def test_the_supervisor_makes_room_for_the_heartbeats_of_all_roles(changed: Callable[..., Changed]) -> None:
    leyden = changed(node("PACS", 1))
    settings, _ = load(leyden.folder, {"workers": "512"}, {}, log_dir=None)
    lock = SpoolLock(settings.spool_root)
    parent = supervisor.Supervisor(settings, lock, {}, lambda: (settings, ()), Systemd({}))
    try:
        for child in parent.children:
            child.heartbeat.alive(1.0)
        assert len([child for child in parent.children if child.heartbeat.deadline_s()]) == 515
    finally:
        for fd in (*parent.descriptors.values(), lock.fd):
            os.close(fd)


def test_what_a_node_refused_that_is_gone_stays_where_it_is(changed: Callable[..., Changed]) -> None:
    leyden = changed(node("PACS", 1), cycleRejectedFilesOnStartup="true")
    name = Entry(ReceiptClock(0).next(time.time_ns() // 1000), key("1.2"), key("study"), key("CT1")).name
    for title in ("PACS", "GONE"):
        make_folder(str(leyden.spool / "rejected" / title))
        (leyden.spool / "rejected" / title / name).touch()
        (leyden.spool / "rejected" / title / f"{name}.json").write_text('{"reason": "no"}')
    code, said = leyden.start_changed(STOP_IN.format("recover.recover")).ended()
    assert code == 0, said
    assert [path.parent.name for path in (leyden.spool / "rejected").rglob("*.json")] == ["GONE"]
    assert not any((leyden.spool / "prepared" / "GONE").rglob("*.dcm"))
    assert any((leyden.spool / "prepared" / "PACS").rglob("*.dcm"))


CAN_NOT_KILL = """
import subprocess
subprocess.Popen.kill = lambda process: None
"""


def test_systemds_watchdog_is_not_fed_while_a_role_hangs_that_can_not_be_killed(
    changed: Callable[..., Changed], tmp_path: Path
) -> None:
    """WATCHDOG=1 says that the roles answer, so one that hangs in the kernel makes systemd end the service."""
    with closing(Notified(str(tmp_path / "notify"))) as systemd:
        environment = {"NOTIFY_SOCKET": systemd.address, "WATCHDOG_USEC": "200000"}
        leyden = changed(node("PACS", 1)).start_changed(CAN_NOT_KILL, **environment)
        systemd.until("WATCHDOG")
        worker = leyden.role("worker-0")
        worker.suspend()
        make_late(worker)
        systemd.until("STATUS", "stuck: worker-0")
        assert systemd.next() == {"STATUS": "stuck: worker-0"}


SIGCHLD_BLOCKED = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])"


def test_a_role_that_dies_is_started_again_though_nobody_hears_of_its_death(changed: Callable[..., Changed]) -> None:
    """A launcher may hand down a blocked SIGCHLD: the supervisor looks after its roles in every round all the same."""
    leyden = changed(node("PACS", 1)).start_changed(SIGCHLD_BLOCKED)
    leyden.wait_line(" ready: ")
    leyden.role("worker-0").kill()
    leyden.wait_line("worker-0 killed by SIGKILL")
    wait_for(
        lambda: any("worker" in process.cmdline() for process in leyden.processes()), why="the worker to run again"
    )
    assert leyden.stop() == 0


def test_a_spool_that_others_can_read_is_refused_with_the_remedy(service: Callable[..., Service]) -> None:
    """The service starts on no spool that others may come into, and what it makes itself nobody else can read."""
    leyden, before = service(node("PACS", free_port())), os.umask(0)
    try:
        leyden.start()
    finally:
        os.umask(before)
    made = [leyden.spool, *leyden.spool.rglob("*"), leyden.folder / "log", leyden.folder / "log" / "leyden.log"]
    assert [path for path in made if path.stat().st_mode & 0o077] == []
    leyden.stop()
    leyden.spool.chmod(0o750)
    done = leyden.leyden("run", "--as-root")
    said = f"others than its owner may come into the spool {leyden.spool} (mode 0750)"
    assert done.returncode == 2
    assert f"not started: {said}" in done.stderr
    checked = leyden.leyden("check")
    assert checked.returncode == 2
    assert said in checked.stderr
