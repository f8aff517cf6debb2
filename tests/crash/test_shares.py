"""A share that hangs, and a file that cannot be moved: only what needs them waits, everything else goes on.

The share is a frozen ext4 file system (FIFREEZE): a process that writes there can't even be killed. The file is
immutable (chattr +i). Both need root.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.objects import make_cts, real, split
from support.peers import Pacs, run_dcmtk
from support.service import LIMIT_S, Service, files_below, node, wait_for
from support.volume import Volume

FROZEN_MAX_S = 150.0
SOON_S = LIMIT_S


def send(service: Service, called: str, *files: Path) -> None:
    words = ("-aet", "CT01", "-aec", called, "127.0.0.1", str(service.port))
    done = run_dcmtk("dcmsend", "-dn", *words, *map(str, files))
    assert done.returncode == 0, done.stderr


def in_new(service: Service) -> list[str]:
    return sorted(path.stem for path in files_below(service.spool / "new") if path.suffix == ".dcm")


# -- a share that hangs


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Volume]:
    volume = Volume(tmp_path / "image", tmp_path / "share")
    alarm = threading.Timer(FROZEN_MAX_S, volume.thaw)
    alarm.start()
    yield volume
    alarm.cancel()
    volume.thaw()
    wait_for(lambda: unmounted(volume), why="the share to be unmounted")


def unmounted(volume: Volume) -> bool:
    """Unmount it; False while a killed process still has a file open there."""
    with contextlib.suppress(subprocess.CalledProcessError):
        volume.end()
    return not os.path.ismount(volume.place)


def hangs(process: psutil.Process) -> bool:
    """Whether one of its threads waits for a disk."""
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
            stat = Path(f"/proc/{process.pid}/task/{thread}/stat").read_text()
            if stat.rpartition(")")[2].split()[0] == "D":
                return True
    return False


@pytest.mark.parametrize("ends", ["stopped", "killed"])
def test_a_share_that_hangs_holds_up_what_is_saved_there_and_nothing_else(
    share: Volume,
    service: Callable[..., Service],
    pacs: Callable[..., Pacs],
    tmp_path: Path,
    ends: str,
) -> None:
    """The share behind a `save_file` target is slow or hangs; only what is saved there waits (docs/troubleshoot.md)."""
    archive, works = pacs("ARCHIVE"), tmp_path / "works"
    rules = f"""\
- Conditions:
    - Tag: PatientID
      MatchExpression: TEST1
  Actions:
    - Type: save_file
      Target: {share.place}/#{{8,60}}/
- Conditions:
    - Tag: PatientID
      MatchExpression: TEST2
  Actions:
    - Type: save_file
      Target: {works}/
"""
    one, two = make_cts(tmp_path / "cts", 2, rows=64, columns=64)
    (saved,) = make_cts(tmp_path / "more", 1, study=2, rows=64, columns=64)
    again = tmp_path / "again.dcm"
    again.write_bytes(one.read_bytes()[:-8] + b"the same")
    leyden = service(node("ARCHIVE", archive.port), rules).start()
    try:
        share.freeze()
        for path in (one, again, two):
            send(leyden, "ARCHIVE", path)
        planner = leyden.role("planner-0")
        wait_for(lambda: hangs(planner), SOON_S, "the planner to hang")
        waiting = in_new(leyden)
        send(leyden, "ARCHIVE", saved, real("MR_small.dcm"))
        archive.wait(2, SOON_S)
        leyden.wait_left(lambda left: [path.stem for path in left] == waiting, SOON_S, "the others to be done with")
        assert len(waiting) == 3
        assert len(os.listdir(works)) == 1
        if ends == "stopped":
            assert leyden.stop() == 0
            assert hangs(planner), "the thread that hangs can't end; a new service need not wait for it"
            leyden.start()
            send(leyden, "ARCHIVE", real("rtplan.dcm"))
            archive.wait(3, SOON_S)
            share.thaw()
        else:
            leyden.kill_all(wait=False)
            share.thaw()
            leyden.start()
            send(leyden, "ARCHIVE", real("rtplan.dcm"))
        archive.wait(6, SOON_S)
        leyden.wait_empty()
        assert leyden.stop() == 0
    finally:
        share.thaw()
        leyden.end()
    assert len(archive.arrivals) == 6
    arrived = {uid: [a.data for a in archive.arrivals if a.sop_instance_uid == uid] for uid in archive.uids()}
    assert arrived["2.25.1001.1"] == [split(one.read_bytes())[1], split(again.read_bytes())[1]], "in their order"
    copies = sorted(path for path in share.place.rglob("*") if path.is_file())
    assert len(copies) == 3
    assert {split(path.read_bytes())[1] for path in copies} == {
        split(path.read_bytes())[1] for path in (one, again, two)
    }


# -- a file that cannot be moved


@pytest.fixture
def immutable() -> Iterator[Callable[[Path, bool], None]]:
    """Make a file or a folder immutable, or undo that."""
    chattr, made = shutil.which("chattr"), set[Path]()
    if chattr is None or os.geteuid() != 0:
        pytest.skip("no immutable files here: that takes root and chattr")

    def make(path: Path, wanted: bool) -> None:
        done = subprocess.run([chattr, "+i" if wanted else "-i", path], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no immutable files here: {done.stderr.strip()}")
        (made.add if wanted else made.discard)(path)

    yield make
    for path in made:
        subprocess.run([chattr, "-i", path], check=True)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_an_object_that_cannot_be_moved_waits_alone_and_is_not_planned_again(
    service: Callable[..., Service],
    pacs: Callable[..., Pacs],
    tmp_path: Path,
    immutable: Callable[[Path, bool], None],
    what: str,
) -> None:
    """An entry that cannot be moved waits in new/, alone (DECISIONS.md 10).
    The first of a plan for many, that is; and a planner that dies meanwhile comes back."""
    first, second = pacs("FIRST"), pacs("SECOND")
    both = "- AeTitles: [FIRST]\n  Actions:\n    - Type: add_destination\n      Target: SECOND\n"
    leyden = service(node("FIRST", first.port) + node("SECOND", second.port), both).start()
    files = make_cts(tmp_path / "cts", 5, rows=64, columns=64)
    planner = leyden.role("planner-0")
    planner.suspend()
    send(leyden, "FIRST", *files[:4])
    stuck = min((leyden.spool / "new").rglob("*.dcm")) if what == "file" else leyden.spool / "prepared" / "SECOND"
    immutable(stuck, True)
    planner.resume()
    goes_on = 3 if what == "file" else 4
    first.wait(goes_on, SOON_S)
    if what == "file":
        second.wait(goes_on, SOON_S)
    leyden.wait_line("it can't be moved")
    planner.kill()
    leyden.wait_line("planner-0 killed by SIGKILL")
    send(leyden, "FIRST", files[4])
    first.wait(goes_on + 1, SOON_S)
    for _ in range(2):  # at a start of the whole, too
        assert leyden.stop() == 0
        leyden.start()
    send(leyden, "SECOND", real("MR_small.dcm"))
    wait_for(lambda: len(in_new(leyden)) == {"file": 1, "folder": 5 + 1}[what], SOON_S)
    immutable(stuck, False)
    os.kill(leyden.role("planner-0").pid, signal.SIGKILL)  # or wait a minute
    second.wait(6, SOON_S)
    first.wait(5, SOON_S)
    leyden.wait_empty()
    assert sorted(first.uids()) == [f"2.25.1001.{n}" for n in range(1, 6)], "none of them twice"
    assert len(set(second.uids())) == len(second.uids()) == 6
