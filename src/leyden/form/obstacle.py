"""Why an object can't be made into a transfer syntax, as far as that is known without decoding its pixels.

Lossy compression has rules of its own: samples that are codes or quantities are never made lossy, and an instance that
is lossy already only if its node has RecompressLossy. The worker, which sees the pixels, may still find that a syntax
can't be made.
"""

import msgspec

from leyden.dicom.derive import was_lossy
from leyden.dicom.header import Header
from leyden.dicom.uids import DEFLATED_FRAMES, JPEGXL_JPEG, MADE, REMADE, RLE_LOSSLESS, SYNTAXES, Syntax

_BITS_ALLOCATED = 0x00280100
_CODEC_BITS = 16  # the most bits allocated that codecs take, but for RLE and deflated frames

# SOP classes that hold no pictures, with a name for the log: their samples are codes or quantities and must not change.
_CODES_OR_QUANTITIES = {
    "1.2.840.10008.5.1.4.1.1.30": "a parametric map",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose distribution",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.66.8": "a height map",
    "1.2.840.10008.5.1.4.1.1.77.1.5.8": "a volume analysis",  # of ophthalmic tomography
    "1.2.840.10008.5.1.4.1.1.81.1": "a thickness map",
    "1.2.840.10008.5.1.4.1.1.82.1": "a topography map",
}


class Facts(msgspec.Struct, frozen=True):
    """What is known of an object. Before its header was read, that is only its transfer syntax and SOP class (UIDs).

    `pixel_data` is that of dicom.header.Header, None = the header was not read; `lossy`: lossy compression may have
    been applied before. `uneven`: values of odd length are to be padded; `unpadded`: why they should rather not be.
    """

    syntax: str
    sop_class: str = ""
    pixel_data: str | None = None
    bits_allocated: int = 0
    lossy: bool = False
    uneven: bool = False
    unpadded: str = ""


def facts_of(header: Header, *, uneven: bool = False) -> Facts:
    """The facts in a header. `uneven`: Header.uneven, which the caller has, for it takes its time to find out.

    Corrupt: Bits Allocated or Lossy Image Compression can't be read.
    """
    return Facts(
        header.syntax.uid,
        header.meta.sop_class_uid,
        header.pixel_data,
        header.dataset.integer(_BITS_ALLOCATED) or 0,
        was_lossy(header),
        uneven,
    )


def obstacle(facts: Facts, target_uid: str, *, recompress_lossy: bool = False) -> str:
    """Why an object can't or must not be made into a syntax other than its own; "" = no obstacle is known."""
    if facts.pixel_data is None:
        return ""
    source = SYNTAXES[facts.syntax]
    target = SYNTAXES[target_uid]
    if why := _not_possible(facts, source, target):
        return why
    if target.lossy and source.uid not in REMADE.get(target_uid, ()):
        return not_to_be_lossy(facts.sop_class, facts.lossy, recompress_lossy=recompress_lossy)
    return ""


def not_to_be_lossy(sop_class: str, lossy: bool, *, recompress_lossy: bool) -> str:
    """Why an object must not be made lossy; "" = it may be. `lossy`: it is lossy already."""
    if what := _CODES_OR_QUANTITIES.get(sop_class):
        return f"{what} is not made lossy, for its sample values are codes or quantities"
    if lossy and not recompress_lossy:
        return "it is lossy already, and is not made lossy again without RecompressLossy"
    return ""


def _not_possible(facts: Facts, source: Syntax, target: Syntax) -> str:
    pixels = facts.pixel_data
    bits = facts.bits_allocated
    if source.uid not in MADE:
        return f"{source.name} is not decoded to become {target.name}"
    if pixels and (pixels == "encapsulated") != source.encapsulated:
        return f"pixel data in another form than that of {source.name} is not decoded to become {target.name}"
    if not target.encapsulated:
        return ""
    if target.uid == JPEGXL_JPEG and source.uid not in REMADE[JPEGXL_JPEG]:
        return f"{source.name} is not a JPEG that can be made into {target.name}"
    if not pixels:
        return f"without pixel data there is nothing to encode as {target.name}"
    if pixels == "float" or (bits == 1 and target.uid != DEFLATED_FRAMES):
        return f"{'float' if pixels == 'float' else '1-bit'} pixel data can't be {target.name}"
    if bits > _CODEC_BITS and target.uid not in (RLE_LOSSLESS, DEFLATED_FRAMES):
        return f"pixel data of more than {_CODEC_BITS} bits allocated can't be {target.name}"
    return ""
