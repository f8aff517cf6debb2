"""The planner: decides for each new object where it goes and in which form, and moves its name. One process.

Only the planner decides. So a report never waits behind five thousand images that wait for the codec, and each object
is planned by one generation of the rules. In a batch it lists new/, takes over a newer generation if there is one,
looks into each new object, then moves the names. In this order no object for a new node is planned by the generation
before: it is received only when the new one is there. If rules ask for copies, these are made first, in threads, while
the entry waits in new/.

- An object without a destination, or one that can't be read, goes to failed/ with the reason.
- A dataset that does not parse goes as it came to the node that it was sent to.
- A dataset with values of odd length goes to a worker, which pads them.
- A dataset that mutations change goes to a worker too, under the hash of the rules by which it is to be changed. It
  leaves only as they make it: if they can't be applied, that copy goes to failed/, or the object waits in new/.
- An object that can't be moved, or of which a copy can't be saved, stays in new/ and is tried again each minute; the
  others go on.

Deliberately absent: pixels.
"""

import logging
import math
import os
import signal
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType

import msgspec
from msgspec.structs import replace

from leyden import board, crash, log
from leyden.board import Cell
from leyden.config.settings import Settings
from leyden.dicom.header import Header, peek
from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head
from leyden.dicom.uids import syntax_name
from leyden.errors import Corrupt
from leyden.form import ladder
from leyden.form.choose import AsItCame, Ask, Form, Make
from leyden.inherited import Inherited
from leyden.journal.accession import keyed
from leyden.journal.events import Dropped, Failed, Planned, PlannedDelivery, PutOff
from leyden.journal.lines import NO_JOURNAL, JournalSettings, ended, suffix_of, tell, together
from leyden.kept_rules import KeptRules
from leyden.outbound.capability_file import SeenCapabilities
from leyden.placing import place
from leyden.plan.match import Decision, Delivery, Save, plan, plan_unread, remarks
from leyden.plan.memory import POSTPONED_S, PlannedLately, Postponed
from leyden.plan.placeholders import filled
from leyden.plan.rules import PlanSettings
from leyden.pseudonyms import Pseudonymizer
from leyden.saving import Copies
from leyden.spool.control import PREPARE, Controls, flags_at
from leyden.spool.doorbell import Bell, Ringer, gather_s
from leyden.spool.entry import NO_UID, Entry, key, parse
from leyden.spool.receipts import ReceiptLog
from leyden.spool.recover import finish_plans, planned_before
from leyden.spool.secret import journal_key, make_secret
from leyden.spool.stage import Stage
from leyden.spool.store import Placement, Plan, Spool, Stuck

logger = logging.getLogger("leyden.planner")

BATCH = 128
LISTED = 8 * BATCH  # names taken from one listing of new/, which costs about 1 us for each name in the folder
LOOK_S = 1.0
REASONS_MAX = 100_000
_CLAIMANT = "planner-0"
ALIVE_S = 60.0
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_ACCESSION_NUMBER = 0x00080050
_UID_MAX_CHARS = 64
_UNREAD = FileMeta("", "", "")
_UNDECIDED = Decision()


def run(inherited: Inherited) -> int:
    """The role's main function: runs until SIGTERM. The batch in hand is finished; the exit code is 0."""
    spool = inherited.spool
    settings = inherited.settings
    bell = Bell(spool.root, "planner")
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        bell.ring()

    signal.signal(signal.SIGTERM, stop)
    alive = partial(inherited.heartbeat.alive, ALIVE_S)
    planner = Planner(
        spool, settings.plan, settings.workers, settings.generation, alive, inherited.newer, settings.journal
    )
    while not stopping:
        alive()
        start_s = time.monotonic()
        try:
            wait_s = planner.batch()
        except OSError as error:
            logger.error("the spool can't be worked on, next try in %.0f s: %s", LOOK_S, error)
            wait_s = LOOK_S
        if wait_s and bell.wait(wait_s):
            time.sleep(max(0.0, start_s + gather_s(planner.planned) - time.monotonic()))
    planner.close()
    bell.close()
    return 0


class Newcomer(msgspec.Struct):
    """One file of new/ and what was decided about it.

    `failure`: why it goes to failed/, "" = it does not. `placements`: where it goes. `generation`: whose rules decided.
    `study`, `series` and `accession` (a keyed hash) are for the journal. `suffix`: what log lines about it end with,
    "" = what an event can tell.
    """

    path: Path
    entry: Entry
    meta: FileMeta = _UNREAD
    decision: Decision = _UNDECIDED
    failure: str = ""
    placements: tuple[Placement, ...] = ()
    generation: int = 0
    study: str = ""
    series: str = ""
    accession: str = ""
    suffix: str = ""

    @property
    def instance(self) -> str:
        """The key of the SOP Instance UID; "" if that is not known."""
        return "" if self.entry.sop_key == NO_UID else self.entry.sop_key


class Planner:
    """The planner without its process: batch() is one turn.

    `alive` is called when a turn may take long, `newer` once in a turn: the settings of a newer generation, if any.
    While an operator has paused `prepare`, a turn plans nothing, but it finishes what it began.
    """

    def __init__(
        self,
        spool: Spool,
        settings: PlanSettings,
        workers: int,
        generation: int,
        alive: Callable[[], None],
        newer: Callable[[], Settings | None] = lambda: None,
        journal: JournalSettings = NO_JOURNAL,
    ) -> None:
        self._spool = spool
        self._newer = newer
        self._workers = workers
        roles = ("sender", *(f"worker-{number}" for number in range(workers)))
        self._bells = {role: Ringer(spool.root, role) for role in roles}
        self._alive = alive
        self._seen: dict[str, SeenCapabilities] = {}
        self._kept_rules = KeptRules(spool.root, spool.sync)
        self._pseudonymizer = Pseudonymizer(spool.root, writes=True)
        self._edits: dict[tuple[int, str], str] = {}  # generation, destination -> the hash of the rules that are kept
        self._go_by(settings, generation, journal)
        self._planned_lately = PlannedLately(spool.bound())
        self._planned_before = _planned_before(spool.root)
        self._postponed = Postponed()
        self._reasons: dict[str, str] = {}  # receipt -> why it was postponed, as far as the journal was told
        self._receipts = ReceiptLog(spool.root, _CLAIMANT)
        self._listed: list[Path] = []
        self._more = False  # whether the listing stopped before the end
        self.planned = 0  # objects in the last turn
        self._finish_s = 0.0  # when to look for plans that are half carried out; at first those of an earlier process
        self._half_planned: set[str] = set()  # the entries of new/ that such plans are about
        self._errors: list[OSError] = []  # of this turn
        self._accession_key = _accession_key(spool.root)
        self._controls = Controls(spool.root)
        self._paused = False
        self._copies: Copies[Newcomer] = Copies(Ringer(spool.root, "planner").ring)
        self._set_aside = -1  # what was said of that
        self._say_set_aside_s = 0.0

    def _go_by(self, settings: PlanSettings, generation: int, journal: JournalSettings) -> None:
        """Plan by these settings from now on."""
        self._suffix = journal.suffix if journal.suffix_needs_header else ()
        self._settings = settings
        self._generation = generation
        titles = (target.ae_title for target in settings.targets)
        self._seen = {title: self._seen.get(title) or SeenCapabilities(self._spool.root, title) for title in titles}

    def batch(self) -> float:
        """Plan the oldest entries of new/, at most BATCH of them.

        Returns the seconds to wait for the bell before the next turn; 0 = there may be more to do. OSError: the spool
        itself can't be worked on (full, read-only).
        """
        now_s = time.time()
        at_s = time.monotonic()
        self._finish_plans(at_s)
        saved = self._saved(at_s)
        self._move(saved)  # before new/ is listed, because they are still in it
        if self._is_paused(now_s):
            self._listed, self.planned = [], len(saved)
            return LOOK_S
        listed = self._listed or self._newcomers(at_s)
        paths, self._listed = listed[:BATCH], listed[BATCH:]
        if (newer := self._newer()) is not None:
            self._go_by(newer.plan, newer.generation, newer.journal)
            self._postponed.release_due(math.inf)  # the change may be the remedy
        waits_s = {path: self._young_for_s(path, now_s) for path in paths}
        newcomers = [found for found in (self._look(path, now_s) for path in paths if not waits_s[path]) if found]
        for newcomer in newcomers:
            newcomer.generation = self._generation
        self._move([newcomer for newcomer in newcomers if not self._put_off(newcomer)])
        self.planned = len(saved) + len(newcomers)
        self._tell_set_aside(at_s)
        if not any(waits_s.values()):
            return 0.0 if self._listed or (paths and self._more) else LOOK_S
        self._listed = []
        return min(LOOK_S, *filter(None, waits_s.values()))

    def close(self) -> None:
        """Sync and close the receipts, and let another process write the mapping files."""
        with suppress(OSError):  # each was synced when it was written
            self._receipts.close()
        self._pseudonymizer.close()

    def _is_paused(self, now_s: float) -> bool:
        order = flags_at(self._controls.flags(), now_s).get(PREPARE)
        if self._paused != (order is not None):
            self._paused = order is not None
            logger.info("planning is %s", f"paused by {order.who}" if order else "resumed")
        return self._paused

    def _tell_set_aside(self, at_s: float) -> None:
        """How many stay in new/ though this process keeps up; the receivers ask, at most once a second."""
        count = len(self._postponed)
        if count != self._set_aside and at_s >= self._say_set_aside_s:
            self._say_set_aside_s = at_s + LOOK_S
            with suppress(OSError):  # no object waits for that
                self._spool.set_aside(count)
                self._set_aside = count

    def _finish_plans(self, at_s: float) -> None:
        """Carry out the rest of the plan files. An entry that can't be moved waits for the next try, the others go."""
        if at_s < self._finish_s:
            return
        try:
            _, stuck = finish_plans(self._spool, _CLAIMANT)
        except OSError as error:
            self._finish_s = at_s + POSTPONED_S
            logger.error("a plan can't be read, next try in %.0f s: %s", POSTPONED_S, error.strerror)
            return
        self._finish_s = math.inf
        before = self._half_planned
        self._half_planned = set()
        for planned, why in stuck:
            self._leave_to_its_plan(planned, why, at_s)
        for path in before - self._half_planned:
            self._postponed.release(path)
            logger.info("%s: its plan is carried out", Path(path).stem)

    def _leave_to_its_plan(self, planned: Plan, error: OSError, at_s: float) -> None:
        """An object that may stand in some of its places already is not planned again: its plan is finished later."""
        path = str(planned.source)
        entry = planned.placements[0].entry
        self._postponed.hold(path, Newcomer(planned.source, entry).instance)
        self._half_planned.add(path)
        self._finish_s = min(self._finish_s, at_s + POSTPONED_S)
        if self._postponed.to_tell(str(error.strerror), at_s):
            what = "%s waits in new/, next try in %.0f s: it can't be moved: %s"
            logger.warning(what, entry.receipt, POSTPONED_S, error.strerror)

    def _newcomers(self, at_s: float) -> list[Path]:
        self._postponed.release_due(at_s)
        limit = LISTED + len(self._postponed)
        found = self._spool.newcomers(limit)
        self._more = len(found) == limit
        return [path for path in found if str(path) not in self._postponed][:LISTED]

    def _young_for_s(self, path: Path, now_s: float) -> float:
        """The seconds until it is old enough (minimumAge); 0 if it is, or if the clock was set back after it came."""
        age_s = now_s - int(path.name[:16]) / 1e6
        return self._settings.minimum_age_s - age_s if 0.0 <= age_s < self._settings.minimum_age_s else 0.0

    # -- decide

    def _look(self, path: Path, now_s: float) -> Newcomer | None:
        """Open a file, peek into it and decide. None: the file is gone (taken away by hand)."""
        self._alive()
        entry = parse(path.name)
        assert entry is not None, path
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Newcomer(path, entry, failure=f"could not be opened: {error.strerror}")
        try:
            return self._read(path, entry, fd, now_s)
        except OSError as error:
            return Newcomer(path, entry, failure=f"could not be read: {error.strerror}")
        except Exception as error:  # one object must not stop the others, even if it reveals a fault of Leyden
            logger.exception("%s could not be planned", entry.receipt)
            return Newcomer(path, entry, failure=f"could not be planned: {error!r}")
        finally:
            os.close(fd)

    def _read(self, path: Path, entry: Entry, fd: int, now_s: float) -> Newcomer:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return Newcomer(path, entry, failure="not a regular file")
        study = series = accession = suffix = ""
        try:
            header = peek(lambda offset, length: os.pread(fd, length, offset), status.st_size)
            meta = header.meta
            decision = plan(
                self._settings,
                header,
                partial(self._acceptance, now_s),
                by_hand=entry.by_hand,
                receipt=entry.receipt,
                clock=time.process_time,
                every=logger.isEnabledFor(logging.DEBUG),
                pseudonymizer=self._pseudonymizer,
            )
            study, series = _first(header, _STUDY_INSTANCE_UID), _first(header, _SERIES_INSTANCE_UID)
            accession = keyed(_first(header, _ACCESSION_NUMBER), self._accession_key)
            suffix = filled(self._suffix, header)
        except Corrupt as flaw:
            try:
                found = decode_head(os.pread(fd, HEAD_MAX_BYTES, 0))
            except Corrupt as error:
                return Newcomer(path, entry, failure=f"unreadable: {error}")
            if found is None:
                return Newcomer(path, entry, failure=f"unreadable: {flaw}")
            meta = found[0]
            decision = plan_unread(self._settings, meta, flaw, by_hand=entry.by_hand)
        keys = key(meta.sop_instance_uid), key(study), key(meta.sending), key(series) if series else ""
        entry = Entry(entry.receipt, *keys)
        failure = "" if decision.deliveries or decision.dropped_by else decision.reason or "no destination"
        return Newcomer(
            path, entry, meta, decision, failure,
            study=study[:_UID_MAX_CHARS], series=series[:_UID_MAX_CHARS], accession=accession, suffix=suffix,
        )  # fmt: skip

    def _acceptance(self, now_s: float, destination: str, sop_class: str) -> ladder.Acceptance | None:
        """What a destination was seen to accept of a SOP class."""
        seen = self._seen.get(destination)
        return ladder.fresh(seen.knowledge(), sop_class, now_s) if seen else None

    # -- act

    def _put_behind_older(self, newcomer: Newcomer) -> bool:
        """Postpone it if an older entry of its instance is postponed; True if so."""
        path = str(newcomer.path)
        if not self._postponed.has_older(path, newcomer.instance):
            return False
        self._postponed.put(path, newcomer.instance, time.monotonic())
        return True

    def _postpone(self, newcomer: Newcomer, kind: str, what: str) -> None:
        """Try it again in a minute. Of each kind of problem, only the first one in a minute is logged."""
        at_s = time.monotonic()
        self._postponed.put(str(newcomer.path), newcomer.instance, at_s)
        if self._reasons.get(newcomer.entry.receipt) != kind:
            if len(self._reasons) >= REASONS_MAX:
                self._reasons.clear()
            self._reasons[newcomer.entry.receipt] = kind
            tell(PutOff(newcomer.entry.receipt, reason=what))
        if self._postponed.to_tell(kind, at_s):
            logger.warning("%s waits in new/, next try in %.0f s: %s", newcomer.entry.receipt, POSTPONED_S, what)

    def _put_off(self, newcomer: Newcomer) -> bool:
        """Let it wait in new/ behind an older entry of its instance, or for the copies of rules; True if it waits."""
        if self._put_behind_older(newcomer):
            return True
        if newcomer.decision.retry:
            self._postpone(newcomer, newcomer.failure, newcomer.failure)
            return True
        if newcomer.failure or not newcomer.decision.saves:
            return False
        try:
            self._copies.begin(newcomer, newcomer.path, newcomer.entry.receipt, newcomer.decision.saves)
        except OSError as error:
            self._not_saved(newcomer, newcomer.decision.saves[0], error)
        else:
            self._postponed.hold(str(newcomer.path), newcomer.instance)
        return True

    def _saved(self, at_s: float) -> list[Newcomer]:
        """The newcomers of which all copies are saved now. One whose copy failed is postponed, or planned anew."""
        found = []
        for copied in self._copies.take():
            self._postponed.release(str(copied.source))
            if copied.error is None:
                found.append(copied.item)
            elif os.path.lexists(copied.source) and copied.item.generation == self._generation:
                self._not_saved(copied.item, copied.left[0], copied.error)
        for where, target, behind in self._copies.late(POSTPONED_S):
            if self._postponed.to_tell(f"late {where}", at_s):
                what = "%s: a copy to %s takes longer than %.0f s; it waits in new/, and so do %d behind it"
                logger.warning(what, where, target, POSTPONED_S, behind)
        return found

    def _not_saved(self, newcomer: Newcomer, wanted: Save, error: OSError) -> None:
        what = f"{wanted.where} could not save it as {wanted.target}: {error.strerror}"
        self._postpone(newcomer, wanted.where, what)

    def _move(self, newcomers: Sequence[Newcomer]) -> None:
        """Move each to its places; one that can't be moved is postponed. OSError: none could be moved."""
        tried: list[Newcomer] = []
        self._errors.clear()
        for newcomer in newcomers:
            if self._put_behind_older(newcomer):
                continue
            if self._is_done_with(newcomer) or not self._try(partial(self._set_places, newcomer), newcomer):
                continue
            tried.append(newcomer)
            if newcomer.failure:
                self._try(partial(self._spool.fail, newcomer.path, {"reason": newcomer.failure}), newcomer)
            elif len(newcomer.placements) == 1:
                (p,) = newcomer.placements
                act = partial(self._spool.plan_one, newcomer.path, p.entry, p.stage, p.destination, p.rank)
                self._try(act, newcomer)
                crash.point("planned-one")
        self._plan_several([newcomer for newcomer in tried if len(newcomer.placements) > 1])
        self._drop([newcomer for newcomer in tried if not newcomer.failure and not newcomer.placements])
        decided = [
            each for each in tried if (path := str(each.path)) not in self._postponed or path in self._half_planned
        ]
        for role in self._to_ring({p.stage for newcomer in decided for p in newcomer.placements}):
            self._bells[role].ring()
        with together():
            for newcomer in decided:
                self._tell(newcomer)
        if self._errors and not decided:
            raise self._errors[-1]

    def _is_done_with(self, newcomer: Newcomer) -> bool:
        """Take out what was planned before a power cut that brought the newcomer back; True if nothing else is left."""
        had = self._planned_before.get(newcomer.entry.receipt)
        if not had or not newcomer.decision.deliveries:
            return False
        left = tuple(each for each in newcomer.decision.deliveries if each.destination not in had)
        newcomer.decision = replace(newcomer.decision, deliveries=left)
        if left:
            return False
        logger.info("%s was delivered before a power cut brought it back: it is removed", newcomer.entry.receipt)
        if self._try(partial(self._spool.dropped, newcomer.path), newcomer):
            del self._planned_before[newcomer.entry.receipt]  # somebody may put it into new/ to have it sent again
        return True

    def _set_places(self, newcomer: Newcomer) -> None:
        """Find out where a newcomer goes. OSError: the rules that change it could not be kept."""
        came = syntax_name(newcomer.meta.transfer_syntax_uid)
        try:
            wanted = [(each, self._kept(each, newcomer.generation)) for each in newcomer.decision.deliveries]
            places = [place(newcomer.entry, each, came, edits) for each, edits in wanted]
        except OSError:
            raise
        except Exception as error:  # as in _look()
            logger.exception("%s could not be planned", newcomer.entry.receipt)
            newcomer.failure = f"could not be planned: {error!r}"
        else:
            newcomer.placements = tuple(map(self._serial, places))

    def _kept(self, delivery: Delivery, generation: int) -> str:
        """The hash of the rules by which a delivery is changed, which are durable now; "" = it is not changed."""
        if delivery.mutated is None:
            return ""
        whose = generation, delivery.mutated.destination
        if whose not in self._edits:
            if len(self._edits) > len(self._seen):
                self._edits.clear()  # of earlier generations
            self._edits[whose] = self._kept_rules.keep(delivery.mutated.rules)
            crash.point("rules-kept")
        return self._edits[whose]

    def _try(self, act: Callable[[], object], *newcomers: Newcomer) -> bool:
        """Do it, or postpone these newcomers if the disk refuses; True if it was done."""
        try:
            act()
        except OSError as error:
            self._errors.append(error)
            for newcomer in newcomers:
                self._postpone(newcomer, str(error.strerror), f"it can't be moved: {error.strerror}")
            return False
        return True

    def _plan_several(self, newcomers: Sequence[Newcomer]) -> None:
        """Move the newcomers that have several places, by one plan file."""
        for generation in sorted({newcomer.generation for newcomer in newcomers}):  # with copies, an older one, too
            decided = [newcomer for newcomer in newcomers if newcomer.generation == generation]
            plans = [Plan(newcomer.path, newcomer.placements) for newcomer in decided]
            stuck: list[Stuck] = []
            if not self._try(partial(self._carry_out, plans, generation, stuck), *decided):
                self._finish_s = 0.0  # the plan file may have been written all the same
            for planned, error in stuck:
                self._leave_to_its_plan(planned, error, time.monotonic())

    def _carry_out(self, plans: Sequence[Plan], generation: int, stuck: list[Stuck]) -> None:
        stuck += self._spool.plan_many(plans, generation, _CLAIMANT)

    def _drop(self, newcomers: Sequence[Newcomer]) -> None:
        """End the trip of the newcomers that a rule drops: a durable receipt for each, then the unlink."""
        if self._try(partial(self._write_receipts, newcomers), *newcomers):
            for newcomer in newcomers:
                self._try(partial(self._spool.dropped, newcomer.path), newcomer)

    def _write_receipts(self, newcomers: Sequence[Newcomer]) -> None:
        for newcomer in newcomers:
            meta = newcomer.meta
            dropped = Dropped(
                newcomer.entry.receipt,
                sop_class_uid=meta.sop_class_uid,
                sop_instance_uid=meta.sop_instance_uid,
                calling=meta.sending,
                called=meta.receiving,
                flag=meta.flag,
                dropped_by=newcomer.decision.dropped_by,
            )
            self._receipts.append(dropped)
        if newcomers and self._spool.sync:
            self._receipts.sync()

    def _serial(self, placement: Placement) -> Placement:
        """The placement, its entry marked as serial if the instance was planned for that destination before."""
        entry = placement.entry
        if entry.sop_key == NO_UID or not self._planned_lately.add(placement.destination, entry.sop_key):
            return placement
        return replace(placement, entry=replace(entry, serial=True))

    def _to_ring(self, stages: set[Stage]) -> Iterable[str]:
        if stages & {Stage.PREPARED, Stage.ASKING}:
            yield "sender"
        if Stage.TRANSFORM in stages:
            yield from (f"worker-{number}" for number in range(self._workers))

    def _tell(self, newcomer: Newcomer) -> None:
        """Log the remarks of the rules, then what was decided: UIDs and titles, never patient data."""
        receipt = newcomer.entry.receipt
        meta = newcomer.meta
        decision = newcomer.decision
        if newcomer.failure:
            failed = Failed(
                receipt,
                reason=newcomer.failure,
                sop_instance_uid=meta.sop_instance_uid,
                calling=meta.sending,
                study_instance_uid=newcomer.study,
                accession=newcomer.accession,
            )
            tell(failed, suffix=newcomer.suffix)
            return
        board.add(Cell.PLANNED)
        planned = Planned(
            receipt,
            sop_class_uid=meta.sop_class_uid,
            sop_instance_uid=meta.sop_instance_uid,
            calling=meta.sending,
            called=meta.receiving,
            flag=meta.flag,
            generation=newcomer.generation,
            study_instance_uid=newcomer.study,
            series_instance_uid=newcomer.series,
            accession=newcomer.accession,
            deliveries=tuple(
                PlannedDelivery(d.destination, _form_text(d.form), d.reason, d.mutated.changed_by if d.mutated else ())
                for d in decision.deliveries
            ),
            rules=tuple(ran.route.where for ran in decision.ran if ran.held),
            saved_by=tuple(save.where for save in decision.saves),
            dropped_by=decision.dropped_by,
        )
        for info, text in remarks(decision, debug=logger.isEnabledFor(logging.DEBUG)):
            line = ended(f"{receipt}: {text}", newcomer.suffix or suffix_of(planned))
            logger.log(logging.INFO if info else logging.DEBUG, "%s", line)
        for delivery in decision.deliveries:
            match delivery.form:
                case AsItCame(reason) if reason:
                    text = f"{delivery.destination}: {reason}: it goes as it came"
                    log.once(logger, logging.INFO, text, text)
        tell(planned, suffix=newcomer.suffix)


def _first(header: Header, tag: int) -> str:
    return next(iter(header.texts(tag) or ()), "")


def _planned_before(root: Path) -> dict[str, list[str]]:
    try:
        return planned_before(root)
    except OSError as error:
        logger.warning("what was planned before can't be read, and may be sent again: %s", error)
        return {}


def _accession_key(root: Path) -> bytes:
    try:
        return make_secret(journal_key(root))
    except OSError as error:
        logger.warning("the key of the journal can't be read, accession numbers are not in it: %s", error.strerror)
        return b""


def _form_text(form: Form) -> str:
    """What the log says of a form."""
    match form:
        case Make(uid) | Ask(uid):
            return f"as {syntax_name(uid)}"
        case AsItCame(padded=True):
            return "as it came but for padding"
        case _:
            return "as it came"
