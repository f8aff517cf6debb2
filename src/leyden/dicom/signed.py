"""Digital Signatures (PS3.15 Annex C): whether what is about to change is signed.

A signature says in the MAC Parameters Sequence beside it what it covers, which stands before Pixel Data; the signature
itself stands behind. What is signed is tag, VR, length and value as an explicit syntax would have them, whatever the
dataset's own (PS3.3 C.12.1.1.3.1.2): another byte order or implicit VR changes nothing signed, as long as the VR can be
told afterwards. Nothing is verified here, and no certificate is looked at.
"""

import re
from collections.abc import Collection

from leyden.dicom.elements import PIXEL_DATA, level, offset_behind, walk
from leyden.dicom.header import Dataset
from leyden.dicom.uids import Syntax

MAC_PARAMETERS = 0x4FFE0001
SIGNATURES = 0xFFFAFFFA
_ELEMENTS_SIGNED = 0x04000020
_TAG = re.compile(r"\(([0-9A-F]{4}),([0-9A-F]{4})\)")


def broken(dataset: Dataset, changed: Collection[int], target: Syntax, within: Collection[int]) -> tuple[int, ...]:
    """The signed top-level tags that are among the `changed` ones, so that signatures over them would be broken.

    `within`: sequences in which something changes. `target`: implicit VR tells no VR of private elements. A dataset
    with nothing signed costs one look-up. Raises Corrupt where what is signed can't be told.
    """
    elements = dataset.read()
    found: set[int] = set()
    if MAC_PARAMETERS in elements and _has_signatures(dataset):
        signed = {tag for item in dataset.items(MAC_PARAMETERS) for tag in _tags(item)}
        loses_vr = dataset.encoding.explicit and not target.explicit
        found = {tag for tag in signed if tag in changed or tag in within or (loses_vr and tag & 0x10000)}
    for tag in within:
        if tag in elements:
            _, _, begin, _, _, after = elements[tag]
            if any(token[0] == MAC_PARAMETERS for token in walk(dataset.source, begin, after, dataset.encoding)):
                found.add(tag)
    return tuple(sorted(found))


def touched(dataset: Dataset, tags: Collection[int], syntax: Syntax) -> tuple[int, ...]:
    """The `tags` in which something is signed, where the syntax stays as it is. Raises Corrupt as `broken`."""
    return broken(dataset, tags, syntax, frozenset(tags) - {PIXEL_DATA})


def _tags(item: Dataset) -> list[int]:
    texts = item.texts(_ELEMENTS_SIGNED) or ()
    return [int(match[1] + match[2], 16) for match in map(_TAG.fullmatch, texts) if match]


def _has_signatures(dataset: Dataset) -> bool:
    """Whether signatures are there, and not only what they would cover."""
    source, end = dataset.source, dataset.end
    last = list(dataset.read().values())[-1]
    if last[0] != PIXEL_DATA:
        return SIGNATURES in dataset.read()
    tag, vr, _, value, _, after = last
    after = offset_behind(source, tag, vr, value, end, dataset.encoding) if after < 0 else after
    return any(element[0] == SIGNATURES for element in level(source, after, end, dataset.encoding))
