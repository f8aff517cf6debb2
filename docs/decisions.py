"""Puts DECISIONS.md in order: `python docs/decisions.py` sorts each section by number and writes the index anew.

An entry begins with its number at the beginning of a line and ends before the next one or the next heading. Where
numbers jump a comment stands between the entries, as Markdown would count on and show another number.
"""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "DECISIONS.md"
_ENTRY = re.compile(r"^(?=\d+\. )", re.MULTILINE)
_JUMP = "<!-- -->"
_INDEX = re.compile(r"(<!-- index -->\n).*?(<!-- end -->)", re.DOTALL)


def ordered(text: str) -> str:
    """The page in its order. ValueError: two entries have one number, or there is no index."""
    head, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    parts = [_ENTRY.split(section) for section in sections]
    numbers = [number for _, *entries in parts for number in map(_number, entries)]
    if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
        raise ValueError(f"DECISIONS.md: given twice: {twice}; give the newer ones the next free number")
    if not _INDEX.search(head):
        raise ValueError("DECISIONS.md: no place for the index (<!-- index --> ... <!-- end -->)")
    rows = "".join(_row(begin, entries) for begin, *entries in parts)
    table = f"| section | decisions |\n|---|---|\n{rows}\nThe next free number is {max(numbers, default=0) + 1}.\n"
    blocks = [_INDEX.sub(lambda found: f"{found[1]}{table}{found[2]}", head).strip()]
    for begin, *entries in parts:
        blocks += [begin.strip(), _listed(sorted(entries, key=_number))]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _listed(entries: list[str]) -> str:
    lines: list[str] = []
    for before, entry in zip([None, *map(_number, entries)], entries, strict=False):
        if before is not None and _number(entry) != before + 1:
            lines.append(_JUMP)
        lines.append(entry.replace(_JUMP, "").strip())
    return "\n".join(lines)


def _number(entry: str) -> int:
    return int(entry.partition(".")[0])


def _row(begin: str, entries: list[str]) -> str:
    title = begin.splitlines()[0].removeprefix("## ").strip()
    anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
    return f"| [{title}](#{anchor}) | {_ranges(sorted(map(_number, entries)))} |\n"


def _ranges(numbers: list[int]) -> str:
    """1, 2, 3, 7 as `1-3, 7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


if __name__ == "__main__":
    PAGE.write_text(ordered(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
