"""The board: live numbers of every process, in one piece of shared memory that anybody may read at any time.

The supervisor makes it, with a row for each role. A row is aligned machine words of 8 bytes, and each word has one
writer, which writes it as one (as in heartbeat.py): so a count costs no lock and no call to the kernel, and a reader
needs no consent. Counts go on over a restart of the role, as a row outlives its process; gauges are cleared at its end.
Deliberately absent: names of nodes, and whatever else is not bounded; that is told to the journal.
"""

import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

NAME = "leyden-board"  # of the memfd
ROLES = ("receiver", "planner", "worker", "sender", "console", "watcher")
CODECS = (
    "JPEG2000Lossless", "JPEG2000Lossy", "HTJ2KLossless", "HTJ2KLosslessRPCL", "HTJ2K", "JPEGProcess14",
    "JPEGProcess14SV1", "JPEGProcess1", "JPEGProcess2_4", "JPEGLSLossless", "JPEGLSNearLossless",
    "DeflatedImageFrameCompression", "RLELossless", "JPEGXLLossless", "JPEGXL", "JPEGXLJPEGRecompression",
)  # fmt: skip
"""The transfer syntaxes that workers encode, in the order of transcode/codecs.py."""
RESPONSE_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""The upper bounds of the buckets of the response time; one more bucket has none."""

_RESPONSE_NS = tuple(int(bound_s * 1e9) for bound_s in RESPONSE_S)
_ROW_WORDS = 128
_ROW_BYTES = 8 * _ROW_WORDS
_RESPONSE_AT = 40
_CODECS_AT = 64


class Cell(IntEnum):
    """What a word of a row says. MEANINGS has its unit, and who writes it."""

    ROLE = 0
    NUMBER = 1
    PID = 2
    SINCE_NS = 3
    RESTARTS = 4

    LOOPS = 8
    LOOP_LAG_NS = 9

    ASSOCIATIONS = 10
    HELD = 11
    ACCEPTED = 12
    TURNED_AWAY = 13
    BROKEN = 14
    RECEIVED = 15
    RECEIVED_BYTES = 16
    REFUSED = 17
    CUT_OFF = 18
    RESPONSE_NS = 19

    PLANNED = 20

    TLS_ACCEPTED = 21
    TLS_FAILED = 22
    TLS_STALE = 23

    BUSY_NS = 24
    MADE = 25
    ARENA_BYTES = 26

    OUTBOUND = 30
    OPENED = 31
    NOT_OPENED = 32
    DELIVERED = 33
    DELIVERED_BYTES = 34
    LOST = 35


class Meaning(NamedTuple):
    """Of a cell: who writes it, its unit, what it counts, and whether it is a gauge (else it only ever grows)."""

    role: str
    unit: str
    text: str
    gauge: bool = False


MEANINGS = {
    Cell.ROLE: Meaning("supervisor", "", "the role, by its place in ROLES"),
    Cell.NUMBER: Meaning("supervisor", "", "which of several processes of this role"),
    Cell.PID: Meaning("supervisor", "", "its process; 0 = it does not run now"),
    Cell.SINCE_NS: Meaning("supervisor", "ns", "when that was started, since 1970"),
    Cell.RESTARTS: Meaning("supervisor", "", "how often it was started again"),
    Cell.LOOPS: Meaning("receiver, sender", "", "looks at how late the event loop is"),
    Cell.LOOP_LAG_NS: Meaning("receiver, sender", "ns", "by how much it was late at these, in all"),
    Cell.ASSOCIATIONS: Meaning("receiver", "", "inbound associations that are open", gauge=True),
    Cell.HELD: Meaning("receiver", "", "answers held back now", gauge=True),
    Cell.ACCEPTED: Meaning("receiver", "", "inbound associations accepted"),
    Cell.TURNED_AWAY: Meaning("receiver", "", "inbound associations rejected"),
    Cell.BROKEN: Meaning("receiver", "", "inbound associations that did not end with a release"),
    Cell.RECEIVED: Meaning("receiver", "", "objects kept and answered"),
    Cell.RECEIVED_BYTES: Meaning("receiver", "bytes", "of their data sets"),
    Cell.REFUSED: Meaning("receiver", "", "objects answered 0xA700"),
    Cell.CUT_OFF: Meaning("receiver", "", "objects of which the end did not come"),
    Cell.RESPONSE_NS: Meaning("receiver", "ns", "from the last fragment to the answer, in all"),
    Cell.PLANNED: Meaning("planner", "", "objects planned"),
    Cell.TLS_ACCEPTED: Meaning("receiver", "", "of the inbound associations accepted: over TLS"),
    Cell.TLS_FAILED: Meaning("receiver", "", "TLS handshakes that led to no session"),
    Cell.TLS_STALE: Meaning("receiver", "", "1 = the files of tls can't be taken as they are now", gauge=True),
    Cell.BUSY_NS: Meaning("worker", "ns", "in which it had an object or a frame in hand"),
    Cell.MADE: Meaning("worker", "", "objects made, and durable"),
    Cell.ARENA_BYTES: Meaning("worker", "bytes", "of the arena that it has leased", gauge=True),
    Cell.OUTBOUND: Meaning("sender", "", "outbound associations that are open", gauge=True),
    Cell.OPENED: Meaning("sender", "", "outbound associations opened"),
    Cell.NOT_OPENED: Meaning("sender", "", "outbound associations that could not be opened, or were of no use"),
    Cell.DELIVERED: Meaning("sender", "", "objects delivered"),
    Cell.DELIVERED_BYTES: Meaning("sender", "bytes", "of their data sets"),
    Cell.LOST: Meaning("sender", "", "attempts that were not answered"),
}
"""Every cell. Behind them stand the buckets of the response time, and three words for each codec."""

_GAUGES = tuple(cell for cell, meaning in MEANINGS.items() if meaning.gauge)

_mine = memoryview(bytearray(_ROW_BYTES)).cast("q")  # of this process; private until use() is called


# -- a role's side: each call writes words of its own row


def use(fd: int, row: int) -> None:
    """Count in this row of the board behind `fd` from now on, and go on from what stands there."""
    global _mine
    _mine = memoryview(mmap.mmap(fd, 0)).cast("q")[row * _ROW_WORDS : (row + 1) * _ROW_WORDS]


def add(cell: Cell, amount: int = 1) -> None:
    """Count something. One thread for each cell."""
    _mine[cell] += amount


def put(gauge: Cell, value: int) -> None:
    """Say how much there is now."""
    _mine[gauge] = value


def answered(took_ns: int) -> None:
    """An object was answered so long after its last fragment."""
    _mine[_RESPONSE_AT + bisect_left(_RESPONSE_NS, took_ns)] += 1
    _mine[Cell.RESPONSE_NS] += took_ns


def encoded(codec: int, pixel_bytes: int, made_bytes: int, took_ns: int) -> None:
    """The codec of this number in CODECS has made so many bytes of so many; decoding before it counts, too."""
    at = _CODECS_AT + 3 * codec
    _mine[at] += pixel_bytes
    _mine[at + 1] += made_bytes
    _mine[at + 2] += took_ns


def late(by_s: float) -> None:
    """The event loop has come back so late."""
    _mine[Cell.LOOPS] += 1
    _mine[Cell.LOOP_LAG_NS] += max(0, int(by_s * 1e9))


# -- the supervisor's side


class Board:
    """The whole board, as the supervisor makes it: a row for each of `roles` (role, number), in their order."""

    def __init__(self, roles: Sequence[tuple[str, int]]) -> None:
        self.fd = os.memfd_create(NAME, os.MFD_CLOEXEC)
        os.ftruncate(self.fd, len(roles) * _ROW_BYTES)
        self._words = memoryview(mmap.mmap(self.fd, 0)).cast("q")
        for row, (role, number) in enumerate(roles):
            self._words[row * _ROW_WORDS + Cell.ROLE] = ROLES.index(role)
            self._words[row * _ROW_WORDS + Cell.NUMBER] = number

    def started(self, row: int, pid: int) -> None:
        """The role of this row runs as this process."""
        at = row * _ROW_WORDS
        self._words[at + Cell.RESTARTS] += self._words[at + Cell.SINCE_NS] != 0
        self._words[at + Cell.SINCE_NS] = time.time_ns()
        self._words[at + Cell.PID] = pid

    def ended(self, row: int) -> None:
        """Its process is gone, and with it what it had open."""
        at = row * _ROW_WORDS
        for cell in (Cell.PID, *_GAUGES):
            self._words[at + cell] = 0


# -- a reader's side


class Coded(NamedTuple):
    """What one codec has made: the bytes of the pixels, of the codestreams, and the time of all workers together."""

    pixel_bytes: int
    made_bytes: int
    took_ns: int


class Row:
    """What one process says of itself at one moment."""

    __slots__ = ("_words",)

    def __init__(self, words: Sequence[int]) -> None:
        self._words = tuple(words)

    def __getitem__(self, cell: Cell) -> int:
        return self._words[cell]

    @property
    def role(self) -> str:
        return ROLES[self._words[Cell.ROLE]]

    @property
    def name(self) -> str:
        """As the log has it, such as receiver-0."""
        return f"{self.role}-{self._words[Cell.NUMBER]}"

    @property
    def since_s(self) -> float:
        """When its process was started, in seconds since 1970."""
        return self._words[Cell.SINCE_NS] / 1e9

    @property
    def responses(self) -> tuple[int, ...]:
        """How many objects were answered within each of RESPONSE_S and not sooner, and at last: later."""
        return self._words[_RESPONSE_AT : _RESPONSE_AT + len(RESPONSE_S) + 1]

    @property
    def codecs(self) -> tuple[Coded, ...]:
        """In the order of CODECS."""
        return tuple(Coded(*self._words[at : at + 3]) for at in range(_CODECS_AT, _CODECS_AT + 3 * len(CODECS), 3))


def read(fd: int) -> tuple[Row, ...]:
    """All rows of the board behind `fd`, each word as its writer has left it a moment ago. OSError, ValueError."""
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as memory, memoryview(memory) as octets, octets.cast("q") as words:
        return tuple(Row(words[at : at + _ROW_WORDS]) for at in range(0, len(words) - _ROW_WORDS + 1, _ROW_WORDS))
