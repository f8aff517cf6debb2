"""The live numbers of a running service, as its processes write them and anybody reads them."""

import os
import signal
from pathlib import Path

from pydicom.data import get_testdata_file

from leyden.board import CODECS, Cell
from leyden.operate.vital import Vital, vital
from support.peers import Pacs, run_dcmtk
from support.service import Service, node, wait_for

CT = str(get_testdata_file("CT_small.dcm"))


def seen(service: Service) -> Vital:
    now = vital(service.spool)
    assert now is not None
    return now


def send(service: Service) -> None:
    run_dcmtk("storescu", "-aec", "PACS", "127.0.0.1", str(service.port), CT)


def test_what_an_object_does_is_on_the_board_and_stays_there_over_a_restart(tmp_path: Path) -> None:
    """Each role counts its part of the trip; a receiver that is killed goes on from what stands in its row."""
    pacs = Pacs("PACS").start()
    service = Service(tmp_path, node("PACS", pacs.port, TransferSyntax="JPEG2000Lossless")).start()
    try:
        send(service)
        wait_for(lambda: {seen(service)[cell] for cell in (Cell.DELIVERED, Cell.MADE, Cell.PLANNED)} == {1})
        wait_for(lambda: seen(service)[Cell.BUSY_NS])
        now = seen(service)
        assert [row.name for row in now.rows] == ["planner-0", "sender-0", "worker-0", "receiver-0"]
        assert all(row[Cell.PID] and row.since_s for row in now.rows)
        (receiver,) = now.of("receiver")
        assert (receiver[Cell.ACCEPTED], receiver[Cell.RECEIVED], sum(receiver.responses)) == (1, 1, 1)
        assert receiver[Cell.RECEIVED_BYTES] > 30_000 > now[Cell.DELIVERED_BYTES] > 0
        assert now[Cell.OPENED] == 1
        coded = [worker.codecs[CODECS.index("JPEG2000Lossless")] for worker in now.of("worker")]
        assert sum(each.pixel_bytes for each in coded) == 128 * 128 * 2
        assert 0 < sum(each.made_bytes for each in coded) < 128 * 128 * 2
        assert sum(each.took_ns for each in coded) > 0
        assert now[Cell.ARENA_BYTES] == 0

        os.kill(receiver[Cell.PID], signal.SIGKILL)
        wait_for(lambda: seen(service).of("receiver")[0][Cell.RESTARTS] == 1)
        send(service)
        wait_for(lambda: sum(seen(service).of("receiver")[0].responses) == 2)
        (again,) = seen(service).of("receiver")
        assert again[Cell.PID] not in (0, receiver[Cell.PID])
        assert (again[Cell.ACCEPTED], again[Cell.RECEIVED]) == (2, 2)
    finally:
        service.end()
        pacs.stop()
    assert vital(service.spool) is None
