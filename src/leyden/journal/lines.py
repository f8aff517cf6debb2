"""Where an event is told: the journal on disk, the log (its level and its line), and the log of its instance."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from leyden import log
from leyden.dicom.uids import syntax_name
from leyden.journal.events import (
    Attempt,
    ByHand,
    Deferred,
    Deleted,
    Delivered,
    Duplicate,
    Event,
    Expired,
    Failed,
    Moved,
    Operated,
    Planned,
    PlannedDelivery,
    PutOff,
    Received,
    Rejected,
    Remade,
    Retried,
    Transformed,
    TurnedAway,
)
from leyden.journal.instance_logs import InstanceLogs
from leyden.journal.segments import Journal

logger = logging.getLogger("leyden.journal")

_STORAGE_PREFIX = "1.2.840.10008.5.1.4.1.1."


Parts = tuple[str | int, ...]
"""A text with tags in it, as logSuffix is read: `#{2,2}-#{2,3}` is (0x00020002, "-", 0x00020003)."""

_TOLD = {
    0x00020002: "sop_class_uid", 0x00080016: "sop_class_uid",
    0x00020003: "sop_instance_uid", 0x00080018: "sop_instance_uid",
}  # fmt: skip


class JournalSettings(msgspec.Struct, frozen=True):
    """What is done with events besides the log. `mib`: the limit of the journal, 0 = none is written.

    `suffix`: what the line of an instance ends with. `log_days`: how long logs of instances are kept, 0 = none are.
    """

    mib: int = 0
    suffix: Parts = ()
    log_days: int = 0

    @property
    def suffix_needs_header(self) -> bool:
        """Whether an event does not know all that the suffix asks for."""
        return any(isinstance(part, int) and part not in _TOLD for part in self.suffix)


NO_JOURNAL = JournalSettings()


class _Views(msgspec.Struct):
    """Where this process tells events, besides the log."""

    journal: Journal | None = None
    instance_logs: InstanceLogs | None = None
    suffix: Parts = ()


_views = _Views()


def set_up(root: Path, writer: str, settings: JournalSettings) -> None:
    """From now on, what is told in this process goes to the journal and the logs below `root`, the spool's.

    It may be called again, with other settings.
    """
    if _views.journal is not None:
        _views.journal.close()
    _views.journal = Journal(root, writer, settings.mib << 20) if settings.mib else None
    _views.instance_logs = InstanceLogs(root) if settings.log_days else None
    _views.suffix = settings.suffix


def tell(event: Event, *, logged: bool = True, suffix: str = "") -> None:
    """Write an event to the journal, and log it if its level is enabled.

    `logged`: False for what is not to be logged (suppressLogAeTitles). `suffix`: what its line ends with, if that is
    more than the event can tell. It may hold patient data, so the journal does not get it.
    """
    views = _views
    if views.journal is not None:
        views.journal.write(event)
    level, line = VIEWS[type(event)]
    match event:
        case Rejected(last_words=words) if words:
            level, line = GIVEN_UP
        case Deferred(lost=True):
            level = logging.DEBUG
    logged = logged and logger.isEnabledFor(level)
    if logged or views.instance_logs is not None:
        text = line(event)
        if logged:
            fields = {"fields": msgspec.to_builtins(event)} if log.structured else None
            logger.log(level, "%s", ended(text, suffix or suffix_of(event)), extra=fields)
        if views.instance_logs is not None:
            views.instance_logs.write(event, level, text)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Gather the events and the log lines of meanwhile, and write them at the end. One thread at a time."""
    with log.together(), _views.journal.together() if _views.journal is not None else contextlib.nullcontext():
        yield


def ended(text: str, suffix: str) -> str:
    """A line with the suffix at its end, unless the line names all of it already."""
    return f"{text} [{suffix}]" if suffix and suffix not in text else text


def suffix_of(event: Event) -> str:
    """The suffix, as far as an event can tell; if it cannot tell all of it, the SOP Instance UID."""
    parts = _views.suffix
    uid: str = getattr(event, "sop_instance_uid", "")
    found = [part if isinstance(part, str) else getattr(event, _TOLD.get(part, ""), "") for part in parts]
    return "".join(found) if all(found) else uid if parts else ""


def _received(e: Received) -> str:
    return f"{e.receipt}: received {e.sop_instance_uid}, {e.bytes} bytes, {e.calling} -> {e.called}"


def _duplicate(e: Duplicate) -> str:
    told = f"answered 0x{e.status:04X}"
    return f"{e.receipt}: {e.sop_instance_uid} came again, {e.calling} -> {e.called}: not kept, {told}"


def _planned(e: Planned) -> str:
    flag = f" (though {e.flag})" if e.flag else ""
    sop_class = e.sop_class_uid.removeprefix(_STORAGE_PREFIX) or "unknown"
    ways = "; ".join(map(_way, e.deliveries)) or f"nowhere ({e.dropped_by})"
    ways += f"; saved by {', '.join(e.saved_by)}" if e.saved_by else ""
    return (
        f"{e.receipt}: {e.sop_instance_uid}{flag}, class {sop_class}, {e.calling or '-'} -> {e.called or '-'}: {ways}"
    )


def _put_off(e: PutOff) -> str:
    return f"{e.receipt}: waits in new/: {e.reason}"


def _way(d: PlannedDelivery) -> str:
    changed = f", changed by {', '.join(d.changed_by)}" if d.changed_by else ""
    return f"{d.destination} {d.form}{changed} ({d.reason})"


def _transformed(e: Transformed) -> str:
    share = e.made_bytes / max(1, e.came_bytes)
    changed = f", changed by {', '.join(e.changed_by)}" if e.changed_by else ""
    how = f"{share:.2f} of the bytes, {e.took_s * 1000:.0f} ms"
    return f"{e.receipt} for {e.destination}: {e.came} -> {e.made}{changed}, {how}"


def _delivered(e: Delivered) -> str:
    warned = f", with status 0x{e.status:04X}" if e.status else ""
    return (
        f"{e.destination}: delivered {e.sop_instance_uid} as {syntax_name(e.syntax)}, {e.bytes} bytes in "
        f"{e.took_s * 1000:.0f} ms, calling as {e.calling}{warned}"
    )


def _attempt(e: Attempt) -> str:
    return f"{e.destination}: {e.sop_instance_uid}: {e.said}"


def _deferred(e: Deferred) -> str:
    return f"{e.destination}: {e.sop_instance_uid}: {e.said}; next try in {e.wait_s:.3g} s"


def _rejected(e: Rejected) -> str:
    return f"{e.destination}: {e.sop_instance_uid}: rejected: {e.reason}"


def _given_up(e: Rejected) -> str:
    return f"{e.destination}: {e.sop_instance_uid}: given up after {e.tries} tries, to rejected/: {e.last_words}"


def _expired(e: Expired) -> str:
    return f"{e.receipt} for {e.destination}: to expired/, older than expiryThreshold"


def _remade(e: Remade) -> str:
    return f"{e.destination}: {e.sop_instance_uid}: goes to a worker, to become {syntax_name(e.syntax)}"


def _retried(e: Retried) -> str:
    return f"{e.receipt}{f' for {e.destination}' if e.destination else ''}: back in {e.stage}/"


def _failed(e: Failed) -> str:
    return f"{e.receipt}{f' for {e.destination}' if e.destination else ''}: to failed/: {e.reason}"


def _by_hand(e: ByHand) -> str:
    return f"{e.receipt}{f' for {e.destination}' if e.destination else ''} {e.what} by hand"


def _moved(e: Moved) -> str:
    return f"{e.receipt} for {e.destination}: moved to {e.to_stage}/ for {e.to_destination} by {e.who}"


def _deleted(e: Deleted) -> str:
    return f"{e.receipt}{f' for {e.destination}' if e.destination else ''}: deleted from {e.stage}/ by {e.who}"


def _operated(e: Operated) -> str:
    what = " ".join(filter(None, (e.did, e.destination, f"({e.count} objects)" if e.count else "", e.detail)))
    return f"{e.who}, {e.through}: {what}"


def _turned_away(e: TurnedAway) -> str:
    who = f"{e.calling} -> {e.called} ({e.peer})" if e.calling else e.peer or "various callers"
    what = ": ".join(filter(None, (e.answer, e.detail)))
    return f"{who}: {what}" + (f"; {e.count} times more" if e.count != 1 else "")


VIEWS: dict[type[Event], tuple[int, Callable[[Any], str]]] = {
    Received: (logging.DEBUG, _received),
    Duplicate: (logging.INFO, _duplicate),
    Planned: (logging.INFO, _planned),
    PutOff: (logging.DEBUG, _put_off),
    Transformed: (logging.INFO, _transformed),
    Delivered: (logging.INFO, _delivered),
    Attempt: (logging.DEBUG, _attempt),
    Deferred: (logging.INFO, _deferred),
    Remade: (logging.DEBUG, _remade),
    Retried: (logging.DEBUG, _retried),
    Rejected: (logging.WARNING, _rejected),
    Failed: (logging.WARNING, _failed),
    Expired: (logging.DEBUG, _expired),
    ByHand: (logging.INFO, _by_hand),
    Moved: (logging.INFO, _moved),
    Deleted: (logging.WARNING, _deleted),
    Operated: (logging.INFO, _operated),
    TurnedAway: (logging.WARNING, _turned_away),
}
"""The level and the line of each event; a dropped one is told by the line of its plan."""

GIVEN_UP: tuple[int, Callable[[Any], str]] = (logging.ERROR, _given_up)
"""The same of what was rejected because associations ended under it."""
