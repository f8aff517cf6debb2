"""One receiver process: what its connections share.

While the disk fills up, new associations are rejected first, and later each object is refused. So they are while one
caller or one destination has its share of it (shares.py), for that one alone.
"""

import asyncio
import itertools
import logging
import math
import random
import time
from contextlib import suppress
from resource import RLIMIT_NOFILE, getrlimit

import msgspec

from leyden import board
from leyden.admission.flood import AGAIN_S
from leyden.board import Cell
from leyden.config.settings import ReceiverSettings
from leyden.holding import Holding
from leyden.net.link import READ_BUFFER_BYTES, Link
from leyden.net.tls import Session
from leyden.receiver.door import Door
from leyden.receiver.intake import Intake
from leyden.shares import Shares
from leyden.spool.batch import GroupCommit
from leyden.spool.doorbell import Ringer
from leyden.spool.entry import ReceiptClock
from leyden.spool.recent import Recent
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.receiver")

# Connections without an association; one more, and one is dropped. That is more than are made at once: of a burst all
# are accepted before the first request is read.
MAX_UNASSOCIATED = 2000
MAX_UNASSOCIATED_SHARE = 4  # of the descriptors that this process may have: a quarter
LOOKED_AT = 200  # of the oldest, for the one to drop


class Statistics(msgspec.Struct, frozen=True):
    """Connections that a receiver has now, and whole objects that it has kept since its start."""

    unassociated: int
    associations: int
    objects: int
    object_bytes: int


class Receiver:
    """One receiver process: what its connections share. `settings` are for the connections that come next."""

    def __init__(self, settings: ReceiverSettings, spool: Spool, number: int) -> None:
        self.spool = spool
        self.holding = Holding(spool)
        self.door = Door()
        self.shares = Shares(spool.root)
        self.go_by(settings)
        self._planner = Ringer(spool.root, "planner")
        self.commits = GroupCommit(spool, self._planner.ring)
        self.receipt_ids = ReceiptClock(number, random.randrange(10_000))
        self.buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self.unassociated: dict[Intake, None] = {}  # connections without an association, oldest first
        self.associations: set[Intake] = set()  # until their connection is closed
        self.established: set[Intake] = set()  # those of them that are neither released nor aborted
        self.objects = 0
        self.object_bytes = 0
        self.low = False  # too little space is free for new associations
        self.full = False  # too little space is free for objects
        self.draining = False
        self._max_unassociated = min(MAX_UNASSOCIATED, getrlimit(RLIMIT_NOFILE)[0] // MAX_UNASSOCIATED_SHARE)
        self._told_of_drop_s = -math.inf
        self._idle = asyncio.Event()

    def go_by(self, settings: ReceiverSettings) -> None:
        """Receive as these settings say from now on; an association that is there goes on as it was accepted."""
        self.settings = settings
        within_s = settings.duplicate_threshold_s if settings.duplicates != "accept" else 0.0
        self.recent = Recent(self.spool.root, within_s)
        self.holding.go_by(settings.longest_hold_s, settings.minimum_age_s)
        self.door.go_by(settings.callers, settings.max_associations, settings.quiet_ae_titles)
        self.shares.go_by(settings.shares)

    def connection(self, tls: Session | None = None) -> Link:
        """The protocol for a new connection, encrypted or not."""
        intake = Intake(self, tls)
        if len(self.unassociated) >= self._max_unassociated:
            # the oldest of those that have done the least
            least = min(itertools.islice(self.unassociated, LOOKED_AT), key=Intake.came_so_far)
            self._told_of_drop_s = self._tell_of_drop(least)
            least.link.drop()
            self.unassociated.pop(least)
        self.unassociated[intake] = None
        return intake.link

    def _tell_of_drop(self, least: Intake) -> float:
        """Once a minute: a flood of connections is none of lines. Returns when it was told the last time."""
        now_s = time.monotonic()
        if now_s - self._told_of_drop_s < AGAIN_S:
            return self._told_of_drop_s
        count = self._max_unassociated
        logger.warning("%d connections without an association, one is dropped: %s", count, least)
        return now_s

    def statistics(self) -> Statistics:
        return Statistics(len(self.unassociated), len(self.associations), self.objects, self.object_bytes)

    def look_at_disk(self) -> None:
        """Compare the free space with two limits, and log a change. A volume that does not tell counts as full.

        Below minFreeSpace objects are refused. New associations are rejected a quarter of it earlier, so that those
        that are there can send what they have; they are accepted again only a further quarter above that, so that the
        answer does not change with each file.
        """
        least_percent = self.settings.min_free_percent
        margin_percent = min(least_percent, 100 - least_percent) / 4
        try:
            free_percent, free = self.spool.free_percent()
            full = free_percent < least_percent
            low = full or free_percent < least_percent + margin_percent * (2 if self.low else 1)
        except OSError as error:
            full = low = True
            free = f"the spool's volume does not say what is free ({error.strerror})"
        if low and not self.low:
            logger.warning("%s: new associations are rejected (2,3,1)", free)
        if full and not self.full:
            logger.error("%s: objects are refused (0xA700)", free)
        if self.full and not full:
            logger.info("%s: objects are taken again", free)
        if self.low and not low:
            logger.info("%s: new associations are taken again", free)
        self.low, self.full = low, full

    async def drain(self, within_s: float) -> None:
        """End all associations and commits within `within_s`. One that is receiving an object may finish it."""
        self.draining = True
        for intake in (*self.unassociated, *self.associations):
            intake.drain()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while any(intake.busy for intake in self.associations):
                    self._idle.clear()
                    await self._idle.wait()
        for intake in (*self.unassociated, *self.associations):
            intake.link.abort()
            intake.link.drop()
        self.door.close()
        self.commits.close()
        self._planner.close()

    def drained(self) -> None:
        """Something that drain() may wait for has ended."""
        self._idle.set()

    def gone(self, intake: "Intake") -> None:
        self.unassociated.pop(intake, None)
        self.associations.discard(intake)
        board.put(Cell.ASSOCIATIONS, len(self.associations))
