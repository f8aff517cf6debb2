"""A dataset with values of odd length as one in which all are even (PS3.5 sections 6.2, 7.1.1 and A.4): plan and view.

Devices write such values, and there are archives that abort where the dataset ends on one. Each gets one byte: a blank
behind text, else NUL. The defined lengths around it grow with it, and so do the group length before it and what an
offset table counts; all else stays byte for byte. The fragments of a frame are one codestream, so a byte of padding can
stand behind the last one only: an odd one before takes the first byte of the next. Where nothing tells which fragments
are a frame, they stay as they are. No file is touched here. Deliberately absent: values.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from leyden.dicom.edit import actual_vr, element_header
from leyden.dicom.elements import (
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    WORD_BYTES,
    Encoding,
    ReadAt,
    Source,
    tag_name,
    walk,
)
from leyden.dicom.header import Dataset
from leyden.errors import Corrupt

MAX_CHANGES = 200_000
MAX_TABLE_BYTES = 8 << 20
_FRAMES, _EXTENDED_OFFSETS = 0x00280008, 0x7FE00001
_ITEM_HEADER_BYTES = 8
_TEXT_VRS = frozenset({
    "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UR", "UT",
})  # fmt: skip

Change = tuple[int, int, bytes]
"""At this offset of the source so many bytes give way to these."""


@dataclass(slots=True)
class _Around:
    """What the walk is in: the dataset, a sequence, an item or fragments."""

    tag: int
    vr: str
    at: int
    value: int
    length: int
    encoding: Encoding
    growth: int = 0
    group_length: tuple[int, int] = (-1, 0)  # the group whose length was seen last, and the offset of that length
    frames: int = 1  # of a dataset or item, its Number of Frames; 0 = none that is a number
    odd: bool = False  # of fragments: whether one is, the table apart, ...
    items: "array[int]" = field(default_factory=lambda: array("Q"))  # ... where each begins, the table as well, ...
    starts: "array[int]" = field(default_factory=lambda: array("Q"))  # ... which of them begin a frame, ...
    pads: "array[int]" = field(default_factory=lambda: array("Q"))  # ... and where a frame gets a byte


def odd_inside(dataset: Dataset) -> bool:
    """Whether a value within the top-level sequences is odd; fragments are not looked at. 0.5 us a nested element.

    Raises Corrupt where nested elements do not parse.
    """
    for tag, vr, at, _, length, after in dataset.read().values():
        if (vr == "SQ" and length) or (length == UNDEFINED and tag != PIXEL_DATA):
            for token in walk(dataset.source, at, after, dataset.encoding):
                if token[4] & 1 and token[4] != UNDEFINED:
                    return True
    return False


def changes(dataset: Dataset) -> tuple[tuple[Change, ...], bool]:
    """What makes every element of a dataset even, in order, () = all are; and whether odd fragments stay.

    They do where nothing tells which fragments are a frame. Of an odd number of NULs behind the last element of a
    dataset or item the odd one is left out: it is no element's, and of a single one nothing is left, while two are
    for DCMTK, where it reads a file, an element that is cut off.

    One pass over all depths, 0.7 us an element. Raises Corrupt where they do not parse (then nothing can be known of
    it), for more than MAX_CHANGES changes, and for an offset table above MAX_TABLE_BYTES.
    """
    source = dataset.source
    found: list[Change] = []
    grown: dict[tuple[int, str], int] = {}  # offset and byte order of a group length -> what is to be added
    around = [_Around(0, "", dataset.start, dataset.start, UNDEFINED, dataset.encoding)]
    extended = 0, 0  # offset and length of the Extended Offset Table
    undivided = False

    def put(*some: Change) -> None:
        found.extend(some)
        if len(found) > MAX_CHANGES:
            raise Corrupt(f"more than {MAX_CHANGES // 2} elements of odd length")

    def grow(by: int, tag: int) -> None:
        whole = around[-1]
        whole.growth += by
        group, at = whole.group_length
        if group == tag >> 16:
            grown[at, whole.encoding.order] = grown.get((at, whole.encoding.order), 0) + by

    for tag, vr, at, value, length, encoding in walk(source, dataset.start, dataset.end, dataset.encoding):
        if not vr and tag in (ITEM_END, SEQUENCE_END):
            whole = around.pop()
            if whole.odd:
                own = around[-1].frames if whole.tag == PIXEL_DATA else 0
                long = extended if whole.tag == PIXEL_DATA and len(around) == 1 else (0, 0)
                whole.starts = _starts(source, whole, own, long)
                undivided = undivided or not whole.starts
                for change in _shifted(source, whole, at):
                    put(change)
                whole.growth += len(whole.pads)
            elif whole.length != UNDEFINED and (at - whole.value + whole.growth) % 2 and not undivided:
                put((at - 1, 1, b""))
                whole.growth -= 1
            if whole.growth:
                if whole.length != UNDEFINED:
                    header = _header(whole.tag, whole.vr, whole.length + whole.growth, whole.encoding)
                    put((whole.at, whole.value - whole.at, header))
                if whole.pads:
                    put(*_table(source, whole, "L", *_item(source, whole)))
                    if whole.tag == PIXEL_DATA and len(around) == 1:
                        put(*_table(source, whole, "Q", *extended))
                grow(whole.growth, whole.tag)
            continue
        if tag == ITEM and vr:
            around[-1].items.append(at)
            if len(around[-1].items) > 1:
                around[-1].odd |= length % 2 > 0
                continue
        elif tag == _FRAMES and length <= 64:
            around[-1].frames = _number(source.take(value, length))
        if not vr or length == UNDEFINED or (vr == "SQ" and length):
            around.append(_Around(tag, vr, at, value, length, encoding))
        elif length % 2:
            # A word cut short in big endian lacks the byte before its last one, as that is the one that counts least.
            early = encoding.order == ">" and WORD_BYTES.get(vr) == 2
            vr = actual_vr(tag, vr, dataset)
            pad = b" " if vr in _TEXT_VRS else b"\0"
            header = _header(tag, vr, length + 1, encoding)
            put((at, value - at, header), (value + length - early, 0, pad))
            grow(1 + len(header) - (value - at), tag)
        elif not tag & 0xFFFF and length == 4:
            around[-1].group_length = tag >> 16, value
        elif tag == _EXTENDED_OFFSETS and len(around) == 1:
            extended = value, length
    for (at, order), by in grown.items():
        (length,) = struct.unpack(order + "L", source.take(at, 4))
        put((at, 4, struct.pack(order + "L", (length + by) & 0xFFFFFFFF)))
    if (dataset.end - dataset.start + around[0].growth) % 2 and not undivided:
        put((dataset.end - 1, 1, b""))
    return tuple(sorted(found)), undivided


def touched(dataset: Dataset, found: Sequence[Change]) -> frozenset[int]:
    """The top-level tags in which something changes; what stands behind Pixel Data counts as Pixel Data.

    Whatever grows has another header, so that is what is looked for.
    """
    elements = dataset.read()
    begins = [element[2] for element in elements.values()]
    tags = list(elements)
    return frozenset(tags[bisect_right(begins, at) - 1] for at, removed, put in found if removed and put)


def _header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    if length >= UNDEFINED:
        raise Corrupt(f"{tag_name(tag)} has no room for a byte more")
    return element_header(tag, vr, length, encoding)


def _number(value: bytes) -> int:
    text = value.strip(b" \0")
    return int(text) if text.isdigit() else not text


def _item(source: Source, fragments: _Around) -> tuple[int, int]:
    """Offset and length of the value of the first item, the Basic Offset Table."""
    _, _, value, length = source.head(fragments.items[0], source.size, fragments.encoding)
    return value, length


def _starts(source: Source, fragments: _Around, frames: int, extended: tuple[int, int]) -> "array[int]":
    """Which fragments begin a frame; none = it can't be told.

    As many as frames are one each; one frame has all, unless another begins as the first does; else a table divides
    them. `frames` is 0 where that number is not known.
    """
    items = fragments.items[1:]
    if len(items) in (1, frames):
        return items
    tables = [_entries(source, "Q", *extended), _entries(source, "L", *_item(source, fragments))]
    if frames == 1:
        begin, *others = (source.take(at + _ITEM_HEADER_BYTES, 4) for at in items)
        return items[:0] if begin in others or any(len(table) > 1 for table in tables) else items[:1]
    for table in tables:
        if frames and len(table) == frames and all(here < there for here, there in pairwise(table)):
            starts = _counted(items, table)
            if starts:
                return starts
    return items[:0]


def _shifted(source: Source, fragments: _Around, end: int) -> Iterator[Change]:
    """What makes the fragments of each frame even, and their bytes no others but for one behind them (`pads`)."""
    ends = [*fragments.starts[1:], end]
    first = 1
    for frame_end in ends if fragments.starts else ():
        behind = bisect_left(fragments.items, frame_end)
        places = pairwise([*fragments.items[first:behind], frame_end])
        first = behind
        filled = [(at, after) for at, after in places if after - at > _ITEM_HEADER_BYTES]
        taken = 0  # whether the first byte of this one stands at the end of the one before
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


def _entries(source: Source, form: str, value: int, length: int) -> tuple[int, ...]:
    """An offset table; () = it is empty, or none."""
    entry_bytes = struct.calcsize("<" + form)
    if not length or length % entry_bytes:
        return ()
    if length > MAX_TABLE_BYTES:
        raise Corrupt(f"an offset table of {length} bytes")
    return struct.unpack(f"<{length // entry_bytes}{form}", source.take(value, length))


def _counted(starts: "array[int]", table: Sequence[int]) -> "array[int]":
    """Where the entries of a table point to; none = not each of them to one of `starts`."""
    places = array("Q")
    for entry in table:
        at = starts[0] + entry - table[0]  # some writers count from the value of the first fragment, or from the table
        place = bisect_left(starts, at)
        if place == len(starts) or starts[place] != at:
            return array("Q")
        places.append(at)
    return places


def _table(source: Source, fragments: _Around, form: str, value: int, length: int) -> list[Change]:
    """An offset table counted anew, if each of its entries is that of a frame; else it is left alone."""
    table = _entries(source, form, value, length)
    places = _counted(fragments.starts, table)
    if not places:
        return []
    counted = [entry + bisect_right(fragments.pads, at) for entry, at in zip(table, places, strict=True)]
    return [(value, length, struct.pack(f"<{len(counted)}{form}", *counted))]


class Evened:
    """A source as it is after `changes`: `size` in bytes, and a `read_at` of its own."""

    def __init__(self, read_at: ReadAt, size: int, changes: Sequence[Change]) -> None:
        self._read_at = read_at
        self._begins = array("Q")  # the offset, after the changes, of each stretch ...
        self._stretches: list[int | bytes] = []  # ... and where it stands in the source, or what it is
        self.size = 0
        at = 0
        for offset, removed, put in changes:
            self._add(at, offset - at)
            self._add(put, len(put))
            at = offset + removed
        self._add(at, size - at)

    def _add(self, stretch: int | bytes, length: int) -> None:
        if length > 0:
            self._begins.append(self.size)
            self._stretches.append(stretch)
            self.size += length

    def read_at(self, offset: int, length: int) -> bytes:
        """At most `length` bytes at `offset`, fewer only at the end."""
        end = min(offset + length, self.size)
        number = bisect_right(self._begins, offset) - 1
        parts: list[bytes] = []
        while offset < end:
            begin = self._begins[number]
            number += 1
            stop = min(end, self._begins[number] if number < len(self._begins) else self.size)
            stretch = self._stretches[number - 1]
            if isinstance(stretch, bytes):
                part = stretch[offset - begin : stop - begin]
            else:
                part = self._read_at(stretch + offset - begin, stop - offset)
            parts.append(part)
            if len(part) < stop - offset:
                break  # the source has become shorter
            offset = stop
        return b"".join(parts)
