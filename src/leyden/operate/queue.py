"""What an operator does to the entries of the spool: put them back, aside, away. With and without a running service.

Selecting, showing and moving have modules of their own, and are here as well, so that who operates needs this one only.
How a verb goes about it, and what it tells: verbs.py. Nothing here needs the rules, except that what mutations are to
change is not put back without those of now.
"""

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from msgspec.structs import replace

from leyden import crash
from leyden.errors import Corrupt, LeydenError
from leyden.journal.events import Deleted, Moved, Operated
from leyden.journal.lines import tell
from leyden.operate import reading
from leyden.operate.export import EXPORT, export
from leyden.operate.moving import MOVE, move
from leyden.operate.select import LOOKED_INTO, STATES, Filter, Item, Page, Selection, head_of, page, select, stages_of
from leyden.operate.shape import Shape, shape
from leyden.operate.show import Shown, show
from leyden.operate.verbs import GONE, Done, Verb, What, count, do, filter_of
from leyden.spool import doorbell, ended, listing
from leyden.spool.control import try_now
from leyden.spool.entry import Queued, claim_name, folder, title
from leyden.spool.moves import sync_disk
from leyden.spool.stage import BY_DESTINATION, CLAIMED_FROM, ENDED, Stage
from leyden.spool.store import Spool, sent_from

__all__ = [
    "DELETE", "EXPORT", "MOVE", "REJECT", "RELEASE", "RETRY", "STATES", "Done", "Filter", "Item", "Page", "Selection",
    "Shape", "Shown", "UnknownDestination", "Verb", "What", "count", "delete", "destinations", "export", "move", "page",
    "reject", "release", "retry", "select", "shape", "show", "stages_of",
]  # fmt: skip

RETRY = Verb("retry", frozenset(ENDED))
REJECT = Verb("reject", frozenset((Stage.NEW, *CLAIMED_FROM, Stage.DEFERRED, Stage.FAILED, Stage.EXPIRED)))
RELEASE = Verb("release", frozenset((Stage.DEFERRED,)))
DELETE = Verb("delete", frozenset((Stage.NEW, *CLAIMED_FROM, Stage.DEFERRED, *ENDED)), certain=True)


class UnknownDestination(LeydenError):
    """The title is neither that of a node nor one for which anything stands in the spool."""


def destinations(root: Path, wanted: Collection[str], titles: dict[str, str] | None = None) -> frozenset[str]:
    """The AE titles of the destinations that titles or aliases stand for.

    `titles` maps every called title to its node ("" = our own), as in PlanSettings; None: it is not known, so that only
    the titles of nodes are. A node that is gone is known while anything stands there for it. Raises UnknownDestination.
    """
    nodes = set((titles or {}).values()) - {""} or _served(root)
    meant = {(titles or {}).get(each) or each for each in wanted}
    if meant <= nodes:
        return frozenset(meant)
    known = nodes | {
        title(name)
        for stage in BY_DESTINATION
        for name in listing.names(f"{root}/{stage}")
        if any(listing.files(f"{root}/{stage}/{name}"))
    }
    for each in sorted(meant - known):
        there_are = f"there are: {', '.join(sorted(known))}" if known else "nodes.yml names no Storage node"
        raise UnknownDestination(f"no destination {each}; {there_are}")
    return frozenset(meant)


def _served(root: Path) -> set[str]:
    """The nodes of the service that runs, or ran last."""
    said = reading.read(root)
    return set(said.nodes) if said else set()


def retry(
    root: Path,
    what: What,
    *,
    who: str,
    through: str,
    nodes: Collection[str] | None = None,
    renewed: ended.Renewed | None = None,
) -> Done:
    """Put what stands in rejected/, failed/ or expired/ back to where it came from; its counts and its age start again.

    `nodes`: the AE titles of all nodes; what is bound for another one stays. None: those of the service as it runs, or
    ran last. `renewed`: by which rules what is to be changed is changed now (see ended.Renewed); None: such copies
    stay, for they might leave by rules that were corrected since.
    """
    known = (_served(root) if nodes is None else set(nodes)) or None

    def act(item: Item) -> str:
        back = ended.origin(item.path, item.destination if item.stage is Stage.REJECTED else "")
        if known is not None and back.destination and back.destination not in known:
            return f"{back.destination} is not a node"
        if back.entry.edits and renewed is None:
            return "it is to be changed by mutations, which can't be read: correct the configuration"
        if not ended.bring_back(str(root), back, renewed):
            return GONE
        titles.add(back.destination)
        return ""

    titles: set[str] = set()
    done = do(root, what, RETRY, act, who, through)
    _try_now(root, titles - {""}, whole=False)
    return done


def reject(root: Path, what: What, *, who: str, through: str) -> Done:
    """Take objects out of the queue, into rejected/, from where only an operator brings them back.

    What is not planned yet, so that no destination is known, goes to failed/ in the same way.
    """
    why = {"reason": f"rejected by {who}", "by": who}

    def act(item: Item) -> str:
        if not item.destination:
            if item.stage is not Stage.NEW:
                return "it has no destination yet, and stands in failed/ anyway"
            stage, place, name = Stage.FAILED, f"{root}/{Stage.FAILED}", os.path.basename(item.path)
            origin = (Stage.NEW, "", "")
        else:
            stage, place = Stage.REJECTED, f"{root}/{Stage.REJECTED}/{folder(item.destination)}"
            origin = (_origin(item), item.destination, item.rank)
            name = claim_name(*origin, item.entry) if item.entry else os.path.basename(item.path)
        if not ended.put(item.path, place, name, origin, why):
            return GONE
        crash.point("put-away")
        if item.stage in ENDED:
            ended.forget(item.path)
        tell(_moved(item, item.destination, stage, who))
        return ""

    done = do(root, what, REJECT, act, who, through)
    if done.count:
        sync_disk(root)  # once for all of them: with a note that a power cut has emptied, a start would send them again
    return done


def _origin(item: Item) -> Stage:
    """The stage to which a retry brings it back."""
    if item.stage is Stage.DEFERRED and item.entry:
        return sent_from(item.entry)
    if item.stage in ENDED:
        return ended.origin(item.path, item.destination if item.stage is Stage.REJECTED else "").stage
    return item.stage if item.stage in CLAIMED_FROM else Stage.PREPARED


def release(root: Path, what: What, *, who: str, through: str) -> Done:
    """Let objects in deferred/ go now, whatever their time, and have their destinations tried now.

    Whole destinations (a filter that names nothing but some, or nothing at all) are tried even if nothing is deferred
    there, and without process delays.
    """
    spool = Spool(root)
    wanted = filter_of(what)
    whole = Filter(destinations=wanted.destinations) == replace(wanted, look_into=LOOKED_INTO, stages=frozenset())
    titles = set((wanted.destinations or _served(root)) if whole else ())

    def act(item: Item) -> str:
        if item.entry is None:
            return "its name says no time"
        if not spool.release(Queued(item.path, item.entry, item.stage, item.destination, item.rank)):
            return GONE
        crash.point("released")
        titles.add(item.destination)
        tell(_moved(item, item.destination, sent_from(item.entry), who))
        return ""

    done = do(root, what, RELEASE, act, who, through)
    if titles and not done.count:
        only = next(iter(titles)) if len(titles) == 1 else ""
        tell(Operated("", who=who, through=through, did=RELEASE.did, destination=only, detail=str(wanted)))
    _try_now(root, titles, whole)
    return done


def _try_now(root: Path, titles: Iterable[str], whole: bool) -> None:
    """Nothing that was done fails for it: without it, they are tried when their time has come."""
    for each in sorted(titles):
        with contextlib.suppress(OSError):
            try_now(root, each, whole)
    doorbell.ring(root, "sender")


def delete(root: Path, what: What, *, who: str, through: str) -> Done:
    """Delete objects for good, each for the destination for which it stands there."""

    def act(item: Item) -> str:
        uid = _instance(item)
        try:
            os.unlink(item.path)
        except FileNotFoundError:
            return GONE
        crash.point("deleted")
        if item.stage in ENDED:
            ended.forget(item.path)  # its note
        tell(Deleted(item.receipt, destination=item.destination, stage=item.stage, who=who, sop_instance_uid=uid))
        return ""

    return do(root, what, DELETE, act, who, through)


def _instance(item: Item) -> str:
    """The SOP Instance UID, "" if the file does not tell it."""
    try:
        return head_of(item.path).sop_instance_uid
    except (OSError, Corrupt):
        return ""


def _moved(item: Item, destination: str, stage: Stage, who: str) -> Moved:
    return Moved(
        item.receipt,
        destination=item.destination,
        stage=item.stage,
        to_destination=destination,
        to_stage=stage,
        who=who,
    )
