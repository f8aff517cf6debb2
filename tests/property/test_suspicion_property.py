"""Suspects against made-up peers, in virtual time: whatever a peer does not survive, all else gets through."""

from hypothesis import given, settings
from hypothesis import strategies as st

from support.world import CT, MR, Peer, World

MISDEEDS = ("ends", "stalls", "all end")
TRIES_MAX = 3  # with others, alone, and with nothing beside it


@st.composite
def queues(draw):
    """Objects of a few kinds in some order, and what the peer does under each ("" = it answers)."""
    kinds = draw(st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from((CT, MR)), st.sampled_from("xy")),
                          min_size=1, max_size=4))  # fmt: skip
    return draw(
        st.lists(st.tuples(st.sampled_from(kinds), st.sampled_from(("", "", *MISDEEDS))), min_size=1, max_size=25)
    )


@settings(max_examples=150, deadline=None)
@given(
    queue=queues(),
    capacity=st.integers(1, 4),
    hangs=st.booleans(),
    max_associations=st.integers(1, 4),
    every_s=st.sampled_from((0.0, 0.3, 5.0)),
)
def test_whatever_a_peer_does_not_survive_every_other_object_is_delivered_after_a_few_tries(
    queue, capacity, hangs, max_associations, every_s
):
    """Every other object is delivered after at most three tries, whatever the peer does not survive
    (DECISIONS.md 54)."""
    peer = Peer(capacity, hangs, 0.0)
    world = World(peer, max_associations)
    harmless = set()
    for (calling, pair, study), misdeed in queue:
        request = world.arrive(calling, pair, study=study)
        if misdeed:
            peer.deadly[request.receipt] = misdeed
        else:
            harmless.add(request.receipt)
        world.run(every_s)
    spent_s = 0
    while len(world.given_up) < len(peer.deadly) and spent_s < 8000:
        harmless.add(world.arrive("C", MR).receipt)  # an archive is not without good objects for long
        world.run(8.0)
        spent_s += 8
    world.run_until_done(within_s=1000)
    assert {request.receipt for request in world.given_up} == set(peer.deadly)
    assert {request.receipt for _, request in world.delivered} == harmless
    assert max(world.tries[receipt] for receipt in harmless) <= TRIES_MAX


@settings(max_examples=20, deadline=None)
@given(
    bad=st.integers(1, 200),
    misdeed=st.sampled_from(("ends", "all end")),
    capacity=st.integers(1, 4),
    same_kind=st.booleans(),
)
def test_a_good_object_waits_for_no_more_than_a_few_bad_ones(bad, misdeed, capacity, same_kind):
    """An association ended in the middle of an object: "Other objects are not held up" (docs/troubleshoot.md).
    The bad ones are all there first; then a good one comes each 8 s, under another title or from the same study."""
    world = World(Peer(capacity, False, 0.0))
    for _ in range(bad):
        world.peer.deadly[world.arrive("A").receipt] = misdeed
    world.run(1.0)
    for _ in range(10):
        good = world.arrive("A" if same_kind else "B")
        begin_s = world.now_s
        world.run(8.0)
        while all(request.receipt != good.receipt for _, request in world.delivered):
            world.run(1.0)
            assert world.now_s - begin_s < 30


def test_while_nothing_is_answered_nobody_is_given_up_and_the_peer_is_not_flooded():
    """Absent on purpose: "retries that end while a destination answers nothing" (ARCHITECTURE.md)."""
    world = World(Peer(4, False, 0.0))
    for _ in range(40):
        world.peer.deadly[world.arrive("A").receipt] = "ends"
    world.run(900)
    assert not world.given_up
    early = world.opened
    world.run(900)
    assert world.opened - early <= 2 * 900 / 30
    world.peer.deadly.clear()
    world.run_until_done(within_s=600)
    assert len(world.delivered) == 40
