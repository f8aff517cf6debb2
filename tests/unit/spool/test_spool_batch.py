"""Group commit: durable before it answers, shared by many associations, and honest when the disk refuses."""

import asyncio
import contextlib
import errno
import math
import os
import threading
import time

import pytest

from leyden.errors import Transient
from leyden.spool import batch
from leyden.spool.batch import GroupCommit
from leyden.spool.doorbell import Bell, Ringer
from leyden.spool.entry import NO_UID, key
from leyden.spool.store import Spool


@pytest.fixture(params=[True, False], ids=["sync", "no sync"])
def either(request, spool):
    either = Spool(spool.root, sync=request.param)
    either.clock = spool.clock
    return either


def embryo(spool, content=b"dataset"):
    receipt = spool.clock.next(time.time_ns() // 1000)
    fd, path = spool.embryo(receipt)
    os.write(fd, content)
    return fd, path, receipt


def open_files():
    names = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            names.append(os.readlink(f"/proc/self/fd/{fd}"))
    return names


def test_a_committed_file_is_in_new_and_the_planner_is_rung(either):
    bell = Bell(either.root, "planner")
    planner = Ringer(either.root, "planner")

    async def main():
        commit = GroupCommit(either, planner.ring)
        fd, path, receipt = embryo(either)
        await commit.commit(fd, path, receipt)
        assert [p.name for p in either.newcomers(10)] == [f"{receipt}.dcm"]
        assert not path.exists()
        assert not any(receipt in name for name in open_files())
        commit.close()

    asyncio.run(main())
    assert bell.wait(5.0)
    bell.close()
    planner.close()


def test_a_lone_commit_blocks_the_loop_unless_the_disk_is_slow(spool, monkeypatch):
    async def main():
        fast = GroupCommit(spool)
        first = fast.commit(*embryo(spool), alone=True)
        assert first.done(), "as fast as nothing, as far as was seen"
        fast.close()
        monkeypatch.setattr(batch, "FAST_S", 0.0)
        slow = GroupCommit(spool)
        assert slow.commit(*embryo(spool), alone=True).done()
        third = slow.commit(*embryo(spool), alone=True)
        assert not third.done()
        await third
        slow.close()

    asyncio.run(main())
    assert len(spool.newcomers(10)) == 3


def test_a_lone_commit_leaves_the_work_to_busy_threads(spool, monkeypatch):
    disk_works, fdatasync = threading.Event(), os.fdatasync

    def hanging(fd):
        disk_works.wait(30)
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", hanging)
    monkeypatch.setattr(batch, "FAST_S", math.inf)  # however busy the machine is

    async def main():
        commit = GroupCommit(spool)
        first = commit.commit(*embryo(spool))
        second = commit.commit(*embryo(spool), alone=True)
        assert not second.done()
        disk_works.set()
        await asyncio.gather(first, second)
        third = commit.commit(*embryo(spool), alone=True)
        assert third.done()
        commit.close()

    asyncio.run(main())
    assert len(spool.newcomers(10)) == 3


def test_many_share_and_none_is_lost(either):
    async def client(commit):
        for n in range(20):
            await commit.commit(*embryo(either, bytes(n)))

    async def main():
        commit = GroupCommit(either)
        await asyncio.gather(*(client(commit) for _ in range(16)))
        commit.close()

    asyncio.run(main())
    assert len(either.newcomers(1000)) == 320
    assert os.listdir(either.root / "embryo") == []


def recorded(monkeypatch, fail=lambda call, fd: None):
    """Every fdatasync, rename, fsync and ftruncate in order, by the name of what it touches."""
    calls = []
    real = {name: getattr(os, name) for name in ("fdatasync", "fsync", "rename", "ftruncate")}

    def wrap(name):
        def call(target, *rest):
            what = os.path.basename(os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else target)
            calls.append((name, "witness" if what.endswith(" (deleted)") else what))
            error = fail(name, what)
            if error:
                raise OSError(error, os.strerror(error))
            return real[name](target, *rest)

        return call

    for name in real:
        monkeypatch.setattr(os, name, wrap(name))
    return calls


def test_the_order_of_the_steps_that_make_a_file_durable(spool, monkeypatch):
    calls = recorded(monkeypatch)

    async def main():
        commit = GroupCommit(spool)
        for _ in range(2):
            fd, path, receipt = embryo(spool)
            await commit.commit(fd, path, receipt)
            calls.append(("answer", path.name))
        commit.close()
        return receipt[:8], path.name

    bucket, second = asyncio.run(main())
    first = calls[0][1]
    assert calls[:7] == [
        ("fdatasync", first),
        ("rename", first),
        ("rename", first),  # the bucket was not there
        ("fsync", bucket),
        ("fsync", "new"),
        ("ftruncate", "witness"),
        ("answer", first),
    ]
    assert calls[7:] == [
        ("fdatasync", second),
        ("rename", second),
        ("fsync", bucket),
        ("ftruncate", "witness"),
        ("answer", second),
    ]


async def healthy(commit):
    """Until a probe write has succeeded."""
    async with asyncio.timeout(10):
        while not commit.healthy:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("fdatasync", errno.EIO),
        ("rename", errno.ENOSPC),
        ("fsync", errno.EIO),
        ("ftruncate", errno.EROFS),  # the file system broke down during the syncs, which saw nothing of it
    ],
)
def test_a_failed_sync_is_no_success(spool, monkeypatch, caplog, name, number):
    """The file is discarded, nothing is committed until a probe write succeeds, and then all is as before."""
    broken = [True]
    recorded(monkeypatch, lambda call, what: number if broken and call == name else None)
    monkeypatch.setattr(batch, "PROBE_S", 0.01)

    async def main():
        commit = GroupCommit(spool)
        with pytest.raises(Transient, match=f"cannot keep this object: {os.strerror(number)}"):
            await commit.commit(*embryo(spool))
        if name == "fsync":
            assert not commit.healthy  # the probe fails too
            with pytest.raises(Transient, match="no probe write has succeeded"):
                await commit.commit(*embryo(spool))
        broken.clear()
        await healthy(commit)
        await commit.commit(*embryo(spool))
        commit.close()

    asyncio.run(main())
    assert len(spool.newcomers(10)) == 1
    assert os.listdir(spool.root / "embryo") == []
    assert "nothing is received until a probe succeeds" in caplog.text


def test_without_a_witness_there_is_no_success(spool, monkeypatch):
    """The disk refuses it at the start, and later no more."""
    real = batch.tempfile.TemporaryFile
    full = [True]

    def opened(**keys):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(**keys)

    monkeypatch.setattr(batch.tempfile, "TemporaryFile", opened)
    monkeypatch.setattr(batch, "PROBE_S", 0.01)

    async def main():
        commit = GroupCommit(spool)
        commit._still_healthy = lambda job: True
        with pytest.raises(Transient):
            await commit.commit(*embryo(spool))
        full.clear()
        await healthy(commit)
        await commit.commit(*embryo(spool))
        await commit.commit(*embryo(spool))
        commit.close()

    asyncio.run(main())
    assert len(spool.newcomers(10)) == 2


def test_one_failed_file_does_not_take_its_neighbours_along(spool, monkeypatch):
    """Files that were synced before the fault showed are safe; those after it are refused until a probe succeeds."""
    bad = []
    recorded(monkeypatch, lambda call, what: errno.EIO if call == "fdatasync" and what in bad else None)

    async def main():
        commit = GroupCommit(spool)
        await commit.commit(*embryo(spool))
        fd, path, receipt = embryo(spool)
        bad.append(path.name)
        with pytest.raises(Transient):
            await commit.commit(fd, path, receipt)
        commit.close()

    asyncio.run(main())
    assert len(spool.newcomers(10)) == 1


def test_a_caller_that_stops_waiting_changes_nothing(spool):
    async def main():
        commit = GroupCommit(spool)
        waiter = asyncio.ensure_future(commit.commit(*embryo(spool)))
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        commit.close()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert len(spool.newcomers(10)) == 1


def test_close_finishes_what_was_handed_in(spool):
    async def main():
        commit = GroupCommit(spool)
        futures = [commit.commit(*embryo(spool)) for _ in range(10)]
        commit.close()
        await asyncio.gather(*futures)

    asyncio.run(main())
    assert len(spool.newcomers(100)) == 10


def test_a_bucket_that_the_planner_removes_is_made_again(spool):
    async def main():
        commit = GroupCommit(spool)
        for _ in range(3):
            fd, path, receipt = embryo(spool)
            await commit.commit(fd, path, receipt)
            (place := spool.root / "new" / receipt[:8] / path.name).unlink()
            place.parent.rmdir()
        await commit.commit(*embryo(spool))
        commit.close()

    asyncio.run(main())
    assert len(spool.newcomers(10)) == 1


def test_a_name_that_has_moved_on_is_synced_though_its_bucket_is_gone(spool, monkeypatch):
    """The planner may take the new name and remove the empty bucket before it is synced."""
    calls = recorded(monkeypatch)
    real = batch.into

    def into(act, source, place, name):
        made = real(act, source, place, name)
        os.rename(f"{place}/{name}", spool.root / "prepared" / name)
        os.rmdir(place)
        return made

    async def main():
        commit = GroupCommit(spool)
        await commit.commit(*embryo(spool))
        spool.newcomers(1)[0].unlink()
        calls.clear()
        monkeypatch.setattr(batch, "into", into)
        await commit.commit(*embryo(spool))
        commit.close()

    asyncio.run(main())
    assert [call for call in calls if call[0] == "fsync"] == [("fsync", "new")]


def test_a_probe_that_succeeds_in_between_lets_no_unsynced_object_through(either, monkeypatch, caplog):
    """Whenever `healthy` changes, an object is either synced or refused."""
    looks = [False]

    class Flickers(GroupCommit):
        healthy = property(lambda self: looks.pop() if looks else True, lambda self, value: None)

    calls = recorded(monkeypatch)

    async def main():
        commit = Flickers(either)
        fd, path, receipt = embryo(either)
        try:
            await commit.commit(fd, path, receipt)
        except Transient:
            assert either.newcomers(10) == []
        else:
            assert ("fdatasync", path.name) in calls
        assert not looks
        assert "nothing is received" not in caplog.text  # a failure is handled and logged once
        commit.close()

    asyncio.run(main())
    assert os.listdir(either.root / "embryo") == []


def test_the_probe_needs_no_new_thread(spool, monkeypatch):
    """Where the disk has failed there may be no more threads either: the spool takes objects in again all the same."""

    def refused(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(batch, "PROBE_S", 0.01)

    async def main():
        commit = GroupCommit(spool)
        monkeypatch.setattr(batch.threading.Thread, "start", refused)
        with monkeypatch.context() as broken:
            recorded(broken, lambda call, _what: errno.EIO if call == "fdatasync" else None)
            with pytest.raises(Transient):
                await commit.commit(*embryo(spool))
        await healthy(commit)
        await commit.commit(*embryo(spool))
        commit.close()

    asyncio.run(main())
    assert len(spool.newcomers(10)) == 1


def test_a_file_removed_by_hand_says_nothing_about_the_volume(either):
    async def main():
        commit = GroupCommit(either)
        fd, path, receipt = embryo(either)
        path.unlink()
        with pytest.raises(Transient, match="somebody removed it"):
            await commit.commit(fd, path, receipt)
        assert commit.healthy
        await commit.commit(*embryo(either))
        commit.close()

    asyncio.run(main())
    assert len(either.newcomers(10)) == 1


def test_callers_take_turns_at_the_threads(spool, monkeypatch):
    """A file does not wait for all those that another caller has on their way."""
    begun, go_on = threading.Event(), threading.Event()
    fdatasync, order = os.fdatasync, []

    def slow(fd):
        begun.set()
        assert go_on.wait(30)
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", slow)

    async def main():
        commit = GroupCommit(spool, threads=1)
        futures = []
        for caller in ("FLOOD", "FLOOD", "FLOOD", "QUIET"):
            fd, path, receipt = embryo(spool)
            name = f"{receipt}.{key('1')}.{NO_UID}.{key(caller)}"
            futures.append(commit.commit(fd, path, name))
            futures[-1].add_done_callback(lambda _, caller=caller: order.append(caller))
            await asyncio.to_thread(begun.wait, 30)
        go_on.set()
        await asyncio.gather(*futures)
        commit.close()

    asyncio.run(main())
    assert order == ["FLOOD", "FLOOD", "QUIET", "FLOOD"]
    assert len(spool.newcomers(10)) == 4
