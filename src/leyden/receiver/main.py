"""The receiver's main: listens until SIGTERM, then finishes what is being received, and aborts everything else."""

import asyncio
import os
import resource
import signal
import socket
import time
from contextlib import suppress

import uvloop

from leyden import board
from leyden.board import Cell
from leyden.inherited import LISTEN_BACKLOG, Inherited
from leyden.receiver.receiver import Receiver
from leyden.receiver.secured import Secured

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
    secured = Secured(inherited.settings.tls) if "listen-tls" in inherited.descriptors else None

    def look_at_settings() -> None:
        if (newer := inherited.newer()) is not None:
            receiver.go_by(newer.of_each_receiver)
            if secured is not None:
                secured.listener = newer.tls

    def connection() -> asyncio.BaseProtocol:
        look_at_settings()
        return receiver.connection()

    def secured_connection() -> asyncio.BaseProtocol:
        look_at_settings()
        session = secured.session() if secured is not None else None
        return receiver.connection(session) if session is not None else _Closed()

    servers = []
    for name, door in (("listen", connection), ("listen-tls", secured_connection)):
        if name in inherited.descriptors:
            listener = socket.socket(fileno=inherited.descriptors[name])
            servers.append(await loop.create_server(door, sock=listener, backlog=LISTEN_BACKLOG))
    looking: asyncio.Future[None] | None = None
    watching = loop.create_task(receiver.holding.watch(lambda: receiver.objects))
    purge_due_s = loop.time()
    while not stop.is_set():
        inherited.heartbeat.alive(ALIVE_S)
        look_at_settings()
        receiver.look_at_disk()
        receiver.door.tell_due()
        receiver.shares.look(time.monotonic(), os.getppid())
        if secured is not None and (looking is None or looking.done()):
            looking = loop.run_in_executor(None, secured.look)
        if inherited.number == 0 and loop.time() >= purge_due_s:
            purge_due_s = loop.time() + PURGE_S
            loop.run_in_executor(None, receiver.recent.purge, time.time())
        board.put(Cell.HELD, receiver.holding.held)
        due_s = loop.time() + LOOK_S
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_S)
        board.late(loop.time() - due_s)
    watching.cancel()
    for server in servers:
        server.close()
    await receiver.drain(DRAIN_S)
    return 0


class _Closed(asyncio.Protocol):
    """A connection that is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
