"""routings.yml to rules: what an expression is, whom a title means, and one wrong line in every kind of place."""

from pathlib import Path

import pytest

from leyden.config.conditions import kind_of
from leyden.config.load import load
from leyden.errors import ConfigError
from leyden.plan.rules import Action, ActionType, Condition, Kind, Route

NODES = "- AeTitle: IMAGEPACS\n  Aliases: PACS\n- AeTitle: REPORTPACS\n- AeTitle: RIS\n  NodeRole: Worklist\n"


def routes(folder: Path, routings: str) -> tuple[Route, ...]:
    (folder / "config.yml").write_text("filters: route\n")
    (folder / "nodes.yml").write_text(NODES)
    (folder / "routings.yml").write_text(routings)
    found = load(folder, {}, {})[0].plan.routes
    assert found is not None
    return found


def condition(folder: Path, lines: str) -> Condition:
    indented = lines.replace("\n", "\n      ")
    (route,) = routes(folder, f"- Conditions:\n    - {indented}\n  Actions:\n    - Type: drop\n")
    return route.conditions[0]


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("CT", Kind.LITERAL),
        ("1.2.840.10008.5.1.4.1.1.2", Kind.LITERAL),
        ("12345", Kind.LITERAL),
        ("Smith^John", Kind.LITERAL),
        ("ct/mr$", Kind.LITERAL),
        ("", Kind.LITERAL),
        ("^CT", Kind.REGEX),
        ("CT|MR", Kind.REGEX),
        ("[CM]T", Kind.REGEX),
        (r"1\.2", Kind.REGEX),
        ("(?i)ct", Kind.REGEX),
        ("a{2}", Kind.REGEX),
        ("C+", Kind.REGEX),
        ("CT*", Kind.WILDCARD),
        ("?T", Kind.WILDCARD),
        ("1.2.*", Kind.WILDCARD),
    ],
)
def test_what_an_expression_is(expression: str, kind: Kind) -> None:
    assert kind_of(expression) is kind


@pytest.mark.parametrize(
    ("written", "tag"),
    [
        ("0008,0060", "00080060"),
        ("8,60", "00080060"),
        ("(0008,0060)", "00080060"),
        ("00080060", "00080060"),
        ("7FE0,10", "7fe00010"),
        ("Modality", "00080060"),
        ("source", "Source"),
        ("Called", "Called"),
    ],
)
def test_ways_to_write_a_tag(tmp_path: Path, written: str, tag: str) -> None:
    assert condition(tmp_path, f"Tag: {written}") == Condition(tag)
    assert condition(tmp_path, f"MatchTag: {written}") == Condition(tag)


@pytest.mark.parametrize(
    ("line", "expression", "kind"),
    [
        ("MatchExpression: 12345", "12345", Kind.LITERAL),
        ("MatchExpression: 00123", "00123", Kind.LITERAL),
        ("MatchExpression: 1.20", "1.20", Kind.LITERAL),
        ("MatchExpression: *CT*", "*CT*", Kind.WILDCARD),
        ("MatchExpression: [CM][TR]", "[CM][TR]", Kind.REGEX),
        ("MatchExpression: [CMX]", "[CMX]", Kind.REGEX),
        ("MatchExpression: (?<kind>CT|MR)", "(?<kind>CT|MR)", Kind.REGEX),
        ("MatchExpression: ''", "", Kind.LITERAL),
        ("MatchExpression: |\n  ^CT$", "^CT$", Kind.REGEX),
    ],
)
def test_expressions_arrive_as_they_were_written(tmp_path: Path, line: str, expression: str, kind: Kind) -> None:
    assert condition(tmp_path, f"Tag: 8,60\n{line}") == Condition("00080060", kind, expression)


def test_all_parts_of_a_condition(tmp_path: Path) -> None:
    assert condition(tmp_path, "TAG: 8,60\nnegate: true\nSearch: yes\nLog: info") == Condition(
        "00080060", negate=True, search=True, log_info=True
    )
    assert condition(tmp_path, "Tag: 0009,0010\nPrivateTagCreator: ACME 1.1\nLog: debug") == Condition(
        "00090010", private_creator="ACME 1.1"
    )
    nested = "Tag: 0040,0275\nSequenceItems:\n  - Tag: 8,100\n    MatchExpression: X*\n  - Tag: 8,102\n    Negate: true"
    assert condition(tmp_path, nested) == Condition(
        "00400275", items=(Condition("00080100", Kind.WILDCARD, "X*"), Condition("00080102", negate=True))
    )


def test_titles_are_resolved_and_paths_made_absolute(tmp_path: Path) -> None:
    text = "- AeTitles: PACS, REPORTPACS\n  Description: d\n  Actions:\n    - Target: PACS\n" + (
        "    - {Type: SAVE_FILE, Target: kept//#{10,20}/, Log: info}\n    - Type: save_file\n      Target: /a/./b.dcm\n"
    )
    text = text.replace("{Type: SAVE_FILE, Target: kept//#{10,20}/, Log: info}", "Type: SAVE_FILE\n      Target: "
                        "kept//#{10,20}/\n      Log: info")  # fmt: skip
    (route,) = routes(tmp_path, text)
    assert route == Route(
        "routings.yml:1",
        ("IMAGEPACS", "REPORTPACS"),
        (),
        (
            Action(ActionType.ADD_DESTINATION, "IMAGEPACS"),
            Action(ActionType.SAVE_FILE, f"{tmp_path}/kept/#{{10,20}}/", log_info=True),
            Action(ActionType.SAVE_FILE, "/a/b.dcm"),
        ),
        "d",
    )


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        ("Actions: []", 1, "must be a list: each route begins with a dash"),
        ("- AeTitles: PACS", 1, "Actions: is missing"),
        ("- Actions: []", 1, "Actions: needs at least one entry"),
        ("- Actions:\n    Type: drop", 2, "Actions: must be a list: each entry begins with a dash"),
        ("- Actions:\n    - drop", 2, "Actions[0]: must hold keys and values"),
        (
            "- Actions:\n    - Type: lua",
            2,
            "Actions[0].Type: must be one of add_destination, save_file, drop, not 'lua'",
        ),
        ("- Actions:\n    - Type: add_destinatio", 2, "(did you mean add_destination?)"),
        (
            "- Actions:\n    - Type: drop\n    - RemoveOriginal: true",
            3,
            "Actions[1].Target: is missing; add_destination",
        ),
        ("- Actions:\n    - Type: save_file", 2, "Actions[0].Target: is missing; save_file needs a path"),
        ("- Actions:\n    - Type: drop\n      Target: PACS", 3, "Actions[0].Target: drop takes no Target"),
        (
            "- Actions:\n    - Target: RIS",
            2,
            "Actions[0].Target: RIS is a node of role Worklist; only Storage nodes are",
        ),
        ("- Actions:\n    - Target: XYZ", 2, "Actions[0].Target: no node named XYZ"),
        (
            "- Actions:\n    - Type: save_file\n      Target: /a/#{10}/",
            3,
            "Actions[0].Target: #{10}/ is not a placeholder",
        ),
        ("- Actions:\n    - Type: save_file\n      Target: /a/../b", 3, "must not hold .. as a folder"),
        ("- Actions:\n    - Type: save_file\n      Target: ~/a/", 3, "write the absolute path"),
        ("- Actions:\n    - Type: save_file\n      Target: C:\\a\\b", 3, "looks like a Windows path"),
        (
            "- Actions:\n    - Type: drop\n      RemoveOriginal: x",
            3,
            "Actions[0].RemoveOriginal: must be true or false",
        ),
        (
            "- AeTitles:\n    - PACS\n    - PAX\n  Actions:\n    - Type: drop",
            3,
            "AeTitles[1]: no node named PAX",
        ),
        ("- Conditons: []\n  Actions:\n    - Type: drop", 1, "Conditons: unknown key (did you mean Conditions?)"),
    ],
)
def test_one_wrong_line_of_a_route(tmp_path: Path, lines: str, line: int, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        routes(tmp_path, lines + "\n")
    (found,) = caught.value.problems
    assert found.startswith(f"routings.yml:{line}: ")
    assert problem in found


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        ("MatchExpression: CT", 2, "Conditions[0].Tag: is missing"),
        ("Tag: 8.60", 2, "Conditions[0].Tag: '8.60' is no tag"),
        ("Tag: Modalty", 2, "(did you mean Modality?)"),
        ("Tag: 8,60\nMatchTag: 8,60", 2, "Conditions[0]: MatchTag in line 3 and Tag are the same"),
        ("Tag: 8,60\nMatchExpression: ^(CT", 3, "not a regular expression: missing ) at character 5 of ^(CT"),
        ("Tag: 8,60\nMatchExpression: '[a-z-[aeiou]]'", 3, "MatchExpression: one class taken from another"),
        ("Tag: 8,60\nMatchExpression:", 3, "MatchExpression: is empty; leave the key out"),
        ("Tag: 8,60\nMatchExpression:\n  x: y", 4, "MatchExpression: must be one text"),
        ("Tag: 8,60\nNegate: never", 3, "Conditions[0].Negate: must be true or false, not 'never'"),
        (
            "Tag: 8,60\nNegat: true",
            3,
            "Negat: unknown key (did you mean Negate?); without Negate the rule would act on more",
        ),
        ("Tag: 40,275\nSearch: true\nSequenceItems:\n  - Tag: 8,100", 2, "Search and SequenceItems exclude each other"),
        ("Tag: 40,275\nSequenceItems:\n  - MatchExpression: X", 4, "Conditions[0].SequenceItems[0].Tag: is missing"),
        (
            "Tag: 40,275\nSequenceItems:\n  - Tag: 8,100\n    MatchExpression: ^[",
            5,
            "SequenceItems[0].MatchExpression: not a",
        ),
        (
            "Tag: 40,275\nMatchExpression: X\nSequenceItems:\n  - Tag: 8,100",
            2,
            "MatchExpression and SequenceItems exclude",
        ),
        ("Tag: 8,60\nPrivateTagCreator: ACME", 2, "a private tag has an odd group"),
        ("Tag: 9,110\nPrivateTagCreator: ACME", 2, "a private tag has an odd group"),
        ("Tag: 9,1010\nPrivateTagCreator: ACME\nSearch: true", 2, "Search and PrivateTagCreator exclude each other"),
        ("Tag: Source\nSearch: true", 2, "Source is no element: it goes with MatchExpression and Negate only"),
    ],
)
def test_one_wrong_line_of_a_condition(tmp_path: Path, lines: str, line: int, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        condition(tmp_path, lines)
    (found,) = caught.value.problems
    assert found.startswith(f"routings.yml:{line}: ")
    assert problem in found


def test_every_error_inside_a_route_at_once(tmp_path: Path) -> None:
    text = """\
- AeTitles: [LEYDEN, TOO_LONG_FOR_A_TITLE]
  Conditions:
    - Tag: 8.60
      MatchExpression: ^(
      SequenceItems:
        - Negate: perhaps
          MatchExpression: ^[
        - Tag: Source
          Search: true
    - Tag: 9,1010
      PrivateTagCreator: ACME
      Search: true
  Actions:
    - Target: REPORTPAC
    - Type: lua
      Target: REPORTPAC
    - Type: save_file
    - Type: drop
      Target: PACS
    - drop
- Conditions:
    - Tag: 8,60
      MatchExpression: ^(
"""
    with pytest.raises(ConfigError) as caught:
        routes(tmp_path, text)
    assert [problem.removeprefix("routings.yml:").split(": ")[:2] for problem in caught.value.problems] == [
        ["1", "AeTitles[1]"],
        ["1", "AeTitles[0]"],
        ["3", "Conditions[0].Tag"],
        ["3", "Conditions[0]"],
        ["4", "Conditions[0].MatchExpression"],
        ["6", "Conditions[0].SequenceItems[0].Negate"],
        ["6", "Conditions[0].SequenceItems[0].Tag"],
        ["7", "Conditions[0].SequenceItems[0].MatchExpression"],
        ["8", "Conditions[0].SequenceItems[1]"],
        ["10", "Conditions[1]"],
        ["14", "Actions[0].Target"],
        ["15", "Actions[1].Type"],
        ["17", "Actions[2].Target"],
        ["19", "Actions[3].Target"],
        ["20", "Actions[4]"],
        ["21", "Actions"],
        ["23", "Conditions[0].MatchExpression"],
    ]


def test_a_path_that_several_instances_share_is_warned_of(tmp_path: Path) -> None:
    actions = "".join(f"    - Type: save_file\n      Target: {target}\n" for target in ("/a/b.dcm", "/a/", "/#{8,18}"))
    routes(tmp_path, f"- Actions:\n{actions}")
    (warning,) = (line for line in load(tmp_path, {}, {})[1] if line.startswith("routings.yml"))
    assert warning.startswith("routings.yml:3: Actions[0].Target: several instances share this path")
