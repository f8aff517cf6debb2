"""A journal to be audited, its keeper, and what the audit log then holds."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from leyden.audit import files
from leyden.audit.keeper import Keeper, key_path, read_note
from leyden.audit.settings import AuditSettings
from leyden.audit.verify import Verified, verify
from leyden.journal.events import Delivered, Event
from leyden.journal.segments import Journal
from leyden.spool.secret import read_secret

SETTINGS = AuditSettings()


def delivered(number: int, destination: str = "PACS") -> Delivered:
    return Delivered(
        f"{number:022d}", at_s=1.7e9 + number, sop_class_uid="1.2", sop_instance_uid=f"2.25.{number}", calling="CT1",
        destination=destination, status=0, syntax="1.2.840.10008.1.2.1", bytes=512, took_s=0.02,
    )  # fmt: skip


def tell(root: Path, told: Iterable[Event], writer: str = "sender-0") -> None:
    journal = Journal(root, writer, 64 << 20)
    for event in told:
        journal.write(event)
    journal.close()


def keep(root: Path, settings: AuditSettings = SETTINGS) -> Keeper:
    """A keeper that has kept all that was told so far."""
    keeper = Keeper(root, root / "log", settings)
    while keeper.turn():
        pass
    return keeper


def records(root: Path) -> list[dict[str, Any]]:
    """All records, but for those that open a file."""
    found = [orjson.loads(line) for path in files.files(root / "log") for line in files.lines(path)]
    return [record for record in found if record["event"] != "opened"]


def numbers(root: Path) -> list[int]:
    """The receipts of all records."""
    return [int(record["receipt"]) for record in records(root)]


def checked(root: Path, settings: AuditSettings = SETTINGS) -> Verified:
    """What `leyden audit verify` says."""
    note = read_note(root)
    key = read_secret(key_path(root, settings))
    paths = files.files(root / "log")
    end = note.end if note and note.seq else None
    return verify(key, paths, first=note.first if note else 1, end=end)


def rewrite(path: Path, lines: list[bytes]) -> None:
    """Change a file in its place, as somebody with an editor would who knows about inodes."""
    with path.open("r+b") as file:
        file.truncate()
        file.write(b"".join(lines))
