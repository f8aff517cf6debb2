"""PDUs: framing and its bounds, P-DATA and the small PDUs against pynetdicom's reading of them."""

import struct

import pytest
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ, P_DATA_TF

from leyden.dicom import pdu
from leyden.dicom.negotiate import AssociateReject
from leyden.dicom.pdu import Fragment, Reader, Whole
from leyden.errors import RemoteProtocolError


def read(data: bytes, max_data_bytes: int = 262144) -> list[Whole | Fragment]:
    return list(Reader(max_data_bytes).feed(memoryview(data)))


def pdv(context_id: int, control: int, body: bytes) -> bytes:
    return struct.pack(">IBB", len(body) + 2, context_id, control) + body


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


def test_an_association_pdu_is_given_whole() -> None:
    request = struct.pack(">BxI", 1, 70) + bytes(70)
    assert read(request) == [Whole(1, request)]


def test_the_small_pdus_are_those_of_the_standard() -> None:
    assert A_RELEASE_RQ().encode() == pdu.RELEASE_PDU
    assert A_RELEASE_RP().encode() == pdu.RELEASE_REPLY_PDU
    abort, reject = A_ABORT_RQ(), A_ASSOCIATE_RJ()
    abort.decode(pdu.abort_pdu(2, 6))
    assert (abort.source, abort.reason_diagnostic) == (2, 6)
    assert pdu.decode_abort(pdu.abort_pdu(2, 6)) == (2, 6)
    reject.decode(pdu.encode_reject(AssociateReject(1, 2, 3)))
    assert (reject.result, reject.source, reject.reason_diagnostic) == (1, 2, 3)
    assert pdu.decode_reject(pdu.encode_reject(AssociateReject(1, 2, 3))) == AssociateReject(1, 2, 3)


@pytest.mark.parametrize("max_pdu_bytes", [512, 513])
def test_data_pdus_are_read_by_pynetdicom(max_pdu_bytes: int) -> None:
    payload = bytes(range(256)) * 4
    pieces = pdu.data_pdus(3, memoryview(payload), max_pdu_bytes, command=False, ends=True)
    got = b""
    for header, part in zip(pieces[::2], pieces[1::2], strict=True):
        theirs = P_DATA_TF()
        theirs.decode(bytes(header) + bytes(part))
        (item,) = theirs.presentation_data_value_items
        assert item.presentation_context_id == 3
        assert theirs.pdu_length <= max_pdu_bytes
        assert len(item.presentation_data_value) % 2 == 1  # the control byte and an even fragment
        got += item.presentation_data_value[1:]
        assert item.presentation_data_value[0] == (2 if len(got) == len(payload) else 0)
    assert got == payload


@pytest.mark.parametrize("size", [0, 1, 121, 122, 123, 244, 1000])
@pytest.mark.parametrize("ends", [True, False])
def test_data_pdus_come_back(size: int, ends: bool) -> None:
    payload = bytes(n % 251 for n in range(size))
    pieces = pdu.data_pdus(1, memoryview(payload), 128, command=True, ends=ends)
    fragments = read(b"".join(pieces), max_data_bytes=128)
    assert b"".join(part.data for part in fragments) == payload
    assert [part.ends for part in fragments] == [False] * (len(fragments) - 1) + [ends]
    assert all(part.command and part.context_id == 1 for part in fragments)


def test_several_values_in_one_pdu() -> None:
    fragments = read(p_data(pdv(1, 3, b"command"), pdv(1, 0, b""), pdv(1, 2, b"data")))
    assert [(part.command, part.ends, bytes(part.data)) for part in fragments] == [
        (True, True, b"command"),
        (False, False, b""),
        (False, True, b"data"),
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", 1),
        (b"\x16\x03\x01\x02\x00\x01", 1),
        (b"\0" * 6, 1),
        (struct.pack(">BxI", 8, 4), 1),
        (struct.pack(">BxI", 1, 0xFFFFFFFF), 6),
        (struct.pack(">BxI", 1, 262145), 6),
        (struct.pack(">BxI", 2, 67), 6),
        (struct.pack(">BxI", 3, 5), 6),
        (struct.pack(">BxI", 5, 0), 6),
        (struct.pack(">BxI", 7, 1 << 20), 6),
        (struct.pack(">BxI", 4, 262145), 6),
        (struct.pack(">BxI", 4, 0xFFFFFFFF), 6),
        (struct.pack(">BxI", 4, 0), 6),
        (struct.pack(">BxI", 4, 5), 6),
        (struct.pack(">BxIIBB", 4, 6, 0, 1, 0), 6),
        (struct.pack(">BxIIBB", 4, 6, 1, 1, 0), 6),
        (struct.pack(">BxIIBB", 4, 10, 7, 1, 0), 6),
        (struct.pack(">BxIIBB", 4, 10, 0xFFFFFFFF, 1, 0), 6),
        (struct.pack(">BxIIBB", 4, 8, 2, 1, 0) + b"xx", 6),
    ],
)
def test_lengths_and_types_that_can_not_be(data: bytes, reason: int) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        read(data)
    assert raised.value.reason == reason


def test_a_reader_holds_no_payload() -> None:
    reader = Reader(1 << 30)
    data = memoryview(struct.pack(">BxIIBB", 4, (1 << 24) + 6, (1 << 24) + 2, 1, 0) + bytes(1000))
    (part,) = reader.feed(data)
    assert part.data.obj is data.obj
    assert len(reader._held) == 0
