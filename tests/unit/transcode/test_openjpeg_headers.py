"""The claims of JPEG 2000 headers, honest and hostile, and what a dataset asks of an encoder."""

import struct

import numpy as np
import pytest
from msgspec.structs import replace

from leyden.errors import Corrupt
from leyden.transcode import jpeg2000, openjpeg
from leyden.transcode.pixels import Description, Planes, Unfit

SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
CT = Description(
    rows=3, columns=5, samples=1, bits_allocated=16, bits_stored=12, high_bit=11, signed=False,
    photometric="MONOCHROME2",
)  # fmt: skip
RGB = replace(CT, samples=3, bits_allocated=8, bits_stored=8, high_bit=7, photometric="RGB")


def encoded(planes: Planes) -> memoryview:
    values = np.random.default_rng(1).integers(0, 2, (planes.samples, planes.rows, planes.columns))
    room = memoryview(bytearray(planes.size_bytes * 5 // 4 + 16384))
    return room[: openjpeg.encode(planes, memoryview(bytearray(values.astype(planes.dtype).tobytes())), room)]


def box(kind: bytes, content: bytes, length: int | None = None) -> bytes:
    return struct.pack(">I4s", 8 + len(content) if length is None else length, kind) + content


def siz(columns: int, rows: int, samples: int = 1, tile: int = 0, x0: int = 0, depth: int = 7, step: int = 1) -> bytes:
    numbers = (columns, rows, x0, 0, tile or columns, tile or rows, 0, 0)
    body = b"".join(number.to_bytes(4, "big") for number in numbers) + samples.to_bytes(2, "big")
    body += bytes((depth, step, step)) * samples
    return b"\xff\x4f\xff\x51" + (len(body) + 4).to_bytes(2, "big") + b"\0\0" + body


def cod(transform: int) -> bytes:
    return b"\xff\x52\0\x0c\0\0\0\x01" + bytes((transform, 5, 4, 4, 0, 1))


@pytest.mark.parametrize("planes", [Planes(1, 65, 33, 11, signed=True), Planes(3, 8, 9, 8, rct=True)], ids=str)
def test_a_codestream_says_what_it_holds(planes: Planes) -> None:
    codestream = encoded(planes)
    assert bytes(codestream[:4]) == b"\xff\x4f\xff\x51", "a bare codestream, no JP2 file"
    assert bytes(codestream[-2:]) == b"\xff\xd9"
    assert jpeg2000.inspect(codestream, RGB) == (planes, False)
    assert jpeg2000.inspect(codestream[:120], RGB) == (planes, False), "the beginning is enough"


def test_the_component_transform_is_found_behind_other_segments() -> None:
    comment = b"\xff\x64\0\x06\0\1hi"
    head = siz(64, 64, samples=3) + comment
    assert jpeg2000.inspect(memoryview(head + cod(1)), RGB)[0].rct
    assert not jpeg2000.inspect(memoryview(head + cod(0)), RGB)[0].rct


def test_a_component_transform_of_what_is_no_rgb_is_a_contradiction() -> None:
    transformed, plain = memoryview(siz(5, 3, samples=3) + cod(1)), memoryview(siz(5, 3, samples=3) + cod(0))
    for photometric in ("RGB", "YBR_RCT", "YBR_ICT"):
        assert jpeg2000.inspect(transformed, replace(RGB, photometric=photometric))[0].rct
    for photometric in ("YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "MONOCHROME2"):
        with pytest.raises(Unfit, match=f"{photometric}, but a component transform"):
            jpeg2000.inspect(transformed, replace(RGB, photometric=photometric))
        assert not jpeg2000.inspect(plain, replace(RGB, photometric=photometric))[0].rct


def part(*segments: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A tile-part."""
    content = b"".join(segments) + b"\xff\x93" + data
    length = 12 + len(content) if length is None else length
    return b"\xff\x90\0\x0a" + struct.pack(">HLBB", 0, length, 0, 1) + content


COC = b"\xff\x53\0\x09\2\0\5\4\4\0"  # of the last component, up to its wavelet
SHINING = COC + b"\0" + b"\xff\x52" + cod(1)[2:-1] + b"\0"  # data that look like markers


@pytest.mark.parametrize(
    ("more", "irreversible"),
    [
        (b"", False),
        (COC + b"\1", False),
        (COC + b"\0", True),
        (part(data=SHINING) + part(data=b"ab") + b"\xff\xd9", False),
        (part(data=SHINING) + part(COC + b"\0", data=b"ab") + b"\xff\xd9", True),
        (part(data=SHINING) + part(cod(0)[:-1] + b"\0", data=b"ab"), True),
        (part(data=b"ab", length=0) + part(COC + b"\0"), False),
        (part(data=b"ab", length=1) + part(COC + b"\0"), False),
        (part() + b"\xff\xd9\0\x08abcdef" + part(COC + b"\0"), False),
    ],
)
def test_only_the_9_7_wavelet_is_a_loss_for_sure(more: bytes, irreversible: bool) -> None:
    """In any component and any tile; what looks like a marker within data is none."""
    reversible = siz(64, 64, samples=3) + cod(0)
    for codestream in (reversible + more, SIGNATURE + box(b"jp2c", reversible + more)):
        assert jpeg2000.inspect(memoryview(codestream), RGB)[1] == irreversible
    assert jpeg2000.inspect(memoryview(reversible[:-1] + b"\0" + more), RGB)[1]


def test_a_component_transform_in_some_tiles_only() -> None:
    head = siz(64, 64, samples=3) + cod(0)
    with pytest.raises(Unfit, match="in some tiles"):
        jpeg2000.inspect(memoryview(head + part(cod(1))), RGB)


@pytest.mark.parametrize(
    ("codestream", "what"),
    [
        (b"", "too short"),
        (b"\xff\x4f\xff\x51", "too short"),
        (b"\xff\xd8" + bytes(60), "no JPEG 2000"),
        (siz(40000, 40000, samples=5), "5 components"),
        (siz(64, 64, samples=0) + bytes(9), "0 components"),
        (siz(64, 64, depth=37), "16 bits"),
        (siz(64, 64, step=2), "alike"),
        (siz(64, 64, x0=64), "impossible size"),
        (siz(70000, 64), "impossible size"),
        (siz(60000, 60000, tile=1), "tiles"),
        (siz(64, 64), "COD"),
        (siz(64, 64) + cod(0)[:8], "COD"),
        (siz(64, 64) + b"\xff\x90\0\x0a" + bytes(8) + cod(0), "COD"),
        (siz(64, 64) + b"\xff\x64\0\0" * 9, "COD"),
        (siz(64, 64) + b"\xff\x64\0\2" * 200_000 + cod(0), "segments"),
        (siz(64, 64, samples=3) + cod(4), "another part"),
    ],
)
def test_hostile_claims_are_refused_before_the_library(codestream: bytes, what: str) -> None:
    with pytest.raises((Corrupt, Unfit), match=what):
        jpeg2000.inspect(memoryview(codestream), RGB)


def test_small_tiles_are_no_damage_and_too_many_are_not_called_so() -> None:
    found, _ = jpeg2000.inspect(memoryview(siz(170, 150, tile=16) + cod(0)), CT)
    assert (found.rows, found.columns) == (150, 170)
    for hostile in (siz(60000, 60000, tile=1), siz(64, 64, depth=37), siz(64, 64, step=2), siz(64, 64, samples=5)):
        with pytest.raises(Unfit):
            jpeg2000.inspect(memoryview(hostile + cod(0)), CT)


def test_a_profile_in_the_main_header_is_no_damage() -> None:
    """PRF of ISO/IEC 15444-1:2019, behind SIZ."""
    planes = Planes(1, 20, 30, 8)
    codestream = bytes(encoded(planes))
    at = codestream.index(b"\xff\x52")
    profiled = codestream[:at] + b"\xff\x56\0\4\x10\0" + codestream[at:]
    results = []
    for each in (codestream, profiled):
        pixels = memoryview(bytearray(planes.size_bytes))
        openjpeg.decode(memoryview(each), planes, pixels)
        results.append(bytes(pixels))
    assert results[0] == results[1]
    assert jpeg2000.inspect(memoryview(profiled), CT) == jpeg2000.inspect(memoryview(codestream), CT)


TLM, SOT = b"\xff\x55\0\4\0\0", b"\xff\x90\0\x0a" + bytes(8)


@pytest.mark.parametrize("tlm", [TLM, TLM * 2, TLM + b"\xff\x64\0\2" + TLM])
def test_openjpeg_sees_no_lengths_of_tile_parts(tlm: bytes) -> None:
    """Where they are fewer than the tile-parts, OpenJPEG 2.5.4 writes behind an array."""
    head, rest = siz(64, 64) + cod(0), SOT + TLM + b"data"
    seen = bytes(jpeg2000.for_openjpeg(memoryview(head + tlm + rest)))
    assert seen == head + tlm.replace(TLM, b"") + rest
    assert bytes(jpeg2000.for_openjpeg(memoryview(seen))) == seen


@pytest.mark.parametrize("hidden", [b"\xff\x30\0\x06", b"\xff\x93\0\x06", b"\xff\x61\0\x06", b"\0\0", b""])
def test_nothing_hides_a_segment_from_our_checks(hidden: bytes) -> None:
    """Behind what it does not know, OpenJPEG searches for the next segment that it does know."""
    with pytest.raises(Corrupt):
        jpeg2000.for_openjpeg(memoryview(siz(64, 64) + cod(0) + hidden + TLM + (SOT if hidden else b"")))


def test_a_jp2_file_is_opened() -> None:
    planes = Planes(3, 20, 30, 8, rct=True)
    codestream = bytes(encoded(planes))
    order = struct.pack(">10H", 3, 0, 0, 1, 1, 0, 2, 2, 0, 3)
    head = SIGNATURE + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", box(b"ihdr", bytes(14)) + box(b"cdef", order))
    long_box = struct.pack(">I4sQ", 1, b"jp2c", 16 + len(codestream)) + codestream
    for file in (box(b"jp2c", codestream), box(b"jp2c", codestream, 0), long_box, long_box + box(b"free", b"")):
        assert bytes(jpeg2000.bare(memoryview(head + file))) == codestream
        assert jpeg2000.inspect(memoryview(head + file)[:250], RGB) == (planes, False), "the beginning is enough"


@pytest.mark.parametrize(
    ("boxes", "what"),
    [
        (b"", "without a codestream"),
        (bytes(60), "without a codestream"),
        (box(b"free", b"", 1 << 31), "without a codestream"),
        (box(b"free", b"") * 1000 + box(b"jp2c", b""), "without a codestream"),
        (box(b"free", b"", 7), "shorter than its own header"),
        (struct.pack(">I4sQ", 1, b"jp2c", 15), "shorter than its own header"),
        (box(b"jp2c", b""), "too short"),
        (box(b"jp2c", b"\xff\xd8" + bytes(60)), "no JPEG 2000"),
        (box(b"jp2c", SIGNATURE + bytes(60)), "no JPEG 2000"),
        (box(b"jp2h", box(b"pclr", bytes(9))), "palette"),
        (box(b"jp2h", box(b"cdef", struct.pack(">10H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1))), "another order"),
        (box(b"jp2h", box(b"cdef", struct.pack(">4H", 1, 0, 1, 0))), "opacity"),
        (box(b"jp2h", box(b"cdef", struct.pack(">3H", 1, 0, 0))), "another order"),
    ],
)
def test_hostile_boxes_are_refused(boxes: bytes, what: str) -> None:
    with pytest.raises((Corrupt, Unfit), match=what):
        jpeg2000.inspect(memoryview(SIGNATURE + boxes), RGB)


@pytest.mark.parametrize(
    "change", [{"samples": 3}, {"rows": 4}, {"columns": 6}, {"precision": 13}, {"signed": True}], ids=str
)
def test_a_codestream_of_another_shape_is_told(change: dict[str, int]) -> None:
    planes = Planes(1, 3, 5, 12)
    jpeg2000.expect(memoryview(siz(5, 3, depth=11)), planes)
    with pytest.raises(Corrupt, match="another shape"):
        jpeg2000.expect(memoryview(siz(5, 3, depth=11)), replace(planes, **change))


def test_planes_of_a_dataset() -> None:
    assert jpeg2000.planes(replace(CT, signed=True)) == Planes(1, 3, 5, 12, signed=True)
    assert jpeg2000.planes(RGB) == Planes(3, 3, 5, 8, rct=True)
    assert jpeg2000.planes(replace(RGB, photometric="YBR_FULL")) == Planes(3, 3, 5, 8)


@pytest.mark.parametrize(
    ("described", "lossless", "lossy"),
    [
        (CT, None, None),
        (RGB, None, None),
        (replace(CT, bits_stored=16, high_bit=15, signed=True), None, None),
        (replace(CT, bits_allocated=32), "bits allocated", "bits allocated"),
        (replace(CT, high_bit=15), "High Bit", "High Bit"),
        (replace(CT, photometric="PALETTE COLOR"), None, "palette"),
    ],
    ids=str,
)
def test_what_cannot_be_made_has_its_obstacle_lossless_or_lossy(
    described: Description, lossless: str | None, lossy: str | None
) -> None:
    for wanted, found in ((lossless, jpeg2000.obstacle(described)), (lossy, jpeg2000.obstacle(described, lossy=True))):
        assert found == wanted if wanted is None else wanted in str(found)


@pytest.mark.parametrize(
    ("photometric", "lossless", "lossy"),
    [
        ("RGB", "YBR_RCT", "YBR_ICT"),
        ("YBR_FULL", "YBR_FULL", "YBR_FULL"),
        ("MONOCHROME1", "MONOCHROME1", "MONOCHROME1"),
    ],
)
def test_photometric_interpretation(photometric: str, lossless: str, lossy: str) -> None:
    described = replace(RGB, photometric=photometric)
    assert jpeg2000.photometric(described) == lossless
    assert jpeg2000.photometric(described, lossy=True) == lossy
