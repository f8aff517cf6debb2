"""A destination: a process that keeps all it gets, with a ledger, and behaves as it is told.

    python destination.py PORT FOLDER

The ledger FOLDER/ledger has a line of JSON for each object: `uid`, `syntax`, and where in FOLDER/data its data set
stands (`at`, `size`), written when the object is whole and before it is answered; and one with `uid` and `status` after
the answer was handed to the kernel. A line of JSON on the standard input changes the behaviour from then on:
{"do": "status", "status": 42752}. Its answer, `ok`, comes on the standard output. BEHAVIOURS are all there are. At the
end of the standard input the process ends.
"""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support import wire


class Books:
    """The files, appended to by all visits; whoever reads them may cut them to nothing between two loads."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._data = os.open(folder / "data", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._ledger = os.open(folder / "ledger", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._lock = threading.Lock()

    def got(self, uid: str, syntax: str, data: bytes) -> None:
        with self._lock:
            at = os.lseek(self._data, 0, os.SEEK_END)
            os.write(self._data, data)
            self._write({"uid": uid, "syntax": syntax, "at": at, "size": len(data)})

    def answered(self, uid: str, status: int) -> None:
        with self._lock:
            self._write({"uid": uid, "status": status})

    def _write(self, entry: dict[str, Any]) -> None:
        os.write(self._ledger, json.dumps(entry).encode() + b"\n")


class Visit:
    """One association, in a thread of its own."""

    def __init__(self, link: socket.socket, books: Books, behaviour: Callable[[], dict[str, Any]]) -> None:
        self.link, self.books, self.behaviour = link, books, behaviour
        self.syntaxes: dict[int, str] = {}

    def run(self) -> None:
        with self.link, suppress(OSError):
            self.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._pdu():
                pass

    def _pdu(self) -> bool:
        """Read and answer the next PDU, or all those of the next message; False at the end."""
        kind, body = wire.read_pdu(self.link)
        if kind == wire.ASSOCIATE_RQ:
            return self._associate(body)
        if kind == wire.P_DATA:
            return self._message(body)
        if kind == wire.RELEASE_RQ:
            self.link.sendall(wire.pdu(wire.RELEASE_RP))
        return False

    def _associate(self, body: bytes) -> bool:
        called, calling, contexts, _ = wire.proposed(body)
        self.syntaxes = {number: syntaxes[0] for number, _, syntaxes in contexts}
        answers = [(number, 0, syntax) for number, syntax in self.syntaxes.items()]
        self.link.sendall(wire.ac(called, calling, answers))
        return True

    def _message(self, body: bytes) -> bool:
        command, data, whole, context = b"", bytearray(), False, 0
        asked: dict[int, bytes] = {}
        while True:
            for number, header, fragment in wire.pdvs(body):
                context = number
                if header & wire.COMMAND:
                    command += fragment
                    if header & wire.LAST:
                        asked = wire.elements(command)
                        whole = wire.number(asked, 0x0800) == 0x0101  # there is no data set
                else:
                    data += fragment
                    whole = bool(header & wire.LAST)
            if whole:
                break
            kind, body = wire.read_pdu(self.link)
            if kind != wire.P_DATA:
                return False
        if wire.number(asked, 0x0100) != wire.STORE_RQ:
            self.answer(asked, context, 0)
            return True
        behaviour = self.behaviour()
        return BEHAVIOURS[behaviour["do"]](self, asked, context, bytes(data), behaviour)

    def keep(self, asked: dict[int, bytes], context: int, data: bytes) -> None:
        self.books.got(wire.text(asked, 0x1000), self.syntaxes[context], data)

    def answer(self, asked: dict[int, bytes], context: int, status: int) -> None:
        self.link.sendall(wire.pdv(wire.response(asked, status), command=True, last=True, context=context))


# What is done with an object that has come as a whole; False: the connection ends.
Behaviour = Callable[[Visit, dict[int, bytes], int, bytes, dict[str, Any]], bool]


def good(visit: Visit, asked: dict[int, bytes], context: int, data: bytes, how: dict[str, Any]) -> bool:
    """Keep it and answer Success."""
    visit.keep(asked, context, data)
    visit.answer(asked, context, 0)
    visit.books.answered(wire.text(asked, 0x1000), 0)
    return True


def status(visit: Visit, asked: dict[int, bytes], context: int, data: bytes, how: dict[str, Any]) -> bool:
    """Keep nothing, and answer with this `status`."""
    visit.answer(asked, context, how["status"])
    visit.books.answered(wire.text(asked, 0x1000), how["status"])
    return True


def late(visit: Visit, asked: dict[int, bytes], context: int, data: bytes, how: dict[str, Any]) -> bool:
    """As good, `delay_s` late."""
    time.sleep(how["delay_s"])
    return good(visit, asked, context, data, how)


BEHAVIOURS: dict[str, Behaviour] = {"good": good, "status": status, "late": late}


def main() -> None:
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    books, now = Books(folder), {"do": "good"}
    listener = socket.create_server(("127.0.0.1", port), backlog=128)

    def accept() -> None:
        while True:
            link, _ = listener.accept()
            threading.Thread(target=Visit(link, books, lambda: now).run, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    for line in sys.stdin:
        now = json.loads(line)
        print("ok", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
