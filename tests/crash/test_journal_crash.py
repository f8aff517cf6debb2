"""The journal, when processes are killed and disks are full: it loses last lines at most and never harms an object."""

import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pytest

from leyden.journal.segments import segments
from leyden.operate.trace import by_instance
from support.objects import make_cts
from support.peers import Pacs, run_dcmtk
from support.service import Service, node, wait_for

OBJECTS = 60


def send(leyden: Service, files: list[Path]) -> None:
    run_dcmtk("dcmsend", "-dn", "-aet", "CT01", "-aec", "PACS", "127.0.0.1", str(leyden.port), *map(str, files))


def damaged(leyden: Service) -> list[bytes]:
    """The lines of the journal that are no events."""
    found = []
    for segment in segments(str(leyden.spool / "journal")):
        for line in Path(segment.path).read_bytes().split(b"\n")[:-1]:
            try:
                orjson.loads(line)["receipt"]
            except orjson.JSONDecodeError:
                found.append(line)
    return found


def stand(leyden: Service, uid: str) -> set[str]:
    """How the objects that hold an instance stand at the destination."""
    return {state for story in by_instance(leyden.spool, uid) for state, _ in story.standings().values()}


def test_a_kill_of_all_processes_costs_last_lines_at_most(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """What a crash cuts off is skipped, and the next line stands on its own: each object has a story all the same."""
    archive = pacs("PACS")
    leyden = service(node("PACS", archive.port, RetryDelays="0.2", TransferSyntax="JPEG2000Lossless")).start()
    files = make_cts(tmp_path / "cts", OBJECTS, rows=32, columns=32)
    load = threading.Thread(target=send, args=(leyden, files))
    load.start()
    archive.wait(OBJECTS // 4)
    leyden.kill_all()
    load.join()
    leyden.start()
    send(leyden, files)
    uids = [f"2.25.1001.{n}" for n in range(1, OBJECTS + 1)]
    archive.wait_until(lambda arrivals: {a.sop_instance_uid for a in arrivals} == set(uids), 90)
    leyden.wait_empty()
    assert leyden.stop() == 0
    told = {uid: [event["event"] for story in by_instance(leyden.spool, uid) for event in story.events] for uid in uids}
    assert all("received" in events and "delivered" in events for events in told.values()), told
    assert not damaged(leyden)  # a line is one write, so a kill cannot cut it in two


def test_lines_that_a_power_cut_has_cut_off_are_passed_over(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """The last line of each file is lost, those before it and behind it are not."""
    archive = pacs("PACS")
    leyden = service(node("PACS", archive.port), workers=1).start()
    files = make_cts(tmp_path / "cts", 6, rows=32, columns=32)
    send(leyden, files[:3])
    archive.wait(3)
    leyden.wait_empty()
    assert leyden.stop() == 0
    found = segments(str(leyden.spool / "journal"))
    assert len(found) == 4  # receiver, planner, sender, and the parent, which tells when it starts and stops
    for segment in found:
        os.truncate(segment.path, segment.bytes - 9)
    leyden.start()
    send(leyden, files[3:])
    archive.wait(6)
    leyden.wait_empty()
    wait_for(lambda: stand(leyden, "2.25.1001.6") == {"delivered"})
    assert len(damaged(leyden)) == 4
    for number in (1, 2, 3, 4, 5):  # of the third one, the receipt is left
        wait_for(lambda uid=f"2.25.1001.{number}": stand(leyden, uid) <= {"delivered"}, why=str(number))
    assert [len(by_instance(leyden.spool, f"2.25.1001.{n}")[0].events) for n in (1, 2, 4, 5, 6)] == [3] * 5


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Mount a tiny file system at a folder, which is full after some lines."""
    mounted: list[Path] = []

    def mount(place: Path) -> None:
        place.parent.mkdir(mode=0o700)
        place.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", "size=8k,mode=700", "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("no mounts here: that takes root")
        mounted.append(place)

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_under_the_journal_harms_no_object(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path, full: Callable[[Path], None]
) -> None:
    """The journal is given up for a while with one line of the log; each object arrives as if nothing was."""
    archive = pacs("PACS")
    leyden = service(node("PACS", archive.port, TransferSyntax="JPEG2000Lossless"))
    full(leyden.spool / "journal")
    leyden.start()
    send(leyden, make_cts(tmp_path / "cts", OBJECTS, rows=32, columns=32))
    archive.wait(OBJECTS)
    leyden.wait_empty()
    assert leyden.stop() == 0
    said = "the journal is not written, next try in 60 s: No space left on device"
    lines = [line for line in leyden.lines if said in line]
    assert lines
    assert len(lines) == len({line.split()[3] for line in lines})  # one of each process
    assert len(archive.arrivals) == OBJECTS
