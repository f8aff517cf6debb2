"""`leyden status`: the service, its configuration, and a line for each folder and destination that holds anything."""

import argparse
import time
from typing import TYPE_CHECKING

from leyden.commands.options import Commands, add_command, age_in_words, spool_root

if TYPE_CHECKING:
    from leyden.operate.reading import Reading


def add_to(commands: Commands) -> None:
    text = "say how much waits where, and since when; works without the service, too"
    command = add_command(commands, "status", call, text)
    command.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def call(options: argparse.Namespace) -> int:
    import orjson

    from leyden.operate.service import status

    root = spool_root(options)
    found = status(root)
    now_s = time.time()
    reading = found.reading
    rows = [(c.stage, c.destination, c.files, _age_s(c.oldest_received_s, now_s)) for c in found.counts]
    if options.json:
        names = ("folder", "destination", "files", "oldest_s")
        folders = [dict(zip(names, row, strict=True)) | {"served": _is_served(row[1], reading)} for row in rows]
        whole = {"pid": found.pid, "spool": str(root), "configuration": reading, "folders": folders}
        print(orjson.dumps(whole).decode())
        return 0
    print(f"service: {f'running, process {found.pid}' if found.pid else 'not running'}; spool {root}")
    if reading is not None:
        _print_reading(reading)
    print(f"{'folder':<12} {'destination':<18} {'files':>9}  oldest")
    for folder, destination, files, age_s in rows:
        age = "-" if age_s is None else age_in_words(age_s)
        stays = "" if _is_served(destination, reading) else "  (not a node: it stays)"
        print(f"{folder:<12} {destination or '-':<18} {files:>9}  {age}{stays}")
    if not rows:
        print("nothing waits")
    return 0


def _print_reading(reading: "Reading") -> None:
    print(f"configuration: generation {reading.generation}, in force since {_moment(reading.since_s)}")
    for warning in reading.warnings:
        print(f"warning: {warning}")
    if reading.errors:
        print(f"the reload of {_moment(reading.read_s)} was refused:")
    for error in reading.errors:
        print(f"  {error}")


def _is_served(destination: str, reading: "Reading | None") -> bool:
    """Whether a destination is a node of the running service. Without a service nothing is said against it."""
    return reading is None or not destination or destination in reading.nodes


def _moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))


def _age_s(received_s: float | None, now_s: float) -> float | None:
    return None if received_s is None else max(0.0, round(now_s - received_s, 1))
