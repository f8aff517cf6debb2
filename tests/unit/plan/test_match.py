"""From a header to deliveries: destinations, reasons, syntaxes and ranks."""

import dataclasses

import pydicom
import pytest

from leyden.dicom.header import Header
from leyden.dicom.part10 import FileMeta
from leyden.form.choose import AsItCame, Make
from leyden.form.ladder import Acceptance
from leyden.plan.match import Delivery, Ran, Save, plan, rank_of, remarks
from leyden.plan.rules import Action, ActionType, Condition, Kind, PlanSettings, Route, Target
from support.headers import header_from, header_of

J2K, IMPLICIT, EXPLICIT = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN, DEFLATED, JPEG_LOSSLESS = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.70"
RLE, JPEG_BASELINE, J2K_LOSSY = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
MPEG4, JPIP = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94"
CT_IMAGE, BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
ADD, SAVE, DROP = ActionType.ADD_DESTINATION, ActionType.SAVE_FILE, ActionType.DROP
CT = Condition("00080060", Kind.LITERAL, "CT")


def image(modality: str = "CT", called: str = "IMAGEPACS", **more: object) -> Header:
    dataset = pydicom.Dataset()
    dataset.Modality = modality
    dataset.SOPInstanceUID = "2.25.7"
    return header_of(dataset, called=called, sop_class=CT_IMAGE, **more)  # type: ignore[arg-type]


def settings(*routes: Route, drop_unfiltered: bool = False, off: bool = False, **syntaxes: str) -> PlanSettings:
    names = ("IMAGEPACS", "REPORTPACS", "THIRD")
    titles = {name: name for name in names} | {"DCP_IMAGEPACS": "IMAGEPACS", "LEYDEN": "", "DCP_LEYDEN": ""}
    targets = tuple(Target(name, syntaxes.get(name, "")) for name in names)
    return PlanSettings("LEYDEN", titles, targets, None if off else routes, drop_unfiltered)


def route(*actions: Action, line: int = 1, to: tuple[str, ...] = (), when: tuple[Condition, ...] = ()) -> Route:
    return Route(f"routings.yml:{line}", to, when, actions)


def destinations(rules: PlanSettings, header: Header) -> list[str]:
    return [delivery.destination for delivery in plan(rules, header).deliveries]


def test_a_called_title_or_alias_is_the_destination() -> None:
    assert plan(settings(off=True), image()).deliveries == (
        Delivery("IMAGEPACS", AsItCame(), "00", "called title IMAGEPACS"),
    )
    assert plan(settings(), image(called="DCP_IMAGEPACS")).deliveries == (
        Delivery("IMAGEPACS", AsItCame(), "00", "called title DCP_IMAGEPACS"),
    )


def test_the_example_sends_reports_elsewhere() -> None:
    expression = r"^1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.[\d]{1,2}$"
    is_report = Condition("00080016", Kind.REGEX, expression)
    rule = route(Action(ADD, "REPORTPACS", True, "Re-route"), to=("IMAGEPACS",), when=(is_report,))
    rules = settings(rule, IMAGEPACS=J2K)
    report = pydicom.Dataset()
    report.SOPClassUID = BASIC_TEXT_SR
    decision = plan(rules, header_of(report, sop_class=BASIC_TEXT_SR))
    assert decision.deliveries == (Delivery("REPORTPACS", AsItCame(), "00", "routings.yml:1 add_destination"),)
    assert (False, "routings.yml:1 add_destination REPORTPACS: Re-route") in remarks(decision, debug=True)
    assert destinations(rules, image()) == ["IMAGEPACS"]


def test_every_matching_route_runs_whatever_an_earlier_one_removed() -> None:
    rules = settings(
        route(Action(ADD, "REPORTPACS", remove_original=True), line=1, to=("IMAGEPACS",)),
        route(Action(ADD, "THIRD"), line=5, when=(CT,)),
        route(Action(ADD, "THIRD"), line=9),
    )
    assert [(d.destination, d.reason) for d in plan(rules, image()).deliveries] == [
        ("REPORTPACS", "routings.yml:1 add_destination"),
        ("THIRD", "routings.yml:5 add_destination"),
    ]


def test_the_same_destination_twice_is_one_delivery() -> None:
    rules = settings(route(Action(ADD, "IMAGEPACS"), Action(ADD, "THIRD"), Action(ADD, "THIRD")))
    assert [(d.destination, d.reason) for d in plan(rules, image()).deliveries] == [
        ("IMAGEPACS", "called title IMAGEPACS"),
        ("THIRD", "routings.yml:1 add_destination"),
    ]


def test_a_route_does_not_look_at_what_another_added() -> None:
    rules = settings(
        route(Action(ADD, "REPORTPACS"), to=("IMAGEPACS",)),
        route(Action(ADD, "THIRD", remove_original=True), to=("REPORTPACS",)),
    )
    assert destinations(rules, image()) == ["IMAGEPACS", "REPORTPACS"]
    assert destinations(rules, image(called="REPORTPACS")) == ["THIRD"]


def test_a_destination_that_was_added_stays_whatever_is_removed() -> None:
    rules = settings(route(Action(ADD, "IMAGEPACS", remove_original=True)), route(Action(DROP), line=4))
    decision = plan(rules, image())
    assert [d.reason for d in decision.deliveries] == ["routings.yml:1 add_destination"]
    assert decision.dropped_by == ""


def test_a_route_without_titles_looks_at_what_came_for_our_own() -> None:
    rules = settings(route(Action(ADD, "THIRD")), route(Action(ADD, "REPORTPACS"), to=("IMAGEPACS",)))
    for called in ("LEYDEN", "DCP_LEYDEN", ""):
        assert destinations(rules, image(called=called)) == ["THIRD"]
    unrouted = plan(settings(), image(called="LEYDEN"))
    assert (unrouted.deliveries, unrouted.dropped_by) == ((), "")
    assert unrouted.reason == "no destination: it came for our own title and no route added one"


def test_an_object_for_a_title_no_longer_served_has_no_destination_unless_it_was_put_in_by_hand() -> None:
    rules = settings(route(Action(ADD, "THIRD")))
    gone = plan(rules, image(called="GONE"))
    assert (gone.deliveries, gone.dropped_by) == ((), "")
    assert gone.reason == "no node answers to the called title GONE any more"
    by_hand = plan(rules, image(called="GONE"), by_hand=True)
    assert [d.destination for d in by_hand.deliveries] == ["THIRD"]


def test_a_file_put_in_by_hand_is_bound_for_our_own_title_whatever_it_says() -> None:
    rules = settings(route(Action(ADD, "THIRD")))
    assert [d.destination for d in plan(rules, image(), by_hand=True).deliveries] == ["THIRD"]
    assert plan(settings(), image(), by_hand=True).reason.startswith("no destination: it came for our own title")


def broken_item() -> Header:
    """A dataset whose top level parses, but not the item in its Request Attributes Sequence."""
    item = b"\x08\x00\x00\x01SH\xff\x7fA"
    sequence = b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
    data = b"\x40\x00\x75\x02SQ\0\0" + len(sequence).to_bytes(4, "little") + sequence
    meta = FileMeta(CT_IMAGE, "2.25.7", EXPLICIT, sending="CT1", receiving="IMAGEPACS")
    return header_from(meta, b"\x08\x00\x60\x00CS\x02\x00CT" + data)


@pytest.mark.parametrize("negate", [False, True])
@pytest.mark.parametrize("search", [False, True])
def test_a_condition_that_meets_a_broken_item_disables_only_its_own_rule(negate: bool, search: bool) -> None:
    inner = Condition("00080100", Kind.LITERAL, "B", negate)
    asked = dataclasses.replace(inner, search=True) if search else Condition("00400275", items=(inner,), negate=negate)
    rules = settings(route(Action(ADD, "THIRD"), when=(asked,)), route(Action(DROP), line=9, when=(CT,)))
    decision = plan(rules, broken_item())
    assert (decision.deliveries, decision.dropped_by) == ((), "routings.yml:9 drop")
    assert any(info and "can't be decided" in text for info, text in remarks(decision, debug=False))


def test_drop_names_its_rule_and_is_logged_at_info() -> None:
    rules = settings(route(Action(DROP, description="no localizers"), line=7, when=(CT,)))
    decision = plan(rules, image())
    assert (decision.deliveries, decision.dropped_by, decision.reason) == ((), "routings.yml:7 drop", "")
    assert (True, "routings.yml:7 drop: no localizers") in remarks(decision, debug=False)
    assert plan(rules, image(called="LEYDEN")).dropped_by == "routings.yml:7 drop"
    assert destinations(rules, image("MR")) == ["IMAGEPACS"]


def test_dropping_the_original_leaves_what_others_added() -> None:
    rules = settings(route(Action(ADD, "THIRD")), route(Action(DROP)))
    assert destinations(rules, image()) == ["THIRD"]


def test_an_instance_that_no_route_matches_is_dropped_if_that_is_set() -> None:
    rules = settings(route(Action(ADD, "THIRD"), when=(CT,)), drop_unfiltered=True)
    assert destinations(rules, image("CT")) == ["IMAGEPACS", "THIRD"]
    assert plan(rules, image("MR")).dropped_by == "dropUnfilteredInstances"
    assert destinations(settings(drop_unfiltered=True, off=True), image()) == ["IMAGEPACS"]


def test_saves_are_paths_and_end_the_trip_if_nothing_else_is_asked_for() -> None:
    save = Action(SAVE, "/kept/#{8,60}/")
    both = plan(settings(route(save, Action(SAVE, "/kept/#{8,60}/"))), image())
    assert both.saves == (Save("/kept/CT/2.25.7.dcm", "routings.yml:1 save_file", "/kept/#{8,60}/"),)
    assert [d.destination for d in both.deliveries] == ["IMAGEPACS"]
    only = plan(settings(route(Action(SAVE, "/kept/", remove_original=True), line=3)), image())
    assert [save.path for save in only.saves] == ["/kept/2.25.7.dcm"]
    assert (only.deliveries, only.dropped_by) == ((), "routings.yml:3 save_file")
    ours = plan(settings(route(save, line=2)), image(called="LEYDEN"))
    assert [save.path for save in ours.saves] == ["/kept/CT/2.25.7.dcm"]
    assert ours.dropped_by == "routings.yml:2 save_file"


def test_a_broken_dataset_is_logged() -> None:
    dataset = pydicom.Dataset()
    dataset.Modality = "CT"
    dataset.PatientComments = "x" * 3000
    decision = plan(settings(), header_of(dataset, cut_bytes=2000))
    info, text = next(remarks(decision, debug=False))
    assert info
    assert text.startswith("the rules saw a part of it only: ")
    unfiltered = plan(settings(drop_unfiltered=True), header_of(dataset, cut_bytes=2000))
    assert [d.destination for d in unfiltered.deliveries] == ["IMAGEPACS"]  # a route might have touched what is hidden


def test_the_form_follows_from_what_the_node_wants_and_the_destination_was_seen_to_accept() -> None:
    rules = settings(IMAGEPACS=IMPLICIT)
    assert plan(rules, image()).deliveries[0].form == Make(IMPLICIT)
    asked: list[tuple[str, str]] = []

    def seen(destination: str, sop_class: str) -> Acceptance:
        asked.append((destination, sop_class))
        return Acceptance((EXPLICIT,), (IMPLICIT,))

    assert plan(rules, image(), seen).deliveries[0].form == AsItCame()
    assert asked == [("IMAGEPACS", CT_IMAGE)]


def test_the_reason_is_given_if_its_pixels_are_an_obstacle() -> None:
    reason = "without pixel data there is nothing to encode as JPEG2000Lossless"
    assert plan(settings(IMAGEPACS=J2K), image()).deliveries[0].form == AsItCame(reason)


def test_the_rank_is_the_place_of_the_class_in_sop_class_priorities() -> None:
    target = Target("A", sop_class_priorities=("1.2", "default", "1.3"))
    assert [rank_of(target, sop_class) for sop_class in ("1.2", "9.9", "1.3")] == ["00", "01", "02"]
    assert [rank_of(Target("A", "", ("1.2", "1.3")), sop_class) for sop_class in ("1.3", "9.9")] == ["01", "02"]
    assert rank_of(Target("A"), "1.2") == "00"
    assert rank_of(Target("A", "", tuple(f"1.{n}" for n in range(150))), "1.149") == "99"


def test_the_log_says_what_a_rule_asks_for() -> None:
    told = dataclasses.replace(CT, log_info=True)
    said = dataclasses.replace(Condition("00080060", Kind.LITERAL, "MR"), log_info=True)
    rules = settings(
        route(Action(ADD, "THIRD", log_info=True), when=(told,)), route(Action(ADD, "THIRD"), line=2, when=(CT, said))
    )
    decision = plan(rules, image())
    assert list(remarks(decision, debug=False)) == [
        (True, "routings.yml:1: condition on Modality holds"),
        (True, "routings.yml:1 add_destination THIRD"),
        (True, "routings.yml:2: condition on Modality does not hold"),
    ]
    every = plan(rules, image(), every=True)
    assert (False, "routings.yml:2: condition on Modality holds") in remarks(every, debug=True)
    assert list(remarks(every, debug=False)) == list(remarks(decision, debug=False))


def test_a_route_is_run_up_to_the_first_condition_that_does_not_hold() -> None:
    no = Condition("00080060", Kind.LITERAL, "MR")
    rules = settings(route(Action(ADD, "THIRD"), when=(CT, no, CT)), route(Action(ADD, "THIRD"), line=2, when=(CT,)))
    first, second = plan(rules, image(), every=True).ran
    assert isinstance(first, Ran)
    assert (first.failed, first.held) == (no, False)
    assert (second.failed, second.held) == (None, True)
    assert plan(rules, image()).ran == (second,), "of the other one there is nothing to say"


def test_what_cannot_be_given_goes_as_it_came_for_the_destination_may_accept_more_by_now() -> None:
    accepts_j2k = Acceptance((J2K,), (EXPLICIT, IMPLICIT))
    (delivery,) = plan(settings(IMAGEPACS=J2K), image(), lambda *_: accepts_j2k).deliveries
    assert isinstance(delivery.form, AsItCame)
    assert "can't be made into what it takes (JPEG2000Lossless): without pixel data" in delivery.form.reason
