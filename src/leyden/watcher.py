"""The watcher: one process whose parts read the journal as it grows, for what must not hold up the other roles.

No object passes through it, and its death harms none: what it did not read yet stands in the journal. Each part has a
place of its own in the journal, so that none waits for another: the audit log, for example, for a disk that is full.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from leyden.alerts.alerts import LOOK_S, NOTE_S, Alerts
from leyden.audit.atna import Us
from leyden.audit.collector import Collector
from leyden.audit.keeper import Keeper
from leyden.config.settings import Settings
from leyden.inherited import Inherited
from leyden.log import once
from leyden.operate.select import head_of
from leyden.shares import LEAST_S, Measurer

logger = logging.getLogger("leyden.watcher")

ALIVE_S = 60.0
ROUND_S = 1.0


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM (exit code 0), or until a part of it has ended by a fault of ours (1)."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    beside = _Beside(inherited.settings)
    while not stop.is_set() and beside.lives():
        inherited.heartbeat.alive(ALIVE_S)
        if (newer := inherited.newer()) is not None:
            beside.adopt(newer)
        stop.wait(ROUND_S)
    beside.stop()
    return 0 if stop.is_set() else 1  # the supervisor starts another watcher


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
                certificates=settings.certificates,
            )
            yield partial(_alert, alerts, self._stop)

        if settings.receiver.shares.enabled:
            shares = settings.receiver.shares
            measurer = Measurer(settings.spool_root, shares, os.getppid(), lambda path: head_of(path).sending)
            yield partial(_measure, measurer, self._stop)

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
    return (
        settings.audit, settings.alerts, settings.certificates, settings.my_ae_title, titles,
        settings.receiver.shares,
    )  # fmt: skip


def _measure(measurer: Measurer, stop: threading.Event) -> None:
    """Measure who takes how much of the disk."""
    wait_s = 0.0
    while not stop.wait(wait_s):
        try:
            wait_s = measurer.turn()
        except OSError as error:
            once(logger, logging.WARNING, "shares", f"who takes how much of the disk can't be told: {error}")
            wait_s = LEAST_S


def _alert(alerts: Alerts, stop: threading.Event) -> None:
    while not stop.is_set():
        alerts.look()
        next_s = time.monotonic() + LOOK_S
        while time.monotonic() < next_s and not stop.wait(NOTE_S):
            alerts.note()
    alerts.close()
