"""What reload.py measures is a reload: each one changes a rule and a node of a good configuration."""

import sys
from pathlib import Path

from leyden.config.changes import changes
from leyden.config.load import load
from leyden.config.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

import reload


def test_each_reload_changes_a_rule_and_a_node(tmp_path: Path) -> None:
    def at(generation: int) -> Settings:
        (tmp_path / "config.yml").write_text("filters: route\n")
        (tmp_path / "nodes.yml").write_text(reload.nodes(104, generation))
        (tmp_path / "routings.yml").write_text(reload.routings(generation))
        return load(tmp_path, {}, {})[0]

    for generation in range(3):
        before, after = at(generation), at(generation + 1)
        assert len(after.plan.routes or ()) == reload.RULES
        node, *rules = changes(before, after)
        assert node.startswith("node OTHER48 is ")
        assert rules
