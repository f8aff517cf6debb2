"""What the commands share: how one is added to the parser, the options of most, and the settings of the folder."""

import argparse
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from leyden.config.settings import Settings
    from leyden.operate.explain import Configured
    from leyden.operate.peer import Peer

_NO_RECEIVER = "990000"  # the end of a receipt id that no receiver gives (spool/entry.py)
_LENGTH = re.compile(r"(\d{1,6}(?:\.\d{1,6})?) ?(s|min|h|d)", re.ASCII)
_UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_LOGGING = {"--log-format": ("logFormat", "text or json"), "--log-level": ("logLevel", "debug, info, warning or error")}

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # what add_subparsers() gives
Call = Callable[[argparse.Namespace], int]


def add_command(
    commands: Commands, name: str, call: Call, text: str, *more: argparse.ArgumentParser
) -> argparse.ArgumentParser:
    """A command with its help text; `call` runs it and returns the exit code. `more`: options besides the folders."""
    description = text[0].upper() + text[1:] + "."
    parser = commands.add_parser(name, parents=[folders(), *more], help=text, description=description)
    parser.set_defaults(call=call)
    return parser


def folders() -> argparse.ArgumentParser:
    """--path and --log, which may stand before or behind the command.

    They have no default: that of the command would replace what stands before it.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--path",
        type=Path,
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="folder of the YAML files (default /var/lib/leyden/data, or ./data where that is absent)",
    )
    parser.add_argument(
        "--log", type=Path, default=argparse.SUPPRESS, metavar="DIR", help="folder of leyden.log (default PATH/log)"
    )
    return parser


def run_options() -> argparse.ArgumentParser:
    """--log-format and --log-level of `leyden run`, which load() takes for the keys of config.yml, and --as-root."""
    parser = argparse.ArgumentParser(add_help=False)
    for flag, (key, words) in _LOGGING.items():
        parser.add_argument(flag, default=argparse.SUPPRESS, metavar="WORD", help=f"{words}; wins over {key}")
    text = "run as root, which is refused without it"
    parser.add_argument("--as-root", action="store_true", default=argparse.SUPPRESS, help=text)
    return parser


def want_configuration(options: argparse.Namespace) -> None:
    """For the first start. Raises Unconfigured: there is neither config.yml nor nodes.yml, and nothing but options.

    Not for a reload, for which files that are gone are an error of another kind.
    """
    from leyden.config.load import DEFAULT_FOLDERS
    from leyden.errors import Unconfigured
    from leyden.operate.beginning import guide, present

    path = getattr(options, "path", None)
    folder = path or next(filter(Path.is_dir, DEFAULT_FOLDERS), DEFAULT_FOLDERS[-1])
    if (path is None or folder.is_dir()) and not {"config.yml", "nodes.yml"}.intersection(present(folder)):
        raise Unconfigured(guide(folder.absolute()))


def load(options: argparse.Namespace, *, serves: bool = False) -> "tuple[Settings, tuple[str, ...]]":
    """The settings and the warnings. `serves`: this process goes by them, and no other user's.

    Raises ConfigError, and WrongFormat: the spool is of a newer version.
    """
    from leyden.config.load import load
    from leyden.spool.format import check

    path, log_dir = getattr(options, "path", None), getattr(options, "log", None)
    given = {key: getattr(options, flag[2:].replace("-", "_"), None) for flag, (key, _) in _LOGGING.items()}
    overrides = options.overrides | {key: value for key, value in given.items() if value is not None}
    settings, warnings = load(path, overrides, os.environ, log_dir=log_dir, serves=serves)
    check(settings.spool_root)
    return settings, warnings


def spool_root(options: argparse.Namespace) -> Path:
    """The folder of the spool, also beside files with errors in them.

    Raises ConfigError if config.yml hides it, and WrongFormat: the spool is of a newer version.
    """
    from leyden.config.load import spool_root
    from leyden.spool.format import check

    root = spool_root(getattr(options, "path", None), options.overrides, os.environ)
    check(root)
    return root


def as_the_service(root: Path) -> None:
    """Root works as the user of the service from now on, so that the service can read whatever is written here.

    That is the owner of the spool's lock; before the first start, of the spool's folder or the nearest one above it.
    The real user stays, for operate.who. Raises Unreadable: that user can't read the program.
    """
    from leyden.errors import Unreadable

    if os.geteuid() == 0:
        path = next(each for each in (root / "lock", root.absolute(), *root.absolute().parents) if each.exists())
        status = path.stat()
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)
        if not os.access(__file__, os.R_OK, effective_ids=True):
            raise Unreadable(
                f"{path} belongs to user {status.st_uid}, as whom root works here, but who can't read this Leyden "
                f"({Path(__file__).parents[1]}); use the installation that the service runs from"
            )


def configured(settings: "Settings") -> "Configured":
    """The configuration for operate.explain, with what the destinations were seen to accept so far."""
    from leyden.form import ladder
    from leyden.operate.explain import Configured
    from leyden.outbound.capability_file import SeenCapabilities
    from leyden.pseudonyms import Preview

    seen = {target.ae_title: SeenCapabilities(settings.spool_root, target.ae_title) for target in settings.plan.targets}
    now_s = time.time()

    def acceptance_of(destination: str, sop_class: str) -> ladder.Acceptance | None:
        return ladder.fresh(seen[destination].knowledge(), sop_class, now_s)

    receipt = f"{int(1e6 * now_s):016d}{_NO_RECEIVER}"
    return Configured(
        settings.plan,
        settings.receiver.acceptor,
        settings.destinations,
        acceptance_of,
        time.process_time,
        receipt,
        Preview(settings.spool_root),
    )


def length_s(text: str) -> float:
    """A length of time given as an option, in seconds."""
    found = _LENGTH.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no length of time: write 90s, 30min, 2h or 7d")
    return float(found[1]) * _UNITS_S[found[2]]


def age_in_words(age_s: float) -> str:
    """An age in its largest unit: 3.2 h."""
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if age_s >= seconds:
            return f"{age_s / seconds:.1f} {unit}"
    return f"{age_s:.0f} s"


def add_peer(parser: argparse.ArgumentParser, *, called: str | None = None) -> None:
    """An address or a node, and the titles; to an address --called must be given unless `called` is its default."""
    parser.add_argument(
        "address", type=address_or_title, metavar="HOST:PORT|NODE",
        help="an address, or the title of a node of nodes.yml, which is called as the service calls it",
    )  # fmt: skip
    default = f"that of the node, or {called}" if called else "that of the node"
    parser.add_argument("--called", type=title, metavar="TITLE", help=f"called AE title (default: {default})")
    parser.set_defaults(called_else=called)
    parser.add_argument(
        "--calling", type=title, metavar="TITLE", help="our own AE title (default LEYDEN, to a node myAeTitle)"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="longest wait for the connection and for each answer (default 30)",
    )
    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls", action="store_true", help="call over TLS; each of the following options says so too")
    tls.add_argument("--ca", type=Path, metavar="FILE", help="PEM file of the authorities (default: the system's)")
    tls.add_argument("--crl", type=Path, metavar="FILE", help="PEM file of their revocation lists")
    tls.add_argument("--cert", type=Path, metavar="FILE", help="PEM file of our own certificate, if the peer wants one")
    tls.add_argument("--key", type=Path, metavar="FILE", help="PEM file of its private key")
    tls.add_argument("--tls-name", metavar="NAME", help="name that its certificate must have (default HOST)")


def peer(options: argparse.Namespace) -> "Peer":
    """What the options of add_peer() say. Raises ConfigError."""
    from leyden.deliver.destination import TlsSettings
    from leyden.errors import ConfigError
    from leyden.operate.peer import Peer

    if bool(options.cert) != bool(options.key):
        raise ConfigError(("--cert and --key belong together; one of them is missing",))
    files = [str(path or "") for path in (options.ca, options.cert, options.key, options.crl)]
    over_tls = options.tls or options.tls_name or any(files)
    if isinstance(options.address, str):
        if over_tls:
            raise ConfigError((f"nodes.yml says how {options.address} is reached; leave out the options of TLS",))
        return _node(options)
    host, port = options.address
    called = options.called or options.called_else
    if called is None:
        raise ConfigError(("--called is missing: the AE title to call at that address",))
    tls = TlsSettings(options.tls_name or host, *files) if over_tls else None
    return Peer(host, port, called, options.calling or "LEYDEN", options.timeout, tls)


def _node(options: argparse.Namespace) -> "Peer":
    """A node of nodes.yml, by its title or an alias. Raises ConfigError."""
    from leyden.errors import ConfigError
    from leyden.operate.peer import Peer

    settings, _ = load(options)
    named = settings.plan.titles.get(options.address, options.address)
    for node in settings.destinations:
        if node.ae_title == named:
            called, calling = options.called or node.ae_title, options.calling or settings.my_ae_title
            return Peer(node.host, node.port, called, calling, options.timeout, node.tls, node.credentials)
    raise ConfigError((f"{options.address}: no such node in nodes.yml, and no HOST:PORT",))


def address(text: str) -> tuple[str, int]:
    """HOST:PORT given as an option."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text} is not HOST:PORT, for example 192.168.1.200:104")
    return host.strip("[]"), int(port)


def address_or_title(text: str) -> tuple[str, int] | str:
    """HOST:PORT, or an AE title, given as an option."""
    return address(text) if ":" in text else title(text)


def title(text: str) -> str:
    """An AE title given as an option."""
    if not 1 <= len(text.strip()) <= 16 or "\\" in text or not text.isprintable():
        raise argparse.ArgumentTypeError(
            f"{text} is not an AE title: it has 1 to 16 characters and no backslash (PS3.5 section 6.2)"
        )
    return text.strip()
