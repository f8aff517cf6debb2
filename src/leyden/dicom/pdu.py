"""PDUs of the upper layer protocol: framing, P-DATA as a stream, and the small PDUs (PS3.8 section 9.3).

Every length is checked before any bytes are kept: association PDUs may have 256 KiB, P-DATA PDUs the announced maximum.
A P-DATA PDU is never held whole: its fragments are views of the received bytes. A-RELEASE, A-ABORT and A-ASSOCIATE-RJ
are encoded here, A-ASSOCIATE-RQ and -AC in associate.py. Whatever does not parse is a RemoteProtocolError.
"""

import struct
from collections.abc import Iterator

import msgspec

from leyden.dicom.negotiate import AssociateReject
from leyden.errors import RemoteProtocolError

REQUEST, ACCEPT, REJECT, DATA, RELEASE, RELEASE_REPLY, ABORT = range(1, 8)
ASSOCIATION_PDU_LIMIT_BYTES = 256 * 1024

UNRECOGNIZED_PDU = 1
UNEXPECTED_PDU = 2
UNRECOGNIZED_PARAMETER = 4
UNEXPECTED_PARAMETER = 5
INVALID_PARAMETER = 6
"""Reasons of an A-ABORT by the service provider, PS3.8 table 9-26."""

RELEASE_PDU = struct.pack(">BxIxxxx", RELEASE, 4)
RELEASE_REPLY_PDU = struct.pack(">BxIxxxx", RELEASE_REPLY, 4)

_TLS_RECORDS = (0x15, 0x16)  # an alert, a handshake (RFC 8446 section 5.1)
_HEADER = struct.Struct(">BxI")
_PDV = struct.Struct(">IBB")
_DATA_AND_PDV = struct.Struct(">BxIIBB")
_COMMAND = 1
_LAST = 2
_FIXED_BYTES = 68


class Whole(msgspec.Struct):
    """Any PDU but P-DATA, with its header."""

    type: int
    data: bytes


class Fragment(msgspec.Struct):
    """Bytes of one presentation data value (PDV). `ends`: with them the message's last fragment is complete."""

    context_id: int
    command: bool
    ends: bool
    data: memoryview


class Reader:
    """Divides the peer's bytes into PDUs and P-DATA fragments, in whatever portions they arrive."""

    def __init__(self, max_data_bytes: int) -> None:
        self._max_data_bytes = max_data_bytes
        self._held = bytearray()  # a header or an association PDU that is not complete yet
        self._awaited_bytes = _HEADER.size  # the length of _held that completes it
        self._pdu_left_bytes = 0  # of the current P-DATA PDU
        self._pdv_left_bytes = -1  # of the current PDV; -1 = none
        self._context_id = 0
        self._control = 0

    def feed(self, data: memoryview) -> Iterator[Whole | Fragment]:
        """Yield the PDUs and fragments in `data`. Raises RemoteProtocolError; nothing may be fed after that."""
        at, end = 0, len(data)
        while True:
            left = self._pdv_left_bytes
            if left >= 0:
                taken = min(left, end - at)
                if taken == left:
                    self._end_pdv()
                    command, ends = bool(self._control & _COMMAND), bool(self._control & _LAST)
                    yield Fragment(self._context_id, command, ends, data[at : at + taken])
                else:
                    self._pdv_left_bytes = left - taken
                    if taken:
                        yield Fragment(self._context_id, bool(self._control & _COMMAND), False, data[at:])
                    return
                at += taken
                continue
            if self._held or end - at < self._awaited_bytes:  # collect the rest first
                taken = min(self._awaited_bytes - len(self._held), end - at)
                self._held += data[at : at + taken]
                at += taken
                if len(self._held) < self._awaited_bytes:
                    return
                whole = bytes(self._held)
                self._held.clear()
            else:
                whole = bytes(data[at : at + self._awaited_bytes])
                at += self._awaited_bytes
            if self._pdu_left_bytes:
                self._begin_pdv(whole)
            elif self._awaited_bytes == _HEADER.size:
                self._begin_pdu(whole)
            else:
                self._awaited_bytes = _HEADER.size
                yield Whole(whole[0], whole)

    def _begin_pdu(self, header: bytes) -> None:
        kind, length = _HEADER.unpack(header)
        if kind == DATA:
            if length > self._max_data_bytes:
                raise RemoteProtocolError(
                    f"a P-DATA PDU of {length} bytes, above the announced {self._max_data_bytes}", INVALID_PARAMETER
                )
            if length < _PDV.size:
                raise RemoteProtocolError(
                    f"a P-DATA PDU of {length} bytes has no room for a data value", INVALID_PARAMETER
                )
            self._pdu_left_bytes = length
            self._awaited_bytes = _PDV.size
            return
        if kind not in _LENGTH_BOUNDS:
            tls = ", as TLS has it" if kind in _TLS_RECORDS else ""
            raise RemoteProtocolError(f"not a DICOM PDU: type 0x{kind:02X}{tls}", UNRECOGNIZED_PDU)
        least, most = _LENGTH_BOUNDS[kind]
        if not least <= length <= most:
            raise RemoteProtocolError(
                f"a PDU of type {kind} with an invalid length of {length} bytes", INVALID_PARAMETER
            )
        self._held += header
        self._awaited_bytes = _HEADER.size + length

    def _begin_pdv(self, header: bytes) -> None:
        length, self._context_id, self._control = _PDV.unpack(header)
        if not 2 <= length <= self._pdu_left_bytes - 4:
            raise RemoteProtocolError(
                f"a data value of {length} bytes, with {self._pdu_left_bytes} left in its PDU", INVALID_PARAMETER
            )
        self._pdu_left_bytes -= 4 + length
        if 0 < self._pdu_left_bytes < _PDV.size:  # told before any byte of the value is, however the bytes are split
            raise RemoteProtocolError(
                f"{self._pdu_left_bytes} stray bytes at the end of a P-DATA PDU", INVALID_PARAMETER
            )
        self._pdv_left_bytes = length - 2

    def _end_pdv(self) -> None:
        self._pdv_left_bytes = -1
        self._awaited_bytes = _PDV.size if self._pdu_left_bytes else _HEADER.size


_LENGTH_BOUNDS = {
    REQUEST: (_FIXED_BYTES, ASSOCIATION_PDU_LIMIT_BYTES),
    ACCEPT: (_FIXED_BYTES, ASSOCIATION_PDU_LIMIT_BYTES),
    REJECT: (4, 4),
    RELEASE: (4, 4),
    RELEASE_REPLY: (4, 4),
    ABORT: (4, 4),
}


def fragment_bytes(max_pdu_bytes: int) -> int:
    """How many bytes of a message fit into one P-DATA PDU: an even number (PS3.8 annex E)."""
    return (max_pdu_bytes - _PDV.size) & ~1


def data_pdus(
    context_id: int, payload: memoryview, max_pdu_bytes: int, *, command: bool, ends: bool
) -> list[bytes | memoryview]:
    """P-DATA PDUs of one fragment each, as headers and slices of `payload`, to be sent one after the other.

    The fragments have even lengths if `payload` has (PS3.8 annex E). An empty payload gives one empty fragment.
    """
    step = fragment_bytes(max_pdu_bytes)
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
    """A-ABORT (PS3.8 section 9.3.8): source 0 is the service user, 2 the service provider."""
    return struct.pack(">BxIxxBB", ABORT, 4, source, reason)


def decode_abort(data: bytes) -> tuple[int, int]:
    """Source and reason of an A-ABORT."""
    return data[8], data[9]


def encode_reject(reject: AssociateReject) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 section 9.3.4)."""
    return struct.pack(">BxIxBBB", REJECT, 4, reject.result, reject.source, reject.reason)


def decode_reject(data: bytes) -> AssociateReject:
    return AssociateReject(data[7], data[8], data[9])
