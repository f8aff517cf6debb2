"""`leyden queue` is killed in the middle of a verb: every object stands somewhere, and the same command ends it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leyden import crash
from leyden.operate.queue import Filter, select
from leyden.spool.recover import recover
from leyden.spool.stage import Stage
from support.service import node
from unit.test_planner import SR, Site

POINTS = {
    "note-written": ("reject",),
    "put-away": ("reject",),
    "brought-back": ("retry",),
    "released": ("release",),
    "copy-renamed": ("move", "--to", "PACS"),
    "deleted": ("delete",),
}
OBJECTS = 3
ENDS_IN = {"reject": "rejected", "retry": "prepared", "release": "prepared", "move": "prepared"}


def spool(folder: Path, verb: str) -> Site:
    """Three objects for REPORTS, where the verb finds them."""
    (folder / "config.yml").write_text("scpPort: 11112\n")
    (folder / "nodes.yml").write_text(node("PACS", 104) + node("REPORTS", 105))
    site = Site(folder)
    for number in range(OBJECTS):
        site.receive(SR, "REPORTS", instance=f"1.2.{number}")
    site.planner.batch()
    for waiting in site.waiting(Stage.PREPARED, "REPORTS"):
        if verb in ("retry", "release"):
            claim = site.spool.claim(waiting, "sender-0")
            if verb == "retry":
                site.spool.reject(claim, {"reason": "no"})
            else:
                site.spool.defer(claim, 2e9)
    return site


def standing(root: Path) -> list[tuple[str, str]]:
    return sorted((item.stage, item.id) for item in select(root, Filter()))


@pytest.mark.parametrize("point", crash.QUEUE_POINTS)
def test_a_verb_that_is_killed_loses_nothing(point: str, tmp_path: Path) -> None:
    """Any process may be killed at any line (ARCHITECTURE.md); docs/operate.md: "a command that is killed leaves each
    object in the queue or where it was to go". The second object is the one in hand."""
    verb, *more = POINTS[point]
    root = spool(tmp_path, verb).spool.root
    receipts = {item.receipt for item in select(root, Filter())}
    mark = tmp_path / "died"
    yes = [] if verb in ("retry", "release") else ["--yes"]
    command = [sys.executable, "-m", "leyden", "queue", verb, "REPORTS", *more, *yes, "--path", str(tmp_path)]
    environment = {**os.environ, "LEYDEN_CRASH_AT": f"queue/{point}:2:{mark}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, mark.exists()) == (-signal.SIGKILL, True), done.stderr

    left = standing(root)
    deleted = 2 if verb == "delete" else 0
    assert len(left) == OBJECTS - deleted
    assert {id[:22] for _, id in left} == set(sorted(receipts)[deleted:])
    for stage in ("rejected", "failed"):
        assert all(path.with_name(f"{path.name}.json").exists() for path in (root / stage).rglob("*.dcm"))

    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    for _ in range(2):
        ended = [] if verb == "delete" else sorted((ENDS_IN[verb], receipt) for receipt in receipts)
        assert sorted((stage, id[:22]) for stage, id in standing(root)) == ended
        recover(Site(tmp_path).spool, retry_rejected=True)
    assert not list((root / "rejected").rglob("*.json")) or verb == "reject"
