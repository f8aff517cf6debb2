"""The elements of a dataset as offsets into its source, in any of the three encodings (PS3.5 section 7).

Values are never touched here, only passed over. Iterative throughout, and bounded: nesting, elements a walk, bytes held
(two windows of 64 KiB). A source is a function that reads; whoever walks keeps it valid. Deliberately absent: what a
value means (header.py) and what to do with it (edit.py).
"""

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache

from leyden.dicom import dictionary
from leyden.dicom.uids import Syntax
from leyden.errors import Corrupt

ReadAt = Callable[[int, int], bytes]
"""(offset, length in bytes) -> at most that many bytes, fewer only at the end of the file."""

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
PIXEL_DATA = 0x7FE00010
PIXEL_ELEMENTS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})  # float, double, integer

MAX_DEPTH = 64
MAX_ELEMENTS = 1_000_000  # in a walk at all depths: real enhanced multi-frame objects have some hundred thousand
MAX_LEVEL_ELEMENTS = 100_000  # in one dataset or item, and items in a sequence: what may be held at once
WINDOW_BYTES = 65536

# The VRs (PS3.5 table 6.2-1) by the form of their explicit header (table 7.1-1): whether it has a 32-bit length. Broken
# writers put blanks or question marks in their place; other VRs are newer than this table.
SHORT_FORM = frozenset({
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
    "UL", "US", "  ", "??",
})  # fmt: skip
LONG_FORM = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_BY_CODE = {vr.encode(): (vr, vr in LONG_FORM) for vr in SHORT_FORM | LONG_FORM}

# The bytes of a word, for the VRs whose words big endian turns round (PS3.5 section 7.3).
WORD_BYTES = {"AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4} | {
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8
}  # fmt: skip

_HEAD_BYTES = 12  # the longest element header


class Encoding:
    """Implicit or explicit VR, and the byte order: how element headers look (PS3.5 section 7.1)."""

    __slots__ = ("explicit", "order", "unpack")

    def __init__(self, explicit: bool, order: str) -> None:
        self.explicit = explicit
        self.order = order  # as struct writes it
        self.unpack = struct.Struct(order + ("HH2sHL" if explicit else "HHL")).unpack_from


IMPLICIT = Encoding(False, "<")
EXPLICIT = Encoding(True, "<")
BIG = Encoding(True, ">")


def encoding_of(syntax: Syntax) -> Encoding:
    """How the elements of a dataset in this syntax are encoded, once inflated."""
    if syntax.big_endian:
        return BIG
    return EXPLICIT if syntax.explicit else IMPLICIT


def tag_name(tag: int) -> str:
    """A tag as people write it: (0008,0018)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> str:
    """The VR of a tag by PS3.6, maybe a choice such as `US or SS`; private and unknown ones are UN, delimiters ""."""
    entry = dictionary.entry(tag)
    if entry is not None:
        return "" if tag >> 16 == 0xFFFE else entry[0]
    element = tag & 0xFFFF
    if element == 0:
        return "UL"  # group length
    if tag & 0x10000:
        return "LO" if 0x10 <= element <= 0xFF else "UN"  # private creator, private element
    return "UN"


def _unknown_vr(tag: int, code: bytes, at: int) -> tuple[str, bool]:
    if code.isalpha() and code.isupper():
        return code.decode("ascii"), True  # VRs to come have 32-bit lengths (PS3.5 section 7.1.2)
    raise Corrupt(f"{tag_name(tag)} at byte {at} has no VR")


class Source:
    """A window on a file that moves along with the reader; the first one stays at hand, as most headers fit into it."""

    __slots__ = ("_base", "_buffer", "_first", "_limit", "read_at", "size")

    def __init__(self, read_at: ReadAt, size: int, first: bytes = b"") -> None:
        """`size` in bytes of the whole source; `first` = what was read of its beginning already."""
        self.read_at = read_at
        self.size = size
        self._first = first
        self._buffer = b""
        self._base = 0
        self._limit = -1
        if first:
            self._show(0, first)

    def head(self, at: int, bound: int, encoding: Encoding) -> tuple[int, str, int, int]:
        """The element header at offset `at`: tag, VR, offset and length of the value. Corrupt if cut off by `bound`."""
        place = at - self._base
        if not 0 <= place <= self._limit:
            self._move(at)
            place = at - self._base
        if encoding.explicit:
            group, element, code, length, long_length = encoding.unpack(self._buffer, place)
            tag = group << 16 | element
            value = at + 8
            if group == 0xFFFE:
                vr = ""
                length = struct.unpack_from(encoding.order + "L", self._buffer, place + 4)[0]
            else:
                known = _BY_CODE.get(code)
                if known is None:
                    if value > bound:
                        raise Corrupt(f"an element header is cut off at byte {at}")
                    known = _unknown_vr(tag, code, at)
                vr, long_form = known
                if long_form:
                    value = at + 12
                    length = long_length
        else:
            group, element, length = encoding.unpack(self._buffer, place)
            tag = group << 16 | element
            vr = dictionary_vr(tag)
            value = at + 8
        if value > bound:
            raise Corrupt(f"an element header is cut off at byte {at}")
        return tag, vr, value, length

    def window(self) -> tuple[bytes, int, int]:
        """The bytes at hand, the offset of the first one, and the last place where a whole element header can stand."""
        return self._buffer, self._base, self._limit

    def take(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`, fewer at the end of the source. The caller bounds `length`."""
        first = self._first
        if offset + length <= len(first):
            return first[offset : offset + length]
        place = offset - self._base
        if place >= 0 and place + length <= len(self._buffer) and offset + length <= self.size:
            return self._buffer[place : place + length]
        return self.read_at(offset, max(min(length, self.size - offset), 0))

    def _move(self, at: int) -> None:
        if at + _HEAD_BYTES <= len(self._first) or self.size <= len(self._first):
            self._show(0, self._first)
            return
        # Reading on: a full window. A jump over a large value: there may be no more than one header to see behind it.
        near = 0 <= at - self._base <= len(self._buffer) + _HEAD_BYTES
        wanted = min(WINDOW_BYTES if near else WINDOW_BYTES // 16, self.size - at)
        data = self.read_at(at, wanted)
        if len(data) < wanted:
            raise Corrupt(f"the source ends at byte {at + len(data)}, not at {self.size}")
        self._show(at, data)

    def _show(self, base: int, data: bytes) -> None:
        if base + len(data) >= self.size:
            data += bytes(_HEAD_BYTES)  # so that a header can be unpacked anywhere; `bound` tells what is real
        self._base = base
        self._buffer = data
        self._limit = len(data) - _HEAD_BYTES


# What a stretch of a dataset consists of.
DATASET, SEQUENCE, FRAGMENTS = range(3)

Token = tuple[int, str, int, int, int, "Encoding"]
"""Tag, VR ("" for items and delimiters, OB for fragments), offsets of header and value, length of the value (may be
UNDEFINED), and the encoding at this place."""

Element = tuple[int, str, int, int, int, int]
"""The same five and the offset behind the element; for pixel data of undefined length that is not known: -1."""


def content(tag: int, vr: str, encoding: Encoding) -> tuple[int, Encoding]:
    """What an element of undefined length consists of, and its encoding (UN: PS3.5 section 6.2.2). Raises Corrupt."""
    if tag == PIXEL_DATA or vr in ("OB", "OW"):
        return FRAGMENTS, encoding
    if vr == "SQ":
        return SEQUENCE, encoding
    if vr == "UN":
        return SEQUENCE, IMPLICIT
    raise Corrupt(f"{tag_name(tag)} of VR {vr} has an undefined length")


def level(source: Source, start: int, end: int, encoding: Encoding, *, delimited: bool = False) -> Iterator[Element]:
    """The elements of the dataset in [start, end), not entered, up to pixel data, which is the last one given.

    `delimited`: an item delimiter ends it before `end`. 0.35 us an element. Raises Corrupt where they do not parse or
    run past `end` (pixel data may).
    """
    at = start
    unpack, explicit = encoding.unpack, encoding.explicit
    buffer, base, limit = source.window()
    for _ in range(MAX_LEVEL_ELEMENTS):
        if at >= end:
            return
        place = at - base
        known = None
        # The hot loop of the planner: the common case of Source.head without the call.
        if explicit and 0 <= place <= limit:
            group, number, code, length, long_length = unpack(buffer, place)
            known = _BY_CODE.get(code)
        if known and group != 0xFFFE:
            tag = group << 16 | number
            vr, long_form = known
            value = at + 8
            if long_form:
                value = at + 12
                length = long_length
            if value > end:
                raise Corrupt(f"an element header is cut off at byte {at}")
        else:
            tag, vr, value, length = source.head(at, end, encoding)
            buffer, base, limit = source.window()
        if tag in PIXEL_ELEMENTS:
            yield tag, vr, at, value, length, -1 if length == UNDEFINED else value + length
            return
        if length == UNDEFINED:
            after = behind(source, tag, vr, value, end, encoding)
        else:
            after = value + length
            if after > end:
                raise Corrupt(f"the value of {tag_name(tag)} runs past the end, byte {end}")
            if not vr:
                if delimited and tag == ITEM_END:
                    return
                raise Corrupt(f"a stray {tag_name(tag)} at byte {at}")
        yield tag, vr, at, value, length, after
        at = after
    raise Corrupt(f"more than {MAX_LEVEL_ELEMENTS} elements in one dataset")


def behind(source: Source, tag: int, vr: str, value: int, end: int, encoding: Encoding) -> int:
    """The offset behind an element of undefined length whose value begins at `value`. Raises Corrupt.

    That of Pixel Data may lack its delimiter where the file ends, see `walk`.
    """
    kind, inner = content(tag, vr, encoding)
    after = value
    lax = tag == PIXEL_DATA and end == source.size
    for token in walk(source, value, end, inner, kind=kind, undefined=True, deep=False, lax=lax):
        after = token[3]
    return after


def walk(
    source: Source,
    start: int,
    end: int,
    encoding: Encoding,
    *,
    kind: int = DATASET,
    undefined: bool = False,
    deep: bool = True,
    lax: bool = False,
) -> Iterator[Token]:
    """Everything in [start, end) in order, flat: elements, items, fragments, and the ends of items and sequences.

    Ends are always given, as tokens of no width where a defined length ran out. `kind` says what begins at `start`; if
    its length is `undefined`, the walk ends with its delimiter. Not `deep`: what has a defined length is not entered.
    The file may end after a whole fragment of top-level Pixel Data, without a delimiter; `lax`: these fragments are
    such. Raises Corrupt.
    """
    stack: list[tuple[int, int, bool, Encoding]] = []
    at = start
    bound = end
    head = source.head
    for _ in range(MAX_ELEMENTS):
        if at == bound and (not undefined or (lax and kind == FRAGMENTS)):
            if stack or undefined:
                yield ITEM_END if kind == DATASET else SEQUENCE_END, "", at, at, 0, encoding
            if not stack:
                return
            kind, bound, undefined, encoding = stack.pop()
            continue
        tag, vr, value, length = head(at, bound, encoding)
        if vr:
            if kind != DATASET:
                raise Corrupt(f"{tag_name(tag)} at byte {at} stands between items")
            if length == UNDEFINED:
                inner_kind, inner = content(tag, vr, encoding)
                lax = tag == PIXEL_DATA and not stack and bound == source.size
                yield tag, vr, at, value, length, encoding
                stack.append((kind, bound, undefined, encoding))
                kind, undefined, encoding = inner_kind, True, inner
                at = value
            else:
                after = value + length
                if after > bound:
                    raise Corrupt(f"the value of {tag_name(tag)} runs past the end, byte {bound}")
                yield tag, vr, at, value, length, encoding
                if deep and vr == "SQ" and length:
                    stack.append((kind, bound, undefined, encoding))
                    kind, bound, undefined = SEQUENCE, after, False
                    at = value
                else:
                    at = after
        elif tag == ITEM and kind != DATASET:
            if length == UNDEFINED:
                if kind == FRAGMENTS:
                    raise Corrupt(f"a fragment of undefined length at byte {at}")
                yield tag, vr, at, value, length, encoding
                stack.append((kind, bound, undefined, encoding))
                kind, undefined = DATASET, True
                at = value
            else:
                after = value + length
                if after > bound:
                    raise Corrupt(f"the item at byte {at} runs past the end, byte {bound}")
                yield tag, "OB" if kind == FRAGMENTS else vr, at, value, length, encoding
                if deep and kind == SEQUENCE:
                    stack.append((kind, bound, undefined, encoding))
                    kind, bound, undefined = DATASET, after, False
                    at = value
                else:
                    at = after
        elif undefined and tag == (ITEM_END if kind == DATASET else SEQUENCE_END):
            yield tag, vr, at, value, length, encoding
            if not stack:
                return
            at = value
            kind, bound, undefined, encoding = stack.pop()
        else:
            raise Corrupt(f"a stray {tag_name(tag)} at byte {at}")
        if len(stack) > 2 * MAX_DEPTH:
            raise Corrupt(f"sequences nest deeper than {MAX_DEPTH}")
    raise Corrupt(f"more than {MAX_ELEMENTS} elements")
