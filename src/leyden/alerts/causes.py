"""Of what is seen and told: what is wrong, and what somebody has to be told of it. No I/O, no clock.

A cause is told once, when it begins, and once more when it is over. Between the two limits of a cause nothing changes
(hysteresis). Only what goes on to happen to objects is told again, once a day at most. Nothing here names a patient, an
instance, or what a peer has said.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from leyden.alerts.settings import AlertSettings
from leyden.journal.events import Attempt, Deleted, Delivered, Expired, Failed, Moved, Rejected
from leyden.journal.tail import Told
from leyden.net.certificates import Ending

AGAIN_S = 86400.0
CALM_S = 600.0  # nothing new for so long, and nothing stands there: that is over
OLD_SHARE = 0.8  # of the limit: a queue is old until its oldest object is younger than this
DISK_MARGIN_PERCENT = 2.0
SHARE_FROM, SHARE_TO = 0.9, 0.8  # from the first on it is refused associations, below the other it is not
CRASHES, CRASHES_WITHIN_S, CRASHES_CALM_S = 3, 600.0, 900.0
LOST = 3  # associations that ended under one object; one is most likely the line
LOST_MAX = 1000  # objects that are remembered
LOST_FOR_S = 86400.0
CLOCK_SET_S = 5.0  # a smaller step is none that matters
_ENDINGS = {"rejected": "were rejected", "failed": "could not be processed", "expired": "were not delivered in time"}


class Message(msgspec.Struct, frozen=True):
    """What somebody is told. `state`: begins, again, over, once or test. Times are in seconds since 1970."""

    cause: str
    of: str
    state: str
    text: str
    since_s: float
    at_s: float


class Cause(msgspec.Struct):
    """Something that is wrong now. `told_s`: when somebody was last told."""

    cause: str
    of: str
    text: str
    since_s: float
    told_s: float


class Ended(msgspec.Struct):
    """Objects whose trip ended badly since their cause began; `last_s`: when the last one did."""

    count: int = 0
    last_s: float = 0.0


class Lost(msgspec.Struct):
    """How often an association ended under one object, and when it last did."""

    count: int = 0
    last_s: float = 0.0


class Clock(msgspec.Struct, frozen=True):
    """How far the time of day is ahead of the time since the boot (`boot` tells one from another), in seconds."""

    boot: str
    ahead_s: float


class Memory(msgspec.Struct):
    """All that has to be known at the next look, kept over restarts. The keys of `ended` are (stage, destination),
    those of `lost` (destination, receipt), both as one text with a blank between.
    """

    open: dict[str, Cause] = {}
    failing_s: dict[str, float] = {}  # destination -> since when it does not work
    ended: dict[str, Ended] = {}
    lost: dict[str, Lost] = {}
    restarts: dict[str, int] = {}  # role -> how many were seen
    crashes: dict[str, list[float]] = {}  # role -> when, of late
    clock: Clock | None = None  # at the last look


class Line(NamedTuple):
    """A destination as the sender sees it: whether it fails (None: nobody knows), and whether it is closed now."""

    fails: bool | None = None
    closed: bool = False


class Facts(msgspec.Struct, frozen=True):
    """What is seen at one moment. Times are in seconds since 1970.

    `oldest`: destination -> when the oldest object that is on its way to it was received; "" = what is not planned
    yet, whose line can only be closed. `standing`: (stage,
    destination) -> how many objects stand in rejected, failed or expired. `restarts`: role -> how often it was started
    again since the service began. `certificates`: whose -> when it ends. `stale`: the files of tls can't be taken as
    they are now.
    `shares`: "caller CT01" or "destination PACS" -> how much of its share of the disk it takes, 1.0 = all.
    """

    now_s: float
    lines: Mapping[str, Line] = msgspec.field(default_factory=dict)
    oldest: Mapping[str, float] = msgspec.field(default_factory=dict)
    standing: Mapping[tuple[str, str], int] = msgspec.field(default_factory=dict)
    free_percent: float = 100.0
    restarts: Mapping[str, int] = msgspec.field(default_factory=dict)
    certificates: Mapping[str, Ending] = msgspec.field(default_factory=dict)
    stale: bool = False
    shares: Mapping[str, float] = msgspec.field(default_factory=dict)
    clock: Clock | None = None


class Finding(NamedTuple):
    """`wrong` None: neither wrong nor well, so it stays what it was. `news_s`: when the latest part of it happened."""

    cause: str
    of: str
    wrong: bool | None
    text: str = ""
    news_s: float = 0.0


def hear(memory: Memory, told: Sequence[Told]) -> None:
    """Remember what happened to objects."""
    for _, event in told:
        match event:
            case Rejected():
                _ended(memory, "rejected", event.destination, event.at_s)
            case Failed():
                _ended(memory, "failed", event.destination, event.at_s)
            case Expired():
                _ended(memory, "expired", event.destination, event.at_s)
            case Attempt():
                lost = memory.lost.setdefault(f"{event.destination} {event.receipt}", Lost())
                lost.count, lost.last_s = lost.count + 1, event.at_s
                while len(memory.lost) > LOST_MAX:
                    del memory.lost[next(iter(memory.lost))]
        match event:
            case Delivered() | Rejected() | Failed() | Expired() | Moved() | Deleted() if memory.lost:
                memory.lost.pop(f"{event.destination} {event.receipt}", None)


def _ended(memory: Memory, stage: str, destination: str, at_s: float) -> None:
    ended = memory.ended.setdefault(f"{stage} {destination}", Ended())
    ended.count, ended.last_s = ended.count + 1, at_s


def step(memory: Memory, facts: Facts, limits: AlertSettings) -> list[Message]:
    """Compare what is with what was: the messages that are due."""
    _follow(memory, facts.clock)
    messages: list[Message] = []
    open_before = dict(memory.open)
    for finding in _findings(memory, facts, limits):
        key = f"{finding.cause} {finding.of}"
        cause = open_before.pop(key, None)
        if cause is None and finding.wrong:
            cause = memory.open[key] = Cause(finding.cause, finding.of, finding.text, facts.now_s, facts.now_s)
            messages.append(_message(cause, "begins", facts.now_s))
        elif cause is not None and finding.wrong is False:
            messages.append(_over(memory, key, facts.now_s))
        elif cause is not None and finding.wrong:
            cause.text = finding.text
            if finding.news_s > cause.told_s and facts.now_s - cause.told_s >= AGAIN_S:
                cause.told_s = facts.now_s
                messages.append(_message(cause, "again", facts.now_s))
    messages += [_over(memory, key, facts.now_s) for key in open_before]  # of nodes and roles that are gone
    return messages


def _follow(memory: Memory, clock: Clock | None) -> None:
    """If the clock was set, all that is remembered moves with it: what has lasted for a minute goes on to have."""
    before, memory.clock = memory.clock, clock
    if before is None or clock is None or before.boot != clock.boot:
        return
    by_s = clock.ahead_s - before.ahead_s
    if abs(by_s) < CLOCK_SET_S:
        return
    memory.failing_s = {title: since_s + by_s for title, since_s in memory.failing_s.items()}
    memory.crashes = {role: [at_s + by_s for at_s in times] for role, times in memory.crashes.items()}
    for ended in memory.ended.values():
        ended.last_s += by_s
    for lost in memory.lost.values():
        lost.last_s += by_s
    for cause in memory.open.values():
        cause.since_s += by_s
        cause.told_s += by_s


def _over(memory: Memory, key: str, now_s: float) -> Message:
    return _message(memory.open.pop(key), "over", now_s)


def _message(cause: Cause, state: str, now_s: float) -> Message:
    return Message(cause.cause, cause.of, state, cause.text, cause.since_s, now_s)


def _findings(memory: Memory, facts: Facts, limits: AlertSettings) -> Iterator[Finding]:
    for title, line in facts.lines.items():
        if limits.destination_down_s and title:
            yield _down(memory, facts, limits.destination_down_s, title, line)
        if limits.queue_older_s:
            yield _old(facts, limits.queue_older_s, title, line)
    if limits.objects:
        yield from _objects(memory, facts)
        yield from _suspects(memory, facts)
    free, least = facts.free_percent, limits.disk_below_percent
    wrong = True if free < least else False if free >= least + DISK_MARGIN_PERCENT or not least else None
    yield Finding("disk", "spool", wrong, f"{free:.1f} % of the spool's disk is free")
    for whose, used in facts.shares.items():
        wrong = True if used >= SHARE_FROM else False if used < SHARE_TO else None
        yield Finding("share", whose, wrong, f"{whose} takes {100 * used:.0f} % of its share of the spool's disk")
    yield from _crashes(memory, facts)
    for whose, found in facts.certificates.items():
        text = f"{found.what} ends at {_clock(found.ends_s)}" if found.ends_s else f"{found.what} can't be read"
        yield Finding("certificate", whose, facts.now_s >= found.told_s, text)
    stale = "the files of tls can't be taken as they are now, so the old ones stay in force; the log says why"
    yield Finding("certificate", "tls files", facts.stale, stale)


def _down(memory: Memory, facts: Facts, limit_s: float, title: str, line: Line) -> Finding:
    if line.closed or line.fails is None:
        return Finding("destination down", title, None)
    if not line.fails or title not in facts.oldest:
        memory.failing_s.pop(title, None)
        return Finding("destination down", title, False)
    since_s = memory.failing_s.setdefault(title, facts.now_s)
    text = f"{title} has not taken anything since {_clock(since_s)}"
    return Finding("destination down", title, True if facts.now_s - since_s >= limit_s else None, text)


def _old(facts: Facts, limit_s: float, title: str, line: Line) -> Finding:
    oldest_s = facts.oldest.get(title)
    if oldest_s is None or facts.now_s - oldest_s < OLD_SHARE * limit_s:
        return Finding("queue old", title, False)
    wrong = None if line.closed or facts.now_s - oldest_s < limit_s else True
    what = f"an object for {title} waits" if title else "an object waits to be planned"
    return Finding("queue old", title, wrong, f"{what} since {_clock(oldest_s)}")


def _objects(memory: Memory, facts: Facts) -> Iterator[Finding]:
    for key, ended in list(memory.ended.items()):
        stage, _, title = key.partition(" ")
        standing = facts.standing.get((stage, title), 0)
        wrong = standing > 0 or facts.now_s - ended.last_s < CALM_S
        if not wrong:
            del memory.ended[key]
        to = f" for {title}" if title else ""
        text = f"{ended.count} objects{to} {_ENDINGS[stage]}; {standing} stand in {stage}/"
        yield Finding(stage, title, wrong, text, ended.last_s)


def _suspects(memory: Memory, facts: Facts) -> Iterator[Finding]:
    count: dict[str, int] = {}
    last_s: dict[str, float] = {}
    for key, lost in list(memory.lost.items()):
        if facts.now_s - lost.last_s > LOST_FOR_S:
            del memory.lost[key]
        elif lost.count >= LOST:
            title = key.rpartition(" ")[0]
            count[title] = count.get(title, 0) + 1
            last_s[title] = max(lost.last_s, last_s.get(title, 0.0))
    for title, objects in count.items():
        text = f"associations to {title} end again and again under {objects} objects; they are sent alone, others first"
        yield Finding("suspects", title, True, text, last_s[title])


def _crashes(memory: Memory, facts: Facts) -> Iterator[Finding]:
    for role, restarts in facts.restarts.items():
        more = restarts - memory.restarts.get(role, 0)
        memory.restarts[role] = restarts
        crashes = [at_s for at_s in memory.crashes.get(role, ()) if facts.now_s - at_s < CRASHES_CALM_S]
        crashes += [facts.now_s] * min(max(0, more), CRASHES)
        memory.crashes[role] = crashes
        lately = sum(facts.now_s - at_s < CRASHES_WITHIN_S for at_s in crashes)
        text = f"{role} ended {restarts} times since the service began, {lately} times within ten minutes"
        yield Finding("crashes", role, True if lately >= CRASHES else None if crashes else False, text)


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().isoformat(" ", "minutes")
