"""JPEG XL (ISO/IEC 18181) as bytes: what the header of a codestream claims, and what a dataset asks of an encoder.

No pixel is touched here (libjxl.py does that). The header is read up to the colour space, bit by bit from 64 bytes.
JPEG XL has no sign. PS3.5 section 8.2.15 has the lossless syntax preserve the bits of the image, so signed samples are
the two's complement of all bits allocated, as in JPEG-LS; some writers add half the range instead, so what does not
have all bits is left alone, and none is made lossy. Colour is RGB, or XYB where something may be lost.
Refused: orientation, previews, animation, further channels, float samples, and YBR_FULL, which a codestream that holds
a JPEG has undone by its decoder and another has not: the header does not tell them apart.
"""

from dataclasses import replace
from typing import NamedTuple

from leyden.errors import Corrupt
from leyden.transcode.jpeg2000 import boxes
from leyden.transcode.pixels import (
    MORE_THAN_16_BITS,
    OTHER_HIGH_BIT,
    Claim,
    Description,
    Obstacle,
    Planes,
    Unfit,
    first_reason,
)

BEGINS = rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n"
MAX_PRECISION = 16
_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_HEADER_BYTES = 64
# colour spaces
_GREY = 1
_XYB = 2
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # of columns to rows

# The four ways to write a number that two bits choose from: how many bits follow, and what is added.
_Number = tuple[tuple[int, int], ...]
_SIDE: _Number = ((9, 1), (13, 1), (18, 1), (30, 1))
_PRECISION: _Number = ((0, 8), (0, 10), (0, 12), (6, 1))
_CHANNELS: _Number = ((0, 0), (0, 1), (4, 2), (12, 1))
_ENUM: _Number = ((0, 0), (0, 1), (4, 2), (6, 18))

_OBSTACLES: tuple[Obstacle, ...] = (
    MORE_THAN_16_BITS,
    OTHER_HIGH_BIT,
    (lambda d: d.photometric in ("PALETTE COLOR", "YBR_FULL"), "a palette or YBR_FULL, for which JPEG XL has no name"),
)
_LOSSY_OBSTACLES: tuple[Obstacle, ...] = (
    *_OBSTACLES,
    (lambda d: d.signed, "signed pixels, whose sign a loss could turn, as JPEG XL has none"),
)
NO_JPEG = "only what is a JPEG already can be recompressed as JPEG XL"


class _ImageHeader(NamedTuple):
    planes: Planes
    xyb: bool


class _Bits:
    """The bits of a header, the least significant of each byte first."""

    def __init__(self, memory: memoryview) -> None:
        self._value = int.from_bytes(memory[:_HEADER_BYTES], "little")
        self._left = 8 * min(len(memory), _HEADER_BYTES)

    def take(self, count: int) -> int:
        if count > self._left:
            raise Corrupt("a JPEG XL codestream too short for its header")
        taken = self._value & ((1 << count) - 1)
        self._value, self._left = self._value >> count, self._left - count
        return taken

    def number(self, ways: _Number) -> int:
        count, offset = ways[self.take(2)]
        return offset + self.take(count)


def planes(described: Description) -> Planes:
    """Bits Stored, if unsigned; else two's complement of Bits Allocated. R, G and B are decorrelated."""
    d = described
    precision = d.bits_allocated if d.signed else d.bits_stored
    return Planes(d.samples, d.rows, d.columns, precision, d.signed, rct=d.photometric == "RGB")


def obstacle(described: Description, lossy: bool = False) -> str | None:
    """Why JPEG XL can't hold such pixels (PS3.5 section 8.2.15) without loss or, `lossy`, with one; None = it can."""
    return first_reason(_LOSSY_OBSTACLES if lossy else _OBSTACLES, described)


def photometric_lossy(described: Description) -> str:
    """Photometric Interpretation after lossy encoding."""
    return "XYB" if described.samples == 3 else described.photometric


def bare(memory: memoryview) -> memoryview:
    """The codestream alone, of which a container (ISO/IEC 18181-2) may hold parts. Corrupt: there is none in it."""
    if bytes(memory[: len(_CONTAINER)]) != _CONTAINER:
        return memory
    parts: list[memoryview] = []
    for kind, content in boxes(memory):
        if kind == b"jxlc":
            return content
        if kind == b"jxlp":
            if int.from_bytes(content[:4], "big") & 0x7FFFFFFF != len(parts):
                raise Corrupt("a JPEG XL container with parts in another order")
            parts.append(content[4:])
    if not parts:
        raise Corrupt("a JPEG XL container without a codestream")
    return memoryview(b"".join(parts))


def inspect(memory: memoryview, described: Description) -> Claim:
    """What the header of a codestream claims (ISO/IEC 18181-1 Annex D). A loss: the colours are XYB.

    `rct`: the decoder gives R, G and B of other colours. Corrupt: no JPEG XL, or one not for us. Unfit: of an absent
    kind, or a dataset that names pixels which it may not hold: who is right can't be known.
    """
    found, xyb = _header(bare(memory))
    if described.signed and (xyb or found.precision != described.bits_allocated):
        raise Unfit("signed pixels, of which JPEG XL knows nothing, in fewer bits than Bits Allocated or lossy")
    if found.samples == 1:
        return found, xyb
    names, undone = described.photometric, xyb
    if xyb:
        known = names in ("XYB", "RGB")
    else:
        known, undone = names in ("RGB", "YBR_FULL_422"), names == "YBR_FULL_422"
    if not known:
        raise Unfit(f"{names}, which a JPEG XL codestream {'of XYB' if xyb else 'of no XYB'} may not hold")
    return replace(found, rct=undone), xyb


def inspect_jpeg(memory: memoryview, described: Description) -> Claim:
    """The same for one that a JPEG was recompressed to, which has lost something before.

    `rct`: there is a YCbCr transform to undo, which only the dataset says.
    """
    found, xyb = _header(bare(memory))
    if xyb or found.precision != 8:
        raise Corrupt("a JPEG XL codestream that holds no JPEG")
    names = described.photometric
    if found.samples == 3 and names not in ("RGB", "YBR_FULL", "YBR_FULL_422"):
        raise Unfit("a recompressed JPEG in another Photometric Interpretation than RGB, YBR_FULL and YBR_FULL_422")
    return replace(found, rct=found.samples == 3 and names != "RGB"), True


def expect(codestream: memoryview, wanted: Planes) -> None:
    """Hold what a codestream asks for against what is expected, before a library obeys it. Corrupt: they differ."""
    if _header(codestream).planes != Planes(wanted.samples, wanted.rows, wanted.columns, wanted.precision):
        raise Corrupt("a codestream of another shape than the ones before it")


def _header(codestream: memoryview) -> _ImageHeader:
    """Signature, SizeHeader, and of ImageMetadata what stands before the details of the colour space."""
    if bytes(codestream[:2]) != _CODESTREAM:
        raise Corrupt("no JPEG XL codestream")
    bits = _Bits(codestream[2:])
    rows, columns = _size(bits)
    if max(rows, columns) > 65535:
        raise Corrupt("a JPEG XL codestream of impossible size")
    if bits.take(1):  # all as is usual
        return _ImageHeader(Planes(3, rows, columns, 8), True)
    if bits.take(1):
        raise Unfit("an orientation, a preview or an animation in the JPEG XL codestream")
    if bits.take(1):
        raise Unfit("float samples in the JPEG XL codestream")
    precision = bits.number(_PRECISION)
    bits.take(1)  # whether 16 bits do for what a decoder reckons with
    if bits.number(_CHANNELS):
        raise Unfit("further channels in the JPEG XL codestream")
    xyb, usual_colours = bool(bits.take(1)), bool(bits.take(1))
    profile, space = (0, 0) if usual_colours else (bits.take(1), bits.number(_ENUM))
    if precision > MAX_PRECISION or space == _XYB or (xyb and profile):
        raise Unfit("a JPEG XL codestream of more than 16 bits, or of colours that only a profile tells")
    return _ImageHeader(Planes(1 if space == _GREY else 3, rows, columns, precision), xyb)


def _size(bits: _Bits) -> tuple[int, int]:
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.number(_SIDE)

    rows, ratio = side(), bits.take(3)
    if not ratio:
        return rows, side()
    times, parts = _RATIOS[ratio - 1]
    return rows, rows * times // parts
