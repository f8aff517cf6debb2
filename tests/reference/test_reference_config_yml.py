"""What the reference says of config.yml about receiving and ending, a test for each sentence, named after the key."""

import asyncio
import json
import os
import select
import shutil
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pydicom.uid import CTImageStorage

from interop.test_bad_input import connection, read_pdu
from interop.test_odd_peers import CT_CONTEXT, rq, store, store_pdus
from leyden.config.load import load
from leyden.config.settings import ReceiverSettings, Settings
from leyden.deliver.destination import Destination
from leyden.dicom.association import Event, Payload, Released, Responded, StoreEnded
from leyden.dicom.uids import IMPLICIT_LE
from leyden.holding import hold_s
from leyden.net.scu import Association, Stalled, StoreAnswer
from leyden.outbound.outcome import Ending, Outcome
from leyden.spool import recover
from leyden.spool.entry import Queued, ReceiptClock
from leyden.spool.receipts import ReceiptLog
from leyden.spool.recent import Begun, Recent, key_of
from leyden.spool.store import Spool
from support.acceptor import Peer, listening
from support.outbound import Parts
from support.peers import Pacs
from support.service import Service, free_port, node, wait_for
from support.volume import Volume
from unit.test_receiver import SETTINGS, Client, entries, file_of, opened, receiving, until
from unit.test_receiver import store as store_by

NODES = {"IMAGEPACS": "IMAGEPACS", "DCP_IMAGEPACS": "IMAGEPACS", "REPORTPACS": "REPORTPACS"}
TWICE = (("IMAGEPACS", "1.2.3"), ("DCP_IMAGEPACS", "1.2.3"))


def settings(**changes: object) -> ReceiverSettings:
    acceptor = replace(SETTINGS.acceptor, titles=tuple(NODES))
    return replace(SETTINGS, acceptor=acceptor, nodes=NODES, **changes)  # type: ignore[arg-type]


def load_warnings(folder: Path, config: str) -> tuple[str, ...]:
    loaded(folder, config)
    return load(folder, {}, {})[1]


def receipts(service: Service) -> list[dict[str, Any]]:
    """The lines of all receipts."""
    paths = sorted((service.spool / "receipts").glob("*.log"))
    return [json.loads(line) for path in paths for line in path.read_bytes().splitlines()]


def send(service: Service, *instances: str, called: bytes = b"IMAGEPACS") -> list[int]:
    """The answers to these SOP instances, over one association."""
    with connection(service) as link:
        link.sendall(rq(CT_CONTEXT, called=called))
        assert read_pdu(link)[0] == 2
        return [store(link, instance) for instance in instances]


# -- duplicateBehavior, duplicateThreshold


@pytest.mark.parametrize(
    ("behavior", "answer", "kept"), [("accept", 0x0000, 2), ("reject", 0x0111, 1), ("ignore", 0x0000, 1)]
)
def test_duplicateBehavior_says_what_becomes_of_the_second_one(
    tmp_path: Path, behavior: str, answer: int, kept: int
) -> None:
    """Same SOP instance, same destination: accept all; reject (answer 0x0111); ignore (answer Success, drop). The
    prefixed title stands for the same node."""

    async def main() -> None:
        async with receiving(tmp_path, settings(duplicates=behavior)) as (receiver, port):
            answers = []
            for called, instance in TWICE:
                association = await opened(port, called=called)
                answers.append((await store_by(association, tmp_path, b"data", instance)).status)
                await association.release()
            assert answers == [0, answer]
            assert len(entries(receiver)) == kept
            assert not list((receiver.spool.root / "embryo").iterdir())

    uvloop.run(main())


@pytest.mark.parametrize("behavior", ["reject", "ignore"])
def test_duplicateBehavior_is_about_the_same_instance_for_the_same_destination(tmp_path: Path, behavior: str) -> None:
    """Another instance, and the same one for another node, is no duplicate."""

    async def main() -> None:
        async with receiving(tmp_path, settings(duplicates=behavior)) as (receiver, port):
            for called, instance in (("IMAGEPACS", "1.2.3"), ("IMAGEPACS", "1.2.4"), ("REPORTPACS", "1.2.3")):
                association = await opened(port, called=called)
                assert await store_by(association, tmp_path, b"data", instance) == StoreAnswer(0)
                await association.release()
            assert len(entries(receiver)) == 3

    uvloop.run(main())


@pytest.mark.parametrize("threshold_s", [900.0, 86400.0])
def test_duplicateThreshold_is_how_long_the_first_one_counts(tmp_path: Path, threshold_s: float) -> None:
    """Within the threshold; over the turn of any minute, and not a second longer."""
    recent = Recent(tmp_path, threshold_s)
    at_s = time.time()
    assert recent.begin("key", at_s) is Begun.FIRST
    recent.keep("key", at_s)
    for after_s in (0.0, 59.0, 61.0, threshold_s / 2, threshold_s - 1):
        assert recent.begin("key", at_s + after_s) is Begun.KEPT
    assert recent.begin("key", at_s + threshold_s + 1) is Begun.FIRST


def test_duplicateThreshold_what_is_older_is_removed(tmp_path: Path) -> None:
    """recent/ does not grow: a minute goes when the threshold has passed since its end, and not before."""
    recent = Recent(tmp_path, 900.0)
    at_s = time.time()
    for key in ("one", "two"):
        recent.begin(key, at_s)
        recent.keep(key, at_s)
    recent.purge(at_s + 900)
    assert recent.begin("one", at_s + 890) is Begun.KEPT
    recent.purge(at_s + 900 + 121)
    assert [path.name for path in (tmp_path / "recent").iterdir()] == ["now"]


def test_duplicateBehavior_what_failed_is_no_duplicate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A duplicate is one of an object that was kept: if the disk refused the first, the sender's next try is kept."""

    def failing(_fd: int) -> None:
        raise OSError(28, os.strerror(28))

    async def main() -> None:
        async with receiving(tmp_path, settings(duplicates="ignore")) as (receiver, port):
            association = await opened(port)
            with monkeypatch.context() as patched:
                patched.setattr(os, "fdatasync", failing)
                assert (await store_by(association, tmp_path, b"data")).status == 0xA700
            receiver.commits.healthy = True  # as the probe says a second later
            assert not entries(receiver)
            assert await store_by(association, tmp_path, b"data") == StoreAnswer(0)
            assert len(entries(receiver)) == 1
            await association.release()

    uvloop.run(main())


def test_duplicateBehavior_waits_for_one_that_is_being_committed(tmp_path: Path) -> None:
    """Ignore never answers Success for what may still fail: the second one waits, and is kept if the first is not."""

    async def main() -> None:
        async with receiving(tmp_path, settings(duplicates="ignore")) as (receiver, port):
            key = key_of("IMAGEPACS", "1.2.3")
            assert receiver.recent.begin(key, time.time()) is Begun.FIRST
            association = await opened(port)
            second = asyncio.create_task(store_by(association, tmp_path, b"data"))
            done, _ = await asyncio.wait([second], timeout=0.3)
            assert not done
            receiver.recent.forget(key)  # the first has failed
            assert await second == StoreAnswer(0)
            assert len(entries(receiver)) == 1
            await association.release()

    uvloop.run(main())


def test_duplicateBehavior_what_a_crash_left_half_done_is_forgotten(tmp_path: Path) -> None:
    """Recovery, of a whole service or of one receiver, forgets what was being committed when it ended."""
    spool = Spool(tmp_path)
    spool.prepare([])
    recent = Recent(tmp_path, 900.0)
    for again in (lambda: recover.recover(spool), lambda: recover.reclaim(spool, "receiver-1", receiver=1)):
        assert recent.begin("key", time.time()) is Begun.FIRST
        assert recent.begin("key", time.time()) is Begun.BUSY
        again()
    assert recent.begin("key", time.time()) is Begun.FIRST


def test_duplicateBehavior_holds_across_receivers_and_restarts(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """One of many that come at once over several receivers is delivered, and none of those after a restart."""
    images = pacs("IMAGEPACS")
    leyden = service(node("IMAGEPACS", images.port), duplicateBehavior="ignore", receivers=3).start()
    instances = [f"2.25.{number}" for number in range(20)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: send(leyden, *instances), range(6)))
    assert answers == [[0] * 20] * 6
    leyden.stop()
    leyden.start()
    assert send(leyden, *instances) == [0] * 20
    assert send(leyden, "2.25.999") == [0]
    images.wait_until(lambda arrivals: any(a.sop_instance_uid == "2.25.999" for a in arrivals))
    leyden.wait_empty()
    assert sorted(images.uids()) == sorted([*instances, "2.25.999"])
    assert sum("came again" in line for line in leyden.lines) == 6 * 20


@pytest.mark.parametrize("point", ["embryo-synced", "new-synced"])
def test_duplicateBehavior_never_lies_after_a_kill(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path, point: str
) -> None:
    """A receiver is killed at each step of a commit: what the sender sends again is delivered at least once."""
    images = pacs("IMAGEPACS")
    leyden = service(node("IMAGEPACS", images.port), duplicateBehavior="ignore")
    leyden.start(LEYDEN_CRASH_AT=f"receiver/{point}:1:{tmp_path / 'died'}")
    with suppress(AssertionError):  # the answer does not come
        send(leyden, "2.25.1")
    leyden.wait_line("receiver-0 killed by SIGKILL")
    assert send(leyden, "2.25.1") == [0]
    images.wait(1)
    leyden.wait_empty()
    assert set(images.uids()) == {"2.25.1"}
    assert len(images.uids()) <= 2


# -- holdIncomingStorageAssociations, storageAssociationHoldExpectedTtlSeconds


def test_holdIncomingStorageAssociations_is_a_second_for_each_200_that_wait(tmp_path: Path) -> None:
    """Back-pressure by the measure of the original, 1 s for each 200 instances in new/; not below what the planner
    takes at one look."""
    assert [hold_s(waiting, 15.0) for waiting in (0, 1024, 1124, 1224, 2024, 9999)] == [0, 0, 0.5, 1, 5, 15]


def loaded(folder: Path, config: str) -> Settings:
    """The settings of this config.yml and one node."""
    (folder / "config.yml").write_text(config)
    (folder / "nodes.yml").write_text(node("IMAGEPACS", 104))
    return load(folder, {}, {})[0]


@pytest.mark.parametrize(
    ("config", "longest_s"),
    [
        ("", 15.0),
        ("storageAssociationHoldExpectedTtlSeconds: 10", 5.0),
        ("storageAssociationHoldExpectedTtlSeconds: 300", 15.0),
        ("clientTimeout: 4", 2.0),
        ("holdIncomingStorageAssociations: false", 0.0),
    ],
)
def test_storageAssociationHoldExpectedTtlSeconds_is_the_bound(tmp_path: Path, config: str, longest_s: float) -> None:
    """At most this, and at most 30 s: half of it, so that an answer comes well within what the sender waits."""
    assert loaded(tmp_path, config).receiver.longest_hold_s == longest_s


def test_holdIncomingStorageAssociations_delays_the_answer_and_nothing_else(tmp_path: Path) -> None:
    """The object is durable meanwhile; echo, other associations and the release do not wait. The answer comes as soon
    as new/ is short again."""

    async def main() -> None:
        async with receiving(tmp_path, settings(longest_hold_s=600.0)) as (receiver, port):
            association, other = await opened(port), await opened(port)
            receiver.holding.measured(10**6, 0.0)
            held = asyncio.create_task(store_by(association, tmp_path, b"data"))
            await until(lambda: entries(receiver))
            client = await Client.connect(port)
            client.begin_store("1.2.4", b"data", ends=True)
            client.connection.release()
            client.say()
            answer = await client.hear()
            assert isinstance(answer, Responded)
            assert answer.command.status == 0
            assert isinstance(await client.hear(), Released)
            assert await other.echo() == 0
            assert not held.done()
            receiver.holding.measured(0, 1.0)
            assert await held == StoreAnswer(0)
            assert await store_by(other, tmp_path, b"data", "1.2.5") == StoreAnswer(0)
            await association.release()
            await other.release()
            await client.close()

    uvloop.run(main())


@pytest.mark.parametrize("how", ["abort", "drain"])
def test_holdIncomingStorageAssociations_delays_no_end(tmp_path: Path, how: str) -> None:
    """An association whose answer is held ends at once if the peer aborts it; and if the service stops, answered."""

    async def main() -> None:
        async with receiving(tmp_path, settings(longest_hold_s=600.0)) as (receiver, port):
            receiver.holding.measured(10**6, 0.0)
            client = await Client.connect(port)
            client.begin_store("1.2.4", b"data", ends=True)
            await until(lambda: entries(receiver))
            if how == "abort":
                client.connection.abort()
                client.say()
            else:
                await receiver.drain(5.0)
                answer = await client.hear()
                assert isinstance(answer, Responded)
                assert answer.command.status == 0
            await client.hear_the_end()
            await client.close()
            await until(lambda: not receiver.associations)

    uvloop.run(main())


def test_holdIncomingStorageAssociations_is_told_once_and_so_is_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often new/ fills up and empties, the log says it once, and gives the all-clear after 10 s of calm."""

    async def main() -> None:
        async with receiving(tmp_path, settings(longest_hold_s=15.0)) as (receiver, _):
            for second in range(20):
                receiver.holding.measured(2000 if second in (1, 2, 4) else 0, float(second))

    with caplog.at_level("INFO", "leyden.receiver"):
        uvloop.run(main())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert caplog.records[1].message == "the planner keeps up again: no answer was held back for 10 s"


def test_holdIncomingStorageAssociations_counts_what_is_not_planned_yet(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """new/ holds what is not planned yet. While the planner stands still a sender is held; once it goes on, it gets
    its answer."""
    leyden = service(node("IMAGEPACS", free_port())).start()
    (planner,) = (one for one in leyden.processes() if "planner" in one.cmdline())
    planner.suspend()
    assert send(leyden, "2.25.1") == [0]
    (first,) = (leyden.spool / "new").rglob("*.dcm")
    for number in range(1300):
        os.link(first, first.with_name(f"{int(first.stem) - 1 - number:022d}.dcm"))
    assert send(leyden, "2.25.2") == [0]
    leyden.wait_line("answers are held back")
    with connection(leyden) as link:
        link.sendall(rq(CT_CONTEXT, called=b"IMAGEPACS"))
        assert read_pdu(link)[0] == 2
        link.sendall(store_pdus("2.25.3"))
        assert not select.select([link], [], [], 0.5)[0]
        planner.resume()
        assert select.select([link], [], [], 45.0)[0]


def test_holdIncomingStorageAssociations_does_not_count_what_the_planner_has_set_aside(
    service: Callable[..., Service], tmp_path: Path
) -> None:
    """What waits in new/ because a copy of it cannot be saved may do so for days: no sender is slowed down by it."""
    routes = "- Actions:\n    - Type: save_file\n      Target: /proc/nowhere/\n"
    leyden = service(node("IMAGEPACS", free_port()), routes).start()
    spool = Spool(leyden.spool)
    assert send(leyden, "2.25.1") == [0]
    wait_for(lambda: (leyden.spool / "new" / ".set-aside").exists())
    wait_for(lambda: spool.unplanned(10) == 0)
    assert send(leyden, "2.25.2") == [0]
    wait_for(lambda: spool.unplanned(10) == 0)
    assert len(leyden.left()) == 2


def test_holdIncomingStorageAssociations_does_not_count_what_is_too_young(tmp_path: Path) -> None:
    """What waits for minimumAge is no backlog."""
    spool = Spool(tmp_path)
    spool.prepare([])
    for age_s in (1, 1, 100):
        receipt = ReceiptClock(0, os.getpid()).next(int((time.time() - age_s) * 1e6))
        place = tmp_path / "new" / receipt[:8]
        place.mkdir(exist_ok=True)
        (place / f"{receipt}.dcm").touch()
    assert [spool.unplanned(10), spool.unplanned(10, minimum_age_s=50.0)] == [3, 1]


# -- minFreeSpace


@pytest.mark.parametrize("scarce", ["space", "inodes"])
def test_minFreeSpace_has_a_low_and_a_hard_mark(service: Callable[..., Service], tmp_path: Path, scarce: str) -> None:
    """Percent of the disk kept free; below it C-STORE is answered 0xA700 and nothing is lost. A quarter earlier new
    associations are rejected 2,3,1. Each is told once, so is its end, and it works again by itself."""
    volume = Volume(tmp_path / "image", tmp_path / "volume", inodes=1024)
    ballast = volume.place / "ballast"

    def leave_free(percent: float) -> None:
        shutil.rmtree(ballast, ignore_errors=True)
        ballast.mkdir()
        there = os.statvfs(volume.place)
        if scarce == "inodes":
            for number in range(there.f_favail - int(there.f_files * percent / 100)):
                (ballast / str(number)).touch()
        else:
            with (ballast / "file").open("wb") as file:
                taken = there.f_bavail - there.f_blocks * percent / 100
                os.posix_fallocate(file.fileno(), 0, int(there.f_frsize * taken))

    try:
        leyden = service(node("IMAGEPACS", free_port()), minFreeSpace=40, cachePath=volume.place / "cache").start()
        answers = []
        with connection(leyden) as old:
            old.sendall(rq(CT_CONTEXT, called=b"IMAGEPACS"))
            assert read_pdu(old)[0] == 2
            for free, said in (
                (45, "new associations are rejected (2,3,1)"),
                (30, "objects are refused (0xA700)"),
                (45, "objects are taken again"),
                (70, "new associations are taken again"),
            ):
                leave_free(free)
                leyden.wait_line(said)
                answers.append(store(old, f"2.25.{len(answers)}"))
                with connection(leyden) as new:
                    new.sendall(rq(CT_CONTEXT, called=b"IMAGEPACS"))
                    answers.append(read_pdu(new)[0])
        assert answers == [0, 3, 0xA700, 3, 0, 3, 0, 2]
        leyden.stop()
        kept = sorted(path.name for path in (volume.place / "cache").rglob("*.dcm"))
        assert len(kept) == 3
        told = [line for line in leyden.lines if "% of" in line]
        assert len(told) == 4
        assert all(("inodes" in line) == (scarce == "inodes") for line in told[:2])
    finally:
        volume.end()


# -- sendAbandonGraceSeconds, storageTimeoutFloorSeconds


LIMITS = [{"stall_s": 0.3}, {"stall_s": 0.0, "deadline_s": 0.3}]


async def sent_to(act: Callable[[Peer, Event], bool | None], folder: Path, size: int, **limits: float) -> StoreAnswer:
    """The answer of a peer that behaves like this; afterwards the association still works."""
    async with listening(act) as (port, _):
        with file_of(folder, bytes(size)) as fd:
            association = await Association.open(
                "127.0.0.1", port, calling="LEYDEN", called="PACS", contexts=[(CTImageStorage, IMPLICIT_LE)]
            )
            answer = await association.store(1, CTImageStorage, "1.2.3", fd, 0, size, **limits)  # type: ignore[arg-type]
            assert not association.closed
            await association.release()
            return answer


@pytest.mark.parametrize("limits", LIMITS)
def test_sendAbandonGraceSeconds_an_answer_on_its_way_is_waited_for(tmp_path: Path, limits: dict[str, float]) -> None:
    """Grace after cancelling: what comes within it counts, and the association goes on."""

    def late(peer: Peer, event: Event) -> bool:
        if isinstance(event, StoreEnded):
            asyncio.get_running_loop().call_later(1.5, lambda: (peer.behave(event), peer.say()))
        return isinstance(event, StoreEnded)

    assert uvloop.run(sent_to(late, tmp_path, 100_000, grace_s=60.0, **limits)) == StoreAnswer(0)


@pytest.mark.parametrize("limits", LIMITS)
def test_sendAbandonGraceSeconds_then_the_association_is_cut(tmp_path: Path, limits: dict[str, float]) -> None:
    """Grace after cancelling: without an answer the send ends in the error that it had before."""

    def never(_peer: Peer, event: Event) -> bool:
        return isinstance(event, StoreEnded)

    with pytest.raises(Stalled):
        uvloop.run(sent_to(never, tmp_path, 100_000, grace_s=0.3, **limits))


def test_sendAbandonGraceSeconds_is_not_for_a_peer_that_does_not_take_the_object(tmp_path: Path) -> None:
    """No answer can be on its way to what the peer has not read: the association is cut at once."""

    def stop_reading(peer: Peer, event: Event) -> bool:
        if isinstance(event, Payload):
            peer.transport.pause_reading()
        return False

    with pytest.raises(Stalled):
        uvloop.run(sent_to(stop_reading, tmp_path, 30_000_000, stall_s=0.3, grace_s=600.0))


@pytest.mark.parametrize(
    ("config", "floor_s", "grace_s"),
    [("", 900.0, 30.0), ("storageTimeoutFloorSeconds: 60\nsendAbandonGraceSeconds: 0", 60.0, 0.0)],
)
def test_storageTimeoutFloorSeconds_and_sendAbandonGraceSeconds_have_their_defaults(
    tmp_path: Path, config: str, floor_s: float, grace_s: float
) -> None:
    """storageTimeoutFloorSeconds, sendAbandonGraceSeconds: 900, 30."""
    (destination,) = loaded(tmp_path, config).destinations
    assert (destination.storage_timeout_floor_s, destination.abandon_grace_s) == (floor_s, grace_s)


# -- moveRejectedCachedFiles, cycleRejectedFilesOnStartup


@pytest.mark.parametrize("keep", ["true", "false"])
def test_moveRejectedCachedFiles_says_whether_rejected_files_are_kept(
    service: Callable[..., Service], pacs: Callable[..., Pacs], keep: str
) -> None:
    """Keep rejected files. false: what the destination has answered no to is gone, and a receipt names its answer."""
    archive = pacs("ARCHIVE", answer=lambda arrival: 0xC001 if arrival.sop_instance_uid == "2.25.1" else 0)
    leyden = service(node("ARCHIVE", archive.port, RetryDelays="[0.1]"), moveRejectedCachedFiles=keep).start()
    assert send(leyden, "2.25.1", "2.25.2", called=b"ARCHIVE") == [0, 0]
    leyden.wait_line("2.25.1: rejected: status 0xC001")
    archive.wait(1)
    rejected = leyden.spool / "rejected" / "ARCHIVE"
    if keep == "true":
        (why,) = leyden.wait_ended(1, "rejected", "ARCHIVE")
        assert why["status"] == "0xC001"
    else:
        leyden.wait_empty()
        wait_for(lambda: not any(rejected.iterdir()))
    leyden.stop()
    told = [(line["event"], line["sop_instance_uid"], line.get("reason")) for line in receipts(leyden)]
    proof = [("rejected", "2.25.1", "status 0xC001")] if keep == "false" else []
    assert sorted(told) == sorted([("delivered", "2.25.2", None), *proof])


def test_moveRejectedCachedFiles_keeps_what_the_destination_did_not_answer(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """false is about what was refused by an answer: what could not even be offered stays in rejected/."""
    archive = pacs("ARCHIVE", refuse=[CTImageStorage])
    leyden = service(node("ARCHIVE", archive.port), moveRejectedCachedFiles="false").start()
    assert send(leyden, "2.25.1", called=b"ARCHIVE") == [0]
    leyden.wait_ended(1, "rejected", "ARCHIVE")


def test_moveRejectedCachedFiles_removes_nothing_without_a_durable_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error never deletes: if the receipt cannot be written, the file stays in rejected/."""

    async def main() -> None:
        parts = Parts(tmp_path, Destination("PACS", "127.0.0.1", 104, keep_rejected=False))
        parts.put()
        instance = parts.take()
        claim = parts.claims.take(instance)
        assert isinstance(claim, Queued)
        monkeypatch.setattr(ReceiptLog, "append", failing_append)
        outcome = Outcome(instance=instance, claim=claim, ending=Ending.REJECTED, reason="no", status=0xC001)
        await parts.claims.end(outcome)
        await parts.close()
        assert parts.counts() == {"rejected": 1}

    def failing_append(_self: ReceiptLog, *_events: object) -> None:
        raise OSError(28, os.strerror(28))

    asyncio.run(main())


@pytest.mark.parametrize("cycle", ["true", "false"])
def test_cycleRejectedFilesOnStartup_retries_rejected_at_start(
    service: Callable[..., Service], pacs: Callable[..., Pacs], cycle: str
) -> None:
    """Retry rejected/ at start. failed/ is tried again at each start, rejected/ only by this key or by hand."""
    archive = pacs("ARCHIVE", answer=lambda arrival: 0 if willing.is_set() else 0xC001)
    willing = threading.Event()
    leyden = service(node("ARCHIVE", archive.port, RetryDelays="[0.1]"), cycleRejectedFilesOnStartup=cycle).start()
    assert send(leyden, "2.25.1", called=b"ARCHIVE") == [0]
    leyden.wait_ended(1, "rejected", "ARCHIVE")
    leyden.stop()
    failed = leyden.spool / "failed" / "1700000000000000990001.dcm"
    shutil.copy(next((leyden.spool / "rejected" / "ARCHIVE").glob("*.dcm")), failed)
    willing.set()
    leyden.start()
    wait_for(lambda: not failed.exists() or "no destination" in failed.with_name(f"{failed.name}.json").read_text())
    if cycle == "true":
        archive.wait(1)
    else:
        assert len(list((leyden.spool / "rejected" / "ARCHIVE").glob("*.dcm"))) == 1
        assert leyden.leyden("queue", "retry").returncode == 0
        archive.wait(1)
    assert archive.uids() == ["2.25.1"]


# -- maxPDVsPerPDU


def pdvs_of(pdu_bytes: bytes) -> list[list[int]]:
    """The lengths of the PDVs of each P-DATA-TF PDU (PS3.8 section 9.3.5)."""
    found = []
    while pdu_bytes:
        kind, length = struct.unpack(">BxI", pdu_bytes[:6])
        assert kind == 4
        body, pdu_bytes = pdu_bytes[6 : 6 + length], pdu_bytes[6 + length :]
        found.append([])
        while body:
            (size,) = struct.unpack(">I", body[:4])
            found[-1].append(size)
            body = body[4 + size :]
    return found


def test_maxPDVsPerPDU_is_a_most_that_we_never_pass(tmp_path: Path) -> None:
    """PDVs a PDU: whatever is allowed, command and data set go in PDUs of one PDV each."""

    async def main() -> None:
        async with receiving(tmp_path) as (_, port):
            client = await Client.connect(port)
            client.connection.store_request(1, 1, CTImageStorage, "1.2.3", 0)
            command = client.connection.output()
            data = b"".join(client.connection.data_pdus(1, memoryview(bytes(1_000_000)), ends=True))
            assert len(pdvs_of(command)) == 1
            assert len(pdvs_of(data)) > 2
            assert {len(pdvs) for pdvs in pdvs_of(command + data)} == {1}
            client.say(command, data)
            assert len(pdvs_of(await client.hear_bytes())) == 1
            await client.close()

    for value in (0, 1, 4):
        assert not load_warnings(tmp_path, f"maxPDVsPerPDU: {value}")
    uvloop.run(main())


def test_maxPDVsPerPDU_does_not_bind_those_who_send_to_us(tmp_path: Path) -> None:
    """The standard allows any number, and devices send a command and several fragments in one PDU."""

    async def main() -> None:
        async with receiving(tmp_path) as (receiver, port):
            client = await Client.connect(port)
            client.connection.store_request(1, 1, CTImageStorage, "1.2.3", 0)
            one = client.connection.output()[6:]
            for part, ends in ((b"data", False), (b"more", False), (b"last", True)):
                one += b"".join(client.connection.data_pdus(1, memoryview(part), ends=ends))[6:]
            client.say(struct.pack(">BxI", 4, len(one)), one)
            answer = await client.hear()
            assert isinstance(answer, Responded)
            assert answer.command.status == 0
            (kept,) = entries(receiver)
            assert kept.read_bytes().endswith(b"datamorelast")
            await client.close()

    uvloop.run(main())
