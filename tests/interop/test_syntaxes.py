"""Every transfer syntax both ways, over real files, as readers that others wrote see what we write.

Odd images are in test_odd_images.py, the service in test_syntaxes_service.py.
LEYDEN_LONG=1: every file of the pydicom wheel and of the NEMA set into every syntax; else a few that stand for them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from leyden.dicom.uids import (
    DEFLATED_FRAMES,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    HTJ2K_LOSSLESS_RPCL,
    IMPLICIT_LE,
    JPEG2000,
    JPEG2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEGLS_LOSSLESS,
    JPEGLS_NEAR_LOSSLESS,
    JPEGXL,
    JPEGXL_LOSSLESS,
    MADE,
    RLE_LOSSLESS,
    SYNTAXES,
)
from leyden.errors import Corrupt
from leyden.transcode.pixels import Unfit
from support import readers
from support.datasets import FILES
from support.objects import real, wg04_files
from support.readers import (
    DCMTK_DECODERS,
    JPEG2000_FAMILY,
    JPEGXL_FAMILY,
    Gdcm,
    assert_codestreams_hold,
    assert_readable,
    by_dcmtk,
    by_pydicom,
    by_syntax,
    codestreams,
    others,
    read,
)

Transcode = Callable[..., Path]
Image = Callable[..., Path]

LONG = os.environ.get("LEYDEN_LONG") == "1"
LOSSLESS = sorted(uid for uid in MADE if not SYNTAXES[uid].lossy)
LOSSY = {
    JPEG2000: {"ratio": 8.0}, HTJ2K: {"ratio": 8.0}, JPEGLS_NEAR_LOSSLESS: {"near": 2},
    JPEG_BASELINE: {"quality": 90}, JPEG_EXTENDED: {"quality": 90}, JPEGXL: {"quality": 90},
}  # fmt: skip

PICTURES = (
    "CT_small.dcm", "ExplVR_BigEnd.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_rle_2frame.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm",
)  # fmt: skip
MORE = sorted(path.name for path in FILES if path.parent.name == "test_files") if LONG else []
NAMES = (*PICTURES, *(name for name in MORE if name not in PICTURES))

# Whoever wrote it: gdcm 3.2 takes RLE in three segments only where they divide the pixels evenly, and mixes up more ...
NO_RLE_FOR_GDCM = (
    "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd_jpeg.dcm", "SC_rgb_rle_16bit.dcm",
    "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_32bit.dcm", "SC_rgb_rle_32bit_2frame.dcm",
)  # fmt: skip
# ... it dies of one frame of 32 bits, and gives 1 bit in bytes of its own.
NOT_FOR_GDCM = ("rtdose_1frame.dcm", "rtdose_rle_1frame.dcm", "liver_1frame.dcm", "liver_expb_1frame.dcm")
NO_IMAGE = ("badVR.dcm", "nested_priv_SQ.dcm")  # with Pixel Data, but without a whole Image Pixel module
# Where dciodvfy 2022 is no judge: of what DCMTK makes of the first it dies too, and of the last it says the same.
NO_JUDGE = {
    **dict.fromkeys(("SC_rgb_rle_32bit.dcm", "SC_rgb_rle_32bit_2frame.dcm"), "dies of native 32 bits"),
    **dict.fromkeys(("rtdose.dcm", "rtdose_1frame.dcm"), "dies of native 32 bits before it has seen all"),
    **dict.fromkeys(("rtdose_rle.dcm", "rtdose_rle_1frame.dcm"), "dies of native 32 bits"),
    "empty_charset_LEI.dcm": "misses the SOP Instance UID of a file that has none",
}


def made_or_skipped(transcode: Transcode, path: Path, target: str) -> Path:
    """The object in `target`; one of the many that cannot be made so ends the test, its reason checked."""
    try:
        return transcode(path, target)
    except (Unfit, Corrupt) as error:
        reason = str(error)
    assert path.name not in PICTURES, reason
    assert_readable(reason)
    pytest.skip(reason)


def native(transcode: Transcode, path: Path) -> Any:
    """The pixels as pydicom and pylibjpeg see them; of what is lossy, as we decode it: no two decoders agree there."""
    if "PixelData" not in read(path) or path.name in NO_IMAGE:
        pytest.skip("no pixels")
    lossy = SYNTAXES[read(path).file_meta.TransferSyntaxUID].lossy
    return by_pydicom(made_or_skipped(transcode, path, EXPLICIT_LE) if lossy else path)


# -- real files


@by_syntax(*LOSSLESS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_pydicom_and_gdcm_read_the_pixels_that_came_in(
    transcode: Transcode, gdcm: Gdcm, name: str, target: str
) -> None:
    """Compressed images decode to exactly the pixels that came in (README.md), by decoders that others wrote."""
    path = real(name)
    made, pixels = made_or_skipped(transcode, path, target), native(transcode, path)
    assert read(made).file_meta.TransferSyntaxUID == target
    assert np.array_equal(by_pydicom(made), pixels)
    unknown = target in (DEFLATED_FRAMES, *JPEGXL_FAMILY) or (name in NO_RLE_FOR_GDCM and target == RLE_LOSSLESS)
    if name not in NOT_FOR_GDCM and not unknown:
        assert np.array_equal(gdcm(made), pixels)
    back = transcode(made, EXPLICIT_LE)
    assert np.array_equal(by_pydicom(back), pixels)
    for one in (made, back):
        if target == IMPLICIT_LE and name not in PICTURES:  # for the VR of what is private readers have to guess
            assert others(one, "LossyImageCompression").keys() == others(path, "LossyImageCompression").keys()
        elif one is back or target != EXPLICIT_BE:  # whose words pydicom gives as they come
            assert others(one, "LossyImageCompression") == others(path, "LossyImageCompression")


@by_syntax(*LOSSLESS)
@pytest.mark.parametrize("name", NAMES)
def test_dcmtk_reads_the_pixels_that_came_in(transcode: Transcode, tmp_path: Path, name: str, target: str) -> None:
    """Compressed images decode to exactly the pixels that came in (README.md), by decoders that others wrote."""
    path = real(name)
    made = made_or_skipped(transcode, path, target)
    if name not in NO_IMAGE:
        assert readers.dcmdump(made) in ("", readers.dcmdump(path))
    if target in DCMTK_DECODERS or not SYNTAXES[target].encapsulated:
        pixels = native(transcode, path)
        assert np.array_equal(by_dcmtk(made, tmp_path), pixels)


@by_syntax(JPEG2000_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL)
@pytest.mark.parametrize("reads", [readers.by_opj_decompress, readers.by_grk_decompress])
@pytest.mark.parametrize("name", NAMES)
def test_jpeg_2000_is_decoded_without_its_dataset(
    transcode: Transcode, tmp_path: Path, name: str, reads: Any, target: str
) -> None:
    """Codestreams "decode to exactly the pixels that came in" (README.md) by programs that know no DICOM, too."""
    made = made_or_skipped(transcode, real(name), target)
    assert_codestreams_hold(made, native(transcode, real(name)), tmp_path, reads)


@by_syntax(*LOSSLESS)
@pytest.mark.parametrize("name", NAMES)
def test_dciodvfy_finds_no_new_error(transcode: Transcode, tmp_path: Path, name: str, target: str) -> None:
    """A validator finds no new error in "the attributes that its syntax demands" (ARCHITECTURE.md)."""
    made = made_or_skipped(transcode, real(name), target)
    if name in NO_JUDGE:
        pytest.skip(f"dciodvfy {NO_JUDGE[name]}")
    if (name, target) == ("UN_sequence.dcm", EXPLICIT_BE):
        pytest.skip("dciodvfy does not read UN of undefined length in big endian as PS3.5 6.2.2 has it")
    assert not readers.new_errors(real(name), made, tmp_path)


NEMA = ("CT1.dcm", "US1_RLE.dcm", "CT1_JPLL.dcm")


@by_syntax(
    *(
        LOSSLESS
        if LONG
        else (JPEG2000_LOSSLESS, JPEG_LOSSLESS_SV1, JPEGLS_LOSSLESS, RLE_LOSSLESS, HTJ2K_LOSSLESS, JPEGXL_LOSSLESS)
    )
)
def test_the_nema_images_are_read_with_the_pixels_that_came_in(
    transcode: Transcode, gdcm: Gdcm, tmp_path: Path, target: str
) -> None:
    """Compressed images decode to exactly the pixels that came in (README.md), by decoders that others wrote."""
    for path in wg04_files(tmp_path):
        if path.name not in NEMA and not LONG:
            continue
        if path.name == "RG3_JPLY.dcm" and target in JPEG2000_FAMILY | {JPEGLS_LOSSLESS}:
            with pytest.raises(Unfit, match="outside Bits Stored"):  # its loss took 10 bits stored to 12
                transcode(path, target)
            continue
        made, pixels = transcode(path, target), native(transcode, path)
        assert np.array_equal(by_pydicom(made), pixels), path.name
        assert target in (DEFLATED_FRAMES, *JPEGXL_FAMILY) or np.array_equal(gdcm(made), pixels), path.name
        if target in DCMTK_DECODERS:
            assert np.array_equal(by_dcmtk(made, tmp_path), pixels), path.name
        if target in JPEG2000_FAMILY:
            assert_codestreams_hold(made, pixels, tmp_path, readers.by_opj_decompress)
            assert_codestreams_hold(made, pixels, tmp_path, readers.by_grk_decompress)
        assert not readers.new_errors(path, made, tmp_path), path.name
        made.unlink()


def test_jpeg_2000_is_as_small_as_that_of_the_nema_set(transcode: Transcode, tmp_path: Path) -> None:
    """JPEG 2000 Lossless: "small files" (docs/configure.md), within 1 % of those of the NEMA reference set."""
    files = {path.name: path for path in wg04_files(tmp_path)}
    compared = 0
    for name, theirs in files.items():
        if not name.endswith("_J2KR.dcm"):
            continue
        ours = transcode(files[name.replace("_J2KR", "")], JPEG2000_LOSSLESS)
        assert np.array_equal(by_pydicom(ours), by_pydicom(theirs))
        sizes_bytes = [sum(map(len, codestreams(path))) for path in (ours, theirs)]
        assert sizes_bytes[0] == pytest.approx(sizes_bytes[1], rel=0.01), name
        compared += 1
    assert compared >= 3


# -- what may lose


def smooth(image: Image, stored: int) -> Path:
    values = np.add.outer(np.arange(64), np.arange(96)) * ((1 << stored) // 160)
    return image(values[None, :, :, None], stored=stored, allocated=8 if stored == 8 else 16)


LOSSY_PICTURES: dict[str, Callable[[Image], Path]] = {
    "8 bits": lambda image: smooth(image, 8),
    "12 bits": lambda image: smooth(image, 12),
    "RGB": lambda image: real("examples_rgb_color.dcm"),
    "signed": lambda image: real("CT_small.dcm"),
}
LOSSY_REFUSED = {
    ("12 bits", JPEG_BASELINE): "other than 8 and 8",
    ("signed", JPEG_BASELINE): "signed pixels",
    ("signed", JPEG_EXTENDED): "signed pixels",
    ("signed", JPEGXL): "signed pixels",
}


@by_syntax(*LOSSY)
@pytest.mark.parametrize("name", LOSSY_PICTURES)
def test_lossy_objects_say_so_and_are_read_alike(
    image: Image, transcode: Transcode, gdcm: Gdcm, tmp_path: Path, name: str, target: str
) -> None:
    """A lossy object has a SOP Instance UID of its own and says what was done to it (docs/configure.md)."""
    path = LOSSY_PICTURES[name](image)
    if (name, target) in LOSSY_REFUSED:
        with pytest.raises(Unfit, match=LOSSY_REFUSED[name, target]):
            transcode(path, target, **LOSSY[target])
        return
    made = transcode(path, target, destination="PACS", **LOSSY[target])
    assert_says_that_it_is_lossy(path, made)
    assert readers.dcmdump(made) == ""
    pixels = by_pydicom(transcode(made, EXPLICIT_LE)).astype(int)
    assert np.abs(pixels - by_pydicom(path)).mean() < 8
    if name == "RGB" and target in DCMTK_DECODERS and target != JPEGLS_NEAR_LOSSLESS:
        # Readers make full colour of half in ways of their own.
        assert read(made).PhotometricInterpretation == "YBR_FULL_422"
        for seen in (as_rgb(by_pydicom(made)), as_rgb(gdcm(made)), by_dcmtk(made, tmp_path)):
            assert np.abs(seen.astype(int) - pixels).mean() < 1
        return
    tolerance = 1 if target in (JPEG_BASELINE, JPEG_EXTENDED, JPEGXL) else 0  # one library's rounding is not another's
    assert np.abs(by_pydicom(made).astype(int) - pixels).max() <= tolerance
    if target not in JPEGXL_FAMILY:
        assert np.abs(gdcm(made).astype(int) - pixels).max() <= tolerance
    if target in DCMTK_DECODERS:
        assert np.abs(by_dcmtk(made, tmp_path).astype(int) - pixels).max() <= tolerance
    if target in JPEG2000_FAMILY:
        assert_codestreams_hold(made, pixels, tmp_path, readers.by_opj_decompress)


@by_syntax(*LOSSY)
@pytest.mark.parametrize("name", LOSSY_PICTURES)
def test_dciodvfy_finds_no_new_error_in_what_is_lossy(
    image: Image, transcode: Transcode, tmp_path: Path, name: str, target: str
) -> None:
    """What a lossy object says of itself is valid: the validator finds no error that the original did not have."""
    if (name, target) not in LOSSY_REFUSED:
        path = LOSSY_PICTURES[name](image)
        made = transcode(path, target, destination="PACS", **LOSSY[target])
        assert not readers.new_errors(path, made, tmp_path)


@by_syntax(JPEG2000, HTJ2K)
@pytest.mark.parametrize("name", LOSSY_PICTURES)
def test_grok_reads_what_is_lossy(image: Image, transcode: Transcode, tmp_path: Path, name: str, target: str) -> None:
    """Lossy JPEG 2000 and HTJ2K are decoded by another library to the same pixels, give or take one grey level."""
    made = transcode(LOSSY_PICTURES[name](image), target, **LOSSY[target])
    assert_codestreams_hold(made, by_pydicom(made), tmp_path, readers.by_grk_decompress, tolerance=1)


METHODS = {
    JPEG2000: "ISO_15444_1", HTJ2K: "ISO_15444_15", JPEGLS_NEAR_LOSSLESS: "ISO_14495_1",
    JPEG_BASELINE: "ISO_10918_1", JPEG_EXTENDED: "ISO_10918_1", JPEGXL: "ISO_18181_1",
}  # fmt: skip


def assert_says_that_it_is_lossy(before_path: Path, after_path: Path) -> None:
    """PS3.3 C.7.6.1.1.5, for what was lossless before."""
    before, after = read(before_path), read(after_path)
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID != before.SOPInstanceUID
    assert after.LossyImageCompression == "01"
    assert after.LossyImageCompressionMethod == METHODS[after.file_meta.TransferSyntaxUID]
    samples = before.Rows * before.Columns * before.SamplesPerPixel * int(before.get("NumberOfFrames") or 1)
    native_bytes = samples * before.BitsAllocated // 8
    encoded_bytes = sum(map(len, codestreams(after_path)))
    assert float(after.LossyImageCompressionRatio) == pytest.approx(native_bytes / encoded_bytes, rel=0.01)
    assert "Lossy compression: " in after.DerivationDescription
    assert after.ImageType[0] == "DERIVED"
    source = after.SourceImageSequence[-1]
    assert source.ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert source.ReferencedSOPClassUID == before.SOPClassUID


def as_rgb(pixels: Any) -> Any:
    return pydicom.pixels.processing.convert_color_space(pixels, "YBR_FULL", "RGB")
