"""Entries that have to be edited before they may leave: they stay in transform/, and keep the name of their rules."""

import os

import pytest

from leyden.spool import listing
from leyden.spool.entry import Entry, key
from leyden.spool.recover import Recovered, reclaim, recover
from leyden.spool.stage import Stage
from leyden.spool.store import Placement, Plan

RULES = "0123456789abcdef"


def waiting(spool, stage, destination="PACS"):
    return list(spool.waiting(stage, destination, 1000))


def made(spool, claim, **more):
    fd, path = spool.making(claim)
    os.write(fd, b"edited")
    os.close(fd)
    spool.transformed(claim, path, **more)


def test_the_result_is_not_to_be_edited_again(spool):
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless", edits=RULES)
    made(spool, spool.first(Stage.TRANSFORM, claimant="worker-0"))
    (entry,) = (queued.entry for queued in waiting(spool, Stage.PREPARED))
    assert (entry.edits, entry.syntax) == ("", "")


def test_the_result_may_wait_until_its_destination_was_asked(spool):
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossy", edits=RULES)
    made(spool, spool.first(Stage.TRANSFORM, claimant="worker-0"), asking="JPEG2000Lossy")
    (entry,) = (queued.entry for queued in waiting(spool, Stage.ASKING))
    assert (entry.edits, entry.syntax) == ("", "JPEG2000Lossy")


def test_it_is_never_passed_on_as_it_came(spool):
    spool.put(Stage.TRANSFORM, edits=RULES)
    with pytest.raises(ValueError, match="must not be passed on"):
        spool.passed_on(spool.first(Stage.TRANSFORM, claimant="worker-0"))


@pytest.mark.parametrize("stage", [Stage.PREPARED, Stage.ASKING])
def test_one_that_somebody_moves_goes_back_to_be_edited(spool, stage):
    entry = spool.put(stage, edits=RULES)
    assert waiting(spool, stage) == []
    assert [queued.entry for queued in waiting(spool, Stage.TRANSFORM)] == [entry]


def test_it_keeps_its_rules_when_it_is_given_back_and_when_it_is_retried(spool):
    spool.put(Stage.TRANSFORM, edits=RULES)
    spool.give_back(spool.first(Stage.TRANSFORM, claimant="worker-0"), crashed=True)
    (back,) = waiting(spool, Stage.TRANSFORM)
    assert (back.entry.edits, back.entry.crashes) == (RULES, 1)
    spool.fail(spool.first(Stage.TRANSFORM, claimant="worker-0"), {"reason": "no"})
    assert listing.edits(str(spool.root)) == {RULES}
    assert spool.retry(Stage.FAILED) == 1
    (back,) = waiting(spool, Stage.TRANSFORM)
    assert (back.entry.edits, back.entry.crashes) == (RULES, 0)


@pytest.mark.parametrize("asking", ["", "JPEG2000Lossy"])
@pytest.mark.parametrize("further", ["waits", "to be made lossy"])
def test_a_claim_whose_result_stands_anywhere_is_dropped(spool, asking, further):
    """The worker died between the link and the unlink of its claim."""
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossy", edits=RULES)
    claim = spool.first(Stage.TRANSFORM, claimant="worker-0")
    kept = claim.path.read_bytes()
    made(spool, claim, asking=asking)
    claim.path.write_bytes(kept)
    if further == "to be made lossy":
        spool.to_transform(spool.first(Stage.ASKING if asking else Stage.PREPARED), "JPEG2000Lossy")
    assert reclaim(spool, "worker-0") == 1
    assert len(spool.tree()) == 1
    assert b"edited" in next(spool.root.joinpath(name).read_bytes() for name in spool.tree())


def test_a_claim_without_a_result_is_given_back_with_its_rules(spool):
    entry = spool.put(Stage.TRANSFORM, edits=RULES)
    spool.first(Stage.TRANSFORM, claimant="worker-0")
    assert recover(spool) == Recovered(given_back=1)
    assert [queued.entry for queued in waiting(spool, Stage.TRANSFORM)] == [entry]


def test_rules_that_a_plan_names_are_named(spool, monkeypatch):
    path = spool.receive()
    keys = key("a"), key("b"), key("c")
    places = (
        Placement(Entry(path.stem, *keys, edits=RULES), Stage.TRANSFORM, "PACS", "10"),
        Placement(Entry(path.stem, *keys), Stage.PREPARED, "REPORTS", "10"),
    )
    monkeypatch.setattr(spool, "_carry_out", lambda path, plans: [])
    spool.plan_many([Plan(path, places)], 1, "planner-0")
    assert listing.edits(str(spool.root)) == {RULES}
