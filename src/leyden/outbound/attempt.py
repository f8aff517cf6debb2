"""An attempt: one instance is claimed and sent over one association, and what came of it is told.

While the answer to it is awaited, the file that is likely to follow is opened and its first piece read, so that it
follows the answer at once. It is only opened: it is claimed, by its name, when it is bound to the association.
"""

import os
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from leyden import crash
from leyden.deliver.destination import Destination
from leyden.deliver.throttle import Throttle
from leyden.errors import Corrupt, Transient
from leyden.form.ladder import Acceptance
from leyden.net import scu
from leyden.outbound.claims import SLOW_ABORTS, Claims
from leyden.outbound.outcome import Outcome, answered, interrupted, lost, unreadable
from leyden.outbound.queue import OPEN_FLAGS, Instance
from leyden.spool.entry import Queued


class Attempts:
    """Makes the attempts of one destination."""

    def __init__(self, destination: Destination, claims: Claims) -> None:
        self._claims = claims
        self._files = FilesAhead()
        self.go_by(destination)

    def go_by(self, destination: Destination) -> None:
        """Make the attempts that begin from now on as this says."""
        self._destination = destination
        rate = destination.maximum_line_speed_kb_per_s * 1000
        self._throttle = Throttle(rate) if rate else None

    async def make(
        self,
        association: scu.Association,
        instance: Instance,
        acceptance: Acceptance | None,
        sharing: int = 1,
        following: Callable[[], Iterable[Instance]] = tuple,
    ) -> Outcome:
        """Claim and send an instance, and judge the answer; the caller has the claim ended (Claims.end).

        `acceptance` is what the destination was seen to accept of this SOP class, `sharing` how many associations share
        the line, `following()` what may be bound to the association next, the likeliest first.
        Never raises for what the peer or the disk does.
        """
        claim = self._claims.take(instance)
        if isinstance(claim, Outcome):
            return claim
        start_s = time.monotonic()
        try:
            answer, size_bytes = await self._send(association, instance, claim, sharing, following)
        except Transient as error:
            return lost(self._destination, instance, claim, error, jitter=random.random(), start_s=start_s)
        except (OSError, Corrupt) as error:
            return unreadable(instance, claim, error)
        except BaseException:  # cancelled, or a fault of ours
            self._claims.end_at_once(interrupted(instance, claim))
            raise
        return answered(
            self._destination,
            instance,
            claim,
            answer,
            acceptance=acceptance,
            record=self._claims.history.of(instance.receipt),
            jitter=random.random(),
            size_bytes=size_bytes,
            start_s=start_s,
            took_s=time.monotonic() - start_s,
        )

    async def _send(
        self,
        association: scu.Association,
        instance: Instance,
        claim: Queued,
        sharing: int,
        following: Callable[[], Iterable[Instance]],
    ) -> tuple[scu.StoreAnswer, int]:
        """The answer, and how many bytes the data set had."""
        destination = self._destination
        file = self._files.open(association, instance, claim.file)
        size_bytes = file.size_bytes
        try:
            minimum = self._minimum_bytes_per_s(instance.receipt, sharing)
            answer = await association.store(
                association.accepted[instance.pair],
                instance.meta.sop_class_uid,
                instance.meta.sop_instance_uid,
                file.fd,
                instance.offset,
                size_bytes,
                priority=destination.priority,
                stall_s=destination.stall_threshold_s,
                minimum_bytes_per_s=minimum,
                deadline_s=destination.storage_timeout_floor_s + size_bytes / minimum if minimum else 0.0,
                grace_s=destination.abandon_grace_s,
                throttle=self._throttle,
                ahead_bytes=file.ahead_bytes,
                meanwhile=lambda: self._files.open_ahead(association, following()),
            )
        finally:
            file.close()
        crash.point("peer-answered")
        return answer, size_bytes

    def _minimum_bytes_per_s(self, receipt: str, sharing: int) -> float:
        """MinimumLineSpeed as this association's share of the line; MaximumLineSpeed must not make it a fault."""
        destination = self._destination
        if self._claims.history.of(receipt).slow_aborts >= SLOW_ABORTS:
            return 0.0
        minimum = destination.minimum_line_speed_kb_per_s * 1000
        if destination.maximum_line_speed_kb_per_s:
            minimum = min(minimum, destination.maximum_line_speed_kb_per_s * 500)
        return minimum / max(1, sharing)

    def forget(self, association: scu.Association) -> None:
        """The association has ended."""
        self._files.forget(association)


class OpenFile(msgspec.Struct):
    """The file of an instance; `size_bytes` is that of its data set, of which `ahead_bytes` were read ahead."""

    receipt: str
    fd: int
    status: os.stat_result
    size_bytes: int
    ahead_bytes: int = 0

    @classmethod
    def at(cls, path: str, instance: Instance) -> "OpenFile":
        """OSError, with nothing left open."""
        fd = os.open(path, OPEN_FLAGS)
        try:
            status = os.fstat(fd)
            return cls(instance.receipt, fd, status, status.st_size - instance.offset)
        except OSError:
            os.close(fd)
            raise

    def close(self) -> None:
        os.close(self.fd)


class FilesAhead:
    """What was opened ahead of its turn: one file an association at most."""

    def __init__(self) -> None:
        self._ahead: dict[scu.Association, OpenFile] = {}

    def open(self, association: scu.Association, instance: Instance, path: str) -> OpenFile:
        """The file of an instance that was claimed; `path` is the claim's. The caller closes it."""
        ahead = self._ahead.pop(association, None)
        if ahead is not None:
            # The receipt does not tell: an instance that was remade comes back with the same one, as another file.
            with suppress(OSError):
                if os.path.samestat(os.stat(path), ahead.status):
                    return ahead
            ahead.close()
        return OpenFile.at(path, instance)

    def open_ahead(self, association: scu.Association, candidates: Iterable[Instance]) -> None:
        """Open the first of the candidates that is not open yet. A failure shows when its turn has come."""
        others = {file.receipt for file in self._ahead.values()}
        instance = next((candidate for candidate in candidates if candidate.receipt not in others), None)
        if instance is None:
            return
        with suppress(OSError):
            file = self._ahead[association] = OpenFile.at(instance.queued.file, instance)
            file.ahead_bytes = association.read_ahead(file.fd, instance.offset, file.size_bytes)

    def forget(self, association: scu.Association) -> None:
        """The association has ended."""
        if (ahead := self._ahead.pop(association, None)) is not None:
            ahead.close()
