"""`leyden trace`: the story of an object, a line for each event."""

import argparse
import sys
from typing import TYPE_CHECKING

from leyden.commands.options import Commands, add_command, spool_root

if TYPE_CHECKING:
    from leyden.operate.trace import Story


def add_to(commands: Commands) -> None:
    text = "tell the story of an object: received, planned, changed, sent, and where it waits now"
    command = add_command(commands, "trace", call, text)
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("uid", nargs="?", metavar="SOP_INSTANCE_UID", help="the objects that hold this instance")
    which.add_argument("--accession", metavar="NUMBER", help="the objects with this accession number")
    which.add_argument("--study", metavar="UID", help="the objects of this study")
    which.add_argument("--receipt", metavar="R", help="the object with this receipt id of 22 digits")
    command.add_argument("--json", action="store_true", help="one JSON document instead of text")


def call(options: argparse.Namespace) -> int:
    import msgspec
    import orjson

    from leyden.operate.trace import by_accession, by_instance, by_receipts, by_study

    root = spool_root(options)
    if options.receipt is not None:
        if not (len(options.receipt) == 22 and options.receipt.isascii() and options.receipt.isdigit()):
            print(f"leyden: {options.receipt} is not a receipt id: it has 22 digits", file=sys.stderr)
            return 2
        stories = by_receipts(root, (options.receipt,))
    elif options.accession is not None:
        stories = by_accession(root, options.accession)
    elif options.study is not None:
        stories = by_study(root, options.study)
    else:
        stories = by_instance(root, options.uid)
    if options.json:
        print(orjson.dumps({"objects": [msgspec.to_builtins(story) for story in stories]}).decode())
    elif stories:
        print("\n\n".join("\n".join(_lines(story)) for story in stories))
    else:
        print("leyden: nothing is known of it, neither in the journal nor in the spool", file=sys.stderr)
    return 0 if stories else 1


def _lines(story: "Story") -> list[str]:
    from leyden.log import escaped
    from leyden.operate.telling import moment, now, told

    lines = [f"{story.sop_instance_uid or 'an instance that the journal does not name'}, receipt {story.receipt}"]
    lines += [f"  {moment(event['at_s'])}  {told(event)}" for event in story.events]
    lines += [f"  now                      {words}" for words in now(story)]
    return [escaped(line) for line in lines]  # of texts that peers have sent
