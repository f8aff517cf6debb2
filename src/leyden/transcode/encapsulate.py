"""Encapsulated Pixel Data (PS3.5 A.4): a writer of fragments, one a frame, and a reader of fragments as frames.

The writer needs a seekable file: it leaves place for the Basic Offset Table and fills it in at the end. The table stays
empty where its 32-bit offsets might not reach; an Extended Offset Table is not written. The reader is iterative,
reads eight bytes an item and holds no fragment; frames come as lists of places in the file.
"""

import struct
from array import array
from collections.abc import Callable, Iterator
from typing import BinaryIO

from leyden.errors import Corrupt
from leyden.transcode.pixels import MAX_FRAMES

ReadAt = Callable[[int, int], bytes]
Place = tuple[int, int]  # offset and length in bytes

MAX_FRAGMENTS = 1 << 20
_ITEM = struct.Struct("<HHL")
_HEADER = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
_SEQUENCE_END = _ITEM.pack(0xFFFE, 0xE0DD, 0)


class Writer:
    """Writes (7FE0,0010) from its header to its sequence delimiter, in explicit little endian.

    `reach_bytes` is the most that all codestreams together can take: it decides whether there is an offset table.
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
        """The next frame as one fragment, padded to an even length."""
        length = len(codestream)
        pad = length & 1
        if self._offsets is not None:
            self._offsets.append(self._next)
        self._out.write(_ITEM.pack(0xFFFE, 0xE000, length + pad))
        self._out.write(codestream)
        self._out.write(b"\0" * pad)
        self._next += _ITEM.size + length + pad

    def end(self) -> None:
        """All frames are written: the sequence delimiter, and the offset table in its place."""
        self._out.write(_SEQUENCE_END)
        if self._offsets is not None:
            end = self._out.tell()
            self._out.seek(self._table_at)
            self._out.write(struct.pack(f"<{len(self._offsets)}L", *self._offsets))
            self._out.seek(end)


def frames(read_at: ReadAt, offset: int, number_of_frames: int) -> Iterator[list[Place]]:
    """The fragments of each frame, in order; `offset` is that of the first item, the Basic Offset Table.

    One frame has all fragments; as many fragments as frames are one each; else the table divides them. Corrupt: the
    items do not parse, or no such rule tells the frames apart.
    """
    if not 1 <= number_of_frames <= MAX_FRAMES:
        raise Corrupt(f"{number_of_frames} frames")
    table, first = _offset_table(read_at, offset, number_of_frames)
    if number_of_frames == 1:
        yield list(_fragments(read_at, first))
        return
    count = sum(1 for _ in _fragments(read_at, first))
    if count == number_of_frames:
        for fragment in _fragments(read_at, first):
            yield [fragment]
        return
    if len(table) != number_of_frames or table[0] != 0:
        raise Corrupt(f"{count} fragments for {number_of_frames} frames, and no offset table to divide them")
    starts = iter(table[1:])
    limit, current = next(starts, None), list[Place]()
    for fragment in _fragments(read_at, first):
        item_at = fragment[0] - _ITEM.size - first
        if limit is not None and item_at >= limit:
            if item_at != limit or not current:
                raise Corrupt("a Basic Offset Table that points between the fragments")
            yield current
            limit, current = next(starts, None), []
        current.append(fragment)
    if limit is not None or not current:
        raise Corrupt("a Basic Offset Table that points behind the last fragment")
    yield current


def _offset_table(read_at: ReadAt, offset: int, number_of_frames: int) -> tuple[tuple[int, ...], int]:
    """The Basic Offset Table (empty when it is, or cannot be of these frames) and the offset of the item after it."""
    item = _item(read_at, offset)
    if item is None:
        raise Corrupt("encapsulated Pixel Data without an item")
    value_at, length = item
    if length != 4 * number_of_frames:
        return (), value_at + length
    return struct.unpack(f"<{number_of_frames}L", _exactly(read_at, value_at, length)), value_at + length


def _fragments(read_at: ReadAt, offset: int) -> Iterator[Place]:
    for _ in range(MAX_FRAGMENTS):
        item = _item(read_at, offset)
        if item is None:
            return
        yield item
        offset = item[0] + item[1]
    raise Corrupt(f"more than {MAX_FRAGMENTS} fragments")


def _item(read_at: ReadAt, offset: int) -> Place | None:
    """The value of the item at `offset`; None = the sequence delimiter stands there."""
    group, element, length = _ITEM.unpack(_exactly(read_at, offset, _ITEM.size))
    if (group, element) == (0xFFFE, 0xE0DD):
        return None
    if (group, element) != (0xFFFE, 0xE000) or length == 0xFFFFFFFF:
        raise Corrupt(f"no fragment but ({group:04X},{element:04X}) in encapsulated Pixel Data at byte {offset}")
    if length and len(read_at(offset + _ITEM.size + length - 1, 1)) != 1:
        raise Corrupt(f"a fragment at byte {offset} that is longer than the file")
    return offset + _ITEM.size, length


def _exactly(read_at: ReadAt, offset: int, length: int) -> bytes:
    data = read_at(offset, length)
    if len(data) != length:
        raise Corrupt("encapsulated Pixel Data that ends too early")
    return data


def total_bytes(places: list[Place]) -> int:
    """The length of a frame, over all its fragments."""
    return sum(length for _, length in places)
