"""What a role inherits from the supervisor: its name, the settings of one generation, and open descriptors by name.

The supervisor starts a role with `leyden role receiver 0 --row 2 --descriptors settings=5,lifeline=6,...`. After a
reload the next generation is read from the same descriptor, when the role asks for it: between two pieces of work, so
that each is done wholly by one generation. The lifeline is a pipe whose other end only the supervisor holds. At its end
of file the supervisor is gone, and the role ends at once, wherever it is: recovery is the same code as a clean start.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from leyden import board, confine, crash, log
from leyden.config.settings import Settings
from leyden.heartbeat import Heartbeat
from leyden.journal.lines import set_up
from leyden.kept_rules import KeptRules, mapping_folders
from leyden.published import Published
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.role")

BEGINS_ANEW = 75  # the exit code of a worker that has to; EX_TEMPFAIL of sysexits(3)
LISTEN_BACKLOG = 1024  # every listen(2) on a socket sets its backlog anew: the supervisor's and each receiver's

_EVERY_ROLE = ("settings", "lifeline", "heartbeats", "board")
LISTENERS = ("listen", "listen-tls")
"""The listening sockets: that of scpPort, and that of tls. Either may be absent."""

DESCRIPTORS = {
    "receiver": (*_EVERY_ROLE, *LISTENERS),
    "planner": _EVERY_ROLE,
    "worker": (*_EVERY_ROLE, "arena"),
    "sender": _EVERY_ROLE,
    "console": _EVERY_ROLE,
    "watcher": _EVERY_ROLE,
}
"""The descriptors of each role. The lock of the spool is inherited too, but without a name: it only has to be open."""


class Inherited(msgspec.Struct):
    """Everything that a role knows at its start; `settings` are those of the generation that it works by."""

    role: str
    number: int
    settings: Settings
    heartbeat: Heartbeat
    descriptors: Mapping[str, int]
    published: Published
    reads: frozenset[Path] = frozenset()  # folders of mapping files, of those that a worker may read

    @property
    def name(self) -> str:
        return f"{self.role}-{self.number}"

    @property
    def spool(self) -> Spool:
        return Spool(self.settings.spool_root, sync=self.settings.sync_spool)

    @property
    def lacks_a_folder(self) -> bool:
        """Whether the settings name a folder that this worker gave up when it started: it has to begin anew."""
        return confine.has_landlock() and not self.reads.issuperset(mapping_folders(self.settings.plan.mutations or ()))

    def newer(self) -> Settings | None:
        """The settings of a newer generation, if a reload has made one; `settings` are these from now on.

        To be asked for where everything that follows may go by them. Costs less than a microsecond if there are none.
        """
        document = self.published.newer_than(self.settings.generation)
        if document is None:
            return None
        before, self.settings = self.settings, Settings.from_json(document)
        if self.settings.log != before.log:
            log.adopt(self.settings.log)
        if self.settings.journal != before.journal:
            set_up(self.settings.spool_root, self.name, self.settings.journal)
        crash.point("adopted")
        return self.settings


def descriptors_as_text(descriptors: Mapping[str, int]) -> str:
    """As one word of a command line: name=number, separated by commas."""
    return ",".join(f"{name}={fd}" for name, fd in descriptors.items())


def descriptors_from(role: str, text: str) -> dict[str, int]:
    """The other way round. ValueError: what the role needs is missing, or something is unknown, twice, or no number."""
    found: dict[str, int] = {}
    for pair in text.split(","):
        name, _, fd = pair.partition("=")
        if name not in DESCRIPTORS[role]:
            raise ValueError(f"a {role} has no descriptor {name!r}, only {', '.join(DESCRIPTORS[role])}")
        if name in found:
            raise ValueError(f"the descriptor {name} is given twice")
        if not (fd.isascii() and fd.isdigit()):
            raise ValueError(f"the descriptor {name} is not a number: {fd!r}")
        found[name] = int(fd)
    if missing := [name for name in DESCRIPTORS[role] if name not in found and name not in LISTENERS]:
        raise ValueError(f"a {role} needs more descriptors: {', '.join(missing)}")
    return found


def take(role: str, number: int, row: int, descriptors: Mapping[str, int]) -> Inherited:
    """Read the settings, begin logging, give up what the role needs not, and tie its life to the supervisor's."""
    published = Published(descriptors["settings"])
    settings = Settings.from_json(published.newer_than(0) or b"")
    with contextlib.suppress(OSError):  # lines go to standard error until the file can be opened
        log.set_up(f"{role}-{number}", Path(settings.log_dir), settings.log)
    set_up(settings.spool_root, f"{role}-{number}", settings.journal)
    board.use(descriptors["board"], row)
    crash.arm(role)
    reads = frozenset(_read_by(settings)) if role == "worker" else frozenset()
    writes = (Path(settings.log_dir), *map(Path, crash.places()))
    try:
        confine.confine(role, spool=settings.spool_root, writes=writes, reads=tuple(reads))
    except OSError as error:
        logger.warning("this role keeps rights that it does not need: %s", error)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    lifeline_fd = descriptors["lifeline"]
    threading.Thread(target=_end_with_supervisor, args=(lifeline_fd,), name="lifeline", daemon=True).start()
    return Inherited(role, number, settings, Heartbeat(descriptors["heartbeats"], row), descriptors, published, reads)


def _read_by(settings: Settings) -> set[Path]:
    """The folders of the mapping files that the settings name, or rules that copies still wait for."""
    kept = [mutation for rules in KeptRules(settings.spool_root).everything() for mutation in rules.mutations]
    return mapping_folders([*(settings.plan.mutations or ()), *kept])


def _end_with_supervisor(lifeline_fd: int) -> None:
    while os.read(lifeline_fd, 1):
        pass
    os._exit(1)
