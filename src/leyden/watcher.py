"""The watcher: one process that reads the journal as it grows, for what must not hold up the other roles.

No object passes through it, and its death harms none: what it did not read yet stands in the journal. Each part has a
place of its own in the journal, so that none waits for another: the audit log, for example, for a disk that is full.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from leyden import log
from leyden.alerts.alerts import LOOK_S, Alerts
from leyden.audit.atna import Us
from leyden.audit.collector import Collector
from leyden.audit.keeper import Keeper
from leyden.config.settings import Settings
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
    place = os.fspath(root / "state" / "watcher.json")
    tail = Tail(os.fspath(root / FOLDER), _positions(place))
    kept = tail.positions
    beside = _Beside(inherited.settings)
    while True:
        inherited.heartbeat.alive(ALIVE_S)
        last = stop.is_set()
        if (newer := inherited.newer()) is not None:
            beside.adopt(newer)
        if not beside.lives():
            beside.stop()
            return 1  # the supervisor starts another watcher
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
    beside.stop()
    return 0


class _Beside:
    """What runs in threads of its own, because it may wait for a disk or for a network: by the settings of now."""

    def __init__(self, settings: Settings) -> None:
        self._start(settings)

    def _start(self, settings: Settings) -> None:
        self._stop = threading.Event()
        self._by = _parts(settings)
        self._threads = [threading.Thread(target=_guarded, args=(work,)) for work in self._works(settings)]
        for thread in self._threads:
            thread.start()

    def _works(self, settings: Settings) -> Iterator[Callable[[], None]]:
        if settings.audit.enabled:
            keeper = Keeper(settings.spool_root, Path(settings.log_dir), settings.audit)
            yield partial(_keep, keeper, self._stop)
            if settings.audit.collector.host:
                us = Us(socket.gethostname(), settings.my_ae_title)
                log_dir = Path(settings.log_dir)
                collector = Collector(settings.spool_root, log_dir, settings.audit.collector, us, keeper)
                yield partial(_collect, collector, self._stop)
        if settings.alerts.enabled:
            alerts = Alerts(
                settings.spool_root,
                settings.alerts,
                service=os.getppid(),
                whose=settings.my_ae_title,
                titles=[destination.ae_title for destination in settings.destinations],
                certificates={"api": path} if (path := settings.console.certificate) else {},
            )
            yield partial(_alert, alerts, self._stop)

    def adopt(self, settings: Settings) -> None:
        """Begin anew if a reload has changed something."""
        if _parts(settings) != self._by:
            self.stop()
            self._start(settings)

    def lives(self) -> bool:
        """Whether none has ended by a fault of ours."""
        return all(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _guarded(work: Callable[[], None]) -> None:
    try:
        work()
    except Exception:
        logger.exception("a fault of ours")


def _keep(keeper: Keeper, stop: threading.Event) -> None:
    """Keep the audit log until it is to end, and once more then."""
    while not stop.is_set():
        if not keeper.turn():
            stop.wait(ROUND_S)
    keeper.turn(last=True)


def _collect(collector: Collector, stop: threading.Event) -> None:
    while not stop.is_set():
        if not collector.turn():
            stop.wait(ROUND_S)
    collector.close()


def _parts(settings: Settings) -> tuple[object, ...]:
    """What the threads go by."""
    titles = [destination.ae_title for destination in settings.destinations]
    return settings.audit, settings.alerts, settings.console.certificate, settings.my_ae_title, titles


def _alert(alerts: Alerts, stop: threading.Event) -> None:
    while not stop.is_set():
        alerts.look()
        stop.wait(LOOK_S)
    alerts.close()


def _positions(path: str) -> Positions | None:
    """Where the last watcher stopped; None = what was told before is of no interest."""
    try:
        with open(path, "rb") as file:
            return msgspec.json.decode(file.read(), type=dict[str, tuple[int, int, float]])
    except (OSError, msgspec.DecodeError):
        return None
