"""Receipts are appended and found again, torn lines are ignored, and whole hours expire."""

import os
import time

import pytest

from leyden.spool.receipts import ReceiptLog, delivered

RECEIPT = "1764000000123456000001"
OTHER = "1764000000123456000002"


@pytest.fixture
def root(tmp_path):
    return tmp_path


def only(root):
    (path,) = (root / "receipts").iterdir()
    return path


def test_a_delivery_is_found_for_its_destination_only(root):
    log = ReceiptLog(root, "sender-0")
    log.append({"receipt": RECEIPT, "destination": "PACS", "status": 0})
    assert delivered(root, {(RECEIPT, "PACS")})
    assert not delivered(root, {(RECEIPT, "REPORTS")})
    assert not delivered(root, {(OTHER, "PACS")})
    log.sync()
    log.close()
    assert only(root).stat().st_mode & 0o777 == 0o600
    assert only(root).name == time.strftime("%Y%m%d%H", time.gmtime()) + "-sender-0.log"


def test_the_receipt_of_a_dropped_object_is_no_delivery(root):
    log = ReceiptLog(root, "planner-0")
    log.append({"receipt": RECEIPT, "dropped_by": "routings.yml:3"})
    assert not delivered(root, {(RECEIPT, "PACS")})
    log.close()


def test_the_receipt_of_a_refused_object_is_no_delivery(root):
    log = ReceiptLog(root, "sender-0")
    log.append({"event": "rejected", "receipt": RECEIPT, "destination": "PACS", "reason": "status 0xA900"})
    assert not delivered(root, {(RECEIPT, "PACS")})
    log.append({"event": "delivered", "receipt": RECEIPT, "destination": "PACS"})
    assert delivered(root, {(RECEIPT, "PACS")})
    log.close()


def test_a_torn_line_is_ignored_and_the_next_one_starts_on_its_own(root):
    for _ in range(2):
        log = ReceiptLog(root, "sender-0")
        log.append({"receipt": RECEIPT, "destination": "PACS"})
        log.close()
        os.truncate(only(root), only(root).stat().st_size - 5)
    log = ReceiptLog(root, "sender-0")
    log.append({"receipt": OTHER, "destination": "PACS"})
    log.close()
    assert delivered(root, {(RECEIPT, "PACS"), (OTHER, "PACS")}) == {(OTHER, "PACS")}
    assert len(only(root).read_bytes().splitlines()) == 3


def hour(root, name, *receipts):
    (root / "receipts").mkdir(exist_ok=True)
    lines = (b'{"receipt":"%s","destination":"PACS"}\n' % receipt.encode() for receipt in receipts)
    (root / "receipts" / name).write_bytes(b"".join(lines))


def test_the_two_newest_hours_of_each_writer_are_read(root):
    hour(root, "2026010110-sender-0.log", "1" * 22)
    hour(root, "2026010111-sender-0.log", "2" * 22)
    hour(root, "2026010112-sender-0.log", "3" * 22)
    hour(root, "2026010108-planner-0.log", "4" * 22)
    wanted = {(str(n) * 22, "PACS") for n in range(1, 6)}
    assert {receipt[0] for receipt, _ in delivered(root, wanted)} == {"2", "3", "4"}
    assert delivered(root, set()) == set()


def test_the_hours_of_now_are_read_after_the_clock_was_set_back(root):
    now, before = (time.strftime("%Y%m%d%H", time.gmtime(time.time() - back_s)) for back_s in (0, 3600))
    for name, number in (("2999010110", "1"), ("2999010111", "2"), ("2999010112", "3"), (now, "4"), (before, "5")):
        hour(root, f"{name}-sender-0.log", number * 22)
    wanted = {(str(n) * 22, "PACS") for n in range(1, 6)}
    assert {receipt[0] for receipt, _ in delivered(root, wanted)} == {"2", "3", "4", "5"}


def test_whole_hours_expire_and_the_current_one_stays(root):
    now_s = 1764000000.0  # 2025-11-24 16:00 UTC
    for h in (14, 15, 16):
        hour(root, f"20251124{h}-sender-0.log", RECEIPT)
    (root / "receipts" / "notes.txt").touch()
    log = ReceiptLog(root, "sender-0")
    assert log.purge(1.5, now_s) == 0
    assert log.purge(1.0, now_s) == 1
    assert log.purge(0.0, now_s + 3599) == 1
    assert sorted(os.listdir(root / "receipts")) == ["2025112416-sender-0.log", "notes.txt"]


def test_a_new_hour_starts_a_new_file(root, monkeypatch):
    log = ReceiptLog(root, "sender-0")
    log.append({"receipt": RECEIPT, "destination": "PACS"})
    there = time.gmtime(time.time() + 3600)
    monkeypatch.setattr(time, "gmtime", lambda *_: there)
    log.append({"receipt": OTHER, "destination": "PACS"})
    log.sync()
    log.close()
    assert len(os.listdir(root / "receipts")) == 2
    assert delivered(root, {(RECEIPT, "PACS"), (OTHER, "PACS")}) == {(RECEIPT, "PACS"), (OTHER, "PACS")}


def test_no_receipt_on_a_full_disk(root):
    log = ReceiptLog(root, "sender-0")
    log.append({"receipt": RECEIPT, "destination": "PACS"})
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, log._fd)
    os.close(full)
    with pytest.raises(OSError, match="No space left"):
        log.append({"receipt": OTHER, "destination": "PACS"})


def test_a_line_written_in_part_spoils_no_other(root, monkeypatch):
    log = ReceiptLog(root, "sender-0")
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: real(fd, data[:10]))
        with pytest.raises(OSError, match="in part only"):
            log.append({"receipt": RECEIPT, "destination": "PACS"})
    log.append({"receipt": OTHER, "destination": "PACS"})
    log.close()
    assert delivered(root, {(RECEIPT, "PACS"), (OTHER, "PACS")}) == {(OTHER, "PACS")}
