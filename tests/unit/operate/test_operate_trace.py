"""Stories from the journal and the spool: how an object stands when one of the two is silent, and a whole study."""

from pathlib import Path
from typing import Any

import pytest

from leyden.dicom.part10 import FileMeta, encode_head
from leyden.journal.accession import keyed
from leyden.journal.events import (
    ByHand,
    Deleted,
    Delivered,
    Event,
    Failed,
    Moved,
    Planned,
    PlannedDelivery,
    Received,
    Rejected,
    Retried,
)
from leyden.journal.segments import Journal
from leyden.operate import trace
from leyden.operate.outboxes import Outbox, write
from leyden.operate.study import study
from leyden.operate.telling import now, told
from leyden.operate.trace import by_accession, by_instance, by_receipts, by_study
from leyden.spool import control
from leyden.spool.entry import Entry, key
from leyden.spool.receipts import ReceiptLog
from leyden.spool.secret import journal_key, make_secret
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from support.objects import make_ct

STUDY = "1.2.9"
CT = "1.2.840.10008.5.1.4.1.1.2"


def receipt(number: int) -> str:
    return f"17640000{number:02d}123456000001"


class Site:
    """A spool, and what its roles have told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spool = Spool(root, sync=False)
        self.spool.prepare(["PACS", "ARCHIVE"])
        self.journal = Journal(root, "test-0", 1 << 30)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.journal.write(event)

    def received(self, number: int, uid: str = "1.2.3") -> None:
        self.tell(Received(receipt(number), called="PACS", syntax="1.2.840.10008.1.2", bytes=9, **of(uid, number)))

    def planned(self, number: int, *destinations: str, uid: str = "1.2.3", **more: Any) -> None:
        ways = tuple(PlannedDelivery(title, "as it came", "called") for title in destinations)
        self.tell(
            Planned(
                receipt(number), called="PACS", generation=3, deliveries=ways, study_instance_uid=STUDY,
                accession=keyed("A1", make_secret(journal_key(self.root))), **of(uid, number), **more,
            )
        )  # fmt: skip

    def delivered(self, number: int, destination: str, uid: str = "1.2.3") -> None:
        self.tell(
            Delivered(receipt(number), destination=destination, status=0, syntax="1.2", bytes=9, **of(uid, number + 1))
        )

    def stands(self, number: int, stage: Stage, destination: str, uid: str = "1.2.3") -> Path:
        entry = Entry(receipt(number), key(uid), key(STUDY), key("CT1"))
        place = self.root / stage / (f"{destination}/00/{entry.bucket}" if destination else entry.bucket)
        place.mkdir(parents=True, exist_ok=True)
        path = place / (entry.name if destination else f"{receipt(number)}.dcm")
        path.write_bytes(encode_head(FileMeta(CT, uid, "1.2.840.10008.1.2")) + b"data")
        return path


def of(uid: str, at: int) -> dict[str, Any]:
    return {"sop_class_uid": CT, "sop_instance_uid": uid, "calling": "CT1", "at_s": float(at)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_was_received_comes_first_even_if_the_planner_told_first(site: Site) -> None:
    site.planned(1, "PACS")
    site.received(1)
    site.stands(1, Stage.PREPARED, "PACS")
    (story,) = by_receipts(site.root, [receipt(1)])
    assert [event["event"] for event in story.events] == ["received", "planned"]
    assert story.standings() == {"PACS": ("prepared", "")}
    assert by_instance(site.root, "1.2.3") == by_study(site.root, STUDY) == by_accession(site.root, "A1") == [story]
    assert by_accession(site.root, " A1 ") == [story]
    assert by_accession(site.root, "A2") == by_instance(site.root, "1.2") == by_study(site.root, "1.2") == []


def test_one_destination_has_it_and_the_other_waits(site: Site) -> None:
    site.planned(1, "PACS", "ARCHIVE")
    site.delivered(1, "PACS")
    site.stands(1, Stage.DEFERRED, "ARCHIVE")
    (story,) = by_instance(site.root, "1.2.3")
    assert story.standings() == {"PACS": ("delivered", ""), "ARCHIVE": ("deferred", "")}


def test_what_waits_says_why(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, (stage, title) in enumerate(
        [(Stage.NEW, ""), (Stage.PREPARED, "PACS"), (Stage.DEFERRED, "ARCHIVE"), (Stage.REJECTED, "PACS")]
    ):
        site.stands(number, stage, title)

    def whys() -> list[str]:
        return [place.why for story in by_receipts(site.root, list(map(receipt, range(4)))) for place in story.places]

    assert whys() == ["no service runs", "no service runs", "no service runs", ""]
    control.change(site.root, "PACS", lambda _: control.Control(pause=control.Order("alice", 1.0, reason="it moves")))
    control.change_flags(site.root, lambda _: {control.PREPARE: control.Order("bob", 1.0)})
    monkeypatch.setattr(trace, "holder", lambda _: 4711)
    write(site.root, 4711, {"ARCHIVE": Outbox(closed_by="ProcessSchedule")})
    first, second, *rest = whys()
    assert first.startswith("planning is paused by bob since ")
    assert second.startswith("paused by alice since ")
    assert second.endswith(": it moves")
    assert rest == ["closed by ProcessSchedule", ""]
    write(site.root, 4711, {"PACS": Outbox(process_delay_s=1e9)})
    control.change(site.root, "PACS", lambda _: control.Control())
    assert whys()[1:3] == ["the rest of its study may still come (processDelay of 1e+09 s)", ""]
    (story,) = by_receipts(site.root, [receipt(1)])
    assert "in prepared/: the rest of its study may still come" in "".join(now(story))


def test_a_claim_stands_where_it_came_from_and_says_who_has_it(site: Site) -> None:
    path = site.stands(1, Stage.PREPARED, "PACS")
    entry = Entry(receipt(1), key("1.2.3"), key(STUDY), key("CT1"))
    place = site.root / "active" / "sender-0"
    place.mkdir()
    path.rename(place / f"prepared~PACS~00~{entry.name}")
    (story,) = by_receipts(site.root, [receipt(1)])
    (found,) = story.places
    assert (found.stage, found.destination, found.claimant) == ("prepared", "PACS", "sender-0")


def test_a_receipt_proves_what_the_journal_has_lost_and_what_nobody_knows_is_said(site: Site) -> None:
    site.planned(1, "PACS", "ARCHIVE")
    log = ReceiptLog(site.root, "sender-0")
    log.append({"receipt": receipt(1), "destination": "PACS"})
    log.close()
    (story,) = by_instance(site.root, "1.2.3")
    assert story.proved == ("PACS",)
    assert story.standings() == {"PACS": ("delivered", ""), "ARCHIVE": ("gone", "")}


def test_what_was_taken_away_by_hand_is_said(site: Site) -> None:
    site.planned(1, "PACS")
    site.tell(ByHand(receipt(1), what="was taken away", destination="PACS", at_s=5.0))
    (story,) = by_instance(site.root, "1.2.3")
    assert story.standings() == {"PACS": ("gone", "was taken away by hand")}


def test_what_an_operator_did_is_said(site: Site) -> None:
    site.planned(1, "PACS", "ARCHIVE", "REPORTS")
    moved = {"stage": "prepared", "to_stage": "prepared", "who": "alice"}
    site.tell(
        Deleted(receipt(1), destination="PACS", stage="prepared", who="alice", at_s=5.0),
        Moved(receipt(1), destination="ARCHIVE", to_destination="OTHER", at_s=6.0, **moved),
        Moved(
            receipt(1), destination="REPORTS", to_destination="REPORTS", at_s=7.0, **moved | {"to_stage": "rejected"}
        ),
    )
    site.delivered(1, "OTHER")
    (story,) = by_instance(site.root, "1.2.3")
    assert story.standings() == {
        "PACS": ("gone", "deleted by alice"), "OTHER": ("delivered", ""), "REPORTS": ("gone", ""),
    }  # fmt: skip
    assert [told(event) for event in story.events if event["event"] in ("deleted", "moved")] == [
        "PACS: deleted from prepared/ by alice",
        "ARCHIVE: moved from prepared/ to prepared/ for OTHER by alice",
        "REPORTS: moved from prepared/ to rejected/ by alice",
    ]


def test_what_the_journal_has_not_is_found_by_the_names_in_the_spool(site: Site) -> None:
    site.stands(1, Stage.TRANSFORM, "PACS", "1.2.4")
    for stories in (by_instance(site.root, "1.2.4"), by_study(site.root, STUDY), by_receipts(site.root, [receipt(1)])):
        (story,) = stories
        assert (story.sop_instance_uid, story.events, story.places[0].stage) == ("1.2.4", (), "transform")
    assert by_receipts(site.root, [receipt(2)]) == []


def test_what_was_delivered_between_the_two_looks_is_not_gone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.planned(1, "PACS")
    look = trace.listing.standing

    def deliver_first(*arguments: Any) -> Any:
        site.delivered(1, "PACS")
        return look(*arguments)

    monkeypatch.setattr(trace.listing, "standing", deliver_first)
    (story,) = by_receipts(site.root, [receipt(1)])
    assert story.standings() == {"PACS": ("delivered", "")}


def test_each_event_is_told_in_words() -> None:
    again = {"event": "duplicate", "receipt": receipt(1), "at_s": 1.0, "calling": "CT1", "called": "PACS", "status": 0}
    assert told(again) == "came again from CT1, called PACS: not kept, answered 0x0000"
    failed = {"event": "failed", "receipt": receipt(1), "at_s": 1.0, "reason": "no destination", "calling": "CT1"}
    assert told(failed | {"study_instance_uid": STUDY, "accession": "f3"}) == "failed: no destination; study 1.2.9"
    expired = {"event": "expired", "receipt": receipt(1), "at_s": 1.0, "destination": "PACS", "calling": "CT1"}
    assert told(expired) == "PACS: expired: not delivered within expiryThreshold"
    planned = {"event": "planned", "receipt": receipt(1), "at_s": 1.0, "generation": 1, "rules": ["routings.yml:1"]}
    assert [told(planned | {"dropped_by": f"routings.yml:1 {action}"}) for action in ("drop", "save_file")] == [
        "planned by routings.yml:1, generation 1: dropped by routings.yml:1 drop",
        "planned by routings.yml:1, generation 1: saved by routings.yml:1 save_file, and sent nowhere",
    ]


def test_without_a_key_an_accession_cannot_be_asked_for(site: Site) -> None:
    with pytest.raises(OSError, match=r"journal\.key"):
        by_accession(site.root, "A1")
    journal_key(site.root).write_bytes(b"short")
    with pytest.raises(OSError, match="no key"):
        by_accession(site.root, "A1")
    journal_key(site.root).unlink()
    assert len(make_secret(journal_key(site.root))) == 32
    assert make_secret(journal_key(site.root)) == make_secret(journal_key(site.root))
    assert journal_key(site.root).stat().st_mode & 0o777 == 0o600


def test_a_hash_needs_the_key_and_the_number() -> None:
    assert keyed("A1", b"k" * 32) != keyed("A1", b"l" * 32) != keyed("A2", b"l" * 32)
    assert keyed("", b"k" * 32) == keyed("A1", b"") == ""


def test_a_study_counts_instances_and_names_what_is_missing(site: Site) -> None:
    site.planned(1, "PACS", "ARCHIVE", uid="1.1")
    site.delivered(1, "PACS", uid="1.1")
    site.delivered(1, "ARCHIVE", uid="1.1")
    site.planned(2, "PACS", uid="1.2")
    rejected = site.root / "rejected" / "PACS"
    site.stands(2, Stage.PREPARED, "PACS", "1.2").rename(rejected / f"{receipt(2)}.dcm")
    (rejected / f"{receipt(2)}.dcm.json").write_text('{"reason": "0xA900"}')
    site.planned(3, uid="1.3", dropped_by="routings.yml:3 drop")
    found = study(site.root, STUDY)
    assert (found.received, found.dropped, found.complete) == (3, 1, False)
    assert {each.title: (each.states, each.complete) for each in found.destinations} == {
        "ARCHIVE": ({"delivered": 1}, True), "PACS": ({"delivered": 1, "rejected": 1}, False),
    }  # fmt: skip
    (missing,) = found.missing
    assert (missing.sop_instance_uid, missing.destination, missing.state, missing.reason) == (
        "1.2", "PACS", "rejected", "0xA900",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("second", "complete"), [("delivered", True), ("prepared", False), ("rejected", True), ("gone", True)]
)
def test_of_an_instance_that_came_twice_what_is_on_its_way_counts_and_else_that_one_is_there(
    site: Site, second: str, complete: bool
) -> None:
    """A destination often refuses the second one, because it has the first."""
    site.planned(1, "PACS")
    site.delivered(1, "PACS")
    site.planned(2, "PACS")
    if second == "delivered":
        site.delivered(2, "PACS")
    elif second != "gone":
        path = site.stands(2, Stage.PREPARED, "PACS")
        if second == "rejected":
            path.rename(site.root / "rejected" / "PACS" / path.name)
    found = study(site.root, STUDY)
    assert (found.received, found.complete) == (1, complete)


def test_what_failed_and_was_removed_is_not_dropped_but_missing(site: Site) -> None:
    site.received(1)
    site.tell(Failed(receipt(1), reason="no destination", sop_instance_uid="1.2.3", study_instance_uid=STUDY, at_s=2.0))
    found = study(site.root, STUDY)
    assert (found.received, found.dropped, found.complete) == (1, 0, False)
    assert [(each.destination, each.state, each.reason) for each in found.missing] == [
        ("", "gone", "failed: no destination")
    ]
    site.planned(2, "PACS")
    site.delivered(2, "PACS")
    assert study(site.root, STUDY).complete  # it came once more


def test_a_worker_may_tell_that_it_failed_before_the_planner_tells_of_it(site: Site) -> None:
    site.tell(Failed(receipt(1), reason="lost", destination="PACS", sop_instance_uid="1.2.3", at_s=1.0))
    site.planned(1, "PACS")
    (missing,) = study(site.root, STUDY).missing
    assert (missing.destination, missing.state, missing.reason) == ("PACS", "gone", "failed: lost")


def test_what_failed_and_was_planned_later_is_not_missing(site: Site) -> None:
    site.tell(Failed(receipt(1), reason="no destination", sop_instance_uid="1.2.3", study_instance_uid=STUDY, at_s=1.0))
    site.tell(Retried(receipt(1), destination="", stage="new", at_s=1.5))
    site.planned(2, "PACS")
    site.planned(1, "PACS")
    site.delivered(1, "PACS")
    site.delivered(2, "PACS")
    assert study(site.root, STUDY).complete


def test_what_was_refused_and_is_removed_is_missing_with_the_reason(site: Site) -> None:
    site.planned(1, "PACS")
    refused = Rejected(receipt(1), destination="PACS", reason="status 0xA900", **of("1.2.3", 2))
    site.tell(refused)
    log = ReceiptLog(site.root, "sender-0")
    log.append(refused)
    log.close()
    (missing,) = study(site.root, STUDY).missing
    assert (missing.destination, missing.state, missing.reason) == ("PACS", "gone", "rejected: status 0xA900")


def test_what_is_not_planned_yet_belongs_to_its_study_too(site: Site) -> None:
    site.received(1, "2.25.1001.1")
    path = site.stands(1, Stage.NEW, "", "2.25.1001.1")
    make_ct(path, 1, rows=16, columns=16)
    (path.parent / f"{receipt(2)}.dcm").write_bytes(b"not DICOM")
    found = study(site.root, "2.25.1001")
    assert (found.received, found.complete) == (1, False)
    assert [(each.sop_instance_uid, each.state) for each in found.missing] == [("2.25.1001.1", "new")]


def test_a_study_of_which_nothing_is_known_is_not_complete(site: Site) -> None:
    found = study(site.root, "1.2.3.4")
    assert (found.received, found.complete, found.destinations, found.missing) == (0, False, (), ())
