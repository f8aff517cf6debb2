"""Data sets to load a service with: generated ones that look like real images to a codec, or those of a folder.

What a template is: leyden/tune/load.py.
"""

from collections.abc import Iterable
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.filewriter import write_dataset

from leyden.dicom.uids import EXPLICIT_LE
from leyden.tune.load import ROOM, Template, Uids, of_file

CT, CR, TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.13.1.3"


# -- made


def made(kind: str) -> Template:
    """One of KINDS. Raises KeyError."""
    return _image(kind, *KINDS[kind])


KINDS: dict[str, tuple[str, str, int, int, int]] = {
    "small": (CT, "CT", 64, 72, 1),  # 10 KB
    "ct": (CT, "CT", 512, 512, 1),  # 0.5 MB
    "cr": (CR, "CR", 2140, 1760, 1),  # 7.5 MB
    "large": (CR, "CR", 4096, 6144, 1),  # 50 MB
    "cine": (TOMOSYNTHESIS, "MG", 512, 512, 30),  # 16 MB
    "stack": (TOMOSYNTHESIS, "MG", 512, 512, 400),  # 210 MB
    "tomo": (TOMOSYNTHESIS, "MG", 512, 512, 500),  # 262 MB
    "gigabyte": (TOMOSYNTHESIS, "MG", 512, 512, 2000),  # 1.05 GB
    "huge": (TOMOSYNTHESIS, "MG", 512, 512, 4096),  # 2.1 GB
}
"""Name -> SOP class, modality, rows, columns, frames; 16 bits allocated and 12 used, little endian, explicit VR."""


@cache
def _image(kind: str, sop_class: str, modality: str, rows: int, columns: int, frames: int) -> Template:
    header = pydicom.Dataset()
    header.SOPClassUID, header.SOPInstanceUID = sop_class, ROOM
    header.StudyInstanceUID, header.SeriesInstanceUID = "2.25.2024", "2.25.2024.1"
    header.StudyDate, header.StudyTime, header.Modality, header.AccessionNumber = "20260101", "101500", modality, "A1"
    header.PatientID, header.PatientName = "LOAD1", "Load^Made"
    header.StudyID, header.SeriesNumber, header.InstanceNumber = "1", 1, 1
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns, header.BitsAllocated, header.BitsStored, header.HighBit = rows, columns, 16, 12, 11
    header.PixelRepresentation = 0
    if frames > 1:
        header.NumberOfFrames = frames
    different = [_pixels(rows, columns, seed) for seed in range(min(frames, 8))]
    pixels = [different[n % len(different)] for n in range(frames)]
    length = sum(map(len, pixels))
    head = _encoded(header) + b"\xe0\x7f\x10\x00OW\0\0" + length.to_bytes(4, "little")
    return Template(kind, sop_class, EXPLICIT_LE, (head, *pixels), head.index(ROOM.encode()))


def _encoded(header: pydicom.Dataset) -> bytes:
    written = BytesIO()
    stream = pydicom.filebase.DicomIO(written)
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_dataset(stream, header)
    return written.getvalue()


def _pixels(rows: int, columns: int, seed: int) -> bytes:
    """Something round and smooth with quantum noise, as in a slice: lossless JPEG 2000 needs 0.37 of its bytes."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    body = np.clip(1.1 - np.hypot(x, y), 0, None) * 2400 + 200 * np.sin(9 * x) * np.cos(7 * y) + 300
    noise = np.random.default_rng(seed).normal(0, 12, (rows, columns))
    return bytes(np.clip(body + noise, 0, 4095).astype("<u2").tobytes())


def write_raw(folder: Path, kind: str) -> list[Path]:
    """The different frames of a kind, each a file of samples only (rows, columns), 2 bytes, little endian."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for n, frame in enumerate(dict.fromkeys(made(kind).pieces[1:])):
        paths.append(folder / f"{kind}-{n}.raw")
        paths[-1].write_bytes(frame)
    return paths


# -- of a folder


def of_folder(folder: Path) -> list[Template]:
    """Every Part 10 file below `folder` that can be given a new UID, by name."""
    return [of_file(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def templates(words: Iterable[str]) -> list[Template]:
    """For each word: a kind of KINDS, `kind*n` for n of them in a row, or a folder of files."""
    found: list[Template] = []
    for word in words:
        kind, _, times = word.partition("*")
        found += [made(kind)] * int(times or 1) if kind in KINDS else of_folder(Path(word))
    if not found:
        raise ValueError(f"no data sets in {', '.join(words)}")
    return found


def write_files(folder: Path, kind: str, count: int, run: int = 1) -> list[Path]:
    """`count` files of one kind, each with a UID of its own, for load clients that read files."""
    folder.mkdir(parents=True, exist_ok=True)
    uids, template = Uids(run), made(kind)
    return [template.write(folder / f"{n:05}.dcm", uids.next()) for n in range(count)]
