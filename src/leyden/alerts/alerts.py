"""Looks every two seconds whether something is worth a message, and remembers what was told, over restarts too."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from leyden import shares
from leyden.alerts.causes import Cause, Clock, Facts, Line, Memory, Message, hear, step
from leyden.alerts.channels import channels
from leyden.alerts.post import Post
from leyden.alerts.settings import AlertSettings
from leyden.board import Cell
from leyden.documents import decoded
from leyden.journal.segments import FOLDER
from leyden.journal.tail import Tail, Told
from leyden.log import once
from leyden.net.certificates import ending
from leyden.operate import outboxes
from leyden.operate.counted import Counted
from leyden.operate.nodes import flags
from leyden.operate.vital import begun_ticks, vital
from leyden.spool.control import PREPARE
from leyden.spool.moves import make_folder, write_whole
from leyden.spool.stage import ENDED, Stage
from leyden.spool.store import Spool

logger = logging.getLogger("leyden.watcher")

LOOK_S = 2.0
NOTE_S = 0.5
SEEN_S = 60.0
_MORE = 2_000
_NAME = "state/alerts.json"
_ON_THEIR_WAY = frozenset(Stage) - {Stage.EMBRYO, *ENDED}


class State(msgspec.Struct):
    """What state/alerts.json holds. `service`: the process id of the service that was seen at `seen_s`; 0 = it was
    asked to stop. `begun`: when it began (vital.begun_ticks). `waiting`: messages that are not sent yet, by channel.
    """

    service: int = 0
    begun: int = 0
    seen_s: float = 0.0
    memory: Memory = msgspec.field(default_factory=Memory)
    waiting: dict[str, list[Message]] = {}
    positions: dict[str, tuple[int, int, float]] | None = None


def read(root: Path) -> State:
    """The state as it was last written; an empty one if there is none that can be understood."""
    try:
        return decoded((root / _NAME).read_bytes(), State)
    except (OSError, msgspec.DecodeError):
        return State()


def open_causes(root: Path) -> list[Cause]:
    """What is wrong, the oldest first, as the watcher last saw it."""
    return sorted(read(root).memory.open.values(), key=lambda cause: cause.since_s)


class Alerts:
    """The alerts of a service. One thread at a time.

    `root`: its spool; `service`: its process id; `whose`: our AE title; `titles`: those of the destinations;
    `certificates`: whose -> the PEM file.
    """

    def __init__(
        self,
        root: Path,
        settings: AlertSettings,
        *,
        service: int,
        whose: str,
        titles: Sequence[str],
        certificates: Mapping[str, str],
    ) -> None:
        self._root = root
        self._settings = settings
        self._titles = titles
        self._service = service
        self._certificates = certificates
        self._counted = Counted(root)
        self._state = read(root)
        self._written = b""
        self._tail = Tail(os.fspath(root / FOLDER), self._state.positions)
        self._post = Post(channels(settings, whose), self._state.waiting)
        begun = begun_ticks(service)
        if self._state.service and (self._state.service, self._state.begun) != (service, begun):
            self._send(_interrupted(self._state.seen_s, time.time()))
        self._state.service, self._state.begun = service, begun

    def look(self) -> None:
        """Read what was told, look at the rest, and send what is due. Waits for no network."""
        try:
            while True:
                told = self._tail.read(_MORE)
                self.turn(told, time.time())
                if len(told) < _MORE:
                    break
        except OSError as error:
            once(logger, logging.WARNING, "alerts", f"alerts can't be looked for: {error}")

    def turn(self, told: list[Told], now_s: float) -> None:
        """One look, after this was told. OSError."""
        hear(self._state.memory, told)
        for message in step(self._state.memory, self._facts(now_s), self._settings):
            self._send(message)
        self._state.positions = self._tail.positions
        if now_s - self._state.seen_s >= SEEN_S:
            self._state.seen_s = now_s
        self._write()

    def note(self) -> None:
        """Remember what was sent since the last look, so that a crash does not have it sent again."""
        if self._post.waiting() != self._state.waiting:
            try:
                self._write()
            except OSError as error:
                once(logger, logging.WARNING, "alerts note", f"that an alert was sent can't be written: {error}")

    def close(self) -> None:
        """The service stops, as it was asked to."""
        self._post.stop()
        self._state.service = 0
        try:
            self._write()
        except OSError as error:
            logger.warning("the state of the alerts can't be written: %s", error)
        self._tail.close()

    def _send(self, message: Message) -> None:
        logger.info("alert, %s: %s (%s): %s", message.state, message.cause, message.of, message.text)
        self._post.send(message)

    def _facts(self, now_s: float) -> Facts:
        counts, _ = self._counted.now()
        oldest: dict[str, float] = {}
        for count in counts:
            if count.stage in _ON_THEIR_WAY and count.oldest_received_s is not None:
                oldest[count.destination] = min(count.oldest_received_s, oldest.get(count.destination, now_s))
        now, said = vital(self._root), outboxes.read(self._root, self._service)
        lines = {
            title: Line(said[title].failures > 0, bool(said[title].closed_by)) if title in said else Line()
            for title in self._titles
        } | {"": Line(closed=PREPARE in flags(self._root))}
        return Facts(
            now_s,
            lines,
            oldest,
            {(str(count.stage), count.destination): count.files for count in counts if count.stage in ENDED},
            Spool(self._root).free_percent()[0],
            {row.name: row[Cell.RESTARTS] for row in now.rows} if now is not None else self._state.memory.restarts,
            {
                whose: ending(whose, path, self._settings.certificate_ends_s)
                for whose, path in self._certificates.items()
            },
            now is not None and now[Cell.TLS_STALE] > 0,
            self._shares(),
            _clock(now_s),
        )

    def _shares(self) -> dict[str, float]:
        walk = shares.read(self._root)
        if walk is None or not walk.valid(self._service, time.monotonic()):
            return {}
        found = {f"caller {share.title}": share.used for share in walk.callers}
        found |= {f"destination {share.title}": share.used for share in walk.destinations}
        return {whose: used for whose, used in found.items() if used > 0}

    def _write(self) -> None:
        self._state.waiting = self._post.waiting()
        document = msgspec.json.encode(self._state)
        if document != self._written:
            make_folder(os.fspath(self._root / "state"))
            write_whole(os.fspath(self._root / _NAME), document)
            self._written = document


def _clock(now_s: float) -> Clock | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    return Clock(boot, now_s - time.clock_gettime(time.CLOCK_BOOTTIME))


def _interrupted(seen_s: float, now_s: float) -> Message:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seen_s))
    text = f"the service ended without being asked to, at {at} or within a minute after; it runs again"
    return Message("interrupted", "service", "once", text, seen_s, now_s)
