"""The walker over elements: structure, encodings, windows and bounds, on datasets written by hand."""

import struct

import pytest
from pydicom.datadict import dictionary_VR

from leyden.dicom import elements
from leyden.dicom.elements import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    MISSING,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    ByteSource,
    Encoding,
    dictionary_vr,
    encoding_of,
    implicit_throughout,
    level,
    offset_behind,
    tag_name,
    walk,
)
from leyden.dicom.uids import EXPLICIT_BE, IMPLICIT_LE, JPEG2000_LOSSLESS, SYNTAXES
from leyden.errors import Corrupt

MODALITY = 0x00080060
REFERENCED = 0x00081140  # a sequence
PRIVATE = 0x00091001


def el(tag: int, vr: str, value: bytes = b"", length: int | None = None, order: str = "<") -> bytes:
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not vr:
        return head + struct.pack(order + "L", size) + value
    if vr in elements.LONG_FORM or vr == "ZZ":
        return head + vr.encode() + struct.pack(order + "HL", 0, size) + value
    return head + vr.encode() + struct.pack(order + "H", size) + value


def source(data: bytes) -> ByteSource:
    return ByteSource(lambda offset, length: data[offset : offset + length], len(data))


def tokens(data: bytes, encoding: Encoding = EXPLICIT, **how: bool) -> list[tuple[int, str, int, int, int]]:
    return [token[:5] for token in walk(source(data), 0, len(data), encoding, **how)]


def tags(data: bytes, encoding: Encoding = EXPLICIT, **how: bool) -> list[int]:
    return [tag for tag, *_ in tokens(data, encoding, **how)]


CT = el(MODALITY, "CS", b"CT")


def test_encodings_of_syntaxes() -> None:
    assert encoding_of(SYNTAXES[IMPLICIT_LE]) is IMPLICIT
    assert encoding_of(SYNTAXES[EXPLICIT_BE]) is BIG
    assert encoding_of(SYNTAXES[JPEG2000_LOSSLESS]) is EXPLICIT


def test_no_elements() -> None:
    assert tokens(b"") == []
    assert list(level(source(b""), 0, 0, EXPLICIT)) == []


@pytest.mark.parametrize(("encoding", "order"), [(EXPLICIT, "<"), (BIG, ">")])
def test_explicit(encoding: Encoding, order: str) -> None:
    data = el(MODALITY, "CS", b"CT", order=order) + el(0x00420011, "OB", b"1234", order=order)
    assert tokens(data, encoding) == [(MODALITY, "CS", 0, 8, 2), (0x00420011, "OB", 10, 22, 4)]
    assert list(level(source(data), 0, len(data), encoding)) == [
        (MODALITY, "CS", 0, 8, 2, 10),
        (0x00420011, "OB", 10, 22, 4, 26),
    ]


def test_implicit_takes_the_vr_of_the_dictionary() -> None:
    data = el(MODALITY, "", b"CT") + el(0x00090010, "", b"ME") + el(PRIVATE, "", b"x ") + el(0x00280106, "", b"\0\0")
    assert [vr for _, vr, *_ in tokens(data, IMPLICIT)] == ["CS", "LO", "UN", "US or SS"]


@pytest.mark.parametrize("tag", [0x00080018, 0x60003000, 0x60020010, 0x50003000, 0x002031AB, 0x00280400])
def test_dictionary_agrees_with_pydicom(tag: int) -> None:
    assert dictionary_vr(tag) == dictionary_VR(tag)


def test_dictionary_knows_what_is_in_none() -> None:
    assert dictionary_vr(0x00090000) == "UL"
    assert dictionary_vr(0x00090010) == "LO"
    assert dictionary_vr(0x00091010) == "UN"
    assert dictionary_vr(0x00080099) == "UN"
    assert dictionary_vr(ITEM) == ""


@pytest.mark.parametrize("defined", [True, False], ids=["defined", "undefined"])
@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
def test_nested_sequences(encoding: Encoding, defined: bool) -> None:
    order = encoding.order

    def nest(tag: int, vr: str, value: bytes, end: int) -> bytes:
        vr = vr if encoding.explicit else ""
        if defined:
            return el(tag, vr, value, order=order)
        return el(tag, vr, value, UNDEFINED, order) + el(end, "", order=order)

    ct = el(MODALITY, "CS" if encoding.explicit else "", b"CT", order=order)
    inner = nest(REFERENCED, "SQ", nest(ITEM, "", ct, ITEM_END) * 2, SEQUENCE_END)
    data = nest(REFERENCED, "SQ", nest(ITEM, "", inner, ITEM_END), SEQUENCE_END) + ct
    item = [ITEM, MODALITY, ITEM_END]
    assert tags(data, encoding) == [
        REFERENCED, ITEM, REFERENCED, *item, *item, SEQUENCE_END, ITEM_END, SEQUENCE_END, MODALITY,
    ]  # fmt: skip
    widths = {value - at for tag, _, at, value, _ in tokens(data, encoding) if tag in (ITEM_END, SEQUENCE_END)}
    assert widths == ({0} if defined else {8})
    end = len(data) - len(ct)
    head, last = level(source(data), 0, len(data), encoding)
    assert head[0] == REFERENCED
    assert head[5] == end
    assert last[2:] == (end, len(data) - 2, 2, len(data))
    if defined:
        assert tags(data, encoding, deep=False) == [REFERENCED, MODALITY]


def test_un_of_undefined_length_is_implicit_inside() -> None:
    item = el(ITEM, "", el(MODALITY, "", b"CT"), UNDEFINED) + el(ITEM_END, "")
    data = el(PRIVATE, "UN", item, UNDEFINED) + el(SEQUENCE_END, "") + CT
    assert tags(data) == [PRIVATE, ITEM, MODALITY, ITEM_END, SEQUENCE_END, MODALITY]
    assert [token[5] for token in walk(source(data), 0, len(data), EXPLICIT)] == [EXPLICIT, *[IMPLICIT] * 4, EXPLICIT]
    assert [element[0] for element in level(source(data), 0, len(data), EXPLICIT)] == [PRIVATE, MODALITY]


def test_un_of_undefined_length_in_big_endian_is_little_endian_inside() -> None:
    item = el(ITEM, "", el(MODALITY, "", b"CT"), UNDEFINED) + el(ITEM_END, "")
    data = el(PRIVATE, "UN", item, UNDEFINED, ">") + el(SEQUENCE_END, "") + el(MODALITY, "CS", b"CT", order=">")
    assert tags(data, BIG) == [PRIVATE, ITEM, MODALITY, ITEM_END, SEQUENCE_END, MODALITY]


def test_fragments_are_not_entered() -> None:
    fragment = el(ITEM, "", b"\xff\xd8\xfe\xff\xdd\xe0\0\0\0\0")  # what looks like a delimiter in it is none
    data = el(PIXEL_DATA, "OB", el(ITEM, "") + fragment, UNDEFINED) + el(SEQUENCE_END, "") + CT
    assert [token[:2] for token in tokens(data)] == [
        (PIXEL_DATA, "OB"), (ITEM, "OB"), (ITEM, "OB"), (SEQUENCE_END, ""), (MODALITY, "CS"),
    ]  # fmt: skip


def test_the_file_may_end_after_a_whole_fragment_of_pixel_data() -> None:
    def pixels(tag: int = PIXEL_DATA) -> bytes:
        return el(tag, "OB", el(ITEM, "") + el(ITEM, "", b"\xff\xd8"), UNDEFINED)

    data = CT + pixels()
    end = len(data)
    assert tokens(data)[-1] == (SEQUENCE_END, "", end, end, 0)
    assert offset_behind(source(data), PIXEL_DATA, "OB", 22, end, EXPLICIT) == end
    assert offset_behind(source(data + el(SEQUENCE_END, "") + CT), PIXEL_DATA, "OB", 22, end + 18, EXPLICIT) == end + 8
    for cut in range(1, 8):
        with pytest.raises(Corrupt, match="cut off"):
            tokens((data + el(SEQUENCE_END, ""))[:-cut])
    for other in (pixels(PRIVATE), el(REFERENCED, "SQ", el(ITEM, "", pixels()))):
        with pytest.raises(Corrupt, match="cut off"):
            tokens(CT + other)
    with pytest.raises(Corrupt, match="cut off"):
        offset_behind(source(data), PRIVATE, "OB", 22, end, EXPLICIT)
    with pytest.raises(Corrupt, match="cut off"):
        offset_behind(source(data + CT), PIXEL_DATA, "OB", 22, end, EXPLICIT)


@pytest.mark.parametrize("tag", [PIXEL_DATA, 0x7FE00008, 0x7FE00009])
def test_a_level_ends_with_pixel_data(tag: int) -> None:
    data = CT + el(tag, "OW", b"1234") + el(0xFFFCFFFC, "OB", b"\0\0")
    assert [element[0] for element in level(source(data), 0, len(data), EXPLICIT)] == [MODALITY, tag]


def test_pixel_data_may_run_past_the_end() -> None:
    data = CT + el(PIXEL_DATA, "OW", b"1234", 100)
    assert list(level(source(data), 0, len(data), EXPLICIT))[1] == (PIXEL_DATA, "OW", 10, 22, 100, 122)
    data = CT + el(PIXEL_DATA, "OB", b"", UNDEFINED)
    assert list(level(source(data), 0, len(data), EXPLICIT))[1][5] == -1


def test_item_lengths_that_look_like_a_vr() -> None:
    length = int.from_bytes(b"OB\0\0", "little")
    data = el(REFERENCED, "SQ", el(ITEM, "", el(0x00420011, "OB", bytes(length - 12))), UNDEFINED) + el(
        SEQUENCE_END, ""
    )
    assert tags(data) == [REFERENCED, ITEM, 0x00420011, ITEM_END, SEQUENCE_END]


@pytest.mark.parametrize("vr", [b"  ", b"??", b"cs", b"C\0", b"\0\0", b"\2\x80"])
def test_what_is_no_vr_stands_before_a_16_bit_length(vr: bytes) -> None:
    for order, encoding in (("<", EXPLICIT), (">", BIG)):
        without = el(MODALITY, "CS", b"CT", order=order).replace(b"CS", vr)
        behind = el(MODALITY, "CS", b"CT", order=order)
        for data in (without + behind, without + bytes(5), without):
            assert tokens(data, encoding)[0] == (MODALITY, MISSING, 0, 8, 2)
            assert next(level(source(data), 0, len(data), encoding)) == (MODALITY, MISSING, 0, 8, 2, 10)


def test_implicit_elements_among_explicit_ones() -> None:
    item = el(ITEM, "", el(0x00081155, "", b"1.2"))
    data = el(MODALITY, "", b"CT") + el(REFERENCED, "", item) + el(0x00091001, "", b"abcd") + CT
    assert tokens(data) == [
        (MODALITY, MISSING, 0, 8, 2), (REFERENCED, "SQ", 10, 18, 19), (ITEM, "", 18, 26, 11),
        (0x00081155, MISSING, 26, 34, 3), (ITEM_END, "", 37, 37, 0), (SEQUENCE_END, "", 37, 37, 0),
        (0x00091001, MISSING, 37, 45, 4), (MODALITY, "CS", 49, 57, 2),
    ]  # fmt: skip
    assert [each[1] for each in level(source(data), 0, len(data), EXPLICIT)] == [MISSING, "SQ", MISSING, "CS"]
    pixels = el(0x7FE00010, "", bytes(100_000)) + CT
    assert next(level(source(pixels), 0, len(pixels), EXPLICIT)) == (0x7FE00010, MISSING, 0, 8, 100_000, 100_008)


def test_a_length_of_16_bits_goes_before_one_that_reaches_into_pixels() -> None:
    """NULs for the VR and a length of 4, read as one of 32 bits, are 262,144: an element may seem to follow there."""
    data = el(0x00100020, "LO", b"ID42").replace(b"LO", b"\0\0")
    data += el(0x00091001, "OB", bytes(262_144 - len(data) - 4) + CT * 100)
    assert next(level(source(data), 0, len(data), EXPLICIT)) == (0x00100020, MISSING, 0, 8, 4, 12)


@pytest.mark.parametrize("inner", [el(0x00081155, "UI", b"1.2\0"), el(0x00081155, "", b"1.2\0"), el(0x00081155, "UI")])
def test_items_in_un_are_implicit_unless_they_are_not(inner: bytes) -> None:
    items = el(ITEM, "", inner, UNDEFINED) + el(ITEM_END, "")
    data = el(REFERENCED, "UN", items, UNDEFINED) + el(SEQUENCE_END, "")
    if inner[4:] == b"UI\0\0":  # it looks like an implicit one of 18,773 bytes
        with pytest.raises(Corrupt):
            tokens(data)
        return
    assert [token[:2] for token in tokens(data)][2] == (0x00081155, "UI")


@pytest.mark.parametrize(
    "behind", [bytes(1), bytes(6), bytes(8), bytes(200_000), el(ITEM_END, ""), el(ITEM_END, "", bytes(8))]
)
@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
def test_what_holds_nothing_behind_the_last_element_is_passed_over(behind: bytes, encoding: Encoding) -> None:
    order = encoding.order
    data = el(MODALITY, "CS" if encoding.explicit else "", b"CT", order=order)
    if behind[:1] == b"\xfe" and order == ">":
        behind = el(ITEM_END, "", order=">")
    end = len(data)
    data += behind
    assert [token[0] for token in tokens(data, encoding)] == [MODALITY]
    assert [each[0] for each in level(source(data), 0, len(data), encoding)] == [MODALITY]
    item = el(REFERENCED, "SQ" if encoding.explicit else "", el(ITEM, "", data, order=order), order=order)
    if len(behind) < 60_000:
        assert [token[0] for token in tokens(item, encoding)] == [REFERENCED, ITEM, MODALITY, ITEM_END, SEQUENCE_END]
    with pytest.raises(Corrupt):
        tokens(data[:end] + bytes(8) + b"\1", encoding)


def test_nuls_are_looked_at_once_and_not_without_end() -> None:
    most = elements.MAX_BLANK_BYTES
    assert list(level(source(bytes(most)), 0, most, EXPLICIT)) == []
    with pytest.raises(Corrupt, match="no VR"):
        list(level(source(bytes(most + 20)), 0, most + 20, EXPLICIT))
    reads: list[int] = []
    data = bytes(400_000) + el(MODALITY, "")

    def read_at(offset: int, length: int) -> bytes:
        reads.append(length)
        return data[offset : offset + length]

    found = list(level(ByteSource(read_at, len(data)), 0, len(data), IMPLICIT))  # each eight of them are an element
    assert len(found) == 50_001
    assert sum(reads) < 4 * len(data)


def test_delimiters_too_many() -> None:
    found = [REFERENCED, ITEM, MODALITY, ITEM_END, SEQUENCE_END, MODALITY]
    for sequence in (
        el(REFERENCED, "SQ", el(ITEM, "", CT + el(ITEM_END, ""))),
        el(REFERENCED, "SQ", el(ITEM, "", CT) + el(ITEM_END, "")),
        el(REFERENCED, "SQ", el(ITEM, "", CT) + el(SEQUENCE_END, "")),
        el(REFERENCED, "SQ", el(ITEM, "", CT, UNDEFINED)),
        el(REFERENCED, "SQ", el(ITEM, "", CT) + el(ITEM_END, ""), UNDEFINED) + el(SEQUENCE_END, ""),
    ):
        assert tags(sequence + CT) == found


@pytest.mark.parametrize("how", [(0, False), (1, True), (2, True), (5, True)])
def test_a_dataset_may_be_implicit_throughout(how: tuple[int, bool]) -> None:
    count, is_so = how
    data = el(MODALITY, "", b"CT") * count + (CT if count < 2 and not is_so else b"")
    assert implicit_throughout(source(data), 0, len(data)) is is_so
    assert not implicit_throughout(source(data + CT), 0, len(data + CT)) or count > 1


def test_vrs_to_come_have_long_lengths() -> None:
    assert tokens(el(MODALITY, "ZZ", b"CT")) == [(MODALITY, "ZZ", 0, 12, 2)]


BAD = {
    "no VR, and rubbish behind": el(MODALITY, "CS", b"CT").replace(b"CS", b"\x02\0") + b"rubbish!",
    "no VR, and no length that fits": el(MODALITY, "CS", b"CT", 3).replace(b"CS", b"cs"),
    "cut off in a tag": CT + CT[:3],
    "cut off in a header": CT + CT[:7],
    "cut off in a long header": CT + el(0x00420011, "OB")[:10],
    "cut off in a value": CT + CT[:9],
    "value longer than the dataset": el(0x00420011, "OB", b"", 0xFFFFFFFE),
    "undefined length of a text": el(0x00080005, "UT", b"", UNDEFINED),
    "no sequence delimiter": el(REFERENCED, "SQ", b"", UNDEFINED),
    "no item delimiter": el(REFERENCED, "SQ", el(ITEM, "", CT, UNDEFINED), UNDEFINED),
    "sequence delimiter in an item": el(REFERENCED, "SQ", el(ITEM, "", el(SEQUENCE_END, ""), UNDEFINED), UNDEFINED),
    "element between items": el(REFERENCED, "SQ", CT, UNDEFINED) + el(SEQUENCE_END, ""),
    "stray item": el(ITEM, "", CT),
    "stray item of undefined length": el(ITEM, "", CT, UNDEFINED),
    "stray item delimiter": CT + el(ITEM_END, "") + CT,
    "stray sequence delimiter": CT + el(SEQUENCE_END, ""),
    "fragment of undefined length": el(REFERENCED, "OB", el(ITEM, "", b"", UNDEFINED), UNDEFINED),
    "fragment longer than the dataset": el(REFERENCED, "OB", el(ITEM, "", b"", 100), UNDEFINED),
    "item longer than the dataset": el(REFERENCED, "SQ", el(ITEM, "", CT, 11), UNDEFINED) + el(SEQUENCE_END, "")[:2],
    "blanks behind": CT + b" ",
    "zeros and more behind": CT + bytes(12) + b"\1",
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_what_does_not_parse_is_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        tokens(data)
    with pytest.raises(Corrupt):
        list(level(source(data), 0, len(data), EXPLICIT))


@pytest.mark.parametrize(
    "data",
    [
        el(REFERENCED, "SQ", el(ITEM, "", CT, 9)),
        el(REFERENCED, "SQ", el(ITEM, "", CT, 11)),
        el(REFERENCED, "SQ", el(ITEM, "", CT[:6])),
        el(REFERENCED, "SQ", CT),
        el(REFERENCED, "SQ", el(ITEM, "", CT + el(ITEM_END, "") + CT)),
    ],
)
def test_defined_lengths_that_lie_are_found_when_entered(data: bytes) -> None:
    assert tags(data, deep=False) == [REFERENCED]
    with pytest.raises(Corrupt):
        tokens(data)


def nested(depth: int) -> bytes:
    opening = el(REFERENCED, "SQ", el(ITEM, "", b"", UNDEFINED), UNDEFINED)
    return opening * depth + CT + (el(ITEM_END, "") + el(SEQUENCE_END, "")) * depth


def test_depth_is_bounded() -> None:
    assert len(tokens(nested(64))) == 64 * 4 + 1
    for data in (nested(65), nested(100_000)):
        with pytest.raises(Corrupt, match="deeper than 64"):
            tokens(data)
        with pytest.raises(Corrupt, match="deeper than 64"):
            list(level(source(data), 0, len(data), EXPLICIT))


def test_the_number_of_elements_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "MAX_ELEMENTS", 100)
    monkeypatch.setattr(elements, "MAX_LEVEL_ELEMENTS", 10)
    assert len(tokens(CT * 99)) == 99
    with pytest.raises(Corrupt, match="more than 100 elements"):
        tokens(CT * 101)
    assert len(list(level(source(CT * 9), 0, 90, EXPLICIT))) == 9
    with pytest.raises(Corrupt, match="more than 10 elements"):
        list(level(source(CT * 11), 0, 110, EXPLICIT))
    data = el(REFERENCED, "SQ", el(ITEM, "", CT * 101, UNDEFINED), UNDEFINED)
    with pytest.raises(Corrupt, match="more than 100 elements"):
        list(level(source(data), 0, len(data), EXPLICIT))


def test_elements_across_windows_are_found_and_large_values_are_not_read() -> None:
    """Elements across the borders of windows and behind large values are found, and large values are not read."""
    small = b"".join(el(0x00091000 + n % 256, "LO", b"x" * (n % 50)) for n in range(5000))
    large = el(0x00420011, "OB", bytes(3_000_000))
    data = small + large + small + large + CT
    reads: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        reads.append(length)
        return data[offset : offset + length]

    for first in (b"", data[:65536]):
        window = ByteSource(read_at, len(data), first)
        found = list(level(window, 0, len(data), EXPLICIT))
        assert len(found) == 10003
        assert found[-1] == (MODALITY, "CS", len(data) - 10, len(data) - 2, 2, len(data))
        assert [element[:5] for element in found] == [token[:5] for token in walk(window, 0, len(data), EXPLICIT)]
        assert window.take(found[-1][3], 2) == b"CT"
        assert window.take(0, 10) == data[:10]
        assert window.take(len(data) - 1, 100) == b"T"
    assert max(reads) <= 65536
    assert sum(reads) < 6 * len(small) * 2


def test_a_source_that_is_shorter_than_it_says() -> None:
    data = CT * 3
    with pytest.raises(Corrupt, match="the source ends at byte 30"):
        list(level(ByteSource(lambda offset, length: data[offset : offset + length], 1000), 0, 1000, EXPLICIT))


def test_a_tag_is_named_as_the_standard_writes_it() -> None:
    assert tag_name(0x0008103E) == "(0008,103E)"
