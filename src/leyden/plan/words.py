"""Rules in words, for an operator: what a condition asks, what an action does.

Whole sentences of what stands in the files, without any dataset. So there is no patient data here, but for what an
operator has written into a rule.
"""

from collections.abc import Iterable

from leyden.plan.conditions import name_of
from leyden.plan.rules import (
    Action,
    ActionType,
    Condition,
    Edit,
    EditType,
    Kind,
    Mutation,
    Place,
    Route,
    SortAction,
    Sorting,
    SortType,
)

_COMPARED = {  # (kind, negated) -> the verb
    (Kind.PRESENT, False): "is there",
    (Kind.PRESENT, True): "is absent",
    (Kind.LITERAL, False): "is",
    (Kind.LITERAL, True): "is not",
    (Kind.WILDCARD, False): "is like",
    (Kind.WILDCARD, True): "is not like",
    (Kind.REGEX, False): "matches",
    (Kind.REGEX, True): "does not match",
}
_PSEUDO = {"Source": "the calling title", "Called": "the called title"}


def of_condition(condition: Condition) -> str:
    """What a condition asks: `Modality is CT`."""
    what = _PSEUDO.get(condition.tag) or name_of(condition.tag)
    if condition.private_creator:
        what = _private(condition.tag, condition.private_creator)
    if condition.items:
        which = "no item" if condition.negate else "an item"
        return f"{which} of {what} has: {_and(map(of_condition, condition.items))}"
    if condition.search:
        what = f"{what} at any depth"
    verb = _COMPARED[condition.kind, condition.negate]
    expression = "" if condition.kind is Kind.PRESENT else condition.expression or "empty"
    return f"{what} {verb} {expression}".rstrip()


def of_action(action: Action) -> str:
    """What an action of a route does: `send to REPORTPACS`."""
    away = ", and not to the called node" if action.remove_original else ""
    match action.type:
        case ActionType.ADD_DESTINATION:
            return f"send to {action.target}{away}"
        case ActionType.SAVE_FILE:
            return f"save as {action.target}{away}"
        case ActionType.DROP:
            return "do not send to the called node"


def of_route(route: Route) -> str:
    """A whole route: `for objects sent to IMAGEPACS, if Modality is CT: send to REPORTPACS`."""
    which = f"objects sent to {_or(route.ae_titles)}" if route.ae_titles else "every object"
    return _sentence(which, route.conditions, map(of_action, route.actions))


def of_place(place: Place) -> str:
    """Where an element stands: `RequestAttributesSequence[*].CodeValue`."""
    steps = "".join(f"{_name(step.sequence)}[{step.item or '*'}]." for step in place.within)
    if place.private_creator:
        return f"{steps}{_private(f'{place.tag:08x}', place.private_creator)}"
    return f"{steps}{_name(place.tag)}"


def of_edit(edit: Edit) -> str:
    """What an action of a mutation does: `set PatientID to $1, from ^0*(.+)$ in PatientID`."""
    where = of_place(edit.destination) if edit.destination is not None else "it"
    match edit.type:
        case EditType.ADD_OR_UPDATE:
            taken = f", from {edit.expression} in {of_place(edit.source)}" if edit.source is not None else ""
            return f"set {where} to {edit.value or 'nothing'}{taken}"
        case EditType.REMOVE:
            return f"remove {where}"
        case EditType.ANONYMIZE:
            what = f"set {where} to" if edit.destination is not None else "give the patient"
            return f"{what} the pseudonym in {edit.mapping}"
        case EditType.DEIDENTIFY:
            options = edit.profile.options if edit.profile is not None else ()
            return f"de-identify by the Basic Profile{', ' if options else ''}{', '.join(options)}"


def of_mutation(mutation: Mutation) -> str:
    """A whole mutation: `for objects that go to RESEARCH, if Modality is CT: remove PatientName`."""
    which = f"objects that go to {_or(mutation.ae_titles)}" if mutation.ae_titles else "every object"
    return _sentence(which, mutation.conditions, map(of_edit, mutation.actions))


def of_sorting(sorting: Sorting) -> str:
    """A whole sorting: `for objects that go to RESEARCH: order a series by InstanceNumber, the lowest number first`."""
    which = f"objects that go to {_or(sorting.ae_titles)}" if sorting.ae_titles else "every object"
    return _sentence(which, sorting.conditions, map(_of_sort_action, sorting.actions))


def _of_sort_action(action: SortAction) -> str:
    kind = "number" if action.type is SortType.INTEGER else "text"
    return f"order a series by {name_of(action.tag)}, the {'highest' if action.descending else 'lowest'} {kind} first"


def _name(tag: int) -> str:
    return name_of(f"{tag:08x}")


def _private(tag: str, creator: str) -> str:
    return f"{tag[:4]},xx{tag[6:]} of {creator}"


def _sentence(which: str, conditions: Iterable[Condition], actions: Iterable[str]) -> str:
    asked = _and(map(of_condition, conditions))
    return f"for {which}{', if ' if asked else ''}{asked}: {'; '.join(actions)}"


def _and(parts: Iterable[str]) -> str:
    return " and ".join(parts)


def _or(parts: Iterable[str]) -> str:
    return " or ".join(parts)
