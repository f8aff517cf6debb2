"""The pool of associations of one destination as one pure function: assign(requests, members, ...) -> actions.

There is one pool for each destination. A request goes only over an established association of its calling AE title
that accepted its presentation context; one that still opens is merely counted on. Requests are served in the order of
the queue (rank, then age), whatever their calling AE titles, so that none of them starves. The caller carries out the
actions at once (it changes the phases), and asks again whenever anything has happened.

Whole series together: an association that has sent an instance of a series goes on with that series, as long as any of
it waits that came no later than SERIES_S after the association began with it. So the series of two modalities do not
mix on one association, a higher rank does not come in between, and a series without end keeps nobody waiting for ever.
Of a series that is sorted only the next one is asked for, and one is under way at a time, so that it arrives in its
order.

A peer may serve fewer associations at once than we would like: it rejects the others, or leaves them without an answer
until the first has ended. So, when another calling AE title has no association and none can be opened, an idle one is
released at once and a busy one between two objects when its turn is over; and one that opens for long while another
works is given up (retry.Health then knows a lower limit). A suspect (suspicion.py) has an association of its own, one
suspect at a time. Deliberately absent: sockets, time, and the decision who is a suspect.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from enum import Enum

import msgspec

from leyden.form.ladder import Pair

IDLE_S = 2.0
TURN_S = 1.0
LATE_S = 2.0
PATIENCE_S = 1.0
SERIES_S = 60.0
GRAIN = 4  # so many requests may wait for each association before another one is opened

Kind = tuple[str, ...]
"""(calling AE title, SOP class UID), or these two and what stands for a study."""


class Phase(Enum):
    """Where an association of the pool stands."""

    OPENING = "opening"  # under negotiation; nothing is bound to it
    IDLE = "idle"
    BUSY = "busy"  # bound to a request, from the Bind until the answer
    CLOSING = "closing"  # under release; the peer may still count it


class Request(msgspec.Struct, frozen=True):
    """An entry that wants to be sent. `pair` is its SOP class and the transfer syntax of its file; `since_s` is when
    it came into the window, `losses` how many associations have ended under it, and `study` and `series` stand for its
    study and its series ("" = not known). `ordered`: its series is sorted, so that one of it goes after the other.
    """

    rank: str
    receipt: str
    calling: str
    pair: Pair
    since_s: float
    study: str = ""
    series: str = ""
    ordered: bool = False
    losses: int = 0

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What it has in common with others, the widest first."""
        sop_class = self.pair[0]
        return (self.calling, sop_class), (self.calling, sop_class, self.study)


class Alone(msgspec.Struct, frozen=True):
    """A request that is to be sent over an association of its own: a suspect, whose turn it is.

    `exclusive`: with no other association beside it. `overdue`: room is made for it, it has waited long enough.
    """

    request: Request
    exclusive: bool = False
    overdue: bool = False


class Member(msgspec.Struct, eq=False):
    """One association of the pool, until it has ended.

    `opened_s` is when it was asked for, `established_s` when the peer said yes, `idle_s` when it was last served;
    `alone` is set when it is one request's own. `series` is that of the last request that it carried, and `series_s`
    when it began with that series.
    """

    calling: str
    opened_s: float
    proposed: Collection[Pair]
    phase: Phase = Phase.OPENING
    accepted: Collection[Pair] = ()
    established_s: float = 0.0
    idle_s: float = 0.0
    served: int = 0
    alone: Alone | None = None
    series: str = ""
    series_s: float = 0.0

    def carry(self, request: Request, now_s: float) -> None:
        """A request was bound to it."""
        self.phase = Phase.BUSY
        if request.series != self.series:
            self.series, self.series_s = request.series, now_s

    def fits(self, request: Request) -> bool:
        """Whether the request could go over this association, or could as far as is known while it opens."""
        mine = self.alone is None or self.alone.request.receipt == request.receipt
        return mine and self.calling == request.calling and self.takes(request.pair)

    def takes(self, pair: Pair) -> bool:
        """The same for a pair, whatever the calling AE title."""
        return pair in (self.proposed if self.phase is Phase.OPENING else self.accepted)

    @property
    def refused(self) -> frozenset[Pair]:
        """What was proposed in vain; nothing as long as the peer has not answered."""
        return frozenset(self.proposed).difference(self.accepted) if self.established_s else frozenset()


class Limits(msgspec.Struct, frozen=True):
    """`max_associations` counts those of all calling AE titles; after `batch_size` objects one is released (0 = never);
    one that opens for longer than `late_s`, while another works, is given up."""

    max_associations: int
    batch_size: int = 0
    late_s: float = LATE_S


class Open(msgspec.Struct, frozen=True):
    """Open an association for this request, and propose what else waits under its calling AE title.

    `alone`: an association of its own, which proposes nothing else.
    """

    request: Request
    alone: Alone | None = None


class Bind(msgspec.Struct, frozen=True):
    """Send this request over this association, which is idle."""

    member: Member
    request: Request


class Release(msgspec.Struct, frozen=True):
    """Release this association, which is idle."""

    member: Member


class GiveUp(msgspec.Struct, frozen=True):
    """Abort an association that does not open: the peer seems to serve no more at once than those that work."""

    member: Member


Action = Open | Bind | Release | GiveUp

OfSeries = Callable[[str], Iterable[Request]]
"""What waits of a series, in the order of sending."""


def no_series(_series: str) -> Iterable[Request]:
    """An OfSeries for a caller that wants requests to be served in their order, whatever their series."""
    return ()


def assign(
    requests: Collection[Request],
    members: Sequence[Member],
    now_s: float,
    limits: Limits,
    alone: Alone | None = None,
    of_series: OfSeries = no_series,
) -> list[Action]:
    """What to do now. `requests` in the order of the queue, without those that are bound, and of a series that is
    sorted the next one only; `alone` is the suspect whose turn it is, and not one of the requests. `of_series` gives
    all that waits of a series.

    Costs a few microseconds while one association asks for its next request, and looks at all requests only when
    nothing that fits is idle.
    """
    own = next((m for m in members if m.alone is not None and m.phase is not Phase.CLOSING), None)
    if own is None and alone is not None and alone.exclusive:
        return _make_way(alone, members, limits)
    decided = _Round(members, now_s, limits, own, alone, of_series)
    if own is not None and own.alone is not None and own.alone.exclusive:
        return decided.actions
    wanting = alone if own is None else None
    if wanting is not None and wanting.overdue:
        decided.serve_suspect(wanting)
    decided.serve(requests)
    if wanting is not None and not wanting.overdue:
        decided.serve_suspect(wanting)
    decided.release_unused()
    return decided.actions


def _make_way(alone: Alone, members: Sequence[Member], limits: Limits) -> list[Action]:
    """For a suspect that is to be sent with no other association beside it: the others end first."""
    if members:
        return [Release(m) for m in members if m.phase is Phase.IDLE]
    return [Open(alone.request, alone)] if limits.max_associations else []


class _Round:
    """One call of assign(): the members by what can be done with them, and what has been decided so far.

    `room` is how many associations may still be opened, `closing` how many are about to make room.
    """

    def __init__(
        self,
        members: Sequence[Member],
        now_s: float,
        limits: Limits,
        own: Member | None,
        alone: Alone | None,
        of_series: OfSeries,
    ) -> None:
        """Sorts the members, and decides what depends on nothing else. `own` is the one that a suspect has."""
        self.actions: list[Action] = []
        self.room = limits.max_associations - len(members)
        self.closing = 0
        self._now_s = now_s
        self._of_series = of_series
        self._opening: list[Member] = []
        self._idle: list[Member] = []
        self._busy: list[Member] = []
        works = any(m.phase is Phase.IDLE or m.phase is Phase.BUSY for m in members)
        for member in members:
            phase = member.phase
            if phase is Phase.CLOSING:
                self.closing += 1
            elif phase is Phase.OPENING and works and now_s - member.opened_s >= limits.late_s:
                self.actions.append(GiveUp(member))
                self.room = 0  # the limit is about to fall
            elif member is own:
                self._continue_alone(own, alone, works)
            elif phase is Phase.IDLE and 0 < limits.batch_size <= member.served:
                self._release(member)
            elif phase is Phase.OPENING:
                self._opening.append(member)
            else:
                (self._idle if phase is Phase.IDLE else self._busy).append(member)
        if not works:  # the first one goes ahead: a dead peer is asked once, a narrow one has nothing to reject
            self.room = min(self.room, 1 - len(self._opening))
        self._idle.sort(key=lambda m: m.idle_s, reverse=True)  # the one used last first, so that the others may end
        self._under_way = {m.series for m in members if m.phase is Phase.BUSY}  # series
        # What serve() has found out so far.
        self._bound: set[str] = set()  # receipts
        self._waiting: dict[str, int] = {}  # by calling AE title: requests without an idle association
        self._opened: dict[str, int] = {}  # by calling AE title: associations that are opened in this round
        self._starved: set[str] = set()  # calling AE titles without an association, while there is no room for one
        self._served: set[tuple[str, Pair]] = set()  # by calling AE title: these must wait for a busy association
        self._left: dict[str, Counter[Pair]] | None = None  # by calling AE title: what is not bound; see _spare()

    def _continue_alone(self, own: Member, alone: Alone | None, works: bool) -> None:
        """The association of a suspect serves this suspect only, and ends with it."""
        if own.phase is Phase.IDLE:
            if alone is not None and own.fits(alone.request):
                self.actions.append(Bind(own, alone.request))
            else:
                self.actions.append(Release(own))
        elif own.phase is Phase.OPENING and not works:
            self.room = min(self.room, 0)

    def _release(self, member: Member) -> None:
        self.actions.append(Release(member))
        self.closing += 1

    def serve_suspect(self, alone: Alone) -> None:
        """Open an association for a suspect, or make room for one."""
        if self.room > 0:
            self.actions.append(Open(alone.request, alone))
            self.room -= 1
        elif self._idle and not self.closing:
            self._release(self._idle.pop())

    def serve(self, requests: Collection[Request]) -> None:
        """Bind each request to an idle association, or see to it that there will be one."""
        for request in requests:
            if self.room <= 0 and not self._idle:
                return  # nothing can be done for anybody
            if request.ordered and request.series in self._under_way:
                continue
            if self._served and (request.calling, request.pair) in self._served:
                continue
            if self._bound and request.receipt in self._bound:
                continue
            chosen: Request | None = None
            while chosen is not request and (member := next((m for m in self._idle if m.fits(request)), None)):
                chosen = self._next_of_series(member, request) or request
                self._bind(member, chosen)
            if chosen is not request and request.calling not in self._starved:
                self._find_association(request, requests)

    def _next_of_series(self, member: Member, request: Request) -> Request | None:
        """What an association goes on with before it takes this request: what waits of the series that it carries."""
        if not member.series or member.series == request.series:
            return None
        until_s = min(member.idle_s, member.series_s + SERIES_S)
        for each in self._of_series(member.series):
            if each.since_s <= until_s and member.fits(each) and each.receipt not in self._bound:
                return None if each.ordered and each.series in self._under_way else each
            if each.ordered:
                return None  # nothing overtakes it
        return None

    def _bind(self, member: Member, request: Request) -> None:
        self.actions.append(Bind(member, request))
        self._idle.remove(member)
        self._busy.append(member)
        self._bound.add(request.receipt)
        if request.ordered:
            self._under_way.add(request.series)
        if self._left is not None:
            self._left[request.calling][request.pair] -= 1

    def _find_association(self, request: Request, requests: Collection[Request]) -> None:
        """Nothing idle fits: it waits for an association that opens or is busy, has one opened, or room made for it."""
        calling = request.calling
        waiting = self._waiting[calling] = self._waiting.get(calling, 0) + 1
        coming = self._opened.get(calling, 0) + sum(m.fits(request) for m in self._opening)
        serving = coming + sum(m.fits(request) for m in self._busy)
        if self.room > 0:
            impatient = not coming and self._now_s - request.since_s >= PATIENCE_S
            if impatient or waiting > GRAIN * serving:
                self.actions.append(Open(request))
                self._opened[calling] = self._opened.get(calling, 0) + 1
                self.room -= 1
        elif serving:
            self._served.add((calling, request.pair))
        else:
            self._starved.add(calling)
            if len(self._starved) > self.closing and (spare := self._spare(requests)) is not None:
                self._idle.remove(spare)
                self._release(spare)

    def _spare(self, requests: Collection[Request]) -> Member | None:
        """The idle association that can best be done without: of no use to anybody, or else one whose turn is over."""
        if self._left is None:
            self._left = {}
            for request in requests:
                if request.receipt not in self._bound:
                    self._left.setdefault(request.calling, Counter())[request.pair] += 1
        for member in reversed(self._idle):
            pairs = self._left.get(member.calling, Counter[Pair]())
            if not any(number and member.takes(pair) for pair, number in pairs.items()):
                return member
        return next((m for m in reversed(self._idle) if self._now_s - m.established_s >= TURN_S), None)

    def release_unused(self) -> None:
        """Release what has been idle for long."""
        for member in self._idle:
            if self._now_s - member.idle_s >= IDLE_S:
                self._release(member)
