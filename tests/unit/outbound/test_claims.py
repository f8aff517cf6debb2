"""How claims end, and that nothing is said of an end that did not happen."""

import errno
import logging

import pytest

from leyden.deliver.destination import Destination
from leyden.dicom.uids import EXPLICIT_LE
from leyden.form.choose import Fail, Make
from leyden.outbound import claims as claims_module
from leyden.outbound.outcome import Record, refused
from leyden.spool.entry import Queued
from support.outbound import Parts, on_a_loop

PACS = Destination("PACS", "127.0.0.1", 104)


@pytest.mark.parametrize("form", [Fail("no syntax is left"), Make(EXPLICIT_LE)], ids=["reject", "remake"])
@on_a_loop
async def test_what_the_disk_refuses_to_move_is_neither_told_nor_counted_nor_remembered(
    tmp_path, monkeypatch, caplog, form
):
    """It stays in the queue with an ERROR, and is tried again as if it had never been tried."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(claims_module, "DISK_PAUSE_S", 0.0)
    parts = Parts(tmp_path, PACS)
    receipt = parts.put()
    instance = parts.take()
    claim = parts.claims.take(instance)
    assert isinstance(claim, Queued)

    def full(*_details):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(parts.spool, "reject", full)
        patch.setattr(parts.spool, "to_transform", full)
        await parts.claims.end(refused(instance, claim, form))
    assert parts.counts() == {"prepared": 1}
    assert [record.getMessage() for record in caplog.records] == [
        "PACS: 2.25.1 stays in the queue: [Errno 28] No space left on device"
    ]
    assert (parts.claims.statistics.rejected, parts.claims.statistics.remade) == (0, 0)
    assert parts.claims.history.of(receipt) == Record()
    assert not parts.window.in_hand
    await parts.close()
