"""`leyden override-schedule`: a destination is served at any time of the day, whatever its ProcessSchedule says."""

import argparse
import sys

from leyden.commands.options import Commands, add_command
from leyden.commands.ordering import add_json, add_node, add_until, asked, begin, print_ordered


def add_to(commands: Commands) -> None:
    text = "send to a destination at any time of the day, whatever its ProcessSchedule says"
    command = add_command(commands, "override-schedule", call, text)
    add_node(command, whole=False)
    add_until(command)
    add_json(command)
    command.add_argument("--off", action="store_true", help="go by ProcessSchedule again")
    command.add_argument("--reason", metavar="TEXT", help="why, for whoever looks at the status")


def call(options: argparse.Namespace) -> int:
    from leyden.operate.nodes import end_override, override_schedule, resolved

    if options.off and (options.until or options.reason):
        print("leyden: --off takes effect now, and wants no time and no reason", file=sys.stderr)
        return 2
    root, titles = begin(options)
    title = resolved(options.node, titles)
    if options.off:
        control, words = end_override(root, title, asked(options)), f"{title} goes by its ProcessSchedule"
    else:
        control = override_schedule(root, title, asked(options))
        paused = "; it is paused all the same" if control.pause is not None else ""
        words = f"{title} is served at any time of the day{paused}"
    print_ordered(options, title, control, words)
    return 0
