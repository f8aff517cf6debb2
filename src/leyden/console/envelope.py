"""The form of every answer: {ok, data, error, timestamp}, as the reference product has it."""

import time
from typing import Any

import msgspec
from starlette.responses import Response

from leyden.console.call import Refused, Shape

JSON = "application/json"
_encoder = msgspec.json.Encoder(decimal_format="number")


class Error(Shape, frozen=True):
    """What went wrong: `code` for programs, `message` for people."""

    code: str
    message: str


class Envelope(Shape, frozen=True):
    """`data` of a call that went well, or `error`. `timestamp`: ISO 8601, UTC."""

    ok: bool
    data: Any
    error: Error | None
    timestamp: str


def moment(at_s: float) -> str:
    """A time of day in ISO 8601, UTC, to the millisecond."""
    whole, ms = divmod(int(at_s * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{ms:03d}Z"


def encoded(value: Any) -> bytes:
    return _encoder.encode(value)


def answer(data: Any) -> Response:
    return Response(encoded(Envelope(ok=True, data=data, error=None, timestamp=moment(time.time()))), media_type=JSON)


def refusal(refused: Refused) -> Response:
    error = Error(code=refused.code, message=refused.message)
    content = encoded(Envelope(ok=False, data=None, error=error, timestamp=moment(time.time())))
    headers = {"retry-after": str(refused.wait_s)} if refused.wait_s else {}
    return Response(content, refused.status, headers, JSON)
