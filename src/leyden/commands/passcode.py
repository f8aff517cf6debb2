"""`leyden passcode`: makes the hash of a user's passcode for callers.yml."""

import argparse
import getpass
import os
import sys

from leyden.commands.options import Commands, add_command


def add_to(commands: Commands) -> None:
    text = "make the hash of a user's passcode, for Users in callers.yml"
    add_command(commands, "passcode", call, text)


def call(_options: argparse.Namespace) -> int:
    from leyden.admission.passcode import SALT_BYTES, hashed

    try:
        print(hashed(_passcode().encode(), os.urandom(SALT_BYTES)))
    except ValueError as error:
        print(f"leyden passcode: {error}", file=sys.stderr)
        return 2
    return 0


def _passcode() -> str:
    """The passcode, asked for twice without being shown; or the first line of standard input. ValueError."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    given = getpass.getpass("passcode: ")
    if getpass.getpass("once more: ") != given:
        raise ValueError("these are two passcodes; nothing is made")
    return given
