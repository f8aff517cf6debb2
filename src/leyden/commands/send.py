"""`leyden send`: a line for each file."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.commands.options import Commands, add_command, add_peer, peer
from leyden.errors import Transient

if TYPE_CHECKING:
    from leyden.operate.peer import File, Peer


def add_to(commands: Commands) -> None:
    command = add_command(commands, "send", call, "send DICOM files as they are; folders are searched")
    add_peer(command)
    command.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a DICOM file, or a folder of them")


def call(options: argparse.Namespace) -> int:
    import asyncio

    from leyden.operate.peer import find

    files, others = find(options.files)
    for path, why in others:
        print(f"not sent, {why}: {path}", file=sys.stderr)
    stored = asyncio.run(_send(peer(options), files))
    missing = len(files) + len(others) - stored
    print(f"{stored} stored, {missing} not")
    return 1 if missing else 0


async def _send(other: "Peer", files: "list[File]") -> int:
    from leyden.operate.peer import send

    stored = 0
    try:
        async for sent in send(other, files):
            stored += sent.stored
            print(f"{sent.text}: {sent.file.path}")
    except Transient as error:
        print(f"{other}: {error}", file=sys.stderr)
    return stored
