"""A-ASSOCIATE-RQ and -AC: the bytes of the standard, what devices make of them, and what can't be read."""

import struct
from dataclasses import replace

import pytest
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from leyden.dicom import associate, uids
from leyden.dicom.associate import decode_accept, decode_request, encode_accept, encode_request
from leyden.dicom.negotiate import (
    AcceptorPolicy,
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    ProposedContext,
    Role,
    UserIdentity,
    answer,
)
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
    "IMAGEPACS",
    "CT01",
    (AnsweredContext(1, 0, uids.EXPLICIT_LE), AnsweredContext(3, 4, uids.IMPLICIT_LE)),
    0,
    roles=(Role(CT, scu=True, scp=False),),
)


def item(kind: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">BxH", kind, len(body)) + body


def proposed(context_id: int, *parts: bytes) -> bytes:
    return item(0x20, bytes([context_id, 0, 0, 0]), *parts)


def answered(context_id: int, result: int, *parts: bytes) -> bytes:
    return item(0x21, bytes([context_id, 0, result, 0]), *parts)


def abstract(uid: bytes = CT.encode()) -> bytes:
    return item(0x30, uid)


def transfer(uid: bytes = uids.IMPLICIT_LE.encode()) -> bytes:
    return item(0x40, uid)


def role(uid: bytes, scu: int, scp: int) -> bytes:
    return item(0x54, struct.pack(">H", len(uid)), uid, bytes([scu, scp]))


def max_length(size: int) -> bytes:
    return item(0x51, struct.pack(">I", size))


APPLICATION = item(0x10, b"1.2.840.10008.3.1.1.1")
USER = item(0x50, max_length(16384), item(0x52, b"2.25.9"))


def pdu(kind: int, *items: bytes, called: bytes = b"IMAGEPACS", calling: bytes = b"CT01", version: int = 1) -> bytes:
    body = struct.pack(">Hxx16s16s32x", version, called.ljust(16), calling.ljust(16)) + b"".join(items)
    return struct.pack(">BxI", kind, len(body)) + body


def rq(*items: bytes, called: bytes = b"IMAGEPACS", calling: bytes = b"CT01", version: int = 1) -> bytes:
    return pdu(1, *items, called=called, calling=calling, version=version)


def ac(*items: bytes) -> bytes:
    return pdu(2, *items)


# Ours


def test_what_we_write_is_what_the_standard_says() -> None:
    ours = (item(0x52, uids.IMPLEMENTATION_CLASS_UID.encode()), item(0x55, uids.IMPLEMENTATION_VERSION.encode()))
    assert encode_request(REQUEST) == rq(
        APPLICATION,
        proposed(1, abstract(), transfer(b"1.2.840.10008.1.2.1"), transfer()),
        proposed(3, abstract(b"1.2.3"), transfer(b"1.2.840.10008.1.2.4.91")),
        item(0x50, max_length(65536), ours[0], role(CT.encode(), 1, 0), ours[1]),
    )
    assert encode_accept(ACCEPT) == ac(
        APPLICATION,
        answered(1, 0, transfer(b"1.2.840.10008.1.2.1")),
        answered(3, 4, transfer()),
        item(0x50, max_length(0), ours[0], role(CT.encode(), 1, 0), ours[1]),
    )


def test_what_we_write_comes_back() -> None:
    assert decode_request(encode_request(REQUEST)) == REQUEST
    assert decode_accept(encode_accept(ACCEPT)) == ACCEPT


def test_a_request_of_ours_is_read_by_pynetdicom() -> None:
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(encode_request(REQUEST))
    primitive = theirs.to_primitive()
    assert (primitive.called_ae_title.strip(), primitive.calling_ae_title.strip()) == ("IMAGEPACS", "CT01")
    assert primitive.maximum_length_received == 65536
    assert primitive.implementation_class_uid == uids.IMPLEMENTATION_CLASS_UID
    assert [c.transfer_syntax for c in primitive.presentation_context_definition_list] == [
        [uids.EXPLICIT_LE, uids.IMPLICIT_LE],
        [uids.JPEG2000],
    ]


def test_an_accept_of_ours_is_read_by_pynetdicom() -> None:
    theirs = A_ASSOCIATE_AC()
    theirs.decode(encode_accept(ACCEPT))
    assert (theirs.called_ae_title.strip(), theirs.calling_ae_title.strip()) == ("IMAGEPACS", "CT01")
    assert [(c.context_id, c.result, c.transfer_syntax) for c in theirs.presentation_context] == [
        (1, 0, uids.EXPLICIT_LE),
        (3, 4, uids.IMPLICIT_LE),
    ]
    assert theirs.user_information.maximum_length == 0
    assert theirs.user_information.implementation_version_name == uids.IMPLEMENTATION_VERSION


@pytest.mark.parametrize(
    "request_",
    [
        AssociateRequest("A" * 17, "B", ()),
        AssociateRequest("A", "B", (), max_pdu_bytes=-1),
        AssociateRequest("A", "B", (), max_pdu_bytes=1 << 32),
        AssociateRequest("A", "B", (ProposedContext(256, CT, ()),)),
        AssociateRequest("A", "B", (ProposedContext(1, "1.2.\u0663", ()),)),
        AssociateRequest("A", "B", (ProposedContext(1, CT, (uids.IMPLICIT_LE,) * 12000),)),
        AssociateRequest("A", "B", tuple(ProposedContext(n, CT, ("1.2",) * 9000) for n in range(1, 11, 2))),
        AssociateRequest("A", "B", (), roles=(Role("1" * 65536, scu=True, scp=False),)),
    ],
)
def test_what_does_not_fit_in_is_our_error(request_: AssociateRequest) -> None:
    with pytest.raises(LocalProtocolError):
        encode_request(request_)


# Theirs


def test_everything_that_a_user_may_say() -> None:
    """pynetdicom writes each user information item that there is; we keep what negotiation needs."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.called_ae_title, primitive.calling_ae_title = "LEYDEN", "CT01"
    context = build_context(CT, [uids.IMPLICIT_LE, uids.EXPLICIT_LE])
    context.context_id = 255
    primitive.presentation_context_definition_list = [context]
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    version, window = ImplementationVersionNameNotification(), AsynchronousOperationsWindowNegotiation()
    selection, extended = SCP_SCU_RoleSelectionNegotiation(), SOPClassExtendedNegotiation()
    common, identity = SOPClassCommonExtendedNegotiation(), UserIdentityNegotiation()
    length.maximum_length_received = 32768
    implementation.implementation_class_uid = "2.25.9"
    version.implementation_version_name = "THEIRS_1"
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    selection.sop_class_uid, selection.scu_role, selection.scp_role = CT, True, True
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\x02\x00\x03\x00"
    common.sop_class_uid, common.service_class_uid = CT, "1.2.840.10008.4.2"
    identity.user_identity_type, identity.primary_field, identity.secondary_field = 2, b"user", b"secret"
    primitive.user_information = [window, version, identity, selection, extended, common, implementation, length]
    theirs = A_ASSOCIATE_RQ(primitive)
    assert decode_request(theirs.encode()) == AssociateRequest(
        "LEYDEN",
        "CT01",
        (ProposedContext(255, CT, (uids.IMPLICIT_LE, uids.EXPLICIT_LE)),),
        max_pdu_bytes=32768,
        roles=(Role(CT, scu=True, scp=True),),
        identity=UserIdentity(2, b"user", b"secret"),
    )


@pytest.mark.parametrize(
    ("body", "identity"),
    [
        (b"\x01\x01\x00\x04user\x00\x00", UserIdentity(1, b"user", respond=True)),
        (b"\x01\x00\x00\x04user", UserIdentity(1, b"user")),  # some leave out the length of the secondary field
        (b"\x02\x00\x00\x04user\x00\x05code", UserIdentity(2, b"user")),
        (b"\x05\x00\x00\x05user", UserIdentity(0, b"")),
        (b"\xff", UserIdentity(0, b"")),
        (b"", UserIdentity(0, b"")),
    ],
)
def test_a_user_identity_is_read_as_far_as_it_can_be(body: bytes, identity: UserIdentity) -> None:
    data = rq(APPLICATION, proposed(1, abstract(), transfer()), item(0x50, max_length(16384), item(0x58, body)))
    assert decode_request(data).identity == identity


def test_a_passcode_is_neither_shown_nor_remembered() -> None:
    request = replace(REQUEST, identity=UserIdentity(2, b"somebody", b"open sesame"))
    data = encode_request(request)
    read = decode_request(data)
    assert read == request
    assert "somebody" not in repr(read)
    assert "sesame" not in repr(read)
    assert data not in associate._remembered
    assert decode_request(encode_request(REQUEST)) is decode_request(encode_request(REQUEST))


def test_only_so_many_requests_are_remembered() -> None:
    for n in range(associate.REMEMBERED_REQUESTS + 9):
        decode_request(encode_request(replace(REQUEST, calling=f"CT{n}")))
        decode_request(encode_request(replace(REQUEST, calling="CT0")))
    assert len(associate._remembered) == associate.REMEMBERED_REQUESTS
    assert encode_request(replace(REQUEST, calling="CT0")) in associate._remembered


def test_the_answer_to_a_user_identity() -> None:
    for response in (None, b"", b"ticket"):
        assert decode_accept(encode_accept(replace(ACCEPT, identity_response=response))).identity_response == response


def test_items_come_in_any_order() -> None:
    contexts = (proposed(3, transfer(), abstract()), proposed(1, abstract(b"1.2.3"), transfer()))
    expected = (ProposedContext(3, CT, (uids.IMPLICIT_LE,)), ProposedContext(1, "1.2.3", (uids.IMPLICIT_LE,)))
    for items in ((APPLICATION, *contexts, USER), (USER, *contexts, APPLICATION), (contexts[0], USER, contexts[1])):
        assert decode_request(rq(*items)).contexts == expected
        assert decode_request(rq(*items)).max_pdu_bytes == 16384


def test_items_that_nobody_knows_are_skipped_at_every_level() -> None:
    unknown = item(0x99, b"abc"), item(0x00), item(0x21, b"x")
    data = rq(
        *unknown,
        APPLICATION,
        proposed(1, *unknown, abstract(), *unknown, transfer()),
        item(0x50, *unknown, max_length(16384), item(0x59, b"\xff"), item(0x53, b"\x00"), item(0x56), item(0x57, b"x")),
        *unknown,
    )
    assert decode_request(data) == decode_request(rq(APPLICATION, proposed(1, abstract(), transfer()), USER))
    data = ac(*unknown[:2], APPLICATION, answered(1, 0, *unknown, transfer()), USER, item(0x20, b"x"))
    assert decode_accept(data).contexts == (AnsweredContext(1, 0, uids.IMPLICIT_LE),)


def test_the_first_counts() -> None:
    data = rq(
        APPLICATION,
        item(0x10, b"1.2"),
        proposed(1, abstract(), abstract(b"1.2"), transfer()),
        item(0x50, max_length(16384), max_length(128), role(b"1.2", 1, 0), role(b"1.2", 0, 1)),
        item(0x50, max_length(256)),
    )
    assert decode_request(data) == AssociateRequest(
        "IMAGEPACS",
        "CT01",
        (ProposedContext(1, CT, (uids.IMPLICIT_LE,)),),
        max_pdu_bytes=16384,
        roles=(Role("1.2", scu=True, scp=False),),
    )


@pytest.mark.parametrize("padded", [b"CT01\0\0\0\0\0\0\0\0\0\0\0\0", b"   CT01 \0 \0 \0   ", b"CT01            "])
def test_padded_titles(padded: bytes) -> None:
    assert decode_request(rq(calling=padded)).calling == "CT01"
    assert decode_request(rq(called=padded)).called == "CT01"


@pytest.mark.parametrize(
    ("field", "title"),
    [(b"CT01\0OLDNAME\0", "CT01"), (b" CT01 \0 X", "CT01"), (b"\0CT01", ""), (b"CT 01\0\0\0\0\0\0\0\0\0\0Z", "CT 01")],
)
def test_a_title_ends_with_the_first_nul(field: bytes, title: str) -> None:
    assert decode_request(rq(called=field)).called == decode_request(rq(calling=field)).calling == title


def test_titles_are_echoed_to_the_byte() -> None:
    fields = b"IMAGEPACS\0\xff\x01\0 \0\0", b"  CT01\0OLDNAME  "
    policy = AcceptorPolicy(("IMAGEPACS",))
    said = answer(policy, decode_request(rq(APPLICATION, USER, called=fields[0], calling=fields[1])))
    assert isinstance(said, AssociateAccept)
    assert encode_accept(said)[10:42] == b"".join(fields)


def test_titles_beyond_ascii_come_back() -> None:
    assert decode_request(rq(calling="CT_MÜNCHEN".encode("latin-1"))).calling == "CT_MÜNCHEN"
    assert decode_request(encode_request(AssociateRequest("Ü", "B", ()))).called == "Ü"


def test_an_empty_title_is_no_error_of_the_encoding() -> None:
    assert decode_request(rq(called=bytes(16))).called == ""


@pytest.mark.parametrize("pad", [b"\0", b" ", b"\0\0\0", b" \0"])
def test_padded_uids(pad: bytes) -> None:
    data = rq(
        item(0x10, b"1.2.840.10008.3.1.1.1" + pad),
        proposed(1, abstract(pad + CT.encode() + pad), transfer(uids.EXPLICIT_LE.encode() + pad)),
        item(0x50, role(CT.encode() + pad, 1, 1)),
    )
    assert decode_request(data) == AssociateRequest(
        "IMAGEPACS",
        "CT01",
        (ProposedContext(1, CT, (uids.EXPLICIT_LE,)),),
        max_pdu_bytes=0,
        roles=(Role(CT, scu=True, scp=True),),
    )
    assert decode_accept(ac(answered(1, 0, transfer(uids.EXPLICIT_LE.encode() + pad)))).contexts[0].syntax == (
        uids.EXPLICIT_LE
    )


@pytest.mark.parametrize("uid", [b"1.02.3", b"CT IMAGE", b"1.2.\xe4\x80", b"1..2", b"9" * 200, b"1.2\0.3", b"\x1b[2J"])
def test_ill_formed_uids_are_no_reason_to_refuse_and_go_back_as_they_came(uid: bytes) -> None:
    request = decode_request(rq(APPLICATION, proposed(1, abstract(uid), transfer(uid)), item(0x50, role(uid, 1, 0))))
    assert item(0x30, uid) in encode_request(request)
    assert item(0x40, uid) in encode_request(request)
    accept = AssociateAccept("A", "B", (AnsweredContext(1, 0, request.contexts[0].syntaxes[0]),), roles=request.roles)
    assert role(uid, 1, 0) in encode_accept(accept)


def test_what_is_left_out_is_empty() -> None:
    assert decode_request(rq(proposed(1), proposed(3, transfer()))) == AssociateRequest(
        "IMAGEPACS",
        "CT01",
        (ProposedContext(1, "", ()), ProposedContext(3, "", (uids.IMPLICIT_LE,))),
        max_pdu_bytes=0,
        application_context="",
    )
    assert decode_accept(ac(answered(1, 3))).contexts == (AnsweredContext(1, 3, ""),)


def test_the_protocol_version_is_kept() -> None:
    assert decode_request(rq(version=2)).protocol_version == 2


def test_128_contexts() -> None:
    contexts = tuple(ProposedContext(n, f"1.2.{n}", (uids.IMPLICIT_LE,)) for n in range(1, 256, 2))
    request = AssociateRequest("A", "B", contexts)
    assert decode_request(encode_request(request)) == request


@pytest.mark.parametrize("ids", [[0], [2], [254], [1, 1], [1, 3, 1], [*range(1, 256, 2), 1]])
def test_context_ids_that_can_not_be_are_the_answers_matter(ids: list[int]) -> None:
    request = decode_request(rq(APPLICATION, *(proposed(n, abstract(), transfer()) for n in ids), USER))
    assert [context.id for context in request.contexts] == ids


def test_a_context_that_is_answered_twice_has_its_first_answer() -> None:
    data = ac(answered(2, 0, transfer()), answered(1, 4, transfer()), answered(1, 0, transfer()))
    assert decode_accept(data).contexts == (
        AnsweredContext(2, 0, uids.IMPLICIT_LE),
        AnsweredContext(1, 4, uids.IMPLICIT_LE),
    )


def test_a_role_is_any_byte_but_zero() -> None:
    assert decode_request(rq(item(0x50, role(b"1.2", 255, 0)))).roles == (Role("1.2", scu=True, scp=False),)


CUT_SHORT = [
    b"\x10",
    b"\x10\0\0",
    b"\x10\0\0\x01",
    b"\x99\0\xff\xffabc",
    item(0x20),
    item(0x20, b"\x01\0\0"),
    item(0x20, b"\x01\0\0\0", b"\x30"),
    item(0x20, b"\x01\0\0\0", b"\x30\0\0\x05abcd"),
    item(0x20, b"\x01\0\0\0", transfer(), b"\x40\0\0"),
    item(0x50, b"\x51\0\0"),
    item(0x50, b"\x51\0\0\x04\0\0\0"),
    item(0x50, item(0x51, b"\0\0\0")),
    item(0x50, item(0x54)),
    item(0x50, item(0x54, b"\0")),
    item(0x50, item(0x54, b"\0\x031.2")),
    item(0x50, item(0x54, b"\0\x031.2\x01")),
    item(0x50, item(0x54, b"\xff\xff1.2\x01\x01")),
]


@pytest.mark.parametrize("items", CUT_SHORT)
def test_lengths_that_can_not_be(items: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        decode_request(rq(items))
    assert raised.value.reason == 6
    with pytest.raises(RemoteProtocolError) as raised:
        decode_accept(ac(b"\x21" + items[1:] if items[0] == 0x20 else items))
    assert raised.value.reason == 6


@pytest.mark.parametrize("size", [0, 5, 6, 10, 42, 73])
def test_a_fixed_part_that_is_not_whole(size: int) -> None:
    for decode in (decode_request, decode_accept):
        with pytest.raises(RemoteProtocolError) as raised:
            decode(bytes(size))
        assert raised.value.reason == 6


def test_a_request_with_endless_syntaxes_is_not_read() -> None:
    def contexts(each: int) -> bytes:
        return rq(APPLICATION, *(proposed(2 * n + 1, abstract(), transfer(b"1.2") * each) for n in range(16)), USER)

    assert len(decode_request(contexts(511)).contexts) == 16
    with pytest.raises(RemoteProtocolError, match="more than 8192 syntaxes") as raised:
        decode_request(contexts(512))
    assert raised.value.reason == 6
