"""mutations.yml as the rules that planner and workers apply: titles resolved, places, expressions and values tried.

Whatever could let an object leave unchanged is an error here, at the start, and no warning.
"""

from collections.abc import Mapping

from leyden.config import doubtful_rules
from leyden.config.conditions import NOT_PRIVATE, condition, may_be_private, regex_problem
from leyden.config.identities import check_identities, identity_edit, several_identities
from leyden.config.nodes import Served, resolved
from leyden.config.report import Report
from leyden.config.schema import (
    NO_PLACE,
    DestinationEntry,
    EditEntry,
    MutationEntry,
    SourceEntry,
    Steps,
    place,
    read,
)
from leyden.config.yaml_text import At, Items, Node
from leyden.dicom.elements import PIXEL_DATA, dictionary_vr, tag_name
from leyden.plan.conditions import compiled
from leyden.plan.mutate import SOP_CLASS, SOP_INSTANCE
from leyden.plan.rules import ActionType, Edit, EditType, Kind, Mutation, OnError, Place, PlanSettings
from leyden.plan.template import parts_of

_ITEM_GROUP = 0xFFFE
_FILE_META_GROUP = 0x0002
_STORAGE = "storage"


def mutations(document: Node | None, served: Served | None, folder: str, report: Report) -> tuple[Mutation, ...]:
    """Every entry as a Mutation. With `served` None (nodes.yml cannot be read) no title is looked up.

    A relative path in an action is relative to `folder`.
    """
    if document is not None and not isinstance(document, Items):
        report.error(document.at, "", "must be a list: each mutation begins with a dash (- AeTitles: ...)")
        return ()
    read_ones = [read(MutationEntry, given, report) for given in document or ()]
    found: list[Mutation] = []
    entries: list[MutationEntry] = []
    for entry in read_ones:
        if entry is None:
            continue
        mutation = _mutation(entry, served, folder, report)
        if not entry.affects or _STORAGE in entry.affects:
            found.append(mutation)
            entries.append(entry)
        else:
            services = ", ".join(entry.affects)
            report.warn(entry.places["Affects"], "Affects", f"the mutation does nothing: {services} are not there yet")
    doubtful_rules.warn(document, found, served, report)
    several_identities(found, entries, report)
    return tuple(found)


def unmutated_copies(plan: PlanSettings, places: Mapping[str, At], report: Report) -> None:
    """Report what the order `mutate, route` lets through: copies that routes make are not mutated once more."""
    if not plan.mutations or not plan.routes or not plan.mutates_first:
        return
    at = places.get("filters", At("config.yml"))
    actions = [action for route in plan.routes for action in route.actions]
    if any(action.type is ActionType.SAVE_FILE for action in actions):
        unchanged = "with mutate before route, save_file would save what is not mutated; write route, mutate"
        report.error(at, "filters", unchanged)
    added = {action.target for action in actions if action.type is ActionType.ADD_DESTINATION}
    for mutation in plan.mutations:
        for title in sorted(added.intersection(mutation.ae_titles)):
            late = f"mutate runs before route: what a route adds for {title} is not changed by {mutation.where}"
            if any(edit.type in (EditType.ANONYMIZE, EditType.DEIDENTIFY) for edit in mutation.actions):
                report.error(at, "filters", f"{late}, and would name the patient; write route, mutate")
            else:
                report.warn(at, "filters", f"{late}; write route, mutate if it should be")


def _mutation(entry: MutationEntry, served: Served | None, folder: str, report: Report) -> Mutation:
    mutation = Mutation(
        where=str(entry.at),
        ae_titles=tuple(resolved(title, ("AeTitles", n), served, report) for n, title in enumerate(entry.ae_titles)),
        conditions=tuple(condition(inner, ("Conditions", n), report) for n, inner in enumerate(entry.conditions)),
        actions=tuple(_edit(inner, ("Actions", n), folder, report) for n, inner in enumerate(entry.actions)),
        description=str(entry.description or ""),
        original_attributes=entry.original_attributes,
    )
    check_identities(mutation, entry, report)
    return mutation


def _edit(given: Node, steps: Steps, folder: str, report: Report) -> Edit:
    if edit := identity_edit(given, steps, folder, report):
        return edit
    entry = read(EditEntry, given, report, steps)
    if entry is None:
        return Edit(EditType.REMOVE, "")  # a stand-in: the error stops the start
    kind = EditType(entry.type)
    if kind is not EditType.ADD_OR_UPDATE:
        for key, why in (("Source", "takes no Source"), ("OnError", "takes no OnError: it always is fail")):
            if key in entry.places:
                report.error(entry.places[key], place((*steps, key)), f"{kind} {why}")
    return _READERS[kind](entry, steps, folder, report)


def _add_or_update(entry: EditEntry, steps: Steps, _folder: str, report: Report) -> Edit:
    source = None
    expression = ""
    groups, names = -1, frozenset[str]()
    if entry.source is not None and (read_source := read(SourceEntry, entry.source, report, (*steps, "Source"))):
        source = _place(read_source, (*steps, "Source"), report)
        expression = str(read_source.expression)
        if problem := regex_problem(read_source.expression):
            report.error(read_source.expression.at, place((*steps, "Source", "Expression")), problem)
        else:
            pattern = compiled(Kind.REGEX, expression)
            groups, names = pattern.groups, frozenset(pattern.groupindex)
    destination, target = _destination(entry, steps, report)
    if destination is None or target is None:
        return Edit(EditType.ADD_OR_UPDATE, str(entry.at))
    steps = (*steps, "Destination")
    value = destination.value
    if value is None and source is None:
        report.error(destination.at, place((*steps, "Value")), "is missing; without a Source there is nothing to write")
    elif value is not None and value.blank:
        report.error(value.at, place((*steps, "Value")), "is empty; write '' for an empty value, or use remove")
    elif groups >= 0 or (entry.source is None and "Source" not in entry.places):
        try:
            parts_of(str(value if value is not None else "$1"), groups, names)
        except ValueError as error:
            report.error(value.at if value is not None else destination.at, place((*steps, "Value")), str(error))
    _check_written(destination, target, steps, report)
    if source is not None and source.within != target.within and not all(step.item for step in source.within):
        both = "[*] is possible in a Source only if Destination has the same way to its items"
        report.error(entry.at, place((*steps[:-1], "Source", "Tag")), both)
    return Edit(
        EditType.ADD_OR_UPDATE,
        str(entry.at),
        source,
        expression,
        target,
        destination.vr,
        str(value if value is not None else "$1"),
        OnError(entry.on_error),
        description=str(entry.description or ""),
        log_info=entry.log,
    )


def _remove(entry: EditEntry, steps: Steps, _folder: str, report: Report) -> Edit:
    destination, target = _destination(entry, steps, report)
    if destination is not None and target is not None:
        where = (*steps, "Destination")
        for key in ("Value", "Vr"):
            if key in destination.places:
                report.error(destination.places[key], place((*where, key)), "remove takes a Tag only")
        if target.tag in (SOP_CLASS, SOP_INSTANCE) and not target.within:
            needed = f"without {tag_name(target.tag)} an object can't be sent"
            report.error(destination.places["Tag"], place((*where, "Tag")), needed)
    return Edit(
        EditType.REMOVE,
        str(entry.at),
        destination=target,
        description=str(entry.description or ""),
        log_info=entry.log,
    )


_READERS = {EditType.ADD_OR_UPDATE: _add_or_update, EditType.REMOVE: _remove}


def _destination(entry: EditEntry, steps: Steps, report: Report) -> tuple[DestinationEntry | None, Place | None]:
    """The destination of an action and its place; (None, None) after an error."""
    steps = (*steps, "Destination")
    if entry.destination is None:
        return None, None
    found = read(DestinationEntry, entry.destination, report, steps)
    if found is None or found.tag is NO_PLACE:
        return None, None
    target = _place(found, steps, report)
    group = target.tag >> 16
    problem = ""
    if group == _FILE_META_GROUP:
        problem = "the file meta can't be changed; it follows SOP class and SOP instance UID (0008,0016 and 0008,0018)"
    elif group in (0, _ITEM_GROUP) or not target.tag & 0xFFFF:
        problem = "is no element of a dataset that can be changed"
    elif group == PIXEL_DATA >> 16:
        problem = "pixel data are not changed by mutations"
    if problem:
        report.error(found.places["Tag"], place((*steps, "Tag")), problem)
        return None, None
    return found, target


def _place(entry: SourceEntry | DestinationEntry, steps: Steps, report: Report) -> Place:
    """The place of an element, with its private creator; reports what contradicts itself."""
    given = entry.tag
    creator = str(entry.private_tag_creator or "")
    at = entry.places.get("Tag", entry.at)
    if creator and given is not NO_PLACE and not may_be_private(given.tag):
        report.error(at, place((*steps, "Tag")), NOT_PRIVATE)
    if any(dictionary_vr(step.sequence) not in ("SQ", "UN") for step in given.within):
        report.error(at, place((*steps, "Tag")), "only a sequence has items")
    return Place(given.tag, given.within, creator)


def _check_written(entry: DestinationEntry, target: Place, steps: Steps, report: Report) -> None:
    """Report an element whose VR is not known, or has no text."""
    tag = target.tag
    known = dictionary_vr(tag)
    at = entry.places.get("Tag", entry.at)
    if tag & 0x10000:
        if not target.private_creator and tag & 0xFFFF > 0xFF:
            report.error(at, place((*steps, "Tag")), "a private element needs its PrivateTagCreator")
    elif not entry.vr and known == "UN":
        report.error(at, place((*steps, "Tag")), f"{tag_name(tag)} is not in PS3.6: its VR is needed, such as VR: LO")
    elif not entry.vr and known in ("SQ", "OB", "OD", "OF", "OL", "OV", "OW", "OB or OW"):
        report.error(at, place((*steps, "Tag")), f"{tag_name(tag)} has VR {known}, which no text can be written to")
