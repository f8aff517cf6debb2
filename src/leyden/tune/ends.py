"""Both ends of a trip, in one process: associations that send as fast as they are answered, and an SCP that counts.

Built on the same parts as the service. The SCP takes any storage SOP class and transfer syntax, and keeps nothing.
"""

import asyncio
import random
import socket
import time
from collections.abc import Sequence

from leyden.dicom.association import AssociationRequested, Connection, Event, ReleaseRequested, StoreEnded
from leyden.dicom.negotiate import PDU_LIMIT_BYTES, AcceptorPolicy, AssociateReject, answer
from leyden.errors import LeydenError, Transient
from leyden.net.link import READ_BUFFER_BYTES, Link
from leyden.net.scu import Association
from leyden.tune.load import Stock, Template, Uids

STALL_S = 60.0
CALLING = "LEYDEN-TUNE"


class Scp:
    """Counts what arrives, by called AE title. serve() within a running loop."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self.arrived: dict[str, int] = {}
        self.last_s = 0.0  # CLOCK_MONOTONIC
        self.news = asyncio.Event()

    async def serve(self) -> tuple[asyncio.Server, int]:
        """A server on a free port of the loopback interface, and that port."""
        listener = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(lambda: _Visit(self).link, sock=listener)
        return server, int(listener.getsockname()[1])

    async def wait(self, called: str, count: int, within_s: float) -> float:
        """When the last of so many objects arrived (CLOCK_MONOTONIC). Raises Transient."""
        try:
            async with asyncio.timeout(within_s):
                while self.arrived.get(called, 0) < count:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            arrived = self.arrived.get(called, 0)
            raise Transient(f"{arrived} of {count} objects have arrived within {within_s:.0f} s") from None
        return self.last_s


class _Visit:
    """One connection to the SCP. The owner of its Link."""

    def __init__(self, scp: Scp) -> None:
        self._scp = scp
        self._connection = Connection.acceptor(PDU_LIMIT_BYTES)
        self.link = Link(self._connection, self, scp.buffer)
        self._called = ""

    def handle(self, event: Event) -> None:
        match event:
            case AssociationRequested(request):
                said = answer(AcceptorPolicy((request.called,)), request)
                if isinstance(said, AssociateReject):
                    self._connection.reject(said)
                else:
                    self._called = request.called
                    self._connection.accept(said)
            case StoreEnded(store):
                self._connection.store_answer(store, 0x0000)
                scp = self._scp
                scp.arrived[self._called] = scp.arrived.get(self._called, 0) + 1
                scp.last_s = time.monotonic()
                scp.news.set()
            case ReleaseRequested():
                self._connection.release_answer()
            case _:
                pass

    def fed(self) -> None:
        pass

    def ended(self, why: LeydenError | None) -> None:
        pass

    def gone(self) -> None:
        pass


async def send(port: int, called: str, templates: Sequence[Template], count: int, associations: int) -> None:
    """Send `count` objects to a port of this machine. Raises Transient for any that is not answered Success."""
    contexts = list(dict.fromkeys((each.sop_class, each.syntax) for each in templates))
    stock, tickets = Stock(templates, Uids(random.randrange(10**10))), iter(range(count))

    async def one() -> None:
        link = await Association.open("127.0.0.1", port, calling=CALLING, called=called, contexts=contexts)
        for _ in tickets:
            template, uid, fd = stock.take()
            context_id = link.accepted[template.sop_class, template.syntax]
            said = await link.store(context_id, template.sop_class, uid, fd, 0, template.size_bytes, stall_s=STALL_S)
            if said.status:
                raise Transient(f"the service has answered 0x{said.status:04X} {said.comment}")
            stock.give_back(template, fd)
        await link.release()

    try:
        async with asyncio.TaskGroup() as all_of_them:
            for _ in range(associations):
                all_of_them.create_task(one())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    finally:
        stock.close()
