"""The data dictionary of PS3.6, as far as Leyden needs it: VR and keyword of a tag, tag or SOP class of a keyword.

The rows are pydicom's generated tables, read from their modules without importing the package around them: `import
pydicom` also loads numpy and Pillow, which costs each process 23 MB and 0.2 s. Deliberately absent: private
dictionaries, multiplicity, names.
"""

from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any

Entry = tuple[str, str, str, str, str]
"""VR (maybe a choice such as `US or SS`), multiplicity, name, `Retired` or nothing, keyword."""


def _table(name: str) -> Any:
    package = find_spec("pydicom")  # does not import it
    spec = PathFinder.find_spec(name, package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None:
        raise ImportError("pydicom, or the dictionary in it, is missing")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_found = _table("_dicom_dict")
_ENTRIES: dict[int, Entry] = _found.DicomDictionary
# Repeating groups are written `60xx3000`: value, mask of the digits that count, entry.
_REPEATING: list[tuple[int, int, Entry]] = [
    (int(mask.replace("x", "0"), 16), int("".join("F0"[digit == "x"] for digit in mask), 16), entry)
    for mask, entry in _found.RepeatersDictionary.items()
]


def entry(tag: int) -> Entry | None:
    """The row of a public tag, repeating groups such as (6002,3000) included; None = it is not in PS3.6."""
    found = _ENTRIES.get(tag)
    if found is None and not tag & 0x10000:
        found = next((row for value, mask, row in _REPEATING if tag & mask == value), None)
    return found


def keyword_of(tag: int) -> str:
    """The keyword of a tag; "" = it has none."""
    found = entry(tag)
    return found[4] if found else ""


def keywords() -> dict[str, int]:
    """Every keyword with its tag, without those of repeating groups. Each call takes 1 ms."""
    return {row[4]: tag for tag, row in _ENTRIES.items() if row[4]}


def sop_classes() -> dict[str, str]:
    """Every keyword of a SOP class, such as CTImageStorage, with its UID (PS3.6 annex A). Each call takes 3 ms."""
    rows = _table("_uid_dict").UID_dictionary
    return {row[4]: uid for uid, row in rows.items() if row[1] == "SOP Class" and row[4]}
