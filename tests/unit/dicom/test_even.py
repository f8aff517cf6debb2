"""Values of odd length: what is padded and how, what grows around them, and what stays byte for byte."""

import struct
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leyden.dicom.elements import BIG, EXPLICIT, IMPLICIT, UNDEFINED, ByteSource, Encoding
from leyden.dicom.even import MAX_CHANGES, PaddedView, changes, odd_inside
from leyden.dicom.header import Dataset
from leyden.errors import Corrupt
from support.datasets import FILES, ITEM, ITEM_END, PIXELS, SEQUENCE_END, dataset_of, el, whole

El = Callable[..., bytes]
ENDED = el(SEQUENCE_END, "")


def dataset(data: bytes, encoding: Encoding = EXPLICIT) -> Dataset:
    source = ByteSource(lambda offset, length: data[offset : offset + length], len(data))
    return Dataset(source, 0, len(data), encoding)


def evened(data: bytes, encoding: Encoding = EXPLICIT) -> bytes:
    view = PaddedView(lambda at, length: data[at : at + length], len(data), changes(dataset(data, encoding))[0])
    made = view.read_at(0, view.size)
    assert len(made) == view.size
    assert not changes(dataset(made, encoding))[0]
    return made


def writer(encoding: Encoding) -> El:
    """el() in another encoding."""

    def write(tag: int, vr: str, value: bytes = b"", length: int | None = None) -> bytes:
        return el(tag, vr if encoding.explicit else "", value, length, encoding.order)

    return write


def item(data: bytes, length: int | None = None) -> bytes:
    return el(ITEM, "", data, length)


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
@pytest.mark.parametrize(
    ("tag", "vr", "pad"),
    [
        (0x00080018, "UI", b"\0"),
        (0x00100010, "PN", b" "),
        (0x00100020, "LO", b" "),
        (0x00080060, "CS", b" "),
        (0x00280030, "DS", b" "),
        (0x00204000, "LT", b" "),
        (0x00081190, "UR", b" "),
        (0x00420011, "OB", b"\0"),
        (0x00091001, "UN", b"\0"),
        (0x00280010, "US", b"\0"),
    ],
)
def test_a_value_is_padded_as_its_vr_says(encoding: Encoding, tag: int, vr: str, pad: bytes) -> None:
    el = writer(encoding)
    before, after = el(0x00080008, "CS", b"ORIGINAL"), el(0x7FE10010, "LO", b"AB")
    early = encoding is BIG and vr == "US"
    value = b"12" + pad + b"3" if early else b"123" + pad
    assert evened(before + el(tag, vr, b"123") + after, encoding) == before + el(tag, vr, value) + after


@pytest.mark.parametrize("vr", ["  ", "??"])
def test_without_a_vr_the_dictionary_tells(vr: str) -> None:
    tag = struct.pack("<HH", 0x0008, 0x0060)
    assert evened(tag + vr.encode() + struct.pack("<H", 1) + b"M") == tag + b"CS" + struct.pack("<H", 2) + b"M "


def test_a_text_that_grows_too_long_for_its_vr_becomes_un() -> None:
    text = b"x" * 65535
    inside = el(0x00204000, "LT", text)
    padded = el(0x00204000, "UN", text + b" ")
    assert evened(inside) == padded
    assert evened(el(0x00081140, "SQ", item(inside))) == el(0x00081140, "SQ", item(padded))


def test_defined_lengths_around_it_grow_and_undefined_ones_stay() -> None:
    uid, padded = el(0x00081155, "UI", b"1.2"), el(0x00081155, "UI", b"1.2\0")
    for wrap in (
        lambda inside: el(0x00081140, "SQ", item(inside)),
        lambda inside: el(0x00081140, "SQ", item(inside, UNDEFINED) + el(ITEM_END, "") + ENDED, UNDEFINED),
        lambda inside: el(0x00081140, "SQ", item(b"") + item(el(0x00081199, "SQ", item(inside) + item(b"")))),
        lambda inside: el(0x00081140, "SQ", item(inside) + ENDED, UNDEFINED) + el(0x00082218, "SQ"),
    ):
        assert evened(wrap(uid)) == wrap(padded)
        assert evened(wrap(uid + uid)) == wrap(padded + padded)


def test_group_lengths_count_what_was_put_in() -> None:
    def group(group: int, value: bytes) -> bytes:
        return el(group << 16, "UL", struct.pack("<L", len(value))) + value

    def made(uid: bytes, last: bytes) -> bytes:
        nested = group(0x0008, el(0x00081155, "UI", uid))
        return (
            group(0x0008, el(0x00080018, "UI", uid) + el(0x00081140, "SQ", item(nested)))
            + group(0x0010, el(0x00100020, "LO", b"EVEN"))
            + el(0x00200010, "SH", last)
        )

    assert evened(made(b"1.2", b"1")) == made(b"1.2\0", b"1 ")


def test_what_is_unknown_is_not_entered() -> None:
    inside = item(el(0x00081155, "UI", b"1.2"))
    assert evened(el(0x00091001, "UN", inside)) == el(0x00091001, "UN", inside + b"\0")


def test_unknown_of_undefined_length_is_implicit_inside() -> None:
    def made(value: bytes) -> bytes:
        return el(0x00091001, "UN", item(el(0x00081155, "", value)) + ENDED, UNDEFINED)

    assert evened(made(b"1.2")) == made(b"1.2\0")


def test_native_pixels_and_what_follows_them() -> None:
    def made(pixels: bytes, last: bytes) -> bytes:
        return el(0x00280010, "US", b"\3\0") + el(PIXELS, "OB", pixels) + el(0xFFFCFFFC, "OB", last)

    assert evened(made(b"123456789", b"abc")) == made(b"123456789\0", b"abc\0")


def fragments(*values: bytes, table: bytes = b"") -> bytes:
    return el(PIXELS, "OB", item(table) + b"".join(map(item, values)) + ENDED, UNDEFINED)


def frames(number: int | str) -> bytes:
    text = str(number).encode()
    return el(0x00280008, "IS", text + b" " * (len(text) % 2))


def longs(*numbers: int, form: str = "L") -> bytes:
    return struct.pack(f"<{len(numbers)}{form}", *numbers)


@pytest.mark.parametrize("base", [0, 8, 20])
def test_a_fragment_a_frame_and_the_tables_that_count_them(base: int) -> None:
    odd, even = (b"a", b"bbb", b"cc", b"d"), (b"a\0", b"bbb\0", b"cc", b"d\0")
    here, there = (base, base + 9, base + 20, base + 30), (base, base + 10, base + 22, base + 32)
    lengths = el(0x7FE00002, "OV", longs(1, 3, 2, 1, form="Q"))
    extended = frames(4) + el(0x7FE00001, "OV", longs(*here, form="Q")) + lengths
    counted = frames(4) + el(0x7FE00001, "OV", longs(*there, form="Q")) + lengths
    assert evened(frames(4) + fragments(*odd, table=longs(*here))) == frames(4) + fragments(*even, table=longs(*there))
    assert evened(extended + fragments(*odd)) == counted + fragments(*even)


@pytest.mark.parametrize("table", [longs(0, 10), longs(0, 5), longs(7, 1), b"odd", b"sixsix"])
def test_a_table_that_counts_something_else_stays(table: bytes) -> None:
    kept = table + b"\0" * (len(table) % 2)
    made = evened(frames(2) + fragments(b"a", b"bbb", table=table))
    assert made == frames(2) + fragments(b"a\0", b"bbb\0", table=kept)


@pytest.mark.parametrize(
    ("odd", "even"),
    [
        ((b"abc", b"def"), (b"abcd", b"ef")),
        ((b"abc", b"de"), (b"abcd", b"e\0")),
        ((b"abc", b"de", b"fg", b"h"), (b"abcd", b"ef", b"gh", b"")),
        ((b"ab", b"c", b"", b"d", b"ef", b"g"), (b"ab", b"cd", b"", b"", b"ef", b"g\0")),
        ((b"abc", b"", b"defg", b""), (b"abcd", b"", b"efg\0", b"")),
        ((b"abc", b"de", b"fghij"), (b"abcd", b"ef", b"ghij")),
    ],
)
@pytest.mark.parametrize("before", [b"", frames(1), frames("")])
@pytest.mark.parametrize("table", [b"", longs(0)])
def test_the_fragments_of_one_frame_are_one_codestream(
    odd: tuple[bytes, ...], even: tuple[bytes, ...], before: bytes, table: bytes
) -> None:
    assert evened(before + fragments(*odd, table=table)) == before + fragments(*even, table=table)


@pytest.mark.parametrize("base", [0, 8, 20])
@pytest.mark.parametrize("form", ["L", "Q"])
def test_a_table_divides_frames_of_several_fragments(base: int, form: str) -> None:
    def made(*values: bytes, second: int) -> bytes:
        table = longs(base, base + second, form=form)
        if form == "L":
            return frames(2) + fragments(*values, table=table)
        return frames(2) + el(0x7FE00001, "OV", table) + fragments(*values)

    odd = made(b"abc", b"de", b"f", b"ghi", second=8 + 3 + 8 + 2)
    assert evened(odd) == made(b"abcd", b"e\0", b"fg", b"hi", second=8 + 4 + 8 + 2)


@pytest.mark.parametrize(
    "pixels",
    [
        frames(2) + fragments(b"abc", b"de", b"fgh"),  # nothing divides them
        frames(2) + fragments(b"abc", b"de", b"fgh", table=longs(0, 12)),  # a table that points elsewhere
        frames(2) + fragments(b"abc", b"de", b"fgh", table=longs(0, 0)),
        frames(2) + fragments(b"abc", b"de", b"fgh", table=longs(0, 11, 21)),  # one of other frames
        frames("x ") + fragments(b"abc", b"def"),
        frames(0) + fragments(b"abc", b"def"),
        frames(1) + fragments(b"abc", b"def", table=longs(0, 11)),  # more than the one that is said
        fragments(b"\xff\xd8\xff\xe0a", b"\xff\xd8\xff\xe0b"),
    ],
)
def test_fragments_that_nothing_divides_stay(pixels: bytes) -> None:
    assert changes(dataset(pixels)) == ((), True)
    odd, even = el(0x00100020, "LO", b"abc"), el(0x00100020, "LO", b"abc ")
    (header, pad), undivided = changes(dataset(odd + pixels))
    assert undivided
    view = PaddedView(lambda at, length: (odd + pixels)[at : at + length], len(odd + pixels), (header, pad))
    assert view.read_at(0, view.size) == even + pixels


@given(st.lists(st.lists(st.binary(max_size=5), min_size=1, max_size=5), min_size=2, max_size=4))
def test_any_frames_keep_their_bytes(values: list[list[bytes]]) -> None:
    offsets, at = [], 0
    for frame in values:
        offsets.append(at)
        at += sum(8 + len(fragment) for fragment in frame)
    data = frames(len(values)) + fragments(*(part for frame in values for part in frame), table=longs(*offsets))
    made = evened(data)
    ends = [*_table_of(made), len(made) - len(_opening(values)) - len(ENDED)]
    for frame, (begin, end) in zip(values, pairwise(ends), strict=True):
        joined, at = b"", len(_opening(values)) + begin
        while at < len(_opening(values)) + end:
            (length,) = struct.unpack_from("<L", made, at + 4)
            assert length % 2 == 0
            joined += made[at + 8 : at + 8 + length]
            at += 8 + length
        whole = b"".join(frame)
        assert joined == whole + b"\0" * (len(whole) % 2)


def _opening(values: list[list[bytes]]) -> bytes:
    """What stands before the first fragment."""
    return (frames(len(values)) + fragments(table=bytes(4 * len(values))))[: -len(ENDED)]


def _table_of(data: bytes) -> tuple[int, ...]:
    at = len(frames(2)) + 12
    (length,) = struct.unpack_from("<L", data, at + 4)
    return struct.unpack_from(f"<{length // 4}L", data, at + 8)


@pytest.mark.parametrize("more", [0, 2, 70])
def test_of_an_odd_number_of_nuls_behind_the_last_element_one_is_left_out(more: int) -> None:
    text, padded, blank = el(0x00100020, "LO", b"abc"), el(0x00100020, "LO", b"abc "), bytes(more)
    assert evened(padded + blank + b"\0") == padded + blank
    assert evened(text + blank + b"\0") == padded + blank
    assert evened(text + blank) == padded + blank
    uid, nul = el(0x00081155, "UI", b"1.2"), el(0x00081155, "UI", b"1.2\0")
    assert evened(el(0x00081140, "SQ", item(uid + blank + b"\0"))) == el(0x00081140, "SQ", item(nul + blank))
    assert evened(el(0x00081140, "SQ", item(nul + blank + b"\0"))) == el(0x00081140, "SQ", item(nul + blank))


def test_an_icon_in_fragments() -> None:
    def made(fragment: bytes) -> bytes:
        return el(0x00880200, "SQ", item(fragments(fragment, table=longs(0))))

    assert evened(made(b"a")) == made(b"a\0")


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG], ids=["explicit", "implicit", "big endian"])
def test_what_is_odd_inside(encoding: Encoding) -> None:
    el = writer(encoding)

    def inside(value: bytes) -> list[bool]:
        uid = el(0x00081155, "UI", value)
        datasets = (
            el(0x00081140, "SQ", el(ITEM, "", uid)) + el(PIXELS, "OW", b"even"),
            el(0x00081140, "SQ", el(ITEM, "", uid + el(ITEM_END, ""), UNDEFINED) + el(SEQUENCE_END, ""), UNDEFINED),
            el(0x00081140, "SQ")
            + el(0x00082218, "SQ", el(ITEM, "") + el(ITEM, "", el(0x00081199, "SQ", el(ITEM, "", uid)))),
        )
        return [odd_inside(dataset(data, encoding)) for data in datasets]

    assert inside(b"1.2") == [True] * 3
    assert inside(b"1.2\0") == [False] * 3


@pytest.mark.parametrize(
    "data",
    [
        el(0x00080018, "UI", b"1.2") + el(0x00081140, "SQ", item(b"\x08\0\x18\0UI\x09\0"), 8),
        el(0x00080018, "UI", b"1.2") + b"\x08\0\x60\0",
        el(0x00080018, "UI", b"1.2", 9),
    ],
)
def test_what_does_not_parse_is_not_guessed_at(data: bytes) -> None:
    with pytest.raises(Corrupt):
        changes(dataset(data))


def test_the_number_of_changes_is_bounded_and_the_size_of_a_value_is_not() -> None:
    with pytest.raises(Corrupt, match="elements of odd length"):
        changes(dataset(el(0x00091001, "UN", b"x") * (MAX_CHANGES // 2 + 1)))
    data = struct.pack("<HH2sHL", 0x0009, 0x1001, b"UN", 0, UNDEFINED - 2)
    size = len(data) + UNDEFINED - 2
    huge = ByteSource(lambda at, length: data[at : at + length].ljust(min(length, size - at), b"\0"), size)
    assert changes(Dataset(huge, 0, size, EXPLICIT))[0][-1] == (size, 0, b"\0")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_real_files_are_even_already_or_become_so(path: object) -> None:
    data, syntax = dataset_of(path)  # type: ignore[arg-type]
    found, _ = changes(whole(data, syntax))
    view = PaddedView(lambda at, length: data[at : at + length], len(data), found)
    made = view.read_at(0, view.size)
    assert (made == data) == (not found)
    assert not changes(whole(made, syntax))[0]


VALUES = st.binary(max_size=5)


@st.composite
def levels(draw: st.DrawFn, depth: int = 0) -> list[tuple[int, str, object, bool]]:
    """Elements of one level: tag, VR, value (bytes, or items) and whether lengths are undefined."""
    found: list[tuple[int, str, object, bool]] = []
    for number in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["LO", "UI", "OB", "SQ"] if depth < 3 else ["LO", "UI", "OB"]))
        value = draw(st.lists(levels(depth + 1), max_size=3)) if kind == "SQ" else draw(VALUES)
        found.append((0x00090000 + 0x1000 + number, kind, value, draw(st.booleans())))
    return found


def encoded(elements: list[tuple[int, str, object, bool]], *, padded: bool) -> bytes:
    data = b""
    for tag, vr, value, undefined in elements:
        if isinstance(value, bytes):
            data += el(tag, vr, value + (b" " if vr == "LO" else b"\0") * (padded and len(value) % 2))
            continue
        assert isinstance(value, list)
        items = [encoded(inside, padded=padded) for inside in value]
        if undefined:
            ended = b"".join(item(data + el(ITEM_END, ""), UNDEFINED) for data in items) + ENDED
            data += el(tag, vr, ended, UNDEFINED)
        else:
            data += el(tag, vr, b"".join(map(item, items)))
    return data


@given(levels(), st.data())
def test_any_dataset(elements: list[tuple[int, str, object, bool]], draw: st.DataObject) -> None:
    odd, even = encoded(elements, padded=False), encoded(elements, padded=True)
    found, _ = changes(dataset(odd))
    view = PaddedView(lambda at, length: odd[at : at + length], len(odd), found)
    assert view.size == len(even)
    offset, length = draw.draw(st.integers(0, len(even) + 3)), draw.draw(st.integers(0, len(even) + 3))
    assert view.read_at(offset, length) == even[offset : offset + length]
    assert view.read_at(0, view.size) == even
