"""Callers that do anything but what they should, all at the same time: one service, and a destination that is well.

They run in a network of their own, in which a host can lose its power (support/namespaces.py), so this takes root.
"""

import asyncio
import contextlib
import itertools
import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chaos import small
from chaos.oracle import CAPS
from chaos.scene import Scene
from leyden.dicom.uids import EXPLICIT_LE, VERIFICATION
from support import wire
from support.faulty import FaultyScp
from support.namespaces import appear, own_network, vanish
from support.roles import look
from support.service import LIMIT_S, Service, node, wait_for

CLIENT_TIMEOUT_S = 8
OBJECT_BYTES = 3000
SILENT = 2000
AT_ONCE = 500
SLOW, SLOW_BYTES_PER_S, SLOW_PIECES = 100, 1000, 3
GONE = 50  # associations of a host that loses its power
SPARE = 5  # descriptors that may be open for a moment
DEAF = 2
ECHOES = 400_000  # of a caller that reads no answer: their answers are far more than the kernel holds (tcp_wmem)
HELD_BACK_S = 3.0
HERE, MORTAL = "127.0.0.1", "10.9.9.9"
ABORT = wire.pdu(wire.ABORT)


@dataclass(slots=True)
class Ledger:
    """What was sent whole, and what was answered with Success."""

    whole: Counter[str] = field(default_factory=Counter)
    promised: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(100_000))  # all are of one length

    def uid(self) -> str:
        return f"2.25.{next(self.numbers)}"


class Caller:
    """One connection to the service."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def pdu(self) -> tuple[int, bytes]:
        """Type and body; (0, b"") at the end of the connection."""
        try:
            head = await self.reader.readexactly(6)
            return head[0], await self.reader.readexactly(int.from_bytes(head[2:]))
        except (asyncio.IncompleteReadError, ConnectionError):
            return 0, b""

    async def associate(self) -> None:
        contexts = (1, wire.CT, EXPLICIT_LE), (3, VERIFICATION, EXPLICIT_LE)
        await self.send(wire.rq(*contexts, called=b"ARCHIVE", max_pdu_bytes=16384))
        kind, body = await self.pdu()
        assert kind == wire.ASSOCIATE_AC, (kind, body)

    async def status(self) -> int:
        kind, body = await self.pdu()
        return wire.number(wire.elements(b"".join(part for _, _, part in wire.pdvs(body))), 0x0900) if kind == 4 else -1

    async def release(self) -> None:
        await self.send(wire.pdu(wire.RELEASE_RQ))
        kind, _ = await self.pdu()
        assert kind == wire.RELEASE_RP

    def reset(self) -> None:
        """A reset: what has not been read is lost."""
        link = self.writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def store(uid: str, pdus: int = 1) -> list[bytes]:
    """The PDUs of a C-STORE-RQ; its data set in so many."""
    data = small.data_set(uid, OBJECT_BYTES)
    step = -(-len(data) // pdus) + 1 & ~1
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    command = wire.pdv(wire.store_rq(uid), command=True, last=True)
    return [command, *(wire.pdv(part, command=False, last=part is parts[-1]) for part in parts)]


class Callers:
    """The service, and all that is done to it."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.chance = chance
        self.archive = FaultyScp()
        keys = {"clientTimeout": CLIENT_TIMEOUT_S, "workers": 1, "arenaMib": 16}
        self.leyden = Service(folder, node("ARCHIVE", self.archive.port), **keys)
        self.ledger = Ledger()
        self.descriptors = 0  # of the receiver, before

    @asynccontextmanager
    async def caller(self, host: str = HERE, **options: int) -> AsyncIterator[Caller]:
        link = socket.socket()
        for name, value in options.items():
            link.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        link.setblocking(False)
        link.bind((host, 0))
        await asyncio.get_running_loop().sock_connect(link, (HERE, self.leyden.port))
        caller = Caller(*await asyncio.open_connection(sock=link))
        try:
            yield caller
        finally:
            caller.writer.close()
            with contextlib.suppress(OSError):
                await caller.writer.wait_closed()

    async def good(self, *, pause_s: float = 0.0, pieces: int = 1) -> None:
        """An association with one object, which gets Success."""
        uid = self.ledger.uid()
        async with self.caller() as caller:
            await caller.associate()
            whole = b"".join(store(uid, pdus=pieces))
            step = -(-len(whole) // pieces)
            for at in range(0, len(whole), step):
                await caller.send(whole[at : at + step])
                await asyncio.sleep(pause_s)
            self.ledger.whole[uid] += 1
            status = await caller.status()
            assert status == 0, status
            self.ledger.promised.add(uid)
            await caller.release()

    # The rows

    async def at_once(self) -> None:
        await asyncio.gather(*(self.good() for _ in range(AT_ONCE)))

    async def slow(self) -> None:
        await asyncio.gather(*(self.good(pause_s=1.0, pieces=SLOW_PIECES) for _ in range(SLOW)))

    async def silent(self, held: contextlib.AsyncExitStack) -> None:
        """They say nothing, or begin and say no more; a good caller comes in between."""
        for number in range(SILENT):
            caller = await held.enter_async_context(self.caller(MORTAL if number % 2 else HERE))
            if number % 3 == 0:
                with contextlib.suppress(ConnectionError):
                    await caller.send(wire.rq((1, wire.CT, EXPLICIT_LE))[: self.chance.randrange(1, 60)])
            if number % 200 == 199:
                await self.good()

    async def cut(self) -> None:
        """Objects that end at each boundary of a PDU and within each, in four ways."""
        pdus = [wire.rq((1, wire.CT, EXPLICIT_LE), called=b"ARCHIVE"), *store(self.ledger.uid(), pdus=3)]
        ends = list(itertools.accumulate(map(len, pdus), initial=0))
        inside = [
            begin + self.chance.randrange(1, end - begin) for begin, end in itertools.pairwise(ends) for _ in "ab"
        ]
        heads = [begin + length for begin in ends[:-1] for length in (1, 6, 11)]
        how = ("close", "reset", "abort", "silence")
        await asyncio.gather(*(self._cut(at, way) for at in (*ends, *inside, *heads) for way in how))

    async def _cut(self, at: int, way: str) -> None:
        uid = self.ledger.uid()
        request, *pdus = wire.rq((1, wire.CT, EXPLICIT_LE), called=b"ARCHIVE"), *store(uid, pdus=3)
        async with self.caller() as caller:
            if at >= len(request):
                await caller.associate()
                rest = b"".join(pdus)
                sent = rest[: at - len(request)]
                if sent == rest:
                    self.ledger.whole[uid] += 1
                elif len(rest) - len(sent) <= len(ABORT) and way == "abort":
                    way = "close"  # the bytes of the A-ABORT would be the rest of the object
                await caller.send(sent)
            else:
                await caller.send(request[:at])
            match way:
                case "reset":
                    caller.reset()
                case "abort":
                    await caller.send(ABORT)
                case "silence":
                    while (await caller.pdu())[0]:  # it is ended by the service
                        pass

    async def deaf(self, held: contextlib.AsyncExitStack) -> None:
        """It asks and asks, and reads no answer, until its requests are not read any more either."""
        caller = await held.enter_async_context(self.caller(SO_RCVBUF=2048))
        await caller.associate()
        caller.writer.transport.pause_reading()
        what = (0x0002, VERIFICATION.encode()), (0x0100, wire.us(wire.ECHO_RQ)), (0x0110, wire.us(1))
        asked = wire.pdv(wire.command(*what, (0x0800, wire.us(0x0101))), command=True, last=True, context=3) * 100
        for _ in range(ECHOES // 100):
            try:
                await asyncio.wait_for(caller.send(asked), HELD_BACK_S)
            except TimeoutError:
                return
        raise AssertionError("requests without end are taken from a caller that reads no answer")

    async def gone(self, held: contextlib.AsyncExitStack) -> None:
        """Associations of a host that is about to lose its power, in the middle of an object."""
        for _ in range(GONE):
            caller = await held.enter_async_context(self.caller(MORTAL))
            await caller.associate()
            await caller.send(b"".join(store(self.ledger.uid(), pdus=3)[:-1]))

    async def all(self) -> None:
        async with contextlib.AsyncExitStack() as held:
            rows = self.gone(held), self.silent(held), self.at_once(), self.slow(), self.cut()
            await asyncio.gather(*rows, *(self.deaf(held) for _ in range(DEAF)))
            vanish(MORTAL)
            await self.good()
            await asyncio.to_thread(wait_for, self.is_calm, LIMIT_S, "associations to end")
            await self.good()

    def judge(self) -> dict[str, int]:
        ledger, archive = self.ledger, self.archive
        self.leyden.wait_empty()
        held = look(self.leyden)["receiver-0"]
        assert self.leyden.stop() == 0
        assert ledger.promised <= set(archive.answered), "lost"
        assert set(archive.answered) <= set(ledger.whole), "half an object was delivered"
        again = archive.answered - ledger.whole
        assert not again, [(uid, archive.answered[uid], ledger.whole[uid]) for uid in again]
        assert small.came_unchanged(archive, OBJECT_BYTES)
        assert held.own_bytes < CAPS["receiver"][1] * 1_000_000
        return {"promised": len(ledger.promised), "whole": len(ledger.whole), "delivered": archive.answered.total()}

    def is_calm(self) -> bool:
        embryo = self.leyden.spool / "embryo"
        return not any(embryo.iterdir()) and look(self.leyden)["receiver-0"].descriptors <= self.descriptors + SPARE


def play(folder: Path, chance: random.Random) -> dict[str, int]:
    """All callers at once. Returns what was counted. Raises AssertionError."""
    with own_network():
        appear(MORTAL)
        scene = Callers(folder / "leyden", chance)
        try:
            scene.archive.start()
            scene.leyden.start()
            scene.descriptors = look(scene.leyden)["receiver-0"].descriptors
            asyncio.run(scene.all())
            return scene.judge()
        finally:
            scene.leyden.end()
            scene.archive.stop()


_SERVED = "good callers are served meanwhile; when it is over, no descriptor and no half object is left"
SCENE = Scene(
    "callers",
    play,
    (
        (f"{AT_ONCE} associations at once", "one connection each, at the same moment", "all get Success",
         "300 of 500 were dropped as silent"),
        (f"{SILENT} callers that say nothing, or begin and say no more", "connections that stay open", _SERVED, ""),
        (f"{SILENT // 2 + GONE} half-open connections, {GONE} of them in the middle of an object",
         "the address of their host disappears (a network namespace)", _SERVED, ""),
        (f"{SLOW} senders of 1 kB/s", "small pieces with pauses", "all get Success", ""),
        ("an object that is cut off",
         "at each boundary of a PDU and at several places in each; by a close, a reset, an abort, or silence",
         "nothing of it is delivered, unless all of it had come", ""),
        ("the answer cannot be written", "the caller is gone when it is due, or never reads",
         "what is whole is kept; who reads no answers is not read from either, in bounded memory, and is dropped", ""),
    ),
)  # fmt: skip
