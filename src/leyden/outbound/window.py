"""The window on one destination's queue: which entries may be sent now, in which order, and what their heads say.

It lists names and opens only the files that it has not seen yet. It runs in a thread of the sender, one look at a time
for a destination; what it gives back is the caller's. Deliberately absent: claiming and sending.
"""

import errno
import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from leyden.deliver.destination import Destination
from leyden.deliver.pool import Request
from leyden.deliver.schedule import StudyDelay
from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head
from leyden.errors import Corrupt
from leyden.form.ladder import Pair
from leyden.spool import recover
from leyden.spool.entry import Queued, key
from leyden.spool.stage import SENT_FROM
from leyden.spool.store import Spool

WINDOW = 4096  # entries of one destination in memory, and as many suspects
NEWEST = 256  # of the suspects beyond
PASSED_MAX = 100_000  # of these, whose kind is remembered
RECLAIM_S = 10.0
LISTED_MAX = 10_000_000
HEAD_BYTES = 1024
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no link, no FIFO that hangs us
OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # says nothing of the file: try again


@dataclass(frozen=True, slots=True)
class Parcel(Request):
    """A request together with its file: `offset` is where the dataset begins."""

    waiting: Queued
    meta: FileMeta
    offset: int


@dataclass(slots=True)
class Found:
    """What a look brought: the parcels in the order of sending, and what was put on a shelf meanwhile."""

    parcels: list[Parcel] = field(default_factory=list)
    expired: int = 0
    unreadable: list[str] = field(default_factory=list)


class Window:
    """Looks at what waits for one destination, to be sent or for an answer to whether it takes a lossy syntax."""

    def __init__(self, spool: Spool, destination: Destination, claimant: str, my_ae_title: str) -> None:
        self._spool, self._destination, self._claimant = spool, destination, claimant
        self._my_ae_title = my_ae_title
        self._reclaim_s = 0.0
        self._passed: dict[str, tuple[str, Pair]] = {}  # calling AE title and pair of suspects beyond the window
        self._delay = StudyDelay(destination.process_delay_ms / 1000, destination.process_delay_window_multiplier)

    def look(
        self,
        known: Mapping[str, Parcel],
        passed_over: Collection[str],
        wall_s: float,
        suspected: Callable[[Request], bool] = lambda _: False,
    ) -> Found:
        """The entries that may be sent now: at most WINDOW, lowest rank first, then the oldest.

        `known` holds the parcels of the last look by receipt, and all that are claimed; they are not read again.
        Entries of the calling AE titles in `passed_over` are left out, so that they can't fill the window; `suspected`
        ones are counted apart, for the same reason: of these there are the oldest, and the newest, one of which may be
        harmless. `wall_s` is the time of day in seconds since 1970. OSError: the folders cannot be read.
        """
        found = Found()
        title = self._destination.ae_title
        if wall_s >= self._reclaim_s:
            self._reclaim_s = wall_s + RECLAIM_S
            self._reclaim(known)
        self._delay.forget(wall_s)
        self._spool.due(title, wall_s)
        ready = self._ready({key(calling) for calling in passed_over}, wall_s, found)
        room = suspects_room = WINDOW
        beyond: deque[Queued] = deque(maxlen=NEWEST)
        before, self._passed = self._passed, {}
        while room > 0 and (batch := list(islice(ready, WINDOW))):
            serial = [waiting.entry for waiting in batch if waiting.entry.serial]
            held_back = self._spool.held_back(title, serial) if serial else set()
            for waiting in batch:
                receipt = waiting.entry.receipt
                if room == 0:
                    break
                if receipt in held_back:
                    continue
                if suspects_room == 0 and (seen := before.get(receipt)) and suspected(_request(waiting, *seen)):
                    self._pass(receipt, seen)
                    beyond.append(waiting)
                    continue
                parcel = self._parcel(waiting, known, found)
                if parcel is None:
                    continue
                if not suspected(parcel):
                    room -= 1
                elif suspects_room > 0:
                    suspects_room -= 1
                else:
                    self._pass(receipt, (parcel.calling, parcel.pair))
                    beyond.append(waiting)
                    continue
                found.parcels.append(parcel)
        newest = (self._parcel(waiting, known, found) for waiting in beyond)
        found.parcels += [parcel for parcel in newest if parcel is not None]
        return found

    def _pass(self, receipt: str, seen: tuple[str, Pair]) -> None:
        if len(self._passed) < PASSED_MAX:  # what is not remembered is read again
            self._passed[receipt] = seen

    def _parcel(self, waiting: Queued, known: Mapping[str, Parcel], found: Found) -> Parcel | None:
        parcel = known.get(waiting.entry.receipt)
        if parcel is None or parcel.waiting != waiting:
            return self._peek(waiting, found)
        return parcel

    def _reclaim(self, known: Collection[str]) -> None:
        """Give back the claims that nobody holds any more: the disk did not let them go when their work ended."""
        title = self._destination.ae_title
        held = self._spool.claims(self._claimant)
        lost = [claim for claim in held if claim.destination == title and claim.entry.receipt not in known]
        if lost:
            recover.give_back(self._spool, lost)

    def _ready(self, passed_over: set[str], wall_s: float, found: Found) -> Iterator[Queued]:
        queues = (self._spool.waiting(stage, self._destination.ae_title, LISTED_MAX) for stage in SENT_FROM)
        for waiting in heapq.merge(*queues, key=lambda waiting: (waiting.rank, waiting.entry.receipt)):
            entry = waiting.entry
            age_s = wall_s - max(entry.received_s, entry.retried_s)
            if age_s > self._destination.expiry_threshold_s > 0:
                claim = self._spool.claim(waiting, self._claimant)
                if claim is not None:
                    self._spool.expire(claim)
                    found.expired += 1
            elif (
                entry.source_key not in passed_over and self._delay.ready_s(entry.study_key, entry.received_s) <= wall_s
            ):
                yield waiting

    def _peek(self, waiting: Queued, found: Found) -> Parcel | None:
        try:
            head = _read_head(waiting)
        except FileNotFoundError:
            return None
        except (OSError, Corrupt) as error:
            if isinstance(error, OSError) and error.errno in OURS:
                raise
            self._fail(waiting, f"{waiting.entry.receipt}: {error}", found)
            return None
        meta, offset = head
        calling = (meta.sending if self._destination.impersonate else "") or self._my_ae_title
        pair = (meta.sop_class_uid, meta.transfer_syntax_uid)
        request = _request(waiting, calling, pair)
        return Parcel(
            request.rank, request.receipt, calling, pair, time.monotonic(), waiting, meta, offset,
            study=request.study,
            losses=request.losses,
        )  # fmt: skip

    def _fail(self, waiting: Queued, reason: str, found: Found) -> None:
        claim = self._spool.claim(waiting, self._claimant)
        if claim is not None:
            self._spool.fail(claim, {"reason": f"cannot be sent: {reason}"})
            found.unreadable.append(reason)


def _request(waiting: Queued, calling: str, pair: Pair) -> Request:
    entry = waiting.entry
    losses = entry.unanswered if entry.attempt else 0  # without an attempt it was our end, not the peer's
    return Request(waiting.rank, entry.receipt, calling, pair, 0.0, study=entry.study_key, losses=losses)


def _read_head(waiting: Queued) -> tuple[FileMeta, int]:
    fd = os.open(waiting.file, OPEN_FLAGS)
    try:
        head = decode_head(os.pread(fd, HEAD_BYTES, 0)) or decode_head(os.pread(fd, HEAD_MAX_BYTES, 0))
    finally:
        os.close(fd)
    if head is None:
        raise Corrupt("the file meta information does not end")
    return head
