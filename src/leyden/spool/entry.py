"""The names of the spool: what a file name says, and how it is parsed. Pure; store.py knows the folders.

A name says all that is needed to order, group and filter entries, so that a million of them can be handled without
opening a file. It is `<receipt>.<sop>.<study>.<source>[.<series>][.<syntax>][.e<edits>]` and then
`[.<attempt>.<due>][.r<retried>][.u<unanswered>][.c<crashes>][.s].dcm`. Before planning the study is not known yet
(NO_UID), and of what was put into new/ by hand only the receipt is: `<receipt>.dcm`.
A UID or a title never becomes part of a path as it is: UIDs become keys (hashes), titles are escaped.
Deliberately absent: any knowledge of what the file holds.
"""

import os
import re
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import msgspec

from leyden.spool.stage import CLAIMED_FROM, Stage

BUCKET_S = 100
BY_HAND = 99  # the receiver number in the receipts of files that somebody put into the spool by hand
UNRANKED = "99"  # the rank of a file that somebody put into prepared/<DEST>/ or transform/<DEST>/ by hand
SEPARATOR = "~"  # between the parts of a claim's name; folder() never produces it

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")
_NAME = re.compile(
    r"(?P<receipt>\d{22})"
    r"(?:\.(?P<sop>[0-9a-f]{8})\.(?P<study>[0-9a-f]{8})\.(?P<source>[0-9a-f]{8})"
    r"(?:\.(?P<series>[0-9a-f]{8}))?)?"
    r"(?:\.(?![cru]\d+\.|e[0-9a-f]{16}\.)(?=[^.]*[^.\d])(?P<syntax>[A-Za-z0-9_%-]{2,96}))?"
    r"(?:\.e(?P<edits>[0-9a-f]{16}))?"
    r"(?:\.(?P<attempt>\d{1,6})\.(?P<due>\d{1,12}))?"
    r"(?:\.r(?P<retried>\d{1,12}))?"
    r"(?:\.u(?P<unanswered>\d{1,6}))?"
    r"(?:\.c(?P<crashes>\d{1,4}))?"
    r"(?P<serial>\.s)?"
    r"\.dcm",
    re.ASCII,
)


def key(text: str) -> str:
    """Eight hex digits that stand for a UID or a title in a file name; equal texts have equal keys."""
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


NO_UID = key("")  # the key of a UID that is not known, or that is not there


@lru_cache(4096)
def folder(ae_title: str) -> str:
    """The name of a destination's folder: its AE title with each byte outside [A-Za-z0-9_-] as %XX.

    ValueError for an empty title.
    """
    if not ae_title:
        raise ValueError("an empty AE title has no folder")
    octets = ae_title.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if octet in _SAFE else f"%{octet:02X}" for octet in octets)


def title(folder: str) -> str:
    """The AE title that a folder stands for; the inverse of folder()."""
    octets = _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), folder.encode("utf-8", "surrogateescape"))
    return octets.decode("utf-8", "surrogateescape")


def bucket_of(time_s: float) -> str:
    """The bucket of a time in seconds since 1970: eight digits, the first ones of a receipt; a bucket is 100 s wide."""
    return f"{int(time_s) // BUCKET_S:08d}"


class Entry(msgspec.Struct, frozen=True):
    """What the name of a file says.

    - `receipt`: 22 digits that identify the object (ReceiptClock); the keys stand for SOP Instance UID, Study Instance
      UID, calling AE title and Series Instance UID. `series_key` is "" where the dataset names no series.
    - `syntax`: the name of the transfer syntax to be made or asked for; "" = none.
    - `edits`: 16 hex digits that name the rules by which its dataset has to be changed before it may leave; "" = it may
      leave as it is. Such an entry stands in transform/ only.
    - `attempt`: how often it was deferred; `due_s`: when it may be sent again.
    - `crashes`: how many workers died while they worked on it.
    - `retried_s`: when it was last brought back from rejected/ or failed/; 0 = never.
    - `unanswered`: how often it was sent, as a whole or in part, without an answer.
    - `serial`: when it was planned, an older entry with the same SOP Instance UID for the same destination was in the
      spool. It must not be sent before that one (Spool.held_back).

    Times are in seconds since 1970.
    """

    receipt: str
    sop_key: str = ""
    study_key: str = ""
    source_key: str = ""
    series_key: str = ""
    syntax: str = ""
    attempt: int = 0
    due_s: int = 0
    crashes: int = 0
    serial: bool = False
    retried_s: int = 0
    unanswered: int = 0
    edits: str = ""

    @property
    def name(self) -> str:
        parts = [self.receipt]
        if self.sop_key:
            parts += (self.sop_key, self.study_key, self.source_key)
        if self.series_key:
            parts.append(self.series_key)
        if self.syntax:
            parts.append(folder(self.syntax))
        if self.edits:
            parts.append(f"e{self.edits}")
        if self.attempt or self.due_s:
            parts.append(f"{self.attempt}.{self.due_s}")
        if self.retried_s:
            parts.append(f"r{self.retried_s}")
        if self.unanswered:
            parts.append(f"u{self.unanswered}")
        if self.crashes:
            parts.append(f"c{self.crashes}")
        if self.serial:
            parts.append("s")
        parts.append("dcm")
        return ".".join(parts)

    @property
    def series(self) -> str:
        """What stands for its series within its study; "" = it names none."""
        return self.study_key + self.series_key if self.series_key else ""

    @property
    def bucket(self) -> str:
        return self.receipt[:8]

    @property
    def by_hand(self) -> bool:
        """Whether the file was put into the spool by hand, not by a receiver."""
        return self.receiver == BY_HAND

    @property
    def receiver(self) -> int:
        """The number of the receiver that made the receipt."""
        return int(self.receipt[16:18])

    @property
    def received_s(self) -> float:
        """When it was received, in seconds since 1970 (UTC)."""
        return int(self.receipt[:16]) / 1e6


def parse(name: str) -> Entry | None:
    """The entry that a file name stands for; None if it is not the name of an entry."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    receipt, sop, study, source, series, syntax, edits, *counts = found.groups()
    attempt, due, retried, unanswered, crashes, serial = counts
    return Entry(
        receipt,
        sop or "",
        study or "",
        source or "",
        series or "",
        title(syntax) if syntax else "",
        int(attempt or 0),
        int(due or 0),
        int(crashes or 0),
        serial is not None,
        int(retried or 0),
        int(unanswered or 0),
        edits or "",
    )


def of_source(name: str) -> str:
    """The key of the calling AE title, by the name of an entry; "" if that does not have it. 0.2 us."""
    return name[41:49] if name[22:23] == name[40:41] == name[49:50] == "." else ""


class ReceiptClock:
    """Makes the receipt ids of one receiver: 22 digits, unique, in the order of arrival.

    16 digits of microseconds since 1970 (strictly rising, whatever the clock does), 2 digits of the receiver's number,
    and 4 digits of a counter. The caller chooses the counter's start at random, so that an old id is unlikely to come
    again after the clock was set back.
    """

    def __init__(self, receiver: int, start: int = 0) -> None:
        if not 0 <= receiver <= 99:
            raise ValueError(f"a receiver's number is 0 to 99, not {receiver}")
        self._receiver = receiver
        self._counter = start % 10_000
        self._last_us = 0

    def next(self, now_us: int) -> str:
        """The next receipt id; `now_us` is the wall clock in microseconds since 1970."""
        self._last_us = max(now_us, self._last_us + 1)
        self._counter = (self._counter + 1) % 10_000
        return f"{self._last_us:016d}{self._receiver:02d}{self._counter:04d}"


class Queued(msgspec.Struct, frozen=True):
    """An entry and its place: it waits in `stage` for a claimant, or is claimed and came from `stage`.

    `destination` is an AE title. The name of a claim, in active/<claimant>/, holds all of this as well (claim_name()).
    """

    file: str  # a path as text, not as a Path: a listing makes thousands of these
    entry: Entry
    stage: Stage
    destination: str
    rank: str

    @property
    def path(self) -> Path:
        """The file's path; another process may have moved the file meanwhile."""
        return Path(self.file)

    @property
    def size(self) -> int:
        """The file's size in bytes now; FileNotFoundError if it was moved away."""
        return os.stat(self.file).st_size


def claim_name(stage: Stage, destination: str, rank: str, entry: Entry) -> str:
    """The name of a claim; it holds the place that the entry came from."""
    return SEPARATOR.join((stage, folder(destination), rank, entry.name))


def parse_claim(path: str | Path) -> Queued | None:
    """The claim that a path stands for; None if its name is not that of a claim."""
    file = os.fspath(path)
    parts = os.path.basename(file).split(SEPARATOR)
    if len(parts) != 4 or parts[0] not in CLAIMED_FROM or not is_rank(parts[2]):
        return None
    entry = parse(parts[3])
    return Queued(file, entry, Stage(parts[0]), title(parts[1]), parts[2]) if entry else None


def is_rank(text: str) -> bool:
    """Whether a folder's name is a rank: two digits."""
    return len(text) == 2 and text.isascii() and text.isdigit()


def is_bucket(text: str) -> bool:
    """Whether a folder's name is a bucket: eight digits."""
    return len(text) == 8 and text.isascii() and text.isdigit()
