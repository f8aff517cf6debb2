"""Signing in and out, for browsers: a session is a cookie that no script can read and no other site can use."""

from msgspec.structs import replace

from leyden.console.access import COOKIE, SESSION_S, Caller
from leyden.console.call import Asked, Given, Needs, Nothing, Shape
from leyden.console.console import Console
from leyden.console.envelope import answer


class SignIn(Given, frozen=True):
    """`secret`: the service password, or a token."""

    secret: str


class Session(Shape, frozen=True):
    """Who one is, and what one may do: nothing, read or operate. `open`: what shows no patient data needs no session.

    `possible`: there is a token or a service password at all, so that somebody can sign in.
    """

    name: str
    may: str
    open: bool
    possible: bool


_MAY = {Needs.READ: "read", Needs.OPERATE: "operate"}


def _session(console: Console, caller: Caller | None) -> Session:
    return Session(
        name=caller.name if caller else "",
        may=_MAY[caller.level] if caller else "nothing",
        open=not console.settings.console.require_token,
        possible=console.access.has_secrets,
    )


async def session(console: Console, asked: Asked[Nothing, Nothing]) -> Session:
    return _session(console, asked.caller)


async def sign_in(console: Console, asked: Asked[Nothing, SignIn]) -> object:
    cookie, caller = console.access.sign_in(asked.body.secret, asked.address)
    console.operated(replace(asked, caller=caller), "sign in", detail=f"from {asked.address}")
    response = answer(_session(console, caller))
    response.set_cookie(
        COOKIE, cookie, max_age=int(SESSION_S), path="/", httponly=True, samesite="strict", secure=console.tls
    )
    return response


async def sign_out(console: Console, asked: Asked[Nothing, Nothing]) -> object:
    if asked.caller is not None and asked.caller.by_cookie:
        console.operated(asked, "sign out")
    console.access.sign_out(asked.cookie)
    response = answer(_session(console, None))
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict", secure=console.tls)
    return response
