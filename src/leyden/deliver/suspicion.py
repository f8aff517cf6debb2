"""Which objects make a peer end associations, as far as losses and answers tell, and how such a suspect is tried again.

A loss is an established association that ended in the middle of an object, or whose peer did not answer in time or
answered with nonsense. It speaks against that object first, whatever the peer's trouble is: some peers abort when they
cannot parse an object. So an object that was lost once is tried alone from then on: over an association of its own, one
suspect at a time, while the others go on. Where several associations were lost at once, nobody knows whose fault it
was, and the next try is made with no other association beside it. A kind is all that came under one calling AE title in
one SOP class, or one study of these; it is suspect as well after losses under several of its objects and no answer to
any of them.

A suspect is given up only when it was lost alone again and again while the peer answered others, before and after.
While the peer answers nothing at all the suspect waits, without end, and the pauses between the tries grow. Any answer
clears the object and its kinds. Deliberately absent: clocks, the spool, and what is said in the log.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Any

import msgspec

from leyden.deliver.pool import Alone, Kind, Request

GIVE_UP_LOSSES = 5  # each alone, and between answers to others
GIVE_UP_LOSSES_OF_KIND = 2  # instead, after KIND_GIVEN_UP
KIND_GIVEN_UP = 3  # objects of one kind were given up, and none was answered
KIND_LOSSES = 3  # in a row; a stall alone is enough, since it takes so long
ALIVE_S = 60.0  # an answer so long ago still shows that the peer was well
SAME_MOMENT_S = 1.0
PAUSE_S = 0.2
SHORT_PAUSES = 30  # of PAUSE_S; after that each is twice as long as the one before
LONGEST_PAUSE_S = 30.0
OVERDUE_S = 10.0
DOUBLINGS_MAX = 10
MOMENT_MAX = 64
OBJECTS_MAX = 100_000
KINDS_MAX = 10_000


class _Object(msgspec.Struct):
    """What happened to an object: all its losses, and the last one.

    `proved` counts the losses that were certainly its own fault. Of the last one: when it was (`lost_s`), what the peer
    or the network said (`words`), the association of its own that it had, if any (`alone`), whether other associations
    were lost at the same moment (`shared`), how many objects the peer had answered until then (`answers`), whether it
    had answered shortly before (`peer_was_well`), and whether it is known yet whose fault it was (`judged`).
    """

    losses: int
    answers: int
    proved: int = 0
    words: str = ""
    lost_s: float = 0.0
    alone: Alone | None = None
    shared: bool = False
    peer_was_well: bool = False
    judged: bool = True
    cleared: bool = False  # it was answered since


class _Kind(msgspec.Struct):
    """How many of its objects were lost, and how many were given up, since the last answer to one of them."""

    losses: int = 0
    given_up: int = 0


class Lost(msgspec.Struct, frozen=True):
    """What is new with a loss: `first` = the object was not lost before; `kinds` = these became suspect."""

    first: bool
    kinds: tuple[Kind, ...]


class Suspicion:
    """The suspects of one destination. All times are the caller's, of one clock."""

    def __init__(self) -> None:
        self.version = 0  # changes whenever requests that wait become suspects, or are no longer suspects
        self._objects: OrderedDict[str, _Object] = OrderedDict()  # by receipt
        self._kinds: OrderedDict[Kind, _Kind] = OrderedDict()
        self._moment: deque[tuple[str, float]] = deque(maxlen=MOMENT_MAX)  # the last losses: receipt, when
        self._answers = 0
        self._answered_s = float("-inf")
        self._losses = 0  # since the last answer
        self._pause_until_s = float("-inf")
        self._ready_s: float | None = None  # since when a suspect waits for its turn
        self._turns = 0

    def suspects(self, request: Request) -> bool:
        """Whether this request is to be tried alone. May be called from any thread."""
        past = self._objects.get(request.receipt)
        lost_before = bool(request.losses) if past is None else not past.cleared
        return lost_before or self._suspect_kinds(request) > 0

    def _suspect_kinds(self, request: Request) -> int:
        if not self._kinds:
            return 0
        found = (self._kinds.get(kind) for kind in request.kinds)
        return sum(kind is not None and kind.losses >= KIND_LOSSES for kind in found)

    # -- what happened

    def lost(
        self,
        request: Request,
        words: str,
        start_s: float,
        now_s: float,
        alone: Alone | None = None,
        *,
        stalled: bool = False,
    ) -> Lost:
        """An association ended under a request that was sent since `start_s`; `words` say how. `alone`: the association
        was the request's own; `stalled`: we ended it, because no answer came."""
        past = self._objects.pop(request.receipt, None)
        first = past is None and not request.losses
        if past is None:
            past = _Object(request.losses, self._answers)
            _make_room(self._objects, OBJECTS_MAX)
        else:
            self._judge(past)
        self._objects[request.receipt] = past
        past.peer_was_well = self._answers > past.answers or now_s - self._answered_s <= ALIVE_S
        past.losses += 1
        past.answers = self._answers
        past.words = words
        past.lost_s = now_s
        past.alone = alone
        past.judged = False
        past.cleared = False
        past.shared = self._shared(past, request.receipt, start_s)
        self._losses += 1
        if alone is not None:
            doublings = max(0, min(self._losses - SHORT_PAUSES, DOUBLINGS_MAX))
            self._pause_until_s = now_s + min(PAUSE_S * 2.0**doublings, LONGEST_PAUSE_S)
            self._ready_s = None
            self._turns += 1
        weight = KIND_LOSSES if stalled else 1
        return Lost(first, tuple(kind for kind in request.kinds if first and self._lost_of(kind, weight)))

    def _shared(self, past: _Object, receipt: str, start_s: float) -> bool:
        """Whether others were lost at the same moment, over other associations; their losses were shared, too."""
        shared = False
        for other, other_lost_s in self._moment:
            if other != receipt and past.lost_s - other_lost_s <= SAME_MOMENT_S and start_s < other_lost_s:
                shared = True
                beside = self._objects.get(other)
                if beside is not None and beside.lost_s == other_lost_s:
                    beside.shared = True
        self._moment.append((receipt, past.lost_s))
        return shared

    def _lost_of(self, kind: Kind, weight: int) -> bool:
        """Count an object's first loss; True if that makes its kind suspect."""
        past = self._of(kind)
        was_suspect = past.losses >= KIND_LOSSES
        past.losses += weight
        if was_suspect or past.losses < KIND_LOSSES:
            return False
        self.version += 1
        return True

    def _of(self, kind: Kind) -> _Kind:
        if kind not in self._kinds:
            _make_room(self._kinds, KINDS_MAX)
        return self._kinds.setdefault(kind, _Kind())

    def answered(self, request: Request, now_s: float, alone: Alone | None = None) -> None:
        """The peer answered a request, whatever it said."""
        self._answers += 1
        self._answered_s = now_s
        self._losses = 0
        self._pause_until_s = float("-inf")
        if alone is not None:
            self._ready_s = None
        if self._kinds:
            for kind in request.kinds:
                past = self._kinds.pop(kind, None)
                if past is not None and past.losses >= KIND_LOSSES:
                    self.version += 1
        if request.losses or request.receipt in self._objects:
            _make_room(self._objects, OBJECTS_MAX)
            self._objects[request.receipt] = _Object(request.losses, self._answers, cleared=True)

    def gave_up(self, request: Request) -> None:
        """The request was given up."""
        self.forget(request.receipt)
        for kind in request.kinds:
            self._of(kind).given_up += 1

    def forget(self, receipt: str) -> None:
        """The object of this receipt is no longer in the queue."""
        self._objects.pop(receipt, None)

    # -- what is to be done

    def hopeless(self, request: Request) -> str | None:
        """How the last loss of a suspect went, if the suspect is to be given up now; None = it is not."""
        past = self._objects.get(request.receipt)
        if past is None or past.cleared:
            return None
        self._judge(past)
        given_up = max(self._kinds[kind].given_up if kind in self._kinds else 0 for kind in request.kinds)
        enough = GIVE_UP_LOSSES_OF_KIND if given_up >= KIND_GIVEN_UP else GIVE_UP_LOSSES
        return past.words if past.proved >= enough else None

    def _judge(self, past: _Object) -> None:
        """Whose fault the last loss was is known once the peer has answered anybody after it."""
        if past.judged or self._answers == past.answers:
            return
        past.judged = True
        past.proved += past.alone is not None and past.peer_was_well and not past.shared

    def turn(self, suspects: Iterable[Request], now_s: float) -> Alone | None:
        """The suspect that is to be tried now; `suspects` are those that may be sent, in the order of the queue.

        Those of no suspect kind go first, then those that were lost less often; among equals the oldest and the newest
        in turn, so that a harmless one does not wait for all that stand before it. Each third turn goes to the one that
        was lost most often, so that it is decided some day.
        """
        if now_s < self._pause_until_s:
            return None
        equals: list[Request] = []
        least: tuple[int, int] | None = None
        most: Request | None = None
        most_losses = -1
        for request in suspects:
            past = self._objects.get(request.receipt)
            losses = past.losses if past else request.losses
            rank = self._suspect_kinds(request), losses
            if least is None or rank < least:
                least = rank
                equals = []
            if rank == least:
                equals.append(request)
            if losses > most_losses:
                most = request
                most_losses = losses
        if most is None:
            return None
        if self._ready_s is None:
            self._ready_s = now_s
        chosen = (equals[0], equals[-1], most)[self._turns % 3]
        past = self._objects.get(chosen.receipt)
        exclusive = past is not None and past.alone is not None and (past.shared or past.alone.exclusive)
        return Alone(chosen, exclusive, overdue=now_s - self._ready_s >= OVERDUE_S)


def _make_room(past: OrderedDict[Any, Any], most: int) -> None:
    while len(past) >= most:
        past.popitem(last=False)
