"""What a call of the console is: a row of the table that makes its route, its checks and its page in the documentation.

A handler gets what was asked, checked and typed, and returns data; it never sees HTTP. What it refuses, it raises.
"""

from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from leyden.errors import LeydenError

if TYPE_CHECKING:
    from leyden.console.access import Caller
    from leyden.console.console import Console


class Needs(IntEnum):
    """What a caller must be allowed to do: the higher one includes the lower."""

    NOTHING = 0  # open to all that reach the port
    NO_PATIENT_DATA = 1  # open, unless requireToken
    READ = 2  # may see patient data
    OPERATE = 3  # may change something


class Refused(LeydenError):
    """The answer is no. `code` is for programs, `message` for people."""

    def __init__(self, status: int, code: str, message: str, *, wait_s: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.wait_s = status, code, message, wait_s


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """The base of what is answered: keys in camelCase."""


class Given(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The base of what is given, as a body or in the query: keys in camelCase, and no others."""


class Nothing(Given, frozen=True):
    """Nothing is given."""


Query = TypeVar("Query", bound=Given)
Body = TypeVar("Body", bound=Given)


class Asked(msgspec.Struct, Generic[Query, Body], frozen=True):
    """A request as a handler sees it. `path`: what stands in the place of each {name}. `caller` is None if unknown."""

    path: dict[str, str]
    query: Query
    body: Body
    caller: "Caller | None" = None
    address: str = ""
    cookie: str = ""

    @property
    def who(self) -> str:
        """For the journal."""
        return self.caller.name if self.caller is not None else "somebody"

    @property
    def through(self) -> str:
        """For the journal: a browser has a session."""
        return "page" if self.caller is not None and self.caller.by_cookie else "api"


class Plain(msgspec.Struct, frozen=True):
    """An answer that is no JSON in an envelope: its bytes, their type, and more headers."""

    content: bytes
    media_type: str = "application/json"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[["Console", Any], Awaitable[Any]]


class Call(msgspec.Struct, frozen=True):
    """One row. `answer`: the type of the data; None = Plain, whose media type is `media_type`.

    `refuses`: the status codes that it may answer besides those that every call may. `own`: the reference product has
    no such call.
    """

    method: str
    path: str
    needs: Needs
    handler: Handler
    summary: str
    answer: Any = None
    query: type[Given] = Nothing
    body: type[Given] | None = None
    refuses: dict[int, str] = msgspec.field(default_factory=dict)
    media_type: str = "application/json"
    enveloped: bool = True
    own: bool = False
    limit_s: float = 30.0
