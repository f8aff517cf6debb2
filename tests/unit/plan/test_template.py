"""The Value of a mutation: groups as .NET writes them, and markers."""

import pytest

from leyden.plan.template import Part, parts_of


def text(value: str, groups: int = 2, names: tuple[str, ...] = ("side",)) -> list[object]:
    """The parts, short: a literal as text, a group as number or (name,), a marker as :name:, a hash as its pair."""
    return [
        part.literal or (part.group if isinstance(part.group, int) else None)
        if not part.marker and part.hash_of is None and not isinstance(part.group, str)
        else part.hash_of or (f":{part.marker}:" if part.marker else (part.group,))
        for part in parts_of(value, groups, frozenset(names))
    ]


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("plain", ["plain"]),
        ("", []),
        ("$1", [1]),
        ("a$1b$2c", ["a", 1, "b", 2, "c"]),
        ("$18", [1, "8"]),
        ("$$1", ["$", "1"]),
        ("$&", [0]),
        ("${side}-${2}", [("side",), "-", 2]),
        ("$1_:timestamp:", [1, "_", ":timestamp:"]),
        (":uid:", [":uid:"]),
        (":value:X:today:", [":value:", "X", ":today:"]),
        (":hash(0010,0020,16):", [(0x00100020, 16)]),
        (":hash(10, 20, 4):", [(0x00100020, 4)]),
        ("10:30:00 $ :nothing:", ["10:30:00 $ :nothing:"]),
    ],
)
def test_what_a_value_is_made_of(value: str, parts: list[object]) -> None:
    assert text(value) == parts


def test_of_the_digits_as_many_count_as_make_a_group_that_there_is() -> None:
    assert parts_of("$18", 18, frozenset()) == (Part(group=18),)
    assert parts_of("$18", 17, frozenset()) == (Part(group=1), Part("8"))


@pytest.mark.parametrize(
    ("value", "groups", "message"),
    [
        ("$3", 2, r"\$3 is no group of Expression, which has 2"),
        ("${other}", 2, r"\$\{other\} is no group"),
        ("$1", -1, "there is no Source"),
        (":hash(0010,0020,65):", 0, "asks for 65 digits"),
        (":hash(0010,0020,0):", 0, "asks for 0 digits"),
    ],
)
def test_what_can_never_be_filled_in_is_an_error(value: str, groups: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parts_of(value, groups, frozenset({"side"}))
