"""What is legal in the conditions of a rule and most probably wrong: they never hold, or do not ask what they seem to.

Pure: no file, no place in a file. These are warnings, so what could be meant as it is written is not told.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

from leyden.config.schema import Steps, place
from leyden.dicom.dictionary import entry
from leyden.dicom.uids import SYNTAXES, syntax_by_name
from leyden.plan.conditions import TIME_LIMIT_S, compiled, name_of
from leyden.plan.rules import PSEUDO_TAGS, Condition, Kind

Doubt = tuple[Steps, str]
"""The way to a place within a rule, and what is doubtful there."""

_WRITTEN = (0x0001, 0x0002, 0x0003, 0x0010, 0x0012, 0x0013, 0x0016, 0x0017, 0x0018, 0x0100, 0x0102)
"""The elements of group 0002 that a file in the spool can have (dicom/part10.py)."""

_WITHOUT_TEXT = frozenset(("SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN"))
_COMPARED_AS_WRITTEN = frozenset(("AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"))
_HOLDS = {  # VR -> the characters of its values, a whole value, and both in words (PS3.5 table 6.2-1)
    "UI": ("[0-9.]", r"[0-9.]{0,64}", "a UID: digits and dots"),
    "CS": ("[A-Z0-9_ ]", r"[A-Z0-9_ ]{0,16}", "at most 16 capital letters, digits, blanks and _"),
    "DA": ("[0-9]", r"[0-9]{8}|", "a date as YYYYMMDD"),
    "AS": ("[0-9DWMY]", r"[0-9]{3}[DWMY]|", "an age such as 030Y"),
    "AE": (r"[^\\]", r"[^\\]{0,16}", "an AE title of at most 16 characters"),
}


def of_conditions(conditions: Sequence[Condition], steps: Steps) -> Iterator[Doubt]:
    """What is doubtful in conditions that have to hold together, and in each alone."""
    for n, each in enumerate(conditions):
        yield from (((*steps, n, *inner), message) for inner, message in of_condition(each))
    for (first, one), (second, other) in combinations(enumerate(conditions), 2):
        if contradict(one, other) or contradict(other, one):
            what = f"can't hold together with {place((*steps, first))}, so this never matches"
            yield (*steps, second), what


def of_condition(condition: Condition) -> Iterator[Doubt]:
    """What is doubtful in one condition."""
    message = of_expression(condition.kind, condition.expression) or _impossible(condition)
    if message:
        yield ("MatchExpression",), message
    if message := _of_tag(condition):
        yield (), f"{_outcome(condition)}: {message}"
    yield from of_conditions(condition.items, ("SequenceItems",))


def of_expression(kind: Kind, expression: str) -> str:
    """Why an expression was probably meant as one of another kind; "" = it was not."""
    if kind is Kind.REGEX and _like_wildcard(expression):
        return (
            f"{expression} is a regular expression, in which * and ? repeat what stands before them; "
            "for any text write .*, for any character ."
        )
    if kind is Kind.WILDCARD and re.search(r"(?<![0-9])\.[*?]", expression):
        return f"{expression} is a wildcard, in which . is a dot; for a regular expression put ^ in front"
    if kind in (Kind.LITERAL, Kind.WILDCARD) and expression.endswith("$"):
        return f"{expression} is no regular expression, so $ stands for itself; put ^ in front"
    return ""


def contradict(one: Condition, other: Condition) -> bool:
    """Whether `one`, if it holds, keeps `other` from holding, as far as one can tell without a dataset."""
    same_tag = (one.tag, one.private_creator) == (other.tag, other.private_creator)
    if not same_tag or one.search or other.search or one.negate:
        return False
    if other.negate:
        if other.items:
            return one.items == other.items
        return not other.items and (
            other.kind is Kind.PRESENT
            or (one.kind, one.expression) == (other.kind, other.expression)
            or (one.kind is Kind.LITERAL and _matches(other, one.expression))
        )
    texts = not one.items and not other.items
    return texts and one.kind is Kind.LITERAL and _is_single(one) and not _matches(other, one.expression)


def _like_wildcard(expression: str) -> bool:
    """Whether it looks like `^CT*$`: * or ? behind a plain character, and no sign of regular expressions only."""
    body = expression.removeprefix("^").removesuffix("$")
    if re.search(r"[\\(){}|+]|\.[*?]", body):
        return False
    if expression.startswith("^"):
        return re.match(r"\*", body) is not None or re.search(r"[A-Za-z_]\*$", body) is not None
    return re.search(r"[^.*?][*?]", body) is not None


def _of_tag(condition: Condition) -> str:
    """Why what stands in Tag can't be in a dataset, or can't be compared; "" = it can."""
    if condition.tag in PSEUDO_TAGS or condition.private_creator:
        return ""
    number = int(condition.tag, 16)
    if number >> 16 == 2:
        return "" if number & 0xFFFF in _WRITTEN else "a file in the spool has no such element of group 0002"
    row = entry(number)
    if row is None:
        known = number >> 16 & 1 or not number & 0xFFFF
        return "" if known else f"{name_of(condition.tag)} is not in the standard (PS3.6)"
    vrs = set(row[0].split(" or "))
    if condition.items and "SQ" not in vrs:
        return f"{name_of(condition.tag)} is no sequence, so it has no items"
    if condition.kind is not Kind.PRESENT and condition.expression and vrs <= _WITHOUT_TEXT:
        what = "a sequence; ask for its items with SequenceItems" if "SQ" in vrs else f"{row[0]}, not text"
        return f"{name_of(condition.tag)} is {what}"
    return ""


def _impossible(condition: Condition) -> str:
    """Why no value of such an element can match the expression; "" = one can."""
    if condition.kind in (Kind.PRESENT, Kind.REGEX) or condition.private_creator:
        return ""
    text = condition.expression
    if condition.tag in PSEUDO_TAGS:
        vr = "AE"
    else:
        row = entry(int(condition.tag, 16))
        vr = row[0] if row else ""
    if condition.tag == "00020010" and condition.kind is Kind.LITERAL and text not in SYNTAXES:
        syntax = syntax_by_name(text)
        meant = f"; write {syntax.uid} for {syntax.name}" if syntax else ""
        return f"{_outcome(condition)}: {text} is not the UID of a transfer syntax of the standard{meant}"
    if vr not in _HOLDS:
        return ""
    characters, whole, words = _HOLDS[vr]
    if condition.kind is Kind.WILDCARD:
        whole, text = f"{characters}*", text.replace("*", "").replace("?", "")
    if re.fullmatch(whole, text):
        return ""
    return f"{_outcome(condition)}: {name_of(condition.tag)} holds {words}"


def _outcome(condition: Condition) -> str:
    return "always holds" if condition.negate else "can never hold"


def _is_single(condition: Condition) -> bool:
    """Whether the element has one value, and one way to write it: no component groups, no number."""
    if condition.tag in PSEUDO_TAGS:
        return True
    row = None if condition.private_creator else entry(int(condition.tag, 16))
    return row is not None and row[1] == "1" and row[0] in _COMPARED_AS_WRITTEN


def holds_for(condition: Condition, title: str) -> bool:
    """Whether a condition on an AE title holds for a title."""
    return _matches(condition, title) != condition.negate


def _matches(condition: Condition, text: str) -> bool:
    """Whether a text matches, before negation. What takes too long may match."""
    if condition.kind is Kind.PRESENT:
        return True
    if condition.kind is Kind.LITERAL:
        return condition.expression == text
    try:
        return compiled(condition.kind, condition.expression).search(text, timeout=TIME_LIMIT_S) is not None
    except TimeoutError:
        return True
