"""`leyden run`, and `leyden` without a command."""

import argparse
import os
from functools import partial
from pathlib import Path

from leyden.commands.options import Commands, add_command, load, run_options, want_configuration
from leyden.errors import Unsafe

_ROOT = """\
the service is not run as root, for it takes in what strangers send. Nothing was touched. Run it as a user of its own:
  leyden install-service                       a user, folders and a unit for systemd (in a unit of your own: User=)
  sudo -u leyden leyden run ...                in a terminal; without sudo:
  setpriv --reuid=leyden --regid=leyden --init-groups leyden run ...
  USER 1000:1000, or docker run --user 1000    in a container
`leyden run --as-root` runs it as root all the same"""


def add_to(commands: Commands) -> None:
    text = "run the router in the foreground until SIGTERM or Ctrl-C"
    add_command(commands, "run", call, text, run_options())


def call(options: argparse.Namespace) -> int:
    from leyden import supervisor

    want_configuration(options)
    settings, warnings = load(options, serves=True)
    if os.geteuid() == 0 and not getattr(options, "as_root", False):
        raise Unsafe(_ROOT)
    options.path = Path(settings.path)  # a reload reads the same folder, whatever has come up since
    return supervisor.run(settings, warnings, partial(load, options, serves=True))
