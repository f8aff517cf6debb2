"""`leyden run`, and `leyden` without a command."""

import argparse

from leyden.commands.options import Commands, add_command, load


def add_to(commands: Commands) -> None:
    add_command(commands, "run", call, "run the router in the foreground until SIGTERM or Ctrl-C")


def call(options: argparse.Namespace) -> int:
    from leyden import supervisor

    return supervisor.run(*load(options))
