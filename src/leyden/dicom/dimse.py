"""DIMSE command sets: what C-STORE and C-ECHO need, and enough of all others to refuse them (PS3.7 section 9.3).

A command set is always in implicit VR little endian, and has only group 0000. Its length is bounded by
COMMAND_LIMIT_BYTES. Whatever does not parse is a RemoteProtocolError. Deliberately absent: data sets.
"""

import struct

import msgspec

from leyden.dicom.uids import clean_uid
from leyden.errors import RemoteProtocolError

COMMAND_LIMIT_BYTES = 64 * 1024
UID_LIMIT_CHARS = 64

STORE_REQUEST = 0x0001
ECHO_REQUEST = 0x0030
CANCEL = 0x0FFF
RESPONSE = 0x8000
"""The command field of a response is that of its request with this bit set."""

SUCCESS = 0x0000
DUPLICATE_INSTANCE = 0x0111
INVALID_ARGUMENT_VALUE = 0x0115
INVALID_SOP_INSTANCE = 0x0117
MISSING_ATTRIBUTE = 0x0120
UNRECOGNIZED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xB007
"""Stored, although the data set does not match its SOP class or instance (PS3.4 table B.2-1)."""

CANNOT_UNDERSTAND = 0xC000

_NO_DATA_SET = 0x0101
_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")

_AFFECTED_SOP_CLASS = 0x0002
_COMMAND_FIELD = 0x0100
_MESSAGE_ID = 0x0110
_MESSAGE_ID_RESPONDED_TO = 0x0120
_PRIORITY = 0x0700
_DATA_SET_TYPE = 0x0800
_STATUS = 0x0900
_ERROR_COMMENT = 0x0902
_AFFECTED_SOP_INSTANCE = 0x1000
_MOVE_ORIGINATOR = 0x1030


class Command(msgspec.Struct, frozen=True):
    """A command set as received. An absent UID or text is "", an absent message ID or status is -1.

    In a response, `message_id` is that of the request.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class: str = ""
    sop_instance: str = ""
    status: int = -1
    priority: int = 0
    comment: str = ""
    move_originator: str = ""

    @property
    def is_response(self) -> bool:
        return bool(self.field & RESPONSE)


def decode(data: bytes) -> Command:
    """One whole command set. Raises RemoteProtocolError."""
    elements = _elements(data)
    field = _number(elements, _COMMAND_FIELD)
    message_id = _number(elements, _MESSAGE_ID_RESPONDED_TO if field & RESPONSE or field == CANCEL else _MESSAGE_ID)
    if field < 0 or message_id < 0:
        raise RemoteProtocolError("a command set without command field or message ID", reason=6)
    return Command(
        field=field,
        message_id=message_id,
        has_data_set=_number(elements, _DATA_SET_TYPE) != _NO_DATA_SET,
        sop_class=_uid(elements, _AFFECTED_SOP_CLASS),
        sop_instance=_uid(elements, _AFFECTED_SOP_INSTANCE),
        status=_number(elements, _STATUS),
        priority=max(_number(elements, _PRIORITY), 0),
        comment=_text(elements, _ERROR_COMMENT),
        move_originator=_text(elements, _MOVE_ORIGINATOR),
    )


def _elements(data: bytes) -> dict[int, bytes]:
    """Element number -> value."""
    elements = {}
    at = 0
    while at < len(data):
        if at + _ELEMENT.size > len(data):
            raise RemoteProtocolError("a command set that ends within an element", reason=6)
        group, element, length = _ELEMENT.unpack_from(data, at)
        at += _ELEMENT.size
        if group or length > len(data) - at:
            raise RemoteProtocolError(f"({group:04X},{element:04X}) of {length} bytes in a command set", reason=6)
        elements[element] = data[at : at + length]
        at += length
    return elements


def _number(elements: dict[int, bytes], element: int) -> int:
    value = elements.get(element, b"")
    return _US.unpack(value)[0] if len(value) == _US.size else -1


def _text(elements: dict[int, bytes], element: int) -> str:
    return elements.get(element, b"").strip(b" \0").decode("latin-1")


def _uid(elements: dict[int, bytes], element: int) -> str:
    """A UID with `?` for each character that is not graphic; one that is too long becomes too many `?`."""
    value = elements.get(element, b"").strip(b" \0")
    if len(value) > UID_LIMIT_CHARS:
        return "?" * (UID_LIMIT_CHARS + 1)
    return clean_uid(value) if value.translate(None, b"0123456789.") else value.decode("ascii")


def fault(command: Command) -> tuple[int, str] | None:
    """Why a C-STORE-RQ is not served: status (PS3.4 table B.2-1, PS3.7 annex C) and text; None = it is served."""
    if not command.sop_class:
        return MISSING_ATTRIBUTE, "no Affected SOP Class UID"
    if not command.sop_instance:
        return MISSING_ATTRIBUTE, "no Affected SOP Instance UID"
    if len(command.sop_class) > UID_LIMIT_CHARS:
        return INVALID_ARGUMENT_VALUE, "Affected SOP Class UID is too long"
    if len(command.sop_instance) > UID_LIMIT_CHARS:
        return INVALID_SOP_INSTANCE, "Affected SOP Instance UID is too long"
    if not command.has_data_set:
        return CANNOT_UNDERSTAND, "no data set"
    return None


def encode_store_request(message_id: int, sop_class: str, sop_instance: str, priority: int) -> bytes:
    """C-STORE-RQ (PS3.7 table 9.3-1); a data set follows."""
    return _command_set(
        (_AFFECTED_SOP_CLASS, _padded(sop_class, b"\0")),
        (_COMMAND_FIELD, _US.pack(STORE_REQUEST)),
        (_MESSAGE_ID, _US.pack(message_id)),
        (_PRIORITY, _US.pack(priority)),
        (_DATA_SET_TYPE, _US.pack(0x0001)),
        (_AFFECTED_SOP_INSTANCE, _padded(sop_instance, b"\0")),
    )


def encode_echo_request(message_id: int, verification: str) -> bytes:
    """C-ECHO-RQ (PS3.7 table 9.3-12)."""
    return _command_set(
        (_AFFECTED_SOP_CLASS, _padded(verification, b"\0")),
        (_COMMAND_FIELD, _US.pack(ECHO_REQUEST)),
        (_MESSAGE_ID, _US.pack(message_id)),
        (_DATA_SET_TYPE, _US.pack(_NO_DATA_SET)),
    )


def encode_response(request: Command, status: int, comment: str = "") -> bytes:
    """The response to any request, without a data set.

    The UIDs are those of the request, unless they are too long; `comment` is cut to 64 characters.
    """
    elements = [
        (_AFFECTED_SOP_CLASS, _echoed(request.sop_class)),
        (_COMMAND_FIELD, _US.pack(request.field | RESPONSE)),
        (_MESSAGE_ID_RESPONDED_TO, _US.pack(request.message_id)),
        (_DATA_SET_TYPE, _US.pack(_NO_DATA_SET)),
        (_STATUS, _US.pack(status)),
        (_ERROR_COMMENT, _padded(comment[:64], b" ")),
        (_AFFECTED_SOP_INSTANCE, _echoed(request.sop_instance)),
    ]
    return _command_set(*(element for element in elements if element[1]))


def _echoed(uid: str) -> bytes:
    return _padded(uid, b"\0") if len(uid) <= UID_LIMIT_CHARS else b""


def _padded(text: str, padding: bytes) -> bytes:
    encoded = text.encode("latin-1", "replace")
    return encoded + padding if len(encoded) % 2 else encoded


def _command_set(*elements: tuple[int, bytes]) -> bytes:
    body = b"".join(_ELEMENT.pack(0, element, len(value)) + value for element, value in elements)
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<I", len(body)) + body
