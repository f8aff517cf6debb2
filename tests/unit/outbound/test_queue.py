"""What of a destination's queue may be sent now, and what a look costs."""

import os
import time

import pytest

from leyden.deliver.destination import Destination
from leyden.deliver.pool import SERIES_S
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE
from leyden.outbound import queue as queue_module
from leyden.outbound.queue import RECLAIM_S, SendQueue
from leyden.plan.rules import Condition, Kind, SortAction, Sorting
from leyden.spool.entry import Entry, key
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from support.sender import dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
NOW_S = 1795560000
WINDOW, NEWEST = 40, 8  # so that a test need not make thousands of files


@pytest.fixture
def narrow(monkeypatch):
    monkeypatch.setattr(queue_module, "WINDOW", WINDOW)
    monkeypatch.setattr(queue_module, "NEWEST", NEWEST)


def put(
    spool,
    number,
    *,
    stage=Stage.PREPARED,
    received_s=NOW_S,
    rank="50",
    calling="CT1",
    study="s",
    uid="",
    content=None,
    **names,
):
    receipt = f"{int(received_s * 1e6):016d}00{number:04d}"
    fd, path = spool.embryo(receipt)
    uid = uid or f"2.25.{number}"
    os.write(fd, encode_head(FileMeta(CT, uid, EXPLICIT_LE, sending=calling)) if content is None else content)
    os.close(fd)
    entry = Entry(receipt, key(uid), key(study), key(calling), **names)
    spool.plan_one(path, entry, stage, "PACS", rank)
    return receipt


def make(tmp_path, *sortings, **keys):
    spool = Spool(tmp_path, sync=False)
    spool.prepare(["PACS"])
    return spool, SendQueue(spool, Destination("PACS", "127.0.0.1", 104, **keys), "sender-0", "LEYDEN", sortings)


def receipts(found):
    return [instance.receipt for instance in found]


def test_lowest_rank_then_oldest(tmp_path):
    spool, queue = make(tmp_path)
    last = put(spool, 1, rank="02", received_s=NOW_S - 500)
    second = put(spool, 2, rank="01", received_s=NOW_S)
    first = put(spool, 3, rank="01", received_s=NOW_S - 300)
    assert receipts(queue.look({}, (), NOW_S)) == [first, second, last]


def test_what_the_head_says(tmp_path):
    spool, queue = make(tmp_path, impersonate=True)
    put(spool, 1, calling="CT1")
    put(spool, 2, calling="")
    one, two = queue.look({}, (), NOW_S)
    assert (one.calling, two.calling) == ("CT1", "LEYDEN")
    assert one.pair == (CT, EXPLICIT_LE)
    assert one.meta.sop_instance_uid == "2.25.1"
    assert one.queued.size == one.offset


def test_without_impersonation_the_title_is_ours(tmp_path):
    spool, queue = make(tmp_path)
    put(spool, 1, calling="CT1")
    (one,) = queue.look({}, (), NOW_S)
    assert one.calling == "LEYDEN"


def test_known_files_are_not_opened_again(tmp_path):
    spool, queue = make(tmp_path)
    receipt = put(spool, 1)
    (instance,) = queue.look({}, (), NOW_S)
    instance.queued.path.write_bytes(b"nobody reads this")
    assert queue.look({receipt: instance}, (), NOW_S) == [instance]
    assert queue.look({}, (), NOW_S) == []


def test_titles_that_are_passed_over_do_not_fill_the_window(tmp_path):
    spool, queue = make(tmp_path, impersonate=True)
    put(spool, 1, calling="STRANGER")
    other = put(spool, 2, calling="CT1")
    assert receipts(queue.look({}, {"STRANGER"}, NOW_S)) == [other]


def test_a_look_holds_no_more_than_the_window(tmp_path, narrow):
    spool, queue = make(tmp_path)
    oldest, *_ = [put(spool, number) for number in range(WINDOW + 5)]
    found = receipts(queue.look({}, (), NOW_S))
    assert len(found) == WINDOW
    assert found[0] == oldest


def test_suspects_are_counted_apart_the_oldest_and_the_newest_of_them(tmp_path, narrow):
    spool, queue = make(tmp_path)
    bad = [put(spool, n) for n in range(WINDOW + NEWEST + 5)]
    good = put(spool, len(bad), study="another")

    def suspected(request):
        return request.study == key("s")

    found = queue.look({}, (), NOW_S, suspected)
    assert receipts(found) == [*bad[:WINDOW], good, *bad[-NEWEST:]]
    (passed,) = (each for each in spool.waiting(Stage.PREPARED, "PACS", 10_000) if each.entry.receipt == bad[WINDOW])
    passed.path.write_bytes(b"nobody reads this again")
    known = {instance.receipt: instance for instance in found}
    assert receipts(queue.look(known, (), NOW_S, suspected)) == receipts(found)


def test_serial_entries_wait_for_older_ones_of_their_instance(tmp_path):
    spool, queue = make(tmp_path)
    older = put(spool, 1, uid="2.25.9", received_s=NOW_S - 5)
    younger = put(spool, 2, uid="2.25.9", serial=True)
    assert receipts(queue.look({}, (), NOW_S)) == [older]
    (instance,) = queue.look({}, (), NOW_S)
    claim = spool.claim(instance.queued, "sender-0")
    assert receipts(queue.look({}, (), NOW_S)) == []
    spool.defer(claim, NOW_S + 60)
    assert receipts(queue.look({}, (), NOW_S)) == []
    assert receipts(queue.look({}, (), NOW_S + 61)) == [older]
    spool.delivered(spool.claim(queue.look({}, (), NOW_S + 61)[0].queued, "sender-0"))
    assert receipts(queue.look({}, (), NOW_S + 61)) == [younger]


def test_a_study_waits_for_the_rest_of_it(tmp_path):
    spool, queue = make(tmp_path, process_delay_ms=10_000)
    first = put(spool, 1, study="a", received_s=NOW_S)
    other = put(spool, 2, study="b", received_s=NOW_S + 5)
    assert receipts(queue.look({}, (), NOW_S + 9)) == []
    third = put(spool, 3, study="a", received_s=NOW_S + 9)
    assert receipts(queue.look({}, (), NOW_S + 10)) == [first, third]
    assert receipts(queue.look({}, (), NOW_S + 15)) == [first, other, third]


def test_old_ones_expire_and_what_is_no_file_of_ours_fails(tmp_path, caplog):
    spool, queue = make(tmp_path, expiry_threshold_s=100.0)
    put(spool, 1, received_s=NOW_S - 101)
    kept = put(spool, 2, received_s=NOW_S - 99)
    put(spool, 3, content=b"no DICOM" * 50)
    put(spool, 4, content=b"")
    fifo = put(spool, 5)
    (path,) = tmp_path.rglob(f"{fifo}.*")
    path.unlink()
    os.mkfifo(path)
    found = queue.look({}, (), NOW_S)
    assert receipts(found) == [kept]
    assert "PACS: 1 objects older than expiryThreshold moved to expired/" in caplog.messages
    assert sum("to failed/: not a DICOM file" in message for message in caplog.messages) == 3
    counts = {count.stage: count.files for count in spool.counts() if count.files}
    assert counts == {"prepared": 1, "expired": 1, "failed": 3}


def test_what_waits_until_its_destination_was_asked_keeps_its_turn_and_expires_like_the_others(tmp_path):
    spool, queue = make(tmp_path, expiry_threshold_s=100.0)
    put(spool, 1, stage=Stage.ASKING, syntax="JPEG2000", received_s=NOW_S - 101)
    first = put(spool, 2, received_s=NOW_S - 9)
    asking = put(spool, 3, stage=Stage.ASKING, syntax="JPEG2000", received_s=NOW_S - 8)
    last = put(spool, 4, received_s=NOW_S - 7)
    assert receipts(queue.look({}, (), NOW_S)) == [first, asking, last]
    counts = {count.stage: count.files for count in spool.counts()}
    assert counts == {"asking": 1, "prepared": 2, "expired": 1}


def test_a_twin_is_not_sent_before_an_older_one_that_waits_until_its_destination_was_asked(tmp_path):
    spool, queue = make(tmp_path)
    older = put(spool, 1, stage=Stage.ASKING, syntax="JPEG2000", uid="2.25.9", received_s=NOW_S - 5)
    put(spool, 2, uid="2.25.9", serial=True)
    assert receipts(queue.look({}, (), NOW_S)) == [older]


def test_what_was_brought_back_from_rejected_has_its_whole_time_again_even_after_a_transient_answer(tmp_path):
    spool, queue = make(tmp_path, expiry_threshold_s=100.0)
    now_s = time.time()
    put(spool, 1, received_s=now_s - 1000)
    spool.reject(spool.claim(next(spool.waiting(Stage.PREPARED, "PACS", 1)), "sender-0"), {"reason": "no"})
    assert spool.retry(Stage.REJECTED, "PACS") == 1
    (instance,) = queue.look({}, (), now_s + 99)
    spool.defer(spool.claim(instance.queued, "sender-0"), now_s + 1)
    assert len(queue.look({}, (), now_s + 99)) == 1
    assert queue.look({}, (), now_s + 110) == []
    assert {count.stage: count.files for count in spool.counts() if count.files} == {"expired": 1}


def test_a_claim_that_nobody_holds_any_more_goes_back_to_the_queue(tmp_path):
    spool, queue = make(tmp_path)
    held, stranded = put(spool, 1), put(spool, 2)
    first, second = queue.look({}, (), NOW_S)
    for instance in (first, second):
        assert spool.claim(instance.queued, "sender-0")
    assert receipts(queue.look({held: first}, (), NOW_S + RECLAIM_S)) == [stranded]
    assert [claim.entry.receipt for claim in spool.claims("sender-0")] == [held]


def test_a_clock_that_is_set_back_holds_nothing_up(tmp_path):
    spool, queue = make(tmp_path)
    came_by_the_old_clock = put(spool, 1, received_s=NOW_S + 86_400)
    assert receipts(queue.look({}, (), NOW_S)) == [came_by_the_old_clock]
    (claim,) = (spool.claim(each.queued, "sender-0") for each in queue.look({}, (), NOW_S))
    spool.defer(claim, NOW_S + 86_400 + 300)
    assert receipts(queue.look({}, (), NOW_S)) == [came_by_the_old_clock]
    stranded = put(spool, 2)
    assert spool.claim(queue.look({}, (), NOW_S)[0].queued, "sender-0")
    assert stranded in receipts(queue.look({}, (), NOW_S - 86_400))


IN_ORDER = Sorting("", actions=(SortAction("00200013"),))
BACKWARDS = Sorting("", actions=(SortAction("00200013", descending=True),))
ONLY_MR = Sorting("", conditions=(Condition("00080060", Kind.LITERAL, "MR"),), actions=IN_ORDER.actions)
FOR_ANOTHER = Sorting("", ae_titles=("ARCHIVE",), actions=IN_ORDER.actions)


def put_image(spool, place, number, *, series="X", modality="CT", **names):
    """An image that came in this place; its receipt."""
    uid = f"2.25.{place}"
    data = dataset(CT, uid, modality=modality, series=series, number=number)
    head = encode_head(FileMeta(CT, uid, EXPLICIT_LE, sending="CT1"))
    return put(spool, place, content=head + data, series_key=key(series) if series else "", **names)


def test_a_sorted_series_stands_in_its_order_where_its_oldest_stood(tmp_path):
    spool, queue = make(tmp_path, IN_ORDER)
    first = put_image(spool, 1, 1, series="Y")
    three, other, one, none, two = (
        put_image(spool, place, number, series=series)
        for place, (number, series) in enumerate([(3, "X"), (9, "Z"), (1, "X"), (None, "X"), (2, "X")], 2)
    )
    assert receipts(queue.look({}, (), NOW_S)) == [first, one, two, three, none, other]


def test_a_sorting_for_another_destination_and_none_leave_the_order(tmp_path):
    spool, queue = make(tmp_path, FOR_ANOTHER)
    came = [put_image(spool, place, 10 - place) for place in range(4)]
    found = queue.look({}, (), NOW_S)
    assert receipts(found) == came
    assert not any(instance.ordered for instance in found)


def test_instances_to_which_no_sorting_applies_keep_their_place(tmp_path):
    spool, queue = make(tmp_path, ONLY_MR)
    ct9, mr5, ct1, mr2 = (
        put_image(spool, place, number, modality=modality)
        for place, (number, modality) in enumerate([(9, "CT"), (5, "MR"), (1, "CT"), (2, "MR")])
    )
    found = queue.look({}, (), NOW_S)
    assert receipts(found) == [ct9, mr2, mr5, ct1]
    assert [instance.ordered for instance in found] == [False, True, True, False]


def test_what_names_no_series_and_what_cannot_be_read_is_not_sorted(tmp_path):
    spool, queue = make(tmp_path, IN_ORDER)
    one = put_image(spool, 1, 9, series="")
    unknown = encode_head(FileMeta(CT, "2.25.2", "1.2.3.4", sending="CT1")) + dataset(CT, "2.25.2", number=0)
    two = put(spool, 2, series_key=key("X"), content=unknown)
    three = put_image(spool, 3, 1)
    assert receipts(queue.look({}, (), NOW_S)) == [one, two, three]


def test_the_rank_comes_before_the_order_of_a_series(tmp_path):
    spool, queue = make(tmp_path, IN_ORDER)
    low, high = put_image(spool, 1, 1, rank="05"), put_image(spool, 2, 2, rank="01")
    assert receipts(queue.look({}, (), NOW_S)) == [high, low]


def test_what_comes_later_is_sorted_in_and_known_files_are_not_opened_again(tmp_path):
    spool, queue = make(tmp_path, BACKWARDS)
    one = put_image(spool, 1, 1)
    (known,) = queue.look({}, (), NOW_S)
    known.queued.path.write_bytes(b"nobody reads this")
    two = put_image(spool, 2, 2)
    assert receipts(queue.look({one: known}, (), NOW_S)) == [two, one]


def test_a_sorted_series_waits_for_those_of_it_that_are_still_to_be_made(tmp_path):
    spool, queue = make(tmp_path, BACKWARDS)
    ready = put_image(spool, 1, 1)
    other = put_image(spool, 2, 7, series="Y")
    slow = put_image(spool, 3, 3, stage=Stage.TRANSFORM, syntax="JPEG2000Lossless")
    assert receipts(queue.look({}, (), NOW_S)) == [other]
    claim = spool.claim(next(spool.waiting(Stage.TRANSFORM, "PACS", 1)), "worker-0")
    assert receipts(queue.look({}, (), NOW_S)) == [other]
    fd, made = spool.making(claim)
    os.write(fd, claim.path.read_bytes())
    os.close(fd)
    spool.transformed(claim, made)
    assert receipts(queue.look({}, (), NOW_S)) == [slow, ready, other]


def test_it_waits_for_what_has_to_be_asked_for_but_that_is_asked(tmp_path):
    spool, queue = make(tmp_path, IN_ORDER)
    put_image(spool, 1, 1)
    asked = put_image(spool, 2, 2, stage=Stage.ASKING, syntax="JPEG2000Lossy")
    assert receipts(queue.look({}, (), NOW_S)) == [asked]


def test_it_does_not_wait_for_a_second_one_of_an_instance_that_waits_for_the_first(tmp_path):
    spool, queue = make(tmp_path, IN_ORDER)
    first = put_image(spool, 1, 1, uid="2.25.1")
    again = put_image(spool, 2, 1, uid="2.25.1", stage=Stage.ASKING, syntax="JPEGProcess1", serial=True)
    assert receipts(queue.look({}, (), NOW_S)) == [first]
    next(spool.waiting(Stage.PREPARED, "PACS", 1)).path.unlink()
    other = put_image(spool, 3, 0)
    assert receipts(queue.look({}, (), NOW_S)) == [again]  # it counts again
    next(spool.waiting(Stage.ASKING, "PACS", 1)).path.unlink()
    assert receipts(queue.look({}, (), NOW_S)) == [other]


def test_it_does_not_wait_for_what_came_long_after_it_nor_does_an_unsorted_one(tmp_path):
    spool, queue = make(tmp_path, ONLY_MR)
    early = put_image(spool, 1, 1, modality="MR")
    unsorted = put_image(spool, 2, 1, series="Y")
    for place, series in ((3, "X"), (4, "Y")):
        late_s = NOW_S + SERIES_S + 1
        put_image(
            spool, place, 2, series=series, modality="MR", stage=Stage.TRANSFORM, syntax="HTJ2K", received_s=late_s
        )
    assert receipts(queue.look({}, (), NOW_S)) == [early, unsorted]


def test_those_that_wait_for_their_series_take_no_place_and_are_read_once(tmp_path, narrow):
    spool, queue = make(tmp_path, IN_ORDER)
    held = [put_image(spool, place, place) for place in range(WINDOW + 5)]
    other = put_image(spool, 90, 1, series="Y")
    put_image(spool, 91, 0, stage=Stage.TRANSFORM, syntax="HTJ2K")
    assert receipts(queue.look({}, (), NOW_S)) == [other]
    for queued in list(spool.waiting(Stage.PREPARED, "PACS", WINDOW)):
        queued.path.write_bytes(b"nobody reads this")
    assert receipts(queue.look({}, (), NOW_S)) == [other]
    assert len(list(spool.waiting(Stage.PREPARED, "PACS", 999))) == len(held) + 1
