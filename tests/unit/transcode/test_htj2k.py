"""HTJ2K by OpenJPH, decoded by OpenJPEG (ours and pylibjpeg's build), by pydicom, and by OpenJPH itself."""

import itertools
import struct
from typing import Any

import imagecodecs
import numpy as np
import openjpeg as independent
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL

from leyden.errors import Corrupt
from leyden.transcode import htj2k, jpeg2000, openjpeg
from leyden.transcode.pixels import Description, Planes, Unfit

RGB = Description(1, 1, 3, 8, 8, 7, False, "RGB")  # of which every claim of a component transform is believed
SIZES = [(1, 1), (3, 5), (1, 1000), (130, 67)]


def bounds(planes: Planes) -> tuple[int, int]:
    half = 1 << (planes.precision - 1)
    return (-half, half - 1) if planes.signed else (0, 2 * half - 1)


def frame(planes: Planes, values: Any) -> memoryview:
    return memoryview(bytearray(np.ascontiguousarray(values).astype(planes.dtype).tobytes()))


def noise(planes: Planes, extremes: bool = False) -> memoryview:
    """Noise over the whole range, or made of both its ends alone."""
    low, high = bounds(planes)
    random, shape = np.random.default_rng(1), (planes.samples, planes.rows, planes.columns)
    return frame(
        planes, np.where(random.integers(0, 2, shape), low, high) if extremes else random.integers(low, high + 1, shape)
    )


def waves(planes: Planes) -> memoryview:
    rows, columns = np.mgrid[0 : planes.rows, 0 : planes.columns]
    low, high = bounds(planes)
    smooth = (2 + np.sin(rows / 17) + np.cos(columns / 23)) / 4
    values = np.stack([np.roll(smooth, 9 * number, 0) for number in range(planes.samples)])
    values = (
        low + (high - low) * (0.1 + 0.8 * values) + np.random.default_rng(1).normal(0, (high - low) / 200, values.shape)
    )
    return frame(planes, np.clip(values, low, high))


def encoded(planes: Planes, pixels: memoryview, ratio: float = 0.0) -> memoryview:
    room = memoryview(bytearray(planes.size_bytes * 5 // 4 + 16384))
    return room[: htj2k.encode(planes, pixels, room, ratio)]


def decoded(planes: Planes, codestream: memoryview) -> memoryview:
    pixels = memoryview(bytearray(planes.size_bytes))
    openjpeg.decode(codestream, planes, pixels)
    return pixels


def by_another_build(planes: Planes, codestream: memoryview) -> Any:
    array = independent.decode(bytes(codestream))
    return array.reshape(planes.rows, planes.columns, planes.samples).transpose(2, 0, 1)


@pytest.mark.parametrize("precision", [1, 2, 7, 8, 10, 12, 15, 16])
@pytest.mark.parametrize(("samples", "rct"), [(1, False), (3, False), (3, True)])
@pytest.mark.parametrize(("rows", "columns"), SIZES)
def test_lossless_is_exact_for_every_reader(rows: int, columns: int, samples: int, rct: bool, precision: int) -> None:
    for signed, extremes in itertools.product((False, True), repeat=2):
        planes = Planes(samples, rows, columns, precision, signed, rct)
        pixels = noise(planes, extremes)
        values = planes.view(pixels)
        codestream = encoded(planes, pixels)
        assert jpeg2000.inspect(codestream, RGB) == (planes, False), "precision and sign as in the dataset"
        assert bytes(decoded(planes, codestream)) == bytes(pixels)
        assert np.array_equal(by_another_build(planes, codestream), values)
        assert np.array_equal(imagecodecs.htj2k_decode(codestream, planar=True).reshape(values.shape), values)


@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K])
@pytest.mark.parametrize(
    "planes", [Planes(1, 40, 50, 12), Planes(1, 40, 50, 12, signed=True), Planes(3, 40, 50, 8, rct=True)], ids=str
)
def test_pydicom_reads_it(planes: Planes, syntax: str) -> None:
    pixels = noise(planes)
    array, _ = get_decoder(syntax).as_array(
        encapsulate([bytes(encoded(planes, pixels))]),
        rows=planes.rows,
        columns=planes.columns,
        samples_per_pixel=planes.samples,
        bits_allocated=8 * planes.sample_bytes,
        bits_stored=planes.precision,
        pixel_representation=int(planes.signed),
        photometric_interpretation="YBR_RCT" if planes.rct else "MONOCHROME2",
        planar_configuration=0,
        number_of_frames=1,
        pixel_keyword="PixelData",
        decoding_plugin="pylibjpeg",
    )
    read = array.reshape(planes.rows, planes.columns, planes.samples).transpose(2, 0, 1)
    assert np.array_equal(read, planes.view(pixels))


def segments(codestream: memoryview) -> dict[int, bytes]:
    """The segments of the main header."""
    found, at = {}, 2
    while (marker := struct.unpack_from(">H", codestream, at)[0]) != 0xFF90:
        (length,) = struct.unpack_from(">H", codestream, at + 2)
        found[marker] = bytes(codestream[at + 4 : at + 2 + length])
        at += 2 + length
    found[0] = bytes(codestream[at:])
    return found


@pytest.mark.parametrize(("rows", "columns", "count"), [(100, 200, 5), (1000, 3000, 6), (3, 5, 1), (1, 1, 1)])
def test_the_form_is_that_of_rpcl(rows: int, columns: int, count: int) -> None:
    """PS3.5 section 10.18: RPCL, a base resolution of at most 64 pixels, TLM that finds the resolutions."""
    assert htj2k.decompositions(rows, columns) == count
    planes = Planes(1, rows, columns, 12)
    header = segments(encoded(planes, waves(planes)))
    siz, cod, tlm, tiles = header[0xFF51], header[0xFF52], header[0xFF55], header[0]
    assert siz[:2] == b"\x40\0", "capabilities of part 15 (Rsiz)"
    assert 0xFF50 in header, "CAP"
    assert (cod[1], cod[5], cod[8], cod[9]) == (2, count, 0x40, 1), "RPCL, decompositions, HT blocks, 5/3"
    lengths = [length for _, length in struct.iter_unpack(">HI", tlm[2:])]
    assert len(lengths) == count + 1, "a tile-part for each resolution"
    for length in lengths:
        assert tiles[:2] == b"\xff\x90", "and each is where TLM says"
        tiles = tiles[length:]
    assert tiles == b"\xff\xd9"


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 64), (64, 1), (65, 65), (2048, 2048), (2049, 16), (6144, 4096), (65535, 65535)], ids=str
)
def test_decompositions(size: tuple[int, int]) -> None:
    count = htj2k.decompositions(*size)
    assert min(size) >> count <= 64
    assert count == 1 or min(size) >> count >= 1, "no resolution is empty"


@pytest.mark.parametrize("ratio", [5.0, 10.0, 30.0])
@pytest.mark.parametrize(
    "planes",
    [
        Planes(1, 200, 300, 8),
        Planes(1, 200, 300, 12),
        Planes(1, 200, 300, 12, signed=True),
        Planes(1, 200, 300, 16, signed=True),
        Planes(3, 200, 300, 8, rct=True),
        Planes(3, 200, 300, 10, rct=True),
        Planes(3, 200, 300, 8),
    ],
    ids=str,
)
def test_lossy_is_as_small_as_asked_and_close(planes: Planes, ratio: float) -> None:
    pixels = waves(planes)
    codestream = encoded(planes, pixels, ratio)
    assert ratio <= planes.size_bytes / len(codestream) < 1.1 * ratio
    assert jpeg2000.inspect(codestream, RGB) == (planes, True)
    read = planes.view(decoded(planes, codestream)).astype(float)
    assert 0 < np.sqrt(np.mean((read - planes.view(pixels)) ** 2)) < 0.02 * (1 << planes.precision)
    assert np.array_equal(by_another_build(planes, codestream), read)
    assert bytes(encoded(planes, pixels, ratio)) == bytes(codestream), "the same again"


def test_lossy_stays_in_range_where_the_image_touches_its_ends() -> None:
    planes = Planes(1, 64, 64, 12)
    values = np.zeros((1, 64, 64))
    values[:, 20:44, 20:44] = 4095
    read = planes.view(decoded(planes, encoded(planes, frame(planes, values), 4.0)))
    assert np.abs(read.astype(int) - values).max() < 400
    assert read.max() <= 4095


@pytest.mark.parametrize("planes", [Planes(1, 3, 5, 8), Planes(1, 1, 1, 16), Planes(3, 8, 8, 8, rct=True)], ids=str)
def test_a_tiny_frame_is_not_ruined_for_a_ratio_that_headers_forbid(planes: Planes) -> None:
    pixels = noise(planes)
    differences = planes.view(decoded(planes, encoded(planes, pixels, 50.0))).astype(int) - planes.view(pixels)
    assert np.abs(differences).max() <= 1


@pytest.mark.parametrize(("ratio", "most"), [(1.0, 16384), (1e6, 1200)])
def test_a_ratio_out_of_reach_ends_at_the_nearest(ratio: float, most: int) -> None:
    planes = Planes(1, 64, 64, 12)
    codestream = encoded(planes, noise(planes), ratio)
    assert len(codestream) < most
    decoded(planes, codestream)


def test_lossy_keeps_to_a_room_smaller_than_asked() -> None:
    planes = Planes(1, 64, 64, 16)
    room = memoryview(bytearray(2000))
    decoded(planes, room[: htj2k.encode(planes, noise(planes), room, 1.01)])


@pytest.mark.parametrize("ratio", [0.0, 1.01])
def test_too_little_room_is_a_clean_error(ratio: float) -> None:
    planes = Planes(1, 64, 64, 16)
    backing = bytearray(b"\xaa" * 20000)
    with pytest.raises(Unfit, match="larger"):
        htj2k.encode(planes, noise(planes), memoryview(backing)[:100], ratio)
    assert set(backing[100:]) == {0xAA}, "and nothing is written behind the room"


@pytest.mark.parametrize("keep", [60, 200, 0.5, 0.95])
def test_a_truncated_codestream_is_corrupt(keep: float) -> None:
    planes = Planes(1, 200, 200, 12)
    codestream = encoded(planes, noise(planes))
    length = int(keep if keep > 1 else keep * len(codestream))
    with pytest.raises(Corrupt):
        decoded(planes, codestream[:length])


def test_the_pixels_are_left_as_they_are_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    for planes in (Planes(1, 64, 64, 12), Planes(3, 64, 64, 8, rct=True)):
        pixels = noise(planes)
        before = bytes(pixels)
        encoded(planes, pixels)
        encoded(planes, pixels, 10.0)
        assert bytes(pixels) == before
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
