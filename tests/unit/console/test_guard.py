"""What every request passes: the name it was meant for."""

import pytest

from leyden.console.guard import is_ours

NAMES = frozenset({"localhost", "box", "box.hospital.example"})


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:1080", "127.0.0.1", "127.0.0.1:1080", "[::1]:1080", "[::1]", "192.168.1.5:80", "box",
     "box.hospital.example:1080", "box.hospital.example."],
)  # fmt: skip
def test_an_address_and_a_name_of_ours_fit(host: str) -> None:
    assert is_ours(host, NAMES)


@pytest.mark.parametrize(
    "host",
    ["", ":1080", "evil.example", "evil.example:1080", "localhost.evil.example", "127.0.0.1.evil.example", "[::1",
     "[evil.example]", "[::1]80", "127.0.0.1:80@evil.example", "localhost:x", "box:80:80", "localhost/", "127.1", "[]"],
)  # fmt: skip
def test_any_other_name_does_not(host: str) -> None:
    assert not is_ours(host, NAMES)
