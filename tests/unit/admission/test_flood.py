"""Who is turned away again and again is told in bounds, and none of it is lost from the count."""

from collections.abc import Iterable

from leyden.admission.callers import Why
from leyden.admission.flood import ADDRESSES_MAX, AGAIN_S, KINDS_MAX, KINDS_OF_ONE, Flood
from leyden.journal.events import TurnedAway


def away(peer: str, calling: str = "", detail: str = "") -> TurnedAway:
    return TurnedAway("", calling=calling, called="PACS", peer=peer, why=Why.CALLING, detail=detail)


def counts(events: Iterable[TurnedAway]) -> list[tuple[str, str, int]]:
    return [(event.peer, event.detail, event.count) for event in events]


def test_the_same_is_told_once_a_minute_with_its_count() -> None:
    flood = Flood()
    assert flood.happened(away("here", detail="1"), "a", 0.0)
    assert not flood.happened(away("here", detail="2"), "a", 1.0)
    assert not flood.happened(away("here", detail="3"), "a", 2.0)
    assert flood.happened(away("here"), "b", 2.0), "another detail is news"
    assert flood.happened(away("here", "CT9"), "a", 2.0), "so is another title"
    assert counts(flood.due(AGAIN_S - 1)) == []
    assert counts(flood.due(AGAIN_S)) == [("here", "3", 2)]
    assert not flood.happened(away("here", detail="4"), "a", AGAIN_S + 1)
    assert counts(flood.due(2 * AGAIN_S)) == [("here", "4", 1)]
    assert counts(flood.due(3 * AGAIN_S)) == []
    assert flood.happened(away("here"), "a", 3 * AGAIN_S + 1), "after a minute of peace it is told at once"


def test_what_is_not_told_yet_is_told_at_the_end() -> None:
    flood = Flood()
    for n in range(5):
        flood.happened(away("here", detail=str(n)), "a", 0.0)
    assert counts(flood.due(1.0, all_of_it=True)) == [("here", "4", 4)]
    assert counts(flood.due(2.0, all_of_it=True)) == []


def test_whoever_invents_titles_is_told_together_and_hides_nobody() -> None:
    flood = Flood()
    told = sum(flood.happened(away("bad", f"T{n}"), "", n / 1000) for n in range(10_000))
    assert told == KINDS_OF_ONE
    assert flood.happened(away("good"), "", 10.0), "another address is told of at once"
    assert not flood.happened(away("good", detail="again"), "", 10.0)
    due = list(flood.due(2 * AGAIN_S))
    assert {(event.peer, event.why, event.count) for event in due} == {
        ("good", Why.CALLING, 1),
        ("bad", Why.VARIOUS, 10_000 - KINDS_OF_ONE),
    }
    list(flood.due(4 * AGAIN_S))
    assert flood.happened(away("bad", "new"), "", 4 * AGAIN_S), "after a minute of peace it is told apart again"


def test_however_many_addresses_flood_little_is_kept() -> None:
    flood = Flood()
    addresses, each = 1000, 2 * KINDS_OF_ONE
    told = sum(flood.happened(away(f"a{a}", f"T{n}"), "", 0.0) for a in range(addresses) for n in range(each))
    assert told == KINDS_MAX
    due = {event.peer: event.count for event in flood.due(AGAIN_S)}
    assert len(due) == ADDRESSES_MAX + 1
    assert due["a0"] == each - KINDS_OF_ONE
    assert due["a99"] == each, "it is told apart no more, but named"
    assert sum(due.values()) == addresses * each - told, "none is lost from the count"
    list(flood.due(3 * AGAIN_S))
    assert not flood._rows
    assert not flood._together
    assert not flood._kinds
