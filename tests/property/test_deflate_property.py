"""Deflated frames, whatever the shape: the way there and back changes no bit, and no stream does harm."""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset

from leyden.dicom.uids import DEFLATED_FRAMES, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, RLE_LOSSLESS
from leyden.errors import Corrupt
from leyden.transcode import deflate, job
from leyden.transcode.arena import Arena
from leyden.transcode.pixels import Planes
from support.readers import by_pydicom, read
from support.transcoding import Bench, make

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
TERMS = job.Terms(1 << 20)
WAYS = {
    1: (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE),
    8: (EXPLICIT_BE, RLE_LOSSLESS),
    16: (EXPLICIT_BE, RLE_LOSSLESS),
    32: (IMPLICIT_LE, RLE_LOSSLESS),
}


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    fd = os.memfd_create("test-arena")
    os.ftruncate(fd, 4 << 20)
    arena = Arena(fd)
    os.close(fd)
    yield arena
    arena.close()


def written(path: Path, pixels: Any, bits: int, planar: int) -> Path:
    """`pixels`: frames, rows, columns, samples."""
    frames, rows, columns, samples = pixels.shape
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = EXPLICIT_LE
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = SECONDARY_CAPTURE
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = "2.25.1"
    ds.NumberOfFrames, ds.Rows, ds.Columns, ds.SamplesPerPixel = frames, rows, columns, samples
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits, bits - 1, 0
    ds.PhotometricInterpretation = "MONOCHROME2" if samples == 1 else "RGB"
    if samples > 1:
        ds.PlanarConfiguration = planar
    native = pixels.transpose(0, 3, 1, 2) if planar else pixels
    if bits == 1:
        data = np.packbits(native.astype(np.uint8), bitorder="little").tobytes()
    else:
        data = np.ascontiguousarray(native).astype(f"<u{bits // 8}").tobytes()
    ds.add_new(0x7FE00010, "OB" if bits <= 8 else "OW", data + b"\0" * (len(data) % 2))
    ds.save_as(path, enforce_file_format=True)
    return path


@given(
    st.sampled_from((1, 8, 16, 32)), st.integers(1, 9), st.integers(1, 11), st.integers(1, 11), st.sampled_from((1, 3)),
    st.integers(0, 1), st.randoms(use_true_random=False),
)  # fmt: skip
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_deflated_frames_decode_to_the_pixels_that_came_in(
    tmp_path: Path,
    arena: Arena,
    bits: int,
    frames: int,
    rows: int,
    columns: int,
    samples: int,
    planar: int,
    random: Any,
) -> None:
    """Compressed images decode to exactly the pixels that came in (README.md)."""
    samples = 1 if bits == 1 else samples
    planar = planar if samples > 1 else 0
    pixels = np.random.default_rng(random.randrange(1 << 32)).integers(0, 1 << bits, (frames, rows, columns, samples))
    path, made, other, back = (tmp_path / name for name in ("given", "made", "other", "back"))
    written(path, pixels, bits, planar)
    bench = Bench(arena)
    make(path, made, DEFLATED_FRAMES, bench, TERMS)
    assert np.array_equal(by_pydicom(made), pixels)
    way = random.choice(WAYS[bits])
    make(made, other, way, bench, TERMS)
    if way != EXPLICIT_LE:
        make(other, back, EXPLICIT_LE, bench, TERMS)
    else:
        back = other
    assert np.array_equal(by_pydicom(back), pixels)
    assert planar or read(back).PixelData == read(path).PixelData


SIZES_BYTES = (12, 13, 14, 15, 98, 99, 100, 197, 198, 199)  # those of the frames below, and next to them


@given(
    st.sampled_from(SIZES_BYTES).flatmap(lambda size: st.binary(min_size=size, max_size=size)) | st.binary(max_size=99),
    st.booleans(),
    st.sampled_from((1, 8, 16)),
)
@settings(max_examples=300, deadline=None)
def test_any_stream_is_a_frame_or_corrupt(data: bytes, deflated: bool, precision: int) -> None:
    """zlib "tells where a stream ends, inflates no further than a frame" (DECISIONS.md 59): all else is Corrupt."""
    planes = Planes(1, 9, 11, precision)
    size_bytes = 13 if precision == 1 else planes.size_bytes
    pixels = memoryview(bytearray(planes.size_bytes))
    stream = zlib.compressobj(wbits=-15)
    given_stream = stream.compress(data) + stream.flush() if deflated else data
    whole = deflated and data[size_bytes:] in (b"", b"\0"[: size_bytes % 2]) and len(data) >= size_bytes
    try:
        deflate.decode(memoryview(given_stream), planes, pixels)
    except Corrupt:
        assert not whole
    else:
        assert whole or not deflated
