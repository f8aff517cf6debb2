"""De-identifies a dataset by the Basic Application Level Confidentiality Profile of PS3.15 Annex E and its options.

One walk over all elements at all depths; profile.py says what becomes of each. What the table does not name is treated
by its VR, because the table is only the least that has to be done (PS3.15 E.1.1 note 4): free text and names become
dummies, dates follow the options, UIDs are replaced unless they name something of the standard, private elements and
those that PS3.6 does not know are removed. So are all elements behind Pixel Data. Pixels are not looked at.

Cleaning a text (C) is done without understanding it: it stays if the rule lists that very value, else it is treated as
without the option. New UIDs, pseudonyms and the shift of dates follow from a secret key, so they are the same wherever
and whenever the same object is seen.
"""

import datetime
import re
from collections.abc import Sequence

from leyden.dicom.dictionary import keyword_of
from leyden.dicom.draft import Draft
from leyden.dicom.elements import PIXEL_DATA, PIXEL_ELEMENTS, UNDEFINED, dictionary_vr, tag_name
from leyden.dicom.signed import MAC_PARAMETERS
from leyden.plan.profile import (
    CODES,
    EDITION,
    PIXELS_CODE,
    PROFILE_CODE,
    REMOVED,
    Act,
    Action,
    Actions,
    Option,
    actions,
    safe_private,
)
from leyden.plan.pseudonym import PATIENT_ID, Keyed, Unsafe, patient_of
from leyden.plan.rules import BurnedIn, Profile

PATIENT_NAME = 0x00100010
_SOP_CLASS_UID = 0x00080016
_SOP_INSTANCE_UID = 0x00080018
_MODALITY = 0x00080060
_STUDY_INSTANCE_UID = 0x0020000D
_PATIENT_IDENTITY_REMOVED = 0x00120062
_METHOD = 0x00120063
_METHOD_CODES = 0x00120064
_BURNED_IN = 0x00280301
_TEMPORAL_INFORMATION = 0x00280303
_CODE_VALUE = 0x00080100
_CODING_SCHEME = 0x00080102
_CODE_MEANING = 0x00080104
_LONG_CODE_VALUE = 0x00080119
_URN_CODE_VALUE = 0x00080120
_CONTENT = 0x0040A730
_CONCEPT_NAME = 0x0040A043
_RELATIONSHIP = 0x0040A010
_VALUE_TYPE = 0x0040A040
_TEXT_VALUE = 0x0040A160
_DATE_VALUE = 0x0040A121
_MEASURED_VALUES = 0x0040A300
_REFERENCED_CONTENT_ITEM = 0x0040DB73
_WELL_KNOWN = "1.2.840.10008."  # the root of every UID in PS3.6 annex A
_DUMMY_TEXT = "ANONYMIZED"

_TEXTS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
_DUMMIES = {
    "AS": "000Y", "DA": "19000101", "DS": "0", "DT": "19000101000000", "IS": "0", "TM": "000000",
    "UR": "http://anonymized.invalid/",
}  # fmt: skip
_NUMBERS_BYTES = {"AT": 4, "FD": 8, "FL": 4, "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8}
_FREE_TEXTS = frozenset({"LT", "PN", "ST", "UR", "UT"})
_DATES = frozenset({"DA", "DT", "TM"})
_REMOVED_TOO = frozenset({0x00100024, MAC_PARAMETERS})  # what belongs to Issuer of Patient ID, and to signatures
# The groups that are about persons and visits: of them, no text stays that the table does not name.
_PERSONAL_GROUPS = frozenset({0x0010, 0x0032, 0x0038, 0x4008, 0x4010})
_TELLING = re.compile("Comment|Notes|OrderNumber|Contact|Creator$")  # of a keyword: a short text that may name a person
_STRUCTURAL = re.compile("SOPClass|TransferSyntax|CodingScheme|ContextGroup|ContextUID|MappingResource")
_NUMBER = re.compile(r"[-+0-9.eE]*")
_DATE_WITH_DOTS = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})")  # before 1993
_DATE_AND_TIME = re.compile(r"([0-9]{8})([0-9.]*(?:[+-][0-9]{4})?)")

_KEPT = Action(Act.KEEP, Act.KEEP)
_DUMMIED = Action(Act.DUMMY, Act.DUMMY)
_MAPPED = Action(Act.UID, Act.UID)
_TREE = Action(Act.CONTENT, Act.DUMMY)

# The value of a content item (PS3.3 C.17.3 and C.18) and the value types that have it; then what is done with an item
# that the table does not name.
_ITEM_VALUES: dict[int, tuple[str, ...]] = {
    _TEXT_VALUE: ("TEXT",),
    0x0040A120: ("DATETIME",),
    _DATE_VALUE: ("DATE",),
    0x0040A122: ("TIME",),
    0x0040A123: ("PNAME",),
    0x0040A124: ("UIDREF",),
    0x0040A168: ("CODE",),
    _MEASURED_VALUES: ("NUM",),
    0x00081199: ("IMAGE", "WAVEFORM", "COMPOSITE"),
}
_WORDS_OR_DUMMY = Action(Act.WORDS, Act.DUMMY)
_WORDS_OR_REMOVED = Action(Act.WORDS, Act.REMOVE)
_ITEMS = {
    "TEXT": _WORDS_OR_DUMMY,
    "PNAME": _DUMMIED,
    "UIDREF": _MAPPED,
    "IMAGE": _MAPPED,
    "WAVEFORM": _MAPPED,
    "COMPOSITE": _MAPPED,
}
# Modalities whose images often have texts in them, so that a missing (0028,0301) says nothing.
_OFTEN_BURNED_IN = frozenset({"DOC", "ECG", "ES", "GM", "IVUS", "OT", "SC", "SM", "US", "XC"})
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_DRAWING_TEXTS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})


def burned_in(dataset: Draft, how: BurnedIn) -> str:
    """Why an image must not leave for what may be written in its pixels; "" = nothing stands against it."""
    declared = tuple(text.upper() for text in dataset.texts(_BURNED_IN) or ())
    if how in (BurnedIn.PASS, BurnedIn.BLANK) or declared == ("NO",):
        return ""
    if "YES" in declared:
        return f"Burned In Annotation {tag_name(_BURNED_IN)} is YES"
    if how is BurnedIn.STRICT:
        sop_class = "\\".join(dataset.texts(_SOP_CLASS_UID) or ())
        modality = "\\".join(dataset.texts(_MODALITY) or ())
        if sop_class.startswith(_SECONDARY_CAPTURE) or modality in _OFTEN_BURNED_IN:
            return f"Burned In Annotation {tag_name(_BURNED_IN)} is not NO, and images of this kind often have texts"
    return ""


def anonymize(dataset: Draft, pseudonym: str) -> None:
    """Replace a patient: the group 0010 by the Basic Profile at all depths, patient characteristics retained."""
    walk = _Walk(dataset, actions((Option.RETAIN_PATIENT_CHARACTERISTICS,)), Profile(), None, 0, pseudonym)
    walk.patient(dataset)


def deidentify(dataset: Draft, profile: Profile, keyed: Keyed, pseudonym: str = "") -> None:
    """De-identify a dataset in place. `pseudonym` "" = the one that follows from the key, if there is a Patient ID.

    Raises Unsafe (nothing of the dataset may leave), Unwritable, Corrupt.
    """
    if reason := burned_in(dataset, profile.burned_in):
        raise Unsafe(reason)
    patient = patient_of(dataset)
    if not pseudonym and patient.id:
        pseudonym = keyed.pseudonym(patient)
    study = "\\".join(dataset.texts(_STUDY_INSTANCE_UID) or ())
    walk = _Walk(dataset, actions(profile.options), profile, keyed, keyed.shift_days(patient, study), pseudonym)
    for tag in dataset.trailing():
        if tag & 0xFFFF:  # a group length goes with its group
            _remove(dataset, tag)
    walk.dataset(dataset)
    if not dataset.texts(_SOP_INSTANCE_UID):
        raise Unsafe(f"there is no SOP Instance UID {tag_name(_SOP_INSTANCE_UID)} that could be replaced")
    _say_so(dataset, profile)


class _Walk:
    """The walk over one object."""

    def __init__(
        self, top: Draft, table: Actions, profile: Profile, keyed: Keyed | None, shift_days: int, pseudonym: str
    ) -> None:
        self._table = table
        self._options = table.options
        self._words = frozenset(word.casefold() for word in profile.words)
        self._private = safe_private() | set(profile.private) if Option.RETAIN_SAFE_PRIVATE in self._options else None
        self._keyed = keyed
        self._shift = datetime.timedelta(days=shift_days)
        self._pseudonym = pseudonym
        self._patient = {tag: top.texts(tag) for tag in (PATIENT_NAME, PATIENT_ID)}
        self._by_reference = Option.CLEAN_STRUCTURED_CONTENT in self._options and any(
            top.find(_REFERENCED_CONTENT_ITEM)
        )

    def patient(self, dataset: Draft) -> None:
        """Treat what is about the patient, here and in all items."""
        for tag in dataset.tags():
            action = self._table.get(tag) if tag >> 16 == 0x0010 else None
            if action:
                self._treat(dataset, tag, action)
            elif tag >> 16 == 0x0010:
                self._treat(dataset, tag, self._unnamed(tag, dataset.vr(tag) or "UN"))
            elif _holds_items(dataset, tag):
                for item in dataset.items(tag):
                    self.patient(item)

    def dataset(self, dataset: Draft) -> None:
        """Treat every element of a dataset or item."""
        kept = self._kept_private(dataset)
        for tag in dataset.tags():
            self._element(dataset, tag, kept)

    def _element(self, dataset: Draft, tag: int, kept_private: frozenset[int]) -> None:
        if tag in PIXEL_ELEMENTS or not tag & 0xFFFF:
            return  # pixels; and a group length goes where its group changes
        if tag & 0x10000:
            self._treat(dataset, tag, _KEPT if tag in kept_private else REMOVED)
        elif tag >> 16 in (0, 2):
            _remove(dataset, tag)  # neither the command nor the file meta is a part of a dataset
        else:
            self._treat(dataset, tag, self._table.get(tag) or self._unnamed(tag, dataset.vr(tag) or "UN"))

    def _unnamed(self, tag: int, vr: str) -> Action:
        """What is done with a public element that the table does not name."""
        if (dictionary_vr(tag) == "UN" and vr != "SQ") or tag in _REMOVED_TOO or tag >> 16 == 4:
            return REMOVED
        if vr in _DATES:
            if Option.RETAIN_FULL_DATES in self._options:
                return _KEPT
            return Action(Act.SHIFT, Act.DUMMY) if Option.RETAIN_MODIFIED_DATES in self._options else _DUMMIED
        if vr == "UI":
            return _KEPT if Option.RETAIN_UIDS in self._options or _STRUCTURAL.search(keyword_of(tag)) else _MAPPED
        if vr in _TEXTS and vr not in ("CS", "DS", "IS", "AS") and tag >> 16 in _PERSONAL_GROUPS:
            return REMOVED
        if vr in _FREE_TEXTS or (vr in ("LO", "SH", "UC") and _TELLING.search(keyword_of(tag))):
            return _WORDS_OR_DUMMY if Option.CLEAN_DESCRIPTORS in self._options else _DUMMIED
        return _KEPT

    def _kept_private(self, dataset: Draft) -> frozenset[int]:
        """The private elements of this dataset that stay, with their creators."""
        if self._private is None:
            return frozenset()
        kept = set()
        for tag in dataset.tags():
            group, block, low_byte = tag >> 16, tag >> 8 & 0xFF, tag & 0xFF
            if group & 1 and block >= 0x10:
                creator = "\\".join(dataset.texts(group << 16 | block) or ())
                if (group, low_byte, creator) in self._private or (group, -1, creator) in self._private:
                    kept |= {tag, group << 16 | block}
        return frozenset(kept)

    def _treat(self, dataset: Draft, tag: int, action: Action) -> None:
        act = action.act
        if act in (Act.SHIFT, Act.WORDS, Act.CONTENT, Act.DRAWING):
            if self._clean(dataset, tag, act):
                return
            act = action.basic
        match act:
            case Act.REMOVE:
                dataset.remove(tag)
            case Act.EMPTY:
                self._empty(dataset, tag)
            case Act.DUMMY:
                self._dummy(dataset, tag)
            case Act.UID | Act.KEEP:
                if _holds_items(dataset, tag):
                    for item in dataset.items(tag):
                        self.dataset(item)
                elif act is Act.UID:
                    self._replace_uids(dataset, tag)
                elif dataset.vr(tag) == "UN" and not tag & 0x10000:
                    dataset.remove(tag)  # nobody can say what is in it

    # -- the actions

    def _empty(self, dataset: Draft, tag: int) -> None:
        if not self._give_pseudonym(dataset, tag):
            vr = dataset.vr(tag) or "UN"
            dataset.set(tag, vr, b"")

    def _give_pseudonym(self, dataset: Draft, tag: int) -> bool:
        """Set the patient's ID or name; False if the element is another one, or is about somebody else."""
        if tag not in self._patient or not self._pseudonym:
            return False
        if dataset.parent is not None and dataset.texts(tag) != self._patient[tag]:
            return False
        dataset.set_texts(tag, "LO" if tag == PATIENT_ID else "PN", (self._pseudonym,))
        return True

    def _dummy(self, dataset: Draft, tag: int) -> None:
        """Replace a value by one that says nothing; what is empty stays empty."""
        if self._give_pseudonym(dataset, tag):
            return
        vr = dataset.vr(tag) or "UN"
        if tag == _CONTENT:
            dataset.set_items(tag, (_dummy_content(dataset),))
        elif _holds_items(dataset, tag):
            for item in dataset.items(tag):
                self._dummy_item(item)
        elif vr == "UI":
            self._replace_uids(dataset, tag)
        elif dataset.read()[tag][4]:
            dataset.set(tag, vr, dummy(vr))

    def _dummy_item(self, item: Draft) -> None:
        """Make dummies of all in an item but code strings (CS), numbers, and UIDs that name no instance."""
        for tag in item.tags():
            vr = item.vr(tag) or "UN"
            named = None if tag & 0x10000 else self._table.get(tag)
            if named:
                self._treat(item, tag, Action(named.basic, named.basic))
            elif tag & 0x10000 or (dictionary_vr(tag) == "UN" and vr != "SQ"):
                item.remove(tag)
            elif vr == "UI":
                if not _STRUCTURAL.search(keyword_of(tag)):
                    self._replace_uids(item, tag)
            elif not (vr == "CS" or vr in _NUMBERS_BYTES or _is_number(vr, item.texts(tag) or ())) and tag & 0xFFFF:
                self._dummy(item, tag)

    def _replace_uids(self, dataset: Draft, tag: int) -> None:
        texts = dataset.texts(tag) or ()
        if (dataset.vr(tag) or "UN") not in _TEXTS:
            dataset.remove(tag)  # no UID can be read
        elif texts:
            dataset.set_texts(tag, "UI", tuple(self._new_uid(text) for text in texts))

    def _new_uid(self, uid: str) -> str:
        if not uid or uid.startswith(_WELL_KNOWN) or self._keyed is None:
            return uid
        return self._keyed.uid(uid)

    # -- cleaning

    def _clean(self, dataset: Draft, tag: int, how: Act) -> bool:
        """Clean an element; False: it can't be, so it is treated as without the option."""
        if not _holds_items(dataset, tag):
            if how is Act.SHIFT:
                return self._shift_dates(dataset, tag)
            return how is Act.WORDS and dataset.vr(tag) in _TEXTS and self._is_listed(dataset.texts(tag))
        items = dataset.items(tag)
        match how:
            case Act.WORDS:
                kept = [item for item in items if self._clean_item(item)]
                return self._keep(dataset, tag, items, kept)
            case Act.CONTENT:
                kept = [item for item in items if self._content_item(item)]
                return self._keep(dataset, tag, items, kept)
            case Act.DRAWING:
                for item in items:
                    self._drawing(item)
                return True
        return False

    def _keep(self, dataset: Draft, tag: int, items: Sequence[Draft], kept: Sequence[Draft]) -> bool:
        if len(kept) < len(items):
            dataset.set_items(tag, kept)
        return bool(kept) or not items

    def _is_listed(self, texts: Sequence[str] | None) -> bool:
        return not any(text and text.casefold() not in self._words for text in texts or ())

    def _clean_item(self, item: Draft) -> bool:
        """Clean an item of a sequence of descriptions; False: it can't stay. A code stays if its meaning is listed."""
        if _CODE_MEANING in item and not self._is_listed(item.texts(_CODE_MEANING)):
            return False
        self.dataset(item)
        return True

    def _shift_dates(self, dataset: Draft, tag: int) -> bool:
        vr = dataset.vr(tag)
        texts = dataset.texts(tag) or ()
        if vr == "TM":
            return True
        if vr not in ("DA", "DT"):
            return False
        shifted = [shifted_date(text, self._shift) for text in texts]
        if None in shifted:
            return False
        dataset.set_texts(tag, vr, tuple(text or "" for text in shifted))
        return True

    def _drawing(self, item: Draft) -> None:
        """Keep the graphics and make dummies of the texts."""
        self.dataset(item)
        for tag in item.tags():
            if _holds_items(item, tag):
                for inner in item.items(tag):
                    self._drawing(inner)
            elif item.vr(tag) in _DRAWING_TEXTS and _CODE_VALUE not in item and not self._is_listed(item.texts(tag)):
                self._dummy(item, tag)

    # -- content of structured reports (PS3.15 E.3.4)

    def _content_item(self, item: Draft) -> bool:
        """Clean a content item with all below it; False: it can't stay.

        An item is never taken out of a document in which items refer to others by their position.
        """
        value_type = "\\".join(item.texts(_VALUE_TYPE) or ())
        action = self._item_action(item, value_type)
        if action.act is Act.REMOVE or (action == _WORDS_OR_REMOVED and not self._listed_item(item)):
            if not self._by_reference:
                return False
            action = _DUMMIED
        elif action.basic is Act.REMOVE:
            action = Action(action.act, Act.DUMMY)
        kept_private = self._kept_private(item)
        for tag in item.tags():
            if tag in _ITEM_VALUES:
                if value_type not in _ITEM_VALUES[tag]:
                    item.remove(tag)
                elif tag == _MEASURED_VALUES and action.act is Act.DUMMY:
                    item.set_items(tag, ())
                else:
                    self._treat(item, tag, action)
            elif tag == _CONTENT:
                self._treat(item, tag, _DUMMIED if action.act is Act.DUMMY and value_type == "CONTAINER" else _TREE)
            else:
                self._element(item, tag, kept_private)
        return True

    def _listed_item(self, item: Draft) -> bool:
        return self._is_listed(item.texts(_TEXT_VALUE))

    def _item_action(self, item: Draft, value_type: str) -> Action:
        for name in item.items(_CONCEPT_NAME):
            scheme = "\\".join(name.texts(_CODING_SCHEME) or ())
            for tag in (_CODE_VALUE, _LONG_CODE_VALUE, _URN_CODE_VALUE):
                code = "\\".join(name.texts(tag) or ())
                if code and (found := self._table.content(scheme, code, value_type)):
                    return found
        if value_type in ("DATE", "TIME", "DATETIME"):
            return self._unnamed(_DATE_VALUE, "DA")
        action = _ITEMS.get(value_type, _KEPT)
        return _KEPT if action is _MAPPED and Option.RETAIN_UIDS in self._options else action


def _remove(dataset: Draft, tag: int) -> None:
    try:
        dataset.remove(tag)
    except ValueError:
        raise Unsafe(f"{tag_name(tag)} is where it can't be removed") from None


def _holds_items(dataset: Draft, tag: int) -> bool:
    element = dataset.read()[tag]
    return dataset.vr(tag) == "SQ" or (element[4] == UNDEFINED and tag not in PIXEL_ELEMENTS)


def dummy(vr: str) -> bytes:
    """A value that says nothing, of a form that the VR allows, in little endian."""
    if vr in _NUMBERS_BYTES:
        return bytes(_NUMBERS_BYTES[vr])
    return _DUMMIES.get(vr, _DUMMY_TEXT).encode() if vr in _TEXTS else bytes(8)


def _is_number(vr: str, texts: Sequence[str]) -> bool:
    return vr in ("DS", "IS") and all(_NUMBER.fullmatch(text) for text in texts)


def shifted_date(text: str, by: datetime.timedelta) -> str | None:
    """A DA or DT value on another day, its time as it was; None if it names no day, or one that no calendar has."""
    if not text:
        return text
    found = _DATE_AND_TIME.fullmatch(_DATE_WITH_DOTS.sub(r"\1\2\3", text))
    if not found:
        return None
    try:
        day = datetime.datetime.strptime(found[1], "%Y%m%d") + by
    except (ValueError, OverflowError):
        return None
    return f"{day.year:04d}{day.month:02d}{day.day:02d}{found[2]}"


def _dummy_content(dataset: Draft) -> Draft:
    """A content item that says nothing (PS3.3 C.17.3)."""
    item, name = dataset.new_item(), dataset.new_item()
    _code(name, "121106", "Comment")
    item.set_texts(_RELATIONSHIP, "CS", ("CONTAINS",))
    item.set_texts(_VALUE_TYPE, "CS", ("TEXT",))
    item.set_items(_CONCEPT_NAME, (name,))
    item.set_texts(_TEXT_VALUE, "UT", (_DUMMY_TEXT,))
    return item


def _code(item: Draft, value: str, meaning: str) -> None:
    item.set_texts(_CODE_VALUE, "SH", (value,))
    item.set_texts(_CODING_SCHEME, "SH", ("DCM",))
    item.set_texts(_CODE_MEANING, "LO", (meaning,))


def _say_so(dataset: Draft, profile: Profile) -> None:
    """The attributes that say what was done (PS3.15 E.1.1 item 6, E.3.6)."""
    named = [CODES[option] for option in Option if option in profile.options]
    dates = {Option.RETAIN_FULL_DATES: "UNMODIFIED", Option.RETAIN_MODIFIED_DATES: "MODIFIED"}
    codes = []
    blanked = profile.burned_in is BurnedIn.BLANK and PIXEL_DATA in dataset
    for value, meaning in (PROFILE_CODE, *((PIXELS_CODE,) if blanked else ()), *named):
        item = dataset.new_item()
        _code(item, value, meaning)
        codes.append(item)
    dataset.set_texts(_PATIENT_IDENTITY_REMOVED, "CS", ("YES",))
    dataset.set_texts(_METHOD, "LO", (f"Leyden, DICOM {EDITION} Annex E", *(str(option) for option in profile.options)))
    dataset.set_items(_METHOD_CODES, codes)
    if blanked:
        dataset.set_texts(_BURNED_IN, "CS", ("NO",))
    temporal = next((dates[option] for option in dates if option in profile.options), "REMOVED")
    dataset.set_texts(_TEMPORAL_INFORMATION, "CS", (temporal,))
