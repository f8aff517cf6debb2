"""What the codecs of JPEG 2000 share: what a codestream's main header claims, and what an encoder has to do.

OpenJPEG and OpenJPH write the same kind of codestream (ISO/IEC 15444-1; part 15 only replaces the block coder), so they
take the same planes and have the same header. Every length is checked against the bytes at hand and against a bound. No
pixel is read here.
"""

import struct
from collections.abc import Iterator

from msgspec.structs import replace

from leyden.errors import Corrupt
from leyden.transcode.pixels import (
    LOSSY_PALETTE,
    MORE_THAN_16_BITS,
    OTHER_HIGH_BIT,
    Declared,
    Description,
    Obstacle,
    Planes,
    Unfit,
    first_reason,
)

MAX_PRECISION = 16
MAX_BOXES = 64
MAX_TILES = 1 << 14  # each costs OpenJPEG 7 KB and more
MAX_SEGMENTS = 1 << 17  # with those of all tile-parts
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SIZ = struct.Struct(">HHHHIIIIIIIIH")  # SOC, SIZ, Lsiz, Rsiz, X, Y, XO, YO, XT, YT, XTO, YTO, Csiz
_COD = 0xFF52
_COC = 0xFF53
_TLM = 0xFF55
_PRF = 0xFF56
_SOT = 0xFF90
_SOD = 0xFF93
_EOC = 0xFFD9
# Behind SIZ: CAP COD COC TLM PRF PLM CPF QCD QCC RGN POC PPM CRG COM MCT MCC MCO CBD (A.2, part 2 A.2, part 15 A.2).
_MAIN_HEADER = frozenset(0xFF00 | number for number in bytes.fromhex("50525355565759 5c5d5e5f 606364 74757778"))
BEGINS = b"\xff\x4f\xff\x51|" + _JP2_SIGNATURE
# Bytes of COD and COC (for up to 256 components) after their lengths.
_TRANSFORM = 4
_WAVELET = 9
_COC_WAVELET = 6
_TRANSFORMED = ("RGB", "YBR_RCT", "YBR_ICT")  # colours with which a component transform is possible

_OBSTACLES: tuple[Obstacle, ...] = (MORE_THAN_16_BITS, OTHER_HIGH_BIT)
_LOSSY_OBSTACLES: tuple[Obstacle, ...] = (*_OBSTACLES, LOSSY_PALETTE)


def planes(described: Description) -> Planes:
    """Precision and sign as in the dataset (PS3.5 section 8.2.4); R, G and B are decorrelated."""
    d = described
    return Planes(d.samples, d.rows, d.columns, d.bits_stored, d.signed, rct=d.photometric == "RGB")


def obstacle(described: Description, lossy: bool = False) -> str | None:
    """Why JPEG 2000 cannot hold such pixels without loss or, if `lossy`, with a useful result; None = it can."""
    return first_reason(_LOSSY_OBSTACLES if lossy else _OBSTACLES, described)


def photometric(described: Description, lossy: bool = False) -> str:
    """Photometric Interpretation after encoding (PS3.5 section 8.2.4)."""
    if described.photometric != "RGB":
        return described.photometric
    return "YBR_ICT" if lossy else "YBR_RCT"


def bare(memory: memoryview) -> memoryview:
    """The bare codestream, also out of a JP2 or JPH file (ISO/IEC 15444-1 Annex I).

    PS3.5 A.4.4 forbids such files as fragments, but some devices send them. Corrupt: a file without a codestream.
    Unfit: its boxes change the meaning of the components.
    """
    if bytes(memory[: len(_JP2_SIGNATURE)]) != _JP2_SIGNATURE:
        return memory
    for kind, content in boxes(memory):
        if kind == b"jp2h":
            _check_components(content)
        elif kind == b"jp2c":
            return content
    raise Corrupt("a JP2 file without a codestream")


def boxes(memory: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """The type of each box and its contents, as far as they are at hand."""
    at = 0
    for _ in range(MAX_BOXES):
        if at + 8 > len(memory):
            return
        length, kind = struct.unpack_from(">I4s", memory, at)
        head_bytes = 8
        if length == 1 and at + 16 <= len(memory):
            (length,) = struct.unpack_from(">Q", memory, at + 8)
            head_bytes = 16
        elif length == 0:  # up to the end
            length = len(memory) - at
        if length < head_bytes:
            raise Corrupt("a JP2 box shorter than its own header")
        yield kind, memory[at + head_bytes : at + length]
        at += length


def _check_components(jp2_header: memoryview) -> None:
    """Unfit for a palette and for reordered channels: Photometric Interpretation cannot express them."""
    for kind, content in boxes(jp2_header):
        if kind in (b"pclr", b"cmap"):
            raise Unfit("a JP2 file with a palette of its own")
        if kind == b"cdef":
            numbers = struct.unpack(f">{len(content) // 2}H", content[: len(content) // 2 * 2])
            channels = (numbers[at : at + 3] for at in range(1, len(numbers), 3))
            if any(channel not in ((n, 0, n + 1), (n, 0, 0)) for n, channel in enumerate(channels)):
                raise Unfit("a JP2 file with channels in another order, or of opacity")


def inspect(memory: memoryview, described: Description) -> Declared:
    """What the headers of a codestream claim (ISO/IEC 15444-1 A.5.1, A.6.1). Corrupt: no header, or a broken one.

    `rct`: the decoder undoes a component transform of either kind. Lossy: some component or tile has the 9/7 wavelet (a
    codestream with the 5/3 wavelet may have been truncated, too). Unfit: a component transform although Photometric
    Interpretation allows none, so that the colours are not known (RGB is allowed, as many encoders keep it); or a kind
    of codestream that is not read here.
    """
    codestream = bare(memory)
    found = _size(codestream)
    transform, irreversible = _coding_style(codestream, found.samples)
    if transform and described.photometric not in _TRANSFORMED:
        raise Unfit(f"{described.photometric}, but a component transform in the codestream")
    return replace(found, rct=transform), irreversible


def expect(codestream: memoryview, wanted: Planes) -> None:
    """Check the size that a codestream claims before a library allocates it. Corrupt: it is not `wanted`."""
    found = _size(codestream)
    if (found.samples, found.rows, found.columns, found.precision, found.signed) != (
        wanted.samples, wanted.rows, wanted.columns, wanted.precision, wanted.signed,
    ):  # fmt: skip
        raise Corrupt("a codestream of another shape than the ones before it")


def for_openjpeg(codestream: memoryview) -> memoryview:
    """The codestream without two kinds of segments of its main header.

    TLM, the lengths of the tile-parts: with fewer of them than there are tile-parts, OpenJPEG 2.5.3 and 2.5.4 write
    behind the end of an array (its issues 1620 and 1652; we read from end to end anyway). PRF, a profile's number (Part
    1 of 2019), which it rejects. Corrupt: a segment that it does not know, behind which it would search for one that
    may be a TLM; or no tile.
    """
    begin = at = _SIZ.size + 3 * _SIZ.unpack_from(codestream)[-1]
    kept = [codestream[:begin]]
    for marker, content in _segments(codestream, at):
        if marker == _SOT:
            return memoryview(b"".join([*kept, codestream[begin:]])) if len(kept) > 1 else codestream
        if marker not in _MAIN_HEADER:
            raise Corrupt(f"a codestream with a segment 0x{marker:04X} in its main header")
        end = at + 4 + len(content)
        if marker in (_TLM, _PRF):
            kept.append(codestream[begin:at])
            begin = end
        at = end
    raise Corrupt("a codestream without a tile")


def set_depth(codestream: memoryview, wanted: Planes) -> None:
    """Set precision and sign (Ssiz) of all components of a codestream, in place."""
    for number in range(wanted.samples):
        codestream[_SIZ.size + 3 * number] = (wanted.precision - 1) | (0x80 if wanted.signed else 0)


def _size(codestream: memoryview) -> Planes:
    """The SIZ segment. Unfit: components of different size, sign or precision, or far too many tiles."""
    if len(codestream) < _SIZ.size + 3:
        raise Corrupt("a codestream too short for its SIZ segment")
    soc, siz, length, _, x1, y1, x0, y0, tile_x, tile_y, tile_x0, tile_y0, samples = _SIZ.unpack_from(codestream)
    if (soc, siz) != (0xFF4F, 0xFF51):
        raise Corrupt("no JPEG 2000 codestream")
    if not samples or length != 38 + 3 * samples or len(codestream) < _SIZ.size + 3 * samples:
        raise Corrupt(f"a codestream of {samples} components")
    if samples > 4:
        raise Unfit(f"a codestream of {samples} components")
    components = {bytes(codestream[_SIZ.size + 3 * n :][:3]) for n in range(samples)}
    depth, dx, dy = next(iter(components))
    precision = (depth & 0x7F) + 1
    if len(components) != 1 or (dx, dy) != (1, 1) or precision > MAX_PRECISION:
        raise Unfit("a codestream whose components are not alike, or of more than 16 bits")
    columns, rows = x1 - x0, y1 - y0
    if not (1 <= columns <= 65535 and 1 <= rows <= 65535 and tile_x and tile_y and tile_x0 <= x0 and tile_y0 <= y0):
        raise Corrupt("a codestream of impossible size")
    tiles = -(-(x1 - tile_x0) // tile_x) * -(-(y1 - tile_y0) // tile_y)
    if tiles > min(MAX_TILES, max(1024, rows * columns // 256)):
        raise Unfit(f"a codestream of {tiles} tiles")
    return Planes(samples, rows, columns, precision, bool(depth & 0x80))


def _coding_style(codestream: memoryview, samples: int) -> tuple[bool, bool]:
    """Whether there is a component transform, and whether there is a 9/7 wavelet, in the headers at hand.

    Corrupt: no COD segment in the main header. Unfit: a transform that is not of part 1, or only in some tiles.
    """
    transforms, wavelets = set[int](), set[int]()
    for marker, content in _segments(codestream, _SIZ.size + 3 * samples):
        if marker == _COD and len(content) > _WAVELET:
            transforms.add(content[_TRANSFORM])
            wavelets.add(content[_WAVELET])
        elif marker == _COC and len(content) > _COC_WAVELET:
            wavelets.add(content[_COC_WAVELET])
        elif marker == _SOT and not transforms:
            break
    if not transforms:
        raise Corrupt("a codestream without a COD segment in its main header")
    if max(transforms) > 1:
        raise Unfit("a component transform of another part of JPEG 2000")
    if len(transforms) > 1:
        raise Unfit("a component transform in some tiles of the codestream only")
    return transforms == {1}, 0 in wavelets


def _segments(codestream: memoryview, at: int) -> Iterator[tuple[int, memoryview]]:
    """Marker and contents of each segment of the main header, from `at` on, and of the tile-part headers (A.4.2)."""
    next_part = 0
    for _ in range(MAX_SEGMENTS):
        if at + 4 > len(codestream):
            return
        marker, length = struct.unpack_from(">HH", codestream, at)
        if marker == _SOD and next_part > at:
            at = next_part
            continue
        content = codestream[at + 4 : at + 2 + length]
        if marker < 0xFF00 or marker in (_SOD, _EOC) or length < 2 or len(content) != length - 2:
            return
        if marker == _SOT and len(content) == 8:
            next_part = at + int.from_bytes(content[2:6], "big")
        yield marker, content
        at += 2 + length
    raise Corrupt(f"a codestream of more than {MAX_SEGMENTS} segments")
