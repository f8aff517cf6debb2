"""The pool against simulated peers, in virtual time: nothing twice, never too many, and everybody gets through.

A peer here serves a number of associations at once. The others it rejects, or leaves without an answer until one has
ended, which it notices with a delay; it may also be down for a while.
"""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from leyden.deliver.pool import SERIES_S
from support.world import CT, MR, TICK_S, Peer, World


class PoolMachine(RuleBasedStateMachine):
    """It tries to deliver for as long as it takes, over several associations at once (README.md).
    Each object stands in one place, and arrives once."""

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
        series=st.sampled_from(("", "X", "Y", "sorted")),
        n=st.integers(1, 12),
    )
    def arrive(self, calling, pair, rank, series, n):
        for _ in range(n):
            self.world.arrive(calling, pair, rank, series=series, ordered=series == "sorted")
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
            everywhere += [r.receipt for _, r in world.deferred]
            everywhere += [r.receipt for _, r in world.delivered]
            assert len(everywhere) == len(set(everywhere)) == self.arrived

    @invariant()
    def no_association_is_worn_beyond_its_batch(self):
        if hasattr(self, "world") and self.world.batch_size:
            assert all(a.served <= self.world.batch_size for a in self.world.associations)

    @invariant()
    def of_a_sorted_series_one_is_under_way_at_a_time(self):
        if hasattr(self, "world"):
            assert sum(request.ordered for request, _ in self.world.bound.values()) <= 1

    def teardown(self):
        if hasattr(self, "world"):
            self.world.peer.up = True
            self.world.run_until_done(within_s=1500)


TestNoObjectIsLostOrSentTwice = PoolMachine.TestCase
TestNoObjectIsLostOrSentTwice.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


@settings(max_examples=15, deadline=None)
@given(
    hangs=st.booleans(),
    notices_after_s=st.sampled_from((0.0, 0.5)),
    callers=st.integers(2, 5),
    max_associations=st.integers(1, 4),
    series=st.booleans(),
)
def test_every_calling_title_gets_through_in_turn_to_a_peer_that_serves_one_at_a_time(
    hangs, notices_after_s, callers, max_associations, series
):
    """Some archives serve only one at a time; Leyden notices this and uses one (docs/size.md).
    All titles send on without a pause, one series each or nothing of a series, and more than the line takes."""
    world = World(Peer(1, hangs, notices_after_s), max_associations)
    titles = "ABCDE"[:callers]
    for _ in range(40 * 5):
        for title in titles:
            world.arrive(title, series=title if series else "")
        world.run(0.2)
    got = {title: sum(r.calling == title for _, r in world.delivered) for title in titles}
    assert min(got.values()) > 0.3 * max(got.values()), got
    world.run_until_done(within_s=600)


@settings(max_examples=30, deadline=None)
@given(hangs=st.booleans(), backlog=st.integers(1, 200), series=st.sampled_from(("", "X")))
def test_a_short_queue_waits_no_longer_for_a_long_one_than_its_age_says(hangs, backlog, series):
    """Of objects for several titles the oldest goes first, give or take a turn and a negotiation."""
    world = World(Peer(1, hangs, 0.0))
    for _ in range(backlog):
        world.arrive("A", series=series)
    world.run(1.0)
    late = world.arrive("B")
    for _ in range(600):
        world.arrive("A", series=series)
    while all(request is not late for _, request in world.delivered):
        world.run(TICK_S)
        assert world.now_s < 1000
    served_before = sum(r.receipt > late.receipt for _, r in world.delivered)
    assert served_before <= 60  # a few seconds: finding out that the peer is narrow, A's turn, the negotiation


def test_associations_are_not_opened_for_each_object():
    """`MaxAssociations` (4) is how many a destination gets at once (docs/size.md), for a long queue too."""
    world = World(Peer(4, False, 0.0), service_s=0.05)
    for _ in range(500):
        world.arrive("A")
    world.run_until_done(within_s=60)
    assert world.opened == 4


ARRIVALS = st.lists(st.tuples(st.sampled_from("WXYZ"), st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(ARRIVALS, st.integers(1, 4))
def test_series_do_not_mix_on_an_association(arrivals, max_associations):
    """Series go together (docs/configure.md): an association leaves a series only when nothing of it waits."""
    world = World(Peer(4, False, 0.0), max_associations)
    for series, n, ticks in arrivals:
        for _ in range(n):
            world.arrive("A", series=series)
        world.run(ticks * TICK_S)
    world.run_until_done(within_s=300)
    assert not world.left_behind


@settings(max_examples=60, deadline=None)
@given(ARRIVALS, st.integers(1, 4), st.integers(0, 5))
def test_a_sorted_series_arrives_in_its_order_over_several_associations(arrivals, max_associations, batch_size):
    """One instance of the series goes after the other, so that it arrives in this order (docs/configure.md)."""
    world = World(Peer(4, False, 0.0), max_associations, batch_size)
    for series, n, _ in arrivals:
        for _ in range(n):
            world.arrive("A", series=series, ordered=series in "XY")
    world.run_until_done(within_s=600)
    for series in "XY":
        arrived = [request.receipt for _, request in world.delivered if request.series == series]
        assert arrived == sorted(arrived)


def test_a_series_without_end_keeps_nobody_waiting():
    """No series is kept waiting by another that never ends (docs/configure.md). It comes faster than it can be sent."""
    world = World(Peer(1, False, 0.0), 1)
    late = None
    while late is None or late not in [request for _, request in world.delivered[-100:]]:
        for _ in range(2):
            world.arrive("A", series="X")
        world.run(0.1)
        if world.now_s > 5 and late is None:
            late = world.arrive("A", series="Y")
        assert world.now_s < 5 * SERIES_S
