"""Targets: what a peer sends over an association. PDU streams on both sides, A-ASSOCIATE, and command sets."""

import random
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from io import BytesIO
from itertools import pairwise

from pydicom.filereader import read_dataset
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

from fuzz.damage import Part, Seed, mutant
from leyden.dicom import associate, dimse, pdu, uids
from leyden.dicom.association import (
    Accepted,
    AssociationRequested,
    Connection,
    Payload,
    ReleaseRequested,
    StoreEnded,
)
from leyden.dicom.negotiate import (
    AcceptorPolicy,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    Role,
    accepted_pairs,
    answer,
    asks_to_store,
    contexts_for,
    misnumbered,
)
from leyden.errors import LocalProtocolError, RemoteProtocolError

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
POLICY = AcceptorPolicy(("LEYDEN",), rejected_abstract_syntaxes=(MR,), max_pdu_bytes=4096)
REQUEST = AssociateRequest(
    "LEYDEN",
    "CT01",
    contexts_for([(CT, uids.EXPLICIT_LE), (uids.VERIFICATION, uids.IMPLICIT_LE), (MR, uids.JPEG2000_LOSSLESS)]),
    roles=(Role(CT, scu=True, scp=False),),
)
ACCEPT = AssociateAccept("LEYDEN", "CT01", tuple(AnsweredContext(c.id, 0, c.syntaxes[0]) for c in REQUEST.contexts))
COMPARED = 16  # of so many inputs, one is compared with pynetdicom or pydicom, which are slow


def _chance(data: bytes) -> random.Random:
    return random.Random(zlib.crc32(data))


# -- where the parts are


def _items(data: bytes, at: int, end: int, around: int, parts: list[Part]) -> None:
    """Items of A-ASSOCIATE PDUs (PS3.8 9.3.2.1), those within them too."""
    while at + 4 <= end:
        kind, length = struct.unpack_from(">BxH", data, at)
        number = len(parts)
        parts.append(Part(at, at + 4, at + 4 + length, around, at + 2, ">H"))
        if kind in (0x20, 0x21):
            _items(data, at + 8, at + 4 + length, number, parts)
        elif kind == 0x50:
            _items(data, at + 4, at + 4 + length, number, parts)
        at += 4 + length


def _command(data: bytes, at: int, end: int, around: int, parts: list[Part]) -> None:
    """Elements of a command set (PS3.7 6.3.1)."""
    while at + 8 <= end:
        (length,) = struct.unpack_from("<L", data, at + 4)
        parts.append(Part(at, at + 8, at + 8 + length, around, at + 4, "<L"))
        at += 8 + length


def _stream(data: bytes) -> Seed:
    """PDUs one after the other."""
    parts: list[Part] = []
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(">BxL", data, at)
        number, end = len(parts), at + 6 + length
        parts.append(Part(at, at + 6, end, -1, at + 2, ">L"))
        if kind in (pdu.REQUEST, pdu.ACCEPT):
            _items(data, at + 74, end, number, parts)
        value = at + 6
        while kind == pdu.DATA and value < end:
            size, _, control = struct.unpack_from(">LBB", data, value)
            inner = len(parts)
            parts.append(Part(value, value + 6, value + 4 + size, number, value, ">L"))
            if control & 1:
                _command(data, value + 6, value + 4 + size, inner, parts)
            value += 4 + size
        at = end
    return Seed(data, parts)


# -- valid inputs


def _said(connection: Connection, context_id: int, data: bytes, step: int) -> list[bytes]:
    """A data set in PDUs of one or two values each."""
    pieces: list[bytes] = []
    for at in range(0, len(data) or 1, step):
        last = at + step >= len(data)
        pieces += map(bytes, connection.data_pdus(context_id, memoryview(data)[at : at + step], ends=last))
    return pieces


@cache
def _conversations() -> list[Seed]:
    """What requestors say, from the request to the release or the abort."""
    found = []
    for sizes, ending in (
        ((300,), "release"),
        ((0, 900, 12), "release"),
        ((40,), "abort"),
        ((), "release"),
        ((9,), ""),
    ):
        requestor = Connection.requestor(REQUEST)
        said = [requestor.output()]
        list(requestor.feed(memoryview(associate.encode_accept(ACCEPT))))
        requestor.max_outgoing_pdu_bytes = 512
        for number, size in enumerate(sizes):
            requestor.store_request(1, number, CT, f"1.2.{number}", 0)
            said += [
                requestor.output(),
                *_said(requestor, 1, bytes(range(256)) * (size // 256) + bytes(size % 256), 200),
            ]
            requestor.echo_request(3, number)
            said.append(requestor.output())
        if ending:
            getattr(requestor, ending)()
        found.append(_stream(b"".join([*said, requestor.output()])))
    cancel = struct.pack("<HHLHHHLHHHLH", 0, 0x100, 2, 0x0FFF, 0, 0x120, 2, 1, 0, 0x800, 2, 0x101)
    find = struct.pack("<HHLHHHLHHHLH", 0, 0x100, 2, 0x0020, 0, 0x110, 2, 1, 0, 0x800, 2, 1)
    for command in (cancel, find):
        value = b"".join(map(bytes, pdu.data_pdus(1, memoryview(command), 512, command=True, ends=True)))
        found.append(_stream(associate.encode_request(REQUEST) + value + pdu.RELEASE_PDU))
    return found


@cache
def _answers() -> list[Seed]:
    """What acceptors say to REQUEST."""
    store = dimse.Command(dimse.STORE_REQUEST, 1, True, CT, "1.2.3")
    echo = dimse.Command(dimse.ECHO_REQUEST, 2, False, uids.VERIFICATION)
    replies = [(1, dimse.encode_response(store, 0xB007, "odd")), (3, dimse.encode_response(echo, 0))]
    values = b"".join(
        b"".join(map(bytes, pdu.data_pdus(context, memoryview(reply), 64, command=True, ends=True)))
        for context, reply in replies
    )
    accepts = [associate.encode_accept(accept) for accept in _accepts()]
    endings = [pdu.RELEASE_REPLY_PDU, pdu.RELEASE_PDU, pdu.abort_pdu(0, 0), pdu.abort_pdu(2, 6), b""]
    said = [accept + values + ending for accept, ending in zip(accepts * 2, endings, strict=False)]
    return [_stream(each) for each in (*said, pdu.encode_reject(AssociateReject(1, 1, 7)))]


def _accepts() -> list[AssociateAccept]:
    refused = tuple(AnsweredContext(c.id, 3, c.syntaxes[0]) for c in REQUEST.contexts)
    limited = AssociateAccept("LEYDEN", "CT01", ACCEPT.contexts, 128, roles=REQUEST.roles)
    return [ACCEPT, limited, AssociateAccept("LEYDEN", "CT01", refused, 0)]


@cache
def _requests() -> list[Seed]:
    many = contexts_for((f"1.2.840.10008.5.1.4.1.1.{n}", uids.EXPLICIT_LE) for n in range(9))
    said = [REQUEST, AssociateRequest("A", "B", many, 0), AssociateRequest("LEYDEN", "X" * 16, ())]
    encoded = [*map(associate.encode_request, said), *map(associate.encode_accept, _accepts())]
    extra = struct.pack(">BxHH", 0x51, 4, 0) + struct.pack(">BxHHH", 0x53, 4, 3, 3)
    identity = struct.pack(">BxHBBH4sH6s", 0x58, 16, 2, 1, 4, b"user", 6, b"secret") + struct.pack(
        ">BxHH5s", 0x59, 7, 5, b"token"
    )
    extended = struct.pack(">BxHH5s3s", 0x56, 10, 5, b"1.2.3", b"\1\2\3")
    user = struct.pack(">BxH", 0x50, len(extra + identity + extended)) + extra + identity + extended
    for pdu_bytes in encoded[:2]:
        whole = pdu_bytes + user
        encoded.append(whole[:2] + struct.pack(">L", len(whole) - 6) + whole[6:])
    return [_stream(each) for each in encoded]


@cache
def _commands() -> list[Seed]:
    store = dimse.Command(dimse.STORE_REQUEST, 1, True, CT, "1.2.3")
    mover = dimse.encode_store_request(7, CT, "1.2.840.1", 1) + struct.pack("<HHL8s", 0, 0x1030, 8, b"MOVER   ")
    encoded = [
        dimse.encode_store_request(1, CT, "1.2.3", 0), dimse.encode_echo_request(2, uids.VERIFICATION), mover,
        dimse.encode_response(store, 0xA700, "no room"), dimse.encode_response(store, 0),
    ]  # fmt: skip
    seeds = []
    for data in encoded:
        parts: list[Part] = []
        _command(data, 0, len(data), -1, parts)
        seeds.append(Seed(data, parts))
    return seeds


def conversation(chance: random.Random) -> bytes:
    return mutant(chance, _conversations())


def answers(chance: random.Random) -> bytes:
    return mutant(chance, _answers())


def request(chance: random.Random) -> bytes:
    return mutant(chance, _requests())


def command(chance: random.Random) -> bytes:
    return mutant(chance, _commands())


# -- what must hold


def _split(data: bytes) -> Iterable[bytes]:
    chance = _chance(data)
    if len(data) < 700 and chance.random() < 0.1:
        return (data[n : n + 1] for n in range(len(data)))
    places = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 12)))
    return (data[begin:end] for begin, end in pairwise([0, *places, len(data)]))


def acceptor_stream(data: bytes) -> str:
    """However the bytes are split, the events and what is answered are the same; the only error is the peer's."""
    events, said = _acceptor(_split(data))
    assert (events, said) == _acceptor([data])
    return _end(events)


def requestor_stream(data: bytes) -> str:
    """The same for the other side, which sends an object as soon as it may."""
    events, said = _requestor(_split(data))
    assert (events, said) == _requestor([data])
    return _end(events)


def _end(events: list[object]) -> str:
    return "refused" if events and isinstance(events[-1], tuple) else "read"


def _acceptor(chunks: Iterable[bytes]) -> tuple[list[object], bytes]:
    """Events with their payloads joined, and what is answered; the error, if there is one, comes last."""
    connection = Connection.acceptor(POLICY.max_pdu_bytes)

    def react(event: object) -> None:
        if isinstance(event, AssociationRequested):
            misnumbered(event.request)
            asks_to_store(event.request)
            said = answer(POLICY, event.request)
            connection.accept(said) if isinstance(said, AssociateAccept) else connection.reject(said)
        elif isinstance(event, StoreEnded):
            connection.store_answer(event.store, 0)
        elif isinstance(event, ReleaseRequested):
            connection.release_answer()

    return _heard(connection, chunks, react)


def _requestor(chunks: Iterable[bytes]) -> tuple[list[object], bytes]:
    connection = Connection.requestor(REQUEST)
    connection.output()

    def react(event: object) -> None:
        if isinstance(event, Accepted):
            context_id = accepted_pairs(REQUEST.contexts, event.accept).get((CT, uids.EXPLICIT_LE))
            if context_id is not None:
                connection.store_request(context_id, 1, CT, "1.2.3", 0)
                payload = memoryview(bytes(range(100)))
                pieces = connection.data_pdus(context_id, payload, ends=True)
                longest = connection.max_outgoing_pdu_bytes
                sent = list(pdu.Reader(longest).feed(memoryview(b"".join(pieces))))
                assert b"".join(part.data for part in sent) == payload
        elif isinstance(event, ReleaseRequested):
            connection.release_answer()

    return _heard(connection, chunks, react)


def _heard(
    connection: Connection, chunks: Iterable[bytes], react: Callable[[object], None]
) -> tuple[list[object], bytes]:
    events: list[object] = []
    said = b""
    for chunk in chunks:
        buffer = bytearray(chunk)
        try:
            for event in connection.feed(memoryview(buffer)):
                react(event)
                if not isinstance(event, Payload):
                    events.append(event)
                elif events and isinstance(events[-1], bytes):
                    events[-1] += bytes(event.data)
                else:
                    events.append(bytes(event.data))
        except RemoteProtocolError as error:
            events.append((str(error), error.reason))
            assert connection.is_over
        said += connection.output()
        buffer[:] = b"\xff" * len(buffer)  # a view that outlives its feed shows
    return events, said


def associate_pdu(data: bytes) -> str:
    """What is read can be written, and is then read as the same; pynetdicom reads what we write as we do."""
    outcome = "refused"
    for decode in (associate.decode_request, associate.decode_accept):
        try:
            said = decode(data)
        except RemoteProtocolError as error:
            _blames(error)
            continue
        outcome = "read"
        try:
            encoded = (
                associate.encode_request(said) if isinstance(said, AssociateRequest) else associate.encode_accept(said)
            )
        except LocalProtocolError:
            continue  # longer than a PDU may be
        again = decode(encoded)
        assert again == _written(said)
        if isinstance(said, AssociateRequest):
            replied = answer(AcceptorPolicy((said.called,)), said)
            if isinstance(replied, AssociateAccept):
                assert [c.id for c in replied.contexts] == list(said.by_id())
                associate.decode_accept(associate.encode_accept(replied))
        if zlib.crc32(data) % COMPARED == 0:
            _compare(said, encoded)
    return outcome


def _blames(error: RemoteProtocolError) -> None:
    assert error.reason == 6  # invalid PDU parameter value (PS3.8 table 9-26)


def _written(said: AssociateRequest | AssociateAccept) -> AssociateRequest | AssociateAccept:
    """As it is after writing: our PDUs are of version 1."""
    return replace(said, protocol_version=1) if isinstance(said, AssociateRequest) else said


def _compare(said: AssociateRequest | AssociateAccept, encoded: bytes) -> None:
    if any(not uids.is_well_formed(each) for each in _uids(said)) or not said.raw_titles.isascii():
        return  # pynetdicom gives up where we read on
    titles = said.raw_titles[:16], said.raw_titles[16:]
    if any(b"\0" in title or not title.strip() for title in titles):
        return
    theirs = A_ASSOCIATE_RQ() if isinstance(said, AssociateRequest) else A_ASSOCIATE_AC()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs.decode(encoded)
        except ValueError:
            return  # characters that no title may have
        assert theirs.user_information.maximum_length == said.max_pdu_bytes
        contexts = [
            (item.context_id, str(getattr(item, "abstract_syntax", ""))) for item in theirs.presentation_context
        ]
        assert contexts == [(c.id, getattr(c, "abstract", "")) for c in said.contexts]


def _uids(said: AssociateRequest | AssociateAccept) -> Iterable[str]:
    yield said.application_context
    yield from (role.abstract for role in said.roles)
    for context in said.contexts:
        if isinstance(context, AnsweredContext):
            yield context.syntax
        else:
            yield from (context.abstract, *context.syntaxes)


def command_set(data: bytes) -> str:
    """What is read can be answered, and the answer names what it answers; pydicom reads the same elements."""
    try:
        said = dimse.decode(data)
    except RemoteProtocolError as error:
        _blames(error)
        return "refused"
    fault = dimse.fault(said)
    status, why = fault or (0, "")
    reply = dimse.decode(dimse.encode_response(said, status, why))
    assert reply.is_response
    assert (reply.message_id, reply.status, reply.has_data_set) == (said.message_id, status, False)
    for ours, theirs in ((said.sop_class, reply.sop_class), (said.sop_instance, reply.sop_instance)):
        assert theirs == (ours if len(ours) <= 64 else "")
        assert len(ours) <= 65
        assert ours.isascii()
        assert ours.isprintable()
    if zlib.crc32(data) % COMPARED == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                elements = read_dataset(BytesIO(data), is_implicit_VR=True, is_little_endian=True)
                field, sop_class = elements.get_item(0x00000100).value, elements.get_item(0x00000002)
            except Exception:
                return "read"  # pydicom does not take what we take
            assert struct.unpack("<H", field) == (said.field,)
            if sop_class is not None and said.sop_class and "?" not in said.sop_class:
                assert sop_class.value.strip(b" \0") == said.sop_class.encode()
    return "read"
