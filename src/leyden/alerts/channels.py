"""The ways to tell somebody: a webhook and mail. Each call waits for a network, so they have a thread of their own."""

import hashlib
import hmac
import smtplib
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import orjson

from leyden import __version__
from leyden.alerts.causes import Message
from leyden.alerts.settings import AlertSettings, MailSettings, WebhookSettings
from leyden.errors import LeydenError

TIMEOUT_S = 20.0
_ANSWER_MAX_BYTES = 64 << 10
_AGAIN_LATER = (408, 425, 429)  # of the statuses below 500


class Refused(LeydenError):
    """It was not taken, and would not be the next time."""


class Unreachable(LeydenError):
    """It was not taken; it may be later."""


class Channel(msgspec.Struct, frozen=True):
    """A way, by its name. `send(message)` raises Refused or Unreachable; their texts hold no secret."""

    name: str
    send: Callable[[Message], None]


def channels(settings: AlertSettings, whose: str) -> tuple[Channel, ...]:
    """Those that are configured. `whose`: our AE title, which each message names."""
    found = []
    if settings.webhook.url:
        found.append(Channel("webhook", lambda message: _post(settings.webhook, whose, message)))
    if settings.mail.server:
        found.append(Channel("mail", lambda message: _mail(settings.mail, whose, message)))
    return tuple(found)


def subject(message: Message) -> str:
    """A message in one line, without the name of the service."""
    match message.state:
        case "over":
            return f"over: {message.cause}{f' ({message.of})' if message.of else ''}"
        case "again":
            return f"still: {message.text}"
        case _:
            return message.text


# -- webhook


def document(message: Message, whose: str) -> dict[str, str]:
    """What a webhook gets; chat programs show `text`."""
    return {
        "text": f"Leyden {whose} on {socket.gethostname()}: {subject(message)}",
        "service": whose,
        "host": socket.gethostname(),
        "cause": message.cause,
        "of": message.of,
        "state": message.state,
        "since": _iso(message.since_s),
        "at": _iso(message.at_s),
    }


def _post(settings: WebhookSettings, whose: str, message: Message) -> None:
    body = orjson.dumps(document(message, whose))
    headers = {"Content-Type": "application/json", "User-Agent": f"Leyden/{__version__}"}
    try:
        if settings.secret_file:
            headers |= _signed(settings, body)
        status = _answer(settings, body, headers)
    except (OSError, HTTPException, ValueError) as error:
        raise Unreachable(_in_words(error)) from error
    if not 200 <= status < 300:
        kind = Unreachable if status >= 500 or status in _AGAIN_LATER else Refused
        raise kind(f"it answered {status}")


def _signed(settings: WebhookSettings, body: bytes) -> dict[str, str]:
    secret = _secret(settings.secret_file)
    if settings.secret_as == "bearer":
        return {"Authorization": f"Bearer {secret}"}
    return {"X-Leyden-Signature": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def _answer(settings: WebhookSettings, body: bytes, headers: dict[str, str]) -> int:
    to = urlsplit(settings.url)
    connection: HTTPConnection
    if to.scheme == "https":
        connection = HTTPSConnection(to.hostname or "", to.port, timeout=TIMEOUT_S, context=_tls(settings.ca_file))
    else:
        connection = HTTPConnection(to.hostname or "", to.port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", (to.path or "/") + (f"?{to.query}" if to.query else ""), body, headers)
        with connection.getresponse() as response:
            response.read(_ANSWER_MAX_BYTES)
            return response.status
    finally:
        connection.close()


# -- mail


def _mail(settings: MailSettings, whose: str, message: Message) -> None:
    mail = EmailMessage()
    mail["Subject"] = f"Leyden {whose}: {subject(message)}"
    mail["From"] = settings.sender
    mail["To"] = ", ".join(settings.to)
    mail["Date"] = formatdate(message.at_s, localtime=True)
    mail["Message-ID"] = make_msgid(domain="leyden.invalid")
    lines = [f"{name}: {value}" for name, value in document(message, whose).items() if name != "text"]
    mail.set_content("\n".join([subject(message), "", *lines, ""]))
    try:
        with _server(settings) as server:
            server.send_message(mail)
    except smtplib.SMTPResponseException as error:
        kind = Refused if error.smtp_code >= 500 else Unreachable
        raise kind(f"the mail server answered {error.smtp_code}") from error
    except smtplib.SMTPRecipientsRefused as error:
        raise Refused("the mail server takes nothing for these receivers") from error
    except smtplib.SMTPNotSupportedError as error:
        raise Refused(f"the mail server does not support it: {error}") from error
    except (OSError, ValueError) as error:
        raise Unreachable(_in_words(error)) from error


def _server(settings: MailSettings) -> smtplib.SMTP:
    context = _tls(settings.ca_file) if settings.security != "none" else None
    if settings.security == "tls":
        server: smtplib.SMTP = smtplib.SMTP_SSL(settings.server, settings.port, timeout=TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(settings.server, settings.port, timeout=TIMEOUT_S)
    try:
        if settings.security == "starttls":
            server.starttls(context=context)
        if settings.user:
            server.login(settings.user, _secret(settings.password_file))
    except BaseException:
        server.close()
        raise
    return server


# -- what both need


def _tls(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


def _secret(path: str) -> str:
    """What stands in the file, in its first line. OSError: it can't be read, or nothing stands there."""
    lines = Path(path).read_text("utf-8").splitlines()
    if not lines or not lines[0].strip():
        raise OSError(f"no secret stands in {path}")
    return lines[0].strip()


def _in_words(error: Exception) -> str:
    """Of an error that may quote what was sent (LoginError), the kind alone."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not good: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return type(error).__name__


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
