"""Finds events in the journal: by receipt, SOP Instance UID, Study Instance UID or accession, in any number of days.

Beside a closed segment stands its index, `<segment>.index`: numbers of 64 bits, sorted, the upper half a checksum of a
value, the lower one the offset of a line that may hold it. Before these come a mark and how many bytes of the segment
are indexed. What is not indexed (the segments that are being written) is searched from end to end. So an index is
never needed for an answer, only for a fast one, and a wrong checksum only costs a look at a line.
"""

import mmap
import os
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterator
from typing import Any, BinaryIO

import msgspec
import orjson

from leyden.journal.segments import segments

RECEIPT = "receipt"
INSTANCE = "sop_instance_uid"
STUDY = "study_instance_uid"
ACCESSION = "accession"
_KEYS = (RECEIPT, INSTANCE, STUDY, ACCESSION)
_NEEDLES = tuple(f'"{key}":"'.encode() for key in _KEYS)
_MARK = int.from_bytes(b"leyden-1", "little")
_NEEDLES_MAX = 8  # so many values are looked for one by one; more are compared line by line

Document = dict[str, Any]
"""An event as it stands in the journal."""


def index_path(segment: str) -> str:
    """The path of the index of a segment."""
    return f"{segment}.index"


def build(segment: str) -> None:
    """Write the index of a segment (4 us a line). OSError."""
    with open(segment, "rb") as file:
        data = file.read()
    numbers: list[int] = []
    at = 0
    for line in data.splitlines(keepends=True):
        for value in _values(line):
            numbers.append(zlib.crc32(value) << 32 | at)
        at += len(line)
    numbers.sort()
    path = index_path(segment)
    making = f"{path}.making"
    fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as out:
        array("Q", [_MARK, at, *numbers]).tofile(out)
    os.rename(making, path)


def _values(line: bytes) -> Iterator[bytes]:
    """The values of the keys in a line. What is none, in a line that was cut off, does no harm."""
    if b"\\" in line:  # a value may be escaped, and a text may look like a key
        document = _parsed(line)
        yield from (str(document[key]).encode("utf-8", "surrogateescape") for key in _KEYS if key in document)
        return
    for needle in _NEEDLES:
        at = line.find(needle)
        if at >= 0:
            at += len(needle)
            yield line[at : line.find(b'"', at)]


def find(folder: str, key: str, values: Collection[str], since_s: float = 0.0) -> list[Document]:
    """The events of which `key` (one of those above) has one of these values.

    `since_s`: no such event is older than this, so that older segments are passed over. OSError.
    """
    found: list[Document] = []
    looked_into: set[int] = set()
    for _ in range(2):  # twice, as one may be closed meanwhile and have a new name
        for segment in segments(folder):
            if segment.closed_s < since_s or segment.inode in looked_into:
                continue
            try:
                file = open(segment.path, "rb", 0)  # noqa: SIM115
            except FileNotFoundError:
                continue
            with file:
                inode = os.fstat(file.fileno()).st_ino  # the name may be that of the next segment now
                if inode not in looked_into:
                    looked_into.add(inode)
                    found += _of_segment(file, segment.path, key, values)
    return found


def _of_segment(file: BinaryIO, path: str, key: str, values: Collection[str]) -> Iterator[Document]:
    indexed_bytes, offsets = _indexed(path, values)
    lines = [_line(file, offset) for offset in sorted(offsets)]
    file.seek(indexed_bytes)
    lines += _lines_with(file.read(), key, values)
    for line in lines:
        document = _parsed(line)
        if document and document.get(key) in values:
            yield document


def _indexed(path: str, values: Collection[str]) -> tuple[int, set[int]]:
    """How much of a segment is indexed, and the offsets of the lines that may hold one of the values."""
    try:
        with (
            open(index_path(path), "rb", 0) as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
            memoryview(mapped) as whole,
            whole.cast("Q") as numbers,
        ):
            if numbers[0] != _MARK:
                return 0, set()
            offsets: set[int] = set()
            for value in values:
                least = _number(value)
                at = bisect_left(numbers, least, 2)
                while at < len(numbers) and numbers[at] >> 32 == least >> 32:
                    offsets.add(numbers[at] & 0xFFFFFFFF)
                    at += 1
            return numbers[1], offsets
    except (FileNotFoundError, ValueError, TypeError):  # there is none, or it is empty or cut off after a power cut
        return 0, set()


def _number(value: str) -> int:
    return zlib.crc32(value.encode("utf-8", "surrogateescape")) << 32


def _line(file: BinaryIO, offset: int) -> bytes:
    line = os.pread(file.fileno(), 2048, offset)
    while b"\n" not in line:
        more = os.pread(file.fileno(), 1 << 16, offset + len(line))
        if not more:
            break
        line += more
    return line.partition(b"\n")[0]


def _lines_with(data: bytes, key: str, values: Collection[str]) -> list[bytes]:
    """The lines that may hold one of the values."""
    if len(values) > _NEEDLES_MAX:
        return data.splitlines() if key != RECEIPT else [line for line in data.splitlines() if _receipt(line) in values]
    starts: set[int] = set()
    for value in values:
        needle = b'"' + key.encode() + b'":' + msgspec.json.encode(value)
        at = data.find(needle)
        while at >= 0:
            starts.add(data.rfind(b"\n", 0, at) + 1)
            at = data.find(needle, at + len(needle))
    return [_until_end(data, start) for start in sorted(starts)]


def _until_end(data: bytes, start: int) -> bytes:
    end = data.find(b"\n", start)
    return data[start:] if end < 0 else data[start:end]


def _receipt(line: bytes) -> str:
    at = line.find(b'"receipt":"') + 11
    return line[at : at + 22].decode("ascii", "replace")


def _parsed(line: bytes) -> Document:
    """An event, or nothing where a crash has cut the line off."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) and "event" in document else {}
