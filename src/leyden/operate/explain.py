"""What the service would do with a file, and why: by the very code that does it, and without doing anything.

A file is read as if a modality had sent it over an association with given AE titles: its file meta is made as the
receiver makes it, then the planner's rules decide. What comes back holds values of the dataset: patient data, for the
operator's eyes. Deliberately absent: what only pixels tell (a worker may find that a syntax can't be made), and what a
destination answers today.
"""

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from leyden.plan import words
from leyden.plan.conditions import Clock, Finding, examine
from leyden.plan.match import AcceptanceOf, Decision, Delivery, plan
from leyden.plan.rules import PlanSettings, Route

SHOWN_CHARS = 200  # of a value
SHOWN_VALUES = 20  # of an element


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration, as far as it decides what happens to an object.

    `acceptance_of`: what a destination was seen to accept of a SOP class. `clock`: processor time, for the time limit
    of a condition.
    """

    plan: PlanSettings
    acceptor: AcceptorPolicy
    destinations: Sequence[Destination]
    acceptance_of: AcceptanceOf
    clock: Clock


@dataclass(frozen=True, slots=True)
class Asked:
    """A condition and its answer. `seen`: the values that were compared, None = there are none; `unsure`: why there is
    no answer, "" = there is one."""

    condition: str
    held: bool
    seen: tuple[str, ...] | None
    unsure: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule and what came of it. `skipped`: why none of its conditions was asked; "" = they were."""

    where: str
    description: str
    skipped: str
    held: bool
    conditions: tuple[Asked, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a destination was seen to accept of a SOP class: names of transfer syntaxes; times in seconds since 1970."""

    accepted: tuple[str, ...]
    refused: tuple[str, ...]
    seen_s: float


@dataclass(frozen=True, slots=True)
class Sending:
    """One copy that is sent. `syntax`: the name of the one that it goes in, unless the destination refuses it.

    `form` is make, ask or as_it_came, and `why` the reason for the latter; `because`: what asked for this delivery.
    `values`: those that were asked for, by tag; None = the element is absent.
    """

    destination: str
    address: str
    calling: str
    because: str
    form: str
    syntax: str
    syntax_uid: str
    padded: bool
    why: str
    rank: str
    seen: Seen | None
    sop_class_uid: str
    sop_instance_uid: str
    values: dict[str, tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class Saving:
    """One copy that is written: its path, and the rule that asks for it."""

    path: str
    because: str


@dataclass(frozen=True, slots=True)
class Explained:
    """What would happen to a file.

    `unread`: why it is no object that could be sent; `rejected`: why the receiver would not take it. With neither, it
    has deliveries, or was dropped, or `failed` says why it goes to failed/. `node`: for whom the called title stands,
    "" = ourselves. `flaw`: why the rules saw only a part of it.
    """

    file: str
    calling: str = ""
    called: str = ""
    node: str = ""
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    syntax: str = ""
    unread: str = ""
    rejected: str = ""
    flaw: str = ""
    rules: tuple[Rule, ...] = ()
    deliveries: tuple[Sending, ...] = ()
    saves: tuple[Saving, ...] = ()
    dropped_by: str = ""
    failed: str = ""

    @property
    def well(self) -> bool:
        """Whether it is taken, and reaches an end that a rule or a called title asks for."""
        return not (self.unread or self.rejected or self.failed)


def explain(
    configured: Configured, path: Path, calling: str = "", called: str = "", tags: Collection[str] = ()
) -> Explained:
    """What the service would do with a file that `calling` sends to `called`.

    Without these titles, those of the file's own meta, or ours. `tags` (eight hex digits): of which elements the values
    are told, as each destination gets them. Nothing is written.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Explained(str(path), unread=error.strerror or str(error))
    try:
        return _explain(configured, str(path), fd, calling, called, tags)
    except OSError as error:
        return Explained(str(path), unread=error.strerror or str(error))
    finally:
        os.close(fd)


def _explain(configured: Configured, file: str, fd: int, calling: str, called: str, tags: Collection[str]) -> Explained:
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
        decision = plan(configured.plan, header, configured.acceptance_of, clock=configured.clock)
    except Corrupt as flaw:
        return replace(found, failed=f"unreadable: {flaw}")
    return replace(
        found,
        flaw=decision.flaw,
        rules=tuple(_rule(configured, route, header, decision) for route in configured.plan.routes or ()),
        deliveries=tuple(_sending(configured, each, header, tags) for each in decision.deliveries),
        saves=tuple(Saving(save.path, save.where) for save in decision.saves),
        dropped_by=decision.dropped_by,
        failed="" if decision.deliveries or decision.dropped_by else decision.reason or "no destination",
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


def _rule(configured: Configured, route: Route, header: Header, decision: Decision) -> Rule:
    ran = next((ran for ran in decision.ran if ran.route is route), None)
    actions = tuple(map(words.of_action, route.actions))
    if ran is None:
        skipped = f"it looks at objects sent to {' or '.join(route.ae_titles)}"
        return Rule(route.where, route.description, skipped, False, (), actions)
    asked = tuple(_asked(examine(condition, header, configured.clock)) for condition in route.conditions)
    return Rule(route.where, route.description, "", ran.held, asked, actions)


def _asked(finding: Finding) -> Asked:
    seen = None if finding.seen is None else tuple(_cut(value) for value in finding.seen[:SHOWN_VALUES])
    return Asked(words.of_condition(finding.condition), finding.held, seen, finding.unsure)


def _cut(value: str) -> str:
    return value if len(value) <= SHOWN_CHARS else value[:SHOWN_CHARS] + "..."


def _sending(configured: Configured, delivery: Delivery, header: Header, tags: Collection[str]) -> Sending:
    destination = next(each for each in configured.destinations if each.ae_title == delivery.destination)
    meta = header.meta
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
        values={tag: header.texts(int(tag, 16)) for tag in tags},
    )


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
