"""`leyden init`: the first configuration, by asking or from the options."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from leyden.commands.options import Commands, add_command, address, title

if TYPE_CHECKING:
    from leyden.operate.beginning import Answers, FirstNode

Answer = TypeVar("Answer")


def add_to(commands: Commands) -> None:
    text = "write the first configuration: config.yml, nodes.yml and routings.yml, by asking or from the options"
    command = add_command(commands, "init", call, text)
    command.add_argument("--ae-title", type=title, metavar="TITLE", help="our own AE title (default LEYDEN)")
    command.add_argument("--port", type=_port, metavar="PORT", help="where to receive (default 1040)")
    command.add_argument(
        "--node",
        action="append",
        type=_node,
        metavar="TITLE=HOST:PORT[,SYNTAX]",
        help="a destination, and the transfer syntax that it gets (default: as received); may be given several times. "
        "Without it, everything is asked for",
    )
    command.add_argument("--force", action="store_true", help="replace files that are there; they are kept beside")


def call(options: argparse.Namespace) -> int:
    from leyden.commands import check
    from leyden.config.load import DEFAULT_FOLDERS, load
    from leyden.operate.beginning import present, texts, write

    folder: Path = getattr(options, "path", None) or next(filter(Path.is_dir, DEFAULT_FOLDERS), DEFAULT_FOLDERS[-1])
    folder = folder.absolute()
    if (there := present(folder)) and not options.force:
        print(f"leyden: {folder} holds {', '.join(there)} already; --force replaces them", file=sys.stderr)
        return 2
    try:
        answers = _answers(options)
    except (EOFError, KeyboardInterrupt):
        print("\nleyden: nothing was written", file=sys.stderr)
        return 1
    if answers is None:
        print("leyden: name the destinations: --node TITLE=HOST:PORT[,SYNTAX]", file=sys.stderr)
        return 2
    files = texts(answers)
    with tempfile.TemporaryDirectory(prefix="leyden-init-") as trial:
        write(Path(trial), files)
        load(Path(trial), {}, {})  # ConfigError: nothing is written, and what is wrong is said
    for name, before in write(folder, files):
        print(f"{folder / name} is now {before}")
    print(f"wrote {', '.join(files)} in {folder}\n")
    options.path = folder
    code = check.call(options)
    print(f"\nNow:\n  leyden run --path {folder}")
    return code


def _answers(options: argparse.Namespace) -> "Answers | None":
    """From the options, or else by asking; None where nobody can be asked."""
    from leyden.operate.beginning import Answers

    asks = not options.node and os.isatty(sys.stdin.fileno())
    if not options.node and not asks:
        return None
    own = options.ae_title or (_ask("Our AE title", title, "LEYDEN") if asks else "LEYDEN")
    port = options.port or (_ask("Port to receive on", _port, 1040) if asks else 1040)
    return Answers(tuple(options.node or _ask_nodes()), own, port)


def _ask_nodes() -> "list[FirstNode]":
    from leyden.operate.beginning import FirstNode

    print("Now the destinations. The first one:")
    nodes: list[FirstNode] = []
    while name := _ask(
        "AE title" if not nodes else "AE title of the next one, or nothing", title, "" if nodes else None
    ):
        host = _ask("  host name or address", _host)
        port = _ask("  port", _port, 104)
        syntax = _ask("  transfer syntax, such as JPEG2000Lossless, or nothing: as received", _syntax, "")
        nodes.append(FirstNode(name, host, port, syntax))
    return nodes


def _ask(what: str, read: Callable[[str], Answer], default: Answer | None = None) -> Answer:
    """Ask until the answer can be read. EOFError: there is none."""
    while True:
        given = input(f"{what} [{default}]: " if default not in (None, "") else f"{what}: ").strip()
        if not given and default is not None:
            return default
        try:
            return read(given)
        except (argparse.ArgumentTypeError, ValueError) as error:
            print(f"  {error}")


def _host(text: str) -> str:
    from leyden.config.values import host
    from leyden.config.yaml_text import NOWHERE, Text

    return str(host(Text(text, NOWHERE)))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text or 'nothing'} is not a port: 1 to 65535")
    return int(text)


def _syntax(text: str) -> str:
    """The name of a transfer syntax, as TransferSyntax takes it."""
    from leyden.dicom.uids import syntax_by_name

    if syntax_by_name(text) is None:
        raise ValueError(f"there is no transfer syntax {text}; docs/configure.md lists them")
    return text


def _node(text: str) -> "FirstNode":
    from leyden.operate.beginning import FirstNode

    name, equals, rest = text.rpartition("=")
    where, _, syntax = rest.partition(",")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text} is not TITLE=HOST:PORT, for example IMAGEPACS=192.168.1.200:104")
    host, port = address(where)
    return FirstNode(title(name), host, port, syntax)
