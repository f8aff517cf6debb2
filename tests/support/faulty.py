"""A storage SCP that takes part as it should, or does something else at any step of an association, as it is told.

It works on bare sockets, a thread an association, so that nothing keeps it from any bytes. It remembers what it has
promised (`answered`) and a hash of each data set that it had whole (`content`).
"""

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable
from enum import Enum
from hashlib import sha256

from support import wire
from support.service import free_port

Context = tuple[int, int, str]  # of an A-ASSOCIATE-AC: id, result (0 = accepted), transfer syntax
_NO_DATA_SET = (0x0800, wire.us(0x0101))


class Step(Enum):
    """When it may do something else."""

    CONNECTED = "connected"  # no byte was read
    REQUESTED = "requested"  # instead of the A-ASSOCIATE-AC
    BEGUN = "begun"  # the C-STORE-RQ is whole, and the data set comes
    STORED = "stored"  # instead of the answer Success
    RELEASED = "released"  # instead of the A-RELEASE-RP


class Over(Exception):
    """The association is over."""


class Talk:
    """One association of a FaultyScp. `contexts` are those proposed (id, abstract syntax, transfer syntaxes), `uid` is
    the instance of the last C-STORE-RQ."""

    def __init__(self, peer: "FaultyScp", client: socket.socket) -> None:
        self.peer, self.client = peer, client
        self.called = self.calling = self.uid = ""
        self.contexts: list[tuple[int, str, list[str]]] = []
        self._asked: dict[int, bytes] = {}  # the elements of the C-STORE-RQ
        self._context_id = 0

    def serve(self) -> None:
        """The whole association."""
        self.peer.step(self, Step.CONNECTED)
        self.called, self.calling, self.contexts, _ = wire.proposed(self._read(wire.ASSOCIATE_RQ))
        if not self.peer.step(self, Step.REQUESTED):
            self.accept()
        while True:
            kind, body = wire.read_pdu(self.client)
            if kind == wire.RELEASE_RQ:
                if not self.peer.step(self, Step.RELEASED):
                    self.client.sendall(wire.pdu(wire.RELEASE_RP))
                raise Over
            if kind != wire.P_DATA:
                raise Over
            self._message(body)

    def _read(self, wanted: int) -> bytes:
        kind, body = wire.read_pdu(self.client)
        if kind != wanted:
            raise Over
        return body

    def _message(self, body: bytes) -> None:
        """The rest of a message that begins with this P-DATA-TF PDU, and the answer."""
        command, content, whole = b"", sha256(), False
        while True:
            for self._context_id, header, fragment in wire.pdvs(body):
                if not header & wire.COMMAND:
                    content.update(fragment)
                    whole = bool(header & wire.LAST)
                    continue
                command += fragment
                if header & wire.LAST:
                    self._asked = wire.elements(command)
                    self.uid = wire.text(self._asked, 0x1000)
                    if wire.number(self._asked, 0x0100) != wire.STORE_RQ:
                        return
                    self.peer.step(self, Step.BEGUN)
            if whole:
                break
            body = self._read(wire.P_DATA)
        self.peer.came(self.uid, content.hexdigest())
        if not self.peer.step(self, Step.STORED):
            self.respond()

    # What it can say

    def send(self, data: bytes) -> None:
        self.client.sendall(data)

    def accept(self, contexts: list[Context] | None = None, max_pdu_bytes: int = 16384) -> None:
        """An A-ASSOCIATE-AC, that accepts everything unless `contexts` are given."""
        if contexts is None:
            contexts = [(number, 0, syntaxes[0]) for number, _, syntaxes in self.contexts]
        self.send(wire.ac(self.called, self.calling, contexts, max_pdu_bytes))

    def respond(self, status: int = 0x0000) -> None:
        """The C-STORE-RSP."""
        if status in (0x0000, 0x0001, 0x0107, 0x0116) or status >> 12 == 0xB:
            self.peer.promised(self.uid)
        self.command(wire.response(self._asked, status))

    def response(self, *elements: tuple[int, bytes], field: int = wire.STORE_RQ, message: int | None = 0) -> None:
        """A response of these elements; `message` is added to the message ID, None leaves it out."""
        asked = wire.number(self._asked, 0x0110)
        mine = () if message is None else ((0x0120, wire.us(asked + message)),)
        self.command(wire.command((0x0100, wire.us(field | wire.RESPONSE)), *mine, _NO_DATA_SET, *elements))

    def command(self, command_set: bytes, context_id: int = 0) -> None:
        self.send(wire.pdv(command_set, command=True, last=True, context=context_id or self._context_id))

    def cut(self) -> None:
        """End the connection, from another thread."""
        with contextlib.suppress(OSError):
            self.client.shutdown(socket.SHUT_RDWR)

    def is_gone(self, within_s: float = 300.0) -> bool:
        """Neither read nor write for so long, or until somebody has closed the connection."""
        poll = select.poll()
        poll.register(self.client, select.POLLRDHUP)
        return bool(poll.poll(within_s * 1000))


Misdeed = Callable[[Talk], None]
Act = Callable[[Talk, Step], Misdeed | None]
"""What to do instead at a step; None = as it should be."""


def well(talk: Talk, step: Step) -> None:
    return None


class FaultyScp:
    """It listens from start() to stop(). `act` may be changed at any time, and counts from the next step on.

    `requests` counts the associations that were asked for, `tries` the data sets that were whole, `answered` those
    that it answered with Success or a warning.
    """

    def __init__(
        self,
        act: Act = well,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.act = act
        self.tls = tls  # may be changed at any time, and counts for the next connection
        self.host, self.port = host, port or free_port()
        self.requests = 0
        self.misdeeds = 0
        self.tries: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.content: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._talks: set[Talk] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None

    def start(self) -> "FaultyScp":
        self._listener = socket.create_server((self.host, self.port), backlog=50)
        self._run(self._accept, self._listener)
        return self

    def _run(self, what: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=what, args=(argument,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._run(self._serve, listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        if self.tls is not None:
            try:
                client = self.tls.wrap_socket(client, server_side=True)
            except OSError:
                client.close()
                with self._lock:
                    self.misdeeds += 1
                return
        with client:
            talk = Talk(self, client)
            with self._lock:
                self._talks.add(talk)
            with contextlib.suppress(OSError, Over):
                talk.serve()
            with self._lock:
                self._talks.discard(talk)

    @property
    def associations(self) -> int:
        """How many there are now."""
        return len(self._talks)

    def step(self, talk: Talk, step: Step) -> bool:
        """Whether it has done something else."""
        self.requests += step is Step.REQUESTED
        misdeed = self.act(talk, step)
        if misdeed is None:
            return False
        with self._lock:
            self.misdeeds += 1
        misdeed(talk)
        return True

    def has_misbehaved(self, times: int) -> bool:
        return self.misdeeds >= times

    def promised(self, uid: str) -> None:
        with self._lock:
            self.answered[uid] += 1

    def came(self, uid: str, content: str) -> None:
        with self._lock:
            self.tries[uid] += 1
            self.content.setdefault(uid, set()).add(content)

    def cut(self) -> None:
        """End all associations, as a peer that dies."""
        with self._lock:
            talks = tuple(self._talks)
        for talk in talks:
            talk.cut()

    def mend(self) -> None:
        """From now on all is as it should be; it was started anew."""
        self.act = well
        self.cut()

    def stop(self) -> None:
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()
        for thread in self._threads:
            thread.join(10)


def at(step: Step, misdeed: Misdeed, *uids: str) -> Act:
    """Do this at each such step; or only for objects of these UIDs."""
    return lambda talk, now: misdeed if now is step and (not uids or talk.uid in uids) else None


# -- instead of the answer to an object


def abort(talk: Talk) -> None:
    talk.send(wire.pdu(wire.ABORT))
    raise Over


def close(talk: Talk) -> None:
    raise Over


def crash(talk: Talk) -> None:
    """The whole peer dies, with all its associations, and is there again at once."""
    talk.peer.cut()


def stall(talk: Talk) -> None:
    """Silence, until the other has had enough."""
    talk.is_gone()
    raise Over


def reset(talk: Talk) -> None:
    """A reset instead of a close: what was sent before may be lost."""
    talk.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Over


def release(talk: Talk) -> None:
    talk.send(wire.pdu(wire.RELEASE_RQ))


def garbage(talk: Talk) -> None:
    talk.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


_SUCCESS = (0x0900, wire.us(0))


def wrong_message_id(talk: Talk) -> None:
    talk.response(_SUCCESS, message=1)


def no_message_id(talk: Talk) -> None:
    talk.response(_SUCCESS, message=None)


def malformed_status(talk: Talk) -> None:
    talk.response((0x0900, bytes(4)))


def no_status(talk: Talk) -> None:
    talk.response()


def answer_to_an_echo(talk: Talk) -> None:
    talk.response(_SUCCESS, field=wire.ECHO_RQ)


def a_request(talk: Talk) -> None:
    talk.command(wire.command((0x0100, wire.us(wire.ECHO_RQ)), (0x0110, wire.us(1)), _NO_DATA_SET))


def command_cut_short(talk: Talk) -> None:
    talk.command(wire.command(_SUCCESS)[:-1])


def on_another_context(talk: Talk) -> None:
    talk.command(wire.command(_SUCCESS), context_id=253)


def pdu_without_an_end(talk: Talk) -> None:
    talk.send(struct.pack(">BxL", wire.P_DATA, 1000) + bytes(8))
    stall(talk)


def endless_pdu(talk: Talk) -> None:
    talk.send(struct.pack(">BxL", wire.P_DATA, 0xFFFFFFFE))


def a_second_request(talk: Talk) -> None:
    talk.send(wire.rq((1, wire.CT, "1.2.840.10008.1.2")))


def a_second_accept(talk: Talk) -> None:
    talk.accept()


def other_instance(talk: Talk) -> None:
    """Success, of another instance and class: the message ID says which is meant."""
    talk.peer.promised(talk.uid)
    talk.response((0x0002, wire.MR.encode()), _SUCCESS, (0x1000, b"2.25.4711"))


def twice(talk: Talk) -> None:
    talk.respond()
    talk.response(_SUCCESS)


def success_and_abort(talk: Talk) -> None:
    talk.respond()
    abort(talk)


def success_and_close(talk: Talk) -> None:
    talk.respond()
    raise Over


def late(seconds: float) -> Misdeed:
    """The right answer, so much later."""

    def wait(talk: Talk) -> None:
        if talk.is_gone(seconds):
            raise Over
        talk.respond()

    return wait


def status(number: int) -> Misdeed:
    return lambda talk: talk.respond(number)


# -- while the data set comes


def early_refusal(talk: Talk) -> None:
    """Some refuse at once, and read no more."""
    talk.respond(0xA700)
    talk.client.shutdown(socket.SHUT_WR)
    talk.is_gone(5.0)
    raise Over


# -- instead of the answer to the request for an association


def rejection(result: int, source: int, reason: int) -> Misdeed:
    def reject(talk: Talk) -> None:
        talk.send(wire.pdu(wire.ASSOCIATE_RJ, bytes((0, result, source, reason))))
        raise Over

    return reject


def answers(answer: Callable[[Talk], list[Context]]) -> Misdeed:
    """An A-ASSOCIATE-AC with these answers to the contexts."""
    return lambda talk: talk.accept(answer(talk))


def takes_pdus_of(max_pdu_bytes: int) -> Misdeed:
    return lambda talk: talk.accept(max_pdu_bytes=max_pdu_bytes)


def accept_cut_short(talk: Talk) -> None:
    talk.send(wire.ac(talk.called, talk.calling, [])[:50])
    raise Over


def accept_with_stray_bytes(talk: Talk) -> None:
    """The last item is longer than the PDU."""
    talk.send(wire.pdu(wire.ASSOCIATE_AC, wire.ac(talk.called, talk.calling, [])[6:] + b"\x21\0\x40\0"))
