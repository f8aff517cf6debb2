"""Proof of delivery, made durable by the group: while one batch is synced the next one gathers."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence

from leyden import crash
from leyden.inline import Inline, begun
from leyden.journal.events import Delivered, Rejected
from leyden.journal.lines import together
from leyden.spool.entry import Queued
from leyden.spool.receipts import ReceiptLog
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.sender")

NOT_DURABLE_MAX = 256
GATHER_S = 0.005  # to hand over each object to a thread would cost more than all else together

_Handed = tuple[Queued, Delivered | Rejected, Callable[[], None]]


class GroupReceipts:
    """Writes the receipts of all destinations of a process. Every method is for the thread of the event loop."""

    def __init__(self, spool: Spool, writer: str) -> None:
        self._spool = spool
        self._log = ReceiptLog(spool.root, writer)
        self._thread = begun(1, "receipts")
        self._inline = Inline()
        self._gathering: list[_Handed] = []
        self._running: asyncio.Task[None] | None = None
        self._not_durable = 0
        self._room = asyncio.Event()
        self._room.set()

    def add(self, claim: Queued, event: Delivered | Rejected, done: Callable[[], None]) -> None:
        """Take over the claim of what was delivered: its receipt becomes durable, then it is unlinked, then `done`.

        What was rejected stands in rejected/ already, and stays there if its receipt does not become durable.
        """
        self._gathering.append((claim, event, done))
        self._not_durable += 1
        if self._not_durable >= NOT_DURABLE_MAX:
            self._room.clear()
        if self._running is None:
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def room(self) -> None:
        """Wait while too many are not durable yet."""
        if not self._room.is_set():
            await self._room.wait()

    async def _run(self) -> None:
        while self._gathering:
            await asyncio.sleep(GATHER_S)
            batch = self._gathering
            self._gathering = []
            await self._inline.run(self._thread, self._commit, batch)
            with together():
                for _, _, done in batch:
                    done()
            self._not_durable -= len(batch)
            if self._not_durable < NOT_DURABLE_MAX:
                self._room.set()
        self._running = None

    def _commit(self, batch: Sequence[_Handed]) -> None:
        proved = False
        try:
            self._log.append(*(event for _, event, _ in batch))
            crash.point("receipt-written")
            if self._spool.sync:
                self._log.sync()
            crash.point("receipt-synced")
            proved = True
        except OSError as error:
            # Delivered is delivered: keeping the files would only fill a full disk for good.
            logger.error("%d receipts could not be written: %s", len(batch), error)
        for claim, event, _ in batch:
            try:
                if not isinstance(event, Rejected):
                    self._spool.delivered(claim)
                    crash.point("delivered-unlinked")
                elif proved:
                    self._spool.forget_rejected(claim)
            except OSError as error:
                logger.error("%s is done with but cannot be removed: %s", claim.path.name, error)

    def check(self) -> None:
        """Raises what ended the writing, if a fault of ours has: the process is of no use then."""
        if self._running is not None and self._running.done():
            self._running.result()

    async def purge(self, expiry_h: float) -> None:
        """Remove the receipts of hours that are long over; the running hour stays, whatever is to be kept."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._log.purge, expiry_h, time.time())
        except OSError as error:
            logger.error("old receipts could not be removed: %s", error)

    async def close(self) -> None:
        """After everything handed in is durable."""
        if self._running is not None:
            await self._running
        self._thread.shutdown()
        with contextlib.suppress(OSError):  # each batch was synced when it was written
            self._log.close()
