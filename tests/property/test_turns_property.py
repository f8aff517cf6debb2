"""Laws of the turns that callers take."""

from hypothesis import given
from hypothesis import strategies as st

from leyden.spool import turns
from leyden.spool.entry import NO_UID, Entry, key

sent = st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(0, 12)), max_size=60)


def names(objects: list[tuple[str, int]]) -> list[str]:
    return [Entry(f"{at:022d}", key(f"1.{uid}"), NO_UID, key(who)).name for at, (who, uid) in enumerate(objects)]


@given(sent)
def test_turns_lose_nothing_keep_instances_in_order_and_serve_the_first_of_each_caller_soon(objects):
    """All entries come once, those of an instance by age, and a caller's first is not behind two of anybody."""
    queue = names(objects)
    order = turns.in_turn(queue)
    assert sorted(order) == queue
    for uid in {uid for _, uid in objects}:
        of_instance = [each for each in order if each[23:31] == key(f"1.{uid}")]
        assert of_instance == sorted(of_instance)
    for who in {who for who, _ in objects}:
        mine = [n for n, each in enumerate(objects) if each[0] == who]
        new = [n for n in mine if objects[n][1] not in {uid for _, uid in objects[:n]}]
        if new:  # else all that it sent came from others before
            assert order.index(queue[new[0]]) <= 4 * (mine.index(new[0]) + 1)


@given(sent, st.integers(0, 20))
def test_what_is_taken_from_behind_overtakes_no_older_entry_of_its_instance(objects, near):
    """And of no caller more than a few are taken."""
    queue = names(objects)
    others = turns.Others(queue[:near])
    others.look(queue[near:])
    left = [each for each in queue[near:] if each not in others.found]
    for each in others.found:
        assert not any(older[23:31] == each[23:31] and older < each for older in [*queue[:near], *left])
    for who in "ABCD":
        assert sum(each[41:49] == key(who) for each in others.found) <= turns.FEW
