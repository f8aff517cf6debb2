"""Recovery: finish, or give back, what a process has left half done; at each start, a clean one or one after kill -9.

recover() runs under the spool's lock, before any role starts; reclaim() does the same for one role that died while the
others go on. A plan that is half carried out is finished, never made again. A delivery that a receipt proves, or whose
entry stands in another stage, is not repeated. Crashes are counted only if a worker died alone: no other role runs
native codecs over the data, and the end of the whole service says nothing about a single object.
A file that the disk refuses to move stays where it is, with a warning, and is tried again later. For the service must
start on a full disk, as its deliveries make room; and the planner must start even if one entry can't be moved.
"""

import contextlib
import errno
import logging
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import msgspec
import orjson
from msgspec.structs import astuple

from leyden.spool import ended, listing, receipts, recent
from leyden.spool.entry import Queued, parse
from leyden.spool.moves import write_whole
from leyden.spool.stage import SENT_FROM, Stage
from leyden.spool.store import NEAR, Spool, Stuck

logger = logging.getLogger("leyden.spool")

_PLANNED_BEFORE = "state/planned-before.json"
_WAITS = (Stage.ASKING, Stage.TRANSFORM, Stage.PREPARED, Stage.DEFERRED)


class Recovered(msgspec.Struct):
    """What recovery found and did."""

    embryos: int = 0
    given_back: int = 0
    already_done: int = 0
    plans: int = 0
    retried: int = 0


def recover(
    spool: Spool,
    retry_rejected: bool = False,
    known: Collection[str] | None = None,
    renewed: ended.Renewed | None = None,
) -> Recovered:
    """Put the spool in order before the roles start.

    Embryos are removed and plans finished. Every claim is given back, or unlinked if it is proved to be delivered, and
    so is what waits to be sent though it was delivered lately.
    What stands in failed/ is tried again, and what stands in rejected/ if `retry_rejected`; both only for the `known`
    AE titles, if these are given, and by the rules of now (`renewed`, see ended.retry). What an operator has put there
    stays.

    OSError: the spool can't be listed. A plan that could not be read stays: call reclaim() before the planner starts.
    """
    done = Recovered()
    done.embryos = _remove(listing.files(f"{spool.root}/{Stage.EMBRYO}", 0))
    recent.forget_begun(spool.root)
    for claimant in listing.names(f"{spool.root}/{Stage.ACTIVE}"):
        try:
            _reclaim(spool, claimant, done, crashed=False)
        except OSError as error:
            logger.warning("what %s had in hand stays in active/, to be tried again later: %s", claimant, error)
        with contextlib.suppress(OSError):
            os.rmdir(spool.root / Stage.ACTIVE / claimant)
    delivered = receipts.latest(spool.root)
    done.already_done += _drop_delivered(spool.root, delivered) + _drop_made(spool)
    try:
        _note_planned(spool, delivered)
    except OSError as error:
        logger.warning("what was planned before can't be noted, and may be sent again: %s", error)
    ended.sweep(os.fspath(spool.root))
    done.retried += spool.retry(Stage.FAILED, known=known, renewed=renewed, at_start=True)
    if retry_rejected:
        done.retried += spool.retry(Stage.REJECTED, known=known, renewed=renewed, at_start=True)
    if any(astuple(done)):
        logger.info(
            "recovery: %d half-received files removed, %d claims given back, %d objects were delivered or made "
            "already, %d plans finished, %d failed or rejected files to be tried again",
            *astuple(done),
        )
    return done


def reclaim(spool: Spool, claimant: str, *, crashed: bool = False, receiver: int | None = None) -> int:
    """Finish or give back what a dead `claimant` has left half done; returns the number of claims and plans.

    `crashed`: whether its death counts as a crash of its claims. `receiver`: its number, if it was a receiver; the
    files that it has left half received are removed.

    The supervisor calls this before the role starts again. A claim that the disk refuses to move stays in
    Spool.claims(claimant), for give_back(); the rest of a plan is left to the next planner. OSError: the disk can't be
    read.
    """
    done = Recovered()
    if receiver is not None:
        embryos = ((place, name, parse(name)) for place, name in listing.files(f"{spool.root}/{Stage.EMBRYO}", 0))
        _remove((place, name) for place, name, entry in embryos if entry and entry.receiver == receiver)
        recent.forget_begun(spool.root)
    _reclaim(spool, claimant, done, crashed=crashed)
    return done.given_back + done.already_done + done.plans


def give_back(spool: Spool, claims: list[Queued]) -> list[Queued]:
    """Try again to give back claims; returns those that the disk still refuses to move."""
    try:
        return _give_back(spool, claims, Recovered(), crashed=False)
    except OSError as error:
        logger.warning("%d claims stay in active/, to be tried again later: %s", len(claims), error)
        return claims


def finish_plans(spool: Spool, claimant: str) -> tuple[int, list[Stuck]]:
    """Finish the plans of `claimant` that are not carried out yet.

    Returns how many entries were finished, and the plans that the disk still refuses to carry out. OSError: a plan
    file can't be read, so it is not known what is planned.
    """
    found = 0
    stuck: list[Stuck] = []
    place = spool.root / Stage.ACTIVE / claimant
    for name in listing.names(os.fspath(place)):
        if name.endswith(".plan"):
            entries, left = spool.finish_plan(place / name, lambda wanted: _done(spool.root, wanted))
            found += entries - len(left)
            stuck += left
    return found, stuck


def _remove(found: Iterable[tuple[str, str]]) -> int:
    """Unlink half-received files. One that can't be removed does no harm, and is tried again at the next start."""
    removed = 0
    for place, name in found:
        try:
            os.unlink(f"{place}/{name}")
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("the half-received %s could not be removed: %s", name, error.strerror)
        else:
            removed += 1
    return removed


def _reclaim(spool: Spool, claimant: str, done: Recovered, *, crashed: bool) -> None:
    place = spool.root / Stage.ACTIVE / claimant
    for name in listing.names(os.fspath(place)):
        if name.endswith(".making"):
            with contextlib.suppress(OSError):  # Spool.making() replaces it
                os.unlink(place / name)
    finished, stuck = finish_plans(spool, claimant)
    done.plans += finished
    if stuck:
        logger.warning("%d planned objects wait in new/, to be moved later: %s", len(stuck), stuck[-1][1])
    _give_back(spool, spool.claims(claimant), done, crashed=crashed)


def _give_back(spool: Spool, claims: list[Queued], done: Recovered, *, crashed: bool) -> list[Queued]:
    proved = _proved(spool.root, claims)
    left: list[Queued] = []
    why: OSError | None = None
    for claim in claims:
        try:
            if (claim.entry.receipt, claim.destination) in proved:
                spool.delivered(claim)
                done.already_done += 1
            else:
                spool.give_back(claim, crashed=crashed, unanswered=claim.stage in SENT_FROM)
                done.given_back += 1
        except OSError as error:
            left.append(claim)
            why = error
    if left:
        logger.warning("%d claims stay in active/, to be tried again later: %s", len(left), why)
    return left


def planned_before(root: Path) -> dict[str, list[str]]:
    """What the latest recover() found: of objects that stand in new/ though they were planned (see _drop_delivered),
    receipt -> destinations that have them, or will get them from another stage. OSError: it can't be read.
    """
    try:
        return dict(orjson.loads((root / _PLANNED_BEFORE).read_bytes()))
    except FileNotFoundError:
        return {}
    except orjson.JSONDecodeError as error:
        raise OSError(errno.EIO, f"{_PLANNED_BEFORE} is not readable") from error


def _note_planned(spool: Spool, delivered: set[tuple[str, str]]) -> None:
    """Write that down, before any role moves them. Only what is planned first can have been planned just before."""
    numbers = {path.name[:22] for path in spool.newcomers(NEAR)}
    planned: dict[str, set[str]] = defaultdict(set)
    for each in _standing(spool.root, numbers):
        if each.stage is not Stage.NEW:
            planned[each.name[:22]].add(each.destination)
    for receipt, destination in delivered:
        if receipt in numbers:
            planned[receipt].add(destination)
    path = spool.root / _PLANNED_BEFORE
    if planned:
        write_whole(os.fspath(path), orjson.dumps({receipt: sorted(found) for receipt, found in planned.items()}))
    else:
        path.unlink(missing_ok=True)


def _standing(root: Path, numbers: set[str]) -> Iterator[listing.Standing]:
    """What stands in the spool of the objects with these receipts."""
    buckets = {receipt[:8] for receipt in numbers}
    if numbers:
        yield from listing.standing(os.fspath(root), lambda name: name[:22] in numbers, buckets.__contains__)


def _drop_delivered(root: Path, delivered: set[tuple[str, str]]) -> int:
    """Unlink what waits though a receipt proves its delivery; returns how many. After a power cut, a file system may
    have forgotten the moves and removals of the last seconds, as nobody syncs a folder for them (btrfs: half a minute).
    """
    dropped = 0
    for each in _standing(root, {receipt for receipt, _ in delivered}):
        if each.stage in _WAITS and (each.name[:22], each.destination) in delivered:
            try:
                os.unlink(each.path)
            except OSError as error:
                logger.error("%s is done with but cannot be removed: %s", each.name, error)
            else:
                dropped += 1
    return dropped


def _drop_made(spool: Spool) -> int:
    """Unlink what waits for a worker though its result waits to be sent, for the same reason; returns how many. Only
    what is to be taken first can have been made shortly before a power cut.
    """
    dropped = 0
    for destination in spool.destinations(Stage.TRANSFORM):
        for waiting in spool.waiting(Stage.TRANSFORM, destination, NEAR):
            if spool.is_made(waiting):
                with contextlib.suppress(OSError):  # then it is made once more
                    os.unlink(waiting.file)
                    dropped += 1
    return dropped


def _done(root: Path, wanted: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the wanted (receipt, destination) that a plan need not place: they have an entry, or a receipt."""
    found = listing.present(os.fspath(root), wanted)
    return found | receipts.delivered(root, wanted - found)


def _proved(root: Path, claims: list[Queued]) -> set[tuple[str, str]]:
    """The (receipt, destination) of the claims that are done.

    A claim of a worker is done if the result stands in a later stage, any claim if there is a receipt for it. What had
    to be edited is done if it stands anywhere without its edits.
    """
    made = {(c.entry.receipt, c.destination) for c in claims if c.stage is Stage.TRANSFORM and not c.entry.edits}
    edited = {(c.entry.receipt, c.destination) for c in claims if c.entry.edits}
    found = listing.present(os.fspath(root), made, made=True)
    found |= listing.present(os.fspath(root), edited, edited=True)
    return found | receipts.delivered(root, {(c.entry.receipt, c.destination) for c in claims} - found)
