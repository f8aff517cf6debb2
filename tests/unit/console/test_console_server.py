"""The web server against clients that are silent, slow, or too many, and over TLS."""

import contextlib
import os
import socket
import ssl
import subprocess
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from leyden.config.settings import ConsoleSettings
from leyden.console import server
from leyden.console.call import Asked, Call, Needs, Nothing, Plain
from leyden.console.console import Console
from leyden.console.table import TABLE
from support.console import Web, serving, trusting
from support.service import free_port, wait_for

REQUEST = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
SOON_S = 0.3


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_WITHIN_S", SOON_S)
    monkeypatch.setattr(server, "HANDSHAKE_WITHIN_S", SOON_S)


def ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it; waits for that. An answer before it may come in several pieces."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return True


def status(connection: socket.socket) -> int:
    """The status of one whole answer; its head and its body may come one after the other."""
    answer = HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.status


def alive(web: Web) -> bool:
    with web.raw() as connection:
        connection.sendall(REQUEST)
        return status(connection) == 200


@pytest.mark.parametrize(
    "begin", [b"", b"GET", b"GET /health/live HTTP/1.1\r\nHost: local"], ids=["silent", "slow", "cut off"]
)
@pytest.mark.usefixtures("impatient")
def test_who_does_not_get_a_request_together_is_dropped(tmp_path: Path, begin: bytes) -> None:
    with serving(tmp_path) as web, web.raw() as connection:
        connection.sendall(begin)
        assert ended(connection)
        assert alive(web)


@pytest.mark.usefixtures("impatient")
def test_nor_the_next_request(tmp_path: Path) -> None:
    with serving(tmp_path) as web, web.raw() as connection:
        connection.sendall(REQUEST)
        assert status(connection) == 200
        connection.sendall(b"GET /")
        assert ended(connection)


@pytest.mark.usefixtures("impatient")
def test_a_connection_without_a_request_stays_a_while(tmp_path: Path) -> None:
    """As it does for whoever asks again and again, such as Prometheus."""
    with serving(tmp_path) as web, web.raw() as connection:
        for _ in range(3):
            connection.sendall(REQUEST)
            assert status(connection) == 200
        connection.settimeout(3 * SOON_S)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def not_reading(web: Web) -> socket.socket:
    """A client that asks for more than the buffers hold, and takes nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", web.port))
    connection.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection


def stuck(web: Web) -> int:
    return sum(connection.stuck for connection in list(web.server._connections))


def heavy(_whole: bool) -> str:
    return "x" * 4_000_000


def test_many_who_take_no_answer_keep_nobody_out(tmp_path: Path) -> None:
    with serving(tmp_path, document=heavy, max_connections=5) as web, contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(not_reading(web))
        wait_for(lambda: stuck(web) == 5)
        assert alive(web)


def test_who_takes_no_answer_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TAKEN_WITHIN_S", SOON_S)
    with serving(tmp_path, document=heavy) as web, not_reading(web):
        wait_for(lambda: stuck(web) == 1)
        wait_for(lambda: not web.server._connections)


def test_many_silent_clients_keep_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_WITHIN_S", 1000.0)
    with contextlib.ExitStack() as stack, serving(tmp_path, max_connections=10) as web:
        silent = [stack.enter_context(web.raw()) for _ in range(200)]
        assert alive(web)
        wait_for(lambda: len(web.server.server_state.connections) <= 10)
        assert ended(silent[0]), "the oldest has to go"


def test_a_request_under_way_is_not_what_has_to_go(tmp_path: Path) -> None:
    with (
        contextlib.ExitStack() as stack,
        serving(tmp_path, max_connections=5) as web,
        web.client() as client,
        client.stream("GET", "/api/live") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        for _ in range(50):
            stack.enter_context(web.raw())
        assert alive(web)
        assert 'data: {"shown":1}' in (next(lines), next(lines), next(lines))


async def _much(_console: Console, _asked: Asked[Nothing, Nothing]) -> Plain:
    return Plain(bytes(64 << 20), "application/octet-stream")


def test_who_takes_nothing_of_an_answer_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TAKEN_WITHIN_S", SOON_S)
    table = (*TABLE, Call("GET", "/much", Needs.NOTHING, _much, ""))
    with serving(tmp_path, table) as web:
        with web.client() as client:
            assert len(client.get("/much").content) == 64 << 20, "who takes it gets all of it"
        with web.raw() as connection:
            connection.sendall(b"GET /much HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_for(lambda: any(each.cycle is not None for each in web.server._connections), why="the request")
            wait_for(lambda: not web.server._connections, why="the end of the connection")


def test_a_head_without_end_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path) as web, web.raw() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                connection.sendall(b"X-Long: " + b"a" * 1024 + b"\r\n")
        received = b""
        with contextlib.suppress(ConnectionError):
            received = connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 400") or received == b""
        assert alive(web)


def test_a_body_that_never_ends_has_a_limit(tmp_path: Path) -> None:
    with serving(tmp_path) as web, web.raw() as connection:
        connection.sendall(
            b"POST /api/login HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(b"1000\r\n" + b" " * 4096 + b"\r\n")
        with contextlib.suppress(ConnectionError):
            assert status(connection) == 413


def test_a_busy_port_means_the_next(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as busy:
        port = busy.getsockname()[1]
        with server.bind(ConsoleSettings(port=port)) as found:
            assert port < found.getsockname()[1] < port + server.PORTS_TRIED
        with pytest.raises(OSError, match=r"api\.port"):
            server.bind(ConsoleSettings(port=port, bind="192.0.2.1"))


def make_certificate(folder: Path, days: int = 2) -> dict[str, str]:
    files = {"certificate": str(folder / "own.pem"), "key": str(folder / "own.key")}
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", str(days)]
    words += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    words += ["-out", files["certificate"], "-keyout", files["key"]]
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)
    os.chmod(files["key"], 0o600)
    return files


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_with_a_certificate_it_speaks_tls_only(tmp_path: Path, certificate: dict[str, str]) -> None:
    with serving(tmp_path, **certificate) as web:
        with web.client(verify=trusting(Path(certificate["certificate"]))) as client:
            answer = client.get("/health/live")
            assert answer.status_code == 200
            assert "max-age" in answer.headers["strict-transport-security"]
        with httpx.Client() as client, pytest.raises(httpx.TransportError):
            client.get(f"http://127.0.0.1:{web.port}/health/live")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with web.raw() as connection, old.wrap_socket(connection) as safe:
            assert safe.version() == "TLSv1.2"


@pytest.mark.usefixtures("impatient")
def test_a_handshake_that_does_not_come_is_not_waited_for(tmp_path: Path, certificate: dict[str, str]) -> None:
    with serving(tmp_path, **certificate) as web, web.raw() as connection:
        assert ended(connection)


def test_a_renewed_certificate_is_taken_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a reload, and never half: a key that does not belong to it leaves the old ones in force."""
    files = make_certificate(tmp_path)

    def shown(web: Web) -> str:
        return ssl.get_server_certificate(("127.0.0.1", web.port), timeout=30).strip()

    with serving(tmp_path / "console", **files) as web:
        first = Path(files["certificate"]).read_text().strip()
        assert shown(web) == first
        (tmp_path / "next").mkdir()
        other = make_certificate(tmp_path / "next")
        assert web.tls is not None
        os.replace(other["certificate"], files["certificate"])
        web.tls.look()
        assert "the old ones stay" in caplog.text
        assert shown(web) == first
        os.replace(other["key"], files["key"])
        web.tls.look()
        assert shown(web) == Path(files["certificate"]).read_text().strip() != first
