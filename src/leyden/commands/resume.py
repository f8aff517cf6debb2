"""`leyden resume`: what was paused goes on."""

import argparse
import sys

from leyden.commands.options import Commands, add_command
from leyden.commands.ordering import add_json, add_node, asked, begin, in_words, print_ordered, print_paused


def add_to(commands: Commands) -> None:
    command = add_command(commands, "resume", call, "send to a destination again that was paused")
    add_node(command, whole=True)
    add_json(command)


def call(options: argparse.Namespace) -> int:
    from leyden.operate.nodes import resolved, resume, resume_service
    from leyden.spool.control import FLAGS

    if bool(options.node) == bool(options.all or options.flag):
        print("leyden: name a NODE, or --all, or --flag", file=sys.stderr)
        return 2
    root, titles = begin(options)
    if not options.node:
        flags = tuple(options.flag or FLAGS)
        left = resume_service(root, asked(options), flags)
        still = f"\nstill paused: {in_words(left)}" if in_words(left) else ""
        print_paused(options, left, f"goes on: {in_words(flags)}{still}")
        return 0
    title = resolved(options.node, titles)
    print_ordered(options, title, resume(root, title, asked(options)), f"{title} is not paused any more")
    return 0
