"""Rows: what somebody or a bad disk has put into the spool, and limits of the machine."""

import os
import random
import resource
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from chaos.objects import make
from chaos.oracle import Limits
from chaos.rig import Rig
from chaos.row import Row
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from support.service import wait_for
from support.wire import CT

OTHER = 65534  # a user who is not the service's
PLACES = ("new", "prepared/COMPRESSED", "transform/COMPRESSED", "prepared/ASIS", "asking/COMPRESSED", "deferred/ASIS")
CONNECTIONS = 300
CGROUPS = map(Path, ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"))  # cgroups(7): version 1, and 2
CGROUP = next((path for path in CGROUPS if (path / "cgroup.procs").exists()), Path("/nowhere"))


def whole(rig: Rig) -> bytes:
    """An object that nobody sends, as a file."""
    stranger = make(rig.stranger())
    return encode_head(FileMeta(CT, stranger.uid, EXPLICIT_LE, "CT01", "CT01", "ASIS")) + stranger.data


def flipped(path: Path, rig: Rig, chance: random.Random) -> None:
    content = bytearray(whole(rig))
    for _ in range(chance.choice((1, 4, 64))):
        content[chance.randrange(132, 900)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncated(path: Path, rig: Rig, chance: random.Random) -> None:
    content = whole(rig)
    path.write_bytes(content[: chance.choice((chance.randrange(1, 900), chance.randrange(900, len(content))))])


def empty(path: Path, rig: Rig, chance: random.Random) -> None:
    path.touch()


def symlink(path: Path, rig: Rig, chance: random.Random) -> None:
    target = rig.folder / "elsewhere.dcm"
    target.write_bytes(whole(rig))
    path.symlink_to(chance.choice((target, Path("/etc/passwd"), path, rig.folder)))


def fifo(path: Path, rig: Rig, chance: random.Random) -> None:
    os.mkfifo(path)


def foreign(path: Path, rig: Rig, chance: random.Random) -> None:
    if os.geteuid() != 0:
        pytest.skip("another owner takes root")
    path.write_bytes(whole(rig))
    os.chmod(path, chance.choice((0o600, 0o000, 0o444)))
    os.chown(path, OTHER, OTHER)


@contextmanager
def put(what: Callable[[Path, Rig, random.Random], None], rig: Rig, chance: random.Random) -> Iterator[None]:
    """A few of them in random places, under names that the service gives, and others."""
    made = []
    for number in range(4):
        place = rig.service.spool / chance.choice(PLACES)
        if place.parent != rig.service.spool:
            place = place / "50"
        place.mkdir(parents=True, exist_ok=True)
        name = chance.choice((f"{int(time.time() * 1e6):016d}{number:06d}", f"by-hand-{number}"))
        made.append(place / f"{name}.dcm")
        what(made[-1], rig, chance)
    yield
    rig.strange = [*rig.strange, *made]


@contextmanager
def few_descriptors(rig: Rig, chance: random.Random) -> Iterator[None]:
    """256 for each process, while more connections than that come."""
    before = {process.pid: _limit(process.pid, 256) for process in rig.service.processes()}
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            link = stack.enter_context(socket.socket())
            link.setblocking(False)
            with suppress(BlockingIOError):
                link.connect(("127.0.0.1", rig.service.port))
        time.sleep(0.5)
        yield
    for pid, descriptors in before.items():
        with suppress(ProcessLookupError):
            _limit(pid, descriptors)


def _limit(pid: int, descriptors: int) -> int:
    """Set the soft limit; returns what it was."""
    before, most = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (descriptors, most))
    return before


@contextmanager
def no_threads(rig: Rig, chance: random.Random) -> Iterator[None]:
    """A control group of pids that is full: no thread and no process can be begun."""
    group = CGROUP / f"leyden-chaos-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of pids here: {error}")
    if not (group / "pids.max").exists():
        group.rmdir()
        pytest.skip("control groups do not count pids here")
    try:
        for process in rig.service.processes():
            (group / "cgroup.procs").write_text(str(process.pid))
        (group / "pids.max").write_text((group / "pids.current").read_text())
        rig.kill(chance.choice(("receiver-0", "planner-0", "worker-0", "sender-0")))
        time.sleep(1.0)
        yield
        (group / "pids.max").write_text("max")
        for process in rig.service.processes():
            (CGROUP / "cgroup.procs").write_text(str(process.pid))
    finally:
        wait_for(lambda: not (group / "cgroup.procs").read_text(), why="the group to be empty")
        group.rmdir()


@contextmanager
def no_shared_memory(rig: Rig, chance: random.Random) -> Iterator[None]:
    """A /dev/shm of its own, of one page, which is full."""
    unshare = shutil.which("unshare")
    if unshare is None or os.geteuid() != 0:
        pytest.skip("a /dev/shm of its own takes root and unshare")
    script = 'mount -t tmpfs -o size=4k none /dev/shm && { cat /dev/zero >/dev/shm/full 2>/dev/null; exec "$@"; }'
    rig.kill_all()
    rig.service.prefix = [unshare, "--mount", "sh", "-c", script, "sh"]
    try:
        rig.restart()
        yield
    finally:
        rig.service.prefix = []
    rig.wait_promised(rig.promised + 8)
    rig.kill_all()
    rig.restart()


def _row(name: str, what: Callable[[Path, Rig, random.Random], None], words: str) -> Row:
    return Row(
        f"{name} in the spool",
        words,
        "four of them are put into random stages by hand, under names of the service and others",
        partial(put, what),
        "it goes to failed/ with a reason, or is delivered as it is; nobody else waits for it",
        limits=Limits(ends_in=("failed", "rejected"), doubts=1, strangers=True),
        mixes=False,
    )


ROWS = (
    _row("flipped bits", flipped, "files with flipped bits stand in the spool"),
    _row("truncated files", truncated, "files that were cut off stand in the spool"),
    _row("empty files", empty, "empty files stand in the spool"),
    _row("symlinks", symlink, "symbolic links stand in the spool"),
    _row("FIFOs", fifo, "FIFOs stand in the spool"),
    _row("foreign owners", foreign, "files of another user stand in the spool"),
    Row("few descriptors", "no more descriptors", f"256 for each process, and {CONNECTIONS} connections",
        few_descriptors, mixes=False, limits=Limits(doubts=1)),
    Row("no threads", "no thread and no process can be begun", "a full control group of pids, and a role killed",
        no_threads, "a role that gets no thread at its start ends, says so, and is tried again", mixes=False,
        limits=Limits(doubts=1, exits=True)),
    Row("no shared memory", "/dev/shm is full", "a tmpfs of one page in a mount namespace", no_shared_memory,
        mixes=False, limits=Limits(doubts=2)),
)  # fmt: skip
