"""sortings.yml as the rules by which the sender orders what waits: titles resolved, tags by number."""

from leyden.config import doubtful_rules
from leyden.config.conditions import condition
from leyden.config.nodes import Served, resolved
from leyden.config.report import Report
from leyden.config.schema import SortActionEntry, SortingEntry, place, read
from leyden.config.yaml_text import Items, Node
from leyden.plan.rules import PSEUDO_TAGS, SortAction, Sorting, SortType


def sortings(document: Node | None, served: Served | None, report: Report) -> tuple[Sorting, ...]:
    """Every entry as a Sorting. With `served` None (nodes.yml cannot be read) no title is looked up."""
    if document is not None and not isinstance(document, Items):
        report.error(document.at, "", "must be a list: each sorting begins with a dash (- Actions: ...)")
        return ()
    read_ones = (read(SortingEntry, given, report) for given in document or ())
    found = tuple(_sorting(entry, served, report) for entry in read_ones if entry is not None)
    doubtful_rules.warn(document, found, served, report)
    return found


def _sorting(entry: SortingEntry, served: Served | None, report: Report) -> Sorting:
    actions = (_action(inner, n, report) for n, inner in enumerate(entry.actions))
    return Sorting(
        where=str(entry.at),
        ae_titles=tuple(resolved(title, ("AeTitles", n), served, report) for n, title in enumerate(entry.ae_titles)),
        conditions=tuple(condition(inner, ("Conditions", n), report) for n, inner in enumerate(entry.conditions)),
        actions=tuple(action for action in actions if action is not None),
        description=str(entry.description or ""),
    )


def _action(given: Node, n: int, report: Report) -> SortAction | None:
    entry = read(SortActionEntry, given, report, ("Actions", n))
    if entry is None:
        return None
    if entry.sort_tag in PSEUDO_TAGS:
        report.error(entry.places["SortTag"], place(("Actions", n, "SortTag")), f"{entry.sort_tag} is no element")
    descending = entry.sort_direction == "desc"
    return SortAction(entry.sort_tag, SortType(entry.sort_type), descending, str(entry.description or ""))
