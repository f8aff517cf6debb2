"""What a process has left half done is finished or given back, exactly once."""

import errno
import os

import orjson
import pytest
from msgspec.structs import replace

from leyden.spool.entry import Entry, key
from leyden.spool.receipts import ReceiptLog
from leyden.spool.recover import Recovered, finish_plans, give_back, reclaim, recover
from leyden.spool.stage import Stage
from leyden.spool.store import Placement, Plan


def waiting(spool, stage=Stage.PREPARED, destination="PACS"):
    return list(spool.waiting(stage, destination, 1000))


def test_a_spool_in_good_order_is_left_as_it_is(spool):
    assert recover(spool) == Recovered()


def test_embryos_go_and_acknowledged_entries_stay(spool):
    fd, _ = spool.embryo("1764000000123456000001")
    os.close(fd)
    (spool.root / "embryo" / "probe-1").touch()
    path = spool.receive()
    assert recover(spool) == Recovered(embryos=2)
    assert spool.newcomers(10) == [path]


def test_claims_go_back_and_the_end_of_the_service_counts_as_no_crash(spool):
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless")
    spool.put(Stage.PREPARED, rank="31")
    spool.first(Stage.TRANSFORM, claimant="worker-7")
    spool.first(Stage.PREPARED, claimant="sender-0")
    assert recover(spool) == Recovered(given_back=2)
    assert waiting(spool, Stage.TRANSFORM)[0].entry.crashes == 0
    assert [(w.entry.crashes, w.rank) for w in waiting(spool)] == [(0, "31")]
    assert os.listdir(spool.root / "active") == []


def test_a_delivery_that_a_receipt_proves_is_not_repeated(spool):
    proved, open_ = spool.put(Stage.PREPARED), spool.put(Stage.PREPARED)
    spool.first(Stage.PREPARED)
    spool.first(Stage.PREPARED)
    log = ReceiptLog(spool.root, "sender-0")
    log.append({"receipt": proved.receipt, "destination": "PACS"})
    log.append({"receipt": open_.receipt, "destination": "REPORTS"})
    log.close()
    assert recover(spool) == Recovered(given_back=1, already_done=1)
    assert [w.entry for w in waiting(spool)] == [replace(open_, unanswered=1)]  # who held it may have sent it


def test_what_waits_again_after_a_power_cut_though_it_was_delivered_goes(spool):
    """The removal of its file was forgotten, its receipt was not."""
    proved, open_ = spool.put(Stage.PREPARED), spool.put(Stage.PREPARED)
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless")
    made = waiting(spool, Stage.TRANSFORM)[0].entry
    log = ReceiptLog(spool.root, "sender-0")
    for each in (proved, made):
        log.append({"receipt": each.receipt, "destination": "PACS"})
    log.append({"receipt": open_.receipt, "destination": "REPORTS"})
    log.append({"event": "rejected", "receipt": open_.receipt, "destination": "PACS"})
    log.close()
    assert recover(spool) == Recovered(already_done=2)
    assert [w.entry for w in waiting(spool)] == [open_]
    assert waiting(spool, Stage.TRANSFORM) == []


@pytest.mark.parametrize("in_hand", [False, True])
def test_what_waits_for_a_worker_again_after_a_power_cut_though_it_was_made_goes(spool, in_hand):
    """Its claim and the removal of that were forgotten; its result was synced. `in_hand`: the sender had claimed it."""
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless", edits="0" * 16)
    spool.put(Stage.TRANSFORM, sop="1.2.4", syntax="JPEG2000Lossless")
    again, never = waiting(spool, Stage.TRANSFORM)
    claim = spool.claim(again, "worker-0")
    fd, made = spool.making(claim)
    os.close(fd)
    spool.transformed(claim, made)
    again.path.write_bytes(b"as it came")
    if in_hand:
        spool.first(Stage.PREPARED)
    assert recover(spool) == Recovered(given_back=in_hand, already_done=1)
    assert [each.entry for each in waiting(spool, Stage.TRANSFORM)] == [never.entry]
    assert [each.entry.receipt for each in waiting(spool)] == [again.entry.receipt]


@pytest.mark.parametrize("further", ["prepared", "active", "deferred", "rejected", "failed", "expired", "delivered"])
def test_a_claim_whose_result_stands_in_a_later_stage_is_dropped(spool, further):
    """The worker died between the link and the unlink of its claim, and the sender went on with the result."""
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless")
    claim = spool.first(Stage.TRANSFORM, claimant="worker-0")
    kept = claim.path.read_bytes()
    fd, made = spool.making(claim)
    os.close(fd)
    spool.transformed(claim, made)
    claim.path.write_bytes(kept)
    made.touch()
    if further != "prepared":
        sent = spool.first(Stage.PREPARED)
        if further == "deferred":
            spool.defer(sent, 1_900_000_000)
        elif further in ("rejected", "failed"):
            {"rejected": spool.reject, "failed": spool.fail}[further](sent, {"reason": "no"})
        elif further == "expired":
            spool.expire(sent)
        elif further == "delivered":
            log = ReceiptLog(spool.root, "sender-0")
            log.append({"receipt": claim.entry.receipt, "destination": "PACS"})
            log.close()
            spool.delivered(sent)
    assert reclaim(spool, "worker-0", crashed=True) == 1
    assert waiting(spool, Stage.TRANSFORM) == []
    assert os.listdir(spool.root / "active" / "worker-0") == []
    assert len(spool.tree()) == 1


def test_another_destinations_copy_proves_nothing(spool):
    path = spool.receive()
    entry = Entry(path.stem, key("a"), key("b"), key("c"), syntax="JPEG2000Lossless")
    plain = Entry(path.stem, key("a"), key("b"), key("c"))
    spool.plan_many(
        [
            Plan(
                path,
                (Placement(entry, Stage.TRANSFORM, "PACS", "10"), Placement(plain, Stage.PREPARED, "REPORTS", "10")),
            )
        ],
        1,
        "planner-0",
    )
    spool.first(Stage.TRANSFORM, claimant="worker-0")
    assert reclaim(spool, "worker-0", crashed=True) == 1
    assert waiting(spool, Stage.TRANSFORM)[0].entry.crashes == 1


def test_a_dead_receiver_leaves_no_embryo_and_takes_no_other_ones(spool):
    for receipt in ("1764000000123456000001", "1764000000123457010001"):
        os.close(spool.embryo(receipt)[0])
    reclaim(spool, "receiver-1", receiver=1)
    assert os.listdir(spool.root / "embryo") == ["1764000000123456000001.dcm"]


def test_reclaim_touches_no_other_claimant(spool):
    spool.put(Stage.TRANSFORM)
    spool.put(Stage.TRANSFORM)
    spool.first(Stage.TRANSFORM, claimant="worker-0")
    spool.first(Stage.TRANSFORM, claimant="worker-1")
    assert reclaim(spool, "worker-1", crashed=True) == 1
    assert len(spool.claims("worker-0")) == 1
    assert reclaim(spool, "worker-2") == 0


def planned(spool, monkeypatch, die_at):
    """A plan of two entries for two destinations each, that ends at the n-th rename, link or unlink.

    The first one, by which the plan itself gets its name, does not count.
    """
    plans = []
    for _ in range(2):
        path = spool.receive()
        entry = Entry(path.stem, key("a"), key("b"), key("c"))
        plans.append(Plan(path, tuple(Placement(entry, Stage.PREPARED, d, "10") for d in ("PACS", "REPORTS"))))
    left = [1 + die_at]

    def counted(real):
        def call(*args, **more):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return real(*args, **more)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", counted(os.link))
        patched.setattr(os, "rename", counted(os.rename))
        patched.setattr(os, "unlink", counted(os.unlink))
        with pytest.raises(KeyboardInterrupt):
            spool.plan_many(plans, 1, "planner-0")
    return [plan.source.stem for plan in plans]


@pytest.mark.parametrize("die_at", range(7))
def test_a_plan_is_finished_wherever_it_was_interrupted(spool, monkeypatch, die_at):
    receipts = planned(spool, monkeypatch, die_at)
    assert recover(spool).given_back == 0
    for destination in ("PACS", "REPORTS"):
        assert [w.entry.receipt for w in waiting(spool, destination=destination)] == receipts
    assert spool.newcomers(10) == []


@pytest.mark.parametrize("further", ["active", "deferred", "rejected", "failed", "expired", "delivered"])
def test_a_plan_makes_no_delivery_twice(spool, monkeypatch, further):
    """The first link was made, and the sender went on with it, before the planner died."""
    first, _second = planned(spool, monkeypatch, die_at=2)  # a folder was made on the way
    claim = spool.first(Stage.PREPARED)
    assert claim.entry.receipt == first
    if further == "deferred":
        spool.defer(claim, 1_900_000_000)
    elif further in ("rejected", "failed"):
        {"rejected": spool.reject, "failed": spool.fail}[further](claim, {"reason": "no"})
    elif further == "expired":
        spool.expire(claim)
    elif further == "delivered":
        log = ReceiptLog(spool.root, "sender-0")
        log.append({"receipt": first, "destination": "PACS"})
        log.close()
        spool.delivered(claim)
    assert reclaim(spool, "planner-0") == 2
    assert first not in [w.entry.receipt for w in waiting(spool)]
    assert first in [w.entry.receipt for w in waiting(spool, destination="REPORTS")]


def test_objects_of_an_unreadable_plan_are_planned_again(spool, caplog):
    path = spool.receive()
    place = spool.root / "active" / "planner-0"
    place.mkdir()
    (place / f"{path.stem}.plan").write_bytes(b"\0" * 10)
    (place / f"{path.stem}.plan.making").write_bytes(b"{")
    recover(spool)
    assert spool.newcomers(10) == [path]
    assert "planned again" in caplog.text
    assert not place.exists()


def test_failed_is_tried_again_and_rejected_when_asked(spool):
    spool.fail(spool.receive(), {"reason": "no destination"})
    spool.put(Stage.PREPARED)
    spool.reject(spool.first(Stage.PREPARED), {"reason": "no"})
    assert recover(spool).retried == 1
    assert len(spool.newcomers(10)) == 1
    assert recover(spool, retry_rejected=True).retried == 1
    assert len(waiting(spool)) == 1


def test_notes_whose_files_are_gone_go_too(spool):
    spool.put(Stage.PREPARED)
    spool.reject(spool.first(Stage.PREPARED), {"reason": "no"})
    next((spool.root / "rejected" / "PACS").glob("*.dcm")).unlink()
    spool.put(Stage.PREPARED)
    spool.expire(spool.first(Stage.PREPARED))
    (spool.root / "failed" / "1795560000000000000001.dcm.making").write_bytes(b'{"rea')
    recover(spool)
    assert list((spool.root / "failed").iterdir()) == []
    assert list((spool.root / "rejected" / "PACS").iterdir()) == []
    assert len(list((spool.root / "expired").iterdir())) == 2


def test_the_plan_file_says_what_was_planned(spool, monkeypatch):
    planned(spool, monkeypatch, die_at=0)
    (path,) = (spool.root / "active" / "planner-0").iterdir()
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["generation"] for line in lines] == [1, 1]
    assert [to.split("~")[:3] for to in lines[0]["to"]] == [["prepared", "PACS", "10"], ["prepared", "REPORTS", "10"]]


def test_on_a_full_disk_what_can_go_back_goes_and_the_rest_is_tried_again(spool, full_disk, caplog):
    stuck, free = spool.put(Stage.PREPARED, "PACS"), spool.put(Stage.PREPARED, "REPORTS")
    spool.first(Stage.PREPARED, "PACS")
    spool.first(Stage.PREPARED, "REPORTS")
    (spool.root / "prepared" / "PACS" / "10" / stuck.bucket).rmdir()
    full_disk.append("prepared/PACS")
    assert recover(spool).given_back == 1
    assert [w.entry for w in waiting(spool, destination="REPORTS")] == [replace(free, unanswered=1)]
    assert "1 claims stay in active/, to be tried again later: [Errno 28]" in caplog.text
    left = spool.claims("sender-0")
    assert [claim.entry for claim in left] == [stuck]
    assert give_back(spool, left) == left
    full_disk.clear()
    assert give_back(spool, left) == []
    assert [w.entry for w in waiting(spool)] == [replace(stuck, unanswered=1)]


def test_on_a_full_disk_a_plan_is_left_and_finished_later(spool, monkeypatch, full_disk):
    receipts = planned(spool, monkeypatch, die_at=0)
    full_disk.append("prepared/REPORTS")
    assert recover(spool).plans == 0
    assert reclaim(spool, "planner-0") == 0, "its planner may start all the same"
    found, stuck = finish_plans(spool, "planner-0")
    assert (found, [planned.source.stem for planned, _ in stuck]) == (0, receipts)
    assert {error.errno for _, error in stuck} == {errno.ENOSPC}
    assert [w.entry.receipt for w in waiting(spool)] == receipts, "one of its two places had room"
    spool.delivered(spool.first(Stage.PREPARED))
    log = ReceiptLog(spool.root, "sender-0")
    log.append({"receipt": receipts[0], "destination": "PACS"})
    log.close()
    full_disk.clear()
    assert reclaim(spool, "planner-0") == 2
    assert [w.entry.receipt for w in waiting(spool)] == receipts[1:], "none is sent twice"
    assert [w.entry.receipt for w in waiting(spool, destination="REPORTS")] == receipts
    assert not os.listdir(spool.root / "active" / "planner-0")


def test_receipts_that_cannot_be_read_leave_the_claims_where_they_are(spool, monkeypatch):
    """Otherwise a delivered object could be sent again."""
    spool.put(Stage.PREPARED)
    claim = spool.first(Stage.PREPARED)
    with monkeypatch.context() as patched:
        patched.setattr("leyden.spool.receipts.delivered", broken_disk)
        assert recover(spool) == Recovered()
        assert give_back(spool, [claim]) == [claim]
        with pytest.raises(OSError, match="Input/output"):
            reclaim(spool, "sender-0")
    assert reclaim(spool, "sender-0") == 1


def test_an_embryo_that_cannot_be_removed_does_not_stop_recovery(spool, monkeypatch):
    os.close(spool.embryo("1764000000123456000001")[0])
    (spool.root / "active" / "worker-0").mkdir()
    (spool.root / "active" / "worker-0" / "x.making").touch()
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", broken_disk)
        assert recover(spool) == Recovered()
        assert reclaim(spool, "receiver-0", receiver=0) == reclaim(spool, "worker-0") == 0
    assert recover(spool).embryos == 1


def broken_disk(*_args):
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_no_crash_is_counted_unless_a_worker_died_alone(spool):
    spool.put(Stage.TRANSFORM, syntax="JPEG2000Lossless")
    spool.first(Stage.TRANSFORM, claimant="worker-0")
    assert reclaim(spool, "worker-0") == 1
    assert waiting(spool, Stage.TRANSFORM)[0].entry.crashes == 0


@pytest.mark.parametrize(("stage", "unanswered"), [(Stage.TRANSFORM, 0), (Stage.ASKING, 1), (Stage.PREPARED, 1)])
def test_an_attempt_that_the_death_of_its_process_ended_counts_as_unanswered(spool, stage, unanswered):
    spool.put(stage, syntax="JPEG2000")
    spool.first(stage)
    assert reclaim(spool, "sender-0") == 1
    assert [each.entry.unanswered for each in waiting(spool, stage)] == [unanswered]


def test_an_object_refused_by_a_node_that_is_gone_stays(spool):
    for destination in ("PACS", "GONE"):
        spool.put(Stage.PREPARED, destination)
        spool.reject(spool.first(Stage.PREPARED, destination), {"reason": "no"})
    assert recover(spool, retry_rejected=True, known=["PACS"]).retried == 1
    assert len(list((spool.root / "rejected" / "GONE").glob("*.dcm"))) == 1
