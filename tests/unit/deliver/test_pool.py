"""assign(): single decisions, each as an operator would put it. The long run is in tests/property."""

from unittest.mock import ANY

import pytest
from msgspec.structs import replace

from leyden.deliver.pool import (
    IDLE_S,
    LATE_S,
    PATIENCE_S,
    SERIES_S,
    TURN_S,
    Alone,
    Bind,
    GiveUp,
    Limits,
    Member,
    Open,
    Phase,
    Release,
    Request,
    assign,
)

CT, MR = ("ct", "explicit"), ("mr", "explicit")
NOW_S = 1000.0
FOUR = Limits(4)


def requests(*callings, pair=CT, since_s=NOW_S):
    return [Request("00", f"{n:022d}", calling, pair, since_s) for n, calling in enumerate(callings)]


def association(calling, phase=Phase.IDLE, *, pairs=(CT,), age_s=0.1, idle_s=0.0, served=0):
    accepted = () if phase is Phase.OPENING else pairs
    return Member(calling, NOW_S - age_s, pairs, phase, accepted, NOW_S - age_s, NOW_S - idle_s, served)


def test_the_first_request_opens_an_association_and_is_not_bound_to_it():
    (first,) = requests("A")
    assert assign([first], [], NOW_S, FOUR) == [Open(first)]


def test_a_few_requests_share_one_association():
    waiting = requests("A", "A", "A", "A")
    assert assign(waiting, [], NOW_S, FOUR) == [Open(waiting[0])]
    assert assign(waiting, [association("A", Phase.OPENING)], NOW_S, FOUR) == []
    assert assign(waiting, [association("A", Phase.BUSY)], NOW_S, FOUR) == []


def opens(actions):
    return sum(isinstance(action, Open) for action in actions)


def test_the_first_association_goes_ahead_and_many_requests_open_as_many_as_are_allowed():
    waiting = requests(*"A" * 40, "B", "C")
    assert opens(assign(waiting, [], NOW_S, FOUR)) == 1
    assert assign(waiting, [association("A", Phase.OPENING)], NOW_S, FOUR) == []
    assert opens(assign(waiting, [association("A", Phase.BUSY)], NOW_S, FOUR)) == 3


def test_a_request_that_has_waited_long_gets_an_association_of_its_own():
    waiting = requests("A", since_s=NOW_S - PATIENCE_S)
    assert assign(waiting, [association("A", Phase.BUSY)], NOW_S, FOUR) == [Open(waiting[0])]
    one_comes = [association("A", Phase.BUSY), association("A", Phase.OPENING)]
    assert assign(waiting, one_comes, NOW_S, FOUR) == []


def test_the_association_used_last_is_used_again():
    (first,) = requests("A")
    older, newer = association("A", idle_s=1.0), association("A", idle_s=0.5)
    assert assign([first], [older, newer], NOW_S, FOUR) == [Bind(newer, first)]


def test_each_calling_title_has_its_own_associations():
    (first,) = requests("B")
    assert assign([first], [association("A")], NOW_S, FOUR) == [Open(first)]


def test_a_context_that_was_not_accepted_is_not_used():
    (first,) = requests("A", pair=MR)
    assert assign([first], [association("A")], NOW_S, FOUR) == [Open(first)]


def test_idle_associations_end_after_a_while():
    young, old = association("A", idle_s=IDLE_S - 0.1), association("A", idle_s=IDLE_S)
    assert assign([], [young, old], NOW_S, FOUR) == [Release(old)]


def test_a_worn_association_is_released_though_more_waits():
    worn = association("A", served=5)
    waiting = requests("A")
    assert assign(waiting, [worn], NOW_S, Limits(4, batch_size=5)) == [Release(worn), Open(waiting[0])]
    assert assign(waiting, [worn], NOW_S, Limits(4, batch_size=6)) == [Bind(worn, waiting[0])]


class TestWithoutRoom:
    LIMITS = Limits(1)

    def test_an_idle_association_is_released_at_once_for_another_title(self):
        other = association("A")
        assert assign(requests("B"), [other], NOW_S, self.LIMITS) == [Release(other)]

    def test_and_for_another_sop_class_of_the_same_title(self):
        other = association("A")
        assert assign(requests("A", pair=MR), [other], NOW_S, self.LIMITS) == [Release(other)]

    def test_one_that_is_wanted_serves_on_until_its_turn_is_over(self):
        waiting = requests("B", "A")
        young, old = association("A", age_s=TURN_S - 0.1), association("A", age_s=TURN_S)
        assert assign(waiting, [young], NOW_S, self.LIMITS) == [Bind(young, waiting[1])]
        assert assign(waiting, [old], NOW_S, self.LIMITS) == [Release(old)]

    def test_older_requests_go_first_even_then(self):
        waiting = requests("A", "B")
        old = association("A", age_s=100)
        assert assign(waiting, [old], NOW_S, self.LIMITS) == [Bind(old, waiting[0])]

    def test_a_busy_one_is_left_alone(self):
        assert assign(requests("B"), [association("A", Phase.BUSY, age_s=100)], NOW_S, self.LIMITS) == []

    def test_one_that_is_closing_makes_room_for_one_title_only(self):
        closing, idle = association("A", Phase.CLOSING), association("A")
        assert assign(requests("B"), [closing, idle], NOW_S, Limits(2)) == []
        assert assign(requests("B", "C"), [closing, idle], NOW_S, Limits(2)) == [Release(idle)]

    def test_an_idle_one_that_only_a_bound_request_would_want_is_spare(self):
        waiting = requests("A", "B")
        newer, older = association("A", idle_s=0.1), association("A", idle_s=0.2)
        assert assign(waiting, [newer, older], NOW_S, Limits(2)) == [Bind(newer, waiting[0]), Release(older)]


class TestWhenThePeerServesOneAtATime:
    def test_one_that_does_not_open_while_another_works_is_given_up(self):
        works, late = association("A", Phase.BUSY), association("B", Phase.OPENING, age_s=LATE_S)
        assert assign(requests("B"), [works, late], NOW_S, FOUR) == [GiveUp(late)]

    @pytest.mark.parametrize("phase", [Phase.OPENING, Phase.CLOSING])
    def test_but_not_while_none_works(self, phase):
        late = association("B", Phase.OPENING, age_s=LATE_S)
        assert assign(requests("B"), [association("A", phase), late], NOW_S, FOUR) == []


def test_the_hot_case_looks_at_one_request_only():
    """One association asks for its next object, and nothing else can be done."""

    class Counted(list):
        looked = 0

        def __iter__(self):
            for request in list.__iter__(self):
                Counted.looked += 1
                yield request

    waiting = Counted(requests(*"A" * 4000))
    actions = assign(waiting, [association("A"), association("A", Phase.BUSY)], NOW_S, Limits(2))
    assert len(actions) == 1
    assert Counted.looked <= 2


def test_many_titles_without_an_association_cost_one_more_look_at_the_requests():
    class Counted(list):
        looked = 0

        def __iter__(self):
            Counted.looked += len(self)
            return list.__iter__(self)

    waiting = Counted(requests(*(f"CT{n}" for n in range(200)), "A"))
    busy = [association(title, Phase.BUSY) for title in "BCD"]
    assert assign(waiting, [*busy, association("A", age_s=TURN_S / 2)], NOW_S, FOUR) == [Bind(ANY, waiting[-1])]
    assert Counted.looked <= 2 * len(waiting)


def test_an_association_that_only_served_a_request_that_is_bound_can_be_spared():
    first, second = association("A", idle_s=0.5), association("A", idle_s=0.1)
    actions = assign(requests("A", "B"), [first, second], NOW_S, Limits(2))
    assert [type(action) for action in actions] == [Bind, Release]


SUSPECT = Request("00", "9" * 22, "S", CT, NOW_S)


def own(phase=Phase.IDLE, *, exclusive=False, age_s=0.1):
    one = association("S", phase, age_s=age_s)
    one.alone = Alone(SUSPECT, exclusive)
    return one


def test_a_suspect_gets_an_association_of_its_own_beside_those_of_the_others():
    waiting, turn = requests("A"), Alone(SUSPECT)
    busy = association("A", Phase.BUSY)
    assert assign((), [busy], NOW_S, FOUR, turn) == [Open(SUSPECT, turn)]
    assert assign(waiting, [association("A")], NOW_S, FOUR, turn) == [Bind(ANY, waiting[0]), Open(SUSPECT, turn)]


def test_nothing_else_goes_over_a_suspects_association_and_it_goes_over_no_other():
    alone, idle = own(), association("S")
    (other,) = requests("S")
    assert assign([other], [alone, idle], NOW_S, FOUR, alone.alone) == [Bind(alone, SUSPECT), Bind(idle, other)]
    assert assign([other], [alone], NOW_S, FOUR, alone.alone) == [Bind(alone, SUSPECT), Open(other)]


def test_the_association_of_a_suspect_that_is_gone_is_released():
    alone = own()
    assert assign((), [alone], NOW_S, FOUR) == [Release(alone)]


def test_only_one_suspect_at_a_time():
    assert assign((), [own(Phase.BUSY)], NOW_S, FOUR, Alone(SUSPECT)) == []


def test_a_suspect_waits_for_room_until_it_is_overdue():
    waiting = requests("A", "A")
    one, busy = Limits(1), association("A", Phase.BUSY)
    assert assign(waiting, [busy], NOW_S, one, Alone(SUSPECT)) == []
    assert assign(waiting, [association("A")], NOW_S, one, Alone(SUSPECT)) == [Bind(ANY, waiting[0])]
    assert assign(waiting, [association("A")], NOW_S, one, Alone(SUSPECT, overdue=True)) == [Release(ANY)]
    assert assign(waiting, [], NOW_S, one, Alone(SUSPECT, overdue=True)) == [Open(SUSPECT, ANY)]
    assert assign((), [association("A")], NOW_S, one, Alone(SUSPECT)) == [Release(ANY)]


def test_an_exclusive_suspect_has_the_destination_for_itself():
    waiting, turn = requests("A"), Alone(SUSPECT, exclusive=True)
    idle, busy = association("A"), association("A", Phase.BUSY)
    assert assign(waiting, [idle, busy], NOW_S, FOUR, turn) == [Release(idle)]
    assert assign(waiting, [], NOW_S, FOUR, turn) == [Open(SUSPECT, turn)]
    assert assign(waiting, [own(Phase.OPENING, exclusive=True)], NOW_S, FOUR, turn) == []
    alone = own(exclusive=True)
    assert assign(waiting, [alone], NOW_S, FOUR, alone.alone) == [Bind(alone, SUSPECT)]
    assert assign(waiting, [own(Phase.BUSY, exclusive=True)], NOW_S, FOUR) == []


def test_a_suspects_association_that_is_not_answered_while_another_works_is_given_up():
    late = own(Phase.OPENING, age_s=LATE_S)
    assert assign((), [association("A", Phase.BUSY), late], NOW_S, FOUR, late.alone) == [GiveUp(late)]


def of(series, *numbers, since_s=NOW_S - 1, ordered=False, rank="00", calling="A"):
    """Requests of one series that came in these places."""
    return [Request(rank, f"{n:022d}", calling, CT, since_s, series=series, ordered=ordered) for n in numbers]


def waiting(*groups):
    """All of them in the order of the queue, and what gives those of one series."""
    requests = sorted((each for group in groups for each in group), key=lambda each: (each.rank, each.receipt))
    return requests, lambda series: [each for each in requests if each.series == series]


def carrying(series, *, since_s=NOW_S - 5, idle_s=0.0, phase=Phase.IDLE):
    member = association("A", phase, idle_s=idle_s)
    member.series, member.series_s = series, since_s
    return member


class TestWholeSeriesTogether:
    def test_an_association_goes_on_with_its_series_though_an_older_object_of_another_waits(self):
        requests, of_series = waiting(of("X", 1, 3), of("Y", 2, 4))
        member = carrying("Y")
        assert assign(requests, [member], NOW_S, Limits(1), None, of_series) == [Bind(member, requests[1])]

    def test_a_batch_under_way_is_not_interrupted_by_a_higher_rank(self):
        requests, of_series = waiting(of("Y", 2, rank="05"), of("X", 3, rank="00"))
        member = carrying("Y")
        assert assign(requests, [member], NOW_S, Limits(1), None, of_series) == [Bind(member, requests[1])]

    def test_with_nothing_of_its_series_it_takes_the_first(self):
        requests, of_series = waiting(of("X", 1), of("Z", 2))
        member = carrying("Y")
        assert assign(requests, [member], NOW_S, Limits(1), None, of_series) == [Bind(member, requests[0])]

    def test_what_came_after_it_was_done_with_the_series_waits_for_its_turn(self):
        requests, of_series = waiting(of("X", 1), of("Y", 2, since_s=NOW_S - 0.1))
        member = carrying("Y", idle_s=0.2)
        assert assign(requests, [member], NOW_S, Limits(1), None, of_series) == [Bind(member, requests[0])]

    def test_a_series_without_end_keeps_nobody_waiting(self):
        requests, of_series = waiting(of("X", 1), of("Y", 2, since_s=NOW_S - 0.1))
        member = carrying("Y", since_s=NOW_S - 0.2 - SERIES_S)
        assert assign(requests, [member], NOW_S, Limits(1), None, of_series) == [Bind(member, requests[0])]

    def test_several_associations_share_an_unsorted_series(self):
        requests, of_series = waiting(of("X", 1, 2, 3))
        one, two = carrying("X"), carrying("X", idle_s=0.1)
        assert assign(requests, [one, two], NOW_S, Limits(2), None, of_series) == [
            Bind(one, requests[0]),
            Bind(two, requests[1]),
        ]

    def test_each_goes_on_with_its_own_and_none_takes_what_another_took(self):
        requests, of_series = waiting(of("X", 1, 2), of("Y", 3, 4))
        one, two = carrying("Y"), carrying("Y", idle_s=0.1)
        assert assign(requests, [one, two], NOW_S, Limits(2), None, of_series) == [
            Bind(one, requests[2]),
            Bind(two, requests[3]),
        ]

    def test_without_a_series_the_oldest_goes_first(self):
        requests, of_series = waiting(of("", 1, 2))
        member = carrying("")
        assert assign(requests, [member], NOW_S, Limits(1), None, of_series) == [Bind(member, requests[0])]

    def test_a_full_batch_ends_the_association_in_the_middle_of_a_series(self):
        requests, of_series = waiting(of("Y", 1, 2))
        member = carrying("Y")
        member.served = 3
        assert assign(requests, [member], NOW_S, Limits(1, batch_size=3), None, of_series) == [Release(member)]


class TestASortedSeries:
    def test_one_goes_after_the_other_and_the_other_associations_serve_others(self):
        requests, of_series = waiting(of("X", 1, 2, ordered=True), of("Y", 3))
        one, two = carrying("X"), association("A", idle_s=0.1)
        next_ones = [requests[0], requests[2]]
        assert assign(next_ones, [one, two], NOW_S, Limits(2), None, of_series) == [
            Bind(one, requests[0]),
            Bind(two, requests[2]),
        ]

    def test_it_waits_while_one_of_it_is_under_way(self):
        (first, _), of_series = waiting(of("X", 2, 3, ordered=True))
        busy, idle = carrying("X", phase=Phase.BUSY), association("A")
        assert assign([first], [busy, idle], NOW_S, Limits(4), None, of_series) == []
        other = carrying("X")  # it had carried it before
        assert assign([first], [busy, other], NOW_S, Limits(4), None, of_series) == []

    def test_it_opens_no_association_in_vain(self):
        (first, *_), of_series = waiting(of("X", *range(100), since_s=NOW_S - 100, ordered=True))
        assert assign([first], [carrying("X", phase=Phase.BUSY)], NOW_S, FOUR, None, of_series) == []

    def test_none_overtakes_the_next_one_though_it_would_fit_where_that_one_does_not(self):
        first, second = of("X", 1, 2, ordered=True)
        first = replace(first, pair=MR)
        member = carrying("X")
        queue = [*of("Y", 0), first]
        found = assign(queue, [member], NOW_S, Limits(1), None, lambda series: [first, second])
        assert found == [Bind(member, queue[0])]
