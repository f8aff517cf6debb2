"""Server-sent events: a document, made once a second for all who watch, and only while somebody does.

A watcher gets the newest document when it is ready for one, and never a queue of older ones. Its connection ends when
it takes nothing for a while, when its session or its token does, or with the console.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from leyden import log
from leyden.console.call import Refused
from leyden.console.envelope import encoded

logger = logging.getLogger("leyden.console")

EACH_S = 1.0
WATCHERS_MAX = 32
ANYBODY_MAX = 16  # of these, without a token or a session: strangers can't take every place
TAKEN_WITHIN_S = 15.0  # by a watcher
BEGIN = b"retry: 2000\n\n"  # a browser comes again after 2 s

Document = Callable[[bool], Any]
"""Makes what is shown, for JSON: the whole of it, or what anybody may see."""


class Stream:
    """All who watch. One event loop."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._watchers = {False: 0, True: 0}  # those who see what anybody may see, and those who see the whole
        self._newest: dict[bool, bytes] = {}
        self._news = asyncio.Event()
        self._making: asyncio.Task[None] | None = None

    def watch(self, whole: Callable[[], bool | None]) -> Response:
        """An answer that goes on while `whole()` stays the same: whether the caller may see the whole, None = nothing.

        Refused (503): too many watch already.
        """
        anybody, all_of_them = self._watchers[False], self.watchers
        if all_of_them >= WATCHERS_MAX or (anybody >= ANYBODY_MAX and not whole()):
            raise Refused(503, "too_many", f"{all_of_them} watch already", wait_s=10)
        return _Watching(self, whole)

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return sum(self._watchers.values())

    async def close(self) -> None:
        if self._making is not None:
            self._making.cancel()
            await asyncio.wait((self._making,))

    @contextlib.asynccontextmanager
    async def documents(self, whole: bool) -> AsyncIterator[AsyncIterator[bytes]]:
        """The documents from now on, while the context lasts."""
        self._watchers[whole] += 1
        if self._making is None:
            self._making = asyncio.create_task(self._make())
        try:
            yield self._each(whole)
        finally:
            self._watchers[whole] -= 1

    async def _each(self, whole: bool) -> AsyncIterator[bytes]:
        while True:
            if whole in self._newest:
                yield self._newest[whole]
            await self._news.wait()

    async def _make(self) -> None:
        try:
            while self.watchers:
                try:
                    self._newest = {whole: encoded(self._document(whole)) for whole in (False, True)}
                except Exception as error:  # the next one may be made; whoever watches sees that none comes
                    self._newest = {}
                    log.once(logger, logging.ERROR, "document", f"what the page shows can't be made: {error!r}")
                news, self._news = self._news, asyncio.Event()
                news.set()
                await asyncio.sleep(EACH_S)
        finally:
            self._making, self._newest = None, {}


class _Watching(Response):
    """One watcher's answer."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, whole: Callable[[], bool | None]) -> None:
        super().__init__(None)
        del self.headers["content-length"]
        self._stream, self._whole = stream, whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        sending = asyncio.create_task(self._send(send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((sending, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, gone):
                task.cancel()
            await asyncio.wait((sending, gone))
        if not sending.cancelled() and (error := sending.exception()) is not None:
            raise error

    async def _send(self, send: Send) -> None:
        begun = self._whole()
        async with self._stream.documents(bool(begun)) as documents:
            await send({"type": "http.response.body", "body": BEGIN, "more_body": True})
            async for document in documents:
                if begun is None or self._whole() is not begun:
                    break
                try:
                    async with asyncio.timeout(TAKEN_WITHIN_S):
                        await send(
                            {"type": "http.response.body", "body": b"data: %s\n\n" % document, "more_body": True}
                        )
                except TimeoutError:
                    break
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
