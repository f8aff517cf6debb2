"""routings.yml as the rules that the planner applies: titles resolved, expressions classified and tried.

How an expression is meant is decided here, once, as DICOM Capacitor does: only digits and dots = literal; `^` at the
start or one of [](){}|+\\ anywhere = regular expression; * or ? = wildcard; else literal.
"""

import re

import regex  # type: ignore[import-untyped]

from leyden.config.nodes import Served
from leyden.config.report import Report
from leyden.config.schema import ActionEntry, ConditionEntry, RouteEntry, Steps, place, read
from leyden.config.yaml_text import Items, Node, Text
from leyden.plan.conditions import compiled
from leyden.plan.placeholders import flaw, is_shared
from leyden.plan.rules import PSEUDO_TAGS, Action, ActionType, Condition, Kind, Route

_REGEX_SIGNS = frozenset("[](){}|+\\")


def routes(document: Node | None, served: Served | None, folder: str, report: Report) -> tuple[Route, ...]:
    """Every entry as a Route. With `served` None (nodes.yml cannot be read) no title is looked up.

    A relative target of save_file is relative to `folder`.
    """
    if document is not None and not isinstance(document, Items):
        report.error(document.at, "", "must be a list: each route begins with a dash (- AeTitles: ...)")
        return ()
    read_ones = (read(RouteEntry, given, report) for given in document or ())
    return tuple(_route(entry, served, folder, report) for entry in read_ones if entry is not None)


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
        problem = _regex_problem(expression)
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


def _regex_problem(expression: Text) -> str:
    if re.search(r"\[[^\]]*-\[", expression):
        return "one class taken from another ([a-z-[aeiou]]) is not possible here; use a look-ahead ((?![aeiou])[a-z])"
    try:
        compiled(Kind.REGEX, str(expression))
    except regex.error as error:
        where = f" at character {error.pos + 1}" if error.pos is not None else ""
        return f"not a regular expression: {error.msg}{where} of {expression}"
    return ""


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
        if int(entry.tag[:4], 16) % 2 == 0 or int(entry.tag[6:], 16) < 0x10:
            found.append("a private tag has an odd group and an element that ends in 10 to FF")
    return found


def _route(entry: RouteEntry, served: Served | None, folder: str, report: Report) -> Route:
    return Route(
        where=str(entry.at),
        ae_titles=tuple(_resolved(title, ("AeTitles", n), served, report) for n, title in enumerate(entry.ae_titles)),
        conditions=tuple(condition(inner, ("Conditions", n), report) for n, inner in enumerate(entry.conditions)),
        actions=tuple(_action(inner, n, served, folder, report) for n, inner in enumerate(entry.actions)),
        description=str(entry.description or ""),
    )


def _resolved(title: Text, steps: Steps, served: Served | None, report: Report) -> str:
    if served is None:
        return str(title)
    found = served.resolve(title)
    if found is None:
        report.error(title.at, place(steps), served.unknown(title))
    return found or str(title)


def _action(given: Node, n: int, served: Served | None, folder: str, report: Report) -> Action:
    entry = read(ActionEntry, given, report, ("Actions", n))
    if entry is None:
        return Action(ActionType.DROP)  # a stand-in: the error stops the start
    kind, target = ActionType(entry.type), ""
    where = ("Actions", n, "Target")
    if kind is ActionType.DROP:
        if entry.target is not None:
            report.error(entry.target.at, place(where), "drop takes no Target; it removes the original destination")
    elif entry.target is None:
        meant = "the AE title of a Storage node" if kind is ActionType.ADD_DESTINATION else "a path"
        report.error(entry.at, place(where), f"is missing; {kind} needs {meant}")
    elif kind is ActionType.ADD_DESTINATION:
        target = _resolved(entry.target, where, served, report)
    else:
        problem = flaw(entry.target)
        if problem:
            report.error(entry.target.at, place(where), problem)
        elif is_shared(entry.target):
            advice = "several instances share this path, so all but the first get a number; end it in / or use #{8,18}"
            report.warn(entry.target.at, place(where), advice)
        absolute = entry.target if entry.target.startswith("/") else f"{folder}/{entry.target}"
        target = re.sub("/(?:/|\\./)+", "/", absolute)
    return Action(kind, target, entry.remove_original, str(entry.description or ""), entry.log)
