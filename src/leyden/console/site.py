"""The page at `/` and its files, as they stand in page/: no step makes them, and they ask nobody else for anything."""

import hashlib
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def routes() -> list[Route]:
    """The page at `/`, and what it needs below /page/. The files are read here, once."""
    pages = {each.name: each.read_bytes() for each in (files("leyden.console") / "page").iterdir() if each.is_file()}
    return [
        Route("/" if name == "index.html" else f"/page/{name}", _file(name, content))
        for name, content in sorted(pages.items())
    ]


def _file(name: str, content: bytes):  # type: ignore[no-untyped-def]
    headers = {
        "content-security-policy": POLICY,
        "cache-control": "no-cache",  # it is asked for again, and answered 304 while it is the same
        "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
    }
    media_type = _TYPES[name.rpartition(".")[2]]

    async def endpoint(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return endpoint
