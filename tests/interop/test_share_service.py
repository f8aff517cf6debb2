"""callerShare and DiskShare in a running service: who takes too much of the disk is refused, the others go on."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from interop.test_bad_input import connection, read_pdu
from interop.test_full_disk import REJECTED_FOR_NOW
from interop.test_odd_peers import CT_CONTEXT, rq, store
from support.service import Service, free_port, node, wait_for

OBJECT_BYTES = 4096  # the least that a file takes


def test_a_caller_and_a_destination_that_have_their_share_are_refused_and_nobody_else(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """With more than its share, objects of one caller, or for one destination, are refused; what was acknowledged stays
    (docs/operate.md)."""
    there = os.statvfs(tmp_path)
    share = round(100 * 100 * OBJECT_BYTES / (there.f_blocks * there.f_frsize), 6)  # about a hundred objects
    objects = share / 100 * there.f_blocks * there.f_frsize / OBJECT_BYTES
    nodes = node("ARCHIVE", free_port()) + node("PACS", free_port(), DiskShare=0)
    leyden = service(nodes, callerShare=f"{share:.6f}").start()
    with connection(leyden) as flood:
        flood.sendall(rq(CT_CONTEXT, called=b"PACS", calling=b"FLOOD"))
        assert read_pdu(flood)[0] == 2
        kept = 0
        while store(flood, f"2.25.1{kept}") == 0:
            kept += 1
            assert kept < 100_000
        assert kept > objects - 1
    leyden.wait_line("FLOOD has its share of the disk")
    with connection(leyden) as flood:
        flood.sendall(rq(CT_CONTEXT, called=b"ARCHIVE", calling=b"FLOOD"))
        assert read_pdu(flood) == REJECTED_FOR_NOW
    with connection(leyden) as quiet:
        quiet.sendall(rq(CT_CONTEXT, called=b"PACS", calling=b"QUIET"))
        assert read_pdu(quiet)[0] == 2
        assert store(quiet, "2.25.2") == 0
    said = re.compile(r"FLOOD takes 0\.0 GB of the disk, \d{3,} % of its share")
    wait_for(lambda: said.search(leyden.leyden("status").stdout))
    assert sum(path.suffix == ".dcm" for path in leyden.left()) == kept + 1  # nothing that was acknowledged is gone

    nodes = (leyden.folder / "nodes.yml").read_text().replace("DiskShare: 0", f"DiskShare: {share:.6f}")
    (leyden.folder / "nodes.yml").write_text(nodes)
    leyden.leyden("reload")
    leyden.wait_line("PACS has its share of the disk")

    def rejected(called: bytes) -> bool:
        with connection(leyden) as quiet:
            quiet.sendall(rq(CT_CONTEXT, called=called, calling=b"QUIET"))
            return read_pdu(quiet) == REJECTED_FOR_NOW

    wait_for(lambda: rejected(b"PACS"))
    assert not rejected(b"ARCHIVE")
