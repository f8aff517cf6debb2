"""Whether a condition of a rule holds for a dataset: a literal, a wildcard, a regular expression, or mere presence.

Each value of an element is compared, and all of them as one text joined by backslashes; of a person name also its
component groups. One match is enough. An absent element never matches, so a condition with `Negate` holds if it is
absent. If there is no answer (a search took too long, or the element may stand where a broken dataset can't be read),
the condition does not hold, negated or not, and other rules are not affected.
Deliberately absent: parsing an operator's text (config/ does), reading a clock.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import regex  # type: ignore[import-untyped]

from leyden.dicom.dictionary import keyword_of
from leyden.dicom.elements import dictionary_vr
from leyden.dicom.part10 import FileMeta
from leyden.errors import Corrupt
from leyden.plan.rules import PSEUDO_TAGS, Condition, Kind

TIME_LIMIT_S = 0.05  # of processor time for one search, and for those of a condition: odd values may take very long
TOTAL_LIMIT_S = 0.5  # for all searches in one object
KEPT_CHARS = 256  # what a search found is kept, if the text is no longer ...
KEPT_CANDIDATES = 16  # ... and one of not more than so many
_KEPT_SEARCHES = 16384  # 20 MB at most

_FILE_META = 0x0002
_PRESENT, _LITERAL, _WILDCARD = Kind.PRESENT, Kind.LITERAL, Kind.WILDCARD  # a look into an enum takes 60 ns

Values = tuple[str, ...]
Candidates = dict[str, bool]
"""The texts with which an expression is compared, each once, in order; False: a regular expression is not."""
_UNREAD: Candidates = {}  # stands for those that are not read yet; real ones are never empty
Search = tuple[str, bool, str]
"""An expression, whether it is a wildcard, and the text that is searched."""
Clock = Callable[[], float]  # seconds of processor time of this process


class Elements(Protocol):
    """What conditions ask of a dataset or an item: header.Dataset, or one that looks as if it had been changed."""

    def texts(self, tag: int, /) -> Values | None: ...
    def items(self, tag: int, /) -> Sequence["Elements"]: ...
    def find(self, tag: int, /) -> Iterator[Values]: ...
    def private_tag(self, group: int, low_byte: int, creator: str, /) -> int | None: ...
    def __contains__(self, tag: int, /) -> bool: ...


class Subject(Protocol):
    """What conditions are asked of: a header.Header, or its like. `flaw`: why a part of it can't be read; "" = none."""

    @property
    def meta(self) -> FileMeta: ...
    @property
    def file_meta(self) -> Elements: ...
    @property
    def dataset(self) -> Elements: ...
    @property
    def flaw(self) -> str: ...


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
    """The regular expressions of a condition found no result within its time limit, or within that of the object."""


def stopped_clock() -> float:
    """A clock that stands still: then each search has the whole time limit, instead of all searches together."""
    return 0.0


class Examination:
    """One object, which does not change meanwhile, and the conditions that it is asked.

    A condition on an element of the dataset costs 0.1 to 0.3 us, a condition of another kind a walk. By `clock`, the
    searches of a condition take about TIME_LIMIT_S at most, whatever the expression; those of all TOTAL_LIMIT_S.
    """

    def __init__(self, subject: Subject, clock: Clock = stopped_clock) -> None:
        self.unsure = ""  # why there was no answer to the condition asked last; "" = there was one
        self._subject = subject
        self._clock = clock
        self._total_left_s = TOTAL_LIMIT_S
        self._left_s = 0.0  # of the condition at hand
        self._read: dict[str, Candidates | None] = {}  # Condition.element -> what is compared; None = absent

    def failing(self, conditions: Iterable[Condition]) -> Condition | None:
        """The first of these conditions that does not hold; None = all hold.

        One without an answer does not hold, and `unsure` says why.
        """
        self.unsure = ""
        read = self._read
        condition = None
        try:
            for condition in conditions:
                if condition.direct:
                    candidates = read.get(condition.element, _UNREAD)
                    if candidates is _UNREAD:
                        candidates = _candidates(condition, self._texts(condition, self._subject.dataset))
                        read[condition.element] = candidates
                    if candidates is None:
                        found = False
                    elif condition.kind is _LITERAL:  # as in _match, without the call
                        found = condition.expression in candidates
                    else:
                        self._left_s = TIME_LIMIT_S
                        found = self._match(condition, candidates)
                else:
                    self._left_s = TIME_LIMIT_S
                    found = self._found(condition, self._subject.dataset)
                if found == condition.negate:
                    return condition
                if not found and self._subject.flaw and self._hidden(condition):
                    self.unsure = "can't be decided, as the dataset is broken"
                    return condition
        except OutOfTimeError as limit:
            self.unsure = str(limit)
            return condition
        except Corrupt as flaw:
            self.unsure = f"can't be decided ({flaw})"
            return condition
        return None

    def holds(self, condition: Condition) -> bool:
        """Whether a condition holds; see `failing`."""
        return self.failing((condition,)) is None

    def finding(self, condition: Condition) -> Finding:
        """Whether a condition holds, and by which values."""
        held = self.holds(condition)
        unsure = self.unsure
        return Finding(condition, held, None if unsure else self._seen(condition), unsure)

    def _elements(self, condition: Condition, dataset: Elements) -> Elements:
        """Where an element is looked for. A dataset may start with elements of group 0002 too: they are ignored."""
        in_file_meta = condition.number is not None and condition.number >> 16 == _FILE_META
        return self._subject.file_meta if in_file_meta else dataset

    def _texts(self, condition: Condition, dataset: Elements) -> Values | None:
        if condition.number is None:
            meta = self._subject.meta
            return (meta.sending if condition.tag == "Source" else meta.receiving,)
        elements = self._elements(condition, dataset)
        tag = _tag_in(condition, elements)
        return None if tag is None else elements.texts(tag)

    def _found(self, condition: Condition, dataset: Elements) -> bool:
        """Whether a condition matches in a dataset or an item, before negation."""
        if condition.direct:
            return self._equal(condition, self._texts(condition, dataset))
        elements = self._elements(condition, dataset)
        tag = _tag_in(condition, elements)
        if tag is None:
            return False
        if condition.search:
            return any(self._equal(condition, texts) for texts in elements.find(tag))
        return any(self._all_hold(condition.items, item) for item in elements.items(tag))

    def _all_hold(self, conditions: Iterable[Condition], item: Elements) -> bool:
        """Whether all these conditions hold for one item of a sequence."""
        return all(self._found(inner, item) != inner.negate for inner in conditions)

    def _equal(self, condition: Condition, texts: Values | None) -> bool:
        """Whether the values of one element match the condition."""
        candidates = _candidates(condition, texts)
        return candidates is not None and self._match(condition, candidates)

    def _match(self, condition: Condition, candidates: Candidates) -> bool:
        kind = condition.kind
        if kind is _LITERAL:
            return condition.expression in candidates
        if kind is _PRESENT:
            return True
        wildcard = kind is _WILDCARD
        for text, for_all in candidates.items():
            if not (for_all or wildcard):
                continue
            asked = (condition.expression, wildcard, text)
            found = _known.get(asked)
            if self._search(asked, len(candidates)) if found is None else found:
                return True
        return False

    def _search(self, asked: Search, candidates: int) -> bool:
        """The answer to a search that is not known; it is in one of so many texts. Raises OutOfTimeError."""
        if self._left_s <= 0 or asked in _known:
            raise OutOfTimeError(f"had no answer within {TIME_LIMIT_S * 1000:.0f} ms")
        if self._total_left_s <= 0:
            raise OutOfTimeError(f"was not asked: those before it took {TOTAL_LIMIT_S * 1000:.0f} ms")
        expression, wildcard, text = asked
        pattern = _compiled(wildcard, expression)
        start_s = self._clock()
        try:
            found = pattern.search(text, timeout=TIME_LIMIT_S) is not None
        except TimeoutError:
            found = None
        spent_s = TIME_LIMIT_S if found is None else self._clock() - start_s
        self._left_s -= spent_s
        self._total_left_s -= spent_s
        if candidates <= KEPT_CANDIDATES and len(text) <= KEPT_CHARS:
            _keep(asked, found)
        if found is None:
            raise OutOfTimeError(f"had no answer within {TIME_LIMIT_S * 1000:.0f} ms")
        return found

    def _seen(self, condition: Condition) -> Values | None:
        dataset = self._subject.dataset
        if condition.direct:
            return self._texts(condition, dataset)
        elements = self._elements(condition, dataset)
        tag = _tag_in(condition, elements)
        if tag is None or condition.items:
            return None
        self._left_s = TIME_LIMIT_S
        try:
            return next((texts for texts in elements.find(tag) if self._equal(condition, texts)), None)
        except (OutOfTimeError, Corrupt):  # there was a match, or none, the first time
            return None

    def _hidden(self, condition: Condition) -> bool:
        """Whether the element may stand behind the point from which on the dataset can't be read."""
        if condition.number is None or condition.number >> 16 == _FILE_META:
            return False
        return condition.search or bool(condition.private_creator) or condition.number not in self._subject.dataset


def examine(condition: Condition, subject: Subject, clock: Clock = stopped_clock) -> Finding:
    """Whether one condition holds for a dataset, and by which values."""
    return Examination(subject, clock).finding(condition)


def remark(finding: Finding) -> str:
    """The log's text for a finding. It holds no value, as values are patient data."""
    how = f"{finding.unsure}: taken as not matching" if finding.unsure else "holds" if finding.held else "does not hold"
    return f"condition on {name_of(finding.condition.tag)} {how}"


def compiled(kind: Kind, expression: str) -> "regex.Pattern[str]":
    """The pattern of a REGEX or WILDCARD condition, cached. Raises regex.error, whose `pos` is the place."""
    return _compiled(kind is _WILDCARD, expression)


def name_of(tag: str) -> str:
    """The name of a tag of a rule: its keyword, else gggg,eeee; a pseudo-tag is its own name."""
    if tag in PSEUDO_TAGS:
        return tag
    return keyword_of(int(tag, 16)) or f"{tag[:4]},{tag[4:]}"


@functools.lru_cache(maxsize=4096)
def _compiled(wildcard: bool, expression: str) -> "regex.Pattern[str]":
    if wildcard:
        steps = {"*": ".*", "?": "."}
        body = "".join(steps.get(character) or regex.escape(character) for character in expression)
        return regex.compile(rf"(?s)\A{body}\Z")
    return regex.compile(expression)


_known: dict[Search, bool | None] = {}
"""What searches found; None = no answer in time. The objects of a series differ in few values, a search with a time
limit takes 3 us, and one without an answer would take its 50 ms of each object."""


def _keep(asked: Search, found: bool | None) -> None:
    if len(_known) >= _KEPT_SEARCHES:
        _known.clear()
    _known[asked] = found


def _tag_in(condition: Condition, elements: Elements) -> int | None:
    """The tag of the element that a condition asks for; None: it is private, and its creator has no such element."""
    number = condition.number
    assert number is not None
    if condition.private_creator:
        return elements.private_tag(number >> 16, number & 0xFF, condition.private_creator)
    return number


def _candidates(condition: Condition, texts: Values | None) -> Candidates | None:
    """What is compared: the values as one text, each value, and the component groups of a person name.

    An expression such as ^(?!TEST) must not match by the ideographic group alone, so regular expressions see only the
    first group, the alphabetic one. Empty components at the end of a group mean nothing (PS3.5 section 6.2.1).
    """
    if texts is None:
        return None
    candidates = dict.fromkeys(("\\".join(texts), *texts), True)
    if condition.number is not None and dictionary_vr(condition.number) == "PN":
        for text in texts:
            groups = [group.rstrip(" ^") for group in text.split("=")]
            for number, group in enumerate(groups):
                if group:
                    candidates[group] = candidates.get(group, False) or number == 0
    return candidates
