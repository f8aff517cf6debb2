"""Data sets to load a service with: generated ones that look like real images to a codec, or those of a folder.

A Template is a data set as it goes over the wire, in pieces, with room for a SOP Instance UID of fixed length. For the
next object only these UID_BYTES bytes are overwritten. Everything else stays as it was, so all objects of a template
are of one study. Deliberately absent: data sets that are deflated or big endian.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.filewriter import write_dataset

from leyden.dicom.elements import ByteSource, encoding_of, level
from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head, encode_head
from leyden.dicom.uids import EXPLICIT_LE, SYNTAXES

UID_BYTES = 44  # 2.25. and 39 digits: the longest UUID, and of even length
_ROOM = "2.25.1" + "0" * (UID_BYTES - 6)
_SOP_INSTANCE_UID = 0x00080018
CT, CR, TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.13.1.3"


@dataclass(frozen=True, slots=True)
class Template:
    """A data set in pieces; the SOP Instance UID stands `uid_at` bytes from the start, within the first one."""

    name: str
    sop_class: str
    syntax: str
    pieces: tuple[bytes, ...]
    uid_at: int

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.pieces))

    def in_memory(self) -> int:
        """A descriptor of a file in memory that holds the data set."""
        fd = os.memfd_create(self.name)
        for piece in self.pieces:
            _write_all(fd, piece)
        return fd

    def write(self, path: Path, uid: str) -> Path:
        """One object as a Part 10 file."""
        first = bytearray(self.pieces[0])
        first[self.uid_at : self.uid_at + UID_BYTES] = uid.encode("ascii")
        with path.open("wb") as file:
            file.write(encode_head(FileMeta(self.sop_class, uid, self.syntax)))
            file.writelines([first, *self.pieces[1:]])
        return path


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Uids:
    """New SOP Instance UIDs: `run` (up to 10 digits) and `process` (up to 4) tell where they come from."""

    def __init__(self, run: int, process: int = 0) -> None:
        self._prefix = f"2.25.1{run % 10**10:010}{process % 10**4:04}"
        self._count = 0

    def next(self) -> str:
        self._count += 1
        return f"{self._prefix}{self._count:0{UID_BYTES - len(self._prefix)}}"


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
    header.SOPClassUID, header.SOPInstanceUID = sop_class, _ROOM
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
    return Template(kind, sop_class, EXPLICIT_LE, (head, *pixels), head.index(_ROOM.encode()))


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
    return [from_file(path) for path in sorted(folder.rglob("*")) if path.is_file()]


def from_file(path: Path) -> Template:
    """The data set of a file, with room for a UID. Raises Corrupt, and ValueError for one without a UID to replace."""
    content = path.read_bytes()
    head = decode_head(content[:HEAD_MAX_BYTES])
    if head is None:
        raise ValueError(f"{path.name} is cut off")
    meta, start = head
    syntax = SYNTAXES.get(meta.transfer_syntax_uid)
    if syntax is None or syntax.deflated or syntax.big_endian:
        raise ValueError(f"{path.name}: its transfer syntax is not for loads")
    data, encoding = content[start:], encoding_of(syntax)
    elements = level(
        ByteSource(lambda at, length: data[at : at + length], len(data), data[:65536]), 0, len(data), encoding
    )
    for tag, _, _, value, length, _ in elements:
        if tag == _SOP_INSTANCE_UID:
            size = UID_BYTES.to_bytes(2 if encoding.explicit else 4, "little")
            before = data[: value - len(size)] + size
            pieces = (before + _ROOM.encode() + data[value + length :],)
            return Template(path.name, meta.sop_class_uid, meta.transfer_syntax_uid, pieces, len(before))
    raise ValueError(f"{path.name} has no SOP Instance UID")


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


def mean_bytes(these: Sequence[Template]) -> float:
    return sum(template.size_bytes for template in these) / len(these)
