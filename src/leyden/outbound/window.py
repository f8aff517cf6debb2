"""The instances of one destination that may be sent now, held in memory.

The window is filled by looks at the queue: when something may have come and the window is less than half full, else
once a second, and seldom while nothing can be sent. Looks take at most a fifth of a core.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Executor
from itertools import chain

from leyden.deliver.suspicion import Suspicion
from leyden.inline import Inline
from leyden.outbound.queue import WINDOW, Instance, SendQueue
from leyden.spool import doorbell

logger = logging.getLogger("leyden.sender")

LOOK_S = 1.0
LOOK_BLOCKED_S = 60.0  # while nothing can be sent: only for the sake of expiryThreshold
LOOK_SHARE = 4  # after a look of t seconds the next one comes 4 t later
REST_MAX_S = 30.0  # at most so much; a machine that stood still meanwhile has a look of hours


class Window:
    """What waits, in the order of sending; run() fills it. Every method is for the thread of the event loop.

    An instance is `waiting` (sent with the others), one of the `suspects` (tried alone), or `in_hand` from the moment
    that it is bound to an association until its claim has ended; each by its receipt.
    """

    def __init__(self, title: str, queue: SendQueue, suspicion: Suspicion, threads: Executor) -> None:
        self.waiting: dict[str, Instance] = {}
        self.suspects: dict[str, Instance] = {}
        self.in_hand: dict[str, Instance] = {}
        self._order: dict[str, int] = {}  # receipt -> its place in the order of sending, of all that wait
        self._by_series: dict[str, dict[str, Instance]] = {}  # of those that wait
        self._next: dict[str, Instance] | None = None  # see in_turn(); None = no series is sorted
        self._title = title
        self._queue = queue
        self._suspicion = suspicion
        self._sorted_version = suspicion.version  # of the suspicion, when suspects were told apart
        self._threads = threads
        self._inline = Inline()
        self._wanted = True  # something may have come since the last look began
        self._looked_s = float("-inf")
        self.behind = False  # nothing could be sent, and nobody has looked since: an object of a lower rank waits here
        self._moved: set[str] = set()  # receipts of the claims that ended in a move since the last look began
        self._pulse = asyncio.Event()

    async def run(
        self, blocked: Callable[[], bool], passed_over: Callable[[], Collection[str]], filled: Callable[[], None]
    ) -> None:
        """Look whenever a look is due, and call `filled` after each one; until it is cancelled.

        `blocked`: whether nothing can be sent at the moment; `passed_over`: the calling AE titles that are to be left
        out.
        """
        while True:
            while not self._is_due(blocked()):
                self._pulse.clear()
                await self._pulse.wait()
            start_s = time.monotonic()
            fresh = 0
            try:
                fresh = await self._look(passed_over())
                filled()
            except Exception:
                logger.exception("%s: a fault of ours", self._title)
            took_s = self._looked_s - start_s
            next_s = max(self._looked_s + min(LOOK_SHARE * took_s, REST_MAX_S), start_s + doorbell.gather_s(fresh))
            await asyncio.sleep(next_s - time.monotonic())

    def ring(self) -> None:
        """Something may have come."""
        self._wanted = True
        self._pulse.set()

    def pulse(self) -> None:
        """Time has passed, or what blocks has changed; to be called a few times a second."""
        self._pulse.set()

    def catch_up(self) -> None:
        """Something can be sent again: what came meanwhile may have a higher rank than what waits here."""
        self.behind = True
        self.ring()

    def look_anew(self, queue: SendQueue) -> None:
        """Forget what waits and look by this queue: it sees the same files, by other settings."""
        self._queue = queue
        self.waiting = {}
        self.suspects = {}
        self.ring()

    def skip_delays(self, wall_s: float) -> None:
        """As for SendQueue."""
        self._queue.skip_delays(wall_s)
        self.ring()

    async def emptied(self) -> None:
        """Until nothing is in hand any more; looked for at each pulse(). Not beside run()."""
        while self.in_hand:
            self._pulse.clear()
            await self._pulse.wait()

    def _is_due(self, blocked: bool) -> bool:
        if self._wanted and len(self.waiting) < WINDOW // 2 and not blocked:
            return True
        return time.monotonic() - self._looked_s >= (LOOK_BLOCKED_S if blocked else LOOK_S)

    async def _look(self, passed_over: Collection[str]) -> int:
        """Fill the window; how many of the instances are new."""
        self._wanted = False
        self._moved.clear()
        known = {**self.waiting, **self.suspects, **self.in_hand}
        suspected = self._suspicion.suspects
        queue = self._queue
        try:
            found = await self._inline.run(self._threads, queue.look, known, passed_over, time.time(), suspected)
        except OSError as error:
            logger.error("%s: the queue cannot be read: %s", self._title, error)
            return 0
        finally:
            self._looked_s = time.monotonic()
            self.behind = self.behind and self._wanted
        if queue is not self._queue:
            return 0
        if self._moved:
            # These may have been made anew meanwhile, under the same name; and the look may have missed an older entry
            # that a serial one has to wait for. The next look sees them.
            found = [each for each in found if each.receipt not in self._moved and not each.queued.entry.serial]
        self._tell_apart(instance for instance in found if instance.receipt not in self.in_hand)
        return sum(instance.receipt not in known for instance in found)

    def all_waiting(self) -> Iterator[Instance]:
        """What waits and what is suspect."""
        return chain(self.waiting.values(), self.suspects.values())

    def sort(self) -> None:
        """Tell the suspects apart anew if the suspicion has changed."""
        if self._sorted_version != self._suspicion.version:
            in_order = sorted(self.all_waiting(), key=lambda instance: self._order[instance.receipt])
            self._tell_apart(self._queue.in_order(in_order))

    def _tell_apart(self, instances: Iterable[Instance]) -> None:
        """`instances` in the order of sending."""
        self._sorted_version = self._suspicion.version
        waiting: dict[str, Instance] = {}
        suspects: dict[str, Instance] = {}
        by_series: dict[str, dict[str, Instance]] = {}
        self._order = {}
        for instance in instances:
            self._order[instance.receipt] = len(self._order)
            if self._suspicion.suspects(instance):
                suspects[instance.receipt] = instance
            else:
                waiting[instance.receipt] = instance
                by_series.setdefault(instance.series, {})[instance.receipt] = instance
        self.waiting = waiting
        self.suspects = suspects
        self._by_series = by_series
        self._next = None
        if any(instance.ordered for instance in waiting.values()):
            self._next = {}
            for instance in waiting.values():
                self._next.setdefault(_turn(instance), instance)

    def in_turn(self) -> Collection[Instance]:
        """What waits, in the order of sending; of a series that is sorted only the next one."""
        return (self.waiting if self._next is None else self._next).values()

    def of_series(self, series: str) -> Collection[Instance]:
        """Those of a series that wait, in the order of sending."""
        return self._by_series.get(series, {}).values()

    def take(self, instance: Instance) -> Instance:
        """Out of what waits, into hand. KeyError: it does not wait."""
        if self.waiting.pop(instance.receipt, None) is None:
            del self.suspects[instance.receipt]
        elif (of_series := self._by_series.get(instance.series)) is not None:
            of_series.pop(instance.receipt, None)
            if self._next is not None:
                turn = _turn(instance)
                following = next((each for each in of_series.values() if _turn(each) == turn), None)
                if instance.ordered and following is not None:
                    self._next[turn] = following  # in the place of the one before it
                else:
                    self._next.pop(turn, None)
        self.in_hand[instance.receipt] = instance
        return instance

    def moved(self, instance: Instance) -> None:
        """Out of hand: its claim ended in a move, here or to another stage."""
        self.in_hand.pop(instance.receipt, None)
        self._moved.add(instance.receipt)
        self._wanted = True

    def gone(self, instance: Instance) -> None:
        """Out of hand: it is no longer in the spool."""
        self.in_hand.pop(instance.receipt, None)
        self._suspicion.forget(instance.receipt)


def _turn(instance: Instance) -> str:
    """What is the same for all instances that are sent one after the other."""
    return instance.rank + instance.series if instance.ordered else instance.receipt
