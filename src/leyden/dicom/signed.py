"""Digital Signatures (PS3.15 Annex C): whether elements that are about to change are signed.

The MAC Parameters Sequence, before Pixel Data, lists the elements that a signature covers; the signature itself comes
after Pixel Data. It covers tag, VR, length and value as in an explicit syntax, whatever the syntax of the dataset
(PS3.3 C.12.1.1.3.1.2). So another byte order or implicit VR breaks no signature, as long as the VR of each element is
still known. Nothing is verified here, and no certificate is read.
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
    """The top-level tags whose signatures a change would break: signed, and `changed` or `within`.

    `within`: sequences in which something changes. `target`: the new syntax; implicit VR loses the VR of private
    elements. A dataset without signatures costs one look-up. Raises Corrupt if it cannot be read what is signed.
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
    """Those of `tags` whose signatures a change inside them would break, in the same syntax. Raises Corrupt."""
    return broken(dataset, tags, syntax, frozenset(tags) - {PIXEL_DATA})


def _tags(item: Dataset) -> list[int]:
    texts = item.texts(_ELEMENTS_SIGNED) or ()
    return [int(match[1] + match[2], 16) for match in map(_TAG.fullmatch, texts) if match]


def _has_signatures(dataset: Dataset) -> bool:
    """Whether there are signatures, and not only the MAC Parameters Sequence."""
    source, end = dataset.source, dataset.end
    last = list(dataset.read().values())[-1]
    if last[0] != PIXEL_DATA:
        return SIGNATURES in dataset.read()
    tag, vr, _, value, _, after = last
    after = offset_behind(source, tag, vr, value, end, dataset.encoding) if after < 0 else after
    return any(element[0] == SIGNATURES for element in level(source, after, end, dataset.encoding))
