"""The UIDs that Leyden has to know: transfer syntaxes, SOP classes that are no storage, and its own.

The transfer syntaxes are a table (PS3.6 table A-1, retired ones too), so that no role has to load the dictionary for
them. A syntax has its name of nodes.yml or, if there is none, its keyword in PS3.6; a name has no dot, so it can be
part of a file name. Deliberately absent: new UIDs (pure code has no randomness) and the names of SOP classes.
"""

import hashlib
import re

import msgspec

from leyden.errors import Corrupt


class Syntax(msgspec.Struct, frozen=True):
    """One transfer syntax. `encapsulated`: pixel data are fragments (PS3.5 A.4); `lossy`: they may have been compressed
    with loss.
    """

    uid: str
    name: str
    explicit: bool
    big_endian: bool
    deflated: bool
    encapsulated: bool
    lossy: bool


IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED = "1.2.840.10008.1.2.1.98"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1 = "1.2.840.10008.1.2.4.70"
JPEGLS_LOSSLESS = "1.2.840.10008.1.2.4.80"
JPEGLS_NEAR_LOSSLESS = "1.2.840.10008.1.2.4.81"
JPEG2000_LOSSLESS = "1.2.840.10008.1.2.4.90"
JPEG2000 = "1.2.840.10008.1.2.4.91"
JPEGXL_LOSSLESS = "1.2.840.10008.1.2.4.110"
JPEGXL_JPEG = "1.2.840.10008.1.2.4.111"
JPEGXL = "1.2.840.10008.1.2.4.112"
HTJ2K_LOSSLESS = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL = "1.2.840.10008.1.2.4.202"
HTJ2K = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS = "1.2.840.10008.1.2.5"
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"

VERIFICATION = "1.2.840.10008.1.1"
IMPLEMENTATION_CLASS_UID = "2.25.329650668216694545708593052461795710379"
IMPLEMENTATION_VERSION = "LEYDEN_0_1"

# UID, name, and marks: i implicit (else explicit), b big endian, z deflated, e encapsulated, l may be lossy.
_ROWS = (
    (IMPLICIT_LE, "ImplicitVRLittleEndian", "i"),
    (EXPLICIT_LE, "ExplicitVRLittleEndian", ""),
    (ENCAPSULATED_UNCOMPRESSED, "EncapsulatedUncompressedExplicitVRLittleEndian", "e"),
    (DEFLATED_LE, "DeflatedExplicitVRLittleEndian", "z"),
    (EXPLICIT_BE, "ExplicitVRBigEndian", "b"),
    (JPEG_BASELINE, "JPEGProcess1", "el"),
    (JPEG_EXTENDED, "JPEGProcess2_4", "el"),
    ("1.2.840.10008.1.2.4.52", "JPEGExtended35", "el"),
    ("1.2.840.10008.1.2.4.53", "JPEGSpectralSelectionNonHierarchical68", "el"),
    ("1.2.840.10008.1.2.4.54", "JPEGSpectralSelectionNonHierarchical79", "el"),
    ("1.2.840.10008.1.2.4.55", "JPEGFullProgressionNonHierarchical1012", "el"),
    ("1.2.840.10008.1.2.4.56", "JPEGFullProgressionNonHierarchical1113", "el"),
    (JPEG_LOSSLESS, "JPEGProcess14", "e"),
    ("1.2.840.10008.1.2.4.58", "JPEGLosslessNonHierarchical15", "e"),
    ("1.2.840.10008.1.2.4.59", "JPEGExtendedHierarchical1618", "el"),
    ("1.2.840.10008.1.2.4.60", "JPEGExtendedHierarchical1719", "el"),
    ("1.2.840.10008.1.2.4.61", "JPEGSpectralSelectionHierarchical2022", "el"),
    ("1.2.840.10008.1.2.4.62", "JPEGSpectralSelectionHierarchical2123", "el"),
    ("1.2.840.10008.1.2.4.63", "JPEGFullProgressionHierarchical2426", "el"),
    ("1.2.840.10008.1.2.4.64", "JPEGFullProgressionHierarchical2527", "el"),
    ("1.2.840.10008.1.2.4.65", "JPEGLosslessHierarchical28", "e"),
    ("1.2.840.10008.1.2.4.66", "JPEGLosslessHierarchical29", "e"),
    (JPEG_LOSSLESS_SV1, "JPEGProcess14SV1", "e"),
    (JPEGLS_LOSSLESS, "JPEGLSLossless", "e"),
    (JPEGLS_NEAR_LOSSLESS, "JPEGLSNearLossless", "el"),
    (JPEG2000_LOSSLESS, "JPEG2000Lossless", "e"),
    (JPEG2000, "JPEG2000Lossy", "el"),
    ("1.2.840.10008.1.2.4.92", "JPEG2000MCLossless", "e"),
    ("1.2.840.10008.1.2.4.93", "JPEG2000MC", "el"),
    # JPIP: a URL instead of pixel data.
    ("1.2.840.10008.1.2.4.94", "JPIPReferenced", "l"),
    ("1.2.840.10008.1.2.4.95", "JPIPReferencedDeflate", "zl"),
    ("1.2.840.10008.1.2.4.100", "MPEG2MPML", "el"),
    ("1.2.840.10008.1.2.4.100.1", "MPEG2MPMLF", "el"),
    ("1.2.840.10008.1.2.4.101", "MPEG2MPHL", "el"),
    ("1.2.840.10008.1.2.4.101.1", "MPEG2MPHLF", "el"),
    ("1.2.840.10008.1.2.4.102", "MPEG4HP41", "el"),
    ("1.2.840.10008.1.2.4.102.1", "MPEG4HP41F", "el"),
    ("1.2.840.10008.1.2.4.103", "MPEG4HP41BD", "el"),
    ("1.2.840.10008.1.2.4.103.1", "MPEG4HP41BDF", "el"),
    ("1.2.840.10008.1.2.4.104", "MPEG4HP422D", "el"),
    ("1.2.840.10008.1.2.4.104.1", "MPEG4HP422DF", "el"),
    ("1.2.840.10008.1.2.4.105", "MPEG4HP423D", "el"),
    ("1.2.840.10008.1.2.4.105.1", "MPEG4HP423DF", "el"),
    ("1.2.840.10008.1.2.4.106", "MPEG4HP42STEREO", "el"),
    ("1.2.840.10008.1.2.4.106.1", "MPEG4HP42STEREOF", "el"),
    ("1.2.840.10008.1.2.4.107", "HEVCMP51", "el"),
    ("1.2.840.10008.1.2.4.108", "HEVCM10P51", "el"),
    (JPEGXL_LOSSLESS, "JPEGXLLossless", "e"),
    (JPEGXL_JPEG, "JPEGXLJPEGRecompression", "el"),
    (JPEGXL, "JPEGXL", "el"),
    (HTJ2K_LOSSLESS, "HTJ2KLossless", "e"),
    (HTJ2K_LOSSLESS_RPCL, "HTJ2KLosslessRPCL", "e"),
    (HTJ2K, "HTJ2K", "el"),
    ("1.2.840.10008.1.2.4.204", "JPIPHTJ2KReferenced", "l"),
    ("1.2.840.10008.1.2.4.205", "JPIPHTJ2KReferencedDeflate", "zl"),
    (RLE_LOSSLESS, "RLELossless", "e"),
    ("1.2.840.10008.1.2.6.1", "RFC2557MIMEEncapsulation", ""),
    ("1.2.840.10008.1.2.6.2", "XMLEncoding", ""),
    ("1.2.840.10008.1.2.7.1", "SMPTEST211020UncompressedProgressiveActiveVideo", ""),
    ("1.2.840.10008.1.2.7.2", "SMPTEST211020UncompressedInterlacedActiveVideo", ""),
    ("1.2.840.10008.1.2.7.3", "SMPTEST211030PCMDigitalAudio", ""),
    (DEFLATED_FRAMES, "DeflatedImageFrameCompression", "e"),
    ("1.2.840.10008.1.20", "Papyrus3ImplicitVRLittleEndian", "i"),
)

SYNTAXES: dict[str, Syntax] = {
    uid: Syntax(uid, name, "i" not in marks, "b" in marks, "z" in marks, "e" in marks, "l" in marks)
    for uid, name, marks in _ROWS
}

# The transfer syntaxes that Leyden can write, and read to write another one. This is for code that decides and loads no
# codec; transcode/codecs.py has a row for each encapsulated one.
MADE = frozenset({
    IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE,
    DEFLATED_FRAMES,
    RLE_LOSSLESS, JPEG_LOSSLESS, JPEG_LOSSLESS_SV1, JPEGLS_LOSSLESS,
    JPEG2000_LOSSLESS, HTJ2K_LOSSLESS, HTJ2K_LOSSLESS_RPCL,
    JPEG_BASELINE, JPEG_EXTENDED, JPEGLS_NEAR_LOSSLESS, JPEG2000, HTJ2K,
    JPEGXL_LOSSLESS, JPEGXL_JPEG, JPEGXL,
})  # fmt: skip

# Made from the codestreams of other syntaxes without decoding them: the same image to the bit, and the same object.
REMADE: dict[str, frozenset[str]] = {
    JPEGXL_JPEG: frozenset({JPEG_BASELINE, JPEG_EXTENDED}),
    JPEG_BASELINE: frozenset({JPEGXL_JPEG}),
    JPEG_EXTENDED: frozenset({JPEGXL_JPEG}),
}

_BY_NAME = {syntax.name.lower(): syntax for syntax in SYNTAXES.values()} | {"jpeglossless": SYNTAXES[JPEG_LOSSLESS_SV1]}
_BY_NAME["deflatedimageframe"] = SYNTAXES[DEFLATED_FRAMES]

# Abstract syntaxes without storage (PS3.4). Everything else counts as storage, private SOP classes too.
_NOT_STORAGE = frozenset({
    VERIFICATION,
    "1.2.840.10008.1.3.10",  # media storage directory: DICOMDIR never travels
    "1.2.840.10008.1.9",  # basic study content notification
    "1.2.840.10008.1.20.1",  # storage commitment, push and pull
    "1.2.840.10008.1.20.2",
    "1.2.840.10008.1.40",  # event logging
    "1.2.840.10008.1.42",
    "1.2.840.10008.4.2",  # service classes, which are no SOP classes
    "1.2.840.10008.5.1.4.34.4",
    "1.2.840.10008.5.1.4.34.6",
    "1.2.840.10008.5.1.4.1.1.200.4",  # protocol approval: find, move, get
    "1.2.840.10008.5.1.4.1.1.200.5",
    "1.2.840.10008.5.1.4.1.1.200.6",
    "1.2.840.10008.5.1.4.1.1.201.2",  # inventory: find, move, get, creation; repository query
    "1.2.840.10008.5.1.4.1.1.201.3",
    "1.2.840.10008.5.1.4.1.1.201.4",
    "1.2.840.10008.5.1.4.1.1.201.5",
    "1.2.840.10008.5.1.4.1.1.201.6",
    "1.2.840.10008.5.1.4.31",  # modality worklist
    "1.2.840.10008.5.1.4.32",  # general purpose worklist
    "1.2.840.10008.5.1.4.33",  # instance availability notification
    "1.2.840.10008.5.1.4.34.2",  # RT machine verification
    "1.2.840.10008.5.1.4.34.3",
    "1.2.840.10008.5.1.4.34.8",
    "1.2.840.10008.5.1.4.34.9",
    "1.2.840.10008.5.1.4.41",  # product characteristics query
    "1.2.840.10008.5.1.4.42",  # substance approval query
})  # fmt: skip
_NOT_STORAGE_FAMILIES = (
    "1.2.840.10008.3.1.",  # application context, detached management, MPPS
    "1.2.840.10008.5.1.1.",  # print management, media creation, display system
    "1.2.840.10008.5.1.4.1.2.",  # query/retrieve
    "1.2.840.10008.5.1.4.20.",  # defined procedure protocol: find, move, get
    "1.2.840.10008.5.1.4.32.",
    "1.2.840.10008.5.1.4.34.4.",  # unified procedure step
    "1.2.840.10008.5.1.4.34.6.",
    "1.2.840.10008.5.1.4.37.",  # relevant patient information query
    "1.2.840.10008.5.1.4.38.",  # hanging protocol: storage is the exception below
    "1.2.840.10008.5.1.4.39.",  # color palette
    "1.2.840.10008.5.1.4.43.",  # implant templates
    "1.2.840.10008.5.1.4.44.",
    "1.2.840.10008.5.1.4.45.",
    "1.2.840.10008.10.",  # real-time video
)
_STORAGE_IN_THOSE_FAMILIES = frozenset({
    "1.2.840.10008.5.1.1.27",  # stored print
    "1.2.840.10008.5.1.1.29",  # hardcopy images
    "1.2.840.10008.5.1.1.30",
    "1.2.840.10008.5.1.4.38.1",
    "1.2.840.10008.5.1.4.39.1",
    "1.2.840.10008.5.1.4.43.1",
    "1.2.840.10008.5.1.4.44.1",
    "1.2.840.10008.5.1.4.45.1",
})  # fmt: skip

_UID_MAX_CHARS = 64  # PS3.5 section 9.1
_GRAPHIC = bytes(byte if 0x21 <= byte <= 0x7E else ord("?") for byte in range(256))
_WELL_FORMED = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")


def syntax_by_name(text: str) -> Syntax | None:
    """The transfer syntax of a name in nodes.yml or in the table, in any case, or of a UID; None = unknown."""
    text = text.strip()
    return SYNTAXES.get(text) or _BY_NAME.get(text.lower())


def syntax_name(uid: str) -> str:
    """The name of a transfer syntax in configuration and log; the UID itself if it is not in the standard."""
    syntax = SYNTAXES.get(uid)
    return syntax.name if syntax else uid


def is_storage(abstract_syntax: str) -> bool:
    """Whether objects of this SOP class may be sent with C-STORE: any UID of valid length that is not known to be
    something else (PS3.4).
    """
    if abstract_syntax in _NOT_STORAGE or not 0 < len(abstract_syntax) <= _UID_MAX_CHARS:
        return False
    return not abstract_syntax.startswith(_NOT_STORAGE_FAMILIES) or abstract_syntax in _STORAGE_IN_THOSE_FAMILIES


def is_well_formed(uid: str) -> bool:
    """Whether a UID obeys PS3.5 section 9.1: at most 64 characters, numbers without leading zeros, between dots."""
    return len(uid) <= _UID_MAX_CHARS and _WELL_FORMED.fullmatch(uid) is not None


def clean_uid(raw: bytes) -> str:
    """A UID from the network or a file, without its padding (NULs or blanks on either side).

    Some devices send ill-formed UIDs, and their objects must not be lost. So graphic ASCII is kept, and anything else
    becomes `?`: the result is safe in a log, but not in a path. Raises Corrupt for more than 64 characters.
    """
    stripped = raw.strip(b"\0 ")
    if len(stripped) > _UID_MAX_CHARS:
        raise Corrupt(f"a UID of {len(stripped)} characters, at most {_UID_MAX_CHARS} are allowed")
    return stripped.translate(_GRAPHIC).decode("ascii")


def uid_of(*names: str) -> str:
    """The UID that always stands for these names: a UUID under 2.25 (PS3.5 B.2).

    The UUID is of version 8, from the SHA-256 of the names (RFC 9562 B.2).
    """
    number = int.from_bytes(hashlib.sha256("\0".join(names).encode("utf-8", "replace")).digest()[:16], "big")
    number = number & ~(0xF << 76) | 0x8 << 76  # the version
    number = number & ~(0x3 << 62) | 0x2 << 62  # the variant
    return f"2.25.{number}"
