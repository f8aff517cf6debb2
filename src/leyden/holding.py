"""Back-pressure: while much waits to be planned, the receiver holds its answers back (holdIncomingStorageAssociations).

An object is held after it is durable, so nothing but its sender waits: not other associations, no echo, release or
abort. Nor do callers who have not sent more than an equal part of it, as the planner takes them in turn. What waits in
new/ is counted in a thread, once a second while objects come and more often while answers are held, so that they go as
soon as the planner has caught up. Deliberately absent: a limit on what the codec or a destination has to do; that queue
is on the disk, which has its own limits (minFreeSpace, callerShare, destinationShare).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping

from leyden.spool.store import Spool

logger = logging.getLogger("leyden.receiver")

KEEPS_UP = 1024  # as many as the planner takes from one look at new/: fewer are no backlog
PER_S = 200  # more than that, and an answer waits a second longer
LOOK_S = 1.0
LOOK_HELD_S = 0.25
CALM_S = 10.0  # until the all-clear

Answer = Callable[[], None]


def hold_s(waiting: int, longest_s: float) -> float:
    """How long an answer is held back while so many objects wait to be planned."""
    return min(max(0, waiting - KEEPS_UP) / PER_S, longest_s)


def crowd(waiting: Mapping[str, int]) -> frozenset[str] | None:
    """The callers who have to wait for it: those with more than an equal part of KEEPS_UP; None = all.

    `waiting`: the key of a caller ("" = not known) -> how many objects of it wait to be planned.
    """
    found = frozenset(caller for caller, count in waiting.items() if count * len(waiting) > KEEPS_UP)
    return None if "" in found else found


class Holding:
    """The answers that one receiver holds back, each for `now_s` at most; it is 0 while the planner keeps up."""

    def __init__(self, spool: Spool) -> None:
        self.now_s = 0.0
        self._spool = spool
        self._longest_s = 0.0
        self._minimum_age_s = 0.0
        self._crowd: frozenset[str] | None = None  # the callers whose answers are held back; None = all
        self._held: deque[tuple[float, object, Answer]] = deque()  # since when, whose, what
        self._timer: asyncio.TimerHandle | None = None
        self._said = False  # the log says that answers are held back
        self._last_s = 0.0  # when there was reason to

    @property
    def held(self) -> int:
        """How many answers are held back."""
        return len(self._held)

    def holds(self, caller: str) -> bool:
        """Whether the answers to this caller (the key of its title) are held back now."""
        return self.now_s > 0 and (self._crowd is None or caller in self._crowd)

    def go_by(self, longest_s: float, minimum_age_s: float) -> None:
        """Hold no answer longer than this from now on; 0 = not at all."""
        self._longest_s = longest_s
        self._minimum_age_s = minimum_age_s
        self.now_s = min(self.now_s, longest_s)
        if self._held:
            self._go_on()

    async def watch(self, came: Callable[[], int]) -> None:
        """Look at new/ for ever. `came()` counts the objects that have come: without new ones nobody looks."""
        loop = asyncio.get_running_loop()
        seen = -1
        while True:
            if self._longest_s and (self._said or came() != seen):
                seen = came()
                most = KEEPS_UP + int(self._longest_s * PER_S)
                waiting, whose = await loop.run_in_executor(None, self._spool.unplanned, most, self._minimum_age_s)
                self.measured(waiting, loop.time(), crowd(whose))
            await asyncio.sleep(LOOK_HELD_S if self.now_s else LOOK_S)

    def measured(self, waiting: int, at_s: float, crowded: frozenset[str] | None = None) -> None:
        """So many objects wait to be planned, and these callers have sent them (None: nobody knows who)."""
        self._crowd = crowded
        self.now_s = hold_s(waiting, self._longest_s)
        if self.now_s:
            self._last_s = at_s
            if not self._said:
                self._said = True
                what = "%d objects or more wait to be planned: answers are held back, for %.0f s at most"
                logger.warning(what, waiting, self._longest_s)
        elif self._said and at_s - self._last_s >= CALM_S:
            logger.info("the planner keeps up again: no answer was held back for %.0f s", at_s - self._last_s)
            self._said = False
        self._go_on()

    def hold(self, whose: object, answer: Answer) -> None:
        """Call `answer` when its time has come."""
        self._held.append((asyncio.get_running_loop().time(), whose, answer))
        if self._timer is None:
            self._go_on()

    def release(self, whose: object) -> None:
        """Give these answers at once."""
        found = [answer for _, of, answer in self._held if of is whose]
        if found:
            self._held = deque(each for each in self._held if each[1] is not whose)
            for answer in found:
                answer()

    def _go_on(self) -> None:
        """Give the answers that were held long enough, and come back for the next one."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._held and loop.time() >= self._held[0][0] + self.now_s:
            self._held.popleft()[2]()
        if self._held:
            self._timer = loop.call_at(self._held[0][0] + self.now_s, self._go_on)
