"""Mutations applied to a header: what each action makes, in which order, and what follows if it can't be made."""

import hashlib
from datetime import datetime

import pydicom
import pytest
from msgspec.structs import replace

from leyden.dicom.header import Header
from leyden.dicom.part10 import FileMeta
from leyden.plan.mutate import Circumstances, Mutated, mutate, remarks
from leyden.plan.rules import Condition, Edit, EditType, Kind, Mutation, OnError, Place, Step
from support.datasets import el
from support.headers import SECONDARY_CAPTURE, header_from, header_of

ADD, REMOVE = EditType.ADD_OR_UPDATE, EditType.REMOVE
NAME, ID, ACCESSION, STUDY_DATE, DESCRIPTION = 0x00100010, 0x00100020, 0x00080050, 0x00080020, 0x00081030
REQUEST, STEP = 0x00400275, 0x00400009
SOP_CLASS, SOP_INSTANCE, STUDY = 0x00080016, 0x00080018, 0x0020000D
ORIGINAL = 0x04000561
RECEIPT = "1790000000123456010042"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def dataset() -> pydicom.Dataset:
    made = pydicom.Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.SOPClassUID = SECONDARY_CAPTURE
    made.SOPInstanceUID = "2.25.7"
    made.StudyDate = "20260102"
    made.AccessionNumber = "A-100"
    made.Modality = "CT"
    made.PatientName = "Doe^Jane"
    made.PatientID = "4711"
    made.StudyInstanceUID = "2.25.1"
    items = []
    for step in ("ONE", "TWO"):
        item = pydicom.Dataset()
        item.ScheduledProcedureStepID = step
        items.append(item)
    made.RequestAttributesSequence = items
    block = made.private_block(0x0041, "ACME", create=True)
    block.add_new(0x01, "SH", "inside")
    return made


def header(**more: object) -> Header:
    return header_of(dataset(), **more)  # type: ignore[arg-type]


def put(
    tag: int | Place,
    value: str,
    source: int | Place | None = None,
    expression: str = "^(.+)$",
    on_error: OnError = OnError.FAIL,
    vr: str = "",
) -> Edit:
    def place(given: int | Place | None) -> Place | None:
        return Place(given) if isinstance(given, int) else given

    return Edit(
        ADD, "mutations.yml:3", place(source), expression if source else "", place(tag), vr, value, on_error
    )  # fmt: skip


def remove(tag: int | Place) -> Edit:
    return Edit(REMOVE, "mutations.yml:4", destination=Place(tag) if isinstance(tag, int) else tag)


def rule(*edits: Edit, to: tuple[str, ...] = (), when: tuple[Condition, ...] = (), original: bool = False) -> Mutation:
    return Mutation("mutations.yml:1", to, when, edits, original_attributes=original)


def run(*edits: Edit, seen: Header | None = None) -> Mutated:
    return apply(rule(*edits), seen=seen)


def apply(*rules: Mutation, seen: Header | None = None, destination: str = "IMAGEPACS") -> Mutated:
    return mutate(rules, seen or header(), Circumstances(destination, RECEIPT, "LEYDEN"))


def texts(mutated: Mutated, tag: int) -> tuple[str, ...] | None:
    assert mutated.failure is None, mutated.failure
    return mutated.header.texts(tag)


def test_a_plain_value_a_group_and_text_around_it() -> None:
    assert texts(run(put(ID, "NEW")), ID) == ("NEW",)
    assert texts(run(put(ID, "$1", source=ACCESSION)), ID) == ("A-100",)
    assert texts(run(put(ID, "X$2-$1", ACCESSION, r"^(\w)-(\d+)$")), ID) == ("X100-A",)
    assert texts(run(put(ID, "${n}8", ACCESSION, r"(?<n>\d+)")), ID) == ("1008",)


def test_an_expression_is_searched_and_a_group_that_took_no_part_is_empty() -> None:
    assert texts(run(put(ID, "$1", ACCESSION, r"(\d\d)")), ID) == ("10",)
    assert texts(run(put(ID, "[$1$2]", ACCESSION, r"(Z)?(\d+)")), ID) == ("[100]",)


@pytest.mark.parametrize(("source", "expression"), [(ACCESSION, "^B"), (DESCRIPTION, ".*"), (0x00080090, "^(.*)$")])
def test_an_expression_that_does_not_match_changes_nothing(source: int, expression: str) -> None:
    mutated = run(put(ID, "NEW", source, expression))
    assert (mutated.failure, mutated.changed, mutated.changed_by) == (None, False, ())


def test_several_values_are_one_text_joined_by_backslashes_and_become_several_again() -> None:
    mutated = run(put(0x00080008, "DERIVED$1", 0x00080008, r"^[^\\]+(.*)$"))
    assert texts(mutated, 0x00080008) == ("DERIVED", "PRIMARY", "AXIAL")
    assert texts(run(put(0x00200010, "$1", 0x00080008, r"\\(\w+)\\")), 0x00200010) == ("PRIMARY",)


def test_the_present_value_the_time_and_the_day_of_the_receipt() -> None:
    assert texts(run(put(ACCESSION, ":value:-B")), ACCESSION) == ("A-100-B",)
    assert texts(run(put(DESCRIPTION, "[:value:]")), DESCRIPTION) == ("[]",)
    assert texts(run(put(ID, "$1_:timestamp:", source=ID)), ID) == ("4711_1790000000123",)
    day = datetime.fromtimestamp(1790000000).strftime("%Y%m%d")
    assert texts(run(put(STUDY_DATE, ":today:")), STUDY_DATE) == (day,)


def test_a_hash_is_of_the_text_and_one_of_nothing_is_an_error() -> None:
    digits = hashlib.sha256(b"4711").hexdigest()[:12]
    assert texts(run(put(ACCESSION, ":hash(0010,0020,12):")), ACCESSION) == (digits,)
    mutated = run(put(ACCESSION, ":hash(0010,0030,12):"))
    assert mutated.failure is not None
    assert "(0010,0030), whose hash is asked for, is absent or empty" in mutated.failure.reason


def test_a_new_uid_is_the_same_each_time_and_another_one_elsewhere() -> None:
    edits = (put(STUDY, ":uid:"), replace(put(0x0020000E, ":uid:"), where="mutations.yml:9"))
    one, again = texts(run(*edits), STUDY), texts(run(*edits), STUDY)
    series = texts(run(*edits), 0x0020000E)
    there = texts(apply(rule(*edits), destination="OTHER"), STUDY)
    assert one == again
    assert one is not None
    assert one[0].startswith("2.25.")
    assert len({one, series, there}) == 3


def test_file_meta_follows_sop_class_and_instance() -> None:
    mutated = run(put(SOP_INSTANCE, ":uid:"), put(SOP_CLASS, CT_IMAGE))
    meta = mutated.header.meta
    assert meta.sop_instance_uid == (texts(mutated, SOP_INSTANCE) or ("",))[0] != "2.25.7"
    assert meta.sop_class_uid == CT_IMAGE
    assert mutated.header.texts(0x00020002) == (CT_IMAGE,)
    assert mutated.header.texts(0x00020003) == (meta.sop_instance_uid,)
    untouched = run(put(ID, "NEW"), seen=header(sop_instance="2.25.8"))
    assert untouched.header.meta.sop_instance_uid == "2.25.8"


@pytest.mark.parametrize(("tag", "value"), [(SOP_CLASS, "1.2.840.10008.1.1"), (SOP_INSTANCE, ""), (SOP_CLASS, "")])
def test_a_name_under_which_nothing_can_be_sent_is_an_error(tag: int, value: str) -> None:
    assert run(put(tag, value)).failure is not None


def test_a_source_in_group_0002_is_the_file_meta() -> None:
    assert texts(run(put(ID, "$1", 0x00020002)), ID) == (SECONDARY_CAPTURE,)


def test_remove_and_what_is_not_there() -> None:
    mutated = run(remove(ID), remove(DESCRIPTION), remove(Place(STEP, (Step(REQUEST, 9),))))
    assert texts(mutated, ID) is None
    assert [edit.changed for edit in mutated.ran[0].edits] == [True, False, False]
    assert mutated.changed_by == ("mutations.yml:4",)


def test_one_item_each_item_and_an_item_that_is_not_there() -> None:
    second = run(put(Place(STEP, (Step(REQUEST, 2),)), "X"))
    assert list(second.draft.find(STEP)) == [("ONE",), ("X",)]
    each = run(put(Place(STEP, (Step(REQUEST),)), "$1!", Place(STEP, (Step(REQUEST),))))
    assert list(each.draft.find(STEP)) == [("ONE!",), ("TWO!",)]
    third = run(put(Place(STEP, (Step(REQUEST, 3),)), "X"))
    assert third.failure is not None
    assert "(0040,0275) has no item 3" in third.failure.reason
    assert not run(put(ID, "$1", Place(STEP, (Step(REQUEST, 3),)))).changed


def test_private_elements_by_their_creator() -> None:
    inside, new = Place(0x00410001, (), "ACME"), Place(0x00410002, (), "OTHER")
    mutated = run(put(inside, "changed"), put(new, "$1", inside), remove(Place(0x00410001, (), "NOBODY")))
    assert texts(mutated, 0x00411001) == ("changed",)
    assert (texts(mutated, 0x00410011), texts(mutated, 0x00411102)) == (("OTHER",), ("changed",))
    assert texts(run(remove(inside)), 0x00411001) is None


def test_mutations_see_what_those_before_them_made() -> None:
    is_new = Condition("00100020", Kind.LITERAL, "NEW")
    mutated = apply(rule(put(ID, "NEW")), rule(put(ACCESSION, "SEEN"), when=(is_new,)))
    assert texts(mutated, ACCESSION) == ("SEEN",)
    mutated = apply(rule(put(ACCESSION, "SEEN"), when=(is_new,)), rule(put(ID, "NEW")))
    assert texts(mutated, ACCESSION) == ("A-100",)
    assert [ran.held for ran in mutated.ran] == [False, True]


def test_only_the_mutations_of_the_destination_run() -> None:
    rules = rule(put(ID, "A"), to=("IMAGEPACS",)), rule(put(ACCESSION, "B"), to=("OTHER",))
    mutated = apply(*rules, destination="OTHER")
    assert (texts(mutated, ID), texts(mutated, ACCESSION)) == (("4711",), ("B",))
    assert not apply(*rules, destination="THIRD").changed


def test_what_is_left_as_it_is_is_no_change() -> None:
    assert not run(put(ID, "$1", ID), put(NAME, "Doe^Jane")).changed


WRONG = put(STUDY_DATE, "not a date")


@pytest.mark.parametrize(
    ("on_error", "kind", "name", "accession"),
    [
        (OnError.SKIP_ACTION, None, "After", "NEXT"),
        (OnError.END_MUTATION, None, "Doe^Jane", "NEXT"),
        (OnError.RETRY, OnError.RETRY, "Doe^Jane", "A-100"),
        (OnError.FAIL, OnError.FAIL, "Doe^Jane", "A-100"),
    ],
)
def test_on_error(on_error: OnError, kind: OnError | None, name: str, accession: str) -> None:
    mutated = apply(rule(replace(WRONG, on_error=on_error), put(NAME, "After")), rule(put(ACCESSION, "NEXT")))
    assert (mutated.failure.kind if mutated.failure else None) == kind
    assert mutated.draft.texts(STUDY_DATE) == ("20260102",)
    assert (mutated.draft.texts(NAME), mutated.draft.texts(ACCESSION)) == ((name,), (accession,))


@pytest.mark.parametrize(
    "edit",
    [
        WRONG,
        put(ACCESSION, "x" * 17),
        put(0x00280010, "many"),
        put(0x00189999, "x"),
        put(ID, "$1", NAME, "(x|xx)+$"),
        put(Place(STEP, (Step(REQUEST, 3),)), "X"),
    ],
    ids=["form", "length", "number", "unknown", "out of time", "no item"],
)
def test_no_reason_holds_a_value_and_each_names_the_rule(edit: Edit) -> None:
    seen = header_of(_named("x" * 60 + "!"))
    mutated = run(edit, seen=seen)
    assert mutated.failure is not None
    assert mutated.failure.reason.startswith("mutations.yml:3 add_or_update: ")
    assert not {"4711", "xxx", "not a date", "A-100"} & set(mutated.failure.reason.split())
    assert any(
        info and mutated.failure.reason.split(": ", 1)[1] in text for info, text in remarks(mutated, debug=False)
    )


def _named(name: str) -> pydicom.Dataset:
    made = dataset()
    made.PatientName = name
    return made


def test_a_text_that_the_character_set_does_not_hold_is_an_error() -> None:
    plain = dataset()
    plain.SpecificCharacterSet = "ISO_IR 100"
    assert run(put(NAME, "Müller"), seen=header_of(plain)).failure is None
    assert run(put(NAME, "山田"), seen=header_of(plain)).failure is not None


def test_a_broken_dataset_fails_where_a_mutation_might_apply() -> None:
    broken = header(cut_bytes=3)
    assert broken.flaw
    for_others = rule(put(ID, "X"), to=("OTHER",))
    assert apply(for_others, seen=broken).failure is None
    failure = apply(for_others, seen=broken, destination="OTHER").failure
    assert failure is not None
    assert failure.kind is OnError.FAIL


def test_a_condition_without_an_answer_is_a_failure_unless_each_action_may_be_left_out() -> None:
    slow = Condition("00100010", Kind.REGEX, "(x|xx)+$")
    seen = header_of(_named("x" * 60 + "!"))
    skip = replace(put(ID, "X"), on_error=OnError.SKIP_ACTION)
    again = replace(put(ID, "X"), on_error=OnError.RETRY)
    kinds = []
    for edits in ((skip,), (skip, again), (skip, again, remove(ACCESSION))):
        failure = apply(rule(*edits, when=(slow,)), seen=seen).failure
        kinds.append(failure.kind if failure else None)
    assert kinds == [None, OnError.RETRY, OnError.FAIL]


def test_original_attributes_keep_the_old_values() -> None:
    edits = (put(ID, "NEW"), remove(ACCESSION), put(DESCRIPTION, "added"), put(Place(STEP, (Step(REQUEST, 1),)), "X"))
    mutated = apply(rule(put(NAME, "Roe")), rule(*edits, put(NAME, "Poe"), original=True))
    (item,) = mutated.draft.items(ORIGINAL)
    assert item.texts(0x04000563) == ("LEYDEN",)
    assert item.texts(0x04000564) == ("CT1",)
    assert item.texts(0x04000565) == ("COERCE",)
    assert (item.texts(0x04000562) or ("",))[0].startswith(datetime.fromtimestamp(1790000000).strftime("%Y%m%d%H%M%S."))
    (old,) = item.items(0x04000550)
    assert old.tags() == [ACCESSION, NAME, ID, REQUEST]
    assert (old.texts(ID), old.texts(ACCESSION), old.texts(NAME)) == (("4711",), ("A-100",), ("Roe",))
    assert [each.texts(STEP) for each in old.items(REQUEST)] == [("ONE",), ("TWO",)]


def test_without_a_change_nothing_is_said_of_originals() -> None:
    assert not apply(rule(put(ID, "4711"), original=True)).changed


def test_the_searches_in_one_object_together_are_limited_too() -> None:
    """A sequence with many items must not hold up the planner, whose other objects wait meanwhile."""
    made = dataset()
    made.RequestAttributesSequence = [pydicom.Dataset() for _ in range(40)]
    for item in made.RequestAttributesSequence:
        item.ScheduledProcedureStepID = "ONE"
    reads = iter(range(10_000))
    slow = Circumstances("IMAGEPACS", RECEIPT, "LEYDEN", clock=lambda: next(reads) / 50)  # each search takes 20 ms
    step = Place(STEP, (Step(REQUEST),))
    few = Place(STEP, (Step(REQUEST, 1),))
    seen = header_of(made)
    mutated = mutate((rule(put(step, "X", source=step)),), seen, slow)
    assert mutated.failure is not None
    assert "its expression was not asked: searches before it took 500 ms" in mutated.failure.reason
    assert mutate((rule(put(few, "X", source=few)),), seen, slow).failure is None


PIXELS = el(0x7FE00010, "OW", b"\0\0")
FRAGMENTS = el(0x7FE00010, "OB", b"", 0xFFFFFFFF) + el(0xFFFEE000, "", b"") + el(0xFFFEE0DD, "", b"")
ADDRESS = el(0x00101040, "LO", b"Street")
WITH_NAME = el(0xFFFEE000, "", el(NAME, "PN", b"Doe^Jane"))


@pytest.mark.parametrize("edit", [remove(0x00101040), put(NAME, "NEW"), Edit(EditType.DEIDENTIFY, "mutations.yml:3")])
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (el(NAME, "PN", b"Doe^Jane") + el(NAME, "PN", b"NEW"), "(0010,0010) or the one before it"),
        (ADDRESS + el(0x00101040, "LO", b"Road"), "occurs twice"),
        (el(0x00189314, "SQ", WITH_NAME) + el(0x00189314, "SQ", b""), "occurs twice"),
        (PIXELS + ADDRESS, "(0010,1040) stands behind Pixel Data"),
        (FRAGMENTS + ADDRESS, "(0010,1040) stands behind Pixel Data"),
        (el(0x7FE00008, "OF", bytes(4)) + PIXELS + ADDRESS, "(0010,1040) stands behind Pixel Data"),
    ],
)
def test_a_dataset_in_which_a_mutation_may_miss_an_element_does_not_leave(data: bytes, why: str, edit: Edit) -> None:
    seen = header_from(FileMeta(SECONDARY_CAPTURE, "2.25.7", "1.2.840.10008.1.2.1"), data)
    mutated = run(edit, seen=seen)
    assert mutated.failure is not None
    assert why in mutated.failure.reason
    assert mutated.failure.kind is OnError.FAIL
    assert mutated.header.texts(STUDY) is None
    assert not mutated.changed


def test_of_an_item_in_which_an_element_occurs_twice_no_one_is_missed() -> None:
    twice = el(NAME, "PN", b"Doe^Jane") + el(NAME, "PN", b"NEW ")
    data = el(0x00189314, "SQ", el(0xFFFEE000, "", twice))
    seen = header_from(FileMeta(SECONDARY_CAPTURE, "2.25.7", "1.2.840.10008.1.2.1"), data)
    mutated = run(put(Place(NAME, (Step(0x00189314),)), "NEW"), seen=seen)
    assert mutated.failure is not None
    assert "occurs twice" in mutated.failure.reason
