"""Sessions without I/O, and a link that accepts over TLS: how it ends, and what peers do wrong."""

import asyncio
import random
import socket
import ssl
import subprocess
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import uvloop
from msgspec.structs import replace

from leyden.dicom.association import AssociationRequested, Connection, EchoAnswered, Event, ReleaseRequested
from leyden.dicom.negotiate import AcceptorPolicy, AssociateAccept, AssociateRequest, answer, contexts_for
from leyden.dicom.uids import IMPLICIT_LE, VERIFICATION
from leyden.errors import LeydenError
from leyden.net.certificates import Listener, server_context
from leyden.net.link import HANDSHAKE_THREADS, ConnectionLost, Link, TimedOut, _Hands
from leyden.net.tls import Closed, HandshakeFailed, Session
from leyden.net.trust import Files, client_context
from support.authority import HOST, Authority, Signed

BUFFER = memoryview(bytearray(65536))
ABORT, RELEASE_ANSWER = 7, 6  # PDU types (PS3.8 table 9-11 ff.)


class Site:
    """An authority, our certificate and that of a caller."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.ours = self.authority.signed("ours")
        self.caller = self.authority.signed("caller", "ct1.hospital", "10.0.0.7")
        self.listener = Listener(2762, str(self.ours.certificate), str(self.ours.key), str(self.authority.path))

    def client(self, own: Signed | None = None) -> ssl.SSLContext:
        own = own or self.caller
        return client_context(Files(str(self.authority.path), str(own.certificate), str(own.key)))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("tls"))


def sessions(ours: ssl.SSLContext, theirs: ssl.SSLContext) -> tuple[Session, Session]:
    """Both sides of a connection, before their handshake."""
    return Session(ours, server_side=True), Session(theirs, server_side=False, server_name=HOST)


def shake_hands(host: Session, caller: Session) -> None:
    while not (host.ready and caller.ready):
        for one, other in ((caller, host), (host, caller)):
            one.advance()
            other.take(memoryview(one.output()))


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_what_is_sealed_is_read_in_whatever_pieces_it_comes(site: Site, newest: ssl.TLSVersion) -> None:
    theirs = site.client()
    theirs.maximum_version = newest
    host, caller = sessions(server_context(site.listener), theirs)
    shake_hands(host, caller)
    assert host.version == newest.name.replace("_", ".")
    assert "GCM" in host.suite
    assert host.certificate is not None
    assert host.certificate.names == ("ct1.hospital", "10.0.0.7")
    assert host.certificate.subject == "CN=ct1.hospital"
    assert len(host.certificate.sha256) == 64
    pieces = [random.randbytes(size) for size in (1, 12, 16384, 300_000, 5)]
    wire = b"".join(caller.seal(pieces))
    caller.close()
    wire += caller.output()
    got, buffer = bytearray(), memoryview(bytearray(50_000))
    while len(got) < sum(map(len, pieces)):
        size = random.randrange(1, 40_000)
        host.take(memoryview(wire[:size]))
        wire = wire[size:]
        while nbytes := host.read(buffer):
            got += buffer[:nbytes]
            if len(got) == sum(map(len, pieces)):
                break
    assert got == b"".join(pieces)
    host.take(memoryview(wire))
    with pytest.raises(Closed):
        host.read(buffer)


def test_a_record_that_was_changed_on_the_way_ends_the_connection_after_what_came_before(site: Site) -> None:
    host, caller = sessions(server_context(site.listener), site.client())
    shake_hands(host, caller)
    good, changed = b"".join(caller.seal([b"good"])), bytearray(b"".join(caller.seal([b"changed"])))
    changed[-1] ^= 1
    host.take(memoryview(good + changed))
    assert host.read(BUFFER) == 4
    with pytest.raises(ConnectionLost, match="a record was changed on the way"):
        host.read(BUFFER)


def test_a_session_is_resumed_with_its_certificate_and_not_with_new_files(site: Site) -> None:
    """TLS 1.2: what OpenSSL keeps by itself. It is gone with the context, so whoever is revoked is checked again."""
    ours, theirs = server_context(site.listener), site.client()
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2
    first, caller = sessions(ours, theirs)
    shake_hands(first, caller)
    for context, resumed in ((ours, True), (server_context(site.listener), False)):
        host, again = Session(context, server_side=True), Session(theirs, server_side=False, server_name=HOST)
        again._tls.session = caller._tls.session
        shake_hands(host, again)
        assert (host._tls.session_reused, host.certificate) == (resumed, first.certificate)


def test_under_tls_13_nothing_is_there_to_be_resumed(site: Site) -> None:
    host, caller = sessions(server_context(site.listener), site.client())
    shake_hands(host, caller)
    caller.take(memoryview(b"".join(host.seal([b"x"]))))
    assert caller.read(BUFFER) == 1
    session = caller._tls.session
    assert session is None or not session.has_ticket


# -- a link that accepts


class Host:
    """An acceptor: it accepts Verification, answers a release, and keeps what it was told."""

    def __init__(self, context: ssl.SSLContext, within_s: float) -> None:
        self.connection = Connection.acceptor(16384)
        session = Session(context, server_side=True)
        self.link = Link(self.connection, self, memoryview(bytearray(65536)), within_s, session)
        self.events: list[Event] = []
        self.ends: list[LeydenError | None] = []
        self.over = asyncio.Event()

    def handle(self, event: Event) -> None:
        assert self.link.secure
        self.events.append(event)
        if isinstance(event, AssociationRequested):
            reply = answer(AcceptorPolicy(("HOST",), max_pdu_bytes=16384), event.request)
            assert isinstance(reply, AssociateAccept)
            self.connection.accept(reply)
            self.link.expect(60.0)
        elif isinstance(event, ReleaseRequested):
            self.connection.release_answer()

    def fed(self) -> None:
        pass

    def ended(self, why: LeydenError | None) -> None:
        self.ends.append(why)

    def gone(self) -> None:
        self.over.set()


@asynccontextmanager
async def accepting(context: ssl.SSLContext, within_s: float = 30.0) -> AsyncIterator[tuple[int, list[Host]]]:
    hosts: list[Host] = []

    def accept() -> Link:
        hosts.append(Host(context, within_s))
        return hosts[-1].link

    server = await asyncio.get_running_loop().create_server(accept, HOST, 0)
    try:
        yield server.sockets[0].getsockname()[1], hosts
    finally:
        server.close()


def request() -> tuple[Connection, bytes]:
    caller = Connection.requestor(AssociateRequest("HOST", "CALLER", contexts_for([(VERIFICATION, IMPLICIT_LE)])))
    return caller, caller.output()


def called(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    return context.wrap_socket(
        socket.create_connection((HOST, port), 30), server_hostname=HOST, suppress_ragged_eofs=False
    )


def associated(context: ssl.SSLContext, port: int) -> tuple[ssl.SSLSocket, Connection]:
    """A caller that has an association, in a thread of its own."""
    peer = called(context, port)
    caller, pdu = request()
    peer.sendall(pdu)
    assert len(list(caller.feed(memoryview(peer.recv(65536))))) == 1
    return peer, caller


def run(scene: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())  # type: ignore[arg-type]


def test_an_association_ends_with_a_release_and_a_farewell(site: Site) -> None:
    def call(port: int) -> bytes:
        peer, caller = associated(site.client(), port)
        caller.echo_request(1, 1)
        peer.sendall(caller.output())
        peer.recv(65536)
        caller.release()
        peer.sendall(caller.output())
        answer = peer.recv(65536)
        peer.unwrap().close()  # its farewell, and ours: ssl.SSLError without
        return answer

    async def scene() -> None:
        async with accepting(server_context(site.listener)) as (port, (hosts)):
            assert (await asyncio.to_thread(call, port))[0] == RELEASE_ANSWER
            (host,) = hosts
            await host.over.wait()
            assert [type(event) for event in host.events] == [AssociationRequested, EchoAnswered, ReleaseRequested]
            assert host.ends == [None]
            assert host.link.certificate is not None
            assert "ct1.hospital" in host.link.certificate.names

    run(scene)


@pytest.mark.parametrize("released", [True, False])
def test_a_connection_that_is_cut_off_is_lost_only_within_an_association(site: Site, released: bool) -> None:
    """EOF without close_notify: somebody on the way can make it, but not a release before it."""

    def call(port: int) -> None:
        peer, caller = associated(site.client(), port)
        if released:
            caller.release()
            peer.sendall(caller.output())
            peer.recv(65536)
        socket.socket.shutdown(peer, socket.SHUT_WR)
        peer.close()

    async def scene() -> None:
        async with accepting(server_context(site.listener)) as (port, hosts):
            await asyncio.to_thread(call, port)
            await hosts[0].over.wait()
            assert [type(end) for end in hosts[0].ends] == [type(None) if released else ConnectionLost]

    run(scene)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_one_who_says_farewell_within_an_association_has_left_it(site: Site, newest: ssl.TLSVersion) -> None:
    def call(port: int) -> None:
        context = site.client()
        context.maximum_version = newest
        associated(context, port)[0].unwrap().close()

    async def scene() -> None:
        async with accepting(server_context(site.listener)) as (port, hosts):
            await asyncio.to_thread(call, port)
            await hosts[0].over.wait()
            assert [str(end) for end in hosts[0].ends] == ["the peer closed the connection without a release"]

    run(scene)


def test_an_abort_reaches_the_peer_before_the_end(site: Site) -> None:
    def call(port: int) -> bytes:
        with called(site.client(), port) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return b"".join(iter(lambda: peer.recv(65536), b""))  # ssl.SSLEOFError if it was cut off

    async def scene() -> None:
        async with accepting(server_context(site.listener)) as (port, _):
            assert (await asyncio.to_thread(call, port))[0] == ABORT

    run(scene)


def test_a_handshake_may_come_byte_by_byte(site: Site) -> None:
    async def scene() -> None:
        async with accepting(server_context(site.listener)) as (port, hosts):
            reader, writer = await asyncio.open_connection(HOST, port)
            caller = Session(site.client(), server_side=False, server_name=HOST)
            while not caller.ready:
                caller.advance()
                for byte in caller.output():
                    writer.write(bytes((byte,)))
                    await writer.drain()
                    await asyncio.sleep(0)
                if not caller.ready:
                    caller.take(memoryview(await reader.read(65536)))
            writer.writelines(caller.seal([request()[1]]))
            while not hosts[0].events:
                await asyncio.sleep(0.01)
            writer.close()

    run(scene)


def test_keys_are_renewed_within_an_association(site: Site) -> None:
    """KeyUpdate (RFC 8446 section 4.6.3) is asked for by `K` at OpenSSL's client."""

    async def scene() -> None:
        async with accepting(server_context(replace(site.listener, client_auth="off"))) as (port, hosts):
            command = ["openssl", "s_client", "-connect", f"{HOST}:{port}", "-tls1_3", "-quiet", "-no_ign_eof", "-msg"]
            client = await asyncio.create_subprocess_exec(
                *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert client.stdin is not None
            assert client.stdout is not None
            said = b""
            for words, what in ((b"K\n", b"KeyUpdate"), (request()[1], b"HOST"), (b"Q\n", b"")):
                client.stdin.write(words)
                while what not in said:
                    said += await client.stdout.read(65536)
            await client.wait()
            assert said.count(b"KeyUpdate") == 2, "ours answers theirs, before what we send next"
            await hosts[0].over.wait()
            assert [type(event) for event in hosts[0].events] == [AssociationRequested]

    run(scene)


def test_the_time_for_a_request_includes_the_handshake(site: Site) -> None:
    async def scene() -> None:
        async with accepting(server_context(site.listener), within_s=0.2) as (port, hosts):
            _, writer = await asyncio.open_connection(HOST, port)
            while not hosts:
                await asyncio.sleep(0.01)
            await hosts[0].over.wait()
            (why,) = hosts[0].ends
            assert isinstance(why, TimedOut)
            assert "no TLS handshake for 0.2 s" in str(why)
            writer.close()

    run(scene)


def test_what_comes_after_a_failed_handshake_is_not_kept(site: Site) -> None:
    def call(port: int) -> None:
        with socket.create_connection((HOST, port)) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            while peer.recv(65536):  # the alert, and their end
                pass
            peer.sendall(bytes(1 << 20))

    async def scene() -> None:
        async with accepting(server_context(site.listener)) as (port, hosts):
            await asyncio.to_thread(call, port)
            await hosts[0].over.wait()
            link = hosts[0].link
            assert link.received_bytes > 1 << 20
            assert link.tls is not None
            assert link.tls._incoming.pending < 65536

    run(scene)


def _plain(port: int) -> None:
    with socket.create_connection((HOST, port)) as peer:
        peer.sendall(request()[1])
        assert peer.recv(65536) == b""


def _old(port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        called(context, port)


def _weak(port: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        called(context, port)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (_plain, "the peer does not speak TLS"),
        (_old, "the peer offers no TLS 1.2 or newer"),
        (_weak, "no cipher suite of the peer is allowed here"),
    ],
)
def test_why_there_is_no_connection_is_said_in_words(site: Site, call: Callable[[int], None], why: str) -> None:
    async def scene() -> None:
        async with accepting(server_context(site.listener)) as (port, hosts):
            await asyncio.to_thread(call, port)
            await hosts[0].over.wait()
            (error,) = hosts[0].ends
            assert isinstance(error, HandshakeFailed)
            assert why in str(error)

    run(scene)


def _wait(event: threading.Event) -> None:
    event.wait(60)


def test_the_newest_handshake_is_worked_on_first() -> None:
    """A crowd that came before would keep everybody waiting for as long as it takes to work on all of it."""
    hands, go_on, order = _Hands(), threading.Event(), []
    held = [hands.work(partial(_wait, go_on)) for _ in range(HANDSHAKE_THREADS)]
    while not all(job.running() for job in held):
        time.sleep(0.001)
    jobs = [hands.work(partial(order.append, number)) for number in range(20)]
    assert jobs[7].cancel()
    go_on.set()
    for job in (*held, *jobs[:7], *jobs[8:]):
        job.result(60)
    assert order[0] == 19
    assert 7 not in order
