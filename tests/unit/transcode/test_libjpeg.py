"""JPEG of four processes: read by DCMTK, GDCM, pylibjpeg-libjpeg; reading what DCMTK, Pillow and devices wrote."""

import io
import itertools
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest
from msgspec.structs import replace
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    generate_uid,
)

from leyden.errors import Corrupt
from leyden.transcode import jpeg, libjpeg
from leyden.transcode.pixels import Description, Planes, Unfit
from support import lossless
from support.peers import run_dcmtk

GREY8 = Description(45, 61, 1, 8, 8, 7, False, "MONOCHROME2")
GREY12 = Description(45, 61, 1, 16, 12, 11, False, "MONOCHROME2")
RGB = Description(45, 61, 3, 8, 8, 7, False, "RGB")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NOISE = np.random.default_rng(1)


def room_for(planes: Planes) -> memoryview:
    return memoryview(bytearray(planes.size_bytes * 5 // 4 + 16384))


def encoded(planes: Planes, values: Any, setting: float = 0.0, predictor: int = 1) -> memoryview:
    pixels = memoryview(bytearray(np.ascontiguousarray(values).astype(planes.dtype).tobytes()))
    room = room_for(planes)
    return room[: libjpeg.encode(planes, pixels, room, setting, 0, predictor)]


def decoded(planes: Planes, codestream: memoryview | bytes) -> Any:
    pixels = memoryview(bytearray(planes.size_bytes))
    libjpeg.decode(memoryview(codestream), planes, pixels)
    return planes.view(pixels)


def noise(planes: Planes) -> Any:
    return NOISE.integers(0, 1 << planes.precision, (planes.samples, planes.rows, planes.columns))


def smooth(planes: Planes) -> Any:
    y, x = np.mgrid[: planes.rows, : planes.columns]
    values = (np.sin(x / 9) + np.cos(y / 7) + 2) / 4 * ((1 << planes.precision) - 1)
    return np.stack([values * (number + 1) / planes.samples for number in range(planes.samples)]).astype(planes.dtype)


def by_pillow(values: Any, **terms: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(values)).save(file, "JPEG", **terms)
    return file.getvalue()


def write(path: Path, syntax: str, d: Description, pixels: bytes, photometric: str = "") -> Path:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SECONDARY_CAPTURE
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), generate_uid()
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PixelRepresentation = d.rows, d.columns, d.samples, int(d.signed)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = d.bits_allocated, d.bits_stored, d.high_bit
    ds.PhotometricInterpretation = photometric or d.photometric
    if d.samples > 1:
        ds.PlanarConfiguration = 0
    ds.PixelData = encapsulate([pixels])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    ds.save_as(path, enforce_file_format=True)
    return path


def by_dcmtk(path: Path, *options: str) -> pydicom.Dataset:
    raw = path.with_suffix(".raw")
    run_dcmtk("dcmdjpeg", *options, str(path), str(raw)).check_returncode()
    return pydicom.dcmread(raw)


def by_pydicom(path: Path, plugin: str, as_rgb: bool = False) -> Any:
    ds = pydicom.dcmread(path)
    array, _ = get_decoder(ds.file_meta.TransferSyntaxUID).as_array(ds, decoding_plugin=plugin, as_rgb=as_rgb)
    return array


def description(ds: pydicom.Dataset) -> Description:
    return Description(
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.BitsAllocated, ds.BitsStored, ds.HighBit,
        bool(ds.PixelRepresentation), ds.PhotometricInterpretation,
    )  # fmt: skip


def first_frame(ds: pydicom.Dataset) -> memoryview:
    return memoryview(next(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames", 1)))))


@pytest.mark.parametrize("precision", [2, 7, 8, 9, 12, 13, 16])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (1, 70), (70, 1), (65, 33)])
def test_lossless_is_exact(rows: int, columns: int, samples: int, precision: int) -> None:
    for predictor, rct in itertools.product(range(8), (False, True)[:samples]):
        planes = Planes(samples, rows, columns, precision, rct=rct)
        values = noise(planes)
        codestream = encoded(planes, values, predictor=predictor)
        assert np.array_equal(decoded(planes, codestream), values)
        independent = imagecodecs.jpegsof3_decode(bytes(codestream)).reshape(rows, columns, samples)
        assert np.array_equal(independent.transpose(2, 0, 1), values)
        assert jpeg.read(codestream).predictor in ({predictor} if predictor else set(range(1, 8)))


WRAPPED = {
    "like signed": lossless.like_signed,
    "shortest differences": lossless.with_shortest_differences,
    "as they are": lambda values, precision: values,
}

POINT_TRANSFORMS = [
    *((2, 1), (5, 2), (8, 1), (8, 2), (8, 7), (9, 1), (10, 1), (12, 2), (12, 4), (13, 12), (15, 3)),
    *((16, 1), (16, 2), (16, 6), (16, 7), (16, 8), (16, 15)),
]


@pytest.mark.parametrize(
    ("precision", "point_transform"), [*((bits, 0) for bits in (2, 5, 8, 9, 12, 15, 16)), *POINT_TRANSFORMS]
)
@pytest.mark.parametrize("name", WRAPPED)
def test_samples_count_modulo_their_precision(name: str, precision: int, point_transform: int) -> None:
    """As H.1.2.1 has it modulo 2^16; of 8 bits the library alone would not show how."""
    planes = Planes(1, 18, 21, precision)
    values = noise(planes) >> point_transform
    states = WRAPPED[name](values[0], precision - point_transform)
    for predictor, restart_rows in itertools.product(range(1, 8), (0, 4)):
        codestream = lossless.encoded(states, precision, predictor, restart_rows, point_transform)
        assert np.array_equal(decoded(planes, codestream), values << point_transform)
        shorter = codestream[:-4] + b"\xff\xd9"
        longer = codestream[:-2] + b"\x5a\xff\xd9"
        for damaged in (shorter, longer):
            with pytest.raises(Corrupt, match="damaged lossless JPEG"):
                decoded(planes, damaged)


@pytest.mark.parametrize("point_transform", [0, 1, 4])
@pytest.mark.parametrize("predictor", range(1, 5))
@pytest.mark.parametrize("precision", [6, 8, 16])
def test_a_saw_that_only_climbs_is_exact(precision: int, predictor: int, point_transform: int) -> None:
    """With differences the shortest modulo 2^precision its samples go through all of 2^16."""
    bits = precision - point_transform
    climb = np.add.outer(np.arange(5), np.arange(3000)) * ((1 << bits) // 3)
    codestream = lossless.encoded(climb, precision, predictor, point_transform=point_transform)
    seen = decoded(Planes(1, *climb.shape, precision), codestream)
    assert np.array_equal(seen[0], climb % (1 << bits) << point_transform)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(("stored", "point_transform"), [(8, 1), (8, 5), (12, 2), (16, 1), (16, 2), (16, 9), (16, 15)])
def test_a_point_transform_by_dcmtk(stored: int, point_transform: int, predictor: int, tmp_path: Path) -> None:
    """Each predictor, and each point transform, with and without a sign."""
    signed = (predictor + point_transform) % 2 == 1
    allocated = 8 if stored == 8 else 16
    d = Description(45, 61, 1, allocated, stored, stored - 1, signed, "MONOCHROME2")
    low = -(1 << d.high_bit) if signed else 0
    path = write(tmp_path / "native.dcm", JPEGLossless, d, b"\0\0")
    ds = pydicom.dcmread(path)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.PixelData = NOISE.integers(low, low + (1 << stored), (45, 61)).astype(d.dtype).tobytes() + b"\0" * (
        allocated == 8
    )
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB" if allocated == 8 else "OW", False
    ds.save_as(path, enforce_file_format=True)
    made = tmp_path / "made.dcm"
    options = ("+el", "+sv", str(predictor), "+pt", str(point_transform))
    run_dcmtk("dcmcjpeg", *options, str(path), str(made)).check_returncode()
    codestream = first_frame(pydicom.dcmread(made))
    assert jpeg.read(codestream).point_transform == point_transform
    planes, _ = jpeg.inspect(codestream, d)
    theirs = np.frombuffer(by_dcmtk(made).PixelData, planes.dtype)[: d.rows * d.columns].reshape(1, d.rows, d.columns)
    mask = (1 << planes.precision) - 1
    assert np.array_equal(decoded(planes, codestream), theirs & mask)
    whole = bytes(codestream)[: bytes(codestream).rindex(b"\xff\xd9")].rstrip(b"\xff")
    for damaged in (whole[:-2], whole + b"\x5a"):
        with pytest.raises(Corrupt, match="damaged lossless JPEG"):
            decoded(planes, damaged + b"\xff\xd9")


@pytest.mark.parametrize(("precision", "allocated"), [(8, 8), (12, 16)])
@pytest.mark.parametrize("name", WRAPPED)
def test_wrapped_samples_are_what_dcmtk_reads(name: str, precision: int, allocated: int, tmp_path: Path) -> None:
    d = replace(GREY8, bits_allocated=allocated, bits_stored=precision, high_bit=precision - 1)
    planes = Planes(1, d.rows, d.columns, precision)
    values = noise(planes)
    codestream = lossless.encoded(WRAPPED[name](values[0], precision), precision)
    native = by_dcmtk(write(tmp_path / "made.dcm", JPEGLosslessSV1, d, codestream), "+cn")
    theirs = np.frombuffer(native.PixelData, d.dtype)[: values.size].reshape(values.shape)
    assert np.array_equal(decoded(planes, codestream), theirs & ((1 << precision) - 1))
    assert np.array_equal(theirs & ((1 << precision) - 1), values)


def test_a_frame_of_many_strips_is_exact() -> None:
    planes = Planes(1, 700, 900, 16)
    for values in (noise(planes), smooth(planes)):
        assert np.array_equal(decoded(planes, encoded(planes, values, predictor=6)), values)


def test_the_best_predictor_follows_the_image() -> None:
    rows = np.repeat(NOISE.integers(0, 4096, (1, 200)), 100, axis=0).astype(np.uint16)
    assert libjpeg.best_predictor(rows) == 2
    assert libjpeg.best_predictor(np.ascontiguousarray(rows.T)) == 1
    assert libjpeg.best_predictor(rows[:1]) in range(1, 8)


LOSSLESS = {
    "12 bits": GREY12,
    "overlay in high bits": replace(GREY12, photometric="MONOCHROME1"),
    "12 bits with sign": replace(GREY12, signed=True),
    "16 bits with sign": replace(GREY12, bits_stored=16, high_bit=15, signed=True),
    "8 bits": GREY8,
    "8 bits with sign": replace(GREY8, signed=True),
    "8 bits in 16": replace(GREY12, bits_stored=8, high_bit=7),
    "1 bit in 16": replace(GREY12, bits_stored=1, high_bit=0),
    "palette": replace(GREY8, photometric="PALETTE COLOR"),
    "RGB": RGB,
    "RGB of 16 bits": replace(RGB, bits_allocated=16, bits_stored=16, high_bit=15),
    "YBR_FULL": replace(RGB, photometric="YBR_FULL"),
}


@pytest.mark.parametrize("predictor", [1, libjpeg.ANY_PREDICTOR])
@pytest.mark.parametrize("name", LOSSLESS)
def test_every_reader_gives_back_every_bit(name: str, predictor: int, tmp_path: Path) -> None:
    d = LOSSLESS[name]
    assert jpeg.obstacle(d) is None
    low, high = (-(1 << d.high_bit), 1 << d.high_bit) if d.signed else (0, 1 << d.bits_stored)
    values = NOISE.integers(low, high, (d.samples, d.rows, d.columns)).astype(d.dtype)
    if "overlay" in name:
        values |= NOISE.integers(0, 2, values.shape, np.uint16) << 14
    planes = jpeg.planes(d)
    codestream = encoded(planes, values, predictor=predictor)
    assert jpeg.inspect(codestream, d) == (replace(planes, rct=False), False)
    path = write(tmp_path / "made.dcm", JPEGLossless if predictor == 0 else JPEGLosslessSV1, d, bytes(codestream))
    native = by_dcmtk(path, "+cn")
    interleaved = np.ascontiguousarray(values.transpose(1, 2, 0))
    assert native.PixelData[: d.size_bytes] == interleaved.tobytes()
    assert native.PhotometricInterpretation == d.photometric
    visible = interleaved if d.signed else interleaved & ((1 << d.bits_stored) - 1)
    for plugin in ("pylibjpeg", "gdcm"):
        assert np.array_equal(by_pydicom(path, plugin).reshape(visible.shape), visible), plugin


LOSSY = {
    "Baseline": (JPEGBaseline8Bit, GREY8, 0xC0),
    "Baseline in colour": (JPEGBaseline8Bit, RGB, 0xC0),
    "Extended": (JPEGExtended12Bit, GREY12, 0xC1),
    "Extended in colour": (JPEGExtended12Bit, RGB, 0xC0),
}


@pytest.mark.parametrize("name", LOSSY)
def test_every_reader_sees_the_same_lossy_image(name: str, tmp_path: Path) -> None:
    syntax, d, process = LOSSY[name]
    assert (jpeg.obstacle_extended(d), d.bits_stored == 12 or jpeg.obstacle_baseline(d)) in ((None, True), (None, None))
    planes, photometric = jpeg.planes_lossy(d), jpeg.photometric_lossy(d)
    values = smooth(planes)
    codestream = encoded(planes, values, 90.0)
    assert jpeg.read(codestream).process == process
    found, irreversible = jpeg.inspect(codestream, replace(d, photometric=photometric))
    assert found == planes
    assert irreversible
    ours = decoded(found, codestream).transpose(1, 2, 0).astype(int)
    assert 0 < np.abs(ours - values.transpose(1, 2, 0)).max() < 8
    path = write(tmp_path / "made.dcm", syntax, d, bytes(codestream), photometric)
    native = by_dcmtk(path)
    assert native.PhotometricInterpretation == d.photometric
    theirs = np.frombuffer(native.PixelData, d.dtype)[: ours.size].reshape(ours.shape)
    assert np.abs(ours - theirs).max() == 0
    for plugin, tolerance in (("pylibjpeg", 3), *((("gdcm", 0),) if d.bits_stored == 8 else ())):
        theirs = by_pydicom(path, plugin, as_rgb=True).reshape(ours.shape)
        assert np.abs(ours - theirs).max() <= tolerance, plugin


def test_quality_is_the_setting() -> None:
    planes = Planes(1, 100, 100, 8)
    lengths = [len(encoded(planes, smooth(planes), setting)) for setting in (1.0, 50.0, 90.0, 100.0, 500.0)]
    assert lengths[:4] == sorted(set(lengths[:4]))
    assert lengths[3] == lengths[4]


def test_colour_that_is_ycbcr_already_is_only_subsampled() -> None:
    planes = Planes(3, 32, 32, 8)
    values = np.full((3, 32, 32), [[[90]], [[40]], [[200]]])
    assert np.abs(decoded(planes, encoded(planes, values, 100.0)).astype(int) - values).max() <= 1


@pytest.mark.parametrize("options", [["+e1"], *(["+el", "+sv", str(n)] for n in range(1, 8)), ["+el", "+pt", "2"]])
@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm"])
def test_lossless_of_dcmtk_is_read(name: str, options: list[str], tmp_path: Path) -> None:
    path = tmp_path / "made.dcm"
    run_dcmtk("dcmcjpeg", *options, str(get_testdata_file(name)), str(path)).check_returncode()
    ds = pydicom.dcmread(path)
    planes, _ = jpeg.inspect(first_frame(ds), description(ds))
    assert decoded(planes, first_frame(ds)).tobytes() == by_dcmtk(path).PixelData


@pytest.mark.parametrize(
    "name",
    ["JPEG-lossy.dcm", "JPGExtended.dcm", "SC_jpeg_no_color_transform.dcm", "SC_jpeg_no_color_transform_2.dcm",
     "SC_rgb_dcmtk_+eb+cr.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "SC_rgb_dcmtk_+eb+cy+n2.dcm", "SC_rgb_jpeg_gdcm.dcm",
     "SC_rgb_dcmtk_+eb+cy+s4.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_jpeg_lossy_gdcm.dcm", "SC_rgb_small_odd_jpeg.dcm"],
)  # fmt: skip
def test_real_files_decode_as_dcmtk_decodes_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / "given.dcm"
    path.write_bytes(Path(str(get_testdata_file(name))).read_bytes())
    ds = pydicom.dcmread(path)
    d = description(ds)
    planes, _ = jpeg.inspect(first_frame(ds), d)
    ours = decoded(planes, first_frame(ds)).transpose(1, 2, 0)
    native = by_dcmtk(path)
    assert native.get("PlanarConfiguration", 0) == 0
    theirs = np.frombuffer(native.PixelData, d.dtype)[: ours.size].reshape(ours.shape)
    tolerance = 3 if planes.rct and jpeg.read(first_frame(ds)).components[0][1:] != (1, 1) else 1
    assert np.abs(ours.astype(int) - theirs).max() <= tolerance


@pytest.mark.parametrize("restart", [{}, {"restart_marker_blocks": 3}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("optimize", [False, True])
def test_restart_intervals_and_subsampling(restart: dict[str, int], subsampling: int, optimize: bool) -> None:
    planes = Planes(3, 75, 90, 8, rct=True)
    values = smooth(planes).transpose(1, 2, 0)
    codestream = by_pillow(values, quality=95, subsampling=subsampling, optimize=optimize, **restart)
    assert bool(jpeg.read(memoryview(codestream)).restart_interval) == bool(restart)
    expected = np.array(Image.open(io.BytesIO(codestream))).transpose(2, 0, 1)
    assert np.abs(decoded(planes, codestream).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("level", [0, 1, 128, 255])
@pytest.mark.parametrize("quality", [1, 50, 100])
@pytest.mark.parametrize("optimize", [False, True])
def test_flat_images_are_not_taken_for_damaged(level: int, quality: int, optimize: bool) -> None:
    planes = Planes(1, 33, 50, 8)
    values = np.full((33, 50), level, np.uint8)
    codestream = by_pillow(values, quality=quality, optimize=optimize)
    assert np.array_equal(decoded(planes, codestream)[0], np.array(Image.open(io.BytesIO(codestream))))
    assert np.ptp(decoded(replace(planes, precision=12), encoded(replace(planes, precision=12), values, quality))) == 0


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("quality", [1, 5, 100])
@pytest.mark.parametrize("blocks", [1, 3])
def test_hard_edges_in_restart_intervals_are_not_taken_for_damage(blocks: int, quality: int, samples: int) -> None:
    """Saturated samples, and codes whose last bit shows in no pixel: some interval of these always has them."""
    planes = Planes(samples, 150, 170, 8, rct=samples == 3)
    for seed in range(6):
        values = np.random.default_rng(seed).integers(0, 2, (150, 170, samples)).astype(np.uint8) * 255
        given = values if samples == 3 else values[:, :, 0]
        codestream = by_pillow(given, quality=quality, optimize=True, subsampling=1, restart_marker_blocks=blocks)
        assert decoded(planes, codestream).any()
        header = jpeg.read(memoryview(codestream))
        *others, last = jpeg.intervals(header, memoryview(codestream))
        for damaged in (last + b"\x5a", last[:-2] or b"\x5a\x5a"):
            with pytest.raises(Corrupt, match="damaged"):
                decoded(planes, jpeg.join(jpeg.head(header), [*others, damaged]))


def test_whole_dct_data_are_known_code_by_code() -> None:
    planes = Planes(3, 75, 90, 8)
    codestream = by_pillow(smooth(planes).transpose(1, 2, 0), quality=90, subsampling=2, restart_marker_blocks=4)
    header = jpeg.read(memoryview(codestream))
    for interval in jpeg.intervals(header, memoryview(codestream))[:-1]:
        assert jpeg.is_whole(header, interval, 4)
        for damaged in (interval[:-1], interval + b"\xff\0"):
            assert not jpeg.is_whole(header, damaged, 4)
        assert not jpeg.is_whole(header, interval, 3)
        assert not jpeg.is_whole(header, interval, 5)


def with_restarts(interval_rows: int) -> bytes:
    """Lossless 8 x 6 with restart intervals: every interval is a lossless image of its own."""
    planes = Planes(1, interval_rows, 6, 8)
    whole = encoded(planes, np.full((1, interval_rows, 6), 77))
    header = jpeg.read(whole)
    count = 8 // interval_rows
    intervals = jpeg.intervals(header, whole) * count
    head = bytearray(jpeg.head(header))
    at = head.index(b"\xff\xc3")
    head[at + 5 : at + 7] = (8).to_bytes(2, "big")
    return jpeg.join(bytes(head[:2]) + b"\xff\xdd\0\4" + (6 * interval_rows).to_bytes(2, "big") + head[2:], intervals)


@pytest.mark.parametrize("interval_rows", [1, 2, 4])
def test_lossless_restart_intervals(interval_rows: int) -> None:
    assert np.array_equal(decoded(Planes(1, 8, 6, 8), with_restarts(interval_rows)), np.full((1, 8, 6), 77))
    with pytest.raises(Corrupt, match="restart"):
        decoded(Planes(1, 8, 6, 8), with_restarts(interval_rows).replace(b"\xff\xd0", b"\xff\xd1"))


def test_too_little_room_and_too_large_values_are_clean_errors() -> None:
    planes = Planes(1, 64, 64, 12)
    values = noise(planes).astype(np.uint16)
    backing = bytearray(b"\xaa" * 20000)
    with pytest.raises(Unfit, match="larger"):
        libjpeg.encode(planes, memoryview(bytearray(values.tobytes())), memoryview(backing)[:4096])
    assert set(backing[4096:]) == {0xAA}
    with pytest.raises(Unfit, match="more bits"):
        encoded(planes, values | 0x1000)


def test_a_codestream_is_held_against_what_is_expected() -> None:
    planes = Planes(1, 64, 64, 8)
    codestream = bytes(encoded(planes, smooth(planes)))
    with pytest.raises(Corrupt, match="another shape"):
        decoded(replace(planes, rows=63), codestream)
    at = codestream.index(b"\xff\xc3") + 5
    huge = codestream[:at] + (65000).to_bytes(2, "big") * 2 + codestream[at + 4 :]
    with pytest.raises(Corrupt, match="another shape"):
        decoded(planes, huge)
    assert np.array_equal(decoded(planes, codestream + b"\0" * 9), smooth(planes)), "what follows the end is nothing"


@pytest.mark.parametrize("setting", [0.0, 90.0])
@pytest.mark.parametrize("fill", [b"\xff", b"\xff" * 2001])
@pytest.mark.parametrize("marker", [b"\xff\xd8", b"\xff\xc4", b"\xff\xda", b"\xff\xd9"])
def test_fill_bytes_may_stand_before_any_marker(marker: bytes, fill: bytes, setting: float) -> None:
    planes = Planes(1, 40, 50, 8)
    codestream = bytes(encoded(planes, smooth(planes), setting))
    filled = codestream.replace(marker, fill + marker)
    assert jpeg.inspect(memoryview(filled), GREY8) == jpeg.inspect(memoryview(codestream), GREY8)
    assert np.array_equal(decoded(planes, filled), decoded(planes, codestream))


@pytest.mark.parametrize("setting", [0.0, 90.0])
@pytest.mark.parametrize("precision", [8, 12])
def test_damage_is_no_image(precision: int, setting: float) -> None:
    """Less or more data than the image needs, where libjpeg only warns and paints the rest grey."""
    planes = Planes(1, 120, 100, precision)
    codestream = bytes(encoded(planes, smooth(planes), setting))
    for length in (300, len(codestream) // 2, len(codestream) - 30, len(codestream) - 2):
        with pytest.raises(Corrupt):
            decoded(planes, codestream[:length])
        with pytest.raises(Corrupt):
            decoded(planes, codestream[: length - 3] + b"\xff\xd9")
    with pytest.raises(Corrupt, match="damaged"):
        decoded(planes, codestream[:-2] + b"\x5a\xff\xd9")
    with pytest.raises(Corrupt, match="damaged"):
        decoded(planes, codestream[:-40] + bytes(120) + codestream[-40:])
    assert decoded(planes, codestream).any()


def mutate(seed: int, count: int = 400) -> None:
    """Decode mutated codestreams; whatever is raised but Corrupt and Unfit ends it."""
    chance = random.Random(seed)
    plain, colour, deep = Planes(1, 40, 50, 8), Planes(3, 40, 50, 8, rct=True), Planes(1, 40, 50, 16)
    rows = by_pillow(smooth(colour).transpose(1, 2, 0), restart_marker_rows=1)
    sources = [
        (deep, bytes(encoded(deep, smooth(deep), predictor=5))),
        (colour, bytes(encoded(colour, smooth(colour)))),
        (plain, bytes(encoded(plain, smooth(plain), 80.0))),
        (replace(plain, precision=12), bytes(encoded(replace(plain, precision=12), smooth(plain), 80.0))),
        (colour, rows),
    ]
    for _ in range(count):
        planes, codestream = chance.choice(sources)
        mutated = bytearray(codestream)
        for _ in range(chance.choice((1, 1, 3, 20))):
            at = chance.randrange(len(mutated))
            mutated[at : at + chance.choice((0, 1, 1, 9))] = chance.randbytes(chance.choice((0, 1, 1, 9)))
        try:
            jpeg.inspect(memoryview(bytes(mutated)), RGB if planes.samples == 3 else GREY8)
            decoded(planes, bytes(mutated))
        except (Corrupt, Unfit):
            pass


def test_mutated_codestreams_harm_nothing() -> None:
    """In a process of its own, of bounded memory, as a crash would take this one along."""
    script = (
        f"import sys, resource; sys.path[:0] = {[str(Path(__file__).parents[n]) for n in (0, 2)]!r}\n"
        "import test_libjpeg\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n"
        "for seed in range(3):\n"
        "    test_libjpeg.mutate(seed)\n"
        "    print(seed)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout.split()) == (0, ["0", "1", "2"]), run.stderr[-2000:]


def test_nothing_leaks_on_any_path() -> None:
    planes = Planes(1, 256, 256, 16)
    values, tight = noise(planes), memoryview(bytearray(50000))
    pixels = memoryview(bytearray(values.astype(planes.dtype).tobytes()))

    def once() -> None:
        codestream = bytes(encoded(planes, values))
        decoded(planes, codestream)
        with pytest.raises(Unfit):
            libjpeg.encode(planes, pixels, tight)
        with pytest.raises(Corrupt):
            decoded(planes, codestream[:-1000] + b"\xff\xd9")
        with pytest.raises(Corrupt, match="does not decode"):
            decoded(planes, codestream.replace(b"\xff\xc4", b"\xff\xef"))

    def resident_bytes() -> int:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    for _ in range(10):
        once()
    before = resident_bytes()
    for _ in range(60):
        once()
    assert resident_bytes() - before < 6 << 20, "60 rounds of leaks of one frame would be 7 MiB and more"


def test_it_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    planes = Planes(1, 64, 64, 8)
    codestream = bytes(encoded(planes, smooth(planes), 75.0))
    with pytest.raises(Corrupt):
        decoded(planes, codestream[:-60] + b"\xff\xd9")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
