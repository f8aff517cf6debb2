"""Any edits of any dataset, in any encoding: pydicom makes the same ones, and reads the same result."""

from io import BytesIO

import pydicom
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.dicom.draft import Draft
from leyden.dicom.edit import rewrite
from leyden.dicom.header import Dataset
from leyden.dicom.uids import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, SYNTAXES, Syntax
from support.datasets import as_file, joined, whole

SYNTAX = [SYNTAXES[uid] for uid in (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)]
TEXTS = {  # tag -> texts that fit its VR
    0x00080050: st.text("ABC0123456789", min_size=0, max_size=16),
    0x00080060: st.sampled_from(["CT", "MR", "US"]),
    0x00100010: st.sampled_from(["Doe^Jane", "Müller^Jörg", "山田^太郎", ""]),
    0x00100020: st.text("abcdef 0123", min_size=1, max_size=64).map(str.strip),
    0x00101030: st.sampled_from(["70", "70.5", "-1e3"]),
    0x00280010: st.integers(0, 65535).map(str),
    0x00189219: st.sampled_from(["0", "1"]),
    0x00402001: st.text("xyz", max_size=64),
    0x00324000: st.just("a\\b\r\nc"),
}
NUMBERS = {0x00280010, 0x00189219}
SEQUENCES = (0x00081140, 0x00400275)
ANY_TEXT = st.sampled_from(sorted(TEXTS)).flatmap(lambda tag: st.tuples(st.just(tag), TEXTS[tag]))

Edits = list[tuple[object, ...]]


def peers(depth: int = 2) -> st.SearchStrategy[pydicom.Dataset]:
    """Datasets, sequences of them included."""

    def build(given: tuple[list[tuple[int, str]], dict[int, list[pydicom.Dataset]]]) -> pydicom.Dataset:
        made = pydicom.Dataset()
        for tag, text in given[0]:
            put(made, tag, text)
        for tag, items in given[1].items():
            made.add_new(tag, "SQ", items)
        return made

    items = st.lists(peers(depth - 1), max_size=2) if depth else st.just([])
    nested = st.dictionaries(st.sampled_from(SEQUENCES), items, max_size=2) if depth else st.just({})
    return st.tuples(st.lists(ANY_TEXT, max_size=5), nested).map(build)


def edits(depth: int = 2) -> st.SearchStrategy[Edits]:
    """Edits: ("set", tag, text), ("remove", tag), ("in", sequence, item, edits), ("drop", sequence, item)."""
    ways = [
        st.tuples(st.just("set"), st.sampled_from(sorted(TEXTS))).flatmap(
            lambda way: st.tuples(*map(st.just, way), TEXTS[way[1]])
        ),
        st.tuples(st.just("remove"), st.sampled_from((*TEXTS, *SEQUENCES))),
        st.tuples(st.just("drop"), st.sampled_from(SEQUENCES), st.integers(0, 1)),
    ]
    if depth:
        inner = st.deferred(lambda: edits(depth - 1))
        ways.append(st.tuples(st.just("in"), st.sampled_from(SEQUENCES), st.integers(0, 1), inner))
    return st.lists(st.one_of(ways), max_size=5)


def put(peer: pydicom.Dataset, tag: int, text: str) -> None:
    vr = pydicom.datadict.dictionary_VR(tag)
    peer.add_new(tag, vr, int(text) if tag in NUMBERS else text)


def edit(draft: Draft, peer: pydicom.Dataset, wanted: Edits) -> None:
    """Make the same edits in both."""
    for what, tag, *more in wanted:
        assert isinstance(tag, int)
        if what == "set":
            draft.set(tag, *draft.value_of(tag, "", str(more[0])))
            put(peer, tag, str(more[0]))
        elif what == "remove":
            draft.remove(tag)
            peer.pop(tag, None)
        else:
            items = draft.items(tag)
            number = more[0]
            assert isinstance(number, int)
            if number >= len(items):
                continue
            if what == "drop":
                draft.set_items(tag, (item for n, item in enumerate(items) if n != number))
                del peer[tag].value[number]
            else:
                edit(items[number], peer[tag].value[number], more[1])  # type: ignore[arg-type]


def encoded(peer: pydicom.Dataset, syntax: Syntax) -> bytes:
    stream = BytesIO()
    pydicom.dcmwrite(
        stream, peer, implicit_vr=not syntax.explicit, little_endian=not syntax.big_endian, enforce_file_format=False
    )
    return stream.getvalue()


@settings(max_examples=300, deadline=None)
@given(peers(), edits(), st.sampled_from(SYNTAX), st.sampled_from(SYNTAX))
def test_a_draft_and_pydicom_make_the_same_of_it(
    peer: pydicom.Dataset, wanted: Edits, syntax: Syntax, target: Syntax
) -> None:
    """What a Draft and the rewrite make of a dataset is what pydicom makes of it by the same edits."""
    peer.SpecificCharacterSet = "ISO_IR 192"
    data = encoded(peer, syntax)
    draft = Draft(whole(data, syntax))
    edit(draft, peer, wanted)
    made = joined(data, list(rewrite(whole(data, syntax), target, draft.replacements())), syntax, target)
    read = pydicom.dcmread(as_file(made, target.uid))
    assert pydicom.Dataset(read) == pydicom.dcmread(as_file(encoded(peer, target), target.uid))
    assert same(draft, whole(made, target))
    if syntax is target and not draft.changed:
        assert made == data


def same(draft: Dataset, other: Dataset) -> bool:
    """Whether the edited dataset read as it was written then."""
    tags = sorted(draft.read())
    return tags == sorted(other.read()) and all(
        draft.texts(tag) == other.texts(tag) and all(map(same, draft.items(tag), other.items(tag))) for tag in tags
    )
