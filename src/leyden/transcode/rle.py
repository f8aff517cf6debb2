"""DICOM RLE (PS3.5 Annex G): planes in memory <-> one frame of byte segments, each packed by the PackBits scheme.

The segments are packed and unpacked by imagecodecs, ten times as fast as pylibjpeg-rle and without the interpreter
lock; what puts them together is ours. A segment holds one byte of each sample of one plane, the most significant first.
So any bit pattern of Bits Allocated survives: overlays in high bits, any High Bit, signs, 32 bits. The codestream says
nothing of its shape. Decoding writes no more than the planes hold, whatever the segments say.
"""

import struct
import sys
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np

from leyden.errors import Corrupt
from leyden.transcode.pixels import DEEP_YBR, Claim, CodecError, Description, Planes, Samples, Unfit, first_reason

MAX_SEGMENTS = 15
BEGINS = rb"[\x01-\x0f]\0\0\0\x40\0\0\0"  # how many segments, and that the first stands behind the header (G.5)
_HEADER = struct.Struct("<16L")
_EXCESS_BYTES = 128  # the most that one more run can make, after which a segment has more than padding


def planes(described: Description) -> Planes:
    """All bits allocated, whatever is stored in them."""
    d = described
    return Planes(d.samples, d.rows, d.columns, d.bits_allocated, d.signed)


def obstacle(described: Description) -> str | None:
    """Why RLE can't hold such pixels (PS3.5 section 8.2.2, and 32 bits); None = it can."""
    return first_reason((DEEP_YBR,), described)


def inspect(codestream: memoryview, described: Description) -> Claim:
    """The planes that the dataset describes, if the header has as many segments; no loss. Corrupt: it has not."""
    wanted = planes(described)
    _offsets(codestream, wanted)
    return wanted, False


def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float = 0.0, threads: int = 0) -> int:
    """Encode one frame and return the length of the codestream, which begins at room[0]. It loses nothing.

    `pixels` holds the planes (Planes.view); no run crosses the end of a row (G.3.1). `setting` and `threads` are for
    the interface. The global interpreter lock is free meanwhile. Unfit: the codestream is longer than `room`.
    """
    if len(room) < _HEADER.size:
        raise Unfit("compression would make it larger")
    offsets, at = [], _HEADER.size
    for values in _byte_planes(planes, pixels):
        offsets.append(at)
        at += _pack(values.copy(), room[at:])
        if at % 2:
            room[at] = 0
            at += 1
    _HEADER.pack_into(room, 0, len(offsets), *offsets, *[0] * (MAX_SEGMENTS - len(offsets)))
    return at


def decode(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int = 0) -> None:
    """Decode one frame into the planes. The global interpreter lock is free meanwhile.

    Corrupt: other segments than the planes need, or one that unpacks to fewer bytes, or to more than padding of zeros.
    """
    offsets = _offsets(codestream, planes)
    if offsets[-1] > len(codestream):
        raise Corrupt("an RLE segment beyond the end of the frame")
    size_bytes = planes.rows * planes.columns
    scratch = np.empty(size_bytes + _EXCESS_BYTES, np.uint8)
    ends = (*offsets[1:], len(codestream))
    for values, begin, end in zip(_byte_planes(planes, pixels), offsets, ends, strict=True):
        segment: Any = codestream[begin:end]  # any buffer will do
        try:
            length = len(imagecodecs.packbits_decode(segment, out=scratch.data))
        except (RuntimeError, ValueError) as error:
            raise Corrupt(f"an RLE segment that does not decode: {error}") from error
        if length < size_bytes or scratch[size_bytes:length].any():
            raise Corrupt(f"an RLE segment of {length} bytes for a plane of {size_bytes}")
        np.copyto(values, scratch[:size_bytes].reshape(values.shape))


def _byte_planes(planes: Planes, pixels: memoryview) -> list[Samples]:
    """The planes a byte at a time (rows, columns), in the order of segments (G.2), as views."""
    width = planes.sample_bytes
    values = planes.view(pixels).view(np.uint8).reshape(planes.samples, planes.rows, planes.columns, width)
    most_significant_first = range(width)[:: -1 if sys.byteorder == "little" else 1]
    return [values[sample, :, :, byte] for sample in range(planes.samples) for byte in most_significant_first]


def _pack(values: Samples, room: memoryview) -> int:
    """Pack row by row; Unfit where that fills the room: the library stops at its very end without a word."""
    anywhere: Any = room  # any writable buffer will do
    try:
        length = len(imagecodecs.packbits_encode(values, axis=-1, out=anywhere)) if room else 0
    except RuntimeError as error:
        if "OUTPUT_TOO_SMALL" not in str(error):
            raise CodecError(f"imagecodecs could not pack: {error}") from error
        length = len(room)
    if length == len(room):
        raise Unfit("compression would make it larger")
    return length


def _offsets(codestream: memoryview, wanted: Planes) -> tuple[int, ...]:
    """Where the segments begin (G.5). Corrupt: not as many as bytes a pixel, not one after the other."""
    if len(codestream) < _HEADER.size:
        raise Corrupt("an RLE frame too short for its header")
    count, *offsets = _HEADER.unpack_from(codestream)
    if count != wanted.samples * wanted.sample_bytes or count > MAX_SEGMENTS:
        raise Corrupt(f"{count} RLE segments for {wanted.samples} samples of {wanted.sample_bytes} bytes")
    used = tuple(offsets[:count])
    if not used or used[0] < _HEADER.size or any(here >= there for here, there in pairwise(used)):
        raise Corrupt("RLE segments that do not follow each other")
    return used
