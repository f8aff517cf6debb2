"""The web server: uvicorn, with what it does not bound by itself: connections, silence, TLS handshakes.

A connection that has no request under way, or does not take its answer, is the first to go when there are too many, the
oldest of them first; one that does not get a request together in time, or takes nothing for a while, goes, too. So
silent clients, however many, keep nobody out for long.
"""

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from leyden import log
from leyden.config.settings import ConsoleSettings

logger = logging.getLogger("leyden.console")

REQUEST_WITHIN_S = 10.0  # from the connection to the end of the first request's head
KEPT_S = 20.0  # a connection without a request; longer than the 15 s at which Prometheus comes again
HANDSHAKE_WITHIN_S = 5.0
TAKEN_WITHIN_S = 20.0  # by a client that takes nothing of its answer
HEAD_MAX_BYTES = 16 * 1024
GRACE_S = 3
PORTS_TRIED = 10
BACKLOG = 128


def bind(settings: ConsoleSettings) -> socket.socket:
    """A socket that listens on the port of these settings or, where it is busy, on the next that is free.

    OSError: none is free, or the address is not one of this machine.
    """
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    last = min(settings.port + PORTS_TRIED - 1, 65535)
    for port in range(settings.port, last + 1):
        try:
            return socket.create_server(
                (settings.bind, port), family=family, backlog=BACKLOG,
                dualstack_ipv6=settings.bind == "::" and socket.has_dualstack_ipv6(),
            )  # fmt: skip
        except OSError as error:
            if error.errno != errno.EADDRINUSE or port == last:
                raise OSError(
                    error.errno, f"{settings.bind} port {port} (api.port): {os.strerror(error.errno or 0)}"
                ) from None
    raise AssertionError


class Tls:
    """TLS 1.2 at least, with the certificate of these settings. OSError, ssl.SSLError: a file is wrong."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._files = (settings.certificate, settings.key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen = self._stamps()
        self._load(self.context)

    def look(self) -> None:
        """Take over files that have changed, for the connections that come next; if they are wrong, the old ones stay.

        Nobody needs to reload for that: certificates are renewed by programs.
        """
        try:
            stamps = self._stamps()
            if stamps == self._seen:
                return
            self._seen = stamps
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a trial: the other one stays whole
            self._load(self.context)
        except (OSError, ssl.SSLError) as error:
            message = f"the new certificate or key can't be taken, the old ones stay: {error}"
            log.once(logger, logging.ERROR, f"tls {self._seen}", message)
        else:
            logger.info("the certificate was read again")

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        return tuple((status.st_ino, status.st_mtime_ns) for status in map(os.stat, self._files))

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(*self._files, password=_no_passphrase)


def _no_passphrase() -> str:
    raise OSError("the key of TLS has a passphrase, which nobody is here to give")


class Server(uvicorn.Server):
    """Serves `app` on sockets of bind(), until `should_exit`. `max_connections` is asked at each new connection."""

    def __init__(self, app: ASGIApp, tls: Tls | None, max_connections: Callable[[], int]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=HEAD_MAX_BYTES,
                timeout_keep_alive=int(KEPT_S),
                timeout_graceful_shutdown=GRACE_S,
            )
        )
        self._tls = tls
        self._connections: dict[Connection, None] = {}  # the oldest first
        self._max_connections = max_connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but with connections of ours, and a limit for the handshake."""
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(self.config, self.server_state, self._connections, self._max_connections())

        limits: dict[str, Any] = (
            {"ssl": self._tls.context, "ssl_handshake_timeout": HANDSHAKE_WITHIN_S} if self._tls else {}
        )
        self.servers = [
            await loop.create_server(connection, sock=each, backlog=BACKLOG, **limits) for each in sockets or ()
        ]
        self.started = True


class Connection(H11Protocol):
    """One of the connections in `all_of_them`."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, all_of_them: "dict[Connection, None]", limit: int
    ) -> None:
        super().__init__(config, state, {})
        self._all = all_of_them
        self._limit = limit
        self._late: asyncio.TimerHandle | None = None
        self._full: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._all[self] = None
        self._await_request()
        if len(self._all) > self._limit:
            next((each for each in self._all if each.idle or each.stuck), self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.pop(self, None)
        self._await_nothing()
        self._await_room(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.idle:
            self._await_nothing()
        elif self._late is None:
            self._await_request()  # a part of the next one

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_room(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        self._await_room(None)
        super().resume_writing()

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def stuck(self) -> bool:
        """Whether the other side does not take what was sent, or not as fast."""
        return self._full is not None

    def _await_request(self) -> None:
        self._late = self.loop.call_later(REQUEST_WITHIN_S, self.transport.abort)

    def _await_room(self, waiting_bytes: int | None) -> None:
        """Less than this has to wait in a while; None = it does not matter any more."""
        if self._full is not None:
            self._full.cancel()
        self._full = None
        if waiting_bytes is not None:
            self._full = self.loop.call_later(TAKEN_WITHIN_S, self._look_for_room, waiting_bytes)

    def _look_for_room(self, before_bytes: int) -> None:
        if (now_bytes := self.transport.get_write_buffer_size()) < before_bytes:
            self._await_room(now_bytes)
        else:
            self.transport.abort()

    def _await_nothing(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
