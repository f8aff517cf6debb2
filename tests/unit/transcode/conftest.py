"""An arena and a bench for one process, and DICOM files made by pydicom."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ImplicitVRLittleEndian, generate_uid

from leyden.dicom.uids import EXPLICIT_LE, SYNTAXES
from leyden.transcode import job
from leyden.transcode.arena import Arena
from leyden.transcode.source import Source
from support.transcoding import Bench

ARENA_BYTES = 16 << 20
MAX_FRAME_BYTES = 8 << 20


@pytest.fixture
def arena_fd() -> Iterator[int]:
    fd = os.memfd_create("test-arena")
    os.ftruncate(fd, ARENA_BYTES)
    yield fd
    os.close(fd)


@pytest.fixture
def arena(arena_fd: int) -> Iterator[Arena]:
    arena = Arena(arena_fd, 0, 2)
    yield arena
    another = Arena(arena_fd, 9, 10)
    leased = another.leased()
    another.close()
    arena.close()
    assert leased == 0, "a lease was not given back"


@pytest.fixture
def bench(arena: Arena) -> Bench:
    return Bench(
        arena=arena,
        workers=2,
        wake=lambda number: None,
        sleep=lambda timeout_s: pytest.fail("waits for a helper that is not there"),
        alive=lambda size_bytes: None,
        threads=lambda size_bytes: 0,
        between_frames=lambda: None,
    )


@pytest.fixture
def transcode(bench: Bench, tmp_path: Path) -> Callable[..., Path]:
    """transcode(path, syntax UID) -> the path of the new file."""

    def run(path: Path, syntax: str, max_frame_bytes: int = MAX_FRAME_BYTES, between: Any = None, **terms: Any) -> Path:
        made = tmp_path / f"{path.name}.{syntax}.made"
        source = Source(path)
        try:
            with open(made, "w+b") as out:
                with_whom = replace(bench, between_frames=between) if between else bench
                job.make(source, SYNTAXES[syntax], out, with_whom, job.Terms(max_frame_bytes, **terms))
        finally:
            source.close()
        return made

    return run


@pytest.fixture
def image(tmp_path: Path) -> Callable[..., Path]:
    """image(pixels: frames x rows x columns x samples, …) -> the path of a Part 10 file with exactly these pixels."""

    def make(
        pixels: Any,
        *,
        stored: int,
        allocated: int = 16,
        signed: bool = False,
        photometric: str = "",
        planar: int = 0,
        syntax: str = EXPLICIT_LE,
        high_bit: int | None = None,
        name: str = "image.dcm",
        extra_bytes: bytes = b"",
    ) -> Path:
        frames, rows, columns, samples = pixels.shape
        dataset = Dataset()
        dataset.SOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = generate_uid()
        dataset.PatientName = "Test^Image"
        dataset.add_new(0x00091001, "UN", b"private\0")
        dataset.add_new(0x00090010, "LO", "LEYDEN TEST")
        dataset.SamplesPerPixel = samples
        dataset.PhotometricInterpretation = photometric or ("MONOCHROME2" if samples == 1 else "RGB")
        if samples > 1:
            dataset.PlanarConfiguration = planar
        if frames > 1:
            dataset.NumberOfFrames = frames
        dataset.Rows, dataset.Columns = rows, columns
        dataset.BitsAllocated, dataset.BitsStored = allocated, stored
        dataset.HighBit = stored - 1 if high_bit is None else high_bit
        dataset.PixelRepresentation = int(signed)
        native = pixels.transpose(0, 3, 1, 2) if planar else pixels
        dtype = np.dtype(f"{'i' if signed else 'u'}{allocated // 8}")
        data = np.ascontiguousarray(native).astype(dtype).tobytes() + extra_bytes
        data += b"\0" * (len(data) % 2)
        if syntax == ExplicitVRBigEndian:  # pydicom writes OW as it is
            data = np.frombuffer(data, np.uint16).byteswap().tobytes()
        dataset.add_new(0x7FE00010, "OW", data)
        dataset.add_new(0xFFFCFFFC, "OB", b"trailing\0\0")
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.SourceApplicationEntityTitle = "MODALITY"
        path = tmp_path / name
        little, implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
        dataset.save_as(path, enforce_file_format=True, little_endian=little, implicit_vr=implicit)
        return path

    return make
