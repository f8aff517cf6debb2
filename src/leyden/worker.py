"""The worker: claims objects in transform/, makes each into its wanted syntax, and moves it to prepared/.

There are several workers, each a process with a plain loop: it works on the next object, else on a frame of another
worker's object, else it waits at the bell for a second. form/choose.py decides which form an object gets; the worker
tries it, and asks again if that can't be made. Compression never makes things worse: an object that can't be made goes
on as it came, with the reason logged once for each kind. But what mutations have to change goes on only as they make
it, in whatever syntax, or to failed/. The disk's part (sync, link, unlink) runs in a thread beside
the codec. The address space is limited, so that a hostile codestream costs one worker and one job. No sockets.
"""

import contextlib
import errno
import logging
import os
import re
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

from msgspec.structs import replace

from leyden import board, crash
from leyden.board import Cell
from leyden.config.settings import Settings
from leyden.dicom import signed
from leyden.dicom.draft import Draft
from leyden.dicom.elements import tag_name
from leyden.dicom.uids import EXPLICIT_LE, SYNTAXES, Syntax, syntax_by_name, syntax_name
from leyden.errors import Corrupt
from leyden.form import ladder
from leyden.form.choose import CRASHES_MAX, AsItCame, Ask, Fail, Make, Node, Past, choose
from leyden.form.obstacle import Facts
from leyden.inherited import BEGINS_ANEW, Inherited
from leyden.journal.events import ByHand, Failed, Transformed
from leyden.journal.lines import tell
from leyden.kept_rules import KeptRules
from leyden.log import once
from leyden.outbound.capability_file import SeenCapabilities
from leyden.plan.mutate import Circumstances, Mutated, mutate
from leyden.plan.rules import OnError
from leyden.pseudonyms import Pseudonymizer
from leyden.spool import recover
from leyden.spool.control import PREPARE, Controls, flags_at
from leyden.spool.doorbell import Bell, Ringer
from leyden.spool.entry import Queued
from leyden.spool.stage import Stage
from leyden.spool.store import AHEAD, Spool
from leyden.transcode import job
from leyden.transcode.arena import Arena
from leyden.transcode.blank import blank
from leyden.transcode.checked import CheckedSeries
from leyden.transcode.frames import help_out
from leyden.transcode.pixels import Differs, Signed, Unfit
from leyden.transcode.source import Source, Unreadable

logger = logging.getLogger("leyden.worker")

LOOK_S = 1.0  # how often it looks without being rung
RESCAN_S = 0.02  # how long an empty queue is not listed again
AHEAD_SHARE = 25  # a look far ahead takes so small a part of the time at most
IN_VIEW = 16  # entries of a destination that are listed at a time
DRAIN_S = 4.0
TURN_S = 0.05  # between two small objects that overtake a large one
SMALL_BYTES = 32 << 20
THREADS_FROM_BYTES = 1 << 20
MIN_BYTES_PER_S = 1_000_000  # a tenth of the slowest codec's speed on the slowest machine that is supported
BUFFER_BYTES = 128 << 10
COMMITS_BEHIND = 2
RETRY_LEFT_S = 5.0
THREADS_MAX = 8  # of the codec; each takes address space, and more do not make a frame faster
_SERIES_INSTANCE_UID = 0x0020000E
_PARTICULARS = re.compile(r"\([0-9A-F]{4},[0-9A-F]{4}\)|[0-9]+")  # tags and numbers, without which reasons are compared


class Draining(BaseException):
    """SIGTERM came, and the time to finish is over: the claims in hand are given back."""


def run(inherited: Inherited) -> int:
    """The role's main function: runs until SIGTERM. A claim in hand is finished within DRAIN_S or given back.

    The exit code is 0.
    """
    worker = Worker(inherited)
    signal.signal(signal.SIGTERM, worker.drain)
    os.nice(5)  # the codec must not starve the roles on the network
    _limit_memory(inherited.settings.arena_mib, inherited.settings.max_frame_mib)
    return worker.run()


def _limit_memory(arena_mib: int, max_frame_mib: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        present_bytes = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    limit = present_bytes + ((arena_mib + 10 * max_frame_mib) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class TransformQueue:
    """The entries that wait in transform/: the destinations take turns, each with its lowest rank first, and within a
    rank the callers.

    Only a few entries of each destination are listed at a time: those in view. So that this costs little, most looks do
    not go far beyond: whoever has sent little while a long queue was there has a turn now and then.
    """

    def __init__(self, spool: Spool, claimant: str) -> None:
        self._spool = spool
        self._claimant = claimant
        self._view: deque[Queued] = deque()
        self._found_nothing_s = 0.0
        self._ahead_s = 0.0  # when to look far ahead again

    def claim(self) -> Queued | None:
        """Claim the next object; None if none waits."""
        while self._view or self.look():
            if claim := self._claim(lambda waiting: True):
                return claim  # otherwise other workers have claimed all that was in view: look again, do not sleep
        return None

    def claim_small(self) -> Queued | None:
        """Claim the next object that is small and over which no worker has died."""
        if not self.look():
            return None
        return self._claim(lambda waiting: waiting.size <= SMALL_BYTES and not waiting.entry.crashes)

    def _claim(self, suits: Callable[[Queued], bool]) -> Queued | None:
        """OSError: something could not be claimed, and nothing else is in view."""
        passed: list[Queued] = []
        claim = None
        why: OSError | None = None
        while self._view and claim is None:
            waiting = self._view.popleft()
            try:
                if suits(waiting):
                    claim = self._spool.claim(waiting, self._claimant)
                else:
                    passed.append(waiting)
            except FileNotFoundError:
                continue
            except OSError as error:
                why = error
        self._view.extendleft(reversed(passed))
        if claim is None and why is not None:
            raise why
        return claim

    def look(self) -> bool:
        """List what waits now; False if nothing does, or nothing did a moment ago."""
        if time.monotonic() - self._found_nothing_s < RESCAN_S:
            return False
        start_s = time.monotonic()
        ahead = AHEAD if start_s >= self._ahead_s else 0
        found = [
            (turn, waiting.entry.receipt, waiting)
            for destination in self._spool.destinations(Stage.TRANSFORM)
            for turn, waiting in enumerate(self._spool.waiting(Stage.TRANSFORM, destination, IN_VIEW, ahead))
        ]
        if ahead:
            self._ahead_s = start_s + AHEAD_SHARE * (time.monotonic() - start_s)
        self._view = deque(waiting for _, _, waiting in sorted(found, key=lambda each: each[:2]))
        self._found_nothing_s = 0.0 if found else time.monotonic()
        return bool(found)

    def waits(self) -> bool:
        """Whether any object waits."""
        return bool(self._view) or self.look()

    def rung(self) -> None:
        """The bell has rung, or LOOK_S is over: the next look() lists again in any case."""
        self._found_nothing_s = 0.0


class Commits:
    """Makes finished files durable and moves them to prepared/, in one thread beside the codec.

    `ready()` is called when an object may be sent, `alive()` now and then while it waits for a slow disk, and
    `give_back(claim)` with a claim whose result the disk has refused.
    """

    def __init__(
        self,
        spool: Spool,
        ready: Callable[[], None],
        alive: Callable[[], None],
        give_back: Callable[[Queued], None],
    ) -> None:
        self._spool = spool
        self._ready = ready
        self._alive = alive
        self._give_back = give_back
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._running: deque[Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, claim: Queued, made: Path, event: Transformed, asking: str = "") -> None:
        """Replace a claim by `made` as soon as that is durable, and tell it. Waits while too many are running.

        `asking`: as for Spool.transformed().
        """
        self.finish(COMMITS_BEHIND - 1)
        self._running.append(self._thread.submit(self._commit, claim, made, event, asking))

    def finish(self, behind: int = 0) -> None:
        """Wait until at most `behind` commits are running. With a slow disk the worker is not stuck: it says so."""
        while len(self._running) > behind:
            while not wait([self._running[0]], LOOK_S).done:
                self._alive()
            self._running.popleft().result()

    def close(self) -> None:
        self.finish()
        self._thread.shutdown(wait=True)

    def _commit(self, claim: Queued, made: Path, event: Transformed, asking: str) -> None:
        try:
            self._spool.transformed(claim, made, self._ready, asking=asking)
            board.add(Cell.MADE)
            tell(event)
        except OSError as error:
            what = "%s for %s: could not be written, will be made again: %s"
            logger.error(what, claim.entry.receipt, claim.destination, error)
            with contextlib.suppress(OSError):  # if it stays, the next try or the recovery removes it
                made.unlink(missing_ok=True)
            self._give_back(claim)
            time.sleep(LOOK_S)


class Worker:
    """One worker. It is the Workplace (transcode/frames.py) in which the frames of an object are made."""

    def __init__(self, inherited: Inherited) -> None:
        self.inherited = inherited
        self.spool = inherited.spool
        self.workers = max(1, inherited.settings.workers)
        self.bell = Bell(self.spool.root, inherited.name)
        self.arena = Arena(inherited.descriptors["arena"], inherited.number, self.workers)
        self.queue = TransformQueue(self.spool, inherited.name)
        self._sender = Ringer(self.spool.root, "sender")
        self._others = [Ringer(self.spool.root, f"worker-{number}") for number in range(self.workers)]
        self.commits = Commits(self.spool, self._sender.ring, lambda: self.alive(0), self.give_back)
        self.left: deque[Queued] = deque()  # the claims that could not be given back yet
        self.retry_left_at_s = 0.0
        self._kept_rules = KeptRules(self.spool.root)
        self._pseudonymizer = Pseudonymizer(self.spool.root, writes=False)
        self._checked = CheckedSeries(self.arena.words)
        self._differed = 0
        self._seen: dict[str, SeenCapabilities] = {}
        self._overtaken_s = 0.0
        self._may_be_overtaken = True
        self._drain_until_s: float | None = None
        self._exit_code = 0
        self._at_work = False
        self._looked_ns = 0  # when alive() was called the last time
        self._controls = Controls(self.spool.root)
        self._terms: dict[str, job.Terms] = {}
        self._go_by(inherited.settings)

    def _go_by(self, settings: Settings) -> None:
        """Work by these settings from now on. What was planned for a node that is gone is made as it was asked for."""
        verify = job.Verify.ALL if settings.verify_compression == "always" else job.Verify.NONE
        self._default_terms = job.Terms(settings.max_frame_mib << 20, verify=verify)
        self._terms |= {
            each.ae_title: replace(
                self._default_terms,
                destination=each.ae_title,
                quality=each.quality,
                ratio=each.compression_ratio,
                near=each.near_lossless,
                recompress_lossy=each.recompress_lossy,
            )
            for each in settings.destinations
        }

    # -- the loop

    def run(self) -> int:
        """Work until drain() is called; returns the exit code."""
        with contextlib.suppress(Draining):
            while self._drain_until_s is None:
                self.alive(0)
                self.give_back_left()
                if claim := self._next():
                    self._at_work = True
                    self.do(claim)
                    continue
                self._at_work = help_out(self)
                if not self._at_work:
                    self.sleep(LOOK_S)
                    self.queue.rung()
        self.commits.close()
        return self._exit_code

    def _next(self) -> Queued | None:
        """Claim the next object; None if nothing waits, an operator has paused this, or the disk refuses."""
        try:
            return None if self._paused() else self.queue.claim()
        except OSError as error:
            logger.error("the spool can't be worked on, next try in %.0f s: %s", LOOK_S, error)
            return None

    def drain(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """The handler of SIGTERM."""
        if self._drain_until_s is None:
            self._drain_until_s = time.monotonic() + DRAIN_S
            self.bell.ring()

    # -- what frames.Workplace asks for

    def wake(self, number: int) -> None:
        self._others[number].ring()

    def sleep(self, limit_s: float) -> None:
        self.bell.wait(limit_s)

    def alive(self, size_bytes: int) -> None:
        self.inherited.heartbeat.alive(60.0 + size_bytes / MIN_BYTES_PER_S)
        now_ns = time.monotonic_ns()
        if self._at_work:
            board.add(Cell.BUSY_NS, now_ns - self._looked_ns)
        self._looked_ns = now_ns

    def threads(self, size_bytes: int) -> int:
        """How many threads the codec may use: one a core for a large frame, if the cores have nothing else to do."""
        cores = len(os.sched_getaffinity(0))
        if size_bytes < THREADS_FROM_BYTES or cores == 1 or not self._may_be_overtaken:
            return 0
        return min(cores, THREADS_MAX) if self.arena.alone() and not self.queue.waits() else 0

    def between_frames(self) -> None:
        """Raise Draining when the time to finish is over, and let a small object overtake now and then."""
        now_s = time.monotonic()
        if self._drain_until_s is None:
            if now_s - self._overtaken_s >= TURN_S:
                self._let_overtake()
        elif now_s > self._drain_until_s:
            raise Draining

    def _let_overtake(self) -> None:
        """Make a whole small object while the large one in hand waits: do() within do(), one level deep."""
        if not self._may_be_overtaken or self._paused():
            return
        claim = None
        with contextlib.suppress(OSError):  # who looks next says so
            claim = self.queue.claim_small()
        if claim is not None:
            with self._undisturbed():
                self.do(claim)
        self._overtaken_s = time.monotonic()

    def _paused(self) -> bool:
        """Whether an operator wants nothing new to be made; what is begun is finished."""
        return PREPARE in flags_at(self._controls.flags(), time.time())

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """No object overtakes meanwhile."""
        before = self._may_be_overtaken
        self._may_be_overtaken = False
        try:
            yield
        finally:
            self._may_be_overtaken = before

    # -- one object

    def do(self, claim: Queued) -> None:
        """Work on one claim, which ends or is given back. Any error is logged and touches no other object."""
        receipt = claim.entry.receipt
        destination = claim.destination
        try:
            crash.point("claimed")
            if (newer := self.inherited.newer()) is not None:  # once it is claimed: it may have been planned by these
                self._go_by(newer)
                if self.inherited.lacks_a_folder:
                    self._exit_code = BEGINS_ANEW
                    self.drain()
            self.alive(claim.size)
            if claim.entry.crashes:
                self._attempt_alone(claim)
            else:
                self._attempt(claim)
        except OSError as error:
            if _is_gone(claim.path):
                tell(ByHand(receipt, what="was taken away", destination=destination))
                return
            logger.error(
                "%s for %s: could not be read or written, will be tried again: %s", receipt, destination, error
            )
            self.give_back(claim)
            time.sleep(LOOK_S)

    def give_back(self, *claims: Queued) -> None:
        """Give claims back, now or when the disk allows it. A claim whose result exists already is unlinked instead."""
        self.left.extend(recover.give_back(self.spool, list(claims)))

    def give_back_left(self) -> None:
        """Try again to give back the claims that could not be given back before."""
        if self.left and time.monotonic() >= self.retry_left_at_s:
            self.retry_left_at_s = time.monotonic() + RETRY_LEFT_S
            self.give_back(*(self.left.popleft() for _ in range(len(self.left))))

    def _attempt_alone(self, claim: Queued) -> None:
        """Work on a claim over which a worker has died. No other is in hand, as a crash would count for it too."""
        self.commits.finish()
        with self._undisturbed():
            self._attempt(claim)
            self.commits.finish()

    def _attempt(self, claim: Queued) -> None:
        receipt = claim.entry.receipt
        destination = claim.destination
        try:
            with contextlib.closing(Source(claim.path)) as source:
                self._transform(claim, source)
        except OSError:
            raise
        except Draining:
            self.spool.give_back(claim)
            raise
        except (Corrupt, Unreadable) as error:
            self._fail(claim, None, f"not readable: {error}")
        except Exception as error:
            logger.error("%s for %s: %s: %s", receipt, destination, type(error).__name__, error)
            self.spool.give_back(claim, crashed=True)

    def _transform(self, claim: Queued, source: Source) -> None:
        """Make the wanted syntax, or the next best that may be accepted, or pass the object on as it came."""
        try:
            mutated = self._mutated(claim, source) if claim.entry.edits else None
            if mutated and mutated.rectangles and source.header.pixel_data:
                with contextlib.closing(self._blanked(claim, source, mutated)) as blanked:
                    self._make_one(claim, blanked, replace(mutated, **_unedited(blanked)))
                return
        except (Unfit, Corrupt) as error:
            self._fail(claim, source, str(error))
            return
        self._make_one(claim, source, mutated)

    def _make_one(self, claim: Queued, source: Source, mutated: Mutated | None) -> None:
        wanted = syntax_by_name(claim.entry.syntax)
        facts = Facts(
            source.meta.transfer_syntax_uid,
            (mutated.header if mutated else source).meta.sop_class_uid,
            uneven=source.uneven,
            unpadded=source.unpadded,
        )
        node = Node(claim.destination, wanted.uid if wanted else "")
        acceptance = self._acceptance(claim, facts.sop_class)
        past = Past(crashes=claim.entry.crashes)
        while isinstance(form := choose(facts, node, acceptance, past), Make):
            after = self._try_to_make(claim, source, form, past, mutated)
            if after is None:
                return
            past = after
        match form:
            case Fail(reason):
                self._fail(claim, source, reason, syntax=syntax_name(facts.syntax))
            case Ask(uid) if mutated:
                self._edit_only(claim, source, mutated, asking=syntax_name(uid))
            case AsItCame(reason) if mutated:
                self.tell_as_it_came(claim, reason)
                self._edit_only(claim, source, mutated)
            case AsItCame(reason, padded):
                self._as_it_came(claim, source, reason or ("" if wanted else "an unknown transfer syntax"), padded)
            case Ask():  # what the destination accepts is not known any more: it is not sent round once more
                self._as_it_came(claim, source, "", padded=False)

    def _mutated(self, claim: Queued, source: Source) -> Mutated:
        """What the destination gets instead of the object, by the rules that planned it. Unfit: it must get nothing."""
        entry = claim.entry
        if source.flaw:
            raise Unfit(f"mutations can't be applied to {source.flaw}")
        if entry.crashes > CRASHES_MAX:
            raise Unfit(f"{entry.crashes} workers died of it, and it may not leave without its mutations")
        try:
            rules = self._kept_rules.read(entry.edits)
        except (FileNotFoundError, Corrupt) as error:
            raise Unfit(f"the rules by which it has to be changed are lost: {error}") from error
        circumstances = Circumstances(
            rules.destination, entry.receipt, rules.system, time.process_time, self._pseudonymizer
        )
        mutated = mutate(rules.mutations, source.header, circumstances)
        if mutated.failure and mutated.failure.kind is OnError.RETRY:
            raise OSError(errno.EAGAIN, mutated.failure.reason)  # it could be done when it was planned
        if mutated.failure:
            raise Unfit(mutated.failure.reason)
        dataset = source.header.dataset
        changed = tuple(mutated.draft.replacements())
        if signed.MAC_PARAMETERS not in changed and (covered := signed.touched(dataset, changed, source.syntax)):
            rule = mutated.changed_by[0] if mutated.changed_by else "a mutation"
            once(
                logger, logging.WARNING, f"signed {entry.edits}",
                f"{entry.receipt} for {claim.destination}: {rule} changes {tag_name(covered[0])}, so digital "
                "signatures are broken now; so they are in others that it changes",
            )  # fmt: skip
        return mutated

    def _blanked(self, claim: Queued, source: Source, mutated: Mutated) -> Source:
        """The object with its edits and without what is in the rectangles, native, in a file that loses its name here.

        Unfit, Corrupt: it can't be made. Whatever is made further on is made of this, never of what came.
        """
        terms = replace(self._terms.get(claim.destination, self._default_terms), break_signatures=True)
        fd, path = self.spool.making(claim)
        try:
            with open(fd, "w+b", BUFFER_BYTES) as out:
                job.make(source, SYNTAXES[EXPLICIT_LE], out, self, terms, mutated.header)
                out.flush()
                made = Source(path)
                try:
                    blank(out.fileno(), made.header, mutated.rectangles)
                except BaseException:
                    made.close()
                    raise
        finally:
            path.unlink(missing_ok=True)
        made.original = source
        return made

    def _edit_only(self, claim: Queued, source: Source, mutated: Mutated, asking: str = "") -> None:
        """Have the object written in the syntax that it came in, with its edits."""
        came = syntax_name(source.meta.transfer_syntax_uid)
        try:
            write = partial(job.edit_only, source, edited=mutated.header)
            self._write(claim, source, came, write, mutated, asking)
        except (Unfit, Corrupt) as error:
            self._fail(claim, source, f"mutations can't be applied: {error}")

    def _fail(self, claim: Queued, source: Source | None, reason: str, **more: str) -> None:
        self.spool.fail(claim, {"reason": reason, **more})
        tell(
            Failed(
                claim.entry.receipt,
                reason=reason,
                destination=claim.destination,
                sop_instance_uid=source.meta.sop_instance_uid if source else "",
                calling=source.meta.sending if source else "",
            )
        )

    def _acceptance(self, claim: Queued, sop_class: str) -> ladder.Acceptance | None:
        """What the destination was seen to accept of a SOP class; nothing from before an operator's retry counts."""
        title = claim.destination
        seen = self._seen.setdefault(title, SeenCapabilities(self.spool.root, title))
        known = ladder.fresh(seen.knowledge(), sop_class, time.time())
        return known if known is not None and known.seen_s > claim.entry.retried_s else None

    def _try_to_make(
        self, claim: Queued, source: Source, form: Make, past: Past, mutated: Mutated | None
    ) -> Past | None:
        """Make a syntax. None: the claim has ended. Otherwise that syntax could not be made, as the new past says."""
        receipt = claim.entry.receipt
        destination = claim.destination
        target = SYNTAXES[form.syntax]
        try:
            self._make(claim, source, target, mutated, breaks_signatures=form.breaks_signatures)
        except Signed as error:
            return past.would_break(target.uid, str(error))
        except (Unfit, Corrupt) as error:
            if isinstance(error, Differs):
                self._differed += 1
                self._checked.differed(*_series(source), target.uid)
                logger.error("%s for %s: %s (%d since start)", receipt, destination, error, self._differed)
            return past.tried(target.uid, str(error))
        except OSError as error:
            if error.errno != errno.ENOSPC or mutated or self._refuses_as_it_came(claim, source):
                raise
            self._pass_on(claim, "the disk has no room for it")  # delivering it makes room
        else:
            if form.breaks_signatures:
                text = "%s for %s: made %s, as it takes nothing else, and signatures are broken now: %s"
                logger.warning(text, receipt, destination, target.name, past.signed[target.uid])
        return None

    def _refuses_as_it_came(self, claim: Queued, source: Source) -> bool:
        acceptance = self._acceptance(claim, source.meta.sop_class_uid)
        return acceptance is not None and source.meta.transfer_syntax_uid in acceptance.refused

    def _make(
        self, claim: Queued, source: Source, target: Syntax, mutated: Mutated | None, *, breaks_signatures: bool
    ) -> None:
        none_left = mutated is not None and signed.MAC_PARAMETERS not in mutated.draft
        terms = replace(self._terms_for(claim, source, target), break_signatures=breaks_signatures or none_left)
        try:
            edited = mutated.header if mutated else None
            write = partial(job.make, source, target, workplace=self, terms=terms, edited=edited)
            self._write(claim, source, target.name, lambda out: write(out=out), mutated)
        except BaseException:
            self._checked.forget(*_series(source), target.uid)
            raise

    def _terms_for(self, claim: Queued, source: Source, target: Syntax) -> job.Terms:
        """What the settings and the destination ask for. No other worker helps if one has died over the object."""
        terms = replace(self._terms.get(claim.destination, self._default_terms), alone=claim.entry.crashes > 0)
        if self.inherited.settings.verify_compression != "first-of-series" or source.flaw:
            return terms
        first = self._checked.begin(*_series(source), target.uid)
        return replace(terms, verify=job.Verify.FIRST) if first or claim.entry.crashes else terms

    def _write(
        self,
        claim: Queued,
        source: Source,
        made: str,
        write: Callable[[BinaryIO], None],
        mutated: Mutated | None = None,
        asking: str = "",
    ) -> None:
        """Have the object of a claim written to a new file, in the syntax `made`; once durable it replaces the old.

        `asking`: as for Spool.transformed().
        """
        fd, path = self.spool.making(claim)
        start_s = time.monotonic()
        try:
            with open(fd, "wb", BUFFER_BYTES) as out:
                write(out)
                made_bytes = out.tell()
            crash.point("encoded")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if source.uneven:
            calling = source.meta.sending or "a file put there by hand"
            once(
                logger, logging.WARNING, f"uneven {calling}",
                f"{claim.entry.receipt} from {calling} has values of odd length: each is padded with one byte (PS3.5 "
                "section 7.1.1), here and in all further objects from there",
            )  # fmt: skip
        came = source.original or source
        event = Transformed(
            claim.entry.receipt,
            destination=claim.destination,
            sop_class_uid=source.meta.sop_class_uid,
            sop_instance_uid=source.meta.sop_instance_uid,
            calling=source.meta.sending,
            came=syntax_name(came.meta.transfer_syntax_uid),
            made=made,
            came_bytes=came.size,
            made_bytes=made_bytes,
            took_s=round(time.monotonic() - start_s, 3),
            changed_by=mutated.changed_by if mutated else (),
        )
        self.commits.add(claim, path, event, asking)

    def _as_it_came(self, claim: Queued, source: Source, reason: str, padded: bool) -> None:
        """Pass an object on in the syntax that it came in."""
        if not padded:
            to_pad = claim.entry.syntax == syntax_name(source.meta.transfer_syntax_uid)
            unpadded = source.unpadded or ("its values of odd length can't be parsed" if to_pad else "")
            self._pass_on(claim, reason or unpadded)
            return
        self.tell_as_it_came(claim, reason)
        try:
            self._write(claim, source, syntax_name(source.meta.transfer_syntax_uid), partial(job.pad, source))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._pass_on(claim, "the disk has no room to pad it")

    def _pass_on(self, claim: Queued, reason: str) -> None:
        self.tell_as_it_came(claim, reason)
        self.spool.passed_on(claim)
        self._sender.ring()

    def tell_as_it_came(self, claim: Queued, reason: str) -> None:
        """Log why an object goes on as it came; only for the first of each kind."""
        wanted = claim.entry.syntax
        if reason:
            once(
                logger, logging.INFO, f"{wanted}: {_PARTICULARS.sub('', reason)}",
                f"{claim.entry.receipt} for {claim.destination} goes on as it came, not as {wanted}: {reason}; "
                "so do others for which the reason is the same",
            )  # fmt: skip


def _is_gone(path: Path) -> bool:
    """Whether there is no such file; not so where the disk can't say."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _unedited(source: Source) -> dict[str, Any]:
    """The header of an object that has its edits already, as Mutated has it."""
    draft = Draft(source.header.dataset)
    return {"header": replace(source.header, dataset=draft), "draft": draft}


def _series(source: Source) -> tuple[str, ...]:
    """The Series Instance UID; empty if there is none or if the dataset does not parse."""
    return () if source.flaw else tuple(source.header.texts(_SERIES_INSTANCE_UID) or ())
