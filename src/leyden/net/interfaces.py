"""The addresses of this machine, as the kernel tells them (in our network namespace)."""

import ipaddress
from pathlib import Path


def local_addresses() -> frozenset[str]:
    """The IPv4 and IPv6 addresses of this machine's interfaces, as texts."""
    texts = []
    for name in ("fib_trie", "if_inet6"):
        try:
            texts.append(Path("/proc/net", name).read_text(encoding="ascii"))
        except OSError:  # no IPv6 here, or no IPv4
            texts.append("")
    return addresses_in(*texts)


def addresses_in(fib_trie: str, if_inet6: str) -> frozenset[str]:
    """The addresses of this host's interfaces, from the texts of /proc/net/fib_trie and /proc/net/if_inet6."""
    found = {str(ipaddress.IPv6Address(int(line[:32], 16))) for line in if_inet6.splitlines() if line.strip()}
    address = ""
    for line in fib_trie.splitlines():
        words = line.split()
        if words[:1] == ["|--"]:
            address = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found.add(address)
    return frozenset(found)
