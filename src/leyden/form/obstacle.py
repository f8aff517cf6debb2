"""What stands between an object and a transfer syntax, as far as is known without decoding its pixels.

Lossy compression has rules of its own: what holds codes or quantities is never made lossy, and what is lossy already
only where its node says RecompressLossy. The worker, who sees the pixels, may still find that a syntax can't be made.
"""

from dataclasses import dataclass

from leyden.dicom.derive import was_lossy
from leyden.dicom.header import Header
from leyden.dicom.uids import DEFLATED_FRAMES, JPEGXL_JPEG, MADE, REMADE, RLE_LOSSLESS, SYNTAXES, Syntax

_BITS_ALLOCATED = 0x00280100
_CODEC_BITS = 16  # what every codec but RLE holds at most

# What is no picture: its sample values are codes or quantities, of which none may change. SOP class and words for it.
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


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an object. Without a look into its header: its transfer syntax and SOP class (UIDs) only.

    `pixel_data` is that of dicom.header.Header, None = not looked at; `lossy`: it may have lost something before.
    """

    syntax: str
    sop_class: str = ""
    pixel_data: str | None = None
    bits_allocated: int = 0
    lossy: bool = False


def facts_of(header: Header) -> Facts:
    """What a header tells. Corrupt: Bits Allocated or Lossy Image Compression can't be read."""
    return Facts(
        header.syntax.uid,
        header.meta.sop_class_uid,
        header.pixel_data,
        header.dataset.integer(_BITS_ALLOCATED) or 0,
        was_lossy(header),
    )


def obstacle(facts: Facts, target_uid: str, *, recompress_lossy: bool = False) -> str:
    """Why an object can't or must not be made into a syntax (not its own); "" = nothing is known to be in the way."""
    if facts.pixel_data is None:
        return ""
    source, target = SYNTAXES[facts.syntax], SYNTAXES[target_uid]
    if why := _not_possible(facts, source, target):
        return why
    if target.lossy and source.uid not in REMADE.get(target_uid, ()):
        return not_to_be_lossy(facts.sop_class, facts.lossy, recompress_lossy=recompress_lossy)
    return ""


def not_to_be_lossy(sop_class: str, lossy: bool, *, recompress_lossy: bool) -> str:
    """Why an object is not to be made lossy; "" = it may be. `lossy`: it has lost something already."""
    if what := _CODES_OR_QUANTITIES.get(sop_class):
        return f"{what} is not made lossy, for its sample values are codes or quantities"
    if lossy and not recompress_lossy:
        return "what is lossy already is not made lossy once more without RecompressLossy"
    return ""


def _not_possible(facts: Facts, source: Syntax, target: Syntax) -> str:
    pixels, bits = facts.pixel_data, facts.bits_allocated
    if source.uid not in MADE:
        return f"{source.name} is not decoded to become {target.name}"
    if pixels and (pixels == "encapsulated") != source.encapsulated:
        return f"pixel data in another form than that of {source.name} is not decoded to become {target.name}"
    if not target.encapsulated:
        return ""
    if target.uid == JPEGXL_JPEG and source.uid not in REMADE[JPEGXL_JPEG]:
        return f"{source.name} is no JPEG that could be {target.name}"
    if not pixels:
        return f"without pixel data there is nothing to encode as {target.name}"
    if pixels == "float" or (bits == 1 and target.uid != DEFLATED_FRAMES):
        return f"{'float' if pixels == 'float' else '1-bit'} pixel data can't be {target.name}"
    if bits > _CODEC_BITS and target.uid not in (RLE_LOSSLESS, DEFLATED_FRAMES):
        return f"pixel data of more than {_CODEC_BITS} bits allocated can't be {target.name}"
    return ""
