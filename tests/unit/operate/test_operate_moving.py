"""Moving to another destination: in the form that it gets, never twice, and never a copy that is not for it."""

import errno
import os
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from leyden.form import ladder
from leyden.journal.events import Planned, PlannedDelivery
from leyden.journal.lines import NO_JOURNAL, JournalSettings, set_up, tell
from leyden.journal.segments import FOLDER
from leyden.kept_rules import KeptRules
from leyden.operate.moving import move
from leyden.operate.queue import Done, Filter, select
from leyden.spool.entry import key
from leyden.spool.stage import Stage
from unit.test_planner import CT, SR, Site, site
from unit.test_planner_mutations import NAME, put, rule

__all__ = ["site"]
ALL = Filter()


def moved(s: Site, to: str, what=ALL, **more) -> Done:
    keep = KeptRules(s.spool.root, sync=False).keep
    return move(
        s.spool.root, what, to, who="alice", through="command line", settings=s.settings, keep=keep, **more
    )  # fmt: skip


def planned(s: Site, sop_class: str = SR, called: str = "REPORTS", **more) -> str:
    receipt = s.receive(sop_class, called, **more)
    s.planner.batch()
    return receipt


def standing(s: Site) -> list[tuple[str, str, str]]:
    return [(item.stage, item.destination, item.receipt) for item in select(s.spool.root, ALL)]


def test_it_goes_in_the_form_that_the_other_one_gets(site) -> None:
    s = site()
    ct, sr = planned(s, CT, "PACS"), planned(s, SR)
    assert moved(s, "REPORTS").left == {"it is for REPORTS already": 1}
    assert standing(s) == [("prepared", "REPORTS", ct), ("prepared", "REPORTS", sr)]
    assert moved(s, "PACS").count == 2
    assert standing(s) == [("transform", "PACS", ct), ("prepared", "PACS", sr)]
    (to_make,) = s.waiting(Stage.TRANSFORM)
    assert (to_make.entry.syntax, to_make.rank, to_make.entry.serial) == ("JPEG2000Lossless", "00", True)


def test_what_the_other_one_was_seen_to_accept_counts(site) -> None:
    s = site()
    planned(s, CT, "REPORTS")
    refused = ladder.Acceptance(("1.2.840.10008.1.2.1",), ("1.2.840.10008.1.2.4.90",), 0.0)
    assert moved(s, "PACS", acceptance_of=lambda destination, sop_class: refused).count == 1
    assert len(s.waiting(Stage.PREPARED)) == 1


def test_its_tries_start_again_and_what_ended_is_no_older_than_now(site) -> None:
    s = site()
    planned(s)
    s.spool.defer(s.spool.claim(s.waiting(Stage.PREPARED, "REPORTS")[0], "sender-0"), 2e9, unanswered=True)
    assert moved(s, "PACS").count == 1
    (waiting,) = s.waiting()
    assert (waiting.entry.attempt, waiting.entry.unanswered, waiting.entry.retried_s) == (0, 0, 0)
    s.spool.reject(s.spool.claim(waiting, "sender-0"), {"reason": "no"})
    assert moved(s, "REPORTS").count == 1
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    assert waiting.entry.retried_s > 0
    assert not list((s.spool.root / "rejected").rglob("*.json"))


def test_what_the_other_one_has_already_is_not_there_twice(site) -> None:
    s = site()
    receipt = planned(s)
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    place = s.spool.root / "prepared" / "PACS" / "10" / receipt[:8]
    place.mkdir(parents=True)
    os.link(waiting.file, place / waiting.path.name)
    assert moved(s, "PACS", {f"{receipt}@REPORTS"}).count == 1
    assert standing(s) == [("prepared", "PACS", receipt)]


def test_copies_for_two_others_become_one(site) -> None:
    s = site()
    receipt = planned(s)
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    place = s.spool.root / "rejected" / "GONE"
    place.mkdir(parents=True)
    os.link(waiting.file, place / waiting.path.name)
    assert moved(s, "PACS").count == 2
    assert standing(s) == [("prepared", "PACS", receipt)]


def test_a_receipt_says_that_the_other_one_has_it(site) -> None:
    from leyden.spool.receipts import ReceiptLog

    s = site()
    receipt = planned(s)
    log = ReceiptLog(s.spool.root, "sender-0")
    log.append({"receipt": receipt, "destination": "PACS"})
    log.close()
    assert moved(s, "PACS").count == 1
    assert standing(s) == []


def test_what_the_disk_refuses_to_move_stays_and_the_next_move_takes_it(site, monkeypatch) -> None:
    s = site()
    receipt = planned(s)

    def rename(path, target):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", rename)
        assert moved(s, "PACS").left == {os.strerror(errno.EIO): 1}
    assert standing(s) == [("prepared", "REPORTS", receipt)]
    assert moved(s, "PACS", {f"{receipt}@REPORTS"}).count == 1
    assert standing(s) == [("prepared", "PACS", receipt)]


def test_what_is_not_planned_or_under_way_stays(site) -> None:
    s = site()
    planned(s)
    s.spool.claim(s.waiting(Stage.PREPARED, "REPORTS")[0], "sender-0")
    newcomer = s.receive()
    assert moved(s, "PACS").under_way == 1
    assert moved(s, "PACS", {newcomer}).left == {"it stands in new/": 1}


def test_it_is_told(site, tmp_path: Path) -> None:
    s = site()
    receipt = planned(s)
    set_up(s.spool.root, "queue-1", JournalSettings(mib=1))
    moved(s, "PACS")
    set_up(s.spool.root, "queue-1", NO_JOURNAL)
    lines = (s.spool.root / FOLDER / "queue-1.jsonl").read_bytes().splitlines()
    one, whole = map(orjson.loads, lines)
    assert (one["event"], one["receipt"], one["to_destination"], one["to_stage"]) == (
        "moved", receipt, "PACS", "prepared",
    )  # fmt: skip
    assert (whole["did"], whole["destination"], whole["count"]) == ("move", "PACS", 1)


def test_only_to_a_node(site) -> None:
    with pytest.raises(ValueError, match="NOBODY is not a node"):
        moved(site(), "NOBODY")


# -- copies that are not for the other one


def test_what_only_one_of_them_gets_changed_stays(site) -> None:
    s = site(mutations=(rule(put(NAME, "X"), to=("REPORTS",)),))
    changed, plain = planned(s, SR, "REPORTS", patient=b"Doe^Jane"), planned(s, SR, "PACS", patient=b"Doe^Jane")
    for what, to in ((changed, "PACS"), (plain, "REPORTS")):
        done = moved(s, to, {what})
        assert (done.count, [why.partition(" make ")[0] for why in done.left]) == (0, ["mutations"])


def test_what_both_get_changed_alike_is_changed_by_the_rules_for_the_other_one(site) -> None:
    s = site(mutations=(rule(put(NAME, "X")),))
    planned(s, SR, "REPORTS", patient=b"Doe^Jane")
    (before,) = s.waiting(Stage.TRANSFORM, "REPORTS")
    assert moved(s, "PACS").count == 1
    (after,) = s.waiting(Stage.TRANSFORM)
    assert after.entry.edits != before.entry.edits
    assert KeptRules(s.spool.root).read(after.entry.edits).destination == "PACS"


def test_a_copy_of_earlier_rules_stays(site) -> None:
    """As it stands it tells nothing; the journal knows that it was changed."""
    s = site()
    receipt = planned(s)
    (s.spool.root / "state" / "rules").mkdir(parents=True)
    set_up(s.spool.root, "planner-0", JournalSettings(mib=1))
    delivery = PlannedDelivery("REPORTS", "as it came", "called title REPORTS", ("mutations.yml:1",))
    of = {"sop_class_uid": SR, "sop_instance_uid": "1.2.3", "calling": "CT1", "called": "REPORTS", "generation": 1}
    tell(Planned(receipt, deliveries=(delivery,), **of))
    set_up(s.spool.root, "planner-0", NO_JOURNAL)
    assert moved(s, "PACS").count == 0
    assert standing(s) == [("prepared", "REPORTS", receipt)]


def test_a_lossy_copy_stays(site) -> None:
    s = site()
    receipt = planned(s)
    (waiting,) = s.waiting(Stage.PREPARED, "REPORTS")
    waiting.path.rename(waiting.path.with_name(replace(waiting.entry, sop_key=key("as it came")).name))
    assert moved(s, "PACS").left == {"it is a lossy copy that was made for REPORTS": 1}
    assert standing(s) == [("prepared", "REPORTS", receipt)]


def test_what_is_no_dicom_file_stays(site) -> None:
    s = site()
    planned(s)
    s.waiting(Stage.PREPARED, "REPORTS")[0].path.write_bytes(b"damaged")
    (why,) = moved(s, "PACS").left
    assert why.startswith("it can't be read: ")


def test_copies_for_two_destinations_that_are_moved_at_once_become_one(site) -> None:
    """Though their names differ: one of them was retried."""
    s = site()
    receipt = planned(s, SR)
    (one,) = s.waiting(destination="REPORTS")
    other = s.spool.root / Stage.PREPARED / "OTHER" / one.rank / one.entry.bucket
    other.mkdir(parents=True)
    os.link(one.file, other / replace(one.entry, unanswered=1, retried_s=5).name)
    assert moved(s, "PACS").count == 2
    assert standing(s) == [("prepared", "PACS", receipt)]
