"""Whether a condition of a rule holds for a dataset: literal, wildcard, regular expression or mere presence.

A value is compared by each of its parts and as one backslash-joined text; one that is equal is enough. An absent
element never matches, so `Negate` holds where it is absent. What can't be told (no answer in time, or an element that
may stand where a broken dataset can't be read) does not match, negated or not, and no other rule suffers by it.
Deliberately absent: reading an operator's text (config/), a clock.
"""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import regex  # type: ignore[import-untyped]

from leyden.dicom.dictionary import keyword_of
from leyden.dicom.header import Dataset, Header
from leyden.errors import Corrupt
from leyden.plan.rules import PSEUDO_TAGS, Condition, Kind

TIME_LIMIT_S = 0.05  # of processor time, for one condition: the operator's expression meets a stranger's values
_FILE_META = "0002"

Values = tuple[str, ...]
Clock = Callable[[], float]  # seconds of processor time of this process


def standing() -> float:
    """A clock for those who set no limit to the searches of a condition together, only to each."""
    return 0.0


class Finding(NamedTuple):
    """What one condition was found to be for one dataset.

    `seen`: the values that were compared, None where there is no such element, or not one alone; patient data, so not
    for a log. `unsure` says why it can't be told; it does not hold then.
    """

    condition: Condition
    held: bool
    seen: Values | None
    unsure: str = ""


class OutOfTimeError(Exception):
    """Regular expressions were still searching at the time limit of their condition."""


class _Asked:
    """One condition asked of one dataset: the searches of all its values share one time limit."""

    def __init__(self, header: Header, clock: Clock) -> None:
        self.header = header
        self._clock = clock
        self._left_s = TIME_LIMIT_S

    def search(self, pattern: "regex.Pattern[str]", text: str) -> bool:
        if self._left_s <= 0:
            raise OutOfTimeError
        begun_s = self._clock()
        try:
            found = pattern.search(text, timeout=self._left_s) is not None
        except TimeoutError:
            raise OutOfTimeError from None
        self._left_s -= self._clock() - begun_s
        return found


def examine(condition: Condition, header: Header, clock: Clock = standing) -> Finding:
    """What a condition is found to be for a dataset.

    Costs a lookup and a comparison; by `clock`, at most about TIME_LIMIT_S of searching, whatever the expression.
    """
    try:
        found, seen = _found(condition, header.dataset, _Asked(header, clock))
    except OutOfTimeError:
        return Finding(condition, False, None, f"had no answer within {TIME_LIMIT_S * 1000:.0f} ms")
    except Corrupt as flaw:
        return Finding(condition, False, None, f"can't be told ({flaw})")
    held = found != condition.negate
    if held and condition.negate and _hidden(condition, header):
        return Finding(condition, False, None, "can't be told, as the dataset is broken")
    return Finding(condition, held, seen)


def remark(finding: Finding) -> str:
    """The words of the log for a finding: no value, for it is the patient's."""
    how = f"{finding.unsure}: taken as not matching" if finding.unsure else "holds" if finding.held else "does not hold"
    return f"condition on {name_of(finding.condition.tag)} {how}"


def compiled(kind: Kind, expression: str) -> "regex.Pattern[str]":
    """The pattern of a REGEX or WILDCARD condition, kept for the next time. Raises regex.error, which has `pos`."""
    return _compiled(kind, expression)


def name_of(tag: str) -> str:
    """What to call a tag of a rule: its keyword, else gggg,eeee; a pseudo-tag is its own name."""
    if tag in PSEUDO_TAGS:
        return tag
    return keyword_of(int(tag, 16)) or f"{tag[:4]},{tag[4:]}"


@functools.lru_cache(maxsize=4096)
def _compiled(kind: Kind, expression: str) -> "regex.Pattern[str]":
    if kind is Kind.WILDCARD:
        steps = {"*": ".*", "?": "."}
        body = "".join(steps.get(character) or regex.escape(character) for character in expression)
        return regex.compile(rf"(?s)\A{body}\Z")
    return regex.compile(expression)


def _found(condition: Condition, dataset: Dataset, asked: _Asked) -> tuple[bool, Values | None]:
    """Whether what the condition describes is there, and the values that were compared."""
    header = asked.header
    if condition.tag == "Source":
        return _equal(condition, (header.meta.sending,), asked), (header.meta.sending,)
    if condition.tag == "Called":
        return _equal(condition, (header.meta.receiving,), asked), (header.meta.receiving,)
    tag: int | None = int(condition.tag, 16)
    if condition.tag.startswith(_FILE_META):
        dataset = header.file_meta  # a dataset may begin with such elements too: they are not asked
    if condition.private_creator:
        tag = dataset.private_tag(int(condition.tag[:4], 16), int(condition.tag[6:], 16), condition.private_creator)
        if tag is None:
            return False, None
    assert tag is not None
    if condition.items:
        return any(_all_found(condition.items, item, asked) for item in dataset.items(tag)), None
    if condition.search:
        texts = next((texts for texts in dataset.find(tag) if _equal(condition, texts, asked)), None)
        return texts is not None, texts
    texts = dataset.texts(tag)
    return texts is not None and _equal(condition, texts, asked), texts


def _all_found(conditions: Iterable[Condition], item: Dataset, asked: _Asked) -> bool:
    """Whether one item of a sequence is what all its conditions ask for."""
    return all(_found(inner, item, asked)[0] != inner.negate for inner in conditions)


def _hidden(condition: Condition, header: Header) -> bool:
    """Whether the element may be there, behind the point where the dataset can't be read any further."""
    if not header.flaw or condition.tag in PSEUDO_TAGS or condition.tag.startswith(_FILE_META):
        return False
    return condition.search or bool(condition.private_creator) or int(condition.tag, 16) not in header.dataset


def _equal(condition: Condition, texts: Values, asked: _Asked) -> bool:
    """Whether the values of one element are what the condition asks for."""
    if condition.kind is Kind.PRESENT:
        return True
    candidates = dict.fromkeys(("\\".join(texts), *texts))
    if condition.kind is Kind.LITERAL:
        return condition.expression in candidates
    pattern = _compiled(condition.kind, condition.expression)
    return any(asked.search(pattern, candidate) for candidate in candidates)
