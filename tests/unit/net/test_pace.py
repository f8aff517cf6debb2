"""When a transfer is stalled, too slow or too long, judged from counts and times alone."""

from leyden.net.scu import Pace, Stalled, TooSlow


def paced(*, stall_s: float = 0, minimum_bytes_per_s: float = 0, deadline_s: float = 0) -> Pace:
    return Pace(100.0, 0, stall_s=stall_s, minimum_bytes_per_s=minimum_bytes_per_s, deadline_s=deadline_s)


def test_slow_but_moving_is_not_stalled() -> None:
    pace = paced(stall_s=2)
    assert [pace.judge(100.0 + n, n, 0, 10**6) for n in range(1000)] == [None] * 1000
    assert [pace.judge(1100.0 + n, 999, n, 10**6) for n in range(100)] == [None] * 100
    assert isinstance(pace.judge(1201.0, 999, 99, 10**6), Stalled)


def test_the_average_is_judged_after_ten_seconds() -> None:
    pace = paced(minimum_bytes_per_s=1000)
    assert pace.judge(100.0, 500, 0, 10**6) is None
    assert pace.judge(109.9, 500, 0, 10**6) is None
    assert pace.judge(110.0, 10_000, 0, 10**6) is None
    assert isinstance(pace.judge(110.0, 9_999, 0, 10**6), TooSlow)


def test_a_peer_that_thinks_is_not_too_slow() -> None:
    pace = paced(minimum_bytes_per_s=1000)
    assert pace.judge(100.0, 0, 0, 500) is None
    assert pace.judge(200.0, 500, 0, 500) is None


def test_our_own_pauses_are_not_the_peers() -> None:
    pace = paced(stall_s=5)
    pace.pause(8.0, 100.0)
    assert [pace.judge(100.0 + n, 0, 0, 10**6) for n in range(13)] == [None] * 13
    assert isinstance(pace.judge(113.0, 0, 0, 10**6), Stalled)
    pace = paced(minimum_bytes_per_s=1000)
    pace.pause(8.0, 100.0)
    assert [pace.judge(100.0 + n, 0, 0, 10**6) for n in range(18)] == [None] * 18
    assert isinstance(pace.judge(118.0, 0, 0, 10**6), TooSlow)


def test_a_deadline_beats_progress() -> None:
    pace = paced(deadline_s=30)
    assert pace.judge(129.9, 5, 0, 10) is None
    assert isinstance(pace.judge(130.0, 6, 0, 10), Stalled)
