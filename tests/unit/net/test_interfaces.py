"""The addresses of this machine, from what the kernel says of them."""

from leyden.net.interfaces import addresses_in, local_addresses

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.2
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
"""
IF_INET6 = """fe8000000000000000fc00fffe000001 04 40 20 80     eth0
00000000000000000000000000000001 01 80 10 80       lo
"""


def test_addresses_of_the_host() -> None:
    assert addresses_in(FIB_TRIE, IF_INET6) == {"127.0.0.1", "192.0.2.2", "fe80::fc:ff:fe00:1", "::1"}
    assert addresses_in("", "") == frozenset()


def test_the_kernel_of_this_machine_is_understood() -> None:
    assert "127.0.0.1" in local_addresses()
