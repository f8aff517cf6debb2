"""What the service would do with a file, and why: by the very code that does it, and without doing anything.

A file is read as if a modality had sent it over an association with given AE titles: its file meta is made as the
receiver makes it, then the planner's rules decide. What comes back holds values of the dataset: patient data, for the
operator's eyes. Deliberately absent: what only pixels tell (a worker may find that a syntax can't be made), and what a
destination answers today.
"""

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from leyden.deliver.destination import Destination
from leyden.dicom import part10
from leyden.dicom.elements import ReadAt
from leyden.dicom.header import Header, peek
from leyden.dicom.identity import LOOK_BYTES, as_named
from leyden.dicom.negotiate import (
    ACCEPTED,
    AcceptorPolicy,
    AssociateReject,
    AssociateRequest,
    ProposedContext,
    answer,
)
from leyden.dicom.part10 import FileMeta
from leyden.dicom.uids import syntax_name
from leyden.errors import Corrupt
from leyden.form.choose import AsItCame, Ask, Form, Make
from leyden.form.ladder import Acceptance
from leyden.operate.explained import Asked, Explained, Rule, Saving, Seen, Sending
from leyden.plan import words
from leyden.plan.changes import Change, changes
from leyden.plan.conditions import Clock, Finding, examine
from leyden.plan.match import NO_RECEIPT, AcceptanceOf, Decision, Delivery, plan, plan_unread
from leyden.plan.mutate import Circumstances, EditRan, Mutated, mutate
from leyden.plan.pseudonym import Pseudonymizer
from leyden.plan.rules import Condition, Place, PlanSettings, Route, for_destination

SHOWN_CHARS = 200  # of a value
SHOWN_VALUES = 20  # of an element


class Configured(msgspec.Struct, frozen=True):
    """A configuration, as far as it decides what happens to an object.

    `acceptance_of`: what a destination was seen to accept of a SOP class. `clock`: processor time, for the time limit
    of a condition. `receipt`: 22 digits, of an object that is received now; what mutations make follows from it.
    `pseudonymizer`: who gets which pseudonym; it makes none.
    """

    plan: PlanSettings
    acceptor: AcceptorPolicy
    destinations: Sequence[Destination]
    acceptance_of: AcceptanceOf
    clock: Clock
    receipt: str = NO_RECEIPT
    pseudonymizer: Pseudonymizer | None = None


def explain(
    configured: Configured, path: Path, calling: str = "", called: str = "", places: Collection[Place] = ()
) -> Explained:
    """What the service would do with a file that `calling` sends to `called`.

    Without these titles, those of the file's own meta, or ours. `places`: of which elements the values are told, as
    each destination gets them. Nothing is written.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Explained(str(path), unread=error.strerror or str(error))
    try:
        return _explain(configured, str(path), fd, calling, called, places)
    except OSError as error:
        return Explained(str(path), unread=error.strerror or str(error))
    finally:
        os.close(fd)


def _explain(
    configured: Configured, file: str, fd: int, calling: str, called: str, places: Collection[Place]
) -> Explained:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return Explained(file, unread="not a regular file")
    try:
        meta, offset = _received(fd, calling, called, configured.plan.my_ae_title)
    except Corrupt as flaw:
        return Explained(file, unread=str(flaw))
    found = Explained(
        file,
        meta.sending,
        meta.receiving,
        configured.plan.titles.get(meta.receiving, ""),
        meta.sop_class_uid,
        meta.sop_instance_uid,
        syntax_name(meta.transfer_syntax_uid),
    )
    if why := _rejection(configured.acceptor, meta):
        return replace(found, rejected=why)
    read_at, size = _as_received(fd, meta, offset, status.st_size)
    try:
        header = peek(read_at, size)
        decision = plan(
            configured.plan,
            header,
            configured.acceptance_of,
            receipt=configured.receipt,
            clock=configured.clock,
            every=True,
            pseudonymizer=configured.pseudonymizer,
        )
    except Corrupt as flaw:
        decision = plan_unread(configured.plan, meta, flaw)
        return _decided(
            replace(found, flaw=str(flaw)), decision, [_sending(configured, d, meta) for d in decision.deliveries]
        )
    sendings = [_changed(configured, each, header, found.node, places) for each in decision.deliveries]
    as_routes_see_it = header
    if configured.plan.mutates_first:
        as_routes_see_it = _mutated(configured, header, found.node).header
    return replace(
        _decided(found, decision, sendings),
        rules=tuple(_route(configured, route, as_routes_see_it, decision) for route in configured.plan.routes or ()),
        mutations=tuple(rule for each in decision.mutated for rule in _mutations(configured, header, each)),
    )


def _decided(found: Explained, decision: Decision, sendings: Iterable[Sending]) -> Explained:
    reason = "" if decision.deliveries or decision.dropped_by else decision.reason or "no destination"
    return replace(
        found,
        flaw=found.flaw or decision.flaw,
        deliveries=tuple(sendings),
        saves=tuple(Saving(save.path, save.where) for save in decision.saves),
        dropped_by=decision.dropped_by,
        failed="" if decision.retry else reason,
        postponed=reason if decision.retry else "",
    )


def _received(fd: int, calling: str, called: str, ours: str) -> tuple[FileMeta, int]:
    """The file meta as the receiver would make it, and the offset of the dataset in the file. Raises Corrupt."""
    beginning = os.pread(fd, part10.HEAD_MAX_BYTES + LOOK_BYTES, 0)
    if len(beginning) < part10.META_OFFSET:
        raise Corrupt(f"not a Part 10 file: it has only {len(beginning)} bytes")
    head = part10.decode_head(beginning)
    if head is None:
        raise Corrupt("the file ends within its file meta information")
    meta, offset = head
    calling = calling or meta.sending or meta.source or ours
    called = called or meta.receiving or ours
    named = as_named(meta, beginning[offset:])
    return replace(named, source=calling, sending=calling, receiving=called, flag=""), offset


def _as_received(fd: int, meta: FileMeta, offset: int, size_bytes: int) -> tuple[ReadAt, int]:
    """The file as it would stand in the spool: a reader of it, and its size in bytes."""
    head = part10.encode_head(meta)

    def read_at(at: int, length: int) -> bytes:
        begin = head[at : at + length]
        return begin + os.pread(fd, length - len(begin), max(at - len(head), 0) + offset)

    return read_at, len(head) + size_bytes - offset


def _rejection(acceptor: AcceptorPolicy, meta: FileMeta) -> str:
    """Why the receiver would not take it: the association is rejected, or its presentation context; "" = it would."""
    context = ProposedContext(1, meta.sop_class_uid, (meta.transfer_syntax_uid,))
    reply = answer(acceptor, AssociateRequest(meta.receiving, meta.sending, (context,)))
    if isinstance(reply, AssociateReject):
        return f"the association is {reply}"
    if reply.contexts[0].result != ACCEPTED:
        syntax = syntax_name(meta.transfer_syntax_uid) or "no transfer syntax"
        return f"the presentation context is refused: SOP class {meta.sop_class_uid or '(none)'} in {syntax}"
    return ""


def _route(configured: Configured, route: Route, header: Header, decision: Decision) -> Rule:
    ran = next((ran for ran in decision.ran if ran.route is route), None)
    actions = tuple(map(words.of_action, route.actions))
    if ran is None:
        skipped = f"it looks at objects sent to {' or '.join(route.ae_titles)}" if route.ae_titles else "not reached"
        return Rule(route.where, route.description, skipped, False, (), actions)
    return Rule(route.where, route.description, "", ran.held, _all_asked(configured, route.conditions, header), actions)


def _mutated(configured: Configured, header: Header, destination: str, first: int | None = None) -> Mutated:
    """What a destination gets, as the planner finds it out; `first`: after so many of its mutations only."""
    settings = configured.plan
    chosen = for_destination(settings.mutations or (), destination)[:first]
    circumstances = Circumstances(
        destination, configured.receipt, settings.my_ae_title, configured.clock, configured.pseudonymizer
    )
    return mutate(chosen, header, circumstances)


def _mutations(configured: Configured, header: Header, mutated: Mutated) -> Iterator[Rule]:
    """The mutations for a destination, each with all its conditions, asked of what those before it have made."""
    for n, mutation in enumerate(for_destination(configured.plan.mutations or (), mutated.destination)):
        ran = next((ran for ran in mutated.ran if ran.mutation is mutation), None)
        if ran is None:
            actions = tuple(map(words.of_edit, mutation.actions))
            yield Rule(mutation.where, mutation.description, "not reached", False, (), actions)
            continue
        before = _mutated(configured, header, mutated.destination, n).header
        asked = _all_asked(configured, mutation.conditions, before)
        done = tuple(map(_done, ran.edits))
        yield Rule(mutation.where, mutation.description, "", ran.held, asked, done)


def _done(ran: EditRan) -> str:
    outcome = ran.trouble or ("" if ran.changed else "nothing to change")
    return f"{words.of_edit(ran.edit)}{f' ({outcome})' if outcome else ''}"


def _all_asked(configured: Configured, conditions: Iterable[Condition], header: Header) -> tuple[Asked, ...]:
    """Every condition of a rule, those too that were not asked because one before them did not hold."""
    return tuple(_asked(examine(condition, header, configured.clock)) for condition in conditions)


def _asked(finding: Finding) -> Asked:
    seen = None if finding.seen is None else tuple(_cut(value) for value in finding.seen[:SHOWN_VALUES])
    return Asked(words.of_condition(finding.condition), finding.held, seen, finding.unsure)


def _cut_or_none(value: str | None) -> str | None:
    return None if value is None else _cut(value)


def _cut(value: str) -> str:
    return value if len(value) <= SHOWN_CHARS else value[:SHOWN_CHARS] + "..."


def _changed(configured: Configured, delivery: Delivery, came: Header, node: str, places: Collection[Place]) -> Sending:
    """A delivery with what mutations make of it. `node`: for whom the called title stands."""
    whose = node if configured.plan.mutates_first else delivery.destination
    mutated = delivery.mutated or _mutated(configured, came, whose)
    leaves = mutated.header if mutated.changed else came
    return replace(
        _sending(configured, delivery, leaves.meta),
        mutations=tuple(_mutations(configured, came, mutated)),
        changes=tuple(
            Change(each.path, _cut_or_none(each.before), _cut_or_none(each.after))
            for each in changes(came.dataset, leaves.dataset)
        ),
        failure=mutated.failure.reason if mutated.failure else "",
        values={words.of_place(place): _texts(leaves, place) for place in places},
    )


def _sending(configured: Configured, delivery: Delivery, meta: FileMeta) -> Sending:
    """A delivery of an object with this file meta."""
    destination = next(each for each in configured.destinations if each.ae_title == delivery.destination)
    form, syntax_uid, why, padded = _form(delivery.form, meta.transfer_syntax_uid)
    known = configured.acceptance_of(delivery.destination, meta.sop_class_uid)
    return Sending(
        destination=delivery.destination,
        address=f"{destination.host}:{destination.port}",
        calling=(meta.sending if destination.impersonate else "") or configured.plan.my_ae_title,
        because=delivery.reason,
        form=form,
        syntax=syntax_name(syntax_uid),
        syntax_uid=syntax_uid,
        padded=padded,
        why=why,
        rank=delivery.rank,
        seen=_seen(known) if known else None,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
    )


def _texts(header: Header, place: Place) -> tuple[str, ...] | None:
    """The values of an element, perhaps in an item; None = it, or such an item, is absent."""
    dataset = header.file_meta if place.tag >> 16 == 2 else header.dataset
    for step in place.within:
        items = dataset.items(step.sequence)
        if len(items) < step.item:
            return None
        dataset = items[step.item - 1]
    return dataset.texts(place.tag)


def _seen(known: Acceptance) -> Seen:
    return Seen(tuple(map(syntax_name, known.accepted)), tuple(map(syntax_name, known.refused)), known.seen_s)


def _form(form: Form, came: str) -> tuple[str, str, str, bool]:
    """The name of a form, the UID of its syntax, its reason, and whether values of odd length are padded."""
    match form:
        case Make(uid):
            return "make", uid, "", False
        case Ask(uid):
            return "ask", uid, "", False
        case AsItCame(reason, padded):
            return "as_it_came", came, reason, padded
        case _:
            return "as_it_came", came, form.reason, False
