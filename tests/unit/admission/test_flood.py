"""What happens again and again is told in bounds, and none of it is lost from the count."""

from leyden.admission.flood import AGAIN_S, KINDS_MAX, Flood


def test_the_same_is_told_once_a_minute_with_its_count() -> None:
    flood = Flood("various")
    assert flood.happened("a", "a 1", 0.0)
    assert not flood.happened("a", "a 2", 1.0)
    assert not flood.happened("a", "a 3", 2.0)
    assert flood.happened("b", "b 1", 2.0)
    assert list(flood.due(AGAIN_S - 1)) == []
    assert list(flood.due(AGAIN_S)) == [("a 3", 2)]
    assert not flood.happened("a", "a 4", AGAIN_S + 1)
    assert list(flood.due(2 * AGAIN_S)) == [("a 4", 1)]
    assert list(flood.due(3 * AGAIN_S)) == []
    assert flood.happened("a", "a 5", 3 * AGAIN_S + 1), "after a minute of peace it is told at once"


def test_what_is_not_told_yet_is_told_at_the_end() -> None:
    flood = Flood("various")
    for n in range(5):
        flood.happened("a", f"a {n}", 0.0)
    assert list(flood.due(1.0, all_of_it=True)) == [("a 4", 4)]
    assert list(flood.due(2.0, all_of_it=True)) == []


def test_whoever_invents_kinds_is_told_together() -> None:
    flood = Flood("various")
    told = sum(flood.happened(n, str(n), n / 1000) for n in range(10_000))
    assert told == KINDS_MAX
    assert len(flood._rows) == KINDS_MAX + 1
    assert list(flood.due(AGAIN_S + 11)) == [("various", 10_000 - KINDS_MAX)]
    list(flood.due(3 * AGAIN_S))
    assert not flood._rows
