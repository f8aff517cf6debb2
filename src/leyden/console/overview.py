"""What the page shows each second: what the journal told lately, and how the spool and the roles were seen to stand.

Two versions of it: one for anybody, with counts and rates, and a whole one, with reasons, names and rules.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Container, Iterable
from pathlib import Path
from typing import Any

import msgspec

from leyden import __version__, log
from leyden.board import Cell
from leyden.config.settings import Settings
from leyden.console.call import Refused
from leyden.console.live import Live
from leyden.console.walks import Walks
from leyden.deliver.destination import Destination
from leyden.operate import nodes, outboxes, reading
from leyden.operate.outboxes import Outbox
from leyden.operate.reading import Reading
from leyden.operate.vital import Vital, vital
from leyden.spool.control import PREPARE, STORAGE_SCU, Control, Flags, Order
from leyden.spool.listing import Count
from leyden.spool.lock import holder
from leyden.spool.stage import Stage

logger = logging.getLogger("leyden.console")

PAUSE_S = 1.0
HEALTH_S = 10.0  # between two questions whether the service can receive
PLANNED_WITHIN_S = 900.0
OLD_S, STALE_S = 60.0, 300.0  # millions of objects take seconds, and are looked at for a tenth of the time

_STEPS = {
    "receiving": (Stage.EMBRYO,),
    "waiting": (Stage.NEW,),
    "compressing": (Stage.TRANSFORM,),
    "sending": (Stage.ASKING, Stage.PREPARED, Stage.DEFERRED),
}
_WAITING = (Stage.TRANSFORM, Stage.ASKING, Stage.PREPARED)


class Seen(msgspec.Struct, frozen=True):
    """One look at the spool and at the service, which ended at `at_s`, in seconds since 1970."""

    at_s: float
    counts: dict[str, list[Count]]  # by destination
    reading: Reading | None
    outboxes: dict[str, Outbox]
    controls: dict[str, Control]
    flags: Flags
    vital: Vital | None
    unable: tuple[str, ...] = ()  # why it can't receive


def look(root: Path, titles: Iterable[str], counts: Iterable[Count], unable: tuple[str, ...] = ()) -> Seen:
    """Look at all but the counts, which take longer. Raises OSError."""
    pid = holder(root)
    return Seen(
        time.time(),
        _by_destination(counts),
        reading.read(root),
        outboxes.read(root, pid) if pid is not None else {},
        nodes.controls(root, titles),
        nodes.flags(root),
        vital(root),
        unable,
    )


def _by_destination(counts: Iterable[Count]) -> dict[str, list[Count]]:
    found: dict[str, list[Count]] = {}
    for count in counts:
        found.setdefault(count.destination, []).append(count)
    return found


class Overview:
    """In the console's event loop. It looks at the spool only while somebody asks, and in a thread."""

    def __init__(self, settings: Settings, live: Live) -> None:
        self.settings = settings
        self._live = live
        self._seen: Seen | None = None
        self._asked = asyncio.Event()

    async def keep(
        self,
        counts: Callable[[], Awaitable[Iterable[Count]]],
        unable: Callable[[], Awaitable[tuple[str, ...]]],
        walks: Walks,
    ) -> None:
        """Until it is cancelled: look again and again, as long as document() is asked for.

        `unable` says why the service can't receive.
        """
        reasons, asked_s = tuple[str, ...](), float("-inf")
        while True:
            await self._asked.wait()
            self._asked.clear()
            titles = [node.ae_title for node in self.settings.destinations]
            if time.monotonic() - asked_s > HEALTH_S:
                reasons, asked_s = await unable(), time.monotonic()
            try:
                self._seen = await walks.do(look, self.settings.spool_root, titles, await counts(), reasons)
            except (OSError, Refused) as error:
                log.once(logger, logging.WARNING, "spool", f"the spool can't be looked at: {error}")
            await asyncio.sleep(PAUSE_S)

    def go_by(self, settings: Settings) -> None:
        self.settings = settings

    def document(self, whole: bool) -> dict[str, Any]:
        """For JSON. What is not known, or not for everybody, is null."""
        self._asked.set()
        now_s = time.time()
        seen = self._seen if self._seen is not None and now_s - self._seen.at_s < STALE_S else None
        told = self._live.document(now_s, [node.ae_title for node in self.settings.destinations])
        rates = told["destinations"]
        delivered = told["today"]["delivered"]
        told["today"]["called"] = self._by_node(told["today"]["called"])
        if not whole:
            told["errors"] = None
            told["today"] = {**told["today"], "rules": {}, "senders": {}, "called": {}, "delivered": {}}
        return {
            **told,
            "service": _service(self.settings, seen),
            "journal": self.settings.journal.mib > 0,
            "lookedAt": seen.at_s if seen else None,
            "stands": stands(seen.counts) if seen else dict.fromkeys((*_STEPS, "failed")),
            "problems": problems(seen, now_s, {node.ae_title for node in self.settings.destinations}) if seen else [],
            "destinations": [
                {
                    **row(node, seen, whole=whole),
                    **rates[node.ae_title],
                    "today": delivered.get(node.ae_title, 0),
                }
                for node in self.settings.destinations
            ],
        }

    def _by_node(self, called: dict[str, int]) -> dict[str, int]:
        """How often each node was called, by whichever of its titles."""
        plan, found = self.settings.plan, dict[str, int]()
        for title, count in called.items():
            node = plan.titles.get(title, title) or plan.my_ae_title
            found[node] = found.get(node, 0) + count
        return found


def _service(settings: Settings, seen: Seen | None) -> dict[str, Any]:
    rows = seen.vital.rows if seen is not None and seen.vital is not None else ()
    return {
        "title": settings.my_ae_title,
        "version": __version__,
        "generation": settings.generation,
        "since": min((each.since_s for each in rows if each.since_s), default=None),
    }


def stands(counts: dict[str, list[Count]]) -> dict[str, int]:
    """How many objects stand at each step, and how many in failed/ for no destination."""
    found = dict.fromkeys((*_STEPS, "failed"), 0)
    for count in itertools.chain.from_iterable(counts.values()):
        for step, stages in _STEPS.items():
            found[step] += count.files if count.stage in stages else 0
        found["failed"] += count.files if count.stage is Stage.FAILED and not count.destination else 0
    return found


def row(node: Destination, seen: Seen | None, *, whole: bool) -> dict[str, Any]:
    """One destination: what stands for it where, and how it does."""
    title = node.ae_title
    mine = seen.counts.get(title, []) if seen else []
    outbox = seen.outboxes.get(title, Outbox()) if seen else Outbox()
    ages = [each.oldest_received_s for each in mine if each.stage in (*_WAITING, Stage.DEFERRED)]
    state, why = _state(outbox, seen.controls.get(title, Control()), seen.flags) if seen else ("open", "")
    said = outbox.last_error if whole and outbox.last_error_s > outbox.last_delivered_s else ""
    return {
        "title": title,
        "where": f"{node.host}:{node.port}" if whole else "",
        "state": state,
        "why": why if whole else "",
        "waiting": sum(each.files for each in mine if each.stage in _WAITING),
        "oldestAt": min((age for age in ages if age is not None), default=None),
        **{
            str(stage): sum(each.files for each in mine if each.stage is stage)
            for stage in (Stage.DEFERRED, Stage.REJECTED, Stage.FAILED, Stage.EXPIRED)
        },
        "line": outbox.line_kb_per_s * 1000,
        "said": said,
        "saidAt": outbox.last_error_s if said else None,
        "nextTryAt": outbox.next_try_s or None,
    }


def _state(outbox: Outbox, control: Control, flags: Flags) -> tuple[str, str]:
    """In one word for the page, and why."""
    if control.pause is not None:
        return "paused", _ordered(control.pause)
    if (order := flags.get(STORAGE_SCU)) is not None:
        return "paused", f"with all others, {_ordered(order)}"
    if outbox.closed_by:
        return "closed", outbox.closed_by
    if outbox.next_try_s:
        return "backedoff", ""
    return "open", "at any time, whatever its schedule says" if control.override is not None else ""


def _ordered(order: Order) -> str:
    until = time.strftime(" until %H:%M", time.localtime(order.until_s)) if order.until_s else ""
    return f"by {order.who}{until}{f': {order.reason}' if order.reason else ''}"


def problems(seen: Seen, now_s: float, titles: Container[str]) -> list[str]:
    """What concerns the service as a whole, or no destination that has a row, in words for anybody."""
    found = [f"it can't receive: {reason}" for reason in seen.unable]
    if seen.vital is not None:
        found += [f"{each.name} does not run; it is started again" for each in seen.vital.rows if not each[Cell.PID]]
    if PREPARE in seen.flags:
        found.append("planning and compressing are paused")
    else:
        new = [each.oldest_received_s or now_s for each in seen.counts.get("", ()) if each.stage is Stage.NEW]
        if new and now_s - min(new) > PLANNED_WITHIN_S:
            found.append(
                f"an object has waited for {(now_s - min(new)) / 60:.0f} minutes to be planned; the log says why"
            )
    for title, counts in seen.counts.items():
        files = sum(each.files for each in counts)
        if title and title not in titles and files:
            found.append(f"{files} object{'s' if files > 1 else ''} for {title} stay where they are: it is not a node")
    if seen.reading is not None and seen.reading.errors:
        found.append("the last reload was refused: the configuration has errors, and the one before it is in force")
    if now_s - seen.at_s > OLD_S:
        found.append(
            f"the spool was looked at {(now_s - seen.at_s) / 60:.0f} minutes ago, so what stands there is not known"
        )
    return found
