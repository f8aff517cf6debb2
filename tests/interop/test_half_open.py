"""An archive that loses its power in the middle of an association: its host acknowledges nothing any more."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from leyden.dicom.uids import EXPLICIT_LE
from leyden.net import link
from leyden.net.scu import Association, ConnectionLost
from support.namespaces import appear, own_network, vanish
from support.objects import make_cts
from support.peers import Arrival, Pacs, run_dcmtk
from support.service import Service, node, wait_for

CT = "1.2.840.10008.5.1.4.1.1.2"
HOST = "10.9.9.9"
OPEN, CLOSED_BY_US = "01", "04"  # states in /proc/net/tcp: established, FIN-WAIT-1


@pytest.fixture
def archive() -> Iterator[Pacs]:
    """It goes when the first object has come, before the answer."""

    def go(_: Arrival) -> int:
        vanish(HOST)
        return 0xC000

    with own_network():
        appear(HOST)
        archive = Pacs("ARCHIVE", host=HOST, answer=go).start()
        yield archive
        archive.stop()


def connections(archive: Pacs, *states: str) -> int:
    """How many there are to it in the kernel, whether a process still knows of them or not."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    port = f":{archive.port:04X}"
    return sum(row[2].endswith(port) and not row[1].endswith(port) and row[3] in states for row in rows)


def test_the_kernel_too_gives_up_the_connection_to_a_host_that_is_gone(
    archive: Pacs, service: Callable[..., Service], tmp_path: Path
) -> None:
    """The time-out "also ends what the kernel still holds of a connection that we have closed" (DECISIONS.md 71)."""
    leyden = service(node("ARCHIVE", archive.port, HostName=HOST, StallThreshold=1)).start()
    try:
        (file,) = make_cts(tmp_path / "cts", 1, rows=64, columns=64)
        done = run_dcmtk("dcmsend", "-dn", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port), str(file))
        assert done.returncode == 0, done.stderr
        leyden.wait_line("not one byte moved for 1 s")
        wait_for(lambda: connections(archive, CLOSED_BY_US))
        wait_for(lambda: not connections(archive, OPEN, CLOSED_BY_US), 80)  # 107 s if it is left to itself
        assert len(leyden.left()) == 1
    finally:
        leyden.end()


def test_a_host_that_is_gone_is_noticed_though_nothing_is_under_way(
    archive: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keepalive notices a dead host within 3 minutes where none of our clocks runs (DECISIONS.md 71)."""
    for name, value in (("KEEPALIVE_IDLE_S", 1), ("KEEPALIVE_EVERY_S", 1), ("KEEPALIVE_TIMES", 3)):
        monkeypatch.setattr(link, name, value)
    file = tmp_path / "data"
    file.write_bytes(bytes(1000))

    async def main() -> None:
        contexts = [(CT, EXPLICIT_LE)]
        association = await Association.open(HOST, archive.port, calling="CT01", called="ARCHIVE", contexts=contexts)
        with file.open("rb") as stream:
            async with asyncio.timeout(60):
                with pytest.raises(ConnectionLost, match="timed out"):
                    await association.store(1, CT, "2.25.1", stream.fileno(), 0, 1000, stall_s=0)

    uvloop.run(main())
