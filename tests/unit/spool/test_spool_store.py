"""Every change of state of the spool, races, hand-editing, and the stages in which a trip has ended."""

import contextlib
import errno
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from leyden.spool import listing, moves, store
from leyden.spool.entry import Entry, folder, key, parse
from leyden.spool.moves import make_folder
from leyden.spool.stage import CLAIMED_FROM, Stage
from leyden.spool.store import Placement, Plan, Spool

OLD_S = 1_700_000_000.0  # a bucket long past


def waiting(spool, stage=Stage.PREPARED, destination="PACS", limit=1000):
    return list(spool.waiting(stage, destination, limit))


# -- folders


def test_folders_are_private_and_unknown_destinations_are_reported(spool, caplog):
    assert all(os.stat(p).st_mode & 0o777 == 0o700 for p in spool.root.rglob("*") if p.is_dir())
    spool.put(Stage.PREPARED, "GONE")
    assert spool.prepare(["PACS"]) == ("GONE",)
    assert "GONE, which is not a node" in caplog.text
    assert len(waiting(spool, destination="GONE")) == 1


def test_a_title_that_would_be_a_path_stays_inside(spool):
    spool.put(Stage.PREPARED, "../../x")
    assert len(waiting(spool, destination="../../x")) == 1
    assert folder("../../x") in os.listdir(spool.root / "prepared")


# -- receiving and planning


def test_an_embryo_is_new_empty_and_private(spool):
    fd, path = spool.embryo("1764000000123456000001")
    assert path.parent == spool.root / "embryo"
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    os.close(fd)
    with pytest.raises(FileExistsError):
        spool.embryo("1764000000123456000001")


def test_newcomers_come_oldest_first_over_buckets(spool):
    paths = [spool.receive(now_s=OLD_S + 60 * n) for n in (5, 0, 3, 1)]
    assert spool.newcomers(3) == sorted(paths)[:3]
    assert spool.newcomers(10) == sorted(paths)


def test_one_delivery_is_one_rename(spool):
    path = spool.receive(b"bytes")
    inode = path.stat().st_ino
    entry = Entry(path.stem, key("a"), key("b"), key("c"))
    assert spool.plan_one(path, entry, Stage.PREPARED, "PACS", "05")
    (found,) = waiting(spool)
    assert (found.entry, found.destination, found.rank, found.size) == (entry, "PACS", "05", 5)
    assert found.path.stat().st_ino == inode
    assert not path.exists()
    assert not spool.plan_one(path, entry, Stage.PREPARED, "PACS", "05")


def placements(path, *places):
    entry = Entry(path.stem, key("a"), key("b"), key("c"))
    return Plan(path, tuple(Placement(entry, stage, destination, "10") for stage, destination in places))


def test_several_deliveries_share_the_bytes(spool):
    plans = [placements(spool.receive(), (Stage.PREPARED, "PACS"), (Stage.TRANSFORM, "REPORTS")) for _ in range(3)]
    spool.plan_many(plans, 4, "planner-0")
    here, there = waiting(spool), waiting(spool, Stage.TRANSFORM, "REPORTS")
    assert [os.stat(w.path).st_ino for w in here] == [os.stat(w.path).st_ino for w in there]
    assert len(here) == 3
    assert spool.newcomers(10) == []
    assert os.listdir(spool.root / "active" / "planner-0") == []


def test_an_entry_that_was_taken_away_does_not_stop_the_others(spool):
    plans = [placements(spool.receive(), (Stage.PREPARED, "PACS"), (Stage.PREPARED, "REPORTS")) for _ in range(2)]
    plans[0].source.unlink()
    spool.plan_many(plans, 1, "planner-0")
    assert len(waiting(spool)) == len(waiting(spool, destination="REPORTS")) == 1


def test_an_object_that_cannot_be_moved_is_left_to_its_plan_and_the_others_go_on(spool):
    plans = [placements(spool.receive(), (Stage.PREPARED, "PACS"), (Stage.PREPARED, "REPORTS")) for _ in range(3)]
    (spool.root / "prepared" / "GONE").touch()
    plans[1] = placements(plans[1].source, (Stage.PREPARED, "PACS"), (Stage.PREPARED, "GONE"))
    ((planned, error),) = spool.plan_many(plans, 1, "planner-0")
    assert planned is plans[1]
    assert isinstance(error, NotADirectoryError)
    assert spool.newcomers(10) == [plans[1].source]
    (path,) = (spool.root / "active" / "planner-0").iterdir()
    assert spool.finish_plan(path, lambda wanted: set())[1] != []
    (spool.root / "prepared" / "GONE").unlink()
    assert spool.finish_plan(path, lambda wanted: wanted & {(planned.source.stem, "PACS")}) == (1, [])
    assert [len(waiting(spool, destination=title)) for title in ("PACS", "REPORTS", "GONE")] == [3, 2, 1]
    assert (spool.newcomers(10), path.exists()) == ([], False)


# -- waiting, claiming


def test_lowest_rank_first_then_oldest(spool):
    later = spool.put(Stage.PREPARED, rank="20", now_s=OLD_S)
    second = spool.put(Stage.PREPARED, rank="10", now_s=OLD_S + 500)
    first = spool.put(Stage.PREPARED, rank="10", now_s=OLD_S + 200)
    assert [w.entry for w in waiting(spool)] == [first, second, later]
    assert [w.entry for w in waiting(spool, limit=2)] == [first, second]


def test_beyond_its_beginning_a_queue_is_listed_when_it_is_wanted(spool, monkeypatch):
    monkeypatch.setattr(store, "NEAR", 1)
    first = spool.put(Stage.PREPARED, now_s=OLD_S)
    second = spool.put(Stage.PREPARED, now_s=OLD_S + 1000)
    listing = spool.waiting(Stage.PREPARED, "PACS", 100)
    assert next(listing).entry == first
    spool.first(Stage.PREPARED)
    third = spool.put(Stage.PREPARED, now_s=OLD_S + 1001)
    assert [w.entry for w in listing] == [second, third]


def test_only_one_of_many_gets_an_entry(spool):
    for _ in range(50):
        spool.put(Stage.TRANSFORM)
    found = waiting(spool, Stage.TRANSFORM)
    claims: list[list] = [[], [], [], []]

    def take(n):
        claims[n] = [c for w in found if (c := spool.claim(w, f"worker-{n}"))]

    threads = [threading.Thread(target=take, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(c.entry.receipt for some in claims for c in some) == [w.entry.receipt for w in found]
    assert waiting(spool, Stage.TRANSFORM) == []


def test_an_old_empty_bucket_goes_and_comes_back(spool):
    spool.put(Stage.PREPARED, now_s=OLD_S)
    claim = spool.first(Stage.PREPARED)
    bucket = spool.root / "prepared" / "PACS" / "10" / claim.entry.bucket
    assert waiting(spool) == []
    assert not bucket.exists()
    spool.give_back(claim)
    assert [w.entry for w in waiting(spool)] == [claim.entry]


def test_the_running_bucket_stays(spool):
    entry = spool.put(Stage.PREPARED)
    spool.delivered(spool.first(Stage.PREPARED))
    assert waiting(spool) == []
    assert (spool.root / "prepared" / "PACS" / "10" / entry.bucket).exists()


def test_removing_empty_buckets_never_loses_a_move(spool):
    """One thread lists (and so removes) while another puts into the same old bucket."""
    stop = threading.Event()

    def look():
        while not stop.is_set():
            waiting(spool)

    looker = threading.Thread(target=look)
    looker.start()
    try:
        for _ in range(300):
            spool.put(Stage.PREPARED, now_s=OLD_S)
            claim = None
            while claim is None:
                found = next(spool.waiting(Stage.PREPARED, "PACS", 1), None)
                claim = spool.claim(found, "sender-0") if found else None
            spool.delivered(claim)
    finally:
        stop.set()
        looker.join()
    assert spool.tree() == []


# -- how a claim ends


def test_a_crash_is_counted_where_it_belongs(spool):
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless")
    spool.give_back(spool.first(Stage.TRANSFORM, claimant="worker-0"), crashed=True)
    (found,) = waiting(spool, Stage.TRANSFORM)
    assert found.entry.crashes == 1
    spool.give_back(spool.first(Stage.TRANSFORM, claimant="worker-0"))
    assert waiting(spool, Stage.TRANSFORM)[0].entry.crashes == 1


def test_a_transformed_file_takes_the_claims_place(spool):
    entry = spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless", crashes=1)
    claim = spool.first(Stage.TRANSFORM, claimant="worker-0")
    fd, made = spool.making(claim)
    os.write(fd, b"smaller")
    os.close(fd)
    spool.transformed(claim, made)
    (found,) = waiting(spool)
    assert found.path.read_bytes() == b"smaller"
    assert found.entry == Entry(entry.receipt, entry.sop_key, entry.study_key, entry.source_key)
    assert len(spool.tree()) == 1


def test_a_transformed_copy_leaves_the_other_destinations_alone(spool):
    path = spool.receive(b"original")
    spool.plan_many([placements(path, (Stage.TRANSFORM, "PACS"), (Stage.PREPARED, "REPORTS"))], 1, "planner-0")
    claim = spool.first(Stage.TRANSFORM, claimant="worker-0")
    fd, made = spool.making(claim)
    os.write(fd, b"new")
    os.close(fd)
    spool.transformed(claim, made)
    assert waiting(spool)[0].path.read_bytes() == b"new"
    assert waiting(spool, destination="REPORTS")[0].path.read_bytes() == b"original"


def test_an_object_that_cannot_be_changed_is_passed_on_and_may_come_back(spool):
    entry = spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless", crashes=2)
    spool.passed_on(spool.first(Stage.TRANSFORM, claimant="worker-0"))
    (found,) = waiting(spool)
    assert (found.entry.syntax, found.entry.crashes) == ("", 0)
    spool.to_transform(spool.first(Stage.PREPARED), "ExplicitVRLittleEndian")
    (found,) = waiting(spool, Stage.TRANSFORM)
    assert (found.entry.receipt, found.entry.syntax) == (entry.receipt, "ExplicitVRLittleEndian")


def test_a_deferred_entry_comes_back_when_it_is_due(spool):
    entry = spool.put(Stage.PREPARED, rank="33")
    spool.defer(spool.first(Stage.PREPARED), 1_800_000_050.7)
    assert waiting(spool) == []
    assert spool.due("PACS", 1_800_000_049.0) == 0
    assert spool.due("PACS", 1_800_000_051.0) == 1
    (found,) = waiting(spool)
    assert (found.entry.receipt, found.entry.attempt, found.rank) == (entry.receipt, 1, "33")
    assert spool.due("PACS", 1_800_000_051.0) == 0


def test_an_entry_deferred_before_its_destination_was_asked_goes_back_to_asking(spool):
    spool.put(Stage.ASKING, syntax="JPEG2000")
    spool.defer(spool.first(Stage.ASKING), 1_800_000_050.0, unanswered=True)
    assert spool.due("PACS", 1_800_000_051.0) == 1
    (waits,) = waiting(spool, Stage.ASKING)
    assert (waits.entry.syntax, waits.entry.attempt) == ("JPEG2000", 1)
    assert waiting(spool) == []


def test_what_seems_to_wait_longer_than_anybody_does_is_due(spool):
    spool.put(Stage.PREPARED)
    spool.defer(spool.first(Stage.PREPARED), 1_800_000_050.0)
    assert spool.due("PACS", 1_799_999_900.0, 300.0) == 0
    assert spool.due("PACS", 1_799_000_000.0, 300.0) == 1


def test_due_stops_at_its_limit(spool):
    for _ in range(5):
        spool.put(Stage.PREPARED)
        spool.defer(spool.first(Stage.PREPARED), OLD_S)
    assert [spool.due("PACS", OLD_S + 1, limit=3), spool.due("PACS", OLD_S + 1, limit=3)] == [3, 2]


def test_younger_entries_of_an_instance_are_held_back_until_the_older_one_is_gone(spool):
    old = spool.put(Stage.TRANSFORM, sop="1.2.3")
    young = spool.put(Stage.PREPARED, sop="1.2.3", serial=True)
    other = spool.put(Stage.PREPARED, sop="9.9.9", serial=True)
    assert spool.held_back("PACS", [young, other]) == {young.receipt}
    assert spool.held_back("REPORTS", [young]) == set()
    assert spool.held_back("PACS", [old]) == set()
    claim = spool.first(Stage.TRANSFORM, claimant="worker-0")
    assert spool.held_back("PACS", [young]) == {young.receipt}
    spool.passed_on(claim)
    claim = spool.first(Stage.PREPARED)
    assert claim.entry.receipt == old.receipt
    assert spool.held_back("PACS", [young]) == {young.receipt}
    spool.defer(claim, time.time() + 10_000)
    assert spool.held_back("PACS", [young]) == {young.receipt}
    spool.due("PACS", time.time() + 20_000)
    spool.delivered(spool.first(Stage.PREPARED))
    assert spool.held_back("PACS", [young]) == set()


def test_an_instance_is_held_back_while_an_older_one_waits_until_its_destination_was_asked(spool):
    spool.put(Stage.ASKING, sop="1.2.3", syntax="JPEG2000")
    young = spool.put(Stage.PREPARED, sop="1.2.3", serial=True)
    assert spool.held_back("PACS", [young]) == {young.receipt}
    claim = spool.first(Stage.ASKING)
    assert spool.held_back("PACS", [young]) == {young.receipt}
    spool.to_transform(claim, "JPEG2000")
    assert spool.held_back("PACS", [young]) == {young.receipt}


@pytest.mark.parametrize("stage", [*CLAIMED_FROM, Stage.ACTIVE, Stage.DEFERRED])
def test_an_instance_is_bound_for_its_destination_until_it_is_delivered_or_given_up(spool, stage):
    spool.put(stage if stage in CLAIMED_FROM else Stage.PREPARED, sop="1.2.3")
    if stage not in CLAIMED_FROM:
        claim = spool.first(Stage.PREPARED)
        if stage is Stage.DEFERRED:
            spool.defer(claim, OLD_S)
    assert [each.stage for each in spool.counts()] == [stage]
    assert list(spool.bound()) == [("PACS", key("1.2.3"))]


# -- the stages in which a trip has ended


def note(path):
    return json.loads(path.with_name(path.name + ".json").read_bytes())


def test_a_refusal_stands_with_its_reason_and_can_be_retried(spool):
    entry = spool.put(Stage.PREPARED, rank="42", attempt=5)
    spool.reject(spool.first(Stage.PREPARED), {"reason": "0xA900 data set does not match", "status": 0xA900})
    (path,) = (spool.root / "rejected" / "PACS").glob("*.dcm")
    assert note(path)["reason"] == "0xA900 data set does not match"
    assert note(path)["origin"] == {"stage": "prepared", "destination": "PACS", "rank": "42"}
    assert spool.retry(Stage.REJECTED, "REPORTS") == 0
    assert spool.retry(Stage.REJECTED, "PACS") == 1
    (found,) = waiting(spool)
    assert (found.entry.receipt, found.entry.attempt, found.rank) == (entry.receipt, 0, "42")
    assert list((spool.root / "rejected" / "PACS").iterdir()) == []


@pytest.mark.parametrize("ended", [Stage.REJECTED, Stage.FAILED])
@pytest.mark.parametrize("stage", CLAIMED_FROM)
def test_a_retry_goes_back_to_the_stage_from_which_the_object_was_claimed(spool, stage, ended):
    spool.put(stage, rank="42", syntax="JPEG2000")
    {Stage.REJECTED: spool.reject, Stage.FAILED: spool.fail}[ended](spool.first(stage), {"reason": "no"})
    assert spool.retry(ended, "PACS") == 1
    (found,) = waiting(spool, stage)
    assert (found.entry.syntax, found.rank) == ("JPEG2000", "42")
    assert len(spool.tree()) == 1


def test_a_reader_sees_the_whole_note_or_none(spool):
    entry = spool.put(Stage.PREPARED)
    path, over, seen = spool.root / "rejected" / "PACS" / f"{entry.name}.json", threading.Event(), set()

    def look():
        while not over.is_set():
            with contextlib.suppress(FileNotFoundError):
                seen.add(path.read_bytes()[-2:])

    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(look)
        try:
            for _ in range(300):
                claim = spool.first(Stage.PREPARED)
                spool.reject(claim, {"reason": "no"})
                (path.with_suffix("")).rename(claim.path)
                path.unlink()
                spool.give_back(claim)
        finally:
            over.set()
        looking.result()
    assert seen == {b"}\n"}


@pytest.mark.parametrize("damage", [b"", b"[1]", b'{"origin": 3}', b'{"origin": {"rank": "../.."}}', None])
def test_a_refused_file_without_its_note_can_be_retried(spool, damage):
    spool.put(Stage.PREPARED, rank="42")
    spool.reject(spool.first(Stage.PREPARED), {"reason": "no"})
    (path,) = (spool.root / "rejected" / "PACS").glob("*.json")
    path.unlink() if damage is None else path.write_bytes(damage)
    assert spool.retry(Stage.REJECTED) == 1
    assert [w.rank for w in waiting(spool)] == ["99"]


def test_the_same_object_fails_for_two_destinations_and_both_come_back(spool):
    path = spool.receive()
    spool.plan_many([placements(path, (Stage.TRANSFORM, "PACS"), (Stage.TRANSFORM, "REPORTS"))], 1, "planner-0")
    for destination in ("PACS", "REPORTS"):
        spool.fail(spool.first(Stage.TRANSFORM, destination, "worker-0"), {"reason": "broken"})
    assert len(list((spool.root / "failed").glob("*.dcm"))) == 2
    assert spool.retry(Stage.FAILED, "PACS") == 1
    assert spool.retry(Stage.FAILED) == 1
    assert len(waiting(spool, Stage.TRANSFORM)) == len(waiting(spool, Stage.TRANSFORM, "REPORTS")) == 1
    assert list((spool.root / "failed").iterdir()) == []


def test_an_object_that_could_not_be_planned_is_planned_again(spool):
    path = spool.receive()
    spool.fail(path, {"reason": "no destination"})
    assert spool.newcomers(10) == []
    assert spool.retry(Stage.FAILED, "PACS") == 0
    assert spool.retry(Stage.FAILED) == 1
    assert spool.newcomers(10) == [path]


def test_expired_files_are_kept(spool):
    spool.put(Stage.PREPARED)
    spool.expire(spool.first(Stage.PREPARED))
    (path,) = (spool.root / "expired").glob("*.dcm")
    assert "expiryThreshold" in note(path)["reason"]
    with pytest.raises(ValueError, match="nothing is retried"):
        spool.retry(Stage.EXPIRED)


def test_a_claim_that_is_gone_leaves_no_note(spool):
    spool.put(Stage.PREPARED)
    claim = spool.first(Stage.PREPARED)
    claim.path.unlink()
    spool.reject(claim, {"reason": "no"})
    assert list((spool.root / "rejected" / "PACS").iterdir()) == []


# -- by hand


def test_a_file_put_in_by_hand_is_adopted_once_it_is_quiet(spool, monkeypatch):
    (spool.root / "new" / "IM0001").write_bytes(b"image")
    assert spool.newcomers(10) == []
    monkeypatch.setattr(moves, "SETTLE_S", 0.0)
    (path,) = spool.newcomers(10)
    assert parse(path.name).by_hand
    assert path.read_bytes() == b"image"


def test_a_file_that_cannot_be_adopted_does_not_stop_the_others(spool, monkeypatch, caplog):
    monkeypatch.setattr(moves, "SETTLE_S", 0.0)
    good = spool.receive()
    (spool.root / "new" / "study").mkdir()
    (spool.root / "new" / "link.dcm").symlink_to("/etc/hostname")
    (spool.root / "new" / "stuck.dcm").write_bytes(b"image")
    into = moves.into

    def refuse(how, source, place, name):
        if source.endswith("stuck.dcm"):
            raise PermissionError(errno.EPERM, "Operation not permitted", source)
        return into(how, source, place, name)

    monkeypatch.setattr(moves, "into", refuse)
    assert spool.newcomers(10) == [good]
    assert "is not a file" in caplog.text


def test_a_bucket_that_cannot_be_listed_does_not_stop_the_others(spool, monkeypatch, caplog):
    good = spool.receive()
    (spool.root / "new" / "17000000").mkdir()
    names = listing.names

    def refuse(path):
        if path.endswith("17000000"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return names(path)

    monkeypatch.setattr(listing, "names", refuse)
    assert spool.newcomers(10) == [good]
    assert "17000000 cannot be listed" in caplog.text


@pytest.mark.parametrize("stage", CLAIMED_FROM)
@pytest.mark.parametrize("below", ["", "10", "10/17000000"])
def test_a_file_put_into_a_queue_by_hand_goes_out(spool, monkeypatch, below, stage):
    place = spool.root / stage / "PACS" / below
    place.mkdir(parents=True, exist_ok=True)
    (place / "foo.dcm").write_bytes(b"image")
    (place / ".foo.dcm.swp").write_bytes(b"half")
    monkeypatch.setattr(moves, "SETTLE_S", 0.0)
    waiting(spool, stage)
    (found,) = waiting(spool, stage)
    assert found.entry.by_hand
    assert found.rank == (below[:2] or "99")
    assert found.path.read_bytes() == b"image"


def test_a_file_moved_back_by_hand_keeps_its_receipt(spool, monkeypatch):
    monkeypatch.setattr(moves, "SETTLE_S", 0.0)
    entry = spool.put(Stage.PREPARED)
    spool.reject(spool.first(Stage.PREPARED), {"reason": "no"})
    (path,) = (spool.root / "rejected" / "PACS").glob("*.dcm")
    path.rename(spool.root / "prepared" / "REPORTS" / path.name)
    assert [w.entry for w in waiting(spool, destination="REPORTS")] == [entry]


def test_a_file_put_into_deferred_by_hand_goes_out(spool, monkeypatch):
    monkeypatch.setattr(moves, "SETTLE_S", 0.0)
    (spool.root / "deferred" / "PACS" / "foo").write_bytes(b"image")
    assert spool.due("PACS", time.time() + 1) == 1
    assert len(waiting(spool)) == 1


def test_a_hard_link_of_the_same_file_never_stays_behind(spool):
    """rename(2) onto another link of the same inode does nothing: the source would stand in active/ for ever."""
    spool.put(Stage.PREPARED)
    claim = spool.first(Stage.PREPARED)
    (spool.root / "rejected" / "PACS" / claim.entry.name).hardlink_to(claim.path)
    spool.reject(claim, {"reason": "no"})
    assert spool.tree() == [f"rejected/PACS/{claim.entry.name}"]


def test_files_that_vanish_harm_nothing(spool):
    for _ in range(3):
        spool.put(Stage.PREPARED)
    found = waiting(spool)
    found[1].path.unlink()
    assert [bool(spool.claim(w, "sender-0")) for w in found] == [True, False, True]


# -- figures


def test_counts_of_every_folder(spool):
    fd, _ = spool.embryo("1764000000123456000001")
    os.close(fd)
    spool.receive()
    spool.put(Stage.TRANSFORM, "REPORTS", syntax="JPEG2000Lossless", now_s=OLD_S)
    spool.put(Stage.TRANSFORM, "REPORTS", syntax="JPEG2000Lossless", now_s=OLD_S + 1000)
    spool.put(Stage.ASKING, syntax="JPEG2000")
    for what in ("reject", "fail", "defer", "claim"):
        spool.put(Stage.PREPARED)
        claim = spool.first(Stage.PREPARED)
        if what == "defer":
            spool.defer(claim, OLD_S)
        elif what != "claim":
            getattr(spool, what)(claim, {"reason": "no"})
    spool.put(Stage.PREPARED)
    (spool.root / "new" / "IM0001").write_bytes(b"image")
    found = {(c.stage, c.destination): c for c in spool.counts()}
    assert {place: c.files for place, c in found.items()} == {
        ("embryo", ""): 1,
        ("new", ""): 2,
        ("asking", "PACS"): 1,
        ("transform", "REPORTS"): 2,
        ("active", "PACS"): 1,
        ("prepared", "PACS"): 1,
        ("deferred", "PACS"): 1,
        ("rejected", "PACS"): 1,
        ("failed", "PACS"): 1,
    }
    assert found["transform", "REPORTS"].oldest_received_s == pytest.approx(OLD_S, abs=0.001)
    assert [c.stage for c in spool.counts()][:4] == [Stage.EMBRYO, Stage.NEW, Stage.ASKING, Stage.TRANSFORM]


def test_a_folder_that_somebody_put_into_a_bucket_is_no_object(spool):
    entry = spool.put(Stage.PREPARED)
    bucket = spool.root / "prepared" / "PACS" / "10" / entry.bucket
    (bucket / "mine").mkdir()
    (bucket / "mine" / "1.dcm").write_bytes(b"dataset")
    (bucket / "aside").symlink_to(bucket / "mine")
    (count,) = spool.counts()
    assert (count.files, count.oldest_received_s) == (3, entry.received_s)  # with the file in it, and the link


def test_counts_of_nothing(tmp_path):
    assert Spool(tmp_path / "none").counts() == []


def test_the_free_space_is_a_percentage_of_the_volume(spool):
    free_percent, _ = spool.free_percent()
    assert 0.0 < free_percent <= 100.0


def test_without_sync_nothing_is_synced(spool, monkeypatch):
    def no(*_):
        raise AssertionError("synced")

    lax = Spool(spool.root, sync=False)
    monkeypatch.setattr(os, "fsync", no)
    monkeypatch.setattr(os, "fdatasync", no)
    lax.plan_many([placements(spool.receive(), (Stage.TRANSFORM, "PACS"), (Stage.PREPARED, "REPORTS"))], 1, "planner-0")
    claim = spool.first(Stage.TRANSFORM, claimant="worker-0")
    fd, made = lax.making(claim)
    os.close(fd)
    lax.transformed(claim, made)
    assert len(waiting(spool)) == 1


def test_a_refusal_by_a_node_that_is_gone_stays_with_its_reason(spool):
    for destination in ("PACS", "GONE"):
        spool.put(Stage.PREPARED, destination)
        spool.reject(spool.first(Stage.PREPARED, destination), {"reason": "no"})
        spool.put(Stage.TRANSFORM, destination)
        spool.fail(spool.first(Stage.TRANSFORM, destination, "worker-0"), {"reason": "broken"})
    new = spool.receive()
    spool.fail(new, {"reason": "no destination"})
    assert spool.retry(Stage.REJECTED, known={"PACS"}) == 1
    assert spool.retry(Stage.FAILED, known={"PACS"}) == 2
    assert spool.newcomers(10) == [new]
    assert waiting(spool, Stage.PREPARED, "GONE") == waiting(spool, Stage.TRANSFORM, "GONE") == []
    (left,) = (spool.root / "rejected" / "GONE").glob("*.dcm")
    assert note(left)["reason"] == "no"
    assert spool.retry(Stage.REJECTED) == 1
    assert spool.retry(Stage.FAILED) == 1


def test_a_file_that_cannot_be_moved_stays_where_it_ended(spool, full_disk, caplog):
    first, second = spool.put(Stage.PREPARED, "PACS"), spool.put(Stage.PREPARED, "REPORTS")
    for destination in ("PACS", "REPORTS"):
        spool.reject(spool.first(Stage.PREPARED, destination), {"reason": "no"})
    (spool.root / "prepared" / "PACS" / "10" / first.bucket).rmdir()
    full_disk.append("PACS")
    assert spool.retry(Stage.REJECTED) == 1
    assert [w.entry.receipt for w in waiting(spool, destination="REPORTS")] == [second.receipt]
    assert "1 files stay in rejected/, to be tried again later: [Errno 28]" in caplog.text
    (left,) = (spool.root / "rejected" / "PACS").glob("*.dcm")
    assert note(left)["reason"] == "no"
    full_disk.clear()
    assert spool.retry(Stage.REJECTED) == 1


def test_every_folder_is_for_its_owner_alone_whatever_the_umask(tmp_path):
    old = os.umask(0)
    try:
        spool = Spool(tmp_path / "a" / "b" / "cache")
        spool.prepare(["PACS"])
        path = spool.root / "new" / "17640000" / "1764000000123456000001.dcm"
        path.parent.mkdir(0o700)
        path.touch()
        spool.plan_one(path, Entry(path.stem), Stage.PREPARED, "PACS", "10")
    finally:
        os.umask(old)
    folders = [tmp_path / "a", *(p for p in (tmp_path / "a").rglob("*") if p.is_dir())]
    assert {oct(p.stat().st_mode & 0o777) for p in folders} == {"0o700"}
    assert (spool.root / "prepared" / "PACS" / "10" / "17640000").is_dir()


def test_a_folder_above_the_spool_that_may_not_be_read_is_no_fault(tmp_path, monkeypatch):
    real = os.open

    def guarded(path, *more):
        if str(path).endswith("/.."):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, *more)

    monkeypatch.setattr(os, "open", guarded)
    Spool(tmp_path / "cache").prepare(["PACS"])


def test_a_file_in_the_place_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "new").touch()
    with pytest.raises(FileExistsError, match=f"{tmp_path}/new"):
        Spool(tmp_path).prepare(["PACS"])


def test_a_folder_that_cannot_be_made_is_an_error():
    with pytest.raises(OSError, match="/proc/leyden"):
        make_folder("/proc/leyden/spool")
