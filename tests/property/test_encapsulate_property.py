"""Whatever codestreams are written are read again, by us and by pydicom; damage ends in frames or Corrupt."""

import io
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import generate_frames

from leyden.errors import Corrupt
from leyden.transcode.encapsulate import Writer, frames

CODESTREAMS = st.lists(st.binary(max_size=40), min_size=1, max_size=12)


def padded(codestream: bytes) -> bytes:
    return codestream + b"\0" * (len(codestream) & 1)


def read(data: bytes, number_of_frames: int, **known: Any) -> list[bytes]:
    places = frames(lambda offset, length: data[offset : offset + length], 0, number_of_frames, **known)
    return [b"".join(data[at : at + n] for at, n in frame) for frame in places]


def written(codestreams: list[bytes], reach_bytes: int) -> bytes:
    out = io.BytesIO()
    writer = Writer(out, len(codestreams), reach_bytes)
    for codestream in codestreams:
        writer.frame(memoryview(codestream))
    writer.end()
    return out.getvalue()[12:]


@given(CODESTREAMS, st.sampled_from([0, 1 << 32]))
def test_the_frames_that_are_written_are_read_by_us_and_by_pydicom(codestreams: list[bytes], reach_bytes: int) -> None:
    """Encapsulated Pixel Data gives back each codestream, with or without an offset table (PS3.5 A.4)."""
    data = written(codestreams, reach_bytes)
    expected = [padded(codestream) for codestream in codestreams]
    assert read(data, len(codestreams)) == expected
    assert list(generate_frames(data, number_of_frames=len(codestreams))) == expected


@given(st.lists(st.lists(st.binary(max_size=9), min_size=1, max_size=4), min_size=1, max_size=6))
def test_an_offset_table_says_which_fragments_make_a_frame(parts: list[list[bytes]]) -> None:
    """Which fragments make a frame is told by their number, by there being one frame only, or by a table
    (DECISIONS.md 64)."""
    offsets, body = [], b""
    for frame in parts:
        offsets.append(len(body))
        for part in frame:
            body += struct.pack("<HHL", 0xFFFE, 0xE000, len(padded(part))) + padded(part)
    table = struct.pack(f"<{len(offsets)}L", *offsets)
    data = struct.pack("<HHL", 0xFFFE, 0xE000, len(table)) + table + body + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    assert read(data, len(parts)) == [b"".join(map(padded, frame)) for frame in parts]


@given(st.lists(st.lists(st.binary(max_size=9), max_size=4), min_size=1, max_size=6), st.booleans())
def test_without_a_table_a_frame_begins_where_a_codestream_begins(
    parts: list[list[bytes]], empty_between: bool
) -> None:
    """Fragments without a table are read, as "each frame begins with its header" (DECISIONS.md 66)."""
    body = b""
    for frame in parts:
        for part in (b"\xff\xd8\xff\xf7", *(b"\0" + part for part in frame), *[b""] * empty_between):
            body += struct.pack("<HHL", 0xFFFE, 0xE000, len(padded(part))) + padded(part)
    data = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + body + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
    expected = [b"\xff\xd8\xff\xf7" + b"".join(padded(b"\0" + part) for part in frame) for frame in parts]
    assert read(data, len(parts), begins=b"\xff\xd8") == expected


@given(CODESTREAMS, st.data())
def test_damage_ends_in_frames_or_corrupt(codestreams: list[bytes], data: st.DataObject) -> None:
    """Damaged fragments give as many frames as the image has, or are Corrupt; never more bytes than there were."""
    whole = bytearray(written(codestreams, 0))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    number_of_frames = data.draw(st.integers(-1, 14))
    extended = data.draw(st.none() | st.lists(st.integers(0, 1 << 64), max_size=14))
    try:
        found = read(cut, number_of_frames, extended=extended, begins=data.draw(st.sampled_from([b"", b"\xff\xd8"])))
    except Corrupt:
        return
    assert len(found) == number_of_frames
    assert sum(map(len, found)) <= len(cut)
