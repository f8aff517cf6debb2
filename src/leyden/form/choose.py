"""In which form does an object go to a destination? One pure function, asked by all who have to decide it.

The planner asks when it knows the header, a worker when a syntax turned out to be impossible, the sender when the peer
refused what it was offered. The answer follows from four things: what is known of the object (obstacle.Facts), what
its node wants (Wanting), what the peer was seen to accept (ladder.Acceptance), and what was tried before (Past).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from leyden.dicom.uids import SYNTAXES, syntax_name
from leyden.form.ladder import Acceptance, is_lossy, rungs
from leyden.form.obstacle import Facts, obstacle

CRASHES_MAX = 2  # workers that may die of an object before nothing that needs a codec is made of it


@dataclass(frozen=True, slots=True)
class Make:
    """It is made into `syntax` (a UID); signatures are broken only where the peer takes nothing else."""

    syntax: str
    breaks_signatures: bool = False


@dataclass(frozen=True, slots=True)
class AsItCame:
    """It goes in the syntax that it came in. `reason`: why not in the wanted one, "" = there is nothing to say."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ask:
    """The peer is to be asked first whether it takes `syntax` (a UID), which is lossy."""

    syntax: str


@dataclass(frozen=True, slots=True)
class Fail:
    """It can't be given to this destination; `reason` says what helps."""

    reason: str


Form = Make | AsItCame | Ask | Fail


class Wanting(Protocol):
    """A node of nodes.yml and what it wants; `syntax` is a UID, "" = as received."""

    @property
    def ae_title(self) -> str: ...

    @property
    def syntax(self) -> str: ...

    @property
    def recompress_lossy(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Node:
    """Wanting, and nothing else."""

    ae_title: str
    syntax: str = ""
    recompress_lossy: bool = False


@dataclass(frozen=True, slots=True)
class Past:
    """What was tried with an object before.

    `crashes`: how many workers died of it. `in_vain`: syntaxes (UIDs) that it could not be made into, or that were
    refused, and why; `signed`: those that would break digital signatures. `refused`: the peer has just refused the
    syntax that the object has, so that asking it anew is of no use.
    """

    crashes: int = 0
    in_vain: Mapping[str, str] = field(default_factory=dict)
    signed: Mapping[str, str] = field(default_factory=dict)
    refused: bool = False

    def tried(self, syntax: str, why: str) -> "Past":
        """The same, and it could not be made into this syntax either."""
        return replace(self, in_vain={**self.in_vain, syntax: why})

    def would_break(self, syntax: str, why: str) -> "Past":
        """The same, and this syntax would break signatures."""
        return replace(self, signed={**self.signed, syntax: why})


NOTHING_TRIED = Past()


def choose(facts: Facts, node: Wanting, acceptance: Acceptance | None, past: Past = NOTHING_TRIED) -> Form:
    """The form of an object for a destination. `acceptance`: what the peer was seen to accept of its SOP class."""
    reason = ""
    for uid in rungs(node.syntax, facts.syntax, acceptance):
        why = past.in_vain.get(uid) or past.signed.get(uid)
        if not why and uid != facts.syntax:
            why = _deadly(facts.syntax, uid, past.crashes) if past.crashes >= CRASHES_MAX else ""
            why = why or obstacle(facts, uid, recompress_lossy=node.recompress_lossy)
        if why:
            reason = reason or why
        elif uid == facts.syntax:
            return AsItCame(reason)
        elif acceptance is None and is_lossy(uid):
            return Ask(uid)
        else:
            return Make(uid)
    if past.refused:
        return Fail(_refused_whole(facts, node))
    if not reason or not (acceptance and acceptance.accepted):
        return AsItCame(reason or "the destination was seen to refuse all that can be made of it")
    broken = choose(facts, node, acceptance, replace(past, signed={})) if past.signed else None
    if isinstance(broken, Make):
        return Make(broken.syntax, breaks_signatures=True)
    return Fail(_not_given(facts, node, acceptance, reason))


def _deadly(source_uid: str, uid: str, crashes: int) -> str:
    """What is not made any more of an object that workers died of: what needs a codec; after one more, anything."""
    needs_codec = SYNTAXES[uid].encapsulated or source_uid not in SYNTAXES or SYNTAXES[source_uid].encapsulated
    return f"{crashes} workers died of it" if needs_codec or crashes > CRASHES_MAX else ""


def _not_given(facts: Facts, node: Wanting, acceptance: Acceptance, reason: str) -> str:
    title, came = node.ae_title, syntax_name(facts.syntax)
    takes = ", ".join(map(syntax_name, acceptance.accepted))
    return (
        f"{title} does not take {came}, and this object can't be made into what it takes ({takes}): {reason}. "
        f"Let {title} accept {came} for this SOP class and run `leyden queue retry {title}`, "
        "or have the object sent again in another transfer syntax"
    )


def _refused_whole(facts: Facts, node: Wanting) -> str:
    title, came = node.ae_title, syntax_name(facts.syntax)
    return (
        f"{title} takes none of the syntaxes it can have, for SOP class {facts.sop_class}: let it accept that class in "
        f"{came} or uncompressed, then run `leyden queue retry {title}`"
    )
