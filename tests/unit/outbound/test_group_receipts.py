"""Proof of delivery is durable before the file goes, and whoever waits for room gets it."""

import asyncio
import json
import os

import pytest

from leyden.outbound.receipts import NOT_DURABLE_MAX, GroupReceipts
from leyden.spool.entry import Entry, key
from leyden.spool.receipts import ReceiptLog
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from support.outbound import on_a_loop


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path, sync=True)
    spool.prepare(["PACS"])
    return spool


def claimed(spool, number):
    receipt = f"{1795560000000000 + number:016d}000001"
    fd, path = spool.embryo(receipt)
    with open(fd, "wb") as file:
        file.write(b"x")
    spool.plan_one(path, Entry(receipt, key("1"), key("2"), key("3")), Stage.PREPARED, "PACS", "50")
    (queued,) = spool.waiting(Stage.PREPARED, "PACS", 1)
    return spool.claim(queued, "sender-0")


def lines(spool):
    return [json.loads(line) for path in spool.root.glob("receipts/*.log") for line in path.read_bytes().splitlines()]


@on_a_loop
async def test_the_line_is_durable_then_the_file_goes_then_it_is_told(spool):
    receipts = GroupReceipts(spool, "sender-0")
    claims = [claimed(spool, n) for n in range(3)]
    told = []

    def done(claim):
        assert not claim.path.exists()
        told.append(claim.entry.receipt)

    for claim in claims:
        receipts.add(claim, {"receipt": claim.entry.receipt}, lambda claim=claim: done(claim))
        assert claim.path.exists()
    await receipts.close()
    assert told == [claim.entry.receipt for claim in claims]
    assert [line["receipt"] for line in lines(spool)] == told


@on_a_loop
async def test_while_too_many_are_not_durable_there_is_no_room(spool):
    receipts = GroupReceipts(spool, "sender-0")
    claim = claimed(spool, 1)
    told = []
    for number in range(NOT_DURABLE_MAX - 1):
        receipts.add(claim, {"receipt": str(number)}, lambda: told.append(None))
    await receipts.room()
    assert not told
    receipts.add(claim, {"receipt": "one more"}, lambda: told.append(None))
    await receipts.room()
    assert len(told) == NOT_DURABLE_MAX
    await receipts.close()


@on_a_loop
async def test_delivered_is_delivered_though_the_disk_takes_no_receipt(spool, monkeypatch, caplog):
    def full(log, *lines):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReceiptLog, "append", full)
    receipts = GroupReceipts(spool, "sender-0")
    claim = claimed(spool, 1)
    told = asyncio.Event()
    receipts.add(claim, {"receipt": claim.entry.receipt}, told.set)
    await told.wait()
    await receipts.close()
    assert not claim.path.exists()
    assert "1 receipts could not be written: [Errno 28] No space left on device" in caplog.text


@on_a_loop
async def test_a_fault_of_ours_ends_the_process_at_the_next_check(spool):
    receipts = GroupReceipts(spool, "sender-0")

    def fault():
        raise ValueError("ours")

    receipts.check()
    claim = claimed(spool, 1)
    receipts.add(claim, {"receipt": claim.entry.receipt}, fault)
    with pytest.raises(ValueError, match="ours"):
        await receipts.close()
    with pytest.raises(ValueError, match="ours"):
        receipts.check()


@on_a_loop
async def test_a_disk_that_refuses_at_the_end_is_no_fault_of_ours(spool, monkeypatch):
    """Each batch was synced when it was written, so the sender ends in good order."""
    receipts = GroupReceipts(spool, "sender-0")
    claim = claimed(spool, 1)
    told = asyncio.Event()
    receipts.add(claim, {"receipt": claim.entry.receipt}, told.set)
    await told.wait()

    def read_only(fd):
        raise OSError(30, "Read-only file system")

    open_before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fdatasync", read_only)
    await receipts.close()
    assert len(os.listdir("/proc/self/fd")) == open_before - 1
