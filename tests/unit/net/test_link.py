"""How much a link reads of whom: nobody can take all turns of the loop with small messages."""

import asyncio
from typing import Any

from leyden.dicom.associate import encode_request
from leyden.dicom.association import AssociationRequested, Connection, EchoAnswered, Event
from leyden.dicom.negotiate import AcceptorPolicy, AssociateAccept, AssociateRequest, answer, contexts_for
from leyden.dicom.uids import IMPLICIT_LE, VERIFICATION
from leyden.net.link import CROWDED_BYTES, READ_BUFFER_BYTES, Link
from support.wire import command, pdv, us

ECHO = pdv(
    command((0x0002, VERIFICATION.encode()), (0x0100, us(0x0030)), (0x0110, us(1)), (0x0800, us(0x0101))),
    command=True,
    last=True,
    context=1,
)


class Acceptor:
    """Accepts, and notes what it answers."""

    def __init__(self, buffer: memoryview, order: list[str], name: str) -> None:
        self._connection = Connection.acceptor(READ_BUFFER_BYTES)
        self.link = Link(self._connection, self, buffer)
        self._order, self._name = order, name

    def handle(self, event: Event) -> None:
        match event:
            case AssociationRequested(request):
                reply = answer(AcceptorPolicy(("LEYDEN",)), request)
                assert isinstance(reply, AssociateAccept)
                self._connection.accept(reply)
            case EchoAnswered():
                self._order.append(self._name)

    def fed(self) -> None: ...

    def ended(self, why: object) -> None: ...

    def gone(self) -> None: ...


async def _associated(port: int, title: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(encode_request(AssociateRequest("LEYDEN", title, contexts_for([(VERIFICATION, IMPLICIT_LE)]))))
    assert (await reader.read(1))[0] == 2  # A-ASSOCIATE-AC
    return reader, writer


def test_one_who_sends_many_small_messages_does_not_have_all_the_turns() -> None:
    order: list[str] = []

    async def go() -> None:
        loop = asyncio.get_running_loop()
        buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        made: list[Acceptor] = []

        def connection() -> Any:
            made.append(Acceptor(buffer, order, "flood" if not made else "quiet"))
            return made[-1].link

        server = await loop.create_server(connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        _, flood = await _associated(port, "FLOOD")
        _, quiet = await _associated(port, "QUIET")
        count = 2 * READ_BUFFER_BYTES // len(ECHO)
        flood.write(ECHO * count)
        while not order:
            await asyncio.sleep(0)
        quiet.write(ECHO)
        while "quiet" not in order:
            await asyncio.sleep(0)
        assert order.count("flood") < count, "the quiet one is answered in between"
        assert len(made[0].link.get_buffer(0)) == CROWDED_BYTES
        assert len(made[1].link.get_buffer(0)) == READ_BUFFER_BYTES
        flood.close()
        quiet.close()
        server.close()

    asyncio.run(go())
