"""Writes the table of docs/api.md from src/leyden/console/table.py: `python docs/api.py`.

It stands between `<!-- calls -->` and `<!-- end -->`; everything else of the page is written by hand.
"""

import re
from pathlib import Path

from leyden.console.openapi import shown
from leyden.console.table import TABLE

PAGE = Path(__file__).with_name("api.md")
_TABLE = re.compile(r"(<!-- calls -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str) -> str:
    """The page with its table as it has to be."""
    rows = [("call", "needs", "what it does", "takes, gives, refuses"), ("---",) * 4, *shown(TABLE)]
    table = "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows)
    return _TABLE.sub(lambda found: f"{found[1]}{table}{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
