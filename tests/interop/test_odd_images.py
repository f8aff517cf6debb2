"""Odd images in every transfer syntax: made exactly, or refused with a reason (and then they go on as they came)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended, generate_frames

from leyden.dicom.uids import (
    DEFLATED_FRAMES,
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K_LOSSLESS,
    IMPLICIT_LE,
    JPEG2000_LOSSLESS,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEGLS_LOSSLESS,
    JPEGXL_JPEG,
    JPEGXL_LOSSLESS,
    MADE,
    RLE_LOSSLESS,
    SYNTAXES,
)
from leyden.errors import Corrupt
from leyden.transcode.pixels import Unfit
from support import readers
from support.objects import real
from support.readers import (
    JPEG2000_FAMILY,
    Gdcm,
    assert_codestreams_hold,
    assert_readable,
    by_dcmtk,
    by_pydicom,
    by_syntax,
    others,
    read,
)

Transcode = Callable[..., Path]
Image = Callable[..., Path]

LOSSLESS = sorted(uid for uid in MADE if not SYNTAXES[uid].lossy)


def ramp(*shape: int, stored: int, signed: bool = False) -> Any:
    """Every kind of neighbourhood and both ends of the range."""
    values = np.random.default_rng(stored).integers(0, 1 << stored, shape)
    values.flat[0], values.flat[-1] = 0, (1 << stored) - 1
    return values - (1 << (stored - 1)) if signed else values


def changed(path: Path, change: Callable[[pydicom.Dataset], None], name: str = "odd.dcm") -> Path:
    dataset = read(path)
    change(dataset)
    made = path.parent / name
    dataset.save_as(made)
    return made


def packed_12(image: Image) -> Path:
    path = image(ramp(1, 4, 4, 1, stored=12), stored=12)

    def pack(dataset: pydicom.Dataset) -> None:
        dataset.BitsAllocated = 12
        dataset.PixelData = bytes(24)

    return changed(path, pack)


def floating(image: Image, keyword: str, bits: int) -> Path:
    def into(dataset: pydicom.Dataset) -> None:
        del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
        dataset.BitsAllocated = bits
        setattr(dataset, keyword, np.linspace(0, 1, 16, dtype=f"<f{bits // 8}").tobytes())

    return changed(image(ramp(1, 4, 4, 1, stored=12), stored=12), into)


def one_bit(image: Image) -> Path:
    def into(dataset: pydicom.Dataset) -> None:
        dataset.BitsAllocated = dataset.BitsStored = 1
        dataset.HighBit = 0
        dataset.PixelData = b"\xa5\x5a"

    return changed(image(ramp(1, 4, 4, 1, stored=8), stored=8, allocated=8), into)


def overlay_in_high_bits(image: Image) -> Path:
    pixels = ramp(1, 8, 8, 1, stored=12)
    pixels[0, 2:5, 3:6] |= 0x1000

    def overlay(dataset: pydicom.Dataset) -> None:
        dataset.add_new(0x60000010, "US", 8)
        dataset.add_new(0x60000011, "US", 8)
        dataset.add_new(0x60000040, "CS", "G")
        dataset.add_new(0x60000050, "SS", [1, 1])
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", 12)

    return changed(image(pixels, stored=12), overlay)


def pixel_bytes(image: Image, more: int, filler: bytes = b"\0") -> Path:
    """One frame of 4 x 4 bytes, and so many bytes more or fewer than the header says."""

    def cut(dataset: pydicom.Dataset) -> None:
        dataset.PixelData = (dataset.PixelData + filler * max(0, more))[: 16 + more]

    return changed(image(ramp(1, 4, 4, 1, stored=8), stored=8, allocated=8), cut)


REFUSED: dict[str, tuple[Callable[[Image], Path], str]] = {
    "1 bit": (one_bit, "1 bit allocated"),
    "1 bit, real": (lambda image: real("liver_1frame.dcm"), "1 bit allocated|a segmentation is not made lossy"),
    "float": (lambda image: floating(image, "FloatPixelData", 32), "float pixel data"),
    "double": (lambda image: floating(image, "DoubleFloatPixelData", 64), "float pixel data"),
    "12 bits packed": (packed_12, "bits allocated other than 8, 16 and 32"),
    "a row short": (lambda image: pixel_bytes(image, -4), "shorter than Rows, Columns"),
    "two bytes too many": (lambda image: pixel_bytes(image, 2, b"\1"), "no padding of zeros"),
    "a second frame": (lambda image: pixel_bytes(image, 16), "longer than Rows, Columns"),
    "YBR_FULL_422": (
        lambda image: real("SC_ybr_full_422_uncompressed.dcm"),
        "Photometric Interpretation|lossy already",
    ),
    "report": (lambda image: real("test-SR.dcm"), "no pixel data"),
}


@by_syntax(*(uid for uid in sorted(MADE - {JPEGXL_JPEG}) if SYNTAXES[uid].encapsulated))
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_codec_holds_is_refused_with_the_reason(
    image: Image, transcode: Transcode, name: str, target: str
) -> None:
    """Goes on as it came; the log says why: "what the wanted syntax cannot hold" (README.md)."""
    make, reason = REFUSED[name]
    if target == DEFLATED_FRAMES and name.startswith("1 bit"):
        made = transcode(make(image), target)
        assert np.array_equal(by_pydicom(made), by_pydicom(make(image)))
        return
    with pytest.raises(Unfit, match=reason) as refused:
        transcode(make(image), target)
    assert_readable(str(refused.value))


@by_syntax(IMPLICIT_LE, DEFLATED_LE, EXPLICIT_BE)
@pytest.mark.parametrize("name", REFUSED)
def test_what_no_codec_holds_goes_from_one_native_syntax_to_another(
    image: Image, transcode: Transcode, name: str, target: str
) -> None:
    """Converts "implicit and explicit little endian, explicit big endian ... any one into any other" (README.md)."""
    path = REFUSED[name][0](image)
    if (target, name) in {(EXPLICIT_BE, "float"), (EXPLICIT_BE, "double")}:
        with pytest.raises(Unfit, match="more than 16 bits allocated in big endian"):
            transcode(path, target)
        return
    made = transcode(path, target)
    back = transcode(made, EXPLICIT_LE)
    wanted = transcode(path, EXPLICIT_LE) if read(path).file_meta.TransferSyntaxUID != EXPLICIT_LE else path
    assert others(back) == others(wanted)
    assert read(back).get("PixelData") == read(wanted).get("PixelData")


def colour(image: Image, allocated: int, **keys: Any) -> Path:
    return image(ramp(2, 5, 3, 3, stored=allocated), stored=allocated, allocated=allocated, **keys)


def without_number_of_frames(image: Image) -> Path:
    path = image(ramp(1, 7, 5, 1, stored=12), stored=12)
    assert "NumberOfFrames" not in read(path)
    return path


ALL = frozenset(uid for uid in LOSSLESS if SYNTAXES[uid].encapsulated)
JPEGS = frozenset({JPEG_LOSSLESS, JPEG_LOSSLESS_SV1})
WIDE = frozenset({RLE_LOSSLESS, DEFLATED_FRAMES})
# Made exactly in the syntaxes named here; refused, with a reason, in the others.
EXACT: dict[str, tuple[Callable[[Image], Path], frozenset[str]]] = {
    "1x1": (lambda image: image(ramp(1, 1, 1, 1, stored=12), stored=12), ALL),
    "3x5": (lambda image: image(ramp(1, 3, 5, 1, stored=8), stored=8, allocated=8), ALL),
    "5x3 signed": (lambda image: image(ramp(1, 5, 3, 1, stored=16, signed=True), stored=16, signed=True), ALL),
    "10 in 16": (lambda image: image(ramp(3, 7, 9, 1, stored=10), stored=10), ALL),
    "12 in 16 signed": (lambda image: image(ramp(3, 7, 9, 1, stored=12, signed=True), stored=12, signed=True), ALL),
    "5 in 8": (lambda image: image(ramp(1, 7, 9, 1, stored=5), stored=5, allocated=8), ALL),
    "MONOCHROME1": (lambda image: image(ramp(1, 7, 9, 1, stored=12), stored=12, photometric="MONOCHROME1"), ALL),
    "PALETTE COLOR": (lambda image: real("examples_palette.dcm"), ALL - {JPEGXL_LOSSLESS}),
    "1x1 RGB": (lambda image: image(ramp(1, 1, 1, 3, stored=8), stored=8, allocated=8), ALL),
    "RGB": (lambda image: colour(image, 8), ALL),
    "RGB by plane": (lambda image: colour(image, 8, planar=1), ALL),
    "RGB of 16 bits by plane": (lambda image: colour(image, 16, planar=1), ALL),
    "YBR_FULL": (lambda image: colour(image, 8, photometric="YBR_FULL"), ALL - {JPEGXL_LOSSLESS}),
    "YBR_FULL by plane": (
        lambda image: colour(image, 8, photometric="YBR_FULL", planar=1), ALL - {JPEGXL_LOSSLESS},
    ),
    "32 bits": (lambda image: image(ramp(2, 5, 3, 1, stored=32), stored=32, allocated=32), WIDE),
    "20 in 32": (lambda image: image(ramp(1, 5, 3, 1, stored=20), stored=20, allocated=32), WIDE),
    "overlay in high bits": (overlay_in_high_bits, JPEGS | WIDE),
    "overlay of its own": (lambda image: real("examples_overlay.dcm"), ALL),
    "no Number of Frames": (without_number_of_frames, ALL),
    "two bytes of padding": (lambda image: pixel_bytes(image, 2), ALL),
}  # fmt: skip

# gdcm 3.2 reads no JPEG XL, and neither RLE as short as this nor 5 bits in JPEG lossless; nor does it when DCMTK or
# pydicom wrote it.


@by_syntax(*sorted(ALL))
@pytest.mark.parametrize("name", EXACT)
def test_odd_pixels_are_exact_or_refused(
    image: Image, transcode: Transcode, gdcm: Gdcm, tmp_path: Path, name: str, target: str
) -> None:
    """Images "decode to exactly the pixels that came in"; else the image "goes on as it came" (README.md)."""
    make, held_by = EXACT[name]
    path = make(image)
    if target not in held_by:
        with pytest.raises(Unfit) as refused:
            transcode(path, target)
        assert_readable(str(refused.value))
        return
    made, pixels = transcode(path, target), by_pydicom(path)
    assert np.array_equal(by_pydicom(made), pixels)
    if target == RLE_LOSSLESS:
        assert np.array_equal(by_dcmtk(made, tmp_path), pixels)
    elif target not in (DEFLATED_FRAMES, JPEGXL_LOSSLESS) and (name != "5 in 8" or target not in JPEGS):  # for gdcm 3.2
        assert np.array_equal(gdcm(made), pixels)
    native_again = transcode(made, EXPLICIT_LE)
    assert np.array_equal(by_pydicom(native_again), pixels)
    assert others(made) == others(native_again) == others(path)
    if read(path).get("PlanarConfiguration", 0) == 0:  # each bit, those too that readers blank
        length = pixels.size * pixels.itemsize
        assert read(native_again).PixelData[:length] == read(path).PixelData[:length]
    if target in JPEG2000_FAMILY:
        assert_codestreams_hold(made, pixels, tmp_path, readers.by_opj_decompress)


def fragments(image: Image, transcode: Transcode, how: str, syntax: str) -> tuple[Path, Any]:
    """Three frames, encapsulated by pydicom; and their pixels."""
    pixels = ramp(3, 40, 31, 1, stored=12)
    path = transcode(image(pixels, stored=12), syntax)

    def into(dataset: pydicom.Dataset) -> None:
        frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
        if how == "extended":
            dataset.PixelData, dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = encapsulate_extended(
                frames
            )
        else:
            per_frame = 4 if "several" in how else 1
            dataset.PixelData = encapsulate(frames, fragments_per_frame=per_frame, has_bot="basic" in how)

    return changed(path, into), pixels


@by_syntax(EXPLICIT_LE, RLE_LOSSLESS, HTJ2K_LOSSLESS)
@pytest.mark.parametrize("syntax", [JPEG2000_LOSSLESS, JPEGLS_LOSSLESS, JPEG_LOSSLESS_SV1])
@pytest.mark.parametrize("how", ["basic", "no table", "extended", "several, basic", "several, no table"])
def test_frames_are_found_however_they_are_encapsulated(
    image: Image, transcode: Transcode, how: str, syntax: str, target: str
) -> None:
    """Frames are told "by their number, by there being one frame only, or by a table" (DECISIONS.md 64)."""
    path, pixels = fragments(image, transcode, how, syntax)
    made = transcode(path, target)
    assert np.array_equal(by_pydicom(made), pixels)
    after = read(made)
    assert "ExtendedOffsetTable" not in after
    assert "ExtendedOffsetTableLengths" not in after


@by_syntax(*LOSSLESS)
def test_a_sequence_delimiter_within_a_codestream_ends_nothing(
    transcode: Transcode, image: Image, tmp_path: Path, target: str
) -> None:
    """A fragment ends where its length says, whatever bytes are in it (PS3.5 A.4)."""
    broken = real("JPEG2000-embedded-sequence-delimiter.dcm")  # OpenJPEG's program calls its header impossible too
    with pytest.raises(Corrupt, match="impossible size"):
        transcode(broken, target)
    delimiter = b"\xfe\xff\xdd\xe0\0\0\0\0"
    pixels = ramp(1, 16, 16, 1, stored=8)
    path = transcode(image(pixels, stored=8, allocated=8), JPEG2000_LOSSLESS)

    def comment(dataset: pydicom.Dataset) -> None:
        codestream = next(generate_frames(dataset.PixelData, number_of_frames=1))
        at = codestream.index(b"\xff\x52")  # COD: a comment marker may stand before it
        marker = b"\xff\x64" + (4 + len(delimiter)).to_bytes(2, "big") + b"\0\0" + delimiter
        dataset.PixelData = encapsulate([codestream[:at] + marker + codestream[at:]])

    odd = changed(path, comment)
    if target != JPEG2000_LOSSLESS:
        assert np.array_equal(by_pydicom(transcode(odd, target)), pixels)
