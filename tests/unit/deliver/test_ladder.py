"""What a destination takes: learnt from negotiations, and the best choice out of it."""

import pytest

from leyden.deliver import ladder
from leyden.deliver.ladder import KNOWN_FOR_S, Taken, best, differ, fresh, learn, proposals
from leyden.dicom.negotiate import MAX_CONTEXTS
from leyden.dicom.uids import (
    EXPLICIT_BE,
    EXPLICIT_LE,
    IMPLICIT_LE,
    JPEG2000,
    JPEG2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS_SV1,
    JPEGXL,
    JPEGXL_JPEG,
)
from leyden.errors import Corrupt

MPEG4 = "1.2.840.10008.1.2.4.102"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
J2K = JPEG2000_LOSSLESS


def taken(*accepted, refused=()):
    return Taken(tuple(accepted), tuple(refused), 0.0)


@pytest.mark.parametrize(
    ("wanted", "source", "known", "choice"),
    [
        # nothing is known
        (J2K, EXPLICIT_LE, None, J2K),
        ("", EXPLICIT_LE, None, EXPLICIT_LE),
        (JPEG2000, EXPLICIT_LE, None, EXPLICIT_LE),  # lossy only for one that was seen to take it
        # the wanted one is taken
        (J2K, EXPLICIT_LE, taken(J2K, EXPLICIT_LE), J2K),
        (JPEG2000, EXPLICIT_LE, taken(JPEG2000, EXPLICIT_LE), JPEG2000),
        (JPEG2000, EXPLICIT_LE, taken(EXPLICIT_LE), EXPLICIT_LE),  # it was not asked yet
        (JPEG2000, J2K, taken(JPEG2000, refused=[J2K]), JPEG2000),
        (JPEG2000, JPEG2000, None, JPEG2000),  # it came so: nothing is made
        (J2K, JPEG_BASELINE, None, J2K),
        # the wanted one is refused: as it is, then explicit, then implicit
        (J2K, EXPLICIT_LE, taken(EXPLICIT_LE, refused=[J2K]), EXPLICIT_LE),
        (J2K, IMPLICIT_LE, taken(EXPLICIT_LE, IMPLICIT_LE, refused=[J2K]), IMPLICIT_LE),
        (J2K, J2K, taken(EXPLICIT_LE, IMPLICIT_LE, refused=[J2K]), EXPLICIT_LE),
        (J2K, J2K, taken(IMPLICIT_LE, refused=[J2K, EXPLICIT_LE]), IMPLICIT_LE),
        (J2K, JPEG_LOSSLESS_SV1, taken(JPEG_LOSSLESS_SV1, EXPLICIT_LE, refused=[J2K]), JPEG_LOSSLESS_SV1),
        ("", EXPLICIT_BE, taken(IMPLICIT_LE, refused=[EXPLICIT_BE, EXPLICIT_LE]), IMPLICIT_LE),
        ("", JPEG_BASELINE, taken(EXPLICIT_LE, refused=[JPEG_BASELINE]), EXPLICIT_LE),
        # a recompressed JPEG is given back as the JPEG that it was, where that is taken
        (JPEGXL_JPEG, JPEG_BASELINE, taken(JPEGXL_JPEG, JPEG_BASELINE), JPEGXL_JPEG),
        ("", JPEGXL_JPEG, taken(JPEG_BASELINE, EXPLICIT_LE, refused=[JPEGXL_JPEG]), JPEG_BASELINE),
        ("", JPEGXL_JPEG, taken(JPEG_EXTENDED, EXPLICIT_LE, refused=[JPEGXL_JPEG, JPEG_BASELINE]), JPEG_EXTENDED),
        ("", JPEGXL_JPEG, taken(EXPLICIT_LE, refused=[JPEGXL_JPEG, JPEG_BASELINE]), EXPLICIT_LE),
        ("", JPEGXL_JPEG, taken(EXPLICIT_LE, refused=[JPEGXL_JPEG]), EXPLICIT_LE),  # it was not asked yet
        (J2K, JPEGXL_JPEG, taken(J2K, JPEG_BASELINE, refused=[JPEGXL_JPEG]), J2K),
        ("", JPEGXL, taken(JPEG_BASELINE, EXPLICIT_LE, refused=[JPEGXL]), EXPLICIT_LE),
        # never lossy unless asked
        (J2K, EXPLICIT_LE, taken(JPEG_BASELINE, JPEG2000, refused=[J2K, EXPLICIT_LE, IMPLICIT_LE]), None),
        (JPEG2000, EXPLICIT_LE, taken(EXPLICIT_LE, refused=[JPEG2000]), EXPLICIT_LE),
        (J2K, J2K, taken(refused=[J2K, EXPLICIT_LE, IMPLICIT_LE]), None),
    ],
)
def test_the_best_that_it_takes(wanted, source, known, choice):
    assert best(wanted, source, known) == choice


def test_syntaxes_that_did_not_help_are_out_of_the_question():
    known = taken(J2K, EXPLICIT_LE, refused=[IMPLICIT_LE]).but([J2K])
    assert best(J2K, IMPLICIT_LE, known) == EXPLICIT_LE
    assert best(J2K, IMPLICIT_LE, known.but([EXPLICIT_LE])) is None


def test_learning_keeps_what_was_not_asked_this_time():
    first = learn({}, [(CT, J2K), (CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, 100.0)
    assert first == {CT: Taken((EXPLICIT_LE,), (J2K,), 100.0)}
    second = learn(first, [(CT, IMPLICIT_LE), (MR, J2K)], {(MR, J2K)}, 200.0)
    assert second[CT] == Taken((EXPLICIT_LE,), tuple(sorted((J2K, IMPLICIT_LE))), 100.0)
    assert second[MR] == Taken((J2K,), (), 200.0)


def test_a_refusal_that_is_never_proposed_again_ends_with_its_own_age():
    """Negotiations of other syntaxes, every hour, must not keep it alive."""
    known = learn({}, [(CT, JPEG_BASELINE), (CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, 0.0)
    for hour in range(1, 24):
        known = learn(known, [(CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, hour * 3600.0)
        assert known[CT].refused == (JPEG_BASELINE,)
    assert fresh(known, CT, KNOWN_FOR_S) is None
    known = learn(known, [(CT, EXPLICIT_LE)], {(CT, EXPLICIT_LE)}, KNOWN_FOR_S)
    assert known[CT] == Taken((EXPLICIT_LE,), (), KNOWN_FOR_S)


def test_a_peer_that_learns_better_is_noticed():
    before = learn({}, [(CT, J2K)], set(), 100.0)
    after = learn(before, [(CT, J2K)], {(CT, J2K)}, 200.0)
    assert after[CT] == Taken((J2K,), (), 200.0)
    assert differ(before, after)


def test_old_knowledge_is_none():
    known = learn({}, [(CT, J2K)], {(CT, J2K)}, 100.0)
    assert fresh(known, CT, 100.0 + KNOWN_FOR_S - 1) == known[CT]
    assert fresh(known, CT, 100.0 + KNOWN_FOR_S) is None
    assert fresh(known, MR, 100.0) is None
    assert learn(known, [(MR, J2K)], set(), 100.0 + KNOWN_FOR_S).keys() == {MR}


def test_the_same_again_is_worth_a_note_once_an_hour():
    known = learn({}, [(CT, J2K)], {(CT, J2K)}, 100.0)
    assert not differ(known, learn(known, [(CT, J2K)], {(CT, J2K)}, 200.0))
    assert differ(known, learn(known, [(CT, J2K)], {(CT, J2K)}, 100.0 + 3601))


class TestProposals:
    def test_one_class(self):
        assert proposals([(CT, J2K), (CT, J2K)], J2K) == ((CT, J2K), (CT, EXPLICIT_LE), (CT, IMPLICIT_LE))

    def test_what_is_at_hand_the_wanted_one_and_the_two_that_everybody_takes(self):
        expected = ((CT, EXPLICIT_BE), (CT, J2K), (CT, EXPLICIT_LE), (CT, IMPLICIT_LE))
        assert proposals([(CT, EXPLICIT_BE)], J2K) == expected

    def test_as_received(self):
        assert proposals([(CT, JPEG_BASELINE)], "") == ((CT, JPEG_BASELINE), (CT, EXPLICIT_LE), (CT, IMPLICIT_LE))

    def test_a_lossy_one_is_proposed_so_that_it_can_be_seen_to_be_taken(self):
        proposed = proposals([(CT, EXPLICIT_LE)], JPEG2000)
        assert proposed == ((CT, EXPLICIT_LE), (CT, JPEG2000), (CT, IMPLICIT_LE))
        nothing = learn({}, proposed, set(), 0.0)
        assert best(JPEG2000, EXPLICIT_LE, fresh(nothing, CT, 1.0)) is None
        known = learn({}, proposed, set(proposed), 0.0)
        assert best(JPEG2000, EXPLICIT_LE, fresh(known, CT, 1.0)) == JPEG2000

    @pytest.mark.parametrize("at_hand", [MPEG4, JPEG_BASELINE, JPEG2000])
    @pytest.mark.parametrize("wanted", ["", J2K, JPEG2000, EXPLICIT_BE])
    def test_implicit_little_endian_is_there_for_each_class(self, at_hand, wanted):
        """PS3.5 section 10.1, more than it asks for: what came lossy, or can't be decoded, would not need it."""
        proposed = proposals([(CT, at_hand), (MR, at_hand)], wanted)
        assert {(CT, IMPLICIT_LE), (MR, IMPLICIT_LE)} < set(proposed)

    def test_the_jpeg_that_a_recompressed_one_was_is_asked_for(self):
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

    def test_its_form(self):
        document = ladder.serialize({CT: Taken((EXPLICIT_LE,), (J2K,), 5)})
        assert document == b'{"%b":{"accepted":["%b"],"refused":["%b"],"seen_s":5}}' % (
            CT.encode(), EXPLICIT_LE.encode(), J2K.encode(),
        )  # fmt: skip

    @pytest.mark.parametrize("document", [b"", b"{", b"[]", b'{"1.2":{"accepted":[1]}}', b'{"1.2":5}', b"\xff\xfe"])
    def test_anything_else_is_corrupt(self, document):
        with pytest.raises(Corrupt):
            ladder.parse(document)
