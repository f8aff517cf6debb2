"""Objects that a peer does not survive: they do not hold up others, end in rejected/, and nothing else is lost.

perf/suspects.py has 150 and 500 of them in front, and a good one each 8 s.
"""

import signal
import struct
import threading
import time
from collections.abc import Callable

import pytest

from leyden.spool.stage import Stage
from support.faulty import (
    FaultyScp,
    Misdeed,
    Step,
    Talk,
    abort,
    close,
    crash,
    malformed_status,
    no_message_id,
    stall,
    status,
    wrong_message_id,
)
from support.peers import Pacs
from support.sender import CT, Sender, dataset, destination
from support.service import ENDS_WITHIN_S, LIMIT_S, free_port, wait_for

MR = "1.2.840.10008.5.1.4.1.1.4"


def broken(uid: str) -> bytes:
    """A dataset with an item that is longer than its sequence: storescp aborts where it stands."""
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 200) + b"ab" * 10
    return dataset(CT, uid) + struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, len(item)) + item


@pytest.fixture
def faulty_peer():
    """Make started storage SCPs that do what `misdeed(uid)` says instead of an answer."""
    made: list[FaultyScp] = []

    def make(misdeed: Callable[[str], Misdeed | None]) -> FaultyScp:
        made.append(FaultyScp(lambda talk, step: misdeed(talk.uid) if step is Step.STORED else None))
        return made[-1].start()

    yield make
    for one in made:
        one.stop()


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
def test_whatever_a_peer_does_instead_of_an_answer_counts_against_that_object_only(sender, faulty_peer, misdeed):
    """An association lost in mid-object "counts against that object, not against the destination" (DECISIONS.md 53).
    Three objects of a class are lost; others, of the same class too, are delivered after a few tries at most."""
    bad = {f"2.25.66.{n}" for n in range(3)}
    peer = faulty_peer(lambda uid: misdeed if uid in bad else None)
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
    assert misdeed is crash or peer.answered.total() == len(good)  # a crash may take an answer with it
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


def test_while_nothing_at_all_is_answered_everything_waits(sender, faulty_peer):
    """Absent on purpose: "retries that end while a destination answers nothing" (ARCHITECTURE.md).
    A peer that aborts whatever comes: nobody is given up, and the pauses grow; then it is well again."""
    sick = threading.Event()
    sick.set()
    peer = faulty_peer(lambda uid: abort if sick.is_set() else None)
    one = sender(destination(peer.port, retry_delays_s=(0.5,)))
    uids = {one.put(n, uid=f"2.25.77.{n}") for n in range(12)}
    one.start()
    wait_for(lambda: sum(peer.tries.values()) >= 30, why=one.log)
    assert "given up" not in one.log
    sick.clear()
    wait_for(lambda: set(peer.answered) == uids, why=one.log)
    one.wait_counts()


def test_a_duplicate_after_the_sender_was_killed_is_a_delivery(sender, faulty_peer):
    """A claim that its sender left behind counts as sent and unanswered (DECISIONS.md 56).
    The peer took it, and the sender died before it heard so. After the restart the peer says: duplicate."""
    held = threading.Event()

    def silent(talk: Talk) -> None:
        held.set()
        stall(talk)

    peer = faulty_peer(lambda uid: status(0x0111) if held.is_set() else silent)
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
