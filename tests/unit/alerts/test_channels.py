"""The webhook and mail, with a real HTTP server and a real SMTP server behind them."""

import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from leyden.alerts.causes import Message
from leyden.alerts.channels import Refused, Unreachable, channels
from leyden.alerts.settings import AlertSettings, MailSettings, WebhookSettings
from support.certificate import make_certificate
from support.service import free_port

MESSAGE = Message("destination down", "PACS", "begins", "PACS has not taken anything since 12:04", 1.7e9, 1.7e9 + 900)


@dataclass
class Hook:
    """A web server that takes what is posted, and answers `status`."""

    status: int = 200
    context: ssl.SSLContext | None = None
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.got.append((self.path, dict(self.headers), body))
                self.send_response(hook.status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_given: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        if self.context is not None:
            self.server.socket = self.context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self.context else ''}://127.0.0.1:{self.server.server_port}/hooks/leyden?team=it"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hook() -> Iterator[Callable[..., Hook]]:
    made: list[Hook] = []

    def make(**keys: Any) -> Hook:
        made.append(Hook(**keys))
        return made[-1]

    yield make
    for each in made:
        each.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def by_webhook(**keys: Any) -> None:
    (channel,) = channels(AlertSettings(webhook=WebhookSettings(**keys)), "ROUTER")
    channel.send(MESSAGE)


def test_a_webhook_gets_the_message_as_json(hook: Callable[..., Hook]) -> None:
    there = hook()
    by_webhook(url=there.url)
    ((path, headers, body),) = there.got
    assert path == "/hooks/leyden?team=it"
    assert headers["Content-Type"] == "application/json"
    said = json.loads(body)
    assert said.pop("text").endswith(": PACS has not taken anything since 12:04")
    assert said.pop("host")
    assert said == {
        "service": "ROUTER", "cause": "destination down", "of": "PACS", "state": "begins",
        "since": "2023-11-14T22:13:20+00:00", "at": "2023-11-14T22:28:20+00:00",
    }  # fmt: skip


def test_a_webhook_can_check_from_whom_it_comes(hook: Callable[..., Hook], tmp_path: Path) -> None:
    there = hook()
    (tmp_path / "secret").write_text("s3cret\n")
    by_webhook(url=there.url, secret_file=str(tmp_path / "secret"))
    by_webhook(url=there.url, secret_file=str(tmp_path / "secret"), secret_as="bearer")
    (_, signed, body), (_, with_token, _) = there.got
    assert signed["X-Leyden-Signature"] == "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert "Authorization" not in signed
    assert with_token["Authorization"] == "Bearer s3cret"


def test_nothing_is_sent_without_the_secret(hook: Callable[..., Hook], tmp_path: Path) -> None:
    there = hook()
    (tmp_path / "empty").write_text("\n")
    for name in ("empty", "missing"):
        with pytest.raises(Unreachable):
            by_webhook(url=there.url, secret_file=str(tmp_path / name))
    assert there.got == []


@pytest.mark.parametrize(("status", "error"), [(404, Refused), (301, Refused), (429, Unreachable), (503, Unreachable)])
def test_an_answer_says_whether_it_is_worth_another_try(
    hook: Callable[..., Hook], status: int, error: type[Exception]
) -> None:
    there = hook(status=status)
    with pytest.raises(error, match=f"it answered {status}"):
        by_webhook(url=there.url)
    assert len(there.got) == 1


def test_a_webhook_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        by_webhook(url=f"http://127.0.0.1:{free_port()}/")


def test_a_webhook_is_known_by_its_certificate(hook: Callable[..., Hook], certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    there = hook(context=context)
    with pytest.raises(Unreachable, match="its certificate is not good: self-signed certificate"):
        by_webhook(url=there.url)
    assert there.got == []
    by_webhook(url=there.url, ca_file=str(certificate[0]))
    assert len(there.got) == 1


class Sink:
    """What the mail server keeps; it answers `answer` to a mail, if that is given."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.answer = ""

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:
        if self.answer:
            return self.answer
        mail = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, mail))
        return "250 OK"


def _login(_server: object, _session: object, _envelope: object, _mechanism: str, given: object) -> AuthResult:
    good = isinstance(given, LoginPassword) and (given.login, given.password) == (b"leyden", b"p4ss")
    return AuthResult(success=good, handled=False)


@pytest.fixture
def sink() -> Iterator[Callable[..., tuple[Sink, int]]]:
    running: list[Controller] = []

    def start(**keys: Any) -> tuple[Sink, int]:
        sink = Sink()
        controller = Controller(sink, "127.0.0.1", free_port(), **keys)
        controller.start()
        running.append(controller)
        return sink, controller.port

    yield start
    for controller in running:
        controller.stop()


def by_mail(port: int, **keys: Any) -> None:
    to = ("a@example.org", "b@example.org")
    settings = MailSettings("127.0.0.1", port, sender="leyden@example.org", to=to, **keys)
    (channel,) = channels(AlertSettings(mail=settings), "ROUTER")
    channel.send(MESSAGE)


def test_mail_names_the_cause_in_its_subject(sink: Callable[..., tuple[Sink, int]]) -> None:
    there, port = sink()
    by_mail(port, security="none")
    ((sender, to, mail),) = there.mails
    assert (sender, to) == ("leyden@example.org", ["a@example.org", "b@example.org"])
    assert mail["Subject"] == "Leyden ROUTER: PACS has not taken anything since 12:04"
    assert mail["To"] == "a@example.org, b@example.org"
    assert "since: 2023-11-14T22:13:20+00:00" in mail.get_content()


def _tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.mark.filterwarnings("ignore:Requiring AUTH")  # with tls all is encrypted already
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_mail_goes_encrypted_and_with_a_login(
    sink: Callable[..., tuple[Sink, int]], certificate: tuple[Path, Path], tmp_path: Path, security: str
) -> None:
    context = _tls(certificate)
    encrypted = {"tls_context": context} if security == "starttls" else {"ssl_context": context}
    there, port = sink(
        auth_required=True, auth_require_tls=security == "starttls", authenticator=_login,
        require_starttls=security == "starttls", **encrypted,
    )  # fmt: skip
    password = tmp_path / "password"
    keys = {"security": security, "user": "leyden", "password_file": str(password)}
    password.write_text("wrong\n")
    with pytest.raises(Refused, match=r"the mail server answered 535$"):
        by_mail(port, ca_file=str(certificate[0]), **keys)
    password.write_text("p4ss\n")
    with pytest.raises(Unreachable, match="its certificate is not good"):
        by_mail(port, **keys)
    assert there.mails == []
    by_mail(port, ca_file=str(certificate[0]), **keys)
    assert len(there.mails) == 1


def test_mail_is_never_sent_in_the_clear_by_itself(sink: Callable[..., tuple[Sink, int]]) -> None:
    """A server (or somebody on the way) that offers no STARTTLS gets nothing."""
    there, port = sink()
    with pytest.raises(Refused, match="does not support it"):
        by_mail(port)
    assert there.mails == []


@pytest.mark.parametrize(("answer", "error"), [("451 later", Unreachable), ("554 spam", Refused)])
def test_the_answer_of_a_mail_server_says_whether_to_try_again(
    sink: Callable[..., tuple[Sink, int]], answer: str, error: type[Exception]
) -> None:
    there, port = sink()
    there.answer = answer
    with pytest.raises(error, match=answer[:3]):
        by_mail(port, security="none")


def test_the_all_clear_names_what_is_over(sink: Callable[..., tuple[Sink, int]]) -> None:
    there, port = sink()
    settings = MailSettings("127.0.0.1", port, "none", sender="leyden@example.org", to=("a@example.org",))
    (channel,) = channels(AlertSettings(mail=settings), "ROUTER")
    channel.send(Message("queue old", "PACS", "over", "an object waits", 1.7e9, 1.7e9))
    assert there.mails[0][2]["Subject"] == "Leyden ROUTER: over: queue old (PACS)"
