"""The actions anonymize and deidentify of mutations.yml, with their mapping files looked at."""

import os
from collections.abc import Sequence
from pathlib import Path

from leyden.config.report import Report
from leyden.config.schema import (
    NO_PLACE,
    AnonymizeEntry,
    DeidentifyEntry,
    MappingEntry,
    MutationEntry,
    PrivateEntry,
    Steps,
    place,
    read,
)
from leyden.config.yaml_text import Entries, Node, Text
from leyden.dicom.elements import PIXEL_DATA
from leyden.plan.profile import Option
from leyden.plan.rules import BurnedIn, Edit, EditType, Mutation, Place, Profile
from leyden.pseudonyms import problems_of

_DATES = {Option.RETAIN_FULL_DATES, Option.RETAIN_MODIFIED_DATES}
_CLEANS_TEXT = {
    Option.CLEAN_DESCRIPTORS, Option.CLEAN_STRUCTURED_CONTENT, Option.CLEAN_GRAPHICS,
    Option.RETAIN_PATIENT_CHARACTERISTICS, Option.RETAIN_DEVICE_IDENTITY,
}  # fmt: skip
_NO_FILE_META = 0x0002
_NOT_HERE = {"source": "takes no Source", "onerror": "takes no OnError: it always is fail"}


def identity_edit(given: Node, steps: Steps, folder: str, report: Report) -> Edit | None:
    """The action, if it is one of these two; a relative path of a mapping file is relative to `folder`."""
    if not isinstance(given, Entries):
        return None
    written = next((each for key, each in given.items() if key.lower() == "type"), None)
    kind = written.strip().lower() if isinstance(written, Text) else ""
    if kind not in (EditType.ANONYMIZE, EditType.DEIDENTIFY):
        return None
    known = Entries(given.at)
    for key, value in given.items():
        if why := _NOT_HERE.get(key.lower()):
            report.error(key.at, place((*steps, key)), f"{kind} {why}")
        else:
            known[key] = value
    read_it = _anonymize if kind == EditType.ANONYMIZE else _deidentify
    return read_it(known, steps, folder, report)


def several_identities(mutations: Sequence[Mutation], entries: Sequence[MutationEntry], report: Report) -> None:
    """Warn of mutations that may replace a patient who was replaced before: a pseudonym would count as a patient."""
    before: list[Mutation] = []
    for mutation, entry in zip(mutations, entries, strict=True):
        if not {EditType.ANONYMIZE, EditType.DEIDENTIFY} & {edit.type for edit in mutation.actions}:
            continue
        titles = set(mutation.ae_titles)
        for each in before:
            if not titles or not each.ae_titles or titles.intersection(each.ae_titles):
                what = f"would take the pseudonym that {each.where} gives for the ID of a patient, if both apply"
                report.warn(entry.places["Actions"], "Actions", what)
                break
        before.append(mutation)


def check_identities(mutation: Mutation, entry: MutationEntry, report: Report) -> None:
    """Report what would bring back what these actions take away, or take away what they bring."""
    kinds = [edit.type for edit in mutation.actions]
    if mutation.original_attributes and {EditType.ANONYMIZE, EditType.DEIDENTIFY} & set(kinds):
        what = "would keep what these actions take away; leave it out here"
        report.error(entry.places["OriginalAttributes"], "OriginalAttributes", what)
    if EditType.ANONYMIZE in kinds and EditType.DEIDENTIFY in kinds:
        what = (
            "deidentify gives a pseudonym too: leave anonymize out, and give deidentify the mapping file (Destination)"
        )
        report.error(entry.places["Actions"], "Actions", what)


def _anonymize(given: Node, steps: Steps, folder: str, report: Report) -> Edit:
    entry = read(AnonymizeEntry, given, report, steps)
    if entry is None:
        return Edit(EditType.ANONYMIZE, "")  # a stand-in: the error stops the start
    mapping, destination = _mapping(entry, steps, folder, report)
    return Edit(
        EditType.ANONYMIZE,
        str(entry.at),
        destination=destination,
        mapping=mapping,
        description=str(entry.description or ""),
        log_info=entry.log,
    )


def _deidentify(given: Node, steps: Steps, folder: str, report: Report) -> Edit:
    entry = read(DeidentifyEntry, given, report, steps)
    if entry is None:
        return Edit(EditType.DEIDENTIFY, "", profile=Profile())
    mapping, destination = _mapping(entry, steps, folder, report)
    if destination is not None:
        at = entry.places["Destination"]
        report.error(at, place((*steps, "Destination", "Tag")), "deidentify takes a Value only")
    for key, what in _contradictions(entry):
        report.error(entry.places.get(key, entry.at), place((*steps, key)), what)
    if entry.keep_texts and not _CLEANS_TEXT.intersection(entry.options):
        report.warn(entry.places["KeepTexts"], place((*steps, "KeepTexts")), "has no effect without a clean option")
    return Edit(
        EditType.DEIDENTIFY,
        str(entry.at),
        mapping=mapping,
        profile=Profile(
            options=tuple(dict.fromkeys(entry.options)),
            words=tuple(str(text) for text in entry.keep_texts),
            private=tuple(
                _private(each, (*steps, "KeepPrivate", n), report) for n, each in enumerate(entry.keep_private)
            ),
            burned_in=BurnedIn(entry.burned_in),
            rectangles=entry.rectangles,
        ),
        description=str(entry.description or ""),
        log_info=entry.log,
    )


def _contradictions(entry: DeidentifyEntry) -> list[tuple[str, str]]:
    found = []
    if set(entry.options) >= _DATES:
        found.append(("Options", "retain_full_dates and retain_modified_dates exclude each other"))
    if entry.keep_private and Option.RETAIN_SAFE_PRIVATE not in entry.options:
        found.append(("KeepPrivate", "needs retain_safe_private in Options; without it all private elements go"))
    blank = entry.burned_in == BurnedIn.BLANK
    if blank and not entry.rectangles:
        found.append(("Rectangles", "is missing; blank needs the rectangles that are to be made black"))
    if entry.rectangles and not blank:
        found.append(("Rectangles", "goes with BurnedIn: blank only"))
    return found


def _private(given: Node, steps: Steps, report: Report) -> tuple[int, int, str]:
    entry = read(PrivateEntry, given, report, steps)
    if entry is None:
        return 0, 0, ""
    creator = str(entry.private_tag_creator).strip()
    if entry.tag and entry.group:
        report.error(entry.at, place((*steps, "Group")), "goes without Tag only")
    elif entry.tag:
        group, low_byte = int(entry.tag[:4], 16), int(entry.tag[6:], 16)
        if group & 1:
            return group, low_byte, creator
        report.error(entry.places["Tag"], place((*steps, "Tag")), "a private tag has an odd group")
    elif entry.group:
        return int(entry.group, 16), -1, creator
    else:
        report.error(entry.at, place((*steps, "Tag")), "is missing; or name the Group, if all of the creator may stay")
    return 0, 0, creator


def _mapping(entry: AnonymizeEntry, steps: Steps, folder: str, report: Report) -> tuple[str, Place | None]:
    """The absolute path of the mapping file, "" = none is named; and the element that is named, if any."""
    steps = (*steps, "Destination")
    if entry.destination is None:
        return "", None
    found = read(MappingEntry, entry.destination, report, steps)
    if found is None or not found.value:
        return "", None
    at = found.value.at
    written = str(found.value)
    if "\\" in written or written.startswith("~") or not written.isprintable():
        report.error(
            at, place((*steps, "Value")), f"{written!r} is no path of this system; write /etc/leyden/mapping.csv"
        )
        return "", None
    path = Path(os.path.normpath(os.path.join(folder, written)))
    for line, what in problems_of(path):
        report.error(at, place((*steps, "Value")), f"{path}{f':{line}' if line else ''}: {what}")
    destination = None if found.tag is NO_PLACE else found.tag
    if destination is not None:
        group = destination.tag >> 16
        if group & 1 or group in (0, _NO_FILE_META, PIXEL_DATA >> 16, 0xFFFE):
            report.error(found.places["Tag"], place((*steps, "Tag")), "is no element that can get a pseudonym")
    return str(path), destination
