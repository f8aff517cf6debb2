"""Objects that a peer does not survive: they do not hold up others, end in rejected/, and nothing else is lost.

perf/suspects.py has 150 and 500 of them in front, and a good one each 8 s.
"""

import contextlib
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest

from leyden.dicom import associate, dimse, pdu
from leyden.dicom.negotiate import AnsweredContext, AssociateAccept
from leyden.spool.stage import Stage
from support.peers import Pacs
from support.sender import CT, Sender, dataset, destination
from support.service import ENDS_WITHIN_S, LIMIT_S, free_port, wait_for

MR = "1.2.840.10008.5.1.4.1.1.4"


def broken(uid: str) -> bytes:
    """A dataset with an item that is longer than its sequence: storescp aborts where it stands."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 200) + b"ab" * 10
    return dataset(CT, uid) + struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, len(item)) + item


Misdeed = Callable[["RawPeer", socket.socket, int, int], None]


class RawPeer:
    """A storage SCP on bare sockets, a thread an association. `misdeed(uid)` says what it does instead of an answer."""

    def __init__(self, misdeed: Callable[[str], Misdeed | None]) -> None:
        self.misdeed = misdeed
        self.tries: Counter[str] = Counter()
        self.answered: list[str] = []
        self.clients: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.clients.add(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), client:
            request = associate.decode_request(self._read(client)[1])
            answers = tuple(AnsweredContext(each.id, 0, each.syntaxes[0]) for each in request.contexts)
            client.sendall(associate.encode_accept(AssociateAccept(request.called, request.calling, answers)))
            command = bytearray()
            while True:
                kind, data = self._read(client)
                if kind == pdu.RELEASE:
                    client.sendall(pdu.RELEASE_REPLY_PDU)
                    return
                if kind != 4:
                    return
                context_id, header = data[10], data[11]
                if header & 1:
                    command += data[12:]
                elif header & 2:
                    store = dimse.decode(bytes(command))
                    command.clear()
                    self.tries[store.sop_instance] += 1
                    misdeed = self.misdeed(store.sop_instance)
                    if misdeed is not None:
                        misdeed(self, client, context_id, store.message_id)
                    else:
                        self.answered.append(store.sop_instance)
                        self.answer(client, context_id, dimse.encode_response(store, 0x0000))
        self.clients.discard(client)

    @staticmethod
    def _read(client: socket.socket) -> tuple[int, bytes]:
        head = client.recv(6, socket.MSG_WAITALL)
        if len(head) < 6:
            raise EOFError
        return head[0], head + client.recv(int.from_bytes(head[2:], "big"), socket.MSG_WAITALL)

    @staticmethod
    def answer(client: socket.socket, context_id: int, command_set: bytes) -> None:
        pdv = struct.pack(">LBB", len(command_set) + 2, context_id, 3) + command_set
        client.sendall(struct.pack(">BxL", 4, len(pdv)) + pdv)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in tuple(self.clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def raw_peer():
    made: list[RawPeer] = []

    def make(misdeed: Callable[[str], Misdeed | None]) -> RawPeer:
        made.append(RawPeer(misdeed))
        return made[-1]

    yield make
    for one in made:
        one.close()


def abort(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
    client.sendall(pdu.abort_pdu(0, 0))


def close(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
    client.shutdown(socket.SHUT_RDWR)


def crash(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
    """The whole peer dies, with all its associations, and is there again at once."""
    for each in tuple(peer.clients):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def stall(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
    """Silence, until the sender has had enough."""
    client.recv(1)


def _respond(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<HHL", 0, number, len(value)) + value for number, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def wrong_message_id(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
    wrong = struct.pack("<H", message_id + 1)
    said = _respond((0x0100, b"\x01\x80"), (0x0120, wrong), (0x0800, b"\x01\x01"), (0x0900, b"\0\0"))
    peer.answer(client, context_id, said)


def no_message_id(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
    peer.answer(client, context_id, _respond((0x0100, b"\x01\x80"), (0x0800, b"\x01\x01"), (0x0900, b"\0\0")))


def malformed_status(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
    mine = struct.pack("<H", message_id)
    said = _respond((0x0100, b"\x01\x80"), (0x0120, mine), (0x0800, b"\x01\x01"), (0x0900, b"\0\0\0\0"))
    peer.answer(client, context_id, said)


MISDEEDS = [abort, close, crash, stall, wrong_message_id, no_message_id, malformed_status]


def feed(one: Sender, uids: list[str], every_s: float, arrived: Callable[[str], bool]) -> list[float]:
    """Put good objects into the queue, one after the other; how long each took to be there."""
    put_s: dict[str, float] = {}
    took_s: dict[str, float] = {}

    def look() -> bool:
        now_s = time.monotonic()
        for uid in put_s:
            if uid not in took_s and arrived(uid):
                took_s[uid] = now_s - put_s[uid]
        if len(put_s) < len(uids) and now_s >= begin_s + len(put_s) * every_s:
            uid = uids[len(put_s)]
            one.put(0, uid=uid, sop_class=MR, calling="MR1")
            put_s[uid] = now_s
            one.ring()
        return len(took_s) == len(uids)

    begin_s = time.monotonic()
    wait_for(look, len(uids) * every_s + 60, "the good ones")
    return list(took_s.values())


def test_a_bad_series_in_front_holds_up_nobody_and_ends_in_rejected(sender, storescp):
    """rejected/: "the destination said no for good, or ended its association at each try" (docs/operate.md).
    storescp aborts the association at each of them. They are there first, and good ones come now and then."""
    bad = 20
    peer = storescp(parses=True)
    one = sender(destination(peer.port, impersonate=True, retry_delays_s=(0.5,)))
    for n in range(bad):
        one.put(n, broken(f"2.25.66.{n}"), uid=f"2.25.66.{n}", calling="US1")
    one.start()
    every_s, good = 1.0, 10
    here = lambda uid: any(peer.folder.glob(f"*.{uid}"))  # noqa: E731
    took_s = feed(one, [f"2.25.88.{n}" for n in range(good)], every_s, here)
    assert max(took_s) < 30
    stop = threading.Event()

    def more() -> None:
        """An archive is never without good objects for long; what it answers tells that it is well."""
        n = good
        while not stop.wait(every_s):
            one.put(0, uid=f"2.25.88.{n}", sop_class=MR, calling="MR1")
            n += 1

    others = threading.Thread(target=more)
    others.start()
    try:
        wait_for(lambda: one.counts().get("rejected") == bad, 120, f"rejected: {one.counts()}")
    finally:
        stop.set()
        others.join()
    one.wait_counts(rejected=bad)
    assert all(why["tries"] >= 2 and "abort" in why["last_words"] for why in one.whys())
    assert one.stop() == 0
    assert one.log.count("it is tried again, alone") == bad
    assert one.log.count("ERROR") == one.log.count("given up after") == bad


@pytest.mark.parametrize("misdeed", MISDEEDS, ids=lambda each: each.__name__)
def test_whatever_a_peer_does_instead_of_an_answer_counts_against_that_object_only(sender, raw_peer, misdeed):
    """An association lost in mid-object "counts against that object, not against the destination" (DECISIONS.md 53).
    Three objects of a class are lost; others, of the same class too, are delivered after a few tries at most."""
    bad = {f"2.25.66.{n}" for n in range(3)}
    peer = raw_peer(lambda uid: misdeed if uid in bad else None)
    one = sender(destination(peer.port, stall_threshold_s=2.0 if misdeed is stall else LIMIT_S, retry_delays_s=(0.1,)))
    for n, uid in enumerate(sorted(bad)):
        one.put(n, uid=uid)
    good = [one.put(n, uid=f"2.25.77.{n}") for n in range(10)]
    one.start()
    wait_for(lambda: set(peer.answered) >= set(good), why=f"{peer.answered}\n{one.log}")
    n = 0
    while one.counts() != {"rejected": 3}:
        good.append(one.put(0, uid=f"2.25.88.{n}", sop_class=MR))
        one.ring()
        n += 1
        wait_for(lambda: good[-1] in peer.answered, why=f"{good[-1]}\n{one.log}")
        assert n < 200, one.log
        time.sleep(0.2)  # the rate at which others come
    assert {why["tries"] >= 3 for why in one.whys()} == {True}
    assert max(peer.tries[uid] for uid in good) <= 4
    assert set(peer.answered) == set(good)
    assert misdeed is crash or len(peer.answered) == len(good)  # a crash may take an answer with it
    one.stop()


def test_a_peer_that_is_dead_costs_no_tries_and_loses_nothing(sender):
    """A destination is off: "its objects wait" (docs/operate.md), and no try counts against them."""
    port = free_port()
    one = sender(destination(port, retry_delays_s=(0.1,)))
    names = [one.put(n) for n in range(8)]
    one.start()
    one.wait_line("Connection refused")
    time.sleep(2)
    entries = [waiting.entry for waiting in one.spool.waiting(Stage.PREPARED, "PACS", 100)]
    assert [(entry.attempt, entry.unanswered) for entry in entries] == [(0, 0)] * 8
    peer = Pacs("PACS", port=port).start()
    try:
        assert {arrival.sop_instance_uid for arrival in peer.wait(8)} == set(names)
        one.wait_counts()
    finally:
        peer.stop()


def test_while_nothing_at_all_is_answered_everything_waits(sender, raw_peer):
    """Absent on purpose: "retries that end while a destination answers nothing" (ARCHITECTURE.md).
    A peer that aborts whatever comes: nobody is given up, and the pauses grow; then it is well again."""
    sick = threading.Event()
    sick.set()
    peer = raw_peer(lambda uid: abort if sick.is_set() else None)
    one = sender(destination(peer.port, retry_delays_s=(0.5,)))
    uids = {one.put(n, uid=f"2.25.77.{n}") for n in range(12)}
    one.start()
    wait_for(lambda: sum(peer.tries.values()) >= 30, why=one.log)
    assert "given up" not in one.log
    sick.clear()
    wait_for(lambda: set(peer.answered) == uids, why=one.log)
    one.wait_counts()


def test_a_duplicate_after_the_sender_was_killed_is_a_delivery(sender, raw_peer):
    """A claim that its sender left behind counts as sent and unanswered (DECISIONS.md 56).
    The peer took it, and the sender died before it heard so. After the restart the peer says: duplicate."""
    held = threading.Event()

    def duplicate(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
        mine = struct.pack("<H", message_id)
        said = _respond((0x0100, b"\x01\x80"), (0x0120, mine), (0x0800, b"\x01\x01"), (0x0900, b"\x11\x01"))
        peer.answer(client, context_id, said)

    def silent(peer: RawPeer, client: socket.socket, context_id: int, message_id: int) -> None:
        held.set()
        client.recv(1)

    peer = raw_peer(lambda uid: duplicate if held.is_set() else silent)
    one = sender(destination(peer.port))
    one.put(1)
    one.start()
    assert held.wait(LIMIT_S)
    assert one.process is not None
    one.process.send_signal(signal.SIGKILL)
    one.process.wait(ENDS_WITHIN_S)
    one.reclaim()
    one.start().wait_counts()
    assert [line["status"] for line in one.receipts()] == [0x0111]
