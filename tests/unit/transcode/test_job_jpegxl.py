"""A JPEG on its way to JPEG XL and back: the same bitstream, the same instance, and no further loss is claimed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from pydicom.encaps import encapsulate, encapsulate_extended

from leyden.dicom.uids import (
    EXPLICIT_LE,
    JPEG2000,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEGXL,
    JPEGXL_JPEG,
    JPEGXL_LOSSLESS,
    SYNTAXES,
)
from leyden.errors import Corrupt
from leyden.transcode import codecs
from leyden.transcode.codecs import CODECS, encoder
from leyden.transcode.job import Verify
from leyden.transcode.pixels import Differs, Unfit
from support.objects import real
from support.readers import by_djxl, by_pydicom, codestreams, jpeg_by_djxl, others, read

Transcode = Callable[..., Path]
Image = Callable[..., Path]


def jpeg(image: Image, transcode: Transcode, samples: int = 3, frames: int = 3, target: str = JPEG_BASELINE) -> Path:
    rows = np.add.outer(np.arange(64), 2 * np.arange(96)) % 256
    pixels = np.stack([np.roll(rows, 9 * n, 0) for n in range(frames * samples)])
    path = image(pixels.reshape(frames, samples, 64, 96).transpose(0, 2, 3, 1), stored=8, allocated=8)
    return transcode(path, target)


@pytest.mark.parametrize("target", [JPEG_BASELINE, JPEG_EXTENDED])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_same_jpeg_and_the_same_instance(
    image: Image, transcode: Transcode, frames: int, samples: int, target: str
) -> None:
    path = jpeg(image, transcode, samples, frames, target)
    made = transcode(path, JPEGXL_JPEG, destination="PACS", verify=Verify.ALL)
    assert read(made).file_meta.TransferSyntaxUID == JPEGXL_JPEG
    assert read(made).file_meta.MediaStorageSOPInstanceUID == read(path).SOPInstanceUID
    assert others(made) == others(path)
    assert [jpeg_by_djxl(each) for each in codestreams(made)] == codestreams(path)
    assert sum(map(len, codestreams(made))) < sum(map(len, codestreams(path)))
    back = transcode(made, target, verify=Verify.ALL)
    assert back.read_bytes() == path.read_bytes()


JPEGS = ("SC_rgb_small_odd_jpeg.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_+eb+cr.dcm", "examples_ybr_color.dcm")


@pytest.mark.parametrize("name", JPEGS)
def test_real_jpegs(transcode: Transcode, name: str) -> None:
    path = real(name)
    made = transcode(path, JPEGXL_JPEG, verify=Verify.ALL)
    assert [jpeg_by_djxl(each) for each in codestreams(made)] == codestreams(path)
    assert others(made) == others(path)
    back = transcode(made, JPEG_BASELINE)
    assert codestreams(back) == codestreams(path)
    assert others(back) == others(path)


def test_decoded_it_has_the_pixels_of_the_jpeg(image: Image, transcode: Transcode) -> None:
    path = jpeg(image, transcode)
    made = transcode(path, JPEGXL_JPEG)
    for target in (EXPLICIT_LE, JPEGXL_LOSSLESS):
        ours, direct = transcode(made, target), transcode(path, target)
        assert read(ours).LossyImageCompression == "01"
        assert read(ours).LossyImageCompressionMethod == "ISO_10918_1"
        assert read(ours).LossyImageCompressionRatio == read(direct).LossyImageCompressionRatio
        assert np.array_equal(by_pydicom(ours), by_pydicom(direct))


def test_no_compression_ratio_is_invented_if_the_dataset_has_none(image: Image, transcode: Transcode) -> None:
    path = jpeg(image, transcode)
    dataset = read(path)
    del dataset.LossyImageCompressionRatio, dataset.LossyImageCompressionMethod, dataset.LossyImageCompression
    dataset.save_as(path)
    made = transcode(path, JPEGXL_JPEG)
    assert others(made) == others(path)
    native = read(transcode(made, EXPLICIT_LE))
    assert native.LossyImageCompression == "01"
    assert native.LossyImageCompressionMethod == "ISO_10918_1"
    assert not native.LossyImageCompressionRatio


def test_an_extended_offset_table_is_removed_with_the_frames_that_it_points_to(
    image: Image, transcode: Transcode
) -> None:
    path = jpeg(image, transcode)
    dataset = read(path)
    fragments = codestreams(path)
    dataset.PixelData, offsets, lengths = encapsulate_extended(fragments)
    dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    dataset.save_as(path)
    made = transcode(path, JPEGXL_JPEG)
    assert "ExtendedOffsetTable" not in read(made)
    assert codestreams(transcode(made, JPEG_BASELINE)) == fragments


def test_fragments_are_joined(image: Image, transcode: Transcode) -> None:
    path = jpeg(image, transcode, frames=1)
    dataset = read(path)
    whole = codestreams(path)[0]
    dataset.PixelData = encapsulate([whole], fragments_per_frame=3)
    dataset.save_as(path)
    back = transcode(transcode(path, JPEGXL_JPEG), JPEG_BASELINE)
    assert codestreams(back)[0].rstrip(b"\0") == whole.rstrip(b"\0")


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_jp2klossless.dcm", "JPGExtended.dcm"])
def test_only_a_jpeg_of_8_bits_is_recompressed(transcode: Transcode, name: str) -> None:
    with pytest.raises(Unfit, match="JPEG"):
        transcode(real(name), JPEGXL_JPEG)


def test_a_jpeg_of_another_process_is_not_given_back_under_a_wrong_syntax(image: Image, transcode: Transcode) -> None:
    """An Extended JPEG of 8 bits is no Baseline one."""
    path = jpeg(image, transcode, samples=1, frames=1)
    dataset = read(path)
    dataset.PixelData = encapsulate([codestreams(path)[0].replace(b"\xff\xc0", b"\xff\xc1", 1)])
    dataset.file_meta.TransferSyntaxUID = JPEG_EXTENDED
    dataset.save_as(path)
    made = transcode(path, JPEGXL_JPEG)
    assert codestreams(transcode(made, JPEG_EXTENDED)) == codestreams(path)
    with pytest.raises(Unfit, match="another process"):
        transcode(made, JPEG_BASELINE)


def test_it_is_not_made_lossy_again(image: Image, transcode: Transcode) -> None:
    made = transcode(jpeg(image, transcode), JPEGXL_JPEG)
    for target in (JPEGXL, JPEG2000):
        with pytest.raises(Unfit, match="lossy already"):
            transcode(made, target)


@pytest.mark.parametrize("target", [JPEGXL_JPEG, JPEG_BASELINE])
def test_a_jpeg_of_another_shape_than_its_dataset(image: Image, transcode: Transcode, target: str) -> None:
    path = jpeg(image, transcode)
    if target == JPEG_BASELINE:
        path = transcode(path, JPEGXL_JPEG)
    dataset = read(path)
    dataset.Rows = 63
    dataset.save_as(path)
    with pytest.raises(Unfit, match="another shape"):
        transcode(path, target)


def test_a_truncated_one_is_corrupt(image: Image, transcode: Transcode) -> None:
    path = transcode(jpeg(image, transcode, frames=1), JPEGXL_JPEG)
    dataset = read(path)
    dataset.PixelData = encapsulate([codestreams(path)[0][:-20]])
    dataset.save_as(path)
    for target in (JPEG_BASELINE, EXPLICIT_LE):
        with pytest.raises(Corrupt, match="gives back no JPEG"):
            transcode(path, target)


@pytest.mark.parametrize("target", [JPEGXL_JPEG, JPEG_BASELINE])
def test_the_result_is_compared_with_the_original(
    image: Image, transcode: Transcode, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    path = jpeg(image, transcode, frames=1)
    if target == JPEG_BASELINE:
        path = transcode(path, JPEGXL_JPEG)
    number = encoder(target)
    assert number is not None
    real_one = CODECS[number].remaking
    assert real_one is not None

    def faulty(codestream: memoryview, planes: Any, room: memoryview) -> int:
        length = real_one.remake(codestream, planes, room)
        room[length // 2] ^= 1
        return length - 4

    changed = replace(CODECS[number], remaking=replace(real_one, remake=faulty))
    monkeypatch.setattr(codecs, "CODECS", (*CODECS[:number], changed, *CODECS[number + 1 :]))
    with pytest.raises(Differs, match=f"made as {SYNTAXES[target].name} is not the image"):
        transcode(path, target, verify=Verify.ALL)


@pytest.mark.parametrize("samples", [1, 3])
def test_a_lossy_codestream_in_the_lossless_syntax_is_lossy(image: Image, transcode: Transcode, samples: int) -> None:
    path = image(np.add.outer(np.arange(64), np.arange(96))[None, :, :, None].repeat(samples, 3), stored=8, allocated=8)
    made = transcode(path, JPEGXL)
    dataset = read(made)
    dataset.file_meta.TransferSyntaxUID = JPEGXL_LOSSLESS
    del dataset.LossyImageCompression, dataset.LossyImageCompressionMethod
    dataset.save_as(path)
    native = read(transcode(path, EXPLICIT_LE))
    assert (native.LossyImageCompression, native.LossyImageCompressionMethod) == ("01", "ISO_18181_1")
    with pytest.raises(Unfit, match="lossy already"):
        transcode(path, JPEG2000)


def test_a_jpeg_that_holds_more_than_its_image(image: Image, transcode: Transcode) -> None:
    """A comment of 60 KB in an image of 6 KB."""
    path = jpeg(image, transcode, samples=1, frames=1)
    dataset = read(path)
    random = np.random.default_rng(8).integers(0, 256, 60_000, np.uint8).tobytes()
    source = codestreams(path)[0]
    dataset.PixelData = encapsulate([source[:2] + b"\xff\xfe" + (60_002).to_bytes(2, "big") + random + source[2:]])
    dataset.save_as(path)
    made = transcode(path, JPEGXL_JPEG)
    assert codestreams(transcode(made, JPEG_BASELINE)) == codestreams(path)


# -- signed and colour, through a whole object


@pytest.mark.parametrize("stored", [12, 16])
def test_signed_pixels_are_the_bits_of_all_bits_allocated(image: Image, transcode: Transcode, stored: int) -> None:
    values = np.random.default_rng(4).integers(-(1 << stored - 1), 1 << stored - 1, (2, 20, 30, 1))
    path = image(values, stored=stored, signed=True)
    made = transcode(path, JPEGXL_LOSSLESS, verify=Verify.ALL)
    assert np.array_equal(by_djxl(made), values)
    assert read(transcode(made, EXPLICIT_LE)).PixelData == read(path).PixelData
    with pytest.raises(Unfit, match="signed"):
        transcode(path, JPEGXL)


def test_lossy_colour_is_xyb_and_becomes_rgb_again(image: Image, transcode: Transcode) -> None:
    values = (np.add.outer(np.arange(64), np.arange(96))[None, :, :, None] + np.array([0, 30, 60])) % 256
    path = image(values, stored=8, allocated=8, planar=1)
    made = transcode(path, JPEGXL, quality=95, verify=Verify.ALL)
    assert read(made).PhotometricInterpretation == "XYB"
    assert read(made).LossyImageCompressionMethod == "ISO_18181_1"
    native = transcode(made, EXPLICIT_LE)
    assert read(native).PhotometricInterpretation == "RGB"
    assert np.abs(by_pydicom(native).astype(int) - by_djxl(made)).max() <= 1
    assert np.abs(by_pydicom(native).astype(int) - values).mean() < 3
    lossless = transcode(path, JPEGXL_LOSSLESS)
    assert read(lossless).PhotometricInterpretation == "RGB"
    assert read(lossless).PlanarConfiguration == 0
    assert np.array_equal(by_djxl(lossless), values)
