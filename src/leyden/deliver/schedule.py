"""When and from where a destination is served: ProcessSchedule, ProcessNetworks and the process delay of a study.

Minutes, addresses and seconds are arguments; who asks the system for them is the sender. SopClassPriorities are not
here: the planner made them the rank, and the spool lists by rank.
"""

import ipaddress
from collections.abc import Collection, Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_open(windows: Sequence[tuple[int, int]], minute: int) -> bool:
    """Whether `minute` (of the local day, 0 to 1439) lies in a window. No window = always.

    The last minute belongs to the window ("00:00 - 23:59" is the whole day); end < start crosses midnight, and equal
    ends are a whole day.
    """
    return not windows or any(
        start == end or (start <= minute <= end if start < end else minute >= start or minute <= end)
        for start, end in windows
    )


def network(text: str) -> Network:
    """What an entry of ProcessNetworks stands for: an address (itself alone), `net/bits`, `address / mask`.

    An IPv4 address that ends in zeros is a network address: as many octets as are not zero make the prefix.
    ValueError if it is none of these.
    """
    address, slash, mask = (part.strip() for part in text.partition("/"))
    if slash:
        return ipaddress.ip_network(f"{address}/{mask}", strict=False)
    octets = address.split(".")
    if len(octets) == 4 and octets[-1] == "0":
        while octets and octets[-1] == "0":
            octets.pop()
        return ipaddress.ip_network(f"{address}/{8 * len(octets)}")
    return ipaddress.ip_network(address)


def is_here(networks: Iterable[str], addresses: Collection[str]) -> bool:
    """Whether one of our `addresses` lies in one of the networks. No network = everywhere."""
    wanted = [network(text) for text in networks]
    ours = [ipaddress.ip_address(address) for address in addresses]
    return not wanted or any(address in net for net in wanted for address in ours)


class StudyDelay:
    """The process delay: a study waits `delay_s` from its first instance on, so that it goes out whole.

    What arrives up to delay_s x multiplier after that goes at once; what arrives later begins a new wait, and with a
    multiplier of 0 everything after the wait does.
    """

    def __init__(self, delay_s: float, multiplier: float) -> None:
        self._delay_s = delay_s
        self._window_s = delay_s * multiplier
        self._first_s: dict[str, float] = {}
        self._until_s = float("-inf")

    def skip(self, now_s: float) -> None:
        """What was received up to now goes at once."""
        self._until_s = now_s

    def ready_s(self, study_key: str, received_s: float) -> float:
        """When an instance received at `received_s` may go (seconds since 1970). Ask for the older ones first."""
        if not self._delay_s or received_s <= self._until_s:
            return received_s
        first_s = self._first_s.get(study_key)
        # The listing is by rank first, so an instance older than the first one seen can come after it.
        if first_s is None or received_s < first_s or received_s > first_s + self._delay_s + self._window_s:
            first_s = self._first_s[study_key] = received_s
        return max(received_s, first_s + self._delay_s)

    def forget(self, now_s: float) -> None:
        """Drop the studies whose window is over."""
        kept_s = self._delay_s + self._window_s
        self._first_s = {key: first_s for key, first_s in self._first_s.items() if first_s + kept_s >= now_s}
