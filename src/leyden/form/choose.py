"""In which form does an object go to a destination? One pure function, for all roles that have to decide it.

The planner calls it when it knows the header, a worker when it could not make a syntax, the sender when the peer has
refused what was proposed. The answer follows from four things: what is known of the object (obstacle.Facts), what its
node asks for (NodeForm), what the peer was seen to accept (ladder.Acceptance), and what was tried before (Past).
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec
from msgspec.structs import replace

from leyden.dicom.uids import SYNTAXES, syntax_name
from leyden.form.ladder import Acceptance, is_lossy, rungs
from leyden.form.obstacle import Facts, obstacle

CRASHES_MAX = 2  # when so many workers have died over an object, nothing that needs a codec is made of it any more


class Make(msgspec.Struct, frozen=True):
    """It is made into `syntax` (a UID). `breaks_signatures`: even if signatures break, as the peer accepts no other."""

    syntax: str
    breaks_signatures: bool = False


class AsItCame(msgspec.Struct, frozen=True):
    """It goes in the syntax that it came in. `reason`: why not in the wanted one; "" if that needs no reason.

    `padded`: values of odd length get a byte of padding on the way (PS3.5 section 7.1.1).
    """

    reason: str = ""
    padded: bool = False


class Ask(msgspec.Struct, frozen=True):
    """The peer must be asked first whether it accepts `syntax` (a UID), which is lossy."""

    syntax: str


class Fail(msgspec.Struct, frozen=True):
    """It can't be sent to this destination; `reason` says why, and what helps."""

    reason: str


Form = Make | AsItCame | Ask | Fail


class NodeForm(Protocol):
    """What a node of nodes.yml says about the form of its objects; `syntax` is a UID, "" = as received."""

    @property
    def ae_title(self) -> str: ...

    @property
    def syntax(self) -> str: ...

    @property
    def recompress_lossy(self) -> bool: ...


class Node(msgspec.Struct, frozen=True):
    """A NodeForm for a caller that has no node at hand."""

    ae_title: str
    syntax: str = ""
    recompress_lossy: bool = False


class Past(msgspec.Struct, frozen=True):
    """What was tried with an object before.

    `crashes`: how many workers died over it. `in_vain`: the syntaxes (UIDs) that it could not be made into or that were
    refused, and why. `signed`: the syntaxes that would break digital signatures, and why. `refused`: the peer has just
    refused the syntax that the object has, so there is no use in asking again.
    """

    crashes: int = 0
    in_vain: Mapping[str, str] = msgspec.field(default_factory=dict)
    signed: Mapping[str, str] = msgspec.field(default_factory=dict)
    refused: bool = False

    def tried(self, syntax: str, why: str) -> "Past":
        """The same past, in which it could not be made into this syntax either."""
        return replace(self, in_vain={**self.in_vain, syntax: why or "it could not be made"})

    def would_break(self, syntax: str, why: str) -> "Past":
        """The same past, in which this syntax would break signatures."""
        return replace(self, signed={**self.signed, syntax: why or "it would break digital signatures"})


NOTHING_TRIED = Past()
_NOT_ASKED = "its values of odd length are padded now, and the destination was not asked yet about a lossy syntax"


def choose(facts: Facts, node: NodeForm, acceptance: Acceptance | None, past: Past = NOTHING_TRIED) -> Form:
    """The form in which an object goes. `acceptance`: what the peer was seen to accept of its SOP class."""
    reason = ""
    for uid in rungs(node.syntax, facts.syntax, acceptance):
        why = past.in_vain.get(uid) or past.signed.get(uid)
        if not why and uid != facts.syntax:
            why = _crash_obstacle(facts.syntax, uid, past) if past.crashes else ""
            why = why or obstacle(facts, uid, recompress_lossy=node.recompress_lossy)
        if why:
            reason = reason or why
        elif uid == facts.syntax:
            return _as_it_came(facts, past, reason)
        elif acceptance is None and is_lossy(uid):
            return Ask(uid) if not facts.uneven else _as_it_came(facts, past, _NOT_ASKED)
        else:
            return Make(uid)
    if past.refused:
        return Fail(_all_refused(facts, node))
    reason = reason or next(iter((*past.in_vain.values(), *past.signed.values())), "") or _crashes(past)
    if not reason or not (acceptance and acceptance.accepted):
        return _as_it_came(facts, past, reason or "the destination was seen to refuse all that can be made of it")
    broken = choose(facts, node, acceptance, replace(past, signed={})) if past.signed else None
    if isinstance(broken, Make):
        return Make(broken.syntax, breaks_signatures=True)
    return Fail(_no_common_syntax(facts, node, acceptance, reason))


def _as_it_came(facts: Facts, past: Past, reason: str) -> AsItCame:
    return AsItCame(reason, padded=facts.uneven and not facts.unpadded and past.crashes <= CRASHES_MAX)


def _crash_obstacle(source_uid: str, uid: str, past: Past) -> str:
    """Why a syntax is not made any more after so many crashes; "" = it is.

    At CRASHES_MAX that is any syntax for which a codec is needed; after one more crash it is any syntax.
    """
    needs_codec = SYNTAXES[uid].encapsulated or source_uid not in SYNTAXES or SYNTAXES[source_uid].encapsulated
    return _crashes(past) if needs_codec or past.crashes > CRASHES_MAX else ""


def _crashes(past: Past) -> str:
    return f"{past.crashes} workers died of it" if past.crashes >= CRASHES_MAX else ""


def _no_common_syntax(facts: Facts, node: NodeForm, acceptance: Acceptance, reason: str) -> str:
    title = node.ae_title
    came = syntax_name(facts.syntax)
    accepted = ", ".join(map(syntax_name, acceptance.accepted))
    return (
        f"{title} does not take {came}, and this object can't be made into what it takes ({accepted}): {reason}. "
        f"Let {title} accept {came} for this SOP class and run `leyden queue retry {title}`, "
        "or have the object sent again in another transfer syntax"
    )


def _all_refused(facts: Facts, node: NodeForm) -> str:
    title = node.ae_title
    came = syntax_name(facts.syntax)
    return (
        f"{title} takes none of the syntaxes that this object can have, for SOP class {facts.sop_class}: let it accept "
        f"that class in {came} or uncompressed, then run `leyden queue retry {title}`"
    )
