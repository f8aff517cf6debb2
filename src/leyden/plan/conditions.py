"""Whether a condition of a rule holds for a dataset: literal, wildcard, regular expression or mere presence.

A value is compared by each of its parts and as one backslash-joined text; one that is equal is enough. An absent
element never matches, so `Negate` holds where it is absent. What can't be told (no answer in time, or an element that
may stand where a broken dataset can't be read) does not match, negated or not, and no other rule suffers by it. Values
never get into a note: they are the patient's. Deliberately absent: reading an operator's text (config/), a clock.
"""

import functools
from collections.abc import Callable, Iterable

import regex  # type: ignore[import-untyped]

from leyden.dicom.dictionary import keyword_of
from leyden.dicom.header import Dataset, Header
from leyden.errors import Corrupt
from leyden.plan.rules import PSEUDO_TAGS, Condition, Kind

TIME_LIMIT_S = 0.05  # of processor time, for one condition: the operator's expression meets a stranger's values
_FILE_META = "0002"

Note = tuple[bool, str]  # (worth the log's info level, text)
Clock = Callable[[], float]  # seconds of processor time of this process


def standing() -> float:
    """A clock for those who set no limit to the searches of a condition together, only to each."""
    return 0.0


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


def matches(condition: Condition, header: Header, notes: list[Note] | None = None, clock: Clock = standing) -> bool:
    """Whether `condition` holds for the dataset. Adds to `notes` what the log should know.

    Costs a lookup and a comparison; by `clock`, at most about TIME_LIMIT_S of searching, whatever the expression.
    """
    try:
        held = _holds(condition, header.dataset, _Asked(header, clock))
    except OutOfTimeError:
        _note(notes, True, condition, f"had no answer within {TIME_LIMIT_S * 1000:.0f} ms: taken as not matching")
        return False
    except Corrupt as flaw:
        _note(notes, True, condition, f"can't be told ({flaw}): taken as not matching")
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
    return keyword_of(int(tag, 16)) or f"{tag[:4]},{tag[4:]}"


@functools.lru_cache(maxsize=4096)
def _compiled(kind: Kind, expression: str) -> "regex.Pattern[str]":
    if kind is Kind.WILDCARD:
        steps = {"*": ".*", "?": "."}
        body = "".join(steps.get(character) or regex.escape(character) for character in expression)
        return regex.compile(rf"(?s)\A{body}\Z")
    return regex.compile(expression)


def _holds(condition: Condition, dataset: Dataset, asked: _Asked) -> bool:
    return _found(condition, dataset, asked) != condition.negate


def _found(condition: Condition, dataset: Dataset, asked: _Asked) -> bool:
    header = asked.header
    if condition.tag == "Source":
        return _equal(condition, [(header.meta.sending,)], asked)
    if condition.tag == "Called":
        return _equal(condition, [(header.meta.receiving,)], asked)
    tag: int | None = int(condition.tag, 16)
    if condition.tag.startswith(_FILE_META):
        dataset = header.file_meta  # a dataset may begin with such elements too: they are not asked
    if condition.private_creator:
        tag = dataset.private_tag(int(condition.tag[:4], 16), int(condition.tag[6:], 16), condition.private_creator)
        if tag is None:
            return False
    assert tag is not None
    if condition.items:
        return any(all(_holds(inner, item, asked) for inner in condition.items) for item in dataset.items(tag))
    if condition.search:
        return _equal(condition, dataset.find(tag), asked)
    texts = dataset.texts(tag)
    return texts is not None and _equal(condition, [texts], asked)


def _unseen(condition: Condition, header: Header) -> bool:
    """Whether the element may be there, behind the point where the dataset can't be read any further."""
    if not header.flaw or condition.tag in PSEUDO_TAGS or condition.tag.startswith(_FILE_META):
        return False
    return condition.search or bool(condition.private_creator) or int(condition.tag, 16) not in header.dataset


def _equal(condition: Condition, elements: Iterable[tuple[str, ...]], asked: _Asked) -> bool:
    """Whether one of the elements (each its values) is what the condition asks for; none behind it is looked at."""
    if condition.kind is Kind.PRESENT:
        return any(True for _ in elements)
    candidates = (text for texts in elements for text in dict.fromkeys(("\\".join(texts), *texts)))
    if condition.kind is Kind.LITERAL:
        return condition.expression in candidates
    pattern = _compiled(condition.kind, condition.expression)
    return any(asked.search(pattern, candidate) for candidate in candidates)


def _note(notes: list[Note] | None, info: bool, condition: Condition, what: str) -> None:
    if notes is not None:
        notes.append((info, f"condition on {name_of(condition.tag)} {what}"))
