"""`leyden resume`: what was paused goes on."""

import argparse
import sys

from leyden.commands.options import Commands, add_command
from leyden.commands.ordering import add_node, asked, begin, in_words


def add_to(commands: Commands) -> None:
    command = add_command(commands, "resume", call, "send to a destination again that was paused")
    add_node(command, whole=True)


def call(options: argparse.Namespace) -> int:
    from leyden.operate.nodes import UnknownNode, resolved, resume, resume_service
    from leyden.spool.control import FLAGS

    if bool(options.node) == bool(options.all or options.flag):
        print("leyden: name a NODE, or --all, or --flag", file=sys.stderr)
        return 2
    root, titles = begin(options)
    if not options.node:
        flags = tuple(options.flag or FLAGS)
        left = resume_service(root, asked(options), flags)
        print(f"goes on: {in_words(flags)}")
        if still := in_words(left):
            print(f"still paused: {still}")
        return 0
    try:
        title = resolved(options.node, titles)
    except UnknownNode as error:
        print(f"leyden: {error}", file=sys.stderr)
        return 2
    resume(root, title, asked(options))
    print(f"{title} is not paused any more")
    return 0
