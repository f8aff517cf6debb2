"""The console: one process that serves HTTP, and needs nothing but the spool and the journal.

It shows what the other roles do, and changes something only by what operate/ offers to the command line, too. No object
passes through it, and its death harms none.
"""

import asyncio
import signal

import uvicorn
import uvloop

from leyden.console.app import application
from leyden.console.feed import follow
from leyden.inherited import Inherited

ALIVE_S = 60.0
PULSE_S = 5.0


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM; exit code 0."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(inherited))
    return 0


async def _serve(inherited: Inherited) -> None:
    settings = inherited.settings.console
    inherited.heartbeat.alive(ALIVE_S)
    server = uvicorn.Server(
        uvicorn.Config(application(), host=settings.bind, port=settings.port, log_config=None, access_log=False)
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(server._serve()), asyncio.create_task(follow(inherited.spool.root, ()))]
    while not stop.is_set():
        inherited.heartbeat.alive(ALIVE_S)
        try:
            await asyncio.wait_for(stop.wait(), PULSE_S)
        except TimeoutError:
            continue
    server.should_exit = True
    tasks[1].cancel()
    await asyncio.wait(tasks)
