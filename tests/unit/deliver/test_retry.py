"""What answers mean, how long we wait, and what the failures of a destination say."""

import pytest

from leyden.deliver.retry import (
    CONGESTIONS,
    FREED_S,
    LONGEST_DELAY_S,
    LONGEST_LOSS_DELAY_S,
    LONGEST_LOST_DELAY_S,
    LOSSES,
    LOSSES_SOON,
    NARROW_S,
    SAY_AGAIN_S,
    Health,
    Trouble,
    Verdict,
    classify,
    delay_s,
    loss_delay_s,
)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0x0000, Verdict.DELIVERED),
        (0xB000, Verdict.DELIVERED),
        (0xB006, Verdict.DELIVERED),
        (0xB007, Verdict.DELIVERED),
        (0x0107, Verdict.DELIVERED),
        (0xA700, Verdict.TRANSIENT),
        (0xA701, Verdict.TRANSIENT),
        (0xA7FF, Verdict.TRANSIENT),
        (0x0110, Verdict.TRANSIENT),
        (0x0213, Verdict.TRANSIENT),
        (0x0122, Verdict.UNSUPPORTED),
        (0x0112, Verdict.UNSUPPORTED),
        (0xA900, Verdict.PERMANENT),
        (0xA9FF, Verdict.PERMANENT),
        (0xC000, Verdict.PERMANENT),
        (0xCFFF, Verdict.PERMANENT),
        (0x0111, Verdict.PERMANENT),
        (0x0117, Verdict.PERMANENT),
        (0x0124, Verdict.PERMANENT),
        (0x0214, Verdict.PERMANENT),
        (0x1234, Verdict.PERMANENT),
        (0xFE00, Verdict.PERMANENT),
    ],
)
def test_each_status_is_a_success_a_transient_or_a_permanent_failure(status, verdict):
    assert classify(status) is verdict


def test_a_duplicate_proves_the_delivery_of_what_got_no_answer():
    assert classify(0x0111, unanswered_before=True) is Verdict.DELIVERED
    assert classify(0xC000, unanswered_before=True) is Verdict.PERMANENT


def test_delays_double_up_to_the_cap_and_never_end():
    assert [delay_s(n, 0.5) for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert delay_s(10_000, 0.5) == LONGEST_DELAY_S
    assert delay_s(3, 0.0) == 3.0
    assert 4.9 < delay_s(3, 0.999) < 5.0


def test_what_was_lost_is_tried_soon_for_a_while_and_then_seldom():
    waits_s = [loss_delay_s(n, 0.5) for n in range(1, LOSSES_SOON + 2)]
    assert waits_s[:3] == [1.0, 2.0, 4.0]
    assert waits_s[LOSSES_SOON - 1] == LONGEST_LOSS_DELAY_S
    assert waits_s[LOSSES_SOON] == LONGEST_DELAY_S
    assert loss_delay_s(5, 0.5, (60.0,)) == 60.0


def test_the_delays_of_the_node_are_taken_as_they_stand():
    assert [delay_s(n, 0.9, (5.0, 60.0)) for n in (1, 2, 3, 99)] == [5, 60, 60, 60]


def test_a_failure_is_said_first_then_once_a_minute_or_when_it_changes():
    trouble = Trouble()
    assert trouble.failed("refused", 100.0, 1)
    assert not trouble.failed("refused", 101.0, 1)
    assert trouble.failed("no route", 102.0, 1)
    assert not trouble.failed("no route", 102.0 + SAY_AGAIN_S - 1, 1)
    assert trouble.failed("no route", 102.0 + SAY_AGAIN_S, 1)


class TestHealth:
    def alone(self, health, now_s, reason="refused"):
        return health.did_not_open(reason, now_s, 0.5, established=0, opening=0)

    def test_a_dead_destination_is_backed_off_longer_and_longer_and_tried_by_one_association(self):
        health = Health(4)
        assert health.limit(0.0) == 4
        assert self.alone(health, 0.0) == "refused; next try in 1 s"
        assert health.limit(0.9) == 0
        assert health.limit(1.0) == 1
        assert self.alone(health, 1.0) == ""
        assert health.limit(2.9) == 0
        assert health.limit(3.0) == 1
        assert health.answered()
        assert health.limit(3.0) == 4
        assert not health.answered()

    def test_one_more_that_is_refused_while_others_work_narrows_and_is_no_failure(self):
        health = Health(4)
        said = health.did_not_open("local limit exceeded", 0.0, 0.5, established=2, opening=1)
        assert said == "it takes no more than 2 at once: local limit exceeded"
        assert not health.in_trouble
        assert health.limit(0.1) == 2
        assert health.did_not_open("local limit exceeded", 0.1, 0.5, established=2, opening=0) == ""
        assert health.limit(0.1 + NARROW_S) == 4
        assert health.did_not_open("local limit exceeded", 90.0, 0.5, established=2, opening=0) == ""
        assert health.did_not_open("local limit exceeded", 91.0, 0.5, established=1, opening=0) != ""

    def test_while_others_only_open_it_is_not_known_yet(self):
        health = Health(4)
        assert health.did_not_open("refused", 0.0, 0.5, established=0, opening=1) == ""
        assert health.limit(0.0) == 1
        assert self.alone(health, 0.0)
        assert health.limit(1.0) == 1
        health.answered()
        assert health.limit(1.0) == 4  # a dead one was not narrow

    def test_just_after_an_association_has_ended_the_peer_may_not_have_noticed(self):
        health = Health(4)
        health.freed(100.0)
        assert self.alone(health, 100.1) == ""
        assert health.holds(100.1)
        assert not health.holds(100.3)
        assert not health.in_trouble
        assert self.alone(health, 100.0 + FREED_S) != ""
        assert health.in_trouble

    def test_a_refused_calling_title_is_its_own_trouble(self):
        health = Health(4)
        said = health.did_not_open("calling AE title not recognized", 0.0, 0.5, established=0, opening=0, caller="CT1")
        assert said == "calling as CT1: calling AE title not recognized; next try in 1 s"
        assert health.limit(0.0) == 4
        assert health.backed_off(0.5) == {"CT1"}
        assert health.backed_off(1.0) == frozenset()
        health.did_not_open("calling AE title not recognized", 1.0, 0.5, established=1, opening=0, caller="CT1")
        assert health.backed_off(2.9) == {"CT1"}
        health.opened("CT1")
        assert health.backed_off(2.9) == frozenset()

    def test_a_few_losses_in_a_row_are_the_objects_business(self):
        health = Health(4)
        for _ in range(LOSSES - 1):
            assert health.lost("aborted", 0.0, 0.5) == ""
        health.answered()
        assert health.lost("aborted", 0.0, 0.5) == ""
        assert not health.in_trouble
        assert not health.holds(0.0)

    @pytest.mark.parametrize("delays_s", [(), (300.0,)])
    def test_losses_without_an_answer_back_off_but_not_for_long(self, delays_s):
        health = Health(4, delays_s)
        said = [health.lost("aborted", 0.0, 0.5) for _ in range(LOSSES)]
        assert said[:-1] == [""] * (LOSSES - 1)
        assert said[-1].startswith("nothing gets through: aborted; next try in ")
        assert health.limit(0.5) == 0
        now_s = LONGEST_LOST_DELAY_S
        for _ in range(20):
            assert health.limit(now_s) == 1
            health.lost("aborted", now_s, 0.5)
            assert health.limit(now_s) == 0
            now_s += LONGEST_LOST_DELAY_S

    def test_transient_answers_are_the_objects_business_until_there_is_nothing_else(self):
        health = Health(4)
        for _ in range(CONGESTIONS - 1):
            assert health.congested("status 0xA700", 0.0, 0.5) == ""
        assert health.limit(0.0) == 4
        assert (
            health.congested("status 0xA700", 0.0, 0.5)
            == "nothing but transient answers: status 0xA700; next try in 1 s"
        )
        assert health.congested("status 0xA700", 0.1, 0.5) == ""  # the others that were under way
        assert health.limit(0.5) == 0
        assert health.limit(1.0) == 1
        health.congested("status 0xA700", 1.0, 0.5)
        assert health.limit(2.5) == 0
        health.answered()
        assert health.congested("status 0xA700", 3.0, 0.5) == ""
        assert health.limit(3.0) == 4


class TestAfterAReload:
    def test_nothing_is_held_against_a_destination_whose_settings_have_changed(self):
        health = Health(4)
        health.did_not_open("refused", 100.0, 0.5, established=0, opening=0, caller="CT1")
        health.did_not_open("no route", 100.0, 0.5, established=0, opening=0)
        assert health.limit(100.0) == 0
        assert health.backed_off(100.0) == {"CT1"}
        health.begin_anew(2, (7.0,))
        assert (health.limit(100.0), health.holds(100.0), health.in_trouble) == (2, False, False)
        assert health.backed_off(100.0) == frozenset()
        assert "next try in 7 s" in health.did_not_open("no route", 100.0, 0.5, established=0, opening=0)
