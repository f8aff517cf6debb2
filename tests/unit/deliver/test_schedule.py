"""ProcessSchedule, ProcessNetworks and the process delay."""

import pytest

from leyden.deliver.schedule import StudyDelay, is_here, is_open, network

DAY = [(8 * 60, 18 * 60)]
NIGHT = [(22 * 60, 6 * 60)]


@pytest.mark.parametrize(
    ("windows", "minute", "expected"),
    [
        ([], 0, True),
        (DAY, 8 * 60, True),
        (DAY, 18 * 60, True),
        (DAY, 18 * 60 + 1, False),
        (DAY, 7 * 60 + 59, False),
        (NIGHT, 23 * 60, True),
        (NIGHT, 0, True),
        (NIGHT, 6 * 60, True),
        (NIGHT, 6 * 60 + 1, False),
        (NIGHT, 21 * 60 + 59, False),
        ([(0, 1439)], 1439, True),
        ([(300, 300)], 7, True),
        (DAY + NIGHT, 19 * 60, False),
        (DAY + NIGHT, 23 * 60, True),
    ],
)
def test_a_schedule_is_open_within_its_windows_past_midnight_too(windows, minute, expected):
    assert is_open(windows, minute) is expected


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("192.168.1.7", "192.168.1.7/32"),
        ("192.168.1.0", "192.168.1.0/24"),
        ("172.16.0.0", "172.16.0.0/16"),
        ("10.0.0.0", "10.0.0.0/8"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("192.168.1.130/25", "192.168.1.128/25"),
        ("192.168.1.7 / 255.255.255.0", "192.168.1.0/24"),
        ("fd00::1", "fd00::1/128"),
        ("fd00::/8", "fd00::/8"),
    ],
)
def test_a_network_may_be_written_as_address_prefix_or_mask(text, meaning):
    assert str(network(text)) == meaning


@pytest.mark.parametrize("text", ["", "here", "1.2.3", "1.2.3.4/33", "1.2.3.4/255.0.255.0", "1.2.3.256"])
def test_what_is_no_network(text):
    with pytest.raises(ValueError, match=r"."):
        network(text)


def test_we_are_in_a_network_if_one_of_our_addresses_is():
    ours = {"192.168.1.7", "fd00::2"}
    assert is_here([], ours)
    assert is_here(["10.0.0.0", "192.168.1.7"], ours)
    assert is_here(["192.168.1.0/24"], ours)
    assert is_here(["fd00::/16"], ours)
    assert not is_here(["192.168.1.8"], ours)
    assert not is_here(["192.168.2.0/24"], ours)
    assert not is_here(["192.168.1.0/24"], set())


class TestStudyDelay:
    def test_what_is_skipped_goes_at_once_and_what_comes_later_waits(self) -> None:
        delay = StudyDelay(10, 1)
        assert delay.ready_s("study", 100.0) == 110.0
        delay.skip(101.0)
        assert delay.ready_s("study", 100.0) == 100.0
        assert delay.ready_s("study", 102.0) == 110.0

    def test_a_study_waits_from_its_first_instance_on(self):
        delay = StudyDelay(10, 1)
        assert delay.ready_s("s", 100) == 110
        assert delay.ready_s("s", 105) == 110
        assert delay.ready_s("other", 105) == 115

    def test_what_comes_soon_after_goes_at_once(self):
        delay = StudyDelay(10, 1)
        delay.ready_s("s", 100)
        assert delay.ready_s("s", 115) == 115
        assert delay.ready_s("s", 120) == 120

    def test_what_comes_later_begins_a_new_wait(self):
        delay = StudyDelay(10, 1)
        delay.ready_s("s", 100)
        assert delay.ready_s("s", 121) == 131
        assert delay.ready_s("s", 125) == 131

    def test_a_window_of_zero_is_off(self):
        delay = StudyDelay(10, 0)
        delay.ready_s("s", 100)
        assert delay.ready_s("s", 110) == 110
        assert delay.ready_s("s", 110.5) == 120.5

    def test_an_older_one_may_be_listed_later(self):
        delay = StudyDelay(10, 1)
        assert delay.ready_s("s", 105) == 115
        assert delay.ready_s("s", 100) == 110
        assert delay.ready_s("s", 105) == 110

    def test_without_a_delay_a_study_is_ready_at_once(self):
        assert StudyDelay(0, 1).ready_s("s", 100) == 100

    def test_old_studies_are_forgotten(self):
        delay = StudyDelay(10, 1)
        delay.ready_s("s", 100)
        delay.forget(120)
        assert delay.ready_s("s", 119) == 119
        delay.forget(121)
        assert delay.ready_s("s", 119) == 129
