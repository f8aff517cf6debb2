"""OpenJPEG through our bindings, decoded by an independent build of it (pylibjpeg-openjpeg) and by our own."""

import struct
from typing import Any

import imagecodecs
import numpy as np
import openjpeg as independent
import pydicom
import pytest
from msgspec.structs import replace
from pydicom.data import get_testdata_file
from pydicom.encaps import get_frame

from leyden.errors import Corrupt
from leyden.transcode import jpeg2000, openjpeg
from leyden.transcode.pixels import Description, Planes, Unfit
from support.damage import grown_bytes

RGB = Description(1, 1, 3, 8, 8, 7, False, "RGB")  # of which every claim of a component transform is believed


def frame(planes: Planes, values: Any) -> memoryview:
    return memoryview(bytearray(np.ascontiguousarray(values).astype(planes.dtype).tobytes()))


def noise(planes: Planes, seed: int = 1) -> memoryview:
    bits = planes.precision
    low, high = (-(1 << (bits - 1)), 1 << (bits - 1)) if planes.signed else (0, 1 << bits)
    shape = (planes.samples, planes.rows, planes.columns)
    return frame(planes, np.random.default_rng(seed).integers(low, high, shape))


def ramp(planes: Planes) -> memoryview:
    values = np.arange(planes.rows * planes.columns * planes.samples) % (1 << planes.precision)
    if planes.signed:
        values -= 1 << (planes.precision - 1)
    return frame(planes, values.reshape(planes.samples, planes.rows, planes.columns))


def room_for(planes: Planes) -> memoryview:
    return memoryview(bytearray(planes.size_bytes * 5 // 4 + 16384))


def encoded(planes: Planes, pixels: memoryview, threads: int = 0, ratio: float = 0.0) -> memoryview:
    room = room_for(planes)
    return room[: openjpeg.encode(planes, pixels, room, ratio, threads)]


def decoded(planes: Planes, codestream: memoryview, threads: int = 0) -> bytes:
    pixels = memoryview(bytearray(planes.size_bytes))
    openjpeg.decode(codestream, planes, pixels, threads)
    return bytes(pixels)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("precision", range(1, 17))
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (1, 70), (65, 33)])
def test_grey_of_any_precision_is_exact(rows: int, columns: int, precision: int, signed: bool) -> None:
    planes = Planes(1, rows, columns, precision, signed)
    pixels = ramp(planes)
    codestream = encoded(planes, pixels)
    assert decoded(planes, codestream) == bytes(pixels)
    array = independent.decode(bytes(codestream))
    assert np.array_equal(array.reshape(rows, columns), planes.view(pixels)[0])


@pytest.mark.parametrize("rct", [False, True])
@pytest.mark.parametrize("precision", [3, 8, 12, 16])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (200, 130)])
@pytest.mark.parametrize("threads", [0, 2])
def test_colour_is_exact(rows: int, columns: int, precision: int, rct: bool, threads: int) -> None:
    planes = Planes(3, rows, columns, precision, rct=rct)
    pixels = noise(planes)
    codestream = encoded(planes, pixels, threads)
    assert decoded(planes, codestream, threads) == bytes(pixels)
    array = independent.decode(bytes(codestream)).reshape(rows, columns, 3)
    assert np.array_equal(array.transpose(2, 0, 1), planes.view(pixels))


@pytest.mark.parametrize(("rows", "columns", "count"), [(1, 1, 1), (1, 900, 1), (3, 5, 2), (31, 99, 5), (512, 512, 6)])
def test_resolutions(rows: int, columns: int, count: int) -> None:
    assert openjpeg.resolutions(rows, columns) == count


def worst_colour_differences() -> Any:
    """Extreme R - G in the pattern of the signs of five low passes: the largest coefficient that there can be."""
    low_pass, kernel = np.array([-1, 2, 6, 2, -1]), np.array([1.0])
    for level in range(5):
        spread = np.zeros(4 * 2**level + 1)
        spread[:: 2**level] = low_pass
        kernel = np.convolve(kernel, spread)
    signs = np.where(kernel < 0, -1, 1)
    high = np.ones((256, 256), bool)
    begin = 128 - len(kernel) // 2
    high[begin : begin + len(kernel), begin : begin + len(kernel)] = np.outer(signs, signs) > 0
    return np.stack([high * 255, ~high * 255, high * 255])


def test_what_the_library_would_silently_lose_is_refused() -> None:
    planes = Planes(3, 256, 256, 8, rct=True)
    pixels = frame(planes, worst_colour_differences())
    with pytest.raises(Unfit, match="extreme"):
        encoded(planes, pixels)
    plain = replace(planes, rct=False)
    assert decoded(plain, encoded(plain, pixels)) == bytes(pixels)


def test_colours_on_both_ends_are_looked_at_and_kept() -> None:
    planes = Planes(3, 64, 64, 8, rct=True)
    values = np.zeros((3, 64, 64), np.uint8)
    values[0, :32], values[1, 32:] = 255, 255
    pixels = frame(planes, values)
    assert openjpeg.may_lose(planes, pixels)
    assert decoded(planes, encoded(planes, pixels)) == bytes(pixels)
    one_end = frame(planes, values // 2)
    assert not openjpeg.may_lose(planes, one_end)


@pytest.mark.parametrize("seed", range(8))
def test_one_bit_noise_is_exact_or_refused(seed: int) -> None:
    planes = Planes(1, 64, 64 + seed, 1)
    pixels = noise(planes, seed)
    try:
        codestream = encoded(planes, pixels)
    except Unfit:
        return
    assert decoded(planes, codestream) == bytes(pixels)


def test_too_little_room_is_a_clean_error() -> None:
    planes = Planes(1, 64, 64, 16)
    pixels = noise(planes)
    room = memoryview(bytearray(4096))
    with pytest.raises(Unfit, match="larger"):
        openjpeg.encode(planes, pixels, room)
    assert decoded(planes, encoded(planes, pixels)) == bytes(pixels), "and the next frame is none the worse"


def test_nothing_is_written_behind_the_room() -> None:
    planes = Planes(1, 64, 64, 16)
    backing = bytearray(b"\xaa" * 20000)
    with pytest.raises(Unfit):
        openjpeg.encode(planes, noise(planes), memoryview(backing)[:4096])
    assert set(backing[4096:]) == {0xAA}


def waves(planes: Planes) -> memoryview:
    """Something smooth with a little noise, over four fifths of the range, as an image is."""
    rows, columns = np.mgrid[0 : planes.rows, 0 : planes.columns]
    full = 1 << planes.precision
    smooth = (2 + np.sin(rows / 17) + np.cos(columns / 23)) / 4 * full * 0.8
    values = np.stack([np.roll(smooth, 9 * number, 0) for number in range(planes.samples)])
    values += np.random.default_rng(1).normal(0, full / 200, values.shape)
    return frame(planes, np.clip(values, 0, full - 1).astype(int) - (full // 2 if planes.signed else 0))


def error_of(planes: Planes, codestream: memoryview, pixels: memoryview) -> float:
    """Root of the mean square of the differences, as a part of the range."""
    differences = planes.view(memoryview(decoded(planes, codestream))).astype(float) - planes.view(pixels)
    return float(np.sqrt(np.mean(differences**2))) / (1 << planes.precision)


@pytest.mark.parametrize(
    "planes",
    [
        Planes(1, 200, 300, 8),
        Planes(1, 200, 300, 12),
        Planes(1, 200, 300, 12, signed=True),
        Planes(1, 200, 300, 16),
        Planes(3, 200, 300, 8, rct=True),
        Planes(3, 200, 300, 8),
    ],
    ids=str,
)
def test_lossy_is_as_small_as_asked_and_close(planes: Planes) -> None:
    pixels = waves(planes)
    codestream = encoded(planes, pixels, ratio=10.0)
    assert planes.size_bytes / len(codestream) == pytest.approx(10.0, rel=0.05), "of the dataset's whole bytes"
    assert 0 < error_of(planes, codestream, pixels) < 0.01
    assert jpeg2000.inspect(codestream, RGB) == (planes, True)
    assert transformation(codestream) == (planes.rct, 0), "ICT for colour, the 9/7 wavelet"
    assert transformation(encoded(planes, pixels)) == (planes.rct, 1)
    shape = (planes.rows, planes.columns, planes.samples)
    array = independent.decode(bytes(codestream)).reshape(shape).transpose(2, 0, 1)
    assert bytes(frame(planes, array)) == decoded(planes, codestream)


def transformation(codestream: memoryview) -> tuple[int, int]:
    """Component transform and wavelet of the COD segment (ISO/IEC 15444-1 A.6.1)."""
    at = bytes(codestream).index(b"\xff\x52")
    return codestream[at + 8], codestream[at + 13]


def test_lossy_clips_and_is_not_held_to_be_lossless() -> None:
    planes = Planes(3, 256, 256, 8, rct=True)
    pixels = frame(planes, worst_colour_differences())
    codestream = encoded(planes, pixels, ratio=4.0)
    array = independent.decode(bytes(codestream)).transpose(2, 0, 1)
    assert bytes(frame(planes, array)) == decoded(planes, codestream)


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "693_J2KI.dcm", "GDCMJ2K_TextGBR.dcm"])
def test_what_others_made_decodes_alike(name: str) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    codestream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    planes, _ = jpeg2000.inspect(memoryview(codestream), RGB)
    assert (planes.rows, planes.columns, planes.samples) == (dataset.Rows, dataset.Columns, dataset.SamplesPerPixel)
    array = independent.decode(codestream).reshape(planes.rows, planes.columns, planes.samples)
    assert decoded(planes, memoryview(codestream)) == bytes(frame(planes, array.transpose(2, 0, 1)))


@pytest.mark.parametrize(("samples", "reversible"), [(1, True), (3, True), (1, False), (3, False)])
def test_htj2k_of_another_library_decodes(samples: int, reversible: bool) -> None:
    planes = Planes(samples, 60, 90, 8, rct=samples == 3)
    pixels = waves(planes)
    interleaved = planes.view(pixels).transpose(1, 2, 0).squeeze()
    codestream = memoryview(imagecodecs.htj2k_encode(interleaved, None if reversible else 0.002, reversible=reversible))
    assert jpeg2000.inspect(codestream, RGB) == (planes, not reversible)
    if reversible:
        assert decoded(planes, codestream) == bytes(pixels)
    else:
        assert 0 < error_of(planes, codestream, pixels) < 0.005


def test_a_codestream_in_a_jp2_file_decodes() -> None:
    planes = Planes(1, 40, 50, 12)
    pixels = noise(planes)
    codestream = bytes(encoded(planes, pixels))
    signature, kind = b"\0\0\0\x0cjP  \r\n\x87\n", struct.pack(">I4s", 20, b"ftyp") + b"jp2 \0\0\0\0jp2 "
    file = signature + kind + struct.pack(">I4s", 8 + len(codestream), b"jp2c") + codestream + b"\0\0\0\x08free"
    assert decoded(planes, memoryview(file)) == bytes(pixels)
    with pytest.raises(Corrupt):
        decoded(planes, memoryview(file)[: len(file) // 2])


def test_a_codestream_that_asks_for_gigabytes_is_held_against_what_is_expected() -> None:
    planes = Planes(1, 64, 64, 8)
    codestream = bytearray(encoded(planes, noise(planes)))
    for at in (8, 12, 24, 28):  # Xsiz, Ysiz, XTsiz, YTsiz
        codestream[at : at + 4] = (60000).to_bytes(4, "big")
    assert jpeg2000.inspect(memoryview(codestream), RGB)[0].rows == 60000
    with pytest.raises(Corrupt, match="another shape"):
        decoded(planes, memoryview(codestream))


@pytest.mark.parametrize("keep", [60, 200, 0.5, 0.95])
def test_a_truncated_codestream_is_corrupt(keep: float) -> None:
    planes = Planes(1, 200, 200, 12)
    codestream = encoded(planes, noise(planes))
    length = int(keep if keep > 1 else keep * len(codestream))
    with pytest.raises(Corrupt):
        decoded(planes, codestream[:length])


def test_a_padded_codestream_decodes() -> None:
    planes = Planes(1, 20, 20, 12)
    pixels = noise(planes)
    assert decoded(planes, memoryview(bytes(encoded(planes, pixels)) + b"\0")) == bytes(pixels)


def test_nothing_leaks_on_any_path() -> None:
    planes = Planes(1, 128, 128, 16)
    pixels, room, tight = noise(planes), room_for(planes), memoryview(bytearray(12000))
    target = memoryview(bytearray(planes.size_bytes))

    def once() -> None:
        codestream = room[: openjpeg.encode(planes, pixels, room)]
        openjpeg.decode(codestream, planes, target)
        with pytest.raises(Unfit):
            openjpeg.encode(planes, pixels, tight)
        with pytest.raises(Corrupt):
            openjpeg.decode(codestream[:1000], planes, target)

    assert grown_bytes(once) < 1 << 20, "60 rounds of leaks of one frame would be 1.9 MiB and more"


def test_it_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    planes = Planes(1, 64, 64, 12)
    codestream = encoded(planes, noise(planes), threads=2)
    with pytest.raises(Corrupt):
        decoded(planes, codestream[:300])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
