"""What is told of one file: the values that were seen, the answers, the actions, and why; nothing is written."""

import dataclasses
from pathlib import Path

import pydicom
import pytest
from msgspec.structs import replace

from leyden.deliver.destination import Destination
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE, JPEG2000, JPEG2000_LOSSLESS
from leyden.form.ladder import Acceptance
from leyden.operate.explain import Configured, explain
from leyden.operate.explained import Asked, Explained, Rule, Saving, Seen
from leyden.plan.changes import Change
from leyden.plan.conditions import stopped_clock
from leyden.plan.match import nothing_known
from leyden.plan.rules import (
    Action,
    ActionType,
    Condition,
    Edit,
    EditType,
    Kind,
    Mutation,
    OnError,
    Place,
    PlanSettings,
    Route,
    Step,
    Target,
)
from leyden.pseudonyms import NEW, Preview
from support.headers import SECONDARY_CAPTURE, encode
from support.objects import real

ADD, SAVE, DROP = ActionType.ADD_DESTINATION, ActionType.SAVE_FILE, ActionType.DROP
CT = Condition("00080060", Kind.LITERAL, "CT")


def configured(*routes: Route, syntax: str = "", impersonate: bool = False) -> Configured:
    names = ("IMAGEPACS", "REPORTPACS")
    titles = {name: name for name in names} | {"PACS": "IMAGEPACS", "LEYDEN": ""}
    return Configured(
        PlanSettings("LEYDEN", titles, tuple(Target(name, syntax) for name in names), routes),
        AcceptorPolicy(tuple(titles)),
        tuple(Destination(name, "192.0.2.1", 104, syntax=syntax, impersonate=impersonate) for name in names),
        nothing_known,
        stopped_clock,
    )


def route(*actions: Action, to: tuple[str, ...] = (), when: tuple[Condition, ...] = ()) -> Route:
    return Route("routings.yml:1", to, when, actions, "a rule")


def part10(path: Path, dataset: bytes) -> Path:
    path.write_bytes(encode_head(FileMeta(SECONDARY_CAPTURE, "2.25.1", EXPLICIT_LE)) + dataset)
    return path


def told(*routes: Route, file: str = "CT_small.dcm", called: str = "PACS") -> Explained:
    return explain(configured(*routes), real(file), "CT1", called)


def test_the_association_and_the_object_are_told() -> None:
    found = told()
    assert (found.calling, found.called, found.node, found.syntax) == (
        "CT1", "PACS", "IMAGEPACS", "ExplicitVRLittleEndian",
    )  # fmt: skip
    assert found.sop_instance_uid == "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
    assert found.well


def test_every_condition_of_a_rule_is_told_even_behind_one_that_does_not_hold() -> None:
    absent = Condition("00081048")
    manufacturer = Condition("00080070", Kind.WILDCARD, "GE*")
    (rule,) = told(route(Action(DROP), when=(dataclasses.replace(CT, negate=True), absent, manufacturer))).rules
    assert not rule.held
    assert rule.conditions == (
        Asked("Modality is not CT", False, ("CT",), ""),
        Asked("PhysiciansOfRecord is there", False, None, ""),
        Asked("Manufacturer is like GE*", True, ("GE MEDICAL SYSTEMS",), ""),
    )


def test_a_condition_without_an_answer_says_why(tmp_path: Path) -> None:
    dataset = pydicom.Dataset()
    dataset.SeriesDescription = "a" * 60 + "b"
    slow = Condition("0008103e", Kind.REGEX, "(a|aa)+$")
    path = part10(tmp_path / "slow.dcm", encode(dataset))
    (rule,) = explain(configured(route(Action(DROP), when=(slow,))), path, "CT1", "PACS").rules
    assert rule.conditions == (Asked("SeriesDescription matches (a|aa)+$", False, None, "had no answer within 50 ms"),)


def test_a_rule_for_other_nodes_is_told_as_such() -> None:
    (rule,) = told(route(Action(DROP), to=("REPORTPACS",), when=(CT,))).rules
    assert (rule.skipped, rule.held, rule.conditions) == ("it looks at objects sent to REPORTPACS", False, ())


def test_deliveries_copies_and_actions_are_told() -> None:
    found = told(route(Action(ADD, "REPORTPACS", True), Action(SAVE, "/a/#{8,60}/"), when=(CT,)))
    (sending,) = found.deliveries
    assert (sending.destination, sending.address, sending.because) == (
        "REPORTPACS", "192.0.2.1:104", "routings.yml:1 add_destination",
    )  # fmt: skip
    assert found.saves == (Saving(f"/a/CT/{found.sop_instance_uid}.dcm", "routings.yml:1 save_file"),)
    assert found.rules[0].actions == ("send to REPORTPACS, and not to the called node", "save as /a/#{8,60}/")


@pytest.mark.parametrize(
    ("routes", "called", "dropped_by", "failed"),
    [
        ((route(Action(DROP)),), "PACS", "routings.yml:1 drop", ""),
        ((), "LEYDEN", "", "no destination: it came for our own title and no route added one"),
    ],
)
def test_ends_without_a_delivery(routes: tuple[Route, ...], called: str, dropped_by: str, failed: str) -> None:
    found = told(*routes, called=called)
    assert (found.dropped_by, found.failed, found.deliveries) == (dropped_by, failed, ())
    assert found.well == (not failed)


def test_the_form_is_told_with_its_reason() -> None:
    lossless = configured(syntax=JPEG2000_LOSSLESS)
    lossy = configured(syntax=JPEG2000)
    (made,) = explain(lossless, real("CT_small.dcm"), "CT1", "PACS").deliveries
    (report,) = explain(lossless, real("test-SR.dcm"), "CT1", "PACS").deliveries
    (asked,) = explain(lossy, real("CT_small.dcm"), "CT1", "PACS").deliveries
    assert (made.form, made.syntax, made.why) == ("make", "JPEG2000Lossless", "")
    assert (report.form, report.syntax) == ("as_it_came", "ExplicitVRLittleEndian")
    assert report.why == "without pixel data there is nothing to encode as JPEG2000Lossless"
    assert (asked.form, asked.syntax, asked.seen) == ("ask", "JPEG2000Lossy", None)


def test_what_a_destination_was_seen_to_accept_decides_and_is_told() -> None:
    def acceptance(_destination: str, _sop_class: str) -> Acceptance:
        return Acceptance((EXPLICIT_LE,), (JPEG2000_LOSSLESS,), 1234.0)

    knowing = replace(configured(syntax=JPEG2000_LOSSLESS), acceptance_of=acceptance)
    (sending,) = explain(knowing, real("CT_small.dcm"), "CT1", "PACS").deliveries
    assert (sending.form, sending.syntax) == ("as_it_came", "ExplicitVRLittleEndian")
    assert sending.seen == Seen(("ExplicitVRLittleEndian",), ("JPEG2000Lossless",), 1234.0)


def test_the_calling_title_is_that_of_the_modality_if_the_node_impersonates() -> None:
    def calling(impersonate: bool) -> str:
        (sending,) = explain(configured(impersonate=impersonate), real("CT_small.dcm"), "CT1", "PACS").deliveries
        return sending.calling

    assert (calling(True), calling(False)) == ("CT1", "LEYDEN")


def test_without_titles_those_of_the_file_or_ours() -> None:
    found = explain(configured(), real("CT_small.dcm"))
    assert (found.calling, found.called) == ("CLUNIE1", "LEYDEN")


def test_what_the_receiver_would_not_take() -> None:
    limited = replace(configured(), acceptor=AcceptorPolicy(("PACS",), ("MR1",), ("1.2.840.10008.5.1.4.1.1.4",)))
    for calling, called, file, why in (
        ("MR1", "NOBODY", "CT_small.dcm", "called AE title not recognized"),
        ("CT1", "PACS", "CT_small.dcm", "calling AE title not recognized"),
        ("MR1", "PACS", "MR_small.dcm", "the presentation context is refused: SOP class 1.2.840.10008.5.1.4.1.1.4 in"),
    ):
        found = explain(limited, real(file), calling, called)
        assert why in found.rejected
        assert not found.well


def test_what_is_no_dicom_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "bare.dcm").write_bytes(real("CT_small.dcm").read_bytes()[400:])
    assert explain(configured(), tmp_path / "notes.txt").unread.startswith("not a Part 10 file")
    assert explain(configured(), tmp_path / "bare.dcm").unread.startswith("not a Part 10 file")
    assert explain(configured(), tmp_path / "absent").unread == "No such file or directory"
    assert explain(configured(), tmp_path).unread == "not a regular file"


def test_a_dataset_that_breaks_off_is_told(tmp_path: Path) -> None:
    dataset = pydicom.Dataset()
    dataset.Modality = "CT"
    dataset.StudyDescription = "Thorax"
    path = part10(tmp_path / "cut.dcm", encode(dataset)[:-3])
    found = explain(configured(route(Action(ADD, "REPORTPACS"), when=(CT,))), path, "CT1", "PACS")
    assert found.flaw
    assert [each.destination for each in found.deliveries] == ["IMAGEPACS", "REPORTPACS"]


def test_a_dataset_that_can_not_be_read_goes_as_it_came(tmp_path: Path) -> None:
    path = part10(tmp_path / "broken.dcm", b"\x08\0\x60\0CS\xff\xffCT")
    found = explain(configured(route(Action(DROP))), path, "CT1", "PACS")
    (sending,) = found.deliveries
    assert (sending.form, sending.because.partition(":")[0]) == ("as_it_came", "no rule can read it, so as it came")
    assert found.rules == ()
    assert explain(mutating(mutation(edit())), path, "CT1", "PACS").failed.startswith(
        "mutations.yml:1 can't be applied"
    )
    assert explain(configured(), path, "CT1", "LEYDEN").failed.startswith("no destination: no rule can read it")


def test_long_values_are_cut(tmp_path: Path) -> None:
    dataset = pydicom.Dataset()
    dataset.TextValue = "x" * 1000
    path = part10(tmp_path / "long.dcm", encode(dataset))
    (rule,) = explain(configured(route(Action(DROP), when=(Condition("0040a160"),))), path, "CT1", "PACS").rules
    assert rule.conditions[0].seen == ("x" * 200 + "...",)


NAME = Place(0x00100010)


def edit(value: str = "NOBODY", target: Place = NAME, on_error: OnError = OnError.FAIL) -> Edit:
    return Edit(EditType.ADD_OR_UPDATE, "mutations.yml:3", destination=target, value=value, on_error=on_error)


def mutation(*edits: Edit, line: int = 1, to: tuple[str, ...] = (), when: tuple[Condition, ...] = ()) -> Mutation:
    return Mutation(f"mutations.yml:{line}", to, when, edits, "a mutation")


def mutating(
    *mutations: Mutation, filters: tuple[str, ...] = ("route", "mutate"), routes: tuple[Route, ...] = ()
) -> Configured:
    before = configured(*routes)
    return replace(before, plan=replace(before.plan, filters=filters, mutations=mutations))


NOBODY = Condition("00100010", Kind.LITERAL, "NOBODY")


def test_mutations_are_told_with_what_they_see_and_change() -> None:
    remove = Edit(EditType.REMOVE, "mutations.yml:9", destination=Place(0x00081048))
    rules = mutating(mutation(edit()), mutation(remove, line=7, when=(dataclasses.replace(CT, negate=True), NOBODY)))
    (sending,) = explain(rules, real("CT_small.dcm"), "CT1", "PACS").deliveries
    assert sending.mutations == (
        Rule("mutations.yml:1", "a mutation", "", True, (), ("set PatientName to NOBODY",)),
        Rule(
            "mutations.yml:7",
            "a mutation",
            "",
            False,
            (
                Asked("Modality is not CT", False, ("CT",), ""),
                Asked("PatientName is NOBODY", True, ("NOBODY",), ""),
            ),
            (),
        ),
    )
    assert sending.changes == (Change("PatientName", "CompressedSamples^CT1", "NOBODY"),)


def test_what_has_nothing_to_change_is_told() -> None:
    remove = Edit(EditType.REMOVE, "mutations.yml:9", destination=Place(0x00081048))
    (sending,) = explain(mutating(mutation(remove)), real("CT_small.dcm"), "CT1", "PACS").deliveries
    assert sending.mutations[0].actions == ("remove PhysiciansOfRecord (nothing to change)",)
    assert sending.changes == ()


def test_an_object_that_a_mutation_holds_back() -> None:
    too_long = mutation(edit("X" * 80, Place(0x00080060)))
    failed = explain(mutating(too_long), real("CT_small.dcm"), "CT1", "PACS")
    assert (failed.deliveries, failed.well) == ((), False)
    assert failed.failed.startswith("mutations.yml:3 add_or_update: ")
    assert failed.mutations[0].held
    later = mutation(edit("X" * 80, Place(0x00080060), OnError.RETRY))
    put_off = explain(mutating(later), real("CT_small.dcm"), "CT1", "PACS")
    assert (put_off.failed, bool(put_off.postponed), put_off.well) == ("", True, False)


def test_a_copy_that_a_mutation_holds_back_while_another_one_goes() -> None:
    too_long = mutation(edit("X" * 80, Place(0x00080060)), to=("REPORTPACS",))
    rules = mutating(too_long, routes=(route(Action(ADD, "REPORTPACS")),))
    found = explain(rules, real("CT_small.dcm"), "CT1", "PACS")
    images, reports = found.deliveries
    assert (images.failure, reports.failure.partition(":")[0]) == ("", "mutations.yml")
    assert not found.well


def test_routes_see_what_mutations_before_them_have_made() -> None:
    to_reports = route(Action(ADD, "REPORTPACS"), when=(NOBODY,))
    first = mutating(mutation(edit(), to=("IMAGEPACS",)), filters=("mutate", "route"), routes=(to_reports,))
    found = explain(first, real("CT_small.dcm"), "CT1", "PACS")
    assert found.rules[0].conditions == (Asked("PatientName is NOBODY", True, ("NOBODY",), ""),)
    assert [(each.destination, len(each.changes)) for each in found.deliveries] == [("IMAGEPACS", 1), ("REPORTPACS", 1)]
    behind = replace(first, plan=replace(first.plan, filters=("route", "mutate")))
    found = explain(behind, real("CT_small.dcm"), "CT1", "PACS")
    assert not found.rules[0].held
    assert [each.destination for each in found.deliveries] == ["IMAGEPACS"]


def test_routes_see_the_pseudonym_that_a_mutation_before_them_has_given(tmp_path: Path) -> None:
    anonymize = mutation(Edit(EditType.ANONYMIZE, "mutations.yml:3", mapping=str(tmp_path / "patients.csv")))
    pseudonym = Condition("00100020", Kind.WILDCARD, "ANON-*")
    to_reports = route(Action(ADD, "REPORTPACS"), when=(pseudonym,))
    first = mutating(anonymize, filters=("mutate", "route"), routes=(to_reports,))
    found = explain(replace(first, pseudonymizer=Preview(tmp_path)), real("CT_small.dcm"), "CT1", "PACS")
    assert found.rules[0].held
    assert found.rules[0].conditions == (Asked("PatientID is like ANON-*", True, (NEW,), ""),)


def test_values_are_those_that_the_destination_gets() -> None:
    item = Place(0x00080100, (Step(0x00082218, 1),))
    meta = Place(0x00020010)
    (sending,) = explain(mutating(mutation(edit())), real("CT_small.dcm"), "CT1", "PACS", (NAME, item, meta)).deliveries
    assert sending.values == {
        "PatientName": ("NOBODY",),
        "AnatomicRegionSequence[1].CodeValue": None,
        "TransferSyntaxUID": ("1.2.840.10008.1.2.1",),
    }
