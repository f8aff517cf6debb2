"""`leyden role`: how the supervisor starts its children; not for people, so not among the commands."""

import argparse
from collections.abc import Sequence

ROLES = ("receiver", "planner", "worker", "sender")


def main(arguments: Sequence[str]) -> int:
    """Be one role; returns the exit code."""
    return _role(_role_parser().parse_args(arguments))


def _role_parser() -> argparse.ArgumentParser:
    """How the supervisor starts its children; not for people, so not among the commands."""
    parser = argparse.ArgumentParser(prog="leyden role")
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("number", type=int)
    for name in ("row", "settings-fd", "lifeline-fd", "board-fd"):
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("listen-fd", "arena-fd"):
        parser.add_argument(f"--{name}", type=int, default=-1)
    return parser


def _role(options: argparse.Namespace) -> int:
    from leyden import boot

    born = boot.start(
        options.role,
        options.number,
        settings_fd=options.settings_fd,
        lifeline_fd=options.lifeline_fd,
        board_fd=options.board_fd,
        row=options.row,
        listen_fd=options.listen_fd,
        arena_fd=options.arena_fd,
    )
    match options.role:
        case "receiver":
            from leyden import receiver

            return receiver.run(born)
        case "planner":
            from leyden import planner

            return planner.run(born)
        case "worker":
            from leyden import worker

            return worker.run(born)
        case _:
            from leyden import sender

            return sender.run(born)
