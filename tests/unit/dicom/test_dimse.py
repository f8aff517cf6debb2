"""Command sets: ours as pynetdicom reads them, pynetdicom's as we read them, and what is wrong with them."""

import struct
from io import BytesIO

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, C_STORE_RSP, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.dsutils import decode as decode_data_set
from pynetdicom.dsutils import encode as encode_data_set

from leyden.dicom import dimse
from leyden.dicom.dimse import Command
from leyden.dicom.uids import VERIFICATION
from leyden.errors import RemoteProtocolError


def their_command_set(message: DIMSEMessage, primitive: object) -> bytes:
    message.primitive_to_message(primitive)
    encoded = encode_data_set(message.command_set, True, True)
    assert encoded is not None
    return encoded


def test_a_store_request_is_read_by_pynetdicom() -> None:
    command_set = dimse.encode_store_request(7, CTImageStorage, "1.2.3", priority=2)
    read = decode_data_set(BytesIO(command_set), True, True)
    assert (read.CommandField, read.MessageID, read.Priority) == (1, 7, 2)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (CTImageStorage, "1.2.3")
    assert read.CommandDataSetType != 0x0101
    assert read.CommandGroupLength == len(command_set) - 12


def test_an_echo_request_is_read_by_pynetdicom() -> None:
    read = decode_data_set(BytesIO(dimse.encode_echo_request(1, VERIFICATION)), True, True)
    assert (read.CommandField, read.AffectedSOPClassUID, read.CommandDataSetType) == (0x30, VERIFICATION, 0x0101)


def test_a_response_echoes_its_request() -> None:
    request = Command(dimse.STORE_REQUEST, 300, True, CTImageStorage, "1.2.34")
    command_set = dimse.encode_response(request, dimse.OUT_OF_RESOURCES, "no room " * 20)
    read = decode_data_set(BytesIO(command_set), True, True)
    assert (read.CommandField, read.MessageIDBeingRespondedTo, read.Status) == (0x8001, 300, 0xA700)
    assert (read.AffectedSOPClassUID, read.AffectedSOPInstanceUID) == (CTImageStorage, "1.2.34")
    assert read.CommandDataSetType == 0x0101
    assert len(read.ErrorComment) <= 64


def test_their_store_request_is_read() -> None:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 9, 1
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CTImageStorage, "1.2.345"
    primitive.MoveOriginatorApplicationEntityTitle, primitive.MoveOriginatorMessageID = "MOVER", 3
    primitive.DataSet = BytesIO(b"1234")
    command = dimse.decode(their_command_set(C_STORE_RQ(), primitive))
    assert command == Command(1, 9, True, CTImageStorage, "1.2.345", priority=1, move_originator="MOVER")
    assert dimse.fault(command) is None


def test_their_responses_are_read() -> None:
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo, primitive.Status, primitive.ErrorComment = 5, 0xA700, "full"
    command = dimse.decode(their_command_set(C_STORE_RSP(), primitive))
    assert (command.is_response, command.message_id, command.status, command.comment) == (True, 5, 0xA700, "full")
    echo = C_ECHO()
    echo.MessageID, echo.AffectedSOPClassUID = 1, VERIFICATION
    assert dimse.decode(their_command_set(C_ECHO_RQ(), echo)) == Command(0x30, 1, False, VERIFICATION)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (Command(1, 1, True, "", "1.2.3"), 0x0120),
        (Command(1, 1, True, "1.2", ""), 0x0120),
        (Command(1, 1, True, "1" * 65, "1.2.3"), 0x0115),
        (Command(1, 1, True, "1.2", "1" * 65), 0x0117),
        (Command(1, 1, False, "1.2", "1.2.3"), 0xC000),
    ],
)
def test_what_makes_a_store_request_impossible(command: Command, status: int) -> None:
    fault = dimse.fault(command)
    assert fault is not None
    assert fault[0] == status


def element(number: int, value: bytes, group: int = 0) -> bytes:
    return struct.pack("<HHI", group, number, len(value)) + value


GOOD = element(0x0100, b"\x01\0") + element(0x0110, b"\x01\0")


@pytest.mark.parametrize(
    "command_set",
    [
        b"",
        b"\0\0\0",
        element(0x0110, b"\x01\0"),
        element(0x0100, b"\x01\0"),
        element(0x0100, b"\x01") + element(0x0110, b"\x01\0"),
        GOOD + element(0x0010, b"patient", group=0x0010),
        GOOD + struct.pack("<HHI", 0, 2, 0xFFFFFFFF),
        GOOD + struct.pack("<HHI", 0, 2, 3) + b"ab",
        GOOD[:-1],
    ],
)
def test_what_is_no_command_set(command_set: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        dimse.decode(command_set)


@pytest.mark.parametrize(
    ("raw", "uid"),
    [(b"1.2.3\0", "1.2.3"), (b" 1.2.3 ", "1.2.3"), (b"1.2\n3", "1.2?3"), (b"1" * 200, "?" * 65), (b"\xff.1", "?.1")],
)
def test_uids_come_out_clean(raw: bytes, uid: str) -> None:
    assert dimse.decode(GOOD + element(0x1000, raw)).sop_instance == uid


def test_an_overlong_uid_is_not_echoed() -> None:
    request = Command(1, 1, True, "1" * 65, "1.2.3")
    assert b"11111" not in dimse.encode_response(request, 0x0115)
