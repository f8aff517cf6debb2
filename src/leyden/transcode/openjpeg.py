"""JPEG 2000 through OpenJPEG: one frame in memory <-> one bare codestream in memory. It also decodes HTJ2K.

The calls are glymur's low-level bindings; its Jp2k class is not used, as it needs a file, and unsigned 8 or 16 bits.
The library is that of the imagecodecs wheel, else the system's. Stream callbacks read and write the caller's memory, so
there is no file, and too little room is an ordinary error. The size that a codestream claims is checked before the
library sees it: 241 bytes can ask for 6.7 GiB. Every codec, stream and image is destroyed on every path. The library
drops bits without an error if its two guard bits are not enough for the wavelet of extreme values: such frames are
decoded and compared.
"""

import ctypes
import ctypes.util
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from leyden.errors import Corrupt, LeydenError
from leyden.transcode import jpeg2000
from leyden.transcode.pixels import CodecError, Planes, Unfit

STREAM_BUFFER_BYTES = 1 << 20
HARMLESS_WARNINGS = ("TPsot==TNsot",)  # old encoders count tile-parts from 1; the library corrects it
MAX_RESOLUTIONS = 6
_FAILED = ctypes.c_size_t(-1).value

_MESSAGE = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)
_MOVE = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_SKIP = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
_SEEK = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p)


def _library_path() -> str:
    """libopenjp2 of the imagecodecs wheel, else the one that the system's loader finds."""
    imagecodecs = importlib.util.find_spec("imagecodecs")
    if imagecodecs is not None and imagecodecs.origin is not None:
        inside = sorted(Path(imagecodecs.origin).parents[1].glob("imagecodecs.libs/libopenjp2*.so*"))
        if inside:
            return str(inside[0])
    system = "libopenjp2.so.7"  # not by find_library: it starts a compiler, which a worker may not
    try:
        ctypes.CDLL(system)
    except OSError:
        raise LeydenError(
            "no libopenjp2: install imagecodecs' wheel, or the system's package (Debian: libopenjp2-7)"
        ) from None
    return system


def _load() -> Any:
    """glymur's bindings, bound to our library.

    glymur calls `ctypes.util.find_library` while it is imported, and its structures depend on the version that it
    finds; so our answer must be in place by then. For libtiff, which we do not need, the answer is None.
    """
    path, ask_system = _library_path(), ctypes.util.find_library
    ctypes.util.find_library = lambda name: path if name == "openjp2" else None
    os.environ.setdefault("HOME", "/")  # glymur looks for its settings there; a worker can't read /etc/passwd for it
    try:
        from glymur.lib import openjp2
    finally:
        ctypes.util.find_library = ask_system
    if openjp2.OPENJP2 is None or not hasattr(openjp2.CompressionParametersType, "rsiz"):
        raise LeydenError("glymur is not bound to an OpenJPEG of version 2.1 or later")
    library = openjp2.OPENJP2
    library.opj_stream_create.argtypes = [ctypes.c_size_t, ctypes.c_int32]
    library.opj_stream_create.restype = ctypes.c_void_p
    for name, callback in (("read", _MOVE), ("write", _MOVE), ("skip", _SKIP), ("seek", _SEEK)):
        function = getattr(library, f"opj_stream_set_{name}_function")
        function.argtypes, function.restype = [ctypes.c_void_p, callback], None
    library.opj_stream_set_user_data_length.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
    library.opj_stream_set_user_data_length.restype = None
    for name in ("opj_destroy_codec", "opj_stream_destroy", "opj_image_destroy"):
        getattr(library, name)  # look it up now: without memory that would fail later, and nothing would be freed
    return openjp2


_opj = _load()


def version() -> str:
    return str(_opj.version())


class _Stream:
    """Memory that OpenJPEG reads or writes as a stream. `used_bytes`: how far it has been written."""

    def __init__(self, memory: memoryview, *, reading: bool) -> None:
        self._array = np.frombuffer(memory, np.uint8)  # keeps the memory alive and has its address
        self._base, self._size = self._array.ctypes.data, self._array.nbytes
        self._at = 0
        self.used_bytes = 0
        self.overflowed = False
        move = _MOVE(self._read if reading else self._write)
        self._callbacks = (move, _SKIP(self._skip), _SEEK(self._seek))
        library = _opj.OPENJP2
        self.handle = library.opj_stream_create(STREAM_BUFFER_BYTES, int(reading))
        if not self.handle:
            raise CodecError("no memory for a stream")
        (library.opj_stream_set_read_function if reading else library.opj_stream_set_write_function)(self.handle, move)
        library.opj_stream_set_skip_function(self.handle, self._callbacks[1])
        library.opj_stream_set_seek_function(self.handle, self._callbacks[2])
        if reading:
            library.opj_stream_set_user_data_length(self.handle, self._size)

    def _read(self, target: int, wanted: int, _user: int) -> int:
        length = min(wanted, self._size - self._at)
        if length <= 0:
            return int(_FAILED)  # end of stream; after 0 the library would ask again for ever
        ctypes.memmove(target, self._base + self._at, length)
        self._at += length
        return length

    def _write(self, source: int, length: int, _user: int) -> int:
        if self._at + length > self._size:
            self.overflowed = True
            return int(_FAILED)
        ctypes.memmove(self._base + self._at, source, length)
        self._at += length
        self.used_bytes = max(self.used_bytes, self._at)
        return length

    def _skip(self, length: int, _user: int) -> int:
        return length if self._seek(self._at + length, 0) else -1

    def _seek(self, position: int, _user: int) -> int:
        if not 0 <= position <= self._size:
            return 0
        self._at = position
        return 1

    def destroy(self) -> None:
        _opj.stream_destroy(self.handle)


class _Messages:
    """The library's messages: errors for the text of the exception, warnings to detect damage."""

    def __init__(self, codec: int) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._callbacks = (
            _MESSAGE(lambda text, _: self.errors.append(_line(text))),
            _MESSAGE(lambda text, _: self.warnings.append(_line(text))),
            _MESSAGE(lambda _text, _: None),
        )
        _opj.set_error_handler(codec, self._callbacks[0])
        _opj.set_warning_handler(codec, self._callbacks[1])
        _opj.set_info_handler(codec, self._callbacks[2])

    def damage(self) -> bool:
        """Whether a warning tells of damage."""
        return any(not any(harmless in text for harmless in HARMLESS_WARNINGS) for text in self.warnings)

    def __str__(self) -> str:
        return "; ".join((self.errors or self.warnings)[:3]) or "no message"


def _line(text: bytes | None) -> str:
    return (text or b"").decode("latin-1").strip()[:200]


@contextmanager
def _codec(create: Any, memory: memoryview, *, reading: bool) -> Iterator[tuple[int, _Stream, _Messages]]:
    stream = _Stream(memory, reading=reading)
    try:
        codec = create(_opj.CODEC_J2K)
        if not codec:
            raise CodecError("no memory for a codec")
        try:
            yield codec, stream, _Messages(codec)
        finally:
            _opj.destroy_codec(codec)
    finally:
        stream.destroy()


def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float = 0.0, threads: int = 0) -> int:
    """Encode one frame and return the length of the codestream, which begins at room[0].

    `pixels` holds the planes (Planes.view). `setting`: 0.0 = lossless (5/3 wavelet, RCT), else the ratio of the planes'
    size to the codestream's (9/7 wavelet, ICT). `threads`: of the library, in addition to the caller's, 0 = none. The
    global interpreter lock is free meanwhile. Unfit: the codestream is longer than `room`, or lossless would not decode
    to the same pixels. CodecError: the library failed.
    """
    parameters = _opj.set_default_encoder_parameters()  # lossless, 64x64 blocks, one tile
    parameters.numresolution = resolutions(planes.rows, planes.columns)
    parameters.tcp_numlayers = 1
    parameters.irreversible = int(setting > 0)
    # The library's ratio counts bits, ours whole bytes.
    parameters.tcp_rates[0] = setting * planes.precision / (8 * planes.sample_bytes)
    parameters.cp_disto_alloc = 1
    parameters.tcp_mct = int(planes.rct)
    components = (_opj.ImageComptParmType * planes.samples)()
    for component in components:
        component.dx = component.dy = 1
        component.w, component.h = planes.columns, planes.rows
        component.prec = component.bpp = planes.precision
        component.sgnd = int(planes.signed)
    image = _opj.image_tile_create(components, _opj.CLRSPC_SRGB if planes.rct else _opj.CLRSPC_UNSPECIFIED)
    if not image:
        raise CodecError("no memory for an image")
    image.contents.x1, image.contents.y1 = planes.columns, planes.rows
    try:
        with _codec(_opj.create_compress, room, reading=False) as (codec, stream, messages):
            try:
                _opj.setup_encoder(codec, parameters, image)
                if threads:
                    _opj.codec_set_threads(codec, threads)
                _opj.start_compress(codec, image, stream.handle)
                _opj.write_tile(codec, 0, planes.view(pixels), planes.size_bytes, stream.handle)
                _opj.end_compress(codec, stream.handle)
            except _opj.OpenJPEGLibraryError as error:
                if stream.overflowed or any("output buffer" in text for text in messages.errors):
                    raise Unfit("compression would make it larger") from error
                raise CodecError(f"OpenJPEG could not encode: {messages}") from error
    finally:
        _opj.image_destroy(image)
    if not setting and may_lose(planes, pixels) and not _decodes_to(planes, room[: stream.used_bytes], pixels, threads):
        raise Unfit("extreme values that OpenJPEG would not preserve")
    return stream.used_bytes


def may_lose(planes: Planes, pixels: memoryview) -> bool:
    """Whether a wavelet coefficient of these planes may need more bits than OpenJPEG has (range + 2 guard bits - 1).

    The limits are the sums of the positive and of the negative weights of the 5/3 filters over five levels: 1.956 and
    0.956 for LL, 2.406 each for HL and LH. Only two kinds of samples can reach them: the colour differences of the
    component transform, which are one bit wider than the samples, and samples of one or two bits, where rounding
    counts as much as the values.
    """
    if planes.precision <= 2:
        return True
    if not planes.rct:
        return False
    rounding, full = 8, 1 << (planes.precision + 1)
    red, green, blue = planes.view(pixels).astype(np.int32)
    for difference in (red - green, blue - green):
        low, high = int(difference.min()), int(difference.max())
        farthest = max(1.957 * high - 0.957 * low, 0.957 * high - 1.957 * low)
        if farthest + rounding >= full or 2.407 * (high - low) + rounding >= 2 * full:
            return True
    return False


def _decodes_to(planes: Planes, codestream: memoryview, pixels: memoryview, threads: int) -> bool:
    decoded = memoryview(bytearray(planes.size_bytes))
    decode(codestream, planes, decoded, threads)
    return bool(np.array_equal(planes.view(decoded), planes.view(pixels)))


def decode(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int = 0) -> None:
    """Decode one codestream, JPEG 2000 or HTJ2K, into planes as `jpeg2000.inspect` gives them.

    Corrupt: the codestream is damaged, or of other planes. Warnings of the library count as damage, except
    HARMLESS_WARNINGS: it invents data that are missing. CodecError: the library failed for another reason.
    """
    codestream = jpeg2000.bare(codestream)
    jpeg2000.expect(codestream, planes)
    codestream = jpeg2000.for_openjpeg(codestream)
    image = None
    with _codec(_opj.create_decompress, codestream, reading=True) as (codec, stream, messages):
        try:
            _opj.setup_decoder(codec, _opj.set_default_decoder_parameters())
            if threads:
                _opj.codec_set_threads(codec, threads)
            image = _opj.read_header(stream.handle, codec)
            _opj.decode(codec, stream.handle, image)
            _opj.end_decompress(codec, stream.handle)
            if messages.damage():
                raise Corrupt(f"a damaged JPEG 2000 codestream: {messages}")
            target = planes.view(pixels)
            for number in range(planes.samples):
                component = image.contents.comps[number]
                if (component.w, component.h) != (planes.columns, planes.rows) or not component.data:
                    raise Corrupt("a JPEG 2000 component that is not as large as the image")
                values = np.ctypeslib.as_array(component.data, (planes.rows, planes.columns))
                np.copyto(target[number], values, casting="unsafe")
        except _opj.OpenJPEGLibraryError as error:
            raise Corrupt(f"a JPEG 2000 codestream that does not decode: {messages}") from error
        finally:
            if image:
                _opj.image_destroy(image)


def resolutions(rows: int, columns: int) -> int:
    """Six, or as many as the smaller side allows (OpenJPEG refuses more)."""
    return min(MAX_RESOLUTIONS, min(rows, columns).bit_length())
