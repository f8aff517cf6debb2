"""Whether the service can receive: asked at its own front door, with a C-ECHO, over TLS with a handshake alone, and of
the disk, with a write.

What an administrator is told has to be what a modality would see, so nothing is believed that some process says of
itself. An answer is good for a second, and however many ask for it, one is found out at a time.
"""

import asyncio
import os
import ssl
import time
from pathlib import Path

from leyden.admission.callers import ANY_TITLE, KNOCKS, Caller, Callers, Visitor
from leyden.config.settings import Settings
from leyden.dicom.negotiate import CALLING_UNKNOWN
from leyden.errors import LeydenError
from leyden.net.scu import AssociationRejected
from leyden.operate.peer import Peer, echo
from leyden.spool.moves import sync_folder
from leyden.spool.stage import Stage
from leyden.spool.store import Spool

GOOD_S = 1.0
WITHIN_S = 2.0  # an answer of the front door, and of the disk
HERE = "127.0.0.1"
CALLING = "HEALTHCHECK"  # by default the log is silent about it (suppressLogAeTitles)


class Health:
    """The latest finding of a service with these settings."""

    def __init__(self, settings: Settings) -> None:
        self.go_by(settings)
        self._reasons: tuple[str, ...] = ()
        self._found_s = float("-inf")
        self._finding: asyncio.Task[tuple[str, ...]] | None = None
        self._writing: asyncio.Future[str] | None = None

    def go_by(self, settings: Settings) -> None:
        self._settings = settings
        self._found_s = float("-inf")

    async def reasons(self) -> tuple[str, ...]:
        """Why the service can't receive; () = it can."""
        if time.monotonic() - self._found_s > GOOD_S:
            if self._finding is None:
                self._finding = asyncio.create_task(self._find())
            await asyncio.shield(self._finding)
        return self._reasons

    async def _find(self) -> tuple[str, ...]:
        try:
            found = await asyncio.gather(self._front_door(), self._tls_door(), self._disk())
            self._reasons, self._found_s = tuple(filter(None, found)), time.monotonic()
            return self._reasons
        finally:
            self._finding = None

    async def _front_door(self) -> str:
        settings = self._settings
        if not settings.scp_port:
            return ""  # it is not meant to receive
        peer = Peer(HERE, settings.scp_port, settings.my_ae_title, _calling(settings), WITHIN_S)
        try:
            async with asyncio.timeout(WITHIN_S):
                answered = await echo(peer)
        except TimeoutError:
            return f"no receiver answers on port {settings.scp_port} within {WITHIN_S:g} s"
        except AssociationRejected as error:
            unknown = CALLING_UNKNOWN.result, CALLING_UNKNOWN.source, CALLING_UNKNOWN.reason
            if settings.receiver.callers and (error.result, error.source, error.reason) == unknown:
                return ""  # it answers, though callers.yml lets nobody call from here
            return f"no association on port {settings.scp_port}: {error}"
        except (LeydenError, OSError) as error:
            return f"no association on port {settings.scp_port}: {error}"
        return "" if answered.status == 0 else f"a C-ECHO was answered 0x{answered.status:04X}"

    async def _tls_door(self) -> str:
        """Whether the receiver shakes hands. The console has no certificate, which it may want after that."""
        port = self._settings.tls.port
        if not port:
            return ""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            async with asyncio.timeout(WITHIN_S):
                _, writer = await asyncio.open_connection(HERE, port, local_addr=(KNOCKS, 0), ssl=context)
        except TimeoutError:
            return f"no receiver answers on port {port} (TLS) within {WITHIN_S:g} s"
        except ssl.SSLError:
            return ""  # it answers, though it does not let us in: without a certificate, for example
        except OSError as error:
            return f"no connection on port {port} (TLS): {error.strerror}"
        writer.transport.abort()
        return ""

    async def _disk(self) -> str:
        """A disk that hangs keeps one thread, whoever asks."""
        if self._writing is None or self._writing.done():
            spool = Spool(self._settings.spool_root, sync=self._settings.sync_spool)
            least = self._settings.receiver.min_free_percent
            self._writing = asyncio.get_running_loop().run_in_executor(None, disk, spool, least)
        done, _ = await asyncio.wait((self._writing,), timeout=WITHIN_S)
        return self._writing.result() if done else f"the spool's disk does not answer within {WITHIN_S:g} s"


def _calling(settings: Settings) -> str:
    """An AE title that may call from this machine, if there is one; one about which the log is silent, if possible."""
    receiver = settings.receiver
    allowed, callers = receiver.acceptor.allowed_calling, Callers(receiver.callers)
    for title in (CALLING, *receiver.quiet_ae_titles, *allowed, *(caller.title for caller in receiver.callers)):
        caller = callers.admit(Visitor(title, settings.my_ae_title, HERE))
        comes_in = isinstance(caller, Caller) and caller.identity != "required"
        if comes_in and (not allowed or title in allowed) and title != ANY_TITLE:
            return title
    return CALLING


def disk(spool: Spool, least_percent: float) -> str:
    """Why the disk of a spool takes no objects; "" = it does. It writes and syncs a little, as a receiver does."""
    try:
        free_percent, words = spool.free_percent()
    except OSError as error:
        return f"the spool's volume does not say what is free: {error.strerror}"
    if free_percent < least_percent:
        return f"{words}, less than minFreeSpace ({least_percent:g} %)"
    try:
        _probe(spool.root / Stage.EMBRYO)
    except OSError as error:
        return f"the spool can't be written: {error.strerror}"
    return ""


def _probe(place: Path) -> None:
    path = place / ".health"  # a hidden name: it is no object
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, bytes(4096))
        os.fsync(fd)
    finally:
        os.close(fd)
        os.unlink(path)
    sync_folder(place)
