"""The images that codecs are measured on: frames of DICOM files, or of one that the pydicom wheel carries.

pydicom reads them, because whatever somebody has in a folder is welcome here. Only uncompressed pixels count.
"""

import lzma
import warnings
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from leyden.transcode.pixels import Description
from leyden.tune import load

IMAGES_MAX, PIXELS_MAX_BYTES = 16, 64 << 20
CT_SIDE = 128  # pixels, of the image that the wheel carries
CT_BYTES = 2 * CT_SIDE * CT_SIDE


class Image(msgspec.Struct, frozen=True):
    """The first frame of an uncompressed object, native."""

    name: str
    described: Description
    native: bytes


def of_files(paths: Iterable[Path]) -> list[Image]:
    """The uncompressed images among these files, .dcm or .dcm.xz, a few of them. OSError."""
    found: list[Image] = []
    total_bytes = 0
    for path in paths:
        image = _of_file(path)
        if image is not None:
            total_bytes += len(image.native)
            found.append(image)
        if len(found) == IMAGES_MAX or total_bytes > PIXELS_MAX_BYTES:
            break
    return found


def _of_file(path: Path) -> Image | None:
    content = path.read_bytes()
    if path.suffix == ".xz":
        content = lzma.decompress(content)
    try:
        with warnings.catch_warnings(action="ignore"):
            dataset = pydicom.dcmread(BytesIO(content), force=True)
        if dataset.file_meta.get("TransferSyntaxUID") not in (EXPLICIT_LE, IMPLICIT_LE) or "PixelData" not in dataset:
            return None
        described = Description(
            dataset.Rows, dataset.Columns, dataset.SamplesPerPixel, dataset.BitsAllocated, dataset.BitsStored,
            dataset.HighBit, bool(dataset.PixelRepresentation), dataset.PhotometricInterpretation,
            dataset.get("PlanarConfiguration", 0),
        )  # fmt: skip
        native = bytes(dataset.PixelData[: described.frame_bytes])
    except (InvalidDicomError, AttributeError, ValueError, TypeError, EOFError, NotImplementedError):
        return None  # no DICOM, or no image that can be told
    return Image(path.name.partition(".")[0], described, native) if len(native) == described.frame_bytes else None


def bundled() -> list[Image]:
    """The CT of the pydicom wheel as 512 x 512: mirrored four by four, so that its noise is that of a scanner."""
    return [of_dataset("CT", _ct(4))]


def of_dataset(name: str, ct: pydicom.Dataset) -> Image:
    described = Description(
        ct.Rows, ct.Columns, 1, 16, ct.BitsStored, ct.HighBit, bool(ct.PixelRepresentation), "MONOCHROME2"
    )
    return Image(name, described, bytes(ct.PixelData))


def ct_of(size_bytes: float) -> load.Template:
    """The same CT, mirrored so often that its pixels have about so many bytes, as something to send."""
    times = max(1, round((size_bytes / CT_BYTES) ** 0.5))
    written = BytesIO()
    _ct(times).save_as(written)
    return load.of_content(f"ct-{times}", written.getvalue())


def _ct(times: int) -> pydicom.FileDataset:
    ct = pydicom.dcmread(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm")
    del ct[0xFFFCFFFC]  # Data Set Trailing Padding
    tile = np.frombuffer(ct.PixelData, "<i2").reshape(ct.Rows, ct.Columns)
    row = np.concatenate([tile[:, :: -1 if n % 2 else 1] for n in range(times)], axis=1)
    whole = np.concatenate([row[:: -1 if n % 2 else 1] for n in range(times)])
    ct.Rows, ct.Columns = whole.shape
    ct.PixelData = whole.tobytes()
    return ct
