"""Whether a condition of a rule holds for a dataset: literal, wildcard, regular expression or mere presence.

A value is compared by each of its parts and as one backslash-joined text; one that is equal is enough. An absent
element never matches, so `Negate` holds where it is absent. What can't be told (no answer in time, or an element that
may stand where a broken dataset can't be read) does not match, negated or not. Values never get into a note: they are
the patient's. Deliberately absent: reading an operator's text (config/).
"""

import functools
from collections.abc import Iterable

import regex  # type: ignore[import-untyped]
from pydicom.datadict import keyword_for_tag

from leyden.dicom.header import Dataset, Header
from leyden.plan.rules import PSEUDO_TAGS, Condition, Kind

TIME_LIMIT_S = 0.05  # of processor time, for one condition: the operator's expression meets a stranger's value
_SMALLEST_SHARE_S = 0.001
_FILE_META = 0x0002

Note = tuple[bool, str]  # (worth the log's info level, text)


class OutOfTimeError(Exception):
    """A regular expression was still searching at its time limit."""


def matches(condition: Condition, header: Header, notes: list[Note] | None = None) -> bool:
    """Whether `condition` holds for the dataset. Adds to `notes` what the log should know. Raises Corrupt.

    Costs a lookup and a comparison; at most about TIME_LIMIT_S of processor time, whatever the expression.
    """
    try:
        held = _holds(condition, header.dataset, header)
    except OutOfTimeError:
        _note(notes, True, condition, f"had no answer within {TIME_LIMIT_S * 1000:.0f} ms: taken as not matching")
        return False
    if held and condition.negate and _unseen(condition, header):
        _note(notes, True, condition, "can't be told, as the dataset is broken: taken as not matching")
        return False
    if held or condition.log_info:
        _note(notes, condition.log_info, condition, "holds" if held else "does not hold")
    return held


def compiled(kind: Kind, expression: str) -> "regex.Pattern[str]":
    """The pattern of a REGEX or WILDCARD condition, kept for the next time. Raises regex.error, which has `pos`."""
    return _compiled(kind, expression)


def name_of(tag: str) -> str:
    """What to call a tag of a rule: its keyword, else gggg,eeee; a pseudo-tag is its own name."""
    if tag in PSEUDO_TAGS:
        return tag
    return keyword_for_tag(int(tag, 16)) or f"{tag[:4]},{tag[4:]}"


@functools.lru_cache(maxsize=4096)
def _compiled(kind: Kind, expression: str) -> "regex.Pattern[str]":
    if kind is Kind.WILDCARD:
        steps = {"*": ".*", "?": "."}
        body = "".join(steps.get(character) or regex.escape(character) for character in expression)
        return regex.compile(rf"(?s)\A{body}\Z")
    return regex.compile(expression)


def _holds(condition: Condition, dataset: Dataset, header: Header) -> bool:
    return _found(condition, dataset, header) != condition.negate


def _found(condition: Condition, dataset: Dataset, header: Header) -> bool:
    if condition.tag == "Source":
        return _equal(condition, [(header.meta.sending,)])
    if condition.tag == "Called":
        return _equal(condition, [(header.meta.receiving,)])
    tag: int | None = int(condition.tag, 16)
    if condition.private_creator:
        tag = dataset.private_tag(int(condition.tag[:4], 16), int(condition.tag[6:], 16), condition.private_creator)
        if tag is None:
            return False
    assert tag is not None
    if condition.items:
        return any(all(_holds(inner, item, header) for inner in condition.items) for item in dataset.items(tag))
    if condition.search:
        return _equal(condition, dataset.find(tag))
    texts = header.texts(tag) if tag >> 16 == _FILE_META else dataset.texts(tag)
    return texts is not None and _equal(condition, [texts])


def _unseen(condition: Condition, header: Header) -> bool:
    """Whether the element may be there, behind the point where the dataset can't be read any further."""
    if not header.flaw or condition.tag in PSEUDO_TAGS or condition.tag.startswith("0002"):
        return False
    return condition.search or bool(condition.private_creator) or int(condition.tag, 16) not in header.dataset


def _equal(condition: Condition, elements: Iterable[tuple[str, ...]]) -> bool:
    """Whether one of the elements (each its values) is what the condition asks for."""
    if condition.kind is Kind.PRESENT:
        return any(True for _ in elements)
    candidates = dict.fromkeys(text for texts in elements for text in ("\\".join(texts), *texts))
    if condition.kind is Kind.LITERAL:
        return condition.expression in candidates
    pattern = _compiled(condition.kind, condition.expression)
    share_s = max(TIME_LIMIT_S / max(len(candidates), 1), _SMALLEST_SHARE_S)
    try:
        return any(pattern.search(candidate, timeout=share_s) is not None for candidate in candidates)
    except TimeoutError:
        raise OutOfTimeError from None


def _note(notes: list[Note] | None, info: bool, condition: Condition, what: str) -> None:
    if notes is not None:
        notes.append((info, f"condition on {name_of(condition.tag)} {what}"))
