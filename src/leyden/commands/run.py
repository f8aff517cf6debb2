"""`leyden run`, and `leyden` without a command."""

import argparse
from functools import partial
from pathlib import Path

from leyden.commands.options import Commands, add_command, load, logging_options, want_configuration


def add_to(commands: Commands) -> None:
    text = "run the router in the foreground until SIGTERM or Ctrl-C"
    add_command(commands, "run", call, text, logging_options())


def call(options: argparse.Namespace) -> int:
    from leyden import supervisor

    want_configuration(options)
    settings, warnings = load(options)
    options.path = Path(settings.path)  # a reload reads the same folder, whatever has come up since
    return supervisor.run(settings, warnings, partial(load, options))
