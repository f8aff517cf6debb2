"""One entry of the queue, looked into: its file meta, what its header says, and why it stands where it does.

Without patient data, unless that is asked for.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from leyden.dicom.dictionary import keyword_of
from leyden.dicom.header import peek
from leyden.dicom.part10 import FileMeta
from leyden.dicom.uids import syntax_name
from leyden.errors import Corrupt
from leyden.operate.select import Filter, Item, read_head, reason, select
from leyden.spool import ended
from leyden.spool.stage import ENDED

FACTS = (
    0x00080060, 0x0020000D, 0x0020000E, 0x00200011, 0x00200013, 0x00280008, 0x00280010, 0x00280011, 0x00280002,
    0x00280004, 0x00280100, 0x00280101, 0x00282110,
)  # fmt: skip
PATIENT_FACTS = (0x00100010, 0x00100020, 0x00100030, 0x00100040, 0x00080050, 0x00080020, 0x00081030, 0x0008103E)
SHOWN_CHARS = 200


class Shown(msgspec.Struct, frozen=True):
    """`syntax` is a name. `facts`: keyword -> value, of elements that the data set has. `note`: as it stands beside the
    file. `unread`: why the file can't be read, as far as it can't."""

    item: Item
    bytes: int = 0
    meta: FileMeta | None = None
    syntax: str = ""
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    note: dict[str, Any] = msgspec.field(default_factory=dict)
    unread: str = ""


def show(root: Path, id: str, patient: bool = False) -> list[Shown]:
    """What is known of an object; several where the id is a receipt id alone. [] = it is not there. Raises OSError.

    `patient`: with what identifies the patient and the order.
    """
    found = select(root, Filter(ids=frozenset((id,))))
    return [_looked_into(item, FACTS + PATIENT_FACTS if patient else FACTS) for item in found]


def _looked_into(item: Item, tags: tuple[int, ...]) -> Shown:
    shown = Shown(replace(item, reason=reason(item)), note=ended.note(item.path) if item.stage in ENDED else {})
    try:
        fd = os.open(item.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return replace(shown, unread=error.strerror or str(error))
    try:
        shown = replace(shown, bytes=os.fstat(fd).st_size)
        meta = read_head(fd)
        item = replace(shown.item, source=meta.sending)
        shown = replace(shown, item=item, meta=meta, syntax=syntax_name(meta.transfer_syntax_uid))
        header = peek(lambda offset, length: os.pread(fd, length, offset), shown.bytes)
        values = {tag: texts for tag in tags if (texts := header.texts(tag)) is not None}
        facts = {keyword_of(tag): "\\".join(texts)[:SHOWN_CHARS] for tag, texts in values.items()}
        return replace(shown, facts=facts, unread=header.flaw)
    except (OSError, Corrupt) as error:
        return replace(shown, unread=str(error))
    finally:
        os.close(fd)
