"""What an object says of its losses after one or several: real files, what pydicom reads, and dciodvfy's opinion."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from leyden.dicom.uids import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    IMPLICIT_LE,
    JPEG2000,
    JPEG2000_LOSSLESS,
    JPEG_BASELINE,
    JPEGLS_LOSSLESS,
    JPEGLS_NEAR_LOSSLESS,
    RLE_LOSSLESS,
)
from leyden.transcode.pixels import Unfit
from support.objects import real
from support.readers import by_syntax, codestreams, new_errors, read

Transcode = Callable[..., Path]

ENHANCED_CT, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.4.1"
WHOLE_SLIDE, OCT = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.5.1.4.1.1.14.1"
FRAME_TYPES = {ENHANCED_CT: "CTImageFrameTypeSequence", ENHANCED_MR: "MRImageFrameTypeSequence"}

# What real files of the pydicom wheel say of the step that they went through.
SAYS = {
    "JPEGLSNearLossless_08.dcm": ("", "", "ISO_14495_1"),
    "SC_jpeg_no_color_transform.dcm": ("", "ISO_10918_1", "ISO_10918_1"),
    "JPEG-lossy.dcm": ("76", "", "ISO_10918_1"),
    "SC_rgb_jpeg_dcmtk.dcm": ("17.401", "ISO_10918_1", "ISO_10918_1"),
    "SC_rgb_gdcm_KY.dcm": ("23.6220472440945", "", "ISO_15444_1"),
}
LATER = {JPEG2000: "ISO_15444_1", JPEGLS_NEAR_LOSSLESS: "ISO_14495_1", HTJ2K: "ISO_15444_15"}


def said(path: Path, keyword: str) -> list[str]:
    element = read(path).get_item(keyword)
    value = element.value if element is not None else None
    return [part.strip() for part in (value or b"").decode().split("\\")] if value else []


def measured(path: Path, native: Path) -> float:
    return len(read(native).PixelData) / sum(map(len, codestreams(path)))


def assert_one_step(before: Path, after: Path, native: Path) -> None:
    assert read(after).LossyImageCompression == "01"
    ratio, _, method = SAYS[before.name]
    assert said(after, "LossyImageCompressionMethod")[0] == method
    first = float(said(after, "LossyImageCompressionRatio")[0])
    assert first == pytest.approx(float(ratio) if ratio else measured(before, native), rel=0.01)


@by_syntax(*LATER)
@pytest.mark.parametrize("name", SAYS)
def test_each_lossy_step_has_a_ratio_and_a_method(transcode: Transcode, tmp_path: Path, name: str, target: str) -> None:
    """A lossy object "says what was done to it" (docs/configure.md): ratio and method of each step."""
    path = real(name)
    assert "\\".join(said(path, "LossyImageCompressionRatio")) == SAYS[name][0]
    assert "\\".join(said(path, "LossyImageCompressionMethod")) == SAYS[name][1]
    if read(path).file_meta.TransferSyntaxUID == target:
        target = JPEG2000 if target == JPEGLS_NEAR_LOSSLESS else JPEGLS_NEAR_LOSSLESS
    made = transcode(path, target, recompress_lossy=True)
    assert_one_step(path, made, transcode(path, EXPLICIT_LE))
    ratios, methods = said(made, "LossyImageCompressionRatio"), said(made, "LossyImageCompressionMethod")
    assert len(ratios) == len(methods) == 2
    assert methods[1] == LATER[target]
    assert float(ratios[1]) == pytest.approx(measured(made, transcode(made, EXPLICIT_LE)), rel=0.01)
    assert not new_errors(path, made, tmp_path)


@by_syntax(EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE, JPEG2000_LOSSLESS, JPEGLS_LOSSLESS, RLE_LOSSLESS)
@pytest.mark.parametrize("name", SAYS)
def test_what_was_lossy_says_so_in_every_lossless_syntax(
    transcode: Transcode, tmp_path: Path, name: str, target: str
) -> None:
    """Lossy sources stay "under their UID, with (0028,2110) set where it was not" (DECISIONS.md 32)."""
    path = real(name)
    made = transcode(path, target)
    assert_one_step(path, made, transcode(path, EXPLICIT_LE))
    assert len(said(made, "LossyImageCompressionRatio")) == len(said(made, "LossyImageCompressionMethod")) == 1
    assert read(made).SOPInstanceUID == read(path).SOPInstanceUID


def test_lossless_steps_are_not_told_as_losses(transcode: Transcode, tmp_path: Path) -> None:
    """A lossy object "says what was done to it" (docs/configure.md), and nothing of lossless steps in between."""
    path = real("CT_small.dcm")
    for number, target in enumerate(
        (JPEG2000, JPEGLS_LOSSLESS, JPEGLS_NEAR_LOSSLESS, EXPLICIT_BE, HTJ2K, JPEG2000_LOSSLESS, IMPLICIT_LE)
    ):
        path = transcode(path, target, recompress_lossy=True).rename(tmp_path / f"{number}.dcm")
    assert said(path, "LossyImageCompressionMethod") == ["ISO_15444_1", "ISO_14495_1", "ISO_15444_15"]
    assert len(said(path, "LossyImageCompressionRatio")) == 3
    assert len(read(path).SourceImageSequence) == 3


def enhanced(folder: Path, sop_class: str, name: str = "enhanced.dcm", **more: Any) -> Path:
    """Two frames of a real image in the form of a multi-frame object, as far as that matters here."""
    dataset = read(real("CT_small.dcm"))
    pixels = dataset.pixel_array.clip(0, 4095)
    shared, kind = Dataset(), Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    kind.PixelPresentation = "MONOCHROME"
    if sop_class in FRAME_TYPES:
        setattr(shared, FRAME_TYPES[sop_class], [kind])
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = [Dataset(), Dataset()]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.LossyImageCompression = "00"
    dataset.NumberOfFrames = 2
    dataset.PixelData = np.stack([pixels, pixels[::-1]]).astype("<u2").tobytes()
    dataset.PixelRepresentation, dataset.BitsStored, dataset.HighBit = 0, 12, 11
    for keyword in [element.keyword for element in dataset if element.VR == "US" and "PixelValue" in element.keyword]:
        delattr(dataset, keyword)
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    path = folder / name
    dataset.save_as(path)
    return path


@by_syntax(JPEG2000, JPEGLS_NEAR_LOSSLESS, HTJ2K)
@pytest.mark.parametrize("sop_class", [ENHANCED_CT, ENHANCED_MR, WHOLE_SLIDE, OCT])
def test_dciodvfy_finds_no_new_error_in_multi_frame_objects(
    transcode: Transcode, tmp_path: Path, sop_class: str, target: str
) -> None:
    """What is made of a multi-frame object has no error that the validator did not find before."""
    path = enhanced(tmp_path, sop_class)
    made = transcode(path, target)
    assert not new_errors(path, made, tmp_path)
    # A codec that leaves all this to somebody else, and what becomes of its work.
    bare = read(made)
    bare.LossyImageCompression = "00"
    del bare.LossyImageCompressionRatio, bare.LossyImageCompressionMethod
    bare.save_as(tmp_path / "bare.dcm")
    for lossless in (EXPLICIT_LE, JPEGLS_LOSSLESS, JPEG2000_LOSSLESS):
        assert not new_errors(tmp_path / "bare.dcm", transcode(tmp_path / "bare.dcm", lossless), tmp_path)


@pytest.mark.parametrize("source", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE, RLE_LOSSLESS])
@pytest.mark.parametrize("sop_class", FRAME_TYPES)
def test_the_frame_type_follows_the_image_type(
    transcode: Transcode, tmp_path: Path, sop_class: str, source: str
) -> None:
    """A lossy multi-frame image is DERIVED, and so is each of its frames: Frame Type as Image Type (PS3.3 C.8.16.1)."""
    path = enhanced(tmp_path, sop_class)
    frames = read(path)
    for group, long in zip(frames.PerFrameFunctionalGroupsSequence, (10, 5000), strict=True):
        group.FrameContentSequence = [Dataset()]
        group.FrameContentSequence[0].FrameComments = "x" * long
        setattr(group, FRAME_TYPES[sop_class], frames.SharedFunctionalGroupsSequence[0][FRAME_TYPES[sop_class]].value)
    frames.save_as(path)
    given = path if source == EXPLICIT_LE else transcode(path, source)
    after = read(transcode(given, JPEG2000))
    assert list(after.ImageType) == ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    for element in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in frames[element]:
            group[FRAME_TYPES[sop_class]][0].FrameType = after.ImageType
        assert after[element] == frames[element]
    lossless = read(transcode(given, JPEG2000_LOSSLESS))
    assert lossless.SharedFunctionalGroupsSequence == read(path).SharedFunctionalGroupsSequence


def test_the_original_is_added_to_the_instances_that_a_slide_refers_to(transcode: Transcode, tmp_path: Path) -> None:
    """A lossy slide names its original, and lists it where it lists what it refers to (PS3.3 C.12.2)."""
    first = enhanced(tmp_path, WHOLE_SLIDE)
    made = transcode(first, JPEG2000)
    again = transcode(made, JPEGLS_NEAR_LOSSLESS, recompress_lossy=True)
    listed = [series.ReferencedInstanceSequence[0] for series in read(again).ReferencedSeriesSequence]
    sources = read(again).SourceImageSequence
    assert [item.ReferencedSOPInstanceUID for item in listed] == [item.ReferencedSOPInstanceUID for item in sources]
    assert [item.ReferencedSOPInstanceUID for item in listed] == [read(first).SOPInstanceUID, read(made).SOPInstanceUID]
    assert not new_errors(made, again, tmp_path)


@by_syntax(JPEG2000, HTJ2K, JPEGLS_NEAR_LOSSLESS, JPEG_BASELINE)
@pytest.mark.parametrize(
    ("sop_class", "what"),
    [("1.2.840.10008.5.1.4.1.1.66.7", "a label map"), ("1.2.840.10008.5.1.4.1.1.66.4", "a segmentation"),
     ("1.2.840.10008.5.1.4.1.1.481.2", "a dose distribution"), ("1.2.840.10008.5.1.4.1.1.30", "a parametric map")],
)  # fmt: skip
def test_codes_and_quantities_are_made_lossless_only(
    transcode: Transcode, tmp_path: Path, sop_class: str, what: str, target: str
) -> None:
    """Segmentations, dose and other maps that would become lossy go on as they came (README.md)."""
    path = enhanced(tmp_path, sop_class)
    with pytest.raises(Unfit, match=f"{what} is not made lossy"):
        transcode(path, target, recompress_lossy=True)
    made = transcode(path, JPEG2000_LOSSLESS)
    assert (pydicom.pixels.pixel_array(made) == pydicom.pixels.pixel_array(path)).all()
