"""What is legal in the rules and most probably wrong: they do nothing, or something else than they seem to.

Pure: each function looks at rules that were checked, and gives what is doubtful with its place. These are warnings, so
what could be meant as it is written is not told.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from leyden.config.doubtful_conditions import Doubt, holds_for, of_conditions
from leyden.config.nodes import Served
from leyden.config.report import Report
from leyden.config.schema import Steps, place
from leyden.config.yaml_text import At, Entries, Items, Node
from leyden.plan.conditions import name_of
from leyden.plan.rules import ActionType, Condition, Edit, EditType, Mutation, Place, Route

Told = tuple[str, Steps, str]
"""The rule, by its place in the file, and a Doubt."""

_OF_PIXELS = frozenset(
    0x00280000 | number for number in (0x0002, 0x0004, 0x0006, 0x0008, 0x0010, 0x0011, 0x0100, 0x0101, 0x0102, 0x0103)
)

_OF_MANY = {0x0020000D: "study", 0x0020000E: "series", 0x00200052: "frame of reference"}


class Rule(Protocol):
    """A rule of any file."""

    @property
    def where(self) -> str: ...

    @property
    def ae_titles(self) -> tuple[str, ...]: ...

    @property
    def conditions(self) -> tuple[Condition, ...]: ...


def warn(document: Node | None, rules: Sequence[Rule], served: Served | None, report: Report) -> None:
    """Warn of what is doubtful in the rules of one file. Nothing is told while the configuration has errors."""
    if report.errors or served is None or not isinstance(document, Items):
        return
    written = {str(given.at): given for given in document}
    routes = [rule for rule in rules if isinstance(rule, Route)]
    mutations = [rule for rule in rules if isinstance(rule, Mutation)]
    found = [(rule.where, steps, message) for rule in rules for steps, message in of_rule(rule, served)]
    of_mutations = (*undone(mutations), *of_pixels(mutations), *scattering(mutations))
    for where, steps, message in (*found, *behind_a_drop(routes), *of_mutations):
        report.warn(at_of(written[where], steps), place(steps), message)


def at_of(given: Node, steps: Steps) -> At:
    """The line of the value to which `steps` lead, or of what stands around it."""
    for step in steps:
        if isinstance(given, Entries) and isinstance(step, str):
            given = next((value for key, value in given.items() if key.lower() == step.lower()), given)
        elif isinstance(given, Items) and isinstance(step, int):
            given = given[step]
    return given.at


def of_rule(rule: Rule, served: Served) -> Iterator[Doubt]:
    """What is doubtful in one rule, whatever stands around it."""
    yield from of_conditions(rule.conditions, ("Conditions",))
    called = [title for title, node in served.titles.items() if not _is_bound(rule) or node in rule.ae_titles]
    for n, each in enumerate(rule.conditions):
        if each.tag == "Called" and not any(holds_for(each, title) for title in called):
            which = "of the nodes in AeTitles " if _is_bound(rule) else ""
            yield ("Conditions", n), f"can never hold: no title {which}that we answer to is one such"
        if each.tag == "Source" and served.calling and not any(holds_for(each, title) for title in served.calling):
            yield ("Conditions", n), "can never hold: no AE title that may call us is one such"


def behind_a_drop(routes: Sequence[Route]) -> Iterator[Told]:
    """The routes that stand behind one that drops everything that they look at."""
    for n, route in enumerate(routes):
        for earlier in routes[:n]:
            drops = any(action.type is ActionType.DROP for action in earlier.actions)
            if drops and _covers(earlier, route) and not earlier.conditions:
                adds = any(action.type is not ActionType.DROP for action in route.actions)
                does = "it runs all the same, and its actions are done" if adds else "it does nothing more"
                yield route.where, (), f"stands behind the route of {earlier.where}, which drops everything: {does}"
                break


def undone(mutations: Sequence[Mutation]) -> Iterator[Told]:
    """The actions that remove what one before them has set, for nothing that stands between them to read."""
    actions = [(mutation, n, edit) for mutation in mutations for n, edit in enumerate(mutation.actions)]
    for later, (removing, n, removal) in enumerate(actions):
        if removal.type is not EditType.REMOVE or removal.destination is None:
            continue
        for earlier, (setting, _, edit) in enumerate(actions[:later]):
            both = setting is removing or (
                _covers(removing, setting) and not set(removing.conditions) - set(setting.conditions)
            )
            if (
                not both
                or edit.type is not EditType.ADD_OR_UPDATE
                or not _lies_in(edit.destination, removal.destination)
            ):
                continue
            between = [each for _, _, each in actions[earlier + 1 : later]]
            asked = [condition for mutation, _, _ in actions[earlier + 1 : later] for condition in mutation.conditions]
            if not _is_read(edit.destination, between, asked):
                where = ("Actions", n, "Destination", "Tag")
                yield removing.where, where, f"removes what the action of {edit.where} sets, which so does nothing"


def of_pixels(mutations: Sequence[Mutation]) -> Iterator[Told]:
    """The actions that change what says how the pixels are stored (PS3.3 C.7.6.3)."""
    for mutation in mutations:
        for n, edit in enumerate(mutation.actions):
            target = edit.destination
            if target is not None and not target.within and target.tag in _OF_PIXELS:
                what = (
                    f"{name_of(f'{target.tag:08x}')} says how the pixels are stored: with another value they are wrong"
                )
                yield mutation.where, ("Actions", n, "Destination", "Tag"), what


def scattering(mutations: Sequence[Mutation]) -> Iterator[Told]:
    """The actions that give each object another UID of what many objects share."""
    for mutation in mutations:
        for n, edit in enumerate(mutation.actions):
            target = edit.destination
            if target is not None and not target.within and target.tag in _OF_MANY and ":uid:" in edit.value:
                what = (
                    f"each object gets another UID: a {_OF_MANY[target.tag]} of 100 objects becomes 100 of one object"
                )
                yield mutation.where, ("Actions", n, "Destination", "Value"), what


def _covers(one: Rule, other: Rule) -> bool:
    """Whether a rule looks at all nodes that another one looks at."""
    return not one.ae_titles or bool(other.ae_titles and set(other.ae_titles) <= set(one.ae_titles))


def _lies_in(inner: Place | None, outer: Place) -> bool:
    """Whether an element is another one, or stands in it."""
    if inner is None:
        return False
    steps = outer.within
    if inner.within[: len(steps)] != steps:
        return False
    rest = inner.within[len(steps) :]
    return rest[0].sequence == outer.tag if rest else inner == outer


def _is_read(target: Place | None, edits: Sequence[Edit], conditions: Iterable[Condition]) -> bool:
    """Whether one of these looks at an element; a hash and a condition may look at any of that tag."""
    assert target is not None
    sources = [edit.source.tag for edit in edits if edit.source is not None]
    hashes = any(":hash(" in edit.value for edit in edits)
    return target.tag in sources or hashes or any(each.tag == f"{target.tag:08x}" for each in conditions)


def into_the_spool(routes: Iterable[Route], spool: str) -> Iterator[Told]:
    """The save_file actions whose copies would come back as objects of their own."""
    for route in routes:
        for n, action in enumerate(route.actions):
            fixed = action.target.partition("#{")[0]
            if action.type is ActionType.SAVE_FILE and fixed.startswith(f"{spool}/"):
                what = "lies within the spool (cachePath): its copies would be taken for objects"
                yield route.where, ("Actions", n, "Target"), what


def _is_bound(rule: Rule) -> bool:
    """Whether the rule looks only at objects that were sent to some nodes. Other rules than routes look at those that
    go to them, whatever title was called."""
    return isinstance(rule, Route) and bool(rule.ae_titles)
