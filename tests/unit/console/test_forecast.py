import math

from leyden.console.forecast import STEP_S, WINDOW_S, Forecast


def seen(*free_bytes: float, step_s: float = STEP_S) -> Forecast:
    forecast = Forecast()
    for number, free in enumerate(free_bytes):
        forecast.see(number * step_s, free)
    return forecast


def test_a_disk_that_fills_lasts_as_long_as_it_takes_to_fill_the_rest() -> None:
    assert seen(1000.0, 900.0).lasts_s(450.0) == 45.0


def test_what_is_full_already_lasts_no_more() -> None:
    assert seen(1000.0, 1000.0).lasts_s(0.0) == 0.0
    assert seen().lasts_s(-5.0) == 0.0


def test_a_disk_that_does_not_fill_lasts_for_ever() -> None:
    for forecast in (seen(), seen(1000.0), seen(1000.0, 1000.0), seen(1000.0, 1100.0)):
        assert forecast.lasts_s(10.0) == math.inf


def test_what_was_long_ago_does_not_count() -> None:
    forecast = seen(10_000.0, 1000.0, 900.0, step_s=WINDOW_S - STEP_S)
    assert forecast.lasts_s(900.0) == 9 * (WINDOW_S - STEP_S)


def test_a_look_that_comes_too_soon_is_not_kept() -> None:
    forecast = seen(1000.0, 0.0, step_s=STEP_S / 2)
    assert forecast.lasts_s(10.0) == math.inf
