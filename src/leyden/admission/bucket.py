"""How much each address may do: a bucket of permissions that fills up again. The table of addresses is bounded."""

from collections import OrderedDict
from collections.abc import Callable

ADDRESSES_MAX = 1024  # one more, and the address that was silent for the longest time is forgotten


class Buckets:
    """A bucket of `size` for each address, into which `per_s` come a second. `clock` gives seconds."""

    def __init__(self, size: float, per_s: float, clock: Callable[[], float]) -> None:
        self.size, self.per_s = size, per_s
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> what was left, and when

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
        self._left[address] = (left, self._clock())
        self._left.move_to_end(address)
        while len(self._left) > ADDRESSES_MAX:
            self._left.popitem(last=False)

    def _now(self, address: str) -> float:
        left, at_s = self._left.get(address, (self.size, self._clock()))
        return min(self.size, left + (self._clock() - at_s) * self.per_s)
