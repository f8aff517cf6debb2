"""JPEG of four processes through libjpeg-turbo in imagecodecs: one frame in memory <-> one codestream in memory.

With damaged data the library invents what is missing, and the binding hides its warnings. So the segments are checked
before it runs (jpeg.py), and afterwards it is proved that the image used exactly all entropy-coded data. For lossless,
the bits are counted that the pixels need with the codestream's own tables; DCT data are decoded again with other last
bytes. The library gets no APPn, so that it uses the colour space that we want. It has no threads; the global
interpreter lock is free while it works.
"""

from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from leyden.errors import Corrupt
from leyden.transcode import jpeg
from leyden.transcode.pixels import CodecError, Planes, Samples, Unfit

ANY_PREDICTOR = 0
LEAST_SHOWN_BITS = 9  # with 8 or less, the library cuts samples to a byte
LAST_LINEAR = 4  # the predictors above halve something
_STRIP_SAMPLES = 1 << 18
_PROBES = ((0, 3), (8, 6))  # `worth` for revealing_head (0 = the tables of the codestream), and the number of tries
_PROBE_BYTES = 256

_EXTRA_BITS = np.array([*range(16), 0])  # of each category, after its code
_PREDICTORS: dict[int, Callable[[Samples, Samples, Samples], Samples]] = {  # from left, above, above left (table H.1)
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

    `pixels` holds the planes (Planes.view). `setting`: 0.0 = lossless with `predictor` (ANY_PREDICTOR: the best of the
    seven for some of the rows), else the quality of Baseline (8 bits) or Extended (12 bits), 1 to 100. Lossy colour
    becomes YCbCr 4:2:2, from RGB if `planes.rct`, else from YCbCr. `threads` is not used. Unfit: the codestream is as
    long as `room` or longer, or a value has more bits than `precision`. CodecError: the library failed.
    """
    values = planes.view(pixels)
    if int(values.max()) >> planes.precision:  # the library would read beyond its tables
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
    if len(codestream) >= len(room):  # then the library has put it into memory of its own
        raise Unfit("compression would make it larger")
    return len(codestream)


def _colours(planes: Planes, lossy: bool) -> dict[str, str]:
    """The colour spaces of the input and of the codestream.

    RGB gets an Adobe marker and the component names R, G and B, so that no reader converts it. Other lossless colour is
    UNKNOWN: for YCbCr the library writes a scan header with the wrong Huffman tables.
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
    """The predictor with the smallest differences in a strip across the middle of the image."""
    rows, columns = plane.shape
    strip_rows = min(rows, _STRIP_SAMPLES // columns + 2)
    strip = plane[(rows - strip_rows) // 2 :][:strip_rows]
    fresh = np.arange(strip_rows) == 0
    return min(
        _PREDICTORS, key=lambda number: int(_CATEGORY[_differences(strip, fresh, number, 0)].sum(dtype=np.int64))
    )


def decode(codestream: memoryview, planes: Planes, pixels: memoryview, threads: int = 0) -> None:
    """Decode one codestream of any of the four processes into planes as `jpeg.inspect` gives them.

    Lossless samples are reconstructed modulo 2^16 (H.1.2.1); those bits count that are within the precision. Corrupt:
    damaged, or of other planes. Unfit: a kind that is not read here. `threads` is not used. Lossless takes the time of
    one decoding and a pass over the pixels, DCT that of three decodings.
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
    """Decode so that the library also gives the bits above the precision, use them for the check, and drop them.

    Some devices treat samples as signed: 128 after 52 becomes a difference of -180, and so a sample of -128. A point
    transform by the library would shift such bits out of 16, so it is done here afterwards.
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
    """Decode right into `image`, which is (rows, columns) or (rows, columns, samples)."""
    terms: dict[str, Any] = {}
    if image.ndim == 3:
        terms = {"colorspace": "YCBCR" if from_ycbcr else "RGB", "outcolorspace": "RGB"}
    try:
        imagecodecs.jpeg8_decode(codestream, out=image, **terms)
    except (RuntimeError, ValueError) as error:
        raise Corrupt(f"a JPEG codestream that does not decode: {error}") from error


def _check_length(header: jpeg.FrameHeader, intervals: list[bytes], values: Samples) -> None:
    """Count the bits that the pixels need (H.1.2) and compare with the length of the data. Corrupt: they differ."""
    rows, columns = header.rows, header.columns
    interval_rows = header.restart_interval // columns or rows
    strip_rows = max(1, _STRIP_SAMPLES // columns)
    shift = header.point_transform
    linear = header.predictor <= LAST_LINEAR  # then the low bits of the differences follow from those of the samples
    half = 1 << (header.precision - 1 - (0 if linear else shift))
    row_bits = np.zeros(rows, np.int64)
    for plane, selector in zip(values, header.selectors, strict=True):
        if selector not in header.code_bits:
            raise Corrupt("a JPEG codestream without one of its Huffman tables")
        needed_bits = (header.code_bits[selector] + _EXTRA_BITS)[_CATEGORY]
        for at in range(0, rows, strip_rows):
            begin = max(0, at - 1)  # with the row before, for the prediction
            strip = plane[begin : at + strip_rows]
            fresh = np.arange(begin, begin + len(strip)) % interval_rows == 0
            differences = _differences(strip if linear else _unshifted(strip, shift), fresh, header.predictor, half)
            bits = needed_bits[_unshifted(differences, shift) if linear else differences].sum(axis=1)
            row_bits[at : at + strip_rows] += bits[at - begin :]
    needed_bytes = (np.add.reduceat(row_bits, np.arange(0, rows, interval_rows)) + 7) // 8
    if any(needed != len(each) - each.count(b"\xff\0") for needed, each in zip(needed_bytes, intervals, strict=True)):
        raise Corrupt("damaged lossless JPEG: its data do not end where the image does")


def _check_end_of_wrapped(header: jpeg.FrameHeader, intervals: list[bytes], image: Samples) -> None:
    """Prove that the library invented nothing: then other bytes after the data change nothing. Corrupt: they do.

    For predictors 5 to 7, which halve values, `_check_length` is not enough if samples are below 0: after the shift, 16
    bits may not hold their differences, and so do not tell how many bits these took.
    """
    other = np.empty_like(image)
    for more in (b"\xaa", b"\xd5"):  # the library itself would add zeros
        _decode(jpeg.join(jpeg.head(header), [each + more * _PROBE_BYTES for each in intervals]), False, other)
        if not np.array_equal(other, image):
            raise Corrupt("damaged lossless JPEG: its data end before the image does")


def _unshifted(values: Samples, bits: int) -> Samples:
    """The values before the shift to the left by a point transform; the high bits are those of the sign."""
    return (values.view(np.int16) >> bits).view(np.uint16) if bits else values


def _differences(strip: Samples, fresh: NDArray[np.bool_], predictor: int, half: int) -> NDArray[np.uint16]:
    """The differences that encode some rows, modulo 2^16 (H.1.2.1). `fresh`: the rows that begin a restart interval.

    Those of the first row are valid only if it is fresh, as the row above is not known.
    """
    values = strip.astype(np.int32 if predictor > LAST_LINEAR else np.uint16)  # halving needs the carry
    above = np.roll(values, 1, axis=0)
    predicted = above.copy()  # right for the first column
    predicted[:, 1:] = _PREDICTORS[predictor](values[:, :-1], above[:, 1:], above[:, :-1])
    predicted[fresh, 1:] = values[fresh, :-1]
    predicted[fresh, 0] = half
    return (values - predicted).astype(np.uint16, copy=False)


def _check_ends(header: jpeg.FrameHeader, intervals: list[bytes], from_ycbcr: bool, image: Samples) -> None:
    """Prove that the last byte of each interval is used, and that no byte after it would be. Corrupt: one is not true.

    If the library invented something, that changes with more data. Other last bytes may give the same pixels, by
    rounding or by chance; so there are several tries, the later ones with tables that round less. If no try shows a
    change, the codes are counted one by one.
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
            raise Corrupt("damaged JPEG: its data go on after the end of the image")


def _with_other_end(interval: bytes, noise: bytes, seed: int) -> bytes:
    """The data with noise for the last byte. With seed 0 its complement comes first, so that each bit changes."""
    stuffed = interval.endswith(b"\xff\0")
    complement = b"" if seed else b"\0" if stuffed else bytes((interval[-1] ^ 0xFF,)).replace(b"\xff", b"\xff\0")
    return interval[: -2 if stuffed else -1] + complement + noise


def _random_bytes(seed: int) -> bytes:
    """Random bytes, always the same for a seed, without 0xFF, which would begin a marker."""
    return np.random.default_rng(seed).integers(0, 255, _PROBE_BYTES, np.uint8).tobytes()


def _last_units(header: jpeg.FrameHeader, changed: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """For each interval, whether a pixel of its last minimum coded unit has changed."""
    high, wide = header.unit
    pixels = changed if changed.ndim == 2 else np.logical_or.reduce(changed, axis=2)
    if count > 1:  # subsampled colour reaches one pixel into the units around, perhaps of other intervals
        pixels[_edges(header.rows, high)] = False
        pixels[:, _edges(header.columns, wide)] = False
    rows = np.logical_or.reduceat(pixels, np.arange(0, header.rows, high), axis=0)
    units = np.logical_or.reduceat(rows, np.arange(0, header.columns, wide), axis=1).ravel()
    ends = np.arange(1, count + 1) * (header.restart_interval or len(units)) - 1
    return units[np.minimum(ends, len(units) - 1)]


def _edges(length: int, unit: int) -> NDArray[np.intp]:
    """Rows or columns at the inner edges between subsampled units; none if the unit is not subsampled."""
    if unit == 8:
        return np.empty(0, np.intp)
    firsts, lasts = np.arange(unit, length - 1, unit), np.arange(unit - 1, length - 1, unit)
    return np.concatenate((firsts, lasts))
