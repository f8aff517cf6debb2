"""The rewrite of a dataset as a stream of pieces: a pure plan of what to copy and what to put in between.

Nothing is held whole and no value is interpreted but the few that decide a VR. What need not change is one long Copy.
The target is always little endian. Deliberately absent: pixels (the caller fills them in) and deflate (it inflates
first).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from leyden.dicom.elements import (
    BIG,
    FRAGMENTS,
    ITEM,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    SHORT_FORM,
    UNDEFINED,
    WINDOW_BYTES,
    WORD_BYTES,
    ReadAt,
    Source,
    behind,
    content,
    encoding_of,
    level,
    tag_name,
    walk,
)
from leyden.dicom.header import Dataset, resolve
from leyden.dicom.uids import Syntax
from leyden.errors import Corrupt

_INLINE_BYTES = 1024  # a copy up to this size is read at once and joined with its neighbours
_LAST_TAG = 0xFFFFFFFF

_SHORT_HEADER = struct.Struct("<HH2sH")
_LONG_HEADER = struct.Struct("<HH2sHL")
_IMPLICIT_HEADER = struct.Struct("<HHL")


@dataclass(frozen=True, slots=True)
class Copy:
    """Take `length` bytes of the source at `offset`, each word of `swap` bytes turned end for end (see `swapped`)."""

    offset: int
    length: int
    swap: int = 1


@dataclass(frozen=True, slots=True)
class Pixels:
    """The place of the top-level (7FE0,0010), whose header and value the caller writes.

    Native: `offset` and `length` of the value, in the byte order of the source. Encapsulated: `offset` of the first
    item tag (the Basic Offset Table), `length` None; the rewrite goes on behind the sequence delimiter.
    """

    tag: int
    vr: str
    offset: int
    length: int | None


Piece = bytes | Copy | Pixels
Replacements = Mapping[int, tuple[str, bytes] | None]


def rewrite(
    read_at: ReadAt,
    start: int,
    size: int,
    source: Syntax,
    target_explicit: bool,
    replace: Replacements,
) -> Iterator[Piece]:
    """The pieces of the dataset that stands from `start` to the end of the file of `size` bytes, in order.

    `replace` holds top-level elements to put in, or to put in the place of what is there: VR and value in little endian
    (padded here); None = leave it out. Group lengths that would become false are left out. Values stay byte for byte.
    Raises Corrupt before the first piece for what stands before the pixel data, later for nested and trailing elements.
    """
    encoding = encoding_of(source)
    dataset = Dataset(Source(read_at, size), start, size, encoding)
    pixels = dataset.read().get(PIXEL_DATA)
    if pixels and pixels[5] > size:
        raise Corrupt(f"the pixel data are cut off: they should end at byte {pixels[5]} of {size}")
    stale = {tag >> 16 for tag in replace} | ({PIXEL_DATA >> 16} if pixels else set())
    output = _Output(dataset.source, replace, target_explicit)
    if encoding is not BIG and encoding.explicit == target_explicit:
        yield from _kept(dataset, stale, output)
    else:
        yield from _converted(dataset, stale, output)


def encapsulated_inside(dataset: Dataset) -> bool:
    """Whether pixel data of undefined length stand in a sequence (PS3.5 A.4: as an icon's may where the image's are).

    Raises Corrupt where nested elements do not parse. Ends at the top-level pixel data.
    """
    depth = 0
    for tag, vr, _, _, length, _ in walk(dataset.source, dataset.start, dataset.end, dataset.encoding):
        if vr and tag == PIXEL_DATA and (not depth or length == UNDEFINED):
            return depth > 0
        if not vr:
            depth += (tag == ITEM) - (tag == ITEM_END)
    return False


class _Output:
    """The pieces made so far that nobody took yet: small ones joined, replacements put in at their place."""

    def __init__(self, source: Source, replace: Replacements, explicit: bool) -> None:
        self.replace = replace
        self.explicit = explicit
        self._source = source
        self._due = sorted((tag for tag, new in replace.items() if new), reverse=True)
        self._has_pixels = False
        self._joined = bytearray()
        self._ready: list[Piece] = []

    def is_due(self, tag: int) -> bool:
        """Whether a replacement belongs before or in the place of the top-level `tag`."""
        return bool(self._due) and self._due[-1] <= tag

    def put_due(self, tag: int) -> None:
        while self.is_due(tag):
            due = self._due.pop()
            new = self.replace[due]
            if new:
                self.put(element(due, *new, explicit=self.explicit))

    def put(self, data: bytes) -> None:
        self._joined += data

    def copy(self, offset: int, length: int, swap: int = 1) -> None:
        if length > _INLINE_BYTES:
            self._join()
            self._ready.append(Copy(offset, length, swap))
        elif length:
            data = self._source.take(offset, length)
            if len(data) < length:
                raise Corrupt(f"the source ends before byte {offset + length}")
            self._joined += swapped(data, swap) if swap > 1 else data

    def place_pixels(self, dataset: Dataset, vr: str, value: int, length: int) -> None:
        if self._has_pixels:
            raise Corrupt(f"{tag_name(PIXEL_DATA)} stands twice")
        self._has_pixels = True
        self._join()
        vr = resolve(PIXEL_DATA, vr, dataset) if " or " in vr else vr
        self._ready.append(Pixels(PIXEL_DATA, vr, value, None if length == UNDEFINED else length))

    def take(self, *, all_of_it: bool = False) -> list[Piece]:
        if all_of_it or len(self._joined) >= WINDOW_BYTES:
            self._join()
        ready, self._ready = self._ready, []
        return ready

    def _join(self) -> None:
        if self._joined:
            self._ready.append(bytes(self._joined))
            self._joined.clear()


def _kept(dataset: Dataset, stale: set[int], output: _Output) -> Iterator[Piece]:
    """The encoding stays: what stands between replaced elements and pixel data is copied as it is."""
    source, encoding, end = dataset.source, dataset.encoding, dataset.end
    run = at = dataset.start  # the source from `run` on is yet to be copied
    while at < end:  # a level ends with pixel data
        for tag, vr, begin, value, length, after in level(source, at, end, encoding):
            if after > end:
                raise Corrupt(f"the value of {tag_name(tag)} runs past the end, byte {end}")
            pixels = tag == PIXEL_DATA and tag not in output.replace
            leave_out = tag in output.replace or pixels or (tag & 0xFFFF == 0 and tag >> 16 in stale)
            if leave_out or output.is_due(tag):
                output.copy(run, begin - run)
                run = begin
                output.put_due(tag)
            if pixels:
                output.place_pixels(dataset, vr, value, length)
            yield from output.take()
            at = behind(source, tag, vr, value, end, encoding) if after < 0 else after
            if leave_out:
                run = at
    output.copy(run, end - run)
    output.put_due(_LAST_TAG)
    yield from output.take(all_of_it=True)


def _converted(dataset: Dataset, stale: set[int], output: _Output) -> Iterator[Piece]:
    """Another encoding: each element gets a new header; what comes to be of unknown length gets an end instead."""
    source, encoding, end = dataset.source, dataset.encoding, dataset.end
    explicit = output.explicit
    same_size = encoding.explicit == explicit  # big endian: headers keep their sizes, so defined lengths stay true
    enclosing = [dataset]
    open_sequences = 0
    passed_over = 0  # sequences open in something that is left out or copied whole ...
    whole = -1  # ... from this offset on
    for tag, vr, at, value, length, _ in walk(source, dataset.start, end, encoding):
        opens = length == UNDEFINED or (vr == "SQ" and length > 0)
        if passed_over:
            if vr:
                passed_over += opens
            elif tag == SEQUENCE_END:
                passed_over -= 1
                if not passed_over and whole >= 0:
                    output.copy(whole, value - whole)
                    whole = -1
        elif tag == ITEM:
            stop = end if length == UNDEFINED else value + length
            enclosing.append(Dataset(source, value, stop, encoding, enclosing[-1], delimited=length == UNDEFINED))
            output.put(element_header(tag, vr, length if same_size else UNDEFINED, explicit))
        elif not vr:
            if tag == ITEM_END:
                enclosing.pop()
            else:
                open_sequences -= 1
            if at != value or not same_size:
                output.put(element_header(tag, vr, 0, explicit))
        else:
            if not open_sequences:
                output.put_due(tag)
                if tag in output.replace:
                    passed_over = int(opens)
                    continue
                if tag == PIXEL_DATA:
                    output.place_pixels(dataset, vr, value, length)
                    yield from output.take()
                    passed_over = int(opens)
                    continue
            if tag & 0xFFFF == 0 and (not same_size or (tag >> 16 in stale and not open_sequences)):
                continue
            if " or " in vr:
                vr = resolve(tag, vr, enclosing[-1])
            if vr == "UN" and length == UNDEFINED and not encoding.explicit:
                vr = "SQ"  # what is private and of undefined length is a sequence
            output.put(element_header(tag, vr, UNDEFINED if opens and not same_size else length, explicit))
            if not opens:
                output.copy(value, length, WORD_BYTES.get(vr, 1) if encoding is BIG else 1)
            elif vr == "SQ":
                open_sequences += 1
            elif encoding is BIG and content(tag, vr, encoding)[0] == FRAGMENTS:
                raise Corrupt(f"{tag_name(tag)} is encapsulated in big endian")
            else:  # implicit inside UN already, and fragments look the same in all encodings
                passed_over = 1
                whole = value
        yield from output.take()
    output.put_due(_LAST_TAG)
    yield from output.take(all_of_it=True)


def element(tag: int, vr: str, value: bytes, explicit: bool) -> bytes:
    """A whole element in little endian, its value padded to an even length (PS3.5 section 6.2)."""
    if len(value) & 1:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    return element_header(tag, vr, len(value), explicit) + value


def element_header(tag: int, vr: str, length: int, explicit: bool) -> bytes:
    """The header of an element in little endian; a value too long for its VR makes it UN (PS3.5 section 6.2.2)."""
    group, number = tag >> 16, tag & 0xFFFF
    if not explicit or group == 0xFFFE:
        return _IMPLICIT_HEADER.pack(group, number, length)
    if vr in SHORT_FORM:
        if length <= 0xFFFF:
            return _SHORT_HEADER.pack(group, number, vr.encode(), length)
        vr = "UN"
    return _LONG_HEADER.pack(group, number, vr.encode(), 0, length)


def swapped(data: bytes, word_bytes: int) -> bytes:
    """`data` with each word turned end for end; the rest of an incomplete last word stays as it is."""
    whole = len(data) - len(data) % word_bytes
    turned = bytearray(data)
    for place in range(word_bytes):
        turned[place:whole:word_bytes] = data[word_bytes - 1 - place : whole : word_bytes]
    return bytes(turned)
