"""What the reference says of config.yml about receiving and ending, a test for each sentence, named after the key."""

import asyncio
import json
import os
import select
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from msgspec.structs import replace
from pydicom.uid import CTImageStorage, MRImageStorage

from interop.test_bad_input import connection
from interop.test_odd_peers import CT_CONTEXT, store, store_pdus
from leyden import supervisor
from leyden.config.load import load
from leyden.config.schema import Config
from leyden.config.settings import ReceiverSettings, Settings
from leyden.deliver.destination import Destination
from leyden.dicom.associate import decode_accept
from leyden.dicom.association import Event, Payload, Released, Responded, StoreEnded
from leyden.dicom.uids import IMPLICIT_LE, JPEG2000_LOSSLESS
from leyden.errors import Transient
from leyden.holding import crowd, hold_s
from leyden.net.scu import Association, ConnectionFailed, Pace, Stalled, StoreAnswer, TooSlow
from leyden.outbound.attempt import Attempts
from leyden.outbound.outcome import Ending, Outcome
from leyden.spool import batch, recover
from leyden.spool.entry import Queued, ReceiptClock
from leyden.spool.entry import key as key_in_name
from leyden.spool.lock import SpoolLock
from leyden.spool.receipts import ReceiptLog
from leyden.spool.recent import Begun, Recent, key_of
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from leyden.systemd import Systemd
from support.acceptor import Peer, listening
from support.namespaces import silent
from support.outbound import DATA, Parts
from support.peers import Pacs
from support.service import Service, free_port, node, wait_for
from support.volume import Volume
from support.wire import read_pdu, rq
from unit.spool.test_spool_batch import healthy
from unit.test_planner import Site
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

    monkeypatch.setattr(batch, "PROBE_S", 0.01)

    async def main() -> None:
        async with receiving(tmp_path, settings(duplicates="ignore")) as (receiver, port):
            association = await opened(port)
            with monkeypatch.context() as patched:
                patched.setattr(os, "fdatasync", failing)
                assert (await store_by(association, tmp_path, b"data")).status == 0xA700
            await healthy(receiver.commits)
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


def test_holdIncomingStorageAssociations_spares_who_has_sent_little(tmp_path: Path) -> None:
    """[own] Only those are slowed down who have sent more than an equal part of what the planner takes at one look."""
    assert crowd({"a": 5000, "b": 300}) == {"a"}
    assert crowd({"a": 900, "b": 800, "c": 341}) == {"a", "b"}
    assert crowd({"a": 1000}) == set()
    assert crowd({"a": 300, "": 5000}) is None  # whoever has sent them

    async def main() -> None:
        async with receiving(tmp_path, settings(longest_hold_s=600.0)) as (receiver, port):
            flood, quiet = await opened(port, calling="FLOOD"), await opened(port, calling="QUIET")
            receiver.holding.measured(10**6, 0.0, frozenset({key_in_name("FLOOD")}))
            held = asyncio.create_task(store_by(flood, tmp_path, b"data"))
            await until(lambda: receiver.holding.held)
            assert await store_by(quiet, tmp_path, b"data", "1.2.5") == StoreAnswer(0)
            assert not held.done()
            receiver.holding.measured(0, 1.0)
            assert await held == StoreAnswer(0)
            await flood.release()
            await quiet.release()

    uvloop.run(main())


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
        os.link(first, first.with_name(f"{int(first.stem[:22]) - 1 - number:022d}{first.stem[22:]}.dcm"))
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
    wait_for(lambda: (leyden.spool / "state" / "set-aside").exists())
    wait_for(lambda: spool.unplanned(10)[0] == 0)
    assert send(leyden, "2.25.2") == [0]
    wait_for(lambda: spool.unplanned(10)[0] == 0)
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
    assert [spool.unplanned(10)[0], spool.unplanned(10, minimum_age_s=50.0)[0]] == [3, 1]


# -- minFreeSpace


def test_minFreeSpace_has_a_low_and_a_hard_mark(service: Callable[..., Service], tmp_path: Path) -> None:
    """Percent of the disk kept free; below it C-STORE is answered 0xA700 and nothing is lost. A quarter earlier new
    associations are rejected 2,3,1. Each is told once, so is its end, and it works again by itself. Here inodes are
    scarce; tests/interop/test_full_disk.py shows the same for space."""
    volume = Volume(tmp_path / "image", tmp_path / "volume", inodes=1024)
    ballast = volume.place / "ballast"

    def leave_free(percent: float) -> None:
        shutil.rmtree(ballast, ignore_errors=True)
        ballast.mkdir()
        there = os.statvfs(volume.place)
        for number in range(there.f_favail - int(there.f_files * percent / 100)):
            (ballast / str(number)).touch()

    try:
        leyden = service(node("IMAGEPACS", free_port()), minFreeSpace=40, cachePath=volume.place / "cache").start()
        answers = []
        with connection(leyden) as old:
            old.sendall(rq(CT_CONTEXT, called=b"IMAGEPACS"))
            assert read_pdu(old)[0] == 2
            for free, said in (
                (45, "% of the inodes of the spool's volume are free: new associations are rejected (2,3,1)"),
                (30, "objects are refused (0xA700)"),
                (45, "objects are taken again"),
                (70, "new associations are taken again"),
            ):
                leave_free(free)
                leyden.wait_line(said)
                answers.append(store(old, f"2.25.{len(answers)}"))
                answers.append(asked(leyden)[0])
        assert answers == [0, 3, 0xA700, 3, 0, 3, 0, 2]
        leyden.stop()
        assert len(list((volume.place / "cache").rglob("*.dcm"))) == 3
        assert sum("% of" in line for line in leyden.lines) == 4
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


def test_moveRejectedCachedFiles_says_whether_rejected_files_are_kept(
    service: Callable[..., Service], pacs: Callable[..., Pacs]
) -> None:
    """Keep rejected files. false: what the destination has answered no to is gone, and a receipt names its answer."""
    archive = pacs("ARCHIVE", answer=lambda arrival: 0xC001 if arrival.sop_instance_uid == "2.25.1" else 0)
    leyden = service(node("ARCHIVE", archive.port, RetryDelays="[0.1]"), moveRejectedCachedFiles="false").start()
    assert send(leyden, "2.25.1", "2.25.2", called=b"ARCHIVE") == [0, 0]
    leyden.wait_line("2.25.1: rejected: status 0xC001")
    archive.wait(1)
    leyden.wait_empty()
    wait_for(lambda: not any((leyden.spool / "rejected" / "ARCHIVE").iterdir()))
    leyden.stop()
    told = [(line["event"], line["sop_instance_uid"], line.get("reason")) for line in receipts(leyden)]
    assert sorted(told, key=str) == [("delivered", "2.25.2", None), ("rejected", "2.25.1", "status 0xC001")]


@pytest.mark.parametrize(
    ("keep", "status", "left"), [(True, 0xC001, 1), (False, 0xC001, 0), (False, None, 1)], ids=["kept", "gone", "mute"]
)
def test_moveRejectedCachedFiles_is_about_what_the_destination_has_answered(
    tmp_path: Path, keep: bool, status: int | None, left: int
) -> None:
    """false is about what an answer refused: what could not even be offered, or ended associations, stays."""

    async def main() -> None:
        parts = Parts(tmp_path, Destination("PACS", "127.0.0.1", 104, keep_rejected=keep))
        parts.put()
        instance = parts.take()
        claim = parts.claims.take(instance)
        assert isinstance(claim, Queued)
        outcome = Outcome(instance=instance, claim=claim, ending=Ending.REJECTED, reason="no", status=status)
        await parts.claims.end(outcome)
        await parts.close()
        assert len(list((tmp_path / "rejected" / "PACS").iterdir())) == 2 * left  # a file and its note

    asyncio.run(main())


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


@pytest.mark.parametrize(
    ("config", "left"), [("", {}), ("cycleRejectedFilesOnStartup: false", {"rejected": 1})], ids=["cycle", "keep"]
)
def test_cycleRejectedFilesOnStartup_retries_rejected_at_start(
    tmp_path: Path, config: str, left: dict[str, int]
) -> None:
    """Retry rejected/ at start. failed/ is tried again at each start, rejected/ only by this key or by hand."""
    start = loaded(tmp_path, f"arenaMib: 16\n{config}")

    async def refused_and_failed() -> None:
        parts = Parts(start.spool_root, start.destinations[0])
        for number in (1, 2):
            parts.put(number)
            instance = parts.take()
            claim = parts.claims.take(instance)
            assert isinstance(claim, Queued)
            ending = Ending.REJECTED if number == 1 else Ending.FAILED
            await parts.claims.end(Outcome(instance=instance, claim=claim, ending=ending, reason="no"))
        assert parts.counts() == {"rejected": 1, "failed": 1}
        await parts.close()

    asyncio.run(refused_and_failed())
    lock = SpoolLock(start.spool_root)
    service = supervisor.Supervisor(start, lock, {}, lambda: (start, ()), Systemd({}))
    service.recover_spool()
    assert {count.stage: count.files for count in service.spool.counts()} == {"prepared": 2 - len(left), **left}
    service.spool.retry(Stage.REJECTED)
    assert {count.stage: count.files for count in service.spool.counts()} == {"prepared": 2}
    _closed(service)


def _closed(parent: supervisor.Supervisor) -> None:
    """Nothing of a supervisor that was none stays open in this process."""
    for fd in parent.descriptors.values():
        os.close(fd)
    parent.lock.take_back()


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


# -- the others: titles, folders, limits, ages. A service that many keys are shown with is shared.

STRICT = """\
allowedCallingAeTitles: [CT01, QUIET]
suppressLogAeTitles: [QUIET]
rejectAbstractSyntaxes:
  - 1.2.840.10008.5.1.4.1.1.4
maxClientsPerServer: 3
maxDataBuffer: 16384
dropUnfilteredInstances: true
aeTitlePrefix: VIA_
myAeTitle: 00123
"""
ONLY_SEVEN = """\
- Conditions:
    - Tag: 0008,0018
      MatchExpression: 2.25.7
  Actions:
    - Target: IMAGEPACS
"""
MR_CONTEXT = (3, MRImageStorage, IMPLICIT_LE)
REJECT_CALLED, REJECT_CALLING, REJECT_FULL = b"\0\1\1\7", b"\0\1\1\3", b"\0\2\3\2"  # PS3.8 table 9-21


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Pacs]]:
    archive = Pacs("IMAGEPACS").start()
    leyden = Service(tmp_path_factory.mktemp("strict"), node("IMAGEPACS", archive.port, Aliases="[PACS]"), ONLY_SEVEN)
    with (leyden.folder / "config.yml").open("a") as file:
        file.write(STRICT)
    yield leyden.start(), archive
    leyden.end()
    archive.stop()


def asked(service: Service, *contexts: tuple[int, str, str], **titles: bytes) -> tuple[int, bytes]:
    """The answer to an A-ASSOCIATE-RQ: type and body of the PDU."""
    with connection(service) as link:
        link.sendall(rq(*(contexts or (CT_CONTEXT,)), **titles))
        return read_pdu(link)


@pytest.mark.parametrize(
    ("called", "answer"),
    [
        (b"IMAGEPACS", 2),
        (b"PACS", 2),
        (b"VIA_IMAGEPACS", 2),
        (b"VIA_PACS", 2),
        (b" 00123 ", 2),
        (b"IMAGEPACS\0\0", 2),
        (b"DCP_IMAGEPACS", 3),
        (b"123", 3),
    ],
)
def test_aeTitlePrefix_and_myAeTitle_are_the_titles_that_we_answer_to(
    strict: tuple[Service, Pacs], called: bytes, answer: int
) -> None:
    """A node answers to its title and alias, and to prefix + these; we answer to our own, in which no zero is lost."""
    kind, body = asked(strict[0], called=called)
    assert kind == answer
    assert answer == 2 or body == REJECT_CALLED


def test_allowedCallingAeTitles_are_the_only_ones_that_may_call(strict: tuple[Service, Pacs]) -> None:
    """allowedCallingAeTitles: empty = all; else any other is rejected: calling AE title not recognized."""
    assert asked(strict[0], calling=b"MR02") == (3, REJECT_CALLING)
    assert asked(strict[0], calling=b"CT01")[0] == 2


def test_rejectAbstractSyntaxes_are_refused_in_negotiation(strict: tuple[Service, Pacs]) -> None:
    """SOP class UIDs refused in negotiation: the context gets result 3, the others are accepted."""
    kind, body = asked(strict[0], CT_CONTEXT, MR_CONTEXT)
    accept = decode_accept(struct.pack(">BxI", kind, len(body)) + body)
    assert [(context.id, context.result) for context in accept.contexts] == [(1, 0), (3, 3)]


def test_maxClientsPerServer_is_how_many_associations_there_may_be(strict: tuple[Service, Pacs]) -> None:
    """Inbound associations; one more is rejected: local limit exceeded. Once one is gone, the next is accepted."""

    def busy() -> bool:  # those of earlier tests end when the service has seen them go
        with ExitStack() as stack:
            links = [stack.enter_context(connection(strict[0])) for _ in range(4)]
            answers = []
            for link in links:
                link.sendall(rq(CT_CONTEXT))
                answers.append(read_pdu(link))
            return [kind for kind, _ in answers] == [2, 2, 2, 3] and answers[3][1] == REJECT_FULL

    wait_for(busy)
    wait_for(lambda: asked(strict[0])[0] == 2)


def test_maxDataBuffer_is_the_largest_PDU_that_we_announce_and_take(strict: tuple[Service, Pacs]) -> None:
    """Bytes of the largest PDU we announce and take: a longer one ends the association."""
    with connection(strict[0]) as link:
        link.sendall(rq(CT_CONTEXT))
        kind, body = read_pdu(link)
        assert decode_accept(struct.pack(">BxI", kind, len(body)) + body).max_pdu_bytes == 16384
        link.sendall(struct.pack(">BxI", 4, 16385))
        assert read_pdu(link)[0] == 7


def test_maxDataBuffer_and_maxClientsPerServer_have_bounds_of_our_own(tmp_path: Path) -> None:
    """0 = our own bound; no PDU is longer than 256 KiB, whatever is written."""
    receiver = loaded(tmp_path, "").receiver
    assert (receiver.max_associations, receiver.acceptor.max_pdu_bytes) == (1000, 262144)
    receiver = loaded(tmp_path, "maxClientsPerServer: 9\nreceivers: 2\nmaxDataBuffer: 4294967295").of_each_receiver
    assert (receiver.max_associations, receiver.acceptor.max_pdu_bytes) == (5, 262144)


def test_suppressLogAeTitles_are_calling_titles_that_are_not_logged(strict: tuple[Service, Pacs]) -> None:
    """Neither the end of an association, nor a warning about one, with such a calling title; HEALTHCHECK by default."""
    leyden, _ = strict
    for calling in (b"QUIET", b"CT01"):
        assert asked(leyden, called=b"NOBODY", calling=calling)[0] == 3
        with connection(leyden) as link:
            link.sendall(rq(CT_CONTEXT, calling=calling))
            assert read_pdu(link)[0] == 2
            link.sendall(store_pdus("2.25.66")[:-10])
    leyden.wait_line("2.25.66 was cut off")
    lines = "".join(leyden.lines)
    assert "CT01 -> NOBODY" in lines
    assert "QUIET" not in lines


def test_dropUnfilteredInstances_drops_what_no_rule_touched(strict: tuple[Service, Pacs]) -> None:
    """Drop instances that no rule touched; the trip of each ends with a receipt."""
    leyden, archive = strict
    with connection(leyden) as link:
        link.sendall(rq(CT_CONTEXT))
        assert read_pdu(link)[0] == 2
        assert [store(link, "2.25.6"), store(link, "2.25.7")] == [0, 0]
    archive.wait(1)
    leyden.wait_empty()
    assert archive.uids() == ["2.25.7"]
    dropped = [line for line in receipts(leyden) if line["event"] == "dropped"]
    assert [(line["sop_instance_uid"], line["dropped_by"]) for line in dropped] == [
        ("2.25.6", "dropUnfilteredInstances")
    ]


def test_myAeTitle_is_the_calling_title_of_what_we_send(tmp_path: Path) -> None:
    """Calling AE of what we send, unless the node impersonates: then it is the original caller's."""

    async def main() -> None:
        for impersonate, calling in ((False, "LEYDEN"), (True, "CT1")):
            parts = Parts(tmp_path / calling, Destination("PACS", "127.0.0.1", 104, impersonate=impersonate))
            parts.put(calling="CT1")
            assert [instance.calling for instance in parts.look()] == [calling]
            await parts.close()

    asyncio.run(main())


def test_scpPort_0_is_off(tmp_path: Path) -> None:
    """Store SCP port; 0 = off: nothing listens, and no receiver runs. 1040 by default."""
    assert loaded(tmp_path, "").scp_port == 1040
    off = loaded(tmp_path, "scpPort: 0\narenaMib: 16")
    assert supervisor._listeners(off) == {}
    lock = SpoolLock(off.spool_root)
    parent = supervisor.Supervisor(off, lock, {}, lambda: (off, ()), Systemd({}))
    roles = [child.role for child in parent.children]
    _closed(parent)
    assert "receiver" not in roles
    assert {"planner", "sender", "worker"} <= set(roles)


def test_cachePath_is_the_spool(tmp_path: Path) -> None:
    """<path>/cache by default; else as written, or below the folder of config.yml."""
    for config, path in (
        ("", tmp_path / "cache"),
        ("cachePath: spool", tmp_path / "spool"),
        ("cachePath: /var/spool/leyden", Path("/var/spool/leyden")),
    ):
        assert loaded(tmp_path, config).spool_root == path


def test_defaultTransferSyntax_is_for_nodes_that_name_none(tmp_path: Path) -> None:
    """Syntax for nodes that name none; empty = send as received."""
    assert loaded(tmp_path, "").destinations[0].syntax == ""
    assert loaded(tmp_path, "defaultTransferSyntax: JPEG2000Lossless").destinations[0].syntax == JPEG2000_LOSSLESS
    assert loaded(tmp_path, "defaultTransferSyntax: ''").destinations[0].syntax == ""


def test_minimumAge_waits_so_long_after_reception(tmp_path: Path) -> None:
    """Seconds before a received instance is processed (the original 2, ours 0)."""
    assert loaded(tmp_path, "").plan.minimum_age_s == 0.0
    site = Site(tmp_path, minimum_age_s=60.0)
    try:
        young, old = site.receive(age_s=30.0), site.receive(age_s=61.0)
        assert 0.0 < site.planner.batch() <= 1.0
        assert [path.stem for path in site.spool.newcomers(10)] == [young]
        assert [found.entry.receipt for found in site.waiting(Stage.TRANSFORM)] == [old]
    finally:
        site.planner.close()
        site.bell.close()


def test_expiryThreshold_older_undelivered_instances_move_to_expired(tmp_path: Path) -> None:
    """Seconds; older undelivered instances move to expired/ (we never delete). 604800 by default."""
    assert loaded(tmp_path, "").destinations[0].expiry_threshold_s == 604800.0

    async def main() -> None:
        for threshold_s, counts in ((100.0, {"expired": 1, "prepared": 1}), (0.0, {"prepared": 2})):
            folder = tmp_path / str(threshold_s)
            parts = Parts(folder, Destination("PACS", "127.0.0.1", 104, expiry_threshold_s=threshold_s))
            parts.put(1, age_s=90.0)
            parts.put(2, age_s=110.0)
            parts.look()
            assert parts.counts() == counts
            await parts.close()

    asyncio.run(main())


@pytest.mark.parametrize(("hours", "left"), [(8.0, [0, 8]), (1.0, [0]), (0.0, [0])])
def test_storageReceiptExpiryHours_old_ones_are_purged(tmp_path: Path, hours: float, left: list[int]) -> None:
    """Receipts; 0 = none, and old ones are purged: but those of the running hour, which recovery needs."""
    assert loaded(tmp_path, "").receipt_expiry_h == 8.0
    now_s = 1_800_000_000 // 3600 * 3600 + 1800.0
    names = {ago: f"{time.strftime('%Y%m%d%H', time.gmtime(now_s - ago * 3600))}-sender-0.log" for ago in (0, 8, 10)}
    (tmp_path / "receipts").mkdir()
    for name in names.values():
        (tmp_path / "receipts" / name).touch()
    ReceiptLog(tmp_path, "sender-0").purge(hours, now_s)
    assert {path.name for path in (tmp_path / "receipts").iterdir()} == {names[ago] for ago in left}


def test_clientTimeout_ends_an_idle_association(tmp_path: Path) -> None:
    """Idle inbound association: after so long it is aborted. 600 s by default."""
    assert loaded(tmp_path, "").receiver.client_timeout_s == 600.0

    async def main() -> None:
        async with receiving(tmp_path, settings(client_timeout_s=0.3)) as (receiver, port):
            association = await opened(port)
            await association.wait_closed()
            await until(lambda: not receiver.associations)

    uvloop.run(main())


def test_connectTimeoutSeconds_is_the_limit_for_a_connection(tmp_path: Path) -> None:
    """Outbound TCP connect, 30 s by default; 0 = the system's."""
    assert loaded(tmp_path, "").destinations[0].connect_timeout_s == 30.0
    assert loaded(tmp_path, "connectTimeoutSeconds: 0").destinations[0].connect_timeout_s == 0.0
    port = free_port()

    async def main() -> None:
        request: dict[str, Any] = {"calling": "A", "called": "B", "contexts": [(CTImageStorage, IMPLICIT_LE)]}
        with silent("127.0.0.2", port), pytest.raises(ConnectionFailed, match=r"no connection within 0\.3 s"):
            await Association.open("127.0.0.2", port, **request, connect_timeout_s=0.3)

    uvloop.run(main())


def test_stallThresholdSeconds_is_about_bytes_in_either_direction(tmp_path: Path) -> None:
    """Seconds without one byte in either direction before a send is aborted; slow but moving never is; 0 = off."""
    assert loaded(tmp_path, "").destinations[0].stall_threshold_s == 90.0

    def judged(stall_s: float, *moved: tuple[int, int]) -> Transient | None:
        """When every 80 s so much was acknowledged and received in all."""
        pace = Pace(0.0, 0, stall_s=stall_s, minimum_bytes_per_s=0, deadline_s=0)
        verdicts = [pace.judge(80.0 * n, *bytes_then, 10**9) for n, bytes_then in enumerate(moved)]
        return next(filter(None, verdicts), None)

    assert judged(90.0, (0, 0), (1, 0), (1, 1), (2, 1)) is None
    assert isinstance(judged(90.0, (0, 0), (1, 0), (1, 0), (1, 0)), Stalled)
    assert judged(0.0, (0, 0), (0, 0), (0, 0)) is None


def test_minimumLineSpeed_aborts_what_is_slower_over_10_s(tmp_path: Path) -> None:
    """KB/s; a transfer whose average over at least 10 s is below is aborted; 0 = off."""
    assert loaded(tmp_path, "").destinations[0].minimum_line_speed_kb_per_s == 500

    def judged(minimum: float, at_s: float, acknowledged: int) -> Transient | None:
        pace = Pace(0.0, 0, stall_s=0, minimum_bytes_per_s=minimum, deadline_s=0)
        return pace.judge(at_s, acknowledged, 0, 10**9)

    assert judged(500e3, 9.9, 0) is None
    assert isinstance(judged(500e3, 10.0, 4_990_000), TooSlow)
    assert judged(500e3, 10.0, 5_000_000) is None
    assert judged(0.0, 3600.0, 1) is None


class Line:
    """An association that says how fast it has to be, and is too slow for any limit."""

    def __init__(self, instance: Any) -> None:
        self.accepted = {instance.pair: 1}
        self.limits: list[tuple[float, float]] = []

    async def store(self, *_given: Any, minimum_bytes_per_s: float, deadline_s: float, **_limits: Any) -> StoreAnswer:
        self.limits.append((minimum_bytes_per_s, deadline_s))
        if minimum_bytes_per_s:
            raise TooSlow("slow")
        return StoreAnswer(0)


def test_minimumLineSpeed_after_three_aborts_it_goes_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After three such aborts of the same instance it goes without this limit and the log says that the line is slower
    than configured (a slow line must never mean never)."""

    async def main() -> None:
        parts = Parts(tmp_path, Destination("PACS", "127.0.0.1", 104))
        parts.put()
        attempts = Attempts(parts.destination, parts.claims)
        limits = []
        for _ in range(4):
            instance = parts.take()
            line = Line(instance)
            await parts.claims.end(await attempts.make(line, instance, None))  # type: ignore[arg-type]
            limits += line.limits
        await parts.ended()
        await parts.close()
        assert [minimum for minimum, _ in limits] == [500e3, 500e3, 500e3, 0.0]
        assert not parts.counts()

    asyncio.run(main())
    assert caplog.text.count("the line is slower than MinimumLineSpeed: 2.25.1 goes without that limit now") == 1


def test_storageTimeoutFloorSeconds_grows_with_size_and_line_speed(tmp_path: Path) -> None:
    """Hard deadline of a batch (grows with its size and the line speed)."""

    async def main() -> None:
        destination = Destination("PACS", "127.0.0.1", 104, storage_timeout_floor_s=60.0)
        parts = Parts(tmp_path, destination)
        parts.put()
        instance = parts.take()
        line = Line(instance)
        outcome = await Attempts(destination, parts.claims).make(line, instance, None)  # type: ignore[arg-type]
        assert line.limits == [(500e3, 60.0 + len(DATA) / 500e3)]
        await parts.claims.end(outcome)
        await parts.close()

    asyncio.run(main())


def test_precedence_is_switch_environment_file_default(tmp_path: Path) -> None:
    """--config.myAeTitle=X over CAPACITOR_MY_AE_TITLE=X and LEYDEN_MY_AE_TITLE=X over config.yml over the default;
    compared without case and underscores."""
    loaded(tmp_path, "scpPort: 7\nbatchSize: 5")

    def title(environ: dict[str, str], **given: str) -> str:
        return load(tmp_path, given, environ)[0].my_ae_title

    assert title({}) == "LEYDEN"
    (tmp_path / "config.yml").write_text("MYaetitle: FILE")
    assert title({}) == "FILE"
    for name in ("CAPACITOR_MY_AE_TITLE", "LEYDEN_MY_AE_TITLE", "leyden_myaetitle", "LEYDEN_MYAETITLE"):
        assert title({name: "ENV"}) == "ENV"
        assert title({name: "ENV"}, myAeTitle="SWITCH") == "SWITCH"
        assert title({name: "ENV"}, MY_AE_TITLE="SWITCH") == "SWITCH"
    both = {"LEYDEN_DUPLICATE_BEHAVIOR": "ignore", "CAPACITOR_DUPLICATE_THRESHOLD": "60"}
    receiver = load(tmp_path, {"maxPDVsPerPDU": "2"}, both)[0].receiver
    assert (receiver.duplicates, receiver.duplicate_threshold_s) == ("ignore", 60.0)


@pytest.mark.parametrize("title", ["00123", "1.20", "NO", "1e3", "0x10", "12:30", "2026-11-29", "a#b"])
def test_YAML_every_scalar_is_text(tmp_path: Path, title: str) -> None:
    """Read every scalar as text: a value must never lose a zero, a dot or a digit."""
    settings = loaded(tmp_path, f"myAeTitle: {title}\nallowedCallingAeTitles:\n  - {title}\n")
    assert settings.my_ae_title == title
    assert settings.receiver.acceptor.allowed_calling == (title,)


@pytest.mark.parametrize(
    "content", [b"", b"\xef\xbb\xbfscpPort: 1040\r\n", "scpPort: 1040\n".encode("utf-16"), b"# nothing\r\n", b"---\n"]
)
def test_YAML_byte_order_marks_CRLF_and_an_empty_file_are_normal(tmp_path: Path, content: bytes) -> None:
    """Byte-order marks, CRLF and an empty file are normal."""
    loaded(tmp_path, "")
    (tmp_path / "config.yml").write_bytes(content)
    assert load(tmp_path, {}, {}) == load(tmp_path, {"scpPort": "1040"}, {})


@pytest.mark.parametrize(
    ("config", "rejected"),
    [
        ("rejectAbstractSyntaxes: [1.2.840.10008.5.1.4.1.1.4]", ("1.2.840.10008.5.1.4.1.1.4",)),
        ("rejectAbstractSyntaxes: 1.2.840.10008.5.1.4.1.1.4", ("1.2.840.10008.5.1.4.1.1.4",)),
        ("rejectAbstractSyntaxes:", ()),
        ("rejectAbstractSyntaxes: []", ()),
    ],
)
def test_rejectAbstractSyntaxes_as_files_hold_them(tmp_path: Path, config: str, rejected: tuple[str, ...]) -> None:
    """A YAML array of UIDs; empty by default."""
    assert loaded(tmp_path, config).receiver.acceptor.rejected_abstract_syntaxes == rejected


def test_no_key_of_receiving_and_ending_is_without_effect() -> None:
    """No key marked [1] is left that "has no effect yet"."""
    now = [
        "scpPort",
        "myAeTitle",
        "aeTitlePrefix",
        "filters",
        "cachePath",
        "defaultTransferSyntax",
        "minimumAge",
        "minimumLineSpeed",
        "stallThresholdSeconds",
        "connectTimeoutSeconds",
        "clientTimeout",
        "storageTimeoutFloorSeconds",
        "sendAbandonGraceSeconds",
        "duplicateBehavior",
        "duplicateThreshold",
        "holdIncomingStorageAssociations",
        "storageAssociationHoldExpectedTtlSeconds",
        "minFreeSpace",
        "expiryThreshold",
        "dropUnfilteredInstances",
        "cycleRejectedFilesOnStartup",
        "moveRejectedCachedFiles",
        "storageReceiptExpiryHours",
        "rejectAbstractSyntaxes",
        "maxClientsPerServer",
        "maxDataBuffer",
        "maxPDVsPerPDU",
        "suppressLogAeTitles",
        "allowedCallingAeTitles",
    ]
    assert set(now) <= set(Config.keys())
    assert not set(now) & set(Config.later)
