"""DICOM RLE (PS3.5 Annex G): planes in memory <-> one frame of byte segments, each packed by the PackBits scheme.

imagecodecs packs and unpacks the segments, ten times as fast as pylibjpeg-rle and without the interpreter lock; the
header is ours. A segment holds one byte of each sample of a plane, the most significant byte first. So any bit pattern
of Bits Allocated is kept: overlays in high bits, any High Bit, signs, 32 bits. The codestream does not tell its shape.
Decoding never writes beyond the planes.
"""

import struct
import sys
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np

from leyden.errors import Corrupt
from leyden.transcode.pixels import DEEP_YBR, CodecError, Declared, Description, Planes, Samples, Unfit, first_reason

MAX_SEGMENTS = 15
BEGINS = rb"[\x01-\x0f]\0\0\0\x40\0\0\0"  # the number of segments, and the first one right after the header (G.5)
_HEADER = struct.Struct("<16L")
_EXCESS_BYTES = 128  # space for one more run, to see whether a segment holds more than padding


def planes(described: Description) -> Planes:
    """Precision Bits Allocated, so that all bits are kept."""
    d = described
    return Planes(d.samples, d.rows, d.columns, d.bits_allocated, d.signed)


def obstacle(described: Description) -> str | None:
    """Why RLE cannot hold such pixels (PS3.5 section 8.2.2; 32 bits are possible, too); None = it can."""
    return first_reason((DEEP_YBR,), described)


def inspect(codestream: memoryview, described: Description) -> Declared:
    """The planes that the dataset describes, never lossy. Corrupt: the number of segments does not fit them."""
    wanted = planes(described)
    _offsets(codestream, wanted)
    return wanted, False


def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float = 0.0, threads: int = 0) -> int:
    """Encode one frame without loss and return the length of the codestream, which begins at room[0].

    `pixels` holds the planes (Planes.view); no run crosses the end of a row (G.3.1). `setting` and `threads` are not
    used. The global interpreter lock is free meanwhile. Unfit: the codestream is longer than `room`.
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

    Corrupt: the segments do not fit the planes, or one unpacks to too few bytes, or to more than padding with zeros.
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
    """A view (rows, columns) of each byte of each plane, in the order of the segments (G.2)."""
    width = planes.sample_bytes
    values = planes.view(pixels).view(np.uint8).reshape(planes.samples, planes.rows, planes.columns, width)
    most_significant_first = range(width)[:: -1 if sys.byteorder == "little" else 1]
    return [values[sample, :, :, byte] for sample in range(planes.samples) for byte in most_significant_first]


def _pack(values: Samples, room: memoryview) -> int:
    """Pack row by row. Unfit if that fills the room: the library gives no error at its end."""
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
    """Where the segments begin (G.5). Corrupt: not one for each byte of a pixel, or not in ascending order."""
    if len(codestream) < _HEADER.size:
        raise Corrupt("an RLE frame too short for its header")
    count, *offsets = _HEADER.unpack_from(codestream)
    if count != wanted.samples * wanted.sample_bytes or count > MAX_SEGMENTS:
        raise Corrupt(f"{count} RLE segments for {wanted.samples} samples of {wanted.sample_bytes} bytes")
    used = tuple(offsets[:count])
    if not used or used[0] < _HEADER.size or any(here >= there for here, there in pairwise(used)):
        raise Corrupt("RLE segments that do not follow each other")
    return used
