"""`leyden alert`: what is wrong now, and whether a message would arrive."""

import argparse
import sys
import time

from leyden.commands.options import Commands, add_command, folders, load, spool_root


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "alert", call, "show what is wrong, or try the ways by which you are told")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    text = "show what is wrong, as the watcher last saw it; exit code 1 if anything is, or if nobody looks"
    shown = actions.add_parser("list", parents=[folders()], help=text, description=text)
    shown.set_defaults(action=_list)
    shown.add_argument("--json", action="store_true", help="the same for a program")
    text = "send a test through the webhook and by mail, and say what came of it; exit code 1 if it was not taken"
    test = actions.add_parser("test", parents=[folders()], help=text, description=text)
    test.set_defaults(action=_test)


def call(options: argparse.Namespace) -> int:
    return int(options.action(options))


def _list(options: argparse.Namespace) -> int:
    import msgspec

    from leyden.alerts.alerts import open_causes
    from leyden.errors import ConfigError
    from leyden.operate.waiting import moment
    from leyden.spool.lock import holder

    try:
        settings, _ = load(options)
    except ConfigError:  # the service that runs goes by the files as they were
        root = spool_root(options)
    else:
        root = settings.spool_root
        if not settings.alerts.enabled:
            print("nobody looks: config.yml has no alerts", file=sys.stderr)
            return 1
    causes = open_causes(root)
    if holder(root) is None:
        print("the service is not running; this is how it was", file=sys.stderr)
    if options.json:
        sys.stdout.write(msgspec.json.encode(causes).decode() + "\n")
        return 1 if causes else 0
    for cause in causes:
        print(f"{moment(cause.since_s)}  {cause.cause} ({cause.of}): {cause.text}")
    if not causes:
        print("nothing is wrong")
    return 1 if causes else 0


def _test(options: argparse.Namespace) -> int:
    from leyden.alerts.causes import Message
    from leyden.alerts.channels import Refused, Unreachable, channels

    settings, _ = load(options)
    ways = channels(settings.alerts, settings.my_ae_title)
    if not ways:
        print("nobody would be told: config.yml has no alerts", file=sys.stderr)
        return 1
    failed = False
    now_s = time.time()
    for way in ways:
        try:
            way.send(Message("test", "leyden alert test", "test", "this is a test; nothing is wrong", now_s, now_s))
        except (Refused, Unreachable) as error:
            print(f"{way.name}: not sent: {error}")
            failed = True
        else:
            print(f"{way.name}: sent")
    return 1 if failed else 0
