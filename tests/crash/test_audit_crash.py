"""The audit log under SIGKILL: it holds what the journal told, each event once, and the chain is whole."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.crash import AUDIT_POINTS, ENVIRONMENT
from support.audited import checked, delivered, numbers, tell
from support.objects import make_ct
from support.peers import Pacs, run_dcmtk
from support.service import Service, node, wait_for

WRITERS, EACH = 12, 40
KEEPER = """
import sys
from pathlib import Path
from leyden import crash
from leyden.audit import keeper
from leyden.audit.settings import AuditSettings
keeper.MORE, keeper.ROTATE_BYTES = 40, 40_000
crash.arm("watcher")
root = Path(sys.argv[1])
kept = keeper.Keeper(root, root / "log", AuditSettings())
while kept.turn():
    pass
"""


def started(root: Path, crash_at: str = "") -> "subprocess.Popen[bytes]":
    environment = {**os.environ, ENVIRONMENT: crash_at}
    return subprocess.Popen([sys.executable, "-c", KEEPER, str(root)], env=environment)


def told(root: Path) -> None:
    for writer in range(WRITERS):
        tell(root, map(delivered, range(EACH * writer, EACH * (writer + 1))), f"sender-{writer}")


def assert_whole(root: Path) -> None:
    assert started(root).wait(60) == 0
    assert sorted(numbers(root)) == list(range(WRITERS * EACH))
    said = checked(root)
    assert (said.fault, said.to_the_end) == (None, True)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("point", AUDIT_POINTS)
def test_a_kill_at_a_named_point_costs_nothing_and_repeats_nothing(tmp_path: Path, point: str, times: int) -> None:
    """Each step that the keeper makes durable may be its last one."""
    told(tmp_path)
    assert started(tmp_path, f"watcher/{point}:{times}").wait(60) == -signal.SIGKILL
    assert_whole(tmp_path)


def test_kills_at_random_cost_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    """At any moment, also while it finishes what the last one left."""
    told(tmp_path)
    seed = int(os.environ.get("LEYDEN_CRASH_SEED", str(time.time_ns() % 2**32)))
    chosen = random.Random(seed)
    for _ in range(int(os.environ.get("LEYDEN_CRASH_ROUNDS", "6"))):
        process = started(tmp_path)
        try:
            process.wait(chosen.uniform(0.1, 0.4))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
    print(f"LEYDEN_CRASH_SEED={seed}")
    assert_whole(tmp_path)


def test_a_watcher_that_is_killed_under_load_misses_nothing(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """The service goes on without it, and the next one reads what it has missed."""
    count = 30
    archive = pacs("ARCHIVE")
    leyden = service(node("ARCHIVE", archive.port), audit="{enabled: true}")
    mark = tmp_path / "killed"
    leyden.start(**{ENVIRONMENT: f"watcher/audit-synced:2:{mark}"})
    paths = [str(make_ct(tmp_path / f"{n}.dcm", n, rows=8, columns=8)) for n in range(count)]
    words = ("-aet", "CT01", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port))
    assert run_dcmtk("dcmsend", *words, *paths[:10]).returncode == 0
    wait_for(mark.exists)
    assert run_dcmtk("dcmsend", *words, *paths[10:]).returncode == 0
    archive.wait(count)
    leyden.wait_line("watcher-0 killed by SIGKILL")
    leyden.wait_empty()
    assert leyden.stop() == 0
    assert leyden.start().stop() == 0
    shown = leyden.leyden("audit", "show", "--event", "delivered", "--event", "received", "--json")
    assert shown.stdout.count('"event":"delivered"') == shown.stdout.count('"event":"received"') == count
    done = leyden.leyden("audit", "verify")
    assert (done.returncode, done.stdout[:4]) == (0, "OK: ")
