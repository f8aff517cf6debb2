"""Recovery: what a process left half done is finished or given back. The same code for a clean start and after kill -9.

recover() runs under the spool's lock, before any role; reclaim() does the same for one role that died while the others
go on. A plan that was begun is finished, never made anew; a delivery that a receipt proves, or that has a name in
another state, is not made twice. Crashes are counted only for a worker that died alone: nobody else runs foreign code
over the data, and the end of the whole service says nothing about one object.
What the disk does not let go is left where it is, with a warning, for a later try: a service on a full disk must start,
for what it delivers makes room. So must a planner one of whose entries can't be moved.
"""

import contextlib
import logging
import os
from collections.abc import Collection, Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from leyden.spool import ended, listing, receipts
from leyden.spool.entry import Queued, parse
from leyden.spool.stage import SENT_FROM, Stage
from leyden.spool.store import Spool, Stuck

logger = logging.getLogger("leyden.spool")


@dataclass(slots=True)
class Recovered:
    """What recovery found and did."""

    embryos: int = 0
    given_back: int = 0
    already_done: int = 0
    plans: int = 0
    retried: int = 0


def recover(spool: Spool, retry_rejected: bool = False, known: Collection[str] | None = None) -> Recovered:
    """Embryos removed, plans finished, every claim given back (or dropped where its delivery is proved), failed/ tried
    again, rejected/ too when asked, both for the `known` titles only, if given.

    OSError: the spool can't be listed. A plan that could not be read is left: reclaim() before its planner starts.
    """
    done = Recovered()
    done.embryos = _remove(listing.files(f"{spool.root}/{Stage.EMBRYO}", 0))
    for claimant in listing.names(f"{spool.root}/{Stage.ACTIVE}"):
        try:
            _reclaim(spool, claimant, done, crashed=False)
        except OSError as error:
            logger.warning("what %s left stays in active/, to be tried again later: %s", claimant, error)
        with contextlib.suppress(OSError):
            os.rmdir(spool.root / Stage.ACTIVE / claimant)
    ended.sweep(os.fspath(spool.root))
    done.retried += spool.retry(Stage.FAILED, known=known)
    if retry_rejected:
        done.retried += spool.retry(Stage.REJECTED, known=known)
    if any(astuple(done)):
        logger.info(
            "recovery: %d half-received files removed, %d claims given back, %d were done already, %d plans finished, "
            "%d failed or rejected files to be tried again",
            *astuple(done),
        )
    return done


def reclaim(spool: Spool, claimant: str, *, crashed: bool = False, receiver: int | None = None) -> int:
    """Finish or give back what `claimant`, which is dead, left; returns the number of claims and plans.

    `crashed`: whether its death counts against its claims. `receiver`: its number, if it was a receiver: what it left
    half received is removed.

    Whoever reaps a role calls it before the role starts again. A claim that the disk does not let go stays in
    Spool.claims(claimant), for give_back(); what is left of a plan is the next planner's. OSError: the disk can't be
    read.
    """
    done = Recovered()
    if receiver is not None:
        embryos = ((place, name, parse(name)) for place, name in listing.files(f"{spool.root}/{Stage.EMBRYO}", 0))
        _remove((place, name) for place, name, entry in embryos if entry and entry.receiver == receiver)
    _reclaim(spool, claimant, done, crashed=crashed)
    return done.given_back + done.already_done + done.plans


def give_back(spool: Spool, claims: list[Queued]) -> list[Queued]:
    """Try again to give back claims of the dead; returns those that the disk still does not let go."""
    try:
        return _give_back(spool, claims, Recovered(), crashed=False)
    except OSError as error:
        logger.warning("%d claims stay in active/, to be tried again later: %s", len(claims), error)
        return claims


def finish_plans(spool: Spool, claimant: str) -> tuple[int, list[Stuck]]:
    """Finish the plans that `claimant` left or could not carry out: how many entries there were, and those that the
    disk does not let go still. OSError: a plan can't be read, so nobody knows what is planned."""
    found, stuck = 0, list[Stuck]()
    place = spool.root / Stage.ACTIVE / claimant
    for name in listing.names(os.fspath(place)):
        if name.endswith(".plan"):
            entries, left = spool.finish_plan(place / name, lambda wanted: _done(spool.root, wanted))
            found += entries - len(left)
            stuck += left
    return found, stuck


def _remove(found: Iterable[tuple[str, str]]) -> int:
    """Unlink half-received files. One that stays is in nobody's way until the next start."""
    removed = 0
    for place, name in found:
        try:
            os.unlink(f"{place}/{name}")
        except FileNotFoundError:
            continue
        except OSError as error:
            logger.warning("the half-received %s stays: %s", name, error.strerror)
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


def _done(root: Path, wanted: set[tuple[str, str]]) -> set[tuple[str, str]]:
    found = listing.standing(os.fspath(root), wanted)
    return found | receipts.delivered(root, wanted - found)


def _proved(root: Path, claims: list[Queued]) -> set[tuple[str, str]]:
    """What is done of these claims: a worker's when its result stands further on, anyone's when a receipt says so."""
    made = {(c.entry.receipt, c.destination) for c in claims if c.stage is Stage.TRANSFORM}
    found = listing.standing(os.fspath(root), made, made=True)
    return found | receipts.delivered(root, {(c.entry.receipt, c.destination) for c in claims} - found)
