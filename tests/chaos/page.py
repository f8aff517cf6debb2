"""The table of docs/reliability.md: the words of the rows, and how often each was played (perf/chaos.json)."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from chaos.row import Row
from chaos.scene import Scene

ROOT = Path(__file__).resolve().parents[2]
PAGE, COUNTS = ROOT / "docs" / "reliability.md", ROOT / "perf" / "chaos.json"
BEGIN, END = "<!-- rows: perf/chaos.py --page -->\n", "<!-- end of rows -->"
HEADINGS = {
    "processes": "Processes",
    "steps": "Processes, at each step of the trip and of a reload",
    "disk": "The disk",
    "spool": "The spool and the machine",
    "service": "The clock, the configuration, stops and starts",
    "destinations": "One destination of two",
}


def counts() -> dict[str, Any]:
    """What perf/chaos.py has counted so far: row -> rounds, objects, again; and `mixed`."""
    return dict(orjson.loads(COUNTS.read_bytes())) if COUNTS.exists() else {}


def table(groups: Mapping[str, Sequence[Row]], scenes: Sequence[Scene], counted: Mapping[str, Any]) -> str:
    """The Markdown between BEGIN and END."""
    parts = []
    for group, rows in groups.items():
        words = [(row.fault, row.injection, row.holds, _rounds(row.name, counted), row.found) for row in rows]
        parts.append(f"\n### {HEADINGS[group]}\n\n{_table(words)}")
    for scene in scenes:
        rounds = _rounds(scene.name, counted)
        words = [(fault, injection, holds, rounds, found) for fault, injection, holds, found in scene.rows]
        parts.append(f"\n### Played together: {scene}\n\n{_table(words)}")
    mixed = counted.get("mixed", {})
    parts.append(f"\nMixed at random: {mixed.get('rounds', 0)} loads with {mixed.get('faults', 0)} faults.\n\n")
    return "".join(parts)


def _rounds(name: str, counted: Mapping[str, Any]) -> str:
    row = counted.get(name, {})
    return str(row.get("rounds", f"none: {row['skipped']}" if "skipped" in row else 0))


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = [("fault", "how it is made", "what holds besides", "rounds", "found and mended"), ("---",) * 5, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_table(
    page: str, groups: Mapping[str, Sequence[Row]], scenes: Sequence[Scene], counted: Mapping[str, Any]
) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(groups, scenes, counted) + END + after
