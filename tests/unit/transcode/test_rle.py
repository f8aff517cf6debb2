"""RLE of our own, read by DCMTK, GDCM, pylibjpeg-rle and pydicom; what others write, by us."""

import contextlib
import resource
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import rle as independent
from msgspec.structs import replace
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

from leyden.errors import Corrupt
from leyden.transcode import rle
from leyden.transcode.pixels import Description, Planes, Unfit
from support.damage import survives
from support.peers import run_dcmtk

GREY = Description(37, 41, 1, 16, 12, 11, False, "MONOCHROME2")
RGB = Description(37, 41, 3, 8, 8, 7, False, "RGB")


def mixed(planes: Planes, seed: int = 1) -> memoryview:
    """Any bits, in runs and without."""
    random = np.random.default_rng(seed)
    pixels = random.bytes(planes.size_bytes // 2)
    while len(pixels) < planes.size_bytes:
        pixels += random.bytes(1) * int(random.integers(1, 300))
    return memoryview(bytearray(pixels[: planes.size_bytes]))


def room_for(planes: Planes) -> memoryview:
    return memoryview(bytearray(2 * planes.size_bytes + 128))


def encoded(planes: Planes, pixels: memoryview) -> memoryview:
    room = room_for(planes)
    return room[: rle.encode(planes, pixels, room)]


def decoded(planes: Planes, codestream: memoryview | bytes) -> bytes:
    pixels = memoryview(bytearray(planes.size_bytes))
    rle.decode(memoryview(codestream), planes, pixels)
    return bytes(pixels)


def part10(path: Path, d: Description, codestream: memoryview | None = None, native: bytes = b"") -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = RLELossless if codestream is not None else ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = d.rows, d.columns, d.samples
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = d.bits_allocated, d.bits_stored, d.high_bit
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = int(d.signed), d.photometric
    if d.samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = native + b"\0" * (len(native) % 2) if codestream is None else encapsulate([bytes(codestream)])
    dataset["PixelData"].VR = "OW" if codestream is None else "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def by_dcmtk(path: Path) -> bytes:
    raw = path.with_suffix(".raw.dcm")
    run_dcmtk("dcmdrle", str(path), str(raw)).check_returncode()
    return bytes(pydicom.dcmread(raw).PixelData)


BY_GDCM = """
import sys, gdcm
reader = gdcm.ImageReader()
reader.SetFileName(sys.argv[1])
assert reader.Read()
sys.stdout.buffer.write(reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape"))
"""


def by_gdcm(path: Path) -> bytes:
    """In a child, as it aborts where others raise."""
    return subprocess.run([sys.executable, "-c", BY_GDCM, path], check=True, capture_output=True, timeout=60).stdout


def interleaved(planes: Planes, pixels: memoryview) -> bytes:
    return np.ascontiguousarray(planes.view(pixels).transpose(1, 2, 0)).tobytes()


CASES = [
    GREY,
    replace(GREY, signed=True),
    replace(GREY, bits_stored=16, high_bit=15, signed=True),
    replace(GREY, high_bit=15),
    replace(GREY, bits_allocated=8, bits_stored=8, high_bit=7),
    replace(GREY, bits_allocated=8, bits_stored=5, high_bit=4),
    replace(GREY, bits_allocated=32, bits_stored=32, high_bit=31),
    replace(GREY, rows=1, columns=1),
    replace(GREY, rows=3, columns=500),
    RGB,
    replace(RGB, photometric="YBR_FULL"),
    replace(RGB, bits_allocated=16, bits_stored=16, high_bit=15),
]


@pytest.mark.parametrize(
    "d", CASES, ids=lambda d: f"{d.photometric}-{d.rows}x{d.columns}-{d.bits_stored}-{d.bits_allocated}-{d.high_bit}"
)
def test_every_reader_gets_the_same_bytes(d: Description, tmp_path: Path) -> None:
    assert rle.obstacle(d) is None
    planes = rle.planes(d)
    pixels = mixed(planes)  # with bits above Bits Stored
    codestream = encoded(planes, pixels)
    assert len(codestream) % 2 == 0
    assert rle.inspect(codestream[:64], d) == (planes, False)
    assert decoded(planes, codestream) == bytes(pixels)
    options: dict[str, Any] = {"rows": d.rows, "columns": d.columns, "bits_allocated": d.bits_allocated}
    assert bytes(independent.decode_pixel_data(bytes(codestream), version=2, **options)) == bytes(pixels)
    path = part10(tmp_path / "image.dcm", d, codestream)
    native = interleaved(planes, pixels)
    if d.photometric != "YBR_FULL":  # pydicom's own decoder, in Python
        frame = get_decoder(RLELossless).as_buffer(pydicom.dcmread(path), decoding_plugin="pydicom")[0]
        assert bytes(frame)[: len(pixels)] in (bytes(pixels), native)
    if d.bits_stored == d.bits_allocated and (d.samples == 1 or d.bits_allocated == 8):  # GDCM masks, or mixes colours
        assert by_gdcm(path)[: len(native)] == native
    if d.bits_allocated <= 16:  # DCMTK's RLE has no more
        assert by_dcmtk(path)[: len(native)] == native


@pytest.mark.parametrize("d", [case for case in CASES if case.bits_allocated <= 16])
def test_what_dcmtk_writes(d: Description, tmp_path: Path) -> None:
    planes = rle.planes(d)
    pixels = mixed(planes)
    path = part10(tmp_path / "native.dcm", d, native=interleaved(planes, pixels))
    run_dcmtk("dcmcrle", str(path), str(tmp_path / "rle.dcm")).check_returncode()
    (frame,) = generate_frames(pydicom.dcmread(tmp_path / "rle.dcm").PixelData, number_of_frames=1)
    assert decoded(planes, frame) == bytes(pixels)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("SC_rgb_rle.dcm", None),
        ("SC_rgb_rle_16bit.dcm", None),
        ("SC_rgb_rle_32bit.dcm", None),
        ("rtdose_rle_1frame.dcm", "rtdose_1frame.dcm"),
    ],
)
def test_real_files_decode_as_pydicom_decodes_them(name: str, plain: str | None) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    (frame,) = generate_frames(dataset.PixelData, number_of_frames=1)
    planes = Planes(dataset.SamplesPerPixel, dataset.Rows, dataset.Columns, dataset.BitsAllocated)
    pixels = decoded(planes, frame)
    by_pydicom = get_decoder(RLELossless).as_array(dataset, decoding_plugin="pydicom", raw=True)[0]
    assert interleaved(planes, memoryview(bytearray(pixels))) == by_pydicom.tobytes()
    if plain is not None:
        original = pydicom.dcmread(str(get_testdata_file(plain)))
        assert interleaved(planes, memoryview(bytearray(pixels))) == bytes(original.PixelData)
    assert decoded(planes, encoded(planes, memoryview(bytearray(pixels)))) == pixels


def test_no_run_crosses_the_end_of_a_row() -> None:
    planes = Planes(1, 3, 200, 8)
    codestream = bytes(encoded(planes, memoryview(bytearray(planes.size_bytes))))
    row = bytes([257 - 128, 0, 257 - 72, 0])
    assert codestream == struct.pack("<16L", 1, 64, *[0] * 14) + 3 * row


def test_what_it_cannot_hold() -> None:
    assert "YBR_FULL" in str(rle.obstacle(replace(RGB, photometric="YBR_FULL", bits_allocated=16)))


@pytest.mark.parametrize("size", [0, 63, 64, 65, 500, 1000])
def test_too_little_room(size: int) -> None:
    planes = Planes(1, 31, 17, 16)
    noise = memoryview(bytearray(np.random.default_rng(1).bytes(planes.size_bytes)))
    with pytest.raises(Unfit, match="larger"):
        rle.encode(planes, noise, memoryview(bytearray(size)))


def test_room_that_is_just_enough() -> None:
    planes = Planes(1, 31, 17, 16)
    pixels = mixed(planes)
    length = len(encoded(planes, pixels))
    assert rle.encode(planes, pixels, memoryview(bytearray(length + 1))) == length
    for size in range(length - 1):
        with pytest.raises(Unfit):
            rle.encode(planes, pixels, memoryview(bytearray(size)))


def frame(*segments: bytes, first: int = 64) -> bytes:
    offsets = [first + sum(map(len, segments[:number])) for number in range(len(segments))]
    header = struct.pack("<16L", len(segments), *offsets, *[0] * (15 - len(segments)))
    return header + bytes(first - 64) + b"".join(segments)


FOUR = Planes(1, 2, 2, 8)


@pytest.mark.parametrize(
    "codestream",
    [
        frame(b"\x03abcd"),
        frame(b"\x01ab\x01cd"),
        frame(b"\x80\x01ab\x80\x01cd"),  # -128 is no operation
        frame(b"\x03abcd\0"),  # padding: a run without its bytes
        frame(b"\x03abcd\0\0\0\0"),  # more of it: a run of zeros
        frame(b"\x03abcd\x80"),
        frame(b"\x03abcd", first=70),
    ],
)
def test_what_is_unambiguous_is_read(codestream: bytes) -> None:
    assert decoded(FOUR, codestream) == b"abcd"


def test_a_run_may_cross_rows_when_read() -> None:
    assert decoded(FOUR, frame(b"\xfda")) == b"aaaa"


@pytest.mark.parametrize(
    "codestream",
    [
        b"",
        frame(b"\x03abcd")[:63],
        frame(b"\x03abcd")[:64],
        frame(b"\x03abcd")[:-1],
        frame(b"\x02abc"),
        frame(b"\x04abcde"),
        frame(b"\x03abcd\x00e"),
        frame(b"\x81a"),
        frame(b"\x03abcd" + b"\x81\0" * 1000),
        frame(b"\x03abcd", b"\x03abcd"),
        frame(),
        struct.pack("<16L", 1, 63, *[0] * 14) + b"\x03abcd",
        struct.pack("<16L", 1, 0, *[0] * 14) + b"\x03abcd",
        struct.pack("<16L", 1, 70, *[0] * 14) + b"\x03abcd",
        struct.pack("<16L", 1, 0xFFFFFFFF, *[0] * 14) + b"\x03abcd",
        struct.pack("<16L", 0xFFFFFFFF, *[64] * 15) + b"\x03abcd",
    ],
)
def test_what_does_not_decode(codestream: bytes) -> None:
    with pytest.raises(Corrupt):
        decoded(FOUR, codestream)


@pytest.mark.parametrize("offsets", [(64, 64), (69, 64), (64, 0), (64, 75)])
def test_segments_out_of_order_or_outside(offsets: tuple[int, int]) -> None:
    with pytest.raises(Corrupt):
        decoded(Planes(1, 2, 2, 16), struct.pack("<16L", 2, *offsets, *[0] * 13) + b"\x03abcd\x03efgh")


def damaged_without_end() -> None:
    """Thousands of damaged frames: pixels or Corrupt, and no memory kept."""
    random = np.random.default_rng(5)
    subjects = [(p, bytes(encoded(p, mixed(p)))) for p in (Planes(1, 31, 17, 16), Planes(3, 13, 29, 8))]
    kept = 0
    for number in range(10_000):
        planes, codestream = subjects[number % 2]
        data = bytearray(codestream)
        for _ in range(random.integers(1, 5)):
            data[random.integers(64 if number % 3 else 0, len(data) if number % 5 else 65)] = random.integers(256)
        if number % 7 == 0:
            del data[random.integers(len(data)) :]
        pixels = bytearray(planes.size_bytes) + b"guard"
        with contextlib.suppress(Corrupt):
            rle.decode(memoryview(data), planes, memoryview(pixels))
        assert pixels[-5:] == b"guard"
        if number == 1000:
            kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kept < 16 << 10, "KiB more than at the beginning"


def test_damage_ends_in_pixels_or_corrupt() -> None:
    assert survives(damaged_without_end)
