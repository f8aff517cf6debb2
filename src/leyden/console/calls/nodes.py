"""The nodes: what they are, what waits for them, whether they answer."""

from leyden.console.call import Asked, Nothing, Refused, Shape
from leyden.console.calls.system import by_state
from leyden.console.console import Console
from leyden.deliver.destination import Destination
from leyden.dicom.uids import syntax_name
from leyden.errors import LeydenError
from leyden.operate.peer import Peer, echo
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
    """A destination. `transferSyntax`: "" = as received."""

    ae_title: str
    host_name: str
    port: int
    role: str
    aliases: tuple[str, ...]
    transfer_syntax: str
    impersonate: bool
    queue: NodeQueue


class Nodes(Shape, frozen=True):
    nodes: tuple[Node, ...]


class Echoed(Shape, frozen=True):
    """`latency` in ms, from connecting to the release. `message`: what went wrong."""

    success: bool
    latency: float | None = None
    message: str = ""


def node_of(console: Console, asked: Asked[Nothing, Nothing]) -> Destination:
    """The node that a title or an alias in the path stands for. Refused (404): there is none."""
    name = asked.path["ae"]
    title = console.settings.plan.titles.get(name) or name
    for destination in console.settings.destinations:
        if destination.ae_title == title:
            return destination
    raise Refused(404, "not_found", f"no node {name}")


def _node(destination: Destination, counts: tuple[Count, ...]) -> Node:
    states, checked_out = by_state(counts, destination.ae_title)
    return Node(
        ae_title=destination.ae_title,
        host_name=destination.host,
        port=destination.port,
        role="Storage",
        aliases=destination.aliases,
        transfer_syntax=syntax_name(destination.syntax) if destination.syntax else "",
        impersonate=destination.impersonate,
        queue=NodeQueue(
            new=states.new,
            prepared=states.prepared,
            failed=states.failed,
            checked_out=checked_out,
            rejected=states.rejected,
        ),
    )


async def nodes(console: Console, _asked: Asked[Nothing, Nothing]) -> Nodes:
    counts = await console.counts()
    return Nodes(nodes=tuple(_node(each, counts) for each in console.settings.destinations))


async def node(console: Console, asked: Asked[Nothing, Nothing]) -> Node:
    return _node(node_of(console, asked), await console.counts())


async def echo_node(console: Console, asked: Asked[Nothing, Nothing]) -> Echoed:
    found = node_of(console, asked)
    peer = Peer(found.host, found.port, found.ae_title, console.settings.my_ae_title, ECHO_WITHIN_S)
    try:
        answered = await echo(peer)
    except (LeydenError, OSError) as error:
        return Echoed(success=False, message=str(error))
    finally:
        console.operated(asked, "echo", destination=found.ae_title)
    if answered.status:
        return Echoed(success=False, message=f"answered 0x{answered.status:04X}")
    return Echoed(success=True, latency=round(answered.duration_s * 1000, 1))
