"""The service: what it is, how much waits in which state, its log, and a reload."""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from leyden import __version__
from leyden.console.call import Asked, Given, Nothing, Plain, Refused, Shape
from leyden.console.console import Console
from leyden.console.envelope import encoded, moment
from leyden.operate.nodes import Asked as operated_by
from leyden.operate.queue import STATES
from leyden.operate.service import reload as reload_service
from leyden.spool.listing import Count
from leyden.spool.stage import Stage

RELOAD_WITHIN_S = 25.0
TAIL_BYTES = 1 << 20  # of the log
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) ([A-Z]+) +([^:]+): (.*)", re.DOTALL)


class Info(Shape, frozen=True):
    """`startedAt` in ISO 8601, UTC. `activationState`: Leyden needs none."""

    product: str
    version: str
    started_at: str
    uptime_seconds: float
    ae_title: str
    activation_state: str = "not needed"
    generation: int = 0


class ByState(Shape, frozen=True):
    """Objects by the states of DICOM Capacitor. failed: tried again by itself or at a start; rejected: by hand only."""

    new: int = 0
    prepared: int = 0
    failed: int = 0
    rejected: int = 0


class QueueStats(Shape, frozen=True):
    """`checkedOut`: objects that a process works on; they are not in `byState`."""

    total: int
    by_state: ByState
    checked_out: int


class QueueHealth(Shape, frozen=True):
    """`status`: healthy, or unhealthy if the service can't receive."""

    status: str
    timestamp: str


class Metrics(Shape, frozen=True):
    """As QueueStats. `service`: running."""

    total_items: int
    by_state: ByState
    checked_out: int
    service: str


class LogQuery(Given, frozen=True):
    """`lines`: the last so many. `level`: this one and those above it."""

    lines: Annotated[int, Meta(ge=1, le=1000)] = 100
    level: Annotated[str, Meta(pattern="^(?i:debug|info|warning|error|critical)$")] = "debug"


class LogLine(Shape, frozen=True):
    """`timestamp` as it stands in the log. `logger`: the process that wrote it."""

    timestamp: str
    level: str
    message: str
    logger: str


class LogLines(Shape, frozen=True):
    """The oldest first."""

    lines: tuple[LogLine, ...]


class Reloaded(Shape, frozen=True):
    """What came of it: started, changed, unchanged, wrong or failed; with errors nothing has changed."""

    result: str
    generation: int
    changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


class Absent(Shape, frozen=True):
    """A part of DICOM Capacitor that Leyden has not yet."""

    configured: bool = False
    running: bool = False


async def info(console: Console, _asked: Asked[Nothing, Nothing]) -> Info:
    return Info(
        product="Leyden",
        version=__version__,
        started_at=moment(console.started_s),
        uptime_seconds=round(time.time() - console.started_s, 1),
        ae_title=console.settings.my_ae_title,
        generation=console.settings.generation,
    )


def by_state(counts: tuple[Count, ...], destination: str | None = None) -> tuple[ByState, int]:
    """How many objects stand in which state, and how many a process works on."""
    found = dict.fromkeys(("new", "prepared", "failed", "rejected", ""), 0)
    for count in counts:
        if count.stage is not Stage.EMBRYO and destination in (None, count.destination):
            found[STATES.get(count.stage, "")] += count.files
    checked_out = found.pop("")
    return ByState(**found), checked_out


async def _stats(console: Console) -> QueueStats:
    states, checked_out = by_state(await console.counts())
    return QueueStats(
        total=states.new + states.prepared + states.failed + states.rejected + checked_out,
        by_state=states,
        checked_out=checked_out,
    )


async def queue_stats(console: Console, _asked: Asked[Nothing, Nothing]) -> Plain:
    return Plain(encoded(await _stats(console)))


async def queue_health(console: Console, _asked: Asked[Nothing, Nothing]) -> Plain:
    status = "unhealthy" if await console.health.reasons() else "healthy"
    return Plain(encoded(QueueHealth(status=status, timestamp=moment(time.time()))))


async def metrics(console: Console, _asked: Asked[Nothing, Nothing]) -> Metrics:
    found = await _stats(console)
    return Metrics(total_items=found.total, by_state=found.by_state, checked_out=found.checked_out, service="running")


async def logs(console: Console, asked: Asked[LogQuery, Nothing]) -> LogLines:
    path = Path(console.settings.log_dir) / "leyden.log"
    return LogLines(lines=await console.walks.do(recent, path, asked.query.lines, asked.query.level.upper()))


def recent(path: Path, lines: int, level: str) -> tuple[LogLine, ...]:
    """The last lines of a log, from this level upwards, the oldest first; of its last TAIL_BYTES only."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            content = file.read(TAIL_BYTES)
    except FileNotFoundError:
        return ()
    whole = content.decode("utf-8", "replace").split("\n")[1 if size > TAIL_BYTES else 0 :]
    wanted = LEVELS[LEVELS.index(level) :]
    return tuple([line for line in _parsed(whole) if line.level in wanted][-lines:])


def _parsed(lines: list[str]) -> Iterator[LogLine]:
    """Of text or JSON; what belongs to no line of its own (a traceback) is left out."""
    for line in lines:
        if line.startswith("{"):
            with contextlib.suppress(msgspec.DecodeError):
                said = msgspec.json.decode(line, type=dict[str, object])
                yield LogLine(
                    timestamp=str(said.get("at", "")),
                    level=str(said.get("level", "")).upper(),
                    message=str(said.get("message", "")),
                    logger=str(said.get("role", "")),
                )
        elif found := _LINE.fullmatch(line):
            yield LogLine(timestamp=found[1], level=found[2], logger=found[3], message=found[4])


async def reload(console: Console, asked: Asked[Nothing, Nothing]) -> Reloaded:
    if console.reloading.locked():
        raise Refused(409, "busy", "a reload is under way")
    async with console.reloading:
        who = operated_by(asked.who, asked.through)
        found = await asyncio.to_thread(reload_service, console.root, RELOAD_WITHIN_S, who)
    if found.reading is None:
        raise Refused(504, "timeout", f"the service has not said within {RELOAD_WITHIN_S:g} s what came of it")
    said = found.reading
    return Reloaded(
        result=str(said.result),
        generation=said.generation,
        changes=said.changes,
        warnings=said.warnings,
        errors=said.errors,
    )


async def absent(_console: Console, _asked: Asked[Nothing, Nothing]) -> Absent:
    return Absent()
