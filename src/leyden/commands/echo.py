"""`leyden echo`."""

import argparse
import sys

from leyden.commands.options import Commands, add_command, add_peer, peer
from leyden.errors import Transient


def add_to(commands: Commands) -> None:
    command = add_command(commands, "echo", call, "send one C-ECHO and say what the peer answers")
    add_peer(command, called="ANY-SCP")


def call(options: argparse.Namespace) -> int:
    import asyncio

    from leyden.operate.peer import echo

    other = peer(options)
    try:
        answer = asyncio.run(echo(other))
    except Transient as error:
        print(f"{other}: {error}", file=sys.stderr)
        return 1
    print(f"{other}: status 0x{answer.status:04X} after {1000 * answer.duration_s:.0f} ms")
    return 0 if answer.status == 0 else 1
