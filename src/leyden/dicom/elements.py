"""The elements of a dataset as offsets into its source, in any of the three encodings (PS3.5 section 7).

Values are skipped, never read. Everything is iterative and bounded: the nesting, the elements of a walk, the bytes held
(two windows of 64 KiB). A source reads through a function, which must stay valid for as long as somebody walks. Broken
rules are tolerated where other readers agree on the meaning (DECISIONS 66): NULs after the last element, superfluous
delimiters, elements without a VR. Deliberately absent: what a value means (header.py), what to do with it (edit.py).
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
MAX_ELEMENTS = 1_000_000  # of a walk, at all depths; real enhanced multi-frame objects have some hundred thousand
MAX_LEVEL_ELEMENTS = 100_000  # of one dataset or item, and items of a sequence; so many may be held at once
WINDOW_BYTES = 65536
MAX_BLANK_BYTES = 1 << 20  # NULs after the last element; each is looked at

# The VRs (PS3.5 table 6.2-1) with a 16-bit and with a 32-bit length in the explicit header (tables 7.1-2 and 7.1-1).
SHORT_FORM = frozenset({
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI",
    "UL", "US",
})  # fmt: skip
LONG_FORM = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
_BY_CODE = {vr.encode(): (vr, vr in LONG_FORM) for vr in SHORT_FORM | LONG_FORM}
MISSING = "??"  # stands for the VR of an element that has none, in an explicit dataset

# The word size in bytes of the VRs to which the byte order applies (PS3.5 section 7.3).
WORD_BYTES = {"AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4} | {
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8
}  # fmt: skip

_HEAD_BYTES = 12  # the longest element header
_ITEM_BYTES = struct.pack("<HH", ITEM >> 16, ITEM & 0xFFFF)


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
    """How the elements of a dataset in this transfer syntax are encoded, after inflating."""
    if syntax.big_endian:
        return BIG
    return EXPLICIT if syntax.explicit else IMPLICIT


def tag_name(tag: int) -> str:
    """A tag in the usual notation: (0008,0018)."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> str:
    """The VR of a tag in PS3.6, or a choice such as `US or SS`. UN for private and unknown tags, "" in group FFFE."""
    if tag >> 16 == 0xFFFE:
        return ""
    entry = dictionary.entry(tag)
    if entry is not None:
        return entry[0]
    element = tag & 0xFFFF
    if element == 0:
        return "UL"  # group length
    if tag & 0x10000:
        return "LO" if 0x10 <= element <= 0xFF else "UN"  # private creator, private element
    return "UN"


def _may_be_vr(code: bytes) -> bool:
    """Whether these are two capital letters: a VR, perhaps one that is not defined yet."""
    return code.isalpha() and code.isupper()


class ByteSource:
    """The bytes of a file through a window that moves with the reader. The first window is kept: most headers fit."""

    __slots__ = ("_base", "_buffer", "_first", "_limit", "_not_blank", "read_at", "size")

    def __init__(self, read_at: ReadAt, size: int, first: bytes = b"") -> None:
        """`size`: of the whole source in bytes; `first`: its beginning, as far as it was read already."""
        self.read_at = read_at
        self.size = size
        self._first = first
        self._buffer = b""
        self._base = 0
        self._limit = -1
        self._not_blank = -1  # the first byte that is no NUL after those looked at last; spares looking again
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
                    if not _may_be_vr(code):
                        return self._without_vr(tag, at, bound, encoding)
                    known = code.decode("ascii"), True  # future VRs have 32-bit lengths (PS3.5 section 7.1.2)
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
        """The bytes of the window, the offset of the first one, and the last index at which a whole header fits."""
        return self._buffer, self._base, self._limit

    def take(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer at the end of the source. The caller bounds `length`."""
        first = self._first
        if offset + length <= len(first):
            return first[offset : offset + length]
        place = offset - self._base
        if place >= 0 and place + length <= len(self._buffer) and offset + length <= self.size:
            return self._buffer[place : place + length]
        return self.read_at(offset, max(min(length, self.size - offset), 0))

    def blank(self, start: int, end: int) -> bool:
        """Whether [start, end) is empty or holds only NULs."""
        if start <= self._not_blank < end or end - start > MAX_BLANK_BYTES:
            return False
        for at in range(start, end, WINDOW_BYTES):
            data = self.take(at, min(WINDOW_BYTES, end - at))
            if rest := data.lstrip(b"\0"):
                self._not_blank = at + len(data) - len(rest)
                return False
        return True

    def _without_vr(self, tag: int, at: int, bound: int, encoding: Encoding) -> tuple[int, str, int, int]:
        """An element header without a VR in an explicit dataset. Corrupt where the length of the value is not certain.

        Either the header is implicit, or it has two other bytes instead of the VR and a 16-bit length. The reading
        counts after which another element or the end follows. If both do, the one with less than 64 KiB counts.
        """
        value = at + 8
        (short,) = struct.unpack_from(encoding.order + "H", self.take(at + 6, 2))
        (implicit,) = struct.unpack_from(encoding.order + "L", self.take(at + 4, 4))
        if tag in PIXEL_ELEMENTS:
            lengths = [implicit]
        elif encoding is BIG:
            lengths = [short]
        else:
            lengths = [implicit, short] if implicit <= 0xFFFF else [short, implicit]
        known = dictionary_vr(tag)
        may_nest = known in ("SQ", "UN") or tag in PIXEL_ELEMENTS  # others would not be read again in implicit VR
        if implicit == UNDEFINED and may_nest and self.take(value, 4) == _ITEM_BYTES:
            return tag, "SQ" if known == "SQ" else MISSING if tag in PIXEL_ELEMENTS else "UN", value, implicit
        for length in lengths:
            if value + length <= bound and self._may_follow(tag, value + length, bound, encoding):
                return tag, "SQ" if dictionary_vr(tag) == "SQ" else MISSING, value, length
        raise Corrupt(f"{tag_name(tag)} at byte {at} has no VR")

    def _may_follow(self, before: int, at: int, bound: int, encoding: Encoding) -> bool:
        """Whether what is at `at` looks like an element after the tag `before`, the end of an item, or the end."""
        head = self.take(at, min(bound - at, _HEAD_BYTES)).ljust(_HEAD_BYTES, b"\0")
        if not any(head):
            return self.blank(at, bound)
        group, number, code, short, long = EXPLICIT.unpack(head) if encoding.order == "<" else BIG.unpack(head)
        tag, value = group << 16 | number, at + 8
        if group == 0xFFFE or value > bound:
            return tag == ITEM_END and value <= bound
        if code in _BY_CODE:
            length, value = (long, at + 12) if _BY_CODE[code][1] else (short, value)
            return length == UNDEFINED or tag in PIXEL_ELEMENTS or value + length <= bound
        (length,) = struct.unpack_from(encoding.order + "L", head, 4)
        fits = length == UNDEFINED or value + length <= bound
        known = group != 0 and dictionary.entry(tag) is not None
        return (fits and (known or tag > before)) or (known and value + short <= bound)

    def _move(self, at: int) -> None:
        if at + _HEAD_BYTES <= len(self._first) or self.size <= len(self._first):
            self._show(0, self._first)
            return
        # Reading on takes a full window. After a jump over a large value, perhaps only one header will be read.
        near = 0 <= at - self._base <= len(self._buffer) + _HEAD_BYTES
        wanted = min(WINDOW_BYTES if near else WINDOW_BYTES // 16, self.size - at)
        data = self.read_at(at, wanted)
        if len(data) < wanted:
            raise Corrupt(f"the source ends at byte {at + len(data)}, not at {self.size}")
        self._show(at, data)

    def _show(self, base: int, data: bytes) -> None:
        if base + len(data) >= self.size:
            data += bytes(_HEAD_BYTES)  # so that a header can be unpacked anywhere; `bound` tells where the data end
        self._base = base
        self._buffer = data
        self._limit = len(data) - _HEAD_BYTES


# What a part of a dataset consists of: elements, items, or fragments.
DATASET, SEQUENCE, FRAGMENTS = range(3)

Token = tuple[int, str, int, int, int, "Encoding"]
"""Tag, VR ("" for items and delimiters, OB for fragments), offset of the header, offset and length of the value (may be
UNDEFINED), and the encoding there."""

Element = tuple[int, str, int, int, int, int]
"""Tag, VR, offset of the header, offset and length of the value, and the offset behind the element (-1: pixel data of
undefined length)."""


def content(source: ByteSource, tag: int, vr: str, value: int, encoding: Encoding) -> tuple[int, Encoding]:
    """What an element of undefined length with its value at `value` consists of, and its encoding. Raises Corrupt."""
    if tag == PIXEL_DATA or vr in ("OB", "OW"):
        return FRAGMENTS, encoding
    if vr == "SQ":
        return SEQUENCE, encoding
    if vr == "UN":
        return SEQUENCE, inside_un(source, value, encoding)
    raise Corrupt(f"{tag_name(tag)} of VR {vr} has an undefined length")


def inside_un(source: ByteSource, value: int, encoding: Encoding) -> Encoding:
    """The encoding of the items in a UN value: implicit (PS3.5 section 6.2.2), unless the first element is explicit."""
    begin = source.take(value, 16)  # the headers of the first item and of its first element
    if encoding is not EXPLICIT or len(begin) < 16 or begin[:4] != _ITEM_BYTES:
        return IMPLICIT
    known = _BY_CODE.get(begin[12:14])
    # An explicit header with a 16-bit length of 0 looks like an implicit one of some thousand bytes.
    return EXPLICIT if known and any(begin[14:]) != known[1] else IMPLICIT


def implicit_throughout(source: ByteSource, start: int, end: int) -> bool:
    """Whether a dataset that should be explicit is implicit: its first elements have no VR, and lengths that fit."""
    at = start
    for _ in range(2):
        head = source.take(at, 8)
        if at == end and at > start:
            break
        if len(head) < 8 or _may_be_vr(head[4:6]):
            return False
        group, number, length = IMPLICIT.unpack(head)
        if not group or dictionary.entry(group << 16 | number) is None or length > end - at - 8:
            return False
        at += 8 + length
    return True


def level(
    source: ByteSource, start: int, end: int, encoding: Encoding, *, delimited: bool = False
) -> Iterator[Element]:
    """The elements of the dataset in [start, end), up to and with pixel data. Sequences are not entered.

    `delimited`: an item delimiter ends the dataset before `end`. NULs after the last element are skipped, and so is an
    item delimiter that nothing follows. 0.35 us an element. Raises Corrupt for elements that do not parse, or that run
    past `end` (pixel data may).
    """
    at = start
    unpack, explicit = encoding.unpack, encoding.explicit
    buffer, base, limit = source.window()
    for _ in range(MAX_LEVEL_ELEMENTS):
        if at >= end:
            return
        place = at - base
        known = None
        # The planner's hot loop: the common case of ByteSource.head, without the call.
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
            try:
                tag, vr, value, length = source.head(at, end, encoding)
            except Corrupt:
                if source.blank(at, end):
                    return
                raise
            buffer, base, limit = source.window()
            if not tag and source.blank(at, end):
                return
        if tag in PIXEL_ELEMENTS:
            yield tag, vr, at, value, length, -1 if length == UNDEFINED else value + length
            return
        if length == UNDEFINED:
            after = offset_behind(source, tag, vr, value, end, encoding)
        else:
            after = value + length
            if after > end:
                raise Corrupt(f"the value of {tag_name(tag)} runs past the end, byte {end}")
            if not vr:
                if tag == ITEM_END and (delimited or source.blank(after, end)):
                    return
                raise Corrupt(f"a stray {tag_name(tag)} at byte {at}")
        yield tag, vr, at, value, length, after
        at = after
    raise Corrupt(f"more than {MAX_LEVEL_ELEMENTS} elements in one dataset")


def offset_behind(source: ByteSource, tag: int, vr: str, value: int, end: int, encoding: Encoding) -> int:
    """The offset behind an element of undefined length whose value begins at `value`. Raises Corrupt.

    At the end of the file, Pixel Data may lack their delimiter (see `walk`).
    """
    kind, inner = content(source, tag, vr, value, encoding)
    after = value
    open_end = tag == PIXEL_DATA and end == source.size
    for token in walk(source, value, end, inner, kind=kind, undefined=True, deep=False, open_end=open_end):
        after = token[3]
    return after


def walk(
    source: ByteSource,
    start: int,
    end: int,
    encoding: Encoding,
    *,
    kind: int = DATASET,
    undefined: bool = False,
    deep: bool = True,
    open_end: bool = False,
) -> Iterator[Token]:
    """Everything in [start, end) as one flat stream: elements, items, fragments, and the ends of items and sequences.

    Each end is a token; where a defined length runs out, it is one of no width. `kind`: what begins at `start`. If its
    length is `undefined`, the walk ends with its delimiter. Not `deep`: whatever has a defined length is not entered.
    `open_end`: these fragments may end with the file, after a whole one, without a delimiter, as top-level Pixel Data
    may. Skipped are NULs after the last element of a dataset or item, a delimiter at the end of something of defined
    length, and one after an item of defined length. The end of a sequence also ends its last item. Raises Corrupt.
    """
    stack: list[tuple[int, int, bool, Encoding]] = []
    at = start
    bound = end
    head = source.head
    for _ in range(MAX_ELEMENTS):
        if at == bound and (
            not undefined or (open_end and kind == FRAGMENTS) or (kind == DATASET and stack and not stack[-1][2])
        ):
            if stack or undefined:
                yield ITEM_END if kind == DATASET else SEQUENCE_END, "", at, at, 0, encoding
            if not stack:
                return
            kind, bound, undefined, encoding = stack.pop()
            continue
        try:
            tag, vr, value, length = head(at, bound, encoding)
        except Corrupt:
            if kind != DATASET or at == bound or not source.blank(at, bound):
                raise
            at = bound
            continue
        if not tag and kind == DATASET and source.blank(at, bound):
            at = bound
        elif vr:
            if kind != DATASET:
                raise Corrupt(f"{tag_name(tag)} at byte {at} is between items")
            if length == UNDEFINED:
                inner_kind, inner = content(source, tag, vr, value, encoding)
                open_end = tag == PIXEL_DATA and not stack and bound == source.size
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
        elif not undefined and tag == (ITEM_END if kind == DATASET else SEQUENCE_END) and source.blank(value, bound):
            at = bound
        elif kind == SEQUENCE and tag == ITEM_END and not length:
            at = value
        else:
            raise Corrupt(f"a stray {tag_name(tag)} at byte {at}")
        if len(stack) > 2 * MAX_DEPTH:
            raise Corrupt(f"sequences nest deeper than {MAX_DEPTH}")
    raise Corrupt(f"more than {MAX_ELEMENTS} elements")
