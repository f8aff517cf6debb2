"""A-ASSOCIATE PDUs: ours come back, pynetdicom's and ours are read alike on both sides, damage is the peer's error."""

import warnings
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_items import (
    AbstractSyntaxSubItem,
    ApplicationContextItem,
    AsynchronousOperationsWindowSubItem,
    ImplementationClassUIDSubItem,
    ImplementationVersionNameSubItem,
    MaximumLengthSubItem,
    PresentationContextItemAC,
    PresentationContextItemRQ,
    SCP_SCU_RoleSelectionSubItem,
    SOPClassExtendedNegotiationSubItem,
    TransferSyntaxSubItem,
    UserIdentitySubItemAC,
    UserIdentitySubItemRQ,
    UserInformationItem,
)

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
from leyden.errors import RemoteProtocolError

uid = st.from_regex(r"[1-9][0-9]{0,5}(\.[1-9][0-9]{0,8}){0,4}", fullmatch=True)
text = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=80).map(lambda said: said.strip(" \0"))
title = st.from_regex(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?", fullmatch=True)
ids = st.lists(st.integers(0, 127).map(lambda n: 2 * n + 1), max_size=20, unique=True)


@st.composite
def requests(draw: st.DrawFn, uid: st.SearchStrategy[str] = uid) -> AssociateRequest:
    """What a request may say, in a form that comes back as it is."""
    syntaxes = st.lists(uid, max_size=5).map(tuple)
    contexts = tuple(ProposedContext(n, draw(uid), draw(syntaxes)) for n in draw(ids))
    return AssociateRequest(
        draw(title),
        draw(title),
        contexts,
        draw(st.integers(0, 0xFFFFFFFF)),
        draw(uid),
        draw(roles(uid)),
        identity=draw(st.none() | identities()),
    )


@st.composite
def identities(draw: st.DrawFn) -> UserIdentity:
    """A user name, a user name with a passcode, a Kerberos ticket, a SAML assertion or a JWT (PS3.7 D.3.3.7.1)."""
    kind = draw(st.integers(1, 5))
    field = st.binary(min_size=1, max_size=40)
    return UserIdentity(kind, draw(field), draw(field) if kind == 2 else b"", draw(st.booleans()))


@st.composite
def accepts(draw: st.DrawFn, uid: st.SearchStrategy[str] = uid) -> AssociateAccept:
    contexts = tuple(AnsweredContext(n, draw(st.integers(0, 4)), draw(uid)) for n in draw(ids))
    return AssociateAccept(
        draw(title),
        draw(title),
        contexts,
        draw(st.integers(0, 0xFFFFFFFF)),
        draw(uid),
        draw(roles(uid)),
        draw(st.none() | st.binary(max_size=40)),
    )


def roles(uid: st.SearchStrategy[str]) -> st.SearchStrategy[tuple[Role, ...]]:
    selection = st.dictionaries(uid, st.tuples(st.booleans(), st.booleans()), max_size=3)
    return selection.map(lambda said: tuple(Role(abstract, *scu_scp) for abstract, scu_scp in said.items()))


@given(requests())
def test_a_request_says_what_was_put_into_it(request: AssociateRequest) -> None:
    """An A-ASSOCIATE-RQ holds titles, contexts, maximum length and roles as they were given (PS3.8 9.3.2)."""
    assert decode_request(encode_request(request)) == request


@given(requests(text))
def test_an_ill_formed_uid_in_a_request_stays_as_it_is(request: AssociateRequest) -> None:
    """An ill-formed UID "costs its context and not the association" (DECISIONS.md 40)."""
    assert decode_request(encode_request(request)) == request


@given(accepts())
def test_an_accept_says_what_was_put_into_it(accept: AssociateAccept) -> None:
    """An A-ASSOCIATE-AC holds titles, results, maximum length and roles as they were given (PS3.8 9.3.3)."""
    assert decode_accept(encode_accept(accept)) == accept


@given(accepts(text))
def test_an_ill_formed_uid_in_an_accept_stays_as_it_is(accept: AssociateAccept) -> None:
    """An ill-formed UID "goes back as it came" (DECISIONS.md 40)."""
    assert decode_accept(encode_accept(accept)) == accept


@given(requests(text), st.lists(text, max_size=2))
def test_whatever_was_asked_the_answer_can_be_written_and_answers_all(
    request: AssociateRequest, rejected: list[str]
) -> None:
    """Each proposed presentation context gets one result, under its ID and in its place (PS3.8 9.3.3.2)."""
    request = AssociateRequest("LEYDEN", request.calling, request.contexts, roles=request.roles)
    said = answer(AcceptorPolicy(("LEYDEN",), rejected_abstract_syntaxes=tuple(rejected)), request)
    assert isinstance(said, AssociateAccept)
    assert [context.id for context in said.contexts] == [context.id for context in request.contexts]
    assert decode_accept(encode_accept(said)) == said


# pynetdicom on the other side


def _syntax(uid: str) -> TransferSyntaxSubItem:
    item = TransferSyntaxSubItem()
    item.transfer_syntax_name = uid
    return item


def _user(said: AssociateRequest | AssociateAccept) -> UserInformationItem:
    user, length = UserInformationItem(), MaximumLengthSubItem()
    length.maximum_length_received = said.max_pdu_bytes
    implementation, version = ImplementationClassUIDSubItem(), ImplementationVersionNameSubItem()
    implementation.implementation_class_uid, version.implementation_version_name = "2.25.9", "THEIRS"
    window, extended = AsynchronousOperationsWindowSubItem(), SOPClassExtendedNegotiationSubItem()
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 3
    extended.sop_class_uid, extended.service_class_application_information = "1.2.3", b"\x01\x02"
    identity: list[UserIdentitySubItemRQ | UserIdentitySubItemAC] = []
    if isinstance(said, AssociateAccept):
        if said.identity_response is not None:
            identity = [UserIdentitySubItemAC()]
            identity[0].server_response = said.identity_response
    elif said.identity is not None:
        identity = [UserIdentitySubItemRQ()]
        identity[0].user_identity_type = said.identity.kind
        identity[0].positive_response_requested = int(said.identity.respond)
        identity[0].primary_field, identity[0].secondary_field = said.identity.primary, said.identity.secondary
    selection = []
    for role in said.roles:
        item = SCP_SCU_RoleSelectionSubItem()
        item.sop_class_uid, item.scu_role, item.scp_role = role.abstract, int(role.scu), int(role.scp)
        selection.append(item)
    user.user_data = [*identity, window, *selection, implementation, length, extended, version]
    return user


def _application(uid: str) -> ApplicationContextItem:
    item = ApplicationContextItem()
    item.application_context_name = uid
    return item


def their_request(request: AssociateRequest) -> A_ASSOCIATE_RQ:
    theirs = A_ASSOCIATE_RQ()
    theirs.called_ae_title, theirs.calling_ae_title = request.called, request.calling
    contexts = []
    for context in request.contexts:
        item, abstract = PresentationContextItemRQ(), AbstractSyntaxSubItem()
        abstract.abstract_syntax_name = context.abstract
        item.presentation_context_id = context.id
        item.abstract_transfer_syntax_sub_items = [abstract, *map(_syntax, context.syntaxes)]
        contexts.append(item)
    theirs.variable_items = [_application(request.application_context), *contexts, _user(request)]
    return theirs


def their_accept(accept: AssociateAccept) -> A_ASSOCIATE_AC:
    theirs = A_ASSOCIATE_AC()
    theirs.reserved_aet, theirs.reserved_aec = accept.called, accept.calling
    contexts = []
    for context in accept.contexts:
        item = PresentationContextItemAC()
        item.presentation_context_id, item.result_reason = context.id, context.result
        item.transfer_syntax_sub_item = [_syntax(context.syntax)]
        contexts.append(item)
    theirs.variable_items = [_application(accept.application_context), *contexts, _user(accept)]
    return theirs


def _roles_seen(user: UserInformationItem) -> tuple[Role, ...]:
    return tuple(Role(str(uid), bool(item.scu), bool(item.scp)) for uid, item in user.role_selection.items())


def request_seen(data: bytes) -> AssociateRequest:
    """What pynetdicom reads."""
    theirs = A_ASSOCIATE_RQ()
    theirs.decode(data)
    return AssociateRequest(
        theirs.called_ae_title.strip(),
        theirs.calling_ae_title.strip(),
        tuple(
            ProposedContext(item.context_id, str(item.abstract_syntax), tuple(map(str, item.transfer_syntax)))
            for item in theirs.presentation_context
        ),
        theirs.user_information.maximum_length,
        str(theirs.application_context_name),
        _roles_seen(theirs.user_information),
        theirs.protocol_version,
        _identity_seen(theirs.user_information.user_identity),
    )


def _identity_seen(item: UserIdentitySubItemRQ | None) -> UserIdentity | None:
    if item is None:
        return None
    secondary = item.secondary_field or b""
    return UserIdentity(item.id_type, item.primary_field, secondary, bool(item.response_requested))


def accept_seen(data: bytes) -> AssociateAccept:
    theirs = A_ASSOCIATE_AC()
    theirs.decode(data)
    return AssociateAccept(
        theirs.called_ae_title.strip(),
        theirs.calling_ae_title.strip(),
        tuple(
            AnsweredContext(item.context_id, item.result, str(item.transfer_syntax))
            for item in theirs.presentation_context
        ),
        theirs.user_information.maximum_length,
        str(theirs.application_context_name),
        _roles_seen(theirs.user_information),
        theirs.user_information.user_identity and theirs.user_information.user_identity.response,
    )


@given(requests())
def test_pynetdicom_and_we_read_requests_alike(request: AssociateRequest) -> None:
    """PDUs are read as others read them: "a property test holds ours against pynetdicom's" (DECISIONS.md 40)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # UIDs that are too long for a component
        assert decode_request(their_request(request).encode()) == request
        assert request_seen(encode_request(request)) == request


@given(accepts())
def test_pynetdicom_and_we_read_accepts_alike(accept: AssociateAccept) -> None:
    """PDUs are read as others read them: "a property test holds ours against pynetdicom's" (DECISIONS.md 40)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode_accept(their_accept(accept).encode()) == accept
        assert accept_seen(encode_accept(accept)) == accept


# Damage

damage = st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4)


@given(st.one_of(requests().map(encode_request), accepts().map(encode_accept)), damage, st.integers(0, 10_000))
def test_damage_is_the_peers_error_and_no_other(data: bytes, damage: list[tuple[int, bytes]], size: int) -> None:
    """A damaged PDU is the peer's mistake: invalid PDU parameter value, reason 6 (PS3.8 9.3.8)."""
    damaged = bytearray(data)
    for at, put in damage:
        at %= len(damaged)
        damaged[at : at + len(put)] = put
    for mutated in (bytes(damaged), bytes(damaged)[: size % len(damaged)], bytes(damaged) + data[size % len(data) :]):
        for decode in (decode_request, decode_accept):
            reads_or_blames(decode, mutated)


@given(st.sampled_from([decode_request, decode_accept]), st.binary(max_size=300))
def test_garbage_is_the_peers_error_and_no_other(decode: Callable[[bytes], object], body: bytes) -> None:
    """Bytes that are no PDU are the peer's mistake: invalid PDU parameter value, reason 6 (PS3.8 9.3.8)."""
    reads_or_blames(decode, bytes(74) + body)
    reads_or_blames(decode, body)


def reads_or_blames(decode: Callable[[bytes], object], data: bytes) -> None:
    reason = 6
    try:
        decode(data)
    except RemoteProtocolError as error:
        reason = error.reason
    assert reason == 6
