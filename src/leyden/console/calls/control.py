"""What an operator orders for a node or for the whole service, and whether it is idle."""

import time
from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta

from leyden.console.call import Asked, Given, Nothing, Shape
from leyden.console.calls.nodes import node_of
from leyden.console.console import Console
from leyden.console.envelope import moment
from leyden.operate import nodes
from leyden.spool.control import FLAGS, Control, Flags, Order
from leyden.spool.stage import Stage

_YEAR_S = 366 * 86400


class Ordered(Given, frozen=True):
    """`seconds`: how long it holds; 0 = until it is taken back. `reason`: for the others who look."""

    seconds: Annotated[int, Meta(ge=0, le=_YEAR_S)] = 0
    reason: Annotated[str, Meta(max_length=200)] = ""


class Holds(Shape, frozen=True):
    """Who ordered it, when, until when ("" = until it is taken back; ISO 8601, UTC), and why."""

    who: str
    since: str
    until: str
    reason: str


class NodeControl(Shape, frozen=True):
    """The orders that hold for a node; null = none. `override`: it is sent to at any time of the day."""

    ae_title: str
    pause: Holds | None
    override: Holds | None


class ServiceStatus(Shape, frozen=True):
    """True: that part is paused. There is no worklist and no storage commitment to pause yet."""

    storage_scu: bool
    worklist_scu: bool
    storage_commit_scu: bool
    prepare: bool
    all_paused: bool


class Processing(Shape, frozen=True):
    """`allPaused`: as in the status. `activeJobs`: objects that are compressed, changed or sent just now."""

    all_paused: bool
    checked_out_items: int
    active_jobs: int
    idle: bool


def _holds(order: Order | None) -> Holds | None:
    if order is None:
        return None
    until = moment(order.until_s) if order.until_s else ""
    return Holds(who=order.who, since=moment(order.since_s), until=until, reason=order.reason)


def _control(title: str, control: Control) -> NodeControl:
    now = control.at(time.time())
    return NodeControl(ae_title=title, pause=_holds(now.pause), override=_holds(now.override))


def _asked(asked: Asked[Any, Any]) -> nodes.Asked:
    body = asked.body
    ordered = body if isinstance(body, Ordered) else Ordered()
    until_s = round(time.time() + ordered.seconds, 3) if ordered.seconds else 0.0
    return nodes.Asked(asked.who, asked.through, until_s, ordered.reason)


async def _order(console: Console, asked: Asked[Any, Any], verb: Callable[..., Control]) -> NodeControl:
    title = node_of(console, asked).ae_title
    return _control(title, await console.walks.do(verb, console.root, title, _asked(asked)))


async def pause(console: Console, asked: Asked[Nothing, Ordered]) -> NodeControl:
    return await _order(console, asked, nodes.pause)


async def resume(console: Console, asked: Asked[Nothing, Nothing]) -> NodeControl:
    return await _order(console, asked, nodes.resume)


async def override(console: Console, asked: Asked[Nothing, Ordered]) -> NodeControl:
    return await _order(console, asked, nodes.override_schedule)


async def end_override(console: Console, asked: Asked[Nothing, Nothing]) -> NodeControl:
    return await _order(console, asked, nodes.end_override)


def _status(flags: Flags) -> ServiceStatus:
    return ServiceStatus(
        storage_scu="storageScu" in flags,
        worklist_scu="worklistScu" in flags,
        storage_commit_scu="storageCommitScu" in flags,
        prepare="prepare" in flags,
        all_paused=all(flag in flags for flag in FLAGS),
    )


async def status(console: Console, _asked: Asked[Nothing, Nothing]) -> ServiceStatus:
    return _status(await console.walks.do(nodes.flags, console.root))


async def processing(console: Console, _asked: Asked[Nothing, Nothing]) -> Processing:
    flags = await console.walks.do(nodes.flags, console.root)
    counts = await console.counts()
    active = sum(count.files for count in counts if count.stage is Stage.ACTIVE)
    return Processing(
        all_paused=_status(flags).all_paused, checked_out_items=active, active_jobs=active, idle=not active
    )


async def pause_service(console: Console, asked: Asked[Nothing, Ordered]) -> ServiceStatus:
    return _status(await console.walks.do(nodes.pause_service, console.root, _asked(asked)))


async def resume_service(console: Console, asked: Asked[Nothing, Nothing]) -> ServiceStatus:
    return _status(await console.walks.do(nodes.resume_service, console.root, _asked(asked)))
