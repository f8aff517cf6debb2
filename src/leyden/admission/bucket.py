"""How much each address may do: a bucket of permissions that fills up again. The table of addresses is bounded."""

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache

ADDRESSES_MAX = 1024  # one more, and the address that was silent for the longest time is forgotten

_HOST_BITS = 64  # of an IPv6 address: a host may take any in its network (RFC 4291 section 2.5.1)


@lru_cache(maxsize=ADDRESSES_MAX)
def counted(address: str) -> str:
    """What an address counts as: one of IPv6 as its network of 64 bits, one that holds an IPv4 address as that."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(found) >> _HOST_BITS << _HOST_BITS)}/{_HOST_BITS}"


class Buckets:
    """A bucket of `size` for each address, into which `per_s` come a second. `clock` gives seconds.

    Addresses are the same that count as the same.
    """

    def __init__(self, size: float, per_s: float, clock: Callable[[], float]) -> None:
        self.size, self.per_s = size, per_s
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # as counted() -> what was left, and when

    def wait_s(self, address: str) -> float:
        """How long until one can be taken; 0.0 = now."""
        return max(0.0, (1.0 - self._now(address)) / self.per_s)

    def take(self, address: str) -> bool:
        """Take one; False if there is none."""
        left = self._now(address)
        taken = left >= 1.0
        self._keep(address, left - taken)
        return taken

    def owe(self, address: str) -> None:
        """Take one, whether there is one or not: what is owed has to come in again before one can be taken."""
        self._keep(address, self._now(address) - 1.0)

    def _keep(self, address: str, left: float) -> None:
        key = counted(address)
        self._left[key] = (left, self._clock())
        self._left.move_to_end(key)
        while len(self._left) > ADDRESSES_MAX:
            self._left.popitem(last=False)

    def _now(self, address: str) -> float:
        left, at_s = self._left.get(counted(address), (self.size, self._clock()))
        return min(self.size, left + (self._clock() - at_s) * self.per_s)
