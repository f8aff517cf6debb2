"""What lossy compression says of itself: read back by pydicom, judged by dciodvfy, from real images in any encoding."""

import lzma
import shutil
import subprocess
import uuid
from pathlib import Path

import pydicom
import pytest
from msgspec.structs import replace
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from leyden.dicom import derive, edit, uids
from leyden.dicom.edit import element_header
from leyden.dicom.elements import EXPLICIT, ITEM, PIXEL_DATA, SEQUENCE_END, UNDEFINED
from leyden.dicom.header import Header, peek
from leyden.dicom.part10 import encode_head
from leyden.dicom.uids import SYNTAXES, Syntax
from support.datasets import BIG, FOLDER, IMPLICIT, LITTLE, as_file, dataset_of, made
from support.headers import SECONDARY_CAPTURE, header_of
from support.objects import WG04

JPEG2000, JPEG = SYNTAXES[uids.JPEG2000], SYNTAXES[uids.JPEG_BASELINE]
LOSSY = sorted(uid for uid in uids.MADE - {uids.JPEGXL_JPEG} if SYNTAXES[uid].lossy)


def header_from(content: bytes) -> Header:
    return peek(lambda offset, length: content[offset : offset + length], len(content))


def compressed(content: bytes, target: Syntax = JPEG2000, photometric: str = "") -> bytes:
    """A file as the codec's work will leave it, its codestreams aside; the ratio is 10.53."""
    header = header_from(content)
    uid = derive.derived_uid(header.meta.sop_instance_uid, "PACS", target.uid, 10.0)
    changes = dict(derive.lossy(header, uid, target, 10.0))
    if photometric:
        changes[0x00280004] = ("CS", photometric.encode())
    done = encode_head(replace(header.meta, sop_instance_uid=uid, transfer_syntax_uid=target.uid))
    for piece in edit.rewrite(header.dataset, target, changes, derive.FRAME_TYPE):
        if isinstance(piece, bytes):
            done += piece
        elif isinstance(piece, edit.Copy):
            done += edit.swapped(content[piece.offset : piece.offset + piece.length], piece.swap)
        elif isinstance(piece, edit.Hole):
            done += derive.ratio(1_000_000, 95_000).ljust(piece.length_bytes)
        else:
            frames = int((header.texts(0x00280008) or ("1",))[0])
            fragment = element_header(ITEM, "", 4, EXPLICIT) + b"\xff\x4f\xff\xd9"
            done += element_header(PIXEL_DATA, "OB", UNDEFINED, EXPLICIT) + element_header(ITEM, "", 0, EXPLICIT)
            done += fragment * frames + element_header(SEQUENCE_END, "", 0, EXPLICIT)
    return done


def derived(
    dataset: Dataset, syntax: str = uids.EXPLICIT_LE, target: Syntax = JPEG2000, sop_class: str = SECONDARY_CAPTURE
) -> Dataset:
    """`dataset` made lossy, as pydicom reads it; the ratio is left blank."""
    header = header_of(dataset, syntax=syntax, sop_class=sop_class)
    changes = derive.lossy(header, "2.25.8", target, 10.0)
    done = b""
    for piece in edit.rewrite(header.dataset, target, changes, derive.FRAME_TYPE):
        assert not isinstance(piece, edit.Pixels | edit.Copy)
        done += piece if isinstance(piece, bytes) else b" " * piece.length_bytes
    return pydicom.dcmread(as_file(done, target.uid))


def test_the_same_work_has_the_same_uid() -> None:
    one = derive.derived_uid("1.2.3", "PACS", uids.JPEG2000, 10.0)
    assert one == derive.derived_uid("1.2.3", "PACS", uids.JPEG2000, 10)
    assert one == "2.25.140311274070516426421283584649895652042"
    others = {
        derive.derived_uid("1.2.4", "PACS", uids.JPEG2000, 10.0),
        derive.derived_uid("1.2.3", "PACS2", uids.JPEG2000, 10.0),
        derive.derived_uid("1.2.3", "PACS", uids.HTJ2K, 10.0),
        derive.derived_uid("1.2.3", "PACS", uids.JPEG2000, 10.5),
    }
    assert len(others | {one}) == 5
    for uid in others:
        assert uids.is_well_formed(uid)
        known = uuid.UUID(int=int(uid.removeprefix("2.25.")))
        assert (known.version, known.variant) == (8, uuid.RFC_4122)


@pytest.mark.parametrize("uid", LOSSY, ids=uids.syntax_name)
def test_each_lossy_syntax_that_is_made_has_its_words(uid: str) -> None:
    terms = {"JPEGProcess1": "ISO_10918_1", "JPEGProcess2_4": "ISO_10918_1", "JPEGLSNearLossless": "ISO_14495_1",
             "JPEG2000Lossy": "ISO_15444_1", "HTJ2K": "ISO_15444_15",
             "JPEGXL": "ISO_18181_1"}  # fmt: skip
    assert derive.method(uid) == terms[uids.syntax_name(uid)]
    text = derive.description(uid, 12.5)
    assert text.startswith("Lossy compression: ")
    assert "12.5" in text
    assert text.isascii()


@pytest.mark.parametrize(
    ("native", "encoded", "text"),
    [(1_000_000, 95_000, b"10.53"), (2**40, 3, b"3.665e+11"), (1, 2**40, b"9.095e-13"), (8, 8, b"1")],
)
def test_a_ratio_is_a_short_decimal(native: int, encoded: int, text: bytes) -> None:
    assert derive.ratio(native, encoded) == text
    assert len(text) <= derive.RATIO_BYTES
    assert float(text) == pytest.approx(native / encoded, rel=1e-3)


@pytest.mark.parametrize("syntax", [LITTLE, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "examples_rgb_color.dcm"])
def test_a_real_image_says_what_was_done(name: str, syntax: Syntax) -> None:
    path = FOLDER / "test_files" / name
    before = pydicom.dcmread(path)
    data, original = dataset_of(path)
    meta = replace(header_from(path.read_bytes()).meta, transfer_syntax_uid=syntax.uid)
    content = compressed(encode_head(meta) + made(data, original, syntax))
    after = pydicom.dcmread(as_file(dataset_of_bytes(content), JPEG2000.uid))
    assert after.SOPInstanceUID == header_from(content).meta.sop_instance_uid != before.SOPInstanceUID
    assert after.SOPInstanceUID == derive.derived_uid(before.SOPInstanceUID, "PACS", JPEG2000.uid, 10.0)
    assert list(after.ImageType) == ["DERIVED", *before.ImageType[1:]]
    assert after.LossyImageCompression == "01"
    assert after.LossyImageCompressionRatio == 10.53
    assert after.LossyImageCompressionMethod == "ISO_15444_1"
    assert after.DerivationDescription == "Lossy compression: JPEG 2000, target ratio 10"
    (code,) = after.DerivationCodeSequence
    assert (code.CodeValue, code.CodingSchemeDesignator) == ("113040", "DCM")
    assert code.CodeMeaning == codes.DCM.LossyCompression.meaning
    (source,) = after.SourceImageSequence
    assert source.ReferencedSOPClassUID == before.SOPClassUID
    assert source.ReferencedSOPInstanceUID == before.SOPInstanceUID
    (purpose,) = source.PurposeOfReferenceCodeSequence
    assert (purpose.CodeValue, purpose.CodeMeaning) == ("121320", codes.DCM.UncompressedPredecessor.meaning)
    ours = {"SOPInstanceUID", "ImageType", "PixelData", "DerivationDescription", "DerivationCodeSequence"}
    ours |= {"LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"}
    ours |= {"SourceImageSequence", ""}
    for element in before:
        if element.keyword not in ours and element.tag.element:
            assert after[element.tag].value == element.value, element


def dataset_of_bytes(content: bytes) -> bytes:
    return content[header_from(content).offset :]


@pytest.mark.parametrize("syntax", [uids.EXPLICIT_LE, uids.IMPLICIT_LE])
def test_what_was_derived_before_stays(syntax: str) -> None:
    before = Dataset()
    before.SpecificCharacterSet = "ISO_IR 192"
    before.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    before.DerivationDescription = "Größe halbiert"
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.ReferencedFrameNumber = [1, 2]
    before.SourceImageSequence = [item]
    item = Dataset()
    item.CodeValue = "113048"
    before.DerivationCodeSequence = [item]
    after = derived(before, syntax)
    assert list(after.ImageType) == ["DERIVED", "PRIMARY", "AXIAL"]
    assert after.DerivationDescription == "Größe halbiert; Lossy compression: JPEG 2000, target ratio 10"
    old, new = after.SourceImageSequence
    assert old == before.SourceImageSequence[0]
    assert new.ReferencedSOPInstanceUID == "2.25.7"
    assert [item.CodeValue for item in after.DerivationCodeSequence] == ["113048", "113040"]


@pytest.mark.parametrize(("length", "appended"), [(1024, False), (978, False), (976, True)])
def test_a_description_of_full_length_stays_alone(length: int, appended: bool) -> None:
    before = Dataset()
    before.DerivationDescription = "x" * length
    after = derived(before).DerivationDescription
    assert after.startswith("x" * length)
    assert len(after) <= 1024
    assert after.endswith("target ratio 10") == appended


STEPS = [
    ([], [], uids.EXPLICIT_LE, "", ""),
    (["4.5"], ["ISO_15444_1"], uids.EXPLICIT_LE, "4.5", "ISO_15444_1"),
    (["4.5", "2"], ["ISO_15444_1"], uids.EXPLICIT_LE, "4.5\\2", "ISO_15444_1\\"),
    ([], ["ISO_15444_1"], uids.EXPLICIT_LE, "", "ISO_15444_1"),
    ([], [], uids.JPEGLS_NEAR_LOSSLESS, "7.5", "ISO_14495_1"),
    ([], ["ISO_14495_1"], uids.JPEGLS_NEAR_LOSSLESS, "7.5", "ISO_14495_1"),
    (["2"], [], uids.JPEGLS_NEAR_LOSSLESS, "2", "ISO_14495_1"),
    (["4.5"], ["ISO_15444_1", ""], uids.JPEGLS_NEAR_LOSSLESS, "4.5\\7.5", "ISO_15444_1\\ISO_14495_1"),
    (["4.5", "2"], ["ISO_15444_1"], uids.JPEGLS_NEAR_LOSSLESS, "4.5\\2", "ISO_15444_1\\ISO_14495_1"),
    (["4.5", "2"], [], uids.JPEGLS_NEAR_LOSSLESS, "4.5\\2", "\\ISO_14495_1"),
]


def with_steps(ratios: list[str], methods: list[str], syntax: str, lossy: str = "01") -> Header:
    before = Dataset()
    before.LossyImageCompression = lossy
    if ratios:
        before.LossyImageCompressionRatio = ratios
    if methods:
        before.LossyImageCompressionMethod = methods
    return header_of(before, syntax=syntax)


@pytest.mark.parametrize(("ratios", "methods", "syntax", "expected_ratios", "expected_methods"), STEPS)
def test_ratios_and_methods_stay_parallel(
    ratios: list[str], methods: list[str], syntax: str, expected_ratios: str, expected_methods: str
) -> None:
    """What is not said of an earlier step is empty; the last one's method is in the syntax, its ratio was measured."""
    header = with_steps(ratios, methods, syntax)
    assert derive.lacks_ratio(header) == ("7.5" in expected_ratios)
    changes = derive.lossy(header, "2.25.8", JPEG, 90.0, b"7.5")
    new_ratio, new_method = changes[0x00282112], changes[0x00282114]
    assert new_ratio is not None
    assert new_method is not None
    steps = bool(expected_ratios or expected_methods)
    hole = new_ratio[1]
    assert isinstance(hole, edit.Hole)
    assert hole.before == expected_ratios.encode() + b"\\" * steps
    assert derive.RATIO_BYTES <= hole.length_bytes <= 16
    assert (len(hole.before) + hole.length_bytes) % 2 == 0
    assert new_method == ("CS", expected_methods.encode() + b"\\" * steps + b"ISO_10918_1")


@pytest.mark.parametrize("lossy", ["00", "01"])
@pytest.mark.parametrize(("ratios", "methods", "syntax", "expected_ratios", "expected_methods"), STEPS)
def test_the_steps_are_told_where_the_syntax_no_longer_tells_the_last(
    ratios: list[str], methods: list[str], syntax: str, expected_ratios: str, expected_methods: str, lossy: str
) -> None:
    header = with_steps(ratios, methods, syntax, lossy)
    expected: dict[int, object] = {}
    if syntax != uids.EXPLICIT_LE:
        if lossy == "00":
            expected[0x00282110] = ("CS", b"01")
        if expected_ratios != "\\".join(ratios):
            expected[0x00282112] = ("DS", expected_ratios.encode())
        if expected_methods != "\\".join(methods):
            expected[0x00282114] = ("CS", expected_methods.encode())
    assert derive.still_lossy(header, b"7.5") == expected


@pytest.mark.parametrize(
    ("syntax", "lossy", "code"),
    [
        (uids.EXPLICIT_LE, "00", "121320"),
        (uids.EXPLICIT_LE, "01", "121322"),
        (uids.JPEG2000_LOSSLESS, "", "121320"),
        (uids.JPEG_BASELINE, "", "121322"),
    ],
)
def test_only_what_lost_nothing_is_an_uncompressed_predecessor(syntax: str, lossy: str, code: str) -> None:
    before = Dataset()
    if lossy:
        before.LossyImageCompression = lossy
    (source,) = derived(before, syntax).SourceImageSequence
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == code


@pytest.mark.parametrize("uid", sorted(uid for uid in uids.MADE if SYNTAXES[uid].encapsulated), ids=uids.syntax_name)
def test_a_loss_against_the_word_of_the_syntax(uid: str) -> None:
    header = header_of(Dataset(), syntax=uid)
    assert derive.with_actual_syntax(header, False) is header
    known = derive.with_actual_syntax(header, True)
    can_lose = uid not in (uids.RLE_LOSSLESS, uids.DEFLATED_FRAMES)
    assert derive.was_lossy(known) == can_lose
    assert bool(derive.still_lossy(known)) == can_lose


WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


@pytest.mark.parametrize("syntax", [uids.EXPLICIT_LE, uids.IMPLICIT_LE])
@pytest.mark.parametrize("listed", ["this study", "another study", ""])
@pytest.mark.parametrize("sop_class", [SECONDARY_CAPTURE, WHOLE_SLIDE])
def test_the_original_is_listed_where_instances_are(sop_class: str, listed: str, syntax: str) -> None:
    """Common Instance Reference: kept up where it is, made where it is mandatory, else not made up."""
    before, series, instance = Dataset(), Dataset(), Dataset()
    before.SeriesInstanceUID = "1.2.34"
    instance.ReferencedSOPInstanceUID = "1.2.3"
    series.SeriesInstanceUID = "1.2.5"
    series.ReferencedInstanceSequence = [instance]
    if listed == "this study":
        before.ReferencedSeriesSequence = [series]
    elif listed:
        before.StudiesContainingOtherReferencedInstancesSequence = [Dataset()]
    after = derived(before, syntax, sop_class=sop_class)
    if not listed and sop_class == SECONDARY_CAPTURE:
        assert "ReferencedSeriesSequence" not in after
        return
    *old, new = after.ReferencedSeriesSequence
    assert old == [series] * (listed == "this study")
    assert new.SeriesInstanceUID == "1.2.34"
    (original,) = new.ReferencedInstanceSequence
    assert (original.ReferencedSOPClassUID, original.ReferencedSOPInstanceUID) == (sop_class, "2.25.7")


def test_an_object_of_no_series_is_not_listed() -> None:
    assert "ReferencedSeriesSequence" not in derived(Dataset(), sop_class=WHOLE_SLIDE)


def frame_types(*values: str) -> Dataset:
    """An enhanced image with the first as the Frame Type of all and the others as that of each frame."""
    whole = Dataset()
    whole.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    groups = []
    for value in values:
        group, inner = Dataset(), Dataset()
        inner.FrameType = value
        inner.PixelPresentation = "MONOCHROME"
        inner.VolumetricProperties = "VOLUME"
        group.MRImageFrameTypeSequence = [inner]
        groups.append(group)
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = groups[:1], groups[1:]
    return whole


@pytest.mark.parametrize("defined", [True, False], ids=["defined lengths", "undefined lengths"])
@pytest.mark.parametrize("syntax", [uids.EXPLICIT_LE, uids.IMPLICIT_LE])
def test_each_frame_type_is_that_of_the_image(syntax: str, defined: bool) -> None:
    values = ["ORIGINAL\\PRIMARY\\VOLUME\\NONE", "ORIGINAL\\PRIMARY\\VOLUME\\NO", "MIXED\\PRIMARY", "ORIGINAL"]
    before = frame_types(*values)
    for sequence in (before["SharedFunctionalGroupsSequence"], before["PerFrameFunctionalGroupsSequence"]):
        sequence.is_undefined_length = not defined
        for group in sequence:
            group.is_undefined_length_sequence_item = not defined
            group["MRImageFrameTypeSequence"].is_undefined_length = not defined
    after = derived(before, syntax)
    assert list(after.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    expected = frame_types(*(value.replace("ORIGINAL", "DERIVED") for value in values))
    assert after.SharedFunctionalGroupsSequence == expected.SharedFunctionalGroupsSequence
    assert after.PerFrameFunctionalGroupsSequence == expected.PerFrameFunctionalGroupsSequence


def test_a_frame_type_anywhere_else_stays() -> None:
    before = Dataset()
    before.FrameType = "ORIGINAL"
    before.ContributingSourcesSequence = [Dataset()]
    before.ContributingSourcesSequence[0].FrameType = "ORIGINAL"
    after = derived(before)
    assert after.FrameType == after.ContributingSourcesSequence[0].FrameType == "ORIGINAL"


def test_an_image_of_no_type_becomes_a_derived_one() -> None:
    assert list(derived(Dataset()).ImageType) == ["DERIVED", "SECONDARY"]
    before = Dataset()
    before.ImageType = "ORIGINAL"
    assert derived(before).ImageType == "DERIVED"


def complaints(path: Path) -> set[str]:
    judged = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    return {line for line in (judged.stdout + judged.stderr).splitlines() if line.startswith(("Error", "Warning"))}


@pytest.mark.skipif(not shutil.which("dciodvfy"), reason="no dciodvfy")
@pytest.mark.parametrize(
    ("name", "photometric"),
    [("CT_small.dcm", ""), ("MR_small.dcm", ""), ("MR_small_bigendian.dcm", ""), ("MR_small_implicit.dcm", ""),
     ("examples_rgb_color.dcm", "YBR_ICT")],
)  # fmt: skip
def test_dciodvfy_finds_nothing_new(name: str, photometric: str, tmp_path: Path) -> None:
    path = FOLDER / "test_files" / name
    done = tmp_path / "done.dcm"
    done.write_bytes(compressed(path.read_bytes(), JPEG2000, photometric))
    assert complaints(done) - complaints(path) == set()


@pytest.mark.skipif(not (WG04.is_dir() and shutil.which("dciodvfy")), reason="no NEMA images, or no dciodvfy")
@pytest.mark.parametrize("name", ["CT1", "MR1", "MR2", "NM1", "RG3", "US1", "VL1", "XA1"])
@pytest.mark.parametrize("target", [JPEG2000, JPEG], ids=["JPEG 2000", "JPEG"])
def test_dciodvfy_finds_nothing_new_in_the_nema_set(name: str, target: Syntax, tmp_path: Path) -> None:
    path, done = tmp_path / "original.dcm", tmp_path / "done.dcm"
    path.write_bytes(lzma.decompress((WG04 / f"{name}.dcm.xz").read_bytes()))
    colour = "YBR_ICT" if target is JPEG2000 else "YBR_FULL_422"
    done.write_bytes(compressed(path.read_bytes(), target, colour if name in ("US1", "VL1") else ""))
    assert complaints(done) - complaints(path) == set()
    assert complaints(done)  # it did look
