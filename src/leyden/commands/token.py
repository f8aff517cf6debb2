"""`leyden token`: makes, lists and revokes the tokens of the console. With and without a running service,
and whatever is wrong in the configuration.
"""

import argparse
import sys
from pathlib import Path

from leyden.commands.options import Commands, add_command
from leyden.commands.ordering import begin, begin_anyway
from leyden.errors import ConfigError


def add_to(commands: Commands) -> None:
    text = "make, list or revoke the tokens with which people and programs use the console"
    token = add_command(commands, "token", _nothing, text)
    verbs = token.add_subparsers(title="commands", metavar="COMMAND")
    new = add_command(verbs, "new", _new, "make a token; it is printed once, and can't be had again")
    new.add_argument(
        "name",
        nargs="?",
        metavar="NAME",
        help="who holds it: the journal names it for what is done with the token (default: the user)",
    )
    new.add_argument(
        "--role",
        choices=("read", "operate"),
        default="read",
        help="read: may see everything, patient data too (the default); operate: may change everything as well",
    )
    listing = add_command(verbs, "list", _list, "say which tokens there are")
    listing.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    revoke = add_command(verbs, "revoke", _revoke, "make a token worthless, at once")
    revoke.add_argument("name", metavar="NAME", help="whose it is")


def _nothing(_options: argparse.Namespace) -> int:
    print("leyden token: name a command: new, list or revoke (see `leyden token --help`)", file=sys.stderr)
    return 2


def _new(options: argparse.Namespace) -> int:
    from leyden.operate import tokens
    from leyden.operate.who import who

    print(tokens.new(_root(options), options.name or who(), options.role, who=who()))
    return 0


def _list(options: argparse.Namespace) -> int:
    import orjson

    from leyden.operate import tokens
    from leyden.operate.waiting import moment

    found = tokens.listed(_root(options))
    if options.json:
        shown = [{"name": each.name, "role": each.role, "made_s": each.made_s} for each in found]
        print(orjson.dumps({"tokens": shown}).decode())
        return 0
    for each in found:
        print(f"{each.name:<32} {each.role:<8} {moment(each.made_s)}")
    if not found:
        print("there are no tokens")
    return 0


def _revoke(options: argparse.Namespace) -> int:
    from leyden.operate import tokens
    from leyden.operate.who import who

    tokens.revoke(_root(options), options.name, who=who())
    print(f"the token of {options.name} is worth nothing any more")
    return 0


def _root(options: argparse.Namespace) -> Path:
    try:
        return begin(options)[0]
    except ConfigError:
        return begin_anyway(options)
