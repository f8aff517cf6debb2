"""Rectangles made black, in files that pydicom writes and reads, for each kind of pixels."""

import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from leyden.dicom.header import peek
from leyden.transcode.blank import Rectangle, blank
from leyden.transcode.pixels import Unfit

ROWS, COLUMNS = 20, 30


def image(
    photometric: str = "MONOCHROME2",
    bits: int = 8,
    stored: int = 0,
    *,
    signed: bool = False,
    planar: int = 0,
    frames: int = 1,
) -> Dataset:
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.2"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = "1.2.3"
    samples = 3 if photometric in ("RGB", "YBR_FULL", "YBR_FULL_422") else 1
    stored = stored or bits
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = ROWS, COLUMNS, samples, photometric
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = bits, stored, stored - 1, int(signed)
    if samples > 1:
        made.PlanarConfiguration = planar
    if frames > 1:
        made.NumberOfFrames = frames
    low, high = (-(1 << stored - 1), 1 << stored - 1) if signed else (0, 1 << stored)
    values = np.random.default_rng(7).integers(low + 1, high - 1, frames * samples * ROWS * COLUMNS)
    made.PixelData = values.astype(f"<{'i' if signed else 'u'}{bits // 8}").tobytes()
    made["PixelData"].VR = "OB" if bits == 8 else "OW"
    return made


def halved() -> Dataset:
    """An image whose chroma is stored for every second pixel only."""
    made = image("YBR_FULL_422")
    made.PixelData = made.PixelData[: ROWS * COLUMNS * 2]
    return made


def blanked(made: Dataset, folder: Path, *rectangles: Rectangle) -> tuple[np.ndarray, np.ndarray, Dataset]:
    """The pixels before and after, and the dataset after."""
    path = folder / "image.dcm"
    made.save_as(path, enforce_file_format=True)
    before = pixel_array(pydicom.dcmread(path), raw=True)
    fd = os.open(path, os.O_RDWR)
    try:
        header = peek(lambda offset, length: os.pread(fd, length, offset), os.fstat(fd).st_size)
        blank(fd, header, rectangles)
    finally:
        os.close(fd)
    after = pydicom.dcmread(path)
    return before, pixel_array(after, raw=True), after


INSIDE = (3, 4, 5, 6)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(
    ("made", "black"),
    [
        ({}, 0),
        ({"bits": 16, "stored": 12}, 0),
        ({"bits": 16, "stored": 12, "signed": True}, -2048),
        ({"bits": 32}, 0),
        ({"photometric": "MONOCHROME1"}, 255),
        ({"photometric": "MONOCHROME1", "bits": 16, "stored": 12}, 4095),
        ({"photometric": "MONOCHROME1", "bits": 16, "signed": True}, 32767),
        ({"photometric": "RGB"}, (0, 0, 0)),
        ({"photometric": "RGB", "planar": 1}, (0, 0, 0)),
        ({"photometric": "YBR_FULL"}, (0, 128, 128)),
        ({"photometric": "YBR_FULL", "planar": 1}, (0, 128, 128)),
    ],
    ids=str,
)
def test_a_rectangle_becomes_black_in_each_frame_and_nothing_else_changes(
    made: dict[str, object], black: object, frames: int, tmp_path: Path
) -> None:
    before, after, _ = blanked(image(frames=frames, **made), tmp_path, INSIDE, (0, 18, COLUMNS, 2))  # type: ignore[arg-type]
    shape = (frames, ROWS, COLUMNS)
    before, after = (each.reshape(*shape, *each.shape[len(shape) - (frames == 1) :]) for each in (before, after))
    covered = np.zeros((ROWS, COLUMNS), bool)
    covered[4:10, 3:8] = covered[18:20, :] = True
    assert (after[:, covered] == black).all()
    assert np.array_equal(after[:, ~covered], before[:, ~covered])
    assert not (before[:, covered] == black).all()


@pytest.mark.parametrize(("bits", "first"), [(8, 0), (16, 0), (16, 5)])
def test_of_a_palette_the_darkest_colour_is_black(bits: int, first: int, tmp_path: Path) -> None:
    made = image("PALETTE COLOR")
    table = np.full(200, 60000 if bits == 16 else 250)
    table[77] = 3
    for colour in ("Red", "Green", "Blue"):
        setattr(made, f"{colour}PaletteColorLookupTableDescriptor", [200, first, bits])
        data = table.astype("<u2" if bits == 16 else "u1").tobytes()
        setattr(made, f"{colour}PaletteColorLookupTableData", data)
    _, after, _ = blanked(made, tmp_path, INSIDE)
    assert (after[4:10, 3:8] == first + 77).all()


@pytest.mark.parametrize(
    ("made", "rectangle", "why"),
    [
        (image(), (0, 0, COLUMNS + 1, 1), "is not within the image of 30 x 20"),
        (image(), (0, ROWS, 1, 1), "is not within the image"),
        (halved(), INSIDE, "of which it is not known what is black"),
        (image("PALETTE COLOR"), INSIDE, "a palette that is not there"),
    ],
)
def test_what_is_not_sure_is_not_done(made: Dataset, rectangle: Rectangle, why: str, tmp_path: Path) -> None:
    with pytest.raises(Unfit, match=why):
        blanked(made, tmp_path, rectangle)


@pytest.mark.parametrize("keyword", ["HighBit", "BitsStored", "Rows", "NumberOfFrames"])
def test_a_dataset_that_contradicts_itself_is_not_done(keyword: str, tmp_path: Path) -> None:
    made = image(bits=16, stored=12, frames=3)
    wrong = {"HighBit": 15, "BitsStored": 17, "Rows": 4 * ROWS, "NumberOfFrames": 2}
    setattr(made, keyword, wrong[keyword])
    path = tmp_path / "image.dcm"
    made.save_as(path, enforce_file_format=True)
    with open(path, "r+b") as file:
        header = peek(lambda offset, length: os.pread(file.fileno(), length, offset), path.stat().st_size)
        before = path.read_bytes()
        with pytest.raises(Unfit):
            blank(file.fileno(), header, [INSIDE])
        assert path.read_bytes() == before
