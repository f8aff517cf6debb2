"""The worker: takes what waits in transform/, makes it into the wanted syntax, and gives it on to prepared/. N of them.

A plain loop: the next object, else a frame of another worker's object, else a second's sleep at the bell. Which form an
object gets is decided by form/choose.py; the worker tries, and asks again when something could not be made. Compression
never hurts: what cannot be made goes on as it came, with the reason logged once a kind. The disk's part (sync, link,
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
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from leyden import crash
from leyden.dicom.uids import SYNTAXES, Syntax, syntax_by_name, syntax_name
from leyden.errors import Corrupt
from leyden.form import ladder
from leyden.form.choose import CRASHES_MAX, AsItCame, Ask, Fail, Make, Node, Past, choose
from leyden.form.obstacle import Facts
from leyden.inherited import Inherited
from leyden.journal.events import ByHand, Failed, Transformed
from leyden.journal.lines import tell
from leyden.log import once
from leyden.outbound.capability_file import SeenCapabilities
from leyden.spool import recover
from leyden.spool.doorbell import Bell, Ringer
from leyden.spool.entry import Queued
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from leyden.transcode import job
from leyden.transcode.arena import Arena
from leyden.transcode.checked import CheckedSeries
from leyden.transcode.frames import help_out
from leyden.transcode.pixels import Differs, Signed, Unfit
from leyden.transcode.source import Source, Unreadable

logger = logging.getLogger("leyden.worker")

LOOK_S = 1.0  # without a bell
RESCAN_S = 0.02  # nothing was there: how soon it is worth another look
IN_VIEW = 16  # entries of a destination taken into view at a time
DRAIN_S = 4.0
TURN_S = 0.05  # between two small objects that overtake a large one
SMALL_BYTES = 32 << 20
THREADS_FROM_BYTES = 1 << 20
MIN_BYTES_PER_S = 1_000_000  # a tenth of what the slowest codec does on the slowest machine we care for
BUFFER_BYTES = 128 << 10
COMMITS_BEHIND = 2
RETRY_LEFT_S = 5.0
THREADS_MAX = 8  # of the codec; each takes address space, and more do not make a frame faster
_SERIES_INSTANCE_UID = 0x0020000E
_PARTICULARS = re.compile(r"\([0-9A-F]{4},[0-9A-F]{4}\)|[0-9]+")  # tags, offsets, sizes: no part of a reason's kind


class Draining(BaseException):
    """SIGTERM came and the time is up: what is in hand is given back."""


def run(inherited: Inherited) -> int:
    """The role's main: until SIGTERM (what is in hand is finished within DRAIN_S or given back; exit code 0)."""
    worker = Worker(inherited)
    signal.signal(signal.SIGTERM, worker.drain)
    os.nice(5)  # the network roles are never starved by the codec
    _limit_memory(inherited.settings.arena_mib, inherited.settings.max_frame_mib)
    return worker.run()


def _limit_memory(arena_mib: int, max_frame_mib: int) -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        present_bytes = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    limit = present_bytes + ((arena_mib + 10 * max_frame_mib) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class Queue:
    """What waits in transform/: the destinations in turn, of each the lowest rank and the oldest first.

    A little of each is taken into view at a time.
    """

    def __init__(self, spool: Spool, claimant: str) -> None:
        self._spool, self._claimant = spool, claimant
        self._view: deque[Queued] = deque()
        self._found_nothing_s = 0.0

    def claim(self) -> Queued | None:
        """Claim the next object; None if nothing waits."""
        while self._view or self.look():
            if claim := self._claim(lambda waiting: True):
                return claim  # else the other workers took all that was in view: look again, do not sleep
        return None

    def claim_small(self) -> Queued | None:
        """Claim the next object that is small and that no worker has died of."""
        if not self.look():
            return None
        return self._claim(lambda waiting: waiting.size <= SMALL_BYTES and not waiting.entry.crashes)

    def _claim(self, suits: Callable[[Queued], bool]) -> Queued | None:
        passed: list[Queued] = []
        claim = None
        while self._view and claim is None:
            waiting = self._view.popleft()
            with contextlib.suppress(FileNotFoundError):
                if suits(waiting):
                    claim = self._spool.claim(waiting, self._claimant)
                else:
                    passed.append(waiting)
        self._view.extendleft(reversed(passed))
        return claim

    def look(self) -> bool:
        """Take into view what waits now; False if there is nothing, or was nothing a moment ago."""
        if time.monotonic() - self._found_nothing_s < RESCAN_S:
            return False
        found = [
            (turn, waiting.entry.receipt, waiting)
            for destination in self._spool.destinations(Stage.TRANSFORM)
            for turn, waiting in enumerate(self._spool.waiting(Stage.TRANSFORM, destination, IN_VIEW))
        ]
        self._view = deque(waiting for _, _, waiting in sorted(found, key=lambda each: each[:2]))
        self._found_nothing_s = 0.0 if found else time.monotonic()
        return bool(found)

    def waits(self) -> bool:
        """Whether anything waits."""
        return bool(self._view) or self.look()

    def rung(self) -> None:
        """The bell rang, or it is time: the next look is not put off."""
        self._found_nothing_s = 0.0


class Commits:
    """Makes what was written durable, in one thread beside the codec, and gives it on.

    `ready()` is called when something may be sent, `alive()` now and then while a slow disk is waited for;
    `give_back(claim)` takes back what the disk refused.
    """

    def __init__(
        self,
        spool: Spool,
        ready: Callable[[], None],
        alive: Callable[[], None],
        give_back: Callable[[Queued], None],
    ) -> None:
        self._spool, self._ready, self._alive, self._give_back = spool, ready, alive, give_back
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._running: deque[Future[None]] = deque()

    def __len__(self) -> int:
        return len(self._running)

    def add(self, claim: Queued, made: Path) -> None:
        """Give on `made` in the place of a claim, as soon as it is durable. Waits while too many are under way."""
        self.finish(COMMITS_BEHIND - 1)
        self._running.append(self._thread.submit(self._commit, claim, made))

    def finish(self, behind: int = 0) -> None:
        """Wait until at most so many are under way. A slow disk is no fault of the worker: it says that it lives."""
        while len(self._running) > behind:
            while not wait([self._running[0]], LOOK_S).done:
                self._alive()
            self._running.popleft().result()

    def close(self) -> None:
        self.finish()
        self._thread.shutdown(wait=True)

    def _commit(self, claim: Queued, made: Path) -> None:
        try:
            self._spool.transformed(claim, made, self._ready)
        except OSError as error:
            logger.error("%s for %s: made again, as the disk says: %s", claim.entry.receipt, claim.destination, error)
            with contextlib.suppress(OSError):  # the next try or the recovery removes it
                made.unlink(missing_ok=True)
            self._give_back(claim)
            time.sleep(LOOK_S)


class Worker:
    """One worker. To the frames of an object it is the Workplace of transcode/frames.py."""

    def __init__(self, inherited: Inherited) -> None:
        self.inherited = inherited
        self.spool = inherited.spool
        self.workers = max(1, inherited.settings.workers)
        self.bell = Bell(self.spool.root, inherited.name)
        self.arena = Arena(inherited.descriptors["arena"], inherited.number, self.workers)
        self.queue = Queue(self.spool, inherited.name)
        self._sender = Ringer(self.spool.root, "sender")
        self._others = [Ringer(self.spool.root, f"worker-{number}") for number in range(self.workers)]
        self.commits = Commits(self.spool, self._sender.ring, lambda: self.alive(0), self.give_back)
        self.left: deque[Queued] = deque()  # claims that could not be given back yet
        self.retry_left_at_s = 0.0
        self._checked = CheckedSeries(self.arena.words)
        self._differed = 0
        self._seen: dict[str, SeenCapabilities] = {}
        self._overtaken_s = 0.0
        self._may_be_overtaken = True
        self._drain_until_s: float | None = None
        verify = job.Verify.ALL if inherited.settings.verify_compression == "always" else job.Verify.NONE
        self._terms_of_none = job.Terms(inherited.settings.max_frame_mib << 20, verify=verify)
        self._terms = {
            each.ae_title: replace(
                self._terms_of_none,
                destination=each.ae_title,
                quality=each.quality,
                ratio=each.compression_ratio,
                near=each.near_lossless,
                recompress_lossy=each.recompress_lossy,
            )
            for each in inherited.settings.destinations
        }

    # -- the loop

    def run(self) -> int:
        """Until drain() was called; the exit code."""
        with contextlib.suppress(Draining):
            while self._drain_until_s is None:
                self.alive(0)
                self.give_back_left()
                if claim := self.queue.claim():
                    self.do(claim)
                elif not help_out(self):
                    self.sleep(LOOK_S)
                    self.queue.rung()
        self.commits.close()
        return 0

    def drain(self, _number: int, _frame: FrameType | None) -> None:
        """The handler of SIGTERM."""
        if self._drain_until_s is None:
            self._drain_until_s = time.monotonic() + DRAIN_S
            self.bell.ring()

    # -- what the frames of an object ask of the worker (frames.Workplace)

    def wake(self, number: int) -> None:
        self._others[number].ring()

    def sleep(self, limit_s: float) -> None:
        self.bell.wait(limit_s)

    def alive(self, size_bytes: int) -> None:
        self.inherited.heartbeat.alive(60.0 + size_bytes / MIN_BYTES_PER_S)

    def threads(self, size_bytes: int) -> int:
        """The codec's own threads: the cores, for a large frame, while there is nothing else for them to do."""
        cores = len(os.sched_getaffinity(0))
        if size_bytes < THREADS_FROM_BYTES or cores == 1 or not self._may_be_overtaken:
            return 0
        return min(cores, THREADS_MAX) if self.arena.alone() and not self.queue.waits() else 0

    def between_frames(self) -> None:
        """End in time, and let a small object overtake now and then."""
        now_s = time.monotonic()
        if self._drain_until_s is None:
            if now_s - self._overtaken_s >= TURN_S:
                self._let_overtake()
        elif now_s > self._drain_until_s:
            raise Draining

    def _let_overtake(self) -> None:
        """A whole small object is made while the large one in hand waits: do() within do(), one level deep."""
        if not self._may_be_overtaken:
            return
        if claim := self.queue.claim_small():
            with self._undisturbed():
                self.do(claim)
        self._overtaken_s = time.monotonic()

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Nothing overtakes meanwhile."""
        before, self._may_be_overtaken = self._may_be_overtaken, False
        try:
            yield
        finally:
            self._may_be_overtaken = before

    # -- one object

    def do(self, claim: Queued) -> None:
        """One claim, to its end or given back; whatever happens here is logged and harms nothing else."""
        receipt, destination = claim.entry.receipt, claim.destination
        try:
            crash.point("claimed")
            self.alive(claim.size)
            if claim.entry.crashes:
                self._attempt_alone(claim)
            else:
                self._attempt(claim)
        except OSError as error:
            if not claim.path.exists():
                tell(ByHand(receipt, what="was taken away", destination=destination))
                return
            logger.error("%s for %s: tried again, as the disk says: %s", receipt, destination, error)
            self.give_back(claim)
            time.sleep(LOOK_S)

    def give_back(self, *claims: Queued) -> None:
        """Now, or as soon as the disk allows it. One whose result stands further on already is not made again."""
        self.left.extend(recover.give_back(self.spool, list(claims)))

    def give_back_left(self) -> None:
        """Try again with the claims that could not be given back."""
        if self.left and time.monotonic() >= self.retry_left_at_s:
            self.retry_left_at_s = time.monotonic() + RETRY_LEFT_S
            self.give_back(*(self.left.popleft() for _ in range(len(self.left))))

    def _attempt_alone(self, claim: Queued) -> None:
        """A worker may have died of it: nothing else is in hand meanwhile, or it would count as deadly too."""
        self.commits.finish()
        with self._undisturbed():
            self._attempt(claim)
            self.commits.finish()

    def _attempt(self, claim: Queued) -> None:
        receipt, destination = claim.entry.receipt, claim.destination
        try:
            with contextlib.closing(Source(claim.path)) as source:
                self._transform(claim, source)
        except OSError:
            raise
        except Draining:
            self.spool.give_back(claim)
            raise
        except (Corrupt, Unreadable) as error:
            self._fail(claim, f"not readable: {error}")
        except Exception as error:
            logger.error("%s for %s: %s: %s", receipt, destination, type(error).__name__, error)
            self.spool.give_back(claim, crashed=True)

    def _transform(self, claim: Queued, source: Source) -> None:
        """Make the wanted syntax, or the next best that the destination may take, or give it on as it came."""
        wanted = syntax_by_name(claim.entry.syntax)
        facts = Facts(source.meta.transfer_syntax_uid, source.meta.sop_class_uid)
        node = Node(claim.destination, wanted.uid if wanted else "")
        acceptance = self._acceptance(claim, facts.sop_class)
        past = Past(crashes=claim.entry.crashes)
        while isinstance(form := choose(facts, node, acceptance, past), Make):
            after = self._try_to_make(claim, source, form, past)
            if after is None:
                return
            past = after
        match form:
            case Fail(reason):
                self._fail(claim, reason, syntax=syntax_name(facts.syntax))
            case AsItCame(reason):
                self._as_it_came(claim, source, reason or ("" if wanted else "a transfer syntax that is none"))
            case Ask():  # what has to be padded does not wait until its destination was asked
                self._as_it_came(claim, source, "")

    def _fail(self, claim: Queued, reason: str, **more: str) -> None:
        tell(Failed(claim.entry.receipt, reason=reason, destination=claim.destination))
        self.spool.fail(claim, {"reason": reason, **more})

    def _acceptance(self, claim: Queued, sop_class: str) -> ladder.Acceptance | None:
        """What the destination was seen to accept of a SOP class; nothing if somebody wants it to be asked anew."""
        title = claim.destination
        seen = self._seen.setdefault(title, SeenCapabilities(self.spool.root, title))
        known = ladder.fresh(seen.knowledge(), sop_class, time.time())
        return known if known is not None and known.seen_s > claim.entry.retried_s else None

    def _try_to_make(self, claim: Queued, source: Source, form: Make, past: Past) -> Past | None:
        """Make a syntax. None: the claim has come to its end; else it could not be made, as the new past says."""
        receipt, destination, target = claim.entry.receipt, claim.destination, SYNTAXES[form.syntax]
        try:
            self._make(claim, source, target, breaks_signatures=form.breaks_signatures)
        except Signed as error:
            return past.would_break(target.uid, str(error))
        except (Unfit, Corrupt) as error:
            if isinstance(error, Differs):
                self._differed += 1
                self._checked.differed(*_series(source), target.uid)
                logger.error("%s for %s: %s (%d since start)", receipt, destination, error, self._differed)
            return past.tried(target.uid, str(error))
        except OSError as error:
            if error.errno != errno.ENOSPC or self._refuses_as_it_came(claim, source):
                raise
            self._pass_on(claim, "the disk has no room for it")  # and soon has more
        else:
            if form.breaks_signatures:
                text = "%s for %s: made %s, as it takes nothing else, and signatures are broken now: %s"
                logger.warning(text, receipt, destination, target.name, past.signed[target.uid])
        return None

    def _refuses_as_it_came(self, claim: Queued, source: Source) -> bool:
        acceptance = self._acceptance(claim, source.meta.sop_class_uid)
        return acceptance is not None and source.meta.transfer_syntax_uid in acceptance.refused

    def _make(self, claim: Queued, source: Source, target: Syntax, *, breaks_signatures: bool) -> None:
        terms = replace(self._terms_for(claim, source, target), break_signatures=breaks_signatures)
        begin_s = time.monotonic()
        try:
            made_bytes = self._write(claim, source, lambda out: job.make(source, target, out, self, terms))
        except BaseException:
            self._checked.forget(*_series(source), target.uid)
            raise
        tell(
            Transformed(
                claim.entry.receipt,
                destination=claim.destination,
                came=syntax_name(source.meta.transfer_syntax_uid),
                made=target.name,
                came_bytes=source.size,
                made_bytes=made_bytes,
                took_s=round(time.monotonic() - begin_s, 3),
            )
        )

    def _terms_for(self, claim: Queued, source: Source, target: Syntax) -> job.Terms:
        """What the settings and the destination ask of this object; one that has killed a worker gets no help."""
        terms = replace(self._terms.get(claim.destination, self._terms_of_none), alone=claim.entry.crashes > 0)
        if self.inherited.settings.verify_compression != "first-of-series" or source.flaw:
            return terms
        first = self._checked.begin(*_series(source), target.uid)
        return replace(terms, verify=job.Verify.FIRST) if first or claim.entry.crashes else terms

    def _write(self, claim: Queued, source: Source, write: Callable[[BinaryIO], None]) -> int:
        """Have the object of a claim written anew, and give it on once it is durable; the bytes of the new file."""
        fd, path = self.spool.making(claim)
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
                f"{claim.entry.receipt} from {calling} has values of odd length: each gets a byte of padding (PS3.5 "
                "section 7.1.1), and so it is with others of this title",
            )  # fmt: skip
        self.commits.add(claim, path)
        return made_bytes

    def _as_it_came(self, claim: Queued, source: Source, reason: str) -> None:
        """In the syntax that it came in: as it is, or padded where it is uneven and no workers died of it."""
        if not source.uneven or source.unpadded or claim.entry.crashes > CRASHES_MAX:
            to_pad = claim.entry.syntax == syntax_name(source.meta.transfer_syntax_uid)
            unpadded = source.unpadded or ("what is odd in it does not parse" if to_pad else "")
            self._pass_on(claim, reason or unpadded)
            return
        self.tell_as_it_came(claim, reason)
        try:
            self._write(claim, source, partial(job.pad, source))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._pass_on(claim, "the disk has no room to pad it")

    def _pass_on(self, claim: Queued, reason: str) -> None:
        self.tell_as_it_came(claim, reason)
        self.spool.passed_on(claim)
        self._sender.ring()

    def tell_as_it_came(self, claim: Queued, reason: str) -> None:
        """Log why it goes on as it came; the first of each kind only."""
        wanted = claim.entry.syntax
        if reason:
            once(
                logger, logging.INFO, f"{wanted}: {_PARTICULARS.sub('', reason)}",
                f"{claim.entry.receipt} for {claim.destination} goes on as it came, not as {wanted}: {reason}; "
                "so do others of that kind",
            )  # fmt: skip


def _series(source: Source) -> tuple[str, ...]:
    """Its Series Instance UID; empty where it has none, and where its dataset does not parse."""
    return () if source.flaw else tuple(source.header.texts(_SERIES_INSTANCE_UID) or ())
