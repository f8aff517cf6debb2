"""The table of codecs, and what is done with a filled lease: decode, encode, both, and the look at what came out."""

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from leyden.dicom import uids
from leyden.errors import Corrupt
from leyden.transcode import codecs
from leyden.transcode.arena import Lease, Work
from leyden.transcode.codecs import CODECS, decoder, encoder, perform, room_bytes
from leyden.transcode.pixels import CodecError, Differs, Planes, Unfit

PLANES = Planes(1, 37, 41, 12)
J2K = encoder(uids.JPEG2000_LOSSLESS)
assert J2K is not None


def filled(work: Work, seed: int = 0) -> tuple[Lease, Any]:
    lease = Lease.private(work.pixels_bytes, room_bytes(work.wanted))
    lease.work = work
    values = np.random.default_rng(seed).integers(0, 1 << work.wanted.precision, (1, 37, 41))
    work.wanted.view(lease.pixels)[:] = values
    return lease, values


def encoded(number: int, planes: Planes) -> tuple[bytes, Any]:
    lease, values = filled(Work(planes, planes, writes=number))
    perform(lease)
    return bytes(lease.room[: lease.length]), values


def test_what_can_be_made_and_read_is_what_the_planner_thinks() -> None:
    native = {uids.IMPLICIT_LE, uids.EXPLICIT_LE, uids.EXPLICIT_BE, uids.DEFLATED_LE}
    assert {codec.encodes for codec in CODECS} | native == uids.MADE
    assert {uid for codec in CODECS for uid in codec.decodes} | native == uids.MADE


def test_each_syntax_has_one_codec_each_way() -> None:
    assert len({codec.encodes for codec in CODECS}) == len(CODECS)
    for uid in uids.MADE:
        made = encoder(uid)
        assert (made is not None) == uids.SYNTAXES[uid].encapsulated
        read = decoder(uid)
        assert (read is not None) == uids.SYNTAXES[uid].encapsulated
        assert made is None or uid in CODECS[made].decodes, "what it makes it reads"


LOSSLESS = [number for number, codec in enumerate(CODECS) if not uids.SYNTAXES[codec.encodes].lossy]


@pytest.mark.parametrize("reads", LOSSLESS)
@pytest.mark.parametrize("writes", LOSSLESS)
def test_from_each_codec_into_each_other(reads: int, writes: int) -> None:
    data, values = encoded(reads, PLANES)
    lease = Lease.private(PLANES.size_bytes, max(len(data), room_bytes(PLANES)))
    lease.room[: len(data)], lease.length = data, len(data)
    lease.work = Work(PLANES, PLANES, reads=reads, writes=writes, verify=True)
    perform(lease)
    again = memoryview(bytearray(PLANES.size_bytes))
    CODECS[writes].decode(lease.room[: lease.length], PLANES, again, 0)
    assert np.array_equal(PLANES.view(again), values)


@pytest.mark.parametrize("number", LOSSLESS)
def test_what_was_encoded_is_compared(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = CODECS[number]

    def faulty(planes: Planes, pixels: memoryview, room: memoryview, setting: float, threads: int) -> int:
        other = bytearray(pixels)
        other[700] ^= 1
        return real.encode(planes, memoryview(other), room, setting, threads)

    monkeypatch.setattr(codecs, "CODECS", (*CODECS[:number], replace(real, encode=faulty), *CODECS[number + 1 :]))
    lease, _ = filled(Work(PLANES, PLANES, writes=number))
    perform(lease)
    lease, _ = filled(Work(PLANES, PLANES, writes=number, verify=True))
    with pytest.raises(Differs, match="other pixels"):
        perform(lease)


@pytest.mark.parametrize("off", [4, -4])
@pytest.mark.parametrize("stored", [8, 12])
def test_a_bounded_loss_is_held_against_its_bound(monkeypatch: pytest.MonkeyPatch, stored: int, off: int) -> None:
    number = encoder(uids.JPEGLS_NEAR_LOSSLESS)
    assert number is not None
    real, planes = CODECS[number], replace(PLANES, precision=stored)

    def faulty(planes: Planes, pixels: memoryview, room: memoryview, setting: float, threads: int) -> int:
        other = memoryview(bytearray(pixels))
        planes.view(other)[0, 5, 7] = 100 + off
        return real.encode(planes, other, room, 0.0, threads)

    def run() -> None:
        lease, _ = filled(Work(planes, planes, writes=number, setting=3.0, verify=True))
        planes.view(lease.pixels)[0, 5, 7] = 100
        perform(lease)

    run()
    monkeypatch.setattr(codecs, "CODECS", (*CODECS[:number], replace(real, encode=faulty), *CODECS[number + 1 :]))
    with pytest.raises(Differs, match="other pixels"):
        run()
    off -= off // 4
    run()  # by 3, as it may


def test_what_does_not_decode_is_a_difference_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(planes: Planes, pixels: memoryview, room: memoryview, setting: float, threads: int) -> int:
        return CODECS[J2K].encode(planes, pixels, room, setting, threads) // 2

    monkeypatch.setattr(codecs, "CODECS", (replace(CODECS[J2K], encode=cut),))
    for setting in (0.0, 5.0):
        lease, _ = filled(Work(PLANES, PLANES, writes=0, setting=setting, verify=True))
        with pytest.raises(Differs, match="does not decode"):
            perform(lease)


@pytest.mark.parametrize("error", [CodecError, Corrupt])
def test_a_second_try_is_only_for_a_single_step(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    data, _ = encoded(J2K, PLANES)
    tried: list[int] = []

    def failing(planes: Planes, pixels: memoryview, room: memoryview, setting: float, threads: int) -> int:
        tried.append(threads)
        room[:] = bytes(len(room))
        raise error("no memory")

    monkeypatch.setattr(codecs, "CODECS", (replace(CODECS[J2K], encode=failing),))
    lease = Lease.private(PLANES.size_bytes, room_bytes(PLANES))
    lease.room[: len(data)], lease.length = data, len(data)
    lease.work = Work(PLANES, PLANES, reads=0, writes=0)
    with pytest.raises(Unfit if error is CodecError else error, match="no memory"):
        perform(lease, 3)
    assert tried == [0]
