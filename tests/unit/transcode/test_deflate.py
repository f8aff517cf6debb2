"""Deflated frames: what zlib and libdeflate make of ours, what we make of theirs, and of what is none."""

import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from msgspec.structs import replace
from pydicom.encaps import encapsulate, generate_frames

from leyden.dicom.uids import (
    DEFLATED_FRAMES,
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG2000_LOSSLESS,
    RLE_LOSSLESS,
)
from leyden.errors import Corrupt
from leyden.transcode import deflate
from leyden.transcode.codecs import room_bytes
from leyden.transcode.pixels import Description, Planes, Unfit
from support.objects import real
from support.readers import by_pydicom, read

Transcode = Callable[..., Path]
Image = Callable[..., Path]

GREY = Description(5, 7, 1, 16, 12, 11, False, "MONOCHROME2")
RGB = Description(5, 7, 3, 8, 8, 7, False, "RGB")
SEGMENT = Description(5, 7, 1, 1, 1, 0, False, "MONOCHROME2")


def noise(planes: Planes) -> Any:
    high = 1 << planes.precision
    return np.random.default_rng(planes.precision).integers(0, high, (planes.samples, planes.rows, planes.columns))


def encoded(planes: Planes, values: Any) -> bytes:
    pixels, room = memoryview(bytearray(planes.size_bytes)), memoryview(bytearray(room_bytes(planes)))
    planes.view(pixels)[:] = values
    return bytes(room[: deflate.encode(planes, pixels, room)])


def decoded(planes: Planes, stream: bytes) -> Any:
    pixels = memoryview(bytearray(planes.size_bytes))
    deflate.decode(memoryview(stream), planes, pixels)
    return planes.view(pixels)


def raw(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


@pytest.mark.parametrize("precision", [1, 8, 16, 32])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (5, 7), (64, 96)])
def test_a_frame_is_its_native_bytes(rows: int, columns: int, samples: int, precision: int) -> None:
    planes = Planes(samples, rows, columns, precision)
    values = noise(planes)
    stream = encoded(planes, values)
    if precision == 1:
        native = np.packbits(values.astype(np.uint8), bitorder="little").tobytes()
    else:
        native = np.ascontiguousarray(values.transpose(1, 2, 0)).astype(f"<u{precision // 8}").tobytes()
    assert zlib.decompress(stream, -15) == native
    for theirs in (stream, raw(native), imagecodecs.deflate_encode(native, raw=True)):
        assert np.array_equal(decoded(planes, theirs), values)


def test_the_first_pixel_is_in_the_lowest_bit() -> None:
    """PS3.5 section 8.1.1 and D.1."""
    planes = Planes(1, 2, 5, 1)
    assert decoded(planes, raw(b"\x01\x02")).tolist() == [[[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]]


def test_colour_by_plane_is_told_by_the_dataset() -> None:
    found, lossy = deflate.inspect(memoryview(b""), replace(RGB, planar=1))
    values = noise(deflate.planes(RGB))
    assert not lossy
    assert np.array_equal(decoded(found, raw(values.astype(np.uint8).tobytes())), values)


def test_padding_is_no_damage() -> None:
    planes = Planes(1, 3, 3, 8)
    values = noise(planes)
    native = values.astype(np.uint8).tobytes()
    for stream in (raw(native) + b"\0", raw(native) + b"\0\0", raw(native + b"\0"), raw(native + b"\0") + b"\0"):
        assert np.array_equal(decoded(planes, stream), values)


NATIVE = bytes(range(100))
DAMAGED = {
    "nothing": b"",
    "no stream": b"\xff" * 40,
    "cut off": raw(NATIVE)[:-1],
    "half": raw(NATIVE)[:50],
    "a frame too short": raw(NATIVE[:-1]),
    "a frame too long": raw(NATIVE + b"\0"),
    "much too long": raw(NATIVE * 50),
    "another behind it": raw(NATIVE) + raw(NATIVE),
    "a head and a checksum, as zlib has them": zlib.compress(NATIVE),
    "a flipped bit": bytes((raw(NATIVE)[0] ^ 4,)) + raw(NATIVE)[1:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_not_one_whole_frame_is_damage(name: str) -> None:
    with pytest.raises(Corrupt, match="deflated frame"):
        decoded(Planes(1, 10, 10, 8), DAMAGED[name])


def test_a_bomb_is_not_inflated() -> None:
    bomb = raw(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(Corrupt, match="more than its 35 bytes"):
            decoded(Planes(1, 5, 7, 8), bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_too_little_room_is_no_failure() -> None:
    planes = Planes(1, 64, 64, 16)
    pixels = memoryview(bytearray(noise(planes).astype(planes.dtype).tobytes()))
    with pytest.raises(Unfit, match="larger"):
        deflate.encode(planes, pixels, memoryview(bytearray(100)))


# -- whole objects


def segmentation(image: Image, bits: Any) -> Path:
    """Frames x rows x columns of 1 bit; each frame begins where the one before ends (PS3.5 section 8.1.1)."""
    path = image(bits[..., None], stored=8, allocated=8)
    dataset = read(path)
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    data = np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 7), (8, 3, 3), (17, 4, 2), (2, 64, 64)])
@pytest.mark.parametrize("native", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
def test_frames_of_bits(image: Image, transcode: Transcode, shape: tuple[int, int, int], native: str) -> None:
    bits = np.random.default_rng(1).integers(0, 2, shape)
    path = segmentation(image, bits)
    given = path if native == EXPLICIT_LE else transcode(path, native)
    made = transcode(given, DEFLATED_FRAMES)
    after = read(made)
    assert after.file_meta.TransferSyntaxUID == DEFLATED_FRAMES
    frames = list(generate_frames(after.PixelData, number_of_frames=shape[0]))
    assert len(frames) == shape[0]
    for frame, each in zip(frames, bits, strict=True):
        assert zlib.decompress(frame, -15) == np.packbits(each.astype(np.uint8), bitorder="little").tobytes()
    assert np.array_equal(by_pydicom(made)[..., 0], bits)
    back = read(transcode(transcode(made, native), EXPLICIT_LE))
    assert back.PixelData == read(path).PixelData


@pytest.mark.parametrize("target", [RLE_LOSSLESS, JPEG2000_LOSSLESS])
def test_bits_become_nothing_else(image: Image, transcode: Transcode, target: str) -> None:
    made = transcode(segmentation(image, np.eye(5, 7)[None]), DEFLATED_FRAMES)
    with pytest.raises(Unfit, match="1 bit allocated"):
        transcode(made, target)


def test_bytes_of_another_codec_that_are_no_bits_are_refused(image: Image, transcode: Transcode) -> None:
    """RLE has a byte for each pixel of 1 bit (PS3.5 G.2)."""
    path = transcode(image(np.eye(5, 7)[None, :, :, None], stored=8, allocated=8), RLE_LOSSLESS)
    dataset = read(path)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 1, 1, 0
    dataset.save_as(path)
    native = read(transcode(path, EXPLICIT_LE)).PixelData
    assert native == np.packbits(np.eye(5, 7, dtype=np.uint8), bitorder="little").tobytes() + b"\0"
    twos = transcode(image(2 * np.eye(5, 7)[None, :, :, None], stored=8, allocated=8), RLE_LOSSLESS)
    dataset.PixelData = read(twos).PixelData
    dataset.save_as(path)
    for target in (EXPLICIT_LE, DEFLATED_FRAMES):
        with pytest.raises(Unfit, match="outside"):
            transcode(path, target)


def test_bits_that_others_encode_as_jpeg_2000_are_decoded(image: Image, transcode: Transcode) -> None:
    bits = np.random.default_rng(2).integers(0, 2, (3, 5, 7))
    path = transcode(image(bits[..., None], stored=1, allocated=8), JPEG2000_LOSSLESS)
    dataset = read(path)
    dataset.BitsAllocated = 1
    dataset.save_as(path)
    native = read(transcode(path, EXPLICIT_LE)).PixelData
    assert native == np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()
    assert np.array_equal(by_pydicom(transcode(path, DEFLATED_FRAMES))[..., 0], bits)


@pytest.mark.parametrize("target", [EXPLICIT_LE, JPEG2000_LOSSLESS, RLE_LOSSLESS])
@pytest.mark.parametrize("planar", [0, 1])
def test_colour_as_another_writer_deflates_it(image: Image, transcode: Transcode, planar: int, target: str) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (3, 5, 7, 3))
    path = image(pixels, stored=8, allocated=8, planar=planar)
    dataset = read(path)
    native = np.frombuffer(dataset.PixelData, np.uint8)[: pixels.size].reshape(3, -1)
    dataset.PixelData = encapsulate([raw(frame.tobytes()) for frame in native])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = DEFLATED_FRAMES
    dataset.save_as(path)
    made = transcode(path, target)
    assert np.array_equal(by_pydicom(made), pixels)
    assert np.array_equal(by_pydicom(transcode(made, DEFLATED_FRAMES)), pixels)


@pytest.mark.parametrize("name", ["liver_1frame.dcm", "rtdose.dcm", "rtdose_1frame.dcm", "liver_expb_1frame.dcm"])
def test_what_no_other_codec_takes_comes_back_bit_by_bit(transcode: Transcode, name: str) -> None:
    made = transcode(real(name), DEFLATED_FRAMES)
    assert np.array_equal(by_pydicom(made), by_pydicom(real(name)))
    assert read(transcode(made, EXPLICIT_LE)).PixelData == read(transcode_or_same(transcode, name)).PixelData


def transcode_or_same(transcode: Transcode, name: str) -> Path:
    syntax = read(real(name)).file_meta.TransferSyntaxUID
    return real(name) if syntax == EXPLICIT_LE else transcode(real(name), EXPLICIT_LE)


def test_a_frame_of_bits_is_bounded_by_its_pixels(image: Image, transcode: Transcode) -> None:
    path = segmentation(image, np.zeros((1, 64, 64)))
    with pytest.raises(Unfit, match="maxFrameMib"):
        transcode(path, DEFLATED_FRAMES, max_frame_bytes=4095)
    assert transcode(path, DEFLATED_FRAMES, max_frame_bytes=4096).exists()
    with pytest.raises(Unfit, match="maxFrameMib"):
        transcode(transcode(path, DEFLATED_FRAMES), EXPLICIT_LE, max_frame_bytes=4095)


def test_its_planes_are_all_bits_allocated() -> None:
    assert deflate.planes(GREY) == Planes(1, 5, 7, 16)
    assert deflate.planes(SEGMENT) == Planes(1, 5, 7, 1)
    assert deflate.obstacle(SEGMENT) is None
