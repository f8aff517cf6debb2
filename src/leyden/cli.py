"""The command line: one file a command in commands/. Exit codes: 0 well, 1 the answer is no, 2 wrong use or settings.

`leyden` without a command is `leyden run`, and takes the switches of DICOM Capacitor (--status, --quit, --console), so
that a unit file written for it still works.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

from leyden import __version__
from leyden.errors import ConfigError, LeydenError, Unconfigured, UnknownNode, Unsafe, WrongFormat

_IGNORED_SWITCHES = ("install", "uninstall", "service", "verbose", "debug")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["role"]:
        from leyden.commands import role

        return role.main(given[1:])
    overrides = _take_overrides(given)
    parser = whole_parser()
    options, unknown = parser.parse_known_args(given)
    for word in unknown:
        if word.lstrip("-").split("=")[0].lower() not in _IGNORED_SWITCHES:
            parser.error(f"unknown argument {word}; `leyden --help` lists the commands")
        print(f"leyden: {word} has no effect here", file=sys.stderr)
    options.overrides = overrides
    options.parser = parser
    try:
        return int(options.call(options))
    except ConfigError as error:
        _print_problems(error)
        return 2
    except (Unconfigured, UnknownNode, Unsafe, WrongFormat) as error:
        print(f"leyden: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (LeydenError, OSError) as error:
        print(f"leyden: {error}", file=sys.stderr)
        return 1


def _take_overrides(given: list[str]) -> dict[str, str]:
    """Remove every --config.key=value (or --config.key value) from the arguments and return them."""
    overrides: dict[str, str] = {}
    rest = iter(list(given))
    given.clear()
    for word in rest:
        if not word.lower().startswith("--config."):
            given.append(word)
            continue
        key, equals, value = word[len("--config.") :].partition("=")
        overrides[key] = value if equals else next(rest, "")
    return overrides


class _Parser(argparse.ArgumentParser):
    """Shows its commands in groups. `headings`: by the name of the first command of each."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.headings: dict[str, str] = {}

    def format_help(self) -> str:
        text = super().format_help()
        for name, heading in self.headings.items():
            text = re.sub(rf"^ {{4}}{name}\b", f"\n  {heading}:\n\\g<0>", text, count=1, flags=re.MULTILINE)
        return text


def whole_parser() -> argparse.ArgumentParser:
    """All commands with all their options; docs/man.py makes the manual page of it."""
    from leyden.commands import (
        alert,
        audit,
        backup_config,
        certificate,
        check,
        completion,
        demo,
        echo,
        explain,
        init,
        install_service,
        override_schedule,
        passcode,
        pause,
        queue,
        quit,
        reload,
        resume,
        run,
        send,
        status,
        study,
        test_rules,
        token,
        trace,
        tune,
        version,
    )
    from leyden.commands.options import folders, run_options

    parser = _Parser(
        prog="leyden",
        parents=[folders(), run_options()],
        description="A store-and-forward DICOM router. Without a command: run.",
        epilog="Every key of config.yml can be given as --config.KEY=VALUE, LEYDEN_KEY=VALUE or CAPACITOR_KEY=VALUE.",
    )
    parser.add_argument("--version", action="version", version=f"leyden {__version__}")
    parser.add_argument("-c", "--console", action="store_true", help="stay in the foreground, as Leyden always does")
    parser.add_argument(
        "--status", action="store_const", dest="call", const=status.call, help="the same as the command status"
    )
    parser.add_argument(
        "-q",
        "--quit",
        action="store_const",
        dest="call",
        const=quit.call,
        help="stop the service that runs on this folder",
    )
    parser.set_defaults(call=run.call, json=False, watch=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    groups = {
        "see": (status, trace, study, alert, audit),
        "act": (queue, pause, resume, override_schedule, reload),
        "set up": (init, check, explain, test_rules, tune, token, passcode, certificate, backup_config),
        "install, run and try": (install_service, run, demo, echo, send, completion, version),
    }
    for heading, modules in groups.items():
        before = len(commands.choices)
        for module in modules:
            module.add_to(commands)
        parser.headings[list(commands.choices)[before]] = heading
    return parser


def _print_problems(error: ConfigError) -> None:
    for line in (*(f"warning: {warning}" for warning in error.warnings), *error.problems):
        print(line, file=sys.stderr)
    count = len(error.problems)
    print(f"leyden: {count} error{'s' if count > 1 else ''} in the configuration", file=sys.stderr)
