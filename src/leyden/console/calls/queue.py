"""The queue: what stands in it, and the verbs that the command line has, too."""

from collections.abc import Callable
from functools import partial
from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from leyden.console.call import Asked, Given, Nothing, Refused, Shape
from leyden.console.console import Console
from leyden.console.envelope import moment
from leyden.kept_rules import KeptRules
from leyden.operate import queue
from leyden.operate.queue import Done, Filter, Item, UnknownDestination
from leyden.operate.show import Shown, show
from leyden.spool.stage import ENDED, Stage

LIMIT_MAX = 1000
SKIP_MAX = 10_000_000
_Title = Annotated[str, Meta(max_length=16, pattern=r"^[ -\[\]-~]*$")]
_States = Annotated[str, Meta(pattern="^(new|prepared|failed|rejected)?$")]
_Modality = Annotated[str, Meta(max_length=16, pattern="^[A-Z0-9_ ]*$")]
_Uid = Annotated[str, Meta(max_length=64, pattern=r"^[0-9.]*$")]


class ItemsQuery(Given, frozen=True):
    """Only these: `state`, `source`, `dest` (AE titles or aliases), `modality`, `study`, `series`, `sopClass` (UIDs).

    `search`: a receipt id, the UID of an instance, a study or a series, or an accession number.
    """

    state: _States = ""
    source: _Title = ""
    dest: _Title = ""
    modality: _Modality = ""
    search: Annotated[str, Meta(max_length=64)] = ""
    study: _Uid = ""
    series: _Uid = ""
    sop_class: _Uid = ""
    skip: Annotated[int, Meta(ge=0, le=SKIP_MAX)] = 0
    limit: Annotated[int, Meta(ge=1, le=LIMIT_MAX)] = 100


class WhichQuery(Given, frozen=True):
    """`source` and `destination` (AE titles or aliases), `modality`: only these."""

    source: _Title = ""
    destination: _Title = ""
    modality: _Modality = ""


class Target(Given, frozen=True):
    """`targetState`: new or prepared (tried again now) or rejected. `destination`: into the queue of another node."""

    target_state: _States = ""
    destination: _Title = ""


class QueueItem(Shape, frozen=True):
    """An object for one destination ("" before planning). `folder`: its stage in the spool.

    `receivedAt` and `nextTryAt` are in ISO 8601, UTC; "" = not known, or none. `claimant`: who works on it.
    """

    id: str
    state: str
    folder: str
    source: str
    destination: str
    receipt: str
    received_at: str
    attempts: int
    next_try_at: str
    reason: str
    claimant: str


class Items(Shape, frozen=True):
    """The oldest first. `notLookedInto`: files that might suit, but only they could tell, and there were too many."""

    items: tuple[QueueItem, ...]
    total: int
    skip: int
    limit: int
    not_looked_into: int = 0


class Detail(QueueItem, frozen=True):
    """`tags`: keyword -> value of some elements, those that identify the patient among them. `bytes`: of the file.

    `unread`: why the file can't be read, as far as it can't.
    """

    bytes: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    tags: dict[str, str]
    unread: str


class Outcome(Shape, frozen=True):
    """`count`: with how many objects it was done. `underWay`: how many were left, since a process works on them.

    `left`: why others stay as they are -> how many.
    """

    did: str
    count: int
    under_way: int
    left: dict[str, int]
    not_looked_into: int = 0


def _item(item: Item) -> dict[str, object]:
    entry = item.entry
    return {
        "id": item.id,
        "state": item.state if item.stage is not Stage.ACTIVE else "",
        "folder": str(item.stage),
        "source": item.source,
        "destination": item.destination,
        "receipt": item.receipt,
        "received_at": moment(entry.received_s) if entry else "",
        "attempts": entry.attempt if entry else 0,
        "next_try_at": moment(entry.due_s) if entry and entry.due_s else "",
        "reason": item.reason,
        "claimant": item.claimant,
    }


def _titles(console: Console, *names: str) -> frozenset[str]:
    """The nodes that titles or aliases stand for. Refused (404)."""
    given = [name for name in names if name]
    try:
        return queue.destinations(console.root, given, console.settings.plan.titles) if given else frozenset()
    except UnknownDestination as error:
        raise Refused(404, "not_found", str(error)) from None


def _filters(console: Console, query: ItemsQuery) -> list[Filter]:
    """What may be meant, the likeliest first: a UID does not say what it is of."""
    wanted = Filter(
        stages=queue.stages_of(query.state),
        destinations=_titles(console, query.dest),
        sources=frozenset(filter(None, (query.source,))),
        studies=frozenset(filter(None, (query.study,))),
        series=frozenset(filter(None, (query.series,))),
        sop_classes=frozenset(filter(None, (query.sop_class,))),
        modalities=frozenset(filter(None, (query.modality,))),
    )
    text = query.search.strip()
    if not text:
        return [wanted]
    sought = frozenset((text,))
    if text.partition("@")[0].isdecimal() and len(text.partition("@")[0]) == 22:
        return [replace(wanted, ids=sought)]
    by_accession = replace(wanted, accessions=sought)
    if not text.replace(".", "").isdecimal():
        return [by_accession]
    more = [replace(wanted, instances=sought)]
    more += [replace(wanted, studies=sought)] if not query.study else []
    more += [replace(wanted, series=sought)] if not query.series else []
    return [*more, by_accession]


async def items(console: Console, asked: Asked[ItemsQuery, Nothing]) -> Items:
    query = asked.query
    filters = await console.walks.do(_filters, console, query)
    found = queue.Page((), 0)
    for wanted in filters:
        try:
            found = await console.walks.do(queue.page, console.root, wanted, query.skip, query.limit)
        except FileNotFoundError:
            continue  # no accession number was told to the journal yet
        if found.total:
            break
    shown = tuple(QueueItem(**_item(item)) for item in found.items)  # type: ignore[arg-type]
    return Items(
        items=shown,
        total=found.total,
        skip=query.skip,
        limit=query.limit,
        not_looked_into=found.not_looked_into,
    )


async def item(console: Console, asked: Asked[Nothing, Nothing]) -> Detail:
    """A look at what identifies the patient is told to the journal."""
    found: list[Shown] = await console.walks.do(show, console.root, _id(asked), True)
    if not found:
        raise Refused(404, "not_found", "nothing in the queue has this id; GET /api/trace may know it")
    first = found[0]
    meta = first.meta
    console.operated(asked, "look at an object", destination=first.item.destination, detail=first.item.id)
    return Detail(
        **_item(first.item),  # type: ignore[arg-type]
        bytes=first.bytes,
        sop_class_uid=meta.sop_class_uid if meta else "",
        sop_instance_uid=meta.sop_instance_uid if meta else "",
        transfer_syntax=first.syntax,
        tags=first.facts,
        unread=first.unread,
    )


def _id(asked: Asked[Nothing, Nothing]) -> str:
    return asked.path["id"]


Verb = Callable[[Console, Asked[Nothing, Nothing], Filter], Done]


def _retry(console: Console, asked: Asked[Nothing, Nothing], wanted: Filter) -> Done:
    settings = console.settings
    nodes = set(settings.plan.titles.values()) - {""}
    renewed = KeptRules(console.root, settings.sync_spool).renewing(settings.plan)
    return queue.retry(console.root, wanted, who=asked.who, through=asked.through, nodes=nodes, renewed=renewed)


def _again(console: Console, asked: Asked[Nothing, Nothing], wanted: Filter) -> Done:
    """What has ended is brought back, what is deferred goes now."""
    done = _retry(console, asked, wanted)
    released = queue.release(console.root, wanted, who=asked.who, through=asked.through)
    if wanted.ids and (done.count or released.count):
        return done if done.count else released
    done.count += released.count
    return done


def _reject(console: Console, asked: Asked[Nothing, Nothing], wanted: Filter) -> Done:
    return queue.reject(console.root, wanted, who=asked.who, through=asked.through)


def _delete(console: Console, asked: Asked[Nothing, Nothing], wanted: Filter) -> Done:
    return queue.delete(console.root, wanted, who=asked.who, through=asked.through)


def _move(to: str, console: Console, asked: Asked[Nothing, Nothing], wanted: Filter) -> Done:
    return queue.move(
        console.root,
        wanted,
        to,
        who=asked.who,
        through=asked.through,
        settings=console.settings.plan,
        keep=KeptRules(console.root, console.settings.sync_spool).keep,
        acceptance_of=console.acceptance_of,
    )


async def _do(console: Console, asked: Asked[Nothing, Nothing], verb: Verb, wanted: Filter) -> Outcome:
    done = await console.walks.do(verb, console, asked, wanted)
    return Outcome(
        did=done.did,
        count=done.count,
        under_way=done.under_way,
        left=done.left,
        not_looked_into=done.not_looked_into,
    )


async def _with_one(console: Console, asked: Asked[Nothing, Nothing], verb: Verb) -> Outcome:
    """Refused: 404 it is not there, 409 it can't be done with it."""
    outcome = await _do(console, asked, verb, Filter(ids=frozenset((_id(asked),))))
    if not outcome.count:
        if outcome.under_way:
            raise Refused(409, "under_way", "a process works on it just now")
        if outcome.left:
            raise Refused(409, "not_possible", "; ".join(outcome.left))
        raise Refused(404, "not_found", "nothing in the queue has this id")
    return outcome


async def retry_item(console: Console, asked: Asked[Nothing, Nothing]) -> Outcome:
    return await _with_one(console, asked, _again)


async def reject_item(console: Console, asked: Asked[Nothing, Nothing]) -> Outcome:
    return await _with_one(console, asked, _reject)


async def delete_item(console: Console, asked: Asked[Nothing, Nothing]) -> Outcome:
    return await _with_one(console, asked, _delete)


async def fail_item(_console: Console, _asked: Asked[Nothing, Nothing]) -> Outcome:
    raise Refused(409, "not_possible", "an object that waits can't fail by order: pause its node, or reject it")


async def _mover(console: Console, target: Target) -> Verb:
    """Refused: 404, 409."""
    if bool(target.target_state) == bool(target.destination):
        raise Refused(409, "not_possible", "name targetState or destination, one of the two")
    if target.destination:
        (to,) = await console.walks.do(_titles, console, target.destination)
        if to not in console.settings.plan.titles.values():
            raise Refused(404, "not_found", f"{to} is not a node any more")
        return partial(_move, to)
    if target.target_state == "failed":
        raise Refused(409, "not_possible", "an object that waits can't fail by order: pause its node, or reject it")
    return _reject if target.target_state == "rejected" else _again


async def move_item(console: Console, asked: Asked[Nothing, Target]) -> Outcome:
    return await _with_one(console, asked, await _mover(console, asked.body))  # type: ignore[arg-type]


def _of_uid(asked: Asked[Nothing, Nothing], what: str) -> Filter:
    """Refused (404): it is no UID."""
    uid = asked.path["uid"]
    if len(uid) > 64 or not uid.replace(".", "").isdecimal():
        raise Refused(404, "not_found", "that is no UID")
    return Filter(studies=frozenset((uid,))) if what == "study" else Filter(series=frozenset((uid,)))


async def move_study(console: Console, asked: Asked[Nothing, Target]) -> Outcome:
    return await _do(console, asked, await _mover(console, asked.body), _of_uid(asked, "study"))  # type: ignore[arg-type]


async def move_series(console: Console, asked: Asked[Nothing, Target]) -> Outcome:
    return await _do(console, asked, await _mover(console, asked.body), _of_uid(asked, "series"))  # type: ignore[arg-type]


async def delete_study(console: Console, asked: Asked[Nothing, Nothing]) -> Outcome:
    return await _do(console, asked, _delete, _of_uid(asked, "study"))


def _ended(console: Console, asked: Asked[WhichQuery, Nothing], *stages: Stage) -> Filter:
    return Filter(
        stages=frozenset(stages),
        destinations=_titles(console, asked.query.destination),
        sources=frozenset(filter(None, (asked.query.source,))),
        modalities=frozenset(filter(None, (asked.query.modality,))),
    )


async def retry_failed(console: Console, asked: Asked[WhichQuery, Nothing]) -> Outcome:
    """What is deferred comes by itself: its destination decides when."""
    wanted = await console.walks.do(_ended, console, asked, Stage.FAILED)
    return await _do(console, asked, _retry, wanted)  # type: ignore[arg-type]


async def retry_rejected(console: Console, asked: Asked[WhichQuery, Nothing]) -> Outcome:
    wanted = await console.walks.do(_ended, console, asked, *(stage for stage in ENDED if stage is not Stage.FAILED))
    return await _do(console, asked, _retry, wanted)  # type: ignore[arg-type]
