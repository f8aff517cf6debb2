"""How much an address may do."""

import pytest

from leyden.admission.bucket import ADDRESSES_MAX, Buckets, counted


@pytest.mark.parametrize(
    ("address", "counts_as"),
    [
        ("10.1.20.7", "10.1.20.7"),
        ("::ffff:10.1.20.7", "10.1.20.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("?", "?"),
        ("", ""),
    ],
)
def test_what_an_address_counts_as(address: str, counts_as: str) -> None:
    assert counted(address) == counts_as


def test_whoever_has_a_network_has_one_bucket() -> None:
    buckets = Buckets(2, 1.0, lambda: 0.0)
    assert [buckets.take(f"2001:db8::{n}") for n in range(3)] == [True, True, False]
    assert buckets.wait_s("2001:db8::ffff") == 1.0
    assert buckets.take("2001:db8:0:1::1")


def test_a_bucket_fills_up_again() -> None:
    now_s = 0.0
    buckets = Buckets(3, 2.0, lambda: now_s)
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b"), "each has its own"
    assert buckets.wait_s("a") == 0.5
    now_s = 0.5
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    now_s = 1000.0
    assert [buckets.take("a") for _ in range(4)] == [True, True, True, False], "never more than it holds"


def test_what_is_owed_comes_in_first() -> None:
    now_s = 0.0
    buckets = Buckets(2, 1.0, lambda: now_s)
    for _ in range(5):
        buckets.owe("a")
    assert buckets.wait_s("a") == 4.0
    assert not buckets.take("a")
    assert buckets.wait_s("a") == 4.0, "who is refused owes no more by that"
    now_s = 4.0
    assert buckets.take("a")


def test_the_table_is_bounded() -> None:
    buckets = Buckets(1, 1.0, lambda: 0.0)
    assert buckets.take("a")
    for number in range(ADDRESSES_MAX):
        assert buckets.take(f"other {number}")
    assert len(buckets._left) == ADDRESSES_MAX
