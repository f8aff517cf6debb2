"""`leyden pause`: nothing more is sent to a destination, or the whole service stops working off its queues."""

import argparse
import sys
import time
from pathlib import Path

from leyden.commands.options import Commands, add_command
from leyden.commands.ordering import add_json, add_node, add_until, asked, begin, in_words, print_ordered, print_paused

_POLL_S = 0.1
_LIMIT_S = 600.0


def add_to(commands: Commands) -> None:
    text = "send nothing more to a destination; what is under way is finished, the rest waits; survives a restart"
    command = add_command(commands, "pause", call, text)
    add_node(command, whole=True)
    add_until(command)
    add_json(command)
    command.add_argument("--reason", metavar="TEXT", help="why, for whoever looks at the status")
    command.add_argument(
        "--wait",
        nargs="?",
        type=float,
        const=_LIMIT_S,
        metavar="SECONDS",
        help="return when nothing is under way to NODE any more; exit code 1 if that is not within SECONDS",
    )


def call(options: argparse.Namespace) -> int:
    from leyden.operate.nodes import pause, pause_service, resolved
    from leyden.spool.control import FLAGS

    if bool(options.node) == bool(options.all or options.flag) or (options.wait is not None and not options.node):
        print("leyden: name a NODE, or --all, or --flag; --wait is for a NODE", file=sys.stderr)
        return 2
    root, titles = begin(options)
    if not options.node:
        flags = tuple(options.flag or FLAGS)
        paused = pause_service(root, asked(options), flags)
        print_paused(options, paused, f"paused: {in_words(flags)}; receiving goes on")
        return 0
    title = resolved(options.node, titles)
    print_ordered(options, title, pause(root, title, asked(options)), f"{title} is paused")
    if options.wait is None:
        return 0
    drained = _wait(root, title, options.wait)
    if drained and not options.json:
        print("nothing is under way to it")
    return 0 if drained else 1


def _wait(root: Path, title: str, limit_s: float) -> bool:
    from leyden.operate.nodes import drained, under_way

    deadline_s = time.monotonic() + limit_s
    while not drained(root, title):
        if time.monotonic() > deadline_s:
            print(f"leyden: {under_way(root, title)} objects are still under way to {title}", file=sys.stderr)
            return False
        time.sleep(_POLL_S)
    return True
