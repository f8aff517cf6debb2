"""YAML as texts with places: nothing is typed, what is beyond doubt is saved, the rest is an error with its line."""

import itertools

import pytest

from leyden.config.yaml_text import ERRORS_MAX, SIZE_LIMIT_BYTES, At, Entries, Items, Text, YamlError, parse


def value(document: str) -> object:
    """What stands under the key `a` of a document."""
    parsed = parse(document.encode(), "some.yml")
    assert isinstance(parsed, Entries)
    return parsed[Text("a", At(""))]


@pytest.mark.parametrize(
    "text", ["0104", "00123", "1.20", "8,60", "NO", "13:30", "13:30 - 23:59", "2024-01-01", "1e3", "0x1F", "1_000", "~"]
)
def test_a_scalar_stays_as_it_was_written(text: str) -> None:
    assert value(f"a: {text}\n") == text


@pytest.mark.parametrize(
    "text",
    [
        "$1_:timestamp:",
        ":uid:",
        "*CT*",
        "*",
        "*it's*",
        "[0-9]+",
        r"[\d]{1,2}$",
        "{1}x",
        "%x",
        "@home",
        "#{2,2}-#{8,50}",
        "/archive/ #{10,20}/",
        "Re-route: reports",
        "|CT",
    ],
)
def test_what_strict_yaml_refuses_or_loses_is_saved(text: str) -> None:
    assert value(f"a: {text}\nb: 1\n") == text
    assert value(f"a: {text}   # why\nb: 1\n") == text
    for key in ("0008,0060", "0040,0275[1].0040,0009", "0040,0275[*].CodeValue"):
        assert parse(f"{key}: {text}\n".encode(), "some.yml") == {key: text}
    in_list = parse(f"- {text}\n- x\n".encode(), "some.yml")
    if ": " not in text and not text.endswith(":"):  # that is a mapping in a list
        assert in_list == [text, "x"]


def test_a_class_of_characters_keeps_its_text_beside_the_list_that_yaml_makes_of_it() -> None:
    found = value("a: [ABC]\n")
    assert isinstance(found, Items)
    assert found == ["ABC"]
    assert found.source == "[ABC]"
    quoted = value("a: ['x', y]\n")
    assert isinstance(quoted, Items)
    assert quoted.source == ""


def test_a_comment_is_a_comment_and_a_block_is_left_alone() -> None:
    assert value("a: x # see #{8,60}\n") == "x"
    assert value("a: |\n  b: #{2,2}\n  *c*\n") == "b: #{2,2}\n*c*\n"


def test_what_is_saved_in_one_place_harms_no_other() -> None:
    document = """\
first: *CT*
second: [a: b,
  c: d, e: 'f: g']
third: {a: 1,
  b: c, d: {e: f}}
fourth: "x
  y: *z*
  end"
fifth: |
  k: *z*
  m: [0-9]+
sixth: [0-9]+
"""
    assert parse(document.encode(), "some.yml") == {
        "first": "*CT*",
        "second": [{"a": "b"}, {"c": "d"}, {"e": "f: g"}],
        "third": {"a": "1", "b": "c", "d": {"e": "f"}},
        "fourth": "x y: *z* end",
        "fifth": "k: *z*\nm: [0-9]+\n",
        "sixth": "[0-9]+",
    }


def test_byte_order_marks_line_ends_and_nothing_at_all() -> None:
    assert value("\ufeffa: ü\r\nb: 2\r\n") == "ü"
    assert parse("a: ü\n".encode("utf-16"), "some.yml") == {"a": "ü"}
    for nothing in ("", "\ufeff", "# only a comment\r\n", "---\n", "~\n"):
        assert parse(nothing.encode(), "some.yml") is None


def test_places_are_lines_of_the_file() -> None:
    parsed = parse(b"# first\r\n- a: 1\r\n  b:\r\n    - x\r\n", "some.yml")
    assert isinstance(parsed, Items)
    entry = parsed[0]
    assert isinstance(entry, Entries)
    assert [(str(key), str(key.at)) for key in entry] == [("a", "some.yml:2"), ("b", "some.yml:3")]
    assert entry[Text("b", At(""))][0].at == At("some.yml", 4)  # type: ignore[union-attr]


def test_blank_is_not_the_same_as_quoted_nothing() -> None:
    assert value("a:\n").blank  # type: ignore[attr-defined]
    assert value("a: ~\n").blank  # type: ignore[attr-defined]
    assert not value("a: ''\n").blank  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("document", "line", "remedy"),
    [
        ("a: 1\nA: 2\n", 2, "A is given twice (first in line 1)"),
        ("- x: {a: 1, b: 2, a: 3}\n", 1, "a is given twice (first in line 1)"),
        ("a: 1\n\tb: 2\n", 2, "a tab; indent with blanks"),
        ('x: 1\na: "\\d"\n', 2, "single quotes"),
        ("a: 'it's'\nb: 1\n", 1, "closing quotes"),
        ('a: "x\nb: 1\n\n', 1, "a quote that is never closed"),
        ("x: 1\na: [A-Z\nb: 1\n", 2, "not closed"),
        ("a: - b\n", 1, "a list begins on its own line"),
        ("a: 1\n  b: 2\n", 2, "indentation"),
        ("- a: 1\n b: 2\n", 2, "indentation"),
        ("a: 1\nb\nc: 2\n", 2, "a key without a colon"),
        ("a: &x 1\nb: 2\n", 1, "anchors"),
        ("x: &n 1\na: *n\n", 1, "anchors"),
        ("b: 1\na: !x y\n", 2, "tags"),
        ("a: !!python/object:os.system x\n", 1, "tags"),
        ("a: 1\n---\nb: 1\n", 2, "a second document"),
        ("a: {{x}}\n", 1, "a key must be a plain word"),
        ("b: 1\na: \x07\n", 2, "control character"),
        ("[" * 5000, 1, "nested more than"),
        ("- " * 5000 + "a\n", 1, "nested more than"),
    ],
)
def test_errors_name_the_line_and_the_remedy(document: str, line: int, remedy: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse(document.encode(), "some.yml")
    assert caught.value.at == At("some.yml", line)
    assert remedy in str(caught.value)


@pytest.mark.parametrize("end", ["", "z: &x 1\n", "z: 'it's'\n"])
def test_every_repeated_key_is_told(end: str) -> None:
    with pytest.raises(YamlError) as caught:
        parse(f"a: 1\nA: 2\nb:\n  - c: 1\n    c: 2\na: 3\n{end}".encode(), "some.yml")
    found = sorted((error.at.line, str(error)) for error in (caught.value, *caught.value.more))
    assert found[:3] == [
        (2, "A is given twice (first in line 1)"),
        (5, "c is given twice (first in line 4)"),
        (6, "a is given twice (first in line 1)"),
    ]
    assert len(found) == (4 if end else 3)


MISTAKES = (  # an entry, and in which of its lines the mistake is told
    ("- AeTitle: X\n\tPort: 1\n", 1),
    ('- AeTitle: "X\n  Port: 1\n', 0),
    ("- AeTitle: 'X\n  Port: 1\n", 0),
    ("- AeTitle: 'it's'\n  Port: 1\n", 0),
    ("- AeTitle: X\n  Aliases: [B, C\n  Port: 1\n", 1),
    ("- AeTitle: X\n  Api: {a: 1\n  Port: 1\n", 1),
    ("- AeTitle: X\n Port: 1\n  NodeRole: Storage\n", 1),
    ("- AeTitle: X\n   Port: 1\n", 1),
    ("-AeTitle: X\n  Port: 1\n", 0),
    ("AeTitle: X\nPort: 1\n", 0),
    ("- AeTitle: X\n  Port:104\n  NodeRole: Storage\n", 1),
    ("- AeTitle: &x X\n  Port: 1\n", 0),
    ('- AeTitle: "\\d"\n  Port: 1\n', 0),
)


def mistakes(document: str) -> tuple[set[int], object]:
    """The lines of all mistakes, and what is left of the document."""
    with pytest.raises(YamlError) as caught:
        parse(document.encode(), "some.yml")
    return {error.at.line for error in (caught.value, *caught.value.more)}, caught.value.rest


def dashed(entry: str) -> bool:
    return entry.startswith("- ")


@pytest.mark.parametrize(("first", "line"), MISTAKES)
def test_a_mistake_hides_no_other_and_makes_none_of_what_is_right(first: str, line: int) -> None:
    for second, its_line in MISTAKES:
        for before, between in itertools.product((0, 2), repeat=2):
            if not dashed(first) and (not before or (not dashed(second) and not between)):
                continue  # it says that the file is no list, or is one thing with what follows it
            if not dashed(second) and not before + between:
                continue
            good = [f"# {n}\n- AeTitle: A{n}\n  Port: {n}\n" for n in range(before + between + 1)]
            parts = [*good[:before], first, *good[before:-1], second, good[-1]]
            begins = [sum(part.count("\n") for part in parts[:n]) + 1 for n in (before, before + 1 + between)]
            lines, rest = mistakes("".join(parts))
            assert lines == {begins[0] + line, begins[1] + its_line}, "".join(parts)
            assert rest == [{"AeTitle": f"A{n}", "Port": str(n)} for n in range(len(good))]


def test_the_keys_of_a_mapping_are_read_one_by_one_as_well() -> None:
    document = """\
scpPort: [1
myAeTitle: "A
filters:
- route
cachePath: 'x'y
workers: 2
api:
  enabled: true
 port: 1
Workers: 3
minimumAge: 4
"""
    lines, rest = mistakes(document)
    assert lines == {1, 2, 5, 9, 10}
    assert rest == {"filters": ["route"], "workers": "2", "minimumAge": "4"}


def test_a_file_of_mistakes_is_told_in_part() -> None:
    lines, rest = mistakes("- a: 'it's'\n" * 200 + "- a: 1\n")
    assert lines == set(range(1, ERRORS_MAX + 1))
    assert rest is None


def test_other_encodings_and_huge_files_are_refused() -> None:
    with pytest.raises(YamlError, match="UTF-8") as caught:
        parse(b"b: 1\na: \xfc\n", "some.yml")
    assert caught.value.at.line == 2
    with pytest.raises(YamlError, match="larger than"):
        parse(b"#" * (SIZE_LIMIT_BYTES + 1), "some.yml")
