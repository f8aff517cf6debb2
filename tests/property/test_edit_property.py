"""Datasets that hypothesis makes up: nested, private, odd, in all encodings; and bytes that mean harm."""

import struct
from collections import ChainMap
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.dicom.edit import Copy, Replacements, element_header, rewrite, swapped
from leyden.dicom.elements import (
    BIG,
    EXPLICIT,
    IMPLICIT,
    ITEM,
    ITEM_END,
    LONG_FORM,
    SEQUENCE_END,
    UNDEFINED,
    WORD_BYTES,
    ByteSource,
    Encoding,
    dictionary_vr,
    walk,
)
from leyden.dicom.header import Dataset, peek
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, SYNTAXES
from leyden.errors import Corrupt

SYNTAX = {IMPLICIT: SYNTAXES[IMPLICIT_LE], EXPLICIT: SYNTAXES[EXPLICIT_LE], BIG: SYNTAXES[EXPLICIT_BE]}

# A tree: tag -> a VR and a value in little endian, or a list of items, which are trees.
Tree = dict[int, "tuple[str, bytes] | list[Tree]"]

KNOWN = (0x00080005, 0x00080018, 0x00080060, 0x00100010, 0x00181063, 0x00189219, 0x00280010, 0x00281052, 0x00420011,
         0x00209165, 0x00720082, 0x0040A160, 0x00081190, 0x00660016, 0x00460044, 0x00281201)  # fmt: skip
SEQUENCES = (0x00081140, 0x00081199, 0x00409096, 0x52009230)
PRIVATE = (0x00091001, 0x000910FF, 0x00111010)


def value_of(vr: str) -> st.SearchStrategy[bytes]:
    word_bytes = WORD_BYTES.get(vr, 2)
    return st.integers(0, 6 if vr != "OB" else 1200).flatmap(
        lambda words: st.binary(min_size=words * word_bytes, max_size=words * word_bytes)
    )


def leaf(tag: int) -> st.SearchStrategy[tuple[str, bytes]]:
    vr = dictionary_vr(tag)
    if tag in PRIVATE:
        return st.sampled_from(["UN", "LO", "OB", "US", "FD", "UT"]).flatmap(
            lambda vr: st.tuples(st.just(vr), value_of(vr))
        )
    return st.tuples(st.just(vr), value_of(vr))


def trees(depth: int) -> st.SearchStrategy[Tree]:
    leaves = st.sets(st.sampled_from(KNOWN + PRIVATE), max_size=5).flatmap(
        lambda tags: st.fixed_dictionaries({tag: leaf(tag) for tag in sorted(tags)})
    )
    if not depth:
        return leaves
    items = trees(depth - 1)
    branches = st.dictionaries(st.sampled_from(SEQUENCES), st.lists(items, max_size=3), max_size=2)
    # A private sequence without items is no longer known as one in implicit VR.
    private = st.dictionaries(st.just(0x00131010), st.lists(items, min_size=1, max_size=2), max_size=1)
    return st.builds(lambda *parts: dict(sorted(ChainMap(*parts).items())), leaves, branches, private)


def encode(tree: Tree, encoding: Encoding, undefined: Callable[[], bool]) -> bytes:
    """The dataset in an encoding, written with nothing of what is tested."""
    order, data = encoding.order, b""

    def head(tag: int, vr: str, length: int) -> bytes:
        start = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
        if not encoding.explicit or not vr:
            return start + struct.pack(order + "L", length)
        if vr in LONG_FORM:
            return start + vr.encode() + struct.pack(order + "HL", 0, length)
        return start + vr.encode() + struct.pack(order + "H", length)

    def nest(tag: int, vr: str, content: bytes, end: int) -> bytes:
        # What is private and implicit is known as a sequence by its undefined length only.
        if undefined() or (tag & 0x10000 and tag != ITEM and not encoding.explicit):
            return head(tag, vr, UNDEFINED) + content + head(end, "", 0)
        return head(tag, vr, len(content)) + content

    for tag, what in tree.items():
        if isinstance(what, list):
            items = b"".join(nest(ITEM, "", encode(item, encoding, undefined), ITEM_END) for item in what)
            data += nest(tag, "SQ", items, SEQUENCE_END)
        else:
            vr, value = what
            data += head(tag, vr, len(value)) + (swapped(value, WORD_BYTES.get(vr, 1)) if order == ">" else value)
    return data


def decode(data: bytes, encoding: Encoding) -> Tree:
    """The tree again, by way of Dataset."""

    def tree_of(dataset: Dataset) -> Tree:
        tree: Tree = {}
        for tag, (_, vr, _, _, length, _) in dataset.read().items():
            if vr == "SQ" or (vr == "UN" and length == UNDEFINED):
                tree[tag] = [tree_of(item) for item in dataset.items(tag)]
            else:
                value = dataset.raw(tag) or b""
                tree[tag] = vr, swapped(value, WORD_BYTES.get(vr, 1)) if encoding is BIG else value
        return tree

    return tree_of(whole(data, encoding))


def source(data: bytes) -> ByteSource:
    return ByteSource(lambda offset, length: data[offset : offset + length], len(data))


def whole(data: bytes, encoding: Encoding) -> Dataset:
    return Dataset(source(data), 0, len(data), encoding)


def made(data: bytes, encoding: Encoding, target: Encoding) -> bytes:
    done = b""
    for piece in rewrite(whole(data, encoding), SYNTAX[target], {}):
        if isinstance(piece, bytes):
            done += piece
        elif isinstance(piece, Copy):
            done += swapped(data[piece.offset : piece.offset + piece.length], piece.swap)
        else:
            raise AssertionError(piece)
    return done


def as_implicit(tree: Tree) -> Tree:
    """What a tree looks like once it went through implicit VR: private elements lose their VR."""
    return {
        tag: [as_implicit(item) for item in what]
        if isinstance(what, list)
        else ("UN" if tag & 0x10000 else what[0], what[1])
        for tag, what in tree.items()
    }


@settings(max_examples=100, deadline=None)
@given(tree=trees(3), encoding=st.sampled_from([IMPLICIT, EXPLICIT, BIG]), choices=st.randoms(use_true_random=False))
def test_another_encoding_holds_the_same_elements(tree: Tree, encoding: Encoding, choices: "st.Random") -> None:
    """Converts "implicit and explicit little endian, explicit big endian ... any one into any other" (README.md)."""
    data = encode(tree, encoding, lambda: choices.random() < 0.5)
    known = as_implicit(tree) if encoding is IMPLICIT else tree
    assert decode(data, encoding) == known
    explicit, implicit, big = (made(data, encoding, target) for target in (EXPLICIT, IMPLICIT, BIG))
    assert decode(explicit, EXPLICIT) == known
    assert decode(big, BIG) == known
    assert decode(implicit, IMPLICIT) == as_implicit(tree)
    assert data == {EXPLICIT: explicit, IMPLICIT: implicit, BIG: big}[encoding]
    assert len(big) == len(explicit)
    assert made(explicit, EXPLICIT, BIG) == big
    assert made(big, BIG, EXPLICIT) == explicit
    assert decode(made(explicit, EXPLICIT, IMPLICIT), IMPLICIT) == as_implicit(tree)
    again = made(implicit, IMPLICIT, EXPLICIT)
    assert decode(again, EXPLICIT) == as_implicit(tree)
    assert made(made(again, EXPLICIT, IMPLICIT), IMPLICIT, EXPLICIT) == again
    assert made(made(implicit, IMPLICIT, BIG), BIG, EXPLICIT) == again


@settings(max_examples=100, deadline=None)
@given(
    tree=trees(1),
    replace=st.dictionaries(
        st.sampled_from(KNOWN), st.none() | st.binary(max_size=9).map(lambda value: ("OB", value)), max_size=4
    ),
    encoding=st.sampled_from([IMPLICIT, EXPLICIT, BIG]),
    target=st.sampled_from([IMPLICIT, EXPLICIT, BIG]),
)
def test_what_is_replaced_changes_and_nothing_else(
    tree: Tree, replace: dict[int, tuple[str, bytes] | None], encoding: Encoding, target: Encoding
) -> None:
    """A transcoded dataset "differs in pixel data and in the attributes that its syntax demands" (ARCHITECTURE.md)."""
    data = encode(tree, encoding, lambda: False)
    done = b""
    for piece in rewrite(whole(data, encoding), SYNTAX[target], replace):
        assert isinstance(piece, bytes | Copy)
        done += piece if isinstance(piece, bytes) else swapped(data[piece.offset :][: piece.length], piece.swap)
    seen = decode(done, target)
    assert list(seen) == sorted(seen)
    for tag, new in replace.items():
        if new is None:
            assert tag not in seen
        else:
            assert seen[tag][1] == new[1] + b"\0" * (len(new[1]) & 1) or target is IMPLICIT
    kept = {tag: what for tag, what in as_implicit(tree).items() if tag not in replace}
    assert {tag: what for tag, what in as_implicit(seen).items() if tag not in replace} == kept


FOLDER = Path(pydicom.data.__file__).parent / "test_files"
SEEDS = [
    (FOLDER / name).read_bytes()[:6000]
    for name in (
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "rtdose.dcm",
        "test-SR.dcm",
        "nested_priv_SQ.dcm",
        "UN_sequence.dcm",
        "JPEG2000.dcm",
        "image_dfl.dcm",
        "SC_rgb_rle_2frame.dcm",
    )
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(data) - 1, 0)))
        what = draw(st.integers(0, 4))
        if what == 0:
            data[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif what == 1:
            data[place : place + 4] = draw(
                st.sampled_from([b"\xff" * 4, bytes(4), b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"])
            )
        elif what == 2:
            del data[place : place + draw(st.integers(1, 40))]
        elif what == 3:
            data[place:place] = data[place : place + draw(st.integers(1, 200))]
        else:
            del data[place + 1 :]
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(data=mutated())
def test_broken_files_raise_corrupt_or_nothing(data: bytes) -> None:
    """A damaged file is read, or is Corrupt; "what cannot be parsed goes on byte for byte" (README.md)."""
    try:
        header = peek(lambda offset, length: data[offset : offset + length], len(data))
    except Corrupt:
        return
    for tag in [*header.dataset.read(), 0x00020010]:
        header.texts(tag)
        header.dataset.vr(tag)
        header.dataset.integer(tag)
        header.dataset.private_tag(tag >> 16, tag, "GEMS")
        with suppress(Corrupt):
            header.dataset.items(tag)
    with suppress(Corrupt):
        list(header.dataset.find(0x00081155))
    dataset = header.dataset
    for target in SYNTAX.values():
        with suppress(Corrupt):
            replace: Replacements = {
                0x00082112: ("SQ", dataset.items(0x00082112)),
                0x00280004: ("CS", b"RGB"),
            }
            for piece in rewrite(dataset, target, replace):
                if isinstance(piece, Copy):
                    assert dataset.start <= piece.offset <= piece.offset + piece.length <= dataset.end
                    assert piece.length % piece.swap == 0


@settings(max_examples=200, deadline=None)
@given(junk=st.binary(max_size=300), encoding=st.sampled_from(list(SYNTAX)))
def test_junk_raises_corrupt_or_nothing(junk: bytes, encoding: Encoding) -> None:
    """Bytes of any kind are read, or are Corrupt; "what cannot be parsed goes on byte for byte" (README.md)."""
    with suppress(Corrupt):
        list(walk(source(junk), 0, len(junk), encoding))
    data = encode_head(FileMeta("1.2", "1.3", SYNTAX[encoding].uid)) + junk
    try:
        header = peek(lambda offset, length: data[offset : offset + length], len(data))
    except Corrupt:
        return
    assert [header.texts(tag) is not None for tag in header.dataset.read()].count(False) == 0


@given(value=st.binary(max_size=40), word_bytes=st.sampled_from([1, 2, 4, 8]))
def test_swapping_bytes_twice_gives_the_bytes_that_came(value: bytes, word_bytes: int) -> None:
    """What goes to explicit big endian and back is the same to the byte (PS3.5 7.3)."""
    assert swapped(swapped(value, word_bytes), word_bytes) == value


@given(
    tag=st.integers(0, 0xFFFDFFFF),
    vr=st.sampled_from(["LO", "OB", "UN", "US"]),
    length=st.integers(0, UNDEFINED),
    encoding=st.sampled_from([EXPLICIT, BIG]),
)
def test_headers_can_be_read_again(tag: int, vr: str, length: int, encoding: Encoding) -> None:
    """An element's header is read as it was written; what is too long for its VR as UN (PS3.5 7.1.2, 6.2.2)."""
    data = element_header(tag, vr, length, encoding)
    seen = source(data).head(0, len(data), encoding)
    assert seen == (tag, vr if len(data) == 8 or vr in LONG_FORM else "UN", len(data), length)
