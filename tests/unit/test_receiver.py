"""The receiver over real sockets and a real spool: what is kept, what is answered, and what is left of bad company."""

import asyncio
import errno
import logging
import os
import resource
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import uvloop
from msgspec.structs import replace

from leyden.config.settings import ReceiverSettings
from leyden.dicom import pdu, uids
from leyden.dicom.association import Accepted, Connection, Event, Released, Responded
from leyden.dicom.negotiate import AcceptorPolicy, AssociateRequest, contexts_for
from leyden.dicom.part10 import FileMeta, decode_head
from leyden.net.link import BACKSTOP_S
from leyden.net.scu import Association, AssociationRejected, StoreAnswer
from leyden.receiver import intake as intake_module
from leyden.receiver import receiver as receiver_module
from leyden.receiver.receiver import Receiver, Statistics
from leyden.spool.store import Spool
from support.datasets import el

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = [(CT, uids.EXPLICIT_LE), (uids.VERIFICATION, uids.IMPLICIT_LE)]
SETTINGS = ReceiverSettings(AcceptorPolicy(("IMAGEPACS",)), min_free_percent=0.0)


@asynccontextmanager
async def receiving(
    folder: Path, settings: ReceiverSettings = SETTINGS, *, sync: bool = True
) -> AsyncIterator[tuple[Receiver, int]]:
    """A receiver that listens, and its port."""
    spool = Spool(folder / "cache", sync=sync)
    spool.prepare(["IMAGEPACS"])
    receiver = Receiver(settings, spool, 0)
    server = await asyncio.get_running_loop().create_server(receiver.connection, "127.0.0.1", 0)
    try:
        yield receiver, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await receiver.drain(1.0)
        while receiver.statistics().unassociated + receiver.statistics().associations:
            await asyncio.sleep(0.001)


async def opened(port: int, called: str = "IMAGEPACS", calling: str = "CT01") -> Association:
    return await Association.open("127.0.0.1", port, calling=calling, called=called, contexts=CONTEXTS)


@contextmanager
def file_of(folder: Path, data: bytes) -> Iterator[int]:
    path = folder / "dataset"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


async def store(association: Association, folder: Path, data: bytes, instance: str = "1.2.3") -> StoreAnswer:
    with file_of(folder, data) as fd:
        return await association.store(1, CT, instance, fd, 0, len(data))


async def until(holds: object) -> None:
    async with asyncio.timeout(20):
        while not holds():  # type: ignore[operator]
            await asyncio.sleep(0.001)


def entries(receiver: Receiver) -> list[Path]:
    return sorted((receiver.spool.root / "new").rglob("*.dcm"))


def embryos(receiver: Receiver) -> list[Path]:
    return list((receiver.spool.root / "embryo").iterdir())


class Client:
    """A requestor that may misbehave: a Connection, and a socket for whatever bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.connection = Connection.requestor(AssociateRequest("IMAGEPACS", "CT01", contexts_for(CONTEXTS)))

    @classmethod
    async def connect(cls, port: int, *, associate: bool = True) -> "Client":
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        if associate:
            client.say()
            assert isinstance(await client.hear(), Accepted)
        return client

    def say(self, *pieces: bytes | memoryview) -> None:
        self.writer.write(b"".join([self.connection.output(), *pieces]))

    def begin_store(self, instance: str, data: bytes, *, ends: bool, message_id: int = 1) -> None:
        self.connection.store_request(1, message_id, CT, instance, 0)
        self.say(self.connection.output(), *self.connection.data_pdus(1, memoryview(data), ends=ends))

    async def hear_bytes(self) -> bytes:
        """The next PDU."""
        header = await self.reader.readexactly(6)
        return header + await self.reader.readexactly(struct.unpack(">I", header[2:])[0])

    async def hear(self) -> Event:
        (event,) = self.connection.feed(memoryview(await self.hear_bytes()))
        return event

    async def hear_the_end(self) -> bytes:
        return await self.reader.read()

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.sleep(0)


@pytest.mark.parametrize("sync", [True, False])
def test_what_is_answered_with_success_stands_in_new(tmp_path: Path, sync: bool) -> None:
    async def main() -> None:
        async with receiving(tmp_path, sync=sync) as (receiver, port):
            association = await opened(port)
            objects = [os.urandom(size) for size in (10, 1_000_000, 0)]
            for n, data in enumerate(objects):
                assert await store(association, tmp_path, data, f"1.2.{n}") == StoreAnswer(0)
                assert len(entries(receiver)) == n + 1
            for n, path in enumerate(entries(receiver)):
                content = path.read_bytes()
                head = decode_head(content)
                assert head is not None
                meta, offset = head
                assert meta == FileMeta(CT, f"1.2.{n}", uids.EXPLICIT_LE, "CT01", "CT01", "IMAGEPACS")
                assert content[offset:] == objects[n]
                assert path.stat().st_mode & 0o777 == 0o600
            assert receiver.statistics() == Statistics(0, 1, 3, 1_000_010)
            assert not embryos(receiver)
            await association.release()

    uvloop.run(main())


MR = "1.2.840.10008.5.1.4.1.1.4"


def named_dataset(sop_class: str = CT, instance: str = "1.2.3") -> bytes:
    def uid(tag: int, value: str) -> bytes:
        return el(tag, "UI", (value + "\0" * (len(value) % 2)).encode())

    return uid(0x00080016, sop_class) + uid(0x00080018, instance) + el(0x00091001, "UN", bytes(5000))


@pytest.mark.parametrize("piece_bytes", [1, 7, 100, 2000, 10_000])
@pytest.mark.parametrize(
    ("data", "status", "meta"),
    [
        (named_dataset(), 0x0000, FileMeta(CT, "1.2.3", uids.EXPLICIT_LE, "CT01", "CT01", "IMAGEPACS")),
        (
            named_dataset(MR, "9.8.7"), 0xB007,
            FileMeta(
                MR, "9.8.7", uids.EXPLICIT_LE, "CT01", "CT01", "IMAGEPACS",
                f"SOP class {CT} in the context; SOP class {CT} in the command; SOP instance 1.2.3 in the command",
            ),
        ),
        (named_dataset(instance="9.8.7")[:60], 0xB007, FileMeta(
            CT, "9.8.7", uids.EXPLICIT_LE, "CT01", "CT01", "IMAGEPACS", "SOP instance 1.2.3 in the command",
        )),
        (b"\x08", 0x0000, FileMeta(CT, "1.2.3", uids.EXPLICIT_LE, "CT01", "CT01", "IMAGEPACS")),
    ],
    ids=["agree", "disagree", "short", "nothing"],
)  # fmt: skip
def test_the_file_is_named_by_what_the_data_set_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, status: int, meta: FileMeta, piece_bytes: int
) -> None:
    data = data if piece_bytes > 1 else data[:1200]  # before the last element ends: nobody looks so far

    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            client = await Client.connect(port)
            for message_id in (1, 2):
                client.connection.store_request(1, message_id, CT, "1.2.3", 0)
                for at in range(0, len(data), piece_bytes):
                    piece = memoryview(data[at : at + piece_bytes])
                    client.say(*client.connection.data_pdus(1, piece, ends=at + piece_bytes >= len(data)))
                    if at < 10 * piece_bytes:  # each in a read of its own
                        await client.writer.drain()
                        await asyncio.sleep(0)
                answer = await client.hear()
                assert isinstance(answer, Responded)
                assert (answer.command.status, answer.command.sop_instance) == (status, "1.2.3")
                assert answer.command.comment == (intake_module.CONTRADICTS if status else "")
            for path in entries(receiver):
                content = path.read_bytes()
                assert decode_head(content) == (meta, len(content) - len(data))
                assert content.endswith(data)
            assert receiver.statistics() == Statistics(0, 1, 2, 2 * len(data))
            await client.close()

    uvloop.run(main())
    said = [record.message for record in caplog.records if "0xB007" in record.message and record.levelno > logging.INFO]
    assert len(said) == bool(meta.flag)
    assert all(meta.flag in message for message in said)


def test_many_associations_at_once(tmp_path: Path) -> None:
    async def one(port: int, n: int) -> None:
        association = await opened(port)
        folder = tmp_path / str(n)
        folder.mkdir()
        for instance in range(5):
            assert await store(association, folder, bytes([n]) * 300_000, f"1.2.{n}.{instance}") == StoreAnswer(0)
        await association.release()

    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            await asyncio.gather(*(one(port, n) for n in range(8)))
            seen = set()
            for path in entries(receiver):
                content = path.read_bytes()
                meta, offset = decode_head(content) or (None, 0)
                assert meta is not None
                n = int(meta.sop_instance_uid.split(".")[2])
                assert content[offset:] == bytes([n]) * 300_000
                seen.add(meta.sop_instance_uid)
            assert len(seen) == 40

    uvloop.run(main())


def test_echo_and_the_line_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "leyden.receiver")

    async def main() -> None:
        settings = replace(SETTINGS, quiet_ae_titles=("HEALTHCHECK",))
        async with receiving(tmp_path, settings) as (_, port):
            for calling in ("CT01", "HEALTHCHECK"):
                association = await opened(port, calling=calling)
                assert await association.echo() == 0
                assert await store(association, tmp_path, b"1234") == StoreAnswer(0)
                await association.release()

    uvloop.run(main())
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("CT01 -> IMAGEPACS (127.0.0.1): 1 objects, 4 bytes in ")
    assert line.endswith(", released")


def test_a_release_waits_for_the_answers(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            client = await Client.connect(port)
            for n in range(10):  # more than are let pend at once, though nobody negotiated that
                client.begin_store(f"1.2.{n}", bytes(200_000), ends=True, message_id=n)
            client.connection.release()
            client.say()
            answers = [await client.hear() for _ in range(10)]
            assert {answer.command.message_id for answer in answers if isinstance(answer, Responded)} == set(range(10))
            assert await client.hear() == Released()
            assert len(entries(receiver)) == 10
            await client.close()

    uvloop.run(main())


def test_a_disk_that_hangs_stops_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_works = threading.Event()
    fdatasync = os.fdatasync

    def hanging_fdatasync(fd: int) -> None:
        disk_works.wait(30)
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", hanging_fdatasync)

    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            other = await Client.connect(port)  # alone, it would wait in the event loop
            client = await Client.connect(port)
            for n in range(60):
                client.begin_store(f"1.2.{n}", bytes(300_000), ends=True, message_id=n)
            await until(lambda: any(intake.busy for intake in receiver.associations))
            (intake,) = (intake for intake in receiver.associations if intake.busy)
            await until(lambda: not intake.link._transport.is_reading())  # type: ignore[union-attr]
            assert len(embryos(receiver)) <= intake_module.MAX_PENDING_COMMITS + 1
            disk_works.set()
            assert [type(await client.hear()) for _ in range(60)] == [Responded] * 60
            await client.close()
            await other.close()

    uvloop.run(main())


@pytest.mark.parametrize("at_once", [False, True], ids=["after", "at-once"])
@pytest.mark.parametrize("how", ["close", "abort", "garbage", "release"])
def test_what_is_cut_off_leaves_nothing_but_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str, at_once: bool
) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            client = await Client.connect(port)
            client.begin_store("1.2.77", bytes(100_000), ends=False)
            await until(lambda: embryos(receiver) or at_once)
            if how == "abort":
                client.connection.abort()
            elif how == "release":
                client.connection.release()
            client.say(b"garbage" if how == "garbage" else b"")
            await client.writer.drain()
            if how == "close":
                client.writer.close()
            elif how == "release":
                assert await client.hear() == Released()
            else:
                await client.hear_the_end()
            await client.close()
            await until(lambda: not receiver.statistics().associations)
            assert not embryos(receiver)
            assert not entries(receiver)

    uvloop.run(main())
    (line,) = [record.message for record in caplog.records if "1.2.77" in record.message]
    assert line.startswith("CT01 -> IMAGEPACS (127.0.0.1): 1.2.77 was cut off after 100000 bytes")


def test_a_full_disk_is_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            association = await opened(port)
            receiver.settings = replace(SETTINGS, min_free_percent=101)
            receiver.look_at_disk()
            answer = await store(association, tmp_path, bytes(1_000_000))
            assert answer.status == 0xA700
            assert answer.comment
            assert not embryos(receiver)
            assert not entries(receiver)
            receiver.settings = SETTINGS
            receiver.look_at_disk()
            assert await store(association, tmp_path, b"1234") == StoreAnswer(0)
            await association.release()

    uvloop.run(main())
    assert [record.levelname for record in caplog.records if record.message.endswith("(0xA700)")] == ["ERROR"]


@pytest.mark.parametrize(
    ("least", "begins", "ends"),
    [(10, 12.5, 15.0), (1, 1.25, 1.5), (50, 62.5, 75.0), (90, 92.5, 95.0), (99, 99.25, 99.5)],
)
def test_new_associations_are_rejected_a_quarter_earlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: float, begins: float, ends: float
) -> None:
    async def main() -> None:
        async with receiving(tmp_path, replace(SETTINGS, min_free_percent=least)) as (receiver, _):
            seen = []
            for free_percent in (100.0, begins, begins - 0.01, least, least - 0.01, least, ends - 0.01, ends):
                monkeypatch.setattr(Spool, "free_percent", lambda _, free=free_percent: (free, ""))
                receiver.look_at_disk()
                seen.append((receiver.low, receiver.full))
            fine, low, full = (False, False), (True, False), (True, True)
            assert seen == [fine, fine, low, low, full, low, low, fine]

    uvloop.run(main())


def test_a_volume_that_may_be_filled_to_the_brim_rejects_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            monkeypatch.setattr(Spool, "free_percent", lambda _: (0.0, ""))
            receiver.look_at_disk()
            association = await opened(port)
            assert await store(association, tmp_path, b"data") == StoreAnswer(0)
            await association.release()

    uvloop.run(main())


def test_a_volume_that_does_not_tell_what_is_free_counts_as_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(path: str) -> os.statvfs_result:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            association = await opened(port)
            with monkeypatch.context() as patched:
                patched.setattr(os, "statvfs", gone)
                receiver.look_at_disk()
                receiver.look_at_disk()
                assert (await store(association, tmp_path, b"data")).status == 0xA700
            receiver.look_at_disk()
            assert await store(association, tmp_path, b"data") == StoreAnswer(0)
            await association.release()

    with caplog.at_level(logging.INFO):
        uvloop.run(main())
    assert caplog.text.count("does not say what is free (Input/output error): objects are refused") == 1
    assert caplog.text.count("objects are taken again") == 1


def test_a_disk_that_keeps_even_the_embryo_is_an_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_given: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            association = await opened(port)
            with monkeypatch.context() as patched:
                patched.setattr(os, "writev", read_only)
                patched.setattr(os, "unlink", read_only)
                assert (await store(association, tmp_path, b"data")).status == 0xA700
            assert await store(association, tmp_path, b"data") == StoreAnswer(0)
            assert len(entries(receiver)) == 1
            await association.release()

    uvloop.run(main())


@pytest.mark.parametrize("limit_bytes", [0, 300_000, 1_000_000])  # the last one cuts the very last write short
def test_a_write_that_fails_is_an_answer(tmp_path: Path, limit_bytes: int) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            association = await opened(port)
            with file_of(tmp_path, bytes(1_000_000)) as fd:
                soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
                try:
                    answer = await association.store(1, CT, "1.2.3", fd, 0, 1_000_000)
                finally:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert answer.status == 0xA700
            assert not embryos(receiver)
            assert await store(association, tmp_path, b"1234") == StoreAnswer(0)
            await association.release()

    uvloop.run(main())


def test_an_unknown_title_and_an_association_too_many_are_rejected_with_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path, replace(SETTINGS, max_associations=1)) as (receiver, port):
            with pytest.raises(AssociationRejected, match=r"\(1,1,7\)"):
                await opened(port, called="NOBODY")
            first = await opened(port)
            with pytest.raises(AssociationRejected, match=r"\(2,3,2\)"):
                await opened(port)
            await first.release()
            await until(lambda: not receiver.statistics().associations)
            await (await opened(port)).release()

    uvloop.run(main())


@pytest.mark.parametrize("data", [b"", b"\x01\0\0\0"])
def test_a_connection_without_an_association_has_little_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    monkeypatch.setattr(intake_module, "REQUEST_WITHIN_S", 0.2)

    async def main() -> None:
        async with receiving(tmp_path) as (_, port):
            client = await Client.connect(port, associate=False)
            client.writer.write(data)
            assert await client.hear_the_end() == b""
            await client.close()

    uvloop.run(main())
    assert "127.0.0.1: no association: no association request for 0.2 s" in caplog.messages


def test_a_flood_of_connections_is_none_of_lines(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, _):
            receiver._max_unassociated = 2
            links = [receiver.connection() for _ in range(20)]
            assert receiver.statistics().unassociated == 2
            receiver.unassociated.clear()
            del links

    uvloop.run(main())
    assert sum("one is dropped" in message for message in caplog.messages) == 1


def test_connections_without_an_association_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "MAX_UNASSOCIATED", 3)

    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            clients = [await Client.connect(port, associate=False) for _ in range(3)]
            association = await opened(port)
            assert await clients[0].hear_the_end() == b""
            assert receiver.statistics() == Statistics(2, 1, 0, 0)
            await association.release()
            for client in clients:
                await client.close()

    uvloop.run(main())


def test_an_association_that_is_over_is_no_company_until_its_connection_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            over = await Client.connect(port)
            other = await Client.connect(port)
            assert len(receiver.established) == 2
            over.connection.release()
            over.say()
            assert isinstance(await over.hear(), Released)
            assert (len(receiver.established), len(receiver.associations)) == (1, 2)
            await over.close()
            await other.close()
            await until(lambda: not receiver.associations)
            assert not receiver.established

    uvloop.run(main())


def test_an_idle_association_is_aborted(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path, replace(SETTINGS, client_timeout_s=0.2)) as (receiver, port):
            association = await opened(port)
            await association.wait_closed()
            await until(lambda: not receiver.statistics().associations)

    uvloop.run(main())


def test_garbage_gets_an_abort_and_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (_, port):
            client = await Client.connect(port, associate=False)
            client.writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await client.hear_the_end() == pdu.abort_pdu(2, 1)
            await client.close()

    uvloop.run(main())
    assert [record.message for record in caplog.records] == ["127.0.0.1: no association: not a DICOM PDU: type 0x47"]


def test_a_peer_that_never_reads_does_not_fill_our_memory(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            client = await Client.connect(port)
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            client.connection.echo_request(3, 1)
            echo = client.connection.output()

            async def flood() -> None:
                while True:
                    client.writer.write(echo * 1000)
                    await asyncio.wait_for(client.writer.drain(), 1)

            with pytest.raises(TimeoutError):
                await flood()
            (intake,) = receiver.associations
            assert intake.link._transport is not None
            assert intake.link._transport.get_write_buffer_size() < 1 << 20
            await client.close()

    uvloop.run(main())


def test_the_end_of_the_service(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            idle = await opened(port)
            silent = await Client.connect(port, associate=False)
            client = await Client.connect(port)
            client.begin_store("1.2.3", b"first half", ends=False)
            await until(lambda: embryos(receiver))
            draining = asyncio.create_task(receiver.drain(20.0))
            await idle.wait_closed()
            assert await silent.hear_the_end() == b""
            assert not draining.done()
            client.say(*client.connection.data_pdus(1, memoryview(b"second half"), ends=True))
            answer = await client.hear()
            assert isinstance(answer, Responded)
            assert answer.command.status == 0
            assert await client.hear_the_end() == pdu.abort_pdu(0, 0)
            await draining
            (entry,) = entries(receiver)
            assert entry.read_bytes().endswith(b"first halfsecond half")
            await client.close()
            await silent.close()

    uvloop.run(main())


def test_the_end_of_the_service_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            client = await Client.connect(port)
            client.begin_store("1.2.3", b"first half", ends=False)
            await until(lambda: embryos(receiver))
            await receiver.drain(0.2)
            assert not embryos(receiver)
            await client.close()

    uvloop.run(main())


def test_what_the_kernel_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with receiving(tmp_path, replace(SETTINGS, client_timeout_s=20)) as (receiver, port):
            association = await opened(port)
            await store(association, tmp_path, b"data")  # stall_s is 90
            (intake,) = receiver.associations
            for link, patience_s in ((intake.link, 20), (association._link, 90)):
                assert link._socket is not None
                assert link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert link._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                timeout_ms = link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert timeout_ms == 1000 * (patience_s + BACKSTOP_S)
            for stall_s, timeout_ms in ((0, 0), (366 * 86400, 2**31 - 1)):
                association._link.backstop(stall_s)
                assert association._link._socket is not None
                said = association._link._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                assert said == timeout_ms
            await association.release()

    uvloop.run(main())
