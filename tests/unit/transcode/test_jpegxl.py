"""What a JPEG XL header claims, held against what libjxl wrote, and what is refused of it."""

from itertools import product
from typing import Any

import imagecodecs
import numpy as np
import pytest
from msgspec.structs import replace

from leyden.errors import Corrupt
from leyden.transcode import jpegxl
from leyden.transcode.pixels import Description, Planes, Unfit

SIGNATURE = b"\0\0\0\x0cJXL \r\n\x87\n"
BITS_16 = tuple(range(1, 17))


def described(planes: Planes, photometric: str = "", signed: bool = False) -> Description:
    photometric = photometric or ("MONOCHROME2" if planes.samples == 1 else "RGB")
    bits, allocated = planes.precision, 8 * planes.sample_bytes
    return Description(
        planes.rows, planes.columns, planes.samples, allocated, bits, bits - 1, signed=signed, photometric=photometric
    )


def made(planes: Planes, **terms: Any) -> memoryview:
    shape = (planes.rows, planes.columns) if planes.samples == 1 else (planes.rows, planes.columns, planes.samples)
    image = np.zeros(shape, planes.dtype)
    photometric = "GRAY" if planes.samples == 1 else "RGB"
    terms = {"lossless": True, "effort": 1} | terms
    return memoryview(
        imagecodecs.jpegxl_encode(image, bitspersample=planes.precision, photometric=photometric, **terms)
    )


def header(*fields: tuple[int, int]) -> memoryview:
    """A codestream of these fields (value, bits), behind the signature."""
    value, at = 0, 0
    for number, bits in fields:
        value |= number << at
        at += bits
    return memoryview(b"\xff\x0a" + value.to_bytes(-(-at // 8), "little") + bytes(8))


SIZE = ((1, 1), (4, 5), (1, 3))  # 40 rows, as many columns
USUAL = (*SIZE, (0, 1), (0, 1), (0, 1), (0, 2), (1, 1), (0, 2))  # up to the number of further channels
GREY = described(Planes(1, 40, 40, 8))
RGB = described(Planes(3, 40, 40, 8))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("precision", BITS_16)
def test_every_precision(samples: int, precision: int) -> None:
    planes = Planes(samples, 37, 41, precision)
    codestream = jpegxl.bare(made(planes))
    assert jpegxl.inspect(codestream, described(planes)) == (planes, False)
    jpegxl.expect(codestream, planes)
    for length in range(7):
        with pytest.raises(Corrupt):
            jpegxl.inspect(codestream[:length], described(planes))


SIDES = (1, 7, 8, 40, 256, 257, 264, 511, 512, 513, 8192, 8193)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [*product(SIDES[:9], SIDES), (3000, 3600), (300, 400), (200, 300), (90, 160), (400, 500), (128, 256), (7, 8)],
)
def test_every_way_to_write_a_size(rows: int, columns: int) -> None:
    planes = Planes(1, rows, columns, 8)
    assert jpegxl.inspect(jpegxl.bare(made(planes)), described(planes)) == (planes, False)


@pytest.mark.parametrize("samples", [1, 3])
def test_what_is_lossy_says_so(samples: int) -> None:
    planes = Planes(samples, 37, 41, 8)
    codestream = made(planes, lossless=False, distance=1.0)
    assert jpegxl.inspect(codestream, described(planes)) == (replace(planes, rct=samples == 3), True)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_container_is_opened(bits: int) -> None:
    planes = Planes(1, 37, 41, bits)
    whole = made(planes, usecontainer=True)
    assert bytes(whole[:12]) == SIGNATURE
    assert bytes(jpegxl.bare(whole)[:2]) == b"\xff\x0a"
    assert jpegxl.inspect(whole[:200], described(planes)) == (planes, False), "the beginning is enough"


def box(kind: bytes, content: bytes) -> bytes:
    return (len(content) + 8).to_bytes(4, "big") + kind + content


def test_a_codestream_in_parts() -> None:
    codestream = bytes(made(Planes(1, 37, 41, 8)))
    first, last = box(b"jxlp", bytes(4) + codestream[:5]), box(b"jxlp", b"\x80\0\0\1" + codestream[5:])
    assert bytes(jpegxl.bare(memoryview(SIGNATURE + first + box(b"Exif", b"abcd") + last + b"\0"))) == codestream
    for wrong in (last + first, first + first, b"", box(b"Exif", codestream)):
        with pytest.raises(Corrupt, match="container"):
            jpegxl.bare(memoryview(SIGNATURE + wrong))


@pytest.mark.parametrize(
    ("photometric", "xyb", "undone"),
    [("RGB", False, False), ("YBR_FULL_422", False, True), ("RGB", True, True), ("XYB", True, True)],
)
def test_the_colours_that_the_decoder_turns(photometric: str, xyb: bool, undone: bool) -> None:
    planes = Planes(3, 37, 41, 8)
    terms: dict[str, Any] = {"lossless": False, "distance": 1.0} if xyb else {}
    claim = jpegxl.inspect(made(planes, **terms), described(planes, photometric))
    assert claim == (replace(planes, rct=undone), xyb)


@pytest.mark.parametrize(
    ("photometric", "xyb"), [("YBR_FULL", False), ("XYB", False), ("YBR_FULL_422", True), ("YBR_RCT", True)]
)
def test_colours_that_contradict_the_codestream_are_not_guessed_at(photometric: str, xyb: bool) -> None:
    planes = Planes(3, 37, 41, 8)
    terms: dict[str, Any] = {"lossless": False, "distance": 1.0} if xyb else {}
    with pytest.raises(Unfit, match=f"{photometric}, which"):
        jpegxl.inspect(made(planes, **terms), described(planes, photometric))


def test_signed_pixels_are_all_bits_allocated() -> None:
    planes = Planes(1, 37, 41, 16)
    asked = replace(described(planes, signed=True), bits_stored=12, high_bit=11)
    assert jpegxl.planes(asked) == replace(planes, signed=True)
    assert jpegxl.obstacle(asked) is None
    assert "signed" in (jpegxl.obstacle(asked, lossy=True) or "")
    assert jpegxl.inspect(made(planes), asked) == (planes, False)
    with pytest.raises(Unfit, match="signed"):
        jpegxl.inspect(made(replace(planes, precision=12)), asked)
    with pytest.raises(Unfit, match="signed"):
        jpegxl.inspect(made(planes, lossless=False, distance=1.0), asked)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"bits_allocated": 32}, "bits allocated"),
        ({"high_bit": 9}, "High Bit"),
        ({"photometric": "PALETTE COLOR"}, "palette"),
        ({"photometric": "YBR_FULL"}, "YBR_FULL"),
    ],
)
def test_what_is_not_made(changed: dict[str, Any], reason: str) -> None:
    asked = replace(GREY, **changed)
    assert reason in (jpegxl.obstacle(asked) or "")
    assert reason in (jpegxl.obstacle(asked, lossy=True) or "")
    assert jpegxl.obstacle(GREY) is jpegxl.obstacle(RGB) is jpegxl.obstacle(RGB, lossy=True) is None
    assert [jpegxl.photometric_lossy(each) for each in (GREY, RGB)] == ["MONOCHROME2", "XYB"]


def test_the_header_that_the_next_tests_change() -> None:
    assert jpegxl.inspect(header(*USUAL, (0, 1), (0, 1), (0, 1), (1, 2)), GREY) == (Planes(1, 40, 40, 8), False)
    assert jpegxl.inspect(header(*USUAL, (0, 1), (1, 1)), RGB) == (Planes(3, 40, 40, 8), False)
    assert jpegxl.inspect(header(*SIZE, (1, 1)), RGB) == (Planes(3, 40, 40, 8, rct=True), True)


@pytest.mark.parametrize(
    "codestream",
    [
        header(*SIZE, (0, 1), (1, 1)),  # further fields: orientation, preview, animation
        header(*SIZE, (0, 1), (0, 1), (1, 1)),  # float
        header(*SIZE, (0, 1), (0, 1), (0, 1), (3, 2), (16, 6), (1, 1), (0, 2), (0, 1), (0, 1), (0, 1), (1, 2)),
        header(*USUAL[:-1], (1, 2), (0, 1), (1, 1)),  # a channel of opacity
        header(*USUAL, (0, 1), (0, 1), (0, 1), (2, 2), (0, 4)),  # XYB as a space of its own
        header(*USUAL, (1, 1), (0, 1), (1, 1), (1, 2)),  # XYB that a profile shall undo
    ],
)
def test_what_is_no_picture_for_us(codestream: memoryview) -> None:
    for asked in (GREY, RGB):
        with pytest.raises(Unfit):
            jpegxl.inspect(codestream, asked)


HUGE = bytes(header((0, 1), (3, 2), ((1 << 30) - 1, 30), (1, 3)))


@pytest.mark.parametrize("codestream", [b"", b"\xff", b"\xff\x0a", b"\xff\xd8\xff\xe0", SIGNATURE, HUGE])
def test_what_is_no_codestream(codestream: bytes) -> None:
    with pytest.raises(Corrupt):
        jpegxl.inspect(memoryview(codestream), GREY)
    with pytest.raises(Corrupt):
        jpegxl.inspect_jpeg(memoryview(codestream), GREY)


def test_what_a_jpeg_became() -> None:
    image = np.zeros((37, 41, 3), np.uint8)
    whole = memoryview(imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(image, level=90)))
    planes = Planes(3, 37, 41, 8)
    for photometric in ("RGB", "YBR_FULL_422", "YBR_FULL"):
        claim = jpegxl.inspect_jpeg(whole, described(planes, photometric))
        assert claim == (replace(planes, rct=photometric != "RGB"), True)
    with pytest.raises(Unfit, match="Photometric"):
        jpegxl.inspect_jpeg(whole, described(planes, "XYB"))
    for other in (made(Planes(1, 37, 41, 12)), made(planes, lossless=False, distance=1.0)):
        with pytest.raises(Corrupt, match="holds no JPEG"):
            jpegxl.inspect_jpeg(other, described(planes))
