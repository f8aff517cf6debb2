"""PDUs of the upper layer protocol: framing, P-DATA as a stream, and the encoding of each (PS3.8 section 9.3).

Every length is held against its bound before anything is kept: association PDUs 256 KiB, P-DATA the announced
maximum; a P-DATA PDU is never held whole, its fragments are views into the bytes at hand. P-DATA, A-RELEASE, A-ABORT
and A-ASSOCIATE-RJ are a struct each; A-ASSOCIATE-RQ and -AC go through pynetdicom's classes, except for the AE
titles, which are taken from and put into the raw bytes: real devices pad them with blanks or NULs, and not all
of them keep to the allowed characters. What can't be read is a RemoteProtocolError, whatever the reason.
"""

import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import (
    AbstractSyntaxSubItem,
    ApplicationContextItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    SCP_SCU_RoleSelectionSubItem,
    TransferSyntaxSubItem,
    UserInformationItem,
)

from leyden.dicom import uids
from leyden.dicom.negotiate import (
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    Role,
)
from leyden.errors import LeydenError, LocalProtocolError, RemoteProtocolError

REQUEST, ACCEPT, REJECT, DATA, RELEASE, RELEASE_REPLY, ABORT = range(1, 8)
ASSOCIATION_PDU_LIMIT_BYTES = 256 * 1024
SYNTAXES_LIMIT = 8192  # in one A-ASSOCIATE PDU, abstract ones too: reading them takes 15 us each

UNRECOGNIZED_PDU, UNEXPECTED_PDU, UNRECOGNIZED_PARAMETER, UNEXPECTED_PARAMETER, INVALID_PARAMETER = 1, 2, 4, 5, 6
"""Reasons of an A-ABORT by the service provider, PS3.8 table 9-26."""

RELEASE_PDU = struct.pack(">BxIxxxx", RELEASE, 4)
RELEASE_REPLY_PDU = struct.pack(">BxIxxxx", RELEASE_REPLY, 4)

_HEADER = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")
_DATA_AND_PDV = struct.Struct(">BxIIBB")
_COMMAND, _LAST = 1, 2
_FIXED_BYTES = 68
_CALLED, _CALLING, _ITEMS_AT = slice(10, 26), slice(26, 42), 74
_ITEM = struct.Struct(">BxH")
_APPLICATION, _CONTEXTS, _USER = 0x10, (0x20, 0x21), 0x50
_USER_ITEMS = frozenset({0x51, 0x54})  # maximum length, role selection


@dataclass(slots=True)
class Whole:
    """Any PDU but P-DATA, with its header."""

    type: int
    data: bytes


@dataclass(slots=True)
class Fragment:
    """Bytes of one presentation data value; `ends` with the PDV's last byte if it was the message's last fragment."""

    context_id: int
    command: bool
    ends: bool
    data: memoryview


class Reader:
    """Cuts the peer's bytes into PDUs and P-DATA fragments, however they were split on the way."""

    def __init__(self, max_data_bytes: int) -> None:
        self._max_data_bytes = max_data_bytes
        self._held = bytearray()  # a header or an association PDU that is not whole yet
        self._awaited_bytes = _HEADER.size  # so long must _held be before it says anything
        self._pdu_left_bytes = 0  # of the present P-DATA PDU
        self._pdv_left_bytes = -1  # of the present PDV; -1: none
        self._context_id = 0
        self._control = 0

    def feed(self, data: memoryview) -> Iterator[Whole | Fragment]:
        """Yield what `data` completes. Raises RemoteProtocolError, after which nothing more may be fed."""
        at, end = 0, len(data)
        while True:
            if self._pdv_left_bytes >= 0:
                taken = min(self._pdv_left_bytes, end - at)
                self._pdv_left_bytes -= taken
                done = self._pdv_left_bytes == 0
                if taken or done:
                    control = self._control
                    if done:
                        self._end_pdv()
                    ends = done and bool(control & _LAST)
                    yield Fragment(self._context_id, bool(control & _COMMAND), ends, data[at : at + taken])
                    at += taken
                if not done:
                    return
                continue
            taken = min(self._awaited_bytes - len(self._held), end - at)
            self._held += data[at : at + taken]
            at += taken
            if len(self._held) < self._awaited_bytes:
                return
            if self._pdu_left_bytes:
                self._begin_pdv()
            elif self._awaited_bytes == _HEADER.size:
                self._begin_pdu()
            else:
                whole = bytes(self._held)
                self._held.clear()
                self._awaited_bytes = _HEADER.size
                yield Whole(whole[0], whole)

    def _begin_pdu(self) -> None:
        kind, length = _HEADER.unpack(self._held)
        if kind == DATA:
            if length > self._max_data_bytes:
                raise RemoteProtocolError(
                    f"a P-DATA PDU of {length} bytes, {self._max_data_bytes} were announced", INVALID_PARAMETER
                )
            if length < _PDV.size:
                raise RemoteProtocolError(f"a P-DATA PDU of {length} bytes holds no data value", INVALID_PARAMETER)
            self._held.clear()
            self._pdu_left_bytes = length
            self._awaited_bytes = _PDV.size
            return
        if kind not in _LENGTH_BOUNDS:
            raise RemoteProtocolError(f"not a DICOM PDU: type 0x{kind:02X}", UNRECOGNIZED_PDU)
        least, most = _LENGTH_BOUNDS[kind]
        if not least <= length <= most:
            raise RemoteProtocolError(f"a PDU of type {kind} with a length of {length} bytes", INVALID_PARAMETER)
        self._awaited_bytes = _HEADER.size + length

    def _begin_pdv(self) -> None:
        length, self._context_id, self._control = _PDV.unpack(self._held)
        self._held.clear()
        if not 2 <= length <= self._pdu_left_bytes - 4:
            raise RemoteProtocolError(
                f"a data value of {length} bytes in {self._pdu_left_bytes} left of its PDU", INVALID_PARAMETER
            )
        self._pdu_left_bytes -= 4 + length
        self._pdv_left_bytes = length - 2

    def _end_pdv(self) -> None:
        self._pdv_left_bytes = -1
        if 0 < self._pdu_left_bytes < _PDV.size:
            raise RemoteProtocolError(
                f"{self._pdu_left_bytes} stray bytes at the end of a P-DATA PDU", INVALID_PARAMETER
            )
        self._awaited_bytes = _PDV.size if self._pdu_left_bytes else _HEADER.size


_LENGTH_BOUNDS = {
    REQUEST: (_FIXED_BYTES, ASSOCIATION_PDU_LIMIT_BYTES),
    ACCEPT: (_FIXED_BYTES, ASSOCIATION_PDU_LIMIT_BYTES),
    REJECT: (4, 4),
    RELEASE: (4, 4),
    RELEASE_REPLY: (4, 4),
    ABORT: (4, 4),
}


def data_pdus(
    context_id: int, payload: memoryview, max_pdu_bytes: int, *, command: bool, ends: bool
) -> list[bytes | memoryview]:
    """P-DATA PDUs of one fragment each, as headers and slices of `payload` to be written one after the other.

    Fragments are of even length if `payload` is (PS3.8 annex E). An empty payload makes one empty fragment.
    """
    step = (max_pdu_bytes - _PDV.size) & ~1
    size = len(payload)
    control = _COMMAND if command else 0
    pieces: list[bytes | memoryview] = []
    for at in range(0, size or 1, step):
        part = payload[at : at + step]
        length = len(part)
        last = _LAST if ends and at + length >= size else 0
        pieces.append(_DATA_AND_PDV.pack(DATA, length + _PDV.size, length + 2, context_id, control | last))
        pieces.append(part)
    return pieces


def abort_pdu(source: int, reason: int) -> bytes:
    """A-ABORT (PS3.8 section 9.3.8): source 0 the service user, 2 the service provider."""
    return struct.pack(">BxIxxBB", ABORT, 4, source, reason)


def decode_abort(data: bytes) -> tuple[int, int]:
    """Source and reason."""
    return data[8], data[9]


def encode_reject(reject: AssociateReject) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""
    return struct.pack(">BxIxBBB", REJECT, 4, reject.result, reject.source, reject.reason)


def decode_reject(data: bytes) -> AssociateReject:
    return AssociateReject(data[7], data[8], data[9])


@contextmanager
def _foreign_code(blame: Callable[[str], LeydenError], what: str) -> Iterator[None]:
    """Around what calls pynetdicom: whatever it raises is the fault of `blame`, and its warnings are nobody's news."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except LeydenError:
        raise
    except Exception as error:
        raise blame(f"{what}: {error!r}") from error


@_foreign_code(LocalProtocolError, "an A-ASSOCIATE-RQ that can't be written")
def encode_request(request: AssociateRequest) -> bytes:
    """A-ASSOCIATE-RQ (PS3.8 section 9.3.2). Raises LocalProtocolError for what does not fit in."""
    contexts = []
    for proposed in request.contexts:
        item = PresentationContextItemRQ()
        item.presentation_context_id = proposed.id
        abstract = AbstractSyntaxSubItem()
        abstract.abstract_syntax_name = proposed.abstract
        item.abstract_transfer_syntax_sub_items = [abstract, *map(_syntax_item, proposed.syntaxes)]
        contexts.append(item)
    return _encode(A_ASSOCIATE_RQ(), request, contexts)


@_foreign_code(LocalProtocolError, "an A-ASSOCIATE-AC that can't be written")
def encode_accept(accept: AssociateAccept) -> bytes:
    """A-ASSOCIATE-AC (PS3.8 section 9.3.3). Raises LocalProtocolError for what does not fit in."""
    contexts = []
    for answered in accept.contexts:
        item = PresentationContextItemAC()
        item.presentation_context_id = answered.id
        item.result_reason = answered.result
        item.transfer_syntax_sub_item = [_syntax_item(answered.syntax)]
        contexts.append(item)
    pdu = A_ASSOCIATE_AC()
    pdu.reserved_aet = pdu.reserved_aec = "-"
    return _encode(pdu, accept, contexts)


def _encode(pdu: Any, said: AssociateRequest | AssociateAccept, contexts: list[Any]) -> bytes:
    application = ApplicationContextItem()
    application.application_context_name = said.application_context
    length, implementation, version = (
        MaximumLengthSubItem(),
        ImplementationClassUIDSubItem(),
        ImplementationVersionNameSubItem(),
    )
    length.maximum_length_received = said.max_pdu_bytes
    implementation.implementation_class_uid = uids.IMPLEMENTATION_CLASS_UID
    version.implementation_version_name = uids.IMPLEMENTATION_VERSION
    user = UserInformationItem()
    user.user_data = [length, implementation, *map(_role_item, said.roles), version]
    pdu.variable_items = [application, *contexts, user]
    data = bytearray(pdu.encode())
    if len(data) > ASSOCIATION_PDU_LIMIT_BYTES:
        raise LocalProtocolError(f"an A-ASSOCIATE PDU of {len(data)} bytes")
    data[_CALLED] = _encode_title(said.called)
    data[_CALLING] = _encode_title(said.calling)
    return bytes(data)


def _syntax_item(uid: str) -> TransferSyntaxSubItem:
    item = TransferSyntaxSubItem()
    item.transfer_syntax_name = uid
    return item


def _role_item(role: Role) -> SCP_SCU_RoleSelectionSubItem:
    item = SCP_SCU_RoleSelectionSubItem()
    item.sop_class_uid = role.abstract
    item.scu_role, item.scp_role = int(role.scu), int(role.scp)
    return item


def _encode_title(title: str) -> bytes:
    encoded = title.encode("latin-1", "replace").ljust(16)
    if len(encoded) > 16:
        raise LocalProtocolError(f"AE title {title!r} has more than 16 characters")
    return encoded


_invalid = partial(RemoteProtocolError, reason=INVALID_PARAMETER)


@_foreign_code(_invalid, "an A-ASSOCIATE-RQ that can't be read")
def decode_request(data: bytes) -> AssociateRequest:
    """A-ASSOCIATE-RQ, header included. Raises RemoteProtocolError for whatever can't be read."""
    pdu = A_ASSOCIATE_RQ()
    pdu.decode(_essence(data))
    user = pdu.user_information
    contexts: dict[int, ProposedContext] = {}
    for item in pdu.presentation_context:
        context_id = item.context_id or 0
        if context_id % 2 == 0 or context_id in contexts:
            raise _invalid(f"a request with presentation context ID {context_id}")
        syntaxes = tuple(_uid(syntax) for syntax in item.transfer_syntax)
        contexts[context_id] = ProposedContext(context_id, _uid(item.abstract_syntax), syntaxes)
    return AssociateRequest(
        called=_decode_title(data[_CALLED]),
        calling=_decode_title(data[_CALLING]),
        contexts=tuple(contexts.values()),
        max_pdu_bytes=(user.maximum_length if user else None) or 0,
        application_context=_uid(pdu.application_context_name),
        roles=_roles(user),
        protocol_version=pdu.protocol_version,
    )


@_foreign_code(_invalid, "an A-ASSOCIATE-AC that can't be read")
def decode_accept(data: bytes) -> AssociateAccept:
    """A-ASSOCIATE-AC, header included. Raises RemoteProtocolError for whatever can't be read."""
    pdu = A_ASSOCIATE_AC()
    pdu.decode(_essence(data))
    user = pdu.user_information
    return AssociateAccept(
        called=_decode_title(data[_CALLED]),
        calling=_decode_title(data[_CALLING]),
        contexts=tuple(
            AnsweredContext(item.context_id or 0, item.result or 0, _uid(item.transfer_syntax))
            for item in pdu.presentation_context
        ),
        max_pdu_bytes=(user.maximum_length if user else None) or 0,
        application_context=_uid(pdu.application_context_name),
        roles=_roles(user),
    )


def _essence(data: bytes) -> bytes:
    """The PDU with plain AE titles and only the items that we read: those that a receiver does not know shall be
    skipped (PS3.8 section 9.3.1), and those that it does not need can't be a reason to refuse a modality.
    """
    kept = []
    syntaxes = 0
    for kind, body in _items(data[_ITEMS_AT:]):
        if kind in _CONTEXTS:
            syntaxes += sum(1 for _ in _items(body[4:]))
        elif kind == _USER:
            body = b"".join(_item(*item) for item in _items(body) if item[0] in _USER_ITEMS)
        elif kind != _APPLICATION:
            continue
        kept.append(_item(kind, body))
    if syntaxes > SYNTAXES_LIMIT:
        raise _invalid(f"an A-ASSOCIATE PDU with {syntaxes} syntaxes")
    return data[:10] + b"-".ljust(16) * 2 + data[42:_ITEMS_AT] + b"".join(kept)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, length = _ITEM.unpack_from(data, at)
        at += _ITEM.size + length
        if at > len(data):
            raise ValueError(f"item 0x{kind:02X} is longer than what holds it")
        yield kind, data[at - length : at]


def _item(kind: int, body: bytes) -> bytes:
    return _ITEM.pack(kind, len(body)) + body


def _roles(user: UserInformationItem | None) -> tuple[Role, ...]:
    items = user.role_selection if user else {}
    return tuple(Role(_uid(uid), scu=bool(item.scu), scp=bool(item.scp)) for uid, item in items.items())


def _uid(value: str | None) -> str:
    return str(value or "").strip(" \0")


def _decode_title(field: bytes) -> str:
    return field.strip(b" \0").decode("latin-1")
