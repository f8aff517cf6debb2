"""Edits in one pass with the transcoding: whatever becomes of the pixels, they are those that came."""

import io
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels import pixel_array

from leyden.dicom.part10 import decode_head
from leyden.dicom.uids import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG2000,
    JPEG2000_LOSSLESS,
    RLE_LOSSLESS,
    SYNTAXES,
)
from leyden.plan.mutate import Circumstances, Mutated, mutate
from leyden.plan.rules import Edit, EditType, Mutation, Place
from leyden.transcode import job
from leyden.transcode.pixels import Unfit
from leyden.transcode.source import Source
from support.objects import real
from support.transcoding import Bench

NAME, UID, ROWS = 0x00100010, 0x00080018, 0x00280010


def mutated(source: Source, **values: str) -> Mutated:
    edits = tuple(
        Edit(
            EditType.ADD_OR_UPDATE,
            "mutations.yml:2",
            destination=Place(pydicom.datadict.tag_for_keyword(k) or 0),
            value=v,
        )
        for k, v in values.items()
    )
    return mutate((Mutation("mutations.yml:1", actions=edits),), source.header, Circumstances("PACS", "1" * 22))


@pytest.fixture
def make(bench: Bench) -> Callable[..., bytes]:
    """make(path, syntax UID, PatientName="x") -> the new file; syntax "" = the one that it came in."""

    def run(path: Path, syntax: str = "", destination: str = "PACS", **values: str) -> bytes:
        source = Source(path)
        out = io.BytesIO()
        edited = mutated(source, **values).header
        try:
            if syntax:
                terms = job.Terms(8 << 20, destination)
                job.make(source, SYNTAXES[syntax], out, bench, terms, edited)
            else:
                job.edit_only(source, out, edited)
        finally:
            source.close()
        return out.getvalue()

    return run


FILES = (
    "CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "examples_jpeg2k.dcm",
    "SC_rgb_rle_2frame.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_small_odd.dcm",
    "test-SR.dcm", "rtdose_rle.dcm", "liver_1frame.dcm",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore")
def test_in_the_syntax_that_it_came_in_only_the_edits_differ(make: Callable[..., bytes], name: str) -> None:
    before = pydicom.dcmread(real(name))
    content = make(real(name), PatientName="Nobody")
    after = pydicom.dcmread(io.BytesIO(content))
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert after.PatientName == "Nobody"
    for element in before:
        if element.tag != NAME and element.tag.element and element.keyword != "DataSetTrailingPadding":
            assert after[element.tag].value == element.value, element.tag


def test_an_uncompressed_dataset_stays_byte_for_byte_but_for_the_edit(make: Callable[..., bytes]) -> None:
    content = real("CT_small.dcm").read_bytes()
    found = decode_head(content)
    assert found is not None
    offset = found[1]
    old = pydicom.dcmread(real("CT_small.dcm")).PatientName.original_string
    padded = old + b" " * (len(old) % 2)
    new = b"Nobody"
    made = make(real("CT_small.dcm"), PatientName="Nobody")
    now = decode_head(made)
    assert now is not None
    head = b"\x10\x00\x10\x00PN"
    expected = content[offset:].replace(
        head + len(padded).to_bytes(2, "little") + padded, head + len(new).to_bytes(2, "little") + new
    )
    assert made[now[1] :] == expected


@pytest.mark.parametrize(
    "target", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE, JPEG2000_LOSSLESS, RLE_LOSSLESS]
)
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_bigendian.dcm", "examples_jpeg2k.dcm", "SC_rgb_rle_2frame.dcm"]
)
def test_edits_and_transcoding_in_one_pass(make: Callable[..., bytes], name: str, target: str) -> None:
    before = pydicom.dcmread(real(name))
    after = pydicom.dcmread(io.BytesIO(make(real(name), target, PatientName="Nobody", SOPInstanceUID="2.25.5")))
    assert after.file_meta.TransferSyntaxUID == target
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID == "2.25.5"
    assert after.PatientName == "Nobody"
    assert np.array_equal(pixel_array(after), pixel_array(before))


def test_the_pixels_are_read_by_what_the_object_said_as_it_came(make: Callable[..., bytes]) -> None:
    before = pydicom.dcmread(real("CT_small.dcm"))
    content = make(
        real("CT_small.dcm"), JPEG2000_LOSSLESS, WindowCenter="7", Rows="64", PhotometricInterpretation="MONOCHROME1"
    )
    after = pydicom.dcmread(io.BytesIO(content))
    assert (after.Rows, after.PhotometricInterpretation) == (64, "MONOCHROME1")
    after.Rows, after.PhotometricInterpretation = before.Rows, before.PhotometricInterpretation
    assert np.array_equal(pixel_array(after), pixel_array(before))


def test_what_the_syntax_demands_wins(make: Callable[..., bytes]) -> None:
    content = make(real("examples_rgb_color.dcm"), JPEG2000_LOSSLESS, PhotometricInterpretation="YBR_FULL")
    assert pydicom.dcmread(io.BytesIO(content)).PhotometricInterpretation == "YBR_RCT"


def test_a_lossy_object_derives_from_the_edited_one(make: Callable[..., bytes]) -> None:
    path = real("CT_small.dcm")
    original = pydicom.dcmread(path).SOPInstanceUID
    one = pydicom.dcmread(io.BytesIO(make(path, JPEG2000, SOPInstanceUID="2.25.5", DerivationDescription="edited")))
    other = pydicom.dcmread(io.BytesIO(make(path, JPEG2000, PatientName="Nobody")))
    assert one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID
    assert one.SOPInstanceUID not in ("2.25.5", other.SOPInstanceUID)
    assert one.SourceImageSequence[-1].ReferencedSOPInstanceUID == "2.25.5"
    assert other.SourceImageSequence[-1].ReferencedSOPInstanceUID == original
    assert one.DerivationDescription.startswith("edited; Lossy compression")


def test_a_deflated_object_stays_deflated(make: Callable[..., bytes]) -> None:
    content = make(real("image_dfl.dcm"), PatientName="Nobody")
    found = decode_head(content)
    assert found is not None
    assert found[0].transfer_syntax_uid == DEFLATED_LE
    assert b"Nobody" in zlib.decompress(content[found[1] :], -15)


def test_what_does_not_parse_is_not_edited() -> None:
    source = Source(real("rtplan_truncated.dcm"))
    with pytest.raises(Unfit, match="does not parse"):
        job.edit_only(source, io.BytesIO(), source.header)
    source.close()
