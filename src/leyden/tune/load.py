"""Data sets to load a service with: a template, of which each object gets a SOP Instance UID of its own.

A Template is a data set as it goes over the wire, in pieces, with room for a SOP Instance UID of fixed length. For the
next object only these UID_BYTES bytes are overwritten. Everything else stays as it was, so all objects of a template
are of one study. Deliberately absent: data sets that are deflated or big endian.
"""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from leyden.dicom.elements import ByteSource, encoding_of, level
from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head, encode_head
from leyden.dicom.uids import SYNTAXES

UID_BYTES = 44  # 2.25. and 39 digits: the longest UUID, and of even length
ROOM = "2.25.1" + "0" * (UID_BYTES - 6)
_SOP_INSTANCE_UID = 0x00080018


class Template(msgspec.Struct, frozen=True):
    """A data set in pieces; the SOP Instance UID stands `uid_at` bytes from the start, within the first one."""

    name: str
    sop_class: str
    syntax: str
    pieces: tuple[bytes, ...]
    uid_at: int

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.pieces))

    def in_memory(self) -> int:
        """A descriptor of a file in memory that holds the data set."""
        fd = os.memfd_create(self.name)
        for piece in self.pieces:
            _write_all(fd, piece)
        return fd

    def write(self, path: Path, uid: str) -> Path:
        """One object as a Part 10 file."""
        first = bytearray(self.pieces[0])
        first[self.uid_at : self.uid_at + UID_BYTES] = uid.encode("ascii")
        with path.open("wb") as file:
            file.write(encode_head(FileMeta(self.sop_class, uid, self.syntax)))
            file.writelines([first, *self.pieces[1:]])
        return path


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Uids:
    """New SOP Instance UIDs: `run` (up to 10 digits) and `process` (up to 4) tell where they come from."""

    def __init__(self, run: int, process: int = 0) -> None:
        self._prefix = f"2.25.1{run % 10**10:010}{process % 10**4:04}"
        self._count = 0

    def next(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count:0{UID_BYTES - len(self._prefix)}}"


class Stock:
    """Copies of the data sets in memory, one for each object that is on its way at the same time."""

    def __init__(self, these: Sequence[Template], uids: Uids) -> None:
        self._next = itertools.cycle(these)
        self._uids = uids
        self._free: dict[int, list[int]] = {}

    def take(self) -> tuple[Template, str, int]:
        """The next object: its template, its UID and a descriptor of the data set with that UID in it."""
        template, uid = next(self._next), self._uids.next()
        free = self._free.setdefault(id(template), [])
        fd = free.pop() if free else template.in_memory()
        os.pwrite(fd, uid.encode("ascii"), template.uid_at)
        assert len(uid) == UID_BYTES
        return template, uid, fd

    def give_back(self, template: Template, fd: int) -> None:
        self._free[id(template)].append(fd)

    def close(self) -> None:
        for fd in itertools.chain.from_iterable(self._free.values()):
            os.close(fd)


def of_file(path: Path) -> Template:
    """The data set of a Part 10 file. Raises as of_content()."""
    return of_content(path.name, path.read_bytes())


def of_content(name: str, content: bytes) -> Template:
    """The data set of a Part 10 file, with room for a UID. Corrupt: it is none. ValueError: it is none for loads."""
    head = decode_head(content[:HEAD_MAX_BYTES])
    if head is None:
        raise ValueError(f"{name} is cut off")
    meta, start = head
    syntax = SYNTAXES.get(meta.transfer_syntax_uid)
    if syntax is None or syntax.deflated or syntax.big_endian:
        raise ValueError(f"{name}: its transfer syntax is not for loads")
    data, encoding = content[start:], encoding_of(syntax)
    elements = level(
        ByteSource(lambda at, length: data[at : at + length], len(data), data[:65536]), 0, len(data), encoding
    )
    for tag, _, _, value, length, _ in elements:
        if tag == _SOP_INSTANCE_UID:
            size = UID_BYTES.to_bytes(2 if encoding.explicit else 4, "little")
            before = data[: value - len(size)] + size
            pieces = (before + ROOM.encode() + data[value + length :],)
            return Template(name, meta.sop_class_uid, meta.transfer_syntax_uid, pieces, len(before))
    raise ValueError(f"{name} has no SOP Instance UID")
