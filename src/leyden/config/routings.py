"""routings.yml as the rules that the planner applies: titles resolved, targets checked."""

import re

from leyden.config import doubtful_rules
from leyden.config.conditions import condition
from leyden.config.nodes import Served, resolved
from leyden.config.report import Report
from leyden.config.schema import ActionEntry, RouteEntry, place, read
from leyden.config.yaml_text import Items, Node
from leyden.plan.placeholders import flaw, is_shared
from leyden.plan.rules import Action, ActionType, Route


def routes(document: Node | None, served: Served | None, folder: str, report: Report) -> tuple[Route, ...]:
    """Every entry as a Route. With `served` None (nodes.yml cannot be read) no title is looked up.

    A relative target of save_file is relative to `folder`.
    """
    if document is not None and not isinstance(document, Items):
        report.error(document.at, "", "must be a list: each route begins with a dash (- AeTitles: ...)")
        return ()
    read_ones = (read(RouteEntry, given, report) for given in document or ())
    found = tuple(_route(entry, served, folder, report) for entry in read_ones if entry is not None)
    doubtful_rules.warn(document, found, served, report)
    return found


def _route(entry: RouteEntry, served: Served | None, folder: str, report: Report) -> Route:
    return Route(
        where=str(entry.at),
        ae_titles=tuple(resolved(title, ("AeTitles", n), served, report) for n, title in enumerate(entry.ae_titles)),
        conditions=tuple(condition(inner, ("Conditions", n), report) for n, inner in enumerate(entry.conditions)),
        actions=tuple(_action(inner, n, served, folder, report) for n, inner in enumerate(entry.actions)),
        description=str(entry.description or ""),
    )


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
        target = resolved(entry.target, where, served, report)
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
