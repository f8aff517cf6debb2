"""The planner on real files: its decisions become names in the right places, and no object is lost."""

import logging
import os
import signal
import struct
import threading
import time
from types import SimpleNamespace

import orjson
import pytest
from msgspec.structs import replace

from leyden import log, planner, saving
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.dicom.uids import EXPLICIT_LE, JPEG2000, JPEG2000_LOSSLESS
from leyden.form import ladder
from leyden.journal.lines import NO_JOURNAL
from leyden.kept_rules import KeptRules
from leyden.plan import memory
from leyden.plan.rules import (
    Action,
    ActionType,
    Condition,
    Edit,
    EditType,
    Kind,
    Mutation,
    Place,
    PlanSettings,
    Route,
    Target,
)
from leyden.planner import Planner
from leyden.spool import moves, store
from leyden.spool.doorbell import Bell
from leyden.spool.entry import Entry, ReceiptClock, folder, key
from leyden.spool.receipts import ReceiptLog
from leyden.spool.recover import recover
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

CT = "1.2.840.10008.5.1.4.1.1.2"
SR = "1.2.840.10008.5.1.4.1.1.88.11"
CTS = Condition("00080016", Kind.LITERAL, CT)
REPORTS = Condition("00080016", Kind.REGEX, r"^1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.[\d]{1,2}$")


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    return head + (struct.pack("<xxL", len(value)) if vr == b"OW" else struct.pack("<H", len(value))) + value


def dataset(sop_class: str, instance: str, study: str, patient: bytes = b"", modality: bytes = b"") -> bytes:
    return b"".join(
        (
            element(0x00080016, b"UI", sop_class.encode()),
            element(0x00080018, b"UI", instance.encode()),
            element(0x00080060, b"CS", modality) if modality else b"",
            element(0x00100010, b"PN", patient) if patient else b"",
            element(0x0020000D, b"UI", study.encode()),
            element(0x00280100, b"US", struct.pack("<H", 16)) if sop_class == CT else b"",
            element(0x7FE00010, b"OW", bytes(32)) if sop_class == CT else b"",
        )
    )


class Site:
    """A spool, a planner with these rules, and files that arrive."""

    def __init__(self, root, lossy=False, **rules):
        self.spool = Spool(root / "cache", sync=False)
        self.spool.prepare(["PACS", "REPORTS"])
        self.clock = ReceiptClock(0)
        titles = {"PACS": "PACS", "DCP_PACS": "PACS", "REPORTS": "REPORTS", "LEYDEN": ""}
        targets = (Target("PACS", JPEG2000 if lossy else JPEG2000_LOSSLESS, (CT,)), Target("REPORTS"))
        self.settings = PlanSettings("LEYDEN", titles, targets, **rules)
        self.bell = Bell(self.spool.root, "planner")
        self.planner = self.make()

    def make(self) -> Planner:
        return Planner(self.spool, self.settings, 2, 1, lambda: None)

    def batches(self, until) -> None:
        """Turns of the planner, each when a copy has ended."""
        self.planner.batch()
        while not until():
            assert self.bell.wait(20.0), "no copy comes to its end"
            self.planner.batch()

    def receive(
        self, sop_class=CT, called="PACS", instance="1.2.3", study="1.2", content=None, age_s=0.0, **more
    ) -> str:
        clock = ReceiptClock(1) if age_s else self.clock
        receipt = clock.next(int((time.time() - age_s) * 1e6))
        if content is None:
            meta = FileMeta(sop_class, instance, EXPLICIT_LE, "host", "CT1", called)
            content = encode_head(meta) + dataset(sop_class, instance, study, **more)
        fd, path = self.spool.embryo(receipt)
        os.write(fd, content)
        os.close(fd)
        place = self.spool.root / "new" / receipt[:8]
        place.mkdir(exist_ok=True)
        path.rename(place / path.name)
        return receipt

    def waiting(self, stage=Stage.PREPARED, destination="PACS"):
        return list(self.spool.waiting(stage, destination, 1000))

    def reasons(self):
        return [orjson.loads(p.read_bytes())["reason"] for p in sorted((self.spool.root / "failed").glob("*.json"))]


@pytest.fixture
def site(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    made = []

    def make(**rules):
        made.append(Site(tmp_path, **rules))
        return made[-1]

    yield make
    for each in made:
        each.planner.close()
        each.bell.close()


@pytest.fixture
def later(monkeypatch):
    """Move the planner's monotonic clock on by some seconds."""
    real, ahead_s = time.monotonic, [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead_s[0])

    def turn(seconds):
        ahead_s[0] += seconds

    return turn


def route(*actions, conditions=(), titles=()):
    return Route("routings.yml:1", titles, conditions, actions)


def add(target, remove_original=False):
    return Action(ActionType.ADD_DESTINATION, target, remove_original)


def test_an_image_goes_to_the_workers_a_report_as_it_came(site, caplog):
    here = site()
    bells = {role: Bell(here.spool.root, role) for role in ("sender", "worker-0", "worker-1")}
    receipt = here.receive(instance="1.2.3", study="1.2")
    here.planner.batch()
    (image,) = here.waiting(Stage.TRANSFORM)
    entry = image.entry
    assert (entry.receipt, entry.sop_key, entry.study_key, entry.source_key) == (
        receipt, key("1.2.3"), key("1.2"), key("CT1"),
    )  # fmt: skip
    assert (entry.syntax, image.rank, entry.serial) == ("JPEG2000Lossless", "00", False)
    assert {role: bell.drain() for role, bell in bells.items()} == {"sender": False, "worker-0": True, "worker-1": True}
    here.receive(SR, called="DCP_PACS")
    here.planner.batch()
    (report,) = here.waiting()
    assert (report.entry.syntax, report.rank) == ("", "01")
    assert bells["sender"].drain()
    assert "class 2, CT1 -> PACS: PACS as JPEG2000Lossless (called title PACS)" in caplog.text
    for bell in bells.values():
        bell.close()


def test_a_lossy_syntax_waits_in_asking_until_its_destination_was_seen(site):
    here = site(lossy=True)
    bell = Bell(here.spool.root, "sender")
    here.receive()
    here.planner.batch()
    (waiting,) = here.waiting(Stage.ASKING)
    assert waiting.entry.syntax == "JPEG2000Lossy"
    assert bell.drain()
    seen = ladder.Acceptance(accepted=(JPEG2000,), seen_s=time.time())
    (here.spool.root / "state" / "PACS.json").write_bytes(ladder.serialize({CT: seen}))
    here.receive(instance="1.2.4")
    here.planner.batch()
    assert len(here.waiting(Stage.ASKING)) == len(here.waiting(Stage.TRANSFORM)) == 1
    bell.close()


def test_the_example_reroutes_reports(site):
    here = site(routes=(route(add("REPORTS", remove_original=True), conditions=(REPORTS,), titles=("PACS",)),))
    here.receive()
    here.receive(SR)
    here.planner.batch()
    assert len(here.waiting(Stage.TRANSFORM)) == len(here.waiting(destination="REPORTS")) == 1
    assert here.waiting() == here.waiting(Stage.TRANSFORM, "REPORTS") == []


def test_several_destinations_share_the_bytes(site):
    here = site(routes=(route(add("REPORTS")),))
    receipts = [here.receive(instance=f"1.{n}") for n in range(3)]
    here.planner.batch()
    for stage, destination in (("transform", "PACS"), ("prepared", "REPORTS")):
        assert [w.entry.receipt for w in here.waiting(stage, destination)] == receipts


def test_an_object_without_a_destination_goes_to_failed(site):
    here = site()
    here.receive(called="LEYDEN")
    here.receive(called="GONE")
    here.planner.batch()
    assert here.spool.newcomers(10) == []
    ours, gone = here.reasons()
    assert "no destination" in ours
    assert "GONE" in gone


def test_a_dropped_one_leaves_a_receipt_that_names_the_rule(site):
    here = site(routes=(route(Action(ActionType.DROP)),))
    receipt = here.receive()
    here.planner.batch()
    assert not list((here.spool.root).rglob("*.dcm"))
    (path,) = (here.spool.root / "receipts").iterdir()
    line = orjson.loads(path.read_bytes())
    assert line["receipt"] == receipt
    assert line["dropped_by"].startswith("routings.yml:1")


def test_a_copy_is_saved_before_anything_moves(site, tmp_path):
    target = tmp_path / "deep" / "er" / "copy.dcm"
    here = site(routes=(route(Action(ActionType.SAVE_FILE, str(target))),))
    here.receive()
    here.planner.batch()
    assert here.waiting(Stage.TRANSFORM) == []
    here.batches(until=lambda: here.waiting(Stage.TRANSFORM))
    (image,) = here.waiting(Stage.TRANSFORM)
    assert target.read_bytes() == image.path.read_bytes()
    assert os.listdir(target.parent) == ["copy.dcm"]


def test_a_copy_that_cannot_be_saved_is_tried_again_and_the_log_holds_no_patient_data(site, tmp_path, caplog, later):
    share = tmp_path / "share"
    share.touch()
    target = f"{share}/#{{10,10}}/"
    here = site(routes=(route(Action(ActionType.SAVE_FILE, target), conditions=(CTS,)),))
    jane = here.receive(patient=b"Doe^Jane")
    here.receive(SR, instance="1.4")
    here.planner.batch()
    assert len(here.waiting()) == 1, "what the rule does not look at goes on"
    here.batches(until=lambda: "could not save it" in caplog.text)
    assert here.reasons() == []
    assert len(here.spool.newcomers(10)) == 1
    later(59)
    assert here.planner.batch() == planner.LOOK_S
    here.receive(instance="1.5")
    here.batches(until=lambda: here.planner.planned == 0)
    assert caplog.text.count("WARNING") == 1, "once a minute"
    assert f"routings.yml:1 save_file could not save it as {target}: Not a directory" in caplog.text
    assert "Jane" not in caplog.text
    share.unlink()
    later(2)
    here.batches(until=lambda: jane in [w.entry.receipt for w in here.waiting(Stage.TRANSFORM)])
    assert len(list((share / "Doe^Jane").iterdir())) == 1


def test_a_copy_never_replaces_another_one(site, tmp_path):
    target = tmp_path / "copies" / "copy.dcm"
    here = site(routes=(route(Action(ActionType.SAVE_FILE, str(target))),))
    here.receive(study="1.1")
    here.receive(study="1.1")
    other = here.receive(study="1.2")
    here.batches(until=lambda: len(here.waiting(Stage.TRANSFORM)) == 3)
    assert sorted(os.listdir(target.parent)) == [f"copy.{other}.dcm", "copy.dcm"]
    assert b"1.1" in target.read_bytes()


def test_an_object_that_cannot_be_moved_does_not_stop_the_others(site, caplog, later):
    here = site(routes=(route(add("REPORTS"), conditions=(CTS,)),))
    failed = here.spool.root / "failed"
    failed.rmdir()
    failed.touch()
    stuck = here.receive(content=b"this is not DICOM")
    here.receive()
    here.receive(SR, instance="1.4")
    assert here.planner.batch() == planner.LOOK_S
    assert len(here.waiting(Stage.TRANSFORM)) == len(here.waiting(destination="REPORTS")) == len(here.waiting()) == 1
    assert [p.name[:22] for p in here.spool.newcomers(10)] == [stuck]
    for _ in range(3):
        assert here.planner.batch() == planner.LOOK_S
    assert caplog.text.count("next try in 60 s: it can't be moved") == 1
    failed.unlink()
    later(61)
    here.planner.batch()
    assert len(here.reasons()) == 1


def test_a_plan_that_cannot_be_carried_out_does_not_stop_the_others(site, monkeypatch, later):
    here = site(routes=(route(add("REPORTS")),))
    receipts = [here.receive(instance=f"1.{n}") for n in range(3)]
    real, immutable = store.link, [receipts[0]]

    def link(source, place, name):
        if name[:22] in immutable:
            raise PermissionError(1, "Operation not permitted")
        return real(source, place, name)

    monkeypatch.setattr(store, "link", link)
    for seconds in (0, 61, 30):
        later(seconds)
        here.planner.batch()
        assert [w.entry.receipt for w in here.waiting(Stage.TRANSFORM)] == receipts[1:]
        assert [w.entry.receipt for w in here.waiting(destination="REPORTS")] == receipts[1:]
    assert len(list((here.spool.root / "active" / "planner-0").iterdir())) == 1, "it is not planned anew"
    immutable.clear()
    later(61)
    here.planner.batch()
    assert [w.entry.receipt for w in here.waiting(Stage.TRANSFORM)] == receipts
    assert list((here.spool.root / "active" / "planner-0").iterdir()) == []


def test_it_is_an_error_of_the_spool_if_nothing_can_be_moved(site, later):
    here = site()
    queue = here.spool.root / "transform" / "PACS"
    queue.rmdir()
    queue.touch()
    here.receive()
    with pytest.raises(NotADirectoryError):
        here.planner.batch()
    queue.unlink()
    later(61)
    here.planner.batch()
    assert len(here.waiting(Stage.TRANSFORM)) == 1


def test_a_younger_entry_waits_for_the_older_one_and_no_longer(site, tmp_path, caplog, later):
    share = tmp_path / "share"
    share.touch()
    here = site(routes=(route(Action(ActionType.SAVE_FILE, f"{share}/"), conditions=(CTS,)),))
    elder = here.receive(instance="1.9")
    younger = here.receive(SR, instance="1.9")
    here.batches(until=lambda: "could not save it" in caplog.text)
    share.unlink()
    later(30)
    youngest = here.receive(SR, instance="1.9")
    here.planner.batch()
    assert here.waiting() == []
    later(31)
    here.batches(until=lambda: here.waiting())
    assert [w.entry.receipt for w in here.waiting(Stage.TRANSFORM)] == [elder]
    assert [w.entry.receipt for w in here.waiting()] == [younger, youngest]
    assert all(w.entry.serial for w in here.waiting())


def test_an_older_entry_does_not_wait_for_a_younger_one_that_is_postponed(site, tmp_path):
    share = tmp_path / "share"
    share.touch()
    here = site(routes=(route(Action(ActionType.SAVE_FILE, f"{share}/"), conditions=(CTS,)),))
    elder = here.receive(SR, instance="1.9")
    here.receive(instance="1.9")
    here.planner.batch()
    assert [w.entry.receipt for w in here.waiting()] == [elder]
    assert len(here.spool.newcomers(10)) == 1


def test_a_share_that_hangs_holds_up_only_its_rule_and_keeps_the_order_of_an_instance(
    site, tmp_path, monkeypatch, caplog, later
):
    """The real thing is in tests/crash/test_shares.py; here, what a test with a clock of its own can see."""
    real, hanging, answers = saving.save, threading.Event(), threading.Event()

    def save(source, target, receipt):
        if target.parent.name == "hangs":
            hanging.set()
            answers.wait(60)
        return real(source, target, receipt)

    monkeypatch.setattr(saving, "save", save)
    hangs, works = (Action(ActionType.SAVE_FILE, f"{tmp_path}/{name}/") for name in ("hangs", "works"))
    of_study = Condition("0020000D", Kind.LITERAL, "1.7")
    here = site(routes=(route(hangs, conditions=(of_study,)), route(works, conditions=(CTS,))))
    elder = here.receive(instance="1.9", study="1.7")
    younger = here.receive(SR, instance="1.9")
    saved, report = here.receive(instance="1.3"), here.receive(SR, instance="1.4")
    here.batches(until=lambda: here.waiting(Stage.TRANSFORM))
    assert [w.entry.receipt for w in here.waiting()] == [report]
    assert [w.entry.receipt for w in here.waiting(Stage.TRANSFORM)] == [saved]
    assert hanging.wait(60)
    later(61)
    here.planner.batch()
    here.planner.batch()
    assert caplog.text.count("takes longer than 60 s") == 1
    assert {path.stem for path in here.spool.newcomers(10)} == {elder, younger}
    answers.set()
    here.batches(until=lambda: len(here.waiting()) == 2)
    assert [w.entry.receipt for w in here.waiting(Stage.TRANSFORM)] == [elder, saved]
    assert [(w.entry.receipt, w.entry.serial) for w in here.waiting()] == [(younger, True), (report, False)]
    assert len(os.listdir(tmp_path / "hangs")) == 1, "and the second copy of the elder"
    assert len(os.listdir(tmp_path / "works")) == 2


def test_with_too_many_waiting_for_one_share_the_others_wait_a_minute(site, tmp_path, monkeypatch, caplog):
    answers = threading.Event()
    monkeypatch.setattr(saving, "save", lambda *_: answers.wait(60))
    monkeypatch.setattr(saving, "MAX_WAITING", 2)
    here = site(routes=(route(Action(ActionType.SAVE_FILE, f"{tmp_path}/"), conditions=(CTS,)),))
    for n in range(5):
        here.receive(instance=f"1.{n}")
    here.receive(SR)
    here.planner.batch()
    assert len(here.waiting()) == 1
    assert "2 others wait for theirs already" in caplog.text
    answers.set()
    here.batches(until=lambda: len(here.waiting(Stage.TRANSFORM)) >= 2)


def test_an_error_in_one_copy_does_not_touch_the_others(site, tmp_path, monkeypatch, caplog):
    real = saving.save

    def save(source, target, receipt):
        if receipt == first:
            raise ValueError("Doe^Jane")
        return real(source, target, receipt)

    monkeypatch.setattr(saving, "save", save)
    here = site(routes=(route(Action(ActionType.SAVE_FILE, f"{tmp_path}/copies/")),))
    first = here.receive(instance="1.1")
    here.receive(instance="1.2")
    here.batches(until=lambda: here.waiting(Stage.TRANSFORM))
    assert [path.stem for path in here.spool.newcomers(10)] == [first]
    assert "ValueError" in caplog.text
    assert "Jane" not in caplog.text


def test_a_dataset_that_does_not_parse_goes_on_as_it_came(site):
    here = site(routes=(route(add("REPORTS", remove_original=True)),))
    head = encode_head(FileMeta(CT, "1.2.3", EXPLICIT_LE, "host", "CT1", "PACS"))
    here.receive(content=head + b"\x08\x00\x05\x00XX\xff\xff" + b"\xff" * 20)
    here.receive(content=encode_head(FileMeta(CT, "1.2.4", EXPLICIT_LE, "host", "CT1", "LEYDEN")) + b"\xff" * 20)
    here.receive(content=b"this is not DICOM")
    here.receive(content=b"")
    here.planner.batch()
    assert here.spool.newcomers(10) == []
    assert len(here.waiting()) + len(here.waiting(destination="REPORTS")) + len(here.reasons()) == 4
    assert sum("unreadable" in reason for reason in here.reasons()) == 2


def test_a_dataset_that_no_rule_can_read_is_sent_to_its_called_title(site, monkeypatch):
    def corrupt(*_args, **_more):
        raise planner.Corrupt("at byte 400")

    here = site(routes=(route(Action(ActionType.DROP)),))
    monkeypatch.setattr(planner, "peek", corrupt)
    here.receive()
    here.receive(called="LEYDEN")
    here.planner.batch()
    assert [w.rank for w in here.waiting()] == ["00"]
    assert "no rule can read it: at byte 400" in here.reasons()[0]


def test_a_file_put_in_by_hand_is_bound_for_our_own_title(site, monkeypatch):
    monkeypatch.setattr(moves, "SETTLE_S", 0.0)
    here = site(routes=(route(add("REPORTS")),))
    meta = FileMeta(CT, "1.2.3", EXPLICIT_LE)
    (here.spool.root / "new" / "IM0001").write_bytes(encode_head(meta) + dataset(CT, "1.2.3", "1.2"))
    meta = FileMeta(CT, "1.2.4", EXPLICIT_LE, receiving="PACS")
    (here.spool.root / "new" / "IM0002").write_bytes(encode_head(meta) + dataset(CT, "1.2.4", "1.2"))
    (here.spool.root / "new" / "IM0003").write_bytes(encode_head(meta) + b"\xff" * 20)
    here.planner.batch()
    assert [w.entry.by_hand for w in here.waiting(destination="REPORTS")] == [True, True]
    assert here.waiting() == here.waiting(Stage.TRANSFORM) == []
    assert "no rule can read it" in here.reasons()[0]


def test_a_second_entry_of_an_instance_is_serial_also_after_a_restart(site):
    here = site()
    for _ in range(2):
        here.receive(instance="1.2.3")
    here.receive(instance="1.2.4")
    here.planner.batch()
    assert [w.entry.serial for w in here.waiting(Stage.TRANSFORM)] == [False, True, False]
    again = here.make()
    here.receive(instance="1.2.4")
    again.batch()
    again.close()
    assert [w.entry.serial for w in here.waiting(Stage.TRANSFORM)] == [False, True, False, True]


def test_the_memory_of_planned_instances_is_bounded(site, monkeypatch):
    monkeypatch.setattr(memory, "PLANNED_MAX", 2)
    here = site()
    for instance in ("1.1", "1.2", "1.3", "1.4", "1.1", "1.4"):
        here.receive(instance=instance)
    here.planner.batch()
    assert [w.entry.serial for w in here.waiting(Stage.TRANSFORM)] == [False] * 5 + [True]


def test_what_a_destination_was_seen_to_accept_is_read_when_it_changes(site, monkeypatch, caplog):
    monkeypatch.setattr(log, "_said", set())
    here = site()
    state = here.spool.root / "state" / f"{folder('PACS')}.json"

    def seen(**table):
        taken = ladder.Acceptance(seen_s=time.time(), **table)
        state.with_suffix(".new").write_bytes(ladder.serialize({CT: taken}))
        state.with_suffix(".new").replace(state)

    for table in ({"refused": (JPEG2000_LOSSLESS,)}, {"accepted": (JPEG2000_LOSSLESS,)}):
        seen(**table)
        here.receive()
        here.planner.batch()
    assert len(here.waiting()) == len(here.waiting(Stage.TRANSFORM)) == 1
    state.write_bytes(b"{")
    here.receive()
    here.planner.batch()
    assert len(here.waiting(Stage.TRANSFORM)) == 2
    assert "is not used" in caplog.text


def test_an_object_that_is_too_young_waits(site):
    here = site(minimum_age_s=60.0)
    here.receive(age_s=59.9)
    assert 0.0 < here.planner.batch() <= 0.2
    here.receive(age_s=-1000.0)
    old = here.receive(age_s=61.0)
    here.planner.batch()
    assert len(here.waiting(Stage.TRANSFORM)) == 2, "the old one, and the one of a clock that was set back"
    assert here.waiting(Stage.TRANSFORM)[0].entry.receipt == old
    assert len(here.spool.newcomers(10)) == 1


def test_batch_follows_batch_until_nothing_is_new(site, monkeypatch):
    monkeypatch.setattr(planner, "BATCH", 2)
    monkeypatch.setattr(planner, "LISTED", 4)
    here = site()
    for n in range(5):
        here.receive(instance=f"1.{n}")
    assert [here.planner.batch() for _ in range(3)] == [0.0, 0.0, planner.LOOK_S]
    assert len(here.waiting(Stage.TRANSFORM)) == 5


def test_an_object_that_reveals_a_fault_does_not_stop_the_others(site, monkeypatch, caplog):
    here = site()
    real = planner.plan

    def fails(settings, header, *args, **more):
        if header.meta.sop_instance_uid == "6.6.6":
            raise ZeroDivisionError("a bug")
        return real(settings, header, *args, **more)

    monkeypatch.setattr(planner, "plan", fails)
    here.receive(instance="6.6.6")
    here.receive(instance="1.2.3")
    here.planner.batch()
    assert len(here.waiting(Stage.TRANSFORM)) == 1
    assert "a bug" in here.reasons()[0]


def test_what_a_power_cut_brought_back_goes_only_where_it_was_not_planned(site):
    """Of files that stand in new/ again: not where a receipt proves a delivery, nor where they stand elsewhere."""
    here = site(routes=(route(add("REPORTS"), titles=("PACS",)),))
    done, half, stands, never = (here.receive(SR, called) for called in ("REPORTS", "PACS", "PACS", "PACS"))
    content = (here.spool.root / "new" / done[:8] / f"{done}.dcm").read_bytes()
    here.planner.close()
    log = ReceiptLog(here.spool.root, "sender-0")
    for receipt, destination in ((done, "REPORTS"), (half, "PACS")):
        log.append({"receipt": receipt, "destination": destination})
    log.close()
    place = here.spool.root / "prepared" / "PACS" / "05" / stands[:8]
    place.mkdir(parents=True)
    (place / Entry(stands).name).touch()
    recover(here.spool)
    here.planner = here.make()
    (place / Entry(stands).name).unlink()  # the sender is faster
    here.planner.batch()
    assert [each.entry.receipt for each in here.waiting()] == [never]
    assert [each.entry.receipt for each in here.waiting(destination="REPORTS")] == [half, stands, never]
    assert here.spool.newcomers(10) == []
    again = here.spool.root / "new" / done[:8] / f"{done}.dcm"
    again.parent.mkdir(exist_ok=True)
    again.write_bytes(content)
    here.planner.batch()
    assert done in [each.entry.receipt for each in here.waiting(destination="REPORTS")], "sent again by an operator"
    recover(here.spool)
    assert not (here.spool.root / "state" / "planned-before.json").exists()


def test_no_patient_data_in_the_log(site, caplog):
    here = site(routes=(route(add("REPORTS"), conditions=(Condition("00100010", Kind.PRESENT, log_info=True),)),))
    meta = FileMeta(CT, "1.2.3", EXPLICIT_LE, "host", "CT1", "PACS")
    patient = element(0x00100010, b"PN", b"Doe^Jane") + element(0x00100020, b"LO", b"PATIENT-7")
    body = dataset(CT, "1.2.3", "1.2")
    at = body.index(struct.pack("<HH", 0x20, 0xD))
    here.receive(content=encode_head(meta) + body[:at] + patient + body[at:])
    here.planner.batch()
    assert len(here.waiting(destination="REPORTS")) == 1
    assert "Jane" not in caplog.text
    assert "PATIENT-7" not in caplog.text


def test_the_role_answers_the_bell_survives_a_full_disk_and_ends_on_sigterm(site, monkeypatch, caplog):
    here = site()
    inherited = SimpleNamespace(
        name="planner-0",
        spool=here.spool,
        settings=SimpleNamespace(plan=here.settings, workers=1, generation=1, journal=NO_JOURNAL),
        heartbeat=SimpleNamespace(alive=lambda for_s: None),
        newer=lambda: None,
    )
    monkeypatch.setattr(planner, "LOOK_S", 0.05)
    monkeypatch.setattr(memory, "POSTPONED_S", 0.05)
    full = [True]
    real = here.spool.plan_one

    def plan_one(*args):
        if full:
            full.clear()
            raise OSError(28, "No space left on device")
        return real(*args)

    monkeypatch.setattr(here.spool, "plan_one", plan_one)
    bell = Bell(here.spool.root, "sender")
    here.receive(SR)

    def end_when_planned():
        bell.wait(30.0)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    watcher = threading.Thread(target=end_when_planned)
    watcher.start()
    try:
        assert planner.run(inherited) == 0
    finally:
        watcher.join()
        signal.signal(signal.SIGTERM, before)
        bell.close()
    assert len(here.waiting()) == 1
    assert "can't be worked on" in caplog.text


UNPADDED = struct.pack("<HH2sH", 0x0008, 0x0070, b"LO", 3) + b"ACM"
ODD = {
    "the whole": UNPADDED + dataset(SR, "1.2.3", "1.2"),
    "two on the top level": UNPADDED + UNPADDED + dataset(SR, "1.2.3", "1.2"),
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_values_of_odd_length_go_to_a_worker_in_the_syntax_that_they_came_in(site, caplog, content):
    here = site()
    meta = FileMeta(SR, "1.2.3", EXPLICIT_LE, "host", "CT1", "REPORTS")
    here.receive(content=encode_head(meta) + content)
    here.planner.batch()
    (waiting,) = here.waiting(Stage.TRANSFORM, "REPORTS")
    assert waiting.entry.syntax == "ExplicitVRLittleEndian"
    assert not here.waiting(Stage.PREPARED, "REPORTS")
    assert "REPORTS as it came but for padding" in caplog.text


def test_an_object_with_odd_values_that_is_to_be_compressed_is_compressed(site):
    here = site()
    meta = FileMeta(CT, "1.2.3", EXPLICIT_LE, "host", "CT1", "PACS")
    here.receive(content=encode_head(meta) + UNPADDED + dataset(CT, "1.2.3", "1.2"))
    here.planner.batch()
    (waiting,) = here.waiting(Stage.TRANSFORM, "PACS")
    assert waiting.entry.syntax == "JPEG2000Lossless"


def test_a_broken_object_with_odd_values_goes_on_as_it_came(site):
    here = site()
    meta = FileMeta(SR, "1.2.3", EXPLICIT_LE, "host", "CT1", "REPORTS")
    here.receive(content=encode_head(meta) + dataset(SR, "1.2.3", "1.2") + b"\x09\0\x01\x10UN\0\0\xff")
    here.planner.batch()
    (waiting,) = here.waiting(Stage.PREPARED, "REPORTS")
    assert waiting.entry.syntax == ""


class Next:
    """What Inherited.newer() gives a planner: the settings of a newer generation, once."""

    def __init__(self, settings: PlanSettings) -> None:
        self.waiting = []
        self._settings = settings

    def reload(self, generation: int, **rules) -> None:
        plan = replace(self._settings, **rules)
        self.waiting.append(SimpleNamespace(plan=plan, generation=generation, journal=NO_JOURNAL))

    def __call__(self):
        return self.waiting.pop() if self.waiting else None


def reloaded(here: Site) -> Next:
    """A planner that can be reloaded in the place of this site's."""
    here.planner.close()
    newer = Next(here.settings)
    here.planner = Planner(here.spool, here.settings, 2, 1, lambda: None, newer)
    return newer


def test_what_is_listed_after_a_reload_is_planned_by_it_although_the_turn_began_before(site, monkeypatch):
    """An object for a node that only the newer generation knows is received, and then listed, in the same turn."""
    here = site()
    newer = reloaded(here)
    told = []
    monkeypatch.setattr(planner, "tell", lambda event, **_: told.append(event))
    real = here.spool.newcomers

    def newcomers(limit):
        newer.reload(2, titles={**here.settings.titles, "NEW": "REPORTS"})
        here.receive(SR, called="NEW")
        return real(limit)

    monkeypatch.setattr(here.spool, "newcomers", newcomers)
    here.planner.batch()
    assert len(here.waiting(destination="REPORTS")) == 1
    assert [event.generation for event in told] == [2]
    assert here.reasons() == []


def test_what_was_decided_before_a_reload_is_done_as_it_was_decided(site, tmp_path, monkeypatch):
    """Its copies are made while the rules change: then it goes where the old rules say, and says so."""
    save = Action(ActionType.SAVE_FILE, f"{tmp_path}/copies/")
    here = site(routes=(route(save, add("REPORTS")),))
    newer = reloaded(here)
    told = []
    monkeypatch.setattr(planner, "tell", lambda event, **_: told.append(event))
    old = here.receive(SR)
    here.planner.batch()  # the copy begins
    newer.reload(2, routes=())
    young = here.receive(SR, instance="9.9")
    here.batches(lambda: len(told) == 2)
    assert {event.receipt: event.generation for event in told} == {old: 1, young: 2}
    assert [each.entry.receipt for each in here.waiting(destination="REPORTS")] == [old]
    assert [each.entry.receipt for each in here.waiting()] == [old, young]


def test_what_was_decided_before_a_reload_is_changed_by_the_rules_of_then(site, tmp_path):
    """Its copy is made while mutations.yml changes: a worker gets the mutations that the planner had looked at."""

    def naming(institution):
        edit = Edit(EditType.ADD_OR_UPDATE, "mutations.yml:1", destination=Place(0x00080080), value=institution)
        return (Mutation("mutations.yml:1", actions=(edit,)),)

    save = Action(ActionType.SAVE_FILE, f"{tmp_path}/copies/")
    here = site(routes=(route(save, add("REPORTS")),), mutations=naming("OLD"), filters=("route", "mutate"))
    newer = reloaded(here)
    old = here.receive(SR)
    here.planner.batch()  # the copy begins
    newer.reload(2, mutations=naming("NEW"))
    young = here.receive(SR, instance="9.9")
    here.batches(lambda: len(here.waiting(Stage.TRANSFORM, "REPORTS")) == 2)
    kept = KeptRules(here.spool.root)
    values = {
        each.entry.receipt: kept.read(each.entry.edits).mutations[0].actions[0].value
        for each in here.waiting(Stage.TRANSFORM, "REPORTS")
    }
    assert values == {old: "OLD", young: "NEW"}


def test_plans_of_two_generations_in_one_turn_are_two_plan_files(site, tmp_path, monkeypatch):
    save = Action(ActionType.SAVE_FILE, f"{tmp_path}/copies/")
    here = site(routes=(route(save, add("REPORTS")),))
    newer = reloaded(here)
    seen = []
    real = here.spool.plan_many
    monkeypatch.setattr(here.spool, "plan_many", lambda plans, *more: seen.append(more[0]) or real(plans, *more))
    here.receive(SR)
    here.planner.batch()
    newer.reload(2, routes=(route(save, add("REPORTS")),))
    here.receive(SR, instance="9.9")
    here.planner.batch()
    here.batches(lambda: len(here.waiting(destination="REPORTS")) == 2)
    assert seen == [1, 2]


def test_what_waits_because_of_a_rule_is_tried_again_when_the_rules_change(site, tmp_path, caplog):
    (tmp_path / "file").touch()
    here = site(routes=(route(Action(ActionType.SAVE_FILE, f"{tmp_path}/file/in/it"), conditions=(CTS,)),))
    newer = reloaded(here)
    here.receive()
    here.batches(lambda: "waits in new/, next try in 60 s" in caplog.text)
    newer.reload(2, routes=())
    here.planner.batch()
    here.planner.batch()
    assert len(here.waiting(Stage.TRANSFORM)) == 1


def test_a_copy_that_fails_for_the_old_rules_is_no_reason_to_wait_for_the_new_ones(site, tmp_path):
    (tmp_path / "file").touch()
    here = site(routes=(route(Action(ActionType.SAVE_FILE, f"{tmp_path}/file/in/it"), conditions=(CTS,)),))
    newer = reloaded(here)
    here.receive()
    here.planner.batch()
    newer.reload(2, routes=())
    here.planner._go_by(newer().plan, 2, NO_JOURNAL)  # before the copy has failed
    here.batches(lambda: here.waiting(Stage.TRANSFORM))
