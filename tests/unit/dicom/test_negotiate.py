"""What an acceptor answers and a requestor proposes, as pure functions."""

import pytest

from leyden.dicom import uids
from leyden.dicom.negotiate import (
    APPLICATION_CONTEXT_UNKNOWN,
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    AcceptorPolicy,
    AnsweredContext,
    AssociateAccept,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    Role,
    accepted_pairs,
    answer,
    contexts_for,
    misnumbered,
    outgoing_pdu_bytes,
)
from leyden.errors import RemoteProtocolError

CT = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE = "1.3.12.2.1107.5.9.1"
POLICY = AcceptorPolicy(("IMAGEPACS", "LEYDEN"))


def answered(abstract: str, *syntaxes: str, policy: AcceptorPolicy = POLICY) -> AnsweredContext:
    said = answer(policy, AssociateRequest("LEYDEN", "CT01", (ProposedContext(1, abstract, syntaxes),)))
    assert isinstance(said, AssociateAccept)
    return said.contexts[0]


@pytest.mark.parametrize(
    ("proposed", "chosen"),
    [
        ([uids.IMPLICIT_LE], uids.IMPLICIT_LE),
        ([uids.EXPLICIT_BE, uids.EXPLICIT_LE], uids.EXPLICIT_BE),
        ([uids.JPEG_BASELINE, uids.EXPLICIT_LE], uids.EXPLICIT_LE),
        ([uids.JPEG2000, uids.JPEG2000_LOSSLESS, uids.IMPLICIT_LE], uids.JPEG2000_LOSSLESS),
        ([uids.JPEG_BASELINE, uids.JPEG2000], uids.JPEG_BASELINE),
        (["1.2.3.4", uids.JPEG2000], uids.JPEG2000),
        ([uids.DEFLATED_LE, uids.EXPLICIT_LE], uids.DEFLATED_LE),
    ],
)
def test_the_first_lossless_syntax_or_else_the_first_known(proposed: list[str], chosen: str) -> None:
    assert answered(CT, *proposed) == AnsweredContext(1, 0, chosen)
    assert answered(PRIVATE, *proposed) == AnsweredContext(1, 0, chosen)


def test_every_syntax_of_the_standard_is_taken() -> None:
    assert [answered(CT, uid).result for uid in uids.SYNTAXES] == [0] * len(uids.SYNTAXES)


def test_a_context_is_refused_for_its_syntaxes_or_for_its_class() -> None:
    assert answered(CT, "1.2.3.4").result == 4
    assert answered(CT).result == 4
    assert answered("1.2.840.10008.5.1.4.1.2.2.1", uids.IMPLICIT_LE).result == 3  # study root find
    assert answered(CT, uids.EXPLICIT_LE, policy=AcceptorPolicy(("LEYDEN",), (), (CT,))).result == 3


@pytest.mark.parametrize("abstract", ["", "9" * 65])
def test_an_abstract_syntax_that_names_nothing_is_refused_alone(abstract: str) -> None:
    contexts = (ProposedContext(1, abstract, (uids.EXPLICIT_LE,)), ProposedContext(3, "CT IMAGE", (uids.EXPLICIT_LE,)))
    said = answer(POLICY, AssociateRequest("LEYDEN", "CT01", contexts))
    assert isinstance(said, AssociateAccept)
    assert [context.result for context in said.contexts] == [3, 0]


def test_verification_is_uncompressed() -> None:
    assert answered(uids.VERIFICATION, uids.JPEG2000_LOSSLESS, uids.EXPLICIT_LE).syntax == uids.EXPLICIT_LE
    assert answered(uids.VERIFICATION, uids.JPEG2000_LOSSLESS).result == 4


@pytest.mark.parametrize(
    ("changes", "rejection"),
    [
        ({"called": "NOBODY"}, CALLED_UNKNOWN),
        ({"called": ""}, CALLED_UNKNOWN),
        ({"called": "imagepacs"}, CALLED_UNKNOWN),
        ({"calling": "STRANGER"}, CALLING_UNKNOWN),
        ({"application_context": "1.2.3"}, APPLICATION_CONTEXT_UNKNOWN),
        ({"protocol_version": 2}, AssociateReject(1, 2, 2)),
    ],
)
def test_who_calls_and_whom_decides_whether_an_association_is_rejected(
    changes: dict[str, str], rejection: AssociateReject
) -> None:
    policy = AcceptorPolicy(("IMAGEPACS",), allowed_calling=("CT01",))
    good = {"called": "IMAGEPACS", "calling": "CT01", "contexts": ()}
    assert isinstance(answer(policy, AssociateRequest(**good)), AssociateAccept)
    assert answer(policy, AssociateRequest(**good | changes)) == rejection


def test_the_numbers_of_the_rejections() -> None:
    assert (
        AssociateReject(1, 1, 7),
        AssociateReject(1, 1, 3),
        AssociateReject(1, 1, 2),
    ) == (CALLED_UNKNOWN, CALLING_UNKNOWN, APPLICATION_CONTEXT_UNKNOWN)
    assert str(CALLED_UNKNOWN) == "rejected permanently: called AE title not recognized (1,1,7)"
    assert str(AssociateReject(9, 9, 9)) == "rejected: unknown reason (9,9,9)"


def test_a_context_with_an_id_that_can_not_be_is_refused_alone() -> None:
    contexts = tuple(ProposedContext(n, CT, (uids.IMPLICIT_LE,)) for n in (0, 1, 2, 255, 254))
    said = answer(POLICY, AssociateRequest("LEYDEN", "A", contexts))
    assert isinstance(said, AssociateAccept)
    assert [(c.id, c.result) for c in said.contexts] == [(0, 2), (1, 0), (2, 2), (255, 0), (254, 2)]
    assert misnumbered(AssociateRequest("LEYDEN", "A", contexts)) == [0, 2, 254]


def test_of_contexts_with_one_id_the_first_counts() -> None:
    contexts = (
        ProposedContext(1, CT, (uids.EXPLICIT_LE,)),
        ProposedContext(1, uids.VERIFICATION, (uids.IMPLICIT_LE,)),
        ProposedContext(3, uids.VERIFICATION, (uids.IMPLICIT_LE,)),
        ProposedContext(1, CT, (uids.IMPLICIT_LE,)),
    )
    said = answer(POLICY, AssociateRequest("LEYDEN", "A", contexts))
    assert isinstance(said, AssociateAccept)
    assert said.contexts == (AnsweredContext(1, 0, uids.EXPLICIT_LE), AnsweredContext(3, 0, uids.IMPLICIT_LE))
    assert misnumbered(AssociateRequest("LEYDEN", "A", contexts)) == [1]


def test_what_is_numbered_well_is_not_complained_of() -> None:
    assert misnumbered(AssociateRequest("LEYDEN", "A", contexts_for([(CT, uids.EXPLICIT_LE), (CT, "1.2")]))) == []


def test_no_peer_is_accepted_as_scp() -> None:
    said = answer(POLICY, AssociateRequest("LEYDEN", "A", (), roles=(Role(CT, scu=True, scp=True),)))
    assert isinstance(said, AssociateAccept)
    assert said.roles == (Role(CT, scu=True, scp=False),)


def test_one_syntax_a_context_at_most_128_of_them() -> None:
    pairs = [(f"1.2.{n}", uids.EXPLICIT_LE) for n in range(200)]
    contexts = contexts_for([pairs[0], *pairs])
    assert [(c.abstract, c.syntaxes) for c in contexts] == [(a, (s,)) for a, s in pairs[:128]]
    assert [c.id for c in contexts] == list(range(1, 256, 2))


def test_accepted_pairs_holds_only_what_was_proposed() -> None:
    proposed = contexts_for([(CT, uids.JPEG2000_LOSSLESS), (CT, uids.EXPLICIT_LE), (CT, uids.IMPLICIT_LE)])
    answers = (
        AnsweredContext(1, 4, uids.IMPLICIT_LE),
        AnsweredContext(3, 0, uids.EXPLICIT_LE),
        AnsweredContext(5, 0, uids.EXPLICIT_BE),
        AnsweredContext(7, 0, uids.EXPLICIT_LE),
    )
    assert accepted_pairs(proposed, AssociateAccept("A", "B", answers)) == {(CT, uids.EXPLICIT_LE): 3}


@pytest.mark.parametrize(("announced", "used"), [(0, 262144), (16384, 16384), (1 << 30, 262144), (8, 8)])
def test_outgoing_pdus_obey_the_peer(announced: int, used: int) -> None:
    assert outgoing_pdu_bytes(announced) == used


@pytest.mark.parametrize("announced", [1, 6, 7])
def test_a_peer_that_takes_no_fragment_is_in_error(announced: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"PDUs of {announced} bytes"):
        outgoing_pdu_bytes(announced)
