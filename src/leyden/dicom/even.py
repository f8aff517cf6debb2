"""Pads values of odd length, so that all are even (PS3.5 sections 6.2, 7.1.1 and A.4): a list of changes, and a view.

Some devices write odd values, and some archives abort where a dataset ends on one. Each odd value gets one byte: a
blank after text, else NUL. The defined lengths around it grow with it, and so do the group length before it and the
entries of offset tables; everything else stays byte for byte. The fragments of a frame are one codestream, so only the
last one can be padded: an odd one before it takes the first byte of the next. If nothing tells which fragments form a
frame, they stay as they are. Nothing here opens a file or looks at a value.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from leyden.dicom.edit import actual_vr, element_header
from leyden.dicom.elements import (
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    WORD_BYTES,
    ByteSource,
    Encoding,
    ReadAt,
    tag_name,
    walk,
)
from leyden.dicom.header import Dataset
from leyden.errors import Corrupt

MAX_CHANGES = 200_000
MAX_TABLE_BYTES = 8 << 20
_FRAMES = 0x00280008
_EXTENDED_OFFSETS = 0x7FE00001
_ITEM_HEADER_BYTES = 8
_TEXT_VRS = frozenset({
    "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT",
})  # fmt: skip

Change = tuple[int, int, bytes]
"""Offset in the source, how many bytes to remove there, and the bytes to put in their place."""


class _Scope(msgspec.Struct):
    """One of the things that the walk is in: the dataset, a sequence, an item or fragments."""

    tag: int
    vr: str
    at: int
    value: int
    length: int
    encoding: Encoding
    growth: int = 0  # bytes
    group_length: tuple[int, int] = (-1, 0)  # the group whose length was seen last, and the offset of that length
    frames: int = 1  # Number of Frames, in a dataset or item; 0 = it is no number
    # Of fragments only: whether one is odd (without the offset table), where each begins (with the table), which of
    # these begin a frame, and where a frame gets its padding.
    odd: bool = False
    items: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    starts: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))
    pads: "array[int]" = msgspec.field(default_factory=lambda: array("Q"))


def odd_inside(dataset: Dataset) -> bool:
    """Whether a value inside the top-level sequences has an odd length; Pixel Data are not searched.

    0.5 us a nested element. Raises Corrupt if nested elements do not parse.
    """
    for tag, vr, at, _, length, after in dataset.read().values():
        if (vr == "SQ" and length) or (length == UNDEFINED and tag != PIXEL_DATA):
            for token in walk(dataset.source, at, after, dataset.encoding):
                if token[4] & 1 and token[4] != UNDEFINED:
                    return True
    return False


def changes(dataset: Dataset) -> tuple[tuple[Change, ...], bool]:
    """The changes, in order, that make every element of a dataset even (() = all are), and whether odd fragments stay.

    They stay if nothing tells which fragments form a frame. If an odd number of NULs follows the last element of a
    dataset or item, one of them is left out, not added: they belong to no element, and DCMTK takes two NULs for an
    element that is cut off.

    One pass over all depths, 0.7 us an element. Raises Corrupt if elements do not parse, for more than MAX_CHANGES
    changes, and for an offset table above MAX_TABLE_BYTES.
    """
    padder = _Padder(dataset)
    for tag, vr, at, value, length, encoding in walk(dataset.source, dataset.start, dataset.end, dataset.encoding):
        scope = padder.scopes[-1]
        if not vr and tag in (ITEM_END, SEQUENCE_END):
            padder.close(at)
            continue
        if tag == ITEM and vr:  # a fragment; the first one is the Basic Offset Table
            scope.items.append(at)
            if len(scope.items) > 1:
                scope.odd |= length % 2 > 0
                continue
        elif tag == _FRAMES and length <= 64:
            scope.frames = _number(dataset.source.take(value, length))
        if not vr or length == UNDEFINED or (vr == "SQ" and length):
            padder.scopes.append(_Scope(tag, vr, at, value, length, encoding))
        elif length % 2:
            padder.pad(tag, actual_vr(tag, vr, dataset), at, value, length, encoding, WORD_BYTES.get(vr) == 2)
        elif not tag & 0xFFFF and length == 4:
            scope.group_length = tag >> 16, value
        elif tag == _EXTENDED_OFFSETS and len(padder.scopes) == 1:
            padder.extended_table = value, length
    return padder.finish(dataset.end - dataset.start), padder.undivided


class _Padder:
    """Collects the changes of one walk. `scopes`: what the walk is in, from the dataset inwards."""

    def __init__(self, dataset: Dataset) -> None:
        self.scopes = [_Scope(0, "", dataset.start, dataset.start, UNDEFINED, dataset.encoding)]
        self.extended_table = 0, 0  # offset and length of the Extended Offset Table
        self.undivided = False  # whether odd fragments stay, because nothing tells which of them form a frame
        self._source = dataset.source
        self._changes: list[Change] = []
        self._group_growth: dict[tuple[int, str], int] = {}  # offset and byte order of a group length -> bytes to add

    def pad(self, tag: int, vr: str, at: int, value: int, length: int, encoding: Encoding, of_words: bool) -> None:
        """Add one byte to an element of odd length. `of_words`: its value consists of words of two bytes.

        In big endian, half a word at the end is its low byte, so that the padding goes before it.
        """
        before_last = of_words and encoding.order == ">"
        header = _header(tag, vr, length + 1, encoding)
        blank = b" " if vr in _TEXT_VRS else b"\0"
        self._put((at, value - at, header), (value + length - before_last, 0, blank))
        self._grow(1 + len(header) - (value - at), tag)

    def close(self, at: int) -> None:
        """A sequence, an item or fragments end at `at`: their length and offset tables follow what grew inside."""
        scope = self.scopes.pop()
        top_level_pixels = scope.tag == PIXEL_DATA and len(self.scopes) == 1
        if scope.odd:
            frames = self.scopes[-1].frames if scope.tag == PIXEL_DATA else 0
            extended_table = self.extended_table if top_level_pixels else (0, 0)
            scope.starts = _frame_starts(self._source, scope, frames, extended_table)
            self.undivided = self.undivided or not scope.starts
            for change in _padding_changes(self._source, scope, at):
                self._put(change)
            scope.growth += len(scope.pads)
        elif scope.length != UNDEFINED and (at - scope.value + scope.growth) % 2 and not self.undivided:
            self._put((at - 1, 1, b""))
            scope.growth -= 1
        if not scope.growth:
            return
        growth = scope.growth
        if scope.length != UNDEFINED:
            header = _header(scope.tag, scope.vr, scope.length + scope.growth, scope.encoding)
            self._put((scope.at, scope.value - scope.at, header))
            growth += len(header) - (scope.value - scope.at)  # a sequence without a VR gets one
        if scope.pads:
            self._put(*_recounted_table(self._source, scope, "L", *_basic_offset_table(self._source, scope)))
            if top_level_pixels:
                self._put(*_recounted_table(self._source, scope, "Q", *self.extended_table))
        self._grow(growth, scope.tag)

    def finish(self, size: int) -> tuple[Change, ...]:
        """All changes in order, with those of group lengths; `size`: of the dataset before them, in bytes."""
        for (at, order), growth in self._group_growth.items():
            (length,) = struct.unpack(order + "L", self._source.take(at, 4))
            self._put((at, 4, struct.pack(order + "L", (length + growth) & 0xFFFFFFFF)))
        whole = self.scopes[0]
        if (size + whole.growth) % 2 and not self.undivided:
            self._put((whole.at + size - 1, 1, b""))
        return tuple(sorted(self._changes))

    def _put(self, *changes: Change) -> None:
        self._changes.extend(changes)
        if len(self._changes) > MAX_CHANGES:
            raise Corrupt(f"more than {MAX_CHANGES // 2} elements of odd length")

    def _grow(self, growth: int, tag: int) -> None:
        """`tag` grew: so does the scope around it, and the group length before it."""
        scope = self.scopes[-1]
        scope.growth += growth
        group, at = scope.group_length
        if group == tag >> 16:
            key = at, scope.encoding.order
            self._group_growth[key] = self._group_growth.get(key, 0) + growth


def changed_tags(dataset: Dataset, found: Sequence[Change]) -> frozenset[int]:
    """The top-level tags in which something changes; elements after Pixel Data count as Pixel Data.

    Whatever grows gets a new header, so headers are what is looked for.
    """
    elements = dataset.read()
    begins = [element[2] for element in elements.values()]
    tags = list(elements)
    return frozenset(tags[bisect_right(begins, at) - 1] for at, removed, put in found if removed and put)


def _header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    if length >= UNDEFINED:
        raise Corrupt(f"{tag_name(tag)} is too long to be padded")
    return element_header(tag, vr, length, encoding)


def _number(value: bytes) -> int:
    text = value.strip(b" \0")
    return int(text) if text.isdigit() else not text


def _basic_offset_table(source: ByteSource, fragments: _Scope) -> tuple[int, int]:
    """Offset and length of the value of the first item, the Basic Offset Table."""
    _, _, value, length = source.head(fragments.items[0], source.size, fragments.encoding)
    return value, length


def _frame_starts(source: ByteSource, fragments: _Scope, frames: int, extended: tuple[int, int]) -> "array[int]":
    """Where the fragments begin that begin a frame; empty = nothing tells.

    As many fragments as frames: one each. One frame: it has all fragments, unless a later one begins as the first does.
    Else an offset table divides them. `frames`: 0 if the number is not known.
    """
    items = fragments.items[1:]
    if len(items) in (1, frames):
        return items
    tables = [_entries(source, "Q", *extended), _entries(source, "L", *_basic_offset_table(source, fragments))]
    if frames == 1:
        begin, *others = (source.take(at + _ITEM_HEADER_BYTES, 4) for at in items)
        return items[:0] if begin in others or any(len(table) > 1 for table in tables) else items[:1]
    for table in tables:
        if frames and len(table) == frames and all(here < there for here, there in pairwise(table)):
            starts = _entry_places(items, table)
            if starts:
                return starts
    return items[:0]


def _padding_changes(source: ByteSource, fragments: _Scope, end: int) -> Iterator[Change]:
    """The changes that make the fragments of each frame even: bytes move between them, one is added last (`pads`)."""
    ends = [*fragments.starts[1:], end]
    first = 1
    for frame_end in ends if fragments.starts else ():
        behind = bisect_left(fragments.items, frame_end)
        places = pairwise([*fragments.items[first:behind], frame_end])
        first = behind
        filled = [(at, after) for at, after in places if after - at > _ITEM_HEADER_BYTES]
        taken = 0  # 1 = the first byte of this fragment has moved to the end of the one before
        for number, (at, after) in enumerate(filled, 1):
            value = at + _ITEM_HEADER_BYTES
            odd = (after - value - taken) % 2
            if odd != taken:
                header = _header(ITEM, "", after - value - taken + odd, fragments.encoding)
                yield at, _ITEM_HEADER_BYTES, header
            if taken:
                yield value, 1, b""
            taken = odd if number < len(filled) else 0
            if taken:
                yield after, 0, source.take(filled[number][0] + _ITEM_HEADER_BYTES, 1)
            elif odd:
                yield after, 0, b"\0"
                fragments.pads.append(after)


def _entries(source: ByteSource, form: str, value: int, length: int) -> tuple[int, ...]:
    """The entries of an offset table; () = it is empty, or no table."""
    entry_bytes = struct.calcsize("<" + form)
    if not length or length % entry_bytes:
        return ()
    if length > MAX_TABLE_BYTES:
        raise Corrupt(f"an offset table of {length} bytes")
    return struct.unpack(f"<{length // entry_bytes}{form}", source.take(value, length))


def _entry_places(starts: "array[int]", table: Sequence[int]) -> "array[int]":
    """Where the entries of a table point to; empty = one of them points to none of `starts`."""
    places = array("Q")
    for entry in table:
        at = starts[0] + entry - table[0]  # some writers count from the value of the first fragment, or from the table
        place = bisect_left(starts, at)
        if place == len(starts) or starts[place] != at:
            return array("Q")
        places.append(at)
    return places


def _recounted_table(source: ByteSource, fragments: _Scope, form: str, value: int, length: int) -> list[Change]:
    """The new entries of an offset table, if each entry points to a frame; else it stays as it is."""
    table = _entries(source, form, value, length)
    places = _entry_places(fragments.starts, table)
    if not places:
        return []
    counted = [entry + bisect_right(fragments.pads, at) for entry, at in zip(table, places, strict=True)]
    return [(value, length, struct.pack(f"<{len(counted)}{form}", *counted))]


class PaddedView:
    """A source with `changes` applied: its new `size` in bytes, and `read_at`."""

    def __init__(self, read_at: ReadAt, size: int, changes: Sequence[Change]) -> None:
        self._read_at = read_at
        self._begins = array("Q")  # the offset of each part in the view ...
        self._parts: list[int | bytes] = []  # ... and its offset in the source, or its bytes
        self.size = 0
        at = 0
        for offset, removed, put in changes:
            self._add(at, offset - at)
            self._add(put, len(put))
            at = offset + removed
        self._add(at, size - at)

    def _add(self, origin: int | bytes, length: int) -> None:
        if length > 0:
            self._begins.append(self.size)
            self._parts.append(origin)
            self.size += length

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer only at the end."""
        end = min(offset + length, self.size)
        number = bisect_right(self._begins, offset) - 1
        parts: list[bytes] = []
        while offset < end:
            begin = self._begins[number]
            number += 1
            stop = min(end, self._begins[number] if number < len(self._begins) else self.size)
            origin = self._parts[number - 1]
            if isinstance(origin, bytes):
                part = origin[offset - begin : stop - begin]
            else:
                part = self._read_at(origin + offset - begin, stop - offset)
            parts.append(part)
            if len(part) < stop - offset:
                break  # the source has become shorter
            offset = stop
        return b"".join(parts)
