"""Targets: codestreams, as far as Python reads them before a native codec does, and the fragments that hold them.

Seeds are the codestreams of real files and those that our own encoders make of a small image.
"""

import random
import struct
import zlib
from collections.abc import Sequence
from functools import cache
from io import BytesIO

import numpy as np
import pydicom
from pydicom.encaps import generate_frames

from fuzz.damage import Part, Seed, mutant
from leyden.dicom import uids
from leyden.errors import Corrupt
from leyden.transcode import deflate, jpeg, jpeg2000, jpegls, jpegxl, pixels, rle
from leyden.transcode.codecs import CODECS, encoder, room_bytes
from leyden.transcode.encapsulate import Writer, frames
from leyden.transcode.pixels import Description, Planes, Unfit
from support.objects import real

REAL = (
    "JPEG2000-embedded-sequence-delimiter.dcm", "MR_small_jp2klossless.dcm", "SC_rgb_small_odd_jpeg.dcm",
    "JPGExtended.dcm", "MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jls_lossy_line.dcm", "MR_small_RLE.dcm",
)  # fmt: skip
DESCRIPTIONS = (
    Description(8, 8, 1, 8, 8, 7, False, "MONOCHROME2"),
    Description(8, 8, 1, 16, 12, 11, False, "MONOCHROME2"),
    Description(8, 8, 1, 16, 16, 15, True, "MONOCHROME2"),
    Description(8, 8, 3, 8, 8, 7, False, "RGB"),
    Description(8, 8, 3, 8, 8, 7, False, "YBR_FULL_422"),
    Description(64, 64, 1, 16, 16, 15, True, "MONOCHROME2"),
)
INSPECTIONS = tuple(dict.fromkeys([
    *(codec.inspect for codec in CODECS), *(codec.remaking.inspect for codec in CODECS if codec.remaking),
]))  # fmt: skip
MAX_FRAME_BYTES = 8 << 20
LONGEST_BYTES = 3000  # of a seed; headers are what is read here


@cache
def _codestreams() -> list[Seed]:
    found = []
    for name in REAL:
        dataset = pydicom.dcmread(real(name))
        number = int(dataset.get("NumberOfFrames", 1))
        found.append(next(generate_frames(dataset.PixelData, number_of_frames=number))[:LONGEST_BYTES])
    for described in DESCRIPTIONS:
        for codec in CODECS:
            if codec.obstacle(described) is None:
                found += _encoded(codec.encodes, described)
    found += [_in_jp2(each) for each in found if each[:4] == b"\xff\x4f\xff\x51"][:3]
    found.append(
        b"\0\0\0\x0cJXL \r\n\x87\n" + b"".join(_box(b"jxlp", struct.pack(">L", n) + b"\xff\x0a\x00") for n in (0, 1))
    )
    return [Seed(each, _parts(each)) for each in found]


def _encoded(uid: str, described: Description) -> list[bytes]:
    number = encoder(uid)
    assert number is not None
    codec = CODECS[number]
    planes = codec.planes(described)
    values = np.add.outer(np.arange(planes.rows), np.arange(planes.columns)).astype(planes.dtype)
    memory = memoryview(bytearray(planes.size_bytes))
    np.copyto(planes.view(memory), values)
    room = memoryview(bytearray(room_bytes(planes)))
    lossy = uids.SYNTAXES[uid].lossy
    try:
        length = codec.encode(planes, memory, room, (90.0 if not codec.bounded else 2.0) if lossy else 0.0, 0)
    except (Unfit, pixels.CodecError):
        return []
    return [bytes(room[:length])[:LONGEST_BYTES]]


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">L4s", 8 + len(content), kind) + content


def _in_jp2(codestream: bytes) -> bytes:
    size = _box(b"ihdr", struct.pack(">LLHBBBB", 8, 8, 3, 7, 7, 0, 0))
    channels = _box(b"cdef", struct.pack(">HHHHHHHHHH", 3, 0, 0, 1, 1, 0, 2, 2, 0, 3))
    signature = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
    return signature + _box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + _box(b"jp2h", size + channels) + _box(b"jp2c", codestream)


def _parts(data: bytes) -> list[Part]:
    """Boxes of a JP2 or JPEG XL file, or segments of a codestream of the JPEG families."""
    if data[4:8] in (b"jP  ", b"JXL "):
        parts: list[Part] = []
        _boxes(data, 0, len(data), -1, parts)
        return parts
    if data[:1] != b"\xff" or data[:2] == b"\xff\x0a":
        step = 4 if len(data) > 64 else 1  # a table of numbers, as far as anybody knows
        return [Part(at, at, min(at + step, len(data))) for at in range(0, min(64, len(data)), step)]
    parts, at = [Part(0, 2, 2)], 2
    while at + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker < 0xFF00 or marker == 0xFF93 or length < 2:
            break
        parts.append(Part(at, at + 4, min(at + 2 + length, len(data)), -1, at + 2, ">H"))
        at += 2 + length
        if marker == 0xFFDA:
            break
    return parts


def _boxes(data: bytes, at: int, end: int, around: int, parts: list[Part]) -> None:
    while at + 8 <= end:
        length, kind = struct.unpack_from(">L4s", data, at)
        if length < 8:
            break
        number = len(parts)
        parts.append(Part(at, at + 8, min(at + length, end), around, at, ">L"))
        if kind == b"jp2h":
            _boxes(data, at + 8, at + length, number, parts)
        at += length


def codestream(chance: random.Random) -> bytes:
    return mutant(chance, _codestreams())


@cache
def _fragmented() -> list[Seed]:
    seeds = []
    for number in range(12):
        chance = random.Random(number)
        out = BytesIO()
        pieces = [chance.randbytes(chance.randrange(30)) for _ in range(chance.randrange(1, 6))]
        writer = Writer(out, len(pieces), chance.choice((0, 1 << 32)))
        for piece in pieces:
            writer.frame(memoryview(b"\xff\xd8" + piece))
        writer.end()
        data = out.getvalue()[12:]
        parts, at = [], 0
        while at + 8 <= len(data):
            (length,) = struct.unpack_from("<4xL", data, at)
            parts.append(Part(at, at + 8, at + 8 + length, -1, at + 4, "<L"))
            at += 8 + length
        seeds.append(Seed(data, parts))
    return seeds


def fragments(chance: random.Random) -> bytes:
    return mutant(chance, _fragmented())


# -- what must hold


def claims(data: bytes) -> str:
    """What a codestream claims is bounded, or refused, by each of those who may be asked, and without reading on."""
    memory, chance = memoryview(data), random.Random(zlib.crc32(data))
    described = chance.choice(DESCRIPTIONS)
    outcome = "refused"
    for inspect in INSPECTIONS:
        try:
            planes, lossy = inspect(memory, described)
        except (Corrupt, Unfit):
            continue
        if inspect not in (rle.inspect, deflate.inspect):  # these believe the data set
            outcome = "read"
        if pixels.undecodable(described, planes, MAX_FRAME_BYTES) is None:
            assert planes.size_bytes <= MAX_FRAME_BYTES
        assert lossy in (True, False)
        _as_decoders_do(memory, planes)
    _decode_in_python(memory, described)
    return outcome


def _as_decoders_do(memory: memoryview, planes: Planes) -> None:
    """What the decoders read themselves before they hand a codestream to their library."""
    try:
        if jpeg2000.bare(memory)[:2] == b"\xff\x4f":
            bare = jpeg2000.bare(memory)
            jpeg2000.expect(bare, planes)
            cleaned = jpeg2000.for_openjpeg(bare)
            assert len(cleaned) <= len(bare)
            assert jpeg2000.for_openjpeg(cleaned) == cleaned
        elif memory[:2] == b"\xff\xd8":
            if jpegls.BEGINS and b"\xff\xf7" in bytes(memory[:600]):
                jpegls._up_to_eoi(memory)
            header = jpeg.read(memory)
            assert header.planes.rows >= 1
            _entropy_coded(jpeg.intervals(header, memory), len(memory))
        else:
            jpegxl.expect(jpegxl.bare(memory), planes)
    except (Corrupt, Unfit):
        pass


def _entropy_coded(intervals: Sequence[bytes], size: int) -> None:
    assert sum(map(len, intervals)) <= size


def _decode_in_python(memory: memoryview, described: Description) -> None:
    """Run lengths and deflate, whose frames are taken apart here."""
    for codec in (rle, deflate):
        planes = codec.planes(described)
        room = memoryview(bytearray(planes.size_bytes))
        try:
            codec.decode(memory, planes, room)
        except (Corrupt, Unfit):
            continue


def places(data: bytes) -> str:
    """Fragments give as many frames as the image has, and no byte that is not there, or are Corrupt."""
    chance = random.Random(zlib.crc32(data))
    number = chance.choice((1, 1, 2, 3, 4, 5, 0, -1, 70000))
    extended = [chance.randrange(60) for _ in range(number)] if 0 < number < 6 and chance.random() < 0.3 else None
    begins = chance.choice((b"", b"\xff\xd8"))
    try:
        found = list(frames(lambda at, length: data[at : at + length], 0, number, extended, begins))
    except Corrupt:
        return "refused"
    assert len(found) == number
    ends = 0
    for place in (place for frame in found for place in frame):
        assert ends <= place[0] <= place[0] + place[1] <= len(data)
        ends = place[0] + place[1]
    return "read"
