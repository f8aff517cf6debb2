"""The spool: the file system is the queue, state is a directory, and a change of state is one rename or link.

Everything else asks it, by destination title and entry, never by path. Anybody may lose a race, and anybody may move
files by hand while the service runs: a file that is gone is no error, one in a place that is not its own is adopted
(2 s after its last change; under rank 99 where it has none). What others may do with a name is in moves.py.
Deliberately absent: a database, an index, and any look into a file.
"""

import contextlib
import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from leyden import crash, log
from leyden.journal.events import ByHand
from leyden.journal.lines import tell
from leyden.spool import ended, listing
from leyden.spool.entry import (
    UNRANKED,
    Entry,
    Queued,
    bucket_of,
    claim_name,
    folder,
    is_bucket,
    is_rank,
    parse,
    parse_claim,
    title,
)
from leyden.spool.listing import Count
from leyden.spool.moves import adopt, folders_of, link, make_folder, move, sync_folder, write_whole
from leyden.spool.stage import BY_DESTINATION, Stage

__all__ = ["Count", "Placement", "Plan", "Spool", "Stuck"]

logger = logging.getLogger("leyden.spool")

_FOLDERS = (*Stage, "receipts", "state", "control", "bell")
_LAST_BUCKET = "99999999"


@dataclass(frozen=True, slots=True)
class Placement:
    """One planned delivery: the entry (its name there) and where it shall wait. `destination` is an AE title."""

    entry: Entry
    stage: Stage
    destination: str
    rank: str


@dataclass(frozen=True, slots=True)
class Plan:
    """An entry of new/ and its deliveries, two or more, each to another destination."""

    source: Path
    placements: tuple[Placement, ...]


Stuck = tuple[Plan, OSError]  # a plan that was not carried out to its end, and why


class Spool:
    """The spool under `root`. `sync`: whether what must survive a power cut is forced to the disk.

    Holds no state of its own: any number of them, in any number of processes and threads, may work on one root.
    """

    def __init__(self, root: Path, sync: bool = True) -> None:
        self.root = root
        self.sync = sync
        self._root = os.fspath(root)

    def prepare(self, destinations: Iterable[str]) -> tuple[str, ...]:
        """Make the folders (0700). Returns, and warns of, titles without a node whose folders hold files: these stay,
        and an operator may move them."""
        known = tuple(destinations)
        for name in _FOLDERS:
            make_folder(f"{self._root}/{name}")
        for stage in BY_DESTINATION:
            for destination in known:
                make_folder(self._queue(stage, destination))
        if self.sync:
            for name in (".", *BY_DESTINATION):
                sync_folder(f"{self._root}/{name}")
            with contextlib.suppress(PermissionError):  # who may not read it can't force it, and has not changed it
                sync_folder(f"{self._root}/..")
        strangers = sorted(
            {
                found
                for stage in BY_DESTINATION
                for found in self.destinations(stage)
                if found not in known and any(listing.files(self._queue(stage, found)))
            }
        )
        for stranger in strangers:
            logger.warning(
                "files wait in the spool for %s, which is no node: kept until it is, or they are moved", stranger
            )
        return tuple(strangers)

    def _queue(self, stage: Stage, destination: str) -> str:
        return f"{self._root}/{stage}/{folder(destination)}"

    def _bucket(self, stage: Stage, destination: str, rank: str, entry: Entry) -> str:
        bucket = bucket_of(entry.due_s) if stage is Stage.DEFERRED else entry.bucket
        return f"{self._root}/{stage}/{folder(destination)}/{rank}/{bucket}"

    # -- intake

    def embryo(self, receipt: str) -> tuple[int, Path]:
        """A new, empty file to receive into: descriptor (read and write, close-on-exec) and path.

        OSError: what the disk says (ENOSPC, EROFS, EMFILE …).
        """
        path = f"{self._root}/{Stage.EMBRYO}/{receipt}.dcm"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), Path(path)

    def newcomers(self, limit: int) -> list[Path]:
        """The oldest entries of new/, at most `limit`; each path's name parses. Hand-placed files are adopted."""
        found = (f"{place}/{name}" for place in self._buckets(Stage.NEW) for name, _ in self._entries(place, Stage.NEW))
        return [Path(path) for path in itertools.islice(found, limit)]

    def _buckets(self, queue: str, last: str = _LAST_BUCKET) -> Iterator[str]:
        """The bucket folders of a queue (below the root), oldest first; adopts files that lie beside them."""
        top = f"{self._root}/{queue}"
        for name in folders_of(self._root, queue, top, is_bucket):
            if name > last:
                break
            yield f"{top}/{name}"

    def _ranks(self, stage: Stage, destination: str) -> list[str]:
        """The queues of a destination, lowest rank first; adopts files that lie beside them."""
        queue = f"{stage}/{folder(destination)}"
        found = folders_of(self._root, f"{queue}/{UNRANKED}", f"{self._root}/{queue}", is_rank)
        return [f"{queue}/{rank}" for rank in found]

    def _entries(self, place: str, queue: str) -> Iterator[tuple[str, Entry]]:
        """The entries of a bucket, oldest first; removes it when it is old and empty, adopts what is not ours."""
        try:
            found = listing.names(place)
        except OSError as error:  # put there by hand with another owner's rights: it must not stop the others
            log.once(logger, logging.WARNING, place, f"{place} cannot be looked into: {error.strerror}")
            return
        for name in found:
            entry = parse(name)
            if entry is not None:
                yield name, entry
            else:
                adopt(self._root, queue, place, name)
        if not found and os.path.basename(place) < bucket_of(time.time()):
            with contextlib.suppress(OSError):  # somebody put something in, or was faster
                os.rmdir(place)

    # -- planning (the planner only)

    def plan_one(self, source: Path, entry: Entry, stage: Stage, destination: str, rank: str) -> bool:
        """One delivery: one rename. False if the source is gone."""
        return move(os.fspath(source), self._bucket(stage, destination, rank, entry), entry.name)

    def plan_many(self, plans: Sequence[Plan], generation: int, claimant: str) -> list[Stuck]:
        """Several deliveries each: one synced plan file for all of them, then the links, then the unlinks.

        The plan file stands in active/<claimant>/, where recover.finish_plans() finds it. `generation` is that of the
        settings that decided; it is kept in the plan file for whoever reads it. Returns what could not be moved: the
        plan file stays for it, so that it is finished and not planned anew.
        OSError: the plan file could not be written, or not for sure.
        """
        if not plans:
            return []
        lines = [
            orjson.dumps(
                {
                    "source": os.path.relpath(plan.source, self._root),
                    "generation": generation,
                    "to": [claim_name(p.stage, p.destination, p.rank, p.entry) for p in plan.placements],
                }
            )
            for plan in plans
        ]
        place = f"{self._root}/{Stage.ACTIVE}/{claimant}"
        make_folder(place)
        path = f"{place}/{plans[0].source.stem}.plan"
        write_whole(path, b"\n".join(lines), sync=self.sync)
        if self.sync:
            sync_folder(place)
        crash.point("plan-written")
        return self._carry_out(path, plans)

    def finish_plan(
        self, path: Path, done: Callable[[set[tuple[str, str]]], set[tuple[str, str]]]
    ) -> tuple[int, list[Stuck]]:
        """Carry out the rest of a plan file, but the deliveries (receipt, destination) that `done` picks as done.

        How many entries had something left to do, and those for which it is so still, as in plan_many().
        """
        plans: list[Plan] = []
        try:
            documents = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        except orjson.JSONDecodeError:  # can only be without sync, by a power cut; what it spoke of is in new/ still
            logger.warning("%s is not readable: what it planned is planned anew", path.name)
            documents = []
        for document in documents:
            to = [claim for claim in (parse_claim(name) for name in document["to"]) if claim]
            source = self.root / document["source"]
            if source.exists():
                placements = tuple(Placement(c.entry, c.stage, c.destination, c.rank) for c in to)
                plans.append(Plan(source, placements))
        proved = done({(p.entry.receipt, p.destination) for plan in plans for p in plan.placements})
        return len(plans), self._carry_out(os.fspath(path), plans, proved)

    def _carry_out(
        self, path: str, plans: Sequence[Plan], proved: Collection[tuple[str, str]] = frozenset()
    ) -> list[Stuck]:
        stuck: list[Stuck] = []
        for plan in plans:
            left = tuple(p for p in plan.placements if (p.entry.receipt, p.destination) not in proved)
            try:
                self._place(os.fspath(plan.source), left)
            except OSError as error:
                stuck.append((plan, error))
        if not stuck:
            with contextlib.suppress(OSError):  # one whose entries are gone asks for nothing
                os.unlink(path)
        return stuck

    def _place(self, source: str, placements: Iterable[Placement]) -> None:
        try:
            for p in placements:
                link(source, self._bucket(p.stage, p.destination, p.rank, p.entry), p.entry.name)
                crash.point("one-link")
            crash.point("last-link")
            os.unlink(source)
            crash.point("newcomer-unlinked")
        except FileNotFoundError:
            tell(ByHand(os.path.basename(source)[:22], what="was taken away"))

    def bound(self) -> Iterator[tuple[str, str]]:
        """(destination, sop key) of all that is planned and neither delivered nor given up: one walk over all names."""
        try:
            yield from listing.bound(self._root)
        except OSError as error:
            logger.warning("not all that is planned could be looked at, equal instances may overtake: %s", error)

    def dropped(self, source: Path) -> None:
        """An entry of new/ that a rule dropped: unlink. Its receipt must be synced before."""
        source.unlink(missing_ok=True)

    # -- work

    def destinations(self, stage: Stage) -> list[str]:
        """The titles that have a folder in a stage (one of BY_DESTINATION)."""
        return [title(name) for name in listing.names(f"{self._root}/{stage}")]

    def waiting(self, stage: Stage, destination: str, limit: int) -> Iterator[Queued]:
        """What waits in a stage (one of CLAIMED_FROM), at most `limit`: lowest rank first, then the oldest.

        A bucket's names are read when the first of them is wanted (about 1 us a name).
        """
        left = limit
        for queue in self._ranks(stage, destination):
            for place in self._buckets(queue):
                for name, entry in self._entries(place, queue):
                    if left <= 0:
                        return
                    left -= 1
                    yield Queued(f"{place}/{name}", entry, stage, destination, queue[-2:])

    def held_back(self, destination: str, entries: Iterable[Entry]) -> set[str]:
        """The receipts of those entries for which an older one of the same instance is on its way to the destination.

        It stands in transform, asking, prepared, active or deferred then. One walk (about 1 us a name) answers for all:
        ask for the serial entries of a whole window, just before they are sent.
        """
        return listing.held_back(self._root, destination, entries)

    def claim(self, waiting: Queued, claimant: str) -> Queued | None:
        """Take an entry for `claimant` ("worker-0", "sender-0"): a rename. None if somebody was faster."""
        place = f"{self._root}/{Stage.ACTIVE}/{claimant}"
        name = claim_name(waiting.stage, waiting.destination, waiting.rank, waiting.entry)
        if not move(waiting.file, place, name):
            return None
        return Queued(f"{place}/{name}", waiting.entry, waiting.stage, waiting.destination, waiting.rank)

    def claims(self, claimant: str) -> list[Queued]:
        """What `claimant` holds."""
        place = f"{self._root}/{Stage.ACTIVE}/{claimant}"
        return [claim for claim in (parse_claim(f"{place}/{name}") for name in listing.names(place)) if claim]

    def _send(self, claim: Queued, stage: Stage, entry: Entry) -> None:
        move(claim.file, self._bucket(stage, claim.destination, claim.rank, entry), entry.name)

    def give_back(self, claim: Queued, *, crashed: bool = False, unanswered: bool = False) -> None:
        """Put a claim back to where it came from. `crashed` adds one to its crash count; `unanswered`: it may have been
        sent, and nobody knows what the answer would have been."""
        entry = claim.entry
        entry = replace(entry, crashes=entry.crashes + crashed, unanswered=max(entry.unanswered, int(unanswered)))
        self._send(claim, claim.stage, entry)

    def making(self, claim: Queued) -> tuple[int, Path]:
        """A new, empty file beside a claim, to be filled and handed to transformed(): descriptor (read and write) and
        path. It holds whatever a former try left; recovery removes it."""
        path = claim.path.with_name(f"{claim.entry.receipt}.{folder(claim.destination)}.making")
        path.unlink(missing_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path

    def transformed(self, claim: Queued, made: Path, ready: Callable[[], None] = lambda: None) -> None:
        """`made` takes the claim's place, in prepared/: fsync, link, fsync of the folder, and then the claim's unlink.

        `ready` is called before that last step, which takes its time for a large file: `made` may be sent from then on.
        OSError: the disk says no; the claim stands, `made` is not to be used again (a second fsync may lie).
        """
        entry = replace(claim.entry, syntax="", crashes=0)
        place = self._bucket(Stage.PREPARED, claim.destination, claim.rank, entry)
        if self.sync:
            fd = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
        crash.point("made-synced")
        folder_made = link(os.fspath(made), place, entry.name)
        crash.point("made-linked")
        if self.sync:
            sync_folder(place)
            if folder_made:
                sync_folder(os.path.dirname(place))
                sync_folder(self._queue(Stage.PREPARED, claim.destination))
        crash.point("prepared-synced")
        ready()
        claim.path.unlink(missing_ok=True)
        crash.point("claim-unlinked")
        made.unlink(missing_ok=True)

    def passed_on(self, claim: Queued) -> None:
        """A claim goes to prepared/ as it came (it could not, or need not, be changed): one rename."""
        self._send(claim, Stage.PREPARED, replace(claim.entry, syntax="", crashes=0))

    def to_transform(self, claim: Queued, syntax: str) -> None:
        """A claim goes (back) to transform/, to be made into `syntax`."""
        self._send(claim, Stage.TRANSFORM, replace(claim.entry, syntax=syntax, due_s=0, crashes=0))

    def defer(self, claim: Queued, due_s: float, *, unanswered: bool = False) -> None:
        """Wait in deferred/ until `due_s` (seconds since 1970), with one more attempt: a transient answer, or none."""
        entry = claim.entry
        entry = replace(
            entry, attempt=entry.attempt + 1, due_s=math.ceil(due_s), unanswered=entry.unanswered + unanswered
        )
        self._send(claim, Stage.DEFERRED, entry)

    def due(self, destination: str, now_s: float, limit: int = 1000) -> int:
        """Bring deferred entries whose time has come back; returns how many (at most `limit`).

        They go to prepared/, and to asking/ where their name still holds the syntax that the destination is asked for.
        """
        moved = 0
        for queue in self._ranks(Stage.DEFERRED, destination):
            for place in self._buckets(queue, last=bucket_of(now_s)):
                for name, entry in self._entries(place, queue):
                    if entry.due_s <= now_s:
                        back = replace(entry, due_s=0)
                        stage = Stage.ASKING if back.syntax else Stage.PREPARED
                        moved += move(f"{place}/{name}", self._bucket(stage, destination, queue[-2:], back), back.name)
                        if moved >= limit:
                            return moved
        return moved

    def delivered(self, claim: Queued) -> None:
        """Done: unlink. The receipt must be synced before."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(claim.file)

    # -- the stages in which a trip has ended

    def _put(self, claim: Queued, place: str, name: str, why: Mapping[str, Any]) -> None:
        origin = (claim.stage, claim.destination, claim.rank)
        ended.put(claim.file, f"{self._root}/{place}", name, origin, why)

    def reject(self, claim: Queued, why: Mapping[str, Any]) -> None:
        """The destination said no for good: to rejected/<DEST>/, with a .json beside it. `why` holds "reason"."""
        self._put(claim, f"{Stage.REJECTED}/{folder(claim.destination)}", claim.entry.name, why)

    def fail(self, claim: Queued | Path, why: Mapping[str, Any]) -> None:
        """Could not be planned (a path in new/), read or transcoded (a claim): to failed/, with a .json beside it."""
        if isinstance(claim, Queued):
            self._put(claim, Stage.FAILED, claim.path.name, why)
        else:
            ended.put(os.fspath(claim), f"{self._root}/{Stage.FAILED}", claim.name, (Stage.NEW, "", ""), why)

    def expire(self, claim: Queued) -> None:
        """Older than its destination's expiryThreshold: to expired/, never deleted."""
        self._put(claim, Stage.EXPIRED, claim.path.name, {"reason": "not delivered within expiryThreshold"})

    def retry(self, stage: Stage, destination: str | None = None, known: Collection[str] | None = None) -> int:
        """Bring back what stands in rejected/ or failed/ (of one destination, or all); returns how many.

        Each goes to where it came from; its attempts and crashes are forgotten. With `known` (titles), what is bound
        for another stays, with its reason; so does, with a warning, what the disk does not let go.
        """
        return ended.retry(self._root, stage, destination, known)

    # -- figures

    def counts(self) -> list[Count]:
        """How much stands where, in the order of the trip; right at any time, with or without the service."""
        return listing.counts(self._root)

    def free_percent(self) -> float:
        """Percent of the volume that is free for us."""
        volume = os.statvfs(self._root)
        return 100.0 * volume.f_bavail / volume.f_blocks if volume.f_blocks else 0.0
