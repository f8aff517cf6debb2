"""How much of a long line does the sender fill? One study of 300 CT of 0.5 MB over 40 ms round trip and 100 Mbit/s.

    python perf/wan.py [--rounds 3] [--quick]

The line is perf/line.py, and the first table shows how good it is: a plain TCP stream through it must reach 0.99 of its
bandwidth, and a byte there and back must take its round trip. The second table has the share of the bandwidth that the
objects' bytes reach, from the start of the client to the last object delivered: through the service with four
associations, with one, and dcmsend straight over the line. One association waits a round trip for each answer: with 42
ms of sending and 40 of waiting it fills half the line, and only pooled associations fill it all. The study reaches the
service at full speed; that time is included. Wanted: >= 0.9 with pooled associations.
"""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import peers
import rig
from support.objects import make_cts

ROUND_TRIP_S = 0.040
BYTES_PER_S = 100e6 / 8
STREAM_BYTES = 48 << 20
READ_BYTES = 1 << 16


@contextmanager
def line(to: int) -> Iterator[int]:
    """The port on this side of a line that ends at port `to`."""
    port = peers.free_port()
    words = ["--round-trip-ms", str(ROUND_TRIP_S * 1e3), "--mbit-per-s", str(BYTES_PER_S * 8 / 1e6)]
    command: list[str | Path] = [sys.executable, peers.HERE / "line.py", "--port", str(port), "--to", str(to), *words]
    with peers.running(peers.Child("line.py", command, port)):
        yield port


@contextmanager
def both_ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection over the line: this end and the far one."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        line(listener.getsockname()[1]) as port,
        socket.create_connection(("127.0.0.1", port)) as near,
        listener.accept()[0] as far,
    ):
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield near, far


def plain_stream(_: Path) -> float:
    """The share of the bandwidth that one TCP stream reaches, at the far end from its first read to its last."""
    with both_ends() as (near, far):
        writer = threading.Thread(target=near.sendall, args=(bytes(STREAM_BYTES),))
        writer.start()
        first_bytes = got_bytes = len(far.recv(READ_BYTES))
        begin_s = time.monotonic()
        while got_bytes < STREAM_BYTES:
            got_bytes += len(far.recv(READ_BYTES))
        spent_s = time.monotonic() - begin_s
        writer.join()
    return (got_bytes - first_bytes) / spent_s / BYTES_PER_S


def round_trip_ms(_: Path) -> float:
    """Milliseconds for one byte there and back, the median of 20."""
    spent_ms = []
    with both_ends() as (near, far):
        for _n in range(20):
            begin_s = time.monotonic()
            near.send(b"!")
            far.send(far.recv(1))
            near.recv(1)
            spent_ms.append((time.monotonic() - begin_s) * 1e3)
    return sorted(spent_ms)[10]


def main() -> None:
    with rig.Run(rig.parser(__doc__, rounds=3).parse_args()) as run:
        files = make_cts(run.folder / "study", 90 if run.quick else 300)
        study_bytes = sum(path.stat().st_size for path in files)
        if run.quick:
            run.asked.rounds = run.asked.rounds or 1

        def through(folder: Path, associations: int) -> float:
            with peers.running(peers.sink()) as pacs, line(pacs.port) as port:
                nodes = peers.node("PACS", port, MaxAssociations=associations)
                with peers.serving(peers.Service(folder, nodes, workers=1)) as leyden:
                    begin_s = time.monotonic()
                    peers.dcmsend(leyden.port, "PACS", files)
                    peers.wait_delivered(leyden, "PACS", len(files))
                    return study_bytes / (time.monotonic() - begin_s) / BYTES_PER_S

        def straight(_: Path) -> float:
            with peers.running(peers.sink()) as pacs, line(pacs.port) as port:
                return study_bytes / peers.dcmsend(port, "PACS", files) / BYTES_PER_S

        run.compare("one byte over the line and back", "ms", {f"of {ROUND_TRIP_S * 1e3:.0f} ms": round_trip_ms})
        ways = {
            "leyden, 4 associations": lambda folder: through(folder, 4),
            "leyden, 1 association": lambda folder: through(folder, 1),
            "dcmsend straight, 1 association": straight,
            "a plain TCP stream": plain_stream,
        }
        run.compare(f"{len(files)} CT of 0.5 MB", "share of the line", ways, ours=("leyden, 4 associations",))


if __name__ == "__main__":
    main()
