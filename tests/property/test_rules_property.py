"""The fast way to decide about conditions gives what a plain and slow one gives, for any dataset and any conditions."""

from collections.abc import Iterable
from typing import Any

import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.config.conditions import kind_of
from leyden.dicom.header import Header
from leyden.dicom.part10 import FileMeta
from leyden.plan.conditions import Examination, examine
from leyden.plan.match import plan
from leyden.plan.rules import Action, ActionType, Condition, Kind, PlanSettings, Route
from support.datasets import el
from support.headers import header_from

patient = settings(deadline=None)  # the machine may be busy
META = FileMeta("1.2.840.10008.5.1.4.1.1.2", "2.25.7", "1.2.840.10008.1.2.1", sending="CT1", receiving="PACS")
TEXT, NAME, SINGLE, CREATOR, PRIVATE, SEQUENCE = 0x00080070, 0x00100010, 0x00104000, 0x00090010, 0x00091001, 0x00400275
VRS = {TEXT: "LO", NAME: "PN", SINGLE: "LT", CREATOR: "LO", PRIVATE: "SH"}

Model = dict[int, Any]
"""A dataset as plain data: the value of an element as text, or the list of the items of SEQUENCE."""

WORDS = st.sampled_from(["", "A", "B", "AB", " A ", "A\\B", "A^B^^", "A^B=C^", "=C", "\\", "A\\ B\\", "ACME"])
DATASETS: st.SearchStrategy[Model] = st.recursive(
    st.dictionaries(st.sampled_from(list(VRS)), WORDS, max_size=4),
    lambda inner: st.builds(
        lambda leaves, items: leaves | {SEQUENCE: items},
        st.dictionaries(st.sampled_from(list(VRS)), WORDS, max_size=4),
        st.lists(inner, max_size=3),
    ),
    max_leaves=6,
)
EXPRESSIONS = st.sampled_from(
    [
        "",
        "A",
        "B",
        "A\\B",
        "1.2",
        "A*",
        "?",
        "*B",
        "^A",
        "^A$",
        "A|B",
        "[AB]{2}",
        "(?i)a",
        r"^A\\B$",
        r"\^",
        "C",
        "A^B",
        "CT1",
        "^(?!A)",
        "^C$",
    ]
)


def conditions(depth: int = 2) -> st.SearchStrategy[Condition]:
    def made(tag: str, expression: str | None, negate: bool, search: bool, creator: str, items: list[Condition]) -> Any:
        kind = Kind.PRESENT if expression is None or items else kind_of(expression)
        private = tag == f"{PRIVATE:08x}" and not search and not items
        return Condition(
            tag,
            kind,
            "" if kind is Kind.PRESENT else expression or "",
            negate,
            search and not items,
            tuple(items),
            creator if private else "",
        )

    tags = st.sampled_from([f"{tag:08x}" for tag in (*VRS, SEQUENCE, 0x00020016)])
    inner = st.lists(conditions(depth - 1), max_size=2) if depth else st.just([])
    nested = st.builds(made, st.just(f"{SEQUENCE:08x}"), st.none(), st.booleans(), st.just(False), st.just(""), inner)
    plain = st.builds(
        made,
        tags,
        st.none() | EXPRESSIONS,
        st.booleans(),
        st.booleans(),
        st.sampled_from(["", "A", "ACME"]),
        st.just([]),
    )
    return plain | nested


def encoded(model: Model) -> bytes:
    parts = []
    for tag in sorted(model):
        if tag == SEQUENCE:
            value = b"".join(el(0xFFFEE000, "", encoded(item)) for item in model[tag])
            parts.append(el(tag, "SQ", value))
        else:
            raw = model[tag].encode()
            parts.append(el(tag, VRS[tag], raw + b" " * (len(raw) % 2)))
    return b"".join(parts)


def compared(tag: int, text: str, kind: Kind = Kind.LITERAL) -> set[str]:
    """With what an expression is compared, as docs/configure.md says it."""
    if tag == SINGLE:
        return {text.rstrip(" ")}
    values = [value.strip(" ") for value in text.strip(" ").split("\\")]
    return {"\\".join(values), *values, *(groups(values, kind) if tag == NAME else ())}


def groups(names: Iterable[str], kind: Kind) -> set[str]:
    """The component groups of these names with which such an expression is compared."""
    split = [[group.rstrip("^ ") for group in name.split("=")] for name in names]
    return {group for each in split for group in (each[:1] if kind is Kind.REGEX else each) if group}


def matches(condition: Condition, tag: int, texts: set[str]) -> bool:
    match condition.kind:
        case Kind.PRESENT:
            return True
        case Kind.LITERAL:
            return condition.expression in texts
        case Kind.WILDCARD:
            steps = {"*": "(?s:.*)", "?": "(?s:.)"}
            pattern = "".join(steps.get(letter, regex.escape(letter)) for letter in condition.expression)
            return any(regex.fullmatch(pattern, text) for text in texts)
        case Kind.REGEX:
            return any(regex.search(condition.expression, text) for text in texts)


def everywhere(model: Model, tag: int, kind: Kind) -> list[set[str]]:
    found = [compared_in(model, tag, kind)] if tag in model else []
    return found + [texts for item in model.get(SEQUENCE, []) for texts in everywhere(item, tag, kind)]


def compared_in(model: Model, tag: int, kind: Kind) -> set[str]:
    return {""} if tag == SEQUENCE else compared(tag, model[tag], kind)


def slowly(condition: Condition, model: Model) -> bool:
    """What the pages say of a condition, one sentence after the other."""
    tag = int(condition.tag, 16)
    if condition.private_creator and compared(CREATOR, model.get(CREATOR, "")) != {condition.private_creator}:
        found = False
    elif condition.items:
        found = any(all(slowly(inner, item) for inner in condition.items) for item in model.get(tag, []))
    elif condition.search:
        found = any(matches(condition, tag, texts) for texts in everywhere(model, tag, condition.kind))
    else:
        found = tag in model and matches(condition, tag, compared_in(model, tag, condition.kind))
    return found != condition.negate


def header_with(model: Model) -> Header:
    return header_from(META, encoded(model))


@patient
@given(DATASETS, st.lists(conditions(), max_size=6))
def test_each_condition_is_decided_as_by_the_plain_way(model: Model, asked: list[Condition]) -> None:
    """Conditions mean what docs/configure.md says of them, alone and one after the other about one object."""
    header = header_with(model)
    wanted = [slowly(condition, model) for condition in asked]
    examination = Examination(header)
    assert [examination.holds(condition) for condition in asked] == wanted
    assert [examine(condition, header).held for condition in asked] == wanted
    assert [examination.finding(condition).held for condition in asked] == wanted
    failing = next((condition for condition, held in zip(asked, wanted, strict=True) if not held), None)
    assert examination.failing(asked) is failing


@patient
@given(DATASETS, st.lists(st.lists(conditions(), max_size=3), max_size=4))
def test_the_planner_runs_the_routes_whose_conditions_all_hold(model: Model, asked: list[list[Condition]]) -> None:
    """Every matching rule runs, in the order of the file (docs/configure.md)."""
    action = Action(ActionType.ADD_DESTINATION, "THIRD")
    routes = tuple(Route(f"routings.yml:{n}", (), tuple(each), (action,)) for n, each in enumerate(asked))
    decision = plan(PlanSettings("LEYDEN", {"PACS": "PACS"}, (), routes), header_with(model))
    held = [f"routings.yml:{n}" for n, each in enumerate(asked) if all(slowly(one, model) for one in each)]
    assert [ran.route.where for ran in decision.ran if ran.held] == held
    assert [delivery.destination for delivery in decision.deliveries] == ["PACS"] + ["THIRD"] * bool(held)


@patient
@given(DATASETS, conditions())
def test_a_finding_shows_the_values_by_which_it_was_decided(model: Model, condition: Condition) -> None:
    """What is shown to an operator is what the planner saw: the same condition about these values gives the same."""
    finding = examine(condition, header_with(model))
    if finding.seen is None or condition.items:
        return
    texts = {"\\".join(finding.seen), *finding.seen}
    tag = int(condition.tag, 16)
    if tag == NAME:
        texts |= groups(finding.seen, condition.kind)
    assert matches(condition, tag, texts) is (finding.held != condition.negate)


SETS = st.sampled_from(
    ["", "ISO_IR 6", "ISO_IR 13", "ISO_IR 87", "ISO_IR 100", "ISO_IR 127", "ISO_IR 149", "ISO_IR 192"]
)
MORE = st.sampled_from(["GB18030", "GBK", "ISO 2022 IR 58", "ISO 2022 IR 87", "ISO 2022 IR 149", "nonsense"])
BYTES = st.binary(max_size=40) | st.lists(
    st.sampled_from([b"\x1b$B", b"\x1b(B", b"\x1b$)C", b"\x1b-F", b"\x1b", b"^", b"=", b"\xe5\xb1\xb1", b"\xfc", b"A"])
).map(b"".join)


@patient
@given(SETS | MORE, st.lists(MORE, max_size=2), BYTES)
def test_any_bytes_are_some_text_in_any_character_set(first: str, more: list[str], raw: bytes) -> None:
    """Text is read in the character set that the object declares; where that can't be, UTF-8 is tried
    (docs/configure.md)."""
    declared = "\\".join([first, *more]).encode()
    data = el(0x00080005, "CS", declared + b" " * (len(declared) % 2)) + el(SINGLE, "LT", raw + b" " * (len(raw) % 2))
    (text,) = header_from(META, data).texts(SINGLE) or ("",)
    if raw.isascii() and b"\x1b" not in raw:
        assert text == raw.decode().rstrip("\0 ")
    elif not more and first in ("", "ISO_IR 6", "nonsense") and b"\x1b" not in raw:
        try:
            assert text == raw.decode().rstrip("\0 ")
        except UnicodeDecodeError:
            assert text == raw.decode("latin-1").rstrip("\0 ")
