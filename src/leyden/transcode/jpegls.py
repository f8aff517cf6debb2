"""JPEG-LS (ISO/IEC 14495-1), lossless and near-lossless, through CharLS: planes in memory <-> one bare codestream.

The decoder is the CharLS in imagecodecs. The encoder is that in the pyjpegls wheel, or the system's, through its C
interface: imagecodecs writes a SPIFF header and only the precisions 8 and 16; the Python interface of pyjpegls keeps
the interpreter lock, copies twice and fails on tiny images. JPEG-LS samples are unsigned. Signed ones are encoded as
two's complement of all bits allocated, as some readers do not extend the sign; unsigned ones in the fewest bits that
every reader takes. There is no colour transform, and colour is interleaved by line. Refused: mapping tables, a number
of rows after the data (DNL), sides over 65535.
"""

import contextlib
import ctypes
import importlib.util
import re
import struct
from typing import Any, NamedTuple

import imagecodecs
import numpy as np

from leyden.errors import Corrupt
from leyden.transcode.pixels import (
    DEEP_YBR,
    LOSSY_PALETTE,
    MORE_THAN_16_BITS,
    OTHER_HIGH_BIT,
    CodecError,
    Declared,
    Description,
    Obstacle,
    Planes,
    Samples,
    Unfit,
    first_reason,
)

LEAST_PRECISION = {8: 8, 16: 9}  # by bits allocated; with less, DCMTK refuses some codestreams, and GDCM crashes
MAX_PRECISION = 16
MAX_SEGMENTS = 1024
MAX_PADDING_BYTES = 1024
BEGINS = rb"\xff+\xd8"  # fill bytes may stand before any marker, SOI too (PS3.5 A.4.3)
_FILLED = re.compile(rb"\xff*(?=\xff)")
_SOF55 = 0xFFF7
_LSE = 0xFFF8
_SOS = 0xFFDA
_FRAME = struct.Struct(">BHHB")
_NONE, _LINE, _SAMPLE = range(3)  # interleave modes
_NO_ROOM = 3  # CHARLS_JPEGLS_ERRC_DESTINATION_BUFFER_TOO_SMALL

_OBSTACLES: tuple[Obstacle, ...] = (
    (lambda _: _charls is None, "no CharLS: install pyjpegls, or the system's package (Debian: libcharls2)"),
    MORE_THAN_16_BITS,
    (lambda d: d.bits_stored < 2, "1 bit stored"),
    OTHER_HIGH_BIT,
    DEEP_YBR,
)
_LOSSY_OBSTACLES: tuple[Obstacle, ...] = (
    *_OBSTACLES,
    LOSSY_PALETTE,
    (lambda d: planes(d).precision != d.bits_stored, "samples that a loss could take out of Bits Stored"),
)


class _FrameInfo(ctypes.Structure):
    _fields_ = (
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("bits_per_sample", ctypes.c_int32),
        ("component_count", ctypes.c_int32),
    )


def _load() -> Any:
    """CharLS 2 from the pyjpegls wheel, whose extension module exports it, or from the system; None = neither."""
    for path in (_in_pyjpegls(), "libcharls.so.2"):  # not find_library: it starts a compiler, which a worker may not
        if path is not None:
            with contextlib.suppress(OSError, AttributeError):
                return _bind(ctypes.CDLL(path))
    return None


def _in_pyjpegls() -> str | None:
    module = importlib.util.find_spec("_CharLS")
    return None if module is None else module.origin


def _bind(library: ctypes.CDLL) -> ctypes.CDLL:
    encoder, size, status = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32
    for name, result, *arguments in (
        ("jpegls_encoder_create", encoder),
        ("jpegls_encoder_destroy", None, encoder),
        ("jpegls_encoder_set_frame_info", status, encoder, ctypes.POINTER(_FrameInfo)),
        ("jpegls_encoder_set_near_lossless", status, encoder, ctypes.c_int32),
        ("jpegls_encoder_set_interleave_mode", status, encoder, ctypes.c_int32),
        ("jpegls_encoder_set_destination_buffer", status, encoder, ctypes.c_void_p, size),
        ("jpegls_encoder_encode_from_buffer", status, encoder, ctypes.c_void_p, size, ctypes.c_uint32),
        ("jpegls_encoder_get_bytes_written", status, encoder, ctypes.POINTER(size)),
        ("get_error_message", ctypes.c_char_p, status),
    ):
        function = getattr(library, f"charls_{name}")
        function.restype, function.argtypes = result, arguments
    return library


_charls: Any = _load()


class _Headers(NamedTuple):
    planes: Planes
    interleave: int
    near: int


def planes(described: Description) -> Planes:
    """Precision Bits Stored, at least LEAST_PRECISION; Bits Allocated if signed."""
    d = described
    least = LEAST_PRECISION.get(d.bits_allocated, MAX_PRECISION)
    precision = d.bits_allocated if d.signed else max(d.bits_stored, least)
    return Planes(d.samples, d.rows, d.columns, precision, d.signed)


def obstacle(described: Description, lossy: bool = False) -> str | None:
    """Why JPEG-LS cannot hold such pixels (PS3.5 section 8.2.3), without loss or `lossy`; None = it can."""
    return first_reason(_LOSSY_OBSTACLES if lossy else _OBSTACLES, described)


def inspect(codestream: memoryview, described: Description) -> Declared:
    """What the headers of a codestream claim (ISO/IEC 14495-1 Annex C): planes, always unsigned, and whether the first
    scan is near-lossless (NEAR). `described` is not used.

    Corrupt: no JPEG-LS. Unfit: a kind that is not read here.
    """
    header = _header(codestream)
    return header.planes, header.near > 0


def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float = 0.0, threads: int = 0) -> int:
    """Encode one frame and return the length of the codestream, which begins at room[0].

    `pixels` holds the planes (Planes.view). `setting` is NEAR, the largest difference of a decoded sample; 0.0 =
    lossless. `threads` is not used; the global interpreter lock is free meanwhile. Unfit: the codestream is longer than
    `room`, or a loss could change the sign of a sample. CodecError: the library failed.
    """
    if _charls is None:
        raise CodecError("no CharLS")
    near, values = int(setting), planes.view(pixels)
    if near > ((1 << planes.precision) - 1) // 2:  # decoders refuse it (ISO/IEC 14495-1 C.2.3)
        raise Unfit(f"NEAR {near} for samples of {planes.precision} bits")
    if near and planes.signed:
        _check_ends(values, planes, near)
    samples = _samples(planes, values)
    encoder = _charls.charls_jpegls_encoder_create()
    if not encoder:
        raise CodecError("no memory for a codec")
    try:
        frame = _FrameInfo(planes.columns, planes.rows, planes.precision, planes.samples)
        _do("set_frame_info", encoder, frame)
        _do("set_near_lossless", encoder, near)
        _do("set_interleave_mode", encoder, _NONE if planes.samples == 1 else _LINE)
        _do("set_destination_buffer", encoder, np.frombuffer(room, np.uint8).ctypes.data, len(room))
        _do("encode_from_buffer", encoder, samples.ctypes.data, samples.nbytes, 0)
        length = ctypes.c_size_t()
        _do("get_bytes_written", encoder, length)
        return length.value
    finally:
        _charls.charls_jpegls_encoder_destroy(encoder)


def decode(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int = 0) -> None:
    """Decode one codestream of any interleave mode, lossless or not, into the planes; the sign is not interpreted.

    The global interpreter lock is free meanwhile. Corrupt: damaged, or of other planes. Unfit: a kind that is not read
    here.
    """
    header = _header(codestream)
    if header.planes != Planes(planes.samples, planes.rows, planes.columns, planes.precision):
        raise Corrupt("a codestream of another shape than the ones before it")
    anything: Any = _up_to_eoi(codestream)  # any buffer will do
    target = planes.view(pixels).view(f"u{planes.sample_bytes}")
    interleaved = header.interleave != _NONE
    if interleaved:
        decoded = np.empty((planes.rows, planes.columns, planes.samples), target.dtype)
    else:
        decoded = target if planes.samples > 1 else target[0]
    try:
        imagecodecs.jpegls_decode(anything, out=decoded)
    except (RuntimeError, ValueError) as error:
        raise Corrupt(f"a JPEG-LS codestream that does not decode: {error}") from error
    if interleaved:
        np.copyto(target, decoded.transpose(2, 0, 1))


def _do(step: str, encoder: int, *arguments: Any) -> None:
    status = getattr(_charls, f"charls_jpegls_encoder_{step}")(encoder, *arguments)
    if status == _NO_ROOM:
        raise Unfit("compression would make it larger")
    if status:
        raise CodecError(f"CharLS could not encode: {_charls.charls_get_error_message(status).decode('latin-1')}")


def _check_ends(values: Samples, planes: Planes, near: int) -> None:
    """Unfit for signed samples near the ends of their range: a small loss would turn one end into the other."""
    end = 1 << (planes.precision - 1)
    if int(values.max()) >= end - near or int(values.min()) < -end + near:
        raise Unfit("values so near the ends of their range that a loss could change the sign")


def _samples(planes: Planes, values: Samples) -> Samples:
    """The samples for CharLS: unsigned (signed ones have all bits, see `planes`), and colour by pixel."""
    values = values.view(f"u{planes.sample_bytes}")
    return np.ascontiguousarray(values.transpose(1, 2, 0)) if planes.samples > 1 else values


def _up_to_eoi(codestream: memoryview) -> memoryview:
    """The codestream from SOI to EOI. Without EOI it is damaged, and CharLS would search for minutes."""
    tail = bytes(codestream[-MAX_PADDING_BYTES:])
    end = tail.rfind(b"\xff\xd9")
    if end < 0:
        raise Corrupt("a JPEG-LS codestream without EOI")
    fill = _FILLED.match(codestream)
    return codestream[fill.end() if fill else 0 : len(codestream) - len(tail) + end + 2]


def _header(codestream: memoryview) -> _Headers:
    """The frame header and the first scan header, in that order; each length is checked against the bytes at hand."""
    begin = re.match(BEGINS, codestream)
    if begin is None:
        raise Corrupt("no JPEG-LS codestream")
    at, found = begin.end(), None
    for _ in range(MAX_SEGMENTS):
        fill = _FILLED.match(codestream, at)
        at = fill.end() if fill else at
        if at + 4 > len(codestream):
            break
        marker, length = struct.unpack_from(">HH", codestream, at)
        segment = codestream[at + 4 : at + 2 + length]
        if marker < 0xFFC0 or length < 2 or len(segment) != length - 2:
            break
        if marker == _SOF55 and found is None:
            found = _frame(segment)
        elif marker == _LSE and (not segment or segment[0] != 1):
            raise Unfit("a JPEG-LS codestream with a mapping table or of extended size")
        elif marker == _SOS and found is not None:
            return _Headers(found, *_scan(segment, found))
        elif 0xFFC0 <= marker <= 0xFFCF or marker in (_SOF55, _SOS) or 0xFFD0 <= marker <= 0xFFD9:
            break
        at += 2 + length
    raise Corrupt("no JPEG-LS codestream, or one without a frame and a scan in its first bytes")


def _frame(segment: memoryview) -> Planes:
    if len(segment) < _FRAME.size:
        raise Corrupt("a JPEG-LS frame header that is too short")
    precision, rows, columns, samples = _FRAME.unpack_from(segment)
    components = segment[_FRAME.size :]
    if not 2 <= precision <= MAX_PRECISION or len(components) != 3 * samples:
        raise Corrupt("a JPEG-LS codestream of impossible precision, or with a broken frame header")
    if not rows or not columns or not 1 <= samples <= 4:
        raise Unfit("a JPEG-LS codestream that gives its size after the data, or of more than 4 components")
    if any(sampling != 0x11 for sampling in components[1::3]):
        raise Unfit("a JPEG-LS codestream whose components are not of the same size")
    return Planes(samples, rows, columns, precision)


def _scan(segment: memoryview, frame: Planes) -> tuple[int, int]:
    """Interleave mode and NEAR of a scan header with all components, or with a single one."""
    count = segment[0] if segment else 0
    if not 1 <= count <= frame.samples or len(segment) != 1 + 2 * count + 3:
        raise Corrupt("a JPEG-LS scan header that does not fit its frame")
    if count not in (1, frame.samples):
        raise Unfit("a JPEG-LS codestream with some of its components in a scan")
    if any(segment[2 : 1 + 2 * count : 2]):
        raise Unfit("a JPEG-LS codestream with a mapping table")
    near, mode, transform = segment[-3:]
    if transform or mode not in ((_NONE,) if count == 1 else (_LINE, _SAMPLE)):
        raise Unfit("a JPEG-LS codestream of an unknown interleave mode, or with a point transform")
    return mode, near
