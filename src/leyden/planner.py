"""The planner: decides for each new dataset where it goes and in which form, and moves its name. One process.

It decides alone, so that no report waits behind five thousand images that wait for the codec, and each dataset is
planned by one generation of the rules. A batch is: look into each newcomer, write the copies that rules ask for, then
move the names. What nobody wants, what can't be read and what can't be saved stands in failed/ with the reason; a
dataset that does not parse goes on as it came to the node that it was sent to. Deliberately absent: pixels.
"""

import contextlib
import functools
import logging
import os
import signal
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from leyden import log
from leyden.boot import Boot
from leyden.deliver import ladder
from leyden.dicom.header import Header, peek
from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head
from leyden.errors import Corrupt
from leyden.plan.match import Decision, Delivery, plan, rank_of
from leyden.plan.rules import PlanSettings, Target
from leyden.spool.doorbell import Bell, ring
from leyden.spool.entry import Entry, folder, key, parse
from leyden.spool.moves import sync_folder
from leyden.spool.receipts import ReceiptLog
from leyden.spool.recover import reclaim
from leyden.spool.store import Placement, Plan, Spool

logger = logging.getLogger("leyden.planner")

BATCH = 128
LISTED = 8 * BATCH  # names taken from one listing of new/, which costs about 1 us a name that is there
LOOK_S = 1.0
ALIVE_S = 60.0
TWINS_MAX = 200_000
_COPY_BYTES = 16 * 1024 * 1024
_STUDY_INSTANCE_UID = 0x0020000D
_STORAGE_PREFIX = "1.2.840.10008.5.1.4.1.1."


def run(boot: Boot) -> int:
    """The role's main: until SIGTERM (the batch in hand is finished; exit code 0)."""
    spool, settings = boot.spool, boot.settings
    bell = Bell(spool.root, "planner")
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        bell.ring()

    signal.signal(signal.SIGTERM, stop)
    alive = functools.partial(boot.board.alive, ALIVE_S)
    planner = Planner(spool, settings.plan, settings.workers, settings.generation, alive)
    clean = False  # no plan of a former turn, or of a former life, is left half carried out
    while not stopping:
        alive()
        try:
            if not clean:
                reclaim(spool, boot.name)
                clean = True
            wait_s = planner.batch()
        except OSError as error:
            logger.error("the spool can't be worked on, next try in %.0f s: %s", LOOK_S, error)
            clean, wait_s = False, LOOK_S
        if wait_s:
            bell.wait(wait_s)
    planner.close()
    bell.close()
    return 0


@dataclass(slots=True)
class _Newcomer:
    """One file of new/ and what was decided about it."""

    path: Path
    entry: Entry
    meta: FileMeta
    decision: Decision
    failure: str = ""

    def placements(self) -> tuple[Placement, ...]:
        found = []
        for d in self.decision.deliveries:
            e = self.entry
            entry = Entry(e.receipt, e.sop_key, e.study_key, e.source_key, syntax=d.syntax)
            found.append(Placement(entry, "transform" if d.syntax else "prepared", d.destination, d.rank))
        return tuple(found)


class Planner:
    """The planner without its process: batch() is one turn. `alive` is called where a turn may take long."""

    def __init__(
        self, spool: Spool, settings: PlanSettings, workers: int, generation: int, alive: Callable[[], None]
    ) -> None:
        self._spool = spool
        self._settings = settings
        self._workers = workers
        self._generation = generation
        self._alive = alive
        self._targets = {target.ae_title: target for target in settings.targets}
        self._seen = {title: _Seen(spool.root / "state" / f"{folder(title)}.json") for title in self._targets}
        self._twins = _Twins(spool.bound())
        self._receipts = ReceiptLog(spool.root, "planner-0")
        self._listed: list[Path] = []

    def batch(self) -> float:
        """Plan the oldest newcomers, at most BATCH of them. Returns the seconds to wait for the bell before the next
        turn; 0 = there may be more. OSError: the spool itself can't be worked on (full, read-only)."""
        now_s = time.time()
        listed = self._listed or self._spool.newcomers(LISTED)
        paths, self._listed = listed[:BATCH], listed[BATCH:]
        waits_s = {path: self._young_for_s(path, now_s) for path in paths}
        newcomers = [found for found in (self._look(path, now_s) for path in paths if not waits_s[path]) if found]
        self._save([n for n in newcomers if not n.failure])
        self._move(newcomers)
        if not any(waits_s.values()):
            return 0.0 if paths else LOOK_S
        self._listed = []
        return min(LOOK_S, *filter(None, waits_s.values()))

    def close(self) -> None:
        """Sync and close what is open."""
        self._receipts.close()

    def _young_for_s(self, path: Path, now_s: float) -> float:
        """The seconds until it is old enough (minimumAge); 0 = it is, or is from the future (a clock set back)."""
        age_s = now_s - int(path.name[:16]) / 1e6
        return self._settings.minimum_age_s - age_s if 0.0 <= age_s < self._settings.minimum_age_s else 0.0

    # -- to decide

    def _look(self, path: Path, now_s: float) -> _Newcomer | None:
        """Open, peek, decide. None: the file is gone (taken away by hand)."""
        self._alive()
        entry = parse(path.name)
        assert entry is not None, path
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            return _Newcomer(path, entry, _UNREAD, Decision(), failure=f"could not be opened: {error.strerror}")
        try:
            return self._read(path, entry, fd, now_s)
        except OSError as error:
            return _Newcomer(path, entry, _UNREAD, Decision(), failure=f"could not be read: {error.strerror}")
        except Exception as error:  # one object must not stop the others, whatever is wrong with it or with us
            logger.exception("%s could not be planned", entry.receipt)
            return _Newcomer(path, entry, _UNREAD, Decision(), failure=f"could not be planned: {error!r}")
        finally:
            os.close(fd)

    def _read(self, path: Path, entry: Entry, fd: int, now_s: float) -> _Newcomer:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return _Newcomer(path, entry, _UNREAD, Decision(), failure="not a regular file")
        study = ""
        try:
            header = peek(lambda offset, length: os.pread(fd, length, offset), status.st_size)
            meta = header.meta
            decision = plan(self._settings, header, self._wanted(header, now_s), by_hand=entry.by_hand)
            study = next(iter(header.texts(_STUDY_INSTANCE_UID) or ()), "")
        except Corrupt as flaw:
            try:
                found = decode_head(os.pread(fd, HEAD_MAX_BYTES, 0))
            except Corrupt as error:
                return _Newcomer(path, entry, _UNREAD, Decision(), failure=f"unreadable: {error}")
            if found is None:
                return _Newcomer(path, entry, _UNREAD, Decision(), failure=f"unreadable: {flaw}")
            meta = found[0]
            decision = self._unparsed(meta, flaw)
        entry = Entry(entry.receipt, key(meta.sop_instance_uid), key(study), key(meta.sending))
        failure = "" if decision.deliveries or decision.dropped_by else decision.reason or "no destination"
        return _Newcomer(path, entry, meta, decision, failure)

    def _wanted(self, header: Header, now_s: float) -> Callable[[str, str], str]:
        """Which syntax a destination takes, as far as it was seen."""
        source = header.meta.transfer_syntax_uid

        def answer(destination: str, sop_class: str) -> str:
            target = self._targets.get(destination, Target(destination))
            seen = self._seen.get(destination)
            taken = ladder.fresh(seen.knowledge(), sop_class, now_s) if seen else None
            best = ladder.best(target.syntax, source, taken)
            return target.syntax if best is None else "" if best == source else best

        return answer

    def _unparsed(self, meta: FileMeta, flaw: Corrupt) -> Decision:
        """A dataset that can't be read: no rule matched, deliver as it is to the node that it was sent to."""
        original = self._settings.titles.get(meta.receiving.strip(" \0"), "")
        if not original:
            return Decision(reason=f"no destination: no rule can read it: {flaw}")
        rank = rank_of(self._targets.get(original, Target(original)), meta.sop_class_uid)
        return Decision((Delivery(original, "", rank, f"no rule can read it, so as it came: {flaw}"),))

    # -- to act

    def _save(self, newcomers: Iterable[_Newcomer]) -> None:
        for newcomer in newcomers:
            for target in newcomer.decision.saves:
                try:
                    copy(newcomer.path, Path(target), self._alive)
                except FileNotFoundError:
                    if not newcomer.path.exists():
                        break
                    newcomer.failure = f"could not be saved as {target}: no such folder"
                except OSError as error:
                    newcomer.failure = f"could not be saved as {target}: {error.strerror}"

    def _move(self, newcomers: Iterable[_Newcomer]) -> None:
        dropped: list[_Newcomer] = []
        many: list[Plan] = []
        stages: set[str] = set()
        for newcomer in newcomers:
            if newcomer.failure:
                self._spool.fail(newcomer.path, {"reason": newcomer.failure})
                logger.warning("%s: to failed/: %s", _tail(newcomer.entry), newcomer.failure)
                continue
            placements = tuple(self._twins.mark(p) for p in newcomer.placements())
            if not placements:
                dropped.append(newcomer)
            elif len(placements) == 1:
                (p,) = placements
                self._spool.plan_one(newcomer.path, p.entry, p.stage, p.destination, p.rank)
            else:
                many.append(Plan(newcomer.path, placements))
            stages.update(p.stage for p in placements)
            _tell(newcomer)
        self._spool.plan_many(many, self._generation)
        self._drop(dropped)
        for role in self._to_ring(stages):
            ring(self._spool.root, role)

    def _drop(self, dropped: Iterable[_Newcomer]) -> None:
        dropped = list(dropped)
        for newcomer in dropped:
            line: dict[str, Any] = {
                "receipt": newcomer.entry.receipt,
                "dropped_by": newcomer.decision.dropped_by,
                "sop_class": newcomer.meta.sop_class_uid,
                "sop_instance": newcomer.meta.sop_instance_uid,
                "calling": newcomer.meta.sending,
                "called": newcomer.meta.receiving,
                "at_s": round(time.time(), 3),
            }
            self._receipts.append(line)
        if dropped and self._spool.sync:
            self._receipts.sync()
        for newcomer in dropped:
            self._spool.dropped(newcomer.path)

    def _to_ring(self, stages: set[str]) -> Iterable[str]:
        if "prepared" in stages:
            yield "sender"
        if "transform" in stages:
            yield from (f"worker-{number}" for number in range(self._workers))


_UNREAD = FileMeta("", "", "")


class _Seen:
    """What a destination was seen to take: state/<DEST>.json, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int] = (0, 0)
        self._knowledge: ladder.Knowledge = {}

    def knowledge(self) -> ladder.Knowledge:
        try:
            status = os.stat(self._path)
            version = (status.st_mtime_ns, status.st_ino)
            if version != self._version:
                self._version = version
                self._knowledge = ladder.parse(self._path.read_bytes())
        except FileNotFoundError:
            self._version, self._knowledge = (0, 0), {}
        except (OSError, Corrupt) as error:
            log.once(logger, logging.WARNING, str(self._path), f"{self._path} is not used: {error}")
            self._knowledge = {}
        return self._knowledge


class _Twins:
    """Which instances were planned for which destination lately: a second one is marked to wait for the first.

    Bounded: the oldest are forgotten. One that is long delivered still marks its twin, which costs the sender a look.
    """

    def __init__(self, known: Iterable[tuple[str, str]]) -> None:
        self._keys: dict[tuple[str, str], None] = {}
        for pair in known:
            self._remember(pair)

    def mark(self, placement: Placement) -> Placement:
        e = placement.entry
        pair = (placement.destination, e.sop_key)
        if e.sop_key == _NO_UID:
            return placement
        serial = pair in self._keys
        self._remember(pair)
        if not serial:
            return placement
        entry = Entry(e.receipt, e.sop_key, e.study_key, e.source_key, syntax=e.syntax, serial=True)
        return Placement(entry, placement.stage, placement.destination, placement.rank)

    def _remember(self, pair: tuple[str, str]) -> None:
        self._keys.pop(pair, None)
        self._keys[pair] = None
        if len(self._keys) > TWINS_MAX:
            del self._keys[next(iter(self._keys))]


_NO_UID = key("")


def _tail(entry: Entry) -> str:
    """Enough of a receipt to find an instance's lines by."""
    return entry.receipt[10:]


def _tell(newcomer: _Newcomer) -> None:
    """One line an instance, the notes of the rules before it; UIDs and titles, never a patient."""
    tail, meta, decision = _tail(newcomer.entry), newcomer.meta, newcomer.decision
    for info, text in decision.notes:
        logger.log(logging.INFO if info else logging.DEBUG, "%s: %s", tail, text)
    for delivery in decision.deliveries:
        if delivery.kept:
            log.once(
                logger,
                logging.INFO,
                f"{delivery.destination} {delivery.kept}",
                f"{delivery.destination}: {delivery.kept}",
            )
    if logger.isEnabledFor(logging.INFO):
        ways = "; ".join(
            f"{d.destination} {'as ' + d.syntax if d.syntax else 'as it came'} ({d.reason})"
            for d in decision.deliveries
        )
        logger.info(
            "%s: class %s, %s -> %s: %s",
            tail,
            meta.sop_class_uid.removeprefix(_STORAGE_PREFIX) or "unknown",
            meta.sending or "-",
            meta.receiving or "-",
            ways or f"nowhere ({decision.dropped_by})",
        )


def copy(source: Path, target: Path, alive: Callable[[], None]) -> None:
    """A durable copy of a file under its final name or not at all; folders are made. OSError: the disk says no."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{source.name}.part")
    try:
        with open(source, "rb") as reading, open(unfinished, "wb") as writing:
            left = os.fstat(reading.fileno()).st_size
            while left and (sent := os.sendfile(writing.fileno(), reading.fileno(), None, min(left, _COPY_BYTES))):
                left -= sent
                alive()
            os.fsync(writing.fileno())
        os.replace(unfinished, target)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)
