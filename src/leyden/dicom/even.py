"""A dataset with values of odd length as one in which all are even (PS3.5 sections 6.2, 7.1.1 and A.4): plan and view.

Devices write such values, and there are archives that abort where the dataset ends on one. Each gets one byte: a blank
behind text, else NUL. The defined lengths around it grow with it, and so do the group length before it and what an
offset table counts; all else stays byte for byte. No file is touched here. Deliberately absent: values.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

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
_EXTENDED_OFFSETS = 0x7FE00001
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
    items: "array[int]" = field(default_factory=lambda: array("Q"))  # of fragments: where each begins, ...
    pads: "array[int]" = field(default_factory=lambda: array("Q"))  # ... and where one gets a byte, the table apart


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


def changes(dataset: Dataset) -> tuple[Change, ...]:
    """What makes every element of a dataset even, in order; () = all are.

    One pass over all depths, 0.7 us an element. Raises Corrupt where they do not parse (then nothing can be known of
    it), for more than MAX_CHANGES changes, and for an offset table above MAX_TABLE_BYTES.
    """
    source = dataset.source
    found: list[Change] = []
    grown: dict[tuple[int, str], int] = {}  # offset and byte order of a group length -> what is to be added
    around = [_Around(0, "", dataset.start, dataset.start, UNDEFINED, dataset.encoding)]
    extended = 0, 0  # offset and length of the Extended Offset Table

    def grow(by: int, tag: int) -> None:
        whole = around[-1]
        whole.growth += by
        group, at = whole.group_length
        if group == tag >> 16:
            grown[at, whole.encoding.order] = grown.get((at, whole.encoding.order), 0) + by

    for tag, vr, at, value, length, encoding in walk(source, dataset.start, dataset.end, dataset.encoding):
        if not vr and tag in (ITEM_END, SEQUENCE_END):
            whole = around.pop()
            if whole.growth:
                if whole.length != UNDEFINED:
                    header = _header(whole.tag, whole.vr, whole.length + whole.growth, whole.encoding)
                    found.append((whole.at, whole.value - whole.at, header))
                if whole.pads:
                    found += _table(source, whole, "L", *_item(source, whole))
                    if whole.tag == PIXEL_DATA and len(around) == 1:
                        found += _table(source, whole, "Q", *extended)
                grow(whole.growth, whole.tag)
            continue
        if tag == ITEM and vr:
            around[-1].items.append(at)
        if not vr or length == UNDEFINED or (vr == "SQ" and length):
            around.append(_Around(tag, vr, at, value, length, encoding))
        elif length % 2:
            # A word cut short in big endian lacks the byte before its last one, as that is the one that counts least.
            early = encoding.order == ">" and WORD_BYTES.get(vr) == 2
            vr = actual_vr(tag, vr, dataset)
            pad = b" " if vr in _TEXT_VRS else b"\0"
            header = _header(tag, vr, length + 1, encoding)
            found += ((at, value - at, header), (value + length - early, 0, pad))
            if len(around[-1].items) > 1:
                around[-1].pads.append(value + length)
            grow(1 + len(header) - (value - at), tag)
            if len(found) > MAX_CHANGES:
                raise Corrupt(f"more than {MAX_CHANGES // 2} elements of odd length")
        elif not tag & 0xFFFF and length == 4:
            around[-1].group_length = tag >> 16, value
        elif tag == _EXTENDED_OFFSETS and len(around) == 1:
            extended = value, length
    for (at, order), by in grown.items():
        (length,) = struct.unpack(order + "L", source.take(at, 4))
        found.append((at, 4, struct.pack(order + "L", (length + by) & 0xFFFFFFFF)))
    return tuple(sorted(found))


def _header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    if length >= UNDEFINED:
        raise Corrupt(f"{tag_name(tag)} has no room for a byte more")
    return element_header(tag, vr, length, encoding)


def _item(source: Source, fragments: _Around) -> tuple[int, int]:
    """Offset and length of the value of the first item, the Basic Offset Table."""
    _, _, value, length = source.head(fragments.items[0], source.size, fragments.encoding)
    return value, length


def _table(source: Source, fragments: _Around, form: str, value: int, length: int) -> list[Change]:
    """An offset table counted anew, if each of its entries is that of a fragment; else it is left alone."""
    entry_bytes = struct.calcsize("<" + form)
    if not length or length % entry_bytes:
        return []
    if length > MAX_TABLE_BYTES:
        raise Corrupt(f"an offset table of {length} bytes")
    entries = struct.unpack(f"<{length // entry_bytes}{form}", source.take(value, length))
    first = fragments.items[1]
    counted = []
    for entry in entries:
        at = first + entry - entries[0]  # some writers count from the value of the first fragment, or from the table
        place = bisect_left(fragments.items, at)
        if place == len(fragments.items) or fragments.items[place] != at:
            return []
        counted.append(entry + bisect_right(fragments.pads, at))
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
