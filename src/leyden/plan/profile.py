"""The confidentiality profile of PS3.15 Annex E: what becomes of each attribute, by the options that a rule names.

The tables are data beside this module: profile.csv (table E.1-1), content.csv (E.3.4-1), private.csv (E.3.10-1).
Where the standard leaves the action to the attribute's type in the IOD (X/Z, X/D ...), which nobody here knows, the
one that keeps any IOD valid is taken: a dummy before an empty value before removal.
"""

import csv
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files

import msgspec

EDITION = "PS3.15 2026d"


class Option(StrEnum):
    """The options of PS3.15 E.3 that are columns of the tables, by their names in mutations.yml."""

    RETAIN_SAFE_PRIVATE = "retain_safe_private"
    RETAIN_UIDS = "retain_uids"
    RETAIN_DEVICE_IDENTITY = "retain_device_identity"
    RETAIN_INSTITUTION_IDENTITY = "retain_institution_identity"
    RETAIN_PATIENT_CHARACTERISTICS = "retain_patient_characteristics"
    RETAIN_FULL_DATES = "retain_full_dates"
    RETAIN_MODIFIED_DATES = "retain_modified_dates"
    CLEAN_DESCRIPTORS = "clean_descriptors"
    CLEAN_STRUCTURED_CONTENT = "clean_structured_content"
    CLEAN_GRAPHICS = "clean_graphics"


PROFILE_CODE = ("113100", "Basic Application Confidentiality Profile")
PIXELS_CODE = ("113101", "Clean Pixel Data Option")
CODES = {
    Option.CLEAN_GRAPHICS: ("113103", "Clean Graphics Option"),
    Option.CLEAN_STRUCTURED_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.RETAIN_FULL_DATES: ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    Option.RETAIN_MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    Option.RETAIN_PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.RETAIN_DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
    Option.RETAIN_UIDS: ("113110", "Retain UIDs Option"),
    Option.RETAIN_SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.RETAIN_INSTITUTION_IDENTITY: ("113112", "Retain Institution Identity Option"),
}
"""Code values and meanings of the De-identification Method Code Sequence (PS3.16 CID 7050)."""


class Act(StrEnum):
    """What is done with an element. The last four are the ways to clean (C), by the option that asks for it."""

    KEEP = "keep"  # a sequence: its items are treated
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    UID = "uid"  # a sequence: its items are treated, and the UIDs in them replaced
    SHIFT = "shift"  # another date
    WORDS = "words"  # kept if the rule lists the value
    CONTENT = "content"  # a tree of content items
    DRAWING = "drawing"  # graphics without their texts


_ACTS = {
    "X": Act.REMOVE, "Z": Act.EMPTY, "D": Act.DUMMY, "U": Act.UID, "Z/D": Act.DUMMY, "X/Z": Act.EMPTY, "X/D": Act.DUMMY,
    "X/Z/D": Act.DUMMY, "X/Z/U*": Act.UID,
}  # fmt: skip
_CLEANING = {
    Option.RETAIN_MODIFIED_DATES: Act.SHIFT,
    Option.CLEAN_STRUCTURED_CONTENT: Act.CONTENT,
    Option.CLEAN_GRAPHICS: Act.DRAWING,
}


class Action(msgspec.Struct, frozen=True):
    """`act` is to be done; where that is not possible for a value (a date that is none), `basic`."""

    act: Act
    basic: Act


REMOVED = Action(Act.REMOVE, Act.REMOVE)


class Actions:
    """The actions of the Basic Profile with some options."""

    def __init__(self, options: Collection[str]) -> None:
        """`options`: names of Option."""
        self.options = frozenset(options)
        self._by_tag: dict[int, Action] = {}
        for row in table("profile.csv"):
            if row["tag"].isalnum() and "x" not in row["tag"] and row["tag"] != "private":
                self._by_tag[int(row["tag"], 16)] = self._action(row)
        self._content = {
            (row["scheme"], row["code"], row["value_type"]): self._action(row) for row in table("content.csv")
        }

    def get(self, tag: int) -> Action | None:
        """The action for a public tag; None = the table does not name it.

        Of overlays and curves nothing stays: data that is taken out leaves the rest of its group without a meaning.
        """
        if not tag & 0x10000 and tag >> 24 in (0x50, 0x60):
            return REMOVED
        return self._by_tag.get(tag)

    def content(self, scheme: str, code: str, value_type: str) -> Action | None:
        """The action for a content item with this concept name; None = the table does not name it."""
        return self._content.get((scheme, code, value_type))

    def _action(self, row: Mapping[str, str]) -> Action:
        basic = _ACTS[row["basic"]]
        asked = {option: row[option] for option in Option if option in self.options and row.get(option)}
        if "K" in asked.values():
            return Action(Act.KEEP, basic)
        for option in asked:
            return Action(_CLEANING.get(option, Act.WORDS), basic)
        return Action(basic, basic)


@lru_cache(maxsize=64)
def actions(options: tuple[str, ...]) -> Actions:
    return Actions(options)


@lru_cache(maxsize=1)
def safe_private() -> frozenset[tuple[int, int, str]]:
    """Group, low byte of the element, and creator of the private elements that the standard lists as safe."""
    rows = table("private.csv")
    return frozenset((int(row["group"], 16), int(row["element"], 16), row["creator"]) for row in rows)


def table(name: str) -> Iterator[dict[str, str]]:
    """The rows of one of the tables, by column."""
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
