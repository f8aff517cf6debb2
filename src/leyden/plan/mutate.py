"""From a dataset to what one destination gets instead: mutations.yml, applied to a header.

The mutations run in the order of the file. The conditions of each see what those before it have made. The planner calls
this to know what an object will be, a worker to make it: both get the same answer, for everything that is new (UIDs,
times) follows from the receipt. Nothing is written here, the answer is a Draft.
If a mutation can't be applied, or it is not sure whether it has to be, the answer is a failure: the object must not
leave as it is. No text here holds a value of the dataset, as values are patient data.
Deliberately absent: pixels.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
import regex  # type: ignore[import-untyped]
from msgspec.structs import replace

from leyden.dicom.draft import Draft
from leyden.dicom.edit import Replacements
from leyden.dicom.elements import PIXEL_ELEMENTS, tag_name
from leyden.dicom.header import Dataset, Header
from leyden.dicom.uids import is_storage, uid_of
from leyden.dicom.values import Unwritable
from leyden.errors import Corrupt, Transient
from leyden.plan.conditions import (
    TIME_LIMIT_S,
    TOTAL_LIMIT_S,
    Clock,
    Finding,
    compiled,
    examine,
    remark,
    stopped_clock,
)
from leyden.plan.deidentify import anonymize, deidentify
from leyden.plan.profile import Option
from leyden.plan.pseudonym import PATIENT_ID, Patient, Pseudonymizer, Unsafe, patient_of
from leyden.plan.rules import CopyRules, Edit, EditType, Kind, Mutation, OnError, Place, Step, for_destination
from leyden.plan.template import parts_of

SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
_META_SOP_CLASS, _META_SOP_INSTANCE = 0x00020002, 0x00020003
_ORIGINAL_ATTRIBUTES = 0x04000561
_MODIFIED_ATTRIBUTES, _MODIFICATION_TIME, _MODIFYING_SYSTEM = 0x04000550, 0x04000562, 0x04000563
_SOURCE_OF_VALUES, _REASON = 0x04000564, 0x04000565


class CannotError(Exception):
    """An edit can't be made; the text says why, without any value."""


class LaterError(CannotError):
    """An edit can't be made now, whatever its OnError says: the object has to wait."""


class Circumstances(msgspec.Struct, frozen=True):
    """What an object's mutations depend on beside the object.

    `destination`: the AE title whose mutations run ("" = only those for all); `receipt`: of the object, 22 digits, the
    first 16 of them microseconds since 1970; `system`: the AE title that is named as the one that has modified it;
    `pseudonymizer`: for anonymize and deidentify.
    """

    destination: str
    receipt: str
    system: str = ""
    clock: Clock = stopped_clock
    pseudonymizer: Pseudonymizer | None = None

    @property
    def received(self) -> datetime:
        """When it was received, in local time."""
        return datetime.fromtimestamp(int(self.receipt[:16]) / 1e6).astimezone()


class EditRan(NamedTuple):
    """An action that was run. `trouble`: why it could not be done, "" = it was, or it had nothing to do; `later`: that
    may pass."""

    edit: Edit
    changed: bool
    trouble: str = ""
    later: bool = False


class MutationRan(NamedTuple):
    """A mutation that was run: its findings, up to the first condition that did not hold, and its actions."""

    mutation: Mutation
    findings: tuple[Finding, ...]
    held: bool
    edits: tuple[EditRan, ...] = ()


class Failure(NamedTuple):
    """The object must not go to this destination: `kind` is RETRY or FAIL."""

    kind: OnError
    reason: str


class Mutated(msgspec.Struct, frozen=True, eq=False):
    """What one destination gets. `header`: as it will leave, its dataset `draft`. `failure`: why it must not leave;
    then the header may be that of what came.

    `rules`: by which it was found out, and can be found out again.
    """

    rules: CopyRules
    header: Header
    draft: Draft
    ran: tuple[MutationRan, ...] = ()
    failure: Failure | None = None

    @property
    def destination(self) -> str:
        """Whose mutations these are, as in Circumstances."""
        return self.rules.destination

    @property
    def changed(self) -> bool:
        """Whether anything differs from what came."""
        return self.draft.changed

    @property
    def changed_by(self) -> tuple[str, ...]:
        """The places in mutations.yml of the actions that changed something."""
        return tuple(edit.where for each in self.ran for edit, changed, *_ in each.edits if changed)

    @property
    def rectangles(self) -> tuple[tuple[int, int, int, int], ...]:
        """What has to be made black in each frame: left, top, width and height in pixels."""
        profiles = (done.edit.profile for each in self.ran if each.held for done in each.edits)
        return tuple(each for profile in profiles if profile for each in profile.rectangles)


def mutate(mutations: Sequence[Mutation], header: Header, circumstances: Circumstances) -> Mutated:
    """Apply the mutations for one destination. 30 us and more for an image; no exception but for a fault of Leyden."""
    work = Work(header, circumstances)
    chosen = for_destination(mutations, circumstances.destination)
    rules = CopyRules(circumstances.destination, circumstances.system, chosen)
    if chosen and (flaw := header.flaw or _out_of_place(work.draft)):
        reason = f"{chosen[0].where} can't be applied to a dataset that can't be read as a whole: {flaw}"
        return Mutated(rules, header, work.draft, failure=Failure(OnError.FAIL, reason))
    ran: list[MutationRan] = []
    for mutation in chosen:
        done, failure = _run(mutation, work)
        ran.append(done)
        if failure:
            return Mutated(rules, work.header, work.draft, tuple(ran), failure)
    return Mutated(rules, work.header, work.draft, tuple(ran))


def _out_of_place(draft: Draft) -> str:
    """Why a mutation might miss an element: it occurs twice, or behind Pixel Data though its tag is lower."""
    try:
        draft.read()
        misplaced = next((tag for tag in draft.trailing() if tag < min(PIXEL_ELEMENTS)), None)
    except Corrupt as error:
        return str(error)
    return "" if misplaced is None else f"{tag_name(misplaced)} stands behind Pixel Data"


def unreadable(mutations: Sequence[Mutation], destination: str, flaw: object) -> str:
    """Why an object whose dataset can't be read at all must not go to a destination; "" = no mutation is for it."""
    chosen = for_destination(mutations, destination)
    return f"{chosen[0].where} can't be applied: {flaw}" if chosen else ""


def remarks(mutated: Mutated, *, debug: bool) -> Iterator[tuple[bool, str]]:
    """What the log says about the mutations that ran, as (True for level INFO or False for DEBUG, text)."""
    for mutation, findings, held, edits in mutated.ran:
        for finding in findings:
            info = finding.condition.log_info or bool(finding.unsure)
            if info or (debug and finding.held):
                yield info, f"{mutation.where}: {remark(finding)}"
        for edit, changed, trouble, _ in edits if held else ():
            info = edit.log_info or bool(trouble)
            if info or debug:
                what = trouble or ("" if changed else "nothing to change")
                yield info, ": ".join(filter(None, (_named(edit), edit.description or mutation.description, what)))


class Work:
    """The dataset on its way through the mutations. `header` shows it as it is now."""

    def __init__(self, header: Header, circumstances: Circumstances) -> None:
        self.circumstances = circumstances
        self.draft = Draft(header.dataset)
        self.header = replace(header, dataset=self.draft)
        self._came = header
        self._named = self._names()
        self._search_left_s = TOTAL_LIMIT_S

    def search(self, pattern: "regex.Pattern[str]", text: str) -> "regex.Match[str] | None":
        """Search a text. Raises CannotError: it takes too long, or all searches in this object together do."""
        if self._search_left_s <= 0:
            raise CannotError(f"its expression was not asked: searches before it took {TOTAL_LIMIT_S * 1000:.0f} ms")
        start_s = self.circumstances.clock()
        try:
            found = pattern.search(text, timeout=TIME_LIMIT_S)
        except TimeoutError:
            self._search_left_s -= TIME_LIMIT_S
            raise CannotError(f"its expression had no answer within {TIME_LIMIT_S * 1000:.0f} ms") from None
        self._search_left_s -= self.circumstances.clock() - start_s
        return found

    def follow(self) -> None:
        """Have the file meta information follow SOP class and instance UID (PS3.10 section 7.1)."""
        names = self._names()
        if names == self._named:
            return
        self._named = names
        sop_class, sop_instance = names
        file_meta = Draft(self._came.file_meta)
        file_meta.set_texts(_META_SOP_CLASS, "UI", (sop_class,))
        file_meta.set_texts(_META_SOP_INSTANCE, "UI", (sop_instance,))
        meta = replace(self._came.meta, sop_class_uid=sop_class, sop_instance_uid=sop_instance)
        self.header = replace(self.header, meta=meta, file_meta=file_meta)

    def _names(self) -> tuple[str, str]:
        """SOP class and instance UID: of the file meta information, until an edit touches that of the dataset."""
        texts = (self.draft.texts(tag) if self.draft.edits(tag) else None for tag in (SOP_CLASS, SOP_INSTANCE))
        meta = self._came.meta
        came = (meta.sop_class_uid, meta.sop_instance_uid)
        sop_class, sop_instance = (
            old if new is None else next(iter(new), "") for new, old in zip(texts, came, strict=True)
        )
        return sop_class, sop_instance


def _run(mutation: Mutation, work: Work) -> tuple[MutationRan, Failure | None]:
    findings: list[Finding] = []
    for condition in mutation.conditions:
        finding = examine(condition, work.header, work.circumstances.clock)
        findings.append(finding)
        if not finding.held:
            failure = _unsure(mutation, finding) if finding.unsure else None
            return MutationRan(mutation, tuple(findings), False), failure
    before: Replacements = work.draft.replacements() if mutation.original_attributes else {}
    edits: list[EditRan] = []
    failure = None
    for edit in mutation.actions:
        done = _try(edit, work)
        edits.append(done)
        on_error = OnError.RETRY if done.later else edit.on_error
        if done.trouble and on_error is not OnError.SKIP_ACTION:
            if on_error is not OnError.END_MUTATION:
                failure = Failure(on_error, f"{_named(edit)}: {done.trouble}")
            break
    if mutation.original_attributes and not failure:
        try:
            _keep_originals(work, before)
        except (Corrupt, Unwritable, ValueError) as error:
            failure = Failure(OnError.FAIL, f"{mutation.where}: the original attributes can't be kept: {error}")
    return MutationRan(mutation, tuple(findings), True, tuple(edits)), failure


def _unsure(mutation: Mutation, finding: Finding) -> Failure | None:
    """What follows if it is not known whether a mutation has to be applied: what its actions say of errors.

    It is left out only if each of them may be.
    """
    kinds = {edit.on_error for edit in mutation.actions}
    kind = OnError.FAIL if OnError.FAIL in kinds else OnError.RETRY
    if kind not in kinds:
        return None
    return Failure(kind, f"{mutation.where}: {remark(finding).partition(': taken as')[0]}")


def _try(edit: Edit, work: Work) -> EditRan:
    try:
        changed = ACTS[edit.type](edit, work)
        work.follow()
    except LaterError as error:
        return EditRan(edit, False, str(error), later=True)
    except (CannotError, Unwritable, Unsafe) as error:
        return EditRan(edit, False, str(error))
    except Corrupt as error:
        return EditRan(edit, False, f"a sequence that can't be read: {error}")
    return EditRan(edit, changed)


def _named(edit: Edit) -> str:
    return f"{edit.where} {edit.type}"


# -- the actions: each returns whether anything changed, or raises CannotError, Unwritable or Corrupt


def _add_or_update(edit: Edit, work: Work) -> bool:
    destination = edit.destination
    assert destination is not None
    wanted: list[tuple[Draft, int, str, bytes]] = []  # all values are there before the first one is set
    for number, holder in enumerate(holders(work.draft, destination.within)):
        present = _tag(destination, holder)
        text = _text(edit, work, holder, present, number)
        if text is None:
            continue
        if present is None:
            creator = destination.private_creator
            present = holder.private_place(destination.tag >> 16, destination.tag & 0xFF, creator)
        if holder is work.draft:
            _check_name(present, text)
        wanted.append((holder, present, *holder.value_of(present, edit.vr, text)))
    changed = [holder.set(tag, vr, value) for holder, tag, vr, value in wanted]
    return any(changed)


def _check_name(tag: int, text: str) -> None:
    """Raise CannotError if an object could not be sent under this SOP class or instance UID."""
    if tag == SOP_INSTANCE and (not text or "\\" in text):
        raise CannotError(f"{tag_name(tag)} would not be one UID")
    if tag == SOP_CLASS and not is_storage(text):
        raise CannotError(f"{tag_name(tag)} would be no storage SOP class")


def _remove(edit: Edit, work: Work) -> bool:
    assert edit.destination is not None
    try:
        found = [(holder, _tag(edit.destination, holder)) for holder in holders(work.draft, edit.destination.within)]
    except CannotError:
        return False  # no such item: so there is nothing to remove
    removed = [holder.remove(tag) for holder, tag in found if tag is not None]
    return any(removed)


def _anonymize(edit: Edit, work: Work) -> bool:
    patient = patient_of(work.draft)
    if not patient.id:
        raise CannotError(f"{tag_name(PATIENT_ID)} is absent or empty, so the patient can't be told from others")
    pseudonym = _pseudonym(edit, work, patient)
    if edit.destination is None:
        anonymize(work.draft, pseudonym)
        return True
    wanted = [(holder, _tag(edit.destination, holder)) for holder in holders(work.draft, edit.destination.within)]
    changed = [tag is not None and holder.set_texts(tag, "", (pseudonym,)) for holder, tag in wanted]
    return any(changed)


def _deidentify(edit: Edit, work: Work) -> bool:
    assert edit.profile is not None
    patient = patient_of(work.draft)
    if edit.mapping and not patient.id:
        raise CannotError(f"{tag_name(PATIENT_ID)} is absent or empty, so the patient can't be told from others")
    try:
        keyed = _pseudonymizer(work).keyed()
    except Transient as error:
        raise LaterError(str(error)) from None
    retains = Option.RETAIN_UIDS in edit.profile.options
    came = work.header.meta.sop_instance_uid
    deidentify(work.draft, edit.profile, keyed, _pseudonym(edit, work, patient) if edit.mapping else "")
    if not retains and not work.draft.edits(SOP_INSTANCE) and [came] != list(work.draft.texts(SOP_INSTANCE) or ()):
        raise CannotError(f"the file meta names another instance than {tag_name(SOP_INSTANCE)}, which stays")
    return True


def _pseudonym(edit: Edit, work: Work, patient: Patient) -> str:
    try:
        return _pseudonymizer(work).pseudonym_of(edit.mapping, patient)
    except Transient as error:
        raise LaterError(str(error)) from None


def _pseudonymizer(work: Work) -> Pseudonymizer:
    if work.circumstances.pseudonymizer is None:
        raise CannotError("there is no key and no mapping file here")
    return work.circumstances.pseudonymizer


Act = Callable[[Edit, Work], bool]
ACTS: dict[EditType, Act] = {
    EditType.ADD_OR_UPDATE: _add_or_update,
    EditType.REMOVE: _remove,
    EditType.ANONYMIZE: _anonymize,
    EditType.DEIDENTIFY: _deidentify,
}


def holders(draft: Draft, within: Sequence[Step]) -> list[Draft]:
    """The dataset or the items in which a place is. Raises CannotError if an item with a number is not there."""
    found = [draft]
    for step in within:
        inner = [(holder, holder.items(step.sequence)) for holder in found]
        if step.item and not all(len(items) >= step.item for _, items in inner):
            raise CannotError(f"{tag_name(step.sequence)} has no item {step.item}")
        found = [item for _, items in inner for item in (items[step.item - 1 : step.item] if step.item else items)]
    return found


def _tag(place: Place, dataset: Dataset) -> int | None:
    """The tag of a place in its dataset or item; None: it is private, and its creator has no such element there."""
    if not place.private_creator:
        return place.tag
    return dataset.private_tag(place.tag >> 16, place.tag & 0xFF, place.private_creator)


def _text(edit: Edit, work: Work, holder: Draft, present: int | None, number: int) -> str | None:
    """The text that an edit gives to its destination, the `number`th one; None = the expression does not match."""
    groups: Sequence[str] = ()
    names: Mapping[str, str] = {}
    count = -1
    if edit.source is not None:
        pattern = compiled(Kind.REGEX, edit.expression)
        count = pattern.groups
        text = _source(edit, work, holder)
        if text is None:
            return None
        match = work.search(pattern, text)
        if match is None:
            return None
        groups = (match[0], *(each or "" for each in match.groups()))
        names = {name: each or "" for name, each in match.groupdict().items()}
        parts = parts_of(edit.value, count, frozenset(names))
    else:
        parts = parts_of(edit.value, count, frozenset())
    out: list[str] = []
    for place, part in enumerate(parts):
        if isinstance(part.group, int):
            out.append(groups[part.group])
        elif part.group is not None:
            out.append(names[part.group])
        elif part.hash_of is not None:
            out.append(_hash(work.header, *part.hash_of))
        elif part.marker:
            out.append(_marker(part.marker, edit, work, holder, present, f"{number}.{place}"))
        else:
            out.append(part.literal)
    return "".join(out)


def _source(edit: Edit, work: Work, holder: Draft) -> str | None:
    """The text of the source, its values joined by backslashes; None = it is absent. Within each item: its own one."""
    place = edit.source
    assert place is not None
    if place.tag >> 16 == 2:
        return _joined(work.header.texts(place.tag))
    if edit.destination is None or place.within != edit.destination.within:
        try:
            (holder,) = holders(work.draft, place.within)
        except CannotError:
            return None
    tag = _tag(place, holder)
    return None if tag is None else _joined(holder.texts(tag))


def _joined(texts: Sequence[str] | None) -> str | None:
    return None if texts is None else "\\".join(texts)


def _marker(marker: str, edit: Edit, work: Work, holder: Draft, present: int | None, use: str) -> str:
    circumstances = work.circumstances
    if marker == "uid":
        return uid_of(circumstances.receipt, circumstances.destination, edit.where, use)
    if marker == "timestamp":
        return str(int(circumstances.receipt[:16]) // 1000)
    if marker == "today":
        return circumstances.received.strftime("%Y%m%d")
    return (_joined(holder.texts(present)) if present is not None else None) or ""


def _hash(header: Header, tag: int, digits: int) -> str:
    text = _joined(header.texts(tag))
    if not text:
        raise CannotError(f"{tag_name(tag)}, whose hash is asked for, is absent or empty")
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:digits]


# -- the Original Attributes Sequence (PS3.3 C.12.1.1.9)


def _keep_originals(work: Work, before: Replacements) -> None:
    """Add an item with the values that the top-level elements had before this mutation, if it changed any."""
    draft = work.draft
    now = draft.replacements()
    edited = (tag for tag in now if tag not in before or now[tag] != before[tag])
    tags = [tag for tag in edited if tag != _ORIGINAL_ATTRIBUTES]
    if not tags:
        return
    received = work.circumstances.received
    item, old = draft.new_item(), draft.new_item()
    for tag in tags:
        draft.copy_original(tag, before, old)
    item.set_items(_MODIFIED_ATTRIBUTES, (old,))
    item.set_texts(_MODIFICATION_TIME, "", (received.strftime("%Y%m%d%H%M%S.%f%z"),))
    item.set_texts(_MODIFYING_SYSTEM, "", (work.circumstances.system,))
    sending = work.header.meta.sending.encode("ascii", "replace").decode()  # a title may hold anything
    item.set_texts(_SOURCE_OF_VALUES, "", (sending,))
    item.set_texts(_REASON, "", ("COERCE",))
    draft.set_items(_ORIGINAL_ATTRIBUTES, (*draft.items(_ORIGINAL_ATTRIBUTES), item))
