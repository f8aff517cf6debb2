"""Who is suspected, what is tried alone, and who is given up."""

from msgspec.structs import replace

from leyden.deliver.pool import Request
from leyden.deliver.suspicion import (
    GIVE_UP_LOSSES,
    KIND_LOSSES,
    LONGEST_PAUSE_S,
    OVERDUE_S,
    PAUSE_S,
    SHORT_PAUSES,
    Alone,
    Suspicion,
)

PAIR = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")


def request(number=1, calling="CT1", study="s", losses=0):
    return Request("50", f"{number:022d}", calling, PAIR, 0.0, study=study, losses=losses)


BAD, GOOD = request(1), request(2, "CT2")


def lose_alone(suspicion, at_s, *, exclusive=False, of=BAD):
    """A try alone that fails, between two answers to another."""
    suspicion.answered(GOOD, at_s - 0.2)
    suspicion.lost(of, "aborted", at_s - 0.1, at_s, Alone(of, exclusive))
    suspicion.answered(GOOD, at_s + 0.1)


def test_nobody_is_suspected_without_a_loss():
    suspicion = Suspicion()
    suspicion.answered(GOOD, 0.0)
    assert not suspicion.suspects(GOOD)
    assert suspicion.turn((), 0.0) is None


def test_one_loss_makes_a_suspect_of_the_object_only():
    suspicion = Suspicion()
    assert suspicion.lost(BAD, "aborted", 0.0, 0.1).first
    assert suspicion.suspects(BAD)
    assert not suspicion.suspects(request(3))
    assert not suspicion.lost(BAD, "aborted", 1.0, 1.1).first


def test_the_name_of_an_entry_keeps_the_suspicion_over_a_restart():
    assert Suspicion().suspects(request(losses=1))


def test_an_answer_clears_the_object_whatever_its_name_says():
    suspicion = Suspicion()
    suspicion.lost(BAD, "aborted", 0.0, 0.1)
    suspicion.answered(BAD, 1.0)
    assert not suspicion.suspects(replace(BAD, losses=1))


def test_losses_under_several_objects_make_their_kind_suspect_until_one_of_it_is_answered():
    suspicion, version = Suspicion(), 0
    for number in range(KIND_LOSSES):
        kinds = suspicion.lost(request(number), "aborted", 0.0, 0.1).kinds
        assert kinds == (request().kinds if number == KIND_LOSSES - 1 else ())
    assert suspicion.version != version
    assert suspicion.suspects(request(99))
    assert suspicion.suspects(request(99, study="another"))
    assert not suspicion.suspects(request(99, calling="CT2"))
    suspicion.answered(request(98, study="another"), 1.0)
    assert suspicion.suspects(request(99))
    assert not suspicion.suspects(request(99, study="another"))
    suspicion.answered(request(98), 1.0)
    assert not suspicion.suspects(request(99))


def test_one_stall_is_enough_for_the_kind():
    suspicion = Suspicion()
    assert suspicion.lost(BAD, "silent", 0.0, 90.0, stalled=True).kinds == BAD.kinds
    assert suspicion.suspects(request(3))
    assert suspicion.lost(request(4), "silent", 0.0, 90.0, stalled=True).kinds == ()


def test_the_same_object_again_and_again_says_nothing_of_its_kind():
    suspicion = Suspicion()
    for n in range(10):
        suspicion.lost(BAD, "aborted", n, n + 0.1)
    assert not suspicion.suspects(request(3))


def test_given_up_is_what_was_lost_alone_while_others_were_answered():
    suspicion = Suspicion()
    for n in range(GIVE_UP_LOSSES):
        assert suspicion.hopeless(BAD) is None
        lose_alone(suspicion, 10.0 * n)
    assert suspicion.hopeless(BAD) == "aborted"


def test_a_loss_beside_others_over_a_shared_association_proves_nothing():
    suspicion = Suspicion()
    for n in range(10):
        suspicion.answered(GOOD, 10.0 * n)
        suspicion.lost(BAD, "aborted", 10.0 * n, 10.0 * n + 1)
        assert suspicion.hopeless(BAD) is None


def test_while_nothing_is_answered_nothing_is_proved():
    suspicion = Suspicion()
    suspicion.answered(GOOD, 0.0)
    for n in range(1, 20):
        suspicion.lost(BAD, "aborted", 100.0 * n, 100.0 * n + 1, Alone(BAD))
    suspicion.answered(GOOD, 5000.0)
    assert suspicion.hopeless(BAD) is None


def test_what_was_lost_together_is_tried_with_nothing_beside_it_and_then_it_is_proved():
    suspicion = Suspicion()
    for n in range(5):
        suspicion.answered(GOOD, 10.0 * n)
        suspicion.lost(BAD, "gone", 10.0 * n, 10.0 * n + 1.0, Alone(BAD))
        suspicion.lost(request(7, "CT7"), "gone", 10.0 * n, 10.0 * n + 1.01)
        suspicion.answered(GOOD, 10.0 * n + 2)
    assert suspicion.hopeless(BAD) is None
    turn = suspicion.turn([BAD], 100.0)
    assert turn is not None
    assert turn.exclusive
    for n in range(GIVE_UP_LOSSES):
        lose_alone(suspicion, 100.0 + 10 * n, exclusive=True)
    assert suspicion.hopeless(BAD) == "aborted"


def test_one_after_the_other_is_not_together():
    suspicion = Suspicion()
    suspicion.answered(GOOD, 0.0)
    suspicion.lost(BAD, "aborted", 0.1, 0.2, Alone(BAD))
    suspicion.lost(request(7, "CT7"), "aborted", 0.3, 0.4)
    assert not suspicion.turn([BAD], 100.0).exclusive


def test_of_a_kind_of_which_several_were_given_up_the_next_ones_go_sooner():
    suspicion = Suspicion()
    for number in range(10, 13):
        for n in range(GIVE_UP_LOSSES):
            lose_alone(suspicion, 100.0 * number + 10 * n, of=request(number))
        assert suspicion.hopeless(request(number)) is not None
        suspicion.gave_up(request(number))
    lose_alone(suspicion, 5000.0)
    assert suspicion.hopeless(BAD) is None
    lose_alone(suspicion, 5010.0)
    assert suspicion.hopeless(BAD) is not None


def test_the_turn_goes_to_the_oldest_the_newest_and_the_one_that_was_lost_most_often():
    suspicion = Suspicion()
    suspects = [request(n, losses=1) for n in range(4)]
    now_s, order = 0.0, []
    for _ in range(6):
        now_s += 10.0
        chosen = suspicion.turn(suspects, now_s).request
        order.append(suspects.index(chosen))
        suspicion.lost(chosen, "aborted", now_s, now_s + 0.1, Alone(chosen))
    assert order == [0, 3, 0, 1, 2, 0]


def test_the_pauses_grow_only_while_nothing_at_all_is_answered():
    suspicion, now_s = Suspicion(), 0.0
    for _ in range(SHORT_PAUSES):
        suspicion.lost(BAD, "aborted", now_s, now_s, Alone(BAD))
        assert suspicion.turn([BAD], now_s + PAUSE_S / 2) is None
        assert suspicion.turn([BAD], now_s + PAUSE_S) is not None
        now_s += PAUSE_S
    for _ in range(20):
        suspicion.lost(BAD, "aborted", now_s, now_s, Alone(BAD))
    assert suspicion.turn([BAD], now_s + LONGEST_PAUSE_S - 1) is None
    assert suspicion.turn([BAD], now_s + LONGEST_PAUSE_S) is not None
    suspicion.answered(GOOD, now_s)
    assert suspicion.turn([BAD], now_s) is not None


def test_a_suspect_that_waits_long_enough_is_overdue():
    suspicion = Suspicion()
    suspect = request(losses=1)
    assert not suspicion.turn([suspect], 0.0).overdue
    assert suspicion.turn([suspect], OVERDUE_S).overdue
    suspicion.answered(suspect, OVERDUE_S, Alone(suspect))
    assert not suspicion.turn([suspect], OVERDUE_S + 1).overdue
