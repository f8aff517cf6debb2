"""HTJ2K (ISO/IEC 15444-15) through OpenJPH in imagecodecs: planes in memory -> one bare codestream in memory.

It only encodes. OpenJPEG decodes (openjpeg.decode): on damaged codestreams OpenJPH crashes or hangs, and its binding
ignores errors while decoding. So each encoder is checked by the other library.
All three transfer syntaxes get the form that PS3.5 section 10.18 wants for HTJ2K Lossless RPCL: progression order RPCL,
enough decompositions for a thumbnail of 64 x 64, a tile-part for each resolution, and their lengths in TLM.
The binding has samples of 8 and of 16 bits. For fewer bits, samples are passed so that only the precision in the SIZ
segment has to be changed afterwards (see `_samples`). OpenJPH has no threads; the global interpreter lock is free
meanwhile.
"""

import math
from typing import Any

import imagecodecs
import numpy as np

from leyden.transcode import jpeg2000
from leyden.transcode.pixels import CodecError, Planes, Samples, Unfit

THUMBNAIL_PIXELS = 64
USUAL_DECOMPOSITIONS = 5
MAX_TRIALS = 8
MIN_TARGET_BYTES = 1024
EXCESS_TOLERANCE = 0.03  # as a power of two: 2 %
# Quantization steps as powers of two; 0.0 = the whole range of samples.
_FINEST = -16.0
_COARSEST = -1.0
# Where the search begins: medical images at 10:1 are not far from there.
_FIRST = -7.0
_SLOPE = -0.7
_FLATTEST = -0.1


def encode(planes: Planes, pixels: memoryview, room: memoryview, setting: float = 0.0, threads: int = 0) -> int:
    """Encode one frame and return the length of the codestream, which begins at room[0].

    `pixels` holds the planes (Planes.view). `setting`: 0.0 = lossless (5/3 wavelet, RCT), else the least ratio of the
    planes' size to the codestream's (9/7 wavelet, ICT); for a ratio it encodes 3 to 6 times, at most MAX_TRIALS + 1. A
    lossless encode needs 3 times the frame's bytes in addition. `threads` is not used. Unfit: the codestream is longer
    than `room`. CodecError: the library failed.
    """
    samples = _samples(planes, planes.view(pixels), lossy=setting > 0)
    length = _search(planes, samples, room, setting) if setting > 0 else _encode(planes, samples, room)
    jpeg2000.set_depth(room, planes)
    return length


def decompositions(rows: int, columns: int) -> int:
    """Five, or as many halvings as leave no side above 64 pixels, but not more than the smaller side allows.

    With more, a resolution would be empty, which is legal, but which older releases of OpenJPH decode wrongly.
    """
    wanted = max(USUAL_DECOMPOSITIONS, math.ceil(math.log2(max(rows, columns) / THUMBNAIL_PIXELS)))
    return max(1, min(wanted, min(rows, columns).bit_length() - 1))


def _samples(planes: Planes, values: Samples, lossy: bool) -> Samples:
    """The samples to encode as 8 or 16 bits, so that the codestream is right with `precision` bits in its SIZ.

    Lossless: as a last step the decoder adds half the range to unsigned samples, so half the range is subtracted and
    they are encoded as signed. Wavelet and RCT are the same for both, and the exponents (QCD) of the wider range are
    large enough. Lossy: a quantization step is a fraction of the range in SIZ (E.1.1), so the samples are shifted to
    fill the wider range.
    """
    spare_bits = 8 * planes.sample_bytes - planes.precision
    if spare_bits and lossy:
        values = np.left_shift(values, spare_bits)
    elif spare_bits and not planes.signed:
        values = np.subtract(values.view(f"i{planes.sample_bytes}"), 1 << (planes.precision - 1))
    # Interleaved: the binding has no component transform for planes.
    plane: list[Samples] = list(values)
    return plane[0] if planes.samples == 1 else np.stack(plane, axis=-1)


def _encode(planes: Planes, samples: Samples, room: memoryview, step: float = 0.0) -> int:
    anywhere: Any = room  # any writable buffer will do
    try:
        codestream = imagecodecs.htj2k_encode(
            samples,
            step,
            reversible=not step,
            planar=False,
            rgb=planes.rct,
            resolutions=decompositions(planes.rows, planes.columns),
            tlm=True,
            tilepart=imagecodecs.HTJ2K.TILEPART.RESOLUTIONS,
            out=anywhere,
        )
    except ValueError as error:
        if "output too small" in str(error):
            raise Unfit("compression would make it larger") from error
        raise CodecError(f"OpenJPH could not encode: {error}") from error
    except RuntimeError as error:
        raise CodecError(f"OpenJPH could not encode: {error.__cause__ or error}") from error
    return len(codestream)


def _search(planes: Planes, samples: Samples, room: memoryview, ratio: float) -> int:
    """Encode with the finest quantization step whose codestream is small enough, or with the coarsest; the length.

    A secant search on the logarithms of step and length, which are nearly linear, within the bounds known so far. No
    step is finer than a quarter of a grey level, and no target smaller than MIN_TARGET_BYTES.
    """
    target_bytes = min(max(planes.size_bytes / ratio, MIN_TARGET_BYTES), len(room))
    finest = max(-planes.precision - 2.0, _FINEST)
    fine, coarse = -math.inf, math.inf  # the coarsest step known to be too fine, and the finest one that is not
    trial, slope = _FIRST, _SLOPE
    before = (0.0, 0.0)
    for number in range(MAX_TRIALS):
        length = _length(planes, samples, room, trial)
        excess = math.log2(length / target_bytes)
        if -EXCESS_TOLERANCE <= excess <= 0 or (excess < 0 and trial == finest):
            return length
        if trial == _COARSEST and excess > 0:
            break
        fine, coarse = (trial, coarse) if excess > 0 else (fine, trial)
        if number:
            slope = min((excess - before[1]) / (trial - before[0]), _FLATTEST)
        before = (trial, excess)
        trial -= (excess + EXCESS_TOLERANCE / 2) / slope
        if math.isfinite(coarse - fine):
            margin = (coarse - fine) / 10
            trial = min(max(trial, fine + margin), coarse - margin)
        trial = min(max(trial, finest), _COARSEST)
    return length if before[0] == coarse else _encode(planes, samples, room, 2.0 ** min(coarse, _COARSEST))


def _length(planes: Planes, samples: Samples, room: memoryview, step: float) -> int:
    """The length of a trial; if it does not fit, a length above any target."""
    try:
        return _encode(planes, samples, room, 2.0**step)
    except Unfit:
        return 2 * len(room)
