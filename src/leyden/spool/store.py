"""The spool: the file system is the queue, a state is a folder, and a change of state is one rename or link.

All other modules ask it for entries, by destination and stage, never by path. Any process may lose a race, and an
operator may move files by hand while the service runs. So a file that is gone is no error, and one that is not where
it belongs is adopted: 2 s after its last change, with rank 99 if it has none. How a name moves is in moves.py.
Deliberately absent: a database, an index, and any look into a file.
"""

import contextlib
import itertools
import logging
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from leyden import crash, log
from leyden.documents import decoded
from leyden.journal.events import ByHand
from leyden.journal.lines import tell
from leyden.spool import ended, listing, turns
from leyden.spool.control import PREPARE, Controls, flags_at
from leyden.spool.entry import (
    UNRANKED,
    Entry,
    Queued,
    bucket_of,
    claim_name,
    folder,
    is_bucket,
    is_rank,
    of_source,
    parse,
    parse_claim,
    title,
)
from leyden.spool.listing import Count
from leyden.spool.moves import adopt, folders_of, into, link, make_folder, move, rename, sync_folder, write_whole
from leyden.spool.stage import BY_DESTINATION, Stage

__all__ = ["Count", "Placement", "Plan", "Spool", "Stuck"]

logger = logging.getLogger("leyden.spool")

_FOLDERS = (*Stage, "receipts", "recent", "journal", "logs", "state", "control", "bell")
_LAST_BUCKET = "99999999"
NEAR = 4096  # of a queue: among these the callers take turns
AHEAD = 100_000  # and so many more are looked at for the sake of those who have sent little
_SET_ASIDE = "state/set-aside"  # how many entries the planner leaves in new/ on purpose; no file: none


class Placement(msgspec.Struct, frozen=True):
    """One planned delivery: the entry, which gives its name, and where it is to wait. `destination` is an AE title."""

    entry: Entry
    stage: Stage
    destination: str
    rank: str


class Plan(msgspec.Struct, frozen=True):
    """An entry of new/ and its two or more deliveries, each to a different destination."""

    source: Path
    placements: tuple[Placement, ...]


def sent_from(deferred: Entry) -> Stage:
    """Where an entry in deferred/ came from, by its name."""
    return Stage.ASKING if deferred.syntax else Stage.PREPARED


class _PlanLine(msgspec.Struct, frozen=True):
    """A line of a plan file: what is read of it again. `source` is relative to the spool, `to` are names of claims."""

    source: str
    to: list[str]


Stuck = tuple[Plan, OSError]  # a plan that could not be carried out completely, and why


class Spool:
    """The spool under `root`. `sync`: whether data that must survive a power cut is forced to the disk.

    It has no state of its own: many instances, in many processes and threads, may work on one root.
    """

    def __init__(self, root: Path, sync: bool = True) -> None:
        self.root = root
        self.sync = sync
        self._root = os.fspath(root)

    def prepare(self, destinations: Iterable[str]) -> tuple[str, ...]:
        """Make the folders (mode 0700). `destinations`: the AE titles of all nodes.

        Returns the other titles for which files wait, and warns of each. The files stay; an operator may move them.
        """
        known = tuple(destinations)
        for name in _FOLDERS:
            make_folder(f"{self._root}/{name}")
        for stage in BY_DESTINATION:
            for destination in known:
                make_folder(self._queue(stage, destination))
        if self.sync:
            for name in (".", *BY_DESTINATION):
                sync_folder(f"{self._root}/{name}")
            with contextlib.suppress(PermissionError):  # without the right to read it, we have not changed it either
                sync_folder(f"{self._root}/..")
        unknown = sorted(
            {
                found
                for stage in BY_DESTINATION
                for found in self.destinations(stage)
                if found not in known and any(listing.files(self._queue(stage, found)))
            }
        )
        for destination in unknown:
            logger.warning(
                "files wait in the spool for %s, which is not a node; they stay until it is one or they are moved",
                destination,
            )
        return tuple(unknown)

    def _queue(self, stage: Stage, destination: str) -> str:
        return f"{self._root}/{stage}/{folder(destination)}"

    def _bucket(self, stage: Stage, destination: str, rank: str, entry: Entry) -> str:
        bucket = bucket_of(entry.due_s) if stage is Stage.DEFERRED else entry.bucket
        return f"{self._root}/{stage}/{folder(destination)}/{rank}/{bucket}"

    # -- intake

    def embryo(self, receipt: str) -> tuple[int, Path]:
        """A new, empty file to receive into: its descriptor (read and write, close-on-exec) and path.

        OSError: the system refuses (ENOSPC, EROFS, EMFILE …).
        """
        path = f"{self._root}/{Stage.EMBRYO}/{receipt}.dcm"
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), Path(path)

    def newcomers(self, limit: int) -> list[Path]:
        """The entries of new/ that are to be planned next, at most `limit`: the callers take turns (spool/turns.py).

        Each name can be parsed. Files put there by hand are adopted.
        """
        return [Path(path) for path, _ in itertools.islice(self._in_turn(Stage.NEW), limit)]

    def _buckets(self, queue: str, last: str = _LAST_BUCKET) -> Iterator[str]:
        """The bucket folders of a queue (a path below the root), oldest first; adopts files beside them."""
        top = f"{self._root}/{queue}"
        for name in folders_of(self._root, queue, top, is_bucket):
            if name > last:
                break
            yield f"{top}/{name}"

    def _ranks(self, stage: Stage, destination: str) -> list[str]:
        """The queues of a destination, one for each rank, lowest rank first; adopts files beside them."""
        queue = f"{stage}/{folder(destination)}"
        found = folders_of(self._root, f"{queue}/{UNRANKED}", f"{self._root}/{queue}", is_rank)
        return [f"{queue}/{rank}" for rank in found]

    def _in_turn(self, queue: str, ahead: int = AHEAD) -> Iterator[tuple[str, Entry]]:
        """The entries of a queue as they are to be served, as (path, entry): the callers take turns (turns.py).

        They do so within the first NEAR names, together with those of the next `ahead` whose callers have few in these.
        Then follow the others, the oldest first. `ahead` 0: within the first few.
        """
        near_most = NEAR if ahead else turns.FEW
        buckets = list(self._buckets(queue))
        places: dict[str, str] = {}  # of the names
        left: list[str] = []  # of the bucket in which there were enough
        looked_into = 0
        while looked_into < len(buckets) and len(places) < near_most:
            found = self._names(buckets[looked_into])
            room = near_most - len(places)
            places.update(dict.fromkeys(found[:room], buckets[looked_into]))
            left = found[room:]
            looked_into += 1
        near = list(places)
        if queue == Stage.NEW and not all(map(of_source, near)):  # somebody put it there: which instance is it?
            order = near
        else:
            if ahead and (left or looked_into < len(buckets)):
                places.update(self._of_others(near, left, buckets[looked_into - 1 :], ahead))
            order = turns.in_turn(list(places))
        for name in order:
            yield from self._entry(places[name], name, queue)
        for number, place in enumerate(buckets[max(0, looked_into - 1) :]):
            for name in self._names(place) if number else left:
                if name not in places:
                    yield from self._entry(place, name, queue)

    def _of_others(
        self, near: Sequence[str], left: Sequence[str], buckets: Sequence[str], ahead: int
    ) -> Iterator[tuple[str, str]]:
        """Beyond the `near` names: those of callers who have few of them, and their places. `left` are the first."""
        others = turns.Others(near)
        for number, place in enumerate(buckets):
            names = self._names(place) if number else left
            found = len(others.found)
            others.look(names)
            yield from ((name, place) for name in others.found[found:])
            ahead -= len(names)
            if ahead <= 0:
                return

    def _names(self, place: str) -> list[str]:
        """The names in a bucket, oldest first; removes the bucket if it is old and empty."""
        try:
            found = listing.names(place)
        except OSError as error:  # it was put there by hand and belongs to another user: the others must go on
            log.once(logger, logging.WARNING, place, f"{place} cannot be listed: {error.strerror}")
            return []
        if not found and os.path.basename(place) < bucket_of(time.time()):
            with contextlib.suppress(OSError):  # it holds a file by now, or another process has removed it
                os.rmdir(place)
        return found

    def _entry(self, place: str, name: str, queue: str) -> Iterator[tuple[str, Entry]]:
        """The path and the entry of a name; what has none is adopted."""
        entry = parse(name)
        if entry is not None:
            yield f"{place}/{name}", entry
        else:
            adopt(self._root, queue, place, name)

    # -- planning (the planner only)

    def set_aside(self, count: int) -> None:
        """Say how many entries of new/ the planner keeps there on purpose; see unplanned(). OSError."""
        path = f"{self._root}/{_SET_ASIDE}"
        if count:
            write_whole(path, str(count).encode())
        else:
            Path(path).unlink(missing_ok=True)

    def plan_one(self, source: Path, entry: Entry, stage: Stage, destination: str, rank: str) -> bool:
        """Place an object with one delivery: one rename. False if the source is gone."""
        return move(os.fspath(source), self._bucket(stage, destination, rank, entry), entry.name)

    def plan_many(self, plans: Sequence[Plan], generation: int, claimant: str) -> list[Stuck]:
        """Place objects with several deliveries each: one synced plan file for all, then links and renames.

        The plan file stands in active/<claimant>/, where recover.finish_plans() finds it. It records `generation`, that
        of the settings that decided. Returns the plans that could not be carried out: the plan file stays for these, so
        that they are finished later and not planned again.
        OSError: the plan file could not be written, or it is not sure that it was.
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
        """Carry out what is left of a plan file.

        `done` is given (receipt, destination) pairs, and returns those that need not be placed any more. Returns how
        many entries were still in new/, and the plans that could not be carried out.
        """
        plans: list[Plan] = []
        try:
            documents = [decoded(line, _PlanLine) for line in path.read_bytes().splitlines()]
        except msgspec.DecodeError:  # by a power cut without sync, or a bad disk; its objects are still in new/
            logger.warning("%s is not readable: its objects are planned again", path.name)
            documents = []
        for document in documents:
            to = [claim for claim in (parse_claim(name) for name in document.to) if claim]
            source = self.root / document.source
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
                if left:
                    self._place(os.fspath(plan.source), left)
                else:
                    plan.source.unlink(missing_ok=True)
            except OSError as error:
                stuck.append((plan, error))
        if not stuck:
            with contextlib.suppress(OSError):  # if it stays: its entries are gone, so there is nothing to carry out
                os.unlink(path)
        return stuck

    def _place(self, source: str, placements: Sequence[Placement]) -> None:
        """Link an entry to its places, but rename it to the last one: a file system that syncs each folder by itself
        may forget links for which the next sync of new/ would remember an unlink, and then nothing is left.
        """
        *others, last = ((self._bucket(p.stage, p.destination, p.rank, p.entry), p.entry.name) for p in placements)
        try:
            for place, name in others:
                link(source, place, name)
                crash.point("one-placed")
            into(rename, source, *last)
            crash.point("one-placed")
            crash.point("last-placed")
        except FileNotFoundError:
            tell(ByHand(os.path.basename(source)[:22], what="was taken away"))

    def bound(self) -> Iterator[tuple[str, str]]:
        """(destination, sop key) of every entry planned and neither delivered nor given up: a walk over all names."""
        try:
            yield from listing.bound(self._root)
        except OSError as error:
            what = "not all planned entries could be listed, equal instances may be sent in the wrong order: %s"
            logger.warning(what, error)

    def dropped(self, source: Path) -> None:
        """Unlink an object in new/ whose trip has ended. Its receipt must have been synced before."""
        source.unlink(missing_ok=True)

    # -- work

    def destinations(self, stage: Stage) -> list[str]:
        """The AE titles that have a folder in a stage (one of BY_DESTINATION)."""
        return [title(name) for name in listing.names(f"{self._root}/{stage}")]

    def waiting(self, stage: Stage, destination: str, limit: int, ahead: int = AHEAD) -> Iterator[Queued]:
        """The entries that wait in a stage (one of CLAIMED_FROM), at most `limit`: lowest rank first.

        Within a rank the callers take turns, each with its oldest first (turns.py). The names of the first buckets are
        read at once (about 1 us a name), and of `ahead` more if these are many.
        """
        left = limit
        for queue in self._ranks(stage, destination):
            for path, entry in self._in_turn(queue, ahead):
                if left <= 0:
                    return
                if entry.edits and stage is not Stage.TRANSFORM:  # moved by hand; it must not leave as it is
                    move(path, self._bucket(Stage.TRANSFORM, destination, queue[-2:], entry), os.path.basename(path))
                    continue
                left -= 1
                yield Queued(path, entry, stage, destination, queue[-2:])

    def held_back(self, destination: str, entries: Iterable[Entry]) -> set[str]:
        """The receipts of those entries for which an older one of the same instance is on its way to the destination.

        The older one stands in transform, asking, prepared, active or deferred. One walk (about 1 us a name) answers
        for all entries, so ask for the serial entries of a whole window at once, just before they are sent.
        """
        return listing.held_back(self._root, destination, entries)

    def not_made(self, destination: str) -> dict[str, str]:
        """Of what stands in transform/ and asking/, or is claimed from there: the series -> the oldest receipt of it.

        One walk over names, about 1 us each.
        """
        return listing.not_made(self._root, destination)

    def claim(self, waiting: Queued, claimant: str) -> Queued | None:
        """Claim an entry for `claimant` ("worker-0", "sender-0"): a rename. None if the entry is gone."""
        place = f"{self._root}/{Stage.ACTIVE}/{claimant}"
        name = claim_name(waiting.stage, waiting.destination, waiting.rank, waiting.entry)
        if not move(waiting.file, place, name):
            return None
        return Queued(f"{place}/{name}", waiting.entry, waiting.stage, waiting.destination, waiting.rank)

    def claims(self, claimant: str) -> list[Queued]:
        """The claims that `claimant` holds."""
        place = f"{self._root}/{Stage.ACTIVE}/{claimant}"
        return [claim for claim in (parse_claim(f"{place}/{name}") for name in listing.names(place)) if claim]

    def _move_on(self, claim: Queued, stage: Stage, entry: Entry) -> None:
        move(claim.file, self._bucket(stage, claim.destination, claim.rank, entry), entry.name)

    def give_back(self, claim: Queued, *, crashed: bool = False, unanswered: bool = False) -> None:
        """Put a claim back to where it came from.

        `crashed` adds one to its crash count. `unanswered`: it may have been sent, and its answer was lost.
        """
        entry = claim.entry
        entry = replace(entry, crashes=entry.crashes + crashed, unanswered=max(entry.unanswered, int(unanswered)))
        self._move_on(claim, claim.stage, entry)

    def making(self, claim: Queued) -> tuple[int, Path]:
        """A new, empty file beside a claim, to be filled and handed to transformed(): its descriptor and path.

        The descriptor is for reading and writing. A file left over from an earlier try is replaced; one left over at
        the end is removed by recovery.
        """
        path = claim.path.with_name(f"{claim.entry.receipt}.{folder(claim.destination)}.making")
        path.unlink(missing_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), path

    def transformed(
        self, claim: Queued, made: Path, ready: Callable[[], None] = lambda: None, *, asking: str = ""
    ) -> None:
        """Replace a claim by `made`, in prepared/: fsync, link, fsync of the folder, and at last unlink of the claim.

        `asking`: it stands in asking/ instead, until its destination was asked for this syntax (a name).
        `ready` is called before the unlink, which takes long for a large file: from then on `made` may be sent.
        OSError: the disk refuses. The claim stays, and `made` must not be used again: a second fsync would report a
        success that may be none.
        """
        stage = Stage.ASKING if asking else Stage.PREPARED
        place, name = self._made(claim, stage, asking)
        if self.sync:
            fd = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(fd)
            finally:
                os.close(fd)
        crash.point("made-synced")
        folder_made = link(os.fspath(made), place, name)
        crash.point("made-linked")
        if self.sync:
            sync_folder(place)
            if folder_made:
                sync_folder(os.path.dirname(place))
                sync_folder(self._queue(stage, claim.destination))
        crash.point("prepared-synced")
        ready()
        claim.path.unlink(missing_ok=True)
        crash.point("claim-unlinked")
        made.unlink(missing_ok=True)

    def _made(self, waiting: Queued, stage: Stage, syntax: str) -> tuple[str, str]:
        """The folder and the name of what is made of an entry."""
        entry = replace(waiting.entry, syntax=syntax, crashes=0, edits="")
        return self._bucket(stage, waiting.destination, waiting.rank, entry), entry.name

    def is_made(self, waiting: Queued) -> bool:
        """Whether what a worker is to make of this entry waits to be sent already, or again after it was given back."""
        given_back = replace(waiting, entry=replace(waiting.entry, unanswered=1))
        places = (self._made(each, Stage.PREPARED, "") for each in (waiting, given_back))
        return any(os.path.lexists(f"{place}/{name}") for place, name in places)

    def passed_on(self, claim: Queued) -> None:
        """Move a claim to prepared/ as it came: it could not be changed, or need not be. One rename.

        ValueError: it has to be changed before it may leave.
        """
        if claim.entry.edits:
            raise ValueError(f"{claim.entry.receipt} must not be passed on without its edits")
        self._move_on(claim, Stage.PREPARED, replace(claim.entry, syntax="", crashes=0))

    def to_transform(self, claim: Queued, syntax: str) -> None:
        """Send a claim (back) to transform/, to be made into `syntax` (a name)."""
        self._move_on(claim, Stage.TRANSFORM, replace(claim.entry, syntax=syntax, due_s=0, crashes=0))

    def defer(self, claim: Queued, due_s: float, *, unanswered: bool = False) -> None:
        """Move a claim to deferred/ until `due_s` (seconds since 1970), and count the attempt.

        `unanswered`: count also that there was no answer. The name keeps a syntax only if the claim came from asking/.
        """
        entry = replace(
            claim.entry,
            syntax=claim.entry.syntax if claim.stage is Stage.ASKING else "",
            attempt=claim.entry.attempt + 1,
            due_s=math.ceil(due_s),
            unanswered=claim.entry.unanswered + unanswered,
        )
        self._move_on(claim, Stage.DEFERRED, entry)

    def due(self, destination: str, now_s: float, longest_s: float = math.inf, limit: int = 1000) -> int:
        """Bring back the deferred entries whose time has come, at most `limit`; returns how many.

        They go to prepared/, or to asking/ if their name holds a syntax that the destination still has to be asked for.
        Nobody waits for longer than `longest_s`: what seems to is due, because the clock was set back.
        """
        moved = 0
        now, last = bucket_of(now_s), bucket_of(now_s + longest_s + 1) if longest_s < math.inf else _LAST_BUCKET
        for queue in self._ranks(Stage.DEFERRED, destination):
            for place in self._buckets(queue):
                if now < os.path.basename(place) < last:
                    continue
                for name in self._names(place):
                    for path, entry in self._entry(place, name, queue):
                        if not now_s < entry.due_s <= now_s + longest_s + 1:  # it was rounded up
                            moved += self.release(Queued(path, entry, Stage.DEFERRED, destination, queue[-2:]))
                    if moved >= limit:
                        return moved
        return moved

    def release(self, deferred: Queued) -> bool:
        """Bring back one deferred entry, whatever its time. False if it is gone."""
        back = replace(deferred.entry, due_s=0)
        place = self._bucket(sent_from(back), deferred.destination, deferred.rank, back)
        return move(deferred.file, place, back.name)

    def delivered(self, claim: Queued) -> None:
        """Unlink a delivered claim. Its receipt must have been synced before."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(claim.file)

    # -- the stages in which a trip has ended

    def _end(self, claim: Queued, place: str, name: str, why: Mapping[str, Any]) -> None:
        origin = (claim.stage, claim.destination, claim.rank)
        ended.put(claim.file, f"{self._root}/{place}", name, origin, why)

    def reject(self, claim: Queued, why: Mapping[str, Any]) -> Queued:
        """Move a claim to rejected/<DEST>/: the destination refused it for good. `why` holds at least "reason".

        Returns it with its new path, for forget_rejected().
        """
        place = f"{Stage.REJECTED}/{folder(claim.destination)}"
        self._end(claim, place, claim.entry.name, why)
        return replace(claim, file=f"{self._root}/{place}/{claim.entry.name}")

    def forget_rejected(self, rejected: Queued) -> None:
        """Remove what stands in rejected/, with its note. Its receipt must have been synced before."""
        ended.forget(rejected.file)

    def fail(self, claim: Queued | Path, why: Mapping[str, Any]) -> None:
        """Move an object to failed/: a path in new/ could not be planned, or a claim not be read or transcoded."""
        if isinstance(claim, Queued):
            self._end(claim, Stage.FAILED, claim.path.name, why)
        else:
            ended.put(os.fspath(claim), f"{self._root}/{Stage.FAILED}", claim.name, (Stage.NEW, "", ""), why)

    def expire(self, claim: Queued) -> None:
        """Move a claim that is older than its destination's expiryThreshold to expired/; nothing is deleted."""
        self._end(claim, Stage.EXPIRED, claim.path.name, {"reason": "not delivered within expiryThreshold"})

    def retry(
        self,
        stage: Stage,
        destination: str | None = None,
        known: Collection[str] | None = None,
        renewed: ended.Renewed | None = None,
        at_start: bool = False,
    ) -> int:
        """Bring back the objects in rejected/ or failed/, of one destination or of all; returns how many.

        `known`: only those bound for these AE titles, or for none yet. See ended.retry().
        """
        return ended.retry(self._root, stage, destination, known, renewed, at_start)

    # -- figures

    def unplanned(self, limit: int, minimum_age_s: float = 0.0) -> tuple[int, Counter[str]]:
        """How many entries of new/ the planner is behind with, and how many stand there by the key of their source.

        It stops counting at about `limit`.

        Not counted are those younger than `minimum_age_s`, and as many as the planner has set aside, because they
        cannot be moved or their copies cannot be saved: that may last for days. 0 while an operator has paused the
        planner, and if the disk does not tell.
        """
        if PREPARE in flags_at(Controls(self.root).flags(), time.time()):
            return 0, Counter()
        place = f"{self._root}/{Stage.NEW}"
        aside = 0
        with contextlib.suppress(OSError, ValueError):
            aside = int(Path(self._root, _SET_ASIDE).read_bytes())
        try:
            before = f"{int((time.time() - minimum_age_s) * 1e6):016d}" if minimum_age_s else _LAST_BUCKET
            found = listing.received_before(place, before, limit + aside)
        except OSError:
            return 0, Counter()
        return max(0, found.total() - aside), found

    def counts(self) -> list[Count]:
        """How many objects stand where, in the order of the trip; the service may be running or not."""
        return listing.counts(self._root)

    def free_percent(self) -> tuple[float, str]:
        """What is scarcer on the volume, its space or its inodes: how much is free for this user, and the log's words.

        A file system that does not count its inodes says that it has none.
        """
        volume = os.statvfs(self._root)
        space = 100.0 * volume.f_bavail / volume.f_blocks if volume.f_blocks else 0.0
        inodes = 100.0 * volume.f_favail / volume.f_files if volume.f_files else math.inf
        if inodes < space:
            return inodes, f"{inodes:.1f} % of the inodes of the spool's volume are free"
        return space, f"{space:.1f} % of the spool's volume is free"
