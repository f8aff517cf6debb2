"""What goes to a lossless codec and what does not, and that packing loses nothing."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from leyden.transcode.pixels import Description, Planes, Unfit, alike, decoded, pack, recast, undecodable, unfit, unpack

CT = Description(
    rows=3, columns=5, samples=1, bits_allocated=16, bits_stored=12, high_bit=11, signed=False,
    photometric="MONOCHROME2",
)  # fmt: skip
COLOUR = replace(CT, samples=3, bits_allocated=8, bits_stored=8, high_bit=7, photometric="RGB")
LIMIT = 1 << 20


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"signed": True}, None),
        ({"photometric": "MONOCHROME1"}, None),
        ({"photometric": "PALETTE COLOR"}, None),
        ({"frames": 7}, None),
        ({"rows": 0}, "no rows"),
        ({"bits_allocated": 1, "bits_stored": 1, "high_bit": 0}, "1 bit"),
        ({"bits_allocated": 32, "bits_stored": 32, "high_bit": 31}, None),
        ({"bits_allocated": 64, "bits_stored": 64, "high_bit": 63}, "other than 8, 16 and 32"),
        ({"bits_allocated": 12}, "other than 8, 16 and 32"),
        ({"bits_stored": 17, "high_bit": 16}, "Bits Stored"),
        ({"bits_stored": 0, "high_bit": -1}, "Bits Stored"),
        ({"samples": 2}, "Samples per Pixel"),
        ({"samples": 4, "photometric": "ARGB"}, "Samples per Pixel"),
        ({"photometric": "RGB"}, "Photometric"),
        ({"rows": 1000, "columns": 1000}, "maxFrameMib"),
    ],
)
def test_grey(change: dict[str, Any], reason: str | None) -> None:
    described = replace(CT, **change)
    found = unfit(described, described.size_bytes, LIMIT)
    assert found == reason if reason is None else found is not None and reason in found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"planar": 1}, None),
        ({"photometric": "YBR_FULL"}, None),
        ({"bits_allocated": 16, "bits_stored": 16, "high_bit": 15}, None),
        ({"photometric": "YBR_FULL_422"}, "Photometric"),
        ({"photometric": "YBR_RCT"}, "Photometric"),
        ({"photometric": "MONOCHROME2"}, "Photometric"),
        ({"planar": 2}, "Planar"),
    ],
)
def test_colour(change: dict[str, Any], reason: str | None) -> None:
    described = replace(COLOUR, **change)
    found = unfit(described, described.size_bytes, LIMIT)
    assert found == reason if reason is None else found is not None and reason in found


def test_length_of_pixel_data() -> None:
    described = replace(CT, frames=2)
    assert unfit(described, 60, LIMIT) is None
    assert unfit(described, 61, LIMIT) is None, "a padding byte is none of our business"
    shorter = unfit(described, 59, LIMIT)
    assert shorter is not None
    assert "shorter" in shorter
    assert unfit(described, 89, LIMIT) is None, "less than a frame may be padding"
    longer = unfit(described, 90, LIMIT)
    assert longer is not None
    assert "longer" in longer
    one_byte = replace(CT, rows=1, columns=1, bits_allocated=8, bits_stored=8, high_bit=7)
    assert unfit(one_byte, 2, LIMIT) is None, "the padding of an image of one byte is no second frame"


def test_what_decoded_pixels_are_called() -> None:
    planes = Planes(3, 3, 5, 8)
    assert decoded(replace(COLOUR, photometric="YBR_RCT", planar=1), planes) == COLOUR
    assert decoded(replace(COLOUR, photometric="YBR_FULL_422"), replace(planes, rct=True)) == COLOUR
    assert decoded(replace(COLOUR, photometric="YBR_FULL"), planes).photometric == "YBR_FULL"
    assert decoded(CT, Planes(1, 3, 5, 12)) == CT


def planes_of(described: Description) -> Planes:
    d = described
    return Planes(d.samples, d.rows, d.columns, d.bits_stored, d.signed)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("stored", range(1, 17))
@pytest.mark.parametrize(("samples", "planar"), [(1, 0), (3, 0), (3, 1)])
def test_packing_and_unpacking_change_nothing(samples: int, planar: int, stored: int, signed: bool) -> None:
    described = replace(
        CT, samples=samples, planar=planar, bits_stored=stored, high_bit=stored - 1, signed=signed, photometric="RGB"
    )
    low, high = (-(1 << (stored - 1)), 1 << (stored - 1)) if signed else (0, 1 << stored)
    shape = (samples, 3, 5) if planar else (3, 5, samples)
    native = np.random.default_rng(stored).integers(low, high, shape).astype(described.dtype)
    native.flat[0], native.flat[1] = low, high - 1
    planes = planes_of(described)
    buffer = memoryview(bytearray(planes.size_bytes))
    pack(memoryview(native.tobytes()), described, planes, buffer)
    expected = native if planar else native.transpose(2, 0, 1)
    assert np.array_equal(planes.view(buffer), expected)
    by_pixel = expected.transpose(1, 2, 0)
    assert bytes(unpack(buffer, planes, described)) == np.ascontiguousarray(by_pixel).tobytes()


@pytest.mark.parametrize(
    ("signed", "value", "fits"),
    [
        (False, 4095, True),
        (False, 4096, False),
        (False, 0x8000, False),
        (True, 2047, True),
        (True, 2048, False),
        (True, -2048, True),
        (True, -2049, False),
        (True, 0x0FFF, False),  # -1 whose sign was not extended: would come back as 0xFFFF
    ],
)
def test_values_outside_bits_stored(signed: bool, value: int, fits: bool) -> None:
    described = replace(CT, signed=signed)
    native = np.zeros((3, 5), described.dtype)
    native[1, 2] = value
    planes = planes_of(described)
    buffer = memoryview(bytearray(planes.size_bytes))
    if fits:
        pack(memoryview(native.tobytes()), described, planes, buffer)
        assert planes.view(buffer)[0, 1, 2] == value
    else:
        with pytest.raises(Unfit, match="outside Bits Stored"):
            pack(memoryview(native.tobytes()), described, planes, buffer)
    whole = Planes(1, 3, 5, 16)  # of a codec that keeps every bit and knows no sign
    buffer = memoryview(bytearray(whole.size_bytes))
    pack(memoryview(native.tobytes()), described, whole, buffer)
    assert whole.view(buffer)[0, 1, 2] == value & 0xFFFF
    assert bytes(unpack(buffer, whole, described)) == native.tobytes()


def test_a_codestream_of_the_other_sign_holds_the_same_bits() -> None:
    described = replace(CT, bits_stored=13, high_bit=12, signed=True)
    planes = Planes(1, 3, 5, 13, signed=False)
    buffer = memoryview(bytearray(planes.size_bytes))
    planes.view(buffer)[:] = 0b1100000110000  # -2000 in 13 bits
    assert set(np.frombuffer(unpack(buffer, planes, described), "<i2").tolist()) == {-2000}


@pytest.mark.parametrize(
    ("planes", "reason"),
    [
        (Planes(1, 3, 5, 12), None),
        (Planes(1, 3, 5, 16), None),
        (Planes(1, 5, 3, 12), "shape"),
        (Planes(3, 3, 5, 12), "shape"),
    ],
)
def test_codestreams_that_cannot_become_native(planes: Planes, reason: str | None) -> None:
    found = undecodable(CT, planes, LIMIT)
    assert found == reason if reason is None else found is not None and reason in found


def test_what_else_cannot_become_native() -> None:
    described, planes = COLOUR, Planes(3, 3, 5, 8)
    assert undecodable(described, planes, LIMIT) is None
    assert undecodable(replace(described, photometric="YBR_FULL_422"), planes, LIMIT)
    assert undecodable(described, replace(planes, precision=9), LIMIT)
    assert undecodable(described, planes, 44)
    assert undecodable(replace(described, frames=1 << 30), planes, LIMIT)


def test_only_a_codestream_of_all_bits_has_those_below_another_high_bit() -> None:
    described = replace(CT, high_bit=15)
    assert undecodable(described, Planes(1, 3, 5, 16), LIMIT) is None
    for precision in (12, 15):
        assert "High Bit" in str(undecodable(described, Planes(1, 3, 5, precision), LIMIT))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2"])
def test_alike_is_within_the_bound(dtype: str) -> None:
    ends = np.iinfo(dtype)
    one = np.array([ends.min, 0, ends.max], dtype)
    other = np.array([ends.min + 3, 2, ends.max], dtype)
    assert alike(one, one, 0)
    assert not alike(one, other, 0)
    for here, there in ((one, other), (other, one)):
        assert alike(here, there, 3)
        assert not alike(here, there, 2)
    assert not alike(one, one[::-1].copy(), 100), "the whole range apart is not near"


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("stored", [3, 8, 9, 12, 16])
def test_from_one_codec_to_another(stored: int, signed: bool) -> None:
    low, high = (-(1 << (stored - 1)), 1 << (stored - 1)) if signed else (0, 1 << stored)
    values = np.random.default_rng(stored).integers(low, high, (1, 3, 5))
    values.flat[0], values.flat[1] = low, high - 1
    exact = Planes(1, 3, 5, stored, signed)
    for found in (exact, replace(exact, signed=not signed), Planes(1, 3, 5, 16, signed)):
        for wanted in (exact, Planes(1, 3, 5, 16), Planes(1, 3, 5, 16, signed)):
            buffer = memoryview(bytearray(64))
            found.view(buffer)[:] = values & ((1 << found.precision) - 1) if found.signed != signed else values
            if found.signed != signed and found.signed:
                found.view(buffer)[:] = (values << (16 - stored)).astype(np.int16) >> (16 - stored)
            recast(buffer, found, wanted, signed)
            assert np.array_equal(wanted.view(buffer), values.astype(wanted.dtype)), (found, wanted)


def test_what_the_next_codec_cannot_hold() -> None:
    found, wanted = Planes(1, 3, 5, 16), Planes(1, 3, 5, 12)
    buffer = memoryview(bytearray(found.size_bytes))
    found.view(buffer)[0, 1, 1] = 4096
    with pytest.raises(Unfit, match="outside Bits Stored"):
        recast(buffer, found, wanted, False)
