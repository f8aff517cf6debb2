"""A destination as the sender drives it, in virtual time: the pure decisions, and a peer with limits and failures."""

from dataclasses import dataclass, field

from msgspec.structs import replace

from leyden.deliver.pool import Alone, Bind, GiveUp, Limits, Member, Open, Phase, Release, Request, assign, no_series
from leyden.deliver.retry import Health, loss_delay_s
from leyden.deliver.suspicion import Suspicion

TICK_S = 0.05
ANSWER_TIMEOUT_S = 30.0
CT, MR = ("ct", "explicit"), ("mr", "explicit")


@dataclass
class Peer:
    """`served`: the associations that it counts, each with the time when it notices the end (None = not ended)."""

    capacity: int
    hangs: bool
    notices_after_s: float
    up: bool = True
    deadly: dict[str, str] = field(default_factory=dict)  # receipt -> what happens meanwhile: ends, stalls, all end
    served: dict[Member, float | None] = field(default_factory=dict)

    def has_room(self, now_s):
        for association, noticed_s in list(self.served.items()):
            if noticed_s is not None and now_s >= noticed_s:
                del self.served[association]
        return len(self.served) < self.capacity


class World:
    """One destination as the sender drives it: assign() decides, Health remembers, this acts."""

    def __init__(self, peer, max_associations=4, batch_size=0, service_s=0.1, latency_s=0.1):
        self.peer, self.batch_size, self.service_s, self.latency_s = peer, batch_size, service_s, latency_s
        self.max_associations = max_associations
        self.health = Health(max_associations)
        self.suspicion = Suspicion()
        self.now_s = 0.0
        self.requests: list[Request] = []
        self.associations: list[Member] = []
        self.bound: dict[Member, tuple[Request, float]] = {}
        self.deferred: list[tuple[float, Request]] = []
        self.given_up: list[Request] = []
        self.tries: dict[str, int] = {}
        self.closing: dict[Member, float] = {}
        self.delivered: list[tuple[float, Request]] = []
        self.left_behind: list[Request] = []  # of a series when an association went on with another one
        self.number = 0
        self.opened = 0

    def arrive(self, calling, pair=CT, rank="00", study="", series="", ordered=False):
        self.number += 1
        receipt = f"{self.number:022d}"
        request = Request(rank, receipt, calling, pair, self.now_s, study=study, series=series, ordered=ordered)
        self._queue(request)
        return request

    def run(self, for_s):
        for _ in range(round(for_s / TICK_S)):
            self.now_s += TICK_S
            self._peer_acts()
            self._due()
            self.act()

    def run_until_done(self, within_s):
        end_s = self.now_s + within_s
        while (self.requests or self.bound or self.deferred) and self.now_s < end_s:
            self.run(TICK_S)
        assert not self.requests, f"{len(self.requests)} never served, {self.associations}"
        assert not self.bound
        assert not self.deferred

    def _due(self):
        back = [request for due_s, request in self.deferred if due_s <= self.now_s]
        if back:
            self.deferred = [each for each in self.deferred if each[0] > self.now_s]
            self._queue(*back)

    def _queue(self, *requests):
        self.requests.extend(requests)
        self.requests.sort(key=lambda r: (r.rank, r.receipt))

    def act(self):
        for request in [r for r in self.requests if self.suspicion.hopeless(r) is not None]:
            self.suspicion.gave_up(request)
            self.requests.remove(request)
            self.given_up.append(request)
        limit = self.health.limit(self.now_s)
        all_innocent = [r for r in self.requests if not self.suspicion.suspects(r)] if limit else []
        innocent = self._in_turn(all_innocent)
        works = any(member.phase in (Phase.IDLE, Phase.BUSY) for member in self.associations)
        newest = self.health.failures % 2 and (self.health.objects_failed or not works)
        if self.health.in_trouble and newest and innocent:
            innocent.insert(0, innocent.pop())
        alone = self._alone() if limit else None
        if self.health.holds(self.now_s):
            limit = min(limit, len(self.associations))

        def of_series(series):
            return [request for request in all_innocent if request.series == series]

        left: list[tuple[str, float]] = []
        limits, together = Limits(limit, self.batch_size), no_series if self.health.in_trouble else of_series
        for action in assign(innocent, self.associations, self.now_s, limits, alone, together):
            match action:
                case Bind(association, request):
                    if association.series not in ("", request.series):
                        left.append((association.series, association.idle_s))
                    assert association.phase is Phase.IDLE
                    assert association.fits(request)
                    assert association.alone is None or association.served == 0
                    self.requests.remove(request)  # ValueError if it was bound before
                    self.tries[request.receipt] = self.tries.get(request.receipt, 0) + 1
                    association.carry(request, self.now_s)
                    self.bound[association] = (request, self.now_s)
                case Open(request, own):
                    self.opened += 1
                    proposed = {r.pair for r in self.requests if r.calling == request.calling}
                    self.associations.append(Member(request.calling, self.now_s, proposed, alone=own))
                    assert not (own and own.exclusive and len(self.associations) > 1)
                case Release(association):
                    assert association.phase is Phase.IDLE
                    self._release(association)
                case GiveUp(association):
                    assert association.phase is Phase.OPENING
                    self._did_not_open(association, "not answered")
        for series, idle_s in left:
            self.left_behind += [r for r in self.requests if r.series == series and r.since_s <= idle_s]
        assert len(self.associations) <= self.max_associations
        assert sum(a.alone is not None and a.phase is not Phase.CLOSING for a in self.associations) <= 1

    def _in_turn(self, requests):
        """Without those that are behind another one of their sorted series."""
        turns: dict[str, Request] = {}
        for request in requests:
            turns.setdefault(request.rank + request.series if request.ordered else request.receipt, request)
        return list(turns.values())

    def _alone(self) -> Alone | None:
        own = next((a.alone for a in self.associations if a.alone and a.phase is not Phase.CLOSING), None)
        turn = own or self.suspicion.turn([r for r in self.requests if self.suspicion.suspects(r)], self.now_s)
        return turn if turn is not None and turn.request in self.requests else None

    def _release(self, association):
        association.phase = Phase.CLOSING
        self.closing[association] = self.now_s + self.latency_s

    def _did_not_open(self, association, reason):
        self.associations.remove(association)
        phases = [a.phase for a in self.associations]
        established = phases.count(Phase.IDLE) + phases.count(Phase.BUSY)
        opening = phases.count(Phase.OPENING)
        self.health.did_not_open(reason, self.now_s, 0.5, established=established, opening=opening)

    def _peer_acts(self):
        for association in list(self.associations):
            if association not in self.associations:
                continue  # it ended with another one
            match association.phase:
                case Phase.OPENING if self.now_s >= association.opened_s + self.latency_s:
                    self._answer(association)
                case Phase.BUSY if association in self.bound:
                    self._serve(association, *self.bound[association])
                case Phase.CLOSING if self.now_s >= self.closing[association]:
                    del self.closing[association]
                    self.associations.remove(association)
                    self.peer.served[association] = self.now_s + self.peer.notices_after_s
                    self.health.freed(self.now_s)

    def _answer(self, association):
        if not self.peer.up:
            self._did_not_open(association, "refused")
        elif self.peer.has_room(self.now_s):
            self.peer.served[association] = None
            association.phase, association.accepted = Phase.IDLE, association.proposed
            association.established_s = association.idle_s = self.now_s
        elif not self.peer.hangs:
            self._did_not_open(association, "rejected")
        elif self.now_s >= association.opened_s + ANSWER_TIMEOUT_S:
            self._did_not_open(association, "no answer")

    def _serve(self, association, request, start_s):
        misdeed = self.peer.deadly.get(request.receipt, "")
        if not self.peer.up or (misdeed and self.now_s >= start_s + (5.0 if misdeed == "stalls" else self.service_s)):
            self._lost(association)
            if misdeed == "all end":
                for other in [a for a in self.associations if a.phase is not Phase.CLOSING]:
                    self._lost(other)
        elif not misdeed and self.now_s >= start_s + self.service_s:
            del self.bound[association]
            self.delivered.append((self.now_s, request))
            self.suspicion.answered(request, self.now_s, association.alone)
            self.suspicion.forget(request.receipt)
            self.health.answered()
            association.served += 1
            association.phase, association.idle_s = Phase.IDLE, self.now_s
            if association.alone is not None:
                self._release(association)

    def _lost(self, association):
        self.associations.remove(association)
        self.peer.served.pop(association, None)
        if association not in self.bound:
            return
        request, start_s = self.bound.pop(association)
        phases = [a.phase for a in self.associations]
        self.suspicion.lost(request, "lost", start_s, self.now_s, association.alone)
        if association.alone is None and not phases.count(Phase.IDLE) + phases.count(Phase.BUSY):
            self.health.lost("lost", self.now_s, 0.5)
        again = replace(request, losses=request.losses + 1)
        wait_s = loss_delay_s(again.losses, 0.5)
        self.deferred.append((self.now_s + wait_s, again))
