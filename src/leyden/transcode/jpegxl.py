"""JPEG XL codestreams (ISO/IEC 18181): what their header claims, and what an encoder has to do.

No pixel is read here (see libjxl.py). The header is read bit by bit, up to the colour space, from 64 bytes. JPEG XL
samples are unsigned. The lossless syntax keeps the bits of the image (PS3.5 section 8.2.15), so signed samples are
encoded as two's complement of all bits allocated, as in JPEG-LS. Some writers add half the range instead; so signed
codestreams of fewer bits stay as they are, and signed pixels are never made lossy. Colour is RGB, or XYB if lossy.
Refused: orientation, previews, animation, more channels, float samples, and YBR_FULL: for a codestream that holds a
JPEG the decoder undoes it, for others it does not, and the header does not tell which one it is.
"""

from typing import NamedTuple

from msgspec.structs import replace

from leyden.errors import Corrupt
from leyden.transcode.jpeg2000 import boxes
from leyden.transcode.pixels import (
    MORE_THAN_16_BITS,
    OTHER_HIGH_BIT,
    Declared,
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
# Colour spaces.
_GREY = 1
_XYB = 2
_RATIOS = ((1, 1), (6, 5), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # of columns to rows

# A number begins with two bits, which choose one of four forms: how many bits follow, and what to add to them.
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
    (lambda d: d.signed, "signed pixels, whose sign a loss could change"),
)
NO_JPEG = "only a JPEG can be recompressed as JPEG XL"


class _ImageHeader(NamedTuple):
    planes: Planes
    xyb: bool


class _Bits:
    """Reads the bits of a header, the least significant bit of each byte first."""

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
    """Precision Bits Stored; Bits Allocated if signed (two's complement). R, G and B are decorrelated."""
    d = described
    precision = d.bits_allocated if d.signed else d.bits_stored
    return Planes(d.samples, d.rows, d.columns, precision, d.signed, rct=d.photometric == "RGB")


def obstacle(described: Description, lossy: bool = False) -> str | None:
    """Why JPEG XL cannot hold such pixels (PS3.5 section 8.2.15), without loss or `lossy`; None = it can."""
    return first_reason(_LOSSY_OBSTACLES if lossy else _OBSTACLES, described)


def photometric_lossy(described: Description) -> str:
    """Photometric Interpretation after lossy encoding."""
    return "XYB" if described.samples == 3 else described.photometric


def bare(memory: memoryview) -> memoryview:
    """The bare codestream, also out of a container (ISO/IEC 18181-2), perhaps in parts. Corrupt: there is none."""
    if bytes(memory[: len(_CONTAINER)]) != _CONTAINER:
        return memory
    parts: list[memoryview] = []
    for kind, content in boxes(memory):
        if kind == b"jxlc":
            return content
        if kind == b"jxlp":
            if int.from_bytes(content[:4], "big") & 0x7FFFFFFF != len(parts):
                raise Corrupt("a JPEG XL container whose parts are not in order")
            parts.append(content[4:])
    if not parts:
        raise Corrupt("a JPEG XL container without a codestream")
    return memoryview(b"".join(parts))


def inspect(memory: memoryview, described: Description) -> Declared:
    """What the header of a codestream claims (ISO/IEC 18181-1 Annex D). Lossy: the colours are XYB.

    `rct`: the decoder converts other colours to R, G and B. Corrupt: no JPEG XL, or a broken header. Unfit: a kind that
    is not read here, or a Photometric Interpretation that contradicts the header, so that the colours are not known.
    """
    found, xyb = _header(bare(memory))
    if described.signed and (xyb or found.precision != described.bits_allocated):
        raise Unfit("signed pixels in a JPEG XL codestream of fewer bits than Bits Allocated, or lossy")
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


def inspect_jpeg(memory: memoryview, described: Description) -> Declared:
    """What the header of a codestream claims that was made from a JPEG, and so is always lossy.

    `rct`: the colours are YCbCr, and the decoder has to undo that; only the dataset tells. Corrupt: it holds no JPEG.
    Unfit: a Photometric Interpretation that is not possible.
    """
    found, xyb = _header(bare(memory))
    if xyb or found.precision != 8:
        raise Corrupt("a JPEG XL codestream that holds no JPEG")
    names = described.photometric
    if found.samples == 3 and names not in ("RGB", "YBR_FULL", "YBR_FULL_422"):
        raise Unfit("a recompressed JPEG with a Photometric Interpretation other than RGB, YBR_FULL and YBR_FULL_422")
    return replace(found, rct=found.samples == 3 and names != "RGB"), True


def expect(codestream: memoryview, wanted: Planes) -> None:
    """Check the size that a codestream claims before a library allocates it. Corrupt: it is not `wanted`."""
    if _header(codestream).planes != Planes(wanted.samples, wanted.rows, wanted.columns, wanted.precision):
        raise Corrupt("a codestream of another shape than the ones before it")


def _header(codestream: memoryview) -> _ImageHeader:
    """Signature, SizeHeader, and ImageMetadata up to the details of the colour space."""
    if bytes(codestream[:2]) != _CODESTREAM:
        raise Corrupt("no JPEG XL codestream")
    bits = _Bits(codestream[2:])
    rows, columns = _size(bits)
    if max(rows, columns) > 65535:
        raise Corrupt("a JPEG XL codestream of impossible size")
    if bits.take(1):  # all_default
        return _ImageHeader(Planes(3, rows, columns, 8), True)
    if bits.take(1):
        raise Unfit("an orientation, a preview or an animation in the JPEG XL codestream")
    if bits.take(1):
        raise Unfit("float samples in the JPEG XL codestream")
    precision = bits.number(_PRECISION)
    bits.take(1)  # modular_16bit_buffers
    if bits.number(_CHANNELS):
        raise Unfit("extra channels in the JPEG XL codestream")
    xyb, usual_colours = bool(bits.take(1)), bool(bits.take(1))
    profile, space = (0, 0) if usual_colours else (bits.take(1), bits.number(_ENUM))
    if precision > MAX_PRECISION or space == _XYB or (xyb and profile):
        raise Unfit("a JPEG XL codestream of more than 16 bits, or with colours that only a profile describes")
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
