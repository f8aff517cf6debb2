"""Makes rectangles of every frame black, in place, in a file in Explicit VR Little Endian with native pixels.

A rectangle that does not lie within the image is an error: what was to be covered is somewhere else then.
"""

import os
import struct
from collections.abc import Sequence

import numpy as np

from leyden.dicom.elements import PIXEL_DATA
from leyden.dicom.header import Dataset, Header
from leyden.transcode.pixels import Description, Unfit
from leyden.transcode.source import describe

Rectangle = tuple[int, int, int, int]
"""Left, top, width, height in pixels."""

_SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3}
_DESCRIPTORS = (0x00281101, 0x00281102, 0x00281103)
_TABLES = (0x00281201, 0x00281202, 0x00281203)


def blank(fd: int, header: Header, rectangles: Sequence[Rectangle]) -> None:
    """Blank an open file, whose header was peeked. Unfit: it can't be done for sure. OSError."""
    found = describe(header)
    if header.pixel_data != "native" or found.bits_allocated not in (8, 16, 32):
        raise Unfit("pixels in which rectangles can't be made black")
    if _SAMPLES.get(found.photometric) != found.samples or found.planar not in (0, 1):
        raise Unfit(f"{found.photometric} with {found.samples} samples, of which it is not known what is black")
    _, _, _, offset, length, _ = header.dataset.read()[PIXEL_DATA]
    if length - found.size_bytes not in (0, found.size_bytes % 2):
        raise Unfit("Pixel Data shorter or longer than Rows, Columns and Number of Frames say")
    pixel = black(found, header.dataset)
    for left, top, width, height in rectangles:
        if left + width > found.columns or top + height > found.rows:
            size = f"{found.columns} x {found.rows}"
            raise Unfit(f"the rectangle [{left}, {top}, {width}, {height}] is not within the image of {size}")
    for frame in range(found.frames):
        for rectangle in rectangles:
            _blank_one(fd, offset + frame * found.frame_bytes, found, rectangle, pixel)


def black(found: Description, dataset: Dataset) -> tuple[int, ...]:
    """The samples of a black pixel as they are stored, two's complement in the allocated bits. Unfit."""
    stored = found.bits_stored
    if not 1 <= stored <= found.bits_allocated or found.high_bit != stored - 1:
        raise Unfit("Bits Stored and High Bit leave it open what is black")
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if found.signed else (0, (1 << stored) - 1)
    match found.photometric:
        case "MONOCHROME1":
            samples: tuple[int, ...] = (high,)
        case "RGB":
            samples = (low, low, low)
        case "YBR_FULL":
            samples = (low, low + (1 << stored - 1), low + (1 << stored - 1))
        case "PALETTE COLOR":
            darkest = _darkest(dataset)
            if not low <= darkest <= high:
                raise Unfit("a palette whose darkest colour has no number within Bits Stored")
            samples = (darkest,)
        case _:
            samples = (low,)
    return tuple(sample & ((1 << found.bits_allocated) - 1) for sample in samples)


def _darkest(dataset: Dataset) -> int:
    """The pixel value of the darkest colour of a palette (PS3.3 C.7.6.3.1.5 and 1.6)."""
    total: np.ndarray[tuple[int, ...], np.dtype[np.uint64]] | None = None
    first = 0
    for described, filled in zip(_DESCRIPTORS, _TABLES, strict=True):
        descriptor, table = dataset.raw(described), dataset.raw(filled)
        if not descriptor or not table or len(descriptor) < 6:
            raise Unfit("a palette that is not there as a whole")
        signed = dataset.vr(described) == "SS"
        entries, first, bits = struct.unpack("<HhH" if signed else "<HHH", descriptor[:6])
        entries = entries or 1 << 16
        wide = len(table) >= 2 * entries
        if bits not in (8, 16) or (not wide and (bits != 8 or len(table) < entries)):
            raise Unfit("a palette whose tables are not as long as it says")
        colours = np.frombuffer(table, "<u2" if wide else "u1", entries).astype(np.uint64)
        total = colours if total is None else total + colours
    assert total is not None
    return first + int(total.argmin())


def _blank_one(fd: int, frame: int, found: Description, rectangle: Rectangle, pixel: tuple[int, ...]) -> None:
    """One rectangle of the frame at an offset: row by row, and in planar pixels plane by plane."""
    left, top, width, height = rectangle
    sample_bytes = found.bits_allocated // 8
    samples = [sample.to_bytes(sample_bytes, "little") for sample in pixel]
    plane_bytes = found.rows * found.columns * sample_bytes
    if found.planar and found.samples > 1:
        planes = [(frame + number * plane_bytes, sample) for number, sample in enumerate(samples)]
    else:
        planes = [(frame, b"".join(samples))]
    for start, unit in planes:
        if width == found.columns:
            _write(fd, start + top * found.columns * len(unit), unit * (width * height))
            continue
        for row in range(top, top + height):
            _write(fd, start + (row * found.columns + left) * len(unit), unit * width)


def _write(fd: int, offset: int, data: bytes) -> None:
    if os.pwrite(fd, data, offset) < len(data):
        raise OSError("a rectangle could not be written as a whole")
