"""Association negotiation as pure functions: what an acceptor answers, what a requestor proposes (PS3.8 section 7.1).

The types here are the contents of A-ASSOCIATE PDUs; associate.py encodes and decodes them. AE titles have no padding
(ae_title). Deliberately absent: whether a user identity is right, extended negotiation, the asynchronous operations
window (not granted: one operation at a time), and the count of associations (the receiver counts, and answers with
TOO_MANY).
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from leyden.dicom import uids
from leyden.errors import RemoteProtocolError

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
MAX_CONTEXTS = 128  # PS3.8 section 9.3.2.2: odd context IDs up to 255
PDU_LIMIT_BYTES = 256 * 1024
SMALLEST_PDU_BYTES = 8  # item length, context ID, control header, a fragment of 2 (PS3.8 section 9.3.5, annex E: even)

ACCEPTED, USER_REJECTED, NO_REASON, ABSTRACT_NOT_SUPPORTED, SYNTAXES_NOT_SUPPORTED = range(5)

_LOSSLESS = frozenset(uid for uid, syntax in uids.SYNTAXES.items() if not syntax.lossy)
_PLAIN = frozenset(uid for uid, syntax in uids.SYNTAXES.items() if not syntax.encapsulated and not syntax.deflated)


class AcceptorPolicy(msgspec.Struct, frozen=True):
    """Which peers and what abstract syntaxes we accept.

    `titles`: the called AE titles under which we accept; an empty `allowed_calling` allows all. Of storage classes,
    `rejected_abstract_syntaxes` are refused. `max_pdu_bytes` is announced and enforced.
    """

    titles: tuple[str, ...]
    allowed_calling: tuple[str, ...] = ()
    rejected_abstract_syntaxes: tuple[str, ...] = ()
    max_pdu_bytes: int = PDU_LIMIT_BYTES


class ProposedContext(NamedTuple):
    """One presentation context of a request (PS3.8 section 9.3.2.2). In our own requests `id` is odd, 1 to 255."""

    id: int
    abstract: str
    syntaxes: tuple[str, ...]


class AnsweredContext(NamedTuple):
    """The answer to one context (PS3.8 section 9.3.3.2): `result` 0 = accepted, with the transfer syntax `syntax`."""

    id: int
    result: int
    syntax: str


class Role(msgspec.Struct, frozen=True):
    """SCP/SCU role selection for an abstract syntax (PS3.7 annex D.3.3.4): the roles of the requestor."""

    abstract: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """Who the requestor's user is (PS3.7 annex D.3.3.7.1); `kind` is one of USERNAME to JWT, or what else was sent; 0
    also if it could not be read.

    `primary`: the user name, ticket, assertion or token; `secondary`: the passcode, with USERNAME_AND_PASSCODE only;
    at most 64 KiB together. `respond`: it wants an answer to this. Both fields may be secrets: no repr, no log.
    """

    kind: int
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)
    respond: bool = False


USERNAME, USERNAME_AND_PASSCODE, KERBEROS, SAML, JWT = range(1, 6)


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ. `max_pdu_bytes`: the longest PDU that its sender receives; 0 = no limit.

    `raw_titles`: the 32 bytes of called and calling AE title as received; empty in our own requests.
    """

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_bytes: int = PDU_LIMIT_BYTES
    application_context: str = APPLICATION_CONTEXT
    roles: tuple[Role, ...] = ()
    protocol_version: int = 1
    identity: UserIdentity | None = None
    raw_titles: bytes = field(default=b"", compare=False, repr=False)

    def by_id(self) -> dict[int, ProposedContext]:
        """The presentation contexts by ID, in their order; of several with the same ID the first counts."""
        first: dict[int, ProposedContext] = {}
        for context in self.contexts:
            first.setdefault(context.id, context)
        return first


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC. `called` and `calling` echo the request, byte for byte if there are `raw_titles`.

    `identity_response`: the answer to a user identity (PS3.7 annex D.3.3.7.2), empty for user names; None = none.
    """

    called: str
    calling: str
    contexts: tuple[AnsweredContext, ...]
    max_pdu_bytes: int = PDU_LIMIT_BYTES
    application_context: str = APPLICATION_CONTEXT
    roles: tuple[Role, ...] = ()
    identity_response: bytes | None = field(default=None, repr=False)
    raw_titles: bytes = field(default=b"", compare=False, repr=False)


class AssociateReject(msgspec.Struct, frozen=True):
    """A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int
    source: int
    reason: int

    def __str__(self) -> str:
        kind = {1: "rejected permanently", 2: "rejected temporarily"}.get(self.result, "rejected")
        reason = _REASONS.get((self.source, self.reason), "unknown reason")
        return f"{kind}: {reason} ({self.result},{self.source},{self.reason})"


CALLED_UNKNOWN = AssociateReject(1, 1, 7)
CALLING_UNKNOWN = AssociateReject(1, 1, 3)
PROTOCOL_VERSION_UNKNOWN = AssociateReject(1, 2, 2)
APPLICATION_CONTEXT_UNKNOWN = AssociateReject(1, 1, 2)
CONGESTED = AssociateReject(2, 3, 1)
TOO_MANY = AssociateReject(2, 3, 2)
_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}


def ae_title(text: str) -> str:
    """An AE title without blanks on either side (PS3.5 section 6.2), and up to the first NUL: some devices copy a C
    string and leave old bytes after it.
    """
    return text.partition("\0")[0].strip(" ")


def answer(
    policy: AcceptorPolicy, request: AssociateRequest, classes: Container[str] | None = None
) -> AssociateAccept | AssociateReject:
    """The acceptor's answer to a request: an answer to every context, or a rejection. `classes`: the only SOP classes
    that this caller may send; None = all.

    Only a context with an even ID is refused, not the whole request. Of contexts with the same ID the first counts:
    with one answer for each ID, the peer cannot take the answer to one context for that to another.
    """
    if not request.protocol_version & 1:
        return PROTOCOL_VERSION_UNKNOWN
    if request.application_context != APPLICATION_CONTEXT:
        return APPLICATION_CONTEXT_UNKNOWN
    if policy.allowed_calling and request.calling not in policy.allowed_calling:
        return CALLING_UNKNOWN  # before the called title: a stranger does not learn which there are
    if request.called not in policy.titles:
        return CALLED_UNKNOWN
    return AssociateAccept(
        called=request.called,
        calling=request.calling,
        contexts=tuple(_answer_context(policy, context, classes) for context in request.by_id().values()),
        max_pdu_bytes=policy.max_pdu_bytes,
        roles=tuple(Role(role.abstract, scu=role.scu, scp=False) for role in request.roles),
        raw_titles=request.raw_titles,
    )


def misnumbered(request: AssociateRequest) -> list[int]:
    """The context IDs that are even or occur more than once (PS3.8 section 7.1.1.13), each once."""
    seen: set[int] = set()
    wrong: dict[int, None] = {}
    for context in request.contexts:
        if context.id % 2 == 0 or context.id in seen:
            wrong[context.id] = None
        seen.add(context.id)
    return list(wrong)


def asks_to_store(request: AssociateRequest) -> bool:
    """Whether a request asks for more than C-ECHO."""
    return any(context.abstract != uids.VERIFICATION for context in request.contexts)


def _answer_context(
    policy: AcceptorPolicy, context: ProposedContext, classes: Container[str] | None
) -> AnsweredContext:
    context_id, abstract, syntaxes = context
    if context_id % 2 == 0:
        return AnsweredContext(context_id, NO_REASON, uids.IMPLICIT_LE)
    if abstract == uids.VERIFICATION:
        chosen = _first(syntaxes, _PLAIN)
    elif (
        abstract not in policy.rejected_abstract_syntaxes
        and uids.is_storage(abstract)
        and (classes is None or abstract in classes)
    ):
        chosen = _first(syntaxes, _LOSSLESS) or _first(
            syntaxes, uids.SYNTAXES
        )  # never make a modality compress with loss
    else:
        return AnsweredContext(context_id, ABSTRACT_NOT_SUPPORTED, uids.IMPLICIT_LE)
    if not chosen:
        return AnsweredContext(context_id, SYNTAXES_NOT_SUPPORTED, uids.IMPLICIT_LE)
    return AnsweredContext(context_id, ACCEPTED, chosen)


def _first(syntaxes: tuple[str, ...], wanted: Container[str]) -> str:
    for uid in syntaxes:
        if uid in wanted:
            return uid
    return ""


def contexts_for(wanted: Iterable[tuple[str, str]]) -> tuple[ProposedContext, ...]:
    """The requestor's contexts for pairs of abstract and transfer syntax, in order, without duplicates, at most 128.

    Each has one transfer syntax, so that the answer tells which syntaxes are accepted.
    """
    pairs = list(dict.fromkeys(wanted))[:MAX_CONTEXTS]
    return tuple(ProposedContext(2 * n + 1, abstract, (syntax,)) for n, (abstract, syntax) in enumerate(pairs))


def accepted_pairs(proposed: Iterable[ProposedContext], accept: AssociateAccept) -> dict[tuple[str, str], int]:
    """(abstract syntax, transfer syntax) -> context ID, for the proposed contexts that the peer accepted.

    A context accepted with a transfer syntax that was not proposed counts as refused.
    """
    answers = {context.id: context for context in accept.contexts if context.result == ACCEPTED}
    return {
        (context.abstract, answers[context.id].syntax): context.id
        for context in proposed
        if context.id in answers and answers[context.id].syntax in context.syntaxes
    }


def outgoing_pdu_bytes(announced: int) -> int:
    """The longest PDU that we send to a peer that announced this maximum (0 = no limit).

    Raises RemoteProtocolError below SMALLEST_PDU_BYTES, where no fragment fits.
    """
    if 0 < announced < SMALLEST_PDU_BYTES:
        raise RemoteProtocolError(
            f"the peer takes PDUs of {announced} bytes, and the smallest with data in it has {SMALLEST_PDU_BYTES}",
            reason=6,
        )
    return min(announced or PDU_LIMIT_BYTES, PDU_LIMIT_BYTES)
