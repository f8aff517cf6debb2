"""The web server of the console in a thread, without a service: with settings of its own, on a real port."""

import asyncio
import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import uvloop

from leyden.config.settings import ConsoleSettings, ReceiverSettings, Settings
from leyden.console import server
from leyden.console.app import application
from leyden.console.call import Call
from leyden.console.console import Console
from leyden.console.stream import Document
from leyden.console.table import TABLE
from leyden.dicom.negotiate import AcceptorPolicy
from leyden.plan.rules import PlanSettings
from leyden.spool.store import Spool
from support.service import free_port

TOKEN = "a-token-of-the-configuration"
PASSWORD = "a-password"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def settings(root: Path, scp_port: int = 0, **keys: Any) -> Settings:
    """Settings of a service that receives nothing, with a console; `keys` are its own."""
    given: dict[str, Any] = {"enabled": True, "port": free_port(), **keys}
    return Settings(
        path=str(root),
        log_dir=str(root / "log"),
        cache_path=str(root / "cache"),
        scp_port=scp_port,
        my_ae_title="LEYDEN",
        receiver=ReceiverSettings(AcceptorPolicy(("LEYDEN",)), min_free_percent=0.0),
        plan=PlanSettings("LEYDEN", {}, (), None),
        destinations=(),
        console=ConsoleSettings(**given),
    )


class Web:
    """A console that is served. `url`: where."""

    def __init__(self, console: Console, listener: socket.socket, table: Sequence[Call]) -> None:
        self.console = console
        self.port = console.port
        self.url = f"http{'s' if console.tls else ''}://127.0.0.1:{self.port}"
        self._listener = listener
        self._table = table
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(30)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.tls = server.Tls(self.console.settings.console) if self.console.tls else None
        app = application(self.console, table=self._table)
        self.server = server.Server(app, self.tls, lambda: self.console.settings.console.max_connections)
        self.loop = asyncio.get_running_loop()
        serving = asyncio.create_task(self.server._serve([self._listener]))
        while not self.server.started and not serving.done():
            await asyncio.sleep(0.001)
        self._started.set()
        await serving
        await self.console.close()

    def client(self, **keys: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **keys)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def serving(
    root: Path, table: Sequence[Call] = TABLE, document: Document = lambda _whole: {"shown": 1}, **keys: Any
) -> Iterator[Web]:
    """A console on a spool below `root`. `document`: what its page shows."""
    given = settings(root, **keys)
    Spool(given.spool_root).prepare(())
    listener = server.bind(given.console)

    console = Console(given, port=listener.getsockname()[1], document=document)
    web = Web(console, listener, table)
    try:
        yield web
    finally:
        web.stop()


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))
