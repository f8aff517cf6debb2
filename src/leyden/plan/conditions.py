"""Whether a condition of a rule holds for a dataset: a literal, a wildcard, a regular expression, or mere presence.

Each value of an element is compared, and all of them as one text joined by backslashes; one match is enough. An absent
element never matches, so a condition with `Negate` holds if it is absent. If there is no answer (a search took too
long, or the element may stand where a broken dataset can't be read), the condition does not hold, negated or not, and
other rules are not affected.
Deliberately absent: parsing an operator's text (config/ does), reading a clock.
"""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import regex  # type: ignore[import-untyped]

from leyden.dicom.dictionary import keyword_of
from leyden.dicom.header import Dataset, Header
from leyden.errors import Corrupt
from leyden.plan.rules import PSEUDO_TAGS, Condition, Kind

TIME_LIMIT_S = 0.05  # of processor time for one condition: an expression may take very long for odd values
_FILE_META = "0002"

Values = tuple[str, ...]
Clock = Callable[[], float]  # seconds of processor time of this process


def stopped_clock() -> float:
    """A clock that stands still: then each search has the whole time limit, instead of all searches together."""
    return 0.0


class Finding(NamedTuple):
    """The result of one condition for one dataset.

    `seen`: the values that were compared; None if there is no such element, or more than one was looked at. They are
    patient data and must not be logged. `unsure`: why there is no answer, "" = there is one; without an answer `held`
    is False.
    """

    condition: Condition
    held: bool
    seen: Values | None
    unsure: str = ""


class OutOfTimeError(Exception):
    """The regular expressions of a condition found no result within its time limit."""


class _Search:
    """One condition on its way through one dataset: the searches of all its values share one time limit."""

    def __init__(self, header: Header, clock: Clock) -> None:
        self.header = header
        self._clock = clock
        self._left_s = TIME_LIMIT_S

    def matches(self, pattern: "regex.Pattern[str]", text: str) -> bool:
        if self._left_s <= 0:
            raise OutOfTimeError
        start_s = self._clock()
        try:
            found = pattern.search(text, timeout=self._left_s) is not None
        except TimeoutError:
            raise OutOfTimeError from None
        self._left_s -= self._clock() - start_s
        return found


def examine(condition: Condition, header: Header, clock: Clock = stopped_clock) -> Finding:
    """Whether a condition holds for a dataset.

    It costs a lookup and a comparison. By `clock`, the searches take about TIME_LIMIT_S at most, whatever the
    expression.
    """
    try:
        found, seen = _found(condition, header.dataset, _Search(header, clock))
    except OutOfTimeError:
        return Finding(condition, False, None, f"had no answer within {TIME_LIMIT_S * 1000:.0f} ms")
    except Corrupt as flaw:
        return Finding(condition, False, None, f"can't be decided ({flaw})")
    held = found != condition.negate
    if held and condition.negate and _hidden(condition, header):
        return Finding(condition, False, None, "can't be decided, as the dataset is broken")
    return Finding(condition, held, seen)


def remark(finding: Finding) -> str:
    """The log's text for a finding. It holds no value, as values are patient data."""
    how = f"{finding.unsure}: taken as not matching" if finding.unsure else "holds" if finding.held else "does not hold"
    return f"condition on {name_of(finding.condition.tag)} {how}"


def compiled(kind: Kind, expression: str) -> "regex.Pattern[str]":
    """The pattern of a REGEX or WILDCARD condition, cached. Raises regex.error, whose `pos` is the place."""
    return _compiled(kind, expression)


def name_of(tag: str) -> str:
    """The name of a tag of a rule: its keyword, else gggg,eeee; a pseudo-tag is its own name."""
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


def _found(condition: Condition, dataset: Dataset, search: _Search) -> tuple[bool, Values | None]:
    """Whether a condition matches, before negation, and the values that were compared."""
    header = search.header
    if condition.tag == "Source":
        return _equal(condition, (header.meta.sending,), search), (header.meta.sending,)
    if condition.tag == "Called":
        return _equal(condition, (header.meta.receiving,), search), (header.meta.receiving,)
    tag: int | None = int(condition.tag, 16)
    if condition.tag.startswith(_FILE_META):
        dataset = header.file_meta  # a dataset may start with elements of this group too: they are ignored
    if condition.private_creator:
        tag = dataset.private_tag(int(condition.tag[:4], 16), int(condition.tag[6:], 16), condition.private_creator)
        if tag is None:
            return False, None
    assert tag is not None
    if condition.items:
        return any(_all_hold(condition.items, item, search) for item in dataset.items(tag)), None
    if condition.search:
        texts = next((texts for texts in dataset.find(tag) if _equal(condition, texts, search)), None)
        return texts is not None, texts
    texts = dataset.texts(tag)
    return texts is not None and _equal(condition, texts, search), texts


def _all_hold(conditions: Iterable[Condition], item: Dataset, search: _Search) -> bool:
    """Whether all these conditions hold for one item of a sequence."""
    return all(_found(inner, item, search)[0] != inner.negate for inner in conditions)


def _hidden(condition: Condition, header: Header) -> bool:
    """Whether the element may stand behind the point from which on the dataset can't be read."""
    if not header.flaw or condition.tag in PSEUDO_TAGS or condition.tag.startswith(_FILE_META):
        return False
    return condition.search or bool(condition.private_creator) or int(condition.tag, 16) not in header.dataset


def _equal(condition: Condition, texts: Values, search: _Search) -> bool:
    """Whether the values of one element match the condition."""
    if condition.kind is Kind.PRESENT:
        return True
    candidates = dict.fromkeys(("\\".join(texts), *texts))
    if condition.kind is Kind.LITERAL:
        return condition.expression in candidates
    pattern = _compiled(condition.kind, condition.expression)
    return any(search.matches(pattern, candidate) for candidate in candidates)
