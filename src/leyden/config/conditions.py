"""The conditions of any rule file, checked: tags by number, expressions classified and tried.

How an expression is meant is decided here, once, as DICOM Capacitor does: only digits and dots = literal; `^` at the
start or one of [](){}|+\\ anywhere = regular expression; * or ? = wildcard; else literal.
"""

import re

import regex  # type: ignore[import-untyped]

from leyden.config.report import Report
from leyden.config.schema import ConditionEntry, Steps, place, read
from leyden.config.yaml_text import Node, Text
from leyden.plan.conditions import compiled
from leyden.plan.rules import PSEUDO_TAGS, Condition, Kind

NOT_PRIVATE = "a private tag has an odd group, and an element such as 1008 (or 0008: the last two digits count)"
_REGEX_SIGNS = frozenset("[](){}|+\\")


def condition(given: Node, steps: Steps, report: Report) -> Condition:
    """One checked condition; `steps` is the way to it within its rule. After an error the result is a stand-in."""
    entry = read(ConditionEntry, given, report, steps)
    if entry is None:
        return Condition("")
    expression = entry.match_expression
    for message in _contradictions(entry):
        report.error(entry.at, place(steps), message)
    if expression is not None and expression.blank:
        empty = "is empty; leave the key out to ask only whether the tag is there, or write '' for an empty value"
        report.error(expression.at, place((*steps, "MatchExpression")), empty)
    kind = Kind.PRESENT if expression is None else kind_of(expression)
    if expression is not None and kind is Kind.REGEX:
        problem = regex_problem(expression)
        if problem:
            report.error(expression.at, place((*steps, "MatchExpression")), problem)
    return Condition(
        tag=entry.tag,
        kind=kind,
        expression=str(expression or ""),
        negate=entry.negate,
        search=entry.search,
        items=tuple(
            condition(inner, (*steps, "SequenceItems", n), report) for n, inner in enumerate(entry.sequence_items)
        ),
        private_creator=str(entry.private_tag_creator or ""),
        log_info=entry.log,
    )


def kind_of(expression: str) -> Kind:
    """How an expression is meant."""
    if re.fullmatch(r"[0-9.]+", expression, re.ASCII):
        return Kind.LITERAL
    if expression.startswith("^") or _REGEX_SIGNS & set(expression):
        return Kind.REGEX
    return Kind.WILDCARD if set("*?") & set(expression) else Kind.LITERAL


def regex_problem(expression: Text) -> str:
    """What is wrong with a regular expression; "" = nothing."""
    if re.search(r"\[[^\]]*-\[", expression):
        return "one class taken from another ([a-z-[aeiou]]) is not possible here; use a look-ahead ((?![aeiou])[a-z])"
    try:
        compiled(Kind.REGEX, str(expression))
    except regex.error as error:
        where = f" at character {error.pos + 1}" if error.pos is not None else ""
        return f"not a regular expression: {error.msg}{where} of {expression}"
    return ""


def may_be_private(tag: int) -> bool:
    """Whether a tag can be that of an element in a private block (PS3.5 section 7.8.1), or its last two digits."""
    return bool(tag & 0x10000) and not 0x0100 <= tag & 0xFFFF < 0x1000


def _contradictions(entry: ConditionEntry) -> list[str]:
    pseudo = entry.tag in PSEUDO_TAGS
    found = []
    if entry.search and entry.sequence_items:
        found.append("Search and SequenceItems exclude each other")
    if entry.sequence_items and entry.match_expression is not None:
        found.append("MatchExpression and SequenceItems exclude each other")
    if pseudo and (entry.search or entry.sequence_items or entry.private_tag_creator):
        found.append(f"{entry.tag} is no element: it goes with MatchExpression and Negate only")
    if entry.private_tag_creator and entry.tag and not pseudo:
        if entry.search:
            found.append("Search and PrivateTagCreator exclude each other in this version")
        if not may_be_private(int(entry.tag, 16)):
            found.append(NOT_PRIVATE)
    return found
