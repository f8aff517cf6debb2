"""Headers for the tests of the rules: real Part 10 bytes, peeked at as the planner does."""

from io import BytesIO

import pydicom
from pydicom.uid import ExplicitVRLittleEndian

from leyden.dicom.header import Header, peek
from leyden.dicom.part10 import FileMeta, encode_head

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def encode(dataset: pydicom.Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """The dataset's bytes, little endian."""
    stream = BytesIO()
    implicit = syntax == "1.2.840.10008.1.2"
    pydicom.filewriter.write_dataset(_opened(stream, implicit), dataset)
    return stream.getvalue()


def _opened(stream: BytesIO, implicit: bool) -> pydicom.filebase.DicomIO:
    opened = pydicom.filebase.DicomIO(stream)
    opened.is_implicit_VR, opened.is_little_endian = implicit, True
    return opened


def header_of(
    dataset: pydicom.Dataset,
    *,
    syntax: str = ExplicitVRLittleEndian,
    sop_class: str = SECONDARY_CAPTURE,
    sop_instance: str = "2.25.7",
    calling: str = "CT1",
    called: str = "IMAGEPACS",
    cut_bytes: int = 0,
) -> Header:
    """What the planner sees of `dataset` as received; `cut_bytes` are missing at its end."""
    meta = FileMeta(sop_class, sop_instance, syntax, source=calling, sending=calling, receiving=called)
    data = encode(dataset, syntax)
    return header_from(meta, data[: len(data) - cut_bytes])


def header_from(meta: FileMeta, data: bytes) -> Header:
    content = encode_head(meta) + data
    return peek(lambda offset, length: content[offset : offset + length], len(content))
