"""Whole objects: the result is decoded by pydicom with pylibjpeg-openjpeg, independently of Leyden's codecs."""

import errno
import lzma
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from msgspec.structs import replace
from pydicom.data import get_testdata_file
from pydicom.encaps import generate_frames, parse_basic_offsets

from leyden.dicom.part10 import FileMeta, decode_head, encode_head
from leyden.dicom.uids import (
    DEFLATED_FRAMES,
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    IMPLICIT_LE,
    JPEG2000,
    JPEG2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEGLS_NEAR_LOSSLESS,
    JPEGXL,
    JPEGXL_LOSSLESS,
    MADE,
    RLE_LOSSLESS,
    SYNTAXES,
)
from leyden.errors import Corrupt
from leyden.transcode import job
from leyden.transcode import source as source_module
from leyden.transcode.job import Verify
from leyden.transcode.pixels import Unfit
from leyden.transcode.source import Source, Unreadable
from support.datasets import el
from support.readers import by_djxl, inflated

Transcode = Callable[..., Path]
Image = Callable[..., Path]
WG04 = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "wg04"
UNCOMPRESSED = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE)

COMPRESSED_FILES = (
    "CT_small.dcm", "ExplVR_BigEnd.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
    "MR_small_padded.dcm", "SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm", "SC_rgb_jpeg_dcmd.dcm",
    "examples_overlay.dcm", "examples_palette.dcm", "examples_rgb_color.dcm", "image_dfl.dcm",
)  # fmt: skip
UNFIT_FILES = {
    "liver_1frame.dcm": "1 bit",
    "liver_expb_1frame.dcm": "1 bit",
    "rtdose.dcm": "bits allocated",
    "SC_ybr_full_422_uncompressed.dcm": "Photometric",
    "waveform_ecg.dcm": "no pixel data",
    "test-SR.dcm": "no pixel data",
    "rtplan.dcm": "no pixel data",
    "badVR.dcm": "incomplete Image Pixel module",
    "rtplan_truncated.dcm": "does not parse",
    "meta_missing_tsyntax.dcm": "transfer syntax",
}
# Their codestreams lose nothing, or nothing more: every decoder makes the same pixels of them.
DECODED_FILES = (
    "examples_jpeg2k.dcm", "MR_small_jp2klossless.dcm", "J2K_pixelrep_mismatch.dcm", "MR_small_RLE.dcm",
    "GDCMJ2K_TextGBR.dcm", "MR_small_jpeg_ls_lossless.dcm", "rtdose_rle.dcm", "rtdose_rle_1frame.dcm",
    "SC_rgb_rle.dcm", "SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_rle_32bit_2frame.dcm", "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm",
)  # fmt: skip
LOSSLESS = sorted(uid for uid in MADE if SYNTAXES[uid].encapsulated and not SYNTAXES[uid].lossy)
LOSSY = {
    JPEG2000: {"ratio": 8.0}, HTJ2K: {"ratio": 8.0}, JPEGLS_NEAR_LOSSLESS: {"near": 3},
    JPEG_BASELINE: {"quality": 90}, JPEG_EXTENDED: {"quality": 90}, JPEGXL: {"quality": 95},
}  # fmt: skip


def sample(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert path is not None
    return Path(path)


def read(path: Path) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of its own odd files
        return pydicom.dcmread(path, force=True)


def decode(path: Path) -> Any:
    dataset = read(path)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in (JPEGXL_LOSSLESS, JPEGXL):  # pydicom has no decoder for it
        frames = by_djxl(path)
        frames = frames if frames.shape[3] > 1 else frames[..., 0]
        return frames if len(frames) > 1 else frames[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plugin = "pylibjpeg" if SYNTAXES[syntax].encapsulated and syntax != DEFLATED_FRAMES else ""
        return pydicom.pixels.pixel_array(inflated(dataset), raw=True, decoding_plugin=plugin)


def others(path: Path, *but: str) -> dict[int, Any]:
    """The values of all elements, those of the pixels and group lengths left out."""
    names = {"PixelData", *but}
    return {int(e.tag): e.value for e in read(path) if e.keyword not in names and e.tag.element != 0}


def encoded_as(path: Path) -> str:
    return str(pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID)


def random_pixels(shape: tuple[int, ...], stored: int, signed: bool) -> Any:
    low, high = (-(1 << (stored - 1)), 1 << (stored - 1)) if signed else (0, 1 << stored)
    pixels = np.random.default_rng(stored).integers(low, high, shape)
    pixels.flat[0], pixels.flat[-1] = low, high - 1
    return pixels


@pytest.mark.parametrize("syntax", UNCOMPRESSED[:3])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 3), (8, 8), (16, 5), (16, 8), (16, 12), (16, 15), (16, 16)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 7, 9, 1)])
def test_grey(
    image: Image, transcode: Transcode, shape: Any, allocated: int, stored: int, signed: bool, syntax: str
) -> None:
    pixels = random_pixels(shape, stored, signed)
    path = image(pixels, stored=stored, allocated=allocated, signed=signed, syntax=syntax)
    made = transcode(path, JPEG2000_LOSSLESS)
    assert encoded_as(made) == JPEG2000_LOSSLESS
    assert np.array_equal(decode(made).reshape(shape), pixels)
    before = others(path)
    assert others(made) == before
    for native in (EXPLICIT_LE, IMPLICIT_LE):
        back = transcode(made, native)
        assert encoded_as(back) == native
        assert np.array_equal(decode(back).reshape(shape), pixels)
        assert others(back) == before


@pytest.mark.parametrize("syntax", UNCOMPRESSED[:3])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 10), (16, 16)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (3, 7, 9, 3)])
def test_colour(
    image: Image, transcode: Transcode, shape: Any, allocated: int, stored: int, planar: int, photometric: str,
    syntax: str,
) -> None:  # fmt: skip
    pixels = random_pixels(shape, stored, False)
    path = image(pixels, stored=stored, allocated=allocated, planar=planar, photometric=photometric, syntax=syntax)
    made = transcode(path, JPEG2000_LOSSLESS)
    dataset = read(made)
    assert dataset.PhotometricInterpretation == ("YBR_RCT" if photometric == "RGB" else "YBR_FULL")
    assert dataset.PlanarConfiguration == 0
    assert np.array_equal(decode(made).reshape(shape), pixels)
    changed = ("PhotometricInterpretation", "PlanarConfiguration")
    assert others(made, *changed) == others(path, *changed)
    back = transcode(made, EXPLICIT_LE)
    assert np.array_equal(decode(back).reshape(shape), pixels)
    assert others(back, "PlanarConfiguration") == others(path, "PlanarConfiguration")


def test_everything_but_the_pixels_stays_byte_for_byte(image: Image, transcode: Transcode) -> None:
    path = image(random_pixels((2, 6, 7, 1), 12, False), stored=12)
    before, after = path.read_bytes(), transcode(path, JPEG2000_LOSSLESS).read_bytes()
    before = before[decode_head(before)[1] :]  # type: ignore[index]
    after = after[decode_head(after)[1] :]  # type: ignore[index]
    old, new = b"\xe0\x7f\x10\x00OW\0\0", b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff"
    assert before[: before.index(old)] == after[: after.index(new)]
    assert before[before.index(old) + 12 + 2 * 6 * 7 * 2 :] == after[after.index(b"\xfe\xff\xdd\xe0\0\0\0\0") + 8 :]


def test_the_envelope_stays(image: Image, transcode: Transcode) -> None:
    path = image(random_pixels((1, 4, 4, 1), 12, False), stored=12)
    before, after = read(path).file_meta, read(transcode(path, JPEG2000_LOSSLESS)).file_meta
    for keyword in ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "SourceApplicationEntityTitle"):
        assert before[keyword].value == after[keyword].value


def test_fragments_and_offset_table(image: Image, transcode: Transcode) -> None:
    made = transcode(image(random_pixels((5, 30, 31, 1), 12, False), stored=12), JPEG2000_LOSSLESS)
    data = read(made).PixelData
    frames = list(generate_frames(data, number_of_frames=5))
    assert len(parse_basic_offsets(data)) == 5
    assert all(frame[:4] == b"\xff\x4f\xff\x51" and len(frame) % 2 == 0 for frame in frames)


@pytest.mark.parametrize("name", COMPRESSED_FILES)
def test_real_files_are_compressed_exactly(transcode: Transcode, name: str) -> None:
    path = sample(name)
    made = transcode(path, JPEG2000_LOSSLESS)
    assert encoded_as(made) == JPEG2000_LOSSLESS
    assert np.array_equal(decode(made), decode(path))
    changed = ("PhotometricInterpretation", "PlanarConfiguration")
    assert others(made, *changed) == others(path, *changed)
    back = transcode(made, EXPLICIT_LE)
    assert np.array_equal(decode(back), decode(path))


@pytest.mark.parametrize(("name", "reason"), UNFIT_FILES.items())
def test_real_files_that_go_on_as_they_came(transcode: Transcode, name: str, reason: str) -> None:
    with pytest.raises(Unfit, match=reason):
        transcode(sample(name), JPEG2000_LOSSLESS)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("name", DECODED_FILES)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_real_codestreams_are_decoded_exactly(transcode: Transcode, name: str, syntax: str) -> None:
    path = sample(name)
    made = transcode(path, syntax)
    assert encoded_as(made) == syntax
    assert np.array_equal(decode(made), decode(path))
    lossy = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
    changed = ("PhotometricInterpretation", "PlanarConfiguration", *lossy)
    assert others(made, *changed) == others(path, *changed)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE])
@pytest.mark.parametrize("name", ["CT_small.dcm", "liver_expb_1frame.dcm", "image_dfl.dcm", "rtdose.dcm", "rtplan.dcm"])
def test_uncompressed_to_uncompressed(transcode: Transcode, name: str, syntax: str) -> None:
    made = transcode(sample(name), syntax)
    assert encoded_as(made) == syntax
    assert others(made).keys() == others(sample(name)).keys()
    if "PixelData" in read(sample(name)):
        assert np.array_equal(decode(made), decode(sample(name)))


@pytest.mark.parametrize("target", LOSSLESS)
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(("allocated", "stored"), [(8, 8), (16, 12), (16, 16)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 7, 9, 1)])
def test_each_lossless_syntax(
    image: Image, transcode: Transcode, shape: Any, allocated: int, stored: int, signed: bool, syntax: str, target: str
) -> None:
    pixels = random_pixels(shape, stored, signed)
    path = image(pixels, stored=stored, allocated=allocated, signed=signed, syntax=syntax)
    made = transcode(path, target, verify=Verify.ALL)
    assert encoded_as(made) == target
    assert np.array_equal(decode(made).reshape(shape), pixels)
    assert others(made) == others(path)
    assert np.array_equal(decode(transcode(made, EXPLICIT_LE)).reshape(shape), pixels)


@pytest.mark.parametrize("target", LOSSLESS)
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_in_each_lossless_syntax(image: Image, transcode: Transcode, planar: int, target: str) -> None:
    pixels = random_pixels((2, 7, 9, 3), 8, False)
    path = image(pixels, stored=8, allocated=8, planar=planar)
    made = transcode(path, target, verify=Verify.ALL)
    assert np.array_equal(decode(made).reshape(pixels.shape), pixels)
    assert read(made).PlanarConfiguration == 0
    assert np.array_equal(decode(transcode(made, EXPLICIT_LE)).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("source", LOSSLESS)
@pytest.mark.parametrize("target", [*LOSSLESS, DEFLATED_LE, EXPLICIT_BE])
def test_from_each_lossless_syntax_to_each_other(image: Image, transcode: Transcode, source: str, target: str) -> None:
    if source == target:
        return
    pixels = random_pixels((2, 11, 13, 1), 12, True)
    path = image(pixels, stored=12, signed=True)
    made = transcode(transcode(path, source), target, verify=Verify.FIRST)
    assert encoded_as(made) == target
    assert np.array_equal(decode(made).reshape(pixels.shape), pixels)
    assert others(made) == others(path)


@pytest.mark.parametrize("target", [EXPLICIT_BE, DEFLATED_LE])
@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_implicit.dcm", "test-SR.dcm", "rtplan.dcm", "liver_1frame.dcm"]
)
def test_big_endian_and_deflated(transcode: Transcode, name: str, target: str) -> None:
    made = transcode(sample(name), target)
    assert encoded_as(made) == target
    before, after = read(sample(name)), read(made)
    assert [(e.tag, e.VR) for e in after if e.tag.element] == [(e.tag, e.VR) for e in before if e.tag.element]
    if "PixelData" in before:
        assert np.array_equal(decode(made), decode(sample(name)))
    back = transcode(made, EXPLICIT_LE)
    assert others(back) == others(sample(name))


def test_values_beyond_bits_stored_are_kept_by_what_keeps_every_bit(image: Image, transcode: Transcode) -> None:
    pixels = random_pixels((3, 8, 8, 1), 12, False)
    pixels[1, 4, 4, 0] |= 0xF000
    path = image(pixels, stored=12)
    back = transcode(transcode(path, RLE_LOSSLESS), EXPLICIT_LE)  # other readers blank those bits themselves
    assert read(back).PixelData == read(path).PixelData


@pytest.mark.parametrize(("target", "terms"), LOSSY.items())
def test_lossy(image: Image, transcode: Transcode, target: str, terms: dict[str, Any]) -> None:
    rows = np.add.outer(np.arange(64), np.arange(96)) % 256
    pixels = np.stack([rows, rows[::-1]])[..., None]
    path = image(pixels, stored=8, allocated=8)
    made = transcode(path, target, destination="PACS", verify=Verify.ALL, **terms)
    before, after = read(path), read(made)
    assert after.SOPInstanceUID == after.file_meta.MediaStorageSOPInstanceUID
    assert after.SOPInstanceUID.startswith("2.25.")
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.LossyImageCompression == "01"
    encoded_bytes = sum(map(len, generate_frames(after.PixelData, number_of_frames=2)))
    assert float(after.LossyImageCompressionRatio) == pytest.approx(pixels.size / encoded_bytes, rel=0.02)
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert np.abs(decode(made).reshape(pixels.shape).astype(int) - pixels).max() < 40
    again = transcode(path, target, destination="PACS", **terms)
    assert again.read_bytes() == made.read_bytes(), "made twice it is the same object"
    elsewhere = transcode(path, target, destination="OTHER", **terms)
    assert read(elsewhere).SOPInstanceUID != after.SOPInstanceUID


@pytest.mark.parametrize(("target", "terms"), LOSSY.items())
def test_lossy_is_not_applied_twice_by_accident(transcode: Transcode, target: str, terms: dict[str, Any]) -> None:
    for name in ("JPEG2000.dcm", "examples_ybr_color.dcm"):
        if encoded_as(sample(name)) != target:
            with pytest.raises(Unfit, match="RecompressLossy"):
                transcode(sample(name), target, **terms)


def test_lossy_is_applied_again_if_the_node_asks_for_it(transcode: Transcode) -> None:
    path = sample("examples_ybr_color.dcm")
    made = transcode(path, JPEG2000, ratio=10.0, recompress_lossy=True)
    after = read(made)
    assert after.LossyImageCompressionMethod[-1] == "ISO_15444_1"
    assert len(after.LossyImageCompressionMethod) == len(after.LossyImageCompressionRatio)
    assert after.PhotometricInterpretation == "YBR_ICT"


@pytest.mark.parametrize("target", [EXPLICIT_LE, JPEG2000_LOSSLESS])
def test_a_lossy_instance_says_so_when_its_syntax_no_longer_does(transcode: Transcode, target: str) -> None:
    path = sample("examples_ybr_color.dcm")
    made = transcode(path, target)
    assert read(made).LossyImageCompression == "01"
    assert read(made).SOPInstanceUID == read(path).SOPInstanceUID


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "examples_ybr_color.dcm"])
def test_a_codestream_in_a_value_of_defined_length_is_not_taken_for_pixels(
    tmp_path: Path, transcode: Transcode, name: str
) -> None:
    data = sample(name).read_bytes()
    begin = data.index(b"\xff\xff\xff\xff", data.rindex(b"\xe0\x7f\x10\x00O"))
    value = data[begin + 4 : data.rindex(b"\xfe\xff\xdd\xe0")]
    path = tmp_path / "defined.dcm"
    path.write_bytes(data[:begin] + struct.pack("<L", len(value)) + value)
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        with pytest.raises(Unfit, match="defined length"):
            transcode(path, syntax)


@pytest.mark.parametrize("jpip", ["1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.204"])
@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, JPEG2000_LOSSLESS])
def test_an_object_with_pixels_elsewhere_is_not_relabelled(
    tmp_path: Path, transcode: Transcode, jpip: str, syntax: str
) -> None:
    data = sample("CT_small.dcm").read_bytes()
    meta, begin = decode_head(data)  # type: ignore[misc]
    body = data[begin:]
    if jpip.endswith("95"):
        deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        body = deflate.compress(body) + deflate.flush()
    path = tmp_path / "jpip.dcm"
    path.write_bytes(encode_head(replace(meta, transfer_syntax_uid=jpip)) + body)
    with pytest.raises(Unfit, match="elsewhere"):
        transcode(path, syntax)


@pytest.mark.parametrize("undefined", [False, True])
def test_a_compressed_icon_is_not_left_in_an_uncompressed_object(
    tmp_path: Path, transcode: Transcode, undefined: bool
) -> None:
    dataset = read(sample("MR_small_jp2klossless.dcm"))
    icon = pydicom.Dataset()
    icon.Rows = icon.Columns = 8
    icon.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51icon"])
    icon["PixelData"].VR = "OB"
    icon["PixelData"].is_undefined_length = True
    dataset.IconImageSequence = [icon]
    dataset["IconImageSequence"].is_undefined_length = undefined
    icon.is_undefined_length_sequence_item = undefined
    path = tmp_path / "icon.dcm"
    dataset.save_as(path)
    for syntax in (EXPLICIT_LE, IMPLICIT_LE):
        with pytest.raises(Unfit, match="icon"):
            transcode(path, syntax)
    icon.PixelData = bytes(64)
    icon["PixelData"].is_undefined_length = False
    dataset.save_as(path)
    made = transcode(path, EXPLICIT_LE)
    assert np.array_equal(decode(made), decode(path))
    assert read(made).IconImageSequence[0].PixelData == bytes(64)


def test_fragments_under_another_tag_are_not_left_in_an_uncompressed_object(
    tmp_path: Path, transcode: Transcode
) -> None:
    data = bytearray(sample("SC_rgb_jpeg_dcmtk.dcm").read_bytes())
    at = data.rindex(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff")
    data[at + 1] = 0x80  # (80E0,0010), of no dictionary
    path = tmp_path / "moved.dcm"
    path.write_bytes(data)
    for syntax in (EXPLICIT_LE, IMPLICIT_LE, DEFLATED_LE):
        with pytest.raises(Unfit, match="nested image"):
            transcode(path, syntax)


def test_a_source_that_the_system_does_not_read_is_told_from_a_full_disk(
    image: Image, transcode: Transcode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = image(random_pixels((1, 4, 4, 1), 12, False), stored=12)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(path)
    for unreadable in (tmp_path, tmp_path / "fifo", tmp_path / "link"):
        with pytest.raises(Unreadable):
            Source(unreadable)
    with pytest.raises(FileNotFoundError):
        Source(tmp_path / "gone")

    def failing(number: int) -> Callable[..., Any]:
        def call(*_: Any) -> Any:
            raise OSError(number, os.strerror(number))

        return call

    monkeypatch.setattr(os, "preadv", failing(errno.EIO))
    with pytest.raises(Unreadable, match="Input/output"):
        transcode(path, JPEG2000_LOSSLESS)
    monkeypatch.setattr(os, "preadv", failing(errno.ENOMEM))
    with pytest.raises(OSError, match="memory"):
        transcode(path, JPEG2000_LOSSLESS)


def test_big_endian_beyond_16_bits_is_left_alone(transcode: Transcode) -> None:
    with pytest.raises(Unfit, match="order"):
        transcode(sample("rtdose_expb_1frame.dcm"), EXPLICIT_LE)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("frame", [0, 2])
def test_overlays_in_high_bits(image: Image, transcode: Transcode, frame: int, signed: bool) -> None:
    pixels = random_pixels((3, 8, 8, 1), 12, signed)
    pixels[frame, 4, 4, 0] = 1 << 12
    with pytest.raises(Unfit, match="overlays in the high bits"):
        transcode(image(pixels, stored=12, signed=signed), JPEG2000_LOSSLESS)


def test_other_high_bit(image: Image, transcode: Transcode) -> None:
    with pytest.raises(Unfit, match="High Bit"):
        transcode(image(random_pixels((1, 4, 4, 1), 12, False), stored=12, high_bit=15), JPEG2000_LOSSLESS)


def test_a_frame_above_the_limit(image: Image, transcode: Transcode) -> None:
    path = image(random_pixels((1, 64, 64, 1), 12, False), stored=12)
    with pytest.raises(Unfit, match="maxFrameMib"):
        transcode(path, JPEG2000_LOSSLESS, max_frame_bytes=8191)
    assert transcode(path, JPEG2000_LOSSLESS, max_frame_bytes=8192).exists()


def test_more_pixels_than_the_header_says_are_not_cut_off(image: Image, transcode: Transcode) -> None:
    pixels = random_pixels((1, 5, 5, 1), 8, False)
    for padding in (b"\xff", bytes(21)):
        path = image(pixels, stored=8, allocated=8, extra_bytes=padding)
        assert np.array_equal(decode(transcode(path, JPEG2000_LOSSLESS)).reshape(pixels.shape), pixels)
    for count in (2, 21):
        path = image(pixels, stored=8, allocated=8, extra_bytes=b"\xff" * count)
        with pytest.raises(Unfit, match="longer"):
            transcode(path, JPEG2000_LOSSLESS)


def test_fewer_pixels_than_the_header_says(image: Image, transcode: Transcode) -> None:
    path = image(random_pixels((1, 5, 5, 1), 12, False), stored=12)
    dataset = read(path)
    dataset.NumberOfFrames = 2
    dataset.save_as(path)
    with pytest.raises(Unfit, match="shorter"):
        transcode(path, JPEG2000_LOSSLESS)


@pytest.mark.parametrize("keep", [0.6, 0.99])
def test_a_file_that_is_cut_off(image: Image, transcode: Transcode, keep: float) -> None:
    path = image(random_pixels((1, 50, 50, 1), 12, False), stored=12)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(Corrupt):
        transcode(path, JPEG2000_LOSSLESS)


@pytest.mark.parametrize("content", [b"", b"rubbish" * 100, bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(2000)])
def test_a_file_that_is_not_part_10(tmp_path: Path, transcode: Transcode, content: bytes) -> None:
    path = tmp_path / "rubbish.dcm"
    path.write_bytes(content)
    with pytest.raises((Corrupt, Unfit)):
        transcode(path, JPEG2000_LOSSLESS)


def test_a_damaged_codestream_is_corrupt(image: Image, transcode: Transcode) -> None:
    made = transcode(image(random_pixels((1, 64, 64, 1), 12, False), stored=12), JPEG2000_LOSSLESS)
    content = bytearray(made.read_bytes())
    begin = content.index(b"\xff\x93") + 100
    content[begin : begin + 3000] = b"\xff" * 3000
    made.write_bytes(content)
    with pytest.raises(Corrupt):
        transcode(made, EXPLICIT_LE)


def test_inflating_is_bounded(transcode: Transcode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "MAX_INFLATED_BYTES", 10_000)
    with pytest.raises(Unfit, match="deflated dataset of more than"):
        transcode(sample("image_dfl.dcm"), JPEG2000_LOSSLESS)


def test_a_deflated_dataset_that_is_cut_off(tmp_path: Path, transcode: Transcode) -> None:
    path = tmp_path / "cut.dcm"
    path.write_bytes(sample("image_dfl.dcm").read_bytes()[:-500])
    with pytest.raises(Unfit, match="too early"):
        transcode(path, JPEG2000_LOSSLESS)


@pytest.mark.skipif(not WG04.is_dir(), reason=f"the NEMA WG04 images are not at {WG04}")
@pytest.mark.parametrize("name", ["CT1", "MR1", "MR2", "NM1", "RG3", "US1", "VL1", "XA1"])
def test_nema_images(tmp_path: Path, transcode: Transcode, name: str) -> None:
    path = tmp_path / f"{name}.dcm"
    path.write_bytes(lzma.decompress((WG04 / f"{name}.dcm.xz").read_bytes()))
    made = transcode(path, JPEG2000_LOSSLESS)
    assert np.array_equal(decode(made), decode(path))
    nema = WG04 / f"{name}_J2KR.dcm"
    if nema.exists():
        assert made.stat().st_size < nema.stat().st_size * 1.01
    back = transcode(made, EXPLICIT_LE)
    assert np.array_equal(decode(back), decode(path))


@pytest.mark.skipif(not WG04.is_dir(), reason=f"the NEMA WG04 images are not at {WG04}")
@pytest.mark.parametrize("name", ["CT1", "MR2", "US1"])
def test_nema_codestreams(transcode: Transcode, name: str) -> None:
    path = WG04 / f"{name}_J2KR.dcm"
    made = transcode(path, IMPLICIT_LE)
    assert np.array_equal(decode(made), decode(path))


def written(tmp_path: Path, dataset: bytes, syntax: str, name: str = "odd.dcm") -> Path:
    path = tmp_path / name
    path.write_bytes(encode_head(FileMeta("1.2.840.10008.5.1.4.1.1.7", "2.25.5", syntax)) + dataset)
    return path


def padded(path: Path) -> bytes:
    """The dataset as job.pad() writes it; of an object that needs it."""
    source, out = Source(path), BytesIO()
    try:
        assert source.uneven
        job.pad(source, out)
    finally:
        source.close()
    made = out.getvalue()
    assert made.startswith(encode_head(FileMeta("1.2.840.10008.5.1.4.1.1.7", "2.25.5", str(source.received.uid))))
    return made[len(encode_head(source.meta)) :]


def three_by_three(pixels: bytes) -> bytes:
    """A 3 x 3 image of 8 bits, as bytes in explicit little endian."""
    numbers = ((0x00280010, 3), (0x00280011, 3), (0x00280100, 8), (0x00280101, 8), (0x00280102, 7), (0x00280103, 0))
    shape = b"".join(el(tag, "US", struct.pack("<H", number)) for tag, number in numbers)
    return (
        el(0x00080018, "UI", b"2.25.5")
        + el(0x00280002, "US", b"\1\0")
        + el(0x00280004, "CS", b"MONOCHROME2 ")
        + shape
        + el(0x7FE00010, "OB", pixels)
    )


def test_odd_pixels_are_padded_and_stay(tmp_path: Path, transcode: Transcode) -> None:
    pixels = bytes(range(9))
    path = written(tmp_path, three_by_three(pixels), EXPLICIT_LE)
    assert padded(path) == three_by_three(pixels + b"\0")
    for syntax in (*LOSSLESS, IMPLICIT_LE, EXPLICIT_BE, DEFLATED_LE):
        made = transcode(path, syntax, verify=Verify.ALL)
        assert (made.stat().st_size - Source(made).header.offset) % 2 == 0
        if SYNTAXES[syntax].encapsulated:
            made = transcode(made, EXPLICIT_LE)
        assert read(made).pixel_array.tobytes() == pixels


def test_a_large_odd_image_is_read_piece_by_piece(tmp_path: Path, transcode: Transcode, image: Image) -> None:
    path = image(random_pixels((1, 1025, 1023, 1), 16, False), stored=16)
    data = path.read_bytes()
    meta, begin = decode_head(data)  # type: ignore[misc]
    text = el(0x00080001, "LO", b"ACM")
    odd = tmp_path / "with-a-text.dcm"
    odd.write_bytes(encode_head(meta) + text + data[begin:])
    assert np.array_equal(decode(transcode(odd, JPEG2000_LOSSLESS)), read(path).pixel_array)


def test_a_deflated_dataset_of_odd_length_is_padded_at_its_end(tmp_path: Path) -> None:
    made_of = (three_by_three(bytes([seed] * 10)) for seed in range(256))
    stream = next(stream for dataset in made_of if len(stream := deflated(dataset, level=1)) % 2)
    assert padded(written(tmp_path, stream, DEFLATED_LE)) == stream + b"\0"


def test_a_deflated_dataset_with_an_odd_value_is_deflated_again(tmp_path: Path) -> None:
    made = padded(written(tmp_path, deflated(three_by_three(bytes(range(9)))), DEFLATED_LE))
    assert len(made) % 2 == 0
    assert zlib.decompress(made, -15) == three_by_three(bytes(range(9)) + b"\0")


def deflated(data: bytes, level: int = -1) -> bytes:
    deflater = zlib.compressobj(level, wbits=-15)
    return deflater.compress(data) + deflater.flush()


def test_a_deflated_dataset_that_refers_to_pixels_elsewhere_gets_its_byte_too(tmp_path: Path) -> None:
    urls = (el(0x00287FE0, "UR", (f"http://archive/{n}" + "0" * n).ljust(60).encode()) for n in range(40))
    dataset = next(url for url in urls if len(deflated(url)) % 2)
    path = written(tmp_path, deflated(dataset), "1.2.840.10008.1.2.4.95")
    assert padded(path) == deflated(dataset) + b"\0"


@pytest.mark.parametrize("name", ["MR_small.dcm", "MR_small_RLE.dcm", "examples_jpeg2k.dcm"])
def test_an_object_without_odd_values_is_read_as_it_is(name: str) -> None:
    source = Source(sample(name))
    assert not source.uneven
    source.close()
