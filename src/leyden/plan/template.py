"""The Value of a mutation: a text with capture groups, as .NET's Match.Result has them, and DICOM Capacitor's markers.

`$1` and `${name}` are groups, `$&` and `$0` the whole match, `$$` a dollar sign. Of the digits behind `$` count as many
as make a group that there is: `$18` is group 1 and an 8 where there are fewer than 18 groups. The markers are `:uid:`,
`:timestamp:`, `:today:`, `:value:` and `:hash(gggg,eeee,n):`. What is put in is never looked into again.
"""

import functools
import re
from collections.abc import Collection
from typing import NamedTuple

_SIGN = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<whole>&)|(?P<digits>[0-9]+)|\{(?P<name>\w+)\})"
    r"|:(?P<marker>uid|timestamp|today|value):"
    r"|:hash\(\s*(?P<group>[0-9A-Fa-f]{1,4})\s*,\s*(?P<element>[0-9A-Fa-f]{1,4})\s*,\s*(?P<count>[0-9]{1,2})\s*\):"
)
DIGEST_DIGITS = 64  # of SHA-256


class Part(NamedTuple):
    """A piece of a template. Exactly one of these: `literal`, `group` (number or name), `marker`, `hash_of`.

    `hash_of`: a tag, and how many hex digits.
    """

    literal: str = ""
    group: int | str | None = None
    marker: str = ""
    hash_of: tuple[int, int] | None = None


@functools.lru_cache(maxsize=1024)
def parts_of(value: str, groups: int, names: frozenset[str]) -> tuple[Part, ...]:
    """The parts of a template. `groups`: how many groups the expression has, -1 = there is no expression.

    Raises ValueError with what is wrong, for an operator.
    """
    found: list[Part] = []
    at = 0
    for sign in _SIGN.finditer(value):
        if sign.start() > at:
            found.append(Part(value[at : sign.start()]))
        at = sign.end()
        if sign["dollar"]:
            found.append(Part("$"))
        elif sign["marker"]:
            found.append(Part(marker=sign["marker"]))
        elif sign["group"]:
            count = int(sign["count"])
            if not 1 <= count <= DIGEST_DIGITS:
                raise ValueError(f"{sign[0]} asks for {count} digits; a hash has 1 to {DIGEST_DIGITS}")
            found.append(Part(hash_of=(int(sign["group"], 16) << 16 | int(sign["element"], 16), count)))
        elif groups < 0:
            raise ValueError(f"{sign[0]} is a part of the source, but there is no Source; $$ means a dollar sign")
        else:
            found += _group(sign, groups, names)
    if at < len(value):
        found.append(Part(value[at:]))
    return tuple(found)


def _group(sign: "re.Match[str]", groups: int, names: Collection[str]) -> list[Part]:
    if sign["whole"]:
        return [Part(group=0)]
    if name := sign["name"]:
        if name in names:
            return [Part(group=name)]
        if name.isdigit() and int(name) <= groups:
            return [Part(group=int(name))]
        raise ValueError(f"{sign[0]} is no group of Expression")
    digits = sign["digits"]
    for end in range(len(digits), 0, -1):
        if int(digits[:end]) <= groups:
            rest = [Part(digits[end:])] if digits[end:] else []
            return [Part(group=int(digits[:end])), *rest]
    raise ValueError(f"{sign[0]} is no group of Expression, which has {groups}; $$ means a dollar sign")
