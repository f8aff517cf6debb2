"""The receiver's main: listens until SIGTERM, then finishes what is being received, and aborts everything else."""

import asyncio
import resource
import signal
import socket
import time
from contextlib import suppress

import uvloop

from leyden import board
from leyden.board import Cell
from leyden.inherited import LISTEN_BACKLOG, Inherited
from leyden.net.link import Link
from leyden.receiver.receiver import Receiver

PURGE_S = 60.0
DRAIN_S = 7.0
ALIVE_S = 60.0
LOOK_S = 1.0


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM. Returns the exit code."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(inherited))


async def _serve(inherited: Inherited) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    receiver = Receiver(inherited.settings.of_each_receiver, inherited.spool, inherited.number)

    def look_at_settings() -> None:
        if (newer := inherited.newer()) is not None:
            receiver.go_by(newer.of_each_receiver)

    def connection() -> Link:
        look_at_settings()
        return receiver.connection()

    listener = socket.socket(fileno=inherited.descriptors["listen"])
    server = await loop.create_server(connection, sock=listener, backlog=LISTEN_BACKLOG)
    watching = loop.create_task(receiver.holding.watch(lambda: receiver.objects))
    purge_due_s = loop.time()
    while not stop.is_set():
        inherited.heartbeat.alive(ALIVE_S)
        look_at_settings()
        receiver.look_at_disk()
        if inherited.number == 0 and loop.time() >= purge_due_s:
            purge_due_s = loop.time() + PURGE_S
            loop.run_in_executor(None, receiver.recent.purge, time.time())
        board.put(Cell.HELD, receiver.holding.held)
        due_s = loop.time() + LOOK_S
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_S)
        board.late(loop.time() - due_s)
    watching.cancel()
    server.close()
    await receiver.drain(DRAIN_S)
    return 0
