"""The names of the spool: what a file name says, and how it is read back. Pure; the folders are store.py's.

A name says everything that ordering, grouping and filtering need, so that a million entries are handled without
opening one: `<receipt>.<sop>.<study>.<source>[.<syntax>][.<attempt>.<due>][.r<retried>][.u<unanswered>]` and
`[.c<crashes>][.s].dcm`; before planning it is `<receipt>.dcm`. A UID or a title never gets into a path as it is: UIDs
become keys (hashes), titles are escaped.
Deliberately absent: any knowledge of what the file holds.
"""

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from leyden.spool.stage import CLAIMED_FROM, Stage

BUCKET_S = 100
BY_HAND = 99  # the receiver number in the receipts of files that came by hand
UNRANKED = "99"  # the rank of a file that somebody put into prepared/<DEST>/ or transform/<DEST>/ by hand
SEPARATOR = "~"  # between the parts of a claim's name; folder() can't produce it

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")
_NAME = re.compile(
    r"(?P<receipt>\d{22})"
    r"(?:\.(?P<sop>[0-9a-f]{8})\.(?P<study>[0-9a-f]{8})\.(?P<source>[0-9a-f]{8}))?"
    r"(?:\.(?![cru]\d+\.)(?=[^.]*[^.\d])(?P<syntax>[A-Za-z0-9_%-]{2,96}))?"
    r"(?:\.(?P<attempt>\d{1,6})\.(?P<due>\d{1,12}))?"
    r"(?:\.r(?P<retried>\d{1,12}))?"
    r"(?:\.u(?P<unanswered>\d{1,6}))?"
    r"(?:\.c(?P<crashes>\d{1,4}))?"
    r"(?P<serial>\.s)?"
    r"\.dcm",
    re.ASCII,
)


def key(text: str) -> str:
    """Eight hex digits that stand for a UID or a title in a name; equal texts have equal keys."""
    return blake2b(text.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()


@lru_cache(4096)
def folder(ae_title: str) -> str:
    """The folder of a destination: every byte outside [A-Za-z0-9_-] as %XX. ValueError for an empty title."""
    if not ae_title:
        raise ValueError("an empty AE title has no folder")
    octets = ae_title.encode("utf-8", "surrogateescape")
    return "".join(chr(octet) if octet in _SAFE else f"%{octet:02X}" for octet in octets)


def title(folder: str) -> str:
    """The AE title that a folder stands for; the inverse of folder()."""
    octets = _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), folder.encode("utf-8", "surrogateescape"))
    return octets.decode("utf-8", "surrogateescape")


def bucket_of(time_s: float) -> str:
    """The bucket (eight digits, 100 s wide) of a time in seconds since 1970: a receipt's leading digits."""
    return f"{int(time_s) // BUCKET_S:08d}"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the name of one file says.

    `syntax` is the transfer syntax to be made ("" = as it is), `attempt` counts deferrals, `due_s` is when a deferred
    entry may go again (seconds since 1970), `crashes` how many workers died of it, `retried_s` when it was last taken
    back to be tried again (seconds since 1970, 0 = never), `unanswered` how often it was sent, as a whole or
    in part, and not answered. `serial`: an older entry
    with the same SOP Instance UID for the same destination stood in the spool when this one was planned, so whoever
    sends it must first see that none is left (Spool.held_back).
    """

    receipt: str
    sop_key: str = ""
    study_key: str = ""
    source_key: str = ""
    syntax: str = ""
    attempt: int = 0
    due_s: int = 0
    crashes: int = 0
    serial: bool = False
    retried_s: int = 0
    unanswered: int = 0

    @property
    def name(self) -> str:
        parts = [self.receipt]
        if self.sop_key:
            parts += (self.sop_key, self.study_key, self.source_key)
        if self.syntax:
            parts.append(folder(self.syntax))
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
    def bucket(self) -> str:
        return self.receipt[:8]

    @property
    def by_hand(self) -> bool:
        """Whether somebody put the file into the spool, rather than a receiver."""
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
    """The entry that a file name stands for; None if the name is not one of ours."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    receipt, sop, study, source, syntax, attempt, due, retried, unanswered, crashes, serial = found.groups()
    return Entry(
        receipt,
        sop or "",
        study or "",
        source or "",
        title(syntax) if syntax else "",
        int(attempt or 0),
        int(due or 0),
        int(crashes or 0),
        serial is not None,
        int(retried or 0),
        int(unanswered or 0),
    )


class ReceiptClock:
    """Makes the receipt ids of one receiver: 22 digits, unique, in the order of arrival.

    16 digits of microseconds since 1970 (strictly rising, whatever the clock does), 2 of the receiver's number, 4 of
    a counter whose start the caller draws at random, so that a clock set back can't easily bring an old id again.
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


@dataclass(frozen=True, slots=True)
class Queued:
    """An entry and where it stands: it waits in `stage` for a claimant, or it is claimed and came from there.

    `destination` is an AE title. The name of a claim, in active/<claimant>/, says all of this too (claim_name()).
    """

    file: str  # a path as text: a listing makes thousands of these
    entry: Entry
    stage: Stage
    destination: str
    rank: str

    @property
    def path(self) -> Path:
        """The file, as long as nobody else has moved it."""
        return Path(self.file)

    @property
    def size(self) -> int:
        """Bytes on disk now; FileNotFoundError if somebody else has moved it."""
        return os.stat(self.file).st_size


def claim_name(stage: Stage, destination: str, rank: str, entry: Entry) -> str:
    """The name of a claim, from which its place can be told again."""
    return SEPARATOR.join((stage, folder(destination), rank, entry.name))


def parse_claim(path: str | Path) -> Queued | None:
    """The claim that a path stands for; None if its name is not a claim's."""
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
