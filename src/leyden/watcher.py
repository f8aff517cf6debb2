"""The watcher: one process that reads the journal as it grows, for what must not hold up the other roles.

No object passes through it, and its death harms none: what it did not read yet stands in the journal. Each part has a
place of its own in the journal, so that none waits for another: the audit log, for example, for a disk that is full.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from leyden import log
from leyden.audit.keeper import Keeper
from leyden.inherited import Inherited
from leyden.journal.segments import FOLDER
from leyden.journal.tail import Positions, Tail, Told
from leyden.spool.moves import make_folder, write_whole

logger = logging.getLogger("leyden.watcher")

ALIVE_S = 60.0
ROUND_S = 1.0
_MORE = 2_000  # events in one go, some 10 ms


class Follower(Protocol):
    """Who is told what happens, and looks at the rest once a round."""

    def turn(self, told: Sequence[Told], now_s: float) -> None:
        """What was told since the last turn, perhaps nothing; some of it again if the process died meanwhile."""


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM; exit code 0."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    root = inherited.spool.root
    followers: list[Follower] = []
    threads = [threading.Thread(target=_guarded, args=(work,), name=name) for name, work in _beside(inherited, stop)]
    for thread in threads:
        thread.start()
    place = os.fspath(root / "state" / "watcher.json")
    tail = Tail(os.fspath(root / FOLDER), _positions(place))
    kept = tail.positions
    while True:
        inherited.heartbeat.alive(ALIVE_S)
        last = stop.is_set()
        inherited.newer()
        if not last and not all(thread.is_alive() for thread in threads):
            stop.set()
            return 1
        try:
            told = tail.read(_MORE) if followers else []
            for follower in followers:
                follower.turn(told, time.time())
            if tail.positions != kept:
                kept = tail.positions
                make_folder(os.path.dirname(place))
                write_whole(place, msgspec.json.encode(kept))
        except OSError as error:
            log.once(logger, logging.WARNING, "journal", f"the journal can't be followed: {error}")
            told = []
        if len(told) < _MORE:
            if last:
                break
            stop.wait(ROUND_S)
    for thread in threads:
        thread.join()
    return 0


def _beside(inherited: Inherited, stop: threading.Event) -> Iterator[tuple[str, Callable[[], None]]]:
    """What runs in a thread of its own, because it may wait for a disk or for a network."""
    settings = inherited.settings
    if settings.audit is not None:
        keeper = Keeper(settings.spool_root, Path(settings.log_dir), settings.audit)
        yield "audit", partial(_keep, keeper, stop)


def _guarded(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:  # the supervisor starts the watcher again
        logger.exception("a fault of ours")


def _keep(keeper: Keeper, stop: threading.Event) -> None:
    """Keep the audit log until it is to end, and once more then."""
    while not stop.is_set():
        if not keeper.turn():
            stop.wait(ROUND_S)
    keeper.turn(last=True)


def _positions(path: str) -> Positions | None:
    """Where the last watcher stopped; None = what was told before is of no interest."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=dict[str, tuple[int, int, float]])
    except (OSError, msgspec.DecodeError):
        return None
