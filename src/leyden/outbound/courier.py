"""What becomes of one object: it is claimed, sent over an association, and its claim ended in exactly one way.

Delivered (a durable receipt, then the unlink), deferred (a transient answer, or the association ended under it), given
back (the line was slow, or we stop), turned (back to transform/, for a syntax that the destination does take),
rejected, or failed (it cannot be read).
"""

import asyncio
import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Protocol

from leyden import crash, log
from leyden.deliver import retry
from leyden.deliver.destination import Destination
from leyden.deliver.retry import Verdict
from leyden.deliver.throttle import Throttle
from leyden.dicom.uids import syntax_name
from leyden.errors import Corrupt, Transient
from leyden.form import ladder
from leyden.form.choose import Fail, Form, Make, Past, choose
from leyden.form.obstacle import Facts
from leyden.net import scu
from leyden.outbound.opened import Files
from leyden.outbound.window import OURS, Parcel
from leyden.spool import doorbell
from leyden.spool.entry import Queued
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.sender")

SLOW_ABORTS = 3
PAST_MAX = 100_000
DISK_PAUSE_S = 1.0


class Receipts(Protocol):
    """Where proof of delivery goes: `add` makes the line durable, then unlinks the claim, then calls `done`."""

    def add(self, claim: Queued, line: Mapping[str, Any], done: Callable[[], None]) -> None: ...

    async def room(self) -> None:
        """Wait while too many are not durable yet."""


class Fate(Enum):
    """What an attempt told about the destination."""

    ANSWERED = "answered"
    UNSUPPORTED = "unsupported"  # answered: it does not take this SOP class in this syntax, whatever it negotiated
    CONGESTED = "congested"  # a transient answer to the first try
    DEFERRED = "deferred"  # a transient answer to an object that had one before: that may be the object's own doing
    LOST = "lost"  # the association ended under it
    STALLED = "stalled"  # we ended it, for want of an answer
    SLOW = "slow"  # ended for the line's sake; the object is innocent
    UNTRIED = "untried"  # nothing was sent: somebody was faster, or the file cannot be read


@dataclass(slots=True)
class _Past:
    """What happened to one object before, as long as the process lives."""

    slow_aborts: int = 0
    refusals: int = 0  # permanent answers
    turned: tuple[str, ...] = ()  # the syntaxes it was sent back to transform/ for


@dataclass(slots=True)
class Statistics:
    """Counts since the start of the process."""

    delivered: int = 0
    warnings: int = 0
    delivered_bytes: int = 0
    deferred: int = 0
    turned: int = 0
    rejected: int = 0
    lost: int = 0


class Courier:
    """Carries the objects of one destination. `done(receipt, moved)` is called when a claim has ended; `moved`: the
    object waits again, here or in transform/."""

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        claimant: str,
        receipts: Receipts,
        threads: Executor,
        workers: int,
        done: Callable[[str, bool], None],
    ) -> None:
        self.statistics = Statistics()
        self._destination, self._spool, self._claimant = destination, spool, claimant
        self._receipts, self._threads, self._workers, self._done = receipts, threads, workers, done
        self._loop = asyncio.get_running_loop()
        self._past: OrderedDict[str, _Past] = OrderedDict()
        rate = destination.maximum_line_speed_kb_per_s * 1000
        self._throttle = Throttle(rate) if rate else None
        self._files = Files()

    def forget(self, link: scu.Association) -> None:
        """The association has ended."""
        self._files.forget(link)

    async def send(
        self,
        link: scu.Association,
        parcel: Parcel,
        taken: ladder.Acceptance | None,
        sharing: int,
        following: Callable[[], Iterable[Parcel]] = tuple,
    ) -> tuple[Fate, str]:
        """Claim, send, act on the answer; what it says of the destination, and the reason of a failure.

        `taken` is what the destination takes of this SOP class, `sharing` how many associations share the line,
        `following()` what may be bound to the association next, the likeliest first.
        Never raises for what the peer or the disk does.
        """
        claim = await self._claim(parcel)
        if claim is None:
            return Fate.UNTRIED, ""
        begin_s = time.monotonic()
        try:
            answer, size = await self._store(link, parcel, claim, sharing, following)
        except Transient as error:
            return await self._lost(parcel, claim, error)
        except (OSError, Corrupt) as error:
            if isinstance(error, OSError) and error.errno in OURS:
                await self._pause(parcel, claim, error)
            else:
                self._log(logging.ERROR, "%s cannot be read, moved to failed/: %s", parcel, error)
                await self._end(parcel, self._spool.fail, claim, {"reason": f"cannot be read: {error}"})
            return Fate.UNTRIED, ""
        except BaseException:  # cancelled, or a fault of ours: the object goes back to the queue
            self._give_back(parcel, claim, unanswered=True)
            raise
        return await self._answered(parcel, claim, answer, taken, size, time.monotonic() - begin_s)

    async def settle(self, parcels: list[Parcel], taken: Mapping[str, ladder.Acceptance]) -> None:
        """End objects whose syntax was refused in negotiation: turned if another one is taken, else rejected."""
        for parcel in parcels:
            claim = await self._claim(parcel)
            if claim is None:
                continue
            match self._form_after_refusal(parcel, taken.get(parcel.pair[0])):
                case Make(uid):
                    await self._turn(parcel, claim, uid)
                case Fail(reason):
                    await self._reject(parcel, claim, {"reason": reason})

    def turnable(self, parcel: Parcel, taken: ladder.Acceptance | None) -> str | None:
        """The syntax to turn an object into whose own was refused; None if there is none left."""
        form = self._form_after_refusal(parcel, taken)
        return form.syntax if isinstance(form, Make) else None

    def _form_after_refusal(self, parcel: Parcel, taken: ladder.Acceptance | None) -> Form:
        sop_class, source = parcel.pair
        refused = (source, *self._history(parcel.receipt).turned)
        past = Past(in_vain=dict.fromkeys(refused, "it was refused"), refused=True)
        return choose(Facts(source, sop_class), self._destination, taken or ladder.Acceptance(), past)

    def _history(self, receipt: str) -> _Past:
        return self._past.get(receipt) or _Past()

    def _remember(self, receipt: str) -> _Past:
        while len(self._past) >= PAST_MAX:
            self._past.popitem(last=False)
        return self._past.setdefault(receipt, _Past())

    async def _claim(self, parcel: Parcel) -> Queued | None:
        """None: moved or deleted by hand, or the listing was older than the last delivery, or the disk says no."""
        try:
            claim = self._spool.claim(parcel.waiting, self._claimant)
        except OSError as error:
            await self._pause(parcel, None, error)
            return None
        if claim is None:
            self._done(parcel.receipt, False)
        else:
            crash.point("claimed")
        return claim

    async def _pause(self, parcel: Parcel, claim: Queued | None, error: OSError) -> None:
        """A fault of this machine: the object stays in the queue, and whoever met it holds on for a second."""
        self._log(logging.ERROR, "%s stays in the queue: %s", parcel, error)
        try:
            await asyncio.sleep(DISK_PAUSE_S)
        finally:
            if claim is not None:
                self._give_back(parcel, claim)
            else:
                self._done(parcel.receipt, True)

    def _give_back(self, parcel: Parcel, claim: Queued, *, unanswered: bool = False) -> None:
        """To the queue again. What the disk does not let go the window finds, since nobody holds it any more."""
        try:
            self._spool.give_back(claim, unanswered=unanswered)
        except OSError as error:
            self._log(logging.ERROR, "%s cannot go back to the queue yet: %s", parcel, error)
        self._done(parcel.receipt, True)

    async def _store(
        self,
        link: scu.Association,
        parcel: Parcel,
        claim: Queued,
        sharing: int,
        following: Callable[[], Iterable[Parcel]],
    ) -> tuple[scu.StoreAnswer, int]:
        destination = self._destination
        opened = self._files.open(link, parcel, claim.file)
        size = opened.size
        try:
            minimum = self._minimum_bytes_per_s(parcel.receipt, sharing)
            answer = await link.store(
                link.accepted[parcel.pair],
                parcel.meta.sop_class_uid,
                parcel.meta.sop_instance_uid,
                opened.fd,
                parcel.offset,
                size,
                priority=destination.priority,
                stall_s=destination.stall_threshold_s,
                minimum_bytes_per_s=minimum,
                deadline_s=destination.storage_timeout_floor_s + size / minimum if minimum else 0.0,
                throttle=self._throttle,
                ahead_bytes=opened.ahead_bytes,
                meanwhile=lambda: self._files.open_ahead(link, following()),
            )
        finally:
            opened.close()
        crash.point("peer-answered")
        return answer, size

    def _minimum_bytes_per_s(self, receipt: str, sharing: int) -> float:
        """MinimumLineSpeed as this association's share of the line; MaximumLineSpeed must not make it a fault."""
        destination = self._destination
        if self._history(receipt).slow_aborts >= SLOW_ABORTS:
            return 0.0
        minimum = destination.minimum_line_speed_kb_per_s * 1000
        if destination.maximum_line_speed_kb_per_s:
            minimum = min(minimum, destination.maximum_line_speed_kb_per_s * 500)
        return minimum / max(1, sharing)

    # -- the ways in which a claim ends

    async def _answered(
        self,
        parcel: Parcel,
        claim: Queued,
        answer: scu.StoreAnswer,
        taken: ladder.Acceptance | None,
        size: int,
        took_s: float,
    ) -> tuple[Fate, str]:
        past = self._history(parcel.receipt)
        said = f"status 0x{answer.status:04X} {answer.comment}".rstrip()
        tries = past.refusals + 1
        verdict = retry.classify(answer.status, unanswered_before=claim.entry.unanswered > 0)
        match verdict:
            case Verdict.DELIVERED:
                # Not before the next object is on its way: then the peer works while we write this down.
                self._loop.call_soon(self._deliver, parcel, claim, answer.status, said, size, took_s)
                await self._receipts.room()
            case Verdict.TRANSIENT:
                await self._defer(parcel, claim, said)
                return Fate.DEFERRED if claim.entry.attempt else Fate.CONGESTED, said
            case Verdict.PERMANENT if tries < retry.PERMANENT_TRIES:
                self._remember(parcel.receipt).refusals = tries
                await self._defer(parcel, claim, said)
            case Verdict.UNSUPPORTED if not past.turned and (uid := self.turnable(parcel, taken)) is not None:
                await self._turn(parcel, claim, uid)
            case _:
                why = {"reason": said, "status": f"0x{answer.status:04X}", "comment": answer.comment, "tries": tries}
                await self._reject(parcel, claim, why)
        return Fate.UNSUPPORTED if verdict is Verdict.UNSUPPORTED else Fate.ANSWERED, ""

    def _deliver(self, parcel: Parcel, claim: Queued, status: int, said: str, size: int, took_s: float) -> None:
        title, meta = self._destination.ae_title, parcel.meta
        line = {
            "receipt": parcel.receipt,
            "destination": title,
            "sop_instance_uid": meta.sop_instance_uid,
            "status": status,
            "syntax": meta.transfer_syntax_uid,
            "calling": parcel.calling,
            "bytes": size,
            "at": round(time.time(), 3),
            **({"flag": meta.flag} if meta.flag else {}),
        }

        def proved() -> None:
            self._done(parcel.receipt, False)
            logger.info(
                "%s: delivered %s as %s, %d bytes in %.0f ms, calling as %s%s",
                title, meta.sop_instance_uid, syntax_name(meta.transfer_syntax_uid), size, took_s * 1000,
                parcel.calling, f", with {said}" if status else "",
            )  # fmt: skip

        self._past.pop(parcel.receipt, None)
        self._receipts.add(claim, line, proved)
        self.statistics.delivered += 1
        self.statistics.delivered_bytes += size
        if status:
            self.statistics.warnings += 1

    async def _lost(self, parcel: Parcel, claim: Queued, error: Transient) -> tuple[Fate, str]:
        self.statistics.lost += 1
        if not isinstance(error, scu.TooSlow):
            wait_s = retry.loss_delay_s(claim.entry.attempt + 1, random.random(), self._destination.retry_delays_s)
            await self._end(parcel, partial(self._spool.defer, unanswered=True), claim, time.time() + wait_s)
            return Fate.STALLED if isinstance(error, scu.Stalled) else Fate.LOST, str(error)
        past = self._remember(parcel.receipt)
        past.slow_aborts += 1
        if past.slow_aborts == SLOW_ABORTS:
            text = "the line is slower than MinimumLineSpeed: %s goes without that limit now"
            logger.warning("%s: " + text, self._destination.ae_title, parcel.meta.sop_instance_uid)
        self._give_back(parcel, claim, unanswered=True)
        return Fate.SLOW, str(error)

    async def give_up(self, parcel: Parcel, last_words: str) -> None:
        """Reject a suspect: it ended associations again and again while others were answered."""
        claim = await self._claim(parcel)
        if claim is None:
            return
        tries = claim.entry.unanswered
        why = {
            "reason": f"the association ended under it at each of {tries} tries, while others were answered",
            "tries": tries,
            "last_words": last_words,
        }
        self._log(logging.ERROR, "%s: given up after %d tries, to rejected/: %s", parcel, tries, last_words)
        await self._shelve(parcel, claim, why)

    async def _defer(self, parcel: Parcel, claim: Queued, said: str) -> None:
        wait_s = retry.delay_s(claim.entry.attempt + 1, random.random(), self._destination.retry_delays_s)
        self.statistics.deferred += 1
        self._log(logging.INFO, "%s: %s; next try in %.3g s", parcel, said, wait_s)
        await self._end(parcel, self._spool.defer, claim, time.time() + wait_s)

    async def _turn(self, parcel: Parcel, claim: Queued, uid: str) -> None:
        sop_class, source = parcel.pair
        name, title = syntax_name(uid), self._destination.ae_title
        self._remember(parcel.receipt).turned += (uid,)
        self.statistics.turned += 1
        if uid != self._destination.syntax:
            log.once(
                logger, logging.WARNING, f"{title} {sop_class} {source} {uid}",
                f"{title} does not take {syntax_name(source)} for SOP class {sop_class}; it gets {name}",
            )  # fmt: skip
        await self._end(parcel, self._spool.to_transform, claim, name)
        for number in range(self._workers):
            doorbell.ring(self._spool.root, f"worker-{number}")

    async def _reject(self, parcel: Parcel, claim: Queued, why: Mapping[str, Any]) -> None:
        self._log(logging.WARNING, "%s: rejected: %s", parcel, why["reason"])
        await self._shelve(parcel, claim, why)

    async def _shelve(self, parcel: Parcel, claim: Queued, why: Mapping[str, Any]) -> None:
        self._past.pop(parcel.receipt, None)
        self.statistics.rejected += 1
        await self._end(parcel, self._spool.reject, claim, why)

    async def _end(self, parcel: Parcel, move: Callable[..., None], claim: Queued, *details: Any) -> None:
        """Move a claim where it belongs, in a thread: it may wait for the disk."""
        try:
            await asyncio.shield(self._loop.run_in_executor(self._threads, move, claim, *details))
        except OSError as error:
            await self._pause(parcel, claim, error)
        else:
            self._done(parcel.receipt, True)

    def _log(self, level: int, text: str, parcel: Parcel, *details: Any) -> None:
        title, uid = self._destination.ae_title, parcel.meta.sop_instance_uid
        logger.log(level, "%s: " + text, title, uid, *details)
