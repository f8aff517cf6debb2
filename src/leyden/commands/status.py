"""`leyden status`: a line for each folder and destination that holds anything."""

import argparse
import time

from leyden.commands.options import Commands, add_command, load


def add_to(commands: Commands) -> None:
    text = "say how much waits where, and since when; works without the service, too"
    command = add_command(commands, "status", call, text)
    command.add_argument("--json", action="store_true", help="one JSON document instead of a table")


def call(options: argparse.Namespace) -> int:
    import orjson

    from leyden.operate.service import status

    settings, _ = load(options)
    found = status(settings.spool_root)
    now_s = time.time()
    rows = [(c.stage, c.destination, c.files, _age_s(c.oldest_received_s, now_s)) for c in found.counts]
    if options.json:
        folders = [dict(zip(("folder", "destination", "files", "oldest_s"), row, strict=True)) for row in rows]
        print(orjson.dumps({"pid": found.pid, "spool": settings.cache_path, "folders": folders}).decode())
        return 0
    print(f"service: {f'running, process {found.pid}' if found.pid else 'not running'}; spool {settings.cache_path}")
    print(f"{'folder':<12} {'destination':<18} {'files':>9}  oldest")
    for folder, destination, files, age_s in rows:
        print(f"{folder:<12} {destination or '-':<18} {files:>9}  {_words(age_s)}")
    if not rows:
        print("nothing waits")
    return 0


def _age_s(received_s: float | None, now_s: float) -> float | None:
    return None if received_s is None else max(0.0, round(now_s - received_s, 1))


def _words(age_s: float | None) -> str:
    if age_s is None:
        return "-"
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if age_s >= seconds:
            return f"{age_s / seconds:.1f} {unit}"
    return f"{age_s:.0f} s"
