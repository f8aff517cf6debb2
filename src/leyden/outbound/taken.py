"""What a destination takes: learnt from negotiations and from answers, and kept across restarts in state/<DEST>.json.

The sender alone writes the file, one write at a time; whoever plans or transcodes for the destination reads it. What it
means stands in deliver/ladder.py.
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


class Memory:
    """What is known of one destination. Times are seconds since 1970."""

    def __init__(self, root: Path, destination: str, threads: Executor) -> None:
        self._root, self._destination, self._threads = root, destination, threads
        self.knowledge: ladder.Knowledge = recall(root, destination)
        self._unsupported: dict[ladder.Pair, float] = {}  # accepted in negotiation, refused by an answer; and when
        self._unnoted: ladder.Knowledge | None = None
        self._noting = asyncio.Lock()

    def known(self, sop_class: str, now_s: float) -> ladder.Acceptance | None:
        """What it takes of a SOP class, as far as that is known."""
        return ladder.fresh(self.knowledge, sop_class, now_s)

    def negotiated(
        self, proposed: Collection[ladder.Pair], accepted: Collection[ladder.Pair], now_s: float
    ) -> frozenset[ladder.Pair]:
        """Learn from a negotiation; what of the accepted is of use."""
        after_s = now_s - ladder.KNOWN_FOR_S
        self._unsupported = {pair: at_s for pair, at_s in self._unsupported.items() if at_s > after_s}
        useful = frozenset(pair for pair in accepted if pair not in self._unsupported)
        self._learn(proposed, useful, now_s)
        return useful

    def unsupported(self, pair: ladder.Pair, now_s: float) -> None:
        """An answer said that it does not take this after all; negotiations do not make it good again for a while."""
        while len(self._unsupported) >= UNSUPPORTED_MAX:
            del self._unsupported[next(iter(self._unsupported))]
        self._unsupported[pair] = now_s
        self._learn((pair,), (), now_s)

    def ask_again(self, pair: ladder.Pair, asked_s: float) -> None:
        """Somebody wants such an object to be tried again: if that was after the answer, negotiations count."""
        if pair in self._unsupported and self._unsupported[pair] < asked_s:
            del self._unsupported[pair]

    def _learn(self, proposed: Collection[ladder.Pair], accepted: Collection[ladder.Pair], now_s: float) -> None:
        before, self.knowledge = self.knowledge, ladder.learn(self.knowledge, proposed, accepted, now_s)
        if ladder.differ(before, self.knowledge):
            self._unnoted = self.knowledge

    async def note(self) -> None:
        """Returns once what is new, if anything is, is written down."""
        async with self._noting:
            newest, self._unnoted = self._unnoted, None
            if newest is None:
                return
            loop = asyncio.get_running_loop()
            try:
                await loop.run_in_executor(self._threads, remember, self._root, self._destination, newest)
            except OSError as error:
                logger.warning("%s: what it takes cannot be noted: %s", self._destination, error)


class Seen:
    """What a destination was seen to take, for whoever reads only: the file is read again when it has changed."""

    def __init__(self, root: Path, destination: str) -> None:
        self._root, self._destination = root, destination
        self._path = str(_path(root, destination))
        self._version = _NO_FILE
        self._knowledge: ladder.Knowledge = {}

    def knowledge(self) -> ladder.Knowledge:
        """By SOP class UID; nothing, if there is no such file or no sense in it."""
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino)
        except FileNotFoundError:
            version = _NO_FILE
        except OSError:
            version = (-1, 0)  # recall() tells what is wrong
        if version != self._version:
            self._version, self._knowledge = version, recall(self._root, self._destination)
        return self._knowledge


def recall(root: Path, destination: str) -> dict[str, ladder.Acceptance]:
    """What is known of a destination, by SOP class UID; nothing, if there is no such file or no sense in it."""
    path = _path(root, destination)
    try:
        return ladder.parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, Corrupt) as error:
        logger.warning("%s is not used: %s", path, error)
        return {}


def remember(root: Path, destination: str, knowledge: ladder.Knowledge) -> None:
    """Put the file in place, atomically (0600). OSError: what the disk says."""
    path = _path(root, destination)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_whole(os.fspath(path), ladder.serialize(knowledge))


def _path(root: Path, destination: str) -> Path:
    return root / "state" / f"{folder(destination)}.json"
