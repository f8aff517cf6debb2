"""The generations of the settings: the one in force, and how a reload puts the next one in its place, whole.

A reload reads and checks all files as the start did. What is wrong in any of them changes nothing. Else the folders of
new destinations are made first, and then one write publishes all of the new settings at once (published.py): the
receivers, the planner, the workers and the sender take them over by themselves, each between two pieces of its work.
No process is restarted, and no association ends because of it.
"""

import logging
import os
import time
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from leyden import crash
from leyden.config.changes import changes
from leyden.config.load import emptied
from leyden.config.settings import Settings, without_restart
from leyden.errors import ConfigError
from leyden.inherited import DESCRIPTORS
from leyden.journal.events import Operated
from leyden.journal.lines import tell
from leyden.operate import reading
from leyden.operate.reading import Reading, Result
from leyden.published import Publisher
from leyden.spool.doorbell import ring
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.supervisor")

DETAIL_MAX = 4_000  # characters of what a reload changed, for the audit log

Load = Callable[[], tuple[Settings, tuple[str, ...]]]
"""Reads the files again, as at the start: the settings and the warnings. Raises ConfigError."""


class Generations:
    """What the supervisor knows of the settings."""

    def __init__(self, settings: Settings, spool: Spool, load: Load) -> None:
        """OSError: there is no memory for them."""
        self.settings = settings
        self._spool = spool
        self._load = load
        self._publishers = {role: Publisher(len(settings.seen_by(role).to_json())) for role in DESCRIPTORS}
        self._publish(settings)
        self._since_s = time.time()

    def fd(self, role: str) -> int:
        """What this role reads its settings from."""
        return self._publishers[role].fd

    def started(self, warnings: tuple[str, ...]) -> None:
        """Say which settings the service starts with."""
        self._tell(_Outcome(Result.STARTED, warnings=warnings), time.monotonic_ns())

    def reload(self) -> None:
        """Read the files again, and put the next generation in force, unless something is wrong or nothing changed."""
        begun_ns = time.monotonic_ns()
        try:
            outcome = self._reload()
        except ConfigError as error:
            outcome = _Outcome(Result.WRONG, warnings=error.warnings, errors=error.problems)
        except OSError as error:
            outcome = _Outcome(Result.FAILED, errors=(str(error),))
        except Exception as error:  # the service must not end because a reload reveals a fault of Leyden
            logger.exception("reload: a fault of ours")
            outcome = _Outcome(Result.FAILED, errors=(f"a fault of Leyden: {error!r}",))
        _log(outcome, self.settings.generation)
        tell(_operated(outcome, self.settings), logged=False)
        self._tell(outcome, begun_ns)
        crash.point("reload-told")

    def _reload(self) -> "_Outcome":
        wanted, warnings = self._load()
        if gone := emptied(self.settings, wanted):
            raise ConfigError(gone, warnings)
        settings, waiting = without_restart(self.settings, wanted)
        before = self.settings
        if settings == replace(before, generation=settings.generation):
            return _Outcome(Result.UNCHANGED, warnings=warnings + waiting)
        changed = changes(before, settings) or ("nothing but the places of rules in their files",)
        self._spool.prepare(destination.ae_title for destination in settings.destinations)
        crash.point("folders-made")
        self._publish(settings)
        self.settings, self._since_s = settings, time.time()
        crash.point("published")
        for role in ("planner", "sender", *(f"worker-{number}" for number in range(settings.workers))):
            ring(self._spool.root, role)
        return _Outcome(Result.CHANGED, changed, warnings + waiting)

    def _publish(self, settings: Settings) -> None:
        """To all roles or to none. OSError."""
        for role, publisher in self._publishers.items():
            publisher.write(settings.generation, settings.seen_by(role).to_json())
        for publisher in self._publishers.values():
            publisher.put_in_force(settings.generation)

    def _tell(self, outcome: "_Outcome", begun_ns: int) -> None:
        """For `leyden status`, and for `leyden reload`, which waits at its bell."""
        said = Reading(
            pid=os.getpid(),
            generation=self.settings.generation,
            since_s=self._since_s,
            nodes=tuple(destination.ae_title for destination in self.settings.destinations),
            result=outcome.result,
            begun_ns=begun_ns,
            read_s=time.time(),
            changes=outcome.changes,
            warnings=outcome.warnings,
            errors=outcome.errors,
            certificates=self.settings.certificates,
            certificate_ends_s=self.settings.alerts.certificate_ends_s,
        )
        try:
            reading.write(self._spool.root, said)
        except OSError as error:
            logger.error("what is in force can't be written down for 'leyden status': %s", error)
        ring(self._spool.root, "reload")


class _Outcome(msgspec.Struct, frozen=True):
    result: Result
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def _operated(outcome: _Outcome, settings: Settings) -> Operated:
    """For the audit log; a signal does not say who sent it."""
    said = "; ".join(outcome.changes or outcome.errors)
    in_force = f"generation {settings.generation}, configuration {settings.fingerprint}"
    detail = f"{outcome.result}: {in_force}{'; ' if said else ''}{said}"
    return Operated("", who="", through="signal", did="reload", detail=detail[:DETAIL_MAX])


def _log(outcome: _Outcome, generation: int) -> None:
    for warning in outcome.warnings:
        logger.warning("%s", warning)
    for error in outcome.errors:
        logger.error("reload: %s", error)
    for change in outcome.changes:
        logger.info("reload: %s", change)
    match outcome.result:
        case Result.CHANGED:
            logger.info("reload: generation %d is in force", generation)
        case Result.UNCHANGED:
            logger.info("reload: the files say nothing new; generation %d stays in force", generation)
        case _:
            logger.error("reload: refused, generation %d stays in force", generation)
