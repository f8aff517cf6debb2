"""What is legal in nodes.yml and most probably wrong: names, addresses and times.

Pure: `served` was checked, and the addresses of this machine are an argument. These are warnings, so what could be
meant as it is written is not told.
"""

import ipaddress
from collections.abc import Collection, Iterator, Sequence

from leyden.config.nodes import Served
from leyden.config.schema import Config, NodeEntry
from leyden.config.yaml_text import At
from leyden.deliver.schedule import is_here, is_open

DAY_MINUTES = 1440

Doubt = tuple[At, str, str]
"""Where, the key, and what is doubtful there."""


def doubts(served: Served, config: Config, here: Collection[str]) -> Iterator[Doubt]:
    """Everything doubtful in the Storage nodes. `here`: the names and addresses of this machine."""
    nodes = [node for node, _ in served.nodes]
    yield from _same_address(nodes)
    yield from _alike(nodes)
    for node in nodes:
        for key, message in (
            *_names(node, config),
            *_times(node, config),
            *_places(node, config, here),
        ):
            yield node.places.get(key, node.at), key, message


def longest_closed_minutes(windows: Sequence[tuple[int, int]]) -> int:
    """The longest time in which no window is open. No window = always open."""
    longest = closed = 0
    for minute in range(2 * DAY_MINUTES):  # twice, as the time may cross midnight
        closed = 0 if is_open(windows, minute % DAY_MINUTES) else closed + 1
        longest = max(longest, closed)
    return longest


def _same_address(nodes: Sequence[NodeEntry]) -> Iterator[Doubt]:
    first: dict[tuple[str, int], NodeEntry] = {}
    for node in nodes:
        if not node.places.keys() & {"HostName", "Port"}:
            continue  # its address was not entered yet
        earlier = first.setdefault((node.host_name.lower(), node.port), node)
        if earlier is not node:
            what = f"{node.host_name}:{node.port} is also the address of {earlier.ae_title} ({earlier.at})"
            yield node.places.get("HostName", node.places.get("Port", node.at)), "HostName", what


def _alike(nodes: Sequence[NodeEntry]) -> Iterator[Doubt]:
    """Names that differ only in case: AE titles are compared as they are written."""
    first: dict[str, tuple[str, NodeEntry]] = {}
    for node in nodes:
        for key, title in (("AeTitle", node.ae_title), *(("Aliases", alias) for alias in node.aliases)):
            seen, owner = first.setdefault(title.lower(), (title, node))
            if seen != title:
                whose = "this node" if owner is node else f"the node {owner.ae_title}"
                yield title.at, key, f"{title} differs only in case from {seen} of {whose}; each is a title of its own"


def _names(node: NodeEntry, config: Config) -> Iterator[tuple[str, str]]:
    known = {str(node.ae_title): "it is the AeTitle"}
    if config.ae_title_prefix:
        for title in (node.ae_title, *node.aliases):
            known.setdefault(config.ae_title_prefix + title, f"it is {title} with the aeTitlePrefix (config.yml)")
    for n, alias in enumerate(node.aliases):
        if alias in known:
            yield "Aliases", f"{alias} is not needed: {known[alias]}"
        elif alias in node.aliases[:n]:
            yield "Aliases", f"{alias} is given twice"


def _times(node: NodeEntry, config: Config) -> Iterator[tuple[str, str]]:
    windows = config.process_schedule if node.process_schedule is None else node.process_schedule
    for start, end in windows:
        if start == end:
            yield (
                "ProcessSchedule",
                f"{_time(start)} - {_time(end)} is the whole day; leave the key out if that is meant",
            )
    expiry_s = config.expiry_threshold
    closed_s = 60 * longest_closed_minutes(windows)
    if expiry_s and closed_s >= expiry_s:
        hours = f"{closed_s / 3600:.3g} h"
        what = f"is closed for {hours} at a time: what waits so long has expired (expiryThreshold, {expiry_s:.0f} s)"
        yield "ProcessSchedule", what
    delay_ms = config.process_delay if node.process_delay is None else node.process_delay
    if expiry_s and delay_ms >= 1000 * expiry_s:
        yield "ProcessDelay", f"never ends: what waits so long has expired (expiryThreshold, {expiry_s:.0f} s)"


def _places(node: NodeEntry, config: Config, here: Collection[str]) -> Iterator[tuple[str, str]]:
    addresses = [name for name in here if _is_address(name)]
    host = node.host_name.lower().strip("[]")
    if (key := config.ports.get(node.port)) and host in {name.lower() for name in here}:
        what = f"{node.host_name}:{node.port} seems to be Leyden itself ({key}), which would get back what it sends"
        yield "HostName", what
    if node.process_networks and not is_here(node.process_networks, addresses):
        yield "ProcessNetworks", "this machine has no address in any of them now, and delivers nothing until it has"


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _time(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
