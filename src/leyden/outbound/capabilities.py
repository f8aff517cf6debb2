"""What a destination was seen to accept: learnt from negotiations and answers, and kept across restarts.

The file is state/<DEST>.json. The sender alone writes it, one write at a time; the planner and the workers read it.
What its content means is in deliver/ladder.py.
"""

import asyncio
import logging
import os
from collections.abc import Collection
from concurrent.futures import Executor
from pathlib import Path

from leyden.errors import Corrupt
from leyden.form import ladder
from leyden.spool.entry import folder
from leyden.spool.moves import write_whole

logger = logging.getLogger("leyden.sender")

UNSUPPORTED_MAX = 1000
_NO_FILE = (0, 0)


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
                logger.warning("%s: what it takes cannot be noted: %s", self._destination, error)


class SeenCapabilities:
    """What is known of one destination, for a process that only reads it: whenever the file has changed, again."""

    def __init__(self, root: Path, destination: str) -> None:
        self._root = root
        self._destination = destination
        self._path = str(_path(root, destination))
        self._version = _NO_FILE
        self._knowledge: ladder.Knowledge = {}

    def knowledge(self) -> ladder.Knowledge:
        """By SOP class UID; empty if there is no such file, or it cannot be read."""
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            version = _NO_FILE
        except OSError:
            version = (-1, 0)  # read() says in the log what is wrong
        if version != self._version:
            self._version = version
            self._knowledge = read(self._root, self._destination)
        return self._knowledge


def read(root: Path, destination: str) -> dict[str, ladder.Acceptance]:
    """What the file says, by SOP class UID; empty if there is no such file, or it cannot be read (which is logged)."""
    path = _path(root, destination)
    try:
        return ladder.parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, Corrupt) as error:
        logger.warning("%s is not used: %s", path, error)
        return {}


def write(root: Path, destination: str, knowledge: ladder.Knowledge) -> None:
    """Put the file in place, atomically (0600). OSError: what the disk says."""
    path = _path(root, destination)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_whole(os.fspath(path), ladder.serialize(knowledge))


def _path(root: Path, destination: str) -> Path:
    return root / "state" / f"{folder(destination)}.json"
