"""`leyden reload`: the service takes its changed configuration, and this says what came of it."""

import argparse
import sys

from leyden.commands.options import Commands, add_command
from leyden.commands.ordering import asked, begin_anyway

_LIMIT_S = 60.0


def add_to(commands: Commands) -> None:
    text = "have the running service take its changed configuration, if there is no error in it, and say what changes"
    command = add_command(commands, "reload", call, text)
    command.add_argument("--json", action="store_true", help="what came of it, as one JSON document")


def call(options: argparse.Namespace) -> int:
    import msgspec

    from leyden.errors import ConfigError
    from leyden.operate.reading import Result
    from leyden.operate.service import reload

    root = begin_anyway(options)
    reloading = reload(root, _LIMIT_S, asked(options))
    reading = reloading.reading
    if reloading.pid is None:
        print(f"leyden: no service runs on the spool {root} (another cachePath takes a restart)", file=sys.stderr)
        return 1
    if reading is None:
        print(f"leyden: process {reloading.pid} has not said what came of it; see its log", file=sys.stderr)
        return 1
    if options.json:
        print(msgspec.json.encode(reading).decode())
    in_force = f"generation {reading.generation}"
    match reading.result:
        case Result.WRONG:
            print(f"nothing was changed, {in_force} stays in force", file=sys.stderr)
            raise ConfigError(reading.errors, reading.warnings)
        case Result.FAILED:
            print(f"leyden: nothing was changed, {in_force} stays in force: {reading.errors[0]}", file=sys.stderr)
            return 1
    if options.json:
        return 0
    for warning in reading.warnings:
        print(f"warning: {warning}")
    for change in reading.changes:
        print(change)
    print(f"{in_force} is in force" if reading.changes else f"nothing is new, {in_force} stays in force")
    return 0
