"""What the page shows of the last minutes and of today."""

import time

import pytest

from leyden.console.live import ERRORS, NAMES, RATE_S, SECONDS, WORDS, Live, Ring, midnight_s
from leyden.journal.events import (
    Deferred,
    Delivered,
    Event,
    Failed,
    Planned,
    PlannedDelivery,
    Received,
    Rejected,
    Transformed,
)
from leyden.journal.tail import Told
from leyden.plan.rules import Edit, EditType, Mutation, PlanSettings

NOON_S = midnight_s(1_795_000_000.0) + 12 * 3600
OF = {"sop_class_uid": "1.2.840.10008.5.1.4.1.1.2", "sop_instance_uid": "2.25.1", "calling": "CT1"}


def received(at_s: float, size: int = 1000, calling: str = "CT1") -> Received:
    keys = OF | {"calling": calling}
    return Received("1" * 22, at_s, called="PACS", syntax="1.2.840.10008.1.2.1", bytes=size, **keys)


def delivered(at_s: float, to: str = "PACS", size: int = 500) -> Delivered:
    return Delivered("1" * 22, at_s, destination=to, status=0, syntax="1.2.840.10008.1.2.1", bytes=size, **OF)


def planned(at_s: float, *rules: str, changed_by: tuple[str, ...] = (), nowhere: bool = False) -> Planned:
    ways = () if nowhere else (PlannedDelivery("PACS", "as it came", "called title PACS", changed_by),) * 2
    return Planned("1" * 22, at_s, called="PACS", generation=1, deliveries=ways, rules=rules, **OF)


def live(*events: Event, begun_s: float = NOON_S) -> Live:
    made = Live(begun_s)
    made.take([Told("sender-0", event) for event in events])
    return made


def test_a_ring_holds_the_last_seconds_in_whatever_order_they_are_told() -> None:
    ring = Ring()
    for second in (5, 4, 5, 4 + SECONDS, 4):  # the last one is older than what its cell holds
        ring.add(second)
    assert ring.before(5 + SECONDS) == [2, *[0] * (SECONDS - 2), 1]
    assert ring.before(6 + SECONDS) == [*[0] * (SECONDS - 2), 1, 0]
    assert ring.before(NOON_S) == [0] * SECONDS


def test_rates_are_of_whole_seconds_that_have_passed() -> None:
    told = [received(NOON_S - 1 - n % RATE_S) for n in range(50)]
    now = live(*told, received(NOON_S + 0.4)).document(NOON_S + 0.5, [])
    assert now["rates"]["received"] == {"objects": 50 / RATE_S, "bytes": 50_000 / RATE_S}
    assert sum(now["flow"]["received"]["objects"]) == 50


def test_each_step_and_each_destination_has_its_own_rate() -> None:
    at_s = NOON_S - 1
    made = Transformed(
        "1" * 22, at_s, destination="PACS", came="a", made="b", came_bytes=900, made_bytes=300, took_s=0.1, **OF
    )
    now = live(planned(at_s), made, delivered(at_s), delivered(at_s, "ARCHIVE"), delivered(at_s, "GONE")).document(
        NOON_S, ["PACS", "ARCHIVE", "IDLE"]
    )
    assert now["rates"]["planned"] == {"objects": 1 / RATE_S}
    assert now["rates"]["made"] == {"objects": 1 / RATE_S, "bytes": 900 / RATE_S}
    assert now["rates"]["sent"]["objects"] == 3 / RATE_S
    assert {title: each["objects"] for title, each in now["destinations"].items()} == {
        "PACS": 1 / RATE_S,
        "ARCHIVE": 1 / RATE_S,
        "IDLE": 0,
    }


def test_a_rule_counts_the_objects_that_it_matched_once_each() -> None:
    told = [planned(NOON_S, "routings.yml:1", changed_by=("mutations.yml:4", "mutations.yml:6"))]
    told += [planned(NOON_S, "routings.yml:1"), planned(NOON_S, "routings.yml:9", nowhere=True)]
    page = Live(NOON_S)
    page.go_by(plan("mutations.yml:4", "mutations.yml:6"), NOON_S)
    page.take([Told("planner-0", event) for event in told])
    today = page.document(NOON_S, [])["today"]
    assert today["rules"] == {"routings.yml:1": 2, "mutations.yml:1": 1, "routings.yml:9": 1}
    assert today["kinds"] == {"dropped": 1}


def test_matches_of_other_rules_are_not_counted() -> None:
    """A rule is known by its place in the file, which may be that of another rule after a reload."""
    page = Live(NOON_S)
    page.go_by(plan("mutations.yml:4"), NOON_S - 60)
    page.take([Told("planner-0", planned(NOON_S - 61, "routings.yml:1"))])
    page.take([Told("planner-0", planned(NOON_S - 60, "routings.yml:1"))])
    page.go_by(plan("mutations.yml:4"), NOON_S)  # a reload that has changed something else
    assert page.document(NOON_S, [])["today"]["rules"] == {"routings.yml:1": 1}
    page.go_by(plan("mutations.yml:5"), NOON_S + 60)
    today = page.document(NOON_S + 61, [])["today"]
    assert (today["rules"], today["rulesSince"]) == ({}, NOON_S + 60)


def test_a_service_without_rules_has_had_them_since_midnight() -> None:
    """And not since the console was started again."""
    page = live()
    page.whole_from(NOON_S - 3600)
    page.go_by(PlanSettings("LEYDEN", {}, ()), NOON_S - 3600)
    assert page.document(NOON_S, ())["today"]["rulesSince"] == NOON_S - 3600


def plan(*edits: str) -> PlanSettings:
    """One mutation, with actions at these places."""
    actions = tuple(Edit(EditType.REMOVE, where) for where in edits)
    return PlanSettings("LEYDEN", {}, (), mutations=(Mutation("mutations.yml:1", actions=actions),))


def test_today_begins_at_local_midnight_and_ends_at_the_next() -> None:
    begin_s, end_s = midnight_s(NOON_S), midnight_s(NOON_S, 1)
    page = live(received(begin_s - 1), received(begin_s), received(end_s - 1), begun_s=begin_s - 100)
    today = page.document(NOON_S, [])["today"]
    assert (today["kinds"], today["since"]) == ({"received": 2}, begin_s)
    page.take([Told("receiver-0", received(end_s)), Told("receiver-0", received(end_s - 1))])  # told a moment later
    assert page.document(end_s + 1, [])["today"]["kinds"] == {"received": 1}
    assert page.document(end_s + 90_000, [])["today"]["kinds"] == {}, (
        "the page is open over midnight, and nothing comes"
    )


def test_today_says_since_when_nothing_is_missing() -> None:
    assert live(begun_s=NOON_S).document(NOON_S, [])["today"]["since"] == NOON_S
    page = live(begun_s=NOON_S)
    page.whole_from(NOON_S - 3600)
    assert page.document(NOON_S, [])["today"]["since"] == NOON_S - 3600


@pytest.mark.parametrize("zone", ["Europe/Amsterdam", "America/St_Johns"])
def test_midnight_is_that_of_the_place_also_when_the_clocks_change(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for day in range(0, 366, 1):
            now_s = 1_795_000_000.0 + day * 86400
            begin, end = time.localtime(midnight_s(now_s)), time.localtime(midnight_s(now_s, 1))
            assert (begin.tm_hour, begin.tm_min, end.tm_hour, end.tm_min) == (0, 0, 0, 0)
            assert begin.tm_yday == time.localtime(now_s).tm_yday != end.tm_yday
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_last_errors_are_kept_the_newest_first_each_with_its_reason() -> None:
    told: list[Event] = [
        Rejected("2" * 22, NOON_S + 1, destination="PACS", reason="status 0xA900", **OF),
        Failed("3" * 22, NOON_S + 3, reason="no file meta information"),
        Deferred("4" * 22, NOON_S + 2, destination="PACS", said="x" * 9000, wait_s=5.0, **OF),
    ]
    errors = live(*told).document(NOON_S + 4, [])["errors"]
    assert [each["kind"] for each in errors] == ["failed", "deferred", "rejected"]
    assert errors[2] | {"at": 0} == {
        "at": 0,
        "kind": "rejected",
        "destination": "PACS",
        "reason": "status 0xA900",
        "uid": "2.25.1",
        "receipt": "2" * 22,
    }
    assert len(errors[1]["reason"]) == WORDS


def test_what_peers_make_up_is_bounded() -> None:
    told: list[Event] = [received(NOON_S, calling=f"MODALITY{n}") for n in range(NAMES + 50)]
    told += [delivered(NOON_S, f"NODE{n}") for n in range(NAMES + 50)]
    told += [Failed("3" * 22, NOON_S + n / 100, reason=f"{n}") for n in range(4 * ERRORS)]
    now = live(*reversed(told)).document(NOON_S + 1, ["NODE49"])
    assert len(now["today"]["senders"]) == NAMES + 1
    assert sum(now["today"]["senders"].values()) == NAMES + 50
    assert [each["reason"] for each in now["errors"]] == [f"{n}" for n in reversed(range(3 * ERRORS, 4 * ERRORS))]
