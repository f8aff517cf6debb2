"""What a destination was seen to accept: learnt from negotiations and answers, and kept across restarts.

Here is the sender's side; the file, which the planner and the workers read, is that of capability_file.py.
"""

import asyncio
import logging
from collections.abc import Collection
from concurrent.futures import Executor
from pathlib import Path

from leyden.form import ladder
from leyden.outbound.capability_file import read, write

logger = logging.getLogger("leyden.sender")

UNSUPPORTED_MAX = 1000


class Capabilities:
    """What is known of one destination, in the process that learns it. Times are seconds since 1970."""

    def __init__(self, root: Path, destination: str, threads: Executor) -> None:
        self._root = root
        self._destination = destination
        self._threads = threads
        self.knowledge: ladder.Knowledge = read(root, destination)
        self._unsupported: dict[ladder.Pair, float] = {}  # accepted in negotiation, refused by an answer; and when
        self._unwritten: ladder.Knowledge | None = None
        self._writing = asyncio.Lock()

    def known(self, sop_class: str, now_s: float) -> ladder.Acceptance | None:
        """What it accepts of a SOP class; None if that is not known, or known for too long."""
        return ladder.fresh(self.knowledge, sop_class, now_s)

    def negotiated(
        self, proposed: Collection[ladder.Pair], accepted: Collection[ladder.Pair], now_s: float
    ) -> frozenset[ladder.Pair]:
        """Learn from a negotiation; which of the accepted pairs objects may be sent in."""
        after_s = now_s - ladder.KNOWN_FOR_S
        self._unsupported = {pair: at_s for pair, at_s in self._unsupported.items() if at_s > after_s}
        useful = frozenset(pair for pair in accepted if pair not in self._unsupported)
        self._learn(proposed, useful, now_s)
        return useful

    def unsupported(self, pair: ladder.Pair, now_s: float) -> None:
        """An answer refused what had been accepted in negotiation; it counts as refused for a day."""
        while len(self._unsupported) >= UNSUPPORTED_MAX:
            del self._unsupported[next(iter(self._unsupported))]
        self._unsupported[pair] = now_s
        self._learn((pair,), (), now_s)

    def ask_again(self, pair: ladder.Pair, asked_s: float) -> None:
        """An operator wanted such an object to be tried again: if that was after the answer, it no longer counts."""
        if pair in self._unsupported and self._unsupported[pair] < asked_s:
            del self._unsupported[pair]

    def _learn(self, proposed: Collection[ladder.Pair], accepted: Collection[ladder.Pair], now_s: float) -> None:
        before = self.knowledge
        self.knowledge = ladder.learn(before, proposed, accepted, now_s)
        if ladder.differ(before, self.knowledge):
            self._unwritten = self.knowledge

    async def save(self) -> None:
        """Write the file if anything is new; returns once that is done. A failure is logged."""
        async with self._writing:
            newest = self._unwritten
            self._unwritten = None
            if newest is None:
                return
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(self._threads, write, self._root, self._destination, newest)
            except OSError as error:
                logger.warning("%s: what it accepts cannot be saved: %s", self._destination, error)
