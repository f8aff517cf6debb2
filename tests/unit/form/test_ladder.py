"""What a destination accepts is learnt from negotiations, and gives the order in which syntaxes are tried."""

import pytest

from leyden.dicom.negotiate import MAX_CONTEXTS
from leyden.dicom.uids import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG2000,
    JPEG2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEGXL_JPEG,
)
from leyden.errors import Corrupt
from leyden.form import ladder
from leyden.form.ladder import KNOWN_FOR_S, Acceptance, differ, fresh, learn, proposals, rungs

MPEG4 = "1.2.840.10008.1.2.4.102"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
J2K = JPEG2000_LOSSLESS


def test_the_ladder_is_wanted_own_explicit_implicit():
    assert rungs(J2K, EXPLICIT_BE, None) == [J2K, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE]
    assert rungs("", JPEG_BASELINE, None) == [JPEG_BASELINE, EXPLICIT_LE, IMPLICIT_LE]


def test_a_refused_syntax_is_not_on_the_ladder():
    assert rungs(J2K, EXPLICIT_BE, Acceptance(refused=(J2K, EXPLICIT_LE))) == [EXPLICIT_BE, IMPLICIT_LE]


def test_a_lossy_syntax_is_on_the_ladder_if_it_was_accepted_or_nothing_is_known():
    assert rungs(JPEG2000, EXPLICIT_LE, None)[0] == JPEG2000
    assert rungs(JPEG2000, EXPLICIT_LE, Acceptance((JPEG2000,)))[0] == JPEG2000
    assert JPEG2000 not in rungs(JPEG2000, EXPLICIT_LE, Acceptance((EXPLICIT_LE,)))


def test_a_recompressed_jpeg_becomes_the_original_jpeg_rather_than_being_decoded():
    known = Acceptance((JPEG_BASELINE, EXPLICIT_LE), (JPEGXL_JPEG,))
    assert rungs("", JPEGXL_JPEG, known) == [JPEG_BASELINE, EXPLICIT_LE, IMPLICIT_LE]


def test_learning_keeps_the_answers_to_what_was_not_proposed_this_time():
    first = learn({}, [(CT, J2K), (CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, 100.0)
    assert first == {CT: Acceptance((EXPLICIT_LE,), (J2K,), 100.0)}
    second = learn(first, [(CT, IMPLICIT_LE), (MR, J2K)], {(MR, J2K)}, 200.0)
    assert second[CT] == Acceptance((EXPLICIT_LE,), tuple(sorted((J2K, IMPLICIT_LE))), 100.0)
    assert second[MR] == Acceptance((J2K,), (), 200.0)


def test_a_refusal_that_is_never_renewed_becomes_too_old():
    """Hourly negotiations of other syntaxes must not keep it."""
    known = learn({}, [(CT, JPEG_BASELINE), (CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, 0.0)
    for hour in range(1, 24):
        known = learn(known, [(CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, hour * 3600.0)
        assert known[CT].refused == (JPEG_BASELINE,)
    assert fresh(known, CT, KNOWN_FOR_S) is None
    known = learn(known, [(CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, KNOWN_FOR_S)
    assert known[CT] == Acceptance((EXPLICIT_LE,), (), KNOWN_FOR_S)


def test_it_is_noticed_when_a_peer_accepts_a_syntax_at_last():
    before = learn({}, [(CT, J2K)], set(), 100.0)
    after = learn(before, [(CT, J2K)], {(CT, J2K)}, 200.0)
    assert after[CT] == Acceptance((J2K,), (), 200.0)
    assert differ(before, after)


def test_old_knowledge_counts_as_none():
    known = learn({}, [(CT, J2K)], {(CT, J2K)}, 100.0)
    assert fresh(known, CT, 100.0 + KNOWN_FOR_S - 1) == known[CT]
    assert fresh(known, CT, 100.0 + KNOWN_FOR_S) is None
    assert fresh(known, MR, 100.0) is None
    assert learn(known, [(MR, J2K)], set(), 100.0 + KNOWN_FOR_S).keys() == {MR}


def test_the_same_answers_are_written_again_once_an_hour():
    known = learn({}, [(CT, J2K)], {(CT, J2K)}, 100.0)
    assert not differ(known, learn(known, [(CT, J2K)], {(CT, J2K)}, 200.0))
    assert differ(known, learn(known, [(CT, J2K)], {(CT, J2K)}, 100.0 + 3601))


class TestProposals:
    def test_a_kind_that_is_at_hand_twice_is_proposed_once(self):
        assert proposals([(CT, J2K), (CT, J2K)], J2K) == ((CT, J2K), (CT, EXPLICIT_LE), (CT, IMPLICIT_LE))

    def test_the_syntaxes_at_hand_the_wanted_one_and_the_two_uncompressed_ones(self):
        expected = ((CT, EXPLICIT_BE), (CT, J2K), (CT, EXPLICIT_LE), (CT, IMPLICIT_LE))
        assert proposals([(CT, EXPLICIT_BE)], J2K) == expected

    def test_without_a_wanted_syntax_the_one_at_hand_and_the_uncompressed_ones_are_proposed(self):
        assert proposals([(CT, JPEG_BASELINE)], "") == ((CT, JPEG_BASELINE), (CT, EXPLICIT_LE), (CT, IMPLICIT_LE))

    def test_a_lossy_syntax_is_proposed_so_that_the_peer_can_accept_it(self):
        proposed = proposals([(CT, EXPLICIT_LE)], JPEG2000)
        assert proposed == ((CT, EXPLICIT_LE), (CT, JPEG2000), (CT, IMPLICIT_LE))
        nothing = learn({}, proposed, set(), 0.0)
        assert rungs(JPEG2000, EXPLICIT_LE, fresh(nothing, CT, 1.0)) == []
        known = learn({}, proposed, set(proposed), 0.0)
        assert rungs(JPEG2000, EXPLICIT_LE, fresh(known, CT, 1.0))[0] == JPEG2000

    @pytest.mark.parametrize("at_hand", [MPEG4, JPEG_BASELINE, JPEG2000])
    @pytest.mark.parametrize("wanted", ["", J2K, JPEG2000, EXPLICIT_BE])
    def test_implicit_little_endian_is_there_for_each_class(self, at_hand, wanted):
        """More than PS3.5 section 10.1 asks for: it exempts an instance that came lossy or can't be decoded."""
        proposed = proposals([(CT, at_hand), (MR, at_hand)], wanted)
        assert {(CT, IMPLICIT_LE), (MR, IMPLICIT_LE)} < set(proposed)

    def test_the_original_of_a_recompressed_jpeg_is_proposed(self):
        chosen = proposals([(CT, JPEGXL_JPEG)], "")
        assert [uid for _, uid in chosen] == [JPEGXL_JPEG, JPEG_BASELINE, JPEG_EXTENDED, EXPLICIT_LE, IMPLICIT_LE]

    def test_42_classes_of_3_syntaxes_each_fit(self):
        chosen = proposals([(f"1.2.{n}", EXPLICIT_LE) for n in range(60)], J2K)
        assert len({sop_class for sop_class, _ in chosen}) == 42
        assert len(chosen) == 126

    def test_the_first_class_is_always_there_whatever_it_needs(self):
        pairs = [(CT, f"1.3.{n}") for n in range(500)] + [(MR, J2K)]
        chosen = proposals(pairs, J2K)
        assert len(chosen) <= MAX_CONTEXTS
        assert chosen[0] == (CT, "1.3.0")
        assert {(CT, J2K), (CT, IMPLICIT_LE)} <= set(chosen)


class TestDocument:
    def test_round_trip(self):
        known = learn({}, [(CT, J2K), (CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, 100.5)
        assert ladder.parse(ladder.serialize(known)) == known

    def test_it_is_json_by_sop_class(self):
        document = ladder.serialize({CT: Acceptance((EXPLICIT_LE,), (J2K,), 5)})
        assert document == b'{"%b":{"accepted":["%b"],"refused":["%b"],"seen_s":5}}' % (
            CT.encode(), EXPLICIT_LE.encode(), J2K.encode(),
        )  # fmt: skip

    @pytest.mark.parametrize("document", [b"", b"{", b"[]", b'{"1.2":{"accepted":[1]}}', b'{"1.2":5}', b"\xff\xfe"])
    def test_anything_else_is_corrupt(self, document):
        with pytest.raises(Corrupt):
            ladder.parse(document)
