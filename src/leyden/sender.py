"""The sender: one process that delivers what waits in prepared/, to each destination as its node says.

It has one event loop, one Outbox for each destination, a few threads for the disk, and one thread that makes receipts
durable by the group. A reload changes the outboxes: a new destination gets one; one that is removed finishes what is
under way, and the rest of its queue stays in the spool. An operator's pause beats everything, an override beats
ProcessSchedule alone. On SIGTERM nothing more is claimed; what is being sent has a few seconds to finish, and then
every claim is given back. Deliberately absent: any decision (deliver/), any codec, any look into a dataset beyond its
file meta unless a rule of sortings.yml asks for one.
"""

import asyncio
import logging
import os
import signal
import time
from functools import cache, partial

import uvloop

from leyden import board
from leyden.config.settings import Settings
from leyden.deliver import schedule
from leyden.deliver.destination import Destination
from leyden.inherited import Inherited
from leyden.inline import begun
from leyden.log import once
from leyden.net.interfaces import local_addresses
from leyden.operate import outboxes
from leyden.outbound.outbox import Live, Outbox
from leyden.outbound.receipts import GroupReceipts
from leyden.spool.control import STORAGE_SCU, Controls, Order, flags_at
from leyden.spool.doorbell import Bell

logger = logging.getLogger("leyden.sender")

TICK_S = 0.25
ALIVE_S = 60.0
DRAIN_S = 5.0
DISK_THREADS = 4
PURGE_S = 600.0
SCHEDULE_S = 5.0
SAY_S = 1.0


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM (what is under way is finished or given back; exit code 0)."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(inherited))
    return 0


async def _serve(inherited: Inherited) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    bell = Bell(inherited.spool.root, "sender")
    sender = Sender(inherited)

    def ring() -> None:
        bell.drain()
        sender.ring()

    loop.add_reader(bell.fileno(), ring)
    inherited.heartbeat.alive(ALIVE_S)
    try:
        await _watch(inherited, sender, stop)
    finally:
        loop.remove_reader(bell.fileno())
        logger.info("stopping: nothing more is claimed; what is under way has %.0f s", DRAIN_S)
        await sender.drain()
        bell.close()
    logger.info("stopped after %d deliveries; what is left waits in the spool", sender.delivered())


class Sender:
    """The outboxes, and what they share. To be made in the event loop."""

    def __init__(self, inherited: Inherited) -> None:
        self._inherited = inherited
        self._spool = inherited.spool
        self.receipts = GroupReceipts(self._spool, inherited.name)
        self._threads = begun(DISK_THREADS, "disk")
        self._outboxes: dict[str, Outbox] = {}  # by AE title
        self._leaving: dict[str, tuple[Outbox, asyncio.Task[None]]] = {}  # those that finish what is under way
        self._delivered_before = 0  # by those that have left
        self._controls = Controls(self._spool.root)
        self._closed_by: dict[str, str] = {}  # by AE title; in words, "" = it is served
        self._said: dict[str, tuple[str, Live]] = {}  # see say()
        self._saying: asyncio.Future[None] | None = None
        self._go_by(inherited.settings)

    def ring(self) -> None:
        """Something may have arrived."""
        self._look_at_settings()
        for outbox in self._outboxes.values():
            outbox.ring()

    def tick(self) -> None:
        """To be called a few times a second."""
        self._look_at_settings()
        if self._controls.changed():
            self.apply_schedules()
        for outbox in (*self._outboxes.values(), *(outbox for outbox, _ in self._leaving.values())):
            outbox.tick()

    def delivered(self) -> int:
        """How many objects were delivered since the start."""
        return self._delivered_before + sum(outbox.statistics().delivered for outbox in self._outboxes.values())

    def _look_at_settings(self) -> None:
        if (newer := self._inherited.newer()) is not None:
            self._go_by(newer)

    def _go_by(self, settings: Settings) -> None:
        """Serve the destinations of these settings, each as they say."""
        wanted = {destination.ae_title: destination for destination in settings.destinations}
        sortings = settings.plan.sortings or ()
        for title in self._outboxes.keys() - wanted.keys():
            self._let_go(title)
        for title, destination in wanted.items():
            if title in self._outboxes:
                self._outboxes[title].go_by(destination, settings.my_ae_title, sortings)
            elif title not in self._leaving:  # the one from before has claims: it has to end first
                self._outboxes[title] = Outbox(
                    destination, self._spool, self._inherited.name, settings.my_ae_title,
                    self.receipts, self._threads, settings.workers, sortings,
                )  # fmt: skip
        self.apply_schedules()

    def _let_go(self, title: str) -> None:
        outbox = self._outboxes.pop(title)

        async def leave() -> None:
            await outbox.leave()
            self._delivered_before += outbox.statistics().delivered
            del self._leaving[title]
            self._go_by(self._inherited.settings)  # it may be wanted again by now

        self._leaving[title] = outbox, asyncio.get_running_loop().create_task(leave())

    def apply_schedules(self) -> None:
        """Pause and resume the outboxes, as operators, ProcessSchedule and ProcessNetworks say."""
        now_s = time.time()
        local = time.localtime(now_s)
        minute = local.tm_hour * 60 + local.tm_min
        paused = flags_at(self._controls.flags(), now_s).get(STORAGE_SCU)
        addresses = cache(local_addresses)
        before, self._closed_by = self._closed_by, {}
        for title, outbox in self._outboxes.items():
            destination = outbox.destination
            control = self._controls.of(title).at(now_s)
            closed_by = ""
            if paused is not None:
                closed_by = _by(paused, ", with the whole service")
            elif control.pause is not None:
                closed_by = _by(control.pause)
            elif control.override is None and not schedule.is_open(destination.schedule, minute):
                closed_by = "ProcessSchedule"
            elif destination.networks and not schedule.is_here(destination.networks, addresses()):
                closed_by = "ProcessNetworks"
            self._closed_by[title] = closed_by
            if (whole := self._controls.take_now(title)) is not None:
                logger.info("%s: tried now, as an operator asks", title)
                outbox.try_now(whole)
            if closed_by != before.get(title, "") or bool(closed_by) == outbox.serving:
                outbox.serving = not closed_by
                state = f"paused by {closed_by}" if closed_by else "resumed"
                logger.info("%s: deliveries %s", title, state)

    def say(self) -> None:
        """Write down how the destinations do (operate/outboxes.py), if that has changed."""
        if self._saying is not None:
            if not self._saying.done():
                return
            if (error := self._saying.exception()) is not None:
                once(logger, logging.WARNING, "say", f"how the destinations do can't be written down: {error}")
                self._said = {}
            self._saying = None
        said = {title: (self._closed_by.get(title, ""), outbox.live()) for title, outbox in self._outboxes.items()}
        if said != self._said:
            self._said = said
            ahead_s = time.time() - time.monotonic()
            document = {
                title: _told(self._outboxes[title].destination, closed_by, live, ahead_s)
                for title, (closed_by, live) in said.items()
            }
            write = partial(outboxes.write, self._spool.root, os.getppid(), document)
            self._saying = asyncio.get_running_loop().run_in_executor(self._threads, write)

    async def drain(self) -> None:
        """Claim nothing more; what is under way has DRAIN_S."""
        leaving = list(self._leaving.values())
        for _, task in leaving:
            task.cancel()
        outboxes = [*self._outboxes.values(), *(outbox for outbox, _ in leaving)]
        await asyncio.gather(*(outbox.drain(DRAIN_S) for outbox in outboxes))
        await self.receipts.close()
        if self._saying is not None:
            await asyncio.gather(self._saying, return_exceptions=True)  # nobody asks a sender that stops how it does
        self._threads.shutdown()
        self._delivered_before += sum(outbox.statistics().delivered for outbox, _ in leaving)


def _by(order: Order, what: str = "") -> str:
    until = time.strftime(", until %Y-%m-%d %H:%M", time.localtime(order.until_s)) if order.until_s else ""
    return f"{order.who}{what}{until}{f': {order.reason}' if order.reason else ''}"


def _told(destination: Destination, closed_by: str, live: Live, ahead_s: float) -> outboxes.Outbox:
    """`ahead_s`: how far the time of day is ahead of the monotonic clock."""
    counts = live.statistics
    return outboxes.Outbox(
        closed_by,
        live.in_hand,
        live.associations,
        live.opening,
        round(live.next_try_s + ahead_s, 1) if live.next_try_s else 0.0,
        live.failures,
        {caller: round(until_s + ahead_s, 1) for caller, until_s in live.callers},
        counts.last_error,
        counts.last_error_s,
        round(live.line_bytes_per_s / 1000, 1),
        counts.delivered,
        counts.delivered_bytes,
        counts.last_delivered_s,
        destination.process_delay_ms / 1000,
    )


async def _watch(inherited: Inherited, sender: Sender, stop: asyncio.Event) -> None:
    """Until `stop`: the pulse of the outboxes, the schedules, the heartbeat, the removal of old receipts."""
    loop = asyncio.get_running_loop()
    schedule_due_s = purge_due_s = say_due_s = 0.0
    while not stop.is_set():
        now_s = loop.time()
        inherited.heartbeat.alive(ALIVE_S)
        sender.receipts.check()
        if now_s >= schedule_due_s:
            schedule_due_s = now_s + SCHEDULE_S
            sender.apply_schedules()
        if now_s >= purge_due_s:
            purge_due_s = now_s + PURGE_S
            await sender.receipts.purge(inherited.settings.receipt_expiry_h)
        sender.tick()
        if now_s >= say_due_s:
            say_due_s = now_s + SAY_S
            sender.say()
        due_s = loop.time() + TICK_S
        try:
            await asyncio.wait_for(stop.wait(), TICK_S)
        except TimeoutError:
            board.late(loop.time() - due_s)
