"""What lossy compression changes in a dataset: the result is a new object, which says what was done to which other one.

PS3.3 C.7.6.1.1.5 (Lossy Image Compression), C.12.4 (General Reference), C.12.2 (Common Instance Reference),
C.7.6.1.1.2 (Image Type), C.8.16.1 (Frame Type). Old values stay, new ones are appended in ASCII, which every Specific
Character Set contains. The same object, destination, transfer syntax and setting give the same UID, so that after a
crash the same object is made again. Deliberately absent: the Derivation Image functional group, Smallest and Largest
Image Pixel Value, Pixel Padding Value, and dates (no clock is read here).
"""

from collections.abc import Sequence

from msgspec.structs import replace

from leyden.dicom import uids
from leyden.dicom.edit import Hole, Patch, Replacements
from leyden.dicom.header import Header
from leyden.dicom.uids import SYNTAXES, Syntax

RATIO_BYTES = 14  # of a ratio, with its blanks; a DS has at most 16

_IMAGE_TYPE = 0x00080008
_SOP_INSTANCE_UID = 0x00080018
_DERIVATION_DESCRIPTION = 0x00082111
_SOURCE_IMAGES = 0x00082112
_DERIVATION_CODES = 0x00089215
_LOSSY = 0x00282110
_RATIO = 0x00282112
_METHOD = 0x00282114
_REFERENCED_CLASS = 0x00081150
_REFERENCED_INSTANCE = 0x00081155
_PURPOSE = 0x0040A170
_SERIES = 0x0020000E
_REFERENCED_SERIES = 0x00081115
_REFERENCED_INSTANCES = 0x0008114A
_IN_OTHER_STUDIES = 0x00081200
_CODE_VALUE = 0x00080100
_CODING_SCHEME = 0x00080102
_CODE_MEANING = 0x00080104

_DESCRIPTION_MAX_CHARS = 1024  # VR ST

# By target: the defined term of Lossy Image Compression Method, and the text for Derivation Description.
_TARGETS = {
    uids.JPEG_BASELINE: ("ISO_10918_1", "JPEG baseline, quality {:g}"),
    uids.JPEG_EXTENDED: ("ISO_10918_1", "JPEG extended, quality {:g}"),
    uids.JPEGLS_NEAR_LOSSLESS: ("ISO_14495_1", "JPEG-LS near-lossless, samples differ by {:g} at most"),
    uids.JPEG2000: ("ISO_15444_1", "JPEG 2000, target ratio {:g}"),
    uids.HTJ2K: ("ISO_15444_15", "High-Throughput JPEG 2000, target ratio {:g}"),
    uids.JPEGXL: ("ISO_18181_1", "JPEG XL, quality {:g}"),
    uids.JPEGXL_JPEG: ("ISO_10918_1", "JPEG"),
}

# The lossy syntax that fits the codestreams of a lossless one, if these are lossy although they should not be.
_ACTUALLY_LOSSY = {
    uids.JPEG_LOSSLESS: uids.JPEG_EXTENDED,
    uids.JPEG_LOSSLESS_SV1: uids.JPEG_EXTENDED,
    uids.JPEGLS_LOSSLESS: uids.JPEGLS_NEAR_LOSSLESS,
    uids.JPEG2000_LOSSLESS: uids.JPEG2000,
    uids.HTJ2K_LOSSLESS: uids.HTJ2K,
    uids.HTJ2K_LOSSLESS_RPCL: uids.HTJ2K,
    uids.JPEGXL_LOSSLESS: uids.JPEGXL,
}

# SOP classes with a mandatory Common Instance Reference module (PS3.3 A.1.4); others may have it.
_COMMON_REFERENCE = frozenset({
    "1.2.840.10008.5.1.4.1.1.14.1",  # intravascular optical coherence tomography
    "1.2.840.10008.5.1.4.1.1.14.2",
    "1.2.840.10008.5.1.4.1.1.481.23",  # enhanced RT image, and the continuous one
    "1.2.840.10008.5.1.4.1.1.481.24",
    "1.2.840.10008.5.1.4.1.1.77.1.6",  # whole slide microscopy
})  # fmt: skip

FRAME_TYPE = Patch((0x52009229, 0x52009230), 0x00089007, b"ORIGINAL", b"DERIVED")
"""Value 1 of Frame Type, in the functional groups, changes as that of Image Type does."""


def with_actual_syntax(header: Header, irreversible: bool) -> Header:
    """The header with a lossy transfer syntax instead of a lossless one, if its codestreams are `irreversible`."""
    syntax_uid = _ACTUALLY_LOSSY.get(header.syntax.uid) if irreversible else None
    return replace(header, syntax=SYNTAXES[syntax_uid]) if syntax_uid else header


def was_lossy(header: Header) -> bool:
    """Whether an object may have been compressed with loss, in this syntax or earlier (PS3.3 C.7.6.1.1.5)."""
    return header.syntax.lossy or "01" in (header.texts(_LOSSY) or ())


def lacks_ratio(header: Header) -> bool:
    """Whether the codestreams are lossy and the dataset does not give their ratio; measure it, for `measured`.

    Not for a recompressed JPEG, whose codestreams are smaller than those of the JPEG.
    """
    return header.syntax.uid in _TARGETS.keys() - {uids.JPEGXL_JPEG} and not _steps(header, b"")[0][-1]


def still_lossy(header: Header, measured: bytes = b"") -> Replacements:
    """The missing elements that tell of a lossy compression, for a new transfer syntax that does not tell of it."""
    if not header.syntax.lossy:
        return {}
    changes: dict[int, tuple[str, bytes]] = {}
    if "01" not in (header.texts(_LOSSY) or ()):
        changes[_LOSSY] = ("CS", b"01")
    for tag, vr, values in zip((_RATIO, _METHOD), ("DS", "CS"), _steps(header, measured), strict=True):
        if tuple(values) != (header.texts(tag) or ()):
            changes[tag] = (vr, _listed(values))
    return changes


def derived_uid(original_uid: str, destination: str, syntax_uid: str, setting: float) -> str:
    """The SOP Instance UID of the lossy object for a destination (its AE title)."""
    return uids.uid_of(original_uid, destination, syntax_uid, repr(float(setting)))


def method(syntax_uid: str) -> str:
    """The defined term of (0028,2114) for a lossy syntax that Leyden writes."""
    return _TARGETS[syntax_uid][0]


def description(syntax_uid: str, setting: float) -> str:
    """The text for (0008,2111); `setting`: the encoder's quality, ratio or tolerance."""
    return "Lossy compression: " + _TARGETS[syntax_uid][1].format(setting)


def ratio(native_bytes: int, encoded_bytes: int) -> bytes:
    """The ratio for (0028,2112) with four digits, at most RATIO_BYTES long."""
    return f"{native_bytes / encoded_bytes:.4g}".encode()


def lossy(header: Header, sop_instance_uid: str, target: Syntax, setting: float, measured: bytes = b"") -> Replacements:
    """What to replace in the dataset of `header` when its pixels become lossy, as the object `sop_instance_uid`.

    The new ratio is a Hole of RATIO_BYTES or one more. `target`: a lossy syntax that Leyden writes; `measured`: the
    ratio of the present codestreams, if `lacks_ratio`. Use FRAME_TYPE as the patch. Raises Corrupt if sequences that
    get another item do not parse.
    """
    ratios, methods = _steps(header, measured)
    before = _listed([*ratios, ""])
    source: Replacements = {**_instance(header), _PURPOSE: ("SQ", (_purpose(was_lossy(header)),))}
    return {
        _IMAGE_TYPE: ("CS", _listed(("DERIVED", *(header.texts(_IMAGE_TYPE) or ("", "SECONDARY"))[1:]))),
        _SOP_INSTANCE_UID: ("UI", sop_instance_uid.encode()),
        _DERIVATION_DESCRIPTION: ("ST", _description(header, description(target.uid, setting))),
        _SOURCE_IMAGES: ("SQ", (*header.dataset.items(_SOURCE_IMAGES), source)),
        _DERIVATION_CODES: (
            "SQ",
            (*header.dataset.items(_DERIVATION_CODES), _code("113040", "Lossy Compression")),
        ),
        _LOSSY: ("CS", b"01"),
        _RATIO: ("DS", Hole(RATIO_BYTES + len(before) % 2, before)),
        _METHOD: ("CS", _listed((*methods, method(target.uid)))),
        **_common_reference(header),
    }


def _steps(header: Header, measured: bytes) -> tuple[list[str], list[str]]:
    """The ratios and the methods of the lossy steps so far: one ratio and one method for each step.

    What the dataset does not give is empty. But the last method follows from a lossy syntax, and the last ratio may be
    measured. A dataset that only says that there was loss gets no invented step.
    """
    ratios, methods = header.texts(_RATIO) or (), header.texts(_METHOD) or ()
    by_syntax = header.syntax.uid in _TARGETS
    count = max(len(ratios), len(methods), int(by_syntax))
    all_ratios, all_methods = _filled(ratios, count), _filled(methods, count)
    if by_syntax:
        all_ratios[-1] = all_ratios[-1] or measured.decode()
        all_methods[-1] = all_methods[-1] or method(header.syntax.uid)
    return all_ratios, all_methods


def _instance(header: Header) -> dict[int, tuple[str, bytes]]:
    return {
        _REFERENCED_CLASS: ("UI", header.meta.sop_class_uid.encode()),
        _REFERENCED_INSTANCE: ("UI", header.meta.sop_instance_uid.encode()),
    }


def _common_reference(header: Header) -> Replacements:
    """The original object as one of the referenced instances of this study, in an object that lists these."""
    dataset = header.dataset
    has_it = _REFERENCED_SERIES in dataset or _IN_OTHER_STUDIES in dataset
    series = (dataset.raw(_SERIES) or b"").strip(b"\0 ")
    if not series or not (has_it or header.meta.sop_class_uid in _COMMON_REFERENCE):
        return {}
    item: Replacements = {_REFERENCED_INSTANCES: ("SQ", (_instance(header),)), _SERIES: ("UI", series)}
    return {_REFERENCED_SERIES: ("SQ", (*dataset.items(_REFERENCED_SERIES), item))}


def _description(header: Header, added: str) -> bytes:
    """The old text and the addition, or the old text alone if that is too long: the codes say the same."""
    old = (header.dataset.raw(_DERIVATION_DESCRIPTION) or b"").rstrip(b"\0 ")
    both = old + b"; " + added.encode() if old else added.encode()
    return both if len(both) <= _DESCRIPTION_MAX_CHARS else old  # there are at least as many bytes as characters


def _purpose(was_lossy: bool) -> Replacements:
    if was_lossy:
        return _code("121322", "Source image for image processing operation")
    return _code("121320", "Uncompressed predecessor")


def _code(value: str, meaning: str) -> Replacements:
    return {
        _CODE_VALUE: ("SH", value.encode()),
        _CODING_SCHEME: ("SH", b"DCM"),
        _CODE_MEANING: ("LO", meaning.encode()),
    }


def _filled(values: Sequence[str], count: int) -> list[str]:
    return [*values, *[""] * (count - len(values))]


def _listed(values: Sequence[str]) -> bytes:
    return "\\".join(values).encode("latin-1", "replace")
