"""Which objects end associations, as far as losses and answers tell, and what is done with such a suspect.

An established association that ends in the middle of an object, is not answered in time or is answered with nonsense
speaks against that object first, whatever the peer's trouble is: there are peers that abort at what they cannot parse.
So an object that was lost once is tried alone from then on: over an association of its own, one suspect at a time,
while the others go on. Where several associations were lost at once, nobody knows whose fault it was; then the next try
is made with nothing beside it. A kind, that is what came under one calling AE title in one SOP class, or one study of
these, is suspect as well after losses under several of its objects without an answer to any.

A suspect is given up only when it was lost alone again and again while the peer answered to others, before and after.
While nothing at all is answered it waits, for as long as it takes; the pause between two tries grows then. Any answer
clears the object and its kinds. Deliberately absent: clocks, the spool, and what is said in the log.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from leyden.deliver.pool import Alone, Kind, Request

GIVE_UP_LOSSES = 5  # each alone, and between answers to others
GIVE_UP_LOSSES_OF_KIND = 2  # the same, once
KIND_GIVEN_UP = 3  # so many of its kind were given up, and none was answered
KIND_LOSSES = 3  # in a row; one is enough if it was a stall, which costs others so long
ALIVE_S = 60.0  # an answer so long ago still shows that the peer was well
SAME_MOMENT_S = 1.0
PAUSE_S = 0.2
SHORT_PAUSES = 30  # then each is twice as long as the one before
LONGEST_PAUSE_S = 30.0
OVERDUE_S = 10.0
DOUBLINGS_MAX = 10
MOMENT_MAX = 64
OBJECTS_MAX = 100_000
KINDS_MAX = 10_000


@dataclass(slots=True)
class _Object:
    """What happened to an object. Of its last loss: when and how it was (`lost_s`, `words`), whether over an
    association of its own (`alone`) and together with others (`shared`), and how many `answers` the peer had given to
    anybody until then. `proved` counts the losses that were its own fault beyond doubt."""

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


@dataclass(slots=True)
class _Kind:
    """Since the last answer to one of its objects: how many of them were lost, and how many were given up."""

    losses: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """What a loss made of an object and its kinds: `first` = it was not suspected before; nor were these `kinds`."""

    first: bool
    kinds: tuple[Kind, ...]


class Suspicion:
    """The suspects of one destination. All times are the caller's, of one clock."""

    def __init__(self) -> None:
        self.version = 0  # changes when requests that wait become suspects, or are none any more
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
        """Whether this one is to be tried alone. May be asked from any thread."""
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
        begun_s: float,
        now_s: float,
        alone: Alone | None = None,
        *,
        stalled: bool = False,
    ) -> Lost:
        """An association ended under a request whose transfer had begun at `begun_s`; `words` tell how. `alone`: it was
        the request's own; `stalled`: we ended it, for want of an answer."""
        past = self._objects.pop(request.receipt, None)
        first = past is None and not request.losses
        if past is None:
            past = _Object(request.losses, self._answers)
            _make_room(self._objects, OBJECTS_MAX)
        else:
            self._judge(past)
        self._objects[request.receipt] = past
        past.peer_was_well = self._answers > past.answers or now_s - self._answered_s <= ALIVE_S
        past.losses, past.answers, past.words, past.lost_s, past.alone = (
            past.losses + 1, self._answers, words, now_s, alone,
        )  # fmt: skip
        past.judged = past.cleared = False
        past.shared = self._shared(past, request.receipt, begun_s)
        self._losses += 1
        if alone is not None:
            doublings = max(0, min(self._losses - SHORT_PAUSES, DOUBLINGS_MAX))
            self._pause_until_s = now_s + min(PAUSE_S * 2.0**doublings, LONGEST_PAUSE_S)
            self._ready_s, self._turns = None, self._turns + 1
        weight = KIND_LOSSES if stalled else 1
        return Lost(first, tuple(kind for kind in request.kinds if first and self._lost_of(kind, weight)))

    def _shared(self, past: _Object, receipt: str, begun_s: float) -> bool:
        """Whether others were lost at the same moment, over associations beside this one; they are told as well."""
        shared = False
        for other, other_lost_s in self._moment:
            if other != receipt and past.lost_s - other_lost_s <= SAME_MOMENT_S and begun_s < other_lost_s:
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
        """The peer answered to a request, whatever it said."""
        self._answers += 1
        self._answered_s = now_s
        self._losses, self._pause_until_s = 0, float("-inf")
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
        """The peer's last words to a suspect that is to be given up now; None = it is not."""
        past = self._objects.get(request.receipt)
        if past is None or past.cleared:
            return None
        self._judge(past)
        given_up = max(self._kinds[kind].given_up if kind in self._kinds else 0 for kind in request.kinds)
        enough = GIVE_UP_LOSSES_OF_KIND if given_up >= KIND_GIVEN_UP else GIVE_UP_LOSSES
        return past.words if past.proved >= enough else None

    def _judge(self, past: _Object) -> None:
        """Whose fault the last loss was is known once the peer has answered to somebody after it."""
        if past.judged or self._answers == past.answers:
            return
        past.judged = True
        past.proved += past.alone is not None and past.peer_was_well and not past.shared

    def turn(self, suspects: Iterable[Request], now_s: float) -> Alone | None:
        """The suspect that is to be tried now, of those that may be sent, given in the order of the queue.

        What is of no suspect kind goes first, then what was lost less often; among equals the oldest and the newest in
        turn, so that a harmless one does not wait for all that stand before it. Each third turn is for what was lost
        most often, so that it comes to an end.
        """
        if now_s < self._pause_until_s:
            return None
        equals: list[Request] = []
        least: tuple[int, int] | None = None
        most, most_losses = None, -1
        for request in suspects:
            past = self._objects.get(request.receipt)
            losses = past.losses if past else request.losses
            rank = self._suspect_kinds(request), losses
            if least is None or rank < least:
                least, equals = rank, []
            if rank == least:
                equals.append(request)
            if losses > most_losses:
                most, most_losses = request, losses
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
