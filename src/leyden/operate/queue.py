"""What an operator does to the entries of the spool. It works with and without a running service."""

from collections.abc import Mapping
from dataclasses import dataclass

from leyden.errors import LeydenError
from leyden.spool import doorbell
from leyden.spool.ended import Renewed
from leyden.spool.listing import names
from leyden.spool.stage import Stage
from leyden.spool.store import Spool


class UnknownDestination(LeydenError):
    """The title is neither that of a node nor one under which anything stands in rejected/."""


@dataclass(frozen=True, slots=True)
class Retried:
    """How many entries went back into the queue."""

    rejected: int
    failed: int


def retry(
    spool: Spool, titles: Mapping[str, str], destination: str | None = None, renewed: Renewed | None = None
) -> Retried:
    """Put what stands in rejected/ and failed/ back into the queue, and wake the service if it runs.

    `titles` maps every called title to its node ("" = our own), as in PlanSettings. `destination` is a node's title or
    alias; None means all. What was bound for a node that is gone stays where it is. `renewed`: by which rules what is
    to be changed is changed now. Raises UnknownDestination, OSError.
    """
    nodes = set(titles.values()) - {""}
    if destination is not None:
        destination = titles.get(destination) or destination
        known = nodes | {count.destination for count in spool.counts() if count.stage is Stage.REJECTED}
        if destination not in known:
            there_are = f"there are: {', '.join(sorted(known))}" if known else "nodes.yml names no Storage node"
            raise UnknownDestination(f"no destination {destination}; {there_are}")
    retried = Retried(
        rejected=spool.retry(Stage.REJECTED, destination, nodes, renewed),
        failed=spool.retry(Stage.FAILED, destination, nodes, renewed),
    )
    for role in names(f"{spool.root}/bell"):
        doorbell.ring(spool.root, role)
    return retried
