"""Two ends of a Connection tested against each other in memory, and an acceptor against peers that misbehave."""

import pytest

from leyden.dicom import associate, dimse, pdu, uids
from leyden.dicom.association import (
    Aborted,
    Accepted,
    AssociationRequested,
    Connection,
    EchoAnswered,
    Event,
    Payload,
    Rejected,
    Released,
    ReleaseRequested,
    RequestRefused,
    Responded,
    StoreEnded,
    StoreStarted,
)
from leyden.dicom.machine import AssociationState
from leyden.dicom.negotiate import (
    CALLED_UNKNOWN,
    AcceptorPolicy,
    AssociateAccept,
    AssociateRequest,
    answer,
    contexts_for,
)
from leyden.errors import LocalProtocolError, RemoteProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"
CONTEXTS = contexts_for([(CT, uids.EXPLICIT_LE), (uids.VERIFICATION, uids.IMPLICIT_LE)])
CT_CONTEXT, ECHO_CONTEXT = 1, 3


def tell(sender: Connection, receiver: Connection) -> list[Event]:
    """Everything that one end has to say, and what the other makes of it."""
    return list(receiver.feed(memoryview(sender.output())))


def hear(receiver: Connection, *pieces: bytes | memoryview) -> list[Event]:
    return list(receiver.feed(memoryview(b"".join(pieces))))


def associated(max_pdu_bytes: int = 16384) -> tuple[Connection, Connection]:
    """A requestor and an acceptor with an association between them."""
    requestor = Connection.requestor(AssociateRequest("LEYDEN", "CT01", CONTEXTS, max_pdu_bytes=max_pdu_bytes))
    acceptor = Connection.acceptor(max_pdu_bytes)
    (requested,) = tell(requestor, acceptor)
    assert isinstance(requested, AssociationRequested)
    accept = answer(AcceptorPolicy(("LEYDEN",), max_pdu_bytes=max_pdu_bytes), requested.request)
    assert isinstance(accept, AssociateAccept)
    acceptor.accept(accept)
    assert tell(acceptor, requestor) == [Accepted(accept)]
    return requestor, acceptor


def store(requestor: Connection, payload: bytes, message_id: int = 1) -> bytes:
    requestor.store_request(CT_CONTEXT, message_id, CT, "1.2.3", 0)
    pieces = requestor.data_pdus(CT_CONTEXT, memoryview(payload), ends=True)
    return b"".join([requestor.output(), *pieces])


def test_an_association_from_begin_to_end() -> None:
    requestor, acceptor = associated()
    payload = bytes(range(256)) * 200
    started, *data, ended = hear(acceptor, store(requestor, payload))
    assert isinstance(started, StoreStarted)
    assert (started.syntax, started.command.sop_instance) == (uids.EXPLICIT_LE, "1.2.3")
    assert b"".join(event.data for event in data if isinstance(event, Payload)) == payload
    assert ended == StoreEnded(started)
    acceptor.store_answer(started, 0xB000, "coerced")
    (responded,) = tell(acceptor, requestor)
    assert isinstance(responded, Responded)
    assert (responded.command.status, responded.command.comment) == (0xB000, "coerced")
    requestor.release()
    assert tell(requestor, acceptor) == [ReleaseRequested()]
    acceptor.release_answer()
    assert tell(acceptor, requestor) == [Released()]
    assert (requestor.state, acceptor.state) == (AssociationState.IDLE, AssociationState.AWAITING_CLOSE)


def test_small_pdus_of_the_peer_are_obeyed() -> None:
    requestor, acceptor = associated(max_pdu_bytes=128)
    payload = bytes(1000)
    events = hear(acceptor, store(requestor, payload))
    assert sum(len(event.data) for event in events if isinstance(event, Payload)) == 1000
    acceptor.store_answer(events[0], 0)  # type: ignore[arg-type]
    assert isinstance(tell(acceptor, requestor)[0], Responded)


def test_an_empty_data_set() -> None:
    requestor, acceptor = associated()
    started, ended = hear(acceptor, store(requestor, b""))
    assert ended == StoreEnded(started)  # type: ignore[arg-type]


def test_echo() -> None:
    requestor, acceptor = associated()
    requestor.echo_request(ECHO_CONTEXT, 1)
    assert tell(requestor, acceptor) == [EchoAnswered()]
    (responded,) = tell(acceptor, requestor)
    assert isinstance(responded, Responded)
    assert responded.command.status == 0


def test_a_rejection_ends_both_sides() -> None:
    requestor = Connection.requestor(AssociateRequest("X", "Y", CONTEXTS))
    acceptor = Connection.acceptor(16384)
    tell(requestor, acceptor)
    acceptor.reject(CALLED_UNKNOWN)
    assert tell(acceptor, requestor) == [Rejected(CALLED_UNKNOWN)]
    assert requestor.is_over
    assert acceptor.is_over


@pytest.mark.parametrize("aborts_first", ["requestor", "acceptor"])
def test_an_abort_by_either_side_ends_both(aborts_first: str) -> None:
    requestor, acceptor = associated()
    one, other = (requestor, acceptor) if aborts_first == "requestor" else (acceptor, requestor)
    one.abort()
    assert tell(one, other) == [Aborted(0, 0)]
    assert other.state is AssociationState.IDLE
    one.abort()
    assert one.output() == b""


def test_a_store_in_the_middle_of_a_release_is_still_answered() -> None:
    requestor, acceptor = associated()
    data = store(requestor, b"1234")
    requestor.release()
    started, _, _, released = hear(acceptor, data, requestor.output())
    assert isinstance(started, StoreStarted)
    assert released == ReleaseRequested()
    acceptor.store_answer(started, 0)
    acceptor.release_answer()
    assert [type(event) for event in tell(acceptor, requestor)] == [Responded, Released]


def test_both_ends_release_at_once() -> None:
    requestor, acceptor = associated()
    requestor.release()
    acceptor.release()
    from_requestor, from_acceptor = requestor.output(), acceptor.output()
    assert hear(acceptor, from_requestor) == [ReleaseRequested()]
    assert hear(requestor, from_acceptor) == [ReleaseRequested()]
    requestor.release_answer()
    assert tell(requestor, acceptor) == []
    acceptor.release_answer()
    assert tell(acceptor, requestor) == [Released()]


@pytest.mark.parametrize(
    ("sop_class", "sop_instance", "status"), [("", "1.2.3", 0x0120), (CT, "", 0x0120), (CT, "1" * 65, 0x0117)]
)
def test_a_store_without_its_uids_is_read_and_refused(sop_class: str, sop_instance: str, status: int) -> None:
    requestor, acceptor = associated()
    requestor.store_request(CT_CONTEXT, 1, sop_class, sop_instance, 0)
    command = requestor.output()
    data = requestor.data_pdus(CT_CONTEXT, memoryview(bytes(50000)), ends=True)
    assert hear(acceptor, command) == []
    (refused,) = hear(acceptor, *data)
    assert isinstance(refused, RequestRefused)
    assert refused.status == status
    (responded,) = tell(acceptor, requestor)
    assert isinstance(responded, Responded)
    assert responded.command.status == status
    assert isinstance(hear(acceptor, store(requestor, b"12"))[0], StoreStarted)


@pytest.mark.parametrize("has_data_set", [True, False])
def test_an_unknown_service_is_refused(has_data_set: bool) -> None:
    requestor, acceptor = associated()
    find = bytearray(dimse.encode_store_request(5, CT, "1.2.3", 0))
    find[find.index(b"\0\0\0\x01\x02\0\0\0\x01\0") + 8] = 0x20  # C-FIND-RQ
    if not has_data_set:
        at = find.index(b"\0\0\0\x08\x02\0\0\0") + 8
        find[at : at + 2] = b"\x01\x01"
    pieces = pdu.data_pdus(CT_CONTEXT, memoryview(find), 16384, command=True, ends=True)
    if has_data_set:
        pieces += requestor.data_pdus(CT_CONTEXT, memoryview(b"query"), ends=True)
    assert hear(acceptor, *pieces) == [RequestRefused(0x0211, "DIMSE command 0x0020")]
    (responded,) = tell(acceptor, requestor)
    assert isinstance(responded, Responded)
    assert (responded.command.field, responded.command.status) == (0x8020, 0x0211)


def test_a_cancel_is_ignored() -> None:
    _, acceptor = associated()
    cancel = dimse._command_set((0x0100, b"\xff\x0f"), (0x0120, b"\x01\0"), (0x0800, b"\x01\x01"))
    assert hear(acceptor, *pdu.data_pdus(CT_CONTEXT, memoryview(cancel), 16384, command=True, ends=True)) == []
    assert acceptor.output() == b""


def expect_abort(connection: Connection, data: bytes, reason: int) -> None:
    with pytest.raises(RemoteProtocolError) as raised:
        list(connection.feed(memoryview(data)))
    assert raised.value.reason == reason
    assert connection.output() == pdu.abort_pdu(2, reason)
    assert connection.state is AssociationState.AWAITING_CLOSE
    assert list(connection.feed(memoryview(data))) == []
    assert connection.output() == b""


def test_garbage_instead_of_a_request() -> None:
    expect_abort(Connection.acceptor(16384), b"GET / HTTP/1.1\r\n\r\n", 1)


@pytest.mark.parametrize(
    "unexpected",
    [pdu.RELEASE_PDU, pdu.RELEASE_REPLY_PDU, pdu.encode_reject(CALLED_UNKNOWN), b"\x04\0\0\0\0\x08\0\0\0\x04\x01\3ab"],
)
def test_what_may_not_come_before_a_request(unexpected: bytes) -> None:
    expect_abort(Connection.acceptor(16384), unexpected, 2)


def test_a_second_request_is_unexpected() -> None:
    _, acceptor = associated()
    expect_abort(acceptor, associate.encode_request(AssociateRequest("A", "B", CONTEXTS)), 2)


def test_data_before_the_answer_is_unexpected() -> None:
    requestor, _ = associated()
    data = store(requestor, b"12")
    acceptor = Connection.acceptor(16384)
    list(acceptor.feed(memoryview(associate.encode_request(AssociateRequest("A", "B", CONTEXTS)))))
    assert acceptor.state is AssociationState.AWAITING_OUR_ANSWER
    expect_abort(acceptor, data, 2)


def fragment(context_id: int, control: int, data: bytes) -> bytes:
    return b"".join(pdu.data_pdus(context_id, memoryview(data), 16384, command=control & 1 > 0, ends=control & 2 > 0))


COMMAND = dimse.encode_store_request(1, CT, "1.2.3", 0)


@pytest.mark.parametrize(
    "data",
    [
        fragment(1, 2, b"data set first"),
        fragment(99, 3, COMMAND),
        fragment(1, 3, b"no command set at all"),
        fragment(1, 1, COMMAND[:20]) + fragment(3, 3, COMMAND[20:]),
        fragment(1, 1, COMMAND[:20]) + fragment(1, 2, b"data"),
        fragment(1, 3, COMMAND) + fragment(1, 3, COMMAND),
        fragment(1, 3, COMMAND) + fragment(3, 2, b"data"),
        fragment(1, 1, bytes(16000)) * 5,
        b"\x04\0\x7f\xff\xff\xff",
    ],
)
def test_messages_that_can_not_be(data: bytes) -> None:
    _, acceptor = associated()
    expect_abort(acceptor, data, 6)


def test_a_response_to_an_acceptor_is_unexpected() -> None:
    _, acceptor = associated()
    response = dimse.encode_response(dimse.Command(1, 1, True, CT, "1.2.3"), 0)
    expect_abort(acceptor, fragment(1, 3, response), 5)


@pytest.mark.parametrize("announced", [1, 7])
def test_a_peer_that_takes_no_fragment_is_aborted(announced: int) -> None:
    request = associate.encode_request(AssociateRequest("A", "B", CONTEXTS, max_pdu_bytes=announced))
    expect_abort(Connection.acceptor(16384), request, 6)


def test_events_before_an_error_are_not_lost() -> None:
    requestor, acceptor = associated()
    events = acceptor.feed(memoryview(store(requestor, b"1234") + b"garbage"))
    assert [type(next(events)) for _ in range(3)] == [StoreStarted, Payload, StoreEnded]
    with pytest.raises(RemoteProtocolError):
        next(events)


def test_a_response_with_a_stray_data_set_is_survived() -> None:
    requestor, _ = associated()
    response = dimse.encode_response(dimse.Command(1, 1, True, CT, "1.2.3"), 0)
    events = hear(requestor, fragment(1, 3, response), fragment(1, 2, b"what is this"), fragment(1, 3, response))
    assert [type(event) for event in events] == [Responded, Responded]


def test_a_requestor_serves_nobody() -> None:
    requestor, _ = associated()
    events = hear(requestor, fragment(1, 3, COMMAND), fragment(1, 2, b"data"))
    assert events == [RequestRefused(0x0211, "DIMSE command 0x0001")]


def test_what_we_may_not_do_ourselves() -> None:
    requestor, _ = associated()
    with pytest.raises(LocalProtocolError):
        requestor.store_request(99, 1, CT, "1.2.3", 0)
    requestor.release()
    with pytest.raises(LocalProtocolError):
        requestor.data_pdus(CT_CONTEXT, memoryview(b"12"), ends=True)
    with pytest.raises(LocalProtocolError):
        requestor.release()


def test_repr_is_one_line() -> None:
    requestor, acceptor = associated()
    assert repr(acceptor) == "<Connection established 2 contexts>"
    requestor.abort()
    assert repr(requestor) == "<Connection awaiting_close 2 contexts>"
