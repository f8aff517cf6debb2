"""JPEG XL through libjxl in imagecodecs: planes in memory <-> one bare codestream, a JPEG <-> one that gives it back.

Samples of 1 to 16 bits; the codestream has their precision. Above 12 bits the library writes a container, which is
removed: PS3.5 A.4 wants the codestream, and every reader takes that. Only a recompressed JPEG keeps its container, as
one of its boxes holds what is not in the image. Entropy-coded data end in a known state, so the library finds most
damage itself. It does not report bytes after the codestream; these are checked separately.
The library has its own threads; the global interpreter lock is free meanwhile.
"""

import ctypes
from typing import Any

import imagecodecs
import numpy as np
from imagecodecs import _jpegxl

from leyden.errors import Corrupt
from leyden.transcode import jpeg, jpegxl, libjpeg
from leyden.transcode.pixels import CodecError, Description, Planes, Unfit

EFFORT = {1: 3, 3: 2}  # by samples; measured, see DECISIONS.md
EFFORT_LOSSY = 5
_FAILURES = (RuntimeError, ValueError)
_ALL_FRAMES = 1 << 30
_FRAME = 0x400
_IMAGE = 0x1000


def _bind() -> Any:
    """The few calls of the library's C interface that walk over a codestream. None of them takes a structure."""
    library = ctypes.CDLL(_jpegxl.__file__)
    decoder, size, status = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for name, result, *arguments in (
        ("Create", decoder, ctypes.c_void_p),
        ("Destroy", None, decoder),
        ("SubscribeEvents", status, decoder, ctypes.c_int),
        ("SkipFrames", None, decoder, size),
        ("SetInput", status, decoder, ctypes.c_void_p, size),
        ("CloseInput", None, decoder),
        ("ProcessInput", status, decoder),
        ("ReleaseInput", size, decoder),
    ):
        function = getattr(library, f"JxlDecoder{name}")
        function.restype, function.argtypes = result, arguments
    return library


_jxl = _bind()


def version() -> str:
    return str(imagecodecs.jpegxl_version())


def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float = 0.0, threads: int = 0) -> int:
    """Encode one frame and return the length of the codestream, which begins at room[0].

    `pixels` holds the planes (Planes.view). `setting`: 0.0 = lossless, else the quality as in `cjxl`, 1 to 100 (90 is
    distance 1; colour becomes XYB). `threads`: of the library, 0 = none. Unfit: the codestream is longer than `room`.
    CodecError: the library failed.
    """
    values = planes.view(pixels).view(f"u{planes.sample_bytes}")
    image = values[0] if planes.samples == 1 else np.ascontiguousarray(values.transpose(1, 2, 0))
    terms: dict[str, Any] = {"lossless": True, "effort": EFFORT[planes.samples]}
    if setting:
        terms = {"lossless": False, "effort": EFFORT_LOSSY, "distance": distance(setting)}
    terms |= {"bitspersample": planes.precision, "photometric": "GRAY" if planes.samples == 1 else "RGB"}
    try:
        encoded = imagecodecs.jpegxl_encode(image, numthreads=max(1, threads), **terms)
    except _FAILURES as error:
        raise CodecError(f"libjxl could not encode: {error}") from error
    return _put(jpegxl.bare(memoryview(encoded)), room)


def distance(quality: float) -> float:
    """The library's distance for a quality: 1.0 for 90, 0.1 for 100, much more below 30."""
    if quality >= 30:
        return 0.1 + (100 - min(quality, 100)) * 0.09
    return 53 / 3000 * quality * quality - 23 / 20 * quality + 25


def decode(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int = 0) -> None:
    """Decode one codestream, bare or in a container, into the planes; the sign is not interpreted.

    Corrupt: damaged, of other planes, or with more than padding after its end.
    """
    codestream = jpegxl.bare(codestream)
    jpegxl.expect(codestream, planes)
    _check_end(codestream)
    target = planes.view(pixels).view(f"u{planes.sample_bytes}")
    alone = planes.samples == 1
    image = target[0] if alone else np.empty((planes.rows, planes.columns, planes.samples), target.dtype)
    anything: Any = codestream  # any buffer will do
    try:
        imagecodecs.jpegxl_decode(anything, numthreads=max(1, threads), out=image)
    except _FAILURES as error:
        raise Corrupt(f"a JPEG XL codestream that does not decode: {error}") from error
    if not alone:
        np.copyto(target, image.transpose(2, 0, 1))


def decode_jpeg(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int = 0) -> None:
    """Decode the JPEG in a codestream of a recompressed JPEG into the planes.

    Corrupt: it holds no JPEG, or a damaged one, or one of other planes. Unfit: a kind of JPEG that is not read.
    """
    found, p = memoryview(_reconstructed(codestream, planes)), planes
    as_described = Description(
        p.rows, p.columns, p.samples, 8, 8, 7, signed=False, photometric="YBR_FULL" if p.rct else "RGB"
    )
    if jpeg.inspect(found, as_described)[0] != planes:
        raise Corrupt("a recompressed JPEG whose colours differ from the frames before it")
    libjpeg.decode(found, planes, pixels, threads)


def recompress(source: memoryview, planes: Planes, room: memoryview) -> int:
    """Recompress a JPEG as JPEG XL and return the length. It can be given back byte for byte, with any bytes after EOI.

    Both may be in the same memory. Unfit: a JPEG that the library cannot keep, or the result is longer than `room`.
    """
    anything: Any = source
    try:
        made = imagecodecs.jpegxl_encode_jpeg(anything, numthreads=1)
    except _FAILURES as error:
        raise Unfit(f"a JPEG that libjxl cannot keep: {error}") from error
    return _put(memoryview(made), room)


def check_recompressed(made: memoryview, source: memoryview, planes: Planes) -> None:
    """Corrupt: the codestream `made` does not give back the same JPEG."""
    if _reconstructed(made, planes) != source:
        raise Corrupt("it gives back another JPEG")


def reconstruct(source: memoryview, planes: Planes, room: memoryview, *, baseline: bool) -> int:
    """Give back a recompressed JPEG byte for byte and return its length. Both may be in the same memory.

    Corrupt: it holds no JPEG, or one of another shape than `planes`. Unfit: the process is not Baseline or, unless
    `baseline`, Extended.
    """
    made = memoryview(_reconstructed(source, planes))
    process = jpeg.outline(made)[1]
    if process not in (jpeg.BASELINE, *(() if baseline else (jpeg.EXTENDED,))):
        raise Unfit("a recompressed JPEG of another process than that of the wanted syntax")
    return _put(made, room)


def _reconstructed(codestream: memoryview, planes: Planes) -> bytes:
    jpegxl.expect(jpegxl.bare(codestream), planes)
    anything: Any = codestream
    try:
        made = bytes(imagecodecs.jpegxl_decode_jpeg(anything, numthreads=1))
    except _FAILURES as error:
        raise Corrupt(f"JPEG XL that gives back no JPEG: {error}") from error
    if jpeg.outline(memoryview(made))[0] != Planes(planes.samples, planes.rows, planes.columns, planes.precision):
        raise Corrupt("a recompressed JPEG whose shape differs from its codestream")
    return made


def _put(made: memoryview, room: memoryview) -> int:
    if len(made) > len(room):
        raise Unfit("compression would make it larger")
    room[: len(made)] = made
    return len(made)


def _check_end(codestream: memoryview) -> None:
    """Walk over all frames without decoding them. Corrupt: more than padding with zeros follows the last one.

    A codestream that ends too early is an error of the decoder.
    """
    array = np.frombuffer(codestream, np.uint8)
    decoder = _jxl.JxlDecoderCreate(None)
    if not decoder:
        raise CodecError("no memory for a codec")
    try:
        _jxl.JxlDecoderSubscribeEvents(decoder, _FRAME | _IMAGE)
        _jxl.JxlDecoderSkipFrames(decoder, _ALL_FRAMES)
        _jxl.JxlDecoderSetInput(decoder, array.ctypes.data, array.nbytes)
        _jxl.JxlDecoderCloseInput(decoder)
        status = _jxl.JxlDecoderProcessInput(decoder)
        left = _jxl.JxlDecoderReleaseInput(decoder)
    finally:
        _jxl.JxlDecoderDestroy(decoder)
    if status == 0 and array[array.nbytes - left :].any():
        raise Corrupt("JPEG XL with something else than padding behind its codestream")
