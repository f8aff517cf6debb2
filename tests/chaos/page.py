"""The table of docs/reliability.md: the words of the rows, and how often each was played (perf/chaos.json)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from chaos.row import Row

ROOT = Path(__file__).resolve().parents[2]
PAGE, COUNTS = ROOT / "docs" / "reliability.md", ROOT / "perf" / "chaos.json"
BEGIN, END = "<!-- rows: perf/chaos.py --page -->\n", "<!-- end of rows -->"
HEADINGS = {
    "processes": "Processes",
    "disk": "The disk",
    "spool": "The spool and the machine",
}


def counts() -> dict[str, Any]:
    """What perf/chaos.py has counted so far: row -> rounds, objects, again; and `mixed`."""
    return dict(orjson.loads(COUNTS.read_bytes())) if COUNTS.exists() else {}


def table(groups: Mapping[str, Sequence[Row]], counted: Mapping[str, Any]) -> str:
    """The Markdown between BEGIN and END."""
    parts = []
    for group, rows in groups.items():
        parts.append(f"\n### {HEADINGS[group]}\n\n| fault | how it is made | what holds besides | rounds | found |\n")
        parts.append("| --- | --- | --- | --- | --- |\n")
        for row in rows:
            rounds = counted.get(row.name, {}).get("rounds", 0)
            parts.append(f"| {row.fault} | {row.injection} | {row.holds} | {rounds} | {row.found or '–'} |\n")
    mixed = counted.get("mixed", {})
    parts.append(f"\nMixed at random: {mixed.get('rounds', 0)} loads, {mixed.get('faults', 0)} faults.\n\n")
    return "".join(parts)


def with_table(page: str, groups: Mapping[str, Sequence[Row]], counted: Mapping[str, Any]) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + table(groups, counted) + END + after
