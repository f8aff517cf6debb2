"""The filter sort: by which values the instances of one series are ordered, and the order.

Each action orders anew, in the order of the file, and equal ones keep their places; so the last action decides, and the
ones before it where that one sees no difference. An instance without the element is last in either direction, and so is
one to which the sorting of that action does not apply. Strings compare by code point. What is no whole number counts as
0. Deliberately absent: which instances wait together (outbound/queue.py).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from leyden.dicom.header import Header
from leyden.plan.conditions import Clock, Finding, examine, remark, stopped_clock
from leyden.plan.rules import SortAction, Sorting, SortType

Value = int | str | None
Values = tuple[Value, ...]
"""What the actions of all sortings see in one instance, in the order of the file; None = it is last by that action."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,64}", re.ASCII)

Item = TypeVar("Item")


class Look(NamedTuple):
    """By what an instance is ordered, None = no sorting applies to it; and what the conditions said, each with the
    place of its sorting."""

    values: Values | None
    findings: tuple[tuple[str, Finding], ...]


def look(sortings: Iterable[Sorting], header: Header, clock: Clock = stopped_clock) -> Look:
    """Look for what orders an instance. `clock`: see conditions.examine()."""
    found: list[Value] = []
    findings: list[tuple[str, Finding]] = []
    applies = False
    for sorting in sortings:
        held = True
        for condition in sorting.conditions:
            finding = examine(condition, header, clock)
            findings.append((sorting.where, finding))
            held = finding.held
            if not held:
                break
        applies |= held
        found += [_value(action, header) if held else None for action in sorting.actions]
    return Look(tuple(found) if applies else None, tuple(findings))


def remarks(looked: Look) -> Iterator[str]:
    """What the log says, at level INFO, about conditions with Log, and about those without an answer."""
    for where, finding in looked.findings:
        if finding.condition.log_info or finding.unsure:
            yield f"{where}: {remark(finding)}"


def ordered(sortings: Iterable[Sorting], items: Iterable[Item], values_of: Callable[[Item], Values]) -> list[Item]:
    """The items in the order of sending; those that are equal in everything stay as they came."""
    found = list(items)
    for number, action in enumerate(action for sorting in sortings for action in sorting.actions):
        _sort(found, [values_of(item)[number] for item in found], action.descending)
    return found


def _sort(items: list[Item], by: Sequence[Value], descending: bool) -> None:
    there = [number for number, value in enumerate(by) if value is not None]
    absent = [number for number, value in enumerate(by) if value is None]
    there.sort(key=by.__getitem__, reverse=descending)  # type: ignore[arg-type]  # of one action all have one type
    items[:] = [items[number] for number in (*there, *absent)]


def _value(action: SortAction, header: Header) -> Value:
    texts = header.texts(int(action.tag, 16))
    if texts is None:
        return None
    if action.type is SortType.STRING:
        return "\\".join(texts)
    first = texts[0] if texts else ""
    return int(first) if _WHOLE.fullmatch(first) else 0
