"""A source: a process that sends objects, and keeps a ledger of what it began to send and what it was answered.

    python source.py PORT [CALLING TITLE]

It is asked by lines of JSON on its standard input, and writes its ledger to the standard output, a line each:
`> UID` before the first byte of an object, `< UID STATUS` after its answer, `! why` after an association that ended
otherwise than by its release, `done` when everything that was asked for has been answered with Success.
{"first": 0, "count": 60, "associations": 4} sends so many objects; `"per_s"` no faster than that. What was not answered
with Success is sent again, until it is, or {"stop": true}. At the end of the standard input the process ends.
"""

import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.objects import called_by, make, uid_of
from leyden.dicom.uids import EXPLICIT_LE
from support import wire

AGAIN_S = 0.1  # after an association without a Success
ANSWER_S = 60.0
PDV_BYTES = 16000


class Source:
    def __init__(self, port: int, calling: str) -> None:
        self._port, self._calling = port, calling
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        with self._lock:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def send(self, first: int, count: int, associations: int, per_s: float = 0.0) -> None:
        """In threads, one for each association; the titles are called in turn."""
        shares: list[list[int]] = [[] for _ in range(associations)]
        titles = sorted({called_by(number) for number in range(first, first + count)})
        for title in titles:
            those = [share for at, share in enumerate(shares) if at % len(titles) == titles.index(title)] or shares[:1]
            for turn, number in enumerate(n for n in range(first, first + count) if called_by(n) == title):
                those[turn % len(those)].append(number)
        pause_s = associations / per_s if per_s else 0.0
        self._threads = [threading.Thread(target=self._share, args=(share, pause_s)) for share in shares if share]
        for thread in self._threads:
            thread.start()
        threading.Thread(target=self._report, args=(self._threads,)).start()

    def _report(self, threads: Sequence[threading.Thread]) -> None:
        for thread in threads:
            thread.join()
        self.say("done")

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._stop.clear()

    def _share(self, left: list[int], pause_s: float) -> None:
        while left and not self._stop.is_set():
            before = len(left)
            for title in sorted({called_by(number) for number in left}):
                try:
                    self._associate(title, left, pause_s)
                except (OSError, ValueError) as error:
                    self.say(f"! {type(error).__name__}: {error}")
            if len(left) == before:
                self._stop.wait(AGAIN_S)

    def _associate(self, called: str, left: list[int], pause_s: float) -> None:
        """One association; removes what was answered with Success from `left`."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            context = (1, wire.CT, EXPLICIT_LE)
            link.sendall(wire.rq(context, called=called.encode(), calling=self._calling.encode()))
            kind, body = wire.read_pdu(link)
            if kind != wire.ASSOCIATE_AC or wire.accepted(body) != [1]:
                raise ValueError(f"association: PDU {kind}, {body[:4].hex()}")
            for number in [each for each in left if called_by(each) == called]:
                if self._stop.is_set():
                    break
                if self._store(link, number) == 0:
                    left.remove(number)
                time.sleep(pause_s)
            link.sendall(wire.pdu(wire.RELEASE_RQ))
            wire.read_pdu(link)

    def _store(self, link: socket.socket, number: int) -> int:
        uid, data = uid_of(number), make(number).data
        parts = [data[at : at + PDV_BYTES] for at in range(0, len(data), PDV_BYTES)]
        pdus = [wire.pdv(part, command=False, last=at == len(parts) - 1) for at, part in enumerate(parts)]
        self.say(f"> {uid}")
        link.sendall(wire.pdv(wire.store_rq(uid), command=True, last=True) + b"".join(pdus))
        answer = wire.read_command(link)
        if not answer or wire.text(answer, 0x1000) != uid:
            raise ValueError(f"no answer to {uid}")
        status = wire.number(answer, 0x0900)
        self.say(f"< {uid} {status:04X}")
        return status


def main() -> None:
    source = Source(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "CT01")
    for line in sys.stdin:
        asked = json.loads(line)
        if asked.pop("stop", False):
            source.stop()
        else:
            source.send(**asked)
    source.stop()


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
