"""The planner and mutations: what has to be changed goes to a worker by its rules, and nothing else does."""

import errno
import logging

import orjson
import pytest

from leyden import planner as planner_module
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from leyden.journal.events import PutOff
from leyden.kept_rules import KeptRules
from leyden.plan.rules import Action, ActionType, Condition, Edit, EditType, Kind, Mutation, OnError, Place, Route
from leyden.spool.entry import key
from leyden.spool.stage import Stage
from support.datasets import el
from unit.test_planner import CT, SR, Site, later, site

__all__ = ["later", "site"]
NAME, BIRTH_DATE, UID, STUDY = 0x00100010, 0x00100030, 0x00080018, 0x0020000D
BOTH = Route("routings.yml:1", actions=(Action(ActionType.ADD_DESTINATION, "REPORTS"),))


def put(tag: int, value: str, on_error: OnError = OnError.FAIL) -> Edit:
    return Edit(EditType.ADD_OR_UPDATE, "mutations.yml:2", destination=Place(tag), value=value, on_error=on_error)


def rule(*edits: Edit, to: tuple[str, ...] = (), when: tuple[Condition, ...] = ()) -> Mutation:
    return Mutation("mutations.yml:1", to, when, edits)


def entries(site: Site, stage: Stage, destination: str = "PACS"):
    return [queued.entry for queued in site.waiting(stage, destination)]


def test_what_changes_goes_to_a_worker_and_names_its_rules(site, caplog):
    planned = site(mutations=(rule(put(NAME, "Nobody"), to=("REPORTS",)),), routes=(BOTH,))
    receipt = planned.receive(SR, patient=b"Doe^Jane")
    planned.planner.batch()
    (copy,) = entries(planned, Stage.TRANSFORM, "REPORTS")
    assert (copy.receipt, copy.syntax) == (receipt, "ExplicitVRLittleEndian")
    rules = KeptRules(planned.spool.root).read(copy.edits)
    assert (rules.destination, rules.system, rules.mutations) == ("REPORTS", "LEYDEN", planned.settings.mutations)
    (other,) = entries(planned, Stage.TRANSFORM) + entries(planned, Stage.PREPARED)
    assert other.edits == ""
    assert "REPORTS as it came, changed by mutations.yml:2 (routings.yml:1 add_destination)" in caplog.text
    assert "Nobody" not in caplog.text
    assert "Doe" not in caplog.text


def test_what_does_not_change_goes_on_as_it_came(site):
    mr = Condition("00080060", Kind.LITERAL, "MR")
    planned = site(mutations=(rule(put(NAME, "X"), when=(mr,)), rule(put(NAME, "Doe^Jane"))))
    planned.receive(SR, called="REPORTS", patient=b"Doe^Jane")
    planned.planner.batch()
    assert [entry.edits for entry in entries(planned, Stage.PREPARED, "REPORTS")] == [""]
    assert not (planned.spool.root / "state" / "rules").exists()


def test_twins_go_by_the_uid_as_it_leaves(site):
    """Two instances that become one are sent one after the other; two copies that become different ones are not."""
    planned = site(mutations=(rule(put(UID, "1.9"), put(STUDY, "1.8"), to=("REPORTS",)),))
    for instance in ("1.2.3", "1.2.4"):
        planned.receive(SR, called="REPORTS", instance=instance)
    planned.planner.batch()
    first, second = entries(planned, Stage.TRANSFORM, "REPORTS")
    assert (first.sop_key, first.study_key) == (key("1.9"), key("1.8")) == (second.sop_key, second.study_key)
    assert (first.serial, second.serial) == (False, True)


def test_a_lossy_syntax_is_asked_for_by_the_worker(site):
    planned = site(lossy=True, mutations=(rule(put(NAME, "X")),))
    planned.receive(CT)
    planned.planner.batch()
    (entry,) = entries(planned, Stage.TRANSFORM)
    assert (entry.syntax, bool(entry.edits)) == ("JPEG2000Lossy", True)
    assert entries(planned, Stage.ASKING) == []


def test_one_that_no_destination_may_get_goes_to_failed_and_is_planned_anew(site):
    planned = site(mutations=(rule(put(BIRTH_DATE, "unknown")),), routes=(BOTH,))
    planned.receive(SR)
    planned.planner.batch()
    (reason,) = planned.reasons()
    assert reason == "mutations.yml:2 add_or_update: (0010,0030) would not have the form of VR DA"
    assert planned.spool.retry(Stage.FAILED) == 1
    assert len(planned.spool.newcomers(10)) == 1


def test_one_that_one_destination_may_not_get_goes_to_the_others(site):
    planned = site(mutations=(rule(put(BIRTH_DATE, "unknown"), to=("REPORTS",)),), routes=(BOTH,))
    planned.receive(SR)
    planned.planner.batch()
    assert [bool(entry.edits) for entry in entries(planned, Stage.TRANSFORM, "REPORTS")] == [True]
    assert [entry.edits for entry in entries(planned, Stage.PREPARED)] == [""]


def test_on_error_retry_lets_it_wait_in_new(site, later, caplog, monkeypatch):
    told = []
    monkeypatch.setattr("leyden.planner.tell", lambda event, **_: told.append(event))
    wrong = put(BIRTH_DATE, "unknown", OnError.RETRY)
    planned = site(mutations=(rule(wrong, to=("REPORTS",)),), routes=(BOTH,))
    planned.receive(SR)
    for _ in range(2):
        planned.planner.batch()
        assert len(list((planned.spool.root / "new").rglob("*.dcm"))) == 1
        assert entries(planned, Stage.PREPARED) == []
        later(61)
    lines = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert len(lines) == 2
    assert "waits in new/, next try in 60 s: mutations.yml:2 add_or_update: (0010,0030)" in lines[0].getMessage()
    (put_off,) = told  # once, however often it is tried
    assert isinstance(put_off, PutOff)
    assert put_off.reason.startswith("mutations.yml:2 add_or_update: (0010,0030)")


@pytest.mark.parametrize("broken", [b"\xff" * 40, b"\x08\x00\x16\x00UI\x02\x001\0\x10\x00\x10\x00PN\xff\xffDoe^Jane"])
def test_what_cannot_be_read_goes_where_no_mutation_might_apply(site, broken):
    planned = site(mutations=(rule(put(NAME, "X"), to=("REPORTS",)),))
    for called in ("PACS", "REPORTS"):
        meta = FileMeta(SR, "1.2.3", EXPLICIT_LE, "host", "CT1", called)
        planned.receive(called=called, content=encode_head(meta) + broken)
    planned.planner.batch()
    (reason,) = planned.reasons()
    assert reason.startswith("mutations.yml:1 can't be applied")
    assert len(entries(planned, Stage.PREPARED)) == 1


def test_one_in_which_a_mutation_might_miss_an_element_goes_where_no_mutation_is(site):
    """It has to be placed for the destination that may not get it, too, and its worker moves it to failed/."""
    planned = site(mutations=(rule(put(NAME, "X"), to=("REPORTS",)),), routes=(BOTH,))
    name = el(NAME, "PN", b"Doe^Jane")
    planned.receive(content=encode_head(FileMeta(SR, "1.2.3", EXPLICIT_LE, "host", "CT1", "PACS")) + name + name)
    planned.planner.batch()
    assert [bool(entry.edits) for entry in entries(planned, Stage.TRANSFORM, "REPORTS")] == [True]
    assert [entry.edits for entry in entries(planned, Stage.PREPARED)] == [""]


def test_no_entry_moves_before_its_rules_are_kept(site, later, monkeypatch):
    planned = site(mutations=(rule(put(NAME, "X")),))
    planned.receive(SR, called="REPORTS")

    def refuse(_self, _rules):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(planner_module.KeptRules, "keep", refuse)
        with pytest.raises(OSError, match="Input/output"):
            planned.planner.batch()
        assert len(list((planned.spool.root / "new").rglob("*.dcm"))) == 1
    later(61)
    planned.planner.batch()
    assert [bool(entry.edits) for entry in entries(planned, Stage.TRANSFORM, "REPORTS")] == [True]


def test_mutations_before_the_routes(site):
    """The routes see the mutated dataset of the original destination, and the copies carry it."""
    is_new = Condition("00100010", Kind.LITERAL, "New")
    to_reports = Route("routings.yml:1", (), (is_new,), BOTH.actions)
    rules = (rule(put(NAME, "New"), to=("PACS",)), rule(put(NAME, "Never"), to=("REPORTS",)))
    planned = site(mutations=rules, routes=(to_reports,), filters=("mutate", "route"))
    planned.receive(SR)
    planned.planner.batch()
    one, other = (entries(planned, Stage.TRANSFORM, title)[0] for title in ("PACS", "REPORTS"))
    assert one.edits == other.edits
    kept = orjson.loads((planned.spool.root / "state" / "rules" / f"{one.edits}.json").read_bytes())
    assert (kept["destination"], len(kept["mutations"])) == ("PACS", 1)


def test_a_fault_in_placing_one_object_touches_no_other(site, monkeypatch, caplog):
    """It goes to failed/; a planner that died of it would meet it again after each restart."""
    planned = site(mutations=(rule(put(NAME, "Nobody")),))
    real = planner_module.place

    def place(entry, *more):
        if entry.sop_key == key("9.9"):
            raise ValueError("odd")
        return real(entry, *more)

    monkeypatch.setattr(planner_module, "place", place)
    planned.receive(SR, called="REPORTS", instance="9.9")
    planned.receive(SR, called="REPORTS", instance="9.8")
    planned.planner.batch()
    assert len(entries(planned, Stage.TRANSFORM, "REPORTS")) == 1
    assert planned.reasons() == ["could not be planned: ValueError('odd')"]
