"""Rewrites a dataset in any transfer syntax, as a stream of pieces: what to copy, and what to put in between.

`_elements` reads the top level, `_Filter` decides what becomes of each element, `_Converter` walks nested elements with
a stack of open items, and `_Writer` encodes for the target. Whatever does not change is one long Copy. Nothing is held
whole, and only the few values that decide a VR are interpreted.
Deliberately absent: pixels (the caller writes them) and deflate (the caller inflates first).
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

import msgspec

from leyden.dicom.elements import (
    BIG,
    FRAGMENTS,
    IMPLICIT,
    ITEM,
    ITEM_END,
    MISSING,
    PIXEL_DATA,
    PIXEL_ELEMENTS,
    SEQUENCE_END,
    SHORT_FORM,
    UNDEFINED,
    WINDOW_BYTES,
    WORD_BYTES,
    ByteSource,
    Element,
    Encoding,
    Token,
    content,
    dictionary_vr,
    encoding_of,
    inside_un,
    level,
    offset_behind,
    tag_name,
    walk,
)
from leyden.dicom.header import Dataset, resolve
from leyden.dicom.uids import Syntax
from leyden.errors import Corrupt

_INLINE_BYTES = 1024  # a copy up to this size is read at once and joined with its neighbours
_LAST_TAG = 0xFFFFFFFF

_SHORT_HEADER = {order: struct.Struct(order + "HH2sH") for order in "<>"}
_LONG_HEADER = {order: struct.Struct(order + "HH2sHL") for order in "<>"}
_IMPLICIT_HEADER = {order: struct.Struct(order + "HHL") for order in "<>"}


class Copy(msgspec.Struct, frozen=True):
    """Copy `length` bytes of the source at `offset`; reverse the bytes of each word of `swap` bytes (see `swapped`).

    `length` is a whole number of words.
    """

    offset: int
    length: int
    swap: int = 1


class Pixels(msgspec.Struct, frozen=True):
    """Here the caller writes the top-level Pixel Data (7FE0,0010), header and value.

    Native: `offset` and `length` of the value in the source, in the byte order of the source. Encapsulated: `offset` of
    the first item (the Basic Offset Table), `length` None; the next piece follows the sequence delimiter.
    """

    tag: int
    vr: str
    offset: int
    length: int | None


class Hole(msgspec.Struct, frozen=True):
    """A value whose end is not known yet; `before` is its known beginning.

    As a piece: the caller writes `length_bytes` blanks here and fills them in later. `before`, and a blank that makes
    the length of the value even, come as bytes around it.
    """

    length_bytes: int
    before: bytes = b""


class Patch(msgspec.Struct, frozen=True):
    """Within the top-level `sequences`, each element `tag` whose text begins with `old` begins with `new` instead.

    `new` is not longer than `old`. Blanks at the end keep the length of the value, so all lengths around it stay true.
    Elements inside UN, and new ones, are not always patched.
    """

    sequences: tuple[int, ...]
    tag: int
    old: bytes
    new: bytes

    def value(self, source: ByteSource, tag: int, offset: int, length: int) -> bytes:
        """The new value of an element within the sequences, as long as the old one; b"" = the old one stays."""
        if tag != self.tag or length > _INLINE_BYTES:
            return b""
        old = source.take(offset, length)
        rest = old.removeprefix(self.old)
        return (self.new + rest).ljust(length) if len(rest) < len(old) else b""


Replacement = tuple[str, "bytes | Hole | Items"] | None
"""VR and value in little endian (padded here), or the items of a sequence; None = leave the element out."""

Replacements = Mapping[int, Replacement]

Items = tuple["Dataset | Edited | Replacements", ...]
"""Items of the same source (Dataset.items), such items with replacements of their own, and new ones, whose tags are in
order."""


class Edited(NamedTuple):
    """An item of the source with elements inserted, replaced or left out."""

    item: Dataset
    replace: Replacements


Piece = bytes | Copy | Pixels | Hole


def rewrite(dataset: Dataset, target: Syntax, replace: Replacements, patch: Patch | None = None) -> Iterator[Piece]:
    """The pieces, in order, of a dataset in the transfer syntax `target`, which may be its own.

    `dataset` is that of a Header, or any other that reaches to the end of its source; not one that `peek` inflated,
    which may be incomplete. `replace`: top-level elements to insert or to replace. Group lengths that would become
    wrong are left out, and so is whatever `level` and `walk` skip. An element without a VR gets one. Values keep their
    bytes, apart from the byte order (PS3.5 section 7.3); sequences keep theirs where the encoding stays the same. A
    sequence in implicit VR whose items do not parse becomes UN, with the same value (PS3.5 section 6.2.2).
    Raises Corrupt: before the first piece for errors before the pixel data, later for errors in nested and trailing
    elements, and for nested fragments from or to big endian, which does not allow them.
    """
    elements = dataset.read()
    pixels = elements.get(PIXEL_DATA)
    if dataset.flaw:
        raise Corrupt(dataset.flaw)
    if pixels and pixels[5] > dataset.end:
        raise Corrupt(f"the pixel data are cut off: they should end at byte {pixels[5]} of {dataset.end}")
    writer = _Writer(dataset.source, encoding_of(target))
    yield from _rewritten(dataset, replace, writer, patch)
    yield from writer.finish()


def encapsulated_inside(dataset: Dataset) -> bool:
    """Whether a nested element holds fragments, as the pixel data of an icon may (PS3.5 A.4).

    A sequence that does not parse is searched up to the error.
    """
    for tag, vr, begin, _, length, after in dataset.read().values():
        if tag not in PIXEL_ELEMENTS and (vr == "SQ" or length == UNDEFINED):
            with suppress(Corrupt):
                for inner, inner_vr, _, value, inner_length, encoding in walk(
                    dataset.source, begin, after, dataset.encoding
                ):
                    nested = inner_vr and inner_length == UNDEFINED
                    if nested and content(dataset.source, inner, inner_vr, value, encoding)[0] == FRAGMENTS:
                        return True
    return False


def actual_vr(tag: int, vr: str, dataset: Dataset) -> str:
    """The VR of an element for which the file gives none, or the dictionary gives a choice."""
    vr = dictionary_vr(tag) if vr == MISSING else vr
    return resolve(tag, vr, dataset) if " or " in vr else vr


def _parses(dataset: Dataset, start: int, end: int) -> bool:
    try:
        return all(walk(dataset.source, start, end, dataset.encoding))
    except Corrupt:
        return False


# What becomes of an element: kept byte for byte, given a new header, left out, or written by the caller.
_KEPT, _CONVERTED, _DROPPED, _PIXELS = range(4)


class _Filter:
    """Decides what becomes of each top-level element, and what is inserted before it or in its place."""

    def __init__(self, dataset: Dataset, replace: Replacements, target: Encoding, *, nested: bool) -> None:
        self._replace = replace
        self._nested = nested
        self._inserts = sorted((tag for tag, new in replace.items() if new), reverse=True)
        self.next_tag = self._inserts[-1] if self._inserts else _LAST_TAG
        self._same_encoding = dataset.encoding is target
        self._explicit = dataset.encoding.explicit
        self._pixels_seen = False
        # The groups whose length becomes wrong. What looks like (0000,0000) is eight NULs.
        self._changed_groups = {tag >> 16 for tag in replace} | {0}
        elements = dataset.read()
        if PIXEL_DATA in elements and not nested:
            self._changed_groups.add(PIXEL_DATA >> 16)
        if self._explicit:
            self._changed_groups |= {
                tag >> 16
                for tag, vr, begin, value, _, _ in elements.values()
                if value - begin == 8 and vr not in SHORT_FORM
            }

    def fate(self, element: Element) -> int:
        """What becomes of an element. Ask in the order of the elements. Raises Corrupt for a second Pixel Data."""
        tag, vr, begin, value, _, _ = element
        if tag in self._replace:
            return _DROPPED
        if tag == PIXEL_DATA and not self._nested:
            if self._pixels_seen:
                raise Corrupt(f"{tag_name(PIXEL_DATA)} occurs twice")
            self._pixels_seen = True
            return _PIXELS
        if not tag & 0xFFFF and tag >> 16 in self._changed_groups:
            return _DROPPED
        if not self._same_encoding:
            return _CONVERTED
        # It has no VR, or an implicit header although the explicit one of its VR is longer.
        lacks_vr = self._explicit and value - begin == 8 and vr not in SHORT_FORM
        return _CONVERTED if lacks_vr else _KEPT

    def inserted(self, tag: int) -> Iterator[tuple[int, Replacement]]:
        """The new elements that belong before `tag` or in its place; each comes once."""
        while self._inserts and self._inserts[-1] <= tag:
            new = self._inserts.pop()
            yield new, self._replace[new]
        self.next_tag = self._inserts[-1] if self._inserts else _LAST_TAG


class _Writer:
    """Encodes for the target and joins small pieces. `ready`: the pieces that are complete and not taken yet."""

    def __init__(self, source: ByteSource, encoding: Encoding) -> None:
        self.encoding = encoding
        self.ready: list[Piece] = []
        self._source = source
        self._joined = bytearray()

    def put(self, data: bytes) -> None:
        self._joined += data
        if len(self._joined) >= WINDOW_BYTES:
            self._join()

    def header(self, tag: int, vr: str, length: int) -> None:
        self._joined += element_header(tag, vr, length, self.encoding)

    def copy(self, offset: int, length: int, swap: int = 1) -> None:
        rest = length % swap
        if length > _INLINE_BYTES:
            self.place(Copy(offset, length - rest, swap))
            offset, length = offset + length - rest, rest
        if length:
            data = self._source.take(offset, length)
            if len(data) < length:
                raise Corrupt(f"the source ends before byte {offset + length}")
            self.put(swapped(data, swap) if swap > 1 else data)

    def place(self, piece: Piece) -> None:
        self._join()
        self.ready.append(piece)

    def take(self) -> list[Piece]:
        ready, self.ready = self.ready, []
        return ready

    def finish(self) -> list[Piece]:
        self._join()
        return self.take()

    def _join(self) -> None:
        if self._joined:
            self.ready.append(bytes(self._joined))
            self._joined.clear()


def _elements(dataset: Dataset, *, nested: bool = False) -> Iterator[Element]:
    """All elements of a dataset or item, also those after pixel data, where Dataset.read() ends. Raises Corrupt.

    Pixel Data of undefined length come before their end has been looked for, if they are not `nested`; the offset
    behind them is -1.
    """
    source, end, encoding = dataset.source, dataset.end, dataset.encoding
    at = dataset.start
    elements: Iterable[Element] = dataset.read().values()
    for _, _, begin, _, _, after in elements:
        if begin != at:  # a tag occurs twice, and read() keeps only the last one
            elements = level(source, dataset.start, end, encoding)
            break
        at = after
    at = dataset.start
    while elements:
        level_start = at
        for element in elements:
            tag, vr, begin, value, length, after = element
            if after > end:
                raise Corrupt(f"the value of {tag_name(tag)} runs past the end, byte {end}")
            if after < 0 and (nested or tag != PIXEL_DATA):
                after = offset_behind(source, tag, vr, value, end, encoding)
                element = tag, vr, begin, value, length, after
            yield element
            at = offset_behind(source, tag, vr, value, end, encoding) if after < 0 else after
        elements = level(source, at, end, encoding) if level_start < at < end else ()


def _rewritten(
    dataset: Dataset, replace: Replacements, writer: _Writer, patch: Patch | None = None, *, nested: bool = False
) -> Iterator[Piece]:
    """Write the elements of a dataset or, `nested`, of an item; the last pieces stay in the writer.

    The patch of an item is for all its elements.
    """
    source = dataset.source
    top = _Filter(dataset, replace, writer.encoding, nested=nested)
    converter = _Converter(dataset, writer)
    patched = patch.sequences if patch else ()
    run = stop = dataset.start  # [run, stop) of the source is kept as it is and still to be copied
    for element in _elements(dataset, nested=nested):
        tag, vr, begin, value, length, after = element
        fate = top.fate(element)
        if fate != _KEPT or begin != stop or tag >= top.next_tag:
            writer.copy(run, stop - run)
            run = stop = begin
            if tag >= top.next_tag:
                for inserted, new in top.inserted(tag):
                    yield from _new(inserted, new, writer, patch if nested or inserted in patched else None)
        if fate == _KEPT:
            if patch and (nested or tag in patched):
                for inner, _, _, at, inner_length, _ in walk(source, begin, after, dataset.encoding):
                    if text := patch.value(source, inner, at, inner_length):
                        writer.copy(run, at - run)
                        writer.put(text)
                        run = at + len(text)
                        yield from writer.take()
            stop = after
        elif fate == _CONVERTED:
            yield from converter.convert(element, patch if nested or tag in patched else None)
        elif fate == _PIXELS:
            vr = actual_vr(tag, vr, dataset)
            writer.place(Pixels(tag, vr, value, None if length == UNDEFINED else length))
        if writer.ready:
            yield from writer.take()
    writer.copy(run, stop - run)
    for inserted, new in top.inserted(_LAST_TAG):
        yield from _new(inserted, new, writer, patch if nested or inserted in patched else None)


class _Converter:
    """Writes elements of a dataset or item in another encoding: new headers and, where needed, the other byte order.

    Sequences and items get undefined lengths, and group lengths are left out. Between the two explicit encodings all
    headers keep their sizes; there all lengths stay true and are kept.
    """

    def __init__(self, dataset: Dataset, writer: _Writer) -> None:
        self._dataset = dataset
        self._writer = writer
        source, target = dataset.encoding, writer.encoding
        self._turned = source.order != target.order
        self._keeps_lengths = self._turned and source.explicit == target.explicit

    def convert(self, element: Element, patch: Patch | None = None) -> Iterable[Piece]:
        """Write one element with everything inside it; gives the pieces that are complete before its end."""
        tag, vr, begin, value, length, _ = element
        dataset, writer = self._dataset, self._writer
        if length != UNDEFINED and (vr != "SQ" or not length):
            self._value(dataset, tag, vr, value, length)
            return ()
        if length != UNDEFINED and dataset.encoding is IMPLICIT and not _parses(dataset, begin, value + length):
            writer.header(tag, "UN", length)
            writer.copy(value, length)
            return ()
        return self._nested(begin, patch)

    def _nested(self, begin: int, patch: Patch | None) -> Iterator[Piece]:
        """Write the element at `begin`, a sequence or one of undefined length, with everything inside it."""
        writer, keeps_lengths = self._writer, self._keeps_lengths
        source, end, encoding = self._dataset.source, self._dataset.end, self._dataset.encoding
        scopes = [self._dataset]  # the dataset and the items that the walk is in
        here = begin
        tokens = walk(source, begin, end, encoding)
        for tag, vr, at, value, length, _ in tokens:
            if keeps_lengths and at != here:
                raise Corrupt(f"the {at - here} bytes before byte {at} belong to no element of their sequence")
            lacks_vr = value - at == 8 and vr and vr not in SHORT_FORM and tag != ITEM
            if keeps_lengths and lacks_vr and len(scopes) > 1:  # with one, it would be longer than the item says
                raise Corrupt(f"{tag_name(tag)} at byte {at} has no VR")
            here = value
            if vr and length != UNDEFINED and (vr != "SQ" or not length):
                here = value + length
                self._value(scopes[-1], tag, vr, value, length, patch)
            elif vr:
                if not self._open(scopes[-1], tag, vr, value, length):
                    here = _end(tokens)
                    writer.copy(value, here - value)
                    if len(scopes) == 1:
                        return
            elif tag == ITEM:
                delimited = length == UNDEFINED
                stop = end if delimited else value + length
                scopes.append(Dataset(source, value, stop, encoding, scopes[-1], delimited=delimited))
                writer.header(ITEM, "", length if keeps_lengths else UNDEFINED)
            else:
                if at != value or not keeps_lengths:
                    writer.header(tag, "", 0)
                if tag == ITEM_END:
                    scopes.pop()
                elif len(scopes) == 1:
                    return
            if writer.ready:
                yield from writer.take()

    def _value(self, scope: Dataset, tag: int, vr: str, value: int, length: int, patch: Patch | None = None) -> None:
        """Write an element that holds no other elements."""
        if not tag & 0xFFFF and not self._keeps_lengths:
            return
        if vr == MISSING or " or " in vr:
            vr = actual_vr(tag, vr, scope)
        writer = self._writer
        writer.header(tag, vr, length)
        if patch and (new := patch.value(scope.source, tag, value, length)):
            writer.put(new)
        else:
            writer.copy(value, length, _word_bytes(vr, length, writer.encoding) if self._turned else 1)

    def _open(self, scope: Dataset, tag: int, vr: str, value: int, length: int) -> bool:
        """Write the header of an element that holds items. False: its value can be copied as it is.

        So can a UN value, which is in implicit VR already, and fragments, which look the same in all little endian
        encodings.
        """
        encoding = scope.encoding
        if vr == MISSING or " or " in vr:
            vr = actual_vr(tag, vr, scope)
        if vr == "UN" and inside_un(scope.source, value, encoding) is encoding:
            vr = "SQ"  # a private element in implicit VR with an undefined length
        self._writer.header(tag, vr, length if self._keeps_lengths else UNDEFINED)
        if vr != "SQ" and self._turned and content(scope.source, tag, vr, value, encoding)[0] == FRAGMENTS:
            raise Corrupt(f"{tag_name(tag)} is encapsulated, which big endian does not allow")
        return vr == "SQ"


def _end(tokens: Iterator[Token]) -> int:
    """Take the tokens of the sequence or fragments that the walk has just entered; returns the offset behind them."""
    open_sequences = 1
    for tag, vr, _, value, length, _ in tokens:
        if vr:
            open_sequences += length == UNDEFINED or (vr == "SQ" and length > 0)
        elif tag == SEQUENCE_END:
            open_sequences -= 1
            if not open_sequences:
                return value
    raise AssertionError("a walk gives an end for everything that it enters")


def _new(tag: int, new: Replacement, writer: _Writer, patch: Patch | None) -> Iterator[Piece]:
    """Write an element that is not in the source as it is here, with everything inside it."""
    encoding = writer.encoding
    if new is None:
        return
    vr, value = new
    if isinstance(value, bytes):
        writer.put(element(tag, vr, value, encoding))
    elif isinstance(value, Hole):
        length = len(value.before) + value.length_bytes
        writer.header(tag, vr, length + length % 2)
        writer.put(value.before)
        writer.place(value)
        writer.put(b" " * (length % 2))
    else:
        writer.header(tag, vr, UNDEFINED)
        for item in value:
            writer.header(ITEM, "", UNDEFINED)
            if isinstance(item, Edited):
                yield from _rewritten(item.item, item.replace, writer, patch, nested=True)
            elif isinstance(item, Dataset):
                if item.encoding is writer.encoding and not patch:
                    writer.copy(item.start, item.end - item.start)
                else:
                    yield from _rewritten(item, {}, writer, patch, nested=True)
            else:
                for inner_tag, inner in item.items():
                    yield from _new(inner_tag, inner, writer, patch)
            writer.header(ITEM_END, "", 0)
            if writer.ready:
                yield from writer.take()
        writer.header(SEQUENCE_END, "", 0)


def _word_bytes(vr: str, length: int, target: Encoding) -> int:
    """The word size in bytes for a change of byte order; 1 for UN, which stays as it is (PS3.5 section 6.2.2)."""
    return WORD_BYTES.get(_written(vr, length) if target.explicit else vr, 1)


def _written(vr: str, length: int) -> str:
    """The VR to write. A value too long for the header of its VR is UN, always little endian (PS3.5 section 6.2.2)."""
    return "UN" if length > 0xFFFF and vr in SHORT_FORM else vr


def element(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """A whole element from a value in little endian, which is padded to an even length (PS3.5 section 6.2)."""
    if len(value) & 1:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    if encoding is BIG:
        value = swapped(value, WORD_BYTES.get(_written(vr, len(value)), 1))
    return element_header(tag, vr, len(value), encoding) + value


def element_header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """The header of an element; where `length` is too long for the VR, the VR is UN (PS3.5 section 6.2.2)."""
    group, number, order = tag >> 16, tag & 0xFFFF, encoding.order
    if not encoding.explicit or group == 0xFFFE:
        return _IMPLICIT_HEADER[order].pack(group, number, length)
    vr = _written(vr, length)
    if vr in SHORT_FORM:
        return _SHORT_HEADER[order].pack(group, number, vr.encode(), length)
    return _LONG_HEADER[order].pack(group, number, vr.encode(), 0, length)


def swapped(data: bytes, word_bytes: int) -> bytes:
    """`data` with the bytes of each word reversed; an incomplete last word stays as it is."""
    whole = len(data) - len(data) % word_bytes
    turned = bytearray(data)
    for place in range(word_bytes):
        turned[place:whole:word_bytes] = data[word_bytes - 1 - place : whole : word_bytes]
    return bytes(turned)
