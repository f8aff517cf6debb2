"""OpenJPEG through our bindings, decoded by an independent build of it (pylibjpeg-openjpeg) and by our own."""

import os
from dataclasses import replace
from typing import Any

import numpy as np
import openjpeg as independent
import pytest

from leyden.errors import Corrupt
from leyden.transcode import openjpeg
from leyden.transcode.pixels import Planes, Unfit


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


def encoded(planes: Planes, pixels: memoryview, threads: int = 0) -> memoryview:
    room = room_for(planes)
    return room[: openjpeg.encode(planes, pixels, room, threads)]


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


def test_a_codestream_says_what_it_holds() -> None:
    planes = Planes(1, 65, 33, 11, signed=True)
    codestream = encoded(planes, ramp(planes))
    assert bytes(codestream[:4]) == b"\xff\x4f\xff\x51", "a bare codestream, no JP2 file"
    assert bytes(codestream[-2:]) == b"\xff\xd9"
    assert openjpeg.inspect(codestream) == planes
    rgb = Planes(3, 8, 9, 8, rct=True)
    assert openjpeg.inspect(encoded(rgb, noise(rgb))) == replace(rgb, rct=False)


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


def siz(columns: int, rows: int, samples: int = 1, tile: int = 0, x0: int = 0, depth: int = 7, step: int = 1) -> bytes:
    numbers = (columns, rows, x0, 0, tile or columns, tile or rows, 0, 0)
    body = b"".join(number.to_bytes(4, "big") for number in numbers) + samples.to_bytes(2, "big")
    body += bytes((depth, step, step)) * samples
    return b"\xff\x4f\xff\x51" + (len(body) + 4).to_bytes(2, "big") + b"\0\0" + body


@pytest.mark.parametrize(
    ("codestream", "what"),
    [
        (b"", "too short"),
        (b"\xff\x4f\xff\x51", "too short"),
        (b"\xff\xd8" + bytes(60), "no JPEG 2000"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(60), "JP2"),
        (siz(40000, 40000, samples=5), "5 components"),
        (siz(64, 64, samples=0) + bytes(9), "0 components"),
        (siz(64, 64, depth=37), "16 bits"),
        (siz(64, 64, step=2), "alike"),
        (siz(64, 64, x0=64), "impossible size"),
        (siz(70000, 64), "impossible size"),
        (siz(60000, 60000, tile=1), "tiles"),
    ],
)
def test_hostile_claims_are_refused_before_the_library(codestream: bytes, what: str) -> None:
    with pytest.raises(Corrupt, match=what):
        openjpeg.inspect(memoryview(codestream))


def test_a_codestream_that_asks_for_gigabytes_is_held_against_what_is_expected() -> None:
    with pytest.raises(Corrupt, match="another shape"):
        decoded(Planes(1, 64, 64, 8), memoryview(siz(60000, 60000) + bytes(200)))


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
    planes = Planes(1, 256, 256, 16)
    pixels, room, tight = noise(planes), room_for(planes), memoryview(bytearray(50000))
    target = memoryview(bytearray(planes.size_bytes))

    def once() -> None:
        codestream = room[: openjpeg.encode(planes, pixels, room)]
        openjpeg.decode(codestream, planes, target)
        with pytest.raises(Unfit):
            openjpeg.encode(planes, pixels, tight)
        with pytest.raises(Corrupt):
            openjpeg.decode(codestream[:1000], planes, target)

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
    planes = Planes(1, 64, 64, 12)
    codestream = encoded(planes, noise(planes), threads=2)
    with pytest.raises(Corrupt):
        decoded(planes, codestream[:300])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
