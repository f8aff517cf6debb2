"""A long line in user space: a TCP proxy with a delay each way and a bandwidth, for kernels without netem.

    python perf/line.py --port 11200 --to 11112 [--round-trip-ms 40] [--mbit-per-s 100] [--loss-percent 5]

The line computes times: each piece departs when the one before it has left (at the bandwidth, for all connections
together and each direction by itself) and arrives one delay later. So the pace is exact over any time, however late a
timer fires. At most one bandwidth-delay product waits to depart, as in the buffer of a good router. Each connection may
have two of them on the way, that is not acknowledged yet. Beyond that nothing is read, and TCP holds the sender. The
first byte of a connection is carried one round trip after it was made, as the handshake would take. Of the pieces,
--loss-percent are lost: they come when they are sent again, RETRANSMIT_S and one round trip later, and what follows on
that connection waits for them. Deliberately absent: slow start, the bytes of headers. A connection is closed both ways
at once.
"""

import argparse
import asyncio
import random
import socket
from contextlib import suppress
from dataclasses import dataclass, field

import uvloop

PIECE_BYTES = 16 * 1024
RETRANSMIT_S = 0.2  # the least that Linux waits before it sends again


@dataclass(slots=True)
class Direction:
    """One direction of the line, shared by all connections. Times are the loop's, in seconds."""

    bytes_per_s: float
    delay_s: float
    loss: float = 0.0  # the share of the pieces that is lost
    free_s: float = 0.0  # when everything that was taken has departed

    @property
    def round_trip_bytes(self) -> int:
        return max(2 * PIECE_BYTES, int(self.bytes_per_s * 2 * self.delay_s))

    async def carry(self, size_bytes: int) -> float:
        """Wait for room in the buffer, and take it. Returns when the piece will arrive."""
        now_s = asyncio.get_running_loop().time()
        while (full_s := self.free_s - now_s - self.round_trip_bytes / self.bytes_per_s) > 0:
            await asyncio.sleep(full_s)
            now_s = asyncio.get_running_loop().time()
        self.free_s = max(now_s, self.free_s) + size_bytes / self.bytes_per_s
        again_s = RETRANSMIT_S + 2 * self.delay_s if random.random() < self.loss else 0.0
        return self.free_s + self.delay_s + again_s


@dataclass(slots=True)
class Window:
    """Limits how much one connection has on the way in one direction."""

    left_bytes: int
    _room: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self) -> None:
        """Wait until another piece may be read."""
        while self.left_bytes < PIECE_BYTES:
            self._room.clear()
            await self._room.wait()

    def give(self, size_bytes: int) -> None:
        self.left_bytes += size_bytes
        self._room.set()


async def _pump(direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction of one connection, until its end."""
    loop = asyncio.get_running_loop()
    window = Window(2 * direction.round_trip_bytes)
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def arrive() -> None:
        while True:
            due_s, piece = await on_the_way.get()
            if (early_s := due_s - loop.time()) > 0:
                await asyncio.sleep(early_s)
            if not piece:
                return
            writer.write(piece)
            await writer.drain()
            loop.call_later(direction.delay_s, window.give, len(piece))  # the acknowledgement comes back

    async def depart() -> None:
        while True:
            await window.take()
            piece = await reader.read(PIECE_BYTES)
            window.left_bytes -= len(piece)
            on_the_way.put_nowait((await direction.carry(len(piece)), piece))
            if not piece:
                return

    async with asyncio.TaskGroup() as both:
        both.create_task(arrive())
        both.create_task(depart())


async def serve(port: int, to: int, *, round_trip_s: float, bytes_per_s: float, loss: float = 0.0) -> asyncio.Server:
    """A line from `port` to `to`, both on this machine."""
    there, back = (Direction(bytes_per_s, round_trip_s / 2, loss) for _ in range(2))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.sleep(round_trip_s)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to, limit=PIECE_BYTES)
        except OSError:
            writer.close()
            return
        pumps = [
            asyncio.ensure_future(_pump(there, reader, far_writer)),
            asyncio.ensure_future(_pump(back, far_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            for end in (writer, far_writer):
                with suppress(OSError):
                    end.close()

    listener = socket.create_server(("127.0.0.1", port))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, there.round_trip_bytes)  # the kernel's is no part of it
    return await asyncio.start_server(connected, sock=listener, limit=PIECE_BYTES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--to", type=int, required=True)
    parser.add_argument("--round-trip-ms", type=float, default=40.0)
    parser.add_argument("--mbit-per-s", type=float, default=100.0)
    parser.add_argument("--loss-percent", type=float, default=0.0)
    asked = parser.parse_args()

    async def run() -> None:
        server = await serve(
            asked.port,
            asked.to,
            round_trip_s=asked.round_trip_ms / 1e3,
            bytes_per_s=asked.mbit_per_s * 1e6 / 8,
            loss=asked.loss_percent / 100,
        )
        await server.serve_forever()

    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


if __name__ == "__main__":
    main()
