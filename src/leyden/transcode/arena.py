"""The arena: one memfd that all workers map, in slots that are leased by locks. A lock ends with its holder.

A frame leases a run of adjacent slots: for its pixels, and behind them room for its codestream. The first slot's row in
the table describes the frame and its state. Two locks guard a run. Both are taken through the worker's own open file of
the memfd, so that SIGKILL frees them: the owner holds LEASE from filling to release; whoever writes into the run or
encodes it holds WORK. Slots of a dead worker are known by their free locks: nothing leaks, and nothing has to be
cleaned up. A new lease needs both locks, so that nobody gets memory that a helper still reads.
Deliberately absent: semaphores (they do not survive SIGKILL), waiting (a full arena answers None) and codecs.
"""

import fcntl
import mmap
import os
import struct
from enum import IntEnum

import msgspec
import numpy as np

from leyden import board
from leyden.board import Cell
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
    """The state of the frame in a run of slots. Whether somebody works on it, only the WORK lock tells."""

    FREE = 0
    FILLED = 1
    DONE = 2
    FAILED = 3


class Work(msgspec.Struct, frozen=True):
    """What to do with a filled lease: decode its room into its pixels, encode its pixels into its room, or both.

    `reads` and `writes`: the decoder and the encoder by their number in the codec table, -1 = none. The decoder gives
    `found` planes, the encoder takes `wanted` ones, of the same shape; `signed`: Pixel Representation, needed between
    the two. `setting`: the encoder's quality, ratio or tolerance, 0.0 = lossless. `verify`: decode the new codestream
    and compare. `remakes`: make the new codestream from the old one without decoding it.
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
        """Memory of this process, for a frame for which the arena has no room."""
        return cls(memoryview(bytearray(bytes_of(pixels_bytes, room_bytes))), pixels_bytes, room_bytes)


def bytes_of(pixels_bytes: int, room_bytes: int) -> int:
    """How many bytes a lease takes."""
    return -(-pixels_bytes // ALIGN_BYTES) * ALIGN_BYTES + room_bytes


def layout(size_bytes: int) -> tuple[int, int]:
    """(number of slots, offset of the first slot) of an arena of `size_bytes`; the words and the table come before."""
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

    `number` of `workers` decides where a worker looks for slots first: so each reuses the memory that it used before.
    `words`: shared 64-bit numbers beside the slots, for compared.py.
    """

    def __init__(self, fd: int, number: int = 0, workers: int = 1) -> None:
        size = os.fstat(fd).st_size
        self.number = number
        self.slots, self._base = layout(size)
        self._map = mmap.mmap(fd, size)
        self._memory = memoryview(self._map)
        self.words = self._memory[:WORDS_BYTES].cast("Q")
        self._rows = np.frombuffer(self._map, _ROW, self.slots, WORDS_BYTES)
        self._mine = bytearray(self.slots)  # a lock does not keep its own holder out
        self._home = number % workers * self.slots // workers
        self._lock_fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)

    def close(self) -> None:
        """Give up every lock. The mapping ends with the last lease."""
        os.close(self._lock_fd)

    # -- the owner

    def lease(self, pixels_bytes: int, room_bytes: int) -> Lease | None:
        """A run for one frame, without waiting; None = no free run is long enough."""
        slots = max(1, -(-bytes_of(pixels_bytes, room_bytes) // SLOT_BYTES))
        first = self._find(slots)
        if first is None:
            return None
        self._mine[first : first + slots] = b"\1" * slots
        board.add(Cell.ARENA_BYTES, slots * SLOT_BYTES)
        rows = self._rows[first : first + slots]
        rows["state"] = FrameState.FREE
        rows[0]["slots"] = slots
        rows[0]["tries"] = 0
        return Lease(self._run(first, slots), pixels_bytes, room_bytes, first)

    def offer(self, lease: Lease) -> None:
        """The lease is filled and described: from now on any worker may work on it."""
        row = self._rows[lease.first]
        _write(lease.work, row)
        row["frame"] = lease.frame
        row["owner"] = self.number
        row["room"] = len(lease.room)
        row["length"] = lease.length
        row["state"] = FrameState.FILLED
        self._unlock(_WORK, lease.first, int(row["slots"]))

    def state(self, lease: Lease) -> FrameState:
        """The state of an offered frame; `lease.length` is valid if it is DONE."""
        row = self._rows[lease.first]
        state = FrameState(int(row["state"]))
        if state is FrameState.DONE:
            lease.length = int(row["length"])
        return state

    def take(self, lease: Lease) -> bool:
        """The owner takes the work on its own offered frame; False = a helper works on it, or has done it."""
        row = self._rows[lease.first]
        if not self._lock(_WORK, lease.first, int(row["slots"])):
            return False
        if int(row["state"]) == FrameState.DONE:
            self._unlock(_WORK, lease.first, int(row["slots"]))
            return False
        return True

    def release(self, lease: Lease) -> None:
        """The owner needs it no longer. A helper that still works on it keeps the memory until it has finished."""
        if lease.first < 0:
            return
        row = self._rows[lease.first]
        slots = int(row["slots"])
        row["state"] = FrameState.FREE
        board.add(Cell.ARENA_BYTES, -slots * SLOT_BYTES)
        self._mine[lease.first : lease.first + slots] = bytes(slots)
        self._unlock(_WORK, lease.first, slots)
        self._unlock(_LEASE, lease.first, slots)

    # -- the helper

    def take_any(self) -> Lease | None:
        """Take a frame of another worker that no helper has tried yet, the lowest frame number first; None = none.

        If a helper does not finish a frame, only its owner tries again: a frame that kills workers must not kill all.
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
        """The work on a taken frame is over; not `done`: the owner will find out itself why."""
        row = self._rows[lease.first]
        row["length"] = lease.length
        row["state"] = FrameState.DONE if done else FrameState.FAILED
        self._unlock(_WORK, lease.first, int(row["slots"]))

    # -- figures

    def alone(self) -> bool:
        """Whether no other worker holds a lease now."""
        return self._holder(_LEASE, 0, self.slots) is None

    def leased(self) -> int:
        """How many slots others have leased (a new view of the arena sees all leases)."""
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
        """Take both locks of the first free run, from this worker's home on, then from the start; None = none."""
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
        """The (first, end) of a run in this range that somebody else has locked; None = there is none."""
        answer = fcntl.fcntl(self._lock_fd, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, 0, kind + first, slots, 0))
        lock_type, _, start, length, _ = _FLOCK.unpack(answer)
        if lock_type == fcntl.F_UNLCK:
            return None
        return start - kind, start - kind + length
