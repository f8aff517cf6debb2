"""A dataset and its codestreams that do not say the same: who is believed, and what goes on as it came."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames

from leyden.dicom.uids import (
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    JPEG2000_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEGLS_LOSSLESS,
    MADE,
    RLE_LOSSLESS,
    SYNTAXES,
)
from leyden.transcode.pixels import Unfit
from support.objects import real
from support.readers import by_pydicom, read

Transcode = Callable[..., Path]
Image = Callable[..., Path]
LOSSLESS = sorted(uid for uid in MADE if SYNTAXES[uid].encapsulated and not SYNTAXES[uid].lossy)


def noise(*shape: int) -> Any:
    """Of 12 bits."""
    return np.random.default_rng(12).integers(0, 1 << 12, shape)


def test_other_high_bit_in_a_codestream(image: Image, transcode: Transcode) -> None:
    """One that has every bit allocated is decoded, whatever they mean; one of 12 bits may have left some out."""
    pixels = noise(1, 4, 4, 1)
    path = image(pixels << 4, stored=12, high_bit=15)
    whole = transcode(path, JPEG_LOSSLESS_SV1)
    for back in (transcode(whole, EXPLICIT_LE), transcode(transcode(whole, RLE_LOSSLESS), EXPLICIT_LE)):
        assert read(back).PixelData == read(path).PixelData
        assert read(back).HighBit == 15
    with pytest.raises(Unfit, match="High Bit"):
        transcode(whole, JPEG2000_LOSSLESS)
    twelve = transcode(image(pixels, stored=12), JPEG2000_LOSSLESS)
    dataset = read(twelve)
    dataset.HighBit = 15
    dataset.save_as(twelve)
    for target in (EXPLICIT_LE, RLE_LOSSLESS):
        with pytest.raises(Unfit, match=r"High Bit .* fewer bits than Bits Allocated"):
            transcode(twelve, target)


@pytest.mark.parametrize("target", [EXPLICIT_LE, RLE_LOSSLESS])
@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422", "RGB"])
def test_a_component_transform_that_the_dataset_does_not_know_of(
    tmp_path: Path, transcode: Transcode, photometric: str, target: str
) -> None:
    dataset = read(real("examples_jpeg2k.dcm"))  # YBR_RCT, and so it is
    dataset.PhotometricInterpretation = photometric
    dataset.save_as(tmp_path / "renamed.dcm")
    if photometric == "RGB":  # as many encoders leave it
        made = transcode(tmp_path / "renamed.dcm", target)
        assert read(made).PhotometricInterpretation == "RGB"
        assert np.array_equal(by_pydicom(made), by_pydicom(real("examples_jpeg2k.dcm")))
    else:
        with pytest.raises(Unfit, match=f"{photometric}, but a component transform"):
            transcode(tmp_path / "renamed.dcm", target)


# What a lossless syntax does not allow, although its decoder takes it.
LOSSY_IN_FACT = [
    ("JPEGLSNearLossless_08.dcm", JPEGLS_LOSSLESS, "ISO_14495_1"),
    ("JPEG2000.dcm", JPEG2000_LOSSLESS, "ISO_15444_1"),
    ("examples_ybr_color.dcm", JPEG_LOSSLESS_SV1, "ISO_10918_1"),
]


@pytest.mark.parametrize("target", [EXPLICIT_LE, RLE_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K])
@pytest.mark.parametrize(("name", "syntax", "method"), LOSSY_IN_FACT)
def test_a_lossy_codestream_in_a_lossless_syntax_is_lossy(
    tmp_path: Path, transcode: Transcode, name: str, syntax: str, method: str, target: str
) -> None:
    dataset = read(real(name))
    dataset.file_meta.TransferSyntaxUID = syntax
    for keyword in ("LossyImageCompression", "LossyImageCompressionMethod"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.LossyImageCompressionRatio = "5"
    path = tmp_path / "lossless.dcm"
    dataset.save_as(path)
    if target != HTJ2K:
        assert read(transcode(path, target)).LossyImageCompression == "01"
        return
    with pytest.raises(Unfit, match="lossy already"):
        transcode(path, target)
    after = read(transcode(path, target, recompress_lossy=True))
    assert after.LossyImageCompressionMethod == [method, "ISO_15444_15"]
    assert after.SourceImageSequence[-1].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_lossless_codestream_is_not_taken_for_a_lossy_one(image: Image, transcode: Transcode, syntax: str) -> None:
    made = transcode(image(noise(1, 9, 9, 1), stored=12), syntax)
    assert "LossyImageCompression" not in read(transcode(made, EXPLICIT_LE))


@pytest.mark.parametrize("syntax", [uid for uid in LOSSLESS if uid != RLE_LOSSLESS])  # no frame of it has a beginning
def test_frames_of_several_fragments_without_a_table(image: Image, transcode: Transcode, syntax: str) -> None:
    pixels = noise(3, 30, 31, 1)
    path = transcode(image(pixels, stored=12), syntax)
    dataset = read(path)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate(frames, fragments_per_frame=4, has_bot=False)
    dataset.save_as(path)
    assert np.array_equal(by_pydicom(transcode(path, EXPLICIT_LE)), pixels)
