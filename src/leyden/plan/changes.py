"""What mutations have made of a dataset: element by element, before and after.

For an operator (`leyden explain`), not for the log: these are values of the dataset, so patient data.
"""

from collections.abc import Iterator

import msgspec

from leyden.dicom.dictionary import keyword_of
from leyden.dicom.elements import PIXEL_ELEMENTS, tag_name
from leyden.dicom.header import Dataset


class Change(msgspec.Struct, frozen=True):
    """An element that differs. `path`: `PatientName`, or `OtherPatientIDsSequence[1].PatientID` with items from 1.

    `before`, `after`: its values joined by backslashes, or what it holds in words if that is no text; None = absent.
    """

    path: str
    before: str | None
    after: str | None


def changes(before: Dataset | None, after: Dataset | None, within: str = "") -> Iterator[Change]:
    """Every element in which two datasets or items differ, in the order of the tags; None = there is none.

    Pixel data is not compared, and of a value only the first MiB. Raises Corrupt if a sequence does not parse.
    """
    old, new = (dataset.read() if dataset is not None else {} for dataset in (before, after))
    for tag in sorted(old.keys() | new.keys()):
        if tag in PIXEL_ELEMENTS:
            continue
        path = f"{within}{keyword_of(tag) or tag_name(tag)}"
        one, other = _items(before, tag), _items(after, tag)
        if not one and not other:
            if _value(before, tag) != _value(after, tag):
                yield Change(path, _shown(before, tag), _shown(after, tag))
            continue
        if not one or not other:  # its items follow, if it has any
            yield Change(path, _shown(before, tag), _shown(after, tag))
        for n in range(max(len(one), len(other))):
            left, right = (items[n] if n < len(items) else None for items in (one, other))
            yield from changes(left, right, f"{path}[{n + 1}].")


def _items(dataset: Dataset | None, tag: int) -> tuple[Dataset, ...]:
    return () if dataset is None else tuple(dataset.items(tag))


def _value(dataset: Dataset | None, tag: int) -> tuple[str | None, bytes | None] | None:
    return (dataset.vr(tag), dataset.raw(tag)) if dataset is not None and tag in dataset else None


def _shown(dataset: Dataset | None, tag: int) -> str | None:
    if dataset is None or tag not in dataset:
        return None
    items = len(dataset.items(tag))
    if items:
        return f"({items} item{'s' if items > 1 else ''})"
    text = "\\".join(dataset.texts(tag) or ())
    raw = dataset.raw(tag) or b""
    return text if text or not raw.strip(b"\0 ") else f"({dataset.vr(tag)}, {len(raw)} bytes)"
