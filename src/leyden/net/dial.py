"""A TCP connection to a host that may have several addresses, some of which may not answer (RFC 8305).

All addresses are tried, in the system's order. The next attempt starts when the one before has failed or has had no
answer for a moment; earlier attempts go on, and the first that connects wins. Looking up the name does not block the
event loop, and its time counts. Deliberately absent: a memory of addresses that did not answer.
"""

import asyncio
import os
import socket

from leyden.errors import Transient

HEAD_START_S = 0.25  # of an address before the next one; less if the time is short
ADDRESSES_LIMIT = 32

Address = tuple[socket.AddressFamily, str, int]
"""Family, numeric address (IPv6 with its %zone, if it has one), port."""


class ConnectionFailed(Transient):
    """No TCP connection, or no answer to the A-ASSOCIATE-RQ."""


async def look_up(host: str, port: int, within_s: float) -> list[Address]:
    """The addresses of a host, in the order in which to try them. `within_s` 0 = no limit. Raises ConnectionFailed."""
    try:
        async with asyncio.timeout(within_s or None):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise ConnectionFailed(f"no address of {host} within {within_s:g} s") from None
    except (OSError, UnicodeError) as error:  # the latter: a name that is too long
        raise ConnectionFailed(f"no address of {host}: {_words(error)}") from error
    addresses: list[Address] = [(family, _numeric(name), port) for family, _, _, _, name in found]
    return list(dict.fromkeys(addresses))[:ADDRESSES_LIMIT]


async def connect(addresses: list[Address], within_s: float) -> tuple[asyncio.Transport, Address]:
    """An open connection, without its protocol yet, and its address. `within_s` 0 = no limit.

    Raises ConnectionFailed with the reason for each address.
    """
    head_start_s = min(HEAD_START_S, within_s / 2 / len(addresses)) if within_s else HEAD_START_S
    loop = asyncio.get_running_loop()
    waiting = list(addresses)
    trying: dict[asyncio.Task[asyncio.Transport], Address] = {}
    failed: dict[Address, str] = {}
    try:
        async with asyncio.timeout(within_s or None):
            while waiting or trying:
                if waiting:
                    address = waiting.pop(0)
                    trying[loop.create_task(_connect(address))] = address
                patience_s = head_start_s if waiting else None
                done, _ = await asyncio.wait(trying, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if error is None:
                        return task.result(), trying.pop(task)
                    failed[trying.pop(task)] = _words(error)
    except TimeoutError:
        failed |= dict.fromkeys(trying.values(), f"no connection within {round(within_s, 1):g} s")
    finally:
        for task in trying:
            if not task.cancel() and task.exception() is None:  # it connected at the same moment as the winner
                task.result().abort()
    raise ConnectionFailed(", ".join(f"{address[1]}: {why}" for address, why in sorted(failed.items())))


async def _connect(address: Address) -> asyncio.Transport:
    family, host, port = address
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port, family=family)
    return transport


def _numeric(name: tuple[object, ...]) -> str:
    """The numeric address from getaddrinfo; a link-local IPv6 address needs its zone."""
    zone = f"%{name[3]}" if len(name) == 4 and name[3] else ""
    return f"{name[0]}{zone}"


def _words(error: BaseException) -> str:
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError) or not error.errno:
        return getattr(error, "strerror", None) or str(error)
    return os.strerror(error.errno)  # asyncio's own text repeats the address
