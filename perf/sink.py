"""A storage SCP that keeps nothing: it counts, checks, and can misbehave. For measurements, and as a bad destination.

    python perf/sink.py --port 11112                         as fast as it can
    python perf/sink.py --port 11112 --delay 0.2             each answer 0.2 s late
    python perf/sink.py --port 11112 --mb-per-s 10           reads no faster, all connections together
    python perf/sink.py --port 11112 --status A700 --one-in 10
    python perf/sink.py --port 11112 --stall-after 100       then neither reads nor answers
    python perf/sink.py --port 11112 --die-after 100         kills itself with SIGKILL, the 101st object unanswered
    python perf/sink.py --port 11112 --tls CERTIFICATE KEY   over TLS
    python perf/sink.py --port 11112 --check --uids FILE     every UID, how often, and a hash of each data set
    python perf/sink.py --port 11112 --order FILE            what came over which association, in the order of arrival

It accepts any calling and called title, any storage SOP class and transfer syntax. At SIGTERM it prints one line of
JSON with its counts and ends; with --each-second it prints one a second too. `seconds` is from the first byte of the
first object to the last answer. A line of --uids is `UID HASH` (BLAKE2b of the data set as it came, 16 bytes), written
before Success is sent. A line of --order is a JSON object: `association` (from 1), `calling`, `begun_s` and `ended_s`
(when its C-STORE-RQ and its last byte had come, in seconds of CLOCK_MONOTONIC), `uid`, `sop_class`, and `series` and
`number` (Instance Number) as texts; it is written when the object is whole, before it is answered. The sink is built on
the same parts as the receiver, runs on one core, and uses no spool.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TextIO

import uvloop

from leyden.dicom.association import (
    AssociationRequested,
    Connection,
    Event,
    Payload,
    ReleaseRequested,
    StoreEnded,
    StoreStarted,
)
from leyden.dicom.header import peek
from leyden.dicom.negotiate import PDU_LIMIT_BYTES, AcceptorPolicy, AssociateReject, answer
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.errors import Corrupt, LeydenError
from leyden.net.certificates import Listener, server_context
from leyden.net.link import READ_BUFFER_BYTES, Link
from leyden.net.tls import Session

HASH_BYTES = 16
LOOK_BYTES = 65536  # of a data set, for its series and number
SERIES_INSTANCE_UID, INSTANCE_NUMBER = 0x0020000E, 0x00200013
SLACK_S = 0.005  # shorter pauses are added up: a timer costs more than a read


@dataclass(slots=True)
class Counts:
    """What has come so far. `twice`: objects whose UID was there before (with --check)."""

    objects: int = 0
    bytes: int = 0
    refused: int = 0
    twice: int = 0
    associations: int = 0
    associations_now: int = 0
    associations_most: int = 0
    lost: int = 0  # associations that ended otherwise than by a release
    first_s: float = 0.0  # CLOCK_MONOTONIC
    last_s: float = 0.0

    def as_json(self) -> str:
        seconds = self.last_s - self.first_s
        return json.dumps({**asdict(self), "seconds": seconds, "per_s": self.objects / seconds if seconds else 0.0})


class Sink:
    """What all connections share."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.counts = Counts()
        self.tls = server_context(Listener(0, *map(str, asked.tls), client_auth="off")) if asked.tls else None
        self.buffer = memoryview(bytearray(READ_BUFFER_BYTES))
        self.seen: dict[str, int] = {}
        self.checks = bool(asked.check or asked.uids)
        self.ledger: TextIO | None = asked.uids.open("w") if asked.uids else None
        self.order: TextIO | None = asked.order.open("w", buffering=1) if asked.order else None
        self.free_s = 0.0  # when the line of --mb-per-s is free again
        self.stalled = False

    def connection(self) -> Link:
        return Visit(self).link

    def remember(self, uid: str, digest: str) -> None:
        times = self.seen[uid] = self.seen.get(uid, 0) + 1
        self.counts.twice += times > 1
        if self.ledger is not None:
            self.ledger.write(f"{uid} {digest}\n")

    def close(self) -> None:
        for file in (self.ledger, self.order):
            if file is not None:
                file.close()


class Visit:
    """One connection. An owner of a Link."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._connection = Connection.acceptor(PDU_LIMIT_BYTES)
        session = Session(sink.tls, server_side=True) if sink.tls else None
        self.link = Link(self._connection, self, sink.buffer, tls=session)
        self._number = 0  # of the association
        self._calling = ""
        self._beginning: bytearray | None = None  # of the data set, for --order
        self._begun_s = 0.0
        self._hash: Any = None
        self._unanswered = 0
        self._releasing = self._released = self._counted = False
        self._read_bytes = 0

    def handle(self, event: Event) -> None:
        kind = type(event)
        if kind is Payload:
            self._payload(event)  # type: ignore[arg-type]
        elif isinstance(event, StoreStarted):
            if not self._sink.counts.first_s:
                self._sink.counts.first_s = time.monotonic()
            self._hash = blake2b(digest_size=HASH_BYTES) if self._sink.checks else None
            if self._sink.order is not None:
                self._beginning, self._begun_s = bytearray(), time.monotonic()
        elif isinstance(event, StoreEnded):
            self._ended(event.store)
        elif isinstance(event, AssociationRequested):
            self._associate(event)
        elif isinstance(event, ReleaseRequested):
            self._releasing = True
            self._release_if_done()

    def _payload(self, event: Payload) -> None:
        self._sink.counts.bytes += len(event.data)
        if self._hash is not None:
            self._hash.update(event.data)
        if self._beginning is not None:
            self._beginning += event.data[: LOOK_BYTES - len(self._beginning)]

    def _associate(self, event: AssociationRequested) -> None:
        request, counts = event.request, self._sink.counts
        said = answer(AcceptorPolicy((request.called,)), request)
        if isinstance(said, AssociateReject):
            self._connection.reject(said)
            return
        self._connection.accept(said)
        self._counted = True
        counts.associations += 1
        self._number, self._calling = counts.associations, request.calling
        counts.associations_now += 1
        counts.associations_most = max(counts.associations_most, counts.associations_now)

    def _ended(self, store: StoreStarted) -> None:
        asked, counts = self._sink.asked, self._sink.counts
        counts.objects += 1
        self._write_order(store)
        if asked.die_after and counts.objects > asked.die_after:
            self._sink.close()
            os.kill(os.getpid(), signal.SIGKILL)
        if asked.stall_after and counts.objects > asked.stall_after:
            self._sink.stalled = True
            return
        self._unanswered += 1
        if asked.delay:
            asyncio.get_running_loop().call_later(asked.delay, self._answer, store, self._hash)
        else:
            self._answer(store, self._hash)

    def _write_order(self, store: StoreStarted) -> None:
        if self._sink.order is None or self._beginning is None:
            return
        command = store.command
        said = {
            "association": self._number,
            "calling": self._calling,
            "begun_s": self._begun_s,
            "ended_s": time.monotonic(),
            "uid": command.sop_instance,
            "sop_class": command.sop_class,
        }
        content = encode_head(FileMeta(command.sop_class, command.sop_instance, store.syntax)) + self._beginning
        with suppress(Corrupt):
            header = peek(lambda offset, length: content[offset : offset + length], len(content))
            for name, tag in (("series", SERIES_INSTANCE_UID), ("number", INSTANCE_NUMBER)):
                said[name] = next(iter(header.texts(tag) or ()), "")
        self._sink.order.write(json.dumps(said) + "\n")

    def _answer(self, store: StoreStarted, digest: Any) -> None:
        asked, counts = self._sink.asked, self._sink.counts
        self._unanswered -= 1
        if self.link.closing:
            return
        refused = asked.status and counts.objects % asked.one_in == 0
        counts.refused += bool(refused)
        if digest is not None and not refused:
            self._sink.remember(store.command.sop_instance, digest.hexdigest())
        self._connection.store_answer(store, asked.status if refused else 0x0000)
        self._release_if_done()
        counts.last_s = time.monotonic()
        if asked.delay:
            self.link.flush()

    def _release_if_done(self) -> None:
        if self._releasing and not self._unanswered:
            self._released = True
            self._connection.release_answer()

    def fed(self) -> None:
        sink = self._sink
        if sink.stalled:
            self.link.hold_reading(True)
        elif sink.asked.mb_per_s:
            self._slow_down(sink.asked.mb_per_s * 1e6)

    def _slow_down(self, bytes_per_s: float) -> None:
        """Stop reading until the line that all connections share would be free again."""
        sink, now_s = self._sink, time.monotonic()
        read_bytes, self._read_bytes = self.link.received_bytes - self._read_bytes, self.link.received_bytes
        sink.free_s = max(sink.free_s, now_s) + read_bytes / bytes_per_s
        if sink.free_s - now_s > SLACK_S:
            self.link.hold_reading(True)
            asyncio.get_running_loop().call_later(sink.free_s - now_s, self._read_on)

    def _read_on(self) -> None:
        if not self.link.closing:
            self.link.hold_reading(False)

    def ended(self, why: LeydenError | None) -> None:
        if self._counted:
            self._sink.counts.associations_now -= 1
            self._sink.counts.lost += not self._released

    def gone(self) -> None:
        pass


async def serve(asked: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sink = Sink(asked)
    await loop.create_server(sink.connection, asked.host, asked.port, backlog=512)
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 1.0)
        if sink.ledger is not None:
            sink.ledger.flush()
        if asked.each_second and not stop.is_set():
            print(sink.counts.as_json(), flush=True)
    print(sink.counts.as_json(), flush=True)
    sink.close()


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tls", nargs=2, type=Path, metavar=("CERTIFICATE", "KEY"), help="PEM files; no plain TCP")
    parser.add_argument("--check", action="store_true", help="count the UIDs that come more than once")
    parser.add_argument("--uids", type=Path, metavar="FILE", help="write every UID and hash there; implies --check")
    parser.add_argument("--order", type=Path, metavar="FILE", help="write there what came over which association")
    parser.add_argument("--delay", type=float, default=0.0, metavar="S", help="before each answer")
    parser.add_argument("--mb-per-s", type=float, default=0.0, help="read no faster, all connections together")
    parser.add_argument(
        "--status", type=lambda text: int(text, 16), default=0, metavar="HEX", help="instead of Success"
    )
    parser.add_argument("--one-in", type=int, default=1, metavar="N", help="--status for every Nth object only")
    parser.add_argument("--stall-after", type=int, default=0, metavar="N", help="objects")
    parser.add_argument("--die-after", type=int, default=0, metavar="N", help="objects")
    parser.add_argument("--each-second", action="store_true", help="print the counts each second too")
    return parser.parse_args(words)


def main() -> None:
    asked = parse()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(asked))


if __name__ == "__main__":
    main()
