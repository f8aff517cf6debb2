"""`leyden certificate`: makes what a trial of TLS needs."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.commands.options import Commands, add_command, as_the_service

if TYPE_CHECKING:
    from leyden.operate.trial import Made


def add_to(commands: Commands) -> None:
    text = "make a small authority and certificates of it, for a trial of TLS"
    certificate = add_command(commands, "certificate", _nothing, text)
    verbs = certificate.add_subparsers(title="commands", metavar="COMMAND")
    new = add_command(verbs, "new", _new, "write an authority, a certificate for this machine, and one for each --name")
    new.add_argument("folder", type=Path, metavar="FOLDER", help="where to write; it is made if it is missing")
    new.add_argument(
        "--name", action="extend", nargs="+", default=[], type=_host, metavar="HOST",
        help="host name or IP address of a peer that gets a certificate, too",
    )  # fmt: skip
    new.add_argument("--days", type=_days, default=60, metavar="N", help="how long they are good (default 60)")


def _nothing(_options: argparse.Namespace) -> int:
    print("leyden certificate: name a command: new (see `leyden certificate --help`)", file=sys.stderr)
    return 2


def _new(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from leyden.operate import trial

    folder: Path = options.folder.absolute()
    as_the_service(folder)  # who has to read the keys
    made = trial.make(folder, options.name, options.days, datetime.now(UTC))
    print("\n".join(_told(folder, made, options.days)))
    return 0


def _told(folder: Path, made: "list[Made]", days: int) -> list[str]:
    ours, *peers = made
    lines = [f"{folder}, good for {days} days:", "  ca.pem, ca.key: the authority; each peer needs ca.pem"]
    lines += [f"  {each.name}.pem, {each.name}.key: for {', '.join(each.names)}" for each in made]
    own, key, authorities = folder / f"{ours.name}.pem", folder / f"{ours.name}.key", folder / "ca.pem"
    lines += [
        "", "To receive over TLS, in config.yml:", "  tls:", "    port: 2762", f"    certificate: {own}",
        f"    key: {key}", f"    authorities: {authorities}",
        "", "To send over TLS, in the entry of a node in nodes.yml:", "  Tls:", f"    Authorities: {authorities}",
        f"    Certificate: {own}", f"    Key: {key}",
    ]  # fmt: skip
    if peers:
        lines += ["", f"Give {', '.join(each.name for each in peers)} the two files of its name, and ca.pem."]
    return [
        *lines, "",
        "This is for a trial, not for patients: who has ca.key can pass for everybody, and nothing can be revoked. For",
        "patients, take certificates of the hospital's authority.",
    ]  # fmt: skip


def _host(text: str) -> str:
    from leyden.config.values import host
    from leyden.config.yaml_text import NOWHERE, Text

    try:
        return host(Text(text, NOWHERE))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3650:
        raise argparse.ArgumentTypeError(f"{text} is no number of days from 1 to 3650")
    return int(text)
