"""What entries.py measures is there: a spool of which every way finds what it should, as a process too."""

import sys
from pathlib import Path

import pytest

from leyden.operate.queue import Filter, page
from leyden.spool.listing import counts
from leyden.spool.stage import Stage

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

import entries
import peers


def test_the_spool_is_made_and_each_way_finds_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "LINKS_MAX", 300)
    root = tmp_path / "cache"
    entries.make(root, 1000)
    by_stage = {stage: sum(c.files for c in counts(str(root)) if c.stage is stage) for stage in Stage}
    assert (by_stage[Stage.REJECTED], by_stage[Stage.DEFERRED], by_stage[Stage.PREPARED]) == (10, 40, 950)
    assert page(root, Filter(studies=frozenset({"2.1"}))).total == 250
    assert all(way(tmp_path) >= 0 for way in entries.ways(root).values())
    assert entries.command(tmp_path, ("queue", "list")) > 0
    with pytest.raises(peers.Failed):
        entries.command(tmp_path, ("queue", "show", "0" * 22))
