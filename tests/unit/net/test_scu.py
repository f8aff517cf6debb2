"""The requestor over real sockets, against acceptors that do what they are told, good or bad. Plain and over TLS: the
bytes on the wire are others then, and nothing else is."""

import asyncio
import gc
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvloop
from msgspec.structs import replace

from leyden.dicom import uids
from leyden.dicom.association import (
    AssociationRequested,
    Connection,
    Event,
    Payload,
    ReleaseRequested,
    StoreEnded,
    StoreStarted,
)
from leyden.dicom.dimse import ECHO_REQUEST
from leyden.dicom.negotiate import CALLED_UNKNOWN, AcceptorPolicy, answer
from leyden.errors import Corrupt, LocalProtocolError, Transient
from leyden.net.link import Link
from leyden.net.scu import (
    PIECE_PDUS,
    SEND_BUFFER_BYTES,
    THROTTLED_PIECE_BYTES,
    Association,
    AssociationRejected,
    ConnectionFailed,
    ConnectionLost,
    Pace,
    Stalled,
    StoreAnswer,
    TooSlow,
)
from leyden.net.tls import Session
from leyden.net.trust import Files, client_context
from support import acceptor
from support.acceptor import Peer
from support.authority import HOST, Authority

CT = "1.2.840.10008.5.1.4.1.1.2"
CT_CONTEXT = 1
CONTEXTS = [(CT, uids.EXPLICIT_LE), (CT, "1.2.3.4"), (uids.VERIFICATION, uids.IMPLICIT_LE)]


@dataclass
class Way:
    """How both ends of a test speak: plain, or over TLS."""

    server: ssl.SSLContext | None = None
    sessions: Callable[[], Session] | None = None


WAY = Way()


@pytest.fixture(scope="module")
def over_tls(tmp_path_factory: pytest.TempPathFactory) -> Way:
    authority = Authority(tmp_path_factory.mktemp("tls"))
    own = authority.signed("own")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(own.certificate, own.key)
    context = client_context(Files(str(authority.path)))
    return Way(server, lambda: Session(context, server_side=False, server_name=HOST))


@pytest.fixture(autouse=True, params=["plain", "TLS"])
def _way(request: pytest.FixtureRequest, over_tls: Way) -> None:
    chosen = over_tls if request.param == "TLS" else Way()
    WAY.server, WAY.sessions = chosen.server, chosen.sessions


def listening(*words: Any, **more: Any) -> AbstractAsyncContextManager[tuple[int, list[Peer]]]:
    return acceptor.listening(*words, tls=WAY.server, **more)


async def opened(port: int, **more: Any) -> Association:
    words = {"calling": "LEYDEN", "called": "PACS", "contexts": CONTEXTS, "sessions": WAY.sessions, **more}
    return await Association.open(HOST, port, **words)


@pytest.fixture
def data_set(tmp_path: Path) -> Iterator[Callable[[int], int]]:
    """Descriptors of files of so many random bytes behind 8 others; they repeat, but not in step with any piece."""
    fds = []
    random = os.urandom(1_000_003)

    def make(size: int) -> int:
        path = tmp_path / "dataset"
        path.write_bytes(b"head4321" + (random * (size // len(random) + 1))[:size])
        fds.append(os.open(path, os.O_RDONLY))
        return fds[-1]

    yield make
    for fd in fds:
        os.close(fd)


def test_what_is_accepted_and_what_is_not() -> None:
    async def main() -> None:
        async with listening() as (port, _):
            association = await opened(port)
            assert association.proposed == frozenset(CONTEXTS)
            assert association.accepted == {(CT, uids.EXPLICIT_LE): 1, (uids.VERIFICATION, uids.IMPLICIT_LE): 5}
            assert await association.echo() == 0
            assert repr(association) == "<Association LEYDEN -> PACS open>"
            await association.release()
            assert association.closed

    uvloop.run(main())


@pytest.mark.parametrize("max_pdu_bytes", [64, 16384, 0])
@pytest.mark.parametrize("size", [0, 1, 100_001, SEND_BUFFER_BYTES, 3 * SEND_BUFFER_BYTES + 7])
def test_every_byte_arrives_once(data_set: Callable[[int], int], size: int, max_pdu_bytes: int) -> None:
    async def main() -> None:
        async with listening(max_pdu_bytes=max_pdu_bytes) as (port, peers):
            association = await opened(port)
            fd = data_set(size)
            for _ in range(2):
                assert await association.store(CT_CONTEXT, CT, "1.2.3", fd, 8, size) == StoreAnswer(0)
                assert peers[0].received == os.pread(fd, size, 8)
                peers[0].received.clear()
            await association.release()

    uvloop.run(main())


def test_tiny_pdus_take_no_more_memory_than_large_ones(
    data_set: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def write(link: Link, pieces: Sequence[bytes | memoryview]) -> None:
        written.append(len(pieces))
        link_write(link, pieces)

    async def main() -> None:
        async with listening(max_pdu_bytes=8) as (port, peers):
            association = await opened(port)
            monkeypatch.setattr(Link, "write", write)
            fd = data_set(100_001)
            assert await association.store(CT_CONTEXT, CT, "1.2.3", fd, 8, 100_001) == StoreAnswer(0)
            assert peers[0].received == os.pread(fd, 100_001, 8)
            await association.release()

    link_write = Link.write
    uvloop.run(main())
    assert max(written) == 1 + 2 * PIECE_PDUS


@pytest.mark.parametrize("throttled", [False, True])
@pytest.mark.parametrize("size", [0, 1, 100_001, 3 * SEND_BUFFER_BYTES + 7])
def test_the_next_one_is_read_while_an_answer_is_awaited(
    data_set: Callable[[int], int], size: int, throttled: bool
) -> None:
    class Throttle:
        def permit(self, size_bytes: int, now_s: float) -> float:
            return 0.0

    async def main() -> None:
        async with listening() as (port, peers):
            association, fd = await opened(port), data_set(500_000 + size)
            ahead: list[int] = []

            async def store(offset: int, size: int, **options: Any) -> bytes:
                answer = await association.store(
                    CT_CONTEXT, CT, "1.2.3", fd, offset, size, throttle=Throttle() if throttled else None, **options
                )
                assert answer == StoreAnswer(0)
                received = bytes(peers[0].received)
                peers[0].received.clear()
                return received

            first = await store(8, 500_000, meanwhile=lambda: ahead.append(association.read_ahead(fd, 500_008, size)))
            assert first == os.pread(fd, 500_000, 8)
            assert ahead == [min(size, SEND_BUFFER_BYTES)]
            assert await store(500_008, size, ahead_bytes=ahead[0]) == os.pread(fd, size, 500_008)
            await association.release()
            assert association.read_ahead(fd, 8, 100) == 0

    uvloop.run(main())


@pytest.mark.parametrize("lost", [False, True])
def test_the_memory_of_an_association_ends_with_it(data_set: Callable[[int], int], lost: bool) -> None:
    def maps() -> int:
        return Path("/proc/self/maps").read_text().count("/dev/zero")

    async def main() -> None:
        async with listening() as (port, peers):
            before, fd = maps(), data_set(100_000)
            for _ in range(3):
                association = await opened(port)
                assert await association.store(CT_CONTEXT, CT, "1.2.3", fd, 8, 100_000) == StoreAnswer(0)
                assert maps() == before + 2
                if lost:
                    peers[-1].transport.abort()
                    await association.wait_closed()
                else:
                    await association.release()
                assert maps() == before

    gc.disable()  # it would come round in the end
    try:
        uvloop.run(main())
    finally:
        gc.enable()


def test_a_slow_reader_gets_every_byte_too(data_set: Callable[[int], int]) -> None:
    size = 12_000_000

    def slowly(peer: Peer, event: Event) -> None:
        if isinstance(event, Payload) and peer.transport.is_reading():
            peer.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.001, peer.transport.resume_reading)

    async def main() -> None:
        async with listening(slowly, max_pdu_bytes=0) as (port, peers):
            association = await opened(port)
            fd = data_set(size)
            assert await association.store(CT_CONTEXT, CT, "1.2.3", fd, 8, size) == StoreAnswer(0)
            assert peers[0].received == os.pread(fd, size, 8)
            await association.release()

    uvloop.run(main())


def refuse_at_once(peer: Peer, event: Event) -> bool | None:
    if isinstance(event, StoreStarted):
        peer.connection.store_answer(event, 0xA700, "full")
    return isinstance(event, StoreEnded)


def test_an_early_refusal_keeps_the_association(data_set: Callable[[int], int]) -> None:
    async def main() -> None:
        async with listening(refuse_at_once) as (port, peers):
            association = await opened(port)
            fd = data_set(5_000_000)
            for _ in range(2):
                answer = await association.store(CT_CONTEXT, CT, "1.2.3", fd, 8, 5_000_000)
                assert answer == StoreAnswer(0xA700, "full")
            assert not association.closed
            await association.release()
            assert len(peers[0].received) == 10_000_000

    uvloop.run(main())


def test_a_peer_that_refuses_early_and_stops_reading(data_set: Callable[[int], int]) -> None:
    def act(peer: Peer, event: Event) -> bool | None:
        if isinstance(event, StoreStarted):
            peer.transport.pause_reading()
        return refuse_at_once(peer, event)

    async def main() -> None:
        async with listening(act) as (port, _):
            association = await opened(port)
            fd = data_set(30_000_000)
            answer = await association.store(CT_CONTEXT, CT, "1.2.3", fd, 8, 30_000_000, stall_s=0.5)
            assert answer == StoreAnswer(0xA700, "full")
            assert association.closed

    uvloop.run(main())


def hang(peer: Peer, event: Event) -> bool:
    return isinstance(event, StoreEnded)


def stop_reading(peer: Peer, event: Event) -> None:
    if isinstance(event, StoreStarted):
        peer.transport.pause_reading()


def abort(peer: Peer, event: Event) -> None:
    if isinstance(event, StoreStarted):
        peer.connection.abort()


def close(peer: Peer, event: Event) -> None:
    if isinstance(event, StoreStarted):
        peer.transport.close()


def talk_nonsense(peer: Peer, event: Event) -> None:
    if isinstance(event, StoreStarted):
        peer.transport.write(b"nonsense")


def answer_another(peer: Peer, event: Event) -> bool:
    if isinstance(event, StoreEnded):
        store = event.store
        other = StoreStarted(store.context_id, store.syntax, type(store.command)(1, 999, True, CT, "1.2.3"))
        peer.connection.store_answer(other, 0)
    return isinstance(event, StoreEnded)


def answer_an_echo(peer: Peer, event: Event) -> bool:
    if isinstance(event, StoreEnded):
        command = replace(event.store.command, field=ECHO_REQUEST)
        peer.connection.store_answer(replace(event.store, command=command), 0)
    return isinstance(event, StoreEnded)


def succeed_at_once(peer: Peer, event: Event) -> bool:
    if isinstance(event, StoreStarted):
        peer.connection.store_answer(event, 0)
    return isinstance(event, StoreEnded)


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (hang, Stalled),
        (stop_reading, Stalled),
        (abort, ConnectionLost),
        (close, ConnectionLost),
        (talk_nonsense, ConnectionLost),
        (answer_another, ConnectionLost),
        (answer_an_echo, ConnectionLost),
        (succeed_at_once, ConnectionLost),
    ],
)
def test_what_goes_wrong_ends_the_association(
    data_set: Callable[[int], int], act: Callable[[Peer, Event], bool | None], error: type[Transient]
) -> None:
    async def main() -> None:
        async with listening(act) as (port, _):
            association = await opened(port)
            fd = data_set(30_000_000)
            with pytest.raises(error):
                await association.store(CT_CONTEXT, CT, "1.2.3", fd, 8, 30_000_000, stall_s=0.5)
            assert association.closed
            with pytest.raises(error):
                await association.store(CT_CONTEXT, CT, "1.2.3", fd, 8, 100)
            await association.release()

    uvloop.run(main())


def test_a_deadline_is_hard(data_set: Callable[[int], int]) -> None:
    async def main() -> None:
        async with listening(hang) as (port, _):
            association = await opened(port)
            with pytest.raises(Stalled, match="not done within"):
                await association.store(CT_CONTEXT, CT, "1.2.3", data_set(10), 8, 10, stall_s=0, deadline_s=0.3)

    uvloop.run(main())


def test_a_cancelled_store_ends_the_association(data_set: Callable[[int], int]) -> None:
    async def main() -> None:
        async with listening(hang) as (port, peers):
            association = await opened(port)
            storing = asyncio.create_task(association.store(CT_CONTEXT, CT, "1.2.3", data_set(10), 8, 10))
            while not any(isinstance(event, StoreEnded) for event in (peers[0].events if peers else [])):
                await asyncio.sleep(0.001)
            with pytest.raises(LocalProtocolError):
                await association.echo()
            storing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await storing
            assert association.closed

    uvloop.run(main())


def test_a_file_that_is_too_short(data_set: Callable[[int], int]) -> None:
    async def main() -> None:
        async with listening() as (port, _):
            association = await opened(port)
            with pytest.raises(Corrupt):
                await association.store(CT_CONTEXT, CT, "1.2.3", data_set(100), 8, 200)
            assert association.closed

    uvloop.run(main())


@pytest.mark.parametrize("how", ["abort", "close", "release"])
def test_an_end_while_idle_shows_at_once(how: str) -> None:
    async def main() -> None:
        async with listening() as (port, peers):
            association = await opened(port)
            assert not association.closed
            if how == "close":
                peers[0].transport.close()
            else:
                getattr(peers[0].connection, how)()
                peers[0].say()
            await association.wait_closed()
            assert association.closed
            with pytest.raises(ConnectionLost):
                await association.echo()

    uvloop.run(main())


def test_a_rejection_says_its_result_source_and_reason() -> None:
    def reject(peer: Peer, event: Event) -> bool:
        peer.connection.reject(CALLED_UNKNOWN)
        return True

    async def main() -> None:
        async with listening(reject) as (port, _):
            with pytest.raises(AssociationRejected) as raised:
                await opened(port)
            assert (raised.value.result, raised.value.source, raised.value.reason) == (1, 1, 7)

    uvloop.run(main())


def test_a_port_on_which_nothing_listens_is_a_failed_connection() -> None:
    async def main() -> None:
        async with listening() as (port, _):
            pass
        with pytest.raises(ConnectionFailed):
            await opened(port)

    uvloop.run(main())


@pytest.mark.parametrize("how", ["silence", "close", "tiny"])
def test_no_proper_answer_to_the_request(how: str) -> None:
    def act(peer: Peer, event: Event) -> bool:
        if how == "close":
            peer.transport.close()
        if how == "tiny":
            peer.policy = AcceptorPolicy(("PACS",), max_pdu_bytes=7)
            peer.behave(event)
        return True

    async def main() -> None:
        async with listening(act) as (port, _):
            with pytest.raises(ConnectionFailed):
                await opened(port, answer_timeout_s=0.3)

    uvloop.run(main())


def test_echo_needs_its_context() -> None:
    async def main() -> None:
        async with listening() as (port, _):
            association = await opened(port, contexts=CONTEXTS[:1])
            with pytest.raises(Transient, match="Verification"):
                await association.echo()
            await association.release()

    uvloop.run(main())


def test_a_wrong_context_is_our_own_mistake(data_set: Callable[[int], int]) -> None:
    async def main() -> None:
        async with listening() as (port, _):
            association = await opened(port)
            with pytest.raises(LocalProtocolError):
                await association.store(3, CT, "1.2.3", data_set(10), 8, 10)
            assert association.closed

    uvloop.run(main())


def test_a_throttle_is_asked_for_every_piece(data_set: Callable[[int], int]) -> None:
    class Throttle:
        asked: list[int] = []  # noqa: RUF012

        def permit(self, size_bytes: int, now_s: float) -> float:
            self.asked.append(size_bytes)
            return 0.001

    async def main() -> None:
        async with listening() as (port, _):
            association = await opened(port)
            size = 2 * THROTTLED_PIECE_BYTES + 5
            await association.store(CT_CONTEXT, CT, "1.2.3", data_set(size), 8, size, throttle=Throttle())
            assert Throttle.asked == [THROTTLED_PIECE_BYTES, THROTTLED_PIECE_BYTES, 5]
            await association.release()

    uvloop.run(main())


@contextmanager
def trickle(bytes_per_s: int) -> Iterator[int]:
    """An acceptor with a small buffer that reads no faster; its port. It is a thread with plain calls, so that nothing
    of an event loop reads ahead."""

    def serve() -> None:
        plain, _ = listener.accept()
        peer = plain if WAY.server is None else WAY.server.wrap_socket(plain, server_side=True)
        connection, policy = Connection.acceptor(262144), AcceptorPolicy(("PACS",))
        with peer:
            while data := peer.recv(bytes_per_s // 20):
                for event in connection.feed(memoryview(data)):
                    if isinstance(event, AssociationRequested):
                        connection.accept(answer(policy, event.request))
                    elif isinstance(event, StoreEnded):
                        connection.store_answer(event.store, 0)
                    elif isinstance(event, ReleaseRequested):
                        connection.release_answer()
                peer.sendall(connection.output())
                time.sleep(0.05)  # this is its speed

    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind((HOST, 0))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_peer_that_reads_20_kb_a_second_is_never_stalled(data_set: Callable[[int], int]) -> None:
    """The bytes that its TCP acknowledges are what counts (DECISIONS.md 71), whatever stands in them."""
    size = 100_000

    async def main(port: int) -> None:
        association = await opened(port)
        assert await association.store(CT_CONTEXT, CT, "1.2.3", data_set(size), 8, size, stall_s=1) == StoreAnswer(0)
        await association.release()

    with trickle(20_000) as port:
        uvloop.run(main(port))


# -- when a transfer is stalled, too slow or too long, judged from counts and times alone


def paced(*, stall_s: float = 0, minimum_bytes_per_s: float = 0, deadline_s: float = 0) -> Pace:
    return Pace(100.0, 0, stall_s=stall_s, minimum_bytes_per_s=minimum_bytes_per_s, deadline_s=deadline_s)


def test_slow_but_moving_is_not_stalled() -> None:
    pace = paced(stall_s=2)
    assert [pace.judge(100.0 + n, n, 0, 10**6) for n in range(1000)] == [None] * 1000
    assert [pace.judge(1100.0 + n, 999, n, 10**6) for n in range(100)] == [None] * 100
    assert isinstance(pace.judge(1201.0, 999, 99, 10**6), Stalled)


def test_the_average_is_judged_after_ten_seconds() -> None:
    pace = paced(minimum_bytes_per_s=1000)
    assert pace.judge(100.0, 500, 0, 10**6) is None
    assert pace.judge(109.9, 500, 0, 10**6) is None
    assert pace.judge(110.0, 10_000, 0, 10**6) is None
    assert isinstance(pace.judge(110.0, 9_999, 0, 10**6), TooSlow)


def test_a_peer_that_thinks_is_not_too_slow() -> None:
    pace = paced(minimum_bytes_per_s=1000)
    assert pace.judge(100.0, 0, 0, 500) is None
    assert pace.judge(200.0, 500, 0, 500) is None


def test_our_own_pauses_are_not_the_peers() -> None:
    pace = paced(stall_s=5)
    pace.pause(8.0, 100.0)
    assert [pace.judge(100.0 + n, 0, 0, 10**6) for n in range(13)] == [None] * 13
    assert isinstance(pace.judge(113.0, 0, 0, 10**6), Stalled)
    pace = paced(minimum_bytes_per_s=1000)
    pace.pause(8.0, 100.0)
    assert [pace.judge(100.0 + n, 0, 0, 10**6) for n in range(18)] == [None] * 18
    assert isinstance(pace.judge(118.0, 0, 0, 10**6), TooSlow)


def test_a_deadline_beats_progress() -> None:
    pace = paced(deadline_s=30)
    assert pace.judge(129.9, 5, 0, 10) is None
    assert isinstance(pace.judge(130.0, 6, 0, 10), Stalled)
