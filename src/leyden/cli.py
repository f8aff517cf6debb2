"""The command line: parses, calls, prints, sets the exit code (0 well, 1 the answer is no, 2 wrong use or settings).

`leyden` with no command is `leyden run`, and the switches of the original (--status, --quit, --console) work there, so
that a unit file written for it goes on working.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from leyden import __version__
from leyden.errors import ConfigError, LeydenError

if TYPE_CHECKING:
    from leyden.config.settings import Settings

ROLES = ("receiver", "planner", "worker", "sender")
_IGNORED_SWITCHES = ("install", "uninstall", "service", "verbose", "debug")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["role"]:
        return _role(_role_parser().parse_args(given[1:]))
    overrides = _take_overrides(given)
    parser = _parser()
    options, unknown = parser.parse_known_args(given)
    for word in unknown:
        if word.lstrip("-").split("=")[0].lower() not in _IGNORED_SWITCHES:
            parser.error(f"unknown argument {word}; `leyden --help` lists the commands")
        print(f"leyden: {word} has no effect here", file=sys.stderr)
    options.overrides = overrides
    command: Callable[[argparse.Namespace], int] = options.call
    if command is _run and options.show_status:
        command = _status
    elif command is _run and options.quit:
        command = _quit
    try:
        return command(options)
    except ConfigError as error:
        print(error, file=sys.stderr)
        count = len(error.problems)
        print(f"leyden: {count} error{'s' if count > 1 else ''} in the configuration", file=sys.stderr)
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


def _parser() -> argparse.ArgumentParser:
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument(
        "--path",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="folder of the YAML files (default /var/lib/leyden/data, or ./data where that is absent)",
    )
    folder.add_argument(
        "--log", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="folder of leyden.log (default PATH/log)"
    )

    parser = argparse.ArgumentParser(
        prog="leyden",
        parents=[folder],
        description="A store-and-forward DICOM router. Without a command: run.",
        epilog="Every key of config.yml can be given as --config.KEY=VALUE, LEYDEN_KEY=VALUE or CAPACITOR_KEY=VALUE.",
    )
    parser.add_argument("--version", action="version", version=f"leyden {__version__}")
    parser.add_argument("-c", "--console", action="store_true", help="stay in the foreground (we always do)")
    parser.add_argument("--status", action="store_true", dest="show_status", help="the same as the command status")
    parser.add_argument("-q", "--quit", action="store_true", help="stop the service that runs on this folder")
    parser.set_defaults(call=_run)  # not path and log: a subcommand would put these over what stood before it
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def add(name: str, call: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, parents=[folder], help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(call=call)
        return command

    add("run", _run, "run the router in the foreground until SIGTERM or Ctrl-C")
    add("check", _check, "read the configuration, report every error with its line, and show what would be served")
    add("demo", _demo, "show the whole trip on this machine with real images, a modality and two PACS; under a minute")

    add("status", _status, "count what waits where, with the oldest age, whether the service runs or not").add_argument(
        "--json", action="store_true", help="one JSON document instead of a table"
    )
    queue = add("queue", _queue, "work on the queue")
    retry_text = "put what stands in rejected/ and failed/ back into the queue"
    retry = queue.add_subparsers(title="commands", metavar="COMMAND").add_parser(
        "retry", parents=[folder], help=retry_text, description=retry_text.capitalize() + "."
    )
    retry.add_argument("destination", nargs="?", help="only what was rejected by this AE title")
    retry.set_defaults(call=_queue_retry)
    for name, call, text in (
        ("echo", _echo, "send one C-ECHO and say what the other side answers"),
        ("send", _send, "send DICOM files (folders are searched) over one association"),
    ):
        scu = add(name, call, text)
        scu.add_argument("peer", metavar="HOST:PORT", help="where to send to")
        scu.add_argument(
            "--called", required=name == "send", default="ANY-SCP", type=_title, metavar="TITLE", help="called AE title"
        )
        scu.add_argument("--calling", default="LEYDEN", type=_title, metavar="TITLE", help="our own AE title")
        scu.add_argument(
            "--timeout", type=float, default=30.0, metavar="SECONDS", help="for connecting and for silence"
        )
        if name == "send":
            scu.add_argument("files", nargs="+", type=Path, metavar="FILE")
    return parser


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


def _load(options: argparse.Namespace) -> "tuple[Settings, tuple[str, ...]]":
    from leyden.config.load import load

    path, log_dir = getattr(options, "path", None), getattr(options, "log", None)
    return load(path, options.overrides, os.environ, log_dir=log_dir)


def _run(options: argparse.Namespace) -> int:
    from leyden import supervisor

    return supervisor.run(*_load(options))


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


def _check(options: argparse.Namespace) -> int:
    from leyden.supervisor import describe

    settings, warnings = _load(options)
    for warning in warnings:
        print(f"warning: {warning}")
    for destination in settings.destinations:
        print(describe(destination))
    routes = settings.plan.routes
    print(f"our title {settings.my_ae_title}, port {settings.scp_port}, spool {settings.cache_path}")
    print(
        "route filter off"
        if routes is None
        else f"route filter on, {len(routes)} route{'s' if len(routes) != 1 else ''}"
    )
    print("the configuration is good")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from leyden import demo

    return demo.run()


def _quit(options: argparse.Namespace) -> int:
    from leyden.spool.lock import holder

    settings, _ = _load(options)
    pid = holder(settings.spool_root)
    if pid is None:
        print("leyden: no service runs on this spool")
        return 1
    os.kill(pid, signal.SIGTERM)
    for _ in range(150):
        if holder(settings.spool_root) is None:
            print("leyden: stopped")
            return 0
        time.sleep(0.1)
    print(f"leyden: process {pid} has not stopped within 15 s")
    return 1


def _status(options: argparse.Namespace) -> int:
    from leyden import client

    settings, _ = _load(options)
    return client.status(settings, as_json=getattr(options, "json", False))


def _queue(_: argparse.Namespace) -> int:
    print("leyden queue: say what to do: retry (see `leyden queue --help`)", file=sys.stderr)
    return 2


def _queue_retry(options: argparse.Namespace) -> int:
    from leyden import client

    settings, _ = _load(options)
    return client.queue_retry(settings, options.destination)


def _echo(options: argparse.Namespace) -> int:
    from leyden import client

    host, port = _peer(options.peer)
    return asyncio.run(client.echo(host, port, options.calling, options.called, options.timeout))


def _send(options: argparse.Namespace) -> int:
    from leyden import client

    host, port = _peer(options.peer)
    return asyncio.run(client.send(host, port, options.calling, options.called, options.files, options.timeout))


def _title(text: str) -> str:
    if not 1 <= len(text.strip()) <= 16 or "\\" in text or not text.isprintable():
        raise argparse.ArgumentTypeError(f"{text} is no AE title: 1 to 16 characters, no backslash (PS3.5 section 6.2)")
    return text.strip()


def _peer(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        print(f"leyden: {text} is not HOST:PORT, for example 192.168.1.200:104", file=sys.stderr)
        raise SystemExit(2)
    return host.strip("[]"), int(port)
