"""In which form an object goes: this table is the specification of form/choose.py."""

import pytest
from msgspec.structs import replace

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
    RLE_LOSSLESS,
)
from leyden.form.choose import AsItCame, Ask, Fail, Form, Make, Node, Past, choose
from leyden.form.ladder import Acceptance
from leyden.form.obstacle import Facts

J2K, LOSSY, BASELINE = JPEG2000_LOSSLESS, JPEG2000, JPEG_BASELINE
RECOMPRESSED = JPEGXL_JPEG
PRIVATE = "1.2.840.113619.5.2"
ALL_REFUSED = AsItCame("the destination was seen to refuse all that can be made of it")


def peer(*accepted: str, refused: tuple[str, ...] = ()) -> Acceptance:
    return Acceptance(accepted, refused, 0.0)


@pytest.mark.parametrize(
    ("wanted", "came", "acceptance", "form"),
    [
        # Nothing is known of the peer: it is offered what its node wants, but asked first where that is lossy.
        (J2K, EXPLICIT_LE, None, Make(J2K)),
        (J2K, BASELINE, None, Make(J2K)),
        (J2K, J2K, None, AsItCame()),
        ("", EXPLICIT_LE, None, AsItCame()),
        (LOSSY, EXPLICIT_LE, None, Ask(LOSSY)),
        (LOSSY, LOSSY, None, AsItCame()),
        (RECOMPRESSED, BASELINE, None, Ask(RECOMPRESSED)),
        # It accepts what its node wants.
        (J2K, EXPLICIT_LE, peer(J2K, EXPLICIT_LE), Make(J2K)),
        (LOSSY, EXPLICIT_LE, peer(LOSSY, EXPLICIT_LE), Make(LOSSY)),
        (LOSSY, J2K, peer(LOSSY, refused=(J2K,)), Make(LOSSY)),
        (RECOMPRESSED, BASELINE, peer(RECOMPRESSED, BASELINE), Make(RECOMPRESSED)),
        (J2K, RECOMPRESSED, peer(J2K, BASELINE, refused=(RECOMPRESSED,)), Make(J2K)),
        # It refuses that: as it came, then explicit, then implicit little endian.
        (J2K, EXPLICIT_LE, peer(EXPLICIT_LE, refused=(J2K,)), AsItCame()),
        (J2K, IMPLICIT_LE, peer(EXPLICIT_LE, IMPLICIT_LE, refused=(J2K,)), AsItCame()),
        (J2K, JPEG_LOSSLESS_SV1, peer(JPEG_LOSSLESS_SV1, EXPLICIT_LE, refused=(J2K,)), AsItCame()),
        (J2K, J2K, peer(EXPLICIT_LE, IMPLICIT_LE, refused=(J2K,)), Make(EXPLICIT_LE)),
        (J2K, J2K, peer(IMPLICIT_LE, refused=(J2K, EXPLICIT_LE)), Make(IMPLICIT_LE)),
        ("", EXPLICIT_BE, peer(IMPLICIT_LE, refused=(EXPLICIT_BE, EXPLICIT_LE)), Make(IMPLICIT_LE)),
        ("", BASELINE, peer(EXPLICIT_LE, refused=(BASELINE,)), Make(EXPLICIT_LE)),
        # A recompressed JPEG is given back as the JPEG that it was, where that was accepted.
        ("", RECOMPRESSED, peer(BASELINE, EXPLICIT_LE, refused=(RECOMPRESSED,)), Make(BASELINE)),
        ("", RECOMPRESSED, peer(JPEG_EXTENDED, refused=(RECOMPRESSED, BASELINE)), Make(JPEG_EXTENDED)),
        ("", RECOMPRESSED, peer(EXPLICIT_LE, refused=(RECOMPRESSED, BASELINE)), Make(EXPLICIT_LE)),
        ("", RECOMPRESSED, peer(EXPLICIT_LE, refused=(RECOMPRESSED,)), Make(EXPLICIT_LE)),  # BASELINE: not asked yet
        ("", JPEGXL, peer(BASELINE, EXPLICIT_LE, refused=(JPEGXL,)), Make(EXPLICIT_LE)),
        # Never lossy unless the node wants it and the peer was seen to accept it.
        (LOSSY, EXPLICIT_LE, peer(EXPLICIT_LE), AsItCame()),
        (LOSSY, EXPLICIT_LE, peer(EXPLICIT_LE, refused=(LOSSY,)), AsItCame()),
        (J2K, EXPLICIT_LE, peer(BASELINE, LOSSY, refused=(J2K, EXPLICIT_LE, IMPLICIT_LE)), ALL_REFUSED),
        (J2K, J2K, peer(refused=(J2K, EXPLICIT_LE, IMPLICIT_LE)), ALL_REFUSED),
    ],
)
def test_what_the_node_wants_and_the_peer_accepts(
    wanted: str, came: str, acceptance: Acceptance | None, form: Form
) -> None:
    assert choose(Facts(came), Node("PACS", wanted), acceptance) == form


NATIVE = Facts(EXPLICIT_LE, "1.2", "native", 16)
ONE_BIT = Facts(EXPLICIT_LE, "1.2", "native", 1)
WAS_LOSSY = Facts(EXPLICIT_LE, "1.2", "native", 8, lossy=True)
LABEL_MAP = Facts(EXPLICIT_LE, "1.2.840.10008.5.1.4.1.1.66.7", "native", 8)


@pytest.mark.parametrize(
    ("facts", "wanted", "acceptance", "form"),
    [
        (NATIVE, J2K, None, Make(J2K)),
        (ONE_BIT, J2K, None, AsItCame("1-bit pixel data can't be JPEG2000Lossless")),
        (ONE_BIT, J2K, peer(J2K, IMPLICIT_LE, refused=(EXPLICIT_LE,)), Make(IMPLICIT_LE)),
        (WAS_LOSSY, J2K, None, Make(J2K)),
        (
            WAS_LOSSY, LOSSY, None,
            AsItCame("it is lossy already, and is not made lossy again without RecompressLossy"),
        ),
        (
            LABEL_MAP, LOSSY, peer(LOSSY),
            AsItCame("a label map is not made lossy, for its sample values are codes or quantities"),
        ),
        (Facts(BASELINE, "1.2", "encapsulated", 8, lossy=True), RECOMPRESSED, peer(RECOMPRESSED), Make(RECOMPRESSED)),
    ],
)  # fmt: skip
def test_what_the_header_tells(facts: Facts, wanted: str, acceptance: Acceptance | None, form: Form) -> None:
    assert choose(facts, Node("PACS", wanted), acceptance) == form


def test_recompress_lossy_allows_an_instance_that_is_lossy_already() -> None:
    node = Node("PACS", LOSSY, recompress_lossy=True)
    assert choose(WAS_LOSSY, node, peer(LOSSY)) == Make(LOSSY)
    assert isinstance(choose(LABEL_MAP, node, peer(LOSSY)), AsItCame)


IN_VAIN = Past(in_vain={J2K: "no codec holds it"})
SIGNED = Past(signed={EXPLICIT_LE: "signatures cover it", IMPLICIT_LE: "signatures cover it"})
REFUSED = Past(in_vain={J2K: "refused"}, refused=True)


@pytest.mark.parametrize(
    ("came", "acceptance", "past", "form"),
    [
        # What could not be made is not tried again; the first reason is told.
        (EXPLICIT_LE, None, IN_VAIN, AsItCame("no codec holds it")),
        (EXPLICIT_LE, peer(J2K, IMPLICIT_LE, refused=(EXPLICIT_LE,)), IN_VAIN, Make(IMPLICIT_LE)),
        (EXPLICIT_LE, peer(refused=(EXPLICIT_LE, IMPLICIT_LE)), IN_VAIN, AsItCame("no codec holds it")),
        # Signatures are broken only where the peer takes nothing else.
        (EXPLICIT_BE, peer(EXPLICIT_BE, EXPLICIT_LE, refused=(J2K,)), SIGNED, AsItCame()),
        (EXPLICIT_BE, peer(EXPLICIT_LE, refused=(J2K, EXPLICIT_BE)), SIGNED, Make(EXPLICIT_LE, breaks_signatures=True)),
        # A worker that dies is no reason to try the same thing for ever: twice, then nothing that needs a codec.
        (EXPLICIT_LE, None, Past(crashes=1), Make(J2K)),
        (EXPLICIT_LE, None, Past(crashes=2), AsItCame("2 workers died of it")),
        (EXPLICIT_LE, peer(J2K, IMPLICIT_LE, refused=(EXPLICIT_LE,)), Past(crashes=2), Make(IMPLICIT_LE)),
        (RLE_LOSSLESS, None, Past(crashes=2), AsItCame("2 workers died of it")),
        (EXPLICIT_LE, peer(refused=(EXPLICIT_LE, IMPLICIT_LE, J2K)), Past(crashes=2), AsItCame("2 workers died of it")),
        # The peer refused what it was offered: another syntax, as long as there is one.
        (J2K, peer(EXPLICIT_LE, refused=(J2K,)), REFUSED, Make(EXPLICIT_LE)),
        (J2K, peer(J2K, EXPLICIT_LE), REFUSED.tried(EXPLICIT_LE, "refused"), Make(IMPLICIT_LE)),
        (PRIVATE, peer(refused=(PRIVATE, J2K)), REFUSED, Make(EXPLICIT_LE)),
    ],
)
def test_what_was_tried_before(came: str, acceptance: Acceptance | None, past: Past, form: Form) -> None:
    assert choose(Facts(came), Node("PACS", J2K), acceptance, past) == form


@pytest.mark.parametrize(
    ("acceptance", "past", "said"),
    [
        (
            peer(RLE_LOSSLESS, refused=(EXPLICIT_LE, IMPLICIT_LE)), IN_VAIN,
            "PACS does not take ExplicitVRLittleEndian, and this object can't be made into what it takes "
            "(RLELossless): no codec holds it. Let PACS accept ExplicitVRLittleEndian for this SOP class and run "
            "`leyden queue retry PACS`, or have the object sent again in another transfer syntax",
        ),
        (
            peer(RLE_LOSSLESS, refused=(EXPLICIT_LE, IMPLICIT_LE)), Past(crashes=3),
            "this object can't be made into what it takes (RLELossless): 3 workers died of it.",
        ),
        (
            peer(RLE_LOSSLESS, refused=(EXPLICIT_LE, IMPLICIT_LE, J2K)), Past(crashes=2),
            "this object can't be made into what it takes (RLELossless): 2 workers died of it.",
        ),
        (
            peer(refused=(EXPLICIT_LE, IMPLICIT_LE, J2K)), Past(refused=True),
            "PACS takes none of the syntaxes that this object can have, for SOP class 1.2: let it accept that class in "
            "ExplicitVRLittleEndian or uncompressed, then run `leyden queue retry PACS`",
        ),
    ],
)  # fmt: skip
def test_a_failure_says_what_helps(acceptance: Acceptance, past: Past, said: str) -> None:
    form = choose(Facts(EXPLICIT_LE, "1.2"), Node("PACS", J2K), acceptance, past)
    assert isinstance(form, Fail)
    assert said in form.reason


def test_signatures_that_would_break_in_vain_are_not_broken() -> None:
    past = SIGNED.tried(EXPLICIT_LE, "no pixels").tried(IMPLICIT_LE, "no pixels")
    form = choose(Facts(EXPLICIT_BE), Node("PACS", J2K), peer(RLE_LOSSLESS, refused=(J2K, EXPLICIT_BE)), past)
    assert isinstance(form, Fail)


ODD = Facts(EXPLICIT_LE, "1.2", "native", 16, uneven=True)


@pytest.mark.parametrize(
    ("facts", "wanted", "past", "padded"),
    [
        (ODD, "", Past(), True),
        (replace(ODD, unpadded="signatures cover it"), "", Past(), False),
        (ODD, "", Past(crashes=2), True),
        (ODD, "", Past(crashes=3), False),
        (ODD, LOSSY, Past(), True),  # it does not wait until its destination was asked
        (NATIVE, "", Past(), False),
    ],
)
def test_what_is_odd_is_padded_on_its_way(facts: Facts, wanted: str, past: Past, padded: bool) -> None:
    form = choose(facts, Node("PACS", wanted), None, past)
    assert isinstance(form, AsItCame)
    assert form.padded is padded


def test_what_is_odd_and_made_into_another_syntax_is_padded_there() -> None:
    assert choose(ODD, Node("PACS", J2K), None) == Make(J2K)


def test_a_reason_without_a_word_counts_all_the_same() -> None:
    assert choose(NATIVE, Node("PACS", J2K), None, Past().tried(J2K, "")) == AsItCame("it could not be made")
