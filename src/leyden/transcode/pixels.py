"""Describes the pixels of a dataset, decides whether they can be encoded, and converts them to planes and back.

Pure functions with numpy. A codec gets `Planes`: one frame as (samples, rows, columns), each sample in the fewest whole
bytes that hold its precision. `unfit` gives the reason why pixels cannot be encoded; such an object goes on as it came.
Nothing here reads a file or a dataset.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from leyden.errors import LeydenError

MAX_NATIVE_BYTES = (1 << 32) - 2
MAX_FRAMES = 1 << 20

Samples = NDArray[Any]

Declared = tuple["Planes", bool]
"""What a codestream claims: its planes, and whether it is of a lossy kind."""


class Unfit(LeydenError):
    """These pixels cannot be put into the wanted transfer syntax; the text is the reason for the log."""


class Signed(Unfit):
    """Digital signatures cover elements that would change."""


class Differs(Unfit):
    """A new codestream does not decode to the pixels that were encoded: an error of a codec, found in time."""


class CodecError(LeydenError):
    """A codec's library failed although its input looks valid."""


class Planes(msgspec.Struct, frozen=True):
    """One frame as a codec takes it: planar, `sample_bytes` a sample, native byte order.

    `rct`: the three samples are R, G and B, which the codec's component transform decorrelates (the reversible one for
    lossless). `by_plane`: the codestream has the samples plane by plane, for a codec where the dataset decides that.
    """

    samples: int
    rows: int
    columns: int
    precision: int
    signed: bool = False
    rct: bool = False
    by_plane: bool = False

    @property
    def sample_bytes(self) -> int:
        return (self.precision + 7) // 8

    @property
    def size_bytes(self) -> int:
        return self.samples * self.rows * self.columns * self.sample_bytes

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"{'i' if self.signed else 'u'}{self.sample_bytes}")

    def view(self, buffer: memoryview) -> Samples:
        """The first `size_bytes` of a buffer as an array (samples, rows, columns), without a copy."""
        return np.frombuffer(buffer[: self.size_bytes], self.dtype).reshape(self.samples, self.rows, self.columns)


class Description(msgspec.Struct, frozen=True):
    """The Image Pixel module of a dataset (PS3.3 C.7.6.3), as far as it decides the layout of Pixel Data."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: int = 0
    frames: int = 1

    @property
    def frame_bits(self) -> int:
        """The bits of one native frame; with 1 bit allocated, frames share bytes (PS3.5 section 8.1.1)."""
        return self.rows * self.columns * self.samples * self.bits_allocated

    @property
    def frame_bytes(self) -> int:
        return (self.frame_bits + 7) // 8

    @property
    def size_bytes(self) -> int:
        return (self.frame_bits * self.frames + 7) // 8

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"<{'i' if self.signed else 'u'}{self.bits_allocated // 8}")


GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
COLOUR = ("RGB", "YBR_FULL")  # with three full samples a pixel

Obstacle = tuple[Callable[[Description], bool], str]
"""A test whether pixels cannot be encoded, and the reason for the log."""

# For every encoder; each codec adds its own obstacles.
_OBSTACLES: tuple[Obstacle, ...] = (
    (lambda d: d.rows < 1 or d.columns < 1, "no rows or no columns"),
    (lambda d: d.bits_allocated not in (1, 8, 16, 32), "bits allocated other than 8, 16 and 32"),
    (lambda d: d.bits_allocated == 1 and d.samples > 1, "1 bit allocated for each of several samples"),
    (lambda d: not 1 <= d.bits_stored <= d.bits_allocated, "Bits Stored does not fit Bits Allocated"),
    (lambda d: d.samples not in (1, 3), "Samples per Pixel other than 1 and 3"),
    (lambda d: d.samples == 1 and d.photometric not in GREY, "a Photometric Interpretation unknown for one sample"),
    (lambda d: d.samples == 3 and d.photometric not in COLOUR, "a Photometric Interpretation other than RGB, YBR_FULL"),
    (lambda d: d.samples == 3 and d.planar not in (0, 1), "an unknown Planar Configuration"),
)

FRAMES: Obstacle = (
    lambda d: not 1 <= d.frames <= MAX_FRAMES,
    f"Number of Frames below 1 or above {MAX_FRAMES}",
)  # for every decoder, too

ONE_BIT: Obstacle = (lambda d: d.bits_allocated == 1, "1 bit allocated")  # for every encoder except one

LONGER = "Pixel Data longer than Rows, Columns and Number of Frames say"

# For several encoders.
MORE_THAN_16_BITS: Obstacle = (lambda d: d.bits_allocated > 16, "bits allocated other than 8 and 16")
OTHER_HIGH_BIT: Obstacle = (lambda d: d.high_bit != d.bits_stored - 1, "High Bit other than Bits Stored - 1")
LOSSY_PALETTE: Obstacle = (lambda d: d.photometric == "PALETTE COLOR", "palette indices, which must not change")
DEEP_YBR: Obstacle = (lambda d: d.photometric == "YBR_FULL" and d.bits_allocated > 8, "YBR_FULL of more than 8 bits")


def first_reason(obstacles: Iterable[Obstacle], description: Description) -> str | None:
    """The reason of the first obstacle that applies; None = none does."""
    return next((reason for applies, reason in obstacles if applies(description)), None)


def unfit(description: Description, length_bytes: int, max_frame_bytes: int, *, one_bit: bool = False) -> str | None:
    """Why no codec can encode native pixels of this description, `length_bytes` long; None = there is no reason.

    `one_bit`: the codec takes 1 bit allocated.
    """
    reason = first_reason(_OBSTACLES if one_bit else (ONE_BIT, *_OBSTACLES), description)
    if reason is not None:
        return reason
    if length_bytes < description.size_bytes:
        return "Pixel Data shorter than Rows, Columns and Number of Frames say"
    if length_bytes > description.size_bytes + max(1, description.frame_bytes - 1):
        return LONGER
    if max(description.frame_bytes, description.rows * description.columns) > max_frame_bytes:
        return "a frame larger than maxFrameMib"
    return None


def undecodable(description: Description, planes: Planes, max_frame_bytes: int) -> str | None:
    """Why a codestream of these planes cannot become native pixels of `description` (see `decoded`); None = it can."""
    d = description
    if (d.rows, d.columns, d.samples) != (planes.rows, planes.columns, planes.samples):
        return "a codestream of another shape than Rows, Columns and Samples per Pixel say"
    if d.bits_allocated not in (1, 8, 16, 32) or (d.bits_allocated == 1 and d.samples > 1):
        return "bits allocated other than 1, 8, 16 and 32, or 1 for each of several samples"
    if planes.precision > d.bits_allocated:
        return "a codestream that does not fit Bits Allocated"
    if planes.precision < d.bits_allocated and (
        reason := first_reason((OTHER_HIGH_BIT,), d)
    ):  # who knows what it left out
        return f"{reason}, and a codestream of fewer bits than Bits Allocated"
    if d.photometric not in (GREY if d.samples == 1 else COLOUR):
        return "a Photometric Interpretation that native pixels of full size cannot have"
    if max(planes.size_bytes, d.frame_bytes) > max_frame_bytes:
        return "a frame larger than maxFrameMib"
    if d.size_bytes > MAX_NATIVE_BYTES:
        return "native pixels of more than 4 GiB"
    return None


def decoded(description: Description, planes: Planes) -> Description:
    """The description of the pixels after decoding codestreams of these planes, with colour transforms undone."""
    undone = planes.rct or description.photometric in ("YBR_RCT", "YBR_ICT")
    return replace(description, photometric="RGB" if undone else description.photometric, planar=0)


def planar_already(description: Description, planes: Planes) -> bool:
    """Whether a native frame has the same bytes as its planes, so that it can be read right into place."""
    one_plane_each = description.samples == 1 or description.planar == 1
    return one_plane_each and description.bits_allocated == 8 * planes.sample_bytes


def swap_words(buffer: memoryview) -> None:
    """Swap the bytes of each two-byte word in place; the length must be even."""
    np.frombuffer(buffer, np.uint16).byteswap(inplace=True)


def _check(values: Samples, planes: Planes) -> None:
    """Raise Unfit if a value does not fit into the planes (overlays in high bits, missing sign extension)."""
    bits = planes.precision
    if bits == 8 * values.itemsize:
        return
    signed = values.dtype.kind == "i"
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    # One reduction is enough for unsigned samples.
    if int(values.max()) > high or (low < 0 and int(values.min()) < low):
        raise Unfit("values outside Bits Stored, such as overlays in the high bits")


def alike(one: Samples, other: Samples, bound: int) -> bool:
    """Whether no sample differs by more than `bound`."""
    if not bound:
        return np.array_equal(one, other)
    apart = np.maximum(one, other) - np.minimum(one, other)  # may wrap if signed; it is read as unsigned
    return bool(apart.view(f"u{apart.itemsize}").max() <= bound)


def pack(
    frame: memoryview, description: Description, planes: Planes, planes_buffer: memoryview, first_bit: int = 0
) -> None:
    """Convert one native little endian frame (`frame_bytes` long) to planes; raises Unfit if a value does not fit.

    Both may be the same memory if `planar_already`. `first_bit`: where a frame of 1 bit allocated begins in its first
    byte.
    """
    if description.bits_allocated == 1:
        end = first_bit + description.frame_bits
        bits = np.unpackbits(np.frombuffer(frame, np.uint8), count=end, bitorder="little")[first_bit:]
        np.copyto(planes.view(planes_buffer), _as_planes(bits, description), casting="unsafe")
        return
    native = np.frombuffer(frame[: description.frame_bytes], description.dtype)
    _check(native, planes)
    target = planes.view(planes_buffer)
    if not planar_already(description, planes) or native.ctypes.data != target.ctypes.data:
        np.copyto(target, _as_planes(native, description), casting="unsafe")


def unpack(planes_buffer: memoryview, planes: Planes, description: Description) -> memoryview:
    """Convert decoded planes to one native frame: little endian, `bits_allocated`, Planar Configuration 0."""
    values = _of_sign(planes.view(planes_buffer), planes, description.signed)
    native = np.empty((planes.rows, planes.columns, planes.samples), description.dtype)
    np.copyto(native, values.transpose(1, 2, 0), casting="unsafe")
    return native.reshape(-1).view(np.uint8).data


class Bits:
    """Packs decoded planes of 1 bit allocated into native pixels, where frames share bytes."""

    def __init__(self) -> None:
        self._rest: Samples = np.empty(0, np.uint8)

    def packed(self, planes_buffer: memoryview, planes: Planes) -> memoryview:
        """The whole bytes of the next frame, with the bits that the frame before has left over."""
        values = planes.view(planes_buffer).view(np.uint8)
        if int(values.max()) > 1:
            raise Unfit("values outside 1 bit allocated")
        bits = np.concatenate((self._rest, values.reshape(-1)))
        whole = len(bits) // 8 * 8
        self._rest = bits[whole:]
        return np.packbits(bits[:whole], bitorder="little").data

    def rest(self) -> memoryview:
        """The last byte, if there are bits left."""
        return np.packbits(self._rest, bitorder="little").data


def recast(buffer: memoryview, found: Planes, wanted: Planes, signed: bool) -> None:
    """Convert a decoder's planes in the buffer to those for an encoder; raises Unfit if a value does not fit.

    `signed`: Pixel Representation, from which planes may differ, as not every codec has signed samples.
    """
    values = _of_sign(found.view(buffer), found, signed)
    _check(values, wanted)
    target = wanted.view(buffer)
    if values.ctypes.data != target.ctypes.data or values.itemsize != target.itemsize:
        np.copyto(target, values.copy(), casting="unsafe")


def _of_sign(values: Samples, planes: Planes, signed: bool) -> Samples:
    """The same bits, signed or unsigned as Pixel Representation is, where the codestream differs.

    They are extended from the codestream's precision, as other readers do.
    """
    if planes.signed == signed:
        return values
    values = values.view(f"{'i' if signed else 'u'}{planes.sample_bytes}")
    spare_bits = 8 * planes.sample_bytes - planes.precision
    return np.right_shift(np.left_shift(values, spare_bits), spare_bits) if spare_bits else values


def _as_planes(native: Samples, description: Description) -> Samples:
    rows, columns, samples = description.rows, description.columns, description.samples
    if samples == 1 or description.planar == 1:
        return native.reshape(samples, rows, columns)
    return native.reshape(rows, columns, samples).transpose(2, 0, 1)
