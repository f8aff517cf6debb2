"""What the page shows of the last minutes and of today, gathered from the journal as it is told.

Pure: the clock is an argument, and the spool is not looked at. All is bounded: a second has one cell in a ring, today
ends at midnight, and of errors the last ones are kept. A document is whole, so a page that comes, or comes back, needs
nothing of before.
"""

import time
from bisect import insort
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from leyden.journal.events import (
    Attempt,
    Deferred,
    Delivered,
    Duplicate,
    Event,
    Expired,
    Failed,
    Planned,
    Received,
    Rejected,
    Transformed,
)
from leyden.journal.tail import Told
from leyden.plan.rules import PlanSettings

SECONDS = 300  # that the rings hold
RATE_S = 10  # over which a rate is a mean
ERRORS = 50
NAMES = 500  # of calling and called titles in one day, which peers may make up
WORDS = 300  # of a reason, in characters

Document = dict[str, Any]


class Ring:
    """An amount for each of the last SECONDS. What is older than these is passed over."""

    def __init__(self) -> None:
        self._second = [0] * SECONDS
        self._amount = [0] * SECONDS

    def add(self, at_s: float, amount: int = 1) -> None:
        second = int(at_s)
        cell = second % SECONDS
        if self._second[cell] < second:
            self._second[cell], self._amount[cell] = second, 0
        if self._second[cell] == second:
            self._amount[cell] += amount

    def before(self, now_s: float, seconds: int = SECONDS) -> list[int]:
        """The amounts of the seconds before this one, the oldest first."""
        now = int(now_s)
        return [
            self._amount[second % SECONDS] if self._second[second % SECONDS] == second else 0
            for second in range(now - seconds, now)
        ]

    def rate(self, now_s: float) -> float:
        """The mean of a second, over the last RATE_S."""
        return sum(self.before(now_s, RATE_S)) / RATE_S


class Flow(msgspec.Struct):
    """Objects, and the bytes of their data sets."""

    objects: Ring = msgspec.field(default_factory=Ring)
    bytes: Ring = msgspec.field(default_factory=Ring)

    def add(self, at_s: float, size: int) -> None:
        self.objects.add(at_s)
        self.bytes.add(at_s, size)

    def rates(self, now_s: float) -> Document:
        return {"objects": self.objects.rate(now_s), "bytes": self.bytes.rate(now_s)}

    def series(self, now_s: float) -> Document:
        return {"objects": self.objects.before(now_s), "bytes": self.bytes.before(now_s)}


class Today(msgspec.Struct):
    """Counts since local midnight. `whole_from_s`: since when nothing is missing, if that is later."""

    begin_s: float = 0.0
    end_s: float = 0.0
    whole_from_s: float = 0.0
    kinds: dict[str, int] = msgspec.field(default_factory=dict)
    rules: dict[str, int] = msgspec.field(default_factory=dict)
    senders: dict[str, int] = msgspec.field(default_factory=dict)
    called: dict[str, int] = msgspec.field(default_factory=dict)
    delivered: dict[str, int] = msgspec.field(default_factory=dict)


def midnight_s(now_s: float, days: int = 0) -> float:
    """The begin of this day here, or of one so many days later."""
    now = time.localtime(now_s)
    return time.mktime((now.tm_year, now.tm_mon, now.tm_mday + days, 0, 0, 0, 0, 0, -1))


class Live:
    """A consumer of the feed. One thread."""

    def __init__(self, now_s: float) -> None:
        self._received = Flow()
        self._planned = Ring()
        self._made = Flow()
        self._sent = Flow()
        self._destinations: dict[str, Flow] = {}
        self._errors: deque[Document] = deque()
        self._today = Today(whole_from_s=now_s)
        self._rules: tuple[object, ...] = ()  # not known yet; without any they are (None, None)
        self._rules_since_s = now_s
        self._mutations: dict[str, str] = {}  # by the place of each of its actions, as the journal names them

    def go_by(self, plan: PlanSettings, since_s: float) -> None:
        """By which rules objects are planned now. `since_s`: these have been in force since then, if they are new."""
        if (rules := (plan.routes, plan.mutations)) != self._rules:
            self._rules, self._rules_since_s = rules, since_s
            self._today.rules.clear()  # they are known by their places in the files, which may mean other rules now
            self._mutations = {edit.where: each.where for each in plan.mutations or () for edit in each.actions}

    def take(self, told: Sequence[Told]) -> None:
        """Events in any order: they say themselves when they were."""
        for each in told:
            self._see(each.event)

    def whole_from(self, at_s: float) -> None:
        """What was told since then has been taken."""
        self._today.whole_from_s = at_s

    def document(self, now_s: float, titles: Iterable[str]) -> Document:
        """What was told until now, for JSON; times in seconds since 1970, rates per second. `titles`: of all nodes."""
        today = self._day(now_s)
        return {
            "at": now_s,
            "flow": {"received": self._received.series(now_s), "sent": self._sent.series(now_s)},
            "rates": {
                "received": self._received.rates(now_s),
                "planned": {"objects": self._planned.rate(now_s)},
                "made": self._made.rates(now_s),
                "sent": self._sent.rates(now_s),
            },
            "today": {
                "since": max(today.begin_s, today.whole_from_s),
                "kinds": today.kinds,
                "rules": today.rules,
                "rulesSince": max(today.begin_s, today.whole_from_s, self._rules_since_s),
                "senders": today.senders,
                "called": today.called,
                "delivered": today.delivered,
            },
            "destinations": {title: self._of(title).rates(now_s) for title in titles},
            "errors": list(reversed(self._errors)),
        }

    def _of(self, title: str) -> Flow:
        if title not in self._destinations and len(self._destinations) < NAMES:
            self._destinations[title] = Flow()
        return self._destinations.get(title) or Flow()

    def _day(self, at_s: float) -> Today:
        """Today, which begins anew with the first thing that is told, or asked for, on the next day."""
        if at_s >= self._today.end_s:
            self._today = Today(midnight_s(at_s), midnight_s(at_s, 1), self._today.whole_from_s)
        return self._today

    def _see(self, event: Event) -> None:
        today = self._day(event.at_s)
        of_today = event.at_s >= today.begin_s
        kind = type(event).__name__.lower()
        if of_today and kind in _KINDS:
            _count(today.kinds, kind)
        match event:
            case Received():
                self._received.add(event.at_s, event.bytes)
                if of_today:
                    _count(today.senders, event.calling)
                    _count(today.called, event.called)
            case Planned():
                self._planned.add(event.at_s)
                if of_today:
                    if not event.deliveries:
                        _count(today.kinds, "dropped")
                    self._matched(event, today)
            case Transformed():
                self._made.add(event.at_s, event.came_bytes)
            case Delivered():
                self._sent.add(event.at_s, event.bytes)
                self._of(event.destination).add(event.at_s, event.bytes)
                if of_today:
                    _count(today.delivered, event.destination)
            case Attempt() | Deferred():
                self._complain(event, event.destination, event.said, event.sop_instance_uid)
            case Rejected():
                self._complain(event, event.destination, event.last_words or event.reason, event.sop_instance_uid)
            case Failed():
                self._complain(event, event.destination, event.reason, event.sop_instance_uid)
            case Expired():
                self._complain(event, event.destination, "older than expiryThreshold", event.sop_instance_uid)

    def _matched(self, event: Planned, today: Today) -> None:
        if event.at_s >= self._rules_since_s:
            edits = {edit for each in event.deliveries for edit in each.changed_by}
            for rule in {*event.rules, *(self._mutations.get(edit, edit) for edit in edits)}:
                today.rules[rule] = today.rules.get(rule, 0) + 1

    def _complain(self, event: Event, title: str, words: str, uid: str) -> None:
        kind = type(event).__name__.lower()
        if len(self._errors) == ERRORS and event.at_s < self._errors[0]["at"]:
            return
        error = {"at": event.at_s, "kind": kind, "destination": title, "reason": words[:WORDS], "uid": uid}
        insort(self._errors, {**error, "receipt": event.receipt}, key=lambda each: each["at"])
        if len(self._errors) > ERRORS:
            self._errors.popleft()


_KINDS = {kind.__name__.lower() for kind in (Received, Duplicate, Transformed, Delivered, Rejected, Failed, Expired)}


def _count(names: dict[str, int], name: str) -> None:
    """One more of a name that a peer may have made up; beyond NAMES of them they are counted together, as ""."""
    if name not in names and len(names) >= NAMES:
        name = ""
    names[name] = names.get(name, 0) + 1
