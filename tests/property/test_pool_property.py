"""The pool against simulated peers, in virtual time: nothing twice, never too many, and everybody gets through.

A peer here serves a number of associations at once. The others it rejects, or leaves without an answer until one has
ended, which it notices with a delay; it may also be down for a while.
"""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from leyden.deliver.pool import Association, Bind, GiveUp, Limits, Open, Release, Request, State, assign
from leyden.deliver.retry import Health

TICK_S = 0.05
ANSWER_TIMEOUT_S = 30.0
CT, MR = ("ct", "explicit"), ("mr", "explicit")


@dataclass
class Peer:
    """`served` are associations it counts, with when it will have noticed their end (None = still going on)."""

    capacity: int
    hangs: bool
    notices_after_s: float
    up: bool = True
    served: dict[Association, float | None] = field(default_factory=dict)

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
        self.now_s = 0.0
        self.requests: list[Request] = []
        self.associations: list[Association] = []
        self.bound: dict[Association, tuple[Request, float]] = {}
        self.closing: dict[Association, float] = {}
        self.delivered: list[tuple[float, Request]] = []
        self.number = 0
        self.opened = 0

    def arrive(self, calling, pair=CT, rank="00"):
        self.number += 1
        request = Request(rank, f"{self.number:022d}", calling, pair, self.now_s)
        self.requests.append(request)
        self.requests.sort(key=lambda r: (r.rank, r.receipt))
        return request

    def run(self, for_s):
        for _ in range(round(for_s / TICK_S)):
            self.now_s += TICK_S
            self._peer_acts()
            self.act()

    def run_until_done(self, within_s):
        end_s = self.now_s + within_s
        while (self.requests or self.bound) and self.now_s < end_s:
            self.run(TICK_S)
        assert not self.requests, f"{len(self.requests)} never served, {self.associations}"
        assert not self.bound

    def act(self):
        limit = self.health.limit(self.now_s)
        requests = self.requests if limit else []
        if self.health.holds(self.now_s):
            limit = min(limit, len(self.associations))
        for action in assign(requests, self.associations, self.now_s, Limits(limit, self.batch_size)):
            match action:
                case Bind(association, request):
                    assert association.state is State.IDLE
                    assert association.fits(request)
                    self.requests.remove(request)  # ValueError if it was bound before
                    association.state = State.RESERVED
                    self.bound[association] = (request, self.now_s + self.service_s)
                case Open(request):
                    self.opened += 1
                    proposed = {r.pair for r in self.requests if r.calling == request.calling}
                    self.associations.append(Association(request.calling, self.now_s, proposed))
                case Release(association):
                    assert association.state is State.IDLE
                    association.state = State.CLOSING
                    self.closing[association] = self.now_s + self.latency_s
                case GiveUp(association):
                    assert association.state is State.OPENING
                    self._did_not_open(association, "not answered")
        assert len(self.associations) <= self.max_associations

    def _did_not_open(self, association, reason):
        self.associations.remove(association)
        states = [a.state for a in self.associations]
        established = states.count(State.IDLE) + states.count(State.RESERVED)
        opening = states.count(State.OPENING)
        self.health.did_not_open(reason, self.now_s, 0.5, established=established, opening=opening)

    def _peer_acts(self):
        for association in list(self.associations):
            match association.state:
                case State.OPENING if self.now_s >= association.opened_s + self.latency_s:
                    self._answer(association)
                case State.RESERVED:
                    request, done_s = self.bound[association]
                    if not self.peer.up:
                        self._lost(association, request)
                    elif self.now_s >= done_s:
                        del self.bound[association]
                        self.delivered.append((self.now_s, request))
                        self.health.answered()
                        association.served += 1
                        association.state, association.idle_s = State.IDLE, self.now_s
                case State.CLOSING if self.now_s >= self.closing[association]:
                    del self.closing[association]
                    self.associations.remove(association)
                    self.peer.served[association] = self.now_s + self.peer.notices_after_s
                    self.health.freed(self.now_s)

    def _answer(self, association):
        if not self.peer.up:
            self._did_not_open(association, "refused")
        elif self.peer.has_room(self.now_s):
            self.peer.served[association] = None
            association.state, association.accepted = State.IDLE, association.proposed
            association.established_s = association.idle_s = self.now_s
        elif not self.peer.hangs:
            self._did_not_open(association, "rejected")
        elif self.now_s >= association.opened_s + ANSWER_TIMEOUT_S:
            self._did_not_open(association, "no answer")

    def _lost(self, association, request):
        del self.bound[association]
        self.associations.remove(association)
        self.peer.served.pop(association, None)
        self.requests.append(request)
        self.requests.sort(key=lambda r: (r.rank, r.receipt))
        states = [a.state for a in self.associations]
        established = states.count(State.IDLE) + states.count(State.RESERVED)
        self.health.lost("lost", self.now_s, 0.5, established=established)


class PoolMachine(RuleBasedStateMachine):
    @initialize(
        capacity=st.integers(1, 3),
        hangs=st.booleans(),
        notices_after_s=st.sampled_from((0.0, 0.5)),
        max_associations=st.integers(1, 4),
        batch_size=st.integers(0, 3),
    )
    def begin(self, capacity, hangs, notices_after_s, max_associations, batch_size):
        self.world = World(Peer(capacity, hangs, notices_after_s), max_associations, batch_size)
        self.arrived = 0

    @rule(
        calling=st.sampled_from("ABC"),
        pair=st.sampled_from((CT, MR)),
        rank=st.sampled_from(("00", "01")),
        n=st.integers(1, 12),
    )
    def arrive(self, calling, pair, rank, n):
        for _ in range(n):
            self.world.arrive(calling, pair, rank)
        self.arrived += n
        self.world.act()

    @rule(ticks=st.integers(1, 60))
    def time_passes(self, ticks):
        self.world.run(ticks * TICK_S)

    @rule()
    def the_peer_goes_down_or_comes_back(self):
        self.world.peer.up = not self.world.peer.up

    @invariant()
    def nothing_is_lost_or_twice(self):
        world = self.world if hasattr(self, "world") else None
        if world is not None:
            everywhere = [r.receipt for r in world.requests]
            everywhere += [r.receipt for r, _ in world.bound.values()]
            everywhere += [r.receipt for _, r in world.delivered]
            assert len(everywhere) == len(set(everywhere)) == self.arrived

    @invariant()
    def no_association_is_worn_beyond_its_batch(self):
        if hasattr(self, "world") and self.world.batch_size:
            assert all(a.served <= self.world.batch_size for a in self.world.associations)

    def teardown(self):
        if hasattr(self, "world"):
            self.world.peer.up = True
            self.world.run_until_done(within_s=1500)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


@settings(max_examples=40, deadline=None)
@given(
    hangs=st.booleans(),
    notices_after_s=st.sampled_from((0.0, 0.5)),
    callers=st.integers(2, 5),
    max_associations=st.integers(1, 4),
)
def test_every_calling_title_gets_through_in_turn_to_a_peer_that_serves_one_at_a_time(
    hangs, notices_after_s, callers, max_associations
):
    """While all of them send on without a pause, and more than the line takes."""
    world = World(Peer(1, hangs, notices_after_s), max_associations)
    titles = "ABCDE"[:callers]
    for _ in range(40 * 5):
        for title in titles:
            world.arrive(title)
        world.run(0.2)
    got = {title: sum(r.calling == title for _, r in world.delivered) for title in titles}
    assert min(got.values()) > 0.3 * max(got.values()), got
    world.run_until_done(within_s=600)


@settings(max_examples=30, deadline=None)
@given(hangs=st.booleans(), backlog=st.integers(1, 200))
def test_a_short_queue_waits_no_longer_for_a_long_one_than_its_age_says(hangs, backlog):
    """What B brings is served before anything that A brings later, give or take the turn and the negotiation."""
    world = World(Peer(1, hangs, 0.0))
    for _ in range(backlog):
        world.arrive("A")
    world.run(1.0)
    late = world.arrive("B")
    for _ in range(600):
        world.arrive("A")
    while all(request is not late for _, request in world.delivered):
        world.run(TICK_S)
        assert world.now_s < 1000
    served_before = sum(r.receipt > late.receipt for _, r in world.delivered)
    assert served_before <= 60  # a few seconds: finding out that the peer is narrow, A's turn, the negotiation


def test_associations_are_not_opened_for_each_object():
    world = World(Peer(4, False, 0.0), service_s=0.05)
    for _ in range(500):
        world.arrive("A")
    world.run_until_done(within_s=60)
    assert world.opened == 4
