"""The rules as the page draws them."""

from leyden.console.drawing import LABEL_CHARS, drawing
from leyden.plan.rules import (
    Action,
    ActionType,
    Condition,
    Edit,
    EditType,
    Kind,
    Mutation,
    Place,
    PlanSettings,
    Route,
    Target,
)

CT = Condition("00080060", Kind.LITERAL, "CT")
COPY = Action(ActionType.ADD_DESTINATION, "ARCHIVE")
AWAY = Action(ActionType.ADD_DESTINATION, "REPORTS", remove_original=True)
NAMELESS = Edit(EditType.REMOVE, "mutations.yml:2", destination=Place(0x00100010))


def plan(*routes: Route, mutations: tuple[Mutation, ...] | None = None, filters: tuple[str, ...] = ()) -> PlanSettings:
    titles = {"PACS": "PACS", "PACS_ALIAS": "PACS", "ARCHIVE": "ARCHIVE", "REPORTS": "REPORTS", "LEYDEN": ""}
    targets = (Target("PACS"), Target("ARCHIVE"), Target("REPORTS"))
    return PlanSettings("LEYDEN", titles, targets, routes, filters=filters, mutations=mutations)


def test_a_rule_is_tied_to_the_nodes_that_it_names() -> None:
    drawn = drawing(plan(Route("routings.yml:1", ("PACS",), (CT,), (COPY, AWAY))))
    (rule,) = drawn["rules"]
    assert (rule["where"], rule["from"], rule["to"], rule["drops"]) == (
        "routings.yml:1",
        ["PACS"],
        ["ARCHIVE", "REPORTS"],
        True,
    )
    assert rule["label"] == "if Modality is CT"
    assert rule["words"].startswith("for objects sent to PACS, if Modality is CT: send to ARCHIVE; send to REPORTS")
    assert drawn["sources"] == ["PACS", "ARCHIVE", "REPORTS", "LEYDEN"], "a node once, with our own title"
    assert drawn["destinations"] == ["PACS", "ARCHIVE", "REPORTS"]


def test_a_rule_for_all_objects_is_tied_to_no_node_of_many() -> None:
    drop = Route("routings.yml:5", (), (CT,), (Action(ActionType.DROP), Action(ActionType.SAVE_FILE, "/x")))
    (rule,) = drawing(plan(drop))["rules"]
    assert (rule["from"], rule["to"], rule["drops"], rule["aside"]) == ([], [], True, "saved as a file, dropped")


def test_rules_stand_in_the_order_in_which_they_run() -> None:
    route = Route("routings.yml:1", (), (), (COPY,), "copies " + "x" * 200)
    change = Mutation("mutations.yml:1", ("ARCHIVE",), (), (NAMELESS,))
    for filters, order in ((("route", "mutate"), ["route", "change"]), (("mutate", "route"), ["change", "route"])):
        drawn = drawing(plan(route, mutations=(change,), filters=filters))
        assert [rule["kind"] for rule in drawn["rules"]] == order
    labels = {rule["kind"]: rule["label"] for rule in drawn["rules"]}
    assert labels["change"] == "remove PatientName"
    assert len(labels["route"]) == LABEL_CHARS


def test_there_may_be_no_rules() -> None:
    none = PlanSettings("LEYDEN", {"LEYDEN": ""}, ())
    assert drawing(none) == {"sources": ["LEYDEN"], "rules": [], "destinations": [], "dropsTheRest": False}
