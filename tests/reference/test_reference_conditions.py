"""What conditions mean, sentence by sentence, from the lines of a file to the decision about an object."""

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.sequence import Sequence

from leyden.config.load import load
from leyden.dicom.header import Header
from leyden.errors import ConfigError
from leyden.plan.match import plan, remarks
from leyden.plan.rules import PlanSettings
from support.datasets import el
from support.headers import encode, header_from, header_of

NODES = "- AeTitle: IMAGEPACS\n- AeTitle: THIRD\n"
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
Holds = Callable[[str, Header], bool]
Matches = Callable[[str, str, Header], bool]


def rules(folder: Path, conditions: str) -> PlanSettings:
    """The rules of a site with one route to THIRD under these conditions; each begins with a dash."""
    (folder / "config.yml").write_text("filters: route\n")
    (folder / "nodes.yml").write_text(NODES)
    lines = "\n".join(f"    {line}" for line in conditions.splitlines())
    (folder / "routings.yml").write_text(f"- Conditions:\n{lines}\n  Actions:\n    - Target: THIRD\n", "utf-8")
    return load(folder, {}, {})[0].plan


@pytest.fixture
def holds(tmp_path: Path) -> Holds:
    """Whether conditions hold for an object, as the planner decides it."""

    def decide(conditions: str, header: Header) -> bool:
        decision = plan(rules(tmp_path, conditions), header)
        return "THIRD" in [delivery.destination for delivery in decision.deliveries]

    return decide


@pytest.fixture
def matches(holds: Holds) -> Matches:
    """Whether an expression matches an element."""
    return lambda tag, expression, header: holds(f"- Tag: {tag}\n  MatchExpression: {expression}", header)


def ds(**values: object) -> pydicom.Dataset:
    dataset = pydicom.Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


CT = ds(
    Modality="CT",
    ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
    AccessionNumber="00123",
    StudyInstanceUID="1.2.3",
    StationName="CT*1",
    PatientID="",
)


def value(tag: int, vr: str, raw: bytes, *before: bytes) -> Header:
    """An object with one element whose bytes are given."""
    return header_from(header_of(CT).meta, b"".join(before) + el(tag, vr, raw))


# Tag


@pytest.mark.parametrize("tag", ["0008,0060", "8,60", "00080060", "Modality"])
@pytest.mark.parametrize("key", ["Tag", "MatchTag"])
def test_Tag_is_written_with_a_comma_short_without_or_as_a_keyword(holds: Holds, key: str, tag: str) -> None:
    """Tag (or MatchTag): `gggg,eeee`, short forms `8,60`, no comma `00080060`, or a keyword."""
    assert holds(f"- {key}: {tag}\n  MatchExpression: CT", header_of(CT))
    assert not holds(f"- {key}: {tag}\n  MatchExpression: MR", header_of(CT))


def test_Tag_of_group_0002_reads_the_file_meta(matches: Matches) -> None:
    """Group 0002 reads the file meta (0002,0002 = SOP class, 0002,0010 = syntax)."""
    header = header_of(CT, sop_class=CT_IMAGE)
    assert matches("2,2", CT_IMAGE, header)
    assert matches("0002,0010", "1.2.840.10008.1.2.1", header)
    assert not matches("0002,0010", "1.2.840.10008.1.2", header)


def test_Conditions_all_of_a_list_must_hold(holds: Holds) -> None:
    """Of a list of conditions, all must hold."""
    ct, axial, other = ("- Tag: 8,60\n  MatchExpression: CT", "- Tag: 8,8\n  MatchExpression: AXIAL", "- Tag: 8,70")
    assert holds(f"{ct}\n{axial}", header_of(CT))
    assert not holds(f"{ct}\n{axial}\n{other}", header_of(CT))
    assert not holds(f"{other}\n{ct}", header_of(CT))


# MatchExpression


def test_MatchExpression_of_plain_text_is_an_exact_match(matches: Matches) -> None:
    """Plain text = exact match."""
    assert matches("8,60", "CT", header_of(CT))
    for other in ("C", "T", "ct", "CTA"):
        assert not matches("8,60", other, header_of(CT))


def test_MatchExpression_of_digits_and_dots_is_a_literal(matches: Matches) -> None:
    """Only digits and dots = literal (a UID is not a regex)."""
    assert matches("20,D", "1.2.3", header_of(CT))
    assert not matches("20,D", "1.2.3", header_of(ds(StudyInstanceUID="1.203")))
    assert not matches("20,D", "1.2", header_of(CT)), "it is not searched"
    assert matches("8,50", "00123", header_of(CT))
    assert not matches("8,50", "123", header_of(CT))


@pytest.mark.parametrize(
    "expression", ["^C", "[C]T", "(C)", "C{1}", "CT|MR", "C+", r"C\w", "(?i)ct", "T(?!A)", "(?<=C)T", "(?<n>C)T"]
)
def test_MatchExpression_with_a_sign_of_a_regular_expression_is_searched(matches: Matches, expression: str) -> None:
    r"""Starts with `^` or has any of `[](){}|+\` = regular expression, searched; .NET flavour: `(?i)`, look-around and
    named groups `(?<n>x)` work."""
    assert matches("8,60", expression, header_of(CT))
    assert not matches("8,60", expression, header_of(ds(Modality="XA")))


def test_MatchExpression_that_is_a_regular_expression_is_case_sensitive(matches: Matches) -> None:
    """Regular expressions are case-sensitive."""
    assert not matches("8,60", "^ct", header_of(CT))


def test_MatchExpression_that_is_a_regular_expression_wins_over_a_wildcard(matches: Matches) -> None:
    """Decided in this order: a text with `^` in front is no wildcard, whatever else it has."""
    assert matches("8,60", "^C.*$", header_of(CT))
    assert matches("8,60", "^CTA*", header_of(CT)), "as a wildcard it would need an A"


def test_MatchExpression_out_of_time_is_no_match_and_is_logged(tmp_path: Path) -> None:
    """A time limit of 50 ms; out of time = no match, logged."""
    header = header_of(ds(SeriesDescription="f" * 60 + "g"))
    for negate in ("", "\n  Negate: true"):
        slow = rules(tmp_path, f"- Tag: SeriesDescription\n  MatchExpression: (f|ff)+${negate}")
        decision = plan(slow, header)
        assert [delivery.destination for delivery in decision.deliveries] == ["IMAGEPACS"]
        said = list(remarks(decision, debug=False))
        assert len(said) == 1
        assert said[0][0], "at level INFO"
        assert "condition on SeriesDescription had no answer within 50 ms: taken as not matching" in said[0][1]


def test_MatchExpression_with_a_star_or_question_mark_is_a_wildcard_over_the_whole_value(matches: Matches) -> None:
    """Has `*` or `?` = wildcard over the whole value."""
    for expression, held in (("C*", True), ("?T", True), ("*", True), ("?", False), ("C?T", False), ("*C", False)):
        assert matches("8,60", f"'{expression}'", header_of(CT)) is held
    assert matches("8,1010", "CT*", header_of(CT))
    assert matches("20,D", "1.2.*", header_of(CT))
    assert not matches("20,D", "1.2.*", header_of(ds(StudyInstanceUID="1.203"))), "a dot is a dot"


def test_MatchExpression_is_compared_with_each_value_and_with_all_as_one_text(matches: Matches) -> None:
    """Multi-valued elements are compared as one backslash-joined text and by each value."""
    for expression in ("PRIMARY", "AXIAL", r"^ORIGINAL\\PRIMARY\\AXIAL$", "ORIGINAL*AXIAL", "PRIM*", "^AXIAL$"):
        assert matches("8,8", expression, header_of(CT)), expression
    for expression in ("ORIGINAL\\\\PRIMARY$", "PRIM", "PRIMARY*AXIAL"):
        assert not matches("8,8", expression, header_of(CT)), expression


@pytest.mark.parametrize("expression", ["''", "'*'", "^", "^$", "CT"])
def test_MatchExpression_never_matches_an_absent_tag(matches: Matches, expression: str) -> None:
    """An absent tag never matches."""
    assert not matches("8,70", expression, header_of(CT))
    assert matches("10,20", expression, header_of(CT)) is (expression != "CT"), "an empty one is not absent"


def test_MatchExpression_left_out_asks_only_that_the_tag_is_there(holds: Holds) -> None:
    """A condition without MatchExpression asks only that the tag is there."""
    assert holds("- Tag: 8,60", header_of(CT))
    assert holds("- Tag: 10,20", header_of(CT)), "even if it is empty"
    assert not holds("- Tag: 8,70", header_of(CT))


# Search, SequenceItems, PrivateTagCreator


def requests() -> pydicom.Dataset:
    codes = Sequence([ds(CodeValue="A", CodeMeaning="one"), ds(CodeValue="B", CodeMeaning="two")])
    return ds(Modality="CT", RequestAttributesSequence=Sequence([ds(ScheduledProtocolCodeSequence=codes), ds()]))


def test_Search_looks_for_the_tag_at_any_depth(holds: Holds) -> None:
    """Search true: any element of that tag at any depth."""
    header = header_of(requests())
    assert holds("- Tag: 8,100\n  MatchExpression: B\n  Search: true", header)
    assert not holds("- Tag: 8,100\n  MatchExpression: B", header)
    assert holds("- Tag: 8,60\n  MatchExpression: CT\n  Search: true", header), "also at no depth"


def test_Search_is_not_allowed_with_SequenceItems(tmp_path: Path) -> None:
    """SequenceItems is not allowed with Search."""
    with pytest.raises(ConfigError, match="Search and SequenceItems exclude each other"):
        rules(tmp_path, "- Tag: 40,275\n  Search: true\n  SequenceItems:\n    - Tag: 8,100")


def test_SequenceItems_hold_together_in_one_item(holds: Holds) -> None:
    """SequenceItems: nested conditions that hold together in one item of the sequence in Tag."""

    def pair(code: str, meaning: str) -> str:
        inner = f"        - Tag: 8,100\n          MatchExpression: {code}\n"
        inner += f"        - Tag: 8,104\n          MatchExpression: {meaning}"
        return f"- Tag: 40,275\n  SequenceItems:\n    - Tag: 40,8\n      SequenceItems:\n{inner}"

    assert holds(pair("A", "one"), header_of(requests()))
    assert holds(pair("B", "two"), header_of(requests()))
    assert not holds(pair("A", "two"), header_of(requests()))


def test_PrivateTagCreator_finds_the_block_wherever_it_landed(holds: Holds) -> None:
    """The private block is found by its creator, whatever block it landed in (the low byte of the element is the
    offset: 0009,0010 with a creator also finds 0009,xx10)."""
    dataset = ds(Modality="CT")
    for creator, text in (("OTHER", "no"), ("ACME 1.1", "yes")):
        dataset.private_block(0x0009, creator, create=True).add_new(0x10, "LO", text)
    dataset.private_block(0x0009, "ACME 1.1").add_new(0x0C, "LO", "low")
    assert "00091110" in [f"{int(tag):08x}" for tag in dataset.keys()]  # noqa: SIM118
    for tag in ("0009,0010", "9,1010", "0009,FF10"):
        asked = f"- Tag: {tag}\n  PrivateTagCreator: ACME 1.1\n  MatchExpression:"
        assert holds(f"{asked} yes", header_of(dataset))
        assert not holds(f"{asked} no", header_of(dataset))
    assert holds("- Tag: 0009,100C\n  PrivateTagCreator: ACME 1.1", header_of(dataset)), "any byte is an offset"
    assert not holds("- Tag: 9,10\n  PrivateTagCreator: NOBODY", header_of(dataset))
    assert not holds("- Tag: 9,11\n  PrivateTagCreator: ACME 1.1", header_of(dataset))


# Log, Negate, Source, Called


@pytest.mark.parametrize(
    ("line", "level"), [("", None), ("\n  Log: debug", None), ("\n  Log: info", True), ("\n  Log: x", True)]
)
def test_Log_is_the_level_of_the_message_about_the_condition(tmp_path: Path, line: str, level: bool | None) -> None:
    """Log: debug, else info: the level of the message about this condition."""
    decision = plan(rules(tmp_path, f"- Tag: 8,60\n  MatchExpression: CT{line}"), header_of(CT))
    said = "routings.yml:1: condition on Modality holds"
    assert (level or False, said) in remarks(decision, debug=True)
    assert ((True, said) in remarks(decision, debug=False)) is bool(level)


def test_Negate_holds_where_the_condition_would_not(holds: Holds) -> None:
    """Negate true: the condition holds where it would not otherwise."""
    for tag, expression, held in (("8,60", "CT", True), ("8,60", "MR", False), ("8,70", "CT", False)):
        asked = f"- Tag: {tag}\n  MatchExpression: {expression}"
        assert holds(asked, header_of(CT)) is held
        assert holds(f"{asked}\n  Negate: true", header_of(CT)) is not held
    assert holds("- Tag: 8,70\n  Negate: true", header_of(CT))


def test_Source_is_the_calling_and_Called_the_called_title(matches: Matches) -> None:
    """Source (calling AE) and Called as pseudo-tags."""
    header = header_of(CT, calling="CT1", called="IMAGEPACS")
    assert matches("Source", "CT1", header)
    assert matches("Source", "CT*", header)
    assert matches("Called", "IMAGEPACS", header)
    assert not matches("Called", "CT1", header)


# Values


def test_padding_is_trimmed_as_the_VR_says(matches: Matches) -> None:
    """Padding is trimmed as the VR says: blanks at the end of all, in front of all but ST, LT and UT, NUL of UI."""
    assert matches("8,60", "CT", value(0x00080060, "CS", b" CT "))
    assert matches("20,D", "1.2", value(0x0020000D, "UI", b"1.2\0"))
    assert matches("10,4000", "^ a$", value(0x00104000, "LT", b" a  "))
    assert not matches("10,4000", "a", value(0x00104000, "LT", b" a  "))
    assert matches("8,8", "^A$", value(0x00080008, "CS", b"A \\ B"))
    assert matches("8,8", "^B$", value(0x00080008, "CS", b"A \\ B"))


def test_numbers_are_compared_as_they_are_written(matches: Matches) -> None:
    """Numbers as written; those that are binary, as decimals."""
    assert matches("18,50", "1.50", value(0x00180050, "DS", b"1.50"))
    assert not matches("18,50", "1.5", value(0x00180050, "DS", b"1.50"))
    assert matches("20,13", r"^\+1$", value(0x00200013, "IS", b"+1"))
    assert not matches("20,13", "1", value(0x00200013, "IS", b"+1"))
    assert matches("28,10", "512", value(0x00280010, "US", b"\0\2"))
    assert matches("18,9073", "512", value(0x00189073, "FD", b"\0\0\0\0\0\0\x80\x40"))
    assert matches("18,9073", "0.1", value(0x00189073, "FL", b"\xcd\xcc\xcc\x3d"))


@pytest.mark.parametrize(
    ("declared", "raw"),
    [
        ("ISO_IR 100", b"M\xfcller"),
        ("ISO_IR 192", "Müller".encode()),
        ("", "Müller".encode()),
        ("", b"M\xfcller"),
        ("\\ISO 2022 IR 87", "Müller".encode()),
        ("ISO_IR 87", "Müller".encode()),
    ],
)
def test_text_is_read_in_its_character_set_and_UTF_8_that_is_not_declared_is_tried(
    matches: Matches, declared: str, raw: bytes
) -> None:
    """Character sets as declared; UTF-8 that is not declared is tried where the declared set cannot be read."""
    header = value(0x00100010, "PN", raw, el(0x00080005, "CS", declared.encode()))
    assert matches("10,10", "^Müller$", header)
    assert not matches("10,10", "^M.$", header)


def test_a_person_name_is_compared_as_a_whole_and_by_its_component_groups(matches: Matches) -> None:
    """PN component groups: each is compared too, without empty components at its end; with a regular expression only
    the first."""
    utf8 = el(0x00080005, "CS", b"ISO_IR 192")
    name = value(0x00100010, "PN", "Test^Tarou^^^=山田^太郎=やまだ^たろう".encode(), utf8)
    for expression in (
        "Test^Tarou",
        "山田^太郎",
        "やまだ^たろう",
        r"^Test\^Tarou$",
        "Test^T*",
        "山田*",
        "Test*たろう",
        "[田]",
    ):
        assert matches("10,10", expression, name), expression
    for expression in ("Test", "太郎", "^Test$", "Tarou", "^(?!Test)", "''"):
        assert not matches("10,10", expression, name), expression
    assert matches("10,10", "Smith^John", value(0x00100010, "PN", b"Smith^John^^"))
    assert matches("10,10", "Smith^John^^", value(0x00100010, "PN", b"Smith^John^^")), "as it is written, too"


def test_an_object_as_it_came_in_implicit_VR_means_the_same(matches: Matches) -> None:
    """What a condition means does not depend on the transfer syntax."""
    implicit = header_of(CT, syntax="1.2.840.10008.1.2")
    assert encode(CT) != encode(CT, "1.2.840.10008.1.2")
    assert matches("8,8", "PRIMARY", implicit)
    assert matches("8,60", "CT", implicit)
