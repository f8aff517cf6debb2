"""What happens again and again is told in bounds, and none of it is lost from the count."""

from leyden.admission.flood import ADDRESSES_MAX, AGAIN_S, KINDS_MAX, KINDS_OF_ONE, Flood


def various(address: str) -> str:
    return f"various of {address or 'all'}"


def test_the_same_is_told_once_a_minute_with_its_count() -> None:
    flood = Flood(various)
    assert flood.happened("here", "a", "a 1", 0.0)
    assert not flood.happened("here", "a", "a 2", 1.0)
    assert not flood.happened("here", "a", "a 3", 2.0)
    assert flood.happened("here", "b", "b 1", 2.0)
    assert list(flood.due(AGAIN_S - 1)) == []
    assert list(flood.due(AGAIN_S)) == [("a 3", 2)]
    assert not flood.happened("here", "a", "a 4", AGAIN_S + 1)
    assert list(flood.due(2 * AGAIN_S)) == [("a 4", 1)]
    assert list(flood.due(3 * AGAIN_S)) == []
    assert flood.happened("here", "a", "a 5", 3 * AGAIN_S + 1), "after a minute of peace it is told at once"


def test_what_is_not_told_yet_is_told_at_the_end() -> None:
    flood = Flood(various)
    for n in range(5):
        flood.happened("here", "a", f"a {n}", 0.0)
    assert list(flood.due(1.0, all_of_it=True)) == [("a 4", 4)]
    assert list(flood.due(2.0, all_of_it=True)) == []


def test_whoever_invents_kinds_is_told_together_and_hides_nobody() -> None:
    flood = Flood(various)
    told = sum(flood.happened("bad", n, str(n), n / 1000) for n in range(10_000))
    assert told == KINDS_OF_ONE
    assert flood.happened("good", 1, "good 1", 10.0), "another address is told of at once"
    assert not flood.happened("good", 1, "good 2", 10.0)
    due = list(flood.due(2 * AGAIN_S))
    assert sorted(due) == [("good 2", 1), ("various of bad", 10_000 - KINDS_OF_ONE)]
    list(flood.due(4 * AGAIN_S))
    assert flood.happened("bad", "new", "new", 4 * AGAIN_S), "after a minute of peace it is told apart again"


def test_however_many_addresses_flood_little_is_kept() -> None:
    flood = Flood(various)
    addresses, each = 1000, 2 * KINDS_OF_ONE
    told = sum(flood.happened(f"a{a}", n, "x", 0.0) for a in range(addresses) for n in range(each))
    assert told == KINDS_MAX
    due = dict(flood.due(AGAIN_S))
    assert len(due) == ADDRESSES_MAX + 1
    assert due["various of a0"] == each - KINDS_OF_ONE
    assert due["various of a99"] == each, "it is told apart no more, but named"
    assert sum(due.values()) == addresses * each - told, "none is lost from the count"
    list(flood.due(3 * AGAIN_S))
    assert not flood._rows
    assert not flood._together
    assert not flood._kinds
