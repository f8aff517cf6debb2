"""The sender: one process that delivers what waits in prepared/, to each destination as its node says.

It has one event loop, one Outbox for each destination, a few threads for the disk, and one thread that makes receipts
durable by the group. On SIGTERM nothing more is claimed; what is being sent has a few seconds to finish, and then every
claim is given back. Deliberately absent: any decision (deliver/), any codec, any look into a dataset beyond its file
meta unless a rule of sortings.yml asks for one.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvloop

from leyden.deliver import schedule
from leyden.inherited import Inherited
from leyden.outbound.outbox import Outbox
from leyden.outbound.receipts import GroupReceipts
from leyden.spool.doorbell import Bell

logger = logging.getLogger("leyden.sender")

TICK_S = 0.25
ALIVE_S = 60.0
DRAIN_S = 5.0
DISK_THREADS = 4
PURGE_S = 600.0
SCHEDULE_S = 5.0


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM (what is under way is finished or given back; exit code 0)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(inherited))
    return 0


async def _serve(inherited: Inherited) -> None:
    loop = asyncio.get_running_loop()
    settings = inherited.settings
    spool = inherited.spool
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    bell = Bell(spool.root, "sender")
    receipts = GroupReceipts(spool, inherited.name)
    threads = ThreadPoolExecutor(DISK_THREADS, "disk")
    outboxes = [
        Outbox(
            destination,
            spool,
            inherited.name,
            settings.my_ae_title,
            receipts,
            threads,
            settings.workers,
            settings.plan.sortings or (),
        )
        for destination in settings.destinations
    ]

    def ring() -> None:
        bell.drain()
        for outbox in outboxes:
            outbox.ring()

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
    """Until `stop`: the pulse of the outboxes, the schedules, the heartbeat, the removal of old receipts."""
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
    """The IPv4 and IPv6 addresses of this host's interfaces (in our network namespace)."""
    texts = []
    for name in ("fib_trie", "if_inet6"):
        try:
            texts.append(Path("/proc/net", name).read_text(encoding="ascii"))
        except OSError:  # no IPv6 here, or no IPv4
            texts.append("")
    return schedule.local_addresses(*texts)
