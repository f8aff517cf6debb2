"""JPEG XL through libjxl: what comes back, bit by bit; what is damaged; and a JPEG that is kept as it is."""

import contextlib
import resource
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from PIL import Image

from leyden.errors import Corrupt
from leyden.transcode import jpeg, libjpeg, libjxl
from leyden.transcode.codecs import room_bytes
from leyden.transcode.pixels import CodecError, Description, Planes, Unfit
from support.damage import grown_bytes, survives
from support.readers import jpeg_by_djxl

RGB = Planes(3, 64, 100, 8, rct=True)
GREY = Planes(1, 64, 100, 8)


def noise(planes: Planes, seed: int = 0) -> memoryview:
    pixels = memoryview(bytearray(planes.size_bytes))
    view = planes.view(pixels)
    low = -(1 << planes.precision - 1) if planes.signed else 0
    view[:] = np.random.default_rng(seed).integers(low, low + (1 << planes.precision), view.shape)
    return pixels


def ramp(planes: Planes) -> memoryview:
    """What compresses, with a little noise."""
    pixels = memoryview(bytearray(planes.size_bytes))
    view = planes.view(pixels)
    rows, columns = np.mgrid[: planes.rows, : planes.columns]
    wobble = np.random.default_rng(3).integers(0, 3, view.shape)
    view[:] = (rows * 2 + columns + wobble) * (1 << max(0, planes.precision - 8)) % (1 << planes.precision)
    return pixels


def encoded(planes: Planes, pixels: memoryview, setting: float = 0.0, threads: int = 0) -> memoryview:
    room = memoryview(bytearray(room_bytes(planes)))
    return room[: libjxl.encode(planes, pixels, room, setting, threads)]


def decoded(planes: Planes, codestream: bytes | memoryview, threads: int = 0) -> memoryview:
    pixels = memoryview(bytearray(planes.size_bytes))
    libjxl.decode(memoryview(codestream), planes, pixels, threads)
    return pixels


shapes = st.builds(
    Planes,
    samples=st.sampled_from([1, 3]),
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    precision=st.integers(1, 16),
)


@given(shapes, st.integers(0, 1000))
@settings(max_examples=150, deadline=None)
def test_every_precision_comes_back(planes: Planes, seed: int) -> None:
    pixels = noise(planes, seed)
    codestream = encoded(planes, pixels)
    assert bytes(codestream[:2]) == b"\xff\x0a", "no container"
    assert decoded(planes, codestream) == pixels


@pytest.mark.parametrize("allocated", [8, 16])
def test_signed_pixels_come_back_by_their_bits(allocated: int) -> None:
    planes = Planes(1, 37, 41, allocated, signed=True)
    pixels = noise(planes)
    codestream = encoded(planes, pixels)
    assert decoded(planes, codestream) == pixels
    assert decoded(replace(planes, signed=False), codestream) == pixels


LARGE = (Planes(1, 300, 700, 12), Planes(3, 300, 270, 8, rct=True), Planes(1, 2100, 2200, 16))


@pytest.mark.parametrize("planes", LARGE)
def test_threads_make_the_same(planes: Planes) -> None:
    pixels = ramp(planes)
    codestream = encoded(planes, pixels)
    assert encoded(planes, pixels, threads=3) == codestream
    assert decoded(planes, codestream, threads=3) == pixels


@pytest.mark.parametrize("planes", [GREY, RGB, Planes(1, 64, 100, 12), Planes(1, 64, 100, 16)])
def test_more_quality_is_less_loss_and_more_bytes(planes: Planes) -> None:
    pixels = ramp(planes)
    found = []
    for quality in (20.0, 60.0, 90.0, 100.0):
        codestream = encoded(planes, pixels, quality)
        errors = planes.view(decoded(planes, codestream)).astype(int) - planes.view(pixels).astype(int)
        found.append((len(codestream), -float(np.square(errors).mean())))
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_quality_is_that_of_cjxl() -> None:
    assert libjxl.distance(90) == pytest.approx(1.0)
    assert libjxl.distance(100) == pytest.approx(0.1)
    assert libjxl.distance(30) == pytest.approx(6.4)
    assert 6.4 < libjxl.distance(29) < libjxl.distance(1) < 25


def test_a_room_that_is_too_small() -> None:
    with pytest.raises(Unfit, match="larger"):
        libjxl.encode(GREY, noise(GREY), memoryview(bytearray(1000)))


def test_what_the_library_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("JXL_ENC_ERR_OOM")

    monkeypatch.setattr(imagecodecs, "jpegxl_encode", failing)
    with pytest.raises(CodecError, match="OOM"):
        encoded(GREY, ramp(GREY))


@pytest.mark.parametrize("setting", [0.0, 90.0])
@pytest.mark.parametrize("planes", [GREY, RGB, Planes(1, 64, 100, 12), Planes(1, 64, 100, 16)])
def test_truncated_or_with_something_behind_it(planes: Planes, setting: float) -> None:
    codestream = bytes(encoded(planes, ramp(planes), setting))
    whole = decoded(planes, codestream)
    for padding in (b"\0", bytes(7)):
        assert decoded(planes, codestream + padding) == whole
    for length in (*range(len(codestream) - 8, len(codestream)), *range(0, len(codestream), 97)):
        with pytest.raises(Corrupt):
            decoded(planes, codestream[:length])
    for excess in (b"\1", b"\0\0\1", codestream):
        with pytest.raises(Corrupt, match="behind its codestream"):
            decoded(planes, codestream + excess)


def test_of_other_planes() -> None:
    codestream = encoded(GREY, ramp(GREY))
    for other in (replace(GREY, rows=65), replace(GREY, columns=99), replace(GREY, precision=7), RGB):
        with pytest.raises(Corrupt, match="another shape"):
            decoded(other, codestream)


def test_a_size_that_would_take_all_memory_is_not_asked_for() -> None:
    """13 bytes that claim 2^30 x 2^30 pixels."""
    side = 3 | (1 << 30) - 1 << 2
    bomb = b"\xff\x0a" + (side << 1 | side << 36).to_bytes(16, "little")
    with pytest.raises(Corrupt, match="impossible size"):
        decoded(GREY, bomb)


def test_no_memory_is_kept() -> None:
    planes = Planes(1, 256, 256, 16)
    pixels = ramp(planes)
    codestream = bytes(encoded(planes, pixels))

    def once() -> None:
        encoded(planes, pixels)
        decoded(planes, codestream)
        with pytest.raises(Corrupt):
            decoded(planes, codestream[:-9])

    assert grown_bytes(once) < 6 << 20, "60 rounds of leaks of one frame would be 7 MiB and more"


# -- a JPEG that is kept


def a_jpeg(planes: Planes, quality: int = 90, **terms: Any) -> bytes:
    values = planes.view(ramp(planes))
    image = values[0] if planes.samples == 1 else np.ascontiguousarray(values.transpose(1, 2, 0))
    return bytes(imagecodecs.jpeg8_encode(image, level=quality, **terms))


def recompressed(source: bytes, planes: Planes) -> bytes:
    room = memoryview(bytearray(max(len(source), room_bytes(planes))))
    room[: len(source)] = source
    return bytes(room[: libjxl.recompress(room[: len(source)], planes, room)])


def given_back(codestream: bytes, planes: Planes, baseline: bool = True) -> bytes:
    room = memoryview(bytearray(max(len(codestream), room_bytes(planes))))
    room[: len(codestream)] = codestream
    return bytes(room[: libjxl.reconstruct(room[: len(codestream)], planes, room, baseline=baseline)])


JPEGS = {
    "grey": (GREY, {}),
    "4:4:4": (RGB, {"subsampling": "444"}),
    "4:2:2": (RGB, {"subsampling": "422"}),
    "4:2:0, own tables": (RGB, {"subsampling": "420", "optimize": True}),
    "RGB": (replace(RGB, rct=False), {"colorspace": "RGB", "outcolorspace": "RGB"}),
}


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("behind", [b"", b"\0", b"\0\0\0", b"padding?"])
def test_the_very_jpeg_comes_back(name: str, behind: bytes) -> None:
    planes, terms = JPEGS[name]
    source = a_jpeg(planes, **terms) + behind
    made = recompressed(source, planes)
    libjxl.check_recompressed(memoryview(made), memoryview(source), planes)
    for padded in (made, made + b"\0"):
        assert given_back(padded, planes) == source
        assert jpeg_by_djxl(padded) == source


@pytest.mark.parametrize("name", JPEGS)
def test_it_decodes_to_the_pixels_of_the_jpeg(name: str) -> None:
    planes, terms = JPEGS[name]
    source = a_jpeg(planes, **terms)
    by_jpeg, by_jpegxl = (memoryview(bytearray(planes.size_bytes)) for _ in range(2))
    libjpeg.decode(memoryview(source), planes, by_jpeg)
    libjxl.decode_jpeg(memoryview(recompressed(source, planes)), planes, by_jpegxl)
    assert by_jpegxl == by_jpeg


def test_a_recompressed_jpeg_is_smaller() -> None:
    planes = Planes(3, 400, 500, 8, rct=True)
    source = a_jpeg(planes)
    assert len(recompressed(source, planes)) < 0.9 * len(source)


def progressive(planes: Planes) -> bytes:
    """By Pillow, as imagecodecs makes none."""
    made = BytesIO()
    Image.fromarray(planes.view(ramp(planes))[0]).save(made, "JPEG", progressive=True)
    return made.getvalue()


def described(planes: Planes) -> Description:
    return Description(planes.rows, planes.columns, planes.samples, 8, 8, 7, signed=False, photometric="MONOCHROME2")


def test_other_processes_are_not_recompressed_and_never_named_baseline() -> None:
    source = progressive(GREY)
    with pytest.raises(Unfit, match="another process"):
        jpeg.inspect_to_keep(memoryview(source), described(GREY))
    made = recompressed(source, GREY)  # by somebody else
    assert jpeg_by_djxl(made) == source
    for baseline in (True, False):
        with pytest.raises(Unfit, match="another process"):
            given_back(made, GREY, baseline)
    extended = a_jpeg(GREY).replace(b"\xff\xc0", b"\xff\xc1", 1)
    made = recompressed(extended, GREY)
    assert given_back(made, GREY, baseline=False) == extended
    with pytest.raises(Unfit, match="another process"):
        given_back(made, GREY)


def test_what_cannot_be_kept() -> None:
    twelve = Planes(1, 64, 100, 12)
    for planes, terms in ((twelve, {"bitspersample": 12}), (GREY, {"lossless": True, "predictor": 1})):
        source = a_jpeg(planes, **terms)
        with pytest.raises(Unfit, match="another process"):
            jpeg.inspect_to_keep(memoryview(source), described(planes))
        with pytest.raises(Unfit, match="cannot keep"):
            recompressed(source, planes)
    for no_jpeg in (b"", b"\xff\xd8\xff\xe0\0\x10JFIF"):
        with pytest.raises(Corrupt):
            jpeg.inspect_to_keep(memoryview(no_jpeg), described(GREY))


def test_jpeg_xl_without_a_jpeg_in_it() -> None:
    codestream = bytes(encoded(GREY, ramp(GREY)))
    with pytest.raises(Corrupt, match="no JPEG"):
        given_back(codestream, GREY)
    with pytest.raises(Corrupt, match="no JPEG"):
        libjxl.decode_jpeg(memoryview(codestream), GREY, memoryview(bytearray(GREY.size_bytes)))


def test_another_jpeg_is_a_difference() -> None:
    made, other = recompressed(a_jpeg(GREY), GREY), a_jpeg(GREY, quality=89)
    with pytest.raises(Corrupt, match="another JPEG"):
        libjxl.check_recompressed(memoryview(made), memoryview(other), GREY)


def test_markers_that_contradict_the_dataset() -> None:
    planes, terms = JPEGS["RGB"]
    made = recompressed(a_jpeg(planes, **terms), planes)
    with pytest.raises(Unfit, match="markers of RGB"):
        libjxl.decode_jpeg(memoryview(made), RGB, memoryview(bytearray(RGB.size_bytes)))


# -- damage


def damaged_without_end() -> None:
    """Thousands of damaged codestreams: pixels, a JPEG, or Corrupt, and no memory kept."""
    random = np.random.default_rng(5)
    subjects = []
    for planes in (GREY, RGB, Planes(1, 37, 41, 12), Planes(1, 37, 41, 16)):
        for setting in (0.0, 90.0):
            subjects.append((planes if setting else replace(planes, rct=False), encoded(planes, ramp(planes), setting)))
        values = np.ascontiguousarray(np.squeeze(planes.view(ramp(planes)).transpose(1, 2, 0)))
        for effort in (1, 7):
            other = imagecodecs.jpegxl_encode(values, lossless=True, effort=effort, usecontainer=True)
            subjects.append((replace(planes, precision=8 * planes.sample_bytes), other))
    kept = [(planes, recompressed(a_jpeg(planes, **terms), planes)) for planes, terms in JPEGS.values()]
    held = 0
    for number in range(4000):
        of_jpeg = number % 4 == 0
        planes, codestream = kept[number % len(kept)] if of_jpeg else subjects[number % len(subjects)]
        data = bytearray(codestream)
        for _ in range(random.integers(1, 5)):
            data[random.integers(0, 120 if number % 2 else len(data))] = random.integers(256)
        if number % 5 == 0:
            del data[random.integers(len(data)) :]
        pixels = memoryview(bytearray(planes.size_bytes))
        with contextlib.suppress(Corrupt, Unfit):
            (libjxl.decode_jpeg if of_jpeg else libjxl.decode)(memoryview(data), planes, pixels)
        if number == 1000:
            held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held < 64 << 10, "KiB more than at the beginning"


def test_damage_ends_in_pixels_or_corrupt() -> None:
    assert survives(damaged_without_end)
