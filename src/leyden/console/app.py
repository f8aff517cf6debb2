"""The console's web application: which path gives what."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


def application() -> Starlette:
    return Starlette(routes=[Route("/health/live", _live)])


async def _live(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("alive\n")
