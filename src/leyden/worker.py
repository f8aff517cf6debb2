"""The worker: takes what waits in transform/, makes it into the wanted syntax, and gives it on to prepared/. N of them.

A plain loop: the next object, else a frame of somebody else's object, else a second's sleep at the bell. Compression
never hurts: what cannot be made goes on as it came, with the reason logged once a kind. To failed/ goes only what
cannot be read, or cannot be made into what the destination was seen to take instead. The disk's part (sync, link,
unlink) runs in one thread beside the codec. The address space is limited: a hostile codestream kills one worker and one
job. No sockets, no dataset on the network side.
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
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from leyden import crash
from leyden.boot import Boot
from leyden.dicom.uids import SYNTAXES, Syntax, syntax_by_name, syntax_name
from leyden.errors import Corrupt
from leyden.form import ladder
from leyden.form.choose import CRASHES_MAX, AsItCame, Ask, Fail, Make, Node, Past, choose
from leyden.form.obstacle import Facts
from leyden.log import once
from leyden.outbound.taken import Seen
from leyden.spool import recover
from leyden.spool.doorbell import Bell, Ringer
from leyden.spool.entry import Queued
from leyden.spool.stage import Stage
from leyden.transcode import job
from leyden.transcode.arena import Arena
from leyden.transcode.compared import Compared
from leyden.transcode.frames import Crew, help_out
from leyden.transcode.pixels import Differs, Signed, Unfit
from leyden.transcode.source import Source, Unreadable

logger = logging.getLogger("leyden.worker")

LOOK_S = 1.0  # without a bell
RESCAN_S = 0.02  # nothing was there: how soon it is worth another look
WINDOW = 16  # entries of a destination taken into view at a time
DRAIN_S = 4.0
TURN_S = 0.05  # between two small objects that a large one lets pass
SMALL_BYTES = 32 << 20
THREADS_FROM_BYTES = 1 << 20
MIN_BYTES_PER_S = 1_000_000  # a tenth of what the slowest codec does on the slowest machine we care for
BUFFER_BYTES = 128 << 10
COMMITS_BEHIND = 2
RETRY_LEFT_S = 5.0
THREADS_MAX = 8  # of the codec; each takes address space, and more do not make a frame faster
_SERIES_INSTANCE_UID = 0x0020000E
_PARTICULARS = re.compile(r"\([0-9A-F]{4},[0-9A-F]{4}\)|[0-9]+")  # tags, offsets, sizes: no part of a reason's kind


def _series(source: Source) -> tuple[str, ...]:
    """Its Series Instance UID; empty where it has none, and where its dataset does not parse."""
    return () if source.flaw else tuple(source.header.texts(_SERIES_INSTANCE_UID) or ())


class Draining(BaseException):
    """SIGTERM came and the time is up: what is in hand is given back."""


def run(boot: Boot) -> int:
    """The role's main: until SIGTERM (what is in hand is finished within DRAIN_S or given back; exit code 0)."""
    worker = _Worker(boot)
    signal.signal(signal.SIGTERM, worker.drain)
    os.nice(5)  # the network roles are never starved by the codec
    _limit_memory(boot.settings.arena_mib, boot.settings.max_frame_mib)
    return worker.run()


def _limit_memory(arena_mib: int, max_frame_mib: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        present_bytes = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    limit = present_bytes + ((arena_mib + 10 * max_frame_mib) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class _Worker:
    def __init__(self, boot: Boot) -> None:
        self.boot = boot
        self.spool = boot.spool
        self.bell = Bell(self.spool.root, boot.name)
        workers = max(1, boot.settings.workers)
        self._sender = Ringer(self.spool.root, "sender")
        self._others = [Ringer(self.spool.root, f"worker-{number}") for number in range(workers)]
        self.arena = Arena(boot.arena_fd, boot.number, workers)
        self.crew = Crew(
            arena=self.arena,
            workers=workers,
            ring=lambda number: self._others[number].ring(),
            wait=self.bell.wait,
            alive=self._alive,
            threads=self._threads,
            between=self._between,
        )
        verify = job.Verify.ALL if boot.settings.verify_compression == "always" else job.Verify.NONE
        self._nobody = job.Terms(boot.settings.max_frame_mib << 20, verify=verify)
        self._asked = {
            each.ae_title: replace(
                self._nobody,
                destination=each.ae_title,
                quality=each.quality,
                ratio=each.compression_ratio,
                near=each.near_lossless,
                recompress_lossy=each.recompress_lossy,
            )
            for each in boot.settings.destinations
        }
        self._compared = Compared(self.arena.words)
        self._differed = 0
        self._commits = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._committing: deque[Future[None]] = deque()
        self._left: deque[Queued] = deque()  # what the disk did not let go
        self._retry_left_at_s = 0.0
        self._window: deque[Queued] = deque()
        self._found_nothing_s = 0.0
        self._turned_s = 0.0
        self._undisturbed = False
        self._drained_at_s: float | None = None
        self._seen: dict[str, Seen] = {}

    # -- the loop

    def run(self) -> int:
        with contextlib.suppress(Draining):
            while self._drained_at_s is None:
                self._alive(0)
                self._give_back_left()
                if claim := self._next():
                    self._do(claim)
                elif not help_out(self.crew):
                    self.bell.wait(LOOK_S)
                    self._found_nothing_s = 0.0
        self._finish_commits(0)
        self._commits.shutdown(wait=True)
        return 0

    def drain(self, _number: int, _frame: FrameType | None) -> None:
        if self._drained_at_s is None:
            self._drained_at_s = time.monotonic() + DRAIN_S
            self.bell.ring()

    def _alive(self, size_bytes: int) -> None:
        self.boot.board.alive(60.0 + size_bytes / MIN_BYTES_PER_S)

    def _threads(self, size_bytes: int) -> int:
        """The codec's own threads: the cores, for a large frame, while there is nothing else for them to do."""
        cores = len(os.sched_getaffinity(0))
        busy = size_bytes < THREADS_FROM_BYTES or cores == 1 or self._undisturbed or bool(self._window)
        if busy or not self.arena.alone() or self._look():
            return 0
        return min(cores, THREADS_MAX)

    def _between(self) -> None:
        """After each frame of a large object: end in time, and let a small object pass now and then."""
        now_s = time.monotonic()
        if self._drained_at_s is not None and now_s > self._drained_at_s:
            raise Draining
        if self._undisturbed or self._drained_at_s is not None or now_s - self._turned_s < TURN_S:
            return
        if claim := self._next(SMALL_BYTES):
            self._undisturbed = True
            try:
                self._do(claim)
            finally:
                self._undisturbed = False
        self._turned_s = time.monotonic()

    # -- what is next

    def _next(self, at_most_bytes: int | None = None) -> Queued | None:
        """Claim the next object: the destinations in turn, of each the lowest rank and the oldest first."""
        if at_most_bytes is not None:
            return self._claim_from_window(at_most_bytes) if self._look() else None
        while self._window or self._look():
            if claim := self._claim_from_window():
                return claim  # else the other workers took all that was in view: look again, do not sleep
        return None

    def _claim_from_window(self, at_most_bytes: int | None = None) -> Queued | None:
        passed: list[Queued] = []
        claim = None
        while self._window and claim is None:
            waiting = self._window.popleft()
            with contextlib.suppress(FileNotFoundError):
                if at_most_bytes is None or (waiting.size <= at_most_bytes and not waiting.entry.crashes):
                    claim = self.spool.claim(waiting, self.boot.name)
                else:
                    passed.append(waiting)
        self._window.extendleft(reversed(passed))
        return claim

    def _look(self) -> bool:
        """Take what waits into the window; False if there is nothing."""
        if time.monotonic() - self._found_nothing_s < RESCAN_S:
            return False
        found = [
            (turn, waiting.entry.receipt, waiting)
            for destination in self.spool.destinations(Stage.TRANSFORM)
            for turn, waiting in enumerate(self.spool.waiting(Stage.TRANSFORM, destination, WINDOW))
        ]
        self._window = deque(waiting for _, _, waiting in sorted(found, key=lambda each: each[:2]))
        self._found_nothing_s = 0.0 if found else time.monotonic()
        return bool(found)

    # -- one object

    def _do(self, claim: Queued) -> None:
        """One claim, to its end or given back; whatever happens here is logged and harms nothing else."""
        receipt, destination = claim.entry.receipt, claim.destination
        try:
            crash.point("claimed")
            self._alive(claim.size)
            if claim.entry.crashes:
                self._attempt_alone(claim)
            else:
                self._attempt(claim)
        except OSError as error:
            if not claim.path.exists():
                logger.info("%s for %s was taken away by hand", receipt, destination)
                return
            logger.error("%s for %s: tried again, as the disk says: %s", receipt, destination, error)
            self._give_back(claim)
            time.sleep(LOOK_S)

    def _give_back(self, *claims: Queued) -> None:
        """Now, or as soon as the disk lets them go. One whose result stands further on already is not made again."""
        self._left.extend(recover.give_back(self.spool, list(claims)))

    def _give_back_left(self) -> None:
        if self._left and time.monotonic() >= self._retry_left_at_s:
            self._retry_left_at_s = time.monotonic() + RETRY_LEFT_S
            self._give_back(*(self._left.popleft() for _ in range(len(self._left))))

    def _attempt_alone(self, claim: Queued) -> None:
        """What a worker may have died of: nothing else is in hand meanwhile, as that would count as deadly with it."""
        self._finish_commits(0)
        self._undisturbed = True
        try:
            self._attempt(claim)
            self._finish_commits(0)
        finally:
            self._undisturbed = False

    def _attempt(self, claim: Queued) -> None:
        receipt, destination = claim.entry.receipt, claim.destination
        try:
            self._transform(claim)
        except OSError:
            raise
        except Draining:
            self.spool.give_back(claim)
            raise
        except (Corrupt, Unreadable) as error:
            logger.warning("%s for %s: to failed/, not readable: %s", receipt, destination, error)
            self.spool.fail(claim, {"reason": f"not readable: {error}"})
        except Exception as error:
            logger.error("%s for %s: %s: %s", receipt, destination, type(error).__name__, error)
            self.spool.give_back(claim, crashed=True)

    def _transform(self, claim: Queued) -> None:
        """Make the wanted syntax, or the next best that the destination may take, or give it on as it came."""
        with contextlib.closing(Source(claim.path)) as source:
            wanted = syntax_by_name(claim.entry.syntax)
            facts = Facts(source.meta.transfer_syntax_uid, source.meta.sop_class_uid)
            node = Node(claim.destination, wanted.uid if wanted else "")
            acceptance = self._acceptance(claim, facts.sop_class)
            past: Past | None = Past(crashes=claim.entry.crashes)
            while past is not None:
                match choose(facts, node, acceptance, past):
                    case Make(uid, breaks_signatures):
                        past = self._try_to_make(claim, source, past, SYNTAXES[uid], breaks_signatures)
                    case Fail(reason):
                        past = None
                        logger.warning("%s for %s: to failed/: %s", claim.entry.receipt, claim.destination, reason)
                        self.spool.fail(claim, {"reason": reason, "syntax": syntax_name(facts.syntax)})
                    case AsItCame(reason):
                        past = None
                        self._as_it_came(claim, source, reason or ("" if wanted else "a transfer syntax that is none"))
                    case Ask():
                        past = None
                        self._as_it_came(claim, source, "")

    def _try_to_make(
        self, claim: Queued, source: Source, past: Past, target: Syntax, breaks_signatures: bool
    ) -> Past | None:
        """Make a syntax. None: the claim has come to its end; else it could not be made, as the new past says."""
        receipt, destination = claim.entry.receipt, claim.destination
        try:
            self._make(claim, source, target, breaks=breaks_signatures)
        except Signed as error:
            return past.would_break(target.uid, str(error))
        except (Unfit, Corrupt) as error:
            if isinstance(error, Differs):
                self._differed += 1
                self._compared.differed(*_series(source), target.uid)
                logger.error("%s for %s: %s (%d since start)", receipt, destination, error, self._differed)
            return past.tried(target.uid, str(error))
        except OSError as error:
            if error.errno != errno.ENOSPC or self._refuses_as_it_came(claim, source):
                raise
            self._pass_on(claim, "the disk has no room for it")  # and soon has more
        else:
            if breaks_signatures:
                text = "%s for %s: made %s, as it takes nothing else, and signatures are broken now: %s"
                logger.warning(text, receipt, destination, target.name, past.signed[target.uid])
        return None

    def _terms(self, claim: Queued, source: Source, target: Syntax) -> job.Terms:
        """What the settings and the destination ask of this object; one that has killed a worker gets no help."""
        terms = replace(self._asked.get(claim.destination, self._nobody), alone=claim.entry.crashes > 0)
        if self.boot.settings.verify_compression != "first-of-series" or source.flaw:
            return terms
        first = self._compared.begin(*_series(source), target.uid)
        return replace(terms, verify=job.Verify.FIRST) if first or claim.entry.crashes else terms

    def _make(self, claim: Queued, source: Source, target: Syntax, *, breaks: bool) -> None:
        try:
            terms = replace(self._terms(claim, source, target), break_signatures=breaks)
            self._write(claim, source, lambda out: job.make(source, target, out, self.crew, terms))
        except BaseException:
            self._compared.forget(*_series(source), target.uid)
            raise

    def _write(self, claim: Queued, source: Source, write: Callable[[BinaryIO], None]) -> None:
        """Have the object of a claim written anew, and give it on once it is durable."""
        fd, path = self.spool.making(claim)
        try:
            with open(fd, "wb", BUFFER_BYTES) as out:
                write(out)
            crash.point("encoded")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if source.uneven:
            calling = source.meta.sending or "a file put there by hand"
            once(
                logger, logging.WARNING, f"uneven {calling}",
                f"{claim.entry.receipt} from {calling} has values of odd length: each gets a byte of padding (PS3.5 "
                "section 7.1.1), and so it is with others of this title",
            )  # fmt: skip
        self._finish_commits(COMMITS_BEHIND - 1)
        self._committing.append(self._commits.submit(self._commit, claim, path))

    def _finish_commits(self, behind: int) -> None:
        """Wait until at most so many are under way. A slow disk is no fault of ours: we live."""
        while len(self._committing) > behind:
            while not wait([self._committing[0]], LOOK_S).done:
                self._alive(0)
            self._committing.popleft().result()

    def _commit(self, claim: Queued, made: Path) -> None:
        """In the thread beside the codec: make it durable and give it on."""
        try:
            self.spool.transformed(claim, made, self._sender.ring)
        except OSError as error:
            logger.error("%s for %s: made again, as the disk says: %s", claim.entry.receipt, claim.destination, error)
            with contextlib.suppress(OSError):  # the next try or the recovery removes it
                made.unlink(missing_ok=True)
            self._give_back(claim)
            time.sleep(LOOK_S)

    def _as_it_came(self, claim: Queued, source: Source, reason: str) -> None:
        """In the syntax that it came in: as it is, or padded where it is uneven and no workers died of it."""
        if not source.uneven or source.unpadded or claim.entry.crashes > CRASHES_MAX:
            to_pad = claim.entry.syntax == syntax_name(source.meta.transfer_syntax_uid)
            unpadded = source.unpadded or ("what is odd in it does not parse" if to_pad else "")
            self._pass_on(claim, reason or unpadded)
            return
        self._tell(claim, reason)
        try:
            self._write(claim, source, partial(job.pad, source))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._pass_on(claim, "the disk has no room to pad it")

    def _pass_on(self, claim: Queued, reason: str) -> None:
        self._tell(claim, reason)
        self.spool.passed_on(claim)
        self._sender.ring()

    def _tell(self, claim: Queued, reason: str) -> None:
        """Why it goes on as it came; the first of each kind is logged."""
        wanted = claim.entry.syntax
        if reason:
            once(
                logger, logging.INFO, f"{wanted}: {_PARTICULARS.sub('', reason)}",
                f"{claim.entry.receipt} for {claim.destination} goes on as it came, not as {wanted}: {reason}; "
                "so do others of that kind",
            )  # fmt: skip

    def _acceptance(self, claim: Queued, sop_class: str) -> ladder.Acceptance | None:
        """What the destination was seen to accept of a SOP class; nothing if somebody wants it to be asked anew."""
        title = claim.destination
        seen = self._seen.setdefault(title, Seen(self.spool.root, title))
        known = ladder.fresh(seen.knowledge(), sop_class, time.time())
        return known if known is not None and known.seen_s > claim.entry.retried_s else None

    def _refuses_as_it_came(self, claim: Queued, source: Source) -> bool:
        acceptance = self._acceptance(claim, source.meta.sop_class_uid)
        return acceptance is not None and source.meta.transfer_syntax_uid in acceptance.refused
