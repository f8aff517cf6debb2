"""`leyden queue`: what an operator does to the entries of the spool."""

import argparse
import os
import sys

from leyden.commands.options import Commands, add_command, load


def add_to(commands: Commands) -> None:
    queue = add_command(commands, "queue", _nothing, "work on the queue")
    verbs = queue.add_subparsers(title="commands", metavar="COMMAND")
    retry = add_command(verbs, "retry", _retry, "put what stands in rejected/ and failed/ back into the queue")
    retry.add_argument(
        "destination", nargs="?", help="AE title or alias; only what is bound for it goes back (default: all)"
    )


def _nothing(_options: argparse.Namespace) -> int:
    print("leyden queue: name a command: retry (see `leyden queue --help`)", file=sys.stderr)
    return 2


def _retry(options: argparse.Namespace) -> int:
    from leyden.journal.lines import set_up
    from leyden.kept_rules import KeptRules
    from leyden.operate.queue import UnknownDestination, retry
    from leyden.spool.store import Spool

    settings, _ = load(options)
    set_up(settings.spool_root, f"queue-{os.getpid()}", settings.journal)
    try:
        retried = retry(
            Spool(settings.spool_root, sync=settings.sync_spool),
            settings.plan.titles,
            options.destination,
            KeptRules(settings.spool_root, settings.sync_spool).renewing(settings.plan),
        )
    except UnknownDestination as error:
        print(f"leyden: {error}", file=sys.stderr)
        return 2
    print(f"back in the queue: {retried.rejected} from rejected, {retried.failed} from failed")
    return 0
