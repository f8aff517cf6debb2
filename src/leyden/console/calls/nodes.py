"""The nodes: what they are, what waits for them, whether they answer; and what nodes.yml says of them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from leyden.console import node_file
from leyden.console.call import Asked, Given, Nothing, Refused, Shape
from leyden.console.calls.system import RELOAD_WITHIN_S, by_state
from leyden.console.console import Console
from leyden.deliver.destination import Destination
from leyden.dicom.uids import syntax_name
from leyden.errors import LeydenError
from leyden.operate.nodes import controls, drained
from leyden.operate.peer import Peer, echo
from leyden.operate.reading import Reading
from leyden.operate.service import reload
from leyden.spool.control import Control
from leyden.spool.listing import Count

ECHO_WITHIN_S = 10.0


class NodeQueue(Shape, frozen=True):
    """Objects for a node by state. `new` wait to be compressed or changed; `checkedOut`: a process works on them."""

    new: int
    prepared: int
    failed: int
    checked_out: int
    rejected: int


class Node(Shape, frozen=True):
    """A destination. `transferSyntax`: "" = as received. `overridden`: it is sent to at any time of the day. `tls`: it
    is reached over TLS."""

    ae_title: str
    host_name: str
    port: int
    role: str
    aliases: tuple[str, ...]
    transfer_syntax: str
    impersonate: bool
    tls: bool
    paused: bool
    overridden: bool
    queue: NodeQueue


class Nodes(Shape, frozen=True):
    nodes: tuple[Node, ...]


class Echoed(Shape, frozen=True):
    """`latency` in ms, from connecting to the release. `message`: what went wrong."""

    success: bool
    latency: float | None = None
    message: str = ""


class NodeSettings(Given, frozen=True):
    """What nodes.yml is to say of a node; what is absent stays as it is. `role`: Storage, the only one that there is.

    `processDelay` in ms, `minimumLineSpeed` in KB/s.
    """

    role: Annotated[str, Meta(pattern="^(?i:storage)$")]
    host_name: Annotated[str, Meta(min_length=1, max_length=253, pattern="^[A-Za-z0-9._:%-]+$")] | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    priority: Annotated[int, Meta(ge=0, le=2)] | None = None
    process_delay: Annotated[int, Meta(ge=0, le=86_400_000)] | None = None
    impersonate: bool | None = None
    transfer_syntax: Annotated[str, Meta(max_length=64, pattern="^[A-Za-z0-9._]*$")] | None = None
    batch_size: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    minimum_line_speed: Annotated[int, Meta(ge=0, le=100_000_000)] | None = None
    aliases: (
        Annotated[list[Annotated[str, Meta(max_length=16, pattern=r"^[ -\[\]-~]+$")]], Meta(max_length=64)] | None
    ) = None


class NodeChanged(Shape, frozen=True):
    """The node as it is in force now, and what the reload said."""

    node: Node
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


def node_of(console: Console, asked: Asked[Any, Any]) -> Destination:
    """The node that a title or an alias in the path stands for. Refused (404): there is none."""
    name = asked.path["ae"]
    title = console.settings.plan.titles.get(name) or name
    for destination in console.settings.destinations:
        if destination.ae_title == title:
            return destination
    raise Refused(404, "not_found", f"no node {name}")


def _node(destination: Destination, control: Control, counts: tuple[Count, ...]) -> Node:
    states, checked_out = by_state(counts, destination.ae_title)
    return Node(
        ae_title=destination.ae_title,
        host_name=destination.host,
        port=destination.port,
        role="Storage",
        aliases=destination.aliases,
        transfer_syntax=syntax_name(destination.syntax) if destination.syntax else "",
        impersonate=destination.impersonate,
        tls=destination.tls is not None,
        paused=control.pause is not None,
        overridden=control.override is not None,
        queue=NodeQueue(
            new=states.new,
            prepared=states.prepared,
            failed=states.failed,
            checked_out=checked_out,
            rejected=states.rejected,
        ),
    )


async def _nodes(console: Console, destinations: Sequence[Destination]) -> tuple[Node, ...]:
    counts = await console.counts()
    ordered = await console.walks.do(controls, console.root, [each.ae_title for each in destinations])
    return tuple(_node(each, ordered[each.ae_title], counts) for each in destinations)


async def nodes(console: Console, _asked: Asked[Nothing, Nothing]) -> Nodes:
    return Nodes(nodes=await _nodes(console, console.settings.destinations))


async def node(console: Console, asked: Asked[Nothing, Nothing]) -> Node:
    (found,) = await _nodes(console, [node_of(console, asked)])
    return found


async def put_node(console: Console, asked: Asked[Nothing, NodeSettings]) -> NodeChanged:
    """nodes.yml is written, and read by the service; if it does not take it, the file is as it was."""
    title = node_of(console, asked).ae_title
    if console.reloading.locked():
        raise Refused(409, "busy", "a reload is under way")
    async with console.reloading:
        if not await console.walks.do(drained, console.root, title):
            raise Refused(409, "not_drained", f"{title} is not paused, or something is still sent to it")
        try:
            said = await asyncio.to_thread(_change, console, title, asked.body)
        except Refused as refused:
            if refused.status == 504:  # the file has changed
                console.operated(asked, "change node", destination=title, detail=refused.message)
            raise
        console.operated(asked, "change node", destination=title, detail="; ".join(said.changes))
    for _ in range(20):  # this process takes the settings over by itself, as each role does
        if console.settings.generation >= said.generation:
            break
        await asyncio.sleep(0.1)
    (changed,) = await _nodes(console, [node_of(console, asked)])
    return NodeChanged(node=changed, changes=said.changes, warnings=said.warnings)


def _change(console: Console, title: str, wanted: NodeSettings) -> Reading:
    """In a thread. Raises Refused."""
    folder = Path(console.settings.path)
    given = {name: getattr(wanted, name) for name in wanted.__struct_fields__ if name != "role"}
    keys = {"".join(map(str.capitalize, name.split("_"))): value for name, value in given.items() if value is not None}
    try:
        written = node_file.change(folder, title, keys)
    except (node_file.NotChanged, OSError) as error:
        raise Refused(409, "not_changed", str(error)) from None
    said = reload(console.root, RELOAD_WITHIN_S).reading
    if said is None:
        raise Refused(504, "timeout", f"the service has not said within {RELOAD_WITHIN_S:g} s what came of it")
    if said.errors:
        if written:
            node_file.restore(folder)
        raise Refused(409, "not_changed", "; ".join(said.errors))
    return said


async def echo_node(console: Console, asked: Asked[Nothing, Nothing]) -> Echoed:
    found = node_of(console, asked)
    calling = console.settings.my_ae_title
    peer = Peer(found.host, found.port, found.ae_title, calling, ECHO_WITHIN_S, found.tls, found.credentials)
    try:
        answered = await echo(peer)
    except (LeydenError, OSError) as error:
        return Echoed(success=False, message=str(error))
    finally:
        console.operated(asked, "echo", destination=found.ae_title)
    if answered.status:
        return Echoed(success=False, message=f"answered 0x{answered.status:04X}")
    return Echoed(success=True, latency=round(answered.duration_s * 1000, 1))
