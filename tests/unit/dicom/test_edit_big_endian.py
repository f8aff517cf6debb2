"""The rewrite from and to explicit VR big endian: DCMTK and pydicom take what is made for what it was."""

import shutil
import struct
import subprocess
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from leyden.dicom.edit import Copy
from leyden.dicom.elements import UNDEFINED, WORD_BYTES
from leyden.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, Syntax
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
    SEQUENCE_END,
    as_file,
    dataset_of,
    el,
    leaves,
    made,
    pieces,
)

NATIVE = [path for path in FILES if not dataset_of(path)[1].encapsulated]
# dcmconv takes its time, and the folders of the DICOMDIRs hold many images alike. The other one has 8-bit pixels in
# implicit VR, which DCMTK takes for OW: their bytes stand the other way round then.
FOR_DCMTK = [path for path in NATIVE if "dicomdirtests" not in path.parts and path.name != "SC_rgb_jpeg_dcmd.dcm"]


def path_name(path: Path) -> str:
    return str(path.relative_to(FOLDER))


def test_big_endian_becomes_what_little_endian_was() -> None:
    """pydicom has the same image in both orders: only lengths of groups and the pixels' VR may differ."""
    big, syntax = dataset_of(Path(str(get_testdata_file("MR_small_bigendian.dcm"))))
    little, _ = dataset_of(Path(str(get_testdata_file("MR_small.dcm"))))
    assert made(big, syntax, LITTLE)[:1000] == little[:1000]
    assert made(little, LITTLE, BIG)[:1000] == big[:1000]
    one = dict(leaves(pydicom.dcmread(as_file(made(big, syntax, LITTLE), EXPLICIT_LE)), False))
    two = dict(leaves(pydicom.dcmread(as_file(little, EXPLICIT_LE)), False))
    assert {key: value for key, value in one.items() if two.get(key) != value} == {}


@pytest.mark.parametrize("path", NATIVE, ids=path_name)
def test_there_and_back(path: Path) -> None:
    data, syntax = dataset_of(path)
    explicit = made(data, syntax, LITTLE)
    big = made(data, syntax, BIG)
    assert len(big) == len(explicit)
    assert made(big, BIG, LITTLE) == explicit
    assert made(big, BIG, BIG) == big
    assert made(big, BIG, IMPLICIT) == made(explicit, LITTLE, IMPLICIT)
    assert made(explicit, LITTLE, BIG) == big


@pytest.mark.parametrize("path", NATIVE, ids=path_name)
def test_pydicom_reads_the_same_values(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.config, "replace_un_with_known_vr", False)  # it forgets that they are little endian
    data, syntax = dataset_of(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        little = pydicom.dcmread(as_file(made(data, syntax, LITTLE), EXPLICIT_LE))
        big = pydicom.dcmread(as_file(made(data, syntax, BIG), EXPLICIT_BE))
        for old, new in zip(little.iterall(), big.iterall(), strict=True):
            assert (old.tag, old.VR) == (new.tag, new.VR)
            if old.VR not in ("SQ", "OW", "OF", "OD", "OL", "OV"):  # bytes to pydicom, in whatever order
                assert old.value == new.value, old


def dcmtk(content: bytes, path: Path) -> bytes:
    """The dataset in big endian as DCMTK makes it: lengths undefined, group lengths left out."""
    path.write_bytes(content)
    made_of_it = path.with_suffix(".big")
    subprocess.run(["dcmconv", "+tb", "--length-undefined", "--group-length-remove", path, made_of_it], check=True)
    return dataset_of(made_of_it)[0]


@pytest.mark.skipif(not shutil.which("dcmconv"), reason="no DCMTK")
@pytest.mark.parametrize("path", FOR_DCMTK, ids=path_name)
def test_dcmtk_makes_the_same_of_it(path: Path, tmp_path: Path) -> None:
    data, syntax = dataset_of(path)
    ours = as_file(made(data, syntax, BIG), EXPLICIT_BE).getvalue()
    expected = dcmtk(path.read_bytes(), tmp_path / "theirs")
    assert dcmtk(ours, tmp_path / "ours") == expected


@pytest.mark.parametrize("syntax", [LITTLE, BIG], ids=["explicit", "big endian"])
@pytest.mark.parametrize("target", [LITTLE, BIG], ids=["explicit", "big endian"])
def test_group_lengths_that_stay_true_stay(syntax: Syntax, target: Syntax) -> None:
    def write(syntax: Syntax, tag: int, vr: str, value: bytes) -> bytes:
        order = ">" if syntax.big_endian else "<"
        value = struct.pack(order + "L", 10) if vr == "UL" else value
        return el(tag, vr, value, order=order)

    eight = [(0x00080000, "UL", b""), (0x00080060, "CS", b"CT")]
    ten = [(0x00100000, "UL", b""), (0x00100020, "LO", b"1 ")]
    pixels = [(0x7FE00000, "UL", b""), (PIXELS, "OB", b"12")]
    data = b"".join(write(syntax, *one) for one in eight + ten + pixels)
    assert made(data, syntax, target, {0x00100020: ("LO", b"12345")}) == b"".join(
        write(target, *one) for one in [*eight, (0x00100020, "LO", b"12345 "), pixels[1]]
    )
    assert made(data, syntax, IMPLICIT) == b"".join(
        el(tag, "", value) for tag, _, value in (eight[1], ten[1], pixels[1])
    )
    floats = [(0x7FE00000, "UL", b""), (0x7FE00008, "OF", bytes(4))]
    data = b"".join(write(syntax, *one) for one in floats)
    assert made(data, syntax, target) == b"".join(write(target, *one) for one in floats)


@pytest.mark.parametrize("vr", [*sorted(WORD_BYTES), "OB", "UN", "LO", "UT"])
def test_words_by_vr(vr: str) -> None:
    """PS3.5 section 7.3; UN is little endian always (section 6.2.2)."""
    value = b"12345678abcdefgh"
    step = {"AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4, "FD": 8, "OD": 8, "OV": 8,
            "SV": 8, "UV": 8}.get(vr, 1)  # fmt: skip
    turned = b"".join(value[at : at + step][::-1] for at in range(0, len(value), step))
    little, big = el(0x00091001, vr, value), el(0x00091001, vr, turned, order=">")
    assert made(little, LITTLE, BIG) == big
    assert made(big, BIG, LITTLE) == little
    assert made(big, BIG, BIG) == big
    assert made(big, BIG, IMPLICIT) == el(0x00091001, "", value)
    assert made(b"", LITTLE, BIG, {0x00091001: (vr, value)}) == big


@pytest.mark.parametrize("size", [2000, 2001])
def test_large_values_are_copied_by_whole_words(size: int) -> None:
    data = el(0x00091001, "OW", bytes(range(250)) * 8 + b"x" * (size - 2000), order=">")
    rest = [b"x"] if size % 2 else []
    assert pieces(data, BIG, LITTLE, {}) == [el(0x00091001, "OW", b"", size), Copy(12, 2000, 2), *rest]
    assert pieces(data, BIG, BIG, {}) == [Copy(0, len(data))]


def test_lengths_stay() -> None:
    def nested(order: str, rows: bytes) -> bytes:
        content = el(0x00280010, "US", rows, order=order)
        items = el(ITEM, "", content, order=order) + el(ITEM, "", order=order)
        open_item = el(ITEM, "", content, UNDEFINED, order) + el(ITEM_END, "", order=order)
        end = el(SEQUENCE_END, "", order=order)
        return el(0x00081140, "SQ", items, order=order) + el(0x00081199, "SQ", open_item + end, UNDEFINED, order)

    assert made(nested(">", b"\1\2"), BIG, LITTLE) == nested("<", b"\2\1")
    assert made(nested("<", b"\2\1"), LITTLE, BIG) == nested(">", b"\1\2")


@pytest.mark.parametrize(("syntax", "target"), [(BIG, LITTLE), (BIG, IMPLICIT), (LITTLE, BIG), (IMPLICIT, BIG)])
def test_fragments_do_not_turn(syntax: Syntax, target: Syntax) -> None:
    order = ">" if syntax.big_endian else "<"
    vr = "OB" if syntax.explicit else ""
    icon = el(PIXELS, vr, el(ITEM, "", order=order) + el(SEQUENCE_END, "", order=order), UNDEFINED, order)
    sequence = el(0x00880200, vr and "SQ", el(ITEM, "", icon, order=order), order=order)
    with pytest.raises(Corrupt, match="is encapsulated, which big endian does not allow"):
        made(sequence, syntax, target)
    assert made(sequence, syntax, syntax) == sequence


def test_what_is_too_long_for_its_vr_is_little_endian() -> None:
    """80,000 bytes do not go into US: PS3.5 section 6.2.2 leaves UN."""
    value = bytes(range(250)) * 320
    known = el(0x00283002, "", value)  # US or SS
    assert made(known, IMPLICIT, BIG) == el(0x00283002, "UN", value, order=">")
    assert made(made(known, IMPLICIT, BIG), BIG, IMPLICIT) == known


def test_un_of_undefined_length_is_implicit_and_little_endian() -> None:
    item = el(ITEM, "", el(0x00280010, "", b"\2\1"), UNDEFINED) + el(ITEM_END, "")
    content = item + el(SEQUENCE_END, "")
    little, big = el(0x00091001, "UN", content, UNDEFINED), el(0x00091001, "UN", content, UNDEFINED, ">")
    assert made(little, LITTLE, BIG) == big
    assert made(big, BIG, LITTLE) == little


def test_a_missing_vr_does_not_keep_words_from_turning() -> None:
    for vr in ("  ", "??"):
        little, big = el(0x00280010, vr, b"\2\1"), el(0x00280010, vr, b"\1\2", order=">")
        assert made(little, LITTLE, BIG) == big.replace(vr.encode(), b"US")
        assert made(big, BIG, LITTLE) == little.replace(vr.encode(), b"US")
        assert made(big, BIG, IMPLICIT) == el(0x00280010, "", b"\2\1")
        smallest = el(0x00280103, "US", b"\1\0") + el(0x00280106, vr, b"\2\1")
        assert made(smallest, LITTLE, BIG)[-2:] == b"\1\2"
