"""Looks into a dataset without reading it whole (the "peek"): what the rules and the codecs need to know.

One window of 64 KiB is read. Values are decoded, and sequences entered, only when somebody asks. Everything is bounded.
A Header keeps its `read_at` for values beyond the window, and works for as long as `read_at` does.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from leyden.dicom.elements import (
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    LONG_FORM,
    MAX_DEPTH,
    MAX_LEVEL_ELEMENTS,
    PIXEL_DATA,
    PIXEL_ELEMENTS,
    SEQUENCE,
    SHORT_FORM,
    UNDEFINED,
    WINDOW_BYTES,
    ByteSource,
    Element,
    Encoding,
    ReadAt,
    dictionary_vr,
    encoding_of,
    implicit_throughout,
    inside_un,
    level,
    tag_name,
    walk,
)
from leyden.dicom.part10 import META_OFFSET, FileMeta, decode_head
from leyden.dicom.uids import SYNTAXES, Syntax
from leyden.errors import Corrupt

VALUE_MAX_BYTES = 1 << 20  # so much of a value is read
INFLATED_MAX_BYTES = 1 << 20  # so much of a deflated dataset is read

CHARACTER_SET = 0x00080005
BITS_ALLOCATED = 0x00280100
PIXEL_REPRESENTATION = 0x00280103
LUT_DESCRIPTOR = 0x00283002
LUT_DATA = 0x00283006
WAVEFORM_BITS_ALLOCATED = 0x54001004

_TEXT_VRS = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
# Text in the Specific Character Set (PS3.5 section 6.1.2.2); for UN that is a guess.
_CHARACTER_SET_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UN", "UT"})
_SINGLE_VALUE_VRS = frozenset({"LT", "ST", "UR", "UT"})  # a backslash is text in these
_CERTAIN_VRS = (SHORT_FORM | LONG_FORM) - {"UN"}
_NUMBERS = {"SL": "l", "SS": "h", "SV": "q", "UL": "L", "US": "H", "UV": "Q"}
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")

# Specific Character Set (PS3.3 C.12.1.1.2): the ISO-IR number or name -> Python's codec.
_CODECS = {
    "6": "ascii", "13": "shift_jis", "58": "gb2312", "87": "iso2022_jp_2", "100": "latin-1", "101": "iso8859_2",
    "109": "iso8859_3", "110": "iso8859_4", "126": "iso8859_7", "127": "iso8859_6", "138": "iso8859_8",
    "144": "iso8859_5", "148": "iso8859_9", "149": "euc_kr", "159": "iso2022_jp_2", "166": "iso8859_11",
    "192": "utf-8", "203": "iso8859_15", "GB18030": "gb18030", "GBK": "gbk",
}  # fmt: skip
# Escape sequences (PS3.3 tables C.12-3, C.12-4) -> ISO-IR number. The Japanese codec reads its own.
ESCAPES = {
    b"(B": "6", b"(J": "13", b")I": "13", b"$B": "87", b"$(D": "159", b"$)C": "149", b"$)A": "58", b"-A": "100",
    b"-B": "101", b"-C": "109", b"-D": "110", b"-F": "126", b"-G": "127", b"-H": "138", b"-L": "144", b"-M": "148",
    b"-T": "166", b"-b": "203",
}  # fmt: skip
_ESCAPED = re.compile(rb"\x1b(\$[()]?.|[()-].|)([^\x1b]*)", re.DOTALL)
_DELIMITER = re.compile(rb"[\t\n\f\r\\^=]")  # these switch back to the first character set (PS3.5 section 6.1.2.5.3)


class Dataset:
    """The elements of a dataset or of one item, by tag. Values are read when asked for, up to a bound.

    Reading an item that does not parse raises Corrupt. The dataset of a Header does not raise: it has the elements
    before the error, and `flaw` says why reading stopped there ("" = it did not stop early).
    """

    __slots__ = ("_delimited", "_depth", "_elements", "encoding", "end", "flaw", "parent", "source", "start")

    def __init__(
        self,
        source: ByteSource,
        start: int,
        end: int,
        encoding: Encoding,
        parent: "Dataset | None" = None,
        *,
        delimited: bool = False,
    ) -> None:
        """`delimited`: an item of undefined length, whose delimiter comes somewhere before `end`."""
        self.source = source
        self.start = start
        self.end = end
        self.encoding = encoding
        self.parent = parent
        self._delimited = delimited
        self._depth: int = parent._depth + 1 if parent else 0
        self._elements: dict[int, Element] | None = None
        self.flaw = ""

    def read(self, *, lenient: bool = False) -> dict[int, Element]:
        """The elements by tag, up to and with pixel data; read once. `lenient`: an error becomes `flaw`."""
        if self._elements is None:
            elements: dict[int, Element] = {}
            try:
                for element in level(self.source, self.start, self.end, self.encoding, delimited=self._delimited):
                    elements[element[0]] = element
            except Corrupt as error:
                if not (lenient and elements):
                    raise
                self.flaw = str(error)
            self._elements = elements
        return self._elements

    def __contains__(self, tag: int) -> bool:
        """Whether this dataset or item has an element of that tag (not deeper)."""
        return tag in self.read()

    def vr(self, tag: int) -> str | None:
        """The VR from the file, or from the dictionary if the file gives none (implicit VR, UN); None = absent."""
        element = self.read().get(tag)
        return self._vr(element) if element else None

    def raw(self, tag: int) -> bytes | None:
        """The value as in the file, with its padding and byte order, at most the first MiB.

        None = absent; empty for an element of undefined length.
        """
        element = self.read().get(tag)
        return self._raw(element) if element else None

    def texts(self, tag: int) -> tuple[str, ...] | None:
        """The values as text, decoded by VR and Specific Character Set, without padding.

        Numbers are decimals, AT is `(gggg,eeee)`. None = absent; () = empty, or a VR that has no text (SQ, OB ...).
        """
        element = self.read().get(tag)
        return self._texts(element) if element else None

    def integer(self, tag: int) -> int | None:
        """The first value of an integer element (US, IS ...) of at most twelve digits; None = absent, or no integer."""
        texts = self.texts(tag)
        return int(texts[0]) if texts and _INTEGER.fullmatch(texts[0]) else None

    def inherited(self, tag: int) -> int | None:
        """The integer from this item or, if it has none, from the nearest one around it that has; None = nowhere."""
        dataset: Dataset | None = self
        while dataset is not None:
            number = dataset.integer(tag)
            if number is not None:
                return number
            dataset = dataset.parent
        return None

    def items(self, tag: int) -> tuple["Dataset", ...]:
        """The items of a sequence; () = absent, empty or no sequence. Raises Corrupt if they do not parse."""
        element = self.read().get(tag)
        items = tuple(islice(self._items(element), MAX_LEVEL_ELEMENTS)) if element else ()
        if len(items) == MAX_LEVEL_ELEMENTS:
            raise Corrupt(f"{tag_name(tag)} has {MAX_LEVEL_ELEMENTS} items or more")
        return items

    def find(self, tag: int) -> Iterator[tuple[str, ...]]:
        """The texts of every element of that tag, here and at any depth, in order, up to pixel data.

        One pass, 0.6 us an element. Raises Corrupt if a sequence does not parse, after everything outside of it.
        """
        broken: Corrupt | None = None
        for element in self.read().values():
            here, vr, _, _, length, _ = element
            if here == tag:
                yield self._texts(element)
            sequence = vr == "SQ" or length == UNDEFINED or (vr == "UN" and dictionary_vr(here) == "SQ")
            if sequence and here not in PIXEL_ELEMENTS:
                try:
                    yield from self._find_inside(tag, element)
                except Corrupt as error:
                    broken = error
        if broken and not self.flaw:
            raise broken

    def _find_inside(self, tag: int, element: Element) -> Iterator[tuple[str, ...]]:
        _, _, begin, _, _, end = element
        enclosing = [self]
        for here, vr, start, value, length, encoding in walk(self.source, begin, end, self.encoding):
            if here == ITEM and not vr:
                stop = end if length == UNDEFINED else value + length
                delimited = length == UNDEFINED
                enclosing.append(Dataset(self.source, value, stop, encoding, enclosing[-1], delimited=delimited))
            elif here == ITEM_END:
                enclosing.pop()
            elif here == tag or (vr == "UN" and length != UNDEFINED and dictionary_vr(here) == "SQ"):
                inner = here, vr, start, value, length, value + length
                if here == tag and start > begin:
                    yield enclosing[-1]._texts(inner)
                if vr == "UN":
                    for item in enclosing[-1]._items(inner):
                        yield from item.find(tag)  # one level: inside, all is implicit VR, where no known SQ is UN

    def private_tag(self, group: int, low_byte: int, creator: str) -> int | None:
        """The tag of a private element of a creator, in whatever block it is (PS3.5 section 7.8.1); None = absent."""
        elements = self.read()
        for block in range(0x10, 0x100):
            tag = group << 16 | block << 8 | low_byte & 0xFF
            if tag in elements and self.texts(group << 16 | block) == (creator.strip(),):
                return tag
        return None

    def _raw(self, element: Element) -> bytes:
        _, _, _, value, length, _ = element
        return b"" if length == UNDEFINED else self.source.take(value, min(length, VALUE_MAX_BYTES))

    def _texts(self, element: Element) -> tuple[str, ...]:
        vr = self._vr(element)
        raw = self._raw(element)
        if vr in _TEXT_VRS:
            text = raw.decode("latin-1")
        elif vr in _CHARACTER_SET_VRS:
            text = raw.decode("ascii") if raw.isascii() and b"\x1b" not in raw else _decode(raw, self._character_sets())
        else:
            return _numbers(raw, vr, "<" if element[1] == "UN" else self.encoding.order)
        if vr in _SINGLE_VALUE_VRS:
            text = text.rstrip("\0 ")
            return (text,) if text else ()
        text = text.strip("\0 ")
        return tuple(part.strip("\0 ") for part in text.split("\\")) if text else ()

    def _vr(self, element: Element) -> str:
        tag, vr, *_ = element
        if vr not in _CERTAIN_VRS:
            vr = dictionary_vr(tag)
        return resolve(tag, vr, self) if " or " in vr else vr

    def _items(self, element: Element) -> "Iterator[Dataset]":
        tag, vr, _, content, length, after = element
        if vr != "SQ" and not (vr == "UN" and (length == UNDEFINED or dictionary_vr(tag) == "SQ")):
            return
        if self._depth >= MAX_DEPTH:
            raise Corrupt(f"sequences nest deeper than {MAX_DEPTH}")
        encoding = inside_un(self.source, content, self.encoding) if vr == "UN" else self.encoding
        end = after - 8 if length == UNDEFINED else after
        open_items = 0
        begin = 0
        for tag, _, start, value, length, _ in walk(self.source, content, end, encoding, kind=SEQUENCE, deep=False):
            if tag == ITEM and length == UNDEFINED:
                if not open_items:
                    begin = value
                open_items += 1
            elif tag == ITEM and not open_items:
                yield Dataset(self.source, value, value + length, encoding, self)
            elif tag == ITEM_END:
                open_items -= 1
                if not open_items:
                    yield Dataset(self.source, begin, start, encoding, self)

    def _character_sets(self) -> tuple[str, ...]:
        dataset: Dataset | None = self
        while dataset is not None:
            names = dataset.raw(CHARACTER_SET)  # texts() would ask for the character set again, for some VRs
            if names:
                return tuple(part.strip("\0 ") for part in names[:256].decode("latin-1").split("\\"))
            dataset = dataset.parent
        return ()


def resolve(tag: int, vr: str, dataset: Dataset) -> str:
    """The VR of an element of `dataset` for which the dictionary gives a choice (PS3.5 section 8, A.1, A.2)."""
    if vr == "US or SS":
        return "SS" if dataset.inherited(PIXEL_REPRESENTATION) == 1 else "US"
    if tag == PIXEL_DATA:
        return "OB" if (dataset.inherited(BITS_ALLOCATED) or 16) <= 8 else "OW"
    if tag >> 16 == 0x5400:
        return "OB" if dataset.inherited(WAVEFORM_BITS_ALLOCATED) == 8 else "OW"
    if tag == LUT_DATA:
        return "US" if (dataset.raw(LUT_DESCRIPTOR) or b"")[:2] == b"\1\0" else "OW"
    return "OW"  # overlays, curves, other lookup tables


class Header(msgspec.Struct, frozen=True):
    """What `peek` read of a file. `offset`: where its dataset begins, in bytes.

    `pixel_data` is "", "native", "encapsulated" (of undefined length) or "float" (single or double).
    """

    meta: FileMeta
    syntax: Syntax
    dataset: Dataset
    pixel_data: str
    offset: int
    file_meta: Dataset

    @property
    def flaw(self) -> str:
        """Why only a part of the dataset could be read; "" = it was read up to its pixel data or its end."""
        return self.dataset.flaw

    @property
    def uneven(self) -> bool:
        """Whether the dataset as a whole, or one of its top-level values, has an odd length. False if there is a flaw.

        An even number of odd values in items, or after the pixel data, is not seen.
        """
        if self.flaw:
            return False
        odd = [element[4] for element in self.dataset.read().values() if element[4] & 1]
        whole = (self.file_meta.source.size - self.offset) % 2 > 0
        return whole or (bool(odd) and any(length != UNDEFINED for length in odd))

    def texts(self, tag: int) -> tuple[str, ...] | None:
        """The values of an element as text (see Dataset.texts), group 0002 included."""
        return (self.file_meta if tag >> 16 == 2 else self.dataset).texts(tag)


def peek(read_at: ReadAt, size: int) -> Header:
    """The header of a Part 10 file of `size` bytes, up to its pixel data. One read of 64 KiB, 60-150 us for an image.

    A file that is cut off or damaged later on gives a header with a flaw. Raises Corrupt if nothing can be read: it is
    no Part 10 file, its transfer syntax is not in the standard, or its first element does not parse.
    """
    head = read_at(0, WINDOW_BYTES)
    decoded = decode_head(head)
    if decoded is None:
        raise Corrupt("the file ends within its file meta information")
    meta, offset = decoded
    syntax = SYNTAXES.get(meta.transfer_syntax_uid)
    if syntax is None:
        raise Corrupt(f"transfer syntax {meta.transfer_syntax_uid or '(none)'} is not known")
    source = ByteSource(read_at, size, head)
    whole = True
    if syntax.deflated:
        inflated, whole = _inflate(read_at, offset, size)
        begin = ByteSource(lambda at, length: inflated[at : at + length], len(inflated), inflated[:WINDOW_BYTES])
        dataset = Dataset(begin, 0, len(inflated), encoding_of(syntax))
    else:
        dataset = Dataset(source, offset, size, encoding_of(syntax))
        if dataset.encoding is EXPLICIT and implicit_throughout(source, offset, size):
            dataset.encoding = IMPLICIT
    elements = dataset.read(lenient=True)
    if not whole and not (dataset.flaw or PIXEL_ELEMENTS & elements.keys()):
        dataset.flaw = f"only {dataset.end} bytes of a deflated dataset were inflated"
    pixel_data = ""
    if PIXEL_DATA in elements:
        pixel_data = "encapsulated" if elements[PIXEL_DATA][4] == UNDEFINED else "native"
    elif 0x7FE00008 in elements or 0x7FE00009 in elements:
        pixel_data = "float"
    return Header(meta, syntax, dataset, pixel_data, offset, Dataset(source, META_OFFSET, offset, EXPLICIT))


def _inflate(read_at: ReadAt, offset: int, size: int) -> tuple[bytes, bool]:
    """The beginning of a deflated dataset, and whether that is all of it."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    try:
        while offset < size and not inflater.eof and len(inflated) < INFLATED_MAX_BYTES:
            chunk = read_at(offset, WINDOW_BYTES)
            if not chunk:
                break
            inflated += inflater.decompress(chunk, INFLATED_MAX_BYTES - len(inflated))
            offset += len(chunk)
    except zlib.error as error:
        if not inflated:
            raise Corrupt(f"the dataset does not inflate: {error}") from None
    return bytes(inflated), inflater.eof


def _numbers(raw: bytes, vr: str, order: str) -> tuple[str, ...]:
    if vr in _NUMBERS:
        return tuple(str(number) for (number,) in _unpack(raw, order + _NUMBERS[vr]))
    if vr == "AT":
        return tuple(tag_name(group << 16 | element) for group, element in _unpack(raw, order + "HH"))
    if vr == "FD":
        return tuple(_decimal(number) for (number,) in _unpack(raw, order + "d"))
    if vr == "FL":
        return tuple(_shortest(number) for (number,) in _unpack(raw, order + "f"))
    return ()


def _unpack(raw: bytes, form: str) -> Iterator[tuple[Any, ...]]:
    return struct.iter_unpack(form, raw[: len(raw) - len(raw) % struct.calcsize(form)])


def _shortest(number: float) -> str:
    """The fewest digits that give a single-precision number back: 0.1, not 0.10000000149011612."""
    shorter = (float(f"{number:.{digits}g}") for digits in (6, 7, 8))
    single = struct.Struct("f")
    return _decimal(
        next((each for each in shorter if single.pack(each) == single.pack(number)), float(f"{number:.9g}"))
    )


def _decimal(number: float) -> str:
    """As one would write it: 512, 0.1, 1e-30."""
    return repr(number).removesuffix(".0")


def codec_of(character_set: str) -> str:
    """The name of Python's codec for a value of Specific Character Set (PS3.3 C.12.1.1.2)."""
    text = character_set.upper()
    number = re.search(r"[0-9]+$", text)
    return _CODECS.get(text) or _CODECS.get(number[0] if number else "6", "ascii")


def _decode(raw: bytes, character_sets: tuple[str, ...]) -> str:
    """Text in the character sets of (0008,0005), with code extensions.

    If that can't be, as UTF-8, which some devices write without saying so. If it is none either: a byte beyond ASCII is
    taken for Latin-1 where ASCII, or nothing that is known, is declared, and for U+FFFD where another set is.
    """
    try:
        return _by_sets(raw, character_sets, "strict")
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _by_sets(raw, character_sets, "replace")


def _by_sets(raw: bytes, character_sets: tuple[str, ...], errors: str) -> str:
    def decoded(part: bytes, codec: str) -> str:
        return part.decode("latin-1" if codec == "ascii" and errors == "replace" else codec, errors)

    first = codec_of(character_sets[0] if character_sets else "")
    plain, escape, _ = raw.partition(b"\x1b")
    texts = [decoded(plain, first)]
    if escape:
        for match in _ESCAPED.finditer(raw):
            sign, body = match.groups()
            codec = _CODECS[ESCAPES.get(sign, "6")]
            if codec == "iso2022_jp_2":
                texts.append(decoded(match[0], codec))
                continue
            stop = _DELIMITER.search(body)
            end = stop.start() if stop else len(body)
            texts.append(decoded(body[:end], codec) + decoded(body[end:], first))
    return "".join(texts)
