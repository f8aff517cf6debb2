"""Rows: what happens to the disk of the spool."""

import errno
import os
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from chaos.objects import COMPRESSED
from chaos.oracle import ANY, Limits
from chaos.rig import Rig, Site
from chaos.row import Row
from leyden.dicom.uids import EXPLICIT_LE
from support.faults import Call
from support.service import files_below
from support.volume import Volume

EXT4 = Site("ext4")
FEW = 60  # an object makes about half as many
BATCHES = 3


def volume(rig: Rig) -> Volume:
    assert rig.volume is not None
    return rig.volume


@contextmanager
def power_cut(rig: Rig, chance: random.Random) -> Iterator[None]:
    """btrfs has no order for that: there, all is killed first, and the image is kept as it is then. In half of the
    rounds the file system has written out everything a moment ago, as it does by itself each 5 to 30 s."""
    if chance.random() < 0.5:
        volume(rig).sync()
    time.sleep(chance.random() * 0.2)
    if volume(rig).kind == "btrfs":
        rig.kill_all()
    rig.cut_power()
    yield
    rig.restart()


@contextmanager
def sync_fails_then_power(rig: Rig, chance: random.Random) -> Iterator[None]:
    """What was promised before the disk began to say no, and nothing else, is there after a cut."""
    with rig.faults.rule(Call.SYNC | Call.FOLDER_SYNC, errno.EIO, path=rig.service.spool):
        rig.wait_refused(4)
        rig.cut_power()
    yield
    rig.restart()


@contextmanager
def torn(rig: Rig, chance: random.Random) -> Iterator[None]:
    """What was being written when everything died is there in part: embryos, and the last lines of files of lines."""
    rig.kill_all()
    spool = rig.service.spool
    for path in files_below(spool / "embryo"):
        os.truncate(path, chance.randrange(os.path.getsize(path) + 1))
    for path in (*(spool / "receipts").glob("*.log"), *(spool / "journal").glob("*.jsonl")):
        with path.open("ab") as file:
            file.write(b'{"event":"delivered","receipt":"17'[: chance.randrange(1, 34)])
    for path in (*(spool / "state").rglob("*"), spool / "new"):
        if path.is_file():
            Path(f"{path}.making").write_bytes(path.read_bytes()[: chance.randrange(20)])
    yield
    rig.restart()


@contextmanager
def full(rig: Rig, chance: random.Random) -> Iterator[None]:
    ballast = volume(rig).fill()
    rig.wait_refused()
    yield
    ballast.unlink()


@contextmanager
def no_inodes(rig: Rig, chance: random.Random) -> Iterator[None]:
    folder = volume(rig).fill_inodes()
    rig.wait_refused()
    yield
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@contextmanager
def fails(
    calls: Call, error: int, roles: Iterable[str], path: str, refused: bool, rig: Rig, chance: random.Random
) -> Iterator[None]:
    """For good, until it is over. `refused`: the sources notice."""
    with rig.faults.rule(calls, error, roles=roles, path=path) as rule:
        if refused:
            rig.wait_refused(4)
        else:
            rig.wait_shown(lambda: rule.hits >= BATCHES, "calls to fail")
        yield


@contextmanager
def fails_once(
    calls: Call, error: int, roles: Iterable[str], path: str, rig: Rig, chance: random.Random, times: int = 1
) -> Iterator[None]:
    with rig.faults.rule(calls, error, roles=roles, path=path, times=times) as rule:
        rig.wait_shown(lambda: rule.hits == times, "calls to fail")
        yield


@contextmanager
def full_in_transcoding(rig: Rig, chance: random.Random) -> Iterator[None]:
    """Until it was hit over objects that are to be changed, which wait, and over one that is not."""
    there = rig.destinations[COMPRESSED]
    with rig.faults.rule(Call.WRITE | Call.OPEN, errno.ENOSPC, roles=["worker"], path="/cache/") as rule:
        rig.wait_shown(lambda: rule.hits >= BATCHES, "copies to fail")
        rig.wait_shown(lambda: any(each.syntax == EXPLICIT_LE for each in there.arrivals()), "an object as it came")
        yield


@contextmanager
def any_change(error: int, for_good: bool, rig: Rig, chance: random.Random) -> Iterator[None]:
    """One of the next changes on the disk fails, whoever makes it; or this one and all later ones, for a moment."""
    after = chance.randrange(FEW)
    calls = Call.CHANGE | Call.SYNC | Call.FOLDER_SYNC
    with rig.faults.rule(calls, error, path=rig.service.spool, after=after, times=-1 if for_good else 1) as rule:
        rig.wait_shown(lambda: rule.hits > 0, "a call to fail")
        if for_good:
            time.sleep(0.3)
        yield


@contextmanager
def short_reads(rig: Rig, chance: random.Random) -> Iterator[None]:
    with rig.faults.rule(Call.READ, roles=["sender", "worker", "planner"], path=rig.service.spool, half=True) as rule:
        rig.wait_shown(lambda: rule.hits > 20, "reads to be short")
        yield


@contextmanager
def slow(rig: Rig, chance: random.Random) -> Iterator[None]:
    with rig.faults.rule(Call.SYNC | Call.FOLDER_SYNC, delay_s=2.0, path=rig.service.spool) as rule:
        rig.wait_shown(lambda: rule.hits >= 8, "the disk to be slow")
        yield
    assert not any("as it was stuck" in line for line in rig.service.lines), "who waits for the disk is not stuck"


@contextmanager
def breaks_down(rig: Rig, chance: random.Random) -> Iterator[None]:
    """The file system finds an error in itself and becomes read-only; then it is mounted anew."""
    volume(rig).break_down()
    rig.wait_refused(4)
    yield
    rig.service.stop()
    volume(rig).remount()
    rig.restart()


FULL = Limits(doubts=2, as_it_came=ANY, journal=False, receipts=False, embryos=True)
_CHANGES = "for as long as it lasts, an answer that promises nothing; it is back by itself"
ROWS = (
    *(
        Row(
            f"power cut on {disk}",
            f"the power is cut ({disk})",
            how,
            power_cut,
            found=found,
            limits=Limits(doubts=1),
            site=Site(disk),
            mixes=False,
            rounds=rounds,
        )
        for disk, how, rounds, found in (
            ("ext4", "FS_IOC_SHUTDOWN on an image under load; all killed, mounted anew, started", 500, ""),
            ("xfs", "FS_IOC_SHUTDOWN on an image under load; all killed, mounted anew, started", 100, ""),
            (
                "btrfs",
                "all killed under load; the image as it is then is mounted anew, and a start",
                100,
                "an object for two destinations was lost; what was delivered in the last half minute was sent again",
            ),
        )
    ),
    Row("fsync fails before a power cut", "every sync fails, and then the power is cut", "EIO for each fsync and "
        "fdatasync; then as for a power cut on ext4", sync_fails_then_power, limits=FULL, site=EXT4, mixes=False),
    Row("torn writes", "what was being written is there in part", "all killed; embryos cut at random, half a line at "
        "the end of receipts and journal, half a file beside each state", torn, limits=Limits(doubts=1), mixes=False),
    Row("full in intake", "the disk is full", "an image filled up to its last block", full, _CHANGES, limits=FULL,
        site=EXT4),
    Row("no inodes", "no inode is free", "an image filled with empty files", no_inodes, _CHANGES,
        limits=FULL, site=EXT4),
    Row("full in transcoding", "the disk is full when a copy is made", "ENOSPC for each write of the worker",
        full_in_transcoding,
        "what is not to be changed goes on as it came, which makes room", limits=FULL),
    Row("full in receipts", "the disk is full when a receipt is written", "ENOSPC for each write below receipts/",
        partial(fails, Call.WRITE, errno.ENOSPC, ("sender",), "/receipts/", False),
        "what is delivered is done with, and the log says so", limits=FULL),
    Row("full in the journal", "the disk is full when the journal is written", "ENOSPC for each write below journal/",
        partial(fails, Call.WRITE, errno.ENOSPC, ("receiver", "planner", "worker", "sender"), "/journal/", False),
        "no object waits for that", limits=Limits(journal=False)),
    *(
        Row(
            f"{name} at any change {'for good' if for_good else 'once'}",
            f"a write, rename, link, removal or sync fails with {name}, {'and all later ones' if for_good else 'once'}",
            "one such call of any role under load, at random",
            partial(any_change, getattr(errno, name), for_good),
            found="a worker ended when it could not claim an object" if not for_good and name == "EIO" else "",
            limits=replace(FULL, doubts=4),
            rounds=200,
        )
        for name in ("EIO", "ENOSPC")
        for for_good in (False, True)
    ),
    Row("fsync fails once", "one sync fails (EIO)", "EIO for one fsync or fdatasync of a receiver",
        partial(fails_once, Call.SYNC, errno.EIO, ("receiver",), "/cache/")),
    Row("fsync fails", "every sync fails (EIO)", "EIO for each fsync and fdatasync",
        partial(fails, Call.SYNC | Call.FOLDER_SYNC, errno.EIO, ("receiver", "planner", "worker", "sender"), "/cache/",
                True), _CHANGES, limits=Limits(doubts=2, receipts=False, embryos=True)),
    Row("fsync of receipts fails once", "the sync of a receipt fails (EIO)", "EIO for one fsync below receipts/",
        partial(fails_once, Call.SYNC, errno.EIO, ("sender",), "/receipts/"), limits=Limits(doubts=1, receipts=False)),
    Row("EIO at send", "an object cannot be read when it is sent", "EIO for six reads of objects by the sender",
        partial(fails_once, Call.READ, errno.EIO, ("sender",), ".dcm", times=6),
        "it stands in failed/, and is tried again at the next start", limits=Limits(doubts=1, ends_in=("failed",))),
    Row("short reads", "reads give half of what was asked for", "half of each read of planner, worker and sender",
        short_reads),
    Row("slow disk", "each sync takes 2 s", "a pause before each fsync and fdatasync", slow,
        "nobody is held to be stuck"),
    Row("read-only for a while", "the disk is read-only for a while", "EROFS for each change",
        partial(fails, Call.CHANGE, errno.EROFS, ("receiver", "planner", "worker", "sender", "supervisor"), "/cache/",
                True), _CHANGES, limits=FULL),
    Row("file system breaks down", "the file system finds an error in itself and is read-only from then on",
        "trigger_fs_error of ext4; mounted anew, and a start", breaks_down, limits=FULL,
        found="Success was answered for what was lost, as syncs report success while it breaks down",
        site=EXT4, mixes=False),
)  # fmt: skip
