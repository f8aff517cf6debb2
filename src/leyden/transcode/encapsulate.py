"""Encapsulated Pixel Data (PS3.5 A.4): a writer of fragments, one for each frame, and a reader of fragments as frames.

The writer needs a seekable file: it leaves space for the Basic Offset Table and fills it in at the end. The table is
empty if its 32-bit offsets might not be enough; an Extended Offset Table is not written. The reader walks the items
once and keeps 16 bytes for each fragment; frames are lists of places in the file. Lengths decide: what looks like an
item inside a fragment is data, and an odd length is used as it is. Offset tables are used if they fit the fragments. A
file may end after a whole fragment, without the sequence delimiter.
"""

import re
import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import BinaryIO

from leyden.errors import Corrupt

ReadAt = Callable[[int, int], bytes]
Place = tuple[int, int]  # offset and length in bytes
Starts = Callable[[Place], bool]  # whether a fragment is the first of a frame

MAX_FRAGMENTS = 1 << 20
BLOCK_BYTES = 4096
_ITEM = struct.Struct("<HHL")
_HEADER = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
_SEQUENCE_END = _ITEM.pack(0xFFFE, 0xE0DD, 0)


class Writer:
    """Writes (7FE0,0010) from its header to its sequence delimiter, in explicit VR little endian.

    `reach_bytes`: an upper bound for all codestreams together; it decides whether there is an offset table.
    """

    def __init__(self, out: BinaryIO, frames: int, reach_bytes: int) -> None:
        self._out = out
        self._offsets: array[int] | None = array("L") if reach_bytes + 8 * frames < 1 << 32 else None
        self._next = 0
        out.write(_HEADER)
        self._table_at = out.tell() + _ITEM.size
        table_bytes = 4 * frames if self._offsets is not None else 0
        out.write(_ITEM.pack(0xFFFE, 0xE000, table_bytes) + bytes(table_bytes))

    def frame(self, codestream: memoryview) -> None:
        """Write the next frame as one fragment, padded to an even length."""
        length = len(codestream)
        pad = length & 1
        if self._offsets is not None:
            self._offsets.append(self._next)
        self._out.write(_ITEM.pack(0xFFFE, 0xE000, length + pad))
        self._out.write(codestream)
        self._out.write(b"\0" * pad)
        self._next += _ITEM.size + length + pad

    def end(self) -> None:
        """After the last frame: write the sequence delimiter, and fill in the offset table."""
        self._out.write(_SEQUENCE_END)
        if self._offsets is not None:
            end = self._out.tell()
            self._out.seek(self._table_at)
            self._out.write(struct.pack(f"<{len(self._offsets)}L", *self._offsets))
            self._out.seek(end)


def frames(
    read_at: ReadAt, offset: int, number_of_frames: int, extended: Sequence[int] | None = None, begins: bytes = b""
) -> Iterator[list[Place]]:
    """The fragments of each frame, in order; `offset` is that of the first item, the Basic Offset Table.

    These rules are tried in order. One frame: it has all fragments. As many fragments as frames: one each. A table
    whose offsets are all those of fragments divides them: `extended`, the offsets of the Extended Offset Table
    (7FE0,0001) (its lengths only tell the padding), or the basic one. As many fragments that are not empty as frames:
    one each. A frame begins with each fragment that begins as the first does, if `begins` matches that: a regular
    expression for the first bytes of a codestream, b"" = unknown. Corrupt: the items do not parse, or no rule gives as
    many frames.
    """
    read_at = _in_blocks(read_at)
    basic, first = _offset_table(read_at, offset, number_of_frames)
    offsets, lengths = array("Q"), array("Q")
    for place in _fragments(read_at, first):
        offsets.append(place[0])
        lengths.append(place[1])

    def fragments() -> Iterator[Place]:
        return zip(offsets, lengths, strict=True)

    def filled() -> Iterator[Place]:
        return (fragment for fragment in fragments() if fragment[1])

    way = re.match(begins, next((read_at(at, min(length, BLOCK_BYTES)) for at, length in filled()), b""))
    beginning = way[0] if way else b""

    def begins_frame(fragment: Place) -> bool:
        return read_at(fragment[0], min(fragment[1], len(beginning))) == beginning

    if number_of_frames == 1 and offsets:
        several = beginning and sum(map(begins_frame, filled())) > 1
        if first - offset > _ITEM.size + 4 or len(extended or ()) > 1 or several:
            raise Corrupt("several frames where Number of Frames says one")
        yield list(filled())
        return

    def by(table: Sequence[int]) -> Starts:
        # Some writers count from the value of the first fragment, or from the table.
        known = bool(table) and len(table) == number_of_frames and table[0] in (0, _ITEM.size, first - offset)
        ascending = known and all(here < there for here, there in pairwise(table))
        values_at = {first + entry - table[0] + _ITEM.size for entry in table} if ascending else set()
        return lambda fragment: fragment[0] in values_at

    def rules() -> Iterator[tuple[Callable[[], Iterator[Place]], Starts]]:
        yield fragments, lambda _: True
        yield fragments, by(extended or ())
        yield fragments, by(basic)
        yield filled, lambda _: True
        if beginning:
            yield filled, begins_frame

    for those, starts in rules():
        marks = [starts(fragment) for fragment in those()]
        if marks and marks[0] and sum(marks) == number_of_frames:
            yield from _divided(those(), starts)
            return
    raise Corrupt(f"{len(offsets)} fragments for {number_of_frames} frames, and nothing that divides them for sure")


def _divided(fragments: Iterator[Place], starts: Starts) -> Iterator[list[Place]]:
    current = [next(fragments)]
    for fragment in fragments:
        if starts(fragment):
            yield current
            current = []
        if fragment[1]:
            current.append(fragment)
    yield current


def _offset_table(read_at: ReadAt, offset: int, number_of_frames: int) -> tuple[tuple[int, ...], int]:
    """The Basic Offset Table (empty if it has another number of entries) and the offset of the item after it."""
    item = _item(read_at, offset)
    if item is None:
        raise Corrupt("encapsulated Pixel Data without an item")
    value_at, length = item
    if length != 4 * number_of_frames:
        return (), value_at + length
    return struct.unpack(f"<{number_of_frames}L", read_at(value_at, length)), value_at + length


def _fragments(read_at: ReadAt, offset: int) -> Iterator[Place]:
    for _ in range(MAX_FRAGMENTS):
        item = _item(read_at, offset)
        if item is None:
            return
        yield item
        offset = item[0] + item[1]
    raise Corrupt(f"more than {MAX_FRAGMENTS} fragments")


def _in_blocks(read_at: ReadAt) -> ReadAt:
    """Reads the same bytes, but in blocks: small pieces come from the block that was read last."""
    begin, block = 0, b""

    def read(offset: int, length: int) -> bytes:
        nonlocal begin, block
        if not begin <= offset <= offset + length <= begin + len(block):
            begin, block = offset, read_at(offset, max(length, BLOCK_BYTES))
        return block[offset - begin : offset - begin + length]

    return read


def _item(read_at: ReadAt, offset: int) -> Place | None:
    """The value of the item at `offset`; None = the sequence delimiter, or the end of the file."""
    head = read_at(offset, _ITEM.size)
    if not head:
        return None
    if len(head) != _ITEM.size:
        raise Corrupt("encapsulated Pixel Data that ends too early")
    group, element, length = _ITEM.unpack(head)
    if (group, element) == (0xFFFE, 0xE0DD):
        return None
    if (group, element) != (0xFFFE, 0xE000) or length == 0xFFFFFFFF:
        raise Corrupt(f"({group:04X},{element:04X}) in encapsulated Pixel Data at byte {offset}, which is no fragment")
    if length and len(read_at(offset + _ITEM.size + length - 1, 1)) != 1:
        raise Corrupt(f"a fragment at byte {offset} that is longer than the file")
    return offset + _ITEM.size, length


def total_bytes(places: list[Place]) -> int:
    """The length of a frame, the sum of its fragments."""
    return sum(length for _, length in places)
