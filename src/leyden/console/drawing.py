"""The rules as the page draws them: who is called, the rules in the order of their files, and where objects go."""

from typing import Any

from leyden.plan import words
from leyden.plan.rules import Action, ActionType, Mutation, PlanSettings, Route

LABEL_CHARS = 80


def drawing(plan: PlanSettings) -> dict[str, Any]:
    """For JSON. A rule's `from` and `to` are nodes; from none = from all. `kind`: route, or change for a mutation."""
    routes, changes = map(_route, plan.routes or ()), map(_change, plan.mutations or ())
    return {
        "sources": list(dict.fromkeys(node or plan.my_ae_title for node in plan.titles.values())),
        "rules": [*changes, *routes] if plan.mutates_first else [*routes, *changes],
        "destinations": [target.ae_title for target in plan.targets],
        "dropsTheRest": plan.drop_unfiltered,
    }


def _route(route: Route) -> dict[str, Any]:
    asked = " and ".join(map(words.of_condition, route.conditions))
    return {
        "where": route.where,
        "kind": "route",
        "label": _label(route.description, f"if {asked}" if asked else "; ".join(map(words.of_action, route.actions))),
        "words": words.of_route(route),
        "from": list(route.ae_titles),
        "to": [action.target for action in route.actions if action.type is ActionType.ADD_DESTINATION],
        "drops": any(map(_takes_away, route.actions)),
        "aside": _aside(route),
    }


def _takes_away(action: Action) -> bool:
    return action.type is ActionType.DROP or action.remove_original


def _aside(route: Route) -> str:
    """What no line to a destination shows."""
    kinds = [action.type for action in route.actions]
    saved = "saved as a file" if ActionType.SAVE_FILE in kinds else ""
    return ", ".join(filter(None, (saved, "dropped" if ActionType.DROP in kinds else "")))


def _change(mutation: Mutation) -> dict[str, Any]:
    return {
        "where": mutation.where,
        "kind": "change",
        "label": _label(mutation.description, "; ".join(map(words.of_edit, mutation.actions))),
        "words": words.of_mutation(mutation),
        "from": [],
        "to": list(mutation.ae_titles),
        "drops": False,
        "aside": "" if mutation.ae_titles else "to all",
    }


def _label(description: str, otherwise: str) -> str:
    return (description or otherwise)[:LABEL_CHARS]
