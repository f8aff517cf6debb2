"""Our requestor against acceptors that others wrote: DCMTK's storescp and pynetdicom's SCP."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from pydicom.uid import CTImageStorage

from leyden.dicom import uids
from leyden.errors import Transient
from leyden.net.scu import Association, AssociationRejected, ConnectionFailed, StoreAnswer
from support.objects import make_ct, split
from support.peers import Arrival, Pacs, Storescp
from support.service import LIMIT_S

PAIRS = [
    (CTImageStorage, uids.JPEG2000_LOSSLESS),
    (CTImageStorage, uids.EXPLICIT_LE),
    (CTImageStorage, uids.IMPLICIT_LE),
    (uids.VERIFICATION, uids.IMPLICIT_LE),
]


async def opened(port: int, called: str = "PACS", pairs: list[tuple[str, str]] = PAIRS) -> Association:
    return await Association.open("127.0.0.1", port, calling="LEYDEN", called=called, contexts=pairs)


async def send(association: Association, path: Path) -> StoreAnswer:
    meta, data = split(path.read_bytes())
    context_id = association.accepted[meta.sop_class_uid, meta.transfer_syntax_uid]
    size = path.stat().st_size
    fd = os.open(path, os.O_RDONLY)
    try:
        return await association.store(
            context_id, meta.sop_class_uid, meta.sop_instance_uid, fd, size - len(data), len(data)
        )
    finally:
        os.close(fd)


def test_storescp_gets_the_bytes_that_we_have(storescp: Callable[..., Storescp], tmp_path: Path) -> None:
    """A pass-through dataset leaves byte for byte as it came (ARCHITECTURE.md)."""
    peer = storescp()
    paths = [make_ct(tmp_path / f"{n}.dcm", n) for n in range(3)]

    async def main() -> None:
        association = await opened(peer.port)
        assert await association.echo() == 0
        for path in paths:
            assert await send(association, path) == StoreAnswer(0)
        await association.release()

    uvloop.run(main())
    assert sorted(split(p.read_bytes())[1] for p in peer.folder.iterdir()) == [split(p.read_bytes())[1] for p in paths]


def test_only_what_storescp_takes_is_accepted(storescp: Callable[..., Storescp]) -> None:
    """An association has the contexts that the acceptor accepted, in the syntax that it chose (PS3.8 9.3.3.2)."""
    peer = storescp("+xi")  # implicit little endian only

    async def main() -> None:
        association = await opened(peer.port)
        assert list(association.accepted) == [(CTImageStorage, uids.IMPLICIT_LE), (uids.VERIFICATION, uids.IMPLICIT_LE)]
        await association.release()

    uvloop.run(main())


def test_storescp_gets_small_pdus_if_it_wants_them(storescp: Callable[..., Storescp], tmp_path: Path) -> None:
    """A peer's maximum length is obeyed (DECISIONS.md 70)."""
    peer = storescp("--max-pdu", "4096")
    path = make_ct(tmp_path / "ct.dcm", 1)

    async def main() -> None:
        association = await opened(peer.port)
        assert await send(association, path) == StoreAnswer(0)
        await association.release()

    uvloop.run(main())
    (got,) = peer.folder.iterdir()
    assert split(got.read_bytes())[1] == split(path.read_bytes())[1]


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_an_abort_of_storescp_is_transient(storescp: Callable[..., Storescp], tmp_path: Path, option: str) -> None:
    """If the network fails or a destination is busy, objects are tried again automatically (docs/operate.md)."""
    peer = storescp(option)
    path = make_ct(tmp_path / "ct.dcm", 1)

    async def main() -> None:
        association = await opened(peer.port)
        with pytest.raises(Transient):
            await send(association, path)
        await association.wait_closed()
        assert association.closed

    uvloop.run(main())


def test_a_rejection_by_storescp_is_told_as_one(storescp: Callable[..., Storescp]) -> None:
    """A rejected association ... never rejects an object (DECISIONS.md 18), so it is an error of its own."""
    peer = storescp("--refuse")

    async def main() -> None:
        with pytest.raises(AssociationRejected) as raised:
            await opened(peer.port)
        assert raised.value.result in (1, 2)

    uvloop.run(main())


def test_the_end_of_storescp_is_noticed_while_nothing_is_sent(storescp: Callable[..., Storescp]) -> None:
    """An association that the destination has ended is known to be closed before the next object comes."""
    peer = storescp()

    async def main() -> None:
        association = await opened(peer.port)
        peer.stop()
        await asyncio.wait_for(association.wait_closed(), LIMIT_S)
        assert association.closed
        with pytest.raises(ConnectionFailed):
            await opened(peer.port)

    uvloop.run(main())


def test_pynetdicom_gets_the_bytes_that_we_have(pacs: Callable[..., Pacs], tmp_path: Path) -> None:
    """A pass-through dataset leaves byte for byte as it came (ARCHITECTURE.md)."""
    peer = pacs("PACS")
    paths = [make_ct(tmp_path / f"{n}.dcm", n) for n in range(3)]

    async def main() -> None:
        association = await opened(peer.port)
        assert set(association.accepted) == set(PAIRS)
        for path in paths:
            assert await send(association, path) == StoreAnswer(0)
        assert await association.echo() == 0
        await association.release()

    uvloop.run(main())
    assert [arrival.data for arrival in peer.arrivals] == [split(path.read_bytes())[1] for path in paths]
    assert {(a.called, a.calling, a.syntax) for a in peer.arrivals} == {("PACS", "LEYDEN", uids.EXPLICIT_LE)}


@pytest.mark.parametrize("status", [0xA700, 0xA900, 0xB000, 0xC123, 0x0122])
def test_the_status_is_what_pynetdicom_answers(pacs: Callable[..., Pacs], tmp_path: Path, status: int) -> None:
    """The status of the answer (PS3.4 B.2.3) decides what becomes of an object, so it is read exactly."""

    def answer(arrival: Arrival) -> int:
        return status

    peer = pacs("PACS", answer=answer)
    path = make_ct(tmp_path / "ct.dcm", 1)

    async def main() -> None:
        association = await opened(peer.port)
        for _ in range(2):
            assert (await send(association, path)).status == status
        await association.release()

    uvloop.run(main())


def test_more_than_128_contexts_are_not_proposed(pacs: Callable[..., Pacs]) -> None:
    """Presentation context IDs are odd, 1 to 255 (PS3.8 9.3.2.2): an association has 128 contexts at most."""
    peer = pacs("PACS")
    pairs = [(CTImageStorage, uid) for uid in uids.SYNTAXES] * 3 + [(f"1.2.{n}", uids.IMPLICIT_LE) for n in range(128)]

    async def main() -> None:
        association = await opened(peer.port, pairs=pairs)
        assert len(association.proposed) == 128
        assert set(association.accepted) == {(CTImageStorage, uid) for uid in uids.SYNTAXES}
        await association.release()

    uvloop.run(main())
