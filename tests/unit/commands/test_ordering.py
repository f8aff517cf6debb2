"""Until when an order holds, as it is written at the command line."""

import argparse
import time
from collections.abc import Iterator

import pytest

from leyden.commands.ordering import FLAGS, add_until
from leyden.spool import control

NOW_S = 1_795_962_600.0  # 2026-11-29 14:30 UTC


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")  # 15:30 there
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: NOW_S)
    yield
    monkeypatch.undo()
    time.tzset()


def until(*words: str) -> float:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_until(parser)
    return float(parser.parse_args(words).until or 0.0)


@pytest.mark.parametrize(
    ("words", "after_s"),
    [
        ((), -NOW_S),
        (("--for", "90s"), 90),
        (("--for", "30min"), 1800),
        (("--for", "2 h"), 7200),
        (("--for", "1d"), 86400),
        (("--until", "16:00"), 1800),
        (("--until", "15:30"), 86400),  # it is that just now: tomorrow
        (("--until", "3:00"), 11.5 * 3600),
        (("--until", "2026-11-29 16:00"), 1800),
        (("--until", "2026-12-01T15:30:10"), 2 * 86400 + 10),
        (("--until", "2027-06-29 16:30"), 212 * 86400),  # summer time
    ],
)
def test_a_time_is_understood(words: tuple[str, ...], after_s: float) -> None:
    assert until(*words) == NOW_S + after_s


@pytest.mark.parametrize(
    "words",
    [
        ("--for", "soon"),
        ("--for", "0min"),
        ("--for", "30"),
        ("--for", "-1h"),
        ("--until", "25:00"),
        ("--until", "2026-11-29 15:29"),
        ("--until", "yesterday"),
        ("--until", "99999-01-01 00:00"),
    ],
)
def test_what_is_no_time_or_over_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(argparse.ArgumentError):
        until(*words)


def test_the_flags_on_offer_are_those_that_there_are() -> None:
    assert set(FLAGS) < set(control.FLAGS)
