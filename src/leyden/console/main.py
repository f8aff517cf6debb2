"""The console: one process that serves HTTP, and needs nothing but the spool and the journal.

It shows what the other roles do, and changes something only by what operate/ offers to the command line, too. No object
passes through it, and its death harms none.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import time

import uvloop

from leyden.config.settings import Settings
from leyden.console import server, site
from leyden.console.app import application
from leyden.console.console import Console
from leyden.console.feed import Consumer, follow, recall
from leyden.console.live import Live, midnight_s
from leyden.console.metrics import Metrics
from leyden.console.overview import Overview
from leyden.inherited import Inherited
from leyden.journal.segments import FOLDER
from leyden.journal.tail import Tail
from leyden.operate.counted import Counted
from leyden.operate.vital import begun_ticks

logger = logging.getLogger("leyden.console")

ALIVE_S = 60.0
PULSE_S = 1.0


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM. Returns the exit code: 1 if it can't serve, which the log explains."""
    for name in ("uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    settings = inherited.settings.console
    try:
        tls = server.Tls(settings) if settings.certificate else None
        listener = server.bind(settings)
    except (OSError, ssl.SSLError) as error:
        logger.error("the console can't serve: %s", error)
        return 1
    with listener, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(inherited, listener, tls))
    return 0


async def _serve(inherited: Inherited, listener: socket.socket, tls: server.Tls | None) -> None:
    inherited.heartbeat.alive(ALIVE_S)
    settings = inherited.settings
    live = Live(time.time())
    live.go_by(settings.plan, _rules_since_s(settings))
    overview = Overview(settings, live)
    counted = Counted(settings.spool_root)
    metrics = Metrics(settings.spool_root, settings, counted)
    console = Console(
        settings,
        port=listener.getsockname()[1],
        started_s=_begun_s(os.getppid()),
        document=overview.document,
        numbers=metrics,
        counted=counted,
    )
    journal = os.fspath(settings.spool_root / FOLDER)
    tail = Tail(journal)
    consumers: list[Consumer] = [live, metrics]
    serving = server.Server(application(console, site.routes()), tls, lambda: console.settings.console.max_connections)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [
        asyncio.create_task(serving._serve([listener])),
        asyncio.create_task(follow(tail, consumers)),
        asyncio.create_task(overview.keep(console.counts, console.health.reasons, console.walks)),
    ]
    recalling = asyncio.create_task(recall(journal, tail.positions, live))
    with contextlib.suppress(OSError):  # the disk may be full; the line below says it, too
        console.say_where()
    logger.info("the console serves %s", console.url)
    while not stop.is_set() and not any(task.done() for task in tasks):
        inherited.heartbeat.alive(ALIVE_S)
        console.access.tell_due()
        if tls is not None:
            tls.look()
        if (newer := inherited.newer()) is not None:
            console.go_by(newer)
            overview.go_by(newer)
            live.go_by(newer.plan, time.time())
            metrics.go_by(newer)
        try:
            await asyncio.wait_for(stop.wait(), PULSE_S)
        except TimeoutError:
            continue
    await console.close()
    serving.should_exit = True
    for task in (*tasks[1:], recalling):
        task.cancel()
    await asyncio.wait((*tasks, recalling))
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


def _rules_since_s(settings: Settings) -> float:
    """Since when the rules have certainly been the same: last midnight, unless one of their files is newer."""
    today_s = midnight_s(time.time())
    for name in ("routings.yml", "mutations.yml"):
        with contextlib.suppress(OSError):
            if os.stat(f"{settings.path}/{name}").st_mtime >= today_s:
                return time.time()
    return today_s


def _begun_s(pid: int) -> float:
    """When a process began, in seconds since 1970."""
    if not (ticks := begun_ticks(pid)):
        return time.time()
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
