"""However a peer's bytes are split on their way, the events are the same; garbage is the peer's error and no other."""

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from leyden.dicom import associate, pdu, uids
from leyden.dicom.association import AssociationRequested, Connection, Payload
from leyden.dicom.negotiate import (
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    contexts_for,
)
from leyden.errors import RemoteProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"
REQUEST = AssociateRequest(
    "LEYDEN", "CT01", contexts_for([(CT, uids.EXPLICIT_LE), (uids.VERIFICATION, uids.IMPLICIT_LE)])
)
ACCEPT = AssociateAccept("LEYDEN", "CT01", tuple(AnsweredContext(c.id, 0, c.syntaxes[0]) for c in REQUEST.contexts))
MAX_PDU_BYTES = 512

objects = st.lists(st.tuples(st.binary(max_size=2000), st.sampled_from(["1.2.3", ""])), max_size=4)
cuts = st.lists(st.integers(0, 10_000), max_size=30)


def conversation(data_sets: list[tuple[bytes, str]], echoes: int) -> bytes:
    """What a well-behaved requestor sends, from the request to the release."""
    requestor = Connection.requestor(REQUEST)
    said = [requestor.output()]
    list(requestor.feed(memoryview(associate.encode_accept(ACCEPT))))
    requestor.max_outgoing_pdu_bytes = MAX_PDU_BYTES
    for n, (data, instance) in enumerate(data_sets):
        requestor.store_request(1, n, CT, instance, 0)
        said += [requestor.output(), *map(bytes, requestor.data_pdus(1, memoryview(data), ends=True))]
    for n in range(echoes):
        requestor.echo_request(3, n)
    requestor.release()
    return b"".join([*said, requestor.output()])


def heard(chunks: Iterable[bytes]) -> tuple[list[object], bytes]:
    """What an acceptor makes of it, payloads joined, and what it says; the error, if there is one, comes last."""
    acceptor = Connection.acceptor(MAX_PDU_BYTES)
    events: list[object] = []
    said = b""
    for chunk in chunks:
        buffer = bytearray(chunk)
        try:
            for event in acceptor.feed(memoryview(buffer)):
                if isinstance(event, AssociationRequested):
                    acceptor.accept(ACCEPT)
                if not isinstance(event, Payload):
                    events.append(event)
                elif events and isinstance(events[-1], bytes):
                    events[-1] += bytes(event.data)
                else:
                    events.append(bytes(event.data))
        except RemoteProtocolError as error:
            events.append((str(error), error.reason))
        said += acceptor.output()
        buffer[:] = b"\xff" * len(buffer)  # a view that outlives its feed shows
    return events, said


def split(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(n % (len(data) + 1) for n in at), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


@given(objects, st.integers(0, 2), cuts)
def test_however_the_bytes_are_split_the_events_are_the_same(
    data_sets: list[tuple[bytes, str]], echoes: int, at: list[int]
) -> None:
    """The association "turns bytes into events" (ARCHITECTURE.md): the same ones, however they are split."""
    data = conversation(data_sets, echoes)
    assert heard(split(data, at)) == heard([data])


@given(objects)
@settings(max_examples=20)
def test_bytes_that_come_one_by_one_give_the_same_events(data_sets: list[tuple[bytes, str]]) -> None:
    """The association "turns bytes into events" (ARCHITECTURE.md): the same ones if each byte comes alone."""
    data = conversation(data_sets, 1)
    assert heard(data[n : n + 1] for n in range(len(data))) == heard([data])


@given(objects, st.integers(0, 10_000), st.binary(min_size=1, max_size=40), cuts)
def test_damage_is_the_peers_error_and_no_other(
    data_sets: list[tuple[bytes, str]], place: int, damage: bytes, at: list[int]
) -> None:
    """Whatever is damaged, "the sender broke the protocol" (docs/troubleshoot.md), however its bytes are split."""
    data = bytearray(conversation(data_sets, 1))
    place %= len(data)
    data[place : place + len(damage)] = damage
    assert heard(split(bytes(data), at)) == heard([bytes(data)])


@given(st.binary(max_size=500))
def test_garbage_is_the_peers_error_and_no_other(data: bytes) -> None:
    """No bytes cause another error than that "the sender broke the protocol" (docs/troubleshoot.md)."""
    heard([data])
    requestor = Connection.requestor(REQUEST)
    try:
        list(requestor.feed(memoryview(data)))
    except RemoteProtocolError:
        assert requestor.is_over


@given(st.binary(max_size=3000), st.integers(8, 4096), st.booleans())
def test_data_in_pdus_of_any_maximum_length_come_back_whole(payload: bytes, max_pdu_bytes: int, ends: bool) -> None:
    """A peer's maximum length is obeyed down to 8 bytes (DECISIONS.md 70)."""
    pieces = pdu.data_pdus(7, memoryview(payload), max_pdu_bytes, command=False, ends=ends)
    fragments = list(pdu.Reader(max_pdu_bytes).feed(memoryview(b"".join(pieces))))
    assert b"".join(part.data for part in fragments if isinstance(part, pdu.Fragment)) == payload
    assert [part.ends for part in fragments if isinstance(part, pdu.Fragment)] == [False] * (len(fragments) - 1) + [
        ends
    ]
