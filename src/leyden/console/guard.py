"""What every request passes before it is looked at, and every answer after it: host name, rate, time, headers.

A page of another site can have its name point to our address (DNS rebinding) and then read what we answer; so a request
is refused unless it was meant for a name of ours. An address can't be forged in that way: any is taken.
"""

import asyncio
import ipaddress
import logging
import socket
import time
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from leyden.admission.bucket import Buckets
from leyden.config.settings import ConsoleSettings
from leyden.console.call import Refused
from leyden.console.envelope import refusal

logger = logging.getLogger("leyden.console")

BURST_S = 10.0
PATH_SHOWN_CHARS = 200
STRICT = {
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    b"cache-control": b"no-store",
}
"""For every answer that does not say otherwise: it is data, and no browser should run, frame or keep any of it."""
ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}


class Guard:
    """The application behind what every request has to pass."""

    def __init__(self, app: ASGIApp, settings: Callable[[], ConsoleSettings]) -> None:
        self._app = app
        self._settings = settings
        self._names = own_names()
        self._rates = Buckets(0, 0, time.monotonic)  # none yet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = False

        async def hardened(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = _with_headers(message.get("headers", ()), tls=scope["scheme"] == "https")
            await send(message)

        try:
            self._check(scope)
            await self._app(scope, receive, hardened)
        except Refused as refused:
            if not started:
                await refusal(refused)(scope, receive, hardened)
        except asyncio.CancelledError:
            raise
        except Exception:  # it was answered 500
            logger.exception("a fault of ours in %s %s", scope["method"], scope["path"][:PATH_SHOWN_CHARS])

    def _check(self, scope: Scope) -> None:
        """Raises Refused."""
        settings = self._settings()
        per_s = settings.requests_per_second
        if self._rates.per_s != per_s:
            self._rates = Buckets(BURST_S * per_s, per_s, time.monotonic)
        address = scope["client"][0] if scope["client"] else ""
        if not self._rates.take(address):
            raise Refused(429, "slow_down", f"more than {per_s} requests a second", wait_s=1)
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not is_ours(hosts[0].decode("latin-1"), {*self._names, *settings.host_names}):
            raise Refused(421, "wrong_host", "the console is not called that; api.hostNames names what it is called")


def own_names() -> frozenset[str]:
    """What this machine calls itself. Nobody else is asked."""
    name = socket.gethostname().lower()
    return frozenset({"localhost", "localhost.localdomain", name, name.partition(".")[0]})


def is_ours(host: str, names: Iterable[str]) -> bool:
    """Whether the value of a Host header is an IP address or one of these names; its port does not count."""
    name = host.lower()
    if name.startswith("["):
        name, end, port = name[1:].partition("]")
        if not end or port[:1] not in ("", ":"):
            return False
        port = port[1:]
    else:
        name, _, port = name.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.removesuffix(".") in names
    return True


def _with_headers(given: Iterable[tuple[bytes, bytes]], *, tls: bool) -> list[tuple[bytes, bytes]]:
    headers = list(given)
    present = {name.lower() for name, _ in headers}
    more = STRICT | ALWAYS | ({b"strict-transport-security": b"max-age=31536000"} if tls else {})
    return headers + [(name, value) for name, value in more.items() if name not in present]
