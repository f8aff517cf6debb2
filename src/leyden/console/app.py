"""The console's web application: one table of calls makes the routes, their checks and the OpenAPI document."""

import asyncio
import re
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from leyden.console.access import COOKIE
from leyden.console.call import Asked, Call, Nothing, Plain, Refused
from leyden.console.console import Console
from leyden.console.envelope import answer, refusal
from leyden.console.guard import Guard
from leyden.console.table import TABLE

BODY_MAX_BYTES = 64 * 1024
PATH_MAX_CHARS = 512
_CHANGE = ("POST", "PUT", "DELETE", "PATCH")


class _Item(Convertor[str]):
    """The id of an object, which is the path of its file if it has no receipt id; not the verb behind one."""

    regex = r"(?:(?!/(?:retry|reject|fail|move)$).)+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("item", _Item())


def application(console: Console, pages: Sequence[BaseRoute] = (), table: Sequence[Call] = TABLE) -> ASGIApp:
    """Everything that is served: the calls of the table, and the `pages` beside them."""
    routes: list[BaseRoute] = []
    for path in dict.fromkeys(call.path for call in table):
        calls = {call.method: call for call in table if call.path == path}
        routes.append(Route(path.replace("{id}", "{id:item}"), _endpoint(console, calls), methods=[*calls]))
    app = Starlette(routes=[*routes, *pages], exception_handlers={404: _no_such, 405: _no_such, Exception: _fault})
    app.router.redirect_slashes = False
    return Guard(app, lambda: console.settings.console)


async def _no_such(request: Request, error: Any) -> Response:
    if error.status_code == 405:
        response = refusal(Refused(405, "no_such_call", f"{request.method} is not possible here"))
        response.headers.update(error.headers or {})
        return response
    return refusal(Refused(404, "not_found", "there is no such call"))


async def _fault(_request: Request, _error: Exception) -> Response:
    """The guard logs it."""
    return refusal(Refused(500, "fault", "a fault of Leyden; the log says more"))


def _endpoint(console: Console, calls: dict[str, Call]) -> Any:
    async def endpoint(request: Request) -> Response:
        call = calls["GET" if request.method == "HEAD" else request.method]
        try:
            async with asyncio.timeout(call.limit_s):
                asked = await _asked(console, call, request)
                found = await call.handler(console, asked)
        except Refused as refused:
            return refusal(refused)
        except TimeoutError:
            return refusal(Refused(504, "timeout", f"it took more than {call.limit_s:g} s"))
        except ClientDisconnect:
            return Response(status_code=400)
        if isinstance(found, Response):
            return found
        if isinstance(found, Plain):
            return Response(found.content, found.status, dict(found.headers), found.media_type)
        return answer(found)

    return endpoint


async def _asked(console: Console, call: Call, request: Request) -> Asked[Any, Any]:
    """What is asked, checked as the call wants it. Raises Refused: 400, 403, 413, 415, 429."""
    address = request.client.host if request.client else ""
    cookie = request.cookies.get(COOKIE, "")
    authorization = request.headers.get("authorization", "")
    caller = console.access.caller(authorization, cookie, address)
    if request.method in _CHANGE:
        _check_origin(request, by_cookie=caller is not None and caller.by_cookie, tls=console.tls)
    try:
        console.access.check(caller, call.needs)
    except Refused:
        if caller is None and authorization:
            console.access.turned_away(address)
        raise
    path = {name: str(value) for name, value in request.path_params.items()}
    if any(len(value) > PATH_MAX_CHARS or not value.isprintable() for value in path.values()):
        raise Refused(404, "not_found", "there is nothing of that name")
    query = _query(call, request)
    body = await _body(call, request)
    return Asked(path, query, body, caller, address, cookie)


def _check_origin(request: Request, *, by_cookie: bool, tls: bool) -> None:
    """A browser sends a cookie along with whatever a page of another site makes it send (CSRF).

    Without TLS of our own there may be a proxy that has it, so both schemes are ours.
    """
    origin = request.headers.get("origin")
    if origin is None and not by_cookie:
        return  # no browser
    host = request.headers.get("host", "").lower()
    if origin is None or origin.lower() not in (f"https://{host}", f"http{'s' if tls else ''}://{host}"):
        raise Refused(403, "forbidden", "this request comes from a page of another site")


def _query(call: Call, request: Request) -> Any:
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            raise Refused(400, "bad_request", f"{name[:64]} is given twice")
        given[name] = value
    try:
        return msgspec.convert(given, call.query, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(400, "bad_request", f"query: {_shown(error)}") from None


async def _body(call: Call, request: Request) -> Any:
    content = bytearray()
    if int(request.headers.get("content-length") or 0) > BODY_MAX_BYTES:
        raise Refused(413, "too_large", f"more than {BODY_MAX_BYTES} bytes")
    async for chunk in request.stream():
        content += chunk
        if len(content) > BODY_MAX_BYTES:
            raise Refused(413, "too_large", f"more than {BODY_MAX_BYTES} bytes")
    if call.body is None:
        return Nothing()
    if content and request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused(415, "bad_request", "the body must be application/json")
    try:
        return msgspec.convert(_whole(msgspec.json.decode(bytes(content) or b"{}")), type=call.body)
    except msgspec.ValidationError as error:
        raise Refused(400, "bad_request", f"body: {_shown(error)}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refused(400, "bad_request", f"the body is not JSON: {error}") from None
    except RecursionError:
        raise Refused(400, "bad_request", "the body is nested too deeply") from None


def _whole(value: Any) -> Any:
    """JSON knows no whole numbers: 1.0 is one, too."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _whole(each) for name, each in value.items()}
        case list():
            return [_whole(each) for each in value]
    return value


def _shown(error: msgspec.ValidationError) -> str:
    """The message, with nothing in it that would not fit into a line."""
    return re.sub(r"[^ -~]", "?", str(error))[:300]
