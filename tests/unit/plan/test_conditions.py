"""Conditions against real bytes, peeked at as the planner does."""

import dataclasses
from collections import Counter

import pydicom
import pytest
from pydicom.sequence import Sequence

from leyden.dicom.header import Header
from leyden.dicom.part10 import FileMeta
from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from leyden.plan import conditions
from leyden.plan.conditions import KEPT_CHARS, TIME_LIMIT_S, TOTAL_LIMIT_S, Examination, Finding, examine, remark
from leyden.plan.rules import Condition, Kind
from support.datasets import el
from support.headers import encode, header_from, header_of

LITERAL, WILDCARD, REGEX = Kind.LITERAL, Kind.WILDCARD, Kind.REGEX


def matches(condition: Condition, header: Header) -> bool:
    return examine(condition, header).held


def ds(**values: object) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


CT = ds(Modality="CT", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], PatientID="", Rows=512, PatientName="Smith^John")


@pytest.mark.parametrize(
    ("tag", "kind", "expression", "held"),
    [
        ("00080060", LITERAL, "CT", True),
        ("00080060", LITERAL, "C", False),
        ("00080060", LITERAL, "ct", False),
        ("00080060", WILDCARD, "C*", True),
        ("00080060", WILDCARD, "?T", True),
        ("00080060", WILDCARD, "?", False),
        ("00080060", WILDCARD, "T*", False),
        ("00080060", REGEX, "T", True),
        ("00080060", REGEX, "^T", False),
        ("00080060", REGEX, "(?i)^ct$", True),
        ("00080060", REGEX, "^(?<kind>CT|MR)$", True),
        ("00080060", REGEX, "^(?!MR)", True),
        ("00080008", LITERAL, "PRIMARY", True),
        ("00080008", LITERAL, "ORIGINAL\\PRIMARY\\AXIAL", True),
        ("00080008", LITERAL, "ORIGINAL\\PRIMARY", False),
        ("00080008", WILDCARD, "ORIGINAL*AXIAL", True),
        ("00080008", REGEX, r"^ORIGINAL\\PRIMARY", True),
        ("00280010", LITERAL, "512", True),
        ("00280010", REGEX, "^5", True),
        ("00100010", WILDCARD, "Smith^*", True),
        ("00100020", Kind.PRESENT, "", True),
        ("00100020", LITERAL, "", True),
        ("00100020", REGEX, "^$", True),
        ("00100020", WILDCARD, "*", True),
        ("00100030", Kind.PRESENT, "", False),
        ("00100030", LITERAL, "", False),
        ("00100030", WILDCARD, "*", False),
        ("00100030", REGEX, "^", False),
        ("00020010", LITERAL, "1.2.840.10008.1.2.1", True),
        ("00020002", REGEX, r"^1\.2\.840\.10008\.5\.1\.4\.1\.1\.[\d]{1,2}$", True),
        ("00020099", Kind.PRESENT, "", False),
        ("Source", LITERAL, "CT1", True),
        ("Source", WILDCARD, "CT*", True),
        ("Called", LITERAL, "IMAGEPACS", True),
        ("Called", LITERAL, "CT1", False),
    ],
)
def test_a_condition_and_its_negation(tag: str, kind: Kind, expression: str, held: bool) -> None:
    header = header_of(CT)
    assert matches(Condition(tag, kind, expression), header) is held
    assert matches(Condition(tag, kind, expression, negate=True), header) is not held


def sequences() -> pydicom.Dataset:
    codes = Sequence([ds(CodeValue="A", CodeMeaning="one"), ds(CodeValue="B", CodeMeaning="two")])
    inner = ds(ScheduledProtocolCodeSequence=codes, ScheduledProcedureStepID="S1")
    return ds(Modality="SR", RequestAttributesSequence=Sequence([inner, ds(ScheduledProcedureStepID="S2")]))


def test_search_looks_at_any_depth() -> None:
    header = header_of(sequences())
    assert matches(Condition("00080100", LITERAL, "B", search=True), header)
    assert matches(Condition("00080100", search=True), header)
    assert not matches(Condition("00080100", LITERAL, "B"), header)
    assert not matches(Condition("00080100", LITERAL, "C", search=True), header)
    assert matches(Condition("00080100", LITERAL, "C", search=True, negate=True), header)
    assert not matches(Condition("00080104", LITERAL, "A", search=True), header)


def test_items_hold_together_in_one_item() -> None:
    header = header_of(sequences())

    def codes(value: str, meaning: str) -> Condition:
        pair = (Condition("00080100", LITERAL, value), Condition("00080104", LITERAL, meaning))
        return Condition("00400275", items=(Condition("00400008", items=pair),))

    assert matches(codes("A", "one"), header)
    assert not matches(codes("A", "two"), header)
    without = Condition("00400275", items=(Condition("00400008", negate=True), Condition("00400009", LITERAL, "S2")))
    assert matches(without, header)
    assert matches(Condition("00400275"), header)
    assert not matches(Condition("00400276", items=(Condition("00080100"),)), header)


def test_conditions_within_an_item_may_ask_for_the_file_meta_and_the_titles() -> None:
    header = header_of(sequences())
    for inner in (Condition("Source", LITERAL, "CT1"), Condition("00020010", LITERAL, EXPLICIT_LE)):
        assert matches(Condition("00400275", items=(inner,)), header)
        assert not matches(Condition("00400275", items=(dataclasses.replace(inner, negate=True),)), header)


def test_a_private_tag_is_found_by_its_creator_in_any_block() -> None:
    dataset = ds(Modality="CT")
    for creator, value in (("OTHER", "no"), ("ACME 1.1", "yes")):
        dataset.private_block(0x0009, creator, create=True).add_new(0x10, "LO", value)
    header = header_of(dataset)
    examination = Examination(header)
    for creator, text in (("OTHER", "no"), ("ACME 1.1", "yes"), ("OTHER", "no")):
        assert examination.finding(Condition("00090010", private_creator=creator)).seen == (text,)
    for tag in ("00090010", "00091010"):
        assert matches(Condition(tag, LITERAL, "yes", private_creator="ACME 1.1"), header)
        assert not matches(Condition(tag, LITERAL, "no", private_creator="ACME 1.1"), header)
    assert not matches(Condition("00090011", private_creator="ACME 1.1"), header)
    assert not matches(Condition("00090010", private_creator="NOBODY"), header)
    assert matches(Condition("00091110", LITERAL, "yes"), header)


def test_an_expression_that_takes_too_long_does_not_match_and_is_logged() -> None:
    header = header_of(ds(SeriesDescription="a" * 60 + "b"))
    for negate in (False, True):
        slow = examine(Condition("0008103e", REGEX, "(a|aa)+$", negate=negate), header)
        assert not slow.held
        assert remark(slow) == "condition on SeriesDescription had no answer within 50 ms: taken as not matching"


def test_the_next_object_with_that_value_does_not_wait_again() -> None:
    asked: list[float] = []

    def clock() -> float:
        asked.append(0.0)
        return 0.0

    slow = Condition("0008103e", REGEX, "(b|bb)+$")
    for _ in range(3):
        assert examine(slow, header_of(ds(SeriesDescription="b" * 60 + "c")), clock).unsure
    assert len(asked) == 1, "it was searched once"


def test_many_slow_conditions_share_the_limit_of_the_object() -> None:
    examination = Examination(header_of(ds(SeriesDescription="c" * 60 + "d", Modality="CT")))
    findings = [examination.finding(Condition("0008103e", REGEX, f"(c|cc)+{n}$")) for n in range(100)]
    assert not any(finding.held for finding in findings)
    counts = Counter(finding.unsure for finding in findings)
    assert counts.keys() == {"had no answer within 50 ms", "was not asked: those before it took 500 ms"}
    assert counts["had no answer within 50 ms"] <= TOTAL_LIMIT_S / TIME_LIMIT_S + 1
    assert examination.holds(Condition("00080060", LITERAL, "CT")), "what needs no search is still asked"


@pytest.mark.parametrize("value", [b"e" * (1 << 20), b"e\\" * (1 << 19)])
def test_a_value_of_a_mebibyte_stays_within_the_limit(value: bytes) -> None:
    now_s = [0.0]

    def clock() -> float:
        now_s[0] += 0.005
        return now_s[0]

    header = header_from(header_of(CT).meta, el(0x00091010, "UC", value))
    examination = Examination(header, clock)
    for n in range(200):
        assert not examination.holds(Condition("00091010", REGEX, f"(e|ee)+{n}", negate=True))
        assert examination.unsure
    assert now_s[0] < 2 * TOTAL_LIMIT_S
    assert all(len(text) <= KEPT_CHARS for *_, text in conditions._known)


def test_all_values_of_a_condition_share_one_limit() -> None:
    now_s = [0.0]

    def clock() -> float:
        now_s[0] += 0.01
        return now_s[0]

    items = Sequence([ds(CodeValue=f"A{n}") for n in range(100)])
    header = header_of(ds(Modality="SR", RequestAttributesSequence=items))
    slow = examine(Condition("00080100", REGEX, "[B]", search=True), header, clock)
    assert now_s[0] < 0.2
    assert (slow.held, slow.unsure) == (False, "had no answer within 50 ms")
    assert examine(Condition("00080100", REGEX, "[1]$", search=True), header, clock).held, "found in time"


def test_a_condition_on_what_stands_before_the_broken_item_is_decided() -> None:
    whole = header_of(sequences())
    assert matches(Condition("00080100", LITERAL, "A", search=True), whole)
    start = encode(sequences()).index(b"B ")  # the value of the second code
    broken = encode(sequences())[: start - 2] + b"\xff\x7f" + encode(sequences())[start:]
    header = header_from(whole.meta, broken)
    assert matches(Condition("00080100", LITERAL, "A", search=True), header)
    assert not matches(Condition("00080100", LITERAL, "A", search=True, negate=True), header)


def test_a_finding_holds_the_values_that_were_compared_and_its_remark_none() -> None:
    header = header_of(CT)
    there = examine(Condition("00100010", LITERAL, "Smith^John"), header)
    other = examine(Condition("00100010", LITERAL, "Nobody"), header)
    absent = examine(Condition("00104000", LITERAL, "Nobody"), header)
    assert (there.held, there.seen) == (True, ("Smith^John",))
    assert (other.held, other.seen) == (False, ("Smith^John",))
    assert (absent.held, absent.seen) == (False, None)
    assert examine(Condition("Source", LITERAL, "X"), header).seen == (header.meta.sending,)
    assert remark(there) == "condition on PatientName holds"
    assert remark(other) == "condition on PatientName does not hold"


def test_a_search_finds_the_values_that_matched() -> None:
    header = header_of(sequences())
    assert examine(Condition("00080100", LITERAL, "B", search=True), header).seen == ("B",)
    assert examine(Condition("00080100", LITERAL, "Q", search=True), header) == Finding(
        Condition("00080100", LITERAL, "Q", search=True), False, None
    )


def test_an_element_that_a_broken_dataset_may_hide_matches_nothing() -> None:
    header = header_of(ds(Modality="CT", PatientComments="x" * 3000, Rows=512), cut_bytes=2000)
    assert header.flaw
    assert matches(Condition("00080060", LITERAL, "CT"), header)
    assert matches(Condition("00080060", LITERAL, "MR", negate=True), header)
    assert matches(Condition("Source", LITERAL, "MR", negate=True), header)
    for hidden in (
        Condition("00280010", LITERAL, "512"),
        Condition("00280010", LITERAL, "1", negate=True),
        Condition("00080100", LITERAL, "B", search=True, negate=True),
    ):
        assert not matches(hidden, header)
        assert hidden.negate == ("broken" in examine(hidden, header).unsure)


@pytest.mark.parametrize("syntax", [IMPLICIT_LE, EXPLICIT_LE])
@pytest.mark.parametrize("search", [False, True])
def test_group_0002_is_that_of_the_file(syntax: str, search: bool) -> None:
    vr = "UI" if syntax == EXPLICIT_LE else ""
    second = el(0x00020002, vr, b"1.2.3\0") + el(0x00020010, vr, b"1.2.840.10008.1.2.5\0")
    header = header_from(FileMeta("1.2", "1.2.3.4", syntax, sending="CT1"), second + encode(CT, syntax))
    assert matches(Condition("00020002", LITERAL, "1.2", search=search), header)
    assert matches(Condition("00020010", LITERAL, syntax, search=search), header)
    assert not matches(Condition("00020002", LITERAL, "1.2.3", search=search), header)
    assert matches(Condition("00080060", LITERAL, "CT", search=search), header)
