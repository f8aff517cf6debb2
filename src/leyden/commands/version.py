"""`leyden version`: which Leyden, which Python, and with --libraries the C libraries that read what strangers send."""

import argparse
import json
import platform

from leyden import __version__
from leyden.commands.options import Commands, add_command


def add_to(commands: Commands) -> None:
    command = add_command(commands, "version", call, "which Leyden this is, and which libraries it loads")
    command.add_argument(
        "--libraries", action="store_true", help="the C libraries too; exit code 1 if one is too old to be safe"
    )
    command.add_argument("--json", action="store_true", help="as one JSON document")


def call(options: argparse.Namespace) -> int:
    said: dict[str, object] = {"leyden": __version__, "python": platform.python_version()}
    old = False
    lines = [f"leyden {__version__}", f"Python {platform.python_version()}"]
    if options.libraries:
        from leyden.operate.libraries import FLOORS, loaded

        libraries = loaded()
        old = any(library.old for library in libraries)
        said["libraries"] = [
            {**library._asdict(), "floor": FLOORS[library.name][0], "old": library.old} for library in libraries
        ]
        for library in libraries:
            floor, why = FLOORS[library.name]
            tail = f"  TOO OLD: {floor} mended {why}" if library.old else ""
            lines.append(f"{library.name:<14} {library.version:<8} from {library.by}{tail}")
    print(json.dumps(said, indent=2) if options.json else "\n".join(lines))
    return int(old)
