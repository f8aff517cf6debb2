"""The sender: one process that delivers what stands in prepared/, to every destination on its own terms.

An event loop, an Outbox a destination, a few threads for the disk, and one that makes receipts durable by the group.
On SIGTERM nothing more is claimed, what is under way may finish for a few seconds, and every claim is given back.
Deliberately absent: any decision (deliver/), any codec, any look into a dataset beyond its file meta.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvloop

from leyden import crash, log
from leyden.deliver import schedule
from leyden.inherited import Inherited
from leyden.inline import Inline
from leyden.outbound.outbox import Outbox
from leyden.spool.doorbell import Bell
from leyden.spool.entry import Queued
from leyden.spool.receipts import ReceiptLog
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.sender")

TICK_S = 0.25
ALIVE_S = 60.0
DRAIN_S = 5.0
DISK_THREADS = 4
NOT_DURABLE_MAX = 256
GATHER_S = 0.005  # a thread's hand-over an object costs more than all else together
PURGE_S = 600.0
SCHEDULE_S = 5.0

_Delivered = tuple[Queued, Mapping[str, Any], Callable[[], None]]


class GroupReceipts:
    """Receipts made durable by the group: while one batch is being synced the next one gathers."""

    def __init__(self, spool: Spool, writer: str) -> None:
        self._spool = spool
        self._log = ReceiptLog(spool.root, writer)
        self._thread = ThreadPoolExecutor(1, "receipts")
        self._inline = Inline()
        self._gathering: list[_Delivered] = []
        self._running: asyncio.Task[None] | None = None
        self._not_durable = 0
        self._room = asyncio.Event()
        self._room.set()

    def add(self, claim: Queued, line: Mapping[str, Any], done: Callable[[], None]) -> None:
        """Take over the claim of what was delivered: its line becomes durable, then it is unlinked, then `done`."""
        self._gathering.append((claim, line, done))
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
            batch, self._gathering = self._gathering, []
            await self._inline.run(self._thread, self._commit, batch)
            with log.together():
                for _, _, done in batch:
                    done()
            self._not_durable -= len(batch)
            if self._not_durable < NOT_DURABLE_MAX:
                self._room.set()
        self._running = None

    def _commit(self, batch: Sequence[_Delivered]) -> None:
        try:
            self._log.append(*(line for _, line, _ in batch))
            crash.point("receipt-written")
            if self._spool.sync:
                self._log.sync()
            crash.point("receipt-synced")
        except OSError as error:
            # Delivered is delivered: keeping the files would only fill a full disk for good.
            logger.error("%d receipts could not be written: %s", len(batch), error)
        for claim, _, _ in batch:
            try:
                self._spool.delivered(claim)
                crash.point("delivered-unlinked")
            except OSError as error:
                logger.error("%s was delivered but cannot be removed: %s", claim.path.name, error)

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
        self._log.close()


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM (what is under way is finished or given back; exit code 0)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(inherited))
    return 0


async def _serve(inherited: Inherited) -> None:
    loop, settings, spool = asyncio.get_running_loop(), inherited.settings, inherited.spool
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    bell = Bell(spool.root, "sender")
    receipts = GroupReceipts(spool, inherited.name)
    threads = ThreadPoolExecutor(DISK_THREADS, "disk")
    outboxes = [
        Outbox(destination, spool, inherited.name, settings.my_ae_title, receipts, threads, settings.workers)
        for destination in settings.destinations
    ]

    def ring() -> None:
        bell.drain()
        for outbox in outboxes:
            outbox.look()

    loop.add_reader(bell.fileno(), ring)
    inherited.heartbeat.alive(ALIVE_S)
    try:
        await _watch(inherited, outboxes, receipts, stop)
    finally:
        loop.remove_reader(bell.fileno())
        logger.info("stopping: nothing more is claimed; what is under way has %.0f s", DRAIN_S)
        await asyncio.gather(*(outbox.drain(DRAIN_S) for outbox in outboxes))
        await receipts.close()
        threads.shutdown()
        bell.close()
    delivered = sum(outbox.statistics().delivered for outbox in outboxes)
    logger.info("stopped after %d deliveries; what is left waits in the spool", delivered)


async def _watch(
    inherited: Inherited, outboxes: Iterable[Outbox], receipts: GroupReceipts, stop: asyncio.Event
) -> None:
    """The ticks: the pools, the schedules, the heartbeat, the old receipts."""
    loop = asyncio.get_running_loop()
    schedule_due_s = purge_due_s = 0.0
    while not stop.is_set():
        now_s = loop.time()
        inherited.heartbeat.alive(ALIVE_S)
        receipts.check()
        if now_s >= schedule_due_s:
            schedule_due_s = now_s + SCHEDULE_S
            _apply_schedules(outboxes)
        if now_s >= purge_due_s:
            purge_due_s = now_s + PURGE_S
            await receipts.purge(inherited.settings.receipt_expiry_h)
        for outbox in outboxes:
            outbox.tick()
        try:
            await asyncio.wait_for(stop.wait(), TICK_S)
        except TimeoutError:
            continue


def _apply_schedules(outboxes: Iterable[Outbox]) -> None:
    local = time.localtime()
    minute = local.tm_hour * 60 + local.tm_min
    addresses: frozenset[str] | None = None
    for outbox in outboxes:
        destination = outbox.destination
        serving = schedule.is_open(destination.schedule, minute)
        if serving and destination.networks:
            if addresses is None:
                addresses = local_addresses()
            serving = schedule.is_here(destination.networks, addresses)
        if serving != outbox.serving:
            outbox.serving = serving
            state = "resumed" if serving else "paused"
            logger.info("%s: deliveries %s by ProcessSchedule or ProcessNetworks", destination.ae_title, state)


def local_addresses() -> frozenset[str]:
    """The IPv4 and IPv6 addresses of this host's interfaces (of our network namespace)."""
    texts = []
    for name in ("fib_trie", "if_inet6"):
        try:
            texts.append(Path("/proc/net", name).read_text(encoding="ascii"))
        except OSError:  # no IPv6 here, or no IPv4
            texts.append("")
    return schedule.local_addresses(*texts)
