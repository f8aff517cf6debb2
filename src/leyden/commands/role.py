"""`leyden role`: how the supervisor starts the roles; not a command for people, so it is not in the help."""

import argparse
import logging
import os
from collections.abc import Sequence

_NO_THREAD = "can't start new thread"  # the text of CPython's RuntimeError


def main(arguments: Sequence[str]) -> int:
    """Be one role; returns the exit code."""
    try:
        return _be(arguments)
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        remedy = "raise TasksMax of its unit, or pids.max of its container"
        logging.getLogger("leyden").error("no more threads are allowed to the service: %s", remedy)
        return os.EX_OSERR


def _be(arguments: Sequence[str]) -> int:
    from leyden import inherited

    parser = argparse.ArgumentParser(prog="leyden role")
    parser.add_argument("role", choices=inherited.DESCRIPTORS)
    parser.add_argument("number", type=int)
    parser.add_argument("--row", type=int, required=True, help="of the heartbeats")
    parser.add_argument("--descriptors", required=True, metavar="NAME=FD,...")
    options = parser.parse_args(arguments)
    try:
        descriptors = inherited.descriptors_from(options.role, options.descriptors)
    except ValueError as error:
        parser.error(str(error))
    given = inherited.take(options.role, options.number, options.row, descriptors)
    match options.role:
        case "receiver":
            from leyden.receiver import main as receiver

            return receiver.run(given)
        case "planner":
            from leyden import planner

            return planner.run(given)
        case "worker":
            from leyden import worker

            return worker.run(given)
        case "console":
            from leyden.console import main as console

            return console.run(given)
        case "watcher":
            from leyden import watcher

            return watcher.run(given)
        case _:
            from leyden import sender

            return sender.run(given)
