"""Rules that are legal and most probably wrong are warned of with their line; their innocent twins are not."""

from pathlib import Path

import pytest

from leyden.config.doubtful_rules import of_pixels, scattering, undone
from leyden.config.load import load
from leyden.plan.rules import Condition, Edit, EditType, Kind, Mutation, Place, Step

NODES = """\
- AeTitle: IMAGEPACS
  Aliases: PACS
- AeTitle: REPORTPACS
"""
DROP = "  Actions:\n    - Type: drop\n"


def warnings(folder: Path, routings: str, config: str = "") -> list[str]:
    (folder / "config.yml").write_text(f"filters: route\n{config}")
    (folder / "nodes.yml").write_text(NODES)
    (folder / "routings.yml").write_text(routings)
    return [line for line in load(folder, {}, {})[1] if line.startswith("routings.yml")]


def rule(*conditions: str, titles: str = "IMAGEPACS") -> str:
    """A route; a condition is written `tag`, `tag = expression`, or either with a `!` in front: negated."""
    lines = [f"- AeTitles: [{titles}]", "  Conditions:"]
    for text in conditions:
        tag, equals, expression = text.removeprefix("!").partition(" = ")
        lines.append(f"    - Tag: {tag}")
        lines += [f"      MatchExpression: {expression}"] if equals else []
        lines += ["      Negate: true"] if text.startswith("!") else []
    return "\n".join(lines) + "\n" + DROP


@pytest.mark.parametrize(
    ("conditions", "told"),
    [
        (("8,60 = CT", "8,60 = MR"), "5: Conditions[1]: can't hold together with Conditions[0], so this never"),
        (("8,60 = CT", "8,60 = ^M"), "5: Conditions[1]: can't hold together with Conditions[0]"),
        (("8,60 = M?", "8,60 = CT"), "5: Conditions[1]: can't hold together with Conditions[0]"),
        (("8,60", "!8,60"), "4: Conditions[1]: can't hold together with Conditions[0]"),
        (("8,60 = CT", "!8,60"), "5: Conditions[1]: can't hold together with Conditions[0]"),
        (("8,60 = ^C", "!8,60 = ^C"), "5: Conditions[1]: can't hold together with Conditions[0]"),
        (("8,60 = CT", "!8,60 = C*"), "5: Conditions[1]: can't hold together with Conditions[0]"),
        (("Source = CT1", "Source = CT2"), "5: Conditions[1]: can't hold together with Conditions[0]"),
        (
            ("0002,0010 = JPEG2000Lossless",),
            "4: Conditions[0].MatchExpression: can never hold: JPEG2000Lossless is",
        ),
        (("0002,0002 = CT",), "4: Conditions[0].MatchExpression: can never hold: MediaStorageSOPClassUID holds a UID"),
        (("SOPClassUID = 1.2.CT*",), "4: Conditions[0].MatchExpression: can never hold: SOPClassUID holds a UID"),
        (("!0002,0026",), "3: Conditions[0]: always holds: a file in the spool has no such element of group 0002"),
        (("8,60 = ct",), "4: Conditions[0].MatchExpression: can never hold: Modality holds at most 16 capital"),
        (("!8,60 = ct*",), "4: Conditions[0].MatchExpression: always holds: Modality holds at most 16 capital"),
        (
            ("8,20 = 2024-01-31",),
            "4: Conditions[0].MatchExpression: can never hold: StudyDate holds a date",
        ),
        (("Source = LONGER_THAN_SIXTEEN",), "4: Conditions[0].MatchExpression: can never hold: Source holds an AE"),
        (
            ("Called = REPORTPACS",),
            "3: Conditions[0]: can never hold: no title of the nodes in AeTitles",
        ),
        (("0040,0275 = CT",), "3: Conditions[0]: can never hold: RequestAttributesSequence is a sequence; ask"),
        (("PixelData = 1*",), "3: Conditions[0]: can never hold: PixelData is OB or OW, not text"),
        (("0008,0007",), "3: Conditions[0]: can never hold: 0008,0007 is not in the standard (PS3.6)"),
        (("8,1030 = ^CT*$",), "4: Conditions[0].MatchExpression: ^CT*$ is a regular expression, in which"),
        (("8,1030 = ^*CT",), "4: Conditions[0].MatchExpression: ^*CT is a regular expression, in which"),
        (("8,1030 = IMG?[0-9]",), "4: Conditions[0].MatchExpression: IMG?[0-9] is a regular expression, in which"),
        (("8,1030 = CT[12]*",), "4: Conditions[0].MatchExpression: CT[12]* is a regular expression, in which"),
        (("8,1030 = .*",), "4: Conditions[0].MatchExpression: .* is a wildcard, in which . is a dot"),
        (("8,1030 = CT.*",), "4: Conditions[0].MatchExpression: CT.* is a wildcard, in which . is a dot"),
        (("8,1030 = Thorax$",), "4: Conditions[0].MatchExpression: Thorax$ is no regular expression, so $ stands"),
    ],
)
def test_a_condition_that_does_not_do_what_it_seems_to(tmp_path: Path, conditions: tuple[str, ...], told: str) -> None:
    (warning,) = warnings(tmp_path, rule(*conditions))
    assert warning.startswith(f"routings.yml:{told}")


@pytest.mark.parametrize(
    "conditions",
    [
        ("8,60 = CT", "8,70 = ACME"),
        ("8,60 = C?", "8,60 = ?T"),
        ("8,60 = ^C", "8,60 = T$|^X"),
        ("8,60 = CT", "!8,60 = MR"),
        ("8,60", "!8,60 = CT"),
        ("8,8 = PRIMARY", "8,8 = AXIAL"),  # Image Type has several values
        ("10,10 = Yamada^Tarou", "10,10 = ^山田"),  # a name has several groups
        ("Source = CT*", "Source = *1"),
        ("0002,0010 = 1.2.840.10008.1.2.4.90",),
        ("0002,0010 = 1.2.840.10008.1.2.4.*",),
        ("0002,0002 = 1.2.840.10008.5.1.4.1.1.2",),
        ("0002,0016 = CT1",),
        ("SOPClassUID = 1.2.840.10008.*",),
        ("8,60 = CT",),
        ("8,60 = ''",),
        ("8,1030 = ct",),
        ("8,20 = 20240131",),
        ("8,20 = 2024*",),
        ("Called = PACS",),
        ("Called = *PACS",),
        ("!Called = PACS",),
        ("0040,0275",),
        ("!PixelData",),
        ("0009,0010 = ACME",),
        ("6002,3000",),
        ("8,1030 = ^CT.*$",),
        ("8,1030 = ^colou?r",),
        ("8,1030 = ^0*12$",),
        ("8,1030 = ^A[0-9]*$",),
        ("8,1030 = (CT)?X*",),
        ("8,1030 = [0-9]+",),
        (r"8,1030 = IMG\d*",),
        ("8,1030 = *CT*",),
        ("8,1030 = V1.*",),
        ("8,1030 = ^Thorax$",),
    ],
)
def test_its_innocent_twin(tmp_path: Path, conditions: tuple[str, ...]) -> None:
    assert warnings(tmp_path, rule(*conditions)) == []


def test_a_search_may_find_two_values_of_one_tag(tmp_path: Path) -> None:
    lines = "    - Tag: 8,60\n      Search: true\n      MatchExpression: {}\n"
    both = f"- Conditions:\n{lines.format('CT')}{lines.format('MR')}{DROP}"
    assert warnings(tmp_path, both) == []


def test_items_are_looked_into(tmp_path: Path) -> None:
    inner = "        - Tag: 8,104\n          MatchExpression: {}\n"
    nested = f"- Conditions:\n    - Tag: {{}}\n      SequenceItems:\n{inner.format('A')}{inner.format('{}')}{DROP}"
    assert warnings(tmp_path, nested.format("0040,0260", "A")) == []
    assert warnings(tmp_path, nested.format("0040,0260", "B")) == [
        "routings.yml:6: Conditions[0].SequenceItems[1]: can't hold together with SequenceItems[0], "
        "so this never matches"
    ]
    assert warnings(tmp_path, nested.format("0008,1030", "A")) == [
        "routings.yml:2: Conditions[0]: can never hold: StudyDescription is no sequence, so it has no items"
    ]


def test_a_title_that_may_not_call_us(tmp_path: Path) -> None:
    assert warnings(tmp_path, rule("Source = CT*"), "allowedCallingAeTitles: [CT1, MR1]\n") == []
    assert warnings(tmp_path, rule("Source = US*"), "allowedCallingAeTitles: [CT1, MR1]\n") == [
        "routings.yml:3: Conditions[0]: can never hold: no AE title that may call us is one such"
    ]


def test_a_rule_behind_one_that_drops_everything(tmp_path: Path) -> None:
    everything = "- AeTitles: IMAGEPACS\n  Actions:\n    - Type: drop\n"
    adds = "- AeTitles: PACS\n  Actions:\n    - Target: REPORTPACS\n"
    behind = "routings.yml:4: stands behind the route of routings.yml:1, which drops everything: "
    assert warnings(tmp_path, everything + adds) == [behind + "it runs all the same, and its actions are done"]
    assert warnings(tmp_path, everything + rule("8,60 = CT")) == [behind + "it does nothing more"]
    assert warnings(tmp_path, adds + everything) == []
    assert warnings(tmp_path, rule("8,60 = CT") + adds) == []
    assert warnings(tmp_path, everything + adds.replace("PACS\n", "REPORTPACS\n", 1)) == []
    assert warnings(tmp_path, everything + adds.partition("\n")[2].replace("  A", "- A", 1)) == []


def test_a_copy_into_the_spool_is_an_object_of_its_own(tmp_path: Path) -> None:
    save = "- Actions:\n    - Type: save_file\n      Target: {}/#{{8,18}}.dcm\n"
    assert warnings(tmp_path, save.format("cached")) == []
    assert warnings(tmp_path, save.format("cache/new")) == [
        "routings.yml:1: Actions[0].Target: lies within the spool (cachePath): its copies would be taken for objects"
    ]


def test_nothing_is_doubted_while_there_are_errors(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("filters: route\n")
    (tmp_path / "nodes.yml").write_text(NODES)
    (tmp_path / "routings.yml").write_text("- Actions: [\n" + rule("8,60 = CT", "8,60 = MR"))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        load(tmp_path, {}, {})
    assert caught.value.warnings == ()  # type: ignore[attr-defined]


NAME, PATIENT_ID = Place(0x00100010), Place(0x00100020)
IN_ITEM = Place(0x00080100, (Step(0x00400275, 0),))
CT = Condition("00080060", Kind.LITERAL, "CT")


def setting(target: Place, source: Place | None = None, value: str = "X") -> Edit:
    return Edit(EditType.ADD_OR_UPDATE, "mutations.yml:5", source, "^(.+)$", target, value=value)


def removal(target: Place) -> Edit:
    return Edit(EditType.REMOVE, "mutations.yml:9", destination=target)


def mutation(*edits: Edit, to: tuple[str, ...] = (), when: tuple[Condition, ...] = ()) -> Mutation:
    return Mutation("mutations.yml:1", to, when, edits)


@pytest.mark.parametrize(
    "mutations",
    [
        [mutation(setting(NAME), removal(NAME))],
        [mutation(setting(NAME)), mutation(removal(NAME))],
        [mutation(setting(NAME), to=("A",), when=(CT,)), mutation(removal(NAME), to=("A", "B"), when=(CT,))],
        [mutation(setting(IN_ITEM), removal(Place(0x00400275)))],
    ],
)
def test_a_mutation_of_what_a_later_one_removes(mutations: list[Mutation]) -> None:
    ((where, steps, message),) = undone(mutations)
    assert (where, steps[-2:]) == ("mutations.yml:1", ("Destination", "Tag"))
    assert message == "removes what the action of mutations.yml:5 sets, which so does nothing"


@pytest.mark.parametrize(
    "mutations",
    [
        [mutation(removal(NAME), setting(NAME))],
        [mutation(setting(NAME), removal(PATIENT_ID))],
        [mutation(setting(NAME), setting(PATIENT_ID, source=NAME), removal(NAME))],
        [mutation(setting(NAME), setting(PATIENT_ID, value=":hash(0010,0010,8):"), removal(NAME))],
        [mutation(setting(NAME), to=("A",)), mutation(removal(NAME), to=("B",))],
        [mutation(setting(NAME)), mutation(removal(NAME), when=(CT,))],
        [
            mutation(setting(Place(0x00080060))),
            mutation(setting(NAME), when=(CT,)),
            mutation(removal(Place(0x00080060))),
        ],
        [mutation(setting(IN_ITEM), removal(Place(0x00080100)))],
    ],
)
def test_its_innocent_twins(mutations: list[Mutation]) -> None:
    assert list(undone(mutations)) == []


def test_a_uid_of_its_own_for_each_object_of_a_study() -> None:
    study, instance = Place(0x0020000D), Place(0x00080018)
    ((where, steps, message),) = scattering([mutation(setting(instance, value=":uid:"), setting(study, value=":uid:"))])
    assert (where, steps) == ("mutations.yml:1", ("Actions", 1, "Destination", "Value"))
    assert message == "each object gets another UID: a study of 100 objects becomes 100 of one object"
    assert list(scattering([mutation(setting(study, value="1.2"), setting(NAME, value=":uid:"))])) == []


def test_a_mutation_of_what_says_how_the_pixels_are_stored() -> None:
    ((where, steps, message),) = of_pixels([mutation(setting(NAME), setting(Place(0x00280101), value="8"))])
    assert (where, steps) == ("mutations.yml:1", ("Actions", 1, "Destination", "Tag"))
    assert message == "BitsStored says how the pixels are stored: with another value they are wrong"
    assert list(of_pixels([mutation(setting(Place(0x00281050)), removal(Place(0x00280301)))])) == []
    assert list(of_pixels([mutation(setting(Place(0x00280010, (Step(0x00400275, 1),))))])) == []


MUTATION = """\
- AeTitles: IMAGEPACS
  Affects: [storage]
  Conditions:
    - Tag: Modality
      MatchExpression: ct
  Actions:
    - Destination:
        Tag: PatientName
        Value: X
    - Destination:
        Tag: BitsStored
        Value: '8'
    - Type: remove
      Destination:
        Tag: PatientName
"""


def test_mutations_yml_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("filters: mutate\n")
    (tmp_path / "nodes.yml").write_text(NODES)
    for text, told in (
        (
            "- Affects: worklist_query\n  Actions:\n    - Destination:\n        Tag: PatientID\n        Value: X\n"
            + MUTATION,
            [
                "mutations.yml:10: Conditions[0].MatchExpression: can never hold: Modality holds at most 16 capital "
                "letters, digits, blanks and _",
                "mutations.yml:16: Actions[1].Destination.Tag: BitsStored says how the pixels are stored: with "
                "another value they are wrong",
                "mutations.yml:20: Actions[2].Destination.Tag: removes what the action of mutations.yml:12 sets, which "
                "so does nothing",
            ],
        ),
        (
            MUTATION.replace(": ct", ": CT").replace("BitsStored", "PatientID").replace("PatientName", "PatientSex", 1),
            [],
        ),
    ):
        (tmp_path / "mutations.yml").write_text(text)
        assert [line for line in load(tmp_path, {}, {})[1] if "Affects" not in line] == told


def test_sortings_yml_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("filters: sort\n")
    (tmp_path / "nodes.yml").write_text(NODES)
    condition = "- Conditions:\n    - Tag: Modality\n      MatchExpression: ct\n"
    action = "  Actions:\n    - SortTag: 20,13\n      SortType: integer\n      SortDirection: asc\n"
    (tmp_path / "sortings.yml").write_text(condition + action)
    (told,) = load(tmp_path, {}, {})[1]
    assert told.startswith("sortings.yml:3: Conditions[0].MatchExpression: can never hold: Modality")
