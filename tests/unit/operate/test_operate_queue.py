"""The verbs of the queue: what goes where, what stays and why, and who is told."""

import os
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from leyden.journal.lines import NO_JOURNAL, JournalSettings, set_up
from leyden.journal.segments import FOLDER
from leyden.operate.queue import (
    DELETE,
    Done,
    Filter,
    UnknownDestination,
    count,
    delete,
    destinations,
    export,
    reject,
    release,
    retry,
    select,
)
from leyden.spool.doorbell import Bell
from leyden.spool.entry import key
from leyden.spool.recover import recover
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from unit.test_planner import CT, SR, Site, site

__all__ = ["site"]
TITLES = {"PACS": "PACS", "ARCHIVE": "PACS", "REPORTS": "REPORTS", "LEYDEN": ""}
BY = {"who": "alice", "through": "command line"}


@pytest.fixture
def told(tmp_path: Path):
    """The events that the verbs have told the journal."""
    root = tmp_path / "cache"
    root.mkdir(exist_ok=True)
    set_up(root, "queue-1", JournalSettings(mib=1))

    def events() -> list[dict]:
        path = root / FOLDER / "queue-1.jsonl"
        documents = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        return [each for each in documents if each["event"] != "planned"]

    yield events
    set_up(root, "queue-1", NO_JOURNAL)


def places(root: Path) -> list[str]:
    """Each object as stage/destination/receipt."""
    return sorted(f"{i.stage}/{i.destination}/{i.receipt}" for i in select(root, Filter()))


def planned(site: Site, number: int = 1, **more) -> list[str]:
    receipts = [site.receive(SR, "REPORTS", instance=f"1.2.{n}", **more) for n in range(number)]
    site.planner.batch()
    return receipts


# -- retry


def test_what_was_rejected_goes_back_to_where_it_came_from(site, told) -> None:
    s = site()
    (receipt,) = planned(s)
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    s.spool.reject(s.spool.claim(waiting, "sender-0"), {"reason": "0xA900"})
    assert retry(s.spool.root, Filter(), **BY, nodes=["PACS", "REPORTS"]) == Done("retry", 1)
    assert places(s.spool.root) == [f"prepared/REPORTS/{receipt}"]
    back, whole = told()
    assert (back["event"], back["receipt"], back["stage"]) == ("retried", receipt, "prepared")
    assert (whole["event"], whole["did"], whole["who"], whole["count"]) == ("operated", "retry", "alice", 1)


def test_what_was_bound_for_a_node_that_is_gone_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.prepare(["PACS", "REPORTS"])
    for place in ("rejected/PACS", "rejected/GONE", "failed"):
        path = tmp_path / place / "1.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"dataset")
    done = retry(tmp_path, Filter(), **BY, nodes=["PACS", "REPORTS"])
    assert (done.count, done.left) == (2, {"GONE is not a node": 1})
    assert (tmp_path / "rejected" / "GONE" / "1.dcm").exists()
    assert len(list((tmp_path / "prepared" / "PACS").rglob("*.dcm"))) == 1
    assert len(list((tmp_path / "new").rglob("*.dcm"))) == 1


def test_what_expired_goes_back_and_its_age_starts_again(site) -> None:
    s = site()
    (receipt,) = planned(s)
    s.spool.expire(s.spool.claim(s.waiting(Stage.PREPARED, "REPORTS")[0], "sender-0"))
    assert retry(s.spool.root, {receipt}, **BY).count == 1
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    assert waiting.entry.retried_s > 0


def test_copies_that_mutations_change_stay_when_the_rules_can_not_be_read(site) -> None:
    s = site()
    planned(s)
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    entry = replace(waiting.entry, edits="0" * 16, syntax="ExplicitVRLittleEndian")
    moved = replace(waiting, entry=entry, stage=Stage.TRANSFORM)
    s.spool.fail(s.spool.claim(moved, "worker-0"), {"reason": "it can't be cleaned"})
    done = retry(s.spool.root, Filter(), **BY)
    assert (done.count, list(done.left.values())) == (0, [1])
    assert retry(s.spool.root, Filter(), **BY, renewed=lambda edits, destination: "1" * 16).count == 1
    (again,) = s.waiting(Stage.TRANSFORM, "REPORTS")
    assert again.entry.edits == "1" * 16


def test_every_role_that_listens_is_woken(site) -> None:
    s = site()
    planned(s)
    bells = [Bell(s.spool.root, role) for role in ("sender", "worker-0", "worker-7")]
    try:
        assert reject(s.spool.root, Filter(), **BY).count == 1
        assert all(bell.drain() for bell in bells)
    finally:
        for bell in bells:
            bell.close()


# -- reject


def test_what_is_rejected_says_by_whom_and_stays_so_over_a_start(site, told) -> None:
    s = site()
    (receipt,) = planned(s)
    assert reject(s.spool.root, {f"{receipt}@REPORTS"}, **BY) == Done("reject", 1)
    (item,) = select(s.spool.root, Filter())
    note = orjson.loads(Path(f"{item.path}.json").read_bytes())
    assert (item.stage, item.destination, note["reason"], note["by"]) == (
        "rejected", "REPORTS", "rejected by alice", "alice",
    )  # fmt: skip
    recover(s.spool, retry_rejected=True)
    assert places(s.spool.root) == [f"rejected/REPORTS/{receipt}"]
    assert retry(s.spool.root, {receipt}, **BY).count == 1
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    assert waiting.rank == "00"
    assert [event["event"] for event in told()] == ["moved", "operated", "retried", "operated"]


def test_what_is_not_planned_goes_to_failed(site) -> None:
    s = site()
    receipt = s.receive()
    assert reject(s.spool.root, {receipt}, **BY).count == 1
    recover(s.spool)
    assert places(s.spool.root) == [f"failed//{receipt}"]
    assert s.reasons() == ["rejected by alice"]
    assert retry(s.spool.root, {receipt}, **BY).count == 1
    assert [path.name for path in s.spool.newcomers(9)] == [f"{receipt}.dcm"]


def test_what_waits_for_its_time_comes_back_to_where_it_was_sent_from(site) -> None:
    s = site()
    planned(s)
    s.spool.defer(s.spool.claim(s.waiting(Stage.PREPARED, "REPORTS")[0], "sender-0"), 2e9)
    assert reject(s.spool.root, Filter(stages=frozenset({Stage.DEFERRED})), **BY).count == 1
    assert retry(s.spool.root, Filter(), **BY).count == 1
    assert len(s.waiting(Stage.PREPARED, "REPORTS")) == 1


def test_what_a_process_works_on_is_left_alone_and_counted(site) -> None:
    s = site()
    first, second = planned(s, 2)
    s.spool.claim(s.waiting(Stage.PREPARED, "REPORTS")[0], "sender-0")
    for verb in (reject, delete):
        assert count(s.spool.root, {first}, DELETE).under_way == 1
        done = verb(s.spool.root, {first}, **BY)
        assert (done.count, done.under_way, done.complete) == (0, 1, False)
    assert reject(s.spool.root, Filter(), **BY) == Done("reject", 1, 1)
    assert places(s.spool.root) == [f"prepared/REPORTS/{first}", f"rejected/REPORTS/{second}"]


def test_what_stands_elsewhere_is_said(site) -> None:
    s = site()
    (receipt,) = planned(s)
    assert release(s.spool.root, {receipt}, **BY).left == {"it stands in prepared/": 1}
    assert release(s.spool.root, Filter(), **BY) == Done("release")


# -- release, delete


def test_what_is_deferred_goes_now_and_its_tries_count_on(site, told) -> None:
    s = site()
    planned(s, 2)
    for waiting in s.waiting(Stage.PREPARED, "REPORTS"):
        s.spool.defer(s.spool.claim(waiting, "sender-0"), 2e9)
    assert release(s.spool.root, Filter(destinations=frozenset({"REPORTS"})), **BY).count == 2
    assert [(w.entry.attempt, w.entry.due_s) for w in s.waiting(Stage.PREPARED, "REPORTS")] == [(1, 0), (1, 0)]
    moved, _, whole = told()
    assert (moved["stage"], moved["to_stage"]) == ("deferred", "prepared")
    assert (whole["did"], whole["destination"], whole["detail"]) == ("release", "REPORTS", "for REPORTS")


def test_what_is_deleted_is_gone_with_its_note_for_that_destination_only(site, told) -> None:
    s = site()
    receipt = s.receive(SR, "REPORTS", instance="1.2.3")
    s.planner.batch()
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    twin = s.spool.root / "prepared" / "PACS" / "10" / receipt[:8]
    twin.mkdir(parents=True)
    os.link(waiting.file, twin / waiting.path.name)
    s.spool.reject(s.spool.claim(waiting, "sender-0"), {"reason": "no"})
    assert delete(s.spool.root, {f"{receipt}@REPORTS"}, **BY).count == 1
    assert places(s.spool.root) == [f"prepared/PACS/{receipt}"]
    assert not list((s.spool.root / "rejected").rglob("*.json"))
    gone, whole = told()
    assert (gone["event"], gone["sop_instance_uid"], gone["stage"]) == ("deleted", "1.2.3", "rejected")
    assert (whole["did"], whole["receipt"]) == ("delete", receipt)


def test_nothing_is_deleted_because_two_uids_have_one_key(site) -> None:
    s = site()
    (receipt,) = planned(s, study="1.7")
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    waiting.path.rename(waiting.path.with_name(replace(waiting.entry, study_key=key("1.8")).name))
    other = Filter(studies=frozenset({"1.8"}))
    assert [item.receipt for item in select(s.spool.root, other)] == [receipt]
    assert delete(s.spool.root, other, **BY) == Done("delete")
    assert places(s.spool.root) == [f"prepared/REPORTS/{receipt}"]


def test_what_was_not_looked_into_is_counted(site) -> None:
    s = site()
    planned(s, 3)
    done = delete(s.spool.root, Filter(sop_classes=frozenset({SR}), look_into=2), **BY)
    assert (done.count, done.not_looked_into, done.complete) == (2, 1, False)


# -- export


def test_copies_are_named_by_receipt_and_told_without_the_patient(site, tmp_path: Path) -> None:
    s = site()
    receipt = s.receive(SR, "REPORTS", instance="1.2.3", patient=b"Doe^Jane")
    s.planner.batch()
    newcomer = s.receive(CT)
    target = tmp_path / "copies"
    assert export(s.spool.root, Filter(), target, **BY).count == 2
    names = [f"{receipt}.REPORTS.dcm", f"{newcomer}.dcm"]
    assert sorted(path.name for path in target.iterdir()) == sorted([*names, "manifest.jsonl"])
    assert (target / names[0]).read_bytes() == s.waiting(Stage.PREPARED, "REPORTS")[0].path.read_bytes()
    assert {path.stat().st_mode & 0o777 for path in target.iterdir()} == {0o600}
    assert target.stat().st_mode & 0o777 == 0o700
    lines = [orjson.loads(line) for line in (target / "manifest.jsonl").read_bytes().splitlines()]
    by_file = {line["file"]: line for line in lines}
    assert by_file[names[0]]["sop_instance_uid"] == "1.2.3"
    assert by_file[names[0]]["id"] == f"{receipt}@REPORTS"
    assert b"Doe" not in (target / "manifest.jsonl").read_bytes()


def test_no_copy_is_written_over_a_file(site, tmp_path: Path) -> None:
    s = site()
    (receipt,) = planned(s)
    target = tmp_path / "copies"
    target.mkdir()
    (target / f"{receipt}.REPORTS.dcm").write_text("mine")
    done = export(s.spool.root, Filter(), target, **BY)
    assert (done.count, list(done.left.values())) == (0, [1])
    assert (target / f"{receipt}.REPORTS.dcm").read_text() == "mine"
    with pytest.raises(FileExistsError):
        export(s.spool.root, Filter(), target, **BY)


# -- which destinations


def test_a_destination_is_a_node_or_what_anything_stands_for(tmp_path: Path) -> None:
    Spool(tmp_path).prepare(["PACS"])
    (tmp_path / "rejected" / "GONE").mkdir(parents=True)
    (tmp_path / "rejected" / "GONE" / "1.dcm").write_bytes(b"")
    assert destinations(tmp_path, ["ARCHIVE", "GONE"], TITLES) == {"PACS", "GONE"}
    with pytest.raises(UnknownDestination, match="no destination NOBODY; there are: GONE, PACS, REPORTS"):
        destinations(tmp_path, ["NOBODY"], TITLES)
    with pytest.raises(UnknownDestination, match="no destination LEYDEN"):
        destinations(tmp_path, ["LEYDEN"], TITLES)


def test_without_any_node_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnknownDestination, match=r"no destination PACS; nodes\.yml names no Storage node"):
        destinations(tmp_path, ["PACS"], {"LEYDEN": ""})
