"""The claims of one destination: an instance is claimed before it is sent, and its claim ends in exactly one way.

Claims.end() is the one place where that happens; outcome.py decides which way. What never becomes an attempt, because
it is too old or no DICOM file, is claimed and put away where it is listed (queue.py).
"""

import asyncio
import logging
import time
from concurrent.futures import Executor
from functools import partial
from typing import Any

import msgspec

from leyden import board, crash, log
from leyden.board import Cell
from leyden.deliver.destination import Destination
from leyden.dicom.uids import syntax_name
from leyden.journal.events import Delivered, Rejected
from leyden.journal.lines import tell
from leyden.outbound.outcome import Ending, History, Outcome, Response, gone, kept
from leyden.outbound.queue import Instance
from leyden.outbound.receipts import GroupReceipts
from leyden.outbound.window import Window
from leyden.spool import doorbell
from leyden.spool.entry import Queued
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.sender")

SLOW_ABORTS = 3
DISK_PAUSE_S = 1.0


class Statistics(msgspec.Struct):
    """Counts since the start of the process, and what last happened (seconds since 1970; 0 = nothing yet)."""

    delivered: int = 0
    warnings: int = 0
    delivered_bytes: int = 0
    deferred: int = 0
    remade: int = 0
    rejected: int = 0
    lost: int = 0
    last_delivered_s: float = 0.0
    last_error: str = ""
    last_error_s: float = 0.0

    def went_wrong(self, reason: str) -> None:
        """With the destination, an object, or this machine."""
        self.last_error, self.last_error_s = reason, round(time.time(), 3)


class Claims:
    """Takes and ends the claims of one destination, for the instances that the window has in hand.

    `workers` is how many bells ring when something goes back to transform/.
    """

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        claimant: str,
        window: Window,
        receipts: GroupReceipts,
        threads: Executor,
        workers: int,
    ) -> None:
        self.statistics = Statistics()
        self.history = History()
        self.destination = destination
        self._spool = spool
        self._claimant = claimant
        self._window = window
        self._receipts = receipts
        self._threads = threads
        self._workers = workers
        self._loop = asyncio.get_running_loop()

    def take(self, instance: Instance) -> Queued | Outcome:
        """The claim of an instance; or the outcome, if it cannot be claimed."""
        try:
            claim = self._spool.claim(instance.queued, self._claimant)
        except OSError as error:
            return kept(instance, None, error)
        if claim is None:
            return gone(instance)
        crash.point("claimed")
        return claim

    async def end(self, outcome: Outcome) -> None:
        """Do with an instance what its outcome says. Never raises for what the disk does: then it stays in the queue.

        Returns when that is done, but for a delivery: its receipt is written a little later (call_soon), when the next
        object is on its way, so that the peer is busy meanwhile. It waits only while too many receipts are not durable.
        """
        match outcome.ending, outcome.claim:
            case Ending.DELIVERED, Queued() as claim:
                self._loop.call_soon(self._deliver, outcome, claim)
                await self._receipts.room()
            case Ending.RETURNED, _:
                self.end_at_once(outcome)
            case Ending.KEPT, _:
                await self._keep(outcome, outcome.reason)
            case Ending.GONE, _:
                self._window.gone(outcome.instance)
            case _, Queued() as claim:
                await self._move(outcome, claim)

    def end_at_once(self, outcome: Outcome) -> None:
        """The same for what goes back to the queue at once, when nothing can be awaited."""
        self._note(outcome)
        self._tell(outcome)
        self._give_back(outcome)

    def _deliver(self, outcome: Outcome, claim: Queued) -> None:
        (event,) = outcome.events(self.destination.ae_title)
        assert isinstance(event, Delivered)
        self._receipts.add(claim, event, partial(self._delivered, outcome, event))

    def _delivered(self, outcome: Outcome, event: Delivered) -> None:
        """The receipt is durable, and the file is gone."""
        self._note(outcome)
        tell(event)
        if outcome.comment and event.status:
            self._log(logging.INFO, "%s: the warning says: %s", outcome, outcome.comment)
        self._window.gone(outcome.instance)

    async def _move(self, outcome: Outcome, claim: Queued) -> None:
        """In a thread: it may wait for the disk."""
        try:
            moved = await asyncio.shield(self._loop.run_in_executor(self._threads, self._move_now, outcome, claim))
        except OSError as error:
            await self._keep(outcome, str(error))
        else:
            self._note(outcome)
            self._window.moved(outcome.instance)
            if outcome.ending is Ending.REJECTED and outcome.status is not None and not self.destination.keep_rejected:
                (event,) = outcome.events(self.destination.ae_title)
                assert isinstance(event, Rejected)
                self._receipts.add(moved, event, lambda: None)

    def _move_now(self, outcome: Outcome, claim: Queued) -> Queued:
        """Move it, then tell: what the log and the journal say has happened. Returns it as it stands in rejected/."""
        match outcome.ending:
            case Ending.DEFERRED:
                self._spool.defer(claim, time.time() + outcome.wait_s, unanswered=outcome.unanswered)
            case Ending.REMADE:
                self._spool.to_transform(claim, syntax_name(outcome.syntax))
                for number in range(self._workers):
                    doorbell.ring(self._spool.root, f"worker-{number}")
            case Ending.REJECTED:
                claim = self._spool.reject(claim, outcome.why())
            case Ending.FAILED:
                self._spool.fail(claim, {"reason": f"cannot be read: {outcome.reason}"})
        self._tell(outcome)
        return claim

    async def _keep(self, outcome: Outcome, reason: str) -> None:
        """A fault of this machine: whoever met it pauses, and the instance goes back to the queue."""
        self.statistics.went_wrong(reason)
        self._log(logging.ERROR, "%s stays in the queue: %s", outcome, reason)
        try:
            await asyncio.sleep(DISK_PAUSE_S)
        finally:
            self._give_back(outcome)

    def _give_back(self, outcome: Outcome) -> None:
        """To the queue again. If the disk does not allow it, a later look finds the claim, which nobody holds then."""
        if outcome.claim is not None:
            try:
                self._spool.give_back(outcome.claim, unanswered=outcome.unanswered)
            except OSError as error:
                self._log(logging.ERROR, "%s cannot go back to the queue yet: %s", outcome, error)
        self._window.moved(outcome.instance)

    # -- what is said of it

    def _note(self, outcome: Outcome) -> None:
        """What the next attempt has to know of this one, and the counts."""
        self.history.note(outcome)
        counts = self.statistics
        if outcome.reason and outcome.ending is not Ending.DELIVERED:
            counts.went_wrong(outcome.reason)
        if outcome.response in (Response.LOST, Response.STALLED, Response.TOO_SLOW):
            counts.lost += 1
            board.add(Cell.LOST)
        match outcome.ending:
            case Ending.DELIVERED:
                counts.delivered += 1
                counts.delivered_bytes += outcome.size_bytes
                counts.last_delivered_s = round(time.time(), 3)
                board.add(Cell.DELIVERED)
                board.add(Cell.DELIVERED_BYTES, outcome.size_bytes)
                counts.warnings += outcome.status != 0
            case Ending.DEFERRED:
                counts.deferred += outcome.status is not None
            case Ending.REMADE:
                counts.remade += 1
            case Ending.REJECTED:
                counts.rejected += 1

    def _tell(self, outcome: Outcome) -> None:
        """The journal, and what an operator should know besides. Also called in a thread."""
        for event in outcome.events(self.destination.ae_title):
            tell(event)
        if outcome.ending is Ending.REMADE:
            self._tell_remade(outcome)
        elif outcome.response is Response.TOO_SLOW:
            receipt, uid = outcome.instance.receipt, outcome.instance.meta.sop_instance_uid
            if self.history.of(receipt).slow_aborts == SLOW_ABORTS:
                text = "%s: the line is slower than MinimumLineSpeed: %s goes without that limit now"
                logger.warning(text, self.destination.ae_title, uid)

    def _tell_remade(self, outcome: Outcome) -> None:
        if outcome.syntax == self.destination.syntax:
            return
        title = self.destination.ae_title
        sop_class, source = outcome.instance.pair
        log.once(
            logger,
            logging.WARNING,
            f"{title} {sop_class} {source} {outcome.syntax}",
            f"{title} does not take {syntax_name(source)} for SOP class {sop_class}; "
            f"it gets {syntax_name(outcome.syntax)}",
        )

    def _log(self, level: int, text: str, outcome: Outcome, *details: Any) -> None:
        title, uid = self.destination.ae_title, outcome.instance.meta.sop_instance_uid
        logger.log(level, "%s: " + text, title, uid, *details)
