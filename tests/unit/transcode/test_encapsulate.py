"""Fragments as we write them, and as others do."""

import io
import struct

import pytest
from pydicom.encaps import encapsulate as independent_encapsulate
from pydicom.encaps import generate_frames

from leyden.errors import Corrupt
from leyden.transcode.encapsulate import Writer, frames

HEADER = bytes.fromhex("e07f1000") + b"OB\0\0\xff\xff\xff\xff"


def reader(data: bytes):  # type: ignore[no-untyped-def]
    return lambda offset, length: data[offset : offset + length]


def read(data: bytes, number_of_frames: int, offset: int = 0) -> list[bytes]:
    return [
        b"".join(data[at : at + n] for at, n in places) for places in frames(reader(data), offset, number_of_frames)
    ]


def written(codestreams: list[bytes], reach_bytes: int = 1000) -> bytes:
    out = io.BytesIO()
    writer = Writer(out, len(codestreams), reach_bytes)
    for codestream in codestreams:
        writer.frame(memoryview(codestream))
    writer.end()
    out.write(b"next")
    return out.getvalue()


def item(value: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(value)) + value


END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def test_the_bytes_that_are_written() -> None:
    data = written([b"abc", b"defg"])
    table = item(struct.pack("<2L", 0, 12))
    assert data == HEADER + table + item(b"abc\0") + item(b"defg") + END + b"next"


def test_an_independent_reader_finds_the_frames() -> None:
    data = written([b"abcd", b"", b"efghij"])
    found = list(generate_frames(data[12:-4], number_of_frames=3))
    assert found == [b"abcd", b"", b"efghij"]


def test_no_table_where_its_offsets_could_not_reach() -> None:
    data = written([b"ab", b"cd"], reach_bytes=1 << 32)
    assert data == HEADER + item(b"") + item(b"ab") + item(b"cd") + END + b"next"


def test_one_frame_has_all_fragments() -> None:
    data = item(b"") + item(b"ab") + item(b"cd") + item(b"ef") + END
    assert read(data, 1) == [b"abcdef"]


def test_as_many_fragments_as_frames_need_no_table() -> None:
    data = b"before" + item(b"") + item(b"ab") + item(b"cd") + END
    assert read(data, 2, offset=6) == [b"ab", b"cd"]


def test_a_table_divides_the_fragments() -> None:
    data = independent_encapsulate([b"abcdefgh", b"ijkl", b"mnopqr"], fragments_per_frame=2) + END
    assert read(data, 3) == [b"abcdefgh", b"ijkl", b"mnopqr"]


def test_a_delimiter_within_a_fragment_is_data() -> None:
    data = item(b"") + item(END + b"ab") + item(END) + END
    assert read(data, 2) == [END + b"ab", END]


@pytest.mark.parametrize(
    ("data", "number_of_frames", "what"),
    [
        (b"", 1, "ends too early"),
        (END, 1, "without an item"),
        (item(b""), 1, "ends too early"),
        (item(b"") + item(b"abcd")[:-1], 1, "longer than the file"),
        (item(b"") + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFE), 1, "longer than the file"),
        (item(b"") + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF), 1, "no fragment"),
        (item(b"") + struct.pack("<HHL", 0x0028, 0x0010, 2) + b"ab", 1, "no fragment"),
        (item(b"") + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "no offset table"),
        (item(b"") + item(b"ab") + END, 2, "no offset table"),
        (item(struct.pack("<2L", 0, 11)) + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "between"),
        (item(struct.pack("<2L", 0, 99)) + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "behind"),
        (item(struct.pack("<2L", 0, 0)) + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "between"),
        (item(b"") + END, 0, "0 frames"),
        (item(b"") + END, 1 << 40, "frames"),
    ],
)
def test_what_does_not_parse(data: bytes, number_of_frames: int, what: str) -> None:
    with pytest.raises(Corrupt, match=what):
        read(data, number_of_frames)
