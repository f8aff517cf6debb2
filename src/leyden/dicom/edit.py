"""The rewrite of a dataset as a stream of pieces: a pure plan of what to copy and what to put in between.

Nothing is held whole and no value is interpreted but the few that decide a VR. What need not change is one long Copy.
From any encoding into any. Deliberately absent: pixels (the caller fills them in) and deflate (it inflates first).
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from leyden.dicom.elements import (
    BIG,
    FRAGMENTS,
    IMPLICIT,
    ITEM,
    ITEM_END,
    LONG_FORM,
    MISSING,
    PIXEL_DATA,
    PIXEL_ELEMENTS,
    SEQUENCE_END,
    SHORT_FORM,
    UNDEFINED,
    WINDOW_BYTES,
    WORD_BYTES,
    Element,
    Encoding,
    behind,
    content,
    dictionary_vr,
    encoding_of,
    inside_un,
    level,
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


@dataclass(frozen=True, slots=True)
class Copy:
    """Take `length` bytes of the source at `offset`, each word of `swap` bytes turned end for end (see `swapped`).

    `length` is a whole number of words.
    """

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


@dataclass(frozen=True, slots=True)
class Hole:
    """A value, or the rest of one, that is not known yet; `before` is what is known.

    As a piece: the place of `length_bytes` that the caller writes blanks to and fills in later. What stands before it,
    and a blank behind where the whole would be odd, are pieces of their own.
    """

    length_bytes: int
    before: bytes = b""


@dataclass(frozen=True, slots=True)
class Patch:
    """In every `tag` within the top-level `sequences` whose text begins with `old`, `new` stands instead.

    It is no longer than that, and blanks at the end keep the length, so that those around it stay true. What stands in
    UN, or in a sequence that is replaced, need not be patched.
    """

    sequences: tuple[int, ...]
    tag: int
    old: bytes
    new: bytes


Replacement = tuple[str, "bytes | Hole | Items"] | None
"""VR and value in little endian, padded here; a sequence as its items; None = the element is left out."""

Replacements = Mapping[int, Replacement]

Items = tuple["Dataset | Replacements", ...]
"""Items that stand in the same source already (Dataset.items), and new ones, their tags in order."""

Piece = bytes | Copy | Pixels | Hole


def rewrite(dataset: Dataset, target: Syntax, replace: Replacements, patch: Patch | None = None) -> Iterator[Piece]:
    """The pieces of a dataset in another transfer syntax, or in its own, in order.

    `dataset`: that of a Header, or any that reaches to the end of its source; not one that `peek` inflated, which may
    be a part. `replace` holds top-level elements to put in, or to put in the place of what is there. Group lengths that
    would become false are left out, and so is what `level` and `walk` pass over; an element without a VR gets its own.
    Values stay byte for byte but for the order of their bytes (PS3.5 section 7.3); sequences do where the encoding
    stays. A sequence in implicit VR whose items do not parse becomes UN, as it is (PS3.5 section 6.2.2).
    Raises Corrupt before the first piece for what stands before the pixel data, later for nested and trailing elements;
    also for nested fragments on the way from or to big endian, which has none.
    """
    elements = dataset.read()
    pixels = elements.get(PIXEL_DATA)
    if dataset.flaw:
        raise Corrupt(dataset.flaw)
    if pixels and pixels[5] > dataset.end:
        raise Corrupt(f"the pixel data are cut off: they should end at byte {pixels[5]} of {dataset.end}")
    stale = {tag >> 16 for tag in replace} | ({PIXEL_DATA >> 16} if pixels else set()) | {0}  # (0000,0000) is 8 NULs
    if dataset.encoding.explicit:
        stale |= {
            tag >> 16
            for tag, vr, begin, value, _, _ in elements.values()
            if vr == MISSING or (value - begin == 8 and vr in LONG_FORM)
        }
    output = _Output(dataset, replace, encoding_of(target), patch)
    yield from (_kept if dataset.encoding is output.encoding else _converted)(dataset, stale, output)
    yield from _put_due(output, _LAST_TAG)
    yield from output.take(all_of_it=True)


def encapsulated_inside(dataset: Dataset) -> bool:
    """Whether fragments stand elsewhere than in the top-level pixel data (PS3.5 A.4: an icon's may beside the image's).

    Of a sequence that does not parse, what stands before the place is looked at.
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
    """The VR where the file has none, or a choice."""
    vr = dictionary_vr(tag) if vr == MISSING else vr
    return resolve(tag, vr, dataset) if " or " in vr else vr


def _parses(dataset: Dataset, start: int, end: int) -> bool:
    try:
        return all(walk(dataset.source, start, end, dataset.encoding))
    except Corrupt:
        return False


class _Output:
    """The pieces made so far that nobody took yet, small ones joined, and the replacements that are still to come."""

    def __init__(self, dataset: Dataset, replace: Replacements, encoding: Encoding, patch: Patch | None) -> None:
        self.replace = replace
        self.encoding = encoding
        self.patch = patch
        self.patch_inside = patch.sequences if patch else ()
        self.due = sorted((tag for tag, new in replace.items() if new), reverse=True)
        self._source = dataset.source
        self._has_pixels = False
        self._joined = bytearray()
        self._ready: list[Piece] = []

    def is_due(self, tag: int) -> bool:
        """Whether a replacement belongs before or in the place of the top-level `tag`."""
        return bool(self.due) and self.due[-1] <= tag

    def put(self, data: bytes) -> None:
        self._joined += data

    def copy(self, offset: int, length: int, swap: int = 1) -> None:
        rest = length % swap
        if length > _INLINE_BYTES:
            self._join()
            self._ready.append(Copy(offset, length - rest, swap))
            offset, length = offset + length - rest, rest
        if length:
            data = self._source.take(offset, length)
            if len(data) < length:
                raise Corrupt(f"the source ends before byte {offset + length}")
            self._joined += swapped(data, swap) if swap > 1 else data

    def patched(self, tag: int, offset: int, length: int) -> bytes:
        """The value that is to stand at `offset` in one of the patch's sequences; b"" = the one that does."""
        if self.patch is None or tag != self.patch.tag or length > _INLINE_BYTES:
            return b""
        old = self._source.take(offset, length)
        rest = old.removeprefix(self.patch.old)
        return (self.patch.new + rest).ljust(length) if len(rest) < len(old) else b""

    def leave(self, hole: Hole) -> None:
        self._join()
        self._ready.append(hole)

    def place_pixels(self, dataset: Dataset, vr: str, value: int, length: int) -> None:
        if self._has_pixels:
            raise Corrupt(f"{tag_name(PIXEL_DATA)} stands twice")
        self._has_pixels = True
        self._join()
        vr = actual_vr(PIXEL_DATA, vr, dataset)
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


def _put_due(output: _Output, tag: int) -> Iterator[Piece]:
    """The replacements that belong before or in the place of the top-level `tag`."""
    while output.is_due(tag):
        due = output.due.pop()
        yield from _put_new(due, output.replace[due], output)


def _put_new(tag: int, new: Replacement, output: _Output) -> Iterator[Piece]:
    encoding = output.encoding
    if new is None:
        return
    vr, value = new
    if isinstance(value, bytes):
        output.put(element(tag, vr, value, encoding))
    elif isinstance(value, Hole):
        length = len(value.before) + value.length_bytes
        output.put(element_header(tag, vr, length + length % 2, encoding) + value.before)
        output.leave(value)
        output.put(b" " * (length % 2))
    else:
        output.put(element_header(tag, vr, UNDEFINED, encoding))
        for item in value:
            output.put(element_header(ITEM, "", UNDEFINED, encoding))
            if not isinstance(item, Dataset):
                for inner_tag, inner in item.items():
                    yield from _put_new(inner_tag, inner, output)
            elif item.encoding is encoding:
                output.copy(item.start, item.end - item.start)
            else:
                yield from _converted(item, set(), output, nested=True)
            output.put(element_header(ITEM_END, "", 0, encoding))
            yield from output.take()
        output.put(element_header(SEQUENCE_END, "", 0, encoding))


def _kept(dataset: Dataset, stale: set[int], output: _Output) -> Iterator[Piece]:
    """The encoding stays: what stands between replaced elements and pixel data is copied as it is."""
    source, encoding, end = dataset.source, dataset.encoding, dataset.end
    explicit = encoding.explicit
    run = at = dataset.start  # the source from `run` on is yet to be copied
    elements = _elements(dataset)
    while elements:  # a level ends with pixel data, or with all that there is
        before = at
        for tag, vr, begin, value, length, after in elements:
            if after > end:
                raise Corrupt(f"the value of {tag_name(tag)} runs past the end, byte {end}")
            pixels = tag == PIXEL_DATA and tag not in output.replace
            leave_out = tag in output.replace or pixels or (tag & 0xFFFF == 0 and tag >> 16 in stale)
            # The header is to be written anew; one of SQ or UN may be implicit.
            lacks_vr = explicit and not leave_out and (vr == MISSING or (value - begin == 8 and vr in LONG_FORM))
            if leave_out or lacks_vr or output.is_due(tag):
                output.copy(run, begin - run)
                run = begin
                yield from _put_due(output, tag)
            if pixels:
                output.place_pixels(dataset, vr, value, length)
            elif lacks_vr:
                yield from _converted(Dataset(source, begin, after, encoding, dataset), set(), output, nested=True)
            elif tag in output.patch_inside and not leave_out:
                for inner_tag, _, _, inner, inner_length, _ in walk(source, begin, after, encoding):
                    if new := output.patched(inner_tag, inner, inner_length):
                        output.copy(run, inner - run)
                        output.put(new)
                        run = inner + len(new)
                        yield from output.take()
            yield from output.take()
            at = behind(source, tag, vr, value, end, encoding) if after < 0 else after
            if leave_out or lacks_vr:
                run = at
        elements = level(source, at, end, encoding) if before < at < end else ()
    output.copy(run, at - run)


def _elements(dataset: Dataset) -> Iterable[Element]:
    """The elements up to and with pixel data: as they were read already, or again where a tag stands twice."""
    known = dataset.read().values()
    at = dataset.start
    for _, _, begin, _, _, after in known:
        if begin != at:
            return level(dataset.source, dataset.start, dataset.end, dataset.encoding)
        at = after
    return known


def _converted(dataset: Dataset, stale: set[int], output: _Output, *, nested: bool = False) -> Iterator[Piece]:
    """Another encoding: each element gets a new header; what comes to be of unknown length gets an end instead.

    `nested`: `dataset` is an item, where nothing is replaced and pixel data are no others' business.
    """
    source, encoding, end = dataset.source, dataset.encoding, dataset.end
    target = output.encoding
    turned = encoding.order != target.order
    same_size = turned and encoding.explicit == target.explicit  # headers keep their sizes: defined lengths stay true
    enclosing = [dataset]
    outside = open_sequences = int(nested)
    top = 0  # the top-level element that this is in
    passed_over = 0  # sequences open in something that is left out or copied whole ...
    whole = -1  # ... from this offset on
    begin = dataset.start
    while begin < end:
        tokens = walk(source, begin, end, encoding)
        here, begin = begin, end
        for tag, vr, at, value, length, _ in tokens:
            if at != here and same_size and open_sequences > outside:
                raise Corrupt(f"{at - here} bytes before byte {at} that are no part of their sequence")
            opens = length == UNDEFINED or (vr == "SQ" and length > 0)
            here = value + length if vr and not opens else value
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
                output.put(element_header(tag, vr, length if same_size else UNDEFINED, target))
            elif not vr:
                if tag == ITEM_END:
                    enclosing.pop()
                else:
                    open_sequences -= 1
                if at != value or not same_size:
                    output.put(element_header(tag, vr, 0, target))
            else:
                if open_sequences == outside:
                    top = tag
                    if not nested and output.is_due(tag):
                        yield from _put_due(output, tag)
                    if not nested and tag in output.replace:
                        passed_over = int(opens)
                        continue
                    if not nested and tag == PIXEL_DATA:
                        output.place_pixels(dataset, vr, value, length)
                        yield from output.take()
                        passed_over = int(opens)
                        continue
                if tag & 0xFFFF == 0 and (not same_size or (tag >> 16 in stale and not open_sequences)):
                    continue
                if vr == MISSING or " or " in vr:
                    if vr == MISSING and same_size and open_sequences > outside:
                        raise Corrupt(f"{tag_name(tag)} at byte {at} has no VR")
                    vr = actual_vr(tag, vr, enclosing[-1])
                if vr == "UN" and length == UNDEFINED and inside_un(source, value, encoding) is encoding:
                    vr = "SQ"  # what is private, implicit and of undefined length is a sequence
                foreign = vr == "SQ" and encoding is IMPLICIT and open_sequences == outside and length != UNDEFINED
                if foreign and not _parses(dataset, at, value + length):
                    output.put(element_header(tag, "UN", length, target))
                    output.copy(value, length)
                    begin = value + length
                    break
                output.put(element_header(tag, vr, UNDEFINED if opens and not same_size else length, target))
                if not opens and top in output.patch_inside and (new := output.patched(tag, value, length)):
                    output.put(new)
                elif not opens:
                    output.copy(value, length, _word_bytes(vr, length, target) if turned else 1)
                elif vr == "SQ":
                    open_sequences += 1
                elif turned and content(source, tag, vr, value, encoding)[0] == FRAGMENTS:
                    raise Corrupt(f"{tag_name(tag)} is encapsulated, as nothing in big endian is")
                else:  # implicit inside UN already, and fragments look the same in all of little endian
                    passed_over = 1
                    whole = value
            yield from output.take()


def _word_bytes(vr: str, length: int, target: Encoding) -> int:
    """How many bytes of a value the other byte order turns round: none in UN (PS3.5 section 6.2.2)."""
    return WORD_BYTES.get(_written(vr, length) if target.explicit else vr, 1)


def _written(vr: str, length: int) -> str:
    """A value too long for the explicit header of its VR is UN (PS3.5 section 6.2.2), which is little endian always."""
    return "UN" if length > 0xFFFF and vr in SHORT_FORM else vr


def element(tag: int, vr: str, value: bytes, encoding: Encoding) -> bytes:
    """A whole element; its value is given in little endian and padded to an even length (PS3.5 section 6.2)."""
    if len(value) & 1:
        value += b"\0" if vr in ("UI", "OB", "UN") else b" "
    if encoding is BIG:
        value = swapped(value, WORD_BYTES.get(_written(vr, len(value)), 1))
    return element_header(tag, vr, len(value), encoding) + value


def element_header(tag: int, vr: str, length: int, encoding: Encoding) -> bytes:
    """The header of an element; a value too long for its VR makes it UN (PS3.5 section 6.2.2)."""
    group, number, order = tag >> 16, tag & 0xFFFF, encoding.order
    if not encoding.explicit or group == 0xFFFE:
        return _IMPLICIT_HEADER[order].pack(group, number, length)
    vr = _written(vr, length)
    if vr in SHORT_FORM:
        return _SHORT_HEADER[order].pack(group, number, vr.encode(), length)
    return _LONG_HEADER[order].pack(group, number, vr.encode(), 0, length)


def swapped(data: bytes, word_bytes: int) -> bytes:
    """`data` with each word turned end for end; the rest of an incomplete last word stays as it is."""
    whole = len(data) - len(data) % word_bytes
    turned = bytearray(data)
    for place in range(word_bytes):
        turned[place:whole:word_bytes] = data[word_bytes - 1 - place : whole : word_bytes]
    return bytes(turned)
