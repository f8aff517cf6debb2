"""Rules in words, for an operator: what a condition asks, what an action does.

Whole sentences of what stands in the files, without any dataset. So there is no patient data here, but for what an
operator has written into a rule.
"""

from collections.abc import Iterable

from leyden.plan.conditions import name_of
from leyden.plan.rules import Action, ActionType, Condition, Kind, Route

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
        what = f"{condition.tag[:4]},xx{condition.tag[6:]} of {condition.private_creator}"
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
    return _sentence(
        f"sent to {_or(route.ae_titles)}", route.ae_titles, route.conditions, map(of_action, route.actions)
    )


def _sentence(scope: str, ae_titles: Iterable[str], conditions: Iterable[Condition], actions: Iterable[str]) -> str:
    which = f"for objects {scope}" if list(ae_titles) else "for every object"
    asked = _and(map(of_condition, conditions))
    return f"{which}{', if ' if asked else ''}{asked}: {'; '.join(actions)}"


def _and(parts: Iterable[str]) -> str:
    return " and ".join(parts)


def _or(parts: Iterable[str]) -> str:
    return " or ".join(parts)
