"""Faults of the machine under load: nothing is promised that is not durable, and the service is back when they end.

A disk whose fsync fails, one that is read-only for a while (both by a library that is loaded before the others), a file
system that finds an error in itself, a full disk, and no memory for the arena. The service itself is never restarted,
but where its file system has to be mounted anew.
"""

import errno
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.faults import Call, Faults
from support.proof import MAX_ASSOCIATIONS, NOT_DURABLE_MAX, Rig
from support.service import ENDS_WITHIN_S, Service, node
from support.volume import Volume

OBJECTS = 90
ASSOCIATIONS = 4
BACK_S = 150.0  # an entry that could not be planned is tried again after a minute


@contextmanager
def rig_in(folder: Path, **config: object) -> Iterator[Rig]:
    rig = Rig(folder, **config)
    try:
        rig.start_archives()
        yield rig
    finally:
        rig.end()


def refused_while_it_lasts(rig: Rig) -> None:
    """Objects that come after the fault began: a promise would be one that nothing stands behind."""
    late = rig.load(OBJECTS, ASSOCIATIONS)
    for _ in range(ASSOCIATIONS):
        late.wait_refused()
    assert not late.promised


def comes_back(rig: Rig) -> None:
    """By itself; half-received files that could not be removed may stay in embryo/ until the next start."""
    for load in rig.loads:
        load.join(BACK_S)
    embryo = rig.service.spool / "embryo"
    rig.service.wait_left(lambda left: all(path.parent == embryo for path in left), BACK_S, "the spool to be empty")
    assert rig.service.stop() == 0
    rig.service.start(60)
    found = rig.settle()
    assert len(rig.promised) == len(rig.objects)
    assert found.again <= 2 * MAX_ASSOCIATIONS + NOT_DURABLE_MAX


def sync_fails(folder: Path) -> None:
    with rig_in(folder) as rig:
        faults = Faults(folder)
        rig.service.start(60, **faults.environment)
        load = rig.load(OBJECTS, ASSOCIATIONS)
        load.wait_promised(OBJECTS // 4)
        with faults.rule(Call.SYNC | Call.FOLDER_SYNC, errno.EIO):
            refused_while_it_lasts(rig)
        rig.service.wait_line("a probe write to the spool has succeeded", 60)
        comes_back(rig)


def sync_fails_and_then_the_power(folder: Path) -> None:
    """What was promised before the disk began to say no, and nothing else, is there after a cut."""
    with rig_in(folder) as rig:
        faults = Faults(folder)
        volume = Volume(folder / "image", rig.service.spool)
        try:
            rig.service.start(60, **faults.environment)
            load = rig.load(OBJECTS, ASSOCIATIONS)
            load.wait_promised(OBJECTS // 4)
            with faults.rule(Call.SYNC | Call.FOLDER_SYNC, errno.EIO):
                refused_while_it_lasts(rig)
                volume.cut()
                rig.service.kill_all()
            volume.remount()
            rig.service.start(60)
            comes_back(rig)
        finally:
            rig.end()
            volume.end()


def read_only_for_a_while(folder: Path) -> None:
    with rig_in(folder) as rig:
        faults = Faults(folder)
        rig.service.start(60, **faults.environment)
        load = rig.load(OBJECTS, ASSOCIATIONS)
        load.wait_promised(OBJECTS // 4)
        with faults.rule(Call.CHANGE, errno.EROFS, path=rig.service.spool):
            refused_while_it_lasts(rig)
        comes_back(rig)


def file_system_breaks_down(folder: Path) -> None:
    with rig_in(folder) as rig:
        volume = Volume(folder / "image", rig.service.spool)
        try:
            rig.service.start(60)
            load = rig.load(OBJECTS, ASSOCIATIONS)
            load.wait_promised(OBJECTS // 4)
            volume.break_down()
            refused_while_it_lasts(rig)
            rig.service.stop()
            volume.umount()
            volume.mount()
            rig.service.start(60)
            comes_back(rig)
        finally:
            rig.end()
            volume.end()


def disk_is_full(folder: Path) -> None:
    with rig_in(folder, minFreeSpace=5) as rig:
        volume = Volume(folder / "image", rig.service.spool)
        try:
            rig.service.start(60)
            load = rig.load(OBJECTS, ASSOCIATIONS)
            load.wait_promised(OBJECTS // 4)
            ballast = volume.fill()
            rig.service.wait_line("objects are refused")
            refused_while_it_lasts(rig)
            ballast.unlink()
            comes_back(rig)
        finally:
            rig.end()
            volume.end()


def no_address_space_for_the_arena(folder: Path) -> None:
    """The workers cannot map it any more; the supervisor gets its limit back while the service runs."""
    arena_mib, limit_bytes = 512, 400 << 20
    with rig_in(folder, arenaMib=arena_mib) as rig:
        rig.service.start(60)
        parent = rig.service.processes()[0]
        before = resource.prlimit(parent.pid, resource.RLIMIT_AS, (limit_bytes, resource.RLIM_INFINITY))
        rig.service.role("worker-0").kill()
        rig.service.wait_line("worker-0 killed by SIGKILL")
        rig.service.wait_line("worker-0 ended with exit code", 60)
        rig.load(OBJECTS, ASSOCIATIONS).join()
        resource.prlimit(parent.pid, resource.RLIMIT_AS, before)
        comes_back(rig)


FAULTS = (
    sync_fails,
    sync_fails_and_then_the_power,
    read_only_for_a_while,
    file_system_breaks_down,
    disk_is_full,
    no_address_space_for_the_arena,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_nothing_promised_is_lost_by_a_fault_of_the_machine(fault: Callable[[Path], None], tmp_path: Path) -> None:
    """Success is answered only after the file and its directory entry are durable (ARCHITECTURE.md, Invariants)."""
    fault(tmp_path)


def test_an_arena_larger_than_the_memory_is_refused_at_start(tmp_path: Path) -> None:
    """`not started`, exit code 2: "`arenaMib` is larger than the memory" (docs/troubleshoot.md).
    If it were taken page by page, the kernel would kill some process instead."""
    service = Service(tmp_path / "leyden", node("ASIS", 1), arenaMib=1_048_576)
    with pytest.raises(AssertionError, match=r"no memory for the arena of 1048576 MiB.*lower arenaMib"):
        service.start()
    assert service.process is not None
    assert service.process.wait(ENDS_WITHIN_S) == 2
