"""Fragments as we write them, and as others do."""

import contextlib
import io
import resource
import struct
from typing import Any

import numpy as np
import pytest
from pydicom.encaps import encapsulate as independent_encapsulate
from pydicom.encaps import generate_frames

from leyden.errors import Corrupt
from leyden.transcode.encapsulate import Writer, frames
from support.damage import survives

HEADER = bytes.fromhex("e07f1000") + b"OB\0\0\xff\xff\xff\xff"


def reader(data: bytes):  # type: ignore[no-untyped-def]
    return lambda offset, length: data[offset : offset + length]


def read(data: bytes, number_of_frames: int, offset: int = 0, **known: Any) -> list[bytes]:
    return [
        b"".join(data[at : at + n] for at, n in places)
        for places in frames(reader(data), offset, number_of_frames, **known)
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


@pytest.mark.parametrize("known", [{}, {"begins": b"\xff\xd8"}, {"extended": (0, 14)}])
def test_several_frames_are_not_taken_for_one(known: dict[str, Any]) -> None:
    table = b"" if known else struct.pack("<2L", 0, 14)
    data = item(table) + item(b"\xff\xd8abcd") + item(b"\xff\xd8efgh") + END
    with pytest.raises(Corrupt, match="several frames"):
        read(data, 1, **known)


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


THREE = item(b"ab") + item(b"cdef") + item(b"gh")  # at 0, 10 and 22


@pytest.mark.parametrize("offsets", [(0, 22), (8, 30), (16, 38)])
def test_a_table_may_count_from_elsewhere(offsets: tuple[int, int]) -> None:
    """From the first fragment, as it should; from its value; from the table."""
    assert read(item(struct.pack("<2L", *offsets)) + THREE + END, 2) == [b"abcdef", b"gh"]


def test_the_extended_table_divides_the_fragments() -> None:
    assert read(item(b"") + THREE + END, 2, extended=(0, 10)) == [b"ab", b"cdefgh"]
    assert read(item(b"") + THREE + END, 2, extended=(8, 18)) == [b"ab", b"cdefgh"]


def test_the_extended_table_goes_before_the_basic_one_where_it_fits() -> None:
    basic = item(struct.pack("<2L", 0, 22))
    assert read(basic + THREE + END, 2, extended=(0, 10)) == [b"ab", b"cdefgh"]
    for unfit in ((0, 11), (0,), (0, 10, 22), (10, 0), (1 << 40, 1 << 41), ()):
        assert read(basic + THREE + END, 2, extended=unfit) == [b"abcdef", b"gh"]


def test_an_extended_table_reaches_farther() -> None:
    """A sparse file of 5 GiB that is not there."""
    far = 5 << 30
    pieces = {0: item(b""), 8: struct.pack("<HHL", 0xFFFE, 0xE000, (1 << 32) - 2), 8 + 8 + (1 << 32) - 2: item(b"ab")}
    last = 8 + 8 + (1 << 32) - 2 + 10
    pieces |= {last: item(b"cd"), last + 10: END}

    def read_at(offset: int, length: int) -> bytes:
        return pieces.get(offset, bytes(8))[:length] if offset < far else b""

    found = list(frames(read_at, 0, 2, extended=(0, last - 8)))
    assert found == [[(16, (1 << 32) - 2), (last - 2, 2)], [(last + 8, 2)]]


def test_beginnings_divide_the_fragments_where_no_table_does() -> None:
    data = item(b"") + item(b"\xff\xd8ab") + item(b"cd") + item(b"") + item(b"\xff\xd8\xff\xd8") + END
    assert read(data, 2, begins=b"\xff\xd8") == [b"\xff\xd8abcd", b"\xff\xd8\xff\xd8"]
    for number_of_frames, begins in ((2, b""), (2, b"\xff\x4f"), (2, b"\xff\xd8ab"), (3 + 2, b"\xff\xd8")):
        with pytest.raises(Corrupt, match="divides"):
            read(data, number_of_frames, begins=begins)


def test_beginnings_divide_where_the_table_is_wrong() -> None:
    data = item(struct.pack("<2L", 0, 11)) + item(b"\xff\xd8") + item(b"ab") + item(b"\xff\xd8cd") + END
    assert read(data, 2, begins=b"\xff\xd8") == [b"\xff\xd8ab", b"\xff\xd8cd"]


@pytest.mark.parametrize("first", [b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP"])
def test_all_frames_begin_as_the_first_does(first: bytes) -> None:
    """Where boxes stand before each codestream, one that begins with a fragment is no frame of its own."""
    begins = rb"\xff\x4f\xff\x51|\0\0\0\x0cjP"
    other = b"\xff\x4f\xff\x51" if first != b"\xff\x4f\xff\x51" else b"\0\0\0\x0cjP"
    data = item(b"") + item(first) + item(other) + item(b"ab") + item(first + b"cd") + END
    assert read(data, 2, begins=begins) == [first + other + b"ab", first + b"cd"]
    with pytest.raises(Corrupt, match="several frames"):
        read(data, 1, begins=begins)
    assert read(item(b"") + item(first) + item(other) + END, 1, begins=begins) == [first + other]


def test_a_beginning_does_not_reach_into_the_next_fragment() -> None:
    data = item(b"") + item(b"ab\xfe\xff") + item(b"cd") + item(b"ab") + item(b"ef") + END
    assert read(data, 2, begins=b"ab") == [b"ab\xfe\xffcd", b"abef"]
    with pytest.raises(Corrupt, match="divides"):
        read(data, 2, begins=b"ab\xfe\xff")


@pytest.mark.parametrize("value", [b"", b"ab"])
@pytest.mark.parametrize("number_of_frames", [1, 2, 20_000])
def test_many_tiny_fragments_are_read_by_the_block(value: bytes, number_of_frames: int) -> None:
    data = item(b"") + item(b"\xff\x4f") + 19_998 * item(value) + item(b"\xff\x4f") + END
    reads: list[int] = []

    def read_at(offset: int, length: int) -> bytes:
        reads.append(length)
        return data[offset : offset + length]

    with contextlib.suppress(Corrupt):
        found = list(frames(read_at, 0, number_of_frames, begins=rb"\xff\x4f"))
        assert len(found) == number_of_frames
        assert value or number_of_frames == 20_000 or sum(map(len, found)) == 2, "what holds nothing is nobody's"
    assert sum(reads) < 5 * len(data)
    assert len(reads) < 300


def test_no_beginning_before_the_first_fragment() -> None:
    data = item(b"") + item(b"zz") + item(b"\xff\xd8") + item(b"\xff\xd8") + END
    with pytest.raises(Corrupt, match="divides"):
        read(data, 2, begins=b"\xff\xd8")


def test_empty_fragments_belong_to_nobody() -> None:
    data = item(b"") + item(b"") + item(b"ab") + item(b"") + item(b"cd") + item(b"") + END
    assert read(data, 2) == [b"ab", b"cd"]
    assert read(data, 1) == [b"abcd"]


def test_a_wrong_table_is_of_no_account_where_each_frame_is_a_fragment() -> None:
    assert read(item(struct.pack("<3L", 0, 0, 7)) + THREE + END, 3) == [b"ab", b"cdef", b"gh"]


@pytest.mark.parametrize("fragments", [b"", THREE])
def test_no_frames_are_corrupt(fragments: bytes) -> None:
    with pytest.raises(Corrupt, match="fragments for 0 frames"):
        read(item(b"") + fragments + END, 0)


def test_an_odd_length_is_taken_at_its_word() -> None:
    data = item(b"") + item(b"abc") + item(b"d") + END
    assert read(data, 2) == [b"abc", b"d"]
    with pytest.raises(Corrupt, match="no fragment"):
        read(item(b"") + item(b"abc") + b"\0" + item(b"d") + END, 2)


@pytest.mark.parametrize("number_of_frames", [1, 3])
def test_a_file_may_end_after_a_whole_fragment(number_of_frames: int) -> None:
    assert b"".join(read(item(b"") + THREE, number_of_frames)) == b"abcdefgh"
    for missing in range(1, len(END)):
        with pytest.raises(Corrupt, match="ends too early"):
            read(item(b"") + THREE + END[:-missing], number_of_frames)


@pytest.mark.parametrize(
    ("data", "number_of_frames", "what"),
    [
        (b"", 1, "without an item"),
        (END, 1, "without an item"),
        (item(b""), 1, "0 fragments"),
        (item(b"") + END, 1, "0 fragments"),
        (item(b"")[:7], 1, "ends too early"),
        (item(b"") + item(b"abcd")[:-1], 1, "longer than the file"),
        (item(b"") + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFE), 1, "longer than the file"),
        (item(b"") + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF), 1, "no fragment"),
        (item(b"") + struct.pack("<HHL", 0x0028, 0x0010, 2) + b"ab", 1, "no fragment"),
        (item(b"") + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "divides"),
        (item(b"") + item(b"ab") + END, 2, "divides"),
        (item(struct.pack("<2L", 0, 11)) + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "divides"),
        (item(struct.pack("<2L", 10, 20)) + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "divides"),
        (item(struct.pack("<2L", 10, 0)) + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "divides"),
        (item(struct.pack("<2L", 0, 99)) + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "divides"),
        (item(struct.pack("<2L", 0, 0)) + item(b"ab") + item(b"cd") + item(b"ef") + END, 2, "divides"),
    ],
)
def test_what_does_not_parse(data: bytes, number_of_frames: int, what: str) -> None:
    with pytest.raises(Corrupt, match=what):
        read(data, number_of_frames)


def damaged_without_end() -> None:
    """Thousands of damaged pieces of Pixel Data: frames within the file, or Corrupt, and no memory kept."""
    random = np.random.default_rng(5)
    whole = independent_encapsulate([b"\xff\xd8" + bytes(range(40)) for _ in range(7)], fragments_per_frame=3) + END
    kept = 0
    for number in range(10_000):
        data = bytearray(whole)
        for _ in range(random.integers(1, 6)):
            data[random.integers(len(data))] = random.integers(256)
        if number % 4 == 0:
            del data[random.integers(len(data)) :]
        wanted = int(random.integers(1, 9))
        extended = random.integers(0, 1 << 63, wanted).tolist() if number % 2 else None
        with contextlib.suppress(Corrupt):
            found = list(frames(reader(bytes(data)), 0, wanted, extended=extended, begins=b"\xff\xd8"))
            assert len(found) == wanted
            assert sum(length for places in found for _, length in places) <= len(data)
        if number == 1000:
            kept = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - kept < 16 << 10, "KiB more than at the beginning"


def test_damage_ends_in_frames_or_corrupt() -> None:
    assert survives(damaged_without_end)
