"""`leyden study`: whether a study has arrived everywhere, and what is missing."""

import argparse
import sys

from leyden.commands.options import Commands, add_command, spool_root


def add_to(commands: Commands) -> None:
    text = "say for each destination whether it has a whole study, and what is missing; exit code 1 if anything is"
    command = add_command(commands, "study", call, text)
    command.add_argument("uid", metavar="STUDY_INSTANCE_UID")
    command.add_argument("--json", action="store_true", help="one JSON document instead of text")


def call(options: argparse.Namespace) -> int:
    import msgspec
    import orjson

    from leyden.log import escaped
    from leyden.operate.study import study

    found = study(spool_root(options), options.uid)
    if options.json:
        destinations = [msgspec.to_builtins(each) | {"complete": each.complete} for each in found.destinations]
        document = msgspec.to_builtins(found) | {"complete": found.complete, "destinations": destinations}
        print(orjson.dumps(document).decode())
        return 0 if found.complete else 1
    if not (found.received or found.dropped or found.destinations):
        print("leyden: nothing is known of this study", file=sys.stderr)
        return 1
    dropped = f", {found.dropped} dropped" if found.dropped else ""
    print(f"study {found.uid}: {found.received} instance{'' if found.received == 1 else 's'} received{dropped}")
    for each in found.destinations:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(each.states.items()))
        print(f"{each.title}: {'complete' if each.complete else 'not complete'}: {counts}")
    for one in found.missing:
        reason = f": {one.reason}" if one.reason else ""
        where = f" at {one.destination}" if one.destination else ""
        print(escaped(f"missing{where}: {one.sop_instance_uid}, {one.state}{reason}"))
    return 0 if found.complete else 1
