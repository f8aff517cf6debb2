"""JPEG-LS through our binding of CharLS, read by DCMTK, GDCM, pyjpegls and libjpeg; what others write, by us."""

import contextlib
import io
import lzma
import resource
import struct
from pathlib import Path

import gdcm
import imagecodecs
import jpeg_ls
import libjpeg
import numpy as np
import pydicom
import pytest
from msgspec.structs import replace
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder
from pydicom.uid import CTImageStorage, JPEGLSLossless, generate_uid

from leyden.errors import Corrupt
from leyden.transcode import jpegls
from leyden.transcode.pixels import CodecError, Description, Planes, Unfit
from support.damage import survives
from support.peers import run_dcmtk

WG04 = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "wg04"
GREY = Description(37, 41, 1, 16, 12, 11, False, "MONOCHROME2")
RGB = Description(37, 41, 3, 8, 8, 7, False, "RGB")


def ramp(planes: Planes, stored: int) -> memoryview:
    """All values of `stored` bits, as far as they have room."""
    count = planes.samples * planes.rows * planes.columns
    values = np.arange(count) % (1 << stored) if count >= 1 << stored else np.linspace(0, (1 << stored) - 1, count)
    values = np.floor(values) - ((1 << (stored - 1)) if planes.signed else 0)
    return memoryview(bytearray(values.astype(planes.dtype).tobytes()))


def encoded(planes: Planes, pixels: memoryview, near: float = 0.0) -> memoryview:
    room = memoryview(bytearray(planes.size_bytes * 5 // 4 + 16384))
    return room[: jpegls.encode(planes, pixels, room, near)]


def decoded(planes: Planes, codestream: memoryview | bytes) -> bytes:
    pixels = memoryview(bytearray(planes.size_bytes))
    jpegls.decode(memoryview(codestream), planes, pixels)
    return bytes(pixels)


def part10(path: Path, codestream: memoryview, d: Description) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = d.rows, d.columns, d.samples
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = d.bits_allocated, d.bits_stored, d.high_bit
    dataset.PixelRepresentation, dataset.PhotometricInterpretation = int(d.signed), d.photometric
    if d.samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = encapsulate([bytes(codestream)])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def by_dcmtk(path: Path) -> bytes:
    raw = path.with_suffix(".raw.dcm")
    run_dcmtk("dcmdjpls", str(path), str(raw)).check_returncode()
    return bytes(pydicom.dcmread(raw).PixelData)


def by_gdcm(path: Path) -> bytes:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    return bytes(reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape"))


CASES = [
    *[
        replace(GREY, bits_allocated=allocated, bits_stored=stored, high_bit=stored - 1, signed=signed)
        for allocated in (8, 16)
        for stored in range(2, allocated + 1)
        for signed in (False, True)
    ],
    RGB,
    replace(RGB, bits_allocated=16, bits_stored=12, high_bit=11),
    replace(RGB, bits_allocated=16, bits_stored=16, high_bit=15),
    replace(RGB, photometric="YBR_FULL"),
    replace(GREY, bits_stored=16, high_bit=15, rows=300, columns=301, signed=True),
]  # fmt: skip


@pytest.mark.parametrize("d", CASES, ids=lambda d: f"{d.photometric}-{d.bits_stored}-of-{d.bits_allocated}-{d.signed}")
def test_every_reader_gets_the_same_bytes(d: Description, tmp_path: Path) -> None:
    assert jpegls.obstacle(d) is None
    planes = jpegls.planes(d)
    pixels = ramp(planes, d.bits_stored)
    codestream = encoded(planes, pixels)
    assert decoded(planes, codestream) == bytes(pixels)
    native = np.ascontiguousarray(planes.view(pixels).transpose(1, 2, 0)).tobytes()
    path = part10(tmp_path / "image.dcm", codestream, d)
    assert by_dcmtk(path)[: len(native)] == native
    assert by_gdcm(path) == native
    assert bytes(jpeg_ls.decode_buffer(bytes(codestream))[0]) == native
    assert libjpeg.decode(bytes(codestream)).tobytes() == native


@pytest.mark.parametrize(("precision", "signed"), [*((bits, False) for bits in range(2, 17)), (8, True), (16, True)])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5), (1, 70), (65, 33)])
def test_any_precision_and_size_is_exact(rows: int, columns: int, precision: int, signed: bool) -> None:
    planes = Planes(1, rows, columns, precision, signed)
    pixels = ramp(planes, precision)
    codestream = encoded(planes, pixels)
    assert jpegls.inspect(codestream, GREY) == (replace(planes, signed=False), False)
    assert decoded(planes, codestream) == bytes(pixels)


def test_a_bare_codestream_without_an_application_segment() -> None:
    for d in (GREY, RGB):
        codestream = bytes(encoded(jpegls.planes(d), ramp(jpegls.planes(d), d.bits_stored)))
        assert codestream[:4] == b"\xff\xd8\xff\xf7"
        assert codestream[-2:] == b"\xff\xd9"


@pytest.mark.parametrize("near", [1, 2, 7])
@pytest.mark.parametrize("d", [GREY, RGB, replace(GREY, bits_stored=16, high_bit=15, signed=True)])
def test_near_lossless_differs_by_no_more(d: Description, near: int) -> None:
    assert jpegls.obstacle(d, lossy=True) is None
    planes = jpegls.planes(d)
    smooth = np.cumsum(np.random.default_rng(1).integers(-3, 4, (planes.samples, planes.rows, planes.columns)), 2)
    pixels = memoryview(bytearray(planes.size_bytes))
    planes.view(pixels)[:] = smooth if d.signed else smooth + 128
    codestream = encoded(planes, pixels, float(near))
    assert len(codestream) < len(encoded(planes, pixels))
    read_back = planes.view(memoryview(decoded(planes, codestream))).astype(int)
    differences = np.abs(read_back - planes.view(pixels))
    assert differences.max() == near
    independent = libjpeg.decode(bytes(codestream)).astype(planes.dtype).reshape(planes.rows, planes.columns, -1)
    assert np.array_equal(independent.transpose(2, 0, 1), read_back)


def test_near_lossless_stays_within_the_precision() -> None:
    planes = Planes(1, 64, 64, 12)
    ends = np.random.default_rng(1).choice([0, 1, 4094, 4095], (1, 64, 64)).astype(np.uint16)
    read_back = planes.view(memoryview(decoded(planes, encoded(planes, memoryview(bytearray(ends.tobytes())), 5))))
    assert read_back.max() <= 4095
    assert np.abs(read_back.astype(int) - ends).max() <= 5


@pytest.mark.parametrize("value", [32767, 32766, -32768, -32767])
def test_near_lossless_turns_no_sign(value: int) -> None:
    planes = Planes(1, 16, 16, 16, signed=True)
    pixels = memoryview(bytearray(planes.size_bytes))
    planes.view(pixels)[0, 3, 4] = value
    assert decoded(planes, encoded(planes, pixels)) == bytes(pixels)
    with pytest.raises(Unfit, match="sign"):
        encoded(planes, pixels, 2)
    planes.view(pixels)[0, 3, 4] = value // 2
    encoded(planes, pixels, 2)


@pytest.mark.parametrize(
    ("d", "lossy", "what"),
    [
        (replace(GREY, bits_allocated=32), False, "bits allocated"),
        (replace(GREY, bits_stored=1, high_bit=0), False, "1 bit"),
        (replace(GREY, high_bit=15), False, "High Bit"),
        (replace(RGB, photometric="YBR_FULL", bits_allocated=16), False, "YBR_FULL"),
        (replace(GREY, photometric="PALETTE COLOR"), True, "palette"),
        (replace(GREY, signed=True), True, "out of Bits Stored"),
        (replace(GREY, bits_stored=8, high_bit=7), True, "out of Bits Stored"),
    ],
)
def test_what_it_cannot_hold(d: Description, lossy: bool, what: str) -> None:
    assert what in str(jpegls.obstacle(d, lossy))


def test_without_charls_nothing_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    codestream = encoded(jpegls.planes(GREY), ramp(jpegls.planes(GREY), 12))
    monkeypatch.setattr(jpegls, "_charls", None)
    assert "no CharLS" in str(jpegls.obstacle(GREY))
    with pytest.raises(CodecError):
        encoded(jpegls.planes(GREY), ramp(jpegls.planes(GREY), 12))
    assert decoded(jpegls.planes(GREY), codestream) == bytes(ramp(jpegls.planes(GREY), 12))


def test_a_palette_loses_nothing() -> None:
    palette = replace(GREY, photometric="PALETTE COLOR")
    assert jpegls.obstacle(palette) is None
    assert jpegls.planes(palette) == jpegls.planes(GREY)


def test_noise_that_does_not_fit_its_room() -> None:
    planes = Planes(1, 64, 64, 16)
    noise = memoryview(bytearray(np.random.default_rng(1).bytes(planes.size_bytes)))
    with pytest.raises(Unfit, match="larger"):
        jpegls.encode(planes, noise, memoryview(bytearray(planes.size_bytes)))
    with pytest.raises(CodecError, match="CharLS could not encode"):
        encoded(planes, noise, 256)


@pytest.mark.parametrize("interleave", [0, 1, 2])
@pytest.mark.parametrize("near", [0, 3])
@pytest.mark.parametrize("precision", [8, 12, 16])
def test_what_others_write_in_any_interleave_mode(interleave: int, near: int, precision: int) -> None:
    planes = Planes(3, 50, 71, precision)
    values = planes.view(ramp(planes, precision))
    order = values if interleave == 0 else np.ascontiguousarray(values.transpose(1, 2, 0))
    other = bytes(jpeg_ls.encode_buffer(order.tobytes(), 50, 71, 3, precision, near, interleave))
    assert jpegls.inspect(memoryview(other), RGB) == (planes, near > 0)
    read_back = planes.view(memoryview(decoded(planes, other)))
    assert np.abs(read_back.astype(int) - values).max() <= near


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "SC_rgb_small_odd.dcm"])
def test_what_dcmtk_writes(name: str, tmp_path: Path) -> None:
    run_dcmtk("dcmcjpls", str(get_testdata_file(name)), str(tmp_path / "made.dcm")).check_returncode()
    (codestream,) = generate_frames(pydicom.dcmread(tmp_path / "made.dcm").PixelData, number_of_frames=1)
    planes, _ = jpegls.inspect(memoryview(codestream), GREY)
    values = planes.view(memoryview(decoded(planes, codestream))).transpose(1, 2, 0)
    original = bytes(pydicom.dcmread(str(get_testdata_file(name))).PixelData)
    assert np.ascontiguousarray(values).tobytes() == original[: values.nbytes]


def test_application_segments_fill_bytes_and_padding_are_passed_over() -> None:
    planes = Planes(1, 37, 41, 16)
    pixels = ramp(planes, 16)
    with_spiff = imagecodecs.jpegls_encode(planes.view(pixels)[0])
    assert with_spiff[2:4] == b"\xff\xe8"
    assert decoded(planes, with_spiff) == bytes(pixels)
    plain = bytes(encoded(planes, pixels))
    assert decoded(planes, plain[:2] + b"\xff\xff" + plain[2:] + b"\0") == bytes(pixels)
    assert decoded(planes, plain[:-2] + b"\0\xff\xd9") == bytes(pixels), "as the encoder of NEMA's images writes it"
    assert jpegls.inspect(memoryview(plain)[:60], GREY) == (planes, False), "the head is enough"


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_jpeg_ls_lossless.dcm",
        "JPEGLSNearLossless_08.dcm",
        "JPEGLSNearLossless_16.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_jls_lossy_sample.dcm",
    ],
)
def test_real_files_decode_as_libjpeg_decodes_them(name: str) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file(name)))
    (codestream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    planes = replace(jpegls.inspect(memoryview(codestream), GREY)[0], signed=bool(dataset.PixelRepresentation))
    values = planes.view(memoryview(decoded(planes, codestream))).transpose(1, 2, 0)
    by_libjpeg = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, decoding_plugin="pylibjpeg")[0]
    assert np.array_equal(values.reshape(by_libjpeg.shape), by_libjpeg)


@pytest.mark.parametrize("name", ["XA1_JLSL", "MR2_JLSN"])
def test_real_images_of_nema(name: str) -> None:
    if not WG04.exists():
        pytest.skip("the NEMA images are not here")
    dataset = pydicom.dcmread(WG04 / f"{name}.dcm")
    codestream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    planes, _ = jpegls.inspect(memoryview(codestream), GREY)
    found = planes.view(memoryview(decoded(planes, codestream)))[0].astype(int)
    original = pydicom.dcmread(io.BytesIO(lzma.decompress((WG04 / f"{name[:3]}.dcm.xz").read_bytes()))).pixel_array
    if name.endswith("JLSL"):
        assert np.array_equal(found, original)
    else:
        assert 0 < np.abs(found - original).max() < 20
    d = Description(*original.shape, 1, 16, dataset.BitsStored, dataset.BitsStored - 1, False, "MONOCHROME2")
    ours = encoded(jpegls.planes(d), memoryview(bytearray(original.astype("<u2").tobytes())))
    if name.endswith("JLSL"):
        assert len(ours) <= 1.01 * len(codestream)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


def head(frame: bytes = bytes.fromhex("0c0025002901011100"), scan: bytes = bytes.fromhex("010100000000")) -> bytes:
    return b"\xff\xd8" + segment(0xFFF7, frame) + segment(0xFFDA, scan)


def test_the_head_that_the_next_test_damages() -> None:
    assert jpegls.inspect(memoryview(head()), GREY) == (jpegls.planes(GREY), False)


@pytest.mark.parametrize(
    "codestream",
    [
        b"",
        b"\xff\xd8",
        b"\xff\x4f\xff\x51",
        head()[:-1],
        head()[:10],
        b"\xff\xd8" + b"\xff" * 5000,
        b"\xff\xd8" + segment(0xFFE0, b"") * 5000,
        b"\xff\xd8\xff\xf7\x00\x01" + head(),
        b"\xff\xd8\xff\xf7\xff\xff" + head(),
        head().replace(b"\xff\xf7", b"\xff\xc0"),
        head(frame=bytes.fromhex("0c0000002901011100")),
        head(frame=bytes.fromhex("0c0025000001011100")),
        head(frame=bytes.fromhex("010025002901011100")),
        head(frame=bytes.fromhex("110025002901011100")),
        head(frame=bytes.fromhex("0c0025002900")),
        head(frame=bytes.fromhex("0c0025002902011100")),
        head(frame=bytes.fromhex("0c0025002901012100")),
        head(frame=b"\x0c"),
        head(scan=b""),
        head(scan=bytes.fromhex("010101000000")),
        head(scan=bytes.fromhex("010100000100")),
        head(scan=bytes.fromhex("010100000001")),
        head(scan=bytes.fromhex("020100000000")),
        b"\xff\xd8" + segment(0xFFF8, b"\x02\x01\x01abc") + head()[2:],
        b"\xff\xd8" + segment(0xFFF8, b"") + head()[2:],
        head()[:2] + head()[15:] + head()[2:15],
    ],
)
def test_heads_that_are_refused(codestream: bytes) -> None:
    with pytest.raises((Corrupt, Unfit)):
        jpegls.inspect(memoryview(codestream), GREY)


@pytest.mark.parametrize(
    "codestream",
    [
        head(frame=bytes.fromhex("0c0000002901011100")),
        head(frame=bytes.fromhex("0c0025002901012100")),
        head(scan=bytes.fromhex("010101000000")),
        head(scan=bytes.fromhex("010100000001")),
        b"\xff\xd8" + segment(0xFFF8, b"\x02\x01\x01abc") + head()[2:],
    ],
)
def test_what_the_standard_has_and_we_have_not_is_not_called_damaged(codestream: bytes) -> None:
    with pytest.raises(Unfit):
        jpegls.inspect(memoryview(codestream), GREY)


@pytest.mark.parametrize("fill", [b"\xff", b"\xff" * 2001])
@pytest.mark.parametrize("marker", [b"\xff\xd8", b"\xff\xf7", b"\xff\xda", b"\xff\xd9"])
def test_fill_bytes_may_stand_before_any_marker(marker: bytes, fill: bytes) -> None:
    planes = Planes(1, 37, 41, 12)
    codestream = bytes(encoded(planes, ramp(planes, 12)))
    filled = codestream.replace(marker, fill + marker)
    assert jpegls.inspect(memoryview(filled), GREY) == jpegls.inspect(memoryview(codestream), GREY)
    assert decoded(planes, filled) == decoded(planes, codestream)


def test_a_codestream_of_other_planes_or_cut_short() -> None:
    planes = Planes(1, 37, 41, 12)
    codestream = encoded(planes, ramp(planes, 12))
    for other in (replace(planes, rows=38), replace(planes, samples=3), replace(planes, precision=13)):
        with pytest.raises(Corrupt, match="another shape"):
            decoded(other, codestream)
    for length in range(0, len(codestream), 7):
        with pytest.raises(Corrupt):
            decoded(planes, codestream[:length])


def damaged_without_end() -> None:
    """Thousands of damaged codestreams: frames or Corrupt, and no memory kept."""
    random = np.random.default_rng(5)
    subjects = []
    for planes, interleave in ((Planes(1, 37, 41, 12), 0), (Planes(3, 20, 31, 8), 1), (Planes(3, 20, 31, 16), 0)):
        values = planes.view(ramp(planes, planes.precision))
        order = values.transpose(1, 2, 0) if interleave else values
        shape = (planes.rows, planes.columns, planes.samples, planes.precision)
        other = jpeg_ls.encode_buffer(order.tobytes(), *shape, 0, interleave)
        subjects.append((planes, bytes(other)))
    kept = 0
    for number in range(4000):
        planes, codestream = subjects[number % len(subjects)]
        data = bytearray(codestream)
        for _ in range(random.integers(1, 5)):
            data[random.integers(0 if number % 2 else 30, len(data))] = random.integers(256)
        if number % 5 == 0:
            del data[random.integers(len(data)) :]
        with contextlib.suppress(Corrupt, Unfit):
            jpegls.decode(memoryview(data), planes, memoryview(bytearray(planes.size_bytes)))
        if number == 1000:
            kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kept < 16 << 10, "KiB more than at the beginning"


def test_damage_ends_in_pixels_or_corrupt() -> None:
    assert survives(damaged_without_end)
