"""mutations.yml to rules: what each key means, the traps of YAML, and one wrong line in every kind of place."""

from pathlib import Path

import pytest

from leyden.config.load import load
from leyden.config.settings import Settings
from leyden.errors import ConfigError
from leyden.plan.rules import Edit, EditType, Mutation, OnError, Place, PlanSettings, Step

NODES = "- AeTitle: IMAGEPACS\n  Aliases: PACS\n- AeTitle: REPORTPACS\n"


def loaded(
    folder: Path, mutations: str, filters: str = "mutate", routings: str = ""
) -> tuple[Settings, tuple[str, ...]]:
    (folder / "config.yml").write_text(f"filters: {filters}\n")
    (folder / "nodes.yml").write_text(NODES)
    (folder / "mutations.yml").write_text(mutations)
    if routings:
        (folder / "routings.yml").write_text(routings)
    return load(folder, {}, {})


def plan(folder: Path, mutations: str) -> PlanSettings:
    return loaded(folder, mutations)[0].plan


def edit(folder: Path, lines: str) -> Edit:
    """The action that these lines describe."""
    (mutation,) = plan(folder, _action(lines)).mutations or ()
    return mutation.actions[0]


def _action(lines: str) -> str:
    indented = lines.replace("\n", "\n      ")
    return f"- Actions:\n    - {indented}\n"


def problem(folder: Path, lines: str) -> str:
    with pytest.raises(ConfigError) as caught:
        plan(folder, _action(lines))
    return "\n".join(caught.value.problems)


def test_every_key(folder: Path) -> None:
    text = """\
- Description: Prefix
  AeTitles: [PACS]
  Affects: [storage, worklist_query]
  OriginalAttributes: true
  Conditions:
    - Tag: Modality
      MatchExpression: CT
  Actions:
    - Type: add_or_update
      Description: with X
      Log: info
      OnError: skip_action
      Source: {Tag: "0010,0020", Expression: "^(\\\\d+)$"}
      Destination: {Tag: "0010,0020", Value: X$1}
    - Type: remove
      Destination:
        Tag: 0010,0030
"""
    (mutation,) = plan(folder, text).mutations or ()
    assert mutation.ae_titles == ("IMAGEPACS",)
    assert (mutation.where, mutation.description, mutation.original_attributes) == ("mutations.yml:1", "Prefix", True)
    assert len(mutation.conditions) == 1
    assert mutation.actions == (
        Edit(
            EditType.ADD_OR_UPDATE, "mutations.yml:9", Place(0x00100020), r"^(\d+)$", Place(0x00100020), "", "X$1",
            OnError.SKIP_ACTION, description="with X", log_info=True,
        ),
        Edit(EditType.REMOVE, "mutations.yml:15", destination=Place(0x00100030)),
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def test_defaults(folder: Path) -> None:
    found = edit(folder, "Source:\n  Tag: 10,20\nDestination:\n  Tag: 8,50")
    assert (found.type, found.expression, found.value) == (EditType.ADD_OR_UPDATE, "^(.+)$", "$1")
    assert (found.on_error, found.log_info) == (OnError.FAIL, False)
    (mutation,) = plan(folder, _action("Type: remove\nDestination:\n  Tag: 8,50")).mutations or ()
    assert mutation == Mutation("mutations.yml:1", actions=mutation.actions)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("$1_:timestamp:", "$1_:timestamp:"),
        (":uid:", ":uid:"),
        (":today:", ":today:"),
        ("*X*", "*X*"),
        ("[X]", "[X]"),
        ("00123", "00123"),
        ("1.20", "1.20"),
        ("2026-01-02", "2026-01-02"),
        ("yes", "yes"),
        ("'a: b'", "a: b"),
        ("''", ""),
        ("':value: and more'", ":value: and more"),
        (":hash(0010,0020,16):", ":hash(0010,0020,16):"),
        (r"DERIVED\PRIMARY", r"DERIVED\PRIMARY"),
    ],
)
def test_values_are_text_as_they_are_written(folder: Path, written: str, value: str) -> None:
    lines = f"Source:\n  Tag: 0010,0020\nDestination:\n  Tag: 0010,0020\n  Value: {written}"
    assert edit(folder, lines).value == value


@pytest.mark.parametrize("expression", [r"^([^\^]+)\^(.*)$", "[A-Z]+(.)", r"(?i)^x(\d)", "*(.)"][:3])
def test_expressions_are_text_as_they_are_written(folder: Path, expression: str) -> None:
    lines = f"Source:\n  Tag: 10,10\n  Expression: {expression}\nDestination:\n  Tag: 10,10\n  Value: $1"
    assert edit(folder, lines).expression == expression


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("10,20", Place(0x00100020)),
        ("00100020", Place(0x00100020)),
        ("PatientID", Place(0x00100020)),
        ("0040,0275[1].0040,0009", Place(0x00400009, (Step(0x00400275, 1),))),
        ("RequestAttributesSequence[*].ScheduledProcedureStepID", Place(0x00400009, (Step(0x00400275, 0),))),
        (
            "0040,0275[2].0040,0008[*].0008,0100",
            Place(0x00080100, (Step(0x00400275, 2), Step(0x00400008, 0))),
        ),
    ],
)
def test_where_an_element_stands(folder: Path, written: str, place: Place) -> None:
    assert edit(folder, f"Type: remove\nDestination:\n  Tag: {written}").destination == place


def test_a_private_element(folder: Path) -> None:
    found = edit(folder, "Destination:\n  Tag: 0009,0010\n  PrivateTagCreator: ACME\n  VR: ds\n  Value: 1.5")
    assert (found.destination, found.vr) == (Place(0x00090010, (), "ACME"), "DS")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("Type: stamp", "Actions[0].Type: stamp is not there yet in this version; without it"),
        ("Type: exclude_result", "Actions[0].Type: exclude_result is not there yet"),
        ("Type: query", "Actions[0].Type: query is not there yet"),
        ("Type: stamp", "Actions[0].Type: stamp is not there yet"),
        ("Type: remov", "Actions[0].Type: must be one of add_or_update, remove, anonymize, deidentify, not"),
        ("Type: remove", "Actions[0].Destination: is missing"),
        ("Type: remove\nDestination: 0010,0020", "Actions[0].Destination: must hold keys and values"),
        ("Type: remove\nDestination: {Value: x}", "Actions[0].Destination.Tag: is missing"),
        ("Type: remove\nOnError: fail\nDestination:\n  Tag: 10,20", "Actions[0].OnError: remove takes no OnError"),
        ("Type: remove\nSource:\n  Tag: 1,1\nDestination:\n  Tag: 10,20", "Actions[0].Source: remove takes no Source"),
        ("Type: remove\nDestination:\n  Tag: 10,20\n  Value: x", "Destination.Value: remove takes a Tag only"),
        ("Type: remove\nDestination:\n  Tag: 8,18", "without (0008,0018) an object can't be sent"),
        ("Destination:\n  Tag: 10,20", "Actions[0].Destination.Value: is missing; without a Source"),
        ("Destination:\n  Tag: 10,20\n  Value:", "Destination.Value: is empty; write '' for an empty value"),
        ("Destination:\n  Tag: 10,20\n  Value: $1", "Destination.Value: $1 is a part of the source, but there is no"),
        ("Source: {Tag: PatientID}\nDestination: {Tag: PatientID, Value: $2}", "$2 is no group of Expression"),
        ("Source: {Tag: PatientID, Expression: '(x'}\nDestination: {Tag: PatientID}", "Source.Expression: not a reg"),
        ("Source: {Expression: x}\nDestination: {Tag: PatientID}", "Actions[0].Source.Tag: is missing"),
        ("Destination:\n  Tag: 2,10\n  Value: x", "Destination.Tag: the file meta can't be changed"),
        ("Destination:\n  Tag: 7fe0,10\n  Value: x", "Destination.Tag: pixel data are not changed"),
        ("Destination:\n  Tag: fffe,e000\n  Value: x", "is no element of a dataset that can be changed"),
        ("Destination:\n  Tag: 8,0\n  Value: x", "is no element of a dataset that can be changed"),
        ("Destination:\n  Tag: Source\n  Value: x", "Destination.Tag: Source is no element"),
        ("Destination:\n  Tag: 18,9999\n  Value: x", "(0018,9999) is not in PS3.6: its VR is needed"),
        ("Destination:\n  Tag: 8,1140\n  Value: x", "(0008,1140) has VR SQ, which no text can be written to"),
        ("Destination:\n  Tag: 9,1001\n  Value: x", "a private element needs its PrivateTagCreator"),
        ("Destination:\n  Tag: 10,10\n  Value: x\n  PrivateTagCreator: A", "a private tag has an odd group"),
        ("Destination:\n  Tag: 9,110\n  Value: x\n  PrivateTagCreator: A", "a private tag has an odd group"),
        ("Destination:\n  Tag: 10,20[1].10,20\n  Value: x", "Destination.Tag: only a sequence has items"),
        ("Destination:\n  Tag: 40,275[0].40,9\n  Value: x", "items count from 1"),
        ("Destination:\n  Tag: 40,275[x].40,9\n  Value: x", "is no place"),
        ("Destination:\n  Tag: 10,20\n  Value: x\n  VR: OB", "Destination.Vr: must be one of AE, AS"),
        ("Destination:\n  Tag: 10,20\n  Valu: x", "unknown key (did you mean Value?); without Value another value"),
        ("Source:\n  Tag: 40,275[*].40,9\nDestination:\n  Tag: 10,20", "[*] is possible in a Source only if"),
        ("OnError: never\nDestination:\n  Tag: 10,20\n  Value: x", "OnError: must be one of skip_action, end_mutation"),
    ],
)
def test_what_is_wrong_stops_the_start(folder: Path, lines: str, message: str) -> None:
    assert message in problem(folder, lines)


def test_a_mutation_for_services_that_are_not_there_does_nothing_and_is_said(folder: Path) -> None:
    text = "- Affects: worklist_result\n  Actions:\n    - Type: remove\n      Destination: {Tag: PatientID}\n"
    settings, said = loaded(folder, text)
    assert settings.plan.mutations == ()
    assert said == ("mutations.yml:1: Affects: the mutation does nothing: worklist_result are not there yet",)


def test_a_mutation_with_an_empty_list_of_services_is_for_storage(folder: Path) -> None:
    """Otherwise what it should clean would leave as it is."""
    text = "- Affects: []\n  Actions:\n    - Type: remove\n      Destination: {Tag: PatientID}\n"
    settings, said = loaded(folder, text)
    assert (len(settings.plan.mutations or ()), said) == (1, ())


def test_the_filters_in_their_order(folder: Path) -> None:
    text = _action("Type: remove\nDestination:\n  Tag: PatientID")
    settings, said = loaded(folder, text, "mutate, route", "- Actions: [{Target: REPORTPACS}]\n")
    assert (settings.plan.filters, said) == (("mutate", "route"), ())
    assert Settings.from_json(settings.to_json()) == settings


def test_a_copy_that_would_name_the_patient_behind_mutate_is_an_error(folder: Path) -> None:
    text = "- AeTitles: REPORTPACS\n  Actions:\n    - Type: deidentify\n"
    with pytest.raises(ConfigError) as wrong:
        loaded(folder, text, "mutate, route", "- Actions: [{Target: REPORTPACS}]\n")
    assert "not changed by mutations.yml:1, and would name the patient; write route, mutate" in wrong.value.problems[0]


def test_copies_that_a_route_adds_behind_mutate_are_said(folder: Path) -> None:
    text = "- AeTitles: REPORTPACS\n  Actions:\n    - Type: remove\n      Destination: {Tag: PatientID}\n"
    _, said = loaded(folder, text, "mutate, route", "- Actions: [{Target: REPORTPACS}]\n")
    assert said == (
        "config.yml:1: filters: mutate runs before route: what a route adds for REPORTPACS is not changed by "
        "mutations.yml:1; write route, mutate if it should be",
    )
    with pytest.raises(ConfigError, match="save_file would save what is not mutated"):
        loaded(folder, text, "mutate, route", "- Actions: [{Type: save_file, Target: /tmp/}]\n")


def test_the_file_is_used_only_if_the_filter_is_on(folder: Path) -> None:
    settings, said = loaded(folder, "- nonsense", "''")
    assert settings.plan.mutations is None
    assert said == ("mutations.yml: is not used: the filter mutate is not named in filters (config.yml)",)
    (folder / "mutations.yml").unlink()
    (folder / "config.yml").write_text("filters: mutate\n")
    settings, said = load(folder, {}, {})
    assert settings.plan.mutations is None
    assert said == ("mutations.yml: is missing: the filter mutate, named in filters, is off",)
