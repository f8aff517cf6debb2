"""Recovery: what a process left half done is finished or given back. The same code for a clean start and after kill -9.

recover() runs under the spool's lock, before any role; reclaim() does the same for one role that died while the others
go on. A plan that was begun is finished, never made anew; a delivery that a receipt proves, or that has a name in
another state, is not made twice. Crashes are counted only for a worker that died alone: nobody else runs foreign code
over the data, and the end of the whole service says nothing about one object.
"""

import contextlib
import logging
import os
from dataclasses import astuple, dataclass
from pathlib import Path

from leyden.spool import listing, receipts, shelves
from leyden.spool.entry import Claim, parse
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.spool")


@dataclass(slots=True)
class Recovered:
    """What recovery found and did."""

    embryos: int = 0
    given_back: int = 0
    already_done: int = 0
    plans: int = 0
    retried: int = 0


def recover(spool: Spool, retry_rejected: bool = False) -> Recovered:
    """Embryos removed, plans finished, every claim given back (or dropped where its delivery is proved), failed/ tried
    again, rejected/ too when asked. OSError: the disk says no."""
    done = Recovered()
    for folder, name in listing.files(f"{spool.root}/embryo", 0):
        os.unlink(f"{folder}/{name}")
        done.embryos += 1
    for claimant in listing.names(f"{spool.root}/active"):
        _reclaim(spool, claimant, done, crashed=False)
        with contextlib.suppress(OSError):
            os.rmdir(spool.root / "active" / claimant)
    shelves.sweep(os.fspath(spool.root))
    done.retried += spool.retry("failed")
    if retry_rejected:
        done.retried += spool.retry("rejected")
    if any(astuple(done)):
        logger.info(
            "recovery: %d half-received files removed, %d claims given back, %d were done already, %d plans finished, "
            "%d failed or rejected files to be tried again",
            *astuple(done),
        )
    return done


def reclaim(spool: Spool, claimant: str) -> int:
    """Finish or give back what `claimant` ("worker-1"), which is dead, left; returns the number of claims and plans.
    What a receiver left half received goes.

    Whoever reaps a role calls it before the role starts again.
    """
    done = Recovered()
    role, _, number = claimant.rpartition("-")
    if role == "receiver":
        for folder, name in listing.files(f"{spool.root}/embryo", 0):
            entry = parse(name)
            if entry is not None and entry.receiver == int(number):
                os.unlink(f"{folder}/{name}")
    _reclaim(spool, claimant, done, crashed=role == "worker")
    return done.given_back + done.already_done + done.plans


def _reclaim(spool: Spool, claimant: str, done: Recovered, *, crashed: bool) -> None:
    place = spool.root / "active" / claimant
    for name in listing.names(os.fspath(place)):
        if name.endswith(".making"):
            (place / name).unlink(missing_ok=True)
    for name in listing.names(os.fspath(place)):
        if name.endswith(".plan"):
            done.plans += spool.finish_plan(place / name, lambda wanted: _done(spool.root, wanted))
    claims = spool.claims(claimant)
    proved = _proved(spool.root, claims)
    for claim in claims:
        if (claim.entry.receipt, claim.destination) in proved:
            spool.delivered(claim)
            done.already_done += 1
        else:
            spool.give_back(claim, crashed=crashed)
            done.given_back += 1


def _done(root: Path, wanted: set[tuple[str, str]]) -> set[tuple[str, str]]:
    found = listing.standing(os.fspath(root), wanted)
    return found | receipts.delivered(root, wanted - found)


def _proved(root: Path, claims: list[Claim]) -> set[tuple[str, str]]:
    """What is done of these claims: a worker's when its result stands further on, anyone's when a receipt says so."""
    made = {(c.entry.receipt, c.destination) for c in claims if c.stage == "transform"}
    found = listing.standing(os.fspath(root), made, made=True)
    return found | receipts.delivered(root, {(c.entry.receipt, c.destination) for c in claims} - found)
