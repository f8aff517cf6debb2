"""What must hold for any expression, any value and any placeholder, however odd."""

import re

import pydicom
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.config.conditions import kind_of
from leyden.config.yaml_text import Entries, YamlError, parse
from leyden.dicom.header import Header
from leyden.dicom.part10 import FileMeta
from leyden.plan.conditions import compiled, examine
from leyden.plan.placeholders import COMPONENT_LIMIT_BYTES, expand, flaw, masked
from leyden.plan.rules import Condition, Kind
from support.headers import header_from, header_of

patient = settings(deadline=None)  # the machine may be busy
META = FileMeta("1.2.840.10008.5.1.4.1.1.7", "2.25.7", "1.2.840.10008.1.2.1", sending="CT1", receiving="PACS")
VALUES = st.lists(
    st.text(st.characters(codec="ascii", exclude_characters="\\\0", categories=["L", "N", "P", "S"])), max_size=4
)
EXPRESSIONS = st.text("CTMR.*?^$[](){}|+\\01", max_size=8)


def holding(values: list[str]) -> Header:
    """A header whose Image Type holds these values."""
    raw = "\\".join(values).encode()
    raw += b" " * (len(raw) % 2)
    return header_from(META, b"\x08\x00\x08\x00CS" + len(raw).to_bytes(2, "little") + raw)


def seen(values: list[str]) -> set[str]:
    """What an expression is compared with."""
    joined = "\\".join(values).strip()
    parts = [part.strip() for part in joined.split("\\")]
    return {"\\".join(parts), *parts}


@patient
@given(VALUES, EXPRESSIONS)
def test_a_literal_is_equality_with_a_value_or_with_all_of_them(values: list[str], expression: str) -> None:
    """If an element has several values, each of them is compared, and all of them joined (docs/configure.md)."""
    for wanted in (expression, *values):
        assert examine(Condition("00080008", Kind.LITERAL, wanted), holding(values)).held is (wanted in seen(values))


@patient
@given(VALUES, st.text("CT*?.[", max_size=6))
def test_a_wildcard_covers_the_whole_value(values: list[str], expression: str) -> None:
    """`*` or `?`: a wildcard for the whole value (docs/configure.md)."""
    steps = {"*": "(?s:.*)", "?": "(?s:.)"}
    pattern = "".join(steps.get(character, re.escape(character)) for character in expression)
    held = any(re.fullmatch(pattern, text) for text in seen(values))
    assert examine(Condition("00080008", Kind.WILDCARD, expression), holding(values)).held is held


@patient
@given(VALUES, EXPRESSIONS, st.booleans())
def test_negation_is_the_opposite_and_no_expression_breaks_anything(
    values: list[str], expression: str, search: bool
) -> None:
    """Negate: "the condition holds where it would not", but "an element that is absent never matches"
    (docs/configure.md)."""
    kind = kind_of(expression)
    try:
        compiled(kind, expression)
    except regex.error:
        assert kind is Kind.REGEX
        return
    header = holding(values)
    held = examine(Condition("00080008", kind, expression, search=search), header).held
    assert examine(Condition("00080008", kind, expression, search=search, negate=True), header).held is not held
    assert not examine(Condition("00080009", kind, expression, search=search), header).held


@patient
@given(st.text(max_size=200), st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20))
def test_no_value_and_no_mask_leads_out_of_the_folder(value: str, mask: str) -> None:
    """A value cannot leave the folder (docs/configure.md)."""
    dataset = pydicom.Dataset()
    dataset.add_new(0x00080005, "CS", "ISO_IR 192")
    dataset.add_new(0x00104000, "LT", value.encode("utf-8", "ignore").decode())
    header = header_of(dataset)
    escaped = "".join(f"`{character}" if character in "`}" else character for character in mask)
    for target in (
        "/top/#{10,4000}",
        "/top/#{10,4000}/",
        "/top/#{10,4000}#{10,4000}/x",
        f"/top/#{{10,4000:{escaped}}}/x",
    ):
        assert flaw(target) == ""
        path = expand(target, header)
        assert path.startswith("/top/")
        for component in path.split("/")[2:]:
            assert component not in ("", ".", "..")
            assert len(component.encode()) <= COMPONENT_LIMIT_BYTES
            assert "\0" not in component
    assert expand("/top/#{10,4000}/x", header).count("/") == 3


@patient
@given(st.text(max_size=30), st.text("Aa0?!`-x", max_size=20))
def test_a_mask_only_ever_gives_characters_of_the_value_and_of_itself(value: str, mask: str) -> None:
    """A mask takes letters and digits of the value, "and everything else stands for itself" (docs/configure.md)."""
    allowed = {*value.upper(), *value.lower(), *value, *mask}
    assert set(masked(value, mask)) <= allowed


@patient
@given(st.text(max_size=120))
def test_any_text_is_a_document_or_an_error_with_a_line(text: str) -> None:
    """`leyden check` "reports every mistake with its file and line" (docs/configure.md)."""
    line = 0
    try:
        parse(text.encode("utf-8", "ignore"), "some.yml")
    except YamlError as error:
        line = error.at.line
    assert 0 <= line <= text.count("\n") + text.count("\r") + 1


@patient
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=20))
def test_a_value_is_taken_as_it_is_or_refused_but_never_changed(text: str) -> None:
    """Values "are taken as they are written" (docs/configure.md)."""
    try:
        parsed = parse(f"a: {text}\n".encode(), "some.yml")
    except YamlError:
        return
    assert isinstance(parsed, Entries)
    (value,) = parsed.values()
    text = text.strip()
    if text and text[0] not in "\"'[{#|>" and " #" not in text:  # quotes, lists, blocks and comments are YAML's
        assert value == text


LINES = st.lists(st.text("ab*:[]{}#,0-+'| %", min_size=1, max_size=8), min_size=2, max_size=6)


@patient
@given(LINES)
def test_a_value_is_read_alike_alone_and_among_others(values: list[str]) -> None:
    """YAML "is mended line by line, but only where it has one reading" (DECISIONS.md 28)."""
    try:
        alone = [parse(f"k{n}: {value}\n".encode(), "some.yml") for n, value in enumerate(values)]
    except YamlError:
        return
    together = parse("".join(f"k{n}: {value}\n" for n, value in enumerate(values)).encode(), "some.yml")
    assert isinstance(together, Entries)
    assert [{key: value} for key, value in together.items()] == alone
