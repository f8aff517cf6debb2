"""The rewrite of datasets: every file of the pydicom wheel to both little endian encodings, read back by pydicom."""

import struct
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset as Peer

from leyden.dicom import edit, elements
from leyden.dicom.edit import Copy, Pixels, element, element_header, rewrite, swapped
from leyden.dicom.elements import SEQUENCE_END, UNDEFINED, WORD_BYTES, ByteSource, encoding_of, level
from leyden.dicom.header import Dataset, peek
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE, JPEG2000_LOSSLESS, SYNTAXES, Syntax
from leyden.errors import Corrupt
from support.datasets import (
    BIG,
    FILES,
    FOLDER,
    IMPLICIT,
    ITEM,
    ITEM_END,
    LITTLE,
    PIXELS,
    as_file,
    dataset_of,
    el,
    leaves,
    made,
    pieces,
    whole,
)

targets = pytest.mark.parametrize("target", [LITTLE, IMPLICIT], ids=["explicit", "implicit"])


@pytest.mark.parametrize(
    ("path", "target"),
    # Encapsulated pixel data are explicit: nothing to convert as a whole.
    [
        (path, target)
        for path in FILES
        for target in (LITTLE, IMPLICIT)
        if target is LITTLE or not dataset_of(path)[1].encapsulated
    ],
    ids=lambda value: str(value.relative_to(FOLDER)) if isinstance(value, Path) else value.name,
)
def test_values_stay_byte_for_byte(path: Path, target: Syntax) -> None:
    data, syntax = dataset_of(path)
    done = made(data, syntax, target)
    same = target.explicit == syntax.explicit
    if same and not syntax.big_endian:
        assert done == without_group_length(data, syntax)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        after = pydicom.dcmread(as_file(done, syntax.uid if syntax.encapsulated else target.uid))
        before = pydicom.dcmread(path)
        if not syntax.big_endian:
            group_7fe0 = {(0x7FE00000,)}
            expected = {key: value for key, value in leaves(before, same) if key not in group_7fe0}
            assert dict(leaves(after, same)) == expected
            return
        strip_group_lengths(before)
        strip_group_lengths(after)
        assert [e.tag for e in before.iterall()] == [e.tag for e in after.iterall()]
        for old, new in zip(before.iterall(), after.iterall(), strict=True):
            if old.VR in ("OW", "OB", "UN"):
                words = swapped(old.value, WORD_BYTES.get(old.VR, 1)) if old.value else old.value
                assert words == new.value, old
            elif old.VR != "SQ":
                assert old.value == new.value, old


def strip_group_lengths(ds: Peer) -> None:
    for item in ds:
        if item.VR == "SQ":
            for inner in item.value:
                strip_group_lengths(inner)
    for tag in [tag for tag in ds.keys() if tag.element == 0]:  # noqa: SIM118
        del ds[tag]


def without_group_length(data: bytes, syntax: Syntax) -> bytes:
    """The dataset as it is, less (7FE0,0000), which goes where pixel data may change."""
    source = ByteSource(lambda offset, length: data[offset : offset + length], len(data))
    found = [item for item in level(source, 0, len(data), encoding_of(syntax)) if item[0] == 0x7FE00000]
    return data[: found[0][2]] + data[found[0][5] :] if found else data


@pytest.mark.parametrize("name", ["MR_small.dcm", "rtdose.dcm", "test-SR.dcm", "waveform_ecg.dcm", "reportsi.dcm"])
def test_there_and_back(name: str) -> None:
    """The first way round may drop group lengths and open sequences, the second one changes nothing any more."""
    data, syntax = dataset_of(Path(str(get_testdata_file(name))))
    explicit = made(data, syntax, LITTLE)
    implicit = made(explicit, LITTLE, IMPLICIT)
    explicit = made(implicit, IMPLICIT, LITTLE)
    assert made(explicit, LITTLE, IMPLICIT) == implicit
    assert made(implicit, IMPLICIT, IMPLICIT) == implicit


@pytest.mark.parametrize(
    ("name", "reason"),
    [("MR_truncated.dcm", "pixel data are cut off"), ("rtplan_truncated.dcm", r"\(300A,00B0\) runs past the end")],
)
@targets
def test_what_is_cut_off_is_corrupt_before_the_first_piece(name: str, reason: str, target: Syntax) -> None:
    path = Path(str(get_testdata_file(name)))
    data, syntax = dataset_of(path)
    content = path.read_bytes()
    peeked = peek(lambda offset, length: content[offset : offset + length], len(content)).dataset
    for dataset in (whole(data, syntax), peeked):
        with pytest.raises(Corrupt, match=reason):
            next(rewrite(dataset, target, {}))


def test_lengths_that_lie_are_corrupt_only_where_they_are_read() -> None:
    data, syntax = dataset_of(FOLDER / "test_files" / "dicomdirtests" / "DICOMDIR-nooffset")
    assert made(data, syntax, LITTLE) == data
    with pytest.raises(Corrupt, match="runs past the end"):
        made(data, syntax, IMPLICIT)


# Datasets written by hand


def test_no_elements() -> None:
    for syntax in (LITTLE, IMPLICIT, BIG):
        for target in (LITTLE, IMPLICIT, BIG):
            assert pieces(b"", syntax, target, {}) == []
    assert pieces(b"", BIG, LITTLE, {0x00080060: ("CS", b"CT")}) == [el(0x00080060, "CS", b"CT")]


def test_what_stays_is_one_copy() -> None:
    data = el(0x00081030, "LO", b"x" * 60) * 200
    tail = el(0xFFFCFFFC, "OB", bytes(2000))
    assert pieces(data + tail, LITTLE, LITTLE, {}) == [Copy(0, len(data) + len(tail))]
    image = data + el(PIXELS, "OW", bytes(100)) + tail
    start = len(data) + 12
    assert pieces(image, LITTLE, LITTLE, {}) == [
        Copy(0, len(data)),
        Pixels(PIXELS, "OW", start, 100),
        Copy(start + 100, len(tail)),
    ]


def test_encapsulated_pixels_and_what_stands_behind() -> None:
    fragments = el(ITEM, "") + el(ITEM, "", b"\xff\x4f\xff\x51") + el(SEQUENCE_END, "")
    before, behind_it = el(0x00280010, "US", b"\2\0"), el(0xFFFCFFFC, "OB", bytes(6))
    data = before + el(PIXELS, "OB", fragments, UNDEFINED) + behind_it
    expected = [before, Pixels(PIXELS, "OB", len(before) + 12, None), behind_it]
    assert pieces(data, SYNTAXES[JPEG2000_LOSSLESS], LITTLE, {}) == expected
    as_implicit = pieces(data, SYNTAXES[JPEG2000_LOSSLESS], IMPLICIT, {})
    assert as_implicit == [
        el(0x00280010, "", b"\2\0"),
        Pixels(PIXELS, "OB", len(before) + 12, None),
        el(0xFFFCFFFC, "", bytes(6)),
    ]


@targets
def test_pixel_data_stand_once(target: Syntax) -> None:
    data = el(PIXELS, "OW", b"1234")
    with pytest.raises(Corrupt, match="occurs twice"):
        pieces(data + data, LITTLE, target, {})
    with pytest.raises(Corrupt, match="runs past the end"):
        pieces(data + data[:-1], LITTLE, target, {})


@pytest.mark.parametrize("target", [LITTLE, IMPLICIT, BIG], ids=lambda syntax: syntax.name)
def test_fragments_without_a_delimiter_may_end_the_file(target: Syntax) -> None:
    data = el(0x00280010, "US", b"\2\0") + el(PIXELS, "OB", el(ITEM, "") + el(ITEM, "", b"\xff\x4f"), UNDEFINED)
    assert pieces(data, SYNTAXES[JPEG2000_LOSSLESS], target, {})[1:] == [Pixels(PIXELS, "OB", 22, None)]


def test_cut_off_fragments_are_corrupt_behind_the_pixels() -> None:
    data = el(PIXELS, "OB", el(ITEM, "") + el(ITEM, "", b"", 1000), UNDEFINED)
    stream = rewrite(whole(data, SYNTAXES[JPEG2000_LOSSLESS]), SYNTAXES[JPEG2000_LOSSLESS], {})
    assert next(stream) == Pixels(PIXELS, "OB", 12, None)
    with pytest.raises(Corrupt):
        next(stream)


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_get_undefined_lengths_where_sizes_change(defined: bool) -> None:
    def nest(vr: str, content: bytes, defined: bool) -> bytes:
        if defined:
            return el(0x00081140, vr, el(ITEM, "", content))
        item = el(ITEM, "", content, UNDEFINED) + el(ITEM_END, "")
        return el(0x00081140, vr, item, UNDEFINED) + el(SEQUENCE_END, "")

    data = nest("", nest("", el(0x00081155, "", b"1.2\0"), defined), defined) + el(0x00081199, "")
    explicit = nest("SQ", nest("SQ", el(0x00081155, "UI", b"1.2\0"), False), False) + el(0x00081199, "SQ")
    assert made(data, IMPLICIT, LITTLE) == explicit


def test_private_and_unknown_elements() -> None:
    implicit = (
        el(0x00090010, "", b"ME") + el(0x00091001, "", b"abc ") + el(0x00091002, "", b"x" * 70_000)
        + el(0x00080099, "", b"?1")
        + el(0x00091003, "", el(ITEM, "", el(0x00091004, "", b"in")), UNDEFINED) + el(SEQUENCE_END, "")
    )  # fmt: skip
    item = el(ITEM, "", el(0x00091004, "UN", b"in"), UNDEFINED) + el(ITEM_END, "")
    explicit = (
        el(0x00090010, "LO", b"ME") + el(0x00091001, "UN", b"abc ") + el(0x00091002, "UN", b"x" * 70_000)
        + el(0x00080099, "UN", b"?1") + el(0x00091003, "SQ", item, UNDEFINED) + el(SEQUENCE_END, "")
    )  # fmt: skip
    assert made(implicit, IMPLICIT, LITTLE) == explicit
    assert made(explicit, LITTLE, IMPLICIT) == (
        implicit[: -len(el(0x00091004, "", b"in")) - 24]
        + el(0x00091003, "", el(ITEM, "", el(0x00091004, "", b"in"), UNDEFINED) + el(ITEM_END, ""), UNDEFINED)
        + el(SEQUENCE_END, "")
    )


def test_un_of_undefined_length_is_kept_as_a_whole() -> None:
    item = el(ITEM, "", el(0x00080060, "", b"CT") + el(0x00081140, "", el(ITEM, "")), UNDEFINED) + el(ITEM_END, "")
    content = item + el(SEQUENCE_END, "")
    behind_it = el(0x00100020, "LO", b"1 ")
    explicit = el(0x00091001, "UN", content, UNDEFINED) + behind_it
    implicit = el(0x00091001, "", content, UNDEFINED) + el(0x00100020, "", b"1 ")
    big = el(0x00091001, "UN", content, UNDEFINED, ">") + el(0x00100020, "LO", b"1 ", order=">")
    assert len(content) < len(explicit)
    assert made(explicit, LITTLE, IMPLICIT) == implicit
    assert made(big, BIG, LITTLE) == explicit.replace(struct.pack("<L", len(explicit)), b"")
    assert made(big, BIG, IMPLICIT) == implicit


def test_a_value_too_long_for_its_vr_becomes_un() -> None:
    value = b"1\\" * 40_000
    assert made(el(0x30060050, "", value), IMPLICIT, LITTLE) == el(0x30060050, "UN", value)
    assert made(el(0x30060050, "", value[:65534]), IMPLICIT, LITTLE) == el(0x30060050, "DS", value[:65534])
    assert made(el(0x00081190, "", value), IMPLICIT, LITTLE) == el(0x00081190, "UR", value)


def vrs(data: bytes) -> dict[int, str]:
    """The VR of each element, at any depth, after the way from implicit to explicit."""
    found = pydicom.dcmread(as_file(made(data, IMPLICIT, LITTLE), EXPLICIT_LE))
    return {int(item.tag): str(item.VR) for item in found.iterall()}


@pytest.mark.parametrize(("representation", "vr"), [(b"\0\0", "US"), (b"\1\0", "SS"), (None, "US")])
def test_ambiguous_by_pixel_representation(representation: bytes | None, vr: str) -> None:
    lut = el(0x00283002, "", b"\0\1\0\0\x10\0") + el(0x00283006, "", b"12" * 256)
    data = (
        el(0x00189810, "", b"\0\0") + el(0x00221436, "", el(ITEM, "", el(0x00221452, "", b"\0\0")))
        + (el(0x00280103, "", representation) if representation else b"")
        + el(0x00280106, "", b"\0\0") + el(0x00280120, "", b"\0\0") + el(0x00281101, "", bytes(6))
        + el(0x00283000, "", el(ITEM, "", lut)) + el(0x00409096, "", el(ITEM, "", el(0x00409216, "", b"\0\0")))
    )  # fmt: skip
    found = vrs(data)
    for tag in (0x00189810, 0x00221452, 0x00280106, 0x00280120, 0x00281101, 0x00283002, 0x00409216):
        assert found[tag] == vr, hex(tag)
    assert found[0x00283006] == "OW"


def test_ambiguous_inside_an_item_that_says_otherwise() -> None:
    inner = el(0x00280103, "", b"\1\0") + el(0x00280106, "", b"\0\0")
    for item in (el(ITEM, "", inner), el(ITEM, "", inner, UNDEFINED) + el(ITEM_END, "")):
        data = el(0x00280103, "", b"\0\0") + el(0x52009230, "", item)
        assert vrs(data)[0x00280106] == "SS"


def test_ambiguous_of_one_lut_entry() -> None:
    data = el(0x00283002, "", b"\1\0\0\0\x10\0") + el(0x00283006, "", b"12")
    assert vrs(data)[0x00283006] == "US"


@pytest.mark.parametrize(("bits", "vr"), [(1, "OB"), (8, "OB"), (16, "OW"), (32, "OW"), (None, "OW")])
def test_pixel_data_by_bits_allocated(bits: int | None, vr: str) -> None:
    allocated = el(0x00280100, "", struct.pack("<H", bits)) if bits else b""
    icon = el(0x00880200, "", el(ITEM, "", el(0x00280100, "", b"\x08\0") + el(PIXELS, "", b"12")))
    made_of = pieces(allocated + icon + el(PIXELS, "", b"1234"), IMPLICIT, LITTLE, {})
    pixels = made_of[-1]
    assert isinstance(pixels, Pixels)
    assert pixels.vr == vr
    assert isinstance(made_of[0], bytes)
    assert el(PIXELS, "OB", b"12") in made_of[0]


def test_overlays_and_curves_are_ow() -> None:
    data = el(0x50003000, "", b"1234") + el(0x60003000, "", b"1234") + el(0x60023000, "", b"1234")
    assert set(vrs(data).values()) == {"OW"}


@pytest.mark.parametrize(("bits", "vr"), [(8, "OB"), (16, "OW"), (32, "OW"), (64, "OW")])
def test_waveforms_by_waveform_bits_allocated(bits: int, vr: str) -> None:
    """The channels' minimum stands before the bits that decide about it (PS3.5 section 8.3)."""
    channel = el(0x003A0200, "", el(ITEM, "", el(0x54000110, "", b"\0\0")))
    waveform = (
        channel + el(0x54001004, "", struct.pack("<H", bits)) + el(0x5400100A, "", b"12") + el(0x54001010, "", b"12")
    )
    undefined = el(ITEM, "", waveform, UNDEFINED) + el(ITEM_END, "")
    for item in (el(ITEM, "", waveform), undefined):
        found = vrs(el(0x54000100, "", item))
        assert {found[tag] for tag in (0x54000110, 0x5400100A, 0x54001010)} == {vr}


def test_float_pixel_data_are_elements() -> None:
    data = el(0x7FE00009, "OD", bytes(2000)) + el(0xFFFCFFFC, "OB", bytes(6))
    assert pieces(data, LITTLE, LITTLE, {}) == [Copy(0, len(data))]
    assert pieces(data, LITTLE, IMPLICIT, {})[1] == Copy(12, 2000)


def test_encapsulated_icon_goes_along() -> None:
    icon = el(PIXELS, "OB", el(ITEM, "") + el(ITEM, "", b"\xff\xd8") + el(SEQUENCE_END, ""), UNDEFINED)
    data = el(0x00880200, "SQ", el(ITEM, "", icon))
    assert made(data, SYNTAXES[JPEG2000_LOSSLESS], LITTLE) == data
    assert icon[12:] in made(data, SYNTAXES[JPEG2000_LOSSLESS], IMPLICIT)


def test_a_missing_vr_is_put_in() -> None:
    odd = el(0x00080060, "??", b"CT") + el(0x00281052, "", b"-1") + el(0x00280106, "", b"\2\1")
    explicit = el(0x00080060, "CS", b"CT") + el(0x00281052, "DS", b"-1") + el(0x00280106, "US", b"\2\1")
    assert made(odd, LITTLE, LITTLE) == explicit
    assert made(odd, LITTLE, IMPLICIT) == explicit.replace(b"CS\2\0", b"\2\0\0\0").replace(
        b"DS\2\0", b"\2\0\0\0"
    ).replace(b"US\2\0", b"\2\0\0\0")
    assert made(odd, LITTLE, BIG) == made(explicit, LITTLE, BIG)
    private = el(0x00090000, "UL", b"\4\0\0\0") + el(0x00091001, "", b"abcd") + el(0x00110000, "UL", b"\4\0\0\0")
    assert made(private, LITTLE, LITTLE) == el(0x00091001, "UN", b"abcd") + el(0x00110000, "UL", b"\4\0\0\0")
    pixels = el(0x00280100, "US", b"\x08\0") + el(PIXELS, "", bytes(6))
    assert made(pixels, LITTLE, LITTLE) == el(0x00280100, "US", b"\x08\0") + el(PIXELS, "OB", bytes(6))


def test_an_implicit_sequence_becomes_an_explicit_one() -> None:
    inner, nested = el(0x00081155, "", b"1.2\0"), el(0x00081155, "UI", b"1.2\0")
    data = el(0x00080060, "CS", b"CT") + el(0x00081140, "", el(ITEM, "", inner)) + el(0x00100020, "LO", b"ID")
    item = el(ITEM, "", nested, UNDEFINED) + el(ITEM_END, "")
    sequence = el(0x00081140, "SQ", item, UNDEFINED) + el(SEQUENCE_END, "")
    assert made(data, LITTLE, LITTLE) == el(0x00080060, "CS", b"CT") + sequence + el(0x00100020, "LO", b"ID")


@pytest.mark.parametrize("target", [LITTLE, IMPLICIT, BIG], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("tail", [bytes(3), bytes(12), el(ITEM_END, "")])
@pytest.mark.parametrize("pixels", [True, False])
def test_what_holds_nothing_is_left_out(tail: bytes, pixels: bool, target: Syntax) -> None:
    data = el(0x00080060, "CS", b"CT") + (
        el(PIXELS, "OW", bytes(4)) + el(0xFFFCFFFC, "OB", bytes(2)) if pixels else b""
    )
    assert made(data + tail, LITTLE, target) == made(data, LITTLE, target)
    nuls = bytes(8)
    assert made(nuls + data, LITTLE, target) == made(data, LITTLE, target)


def test_a_sequence_that_does_not_parse_becomes_un() -> None:
    icon = el(ITEM, "", el(0x00280010, "", b"\x08\0") + el(PIXELS, "", bytes(64))[:-30])
    behind, behind_implicit = el(0x00100020, "LO", b"ID"), el(0x00100020, "", b"ID")
    data = el(0x00080060, "", b"CT") + el(0x00880200, "", icon) + behind_implicit
    expected = el(0x00080060, "CS", b"CT") + el(0x00880200, "UN", icon) + behind
    assert made(data, IMPLICIT, LITTLE) == expected
    assert made(expected, LITTLE, IMPLICIT) == data
    assert made(data, IMPLICIT, BIG)[10:] == el(0x00880200, "UN", icon, order=">")[:12] + icon + el(
        0x00100020, "LO", b"ID", order=">"
    )
    broken = el(0x00880200, "SQ", el(ITEM, "", el(0x00080060, "CS", b"CT", 9)))
    assert made(broken, LITTLE, LITTLE) == broken
    for target in (IMPLICIT, BIG):
        with pytest.raises(Corrupt, match="runs past the end"):
            made(broken, LITTLE, target)


def test_lengths_that_would_become_false_are_corrupt_in_the_other_byte_order() -> None:
    item = el(ITEM, "", el(0x00080060, "CS", b"CT") + el(ITEM_END, ""))
    with pytest.raises(Corrupt, match="belong to no element"):
        made(el(0x00081140, "SQ", item), LITTLE, BIG)
    with pytest.raises(Corrupt, match="has no VR"):
        made(el(0x00081140, "SQ", el(ITEM, "", el(0x00080060, "??", b"CT"))), LITTLE, BIG)


@pytest.mark.parametrize("target", [LITTLE, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
def test_memory_is_bounded(target: Syntax) -> None:
    """A gigabyte of values is planned without being read, and pieces of bytes stay small."""
    size = 1 << 30
    head = el(0x00420011, "OB", b"", size)
    small = el(0x00420012, "LO", b"x" * 60) * 20_000
    total = len(head) + size + len(small)
    reads: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        reads.append(length)
        if offset < len(head):
            return (head + bytes(length))[offset : offset + length]
        place = offset - len(head) - size
        assert place >= 0
        return small[place : place + length]

    dataset = Dataset(ByteSource(read_at, total), 0, total, elements.EXPLICIT)
    stream = list(rewrite(dataset, target, {0x00080060: ("CS", b"OT")}))
    assert max(reads) <= 65536
    assert sum(reads) < 10_000_000
    assert max(len(piece) for piece in stream if isinstance(piece, bytes)) < 70_000
    assert sum(piece.length for piece in stream if isinstance(piece, Copy)) >= size


def test_elements_one_by_one() -> None:
    assert element(0x00080018, "UI", b"1.2", elements.EXPLICIT) == el(0x00080018, "UI", b"1.2\0")
    assert element(0x00080060, "CS", b"CT ", elements.IMPLICIT) == el(0x00080060, "", b"CT  ")
    assert element(0x00280010, "US", b"\1\2", elements.BIG) == el(0x00280010, "US", b"\2\1", order=">")
    assert element(0x00091001, "US", b"\1\2" * 40_000, elements.BIG) == (
        el(0x00091001, "UN", b"\1\2" * 40_000, order=">")  # what is in UN is little endian
    )
    assert element_header(PIXELS, "OB", UNDEFINED, elements.EXPLICIT) == el(PIXELS, "OB", b"", UNDEFINED)
    assert element_header(ITEM, "", 5, elements.EXPLICIT) == el(ITEM, "", b"", 5)
    assert element_header(ITEM, "", 5, elements.BIG) == el(ITEM, "", b"", 5, ">")
    assert element_header(0x00091001, "ZZ", 5, elements.EXPLICIT) == struct.pack("<HH2sHL", 9, 0x1001, b"ZZ", 0, 5)
    assert element_header(0x00091001, "ZZ", 5, elements.BIG) == struct.pack(">HH2sHL", 9, 0x1001, b"ZZ", 0, 5)


def test_the_bytes_of_each_word_are_swapped_and_a_rest_stays() -> None:
    assert swapped(b"12345678", 2) == b"21436587"
    assert swapped(b"12345678", 4) == b"43218765"
    assert swapped(b"12345678", 8) == b"87654321"
    assert swapped(b"12345", 2) == b"21435"
    assert swapped(b"", 4) == b""
    assert swapped(b"123", 1) == b"123"


def test_a_source_that_shrinks_is_corrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edit, "_INLINE_BYTES", 100_000)
    data = el(0x00080060, "CS", b"CT") + el(0x00420011, "OB", bytes(90_000))

    def read_at(offset: int, length: int) -> bytes:
        return data[offset : min(offset + length, 70_000)]

    with pytest.raises(Corrupt, match="the source ends before"):
        list(rewrite(Dataset(ByteSource(read_at, len(data)), 0, len(data), elements.EXPLICIT), IMPLICIT, {}))


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, JPEG2000_LOSSLESS])
@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("native", [False, True])
def test_whether_nested_pixel_data_are_encapsulated(syntax: str, depth: int, native: bool) -> None:
    fragments = b"\xe0\x7f\x10\x00OB\0\0" + b"\xff" * 4 + b"\xfe\xff\0\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    image = element(0x7FE00010, "OB", b"12", elements.EXPLICIT) if native else fragments
    for _ in range(depth):
        item = struct.pack("<HHL", 0xFFFE, 0xE000, len(image)) + image
        image = struct.pack("<HH2sHL", 0x0088, 0x0200, b"SQ", 0, len(item)) + item
    data = encode_head(FileMeta("1.2", "1.3", syntax)) + element(0x00080060, "CS", b"MR", elements.EXPLICIT) + image
    header = peek(lambda at, length: data[at : at + length], len(data))
    assert edit.encapsulated_inside(header.dataset) == (depth > 0 and not native)
