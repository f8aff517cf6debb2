"""PDUs: framing and its bounds, and our A-ASSOCIATE PDUs against pynetdicom's reading of them."""

import struct

import pytest
from pynetdicom.pdu import A_ABORT_RQ, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ, P_DATA_TF

from leyden.dicom import pdu, uids
from leyden.dicom.negotiate import (
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    Role,
)
from leyden.dicom.pdu import Fragment, Reader, Whole
from leyden.errors import LocalProtocolError, RemoteProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"
REQUEST = AssociateRequest(
    "IMAGEPACS",
    "CT01",
    (ProposedContext(1, CT, (uids.EXPLICIT_LE, uids.IMPLICIT_LE)), ProposedContext(3, "1.2.3", (uids.JPEG2000,))),
    max_pdu_bytes=65536,
    roles=(Role(CT, scu=True, scp=False),),
)
ACCEPT = AssociateAccept(
    "IMAGEPACS", "CT01", (AnsweredContext(1, 0, uids.EXPLICIT_LE), AnsweredContext(3, 4, uids.IMPLICIT_LE)), 0
)


def read(data: bytes, max_data_bytes: int = 262144) -> list[Whole | Fragment]:
    return list(Reader(max_data_bytes).feed(memoryview(data)))


def pdv(context_id: int, control: int, body: bytes) -> bytes:
    return struct.pack(">IBB", len(body) + 2, context_id, control) + body


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


def test_a_request_comes_back() -> None:
    encoded = pdu.encode_request(REQUEST)
    assert pdu.decode_request(encoded) == REQUEST
    assert read(encoded) == [Whole(1, encoded)]


def test_an_accept_comes_back() -> None:
    assert pdu.decode_accept(pdu.encode_accept(ACCEPT)) == ACCEPT


def test_a_request_is_read_by_pynetdicom() -> None:
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(pdu.encode_request(REQUEST))
    primitive = theirs.to_primitive()
    assert (primitive.called_ae_title.strip(), primitive.calling_ae_title.strip()) == ("IMAGEPACS", "CT01")
    assert primitive.maximum_length_received == 65536
    assert primitive.implementation_class_uid == uids.IMPLEMENTATION_CLASS_UID
    assert [c.transfer_syntax for c in primitive.presentation_context_definition_list] == [
        [uids.EXPLICIT_LE, uids.IMPLICIT_LE],
        [uids.JPEG2000],
    ]


@pytest.mark.parametrize("padded", [b"CT01\0\0\0\0\0\0\0\0\0\0\0\0", b"   CT01 \0 \0 \0   ", b"CT01            "])
def test_padded_titles(padded: bytes) -> None:
    encoded = bytearray(pdu.encode_request(REQUEST))
    encoded[26:42] = padded
    assert pdu.decode_request(bytes(encoded)).calling == "CT01"


def test_titles_beyond_ascii_come_back() -> None:
    encoded = bytearray(pdu.encode_request(REQUEST))
    encoded[26:42] = "CT_MÜNCHEN".encode("latin-1").ljust(16)
    assert pdu.decode_request(bytes(encoded)).calling == "CT_MÜNCHEN"
    assert pdu.decode_request(pdu.encode_request(AssociateRequest("Ü", "B", ()))).called == "Ü"


def test_an_empty_title_is_no_error_of_the_encoding() -> None:
    encoded = bytearray(pdu.encode_request(REQUEST))
    encoded[10:26] = bytes(16)
    assert pdu.decode_request(bytes(encoded)).called == ""


def with_items(encoded: bytes, extra: bytes) -> bytes:
    return struct.pack(">BxI", encoded[0], len(encoded) + len(extra) - 6) + encoded[6:] + extra


def test_items_that_nobody_knows_are_skipped() -> None:
    encoded = with_items(pdu.encode_request(REQUEST), b"\x99\0\0\x03abc")
    assert pdu.decode_request(encoded) == REQUEST


def test_ill_formed_uids_are_no_reason_to_refuse() -> None:
    request = AssociateRequest("A", "B", (ProposedContext(1, "1.02.3", (uids.IMPLICIT_LE,)),))
    assert pdu.decode_request(pdu.encode_request(request)).contexts[0].abstract == "1.02.3"


@pytest.mark.parametrize(
    "contexts",
    [
        (ProposedContext(2, CT, (uids.IMPLICIT_LE,)),),
        (ProposedContext(1, CT, (uids.IMPLICIT_LE,)), ProposedContext(1, CT, (uids.EXPLICIT_LE,))),
    ],
)
def test_context_ids_that_can_not_be(contexts: tuple[ProposedContext, ...]) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        pdu.decode_request(pdu.encode_request(AssociateRequest("A", "B", contexts)))
    assert raised.value.reason == 6


@pytest.mark.parametrize("cut", [1, 30, 60, 110])
def test_a_request_that_can_not_be_read(cut: int) -> None:
    with pytest.raises(RemoteProtocolError):
        pdu.decode_request(pdu.encode_request(REQUEST)[:-cut])


def test_a_request_with_endless_syntaxes_is_not_read() -> None:
    contexts = tuple(ProposedContext(2 * n + 1, CT, ("1.2",) * 600) for n in range(15))
    with pytest.raises(RemoteProtocolError, match="9015 syntaxes"):
        pdu.decode_request(pdu.encode_request(AssociateRequest("A", "B", contexts)))


def test_what_does_not_fit_into_a_request() -> None:
    with pytest.raises(LocalProtocolError):
        pdu.encode_request(AssociateRequest("A" * 17, "B", ()))
    huge = ProposedContext(1, CT, (uids.IMPLICIT_LE,) * 12000)
    with pytest.raises(LocalProtocolError):
        pdu.encode_request(AssociateRequest("A", "B", (huge,)))


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
