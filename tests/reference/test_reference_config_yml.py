"""What the reference says of config.yml about receiving and ending, a test for each sentence, named after the key."""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvloop

from interop.test_bad_input import connection, read_pdu
from interop.test_odd_peers import CT_CONTEXT, rq, store
from leyden.config.settings import ReceiverSettings
from leyden.net.scu import StoreAnswer
from leyden.spool import recover
from leyden.spool.recent import Begun, Recent, key_of
from leyden.spool.store import Spool
from support.peers import Pacs
from support.service import Service, node
from unit.test_receiver import SETTINGS, entries, opened, receiving
from unit.test_receiver import store as store_by

NODES = {"IMAGEPACS": "IMAGEPACS", "DCP_IMAGEPACS": "IMAGEPACS", "REPORTPACS": "REPORTPACS"}
TWICE = (("IMAGEPACS", "1.2.3"), ("DCP_IMAGEPACS", "1.2.3"))


def settings(**changes: object) -> ReceiverSettings:
    acceptor = replace(SETTINGS.acceptor, titles=tuple(NODES))
    return replace(SETTINGS, acceptor=acceptor, nodes=NODES, **changes)  # type: ignore[arg-type]


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
