"""What waits for one destination: which instances may be sent now, in which order, and what their heads say.

A look lists names and opens only the files that were not seen before. It runs in a thread of the sender, one look at a
time for a destination. Where sortings.yml orders series for the destination, it looks into the data sets too, as they
leave, and a series waits for those of it that are still to be made. Deliberately absent: claiming for sending, and
sending.
"""

import errno
import heapq
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice

from leyden.deliver import retry
from leyden.deliver.destination import Destination
from leyden.deliver.pool import SERIES_S, Request
from leyden.deliver.schedule import StudyDelay
from leyden.dicom.header import peek
from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head
from leyden.errors import Corrupt
from leyden.form.ladder import Pair
from leyden.journal.events import Expired, Failed
from leyden.journal.lines import tell
from leyden.plan import sort
from leyden.plan.rules import Sorting
from leyden.spool import recover
from leyden.spool.entry import Queued, key
from leyden.spool.stage import SENT_FROM, Stage
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.sender")

WINDOW = 4096  # instances of one destination in memory, and as many suspects
NEWEST = 256  # of the suspects beyond
SKIPPED_MAX = 100_000  # of these, whose kind is remembered
RECLAIM_S = 10.0
LISTED_MAX = 10_000_000
HEAD_BYTES = 1024
OPEN_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no symbolic link, no FIFO that hangs us
OURS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # says nothing of the file: try again


class Instance(Request, frozen=True, kw_only=True):
    """A SOP instance that wants to be sent, with its file; the data set begins at `offset`. `values` order it within
    its series (plan/sort.py)."""

    queued: Queued
    meta: FileMeta
    offset: int
    values: sort.Values = ()


class SendQueue:
    """Looks at what waits for one destination, to be sent or for an answer to whether it takes a lossy syntax."""

    def __init__(
        self,
        spool: Spool,
        destination: Destination,
        claimant: str,
        my_ae_title: str,
        sortings: Iterable[Sorting] = (),
    ) -> None:
        """`sortings`: those of all destinations."""
        title = destination.ae_title
        self._sortings = [each for each in sortings if not each.ae_titles or title in each.ae_titles]
        self._held: dict[str, Instance] = {}  # by receipt: they wait for others of their series
        self._spool = spool
        self._destination = destination
        self._claimant = claimant
        self._my_ae_title = my_ae_title
        self._reclaimed_s = float("-inf")
        self._skipped: dict[str, tuple[str, Pair]] = {}  # calling AE title and pair of the suspects beyond WINDOW
        self._delay = StudyDelay(destination.process_delay_ms / 1000, destination.process_delay_window_multiplier)

    def look(
        self,
        known: Mapping[str, Instance],
        passed_over: Collection[str],
        wall_s: float,
        suspected: Callable[[Request], bool] = lambda _: False,
    ) -> list[Instance]:
        """The instances that may be sent now: at most WINDOW, lowest rank first, then as Spool.waiting() has them.

        `known` holds those of the last look by receipt, and all that are claimed; their files are not read again.
        Instances of the calling AE titles in `passed_over` are left out, so that they can't fill the window. Those that
        are `suspected` are counted apart for the same reason: the oldest WINDOW of them, and of those beyond the
        newest, one of which may be harmless. `wall_s` is the time of day in seconds since 1970. What is too old goes to
        expired/, what is no DICOM file to failed/, with a line in the log. OSError: the folders cannot be read.
        """
        title = self._destination.ae_title
        if abs(wall_s - self._reclaimed_s) >= RECLAIM_S:  # the clock may have been set back
            self._reclaimed_s = wall_s
            self._reclaim(known)
        self._delay.forget(wall_s)
        self._spool.due(title, wall_s, retry.longest_s(self._destination.retry_delays_s))
        # Before the listing: what is made meanwhile is listed then.
        not_made = self._spool.not_made(title) if self._sortings else {}
        with closing(self._ready({key(calling) for calling in passed_over}, wall_s)) as ready:
            return self.in_order(self._choose(ready, known, suspected, not_made))

    def skip_delays(self, wall_s: float) -> None:
        """What was received up to this time of day does not wait for the rest of its study."""
        self._delay.skip(wall_s)

    def in_order(self, instances: Iterable[Instance]) -> list[Instance]:
        """`instances` (as look() finds them) in the order of sending: those of a series that is sorted stand together,
        where the oldest of them stood."""
        if not self._sortings:
            return list(instances)
        groups: dict[tuple[str, str], list[Instance]] = {}
        for instance in instances:
            alone = instance.rank, instance.receipt
            groups.setdefault((instance.rank, instance.series) if instance.ordered else alone, []).append(instance)
        return [
            instance
            for group in groups.values()
            for instance in (sort.ordered(self._sortings, group, _values_of) if len(group) > 1 else group)
        ]

    def _choose(
        self,
        ready: Iterator[Queued],
        known: Mapping[str, Instance],
        suspected: Callable[[Request], bool],
        not_made: Mapping[str, str],
    ) -> list[Instance]:
        """Those that find room, each of the two sorts in its own."""
        title = self._destination.ae_title
        first_s: dict[str, float] = {}  # of the series of which a part is not made: when the first of it came
        held_before = self._held
        self._held = {}
        found: list[Instance] = []
        room = suspects_room = WINDOW
        beyond: deque[Queued] = deque(maxlen=NEWEST)
        skipped_before = self._skipped
        self._skipped = {}
        while room > 0 and (batch := list(islice(ready, WINDOW))):
            serial = [queued.entry for queued in batch if queued.entry.serial]
            held_back = self._spool.held_back(title, serial) if serial else set()
            for queued in batch:
                receipt = queued.entry.receipt
                if room == 0:
                    break
                if receipt in held_back:
                    continue
                seen = skipped_before.get(receipt) if suspects_room == 0 else None
                if seen is not None and suspected(_request(queued, *seen)):
                    self._skip(receipt, seen)
                    beyond.append(queued)
                    continue
                instance = self._instance(queued, known if receipt in known else held_before)
                if instance is None:
                    continue
                if instance.ordered and instance.series in not_made and queued.stage is Stage.PREPARED:
                    received_s = first_s.setdefault(instance.series, queued.entry.received_s)
                    if int(not_made[instance.series][:16]) / 1e6 <= received_s + SERIES_S:
                        if len(self._held) < WINDOW:  # what is not remembered is read again
                            self._held[receipt] = instance
                        continue
                if not suspected(instance):
                    room -= 1
                elif suspects_room > 0:
                    suspects_room -= 1
                else:
                    self._skip(receipt, (instance.calling, instance.pair))
                    beyond.append(queued)
                    continue
                found.append(instance)
        newest = (self._instance(queued, known) for queued in beyond)
        return found + [instance for instance in newest if instance is not None]

    def _skip(self, receipt: str, seen: tuple[str, Pair]) -> None:
        if len(self._skipped) < SKIPPED_MAX:  # what is not remembered is read again
            self._skipped[receipt] = seen

    def _instance(self, queued: Queued, known: Mapping[str, Instance]) -> Instance | None:
        instance = known.get(queued.entry.receipt)
        return instance if instance is not None and instance.queued == queued else self._peek(queued)

    def _reclaim(self, known: Collection[str]) -> None:
        """Give back the claims that nobody holds any more: those that the disk did not let go when their work ended."""
        title = self._destination.ae_title
        held = self._spool.claims(self._claimant)
        lost = [claim for claim in held if claim.destination == title and claim.entry.receipt not in known]
        if lost:
            recover.give_back(self._spool, lost)

    def _ready(self, passed_over: set[str], wall_s: float) -> Generator[Queued]:
        """What is not to wait any longer, lowest rank first, then in turn; what is too old expires."""
        title = self._destination.ae_title
        expired = 0
        queues = (self._spool.waiting(stage, title, LISTED_MAX) for stage in SENT_FROM)
        try:
            for queued in heapq.merge(*queues, key=lambda queued: (queued.rank, queued.entry.receipt)):
                entry = queued.entry
                age_s = wall_s - max(entry.received_s, entry.retried_s)
                if age_s > self._destination.expiry_threshold_s > 0:
                    expired += self._expire(queued)
                elif entry.source_key in passed_over:
                    continue
                elif age_s < 0 or self._delay.ready_s(entry.study_key, entry.received_s) <= wall_s:
                    yield queued  # the former: the clock was set back after it came
        finally:
            if expired:
                logger.warning("%s: %d objects older than expiryThreshold moved to expired/", title, expired)

    def _expire(self, queued: Queued) -> bool:
        claim = self._spool.claim(queued, self._claimant)
        if claim is not None:
            try:
                meta, _ = _read_head(claim)
            except (OSError, Corrupt):
                meta = FileMeta("", "", "")
            self._spool.expire(claim)
            tell(
                Expired(
                    queued.entry.receipt,
                    destination=queued.destination,
                    sop_instance_uid=meta.sop_instance_uid,
                    calling=meta.sending,
                )
            )
        return claim is not None

    def _peek(self, queued: Queued) -> Instance | None:
        """The instance, by its file meta; None if somebody else has moved the file, or it is no DICOM file."""
        try:
            meta, offset = _read_head(queued)
        except FileNotFoundError:
            return None
        except (OSError, Corrupt) as error:
            if isinstance(error, OSError) and error.errno in OURS:
                raise
            self._fail(queued, f"not a DICOM file: {error}")
            return None
        calling = (meta.sending if self._destination.impersonate else "") or self._my_ae_title
        entry = queued.entry
        values = self._values(queued) if self._sortings and entry.series_key else None
        return Instance(
            rank=queued.rank,
            receipt=entry.receipt,
            calling=calling,
            pair=(meta.sop_class_uid, meta.transfer_syntax_uid),
            since_s=time.monotonic(),
            study=entry.study_key,
            series=entry.series,
            ordered=values is not None,
            losses=_losses(queued),
            queued=queued,
            meta=meta,
            offset=offset,
            values=values or (),
        )

    def _values(self, queued: Queued) -> sort.Values | None:
        """By what it is ordered within its series; None = by nothing."""
        try:
            fd = os.open(queued.file, OPEN_FLAGS)
            try:
                header = peek(lambda offset, length: os.pread(fd, length, offset), os.fstat(fd).st_size)
                look = sort.look(self._sortings, header, time.thread_time)
            finally:
                os.close(fd)
        except (OSError, Corrupt):
            return None  # it goes in its turn
        for text in sort.remarks(look):
            logger.info("%s: %s", queued.entry.receipt, text)
        return look.values

    def _fail(self, queued: Queued, reason: str) -> None:
        claim = self._spool.claim(queued, self._claimant)
        if claim is not None:
            self._spool.fail(claim, {"reason": reason})
            tell(Failed(queued.entry.receipt, destination=queued.destination, reason=reason))


def _values_of(instance: Instance) -> sort.Values:
    return instance.values


def _losses(queued: Queued) -> int:
    """How many associations have ended under it; without an attempt it was we who did not wait for the answer."""
    return queued.entry.unanswered if queued.entry.attempt else 0


def _request(queued: Queued, calling: str, pair: Pair) -> Request:
    entry = queued.entry
    return Request(queued.rank, entry.receipt, calling, pair, 0.0, study=entry.study_key, losses=_losses(queued))


def _read_head(queued: Queued) -> tuple[FileMeta, int]:
    fd = os.open(queued.file, OPEN_FLAGS)
    try:
        head = decode_head(os.pread(fd, HEAD_BYTES, 0)) or decode_head(os.pread(fd, HEAD_MAX_BYTES, 0))
    finally:
        os.close(fd)
    if head is None:
        raise Corrupt("the file meta information does not end")
    return head
