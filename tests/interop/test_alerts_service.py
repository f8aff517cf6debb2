"""Alerts of a running service, as an operator gets them: by a webhook, at the command line, over a crash."""

import json
import queue
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file

from leyden.alerts.alerts import read
from support.peers import Pacs, run_dcmtk
from support.service import LIMIT_S, Service, free_port, node, wait_for

CT = str(get_testdata_file("CT_small.dcm"))
CONFIG = "alerts: {{diskFreeBelow: 0, webhook: {{url: 'http://127.0.0.1:{}/'}}}}\n"


class Hook:
    """A web server that keeps what is posted to it."""

    def __init__(self) -> None:
        self.said: queue.Queue[dict[str, str]] = queue.Queue()
        said = self.said

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_given: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def next(self) -> tuple[str, str, str]:
        said = self.said.get(timeout=LIMIT_S)
        return said["cause"], said["of"], said["state"]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()
    yield hook
    hook.stop()


def test_what_is_wrong_is_told_once_and_a_crash_after_it(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path, hook: Hook
) -> None:
    """What is wrong is told once, and stands in `leyden alert list`. A service that was killed is told by the next
    one; one that was stopped is not."""
    there: Any = pacs("PACS", answer=lambda _arrival: 0xC123)
    leyden = service(node("PACS", there.port, RetryDelays="0.1"), cycleRejectedFilesOnStartup="false")
    config = leyden.folder / "config.yml"
    config.write_text(config.read_text() + CONFIG.format(hook.port))
    leyden.start()
    run_dcmtk("storescu", "-aec", "PACS", "127.0.0.1", str(leyden.port), CT)
    assert hook.next() == ("rejected", "PACS", "begins")
    listed = leyden.leyden("alert", "list", "--json")
    assert listed.returncode == 1
    assert [cause["cause"] for cause in json.loads(listed.stdout)] == ["rejected"]
    tried = leyden.leyden("alert", "test")
    assert (tried.returncode, tried.stdout) == (0, "webhook: sent\n")
    assert hook.next() == ("test", "leyden alert test", "test")

    wait_for(lambda: not read(leyden.spool).waiting, why="the watcher to note that all is sent")
    leyden.kill_all()
    leyden.start()
    assert hook.next() == ("interrupted", "service", "once")
    leyden.stop()
    leyden.start()
    leyden.leyden("alert", "test")
    assert hook.next() == ("test", "leyden alert test", "test"), "the stop was no interruption"


def test_a_reload_that_brings_alerts_starts_who_sends_them(
    service: Callable[..., Service], pacs: Callable[..., Pacs], hook: Hook
) -> None:
    """Alerts: "A reload takes changes over" (docs/monitor.md), also where nothing asked for the watcher before."""
    leyden = service(node("PACS", pacs("PACS").port), audit="{enabled: false}").start()
    config = leyden.folder / "config.yml"
    config.write_text(config.read_text() + CONFIG.format(hook.port).replace("diskFreeBelow: 0", "diskFreeBelow: 99"))
    assert leyden.leyden("reload").returncode == 0
    assert hook.next() == ("disk", "spool", "begins")
