"""Group commit: makes many received files durable together, before any sender is told Success.

A few threads fdatasync the files as they arrive. A thread that finds synced files, and no other thread publishing,
publishes them all: rename embryo -> new, one fsync of the folder, then the answers. Files synced meanwhile make up the
next round. So no file waits for a batch to fill, and sixteen associations share one fsync of the folder. Callers take
turns at the threads, so that none waits for the hundreds of files that another one may have on their way. On a fast
disk a lone association does all this in the event loop: the way to a thread and back would take as long as the sync.
After a failed sync the kernel marks the pages clean, and a second sync would report a success that is none (tried). So
the file is discarded, and the spool takes in nothing until a probe write succeeds.
A sync that is under way when the file system breaks down may report success for what is lost (tried: ext4, XFS). A
change made after it fails then, so one is made before the answers: the size of a file without a name, the witness
(DECISIONS.md 287).
Deliberately absent: a second way to Success.
"""

import asyncio
import contextlib
import ctypes
import logging
import os
import tempfile
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue

import msgspec

from leyden import crash
from leyden.errors import Transient
from leyden.inline import Inline
from leyden.spool.entry import of_source
from leyden.spool.moves import into, sync_folder
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.spool")

PROBE_S = 1.0
FAST_S = 0.005  # a sync faster than this may block the event loop: a trip to a thread would take as long
_PROBE_BYTES = 4096


class _Job(msgspec.Struct, eq=False):
    fd: int
    embryo: str
    name: str  # in new/, without its ending
    future: "Future[None]"
    loop: AbstractEventLoop
    place: str = ""
    error: Exception | None = None


class _Jobs:
    """The files that wait for a thread: the callers take turns, each with its oldest first. For any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of_callers: dict[str, deque[_Job]] = {}  # the next one first
        self._tokens: SimpleQueue[bool] = SimpleQueue()  # one for each job, and False for each thread that is to end

    def put(self, job: _Job) -> None:
        with self._lock:
            self._of_callers.setdefault(of_source(f"{job.name}.dcm"), deque()).append(job)
        self._tokens.put(True)

    def end(self) -> None:
        """Have one thread end, once nothing waits."""
        self._tokens.put(False)

    def get(self) -> _Job | None:
        """The next one, as soon as there is one; None = end."""
        if not self._tokens.get():
            return None
        with self._lock:
            caller, jobs = next(iter(self._of_callers.items()))
            del self._of_callers[caller]
            if len(jobs) > 1:
                self._of_callers[caller] = jobs  # behind the others
            return jobs.popleft()


_WRITE = 2  # SYNC_FILE_RANGE_WRITE
_libc = ctypes.CDLL(None)
_libc.sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def begin_writing(fd: int) -> None:
    """Ask the kernel to start writing a file's data to the disk, without waiting. The later sync reports failures."""
    _libc.sync_file_range(fd, 0, 0, _WRITE)


class GroupCommit:
    """Makes received files durable: fdatasync of each, rename embryo -> new, fsync of the folder, then the answer.

    Each receiver process has one; commit() is called in its event loop. `healthy` is False from a failed sync until a
    probe write succeeds; meanwhile commit() refuses everything. With `spool.sync` off a commit is one rename, done
    before commit() returns.
    """

    def __init__(self, spool: Spool, ready: Callable[[], None] = lambda: None, threads: int = 4) -> None:
        """`ready()` is called, from whichever thread, when something new stands in new/."""
        self._spool = spool
        self._jobs = _Jobs()
        self._synced: deque[_Job] = deque()
        self._publishing = threading.Lock()
        self._fault = threading.Lock()
        self._ready = ready
        self._in_threads = 0  # jobs that the threads have not answered yet
        self._inline = Inline(FAST_S, at_first=True)
        self._bucket = ""  # the bucket whose name in new/ this process has synced
        self._broken = threading.Event()  # a write has failed, and no probe write has succeeded since
        self._closed = threading.Event()
        self._witness = -1  # its descriptor
        try:
            self._renew_witness()
        except OSError as error:
            self._fail((), error)
        # Now, and not when a write has failed: then there may be no more threads either.
        threading.Thread(target=self._heal, name="probe", daemon=True).start()
        self._threads = [
            threading.Thread(target=self._work, name=f"commit-{n}", daemon=True)
            for n in range(threads if spool.sync else 0)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def healthy(self) -> bool:
        return not self._broken.is_set()

    def commit(self, fd: int, path: Path, name: str, alone: bool = False) -> "Future[None]":
        """`await commit(...)` returns once the file and its name are durable. Takes over `fd` and closes it.

        Raises Transient if the disk refuses; the file is then discarded. Calls ready() once a round. If the caller
        stops waiting, the file is committed all the same. `alone`: nothing else needs the event loop at the moment, so
        it may block for the sync if the disk is fast. `name`: its name in new/ without the ending.
        """
        loop = asyncio.get_running_loop()
        job = _Job(fd, os.fspath(path), name, loop.create_future(), loop)
        if self._threads and (not alone or self._in_threads or not self._inline.quick):
            self._in_threads += 1
            self._jobs.put(job)
            return job.future
        if self._sync(job):
            with self._publishing:
                self._publish((job,))
            loop.call_soon(self._ready)
        _answer((job,))
        return job.future

    def close(self) -> None:
        """Finish the commits handed in so far, then end the threads."""
        self._closed.set()
        for _ in self._threads:
            self._jobs.end()
        for thread in self._threads:
            thread.join()
        self._broken.set()  # wakes the thread that probes
        with self._fault:
            if self._witness >= 0:
                os.close(self._witness)
                self._witness = -1

    # -- in the threads

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._sync(job):
                self._synced.append(job)
            else:
                self._answer_from_thread((job,))
            while self._synced and self._publishing.acquire(blocking=False):
                try:
                    jobs = [self._synced.popleft() for _ in range(len(self._synced))]
                    self._publish(jobs)
                    self._answer_from_thread(jobs)
                    self._ready()
                finally:
                    self._publishing.release()

    def _answer_from_thread(self, jobs: Sequence[_Job]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so there is no caller left to answer
            jobs[0].loop.call_soon_threadsafe(self._answer_in_loop, jobs)

    def _answer_in_loop(self, jobs: Sequence[_Job]) -> None:
        self._in_threads -= len(jobs)
        _answer(jobs)

    def _sync(self, job: _Job) -> bool:
        """Force a file's bytes to the disk and close it. False: it failed, `error` is set and the file is discarded."""
        if not self._still_healthy(job):
            return False
        start_s = time.monotonic()
        try:
            if self._spool.sync:
                os.fdatasync(job.fd)
            fd, job.fd = job.fd, -1
            os.close(fd)
        except OSError as error:
            self._fail((job,), error)
            return False
        self._inline.took(time.monotonic() - start_s)
        crash.point("embryo-synced")
        return True

    def _publish(self, jobs: Sequence[_Job]) -> None:
        """Give synced files their names in new/, durably. A file that fails has `error` set and is discarded."""
        folders: dict[str, bool] = {}
        for job in jobs:
            bucket = job.name[:8]
            place = f"{self._spool.root}/new/{bucket}"
            try:
                made = into(os.rename, job.embryo, place, f"{job.name}.dcm")
            except FileNotFoundError:  # this says nothing about the health of the volume
                self._discard((job,), "somebody removed it while it was received")
                continue
            except OSError as error:
                self._fail((job,), error)
                continue
            crash.point("embryo-renamed")
            job.place = place
            folders[place] = folders.get(place, False) or made or bucket != self._bucket
        for place, new in folders.items() if self._spool.sync else ():
            try:
                sync_folder(place)
                if new:
                    # Another process may have made the bucket a moment ago, and not have synced its name yet.
                    sync_folder(self._spool.root / Stage.NEW)
                    self._bucket = place[-8:]
                crash.point("new-synced")
            except OSError as error:
                self._fail([job for job in jobs if job.place == place], error)
        try:
            self._change_witness()
        except OSError as error:
            self._fail([job for job in jobs if job.error is None], error)

    def _renew_witness(self) -> None:
        """Open a file for it. OSError: the disk refuses, and the old one stays."""
        if not self._spool.sync:
            return
        with tempfile.TemporaryFile(dir=self._spool.root / Stage.EMBRYO, buffering=0) as file, self._fault:
            if self._closed.is_set():
                return
            if self._witness < 0:
                self._witness = os.dup(file.fileno())
            else:  # the number stays ours, so whoever is about to change the file changes the old or the new one
                os.dup2(file.fileno(), self._witness, inheritable=False)

    def _change_witness(self) -> None:
        """OSError: the file system has broken down, perhaps before the last syncs were through."""
        if self._spool.sync:
            os.ftruncate(self._witness, 1 - os.fstat(self._witness).st_size)

    def _still_healthy(self, job: _Job) -> bool:
        healthy = self.healthy  # read once: the probe may set it at any moment
        if not healthy:
            self._discard((job,), "a write failed before, and no probe write has succeeded since")
        return healthy

    def _discard(self, jobs: Sequence[_Job], reason: str) -> None:
        """Remove these files: their content cannot be trusted, and recovery must not find them after a crash."""
        for job in jobs:
            job.error = Transient(f"the spool cannot keep this object: {reason}")
            if job.fd >= 0:
                os.close(job.fd)
                job.fd = -1
            with contextlib.suppress(OSError):
                os.unlink(f"{job.place}/{job.name}.dcm" if job.place else job.embryo)

    def _fail(self, jobs: Sequence[_Job], error: OSError) -> None:
        """The disk refused: discard these files, and take in nothing until a probe write succeeds."""
        self._discard(jobs, error.strerror or str(error))
        with self._fault:
            if self.healthy:
                self._broken.set()
                logger.error("a write to the spool failed, so nothing is received until a probe succeeds: %s", error)

    def _heal(self) -> None:
        path = self._spool.root / Stage.EMBRYO / f"probe-{os.getpid()}"
        while self._broken.wait() and not self._closed.wait(PROBE_S):
            try:
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
                try:
                    if os.write(fd, bytes(_PROBE_BYTES)) < _PROBE_BYTES:
                        continue
                    os.fsync(fd)
                finally:
                    os.close(fd)
                    os.unlink(path)
                sync_folder(path.parent)
                self._renew_witness()
            except OSError:
                continue
            logger.info("a probe write to the spool has succeeded: objects are received again")
            self._broken.clear()


def _answer(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(None)
        else:
            job.future.set_exception(job.error)
