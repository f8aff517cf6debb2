"""The arena: one memfd mapped by every worker, cut into slots, leased by locks that die with their holder.

A frame leases a run of adjacent slots: its pixels, and behind them room for its codestream. The first slot's row of the
table says what it is and how far it has come. Two locks guard a run, both taken through the worker's own open of the
memfd, so that SIGKILL frees them: LEASE is held by the owner from fill to release; WORK is held by whoever writes into
the run or encodes it. What was left by a dead worker is told by its free locks; nothing is ever leaked, and there is
nothing to clean up. A new lease needs both locks, so that nobody gets the memory that a helper still reads.
Deliberately absent: semaphores (not robust against SIGKILL), waiting (a full arena is an answer) and codecs.
"""

import fcntl
import mmap
import os
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from leyden.transcode.pixels import Planes

SLOT_BYTES = 512 * 1024
WORDS_BYTES = 32 * 1024
ALIGN_BYTES = 64
_ROW = np.dtype(
    [
        ("state", "u4"), ("tries", "u4"), ("slots", "u4"), ("owner", "u4"), ("frame", "u4"), ("rows", "u4"),
        ("columns", "u4"), ("reads", "i1"), ("writes", "i1"), ("samples", "u1"), ("found", "u1"), ("wanted", "u1"),
        ("marks", "u1"), ("spare", "u2"), ("setting", "f8"), ("room", "u8"), ("length", "u8"),
    ]
)  # fmt: skip
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock of <fcntl.h>
# two ranges of lock bytes, one byte a slot; the second lies beyond the file: locks may
_LEASE = 0
_WORK = 1 << 40


class FrameState(IntEnum):
    """Of the frame in a run of slots. That somebody works on it is told by the WORK lock alone."""

    FREE = 0
    FILLED = 1
    DONE = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with a filled lease: decode its room into its pixels, encode these into its room, or both.

    `reads` and `writes` are numbers of the codec table, -1 = no. A decoder leaves `found` planes, an encoder takes
    `wanted` ones, of the same shape; `signed` is Pixel Representation, which lies between them. `setting` is the
    encoder's number for loss (0.0 = lossless); `verify`: decode what was encoded and compare. `remakes`: the codestream
    becomes another one without being decoded.
    """

    found: Planes
    wanted: Planes
    reads: int = -1
    writes: int = -1
    signed: bool = False
    setting: float = 0.0
    verify: bool = False
    remakes: bool = False

    @property
    def pixels_bytes(self) -> int:
        return max(self.found.size_bytes, self.wanted.size_bytes)


_NOTHING = Work(Planes(1, 1, 1, 8), Planes(1, 1, 1, 8))


class Lease:
    """A run of slots, or private memory of the same shape. `pixels` and `room` are views of it."""

    def __init__(self, memory: memoryview, pixels_bytes: int, room_bytes: int, first: int = -1) -> None:
        self.first = first
        room_at = -(-pixels_bytes // ALIGN_BYTES) * ALIGN_BYTES
        self.pixels = memory[:pixels_bytes]
        self.room = memory[room_at : room_at + room_bytes]
        self.work = _NOTHING
        self.frame = 0
        self.owner = 0
        self.length = 0

    @classmethod
    def private(cls, pixels_bytes: int, room_bytes: int) -> "Lease":
        """Memory of this process, for what the arena has no room for."""
        return cls(memoryview(bytearray(bytes_of(pixels_bytes, room_bytes))), pixels_bytes, room_bytes)


def bytes_of(pixels_bytes: int, room_bytes: int) -> int:
    """Bytes that a lease takes."""
    return -(-pixels_bytes // ALIGN_BYTES) * ALIGN_BYTES + room_bytes


def layout(size_bytes: int) -> tuple[int, int]:
    """(number of slots, offset of the first) of an arena of `size_bytes`: words and the table of rows come first."""
    slots = size_bytes // (SLOT_BYTES + _ROW.itemsize)
    table_bytes = WORDS_BYTES + -(-slots * _ROW.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
    return min(slots, max(0, size_bytes - table_bytes) // SLOT_BYTES), table_bytes


def _write(work: Work, row: np.void) -> None:
    found, wanted = work.found, work.wanted
    row["rows"] = wanted.rows
    row["columns"] = wanted.columns
    row["samples"] = wanted.samples
    row["found"] = found.precision
    row["wanted"] = wanted.precision
    row["reads"] = work.reads
    row["writes"] = work.writes
    row["setting"] = work.setting
    marks = (
        found.signed, found.rct, wanted.signed, wanted.rct, work.signed, work.verify, work.remakes, found.by_plane,
    )  # fmt: skip
    row["marks"] = sum(mark << n for n, mark in enumerate(marks))


def _read(row: np.void) -> Work:
    marks = [bool(int(row["marks"]) >> n & 1) for n in range(8)]
    shape = int(row["samples"]), int(row["rows"]), int(row["columns"])
    return Work(
        Planes(*shape, int(row["found"]), marks[0], marks[1], marks[7]),
        Planes(*shape, int(row["wanted"]), marks[2], marks[3]),
        int(row["reads"]), int(row["writes"]), marks[4], float(row["setting"]), marks[5], marks[6],
    )  # fmt: skip


class Arena:
    """One worker's view of the arena behind `fd` (a memfd of its final size, 1 MiB or more).

    `number` of `workers` decides where it looks for slots first, so that each stays with memory that it has touched.
    `words`: shared memory of numbers beside the slots, for compared.py.
    """

    def __init__(self, fd: int, number: int = 0, workers: int = 1) -> None:
        size = os.fstat(fd).st_size
        self.number = number
        self.slots, self._base = layout(size)
        self._map = mmap.mmap(fd, size)
        self._memory = memoryview(self._map)
        self.words = self._memory[:WORDS_BYTES].cast("Q")
        self._rows = np.frombuffer(self._map, _ROW, self.slots, WORDS_BYTES)
        self._mine = bytearray(self.slots)  # a lock never stands in its own holder's way
        self._home = number % workers * self.slots // workers
        self._lock_fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Give up every lock. The mapping goes with the last lease."""
        os.close(self._lock_fd)

    # -- the owner

    def lease(self, pixels_bytes: int, room_bytes: int) -> Lease | None:
        """A run for one frame, at once or not at all: None when no run is long enough, now or ever."""
        slots = max(1, -(-bytes_of(pixels_bytes, room_bytes) // SLOT_BYTES))
        first = self._find(slots)
        if first is None:
            return None
        self._mine[first : first + slots] = b"\1" * slots
        rows = self._rows[first : first + slots]
        rows["state"] = FrameState.FREE
        rows[0]["slots"] = slots
        rows[0]["tries"] = 0
        return Lease(self._run(first, slots), pixels_bytes, room_bytes, first)

    def offer(self, lease: Lease) -> None:
        """The frame is filled and described: any worker may work on it from now on."""
        row = self._rows[lease.first]
        _write(lease.work, row)
        row["frame"] = lease.frame
        row["owner"] = self.number
        row["room"] = len(lease.room)
        row["length"] = lease.length
        row["state"] = FrameState.FILLED
        self._unlock(_WORK, lease.first, int(row["slots"]))

    def state(self, lease: Lease) -> FrameState:
        """How far an offered frame has come; `lease.length` is right once it is DONE."""
        row = self._rows[lease.first]
        state = FrameState(int(row["state"]))
        if state is FrameState.DONE:
            lease.length = int(row["length"])
        return state

    def take(self, lease: Lease) -> bool:
        """The owner takes up the work on its own offered frame; False while a helper is at it, or has done it."""
        row = self._rows[lease.first]
        if not self._lock(_WORK, lease.first, int(row["slots"])):
            return False
        if int(row["state"]) == FrameState.DONE:
            self._unlock(_WORK, lease.first, int(row["slots"]))
            return False
        return True

    def release(self, lease: Lease) -> None:
        """The owner needs it no longer. A helper that is still at it keeps the memory until it is done."""
        if lease.first < 0:
            return
        row = self._rows[lease.first]
        slots = int(row["slots"])
        row["state"] = FrameState.FREE
        self._mine[lease.first : lease.first + slots] = bytes(slots)
        self._unlock(_WORK, lease.first, slots)
        self._unlock(_LEASE, lease.first, slots)

    # -- the helper

    def take_any(self) -> Lease | None:
        """Somebody else's frame that nobody has tried yet, claimed; the lowest frame number first.

        A frame that a helper has tried and not finished is its owner's: what kills workers must not kill them all.
        """
        filled = np.flatnonzero((self._rows["state"] == FrameState.FILLED) & (self._rows["tries"] == 0))
        for first in sorted(filled.tolist(), key=lambda at: int(self._rows[at]["frame"])):
            row = self._rows[first]
            slots = int(row["slots"])
            if int(row["owner"]) == self.number or not 1 <= slots <= self.slots - first:
                continue
            if not self._lock(_WORK, first, slots):
                continue
            if (int(row["state"]), int(row["tries"]), int(row["slots"])) == (FrameState.FILLED, 0, slots):
                if self._holder(_LEASE, first, 1) is not None:
                    row["tries"] = 1
                    return self._helped(first, row)
                row["state"] = FrameState.FREE  # its owner is dead
            self._unlock(_WORK, first, slots)
        return None

    def finish(self, lease: Lease, done: bool) -> None:
        """The work on a taken frame is over; not `done`: the owner shall see for itself why."""
        row = self._rows[lease.first]
        row["length"] = lease.length
        row["state"] = FrameState.DONE if done else FrameState.FAILED
        self._unlock(_WORK, lease.first, int(row["slots"]))

    # -- figures

    def alone(self) -> bool:
        """Whether no other worker holds a lease at this moment."""
        return self._holder(_LEASE, 0, self.slots) is None

    def leased(self) -> int:
        """How many slots are leased by others (see from a fresh view, all of them)."""
        count, at = 0, 0
        while at < self.slots:
            held = self._holder(_LEASE, at, self.slots - at)
            if held is None:
                break
            begin, end = max(held[0], at), min(held[1], self.slots)
            count, at = count + end - begin, end
        return count

    # -- locks and places

    def _helped(self, first: int, row: np.void) -> Lease:
        work = _read(row)
        lease = Lease(self._run(first, int(row["slots"])), work.pixels_bytes, int(row["room"]), first)
        lease.work = work
        lease.frame = int(row["frame"])
        lease.owner = int(row["owner"])
        lease.length = int(row["length"])
        return lease

    def _run(self, first: int, slots: int) -> memoryview:
        begin = self._base + first * SLOT_BYTES
        return self._memory[begin : begin + slots * SLOT_BYTES]

    def _find(self, slots: int) -> int | None:
        """The first free run from home on, then from the start, with both locks taken."""
        for begin, end in ((self._home, self.slots), (0, min(self._home + slots - 1, self.slots))):
            at = begin
            while at + slots <= end:
                mine = self._mine.rfind(1, at, at + slots)
                if mine >= 0:
                    at = mine + 1
                elif not self._lock(_LEASE, at, slots):
                    held = self._holder(_LEASE, at, slots)
                    at = max(held[1] if held else 0, at + 1)
                elif not self._lock(_WORK, at, slots):
                    self._unlock(_LEASE, at, slots)
                    held = self._holder(_WORK, at, slots)
                    at = max(held[1] if held else 0, at + 1)
                else:
                    return at
        return None

    def _lock(self, kind: int, first: int, slots: int) -> bool:
        try:
            fcntl.fcntl(self._lock_fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, kind + first, slots, 0))
        except (BlockingIOError, PermissionError):  # EAGAIN, EACCES: somebody holds a part of it
            return False
        return True

    def _unlock(self, kind: int, first: int, slots: int) -> None:
        fcntl.fcntl(self._lock_fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, 0, kind + first, slots, 0))

    def _holder(self, kind: int, first: int, slots: int) -> tuple[int, int] | None:
        """The (first, end) of a run that somebody else has locked in this range; None = nobody."""
        answer = fcntl.fcntl(self._lock_fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, kind + first, slots, 0))
        lock_type, _, start, length, _ = _FLOCK.unpack(answer)
        if lock_type == fcntl.F_UNLCK:
            return None
        return start - kind, start - kind + length
