"""A dataset and codestreams that contradict each other: which is believed, and what goes on as it came."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames

from leyden.dicom.uids import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    HTJ2K,
    HTJ2K_LOSSLESS,
    IMPLICIT_LE,
    JPEG2000,
    JPEG2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEGLS_LOSSLESS,
    JPEGLS_NEAR_LOSSLESS,
    MADE,
    RLE_LOSSLESS,
    SYNTAXES,
)
from leyden.errors import Corrupt
from leyden.transcode.codecs import CODECS, decoder
from leyden.transcode.pixels import Unfit
from leyden.transcode.source import CHUNK_BYTES
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
def test_a_component_transform_that_the_dataset_does_not_name(
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


def of_frames(path: Path, frames: list[bytes], syntax: str) -> Path:
    """The object with other codestreams in it."""
    dataset = read(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(frames)
    made = path.with_name("of_frames.dcm")
    dataset.save_as(made)
    return made


def codestreams(path: Path, count: int = 1) -> list[bytes]:
    return list(generate_frames(read(path).PixelData, number_of_frames=count))


@pytest.mark.parametrize("target", [EXPLICIT_LE, RLE_LOSSLESS])
@pytest.mark.parametrize("syntax", [JPEG2000_LOSSLESS, JPEGLS_LOSSLESS, JPEG_LOSSLESS_SV1])
def test_a_lossy_frame_behind_a_lossless_one(image: Image, transcode: Transcode, syntax: str, target: str) -> None:
    """It is found after the elements before the pixels were written; in a lossy syntax these say nothing wrong."""
    lossy_syntax = {JPEG2000_LOSSLESS: JPEG2000, JPEGLS_LOSSLESS: JPEGLS_NEAR_LOSSLESS}.get(syntax, JPEG_BASELINE)
    path = image(noise(2, 40, 30, 1) >> 4, stored=8, allocated=8)
    lossless, lossy = transcode(path, syntax), transcode(path, lossy_syntax)
    (a, _), (_, b) = codestreams(lossless, 2), codestreams(lossy, 2)
    with pytest.raises(Unfit, match="different kinds"):
        transcode(of_frames(lossless, [a, b], syntax), target)
    for frames, named in (([b, a], syntax), ([a, b], lossy_syntax)):
        assert read(transcode(of_frames(lossless, frames, named), target)).LossyImageCompression == "01"


@pytest.mark.parametrize("target", [EXPLICIT_LE, HTJ2K_LOSSLESS])
def test_a_frame_of_another_kind(image: Image, transcode: Transcode, target: str) -> None:
    path = image(noise(2, 9, 9, 3) >> 4, stored=8, allocated=8)
    first, second = codestreams(transcode(path, JPEG2000_LOSSLESS), 2)
    plain = image(noise(1, 9, 9, 3) >> 4, stored=8, allocated=8, photometric="YBR_FULL", name="plain.dcm")
    small = image(noise(1, 9, 8, 3) >> 4, stored=8, allocated=8, name="small.dcm")
    for other in (plain, small):
        odd = of_frames(
            transcode(path, JPEG2000_LOSSLESS),
            [first, *codestreams(transcode(other, JPEG2000_LOSSLESS))],
            JPEG2000_LOSSLESS,
        )
        with pytest.raises(Corrupt, match="different kinds"):
            transcode(odd, target)
    whole = of_frames(transcode(path, JPEG2000_LOSSLESS), [first, second], JPEG2000_LOSSLESS)
    assert np.array_equal(by_pydicom(transcode(whole, target)), by_pydicom(path))


@pytest.mark.parametrize("in_tile_part", [False, True])
def test_the_other_wavelet_of_a_component(image: Image, transcode: Transcode, in_tile_part: bool) -> None:
    """COD says 5/3, but a COC segment says 9/7, and so OpenJPEG reads it."""
    lossy = transcode(image(noise(1, 64, 64, 1) // 99 * 99, stored=12), JPEG2000)
    codestream = bytearray(codestreams(lossy)[0])
    cod = codestream.index(b"\xff\x52")
    end = cod + 2 + int.from_bytes(codestream[cod + 2 : cod + 4], "big")
    coding = bytes(codestream[cod + 9 : end])
    assert coding[4] == 0
    codestream[cod + 13] = 1
    coc = b"\xff\x53" + (4 + len(coding)).to_bytes(2, "big") + b"\0\0" + coding
    at = end
    if in_tile_part:
        part = codestream.index(b"\xff\x90")
        at = part + 12
        length = int.from_bytes(codestream[part + 6 : part + 10], "big")
        codestream[part + 6 : part + 10] = (length + len(coc)).to_bytes(4, "big")
    codestream[at:at] = coc
    path = of_frames(lossy, [bytes(codestream)], JPEG2000_LOSSLESS)
    dataset = read(path)
    del dataset.LossyImageCompression, dataset.LossyImageCompressionMethod, dataset.LossyImageCompressionRatio
    dataset.save_as(path)
    made = transcode(path, EXPLICIT_LE)
    assert read(made).LossyImageCompression == "01"
    assert np.array_equal(by_pydicom(made), by_pydicom(lossy)), "the COC was obeyed"
    with pytest.raises(Unfit, match="lossy already"):
        transcode(path, JPEG2000)


@pytest.mark.parametrize("target", [EXPLICIT_LE, RLE_LOSSLESS])
@pytest.mark.parametrize("profile_bytes", [60_000, 150_000, 2_000_000])
def test_a_colour_profile_larger_than_its_image(
    image: Image, transcode: Transcode, profile_bytes: int, target: str
) -> None:
    path = transcode(image(noise(2, 64, 64, 3) >> 4, stored=8, allocated=8), JPEG_BASELINE)
    frames = codestreams(path, 2)
    rest, profile = profile_bytes, b""
    while rest > 0:
        piece = np.random.default_rng(rest).bytes(min(rest, 65_000))
        profile += b"\xff\xe2" + (len(piece) + 16).to_bytes(2, "big") + b"ICC_PROFILE\0\1\1" + piece
        rest -= len(piece)
    odd = of_frames(path, [frame[:2] + profile + frame[2:] for frame in frames], JPEG_BASELINE)
    assert np.array_equal(by_pydicom(transcode(odd, target)), by_pydicom(transcode(path, target)))


def test_a_codestream_that_is_longer_than_any_header(image: Image, transcode: Transcode) -> None:
    path = transcode(image(noise(1, 64, 64, 1), stored=12), JPEG2000_LOSSLESS)
    with pytest.raises(Corrupt, match="far longer"):
        transcode(of_frames(path, [codestreams(path)[0] + bytes(18 << 20)], JPEG2000_LOSSLESS), EXPLICIT_LE)


@pytest.mark.parametrize(
    ("syntax", "target"),
    [(EXPLICIT_LE, JPEGLS_LOSSLESS), (JPEG2000_LOSSLESS, JPEGLS_LOSSLESS), (JPEG2000_LOSSLESS, EXPLICIT_LE)],
)
@pytest.mark.parametrize("frames", [0, -1, 1 << 21])
def test_an_impossible_number_of_frames(
    image: Image, transcode: Transcode, frames: int, syntax: str, target: str
) -> None:
    path = image(noise(1, 9, 9, 1), stored=12)
    dataset = read(path if syntax == EXPLICIT_LE else transcode(path, syntax))
    dataset.NumberOfFrames = frames
    dataset.save_as(path)
    with pytest.raises(Unfit, match="Number of Frames"):
        transcode(path, target)


@pytest.mark.parametrize("target", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE, JPEGLS_LOSSLESS])
@pytest.mark.parametrize("frames", [1, 3])
def test_the_file_may_end_after_a_whole_fragment(image: Image, transcode: Transcode, frames: int, target: str) -> None:
    path = transcode(image(noise(frames, 9, 9, 1), stored=12), JPEG2000_LOSSLESS)
    data = path.read_bytes()
    whole = data[: data.rindex(b"\xfe\xff\xdd\xe0")]
    path.write_bytes(whole)
    made = transcode(path, target)
    assert np.array_equal(by_pydicom(made).ravel(), noise(frames, 9, 9, 1).ravel())
    assert transcode(made, JPEG2000_LOSSLESS).read_bytes().endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    path.write_bytes(whole[:-2])
    with pytest.raises(Corrupt, match="longer than the file"):
        transcode(path, target)


def test_excess_bytes_are_read_in_pieces(image: Image, transcode: Transcode, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, lengths, pread = np.zeros((1, 2000, 2000, 1)), list[int](), os.pread

    def noted(fd: int, length: int, offset: int) -> bytes:
        lengths.append(length)
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", noted)
    excess = bytearray(3_500_000)
    assert transcode(image(pixels, stored=8, allocated=8, extra_bytes=bytes(excess)), RLE_LOSSLESS).exists()
    for at in (0, 1 << 20, len(excess) - 1):
        excess[at] = 1
        with pytest.raises(Unfit, match="no padding of zeros"):
            transcode(image(pixels, stored=8, allocated=8, extra_bytes=bytes(excess)), RLE_LOSSLESS)
        excess[at] = 0
    assert max(lengths) <= CHUNK_BYTES


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_lossless_codestream_is_not_taken_for_a_lossy_one(image: Image, transcode: Transcode, syntax: str) -> None:
    made = transcode(image(noise(1, 9, 9, 1), stored=12), syntax)
    assert "LossyImageCompression" not in read(transcode(made, EXPLICIT_LE))


@pytest.mark.parametrize("syntax", [uid for uid in LOSSLESS if CODECS[decoder(uid) or 0].begins])
def test_frames_of_several_fragments_without_a_table(image: Image, transcode: Transcode, syntax: str) -> None:
    pixels = noise(3, 30, 31, 1)
    path = transcode(image(pixels, stored=12), syntax)
    dataset = read(path)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=3))
    dataset.PixelData = encapsulate(frames, fragments_per_frame=4, has_bot=False)
    dataset.save_as(path)
    assert np.array_equal(by_pydicom(transcode(path, EXPLICIT_LE)), pixels)
