"""SIGKILL of workers in the middle of frames: the object is completed, and no slot of the arena is lost.

Child processes with their own open of an arena, as the real workers have, and then the real ones, of a service.
LEYDEN_CRASH_LONG=1 in the environment makes it 1,000 kills of each.
"""

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from msgspec.structs import replace

from leyden.transcode.arena import Arena, Lease, Work
from leyden.transcode.frames import Order, spread
from leyden.transcode.openjpeg import decode
from leyden.transcode.pixels import Planes
from support.objects import make_ct
from support.peers import Storescp, run_dcmtk
from support.proof import receipts
from support.service import Service, node, wait_for
from support.transcoding import Bench

LONG = os.environ.get("LEYDEN_CRASH_LONG", "0") not in ("", "0")
KILLS, SERVICE_KILLS = (1000, 1000) if LONG else (8, 6)
ARENA_BYTES = 32 << 20
PLANES = Planes(1, 96, 96, 12)
WORK = Work(PLANES, PLANES, writes=0)

# Takes a frame, says so, and never finishes it.
TAKES_AND_HANGS = """
import sys, time
from leyden.transcode.arena import Arena
arena = Arena(int(sys.argv[1]), int(sys.argv[2]), 4)
while (lease := arena.take_any()) is None:
    time.sleep(0.001)
print("taken", flush=True)
sys.stdin.read()
"""

# A worker that helps with whatever is offered, for ever.
HELPS = """
import sys, time
from leyden.transcode.arena import Arena
from leyden.transcode.frames import help_out
from support.transcoding import Bench
arena = Arena(int(sys.argv[1]), int(sys.argv[2]), 4)
bench = Bench(arena, 4)
print("ready", flush=True)
while True:
    if not help_out(bench):
        time.sleep(0.0005)
"""

# An owner that fills leases, offers them, and is never heard of again.
OWNS_AND_HANGS = """
import sys
from leyden.transcode.arena import Arena, Work
from leyden.transcode.pixels import Planes
arena = Arena(int(sys.argv[1]), int(sys.argv[2]), 4)
planes = Planes(1, 96, 96, 12)
for frame in range(5):
    lease = arena.lease(planes.size_bytes, 60000)
    lease.work, lease.frame = Work(planes, planes, writes=0), frame
    if frame < 4:
        arena.offer(lease)
print("leased", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def arena_fd() -> Iterator[int]:
    fd = os.memfd_create("test-arena")
    os.ftruncate(fd, ARENA_BYTES)
    yield fd
    os.close(fd)


@pytest.fixture
def child(arena_fd: int) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a child on the arena and wait for its first word."""
    children: list[subprocess.Popen[bytes]] = []

    def start(script: str, number: int, wait: bool = True) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(arena_fd), str(number)],
            pass_fds=[arena_fd], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )  # fmt: skip
        children.append(process)
        if wait:
            said(process)
        return process

    yield start
    for process in children:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], 30)
    assert ready, "the child says nothing"
    return process.stdout.readline()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def values(frame: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(frame).integers(0, 4096, (1, PLANES.rows, PLANES.columns))


def orders(count: int) -> Iterator[Order]:
    def order(frame: int) -> Order:
        def fill(lease: Lease) -> None:
            PLANES.view(lease.pixels)[:] = values(frame)

        return Order(WORK, 60000, fill)

    return map(order, range(count))


class Written:
    """The frames as the owner wrote them, checked one by one."""

    def __init__(self) -> None:
        self.frames = 0

    def __call__(self, lease: Lease) -> None:
        pixels = memoryview(bytearray(PLANES.size_bytes))
        decode(lease.room[: lease.length], PLANES, pixels)
        assert np.array_equal(PLANES.view(pixels), values(self.frames))
        self.frames += 1


def test_a_helper_killed_within_a_frame_does_not_stop_the_object(
    arena_fd: int, child: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A crash in a worker "costs one worker and one job" (ARCHITECTURE.md): not the object it helped with."""
    arena, written = Arena(arena_fd, 0, 4), Written()
    victims = [child(TAKES_AND_HANGS, number, wait=False) for number in (1, 2)]
    killed: list[int] = []

    def between() -> None:
        for victim in victims:
            if victim.pid not in killed:
                assert said(victim) == b"taken\n"
                kill(victim)
                killed.append(victim.pid)

    spread(replace(Bench(arena, 4), between_frames=between), orders(40), written)
    assert written.frames == 40
    assert len(killed) == 2
    assert Arena(arena_fd, 3, 4).leased() == 0


def test_the_leases_of_a_killed_owner_are_free_again(
    arena_fd: int, child: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """A lease is an OFD lock: SIGKILL frees it (DECISIONS.md 29)."""
    seen = Arena(arena_fd, 3, 4)
    for number in range(3):
        owner = child(OWNS_AND_HANGS, number)
        assert seen.leased() == 5
        kill(owner)
        assert seen.leased() == 0
        assert seen.take_any() is None, "no worker takes the frames of a dead owner"
    leases = []
    while (lease := seen.lease(1, 1)) is not None:
        leases.append(lease)
    assert len(leases) == seen.slots


@pytest.mark.timeout(3600)
def test_an_object_is_completed_though_workers_are_killed_at_random(
    arena_fd: int, child: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """The frames of one large object are spread over all workers (docs/size.md), and it outlives each of them."""
    arena, written = Arena(arena_fd, 0, 4), Written()
    helpers = [child(HELPS, 1), child(HELPS, 2)]
    chance = random.Random(7)
    deaths = 0

    def between() -> None:
        nonlocal deaths
        if written.frames % 25 == 10:
            victim = chance.randrange(len(helpers))
            kill(helpers[victim])
            deaths += 1
            helpers[victim] = child(HELPS, victim + 1, wait=False)

    spread(replace(Bench(arena, 4), between_frames=between), orders(25 * KILLS), written)
    assert written.frames == 25 * KILLS
    assert deaths == KILLS
    for helper in helpers:
        kill(helper)
    assert Arena(arena_fd, 3, 4).leased() == 0


# -- the service's own


def arena_of(service: Service) -> Arena:
    """A view of the arena of a running service, by an open of our own."""
    supervisor = service.processes()[0]
    for name in os.listdir(f"/proc/{supervisor.pid}/fd"):
        path = f"/proc/{supervisor.pid}/fd/{name}"
        if "memfd:leyden-arena" in os.readlink(path):
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                return Arena(fd, 3, 4)
            finally:
                os.close(fd)
    raise AssertionError("the supervisor holds no arena")


@pytest.mark.timeout(3600)
def test_a_service_whose_workers_are_killed_keeps_all_of_its_arena(tmp_path: Path) -> None:
    """A crash in a worker "costs one worker and one job" (ARCHITECTURE.md).
    Each dies in the middle of its object's frames. The object arrives, and the slots are free again."""
    in_dev_shm = set(os.listdir("/dev/shm"))
    pacs = Storescp(tmp_path / "pacs", "--ignore", "+xa").start()
    service = Service(
        tmp_path / "leyden", node("PACS", pacs.port, TransferSyntax="JPEG2000Lossless"), workers=2
    ).start()
    try:
        stack, seen = frames_file(tmp_path / "stack.dcm", 40), arena_of(service)
        sent = killed = 0
        while killed < SERVICE_KILLS:
            done = run_dcmtk("dcmsend", "-aec", "PACS", "127.0.0.1", str(service.port), str(stack))
            assert done.returncode == 0, done.stderr
            sent += 1
            wait_for(lambda: seen.leased() > 0 or not service.left(), why="a worker that leases")
            for claim in service.spool.glob("active/worker-*/*.dcm"):
                worker = service.role(claim.parent.name)
                worker.suspend()
                if claim.exists():  # else it was done before it stood still
                    worker.kill()
                    service.wait_line("killed by SIGKILL")
                    killed += 1
                else:
                    worker.resume()
            service.wait_empty()
            assert seen.leased() == 0
        assert set(os.listdir("/dev/shm")) == in_dev_shm
        service.kill_all()
        service.start()
        assert set(os.listdir("/dev/shm")) == in_dev_shm
        assert arena_of(service).leased() == 0
        assert service.stop() == 0
        assert set(os.listdir("/dev/shm")) == in_dev_shm
        assert len(receipts(service.spool)) == sent
    finally:
        service.end()
        pacs.stop()


def frames_file(path: Path, frames: int) -> Path:
    """One object of so many frames of 256 x 256."""
    dataset = pydicom.dcmread(make_ct(path, 1, rows=256 * frames, columns=256))
    dataset.Rows, dataset.NumberOfFrames = 256, frames
    dataset.save_as(path)
    return path
