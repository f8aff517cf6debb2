"""Who dies at any step of a reload loses nothing: load, reload, die there, go on, count."""

import signal
from pathlib import Path

import pytest

from leyden import crash
from support.proof import AS_IS, COMPRESSED, ROUTINGS, Rig
from support.service import wait_for

OBJECTS = 36
POINTS = [(role, point) for point, roles in crash.RELOAD_POINTS.items() for role in roles]


@pytest.mark.parametrize(("role", "point"), POINTS, ids=lambda word: word)
def test_who_dies_in_a_reload_loses_nothing(role: str, point: str, tmp_path: Path) -> None:
    """Any process may be killed at any line (ARCHITECTURE.md), those of a reload too.
    The reload adds a node and turns the order of the rules round, which changes no delivery."""
    rig, mark = Rig(tmp_path), tmp_path / "died"
    service = rig.service
    try:
        rig.start_archives()
        service.start(60, LEYDEN_CRASH_AT=f"{role}/{point}:1:{mark}")
        load = rig.load(OBJECTS, 2)
        load.wait_promised(6)
        with (service.folder / "nodes.yml").open("a") as nodes:
            nodes.write("- AeTitle: NEW\n  Port: 1\n")
        (service.folder / "routings.yml").write_text(f"- AeTitles: NEW\n  Actions:\n    - Target: NEW\n{ROUTINGS}")
        assert service.process is not None
        service.process.send_signal(signal.SIGHUP)
        wait_for(mark.exists, 60, f"{role} to pass {point}")
        if role == "supervisor":
            assert service.process.wait(60) == -signal.SIGKILL
            service.start(60)
        else:
            service.wait_line(f"{role}-0 killed by SIGKILL")
        load.join()
        found = rig.settle()
    finally:
        rig.end()
    assert len(rig.promised) == OBJECTS
    assert found.arrivals[COMPRESSED].total() >= 2 * OBJECTS // 3
    assert found.arrivals[AS_IS].total() >= 2 * OBJECTS // 3
