"""A name server that knows one address, or says what a broken one says."""

import contextlib
import socket
import struct
import threading
from enum import Enum

A = 1  # the type of record


class Mood(Enum):
    """What it does with a query."""

    SILENT = "silent"
    FAILS = "SERVFAIL"
    UNKNOWN = "NXDOMAIN"
    RUBBISH = "rubbish"
    ANSWERS = "answers"


_CODES = {Mood.FAILS: 2, Mood.UNKNOWN: 3}


class NameServer:
    """It answers on port 53 of `host`, which takes root. `queries` counts what it was asked in each mood."""

    def __init__(self, host: str, address: str) -> None:
        self.address, self.moods = address, [Mood.ANSWERS]
        self.queries: dict[Mood, int] = dict.fromkeys(Mood, 0)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                query, peer = self._socket.recvfrom(512)
                mood = self.moods[sum(self.queries.values()) % len(self.moods)]
                self.queries[mood] += 1
                if mood is Mood.RUBBISH:
                    self._socket.sendto(query[:2] + b"\xff" * 20, peer)
                elif mood is not Mood.SILENT:
                    self._socket.sendto(self._answer(query, _CODES.get(mood, 0)), peer)

    def _answer(self, query: bytes, code: int) -> bytes:
        """RFC 1035 section 4; an address has a time to live of 0."""
        question = query[12 : query.index(b"\0", 12) + 5]
        has_address = code == 0 and struct.unpack(">H", question[-4:-2])[0] == A
        head = query[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, has_address, 0, 0)
        record = struct.pack(">HHHLH", 0xC00C, A, 1, 0, 4) + socket.inet_aton(self.address)
        return head + question + (record if has_address else b"")

    def end(self) -> None:
        self._socket.close()
