"""Rules as an operator reads them."""

import pytest

from leyden.plan.rules import (
    Action,
    ActionType,
    Condition,
    Edit,
    EditType,
    Kind,
    Mutation,
    Place,
    Profile,
    Route,
    SortAction,
    Sorting,
    SortType,
    Step,
)
from leyden.plan.words import of_action, of_condition, of_edit, of_mutation, of_place, of_route, of_sorting

CT = Condition("00080060", Kind.LITERAL, "CT")


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (CT, "Modality is CT"),
        (Condition("00080060", Kind.LITERAL, "CT", negate=True), "Modality is not CT"),
        (Condition("00080060", Kind.LITERAL, ""), "Modality is empty"),
        (Condition("00080060"), "Modality is there"),
        (Condition("00080060", negate=True), "Modality is absent"),
        (Condition("00081030", Kind.WILDCARD, "CT*"), "StudyDescription is like CT*"),
        (Condition("00081030", Kind.REGEX, "^CT", negate=True), "StudyDescription does not match ^CT"),
        (Condition("00080060", Kind.LITERAL, "CT", search=True), "Modality at any depth is CT"),
        (Condition("00090010", Kind.LITERAL, "X", private_creator="ACME"), "0009,xx10 of ACME is X"),
        (Condition("00091010"), "0009,1010 is there"),
        (Condition("Source", Kind.WILDCARD, "CT*"), "the calling title is like CT*"),
        (Condition("Called", Kind.LITERAL, "PACS"), "the called title is PACS"),
        (
            Condition("00400275", items=(CT, Condition("00081030"))),
            "an item of RequestAttributesSequence has: Modality is CT and StudyDescription is there",
        ),
        (
            Condition("00400275", items=(CT,), negate=True),
            "no item of RequestAttributesSequence has: Modality is CT",
        ),
    ],
)
def test_a_condition_in_words(condition: Condition, text: str) -> None:
    assert of_condition(condition) == text


def test_actions_and_routes_in_words() -> None:
    add, save = ActionType.ADD_DESTINATION, ActionType.SAVE_FILE
    assert of_action(Action(add, "PACS")) == "send to PACS"
    assert of_action(Action(add, "PACS", remove_original=True)) == "send to PACS, and not to the called node"
    assert of_action(Action(save, "/a/#{10,20}/")) == "save as /a/#{10,20}/"
    assert of_action(Action(ActionType.DROP)) == "do not send to the called node"
    actions = (Action(add, "X"), Action(ActionType.DROP))
    assert of_route(Route("routings.yml:1", (), (), actions)) == (
        "for every object: send to X; do not send to the called node"
    )
    assert of_route(Route("routings.yml:1", ("A", "B"), (CT, CT), actions[:1])) == (
        "for objects sent to A or B, if Modality is CT and Modality is CT: send to X"
    )


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (Place(0x00100010), "PatientName"),
        (Place(0x00091001), "0009,1001"),
        (Place(0x00091010, private_creator="ACME"), "0009,xx10 of ACME"),
        (Place(0x00080100, (Step(0x00400275, 2), Step(0x00081032))),
         "RequestAttributesSequence[2].ProcedureCodeSequence[*].CodeValue"),
    ],
)  # fmt: skip
def test_a_place_in_words(place: Place, text: str) -> None:
    assert of_place(place) == text


def test_mutations_in_words() -> None:
    name = Place(0x00100010)
    edits = (
        Edit(EditType.ADD_OR_UPDATE, "mutations.yml:3", destination=name, value="X"),
        Edit(EditType.ADD_OR_UPDATE, "", Place(0x00100020), "^0*(.+)$", Place(0x00100020), value="$1"),
        Edit(EditType.REMOVE, "", destination=name),
        Edit(EditType.ANONYMIZE, "", destination=name, mapping="/etc/leyden/map.csv"),
        Edit(EditType.ANONYMIZE, "", mapping="/etc/leyden/map.csv"),
        Edit(EditType.DEIDENTIFY, "", profile=Profile()),
        Edit(EditType.DEIDENTIFY, "", profile=Profile(("retain_uids", "clean_descriptors"))),
    )
    assert [of_edit(edit) for edit in edits] == [
        "set PatientName to X",
        "set PatientID to $1, from ^0*(.+)$ in PatientID",
        "remove PatientName",
        "set PatientName to the pseudonym in /etc/leyden/map.csv",
        "give the patient the pseudonym in /etc/leyden/map.csv",
        "de-identify by the Basic Profile",
        "de-identify by the Basic Profile, retain_uids, clean_descriptors",
    ]
    assert of_mutation(Mutation("", ("A",), (CT,), edits[:1])) == (
        "for objects that go to A, if Modality is CT: set PatientName to X"
    )
    assert of_mutation(Mutation("", actions=edits[2:3])) == "for every object: remove PatientName"


def test_a_whole_sorting() -> None:
    by_number, by_text = SortAction("00200013"), SortAction("00080008", SortType.STRING, descending=True)
    assert of_sorting(Sorting("", ("A", "B"), (CT,), (by_text, by_number))) == (
        "for objects that go to A or B, if Modality is CT: order a series by ImageType, the highest text first; "
        "order a series by InstanceNumber, the lowest number first"
    )
    assert of_sorting(Sorting("", actions=(by_number,))).startswith("for every object: order a series by ")
