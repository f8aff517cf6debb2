"""The markers of JPEG: what a codestream claims, whose word counts for colour, what a dataset may become."""

import io
from typing import Any

import imagecodecs
import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image

from leyden.errors import Corrupt
from leyden.transcode import jpeg
from leyden.transcode.pixels import Description, Planes, Unfit

GREY8 = Description(16, 24, 1, 8, 8, 7, False, "MONOCHROME2")
GREY12 = Description(16, 24, 1, 16, 12, 11, False, "MONOCHROME2")
RGB = Description(16, 24, 3, 8, 8, 7, False, "RGB")
COLOURS = np.random.default_rng(1).integers(0, 256, (16, 24, 3), np.uint8)


def by_pillow(**terms: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, "JPEG", **terms)
    return file.getvalue()


def test_the_dataset_is_asked_for_the_colour_transform() -> None:
    with_jfif = memoryview(by_pillow())
    bare = memoryview(jpeg.head(jpeg.read(with_jfif)))
    assert b"JFIF" in bytes(with_jfif)
    assert b"JFIF" not in bytes(bare)
    assert jpeg.inspect(bare, replace(RGB, photometric="YBR_FULL_422"))[0].rct
    assert jpeg.inspect(with_jfif, replace(RGB, photometric="YBR_FULL"))[0].rct
    with pytest.raises(Unfit, match="markers of YCbCr"):
        jpeg.inspect(with_jfif, RGB)
    with pytest.raises(Unfit, match="markers of YCbCr"):
        jpeg.inspect(bare, RGB)  # it is subsampled
    assert not jpeg.inspect(memoryview(jpeg.head(jpeg.read(memoryview(by_pillow(subsampling=0))))), RGB)[0].rct
    with pytest.raises(Unfit, match="YBR_FULL"):
        jpeg.inspect(with_jfif, replace(RGB, photometric="YBR_PARTIAL_422"))


def test_markers_of_rgb() -> None:
    lossy = memoryview(imagecodecs.jpeg8_encode(COLOURS, outcolorspace="RGB"))
    lossless = memoryview(imagecodecs.jpeg8_encode(COLOURS, outcolorspace="RGB", lossless=True, bitspersample=8))
    assert not jpeg.inspect(lossy, RGB)[0].rct
    with pytest.raises(Unfit, match="markers of RGB"):
        jpeg.inspect(lossy, replace(RGB, photometric="YBR_FULL"))
    assert not jpeg.inspect(lossless, replace(RGB, photometric="YBR_FULL"))[0].rct, "lossless transforms nothing"


@pytest.mark.parametrize("fill", [b"", b"\xff", b"\xff" * 9])
def test_fill_bytes_and_other_segments_do_not_matter(fill: bytes) -> None:
    codestream = by_pillow(comment=b"\xff\xc0", icc_profile=bytes(70000))
    filled = codestream[:2] + fill + codestream[2:]
    found, _ = jpeg.inspect(memoryview(filled), replace(RGB, photometric="YBR_FULL_422"))
    assert found == Planes(3, 16, 24, 8, rct=True)
    with pytest.raises(Corrupt, match="frame header"):
        jpeg.inspect(memoryview(filled[:65536]), RGB)


def test_the_data_end_where_their_end_is() -> None:
    codestream = by_pillow(restart_marker_blocks=1)
    header = jpeg.read(memoryview(codestream))
    intervals = jpeg.intervals(header, memoryview(codestream))
    assert len(intervals) == 2
    assert jpeg.intervals(header, memoryview(codestream[:-2] + b"\xff\xff\xff\xd9" + b"\xff\xd0" * 9)) == intervals
    joined = memoryview(jpeg.join(jpeg.head(header), intervals))
    assert jpeg.intervals(jpeg.read(joined), joined) == intervals
    for wrong in (codestream.replace(b"\xff\xd0", b"\xff\xd1"), codestream.replace(b"\xff\xd0", b"")):
        with pytest.raises(Corrupt, match="restart"):
            jpeg.intervals(header, memoryview(wrong))


@pytest.mark.parametrize(
    ("described", "baseline", "extended", "lossless"),
    [
        (GREY8, None, None, None),
        (GREY12, "8 and 8", None, None),
        (replace(GREY12, bits_stored=10, high_bit=9), "8 and 8", "16 and 12", None),
        (replace(GREY12, signed=True), "signed", "signed", None),
        (replace(GREY8, photometric="PALETTE COLOR"), "palette", "palette", None),
        (replace(RGB, bits_allocated=16, bits_stored=12, high_bit=11), "8 and 8", "colour", None),
        (replace(GREY12, bits_allocated=32), "32", "32", "8 and 16"),
        (replace(GREY8, rows=65501), "65500", "65500", "65500"),
        (replace(GREY8, bits_stored=7), "High Bit", "High Bit", None),
    ],
)
def test_what_can_be_held(described: Description, baseline: Any, extended: Any, lossless: Any) -> None:
    found = (jpeg.obstacle_baseline(described), jpeg.obstacle_extended(described), jpeg.obstacle(described))
    for reason, wanted in zip(found, (baseline, extended, lossless), strict=True):
        assert (reason is None) == (wanted is None)
        assert wanted in (None, "32") or wanted in str(reason)


def sof(marker: int, rows: int, columns: int, precision: int = 8, factors: tuple[int, ...] = (0x11,)) -> bytes:
    body = bytes((precision,)) + rows.to_bytes(2, "big") + columns.to_bytes(2, "big") + bytes((len(factors),))
    body += b"".join(bytes((number, factor, 0)) for number, factor in enumerate(factors))
    return b"\xff\xd8\xff" + bytes((marker,)) + (len(body) + 2).to_bytes(2, "big") + body


@pytest.mark.parametrize(
    ("codestream", "what"),
    [
        (b"", "no JPEG"),
        (b"\xff\xd8\xff", "frame header"),
        (b"\xff\xd8\xff\xe0\xff\xff" + bytes(100), "frame header"),
        (b"\xff\xd8\xff\xe0\0\1", "follow"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 2000, "segments"),
        (b"\xff\xd8" + b"\xff" * 100_000, "without a frame header"),
        (sof(0xC2, 8, 8), "process"),
        (sof(0xC9, 8, 8), "process"),
        (sof(0xC5, 8, 8), "process"),
        (sof(0xC0, 0, 8), "lines"),
        (sof(0xC0, 8, 0), "impossible"),
        (sof(0xC0, 8, 8, 12), "precision"),
        (sof(0xC3, 8, 8, 17), "precision"),
        (sof(0xC0, 65535, 8), "65500"),
        (sof(0xC0, 8, 8, 8, (0x11,) * 4), "4 components"),
        (sof(0xC0, 8, 8, 8, (0x41, 0x11, 0x11)), "subsampling"),
        (sof(0xC3, 8, 8, 8, (0x21, 0x11, 0x11)), "subsampling"),
        (sof(0xC0, 8, 8) + sof(0xC0, 8, 8)[2:], "two frame headers"),
        (sof(0xC0, 8, 8) + b"\xff\xc4\0\x14\0" + b"\xff" * 17, "Huffman"),
        (sof(0xC0, 8, 8, 8, (0x11,) * 3) + b"\xff\xda\0\x08\1\1\0\0\x3f\0", "several scans"),
    ],
)
def test_hostile_claims_are_refused_before_the_library(codestream: bytes, what: str) -> None:
    with pytest.raises((Corrupt, Unfit), match=what):
        jpeg.inspect(memoryview(codestream), GREY8)
