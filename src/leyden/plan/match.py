"""From a dataset's header to its deliveries: to which destinations, in which form, with which rank, and why.

The called AE title gives the original destination (none for our own title). Then each matching route runs, in the
order of the file. Routes look at the original destination only, never at one that another route has added. So rules
neither chain nor loop, and their order does not change the outcome. Later routes run even if one has removed the
original, and a destination that a route has added stays whatever another route removes. `drop` removes the original.
Mutations run where `filters` has them: behind the routes, for each destination what is meant for it; before them, what
is meant for the original destination, and all copies carry it.
Everything here is a pure function of the settings and the header.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from leyden.dicom.header import Header
from leyden.dicom.part10 import FileMeta
from leyden.form.choose import AsItCame, Ask, Fail, Form, Make, choose
from leyden.form.ladder import Acceptance
from leyden.form.obstacle import Facts, facts_of
from leyden.plan.conditions import Clock, Examination, Finding, remark, stopped_clock
from leyden.plan.mutate import Circumstances, Mutated, mutate, unreadable
from leyden.plan.mutate import remarks as mutation_remarks
from leyden.plan.placeholders import expand
from leyden.plan.pseudonym import Pseudonymizer
from leyden.plan.rules import Action, ActionType, Condition, OnError, PlanSettings, Route, Target

LAST_RANK = 99
NO_RECEIPT = "0" * 22
DROP_UNFILTERED = "dropUnfilteredInstances"

AcceptanceOf = Callable[[str, str], Acceptance | None]
"""What a destination (AE title) was seen to accept of a SOP class (UID); None = nothing is known."""


def nothing_known(_destination: str, _sop_class: str) -> None:
    """An AcceptanceOf for a caller that knows nothing about any destination."""


class Delivery(msgspec.Struct, frozen=True):
    """One copy to send: the destination's AE title, the form, the rank (two digits), and which rule asks for it.

    `mutated`: what the destination gets instead of what came, or why it must get nothing; None = what came.
    """

    destination: str
    form: Form
    rank: str
    reason: str
    mutated: Mutated | None = None


class Save(msgspec.Struct, frozen=True):
    """One copy to write: its absolute path (patient data, not to be logged), and which rule and target ask for it."""

    path: str
    where: str
    target: str


class Ran(NamedTuple):
    """A route that was run for a dataset, up to the first condition that failed (None = all of them held).

    `unsure`: why that condition had no answer; "" = it had one.
    """

    route: Route
    failed: Condition | None
    unsure: str

    @property
    def held(self) -> bool:
        return self.failed is None


class Decision(msgspec.Struct, frozen=True):
    """What to do with one dataset.

    Without deliveries, `dropped_by` names the rule that ended the trip: a drop, or a save_file if nothing else was
    asked for (the `saves` are still to be written). If that is empty too, the dataset has no destination and goes to
    failed/; `reason` says why. `ran`: the routes that matched, and those of which the log says something at level INFO.
    `flaw`: why the rules saw only a part of the dataset. `mutated`: the mutations that let it go nowhere. `retry`: then
    nothing is done now, and it is tried again later.
    """

    deliveries: tuple[Delivery, ...] = ()
    saves: tuple[Save, ...] = ()
    dropped_by: str = ""
    reason: str = ""
    ran: tuple[Ran, ...] = ()
    flaw: str = ""
    mutated: tuple[Mutated, ...] = ()
    retry: bool = False


def plan(
    settings: PlanSettings,
    header: Header,
    acceptance_of: AcceptanceOf = nothing_known,
    *,
    by_hand: bool = False,
    receipt: str = NO_RECEIPT,
    clock: Clock = stopped_clock,
    every: bool = False,
    pseudonymizer: Pseudonymizer | None = None,
) -> Decision:
    """Decide what to do with a dataset. `acceptance_of`: what a destination was seen to accept of a SOP class.

    `receipt` is that of the object, for what mutations make; `pseudonymizer` knows who gets which pseudonym.
    `by_hand`: the file was put into the spool by hand, so it counts as sent to our own title, whatever its file meta
    says. `clock` gives the processor time, for the time limit of a condition. `every`: `ran` is to have each route that
    was run. If the called title is no longer a node's, there is no destination and no rule runs: the dataset goes to
    failed/, until the configuration knows the title again. Raises Corrupt.
    """
    called = header.meta.receiving
    original = "" if by_hand or not called else settings.titles.get(called)
    if original is None:
        return Decision(reason=f"no node answers to the called title {called} any more")

    def circumstances(destination: str) -> Circumstances:
        return Circumstances(destination, receipt, settings.my_ae_title, clock, pseudonymizer)

    for_all: Mutated | None = None  # what every destination gets, if the mutations run before the routes
    if settings.mutations and settings.mutates_first:
        for_all = mutate(settings.mutations, header, circumstances(original))
        if for_all.failure:
            return _not_to_leave((for_all,))
        header = for_all.header
    ran: list[Ran] = []
    added: dict[str, str] = {}
    saves: dict[str, Save] = {}
    removed_by = saved_by = ""
    touched = False
    examination = Examination(header, clock)
    for route in settings.routes or ():
        if not _looks_at(route, original):
            continue
        failed = examination.failing(route.conditions)
        if every or failed is None or route.told or examination.unsure:
            ran.append(Ran(route, failed, examination.unsure))
        if failed:
            continue
        touched = True
        for action in route.actions:
            what = f"{route.where} {action.type}"
            if action.type is ActionType.ADD_DESTINATION:
                added.setdefault(action.target, what)
            elif action.type is ActionType.SAVE_FILE:
                path = expand(action.target, header)
                saves.setdefault(path, Save(path, what, action.target))
                saved_by = saved_by or what
            if action.type is ActionType.DROP or (action.remove_original and original):
                removed_by = removed_by or what
    if settings.routes is not None and settings.drop_unfiltered and not touched and not header.flaw:
        removed_by = DROP_UNFILTERED
    reasons: dict[str, str] = {}
    if original and not removed_by:
        reasons[original] = f"called title {called}"
    for destination, why in added.items():
        reasons.setdefault(destination, why)
    mutated = dict.fromkeys(reasons, for_all)
    if settings.mutations and not settings.mutates_first:
        for destination in reasons:
            mutated[destination] = mutate(settings.mutations, header, circumstances(destination))
        failures = {each: each.failure.kind for each in mutated.values() if each and each.failure}
        if failures and (len(failures) == len(mutated) or OnError.RETRY in failures.values()):
            return _not_to_leave(tuple(failures))
    uneven = bool(reasons) and header.uneven
    deliveries = tuple(
        delivery(settings, header, mutated[destination], uneven, acceptance_of, destination, why)
        for destination, why in reasons.items()
    )
    ended_by = "" if deliveries else removed_by or saved_by
    reason = "" if deliveries or ended_by else "no destination: it came for our own title and no route added one"
    return Decision(deliveries, tuple(saves.values()), ended_by, reason, tuple(ran), header.flaw)


def plan_unread(settings: PlanSettings, meta: FileMeta, flaw: object, *, by_hand: bool = False) -> Decision:
    """Decide what to do with a dataset that can't be read: no rule runs, and it goes as it came to the called node.

    `flaw`: why it can't be read. To a node for which there are mutations it must not go.
    """
    original = "" if by_hand else settings.titles.get(meta.receiving, "")
    if not original:
        return Decision(reason=f"no destination: no rule can read it: {flaw}")
    if why := unreadable(settings.mutations or (), original, flaw):
        return Decision(reason=why)
    target = next((target for target in settings.targets if target.ae_title == original), Target(original))
    rank = rank_of(target, meta.sop_class_uid)
    return Decision((Delivery(original, AsItCame(), rank, f"no rule can read it, so as it came: {flaw}"),))


def remarks(decision: Decision, *, debug: bool) -> Iterator[tuple[bool, str]]:
    """What the log says about the rules that ran, as (True for level INFO or False for DEBUG, text).

    INFO is for rules with LogInfo, for conditions without an answer, and for what ends a trip. `debug`: give the lines
    of level DEBUG as well; for those of every rule, plan with `every`.
    """
    if decision.flaw:
        yield True, f"the rules saw a part of it only: {decision.flaw}"
    for route, failed, unsure in decision.ran:
        for condition in route.conditions:
            finding = Finding(condition, condition is not failed, None, unsure if condition is failed else "")
            info = condition.log_info or bool(finding.unsure)
            if info or (debug and finding.held):
                yield info, f"{route.where}: {remark(finding)}"
            if not finding.held:
                break
        for action in () if failed else route.actions:
            info = action.log_info or action.type is ActionType.DROP
            if info or debug:
                yield info, _line(action, route)
    for mutated in decision.mutated or {each.mutated: None for each in decision.deliveries if each.mutated}:
        for info, text in mutation_remarks(mutated, debug=debug):
            yield info, f"{mutated.destination or 'all'}: {text}"
    if decision.dropped_by == DROP_UNFILTERED:
        yield True, f"{DROP_UNFILTERED}: no route touched it"


def rank_of(target: Target, sop_class: str) -> str:
    """The place of a SOP class among the node's SopClassPriorities, as two digits; lower ones are sent first."""
    places = target.sop_class_priorities
    for looked_for in (sop_class, "default"):
        if looked_for in places:
            return f"{min(places.index(looked_for), LAST_RANK):02d}"
    return f"{min(len(places), LAST_RANK):02d}"


def _looks_at(route: Route, destination: str) -> bool:
    return not route.ae_titles or destination in route.ae_titles


def _line(action: Action, route: Route) -> str:
    target = f" {action.target}" if action.type is ActionType.ADD_DESTINATION else ""
    description = action.description or route.description
    return f"{route.where} {action.type}{target}{': ' if description else ''}{description}"


def _not_to_leave(mutated: Sequence[Mutated]) -> Decision:
    """The decision for an object that mutations let go nowhere, for now or for good."""
    failures = [each.failure for each in mutated if each.failure]
    failures.sort(key=lambda failure: failure.kind is not OnError.RETRY)
    first = failures[0]
    return Decision(reason=first.reason, mutated=tuple(mutated), retry=first.kind is OnError.RETRY)


def delivery(
    settings: PlanSettings,
    header: Header,
    mutated: Mutated | None,
    uneven: bool,
    acceptance_of: AcceptanceOf,
    destination: str,
    why: str,
) -> Delivery:
    """The copy for one destination: its form and its rank. `uneven`: whether values have an odd length."""
    target = next((target for target in settings.targets if target.ae_title == destination), Target(destination))
    if mutated and not (mutated.changed or mutated.failure):
        mutated = None
    sop_class = (mutated.header if mutated else header).meta.sop_class_uid
    acceptance = acceptance_of(destination, sop_class)
    form = choose(Facts(header.syntax.uid, sop_class, uneven=uneven), target, acceptance)
    if isinstance(form, Make | Ask):  # only then do the facts about its pixels matter
        form = choose(replace(facts_of(header, uneven=uneven), sop_class=sop_class), target, acceptance)
    if isinstance(form, Fail):  # by what it accepted before: the sender asks it again, and may reject the object then
        form = AsItCame(form.reason, padded=uneven)
    return Delivery(destination, form, rank_of(target, sop_class), why, mutated)
