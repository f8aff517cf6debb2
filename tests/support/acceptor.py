"""An acceptor in the event loop of the test, which behaves well or does what it is told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from leyden.dicom.association import (
    AssociationRequested,
    Connection,
    Event,
    Payload,
    Released,
    ReleaseRequested,
    StoreEnded,
)
from leyden.dicom.negotiate import AcceptorPolicy, AssociateAccept, answer
from leyden.errors import RemoteProtocolError


class Peer(asyncio.Protocol):
    """An acceptor that behaves well, except for `act`: it sees each event first; if it returns True, that was all."""

    def __init__(self, act: Callable[["Peer", Event], bool | None], max_pdu_bytes: int) -> None:
        self.connection = Connection.acceptor(262144)
        self.policy = AcceptorPolicy(("PACS",), max_pdu_bytes=max_pdu_bytes)
        self.act = act
        self.received = bytearray()
        self.error: RemoteProtocolError | None = None
        self.events: list[Event] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            for event in self.connection.feed(memoryview(data)):
                if not isinstance(event, Payload):
                    self.events.append(event)
                if not self.act(self, event):
                    self.behave(event)
        except RemoteProtocolError as error:
            self.error = error
        self.say()

    def behave(self, event: Event) -> None:
        match event:
            case AssociationRequested(request):
                accept = answer(self.policy, request)
                assert isinstance(accept, AssociateAccept)
                self.connection.accept(accept)
            case Payload(data):
                self.received += data
            case StoreEnded(store):
                self.connection.store_answer(store, 0)
            case ReleaseRequested():
                self.connection.release_answer()
            case Released():
                self.transport.close()

    def say(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.connection.output())


def good(peer: Peer, event: Event) -> None:
    return None


@asynccontextmanager
async def listening(
    act: Callable[[Peer, Event], bool | None] = good, max_pdu_bytes: int = 16384, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[Peer]]]:
    """Run an acceptor, plain or over TLS: its port, and the peers of its connections."""
    peers: list[Peer] = []

    def accept() -> Peer:
        peers.append(Peer(act, max_pdu_bytes))
        return peers[-1]

    server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1], peers
    finally:
        for peer in peers:
            peer.transport.abort()
        server.close()
        await server.wait_closed()
