"""kill -9, seen with peers of other makers, and what else holds when processes die. The rest: tests/chaos."""

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.oracle import again
from chaos.rig import Rig
from support.objects import make_cts
from support.peers import DCMTK_ENVIRONMENT, Pacs, dcmtk
from support.service import ENDS_WITHIN_S, EXAMPLE_ROUTINGS, Service, node, wait_ended, wait_for

OBJECTS = 200
KILLS = 2


def send(service: Service, files: list[Path], *, kill_after: int = 0) -> set[str]:
    """Send with storescu, as its log says which object got Success; returns the UIDs of those.

    After the `kill_after`-th Success every process of the service is killed.
    """
    words = ["-v", "-xe", "-aet", "CT01", "-aec", "IMAGEPACS", "127.0.0.1", str(service.port), *map(str, files)]
    said = []
    with subprocess.Popen(
        [dcmtk("storescu"), *words],
        env=DCMTK_ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as source:
        assert source.stdout is not None
        for line in source.stdout:
            said.append(line)
            if "Received Store Response (Success)" in line:
                kill_after -= 1
                if kill_after == 0:
                    service.kill_all()
    return acknowledged("".join(said), files)


def acknowledged(said: str, files: list[Path]) -> set[str]:
    """The SOP Instance UIDs that were answered with Success. storescu sends in order and names each file first."""
    uids, current = set(), None
    for line in said.splitlines():
        if "Sending file: " in line:
            current = line.split("Sending file: ")[1].strip()
        elif "Received Store Response (Success)" in line and current is not None:
            uids.add(f"2.25.1001.{[str(f) for f in files].index(current) + 1}")
    return uids


@pytest.mark.timeout(600)
def test_nothing_is_lost_if_every_process_is_killed_several_times_under_load(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """You may kill any process or cut the power: it is still there (README.md)."""
    images = pacs("IMAGEPACS")
    nodes = node("IMAGEPACS", images.port, Impersonate="true", TransferSyntax="JPEG2000Lossless")
    leyden = service(nodes, EXAMPLE_ROUTINGS.replace("REPORTPACS", "IMAGEPACS"))
    files = make_cts(tmp_path / "cts", OBJECTS, rows=256, columns=256)
    chance = random.Random(20261124)
    promised: set[str] = set()
    for _ in range(KILLS):
        leyden.start()
        done = send(leyden, files, kill_after=chance.randrange(1, OBJECTS))
        assert len(done) >= 1
        promised |= done
    leyden.start()
    images.wait_until(lambda arrivals: promised <= {a.sop_instance_uid for a in arrivals}, 120, "all that got Success")
    leyden.wait_empty(120)
    assert not any((leyden.spool / "embryo").iterdir())


def test_the_supervisor_killed_alone_takes_every_role_with_it(service: Callable[..., Service]) -> None:
    """If the parent is killed, all others end with it (docs/operate.md)."""
    leyden = service(node("IMAGEPACS", 1)).start()
    parent, *roles = leyden.processes()
    assert len(roles) == 4
    parent.kill()
    wait_ended(roles)
    assert leyden.process is not None
    leyden.process.wait(ENDS_WITHIN_S)
    leyden.start()
    assert leyden.stop() == 0


def test_a_second_service_on_the_same_spool_refuses_and_touches_nothing(service: Callable[..., Service]) -> None:
    """A second service "ends with exit code 2 and says which process uses the spool" (docs/operate.md)."""
    leyden = service(node("IMAGEPACS", 1)).start()
    marker = leyden.spool / "embryo" / "0000.dcm"
    marker.write_bytes(b"being received")
    second = subprocess.run(
        [sys.executable, "-m", "leyden", "run", "--as-root", "--path", str(leyden.folder), "--config.scpPort=0"],
        capture_output=True,
        text=True,
        timeout=ENDS_WITHIN_S,
    )
    assert second.returncode == 2
    assert leyden.process is not None
    assert str(leyden.process.pid) in second.stderr
    assert marker.read_bytes() == b"being received"
    assert leyden.process.poll() is None
    assert leyden.stop() == 0


def test_sigterm_leaves_the_rest_in_the_spool(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """SIGTERM: what is under way is finished, and "the rest waits in the spool" (docs/operate.md)."""
    images = pacs("IMAGEPACS")
    leyden = service(node("IMAGEPACS", images.port, TransferSyntax="JPEG2000Lossless")).start()
    files = make_cts(tmp_path / "cts", 60)
    promised = send(leyden, files)
    assert leyden.stop() == 0
    assert len(promised) == 60
    assert leyden.left() or len(images.arrivals) == 60
    leyden.start()
    images.wait_until(lambda arrivals: promised <= {a.sop_instance_uid for a in arrivals}, 60, "all that got Success")
    leyden.wait_empty()


def test_a_worker_that_dies_with_an_object_in_hand_is_replaced_at_once(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """A crash in a worker "costs one worker and one job" (ARCHITECTURE.md).
    Its object counts the crash and is bounded by that; a pause would stop compression for everybody."""
    images = pacs("IMAGEPACS")
    leyden = service(node("IMAGEPACS", images.port, TransferSyntax="JPEG2000Lossless"), workers=1, arenaMib=128).start()
    worker = leyden.role("worker-0")
    assert len(send(leyden, make_cts(tmp_path / "cts", 2, rows=2048, columns=2048))) == 2
    wait_for(lambda: list((leyden.spool / "active" / "worker-0").glob("*.dcm")), why="a claim of the worker")
    worker.kill()
    assert "starts again in 0 s" in leyden.wait_line("worker-0 killed by SIGKILL")
    images.wait(2, 60)


def test_answered_means_that_the_source_has_the_answer(tmp_path: Path) -> None:
    """Who dies after the step `answered` has sent the answer: the source sends its object once only."""
    rig = Rig(tmp_path)
    mark = rig.orders / "died"
    try:
        rig.crash_at.write_text(f"receiver/answered:1:{mark}")
        rig.start().load(1, 1)
        seen = rig.settle()
        assert mark.exists()
        assert seen.sends.total() == 1
        assert again(seen) == 0
    finally:
        rig.end()
