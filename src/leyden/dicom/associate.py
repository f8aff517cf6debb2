"""A-ASSOCIATE-RQ and A-ASSOCIATE-AC as bytes (PS3.8 sections 9.3.2 and 9.3.3, user information in PS3.7 annex D.3.3).

Such a PDU is a fixed part and then items in any order. An item has a type, a length and a body, which may be items
again, at most three levels: three loops, no recursion. Of an item that may occur only once, the first one counts. Items
that negotiation does not use are skipped, known or not (PS3.8 section 9.3.1): a modality must not be refused because of
its implementation, asynchronous operations or extended negotiation. Texts are Latin-1 in both directions. So an
ill-formed UID goes back as it came, without the blanks and NULs that devices pad with; an AE title goes back byte for
byte. Whatever does not parse is a RemoteProtocolError, but for a user identity, of which a device may be asked or not.
Deliberately absent: what a request means and what to answer (negotiate.py).
"""

import struct
from collections.abc import Iterable, Iterator
from functools import partial

from leyden.dicom.negotiate import (
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    Role,
    UserIdentity,
    ae_title,
)
from leyden.dicom.pdu import ACCEPT, ASSOCIATION_PDU_LIMIT_BYTES, INVALID_PARAMETER, REQUEST
from leyden.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from leyden.errors import LocalProtocolError, RemoteProtocolError

SYNTAXES_LIMIT = 8192  # in one PDU, abstract syntaxes included: an association keeps them as long as it lasts
# A device that opens an association for each image sends the same request each time. The memory takes 7 MB at most.
# One with a user identity is not remembered: a passcode must not outlive its association.
REMEMBERED_REQUESTS = 32
REMEMBERED_BYTES = 16 * 1024

_APPLICATION = 0x10
_PROPOSED = 0x20
_ANSWERED = 0x21
_ABSTRACT = 0x30
_TRANSFER = 0x40
_USER = 0x50
_MAX_LENGTH = 0x51
_IMPLEMENTATION_CLASS = 0x52
_ROLE = 0x54
_IMPLEMENTATION_VERSION = 0x55
_IDENTITY = 0x58
_IDENTITY_RESPONSE = 0x59

_FIXED = struct.Struct(">BxIHxx32s32x")  # the two titles as one field
_LENGTH_COUNTS_FROM = 6
_ITEM = struct.Struct(">BxH")
_CONTEXT = struct.Struct(">BxBx")  # id, result (reserved in a request)
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")
_ROLES = struct.Struct(">BB")
_IDENTITY_FIXED = struct.Struct(">BBH")  # type, whether a positive response is requested, length of the primary field

_invalid = partial(RemoteProtocolError, reason=INVALID_PARAMETER)


def encode_request(request: AssociateRequest) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2). Raises LocalProtocolError for values that do not fit."""
    contexts = (
        _item(
            _PROPOSED,
            _CONTEXT.pack(context.id, 0)
            + _text_item(_ABSTRACT, context.abstract)
            + b"".join([_text_item(_TRANSFER, syntax) for syntax in context.syntaxes]),
        )
        for context in request.contexts
    )
    return _encode(REQUEST, request, contexts)


def encode_accept(accept: AssociateAccept) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 section 9.3.3). Raises LocalProtocolError for values that do not fit."""
    contexts = (
        _item(_ANSWERED, _CONTEXT.pack(context.id, context.result) + _text_item(_TRANSFER, context.syntax))
        for context in accept.contexts
    )
    return _encode(ACCEPT, accept, contexts)


def _encode(kind: int, said: AssociateRequest | AssociateAccept, contexts: Iterable[bytes]) -> bytes:
    try:
        user = b"".join([
            _item(_MAX_LENGTH, _U32.pack(said.max_pdu_bytes)),
            _text_item(_IMPLEMENTATION_CLASS, IMPLEMENTATION_CLASS_UID),
            *map(_role_item, said.roles),
            _text_item(_IMPLEMENTATION_VERSION, IMPLEMENTATION_VERSION),
            _identity_item(said),
        ])  # fmt: skip
        items = b"".join([_text_item(_APPLICATION, said.application_context), *contexts, _item(_USER, user)])
        length = _FIXED.size - _LENGTH_COUNTS_FROM + len(items)
        titles = said.raw_titles or _encode_title(said.called) + _encode_title(said.calling)
        fixed = _FIXED.pack(kind, length, 1, titles)
    except (struct.error, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"an A-ASSOCIATE PDU that cannot be encoded: {error}") from error
    if length > ASSOCIATION_PDU_LIMIT_BYTES:
        raise LocalProtocolError(f"an A-ASSOCIATE PDU of {length} bytes")
    return fixed + items


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _text_item(kind: int, text: str) -> bytes:
    return _ITEM.pack(kind, len(text)) + text.encode("latin-1")


def _role_item(role: Role) -> bytes:
    uid = role.abstract.encode("latin-1")
    return _item(_ROLE, _U16.pack(len(uid)) + uid + _ROLES.pack(role.scu, role.scp))


def _identity_item(said: AssociateRequest | AssociateAccept) -> bytes:
    """The user identity (PS3.7 tables D.3-14 and D.3-15) or nothing."""
    if isinstance(said, AssociateAccept):
        response = said.identity_response
        return b"" if response is None else _item(_IDENTITY_RESPONSE, _U16.pack(len(response)) + response)
    if (user := said.identity) is None:
        return b""
    primary = _IDENTITY_FIXED.pack(user.kind, user.respond, len(user.primary)) + user.primary
    return _item(_IDENTITY, primary + _U16.pack(len(user.secondary)) + user.secondary)


def _encode_title(title: str) -> bytes:
    encoded = title.encode("latin-1", "replace").ljust(16)
    if len(encoded) > 16:
        raise LocalProtocolError(f"AE title {title!r} has more than 16 characters")
    return encoded


def decode_request(data: bytes) -> AssociateRequest:
    """A-ASSOCIATE-RQ, with the PDU header. Raises RemoteProtocolError if it does not parse.

    2 us for each context with three syntaxes; 5 us in all if the same bytes came a short while ago.
    """
    request = _remembered.pop(data, None) or _decode_request(data)
    if request.identity is None and len(data) <= REMEMBERED_BYTES:
        if len(_remembered) >= REMEMBERED_REQUESTS:
            del _remembered[next(iter(_remembered))]
        _remembered[data] = request
    return request


_remembered: dict[bytes, AssociateRequest] = {}  # by their PDUs, the one that came last at the end


def _decode_request(data: bytes) -> AssociateRequest:
    version, titles, application, items, max_pdu_bytes, roles, said = _decode(data, _PROPOSED, _IDENTITY)
    contexts: list[ProposedContext] = []
    syntaxes_kept = 0
    for item in items:
        context_id, _, abstract, syntaxes = _decode_context(item)
        contexts.append(ProposedContext(context_id, abstract, syntaxes))
        syntaxes_kept += 1 + len(syntaxes)
        if syntaxes_kept > SYNTAXES_LIMIT:
            raise _invalid(f"an A-ASSOCIATE-RQ with more than {SYNTAXES_LIMIT} syntaxes")
    user = None if said is None else _decode_identity(said)
    return AssociateRequest(
        *_decode_titles(titles), tuple(contexts), max_pdu_bytes, application, roles, version, user, titles
    )


def decode_accept(data: bytes) -> AssociateAccept:
    """A-ASSOCIATE-AC, with the PDU header. Raises RemoteProtocolError if it does not parse."""
    _, titles, application, items, max_pdu_bytes, roles, said = _decode(data, _ANSWERED, _IDENTITY_RESPONSE)
    contexts: dict[int, AnsweredContext] = {}
    for item in items:
        context_id, result, _, syntaxes = _decode_context(item)
        contexts.setdefault(context_id, AnsweredContext(context_id, result, syntaxes[0] if syntaxes else ""))
    response = None if said is None else _field(said, 0)[0] or b""
    return AssociateAccept(
        *_decode_titles(titles), tuple(contexts.values()), max_pdu_bytes, application, roles, response, titles
    )


def _decode(
    data: bytes, context_kind: int, identity_kind: int
) -> tuple[int, bytes, str, list[bytes], int, tuple[Role, ...], bytes | None]:
    """What both PDUs have: protocol version, the bytes of both AE titles, application context, the bodies of the items
    of `context_kind`, maximum length, roles, the body of the item of `identity_kind`.
    """
    if len(data) < _FIXED.size:
        raise _invalid(f"an A-ASSOCIATE PDU of {len(data)} bytes")
    _, _, version, titles = _FIXED.unpack_from(data)
    contexts = []
    others: dict[int, bytes] = {}
    for kind, body in _items(data, _FIXED.size):
        if kind == context_kind:
            contexts.append(body)
        else:
            others.setdefault(kind, body)
    max_pdu_bytes, roles, identity = _decode_user(others.get(_USER, b""), identity_kind)
    application = _text(others.get(_APPLICATION, b""))
    return version, titles, application, contexts, max_pdu_bytes, roles, identity


def _decode_titles(titles: bytes) -> tuple[str, str]:
    """The called and the calling AE title."""
    return ae_title(titles[:16].decode("latin-1")), ae_title(titles[16:].decode("latin-1"))


def _decode_context(body: bytes) -> tuple[int, int, str, tuple[str, ...]]:
    """Context ID, result, abstract syntax ("" = there is none), transfer syntaxes."""
    if len(body) < _CONTEXT.size:
        raise _invalid(f"a presentation context item of {len(body)} bytes")
    abstract = None
    syntaxes = []
    for kind, value in _items(body, _CONTEXT.size):
        if kind == _TRANSFER:
            syntaxes.append(_text(value))
        elif kind == _ABSTRACT and abstract is None:
            abstract = _text(value)
    return body[0], body[2], abstract or "", tuple(syntaxes)


def _decode_user(body: bytes, identity_kind: int) -> tuple[int, tuple[Role, ...], bytes | None]:
    """Maximum length (0 = no limit, or not given), roles, and the body of the item of `identity_kind`, from the user
    information item.
    """
    max_pdu_bytes = identity = None
    roles: dict[str, Role] = {}
    for kind, value in _items(body, 0):
        if kind == _MAX_LENGTH and max_pdu_bytes is None:
            if len(value) < _U32.size:
                raise _invalid(f"a maximum length item of {len(value)} bytes")
            (max_pdu_bytes,) = _U32.unpack_from(value)
        elif kind == _ROLE:
            uid_end = _U16.size + int.from_bytes(value[: _U16.size])
            if len(value) < uid_end + _ROLES.size:
                raise _invalid(f"a role selection item of {len(value)} bytes")
            abstract = _text(value[_U16.size : uid_end])
            roles.setdefault(abstract, Role(abstract, scu=value[uid_end] != 0, scp=value[uid_end + 1] != 0))
        elif kind == identity_kind and identity is None:
            identity = value
    return max_pdu_bytes or 0, tuple(roles.values()), identity


def _decode_identity(body: bytes) -> UserIdentity:
    """The user identity; one of kind 0 if its fields cannot be read."""
    kind, respond = body[:2].ljust(2, b"\0")
    primary, end = _field(body, 2)
    if primary is None:
        return UserIdentity(0, b"")
    secondary, _ = _field(body, end)  # without a passcode, some leave it out together with its length
    return UserIdentity(kind, primary, secondary or b"", respond != 0)


def _field(body: bytes, at: int) -> tuple[bytes | None, int]:
    """A field behind its length of two bytes, None if it is not there as a whole, and where it ends."""
    begin = at + _U16.size
    end = begin + int.from_bytes(body[at:begin])
    return (body[begin:end] if max(begin, end) <= len(body) else None), end


def _items(data: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Type and body of each item from `at` to the end."""
    end = len(data)
    unpack = _ITEM.unpack_from
    while at < end:
        if at + 4 > end:
            raise _invalid(f"{end - at} stray bytes after an item")
        kind, length = unpack(data, at)
        begin = at + 4
        at = begin + length
        if at > end:
            raise _invalid(f"item 0x{kind:02X} is longer than the item or PDU around it")
        yield kind, data[begin:at]


def _text(field: bytes) -> str:
    return field.strip(b" \0").decode("latin-1")
