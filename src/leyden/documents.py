"""Documents of JSON that a role reads back from the disk, where a crash, a bad disk or a hand may have changed them."""

from typing import TypeVar

import msgspec

_T = TypeVar("_T")


def decoded(document: bytes, what: type[_T]) -> _T:
    """A document as `what`. Raises msgspec.DecodeError and no other, even if it is no UTF-8 or nests deeply."""
    try:
        return msgspec.json.decode(document, type=what)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from None
