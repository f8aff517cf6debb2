"""Why an object can't be made into a syntax, as far as its header says."""

import pydicom
import pytest
from msgspec.structs import replace
from pynetdicom.sop_class import _STORAGE_CLASSES

from leyden.dicom.header import Header
from leyden.dicom.uids import DEFLATED_FRAMES, JPEGXL_JPEG, MADE, REMADE, SYNTAXES, syntax_name
from leyden.form.choose import AsItCame, Make, Node, choose
from leyden.form.ladder import Acceptance
from leyden.form.obstacle import Facts, facts_of, not_to_be_lossy, obstacle
from support.headers import header_of

J2K, IMPLICIT, EXPLICIT = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG_ENDIAN, DEFLATED, JPEG_LOSSLESS = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.70"
RLE, JPEG_BASELINE, J2K_LOSSY = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
MPEG4, JPIP = "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def form_of(header: Header, target: str, *, recompress_lossy: bool = False) -> tuple[str, str]:
    """The name of what is made for a destination that accepts it ("" = as it came), and why it is not made."""
    match choose(facts_of(header), Node("PACS", target, recompress_lossy), Acceptance((target,) if target else ())):
        case Make(uid):
            return syntax_name(uid), ""
        case AsItCame(reason):
            return "", reason
        case form:
            raise AssertionError(form)


def pixels(kind: str, syntax: str, bits: int = 16, lossy: str = "") -> Header:
    """A header with pixel data of a kind, which decides about obstacles."""
    dataset = pydicom.Dataset()
    dataset.BitsAllocated = bits
    if lossy:
        dataset.LossyImageCompression = lossy
    seen = header_of(dataset)
    return replace(seen, meta=replace(seen.meta, transfer_syntax_uid=syntax), syntax=SYNTAXES[syntax], pixel_data=kind)


@pytest.mark.parametrize(
    ("kind", "source", "target", "made", "kept"),
    [
        ("native", IMPLICIT, "", "", ""),
        ("native", EXPLICIT, EXPLICIT, "", ""),
        ("encapsulated", J2K, J2K, "", ""),
        ("native", IMPLICIT, J2K, "JPEG2000Lossless", ""),
        ("native", BIG_ENDIAN, J2K, "JPEG2000Lossless", ""),
        ("native", DEFLATED, J2K, "JPEG2000Lossless", ""),
        ("native", IMPLICIT, EXPLICIT, "ExplicitVRLittleEndian", ""),
        ("native", EXPLICIT, IMPLICIT, "ImplicitVRLittleEndian", ""),
        ("native", BIG_ENDIAN, EXPLICIT, "ExplicitVRLittleEndian", ""),
        ("", DEFLATED, EXPLICIT, "ExplicitVRLittleEndian", ""),
        ("", J2K, EXPLICIT, "ExplicitVRLittleEndian", ""),
        ("float", IMPLICIT, EXPLICIT, "ExplicitVRLittleEndian", ""),
        ("encapsulated", J2K, EXPLICIT, "ExplicitVRLittleEndian", ""),
        ("encapsulated", J2K, IMPLICIT, "ImplicitVRLittleEndian", ""),
        ("", EXPLICIT, J2K, "", "without pixel data"),
        ("float", EXPLICIT, J2K, "", "float pixel data"),
        ("encapsulated", JPEG_LOSSLESS, J2K, "JPEG2000Lossless", ""),
        ("encapsulated", RLE, BIG_ENDIAN, "ExplicitVRBigEndian", ""),
        ("encapsulated", JPEG_BASELINE, DEFLATED, "DeflatedExplicitVRLittleEndian", ""),
        ("encapsulated", JPEG_BASELINE, J2K, "JPEG2000Lossless", ""),  # what was asked for, and nothing more is lost
        ("encapsulated", JPEG_BASELINE, EXPLICIT, "ExplicitVRLittleEndian", ""),
        ("encapsulated", J2K, JPEG_BASELINE, "JPEGProcess1", ""),
        ("native", IMPLICIT, J2K_LOSSY, "JPEG2000Lossy", ""),
        ("", EXPLICIT, DEFLATED, "DeflatedExplicitVRLittleEndian", ""),
        ("", EXPLICIT, BIG_ENDIAN, "ExplicitVRBigEndian", ""),
        ("float", EXPLICIT, DEFLATED, "DeflatedExplicitVRLittleEndian", ""),
        ("", EXPLICIT, JPEG_BASELINE, "", "without pixel data"),
        ("float", EXPLICIT, RLE, "", "float pixel data"),
        ("float", EXPLICIT, DEFLATED_FRAMES, "", "float pixel data"),
        ("encapsulated", MPEG4, J2K, "", "MPEG4HP41 is not decoded"),
        ("encapsulated", MPEG4, EXPLICIT, "", "MPEG4HP41 is not decoded"),
        ("encapsulated", MPEG4, MPEG4, "", ""),
        ("", JPIP, EXPLICIT, "", "JPIPReferenced is not decoded"),
        ("encapsulated", EXPLICIT, J2K, "", "in another form than that of ExplicitVRLittleEndian"),
        ("encapsulated", EXPLICIT, DEFLATED, "", "in another form than that of ExplicitVRLittleEndian"),
        ("native", JPEG_LOSSLESS, EXPLICIT, "", "in another form than that of JPEGProcess14SV1"),
        ("float", J2K, EXPLICIT, "", "in another form than that of JPEG2000Lossless"),
    ],
)
def test_what_is_made_of_an_object(kind: str, source: str, target: str, made: str, kept: str) -> None:
    name, reason = form_of(pixels(kind, source), target)
    assert name == made
    assert (kept in reason) if kept else reason == ""


@pytest.mark.parametrize("source", sorted(MADE))
def test_every_syntax_becomes_every_other_except_what_is_lossy_already(source: str) -> None:
    object_ = pixels("encapsulated" if SYNTAXES[source].encapsulated else "native", source)
    for target in MADE:
        twice = SYNTAXES[source].lossy and SYNTAXES[target].lossy
        kept = source not in REMADE.get(target, ()) if twice else target == JPEGXL_JPEG and source not in REMADE[target]
        name, _ = form_of(object_, target)
        assert name == ("" if kept or source == target else SYNTAXES[target].name), target


def test_a_jpeg_is_recompressed_and_given_back_whatever_has_been_lost_before() -> None:
    jpeg, recompressed = pixels("encapsulated", JPEG_BASELINE), pixels("encapsulated", JPEGXL_JPEG)
    assert form_of(jpeg, JPEGXL_JPEG) == ("JPEGXLJPEGRecompression", "")
    assert form_of(recompressed, JPEG_BASELINE) == ("JPEGProcess1", "")
    name, reason = form_of(pixels("native", EXPLICIT), JPEGXL_JPEG)
    assert name == ""
    assert "ExplicitVRLittleEndian is not a JPEG that can be made into JPEGXLJPEGRecompression" in reason


@pytest.mark.parametrize(("bits", "said"), [(1, "1-bit pixel data"), (32, "more than 16 bits allocated"), (64, "more")])
def test_pixels_that_no_codec_holds_go_as_they_are(bits: int, said: str) -> None:
    object_ = pixels("native", EXPLICIT, bits)
    name, reason = form_of(object_, J2K)
    assert name == ""
    assert said in reason
    assert form_of(object_, DEFLATED) == ("DeflatedExplicitVRLittleEndian", "")
    assert form_of(object_, RLE)[0] == ("" if bits == 1 else "RLELossless")
    assert form_of(object_, DEFLATED_FRAMES) == ("DeflatedImageFrameCompression", "")


@pytest.mark.parametrize(
    "object_", [pixels("encapsulated", JPEG_BASELINE), pixels("native", EXPLICIT, lossy="01")], ids=["jpeg", "decoded"]
)
def test_nothing_is_made_lossy_twice_unless_the_node_says_so(object_: Header) -> None:
    kept = "it is lossy already, and is not made lossy again without RecompressLossy"
    assert form_of(object_, J2K_LOSSY) == ("", kept)
    assert form_of(object_, J2K_LOSSY, recompress_lossy=True) == ("JPEG2000Lossy", "")
    assert form_of(object_, J2K) == ("JPEG2000Lossless", "")


def test_an_instance_that_is_not_lossy_by_its_header_is_made_lossy() -> None:
    assert form_of(pixels("native", EXPLICIT, lossy="00"), J2K_LOSSY) == ("JPEG2000Lossy", "")


@pytest.mark.parametrize("recompress_lossy", [False, True])
def test_codes_and_quantities_are_never_made_lossy(recompress_lossy: bool) -> None:
    object_ = pixels("native", EXPLICIT, 8)
    object_ = replace(object_, meta=replace(object_.meta, sop_class_uid=LABEL_MAP))
    kept = "a label map is not made lossy, for its sample values are codes or quantities"
    assert form_of(object_, J2K_LOSSY, recompress_lossy=recompress_lossy) == ("", kept)
    assert form_of(object_, J2K) == ("JPEG2000Lossless", "")


def test_what_is_no_picture_is_known_by_its_sop_class() -> None:
    known = {str(uid): keyword for keyword, uid in _STORAGE_CLASSES.items()}
    exact = {uid for uid in known if not_to_be_lossy(uid, False, recompress_lossy=True)}
    assert {known[uid].removesuffix("Storage") for uid in exact} == {
        "ParametricMap", "RTDose", "Segmentation", "LabelMapSegmentation", "HeightMapSegmentation",
        "OphthlamicOpticalCoherenceTomographyBscanVolumeAnalysis", "OphthalmicThicknessMap", "CornealTopographyMap",
    }  # fmt: skip
    assert not_to_be_lossy("1.2", False, recompress_lossy=False) == ""


def test_before_the_header_was_read_no_obstacle_is_known() -> None:
    assert obstacle(Facts(MPEG4), J2K) == ""
