"""DICOM objects for the tests: the real files of the pydicom wheel and of wg04, and objects made from them."""

import lzma
import os
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from leyden.dicom import part10
from leyden.dicom.identity import as_named

PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"
WG04 = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "wg04"


def real(name: str) -> Path:
    """A file of the pydicom wheel; never downloaded."""
    return PYDICOM_FILES / name


def wg04_files(folder: Path) -> list[Path]:
    """The NEMA set as files below `folder`, unpacked; skips the test by name where the set is not there."""
    if not WG04.is_dir():
        pytest.skip(f"the NEMA WG04 images are not at {WG04}")
    paths = []
    for path in sorted(WG04.iterdir()):
        if path.suffix == ".xz":
            unpacked = folder / path.stem
            unpacked.write_bytes(lzma.decompress(path.read_bytes()))
            paths.append(unpacked)
        elif path.suffix == ".dcm":
            paths.append(path)
    return paths


def split(content: bytes) -> tuple[part10.FileMeta, bytes]:
    """The file meta, its UIDs as the dataset says, and the dataset's bytes of a Part 10 file."""
    head = part10.decode_head(content[: 1 << 16])
    assert head is not None
    meta, offset = head
    return as_named(meta, content[offset:]), content[offset:]


def decode(syntax: str, data: bytes) -> pydicom.Dataset:
    """A dataset as pydicom reads it, from its bytes on the wire."""
    meta = part10.FileMeta("1.2.840.10008.5.1.4.1.1.7", "2.25.1", syntax)
    return pydicom.dcmread(BytesIO(part10.encode_head(meta) + data))


@cache
def _noisy_ct(rows: int, columns: int) -> bytes:
    """Signed 16-bit pixels with 12 bits of tissue-like noise: compresses to about half."""
    noise = np.random.default_rng(1).normal(0, 30, (rows, columns))
    ramp = np.linspace(-1000, 2000, rows * columns).reshape(rows, columns)
    return (ramp + noise).astype("<i2").tobytes()


def make_ct(path: Path, number: int, study: int = 1, rows: int = 512, columns: int = 512) -> Path:
    """A CT image of 2 x rows x columns bytes with a UID of its own, written to `path`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"2.25.{1000 + study}.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset(os.fspath(path), {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID = CTImageStorage
    image.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = f"2.25.{1000 + study}"
    image.SeriesInstanceUID = f"2.25.{1000 + study}.1"
    image.Modality = "CT"
    image.PatientID = f"TEST{study}"
    image.PatientName = "Test^Image"
    image.InstanceNumber = number
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = rows, columns
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit = 15
    image.PixelRepresentation = 1
    image.PixelData = _noisy_ct(rows, columns)
    image.save_as(path)
    return path


def make_cts(folder: Path, count: int, study: int = 1, rows: int = 512, columns: int = 512) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    return [make_ct(folder / f"ct{n:04}.dcm", n, study, rows, columns) for n in range(1, count + 1)]
