"""The throttle lets through no more than its rate and one burst, in any stretch of time, and no less than the rate."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leyden.deliver.throttle import BURST_S, Throttle

chunks = st.lists(
    st.tuples(st.integers(1, 300_000), st.floats(0, 2, allow_nan=False)), min_size=1, max_size=60
)  # size_bytes, pause before it


def released(rate, asked):
    """When each chunk goes, if several senders ask as given and each waits as told: (time, size)."""
    throttle, now_s, went = Throttle(rate), 0.0, []
    for size, pause_s in asked:
        now_s += pause_s
        went.append((now_s + throttle.permit(size, now_s), size))
    return went


@given(st.floats(1000, 1e7), chunks)
def test_never_faster_than_the_rate_and_one_burst(rate, asked):
    """MaximumLineSpeed: "we send no faster than this" (docs/configure.md), but for one burst."""
    went = released(rate, asked)
    for first in range(len(went)):
        sent = 0
        for time_s, size in went[first:]:
            # What is sent before this chunk has gone may not exceed the rate; the chunk itself is in one piece.
            assert sent <= rate * (time_s - went[first][0] + BURST_S) * (1 + 1e-9) + 1e-3
            sent += size


@given(st.floats(1000, 1e7), chunks)
def test_nobody_waits_longer_than_all_before_him_take(rate, asked):
    """MaximumLineSpeed is used to the full: nobody waits longer than the line takes for what was asked before."""
    throttle, now_s, sold = Throttle(rate), 0.0, 0
    for size, pause_s in asked:
        now_s += pause_s
        assert throttle.permit(size, now_s) <= sold / rate + 1e-6
        sold += size


@given(st.floats(1000, 1e7), chunks)
def test_whoever_asks_first_goes_first(rate, asked):
    """Associations that share a MaximumLineSpeed send in the order in which they ask."""
    times = [time_s for time_s, _ in released(rate, asked)]
    assert times == sorted(times)


def test_a_line_that_was_idle_owes_no_more_than_the_burst():
    """After a pause, a line with a MaximumLineSpeed may be used for one burst, not for all that was not sent."""
    throttle = Throttle(1000)
    assert throttle.permit(1000, 100.0) == 0
    assert throttle.permit(1, 100.0) == pytest.approx(1.0 - BURST_S)


@pytest.mark.parametrize("rate", [0, -1])
def test_no_limit_is_no_throttle(rate):
    """MaximumLineSpeed: "0: no limit" (docs/configure.md)."""
    with pytest.raises(ValueError, match="above 0"):
        Throttle(rate)
