"""JPEG of four processes through libjpeg-turbo in imagecodecs: one frame in memory <-> one codestream in memory.

On damaged data the library makes up what is missing, and the binding hides its warnings. So the markers are walked
before it runs (jpeg.py), and afterwards it is proved that the image took all of the entropy-coded data and no more:
lossless by counting the bits that the pixels need in the codestream's own tables; DCT by decoding it again with other
last bytes. The library sees no APPn, so no colour space but the one that is wanted. It has no threads; the global
interpreter lock is free while it works. Nothing is printed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from leyden.errors import Corrupt
from leyden.transcode import jpeg
from leyden.transcode.pixels import CodecError, Planes, Samples, Unfit

ANY_PREDICTOR = 0
LEAST_SHOWN_BITS = 9  # up to 8 the library cuts samples off to a byte
LAST_LINEAR = 4  # the predictors above it halve something
_STRIP_SAMPLES = 1 << 18
_PROBES = ((0, 3), (8, 6))  # worth of a coefficient (0: as it is), and how often to try
_PROBE_BYTES = 256

_EXTRA_BITS = np.array([*range(16), 0])  # of a category, behind its code
_PREDICTORS: dict[int, Callable[[Samples, Samples, Samples], Samples]] = {  # of left, above, above left (table H.1)
    1: lambda a, b, c: a,
    2: lambda a, b, c: b,
    3: lambda a, b, c: c,
    4: lambda a, b, c: a + b - c,
    5: lambda a, b, c: a + ((b - c) >> 1),
    6: lambda a, b, c: b + ((a - c) >> 1),
    7: lambda a, b, c: (a + b) >> 1,
}


def _categories() -> NDArray[np.uint8]:
    """The category (table H.2) of each difference modulo 2^16."""
    differences = np.arange(1 << 16)
    return np.frexp(np.minimum(differences, (1 << 16) - differences))[1].astype(np.uint8)


_CATEGORY = _categories()


def encode(
    planes: Planes, pixels: memoryview, room: memoryview, setting: float = 0.0, threads: int = 0, predictor: int = 1
) -> int:
    """Encode one frame and return the length of the codestream, which begins at room[0].

    `pixels` holds the planes (Planes.view). `setting` is 0.0 for Lossless with `predictor` (ANY_PREDICTOR: the best of
    the seven by a look at some rows), else the quality of Baseline (8 bits) or Extended (12 bits), 1 to 100; colour is
    then 4:2:2, YCbCr before it unless `planes.rct`. `threads` is for the interface. Unfit: the codestream is as long
    as `room` or longer, or a value has more bits than `precision`. CodecError: the library failed.
    """
    values = planes.view(pixels)
    if int(values.max()) >> planes.precision:  # the library would index its tables with it
        raise Unfit("values of more bits than their precision")
    terms: dict[str, Any] = {"bitspersample": planes.precision, "out": room}
    if planes.samples > 1:
        terms |= _colours(planes, lossy=bool(setting))
    if setting:
        terms |= {"level": min(100, max(1, round(setting))), "subsampling": "422", "optimize": True}
    else:
        terms |= {"lossless": True, "predictor": predictor or best_predictor(values[0])}
    try:
        codestream = imagecodecs.jpeg8_encode(_interleaved(planes, values), **terms)
    except (RuntimeError, ValueError) as error:
        raise CodecError(f"libjpeg-turbo could not encode: {error}") from error
    if len(codestream) >= len(room):  # then it is in memory of the library's own
        raise Unfit("compression would make it larger")
    return len(codestream)


def _colours(planes: Planes, lossy: bool) -> dict[str, str]:
    """From which colour space to which.

    What is named RGB gets an Adobe marker and components R, G and B, so that no reader turns it. Other lossless colour
    gets no name: as YCbCr the library writes a scan header that names the wrong Huffman tables.
    """
    if lossy:
        return {"colorspace": "RGB" if planes.rct else "YCBCR", "outcolorspace": "YCBCR"}
    name = "RGB" if planes.rct else "UNKNOWN"
    return {"colorspace": name, "outcolorspace": name}


def _interleaved(planes: Planes, values: Samples) -> Samples:
    if planes.samples == 1:
        return values.reshape(planes.rows, planes.columns)
    interleaved = np.empty((planes.rows, planes.columns, planes.samples), planes.dtype)
    np.copyto(interleaved, values.transpose(1, 2, 0))
    return interleaved


def best_predictor(plane: Samples) -> int:
    """The predictor with the fewest bits of difference in a strip across the middle."""
    rows, columns = plane.shape
    strip_rows = min(rows, _STRIP_SAMPLES // columns + 2)
    strip = plane[(rows - strip_rows) // 2 :][:strip_rows]
    fresh = np.arange(strip_rows) == 0
    return min(
        _PREDICTORS, key=lambda number: int(_CATEGORY[_differences(strip, fresh, number, 0)].sum(dtype=np.int64))
    )


def decode(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int = 0) -> None:
    """Decode one codestream of any of the four processes into the planes that `jpeg.inspect` said it has.

    Of lossless samples, which are reconstructed modulo 2^16 (H.1.2.1), the bits of the precision count. Corrupt:
    damaged, or not of these planes. Unfit: of an absent kind. `threads` is for the interface. It takes the time of one
    decoding and a pass over the pixels, DCT that of three decodings.
    """
    header = jpeg.read(codestream)
    if header.planes != replace(planes, rct=False):
        raise Corrupt("a codestream of another shape than the ones before it")
    intervals = jpeg.intervals(header, codestream)
    values = planes.view(pixels)
    if header.lossless:
        _decode_lossless(header, intervals, values)
        return
    alone = planes.samples == 1
    image = values[0] if alone else np.empty((planes.rows, planes.columns, planes.samples), planes.dtype)
    _decode(jpeg.join(jpeg.head(header), intervals), planes.rct, image)
    if not alone:
        np.copyto(values, image.transpose(2, 0, 1))
    _check_ends(header, intervals, planes.rct, image)


def _decode_lossless(header: jpeg.FrameHeader, intervals: list[bytes], values: Samples) -> None:
    """Decode so that the library shows the bits above the precision too, check with these, and leave them out.

    Devices that take samples for signed write 128 after 52 as a difference of -180, which makes it -128. Of 16 bits a
    point transform would shift such bits out; so it is done here, afterwards.
    """
    shown = jpeg.widen(header, LEAST_SHOWN_BITS)
    samples, rows, columns = values.shape
    direct = samples == 1 and shown.precision == header.precision
    image = values[0] if direct else np.empty((rows, columns, samples)[: 2 + (samples > 1)], np.uint16)
    _decode(jpeg.join(jpeg.head(shown), intervals), False, image)
    planes = image.reshape(rows, columns, samples).transpose(2, 0, 1)
    _check_length(shown, intervals, planes)
    if shown.point_transform and shown.predictor > LAST_LINEAR and int(image.view(np.int16).min()) < 0:
        _check_end_of_wrapped(shown, intervals, image)
    if not direct or int(image.max()) >> header.precision:
        shifted = planes >> shown.point_transform << header.point_transform
        np.copyto(values, shifted & ((1 << header.precision) - 1), casting="unsafe")


def _decode(codestream: bytes, from_ycbcr: bool, image: Samples) -> None:
    """Let the library decode right into `image`: rows, columns and, if there is more than one, samples."""
    terms: dict[str, Any] = {}
    if image.ndim == 3:
        terms = {"colorspace": "YCBCR" if from_ycbcr else "RGB", "outcolorspace": "RGB"}
    try:
        imagecodecs.jpeg8_decode(codestream, out=image, **terms)
    except (RuntimeError, ValueError) as error:
        raise Corrupt(f"a JPEG codestream that does not decode: {error}") from error


def _check_length(header: jpeg.FrameHeader, intervals: list[bytes], values: Samples) -> None:
    """Count the bits that the pixels need (H.1.2) and hold them against those that are there. Corrupt: they differ."""
    rows, columns = header.rows, header.columns
    interval_rows = header.restart_interval // columns or rows
    strip_rows = max(1, _STRIP_SAMPLES // columns)
    shift = header.point_transform
    linear = header.predictor <= LAST_LINEAR  # then the differences are known as far as the samples are
    half = 1 << (header.precision - 1 - (0 if linear else shift))
    row_bits = np.zeros(rows, np.int64)
    for plane, selector in zip(values, header.selectors, strict=True):
        if selector not in header.code_bits:
            raise Corrupt("a JPEG codestream without one of its Huffman tables")
        needed_bits = (header.code_bits[selector] + _EXTRA_BITS)[_CATEGORY]
        for at in range(0, rows, strip_rows):
            begin = max(0, at - 1)  # the row before is for the prediction
            strip = plane[begin : at + strip_rows]
            fresh = np.arange(begin, begin + len(strip)) % interval_rows == 0
            differences = _differences(strip if linear else _unshifted(strip, shift), fresh, header.predictor, half)
            bits = needed_bits[_unshifted(differences, shift) if linear else differences].sum(axis=1)
            row_bits[at : at + strip_rows] += bits[at - begin :]
    needed_bytes = (np.add.reduceat(row_bits, np.arange(0, rows, interval_rows)) + 7) // 8
    if any(needed != len(each) - each.count(b"\xff\0") for needed, each in zip(needed_bytes, intervals, strict=True)):
        raise Corrupt("damaged lossless JPEG: its data do not end where the image does")


def _check_end_of_wrapped(header: jpeg.FrameHeader, intervals: list[bytes], image: Samples) -> None:
    """Prove that nothing was made up, as other data behind would show. Corrupt: they do.

    Where samples below 0 are halved (predictors 5 to 7), differences may be so large that 16 bits do not show them
    after the shift, and so not how many bits they took.
    """
    other = np.empty_like(image)
    for more in (b"\xaa", b"\xd5"):  # the library makes up zeros
        _decode(jpeg.join(jpeg.head(header), [each + more * _PROBE_BYTES for each in intervals]), False, other)
        if not np.array_equal(other, image):
            raise Corrupt("damaged lossless JPEG: its data end before the image does")


def _unshifted(values: Samples, bits: int) -> Samples:
    """What a point transform shifted to the left; of what 16 bits lack, the sign is taken for all."""
    return (values.view(np.int16) >> bits).view(np.uint16) if bits else values


def _differences(strip: Samples, fresh: NDArray[np.bool_], predictor: int, half: int) -> NDArray[np.uint16]:
    """What is encoded of some rows, modulo 2^16 (H.1.2.1). `fresh` are the rows that begin a restart interval.

    Those of the first row are only right where it is fresh: the row above is not known.
    """
    values = strip.astype(np.int32 if predictor > LAST_LINEAR else np.uint16)  # those with a halving need the carry
    above = np.roll(values, 1, axis=0)
    predicted = above.copy()  # right for the first column
    predicted[:, 1:] = _PREDICTORS[predictor](values[:, :-1], above[:, 1:], above[:, :-1])
    predicted[fresh, 1:] = values[fresh, :-1]
    predicted[fresh, 0] = half
    return (values - predicted).astype(np.uint16, copy=False)


def _check_ends(header: jpeg.FrameHeader, intervals: list[bytes], from_ycbcr: bool, image: Samples) -> None:
    """Prove that the last byte of each interval counts, and that nothing behind it would. Corrupt: it is not so.

    Where the library made something up, it changes as soon as there are data. Other last bytes may round to the same
    pixels, or mean the same; so there are several tries, the later ones with tables that hide less. Where no try shows
    it the codes are counted one by one.
    """
    counts = np.zeros(len(intervals), np.bool_)
    for worth, probes in _PROBES:
        head, expected, as_rgb = jpeg.head(header), image, from_ycbcr
        if worth:
            head, expected, as_rgb = jpeg.revealing_head(header, worth), np.empty(image.shape, np.uint16), False
            _decode(jpeg.join(head, intervals), as_rgb, expected)
        other, noise = np.empty_like(expected), _random_bytes(worth)
        _decode(jpeg.join(head, [each + noise for each in intervals]), as_rgb, other)
        if not np.array_equal(other, expected):
            raise Corrupt("damaged JPEG: its data end before the image does")
        for seed in range(probes):
            noise = _random_bytes(256 + seed)
            _decode(jpeg.join(head, [_with_other_end(each, noise, seed) for each in intervals]), as_rgb, other)
            counts |= _last_units(header, other != expected, len(intervals))
            if counts.all():
                return
    interval = header.restart_interval or header.units
    for number in np.flatnonzero(~counts).tolist():
        units = min(interval, header.units - number * interval)
        if not jpeg.is_whole(header, intervals[number], units):
            raise Corrupt("damaged JPEG: its data go on where the image does not")


def _with_other_end(interval: bytes, noise: bytes, seed: int) -> bytes:
    """Noise instead of the last byte; behind its complement for seed 0, so that no bit of it stays."""
    stuffed = interval.endswith(b"\xff\0")
    complement = b"" if seed else b"\0" if stuffed else bytes((interval[-1] ^ 0xFF,)).replace(b"\xff", b"\xff\0")
    return interval[: -2 if stuffed else -1] + complement + noise


def _random_bytes(seed: int) -> bytes:
    """Always the same for a seed, and without 0xFF, which would begin a marker."""
    return np.random.default_rng(seed).integers(0, 255, _PROBE_BYTES, np.uint8).tobytes()


def _last_units(header: jpeg.FrameHeader, changed: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """For each interval whether anything has changed in its last minimum coded unit."""
    high, wide = header.unit
    pixels = changed if changed.ndim == 2 else np.logical_or.reduce(changed, axis=2)
    if count > 1:  # what is subsampled shines one pixel into the units around, which may be of other intervals
        pixels[_edges(header.rows, high)] = False
        pixels[:, _edges(header.columns, wide)] = False
    rows = np.logical_or.reduceat(pixels, np.arange(0, header.rows, high), axis=0)
    units = np.logical_or.reduceat(rows, np.arange(0, header.columns, wide), axis=1).ravel()
    ends = np.arange(1, count + 1) * (header.restart_interval or len(units)) - 1
    return units[np.minimum(ends, len(units) - 1)]


def _edges(length: int, unit: int) -> NDArray[np.intp]:
    """Rows or columns at an inner edge of a unit that is subsampled; not those of a unit that has no others."""
    if unit == 8:
        return np.empty(0, np.intp)
    firsts, lasts = np.arange(unit, length - 1, unit), np.arange(unit - 1, length - 1, unit)
    return np.concatenate((firsts, lasts))
