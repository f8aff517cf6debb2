"""The pool of associations of one destination as one pure function: assign(requests, associations, ...) -> actions.

There is a pool for each destination, so that what is left of the pool key (destination, calling AE) is the calling AE.
A request is bound only to an association that is established and whose contexts fit; an opening one is merely counted
on. Whoever stands first in the queue (rank, then age) is served first; so nobody starves, whatever the calling titles.
The caller does what the actions say at once (it changes the states), and asks again whenever anything has happened.

A peer may serve fewer associations at once than we would like: it rejects the others, or leaves them without an answer
until the first has ended. So an idle association is released at once when another calling AE has none and none can be
opened; a busy one is, between two objects, when its turn is over; and an opening one that takes long while another
works is given up (retry.Health then knows a lower limit). A suspect (suspicion.py) has an association of its own, one
at a time. Deliberately absent: sockets, time, and who is to blame.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from leyden.form.ladder import Pair

IDLE_S = 2.0
TURN_S = 1.0
LATE_S = 2.0
PATIENCE_S = 1.0
GRAIN = 4

Kind = tuple[str, ...]
"""(calling AE title, SOP class UID), or these two and what stands for a study."""


class State(Enum):
    OPENING = "opening"  # under negotiation; nothing is bound to it
    IDLE = "idle"
    RESERVED = "reserved"  # bound to a request, from the Bind until the answer
    CLOSING = "closing"  # under release; the peer may still count it


@dataclass(frozen=True, slots=True)
class Request:
    """An entry that wants to be sent. `pair` is its SOP class and the transfer syntax of its file; `since_s` is when
    it came into the window, `losses` how many associations have ended under it, and `study` stands for its study."""

    rank: str
    receipt: str
    calling: str
    pair: Pair
    since_s: float
    study: str = field(default="", kw_only=True)
    losses: int = field(default=0, kw_only=True)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What it has in common with others, the widest first."""
        sop_class = self.pair[0]
        return (self.calling, sop_class), (self.calling, sop_class, self.study)


@dataclass(frozen=True, slots=True)
class Alone:
    """A request that is to be sent over an association of its own: a suspect, whose turn it is.

    `exclusive`: with no other association beside it. `overdue`: it does not wait any longer until there is room.
    """

    request: Request
    exclusive: bool = False
    overdue: bool = False


@dataclass(slots=True, eq=False)
class Association:
    """What must be known of an association. One that has ended is no longer listed.

    `opened_s` is when it was asked for, `established_s` when the peer said yes, `idle_s` when it was last served;
    `alone` is set when it is one request's own.
    """

    calling: str
    opened_s: float
    proposed: Collection[Pair]
    state: State = State.OPENING
    accepted: Collection[Pair] = ()
    established_s: float = 0.0
    idle_s: float = 0.0
    served: int = 0
    alone: Alone | None = None

    def fits(self, request: Request) -> bool:
        """Whether the request could go over this association, or could as far as is known while it opens."""
        mine = self.alone is None or self.alone.request.receipt == request.receipt
        return mine and self.calling == request.calling and self.takes(request.pair)

    def takes(self, pair: Pair) -> bool:
        """The same of a pair, whoever calls."""
        return pair in (self.proposed if self.state is State.OPENING else self.accepted)


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_associations` counts those of all calling AE titles; `batch_size` objects wear one out, 0 = never; one that
    opens for longer than `late_s`, while another works, is given up."""

    max_associations: int
    batch_size: int = 0
    late_s: float = LATE_S


@dataclass(frozen=True, slots=True)
class Open:
    """Open an association for this request, and propose what else waits under its calling AE title.

    `alone`: an association of its own, which proposes nothing else.
    """

    request: Request
    alone: Alone | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    association: Association
    request: Request


@dataclass(frozen=True, slots=True)
class Release:
    association: Association


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Abort an association that does not open: the peer seems to serve no more at once than those that work."""

    association: Association


Action = Open | Bind | Release | GiveUp


def assign(
    requests: Collection[Request],
    associations: Sequence[Association],
    now_s: float,
    limits: Limits,
    alone: Alone | None = None,
) -> list[Action]:
    """What to do now. `requests` in the order of their claim (rank, receipt), without those that are bound; `alone` is
    none of them, but the suspect whose turn it is.

    Costs a few microseconds while one association asks for its next request, and looks at all requests only when
    nothing that fits is idle.
    """
    own = next((a for a in associations if a.alone is not None and a.state is not State.CLOSING), None)
    if own is None and alone is not None and alone.exclusive:
        if not associations:
            return [Open(alone.request, alone)] if limits.max_associations else []
        return [Release(a) for a in associations if a.state is State.IDLE]
    actions: list[Action] = []
    opening: list[Association] = []
    idle: list[Association] = []
    busy: list[Association] = []
    room = limits.max_associations - len(associations)
    works = any(a.state in (State.IDLE, State.RESERVED) for a in associations)
    closing = 0
    for association in associations:
        if association.state is State.CLOSING:
            closing += 1
        elif association.state is State.OPENING and works and now_s - association.opened_s >= limits.late_s:
            actions.append(GiveUp(association))
            room = 0  # the limit is about to fall
        elif association is own:
            if own.state is State.IDLE:
                fits = alone is not None and own.fits(alone.request)
                actions.append(Bind(own, own.alone.request) if fits and own.alone else Release(own))
            elif own.state is State.OPENING and not works:
                room = min(room, 0)
        elif association.state is State.IDLE and 0 < limits.batch_size <= association.served:
            actions.append(Release(association))
            closing += 1
        elif association.state is State.OPENING:
            opening.append(association)
        else:
            (idle if association.state is State.IDLE else busy).append(association)
    if own is not None and own.alone is not None and own.alone.exclusive:
        return actions
    if not works:  # the first one goes ahead: a dead peer is asked once, a narrow one has nothing to reject
        room = min(room, 1 - len(opening))
    idle.sort(key=lambda a: a.idle_s, reverse=True)  # the one used last first, so that the others may end
    wanting = alone if own is None else None
    if wanting is not None and wanting.overdue:
        if room > 0:
            actions.append(Open(wanting.request, wanting))
            room, wanting = room - 1, None
        elif idle and not closing:
            actions.append(Release(idle.pop()))
            closing += 1

    bound: set[str] = set()
    waiting: Counter[str] = Counter()
    opened: Counter[str] = Counter()
    starved: set[str] = set()
    left: dict[str, Counter[Pair]] = {}  # what waits unbound, by calling AE title; counted when it is first needed
    served: set[tuple[str, Pair]] = set()  # nothing more can be done for these, since there is no room
    for request in requests:
        if room <= 0 and (not idle or (request.calling, request.pair) in served):
            if not idle:
                break
            continue
        fitting = next((a for a in idle if a.fits(request)), None)
        if fitting is not None:
            idle.remove(fitting)
            busy.append(fitting)
            bound.add(request.receipt)
            if left:
                left[request.calling][request.pair] -= 1
            actions.append(Bind(fitting, request))
            continue
        calling = request.calling
        if calling in starved:
            continue
        waiting[calling] += 1
        coming = opened[calling] + sum(a.fits(request) for a in opening)
        serving = coming + sum(a.fits(request) for a in busy)
        impatient = not coming and now_s - request.since_s >= PATIENCE_S
        if room <= 0 and serving:
            served.add((calling, request.pair))
        elif serving and waiting[calling] <= GRAIN * serving and not impatient:
            continue
        elif room > 0:
            actions.append(Open(request))
            opened[calling] += 1
            room -= 1
        else:
            starved.add(calling)
            if len(starved) <= closing:
                continue  # room is being made already
            if not left:
                for other in requests:
                    if other.receipt not in bound:
                        left.setdefault(other.calling, Counter())[other.pair] += 1
            spare = _spare(idle, left, now_s)
            if spare is not None:
                idle.remove(spare)
                actions.append(Release(spare))
                closing += 1
    if wanting is not None and room > 0:
        actions.append(Open(wanting.request, wanting))
    elif wanting is not None and idle and not closing:
        actions.append(Release(idle.pop()))
    actions += [Release(a) for a in idle if now_s - a.idle_s >= IDLE_S]
    return actions


def _spare(idle: Sequence[Association], left: Mapping[str, Counter[Pair]], now_s: float) -> Association | None:
    """The idle association that can best be done without: of no use to anybody, or else one whose turn is over."""
    for association in reversed(idle):
        pairs = left.get(association.calling, Counter[Pair]())
        if not any(number and association.takes(pair) for pair, number in pairs.items()):
            return association
    return next((a for a in reversed(idle) if now_s - a.established_s >= TURN_S), None)
