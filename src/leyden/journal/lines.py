"""The log's view of an event: its level and its line. An event without a view here is not logged by tell()."""

import logging
from collections.abc import Callable
from typing import Any

from leyden.dicom.uids import syntax_name
from leyden.journal.events import (
    Attempt,
    ByHand,
    Deferred,
    Delivered,
    Duplicate,
    Event,
    Expired,
    Failed,
    Planned,
    Received,
    Rejected,
    Remade,
    Retried,
    Transformed,
)

logger = logging.getLogger("leyden.journal")

_STORAGE_PREFIX = "1.2.840.10008.5.1.4.1.1."


def tell(event: Event) -> None:
    """Log an event, if its level is enabled."""
    level, line = VIEWS[type(event)]
    match event:
        case Rejected(last_words=words) if words:
            level, line = GIVEN_UP
        case Deferred(lost=True):
            level = logging.DEBUG
    if logger.isEnabledFor(level):
        logger.log(level, "%s", line(event))


def _received(e: Received) -> str:
    return f"{e.receipt}: received {e.sop_instance_uid}, {e.bytes} bytes, {e.calling} -> {e.called}"


def _duplicate(e: Duplicate) -> str:
    told = f"answered 0x{e.status:04X}"
    return f"{e.receipt}: {e.sop_instance_uid} came again, {e.calling} -> {e.called}: not kept, {told}"


def _planned(e: Planned) -> str:
    flag = f" (though {e.flag})" if e.flag else ""
    sop_class = e.sop_class_uid.removeprefix(_STORAGE_PREFIX) or "unknown"
    ways = "; ".join(f"{d.destination} {d.form} ({d.reason})" for d in e.deliveries) or f"nowhere ({e.dropped_by})"
    return (
        f"{e.receipt}: {e.sop_instance_uid}{flag}, class {sop_class}, {e.calling or '-'} -> {e.called or '-'}: {ways}"
    )


def _transformed(e: Transformed) -> str:
    share = e.made_bytes / max(1, e.came_bytes)
    return f"{e.receipt} for {e.destination}: {e.came} -> {e.made}, {share:.2f} of the bytes, {e.took_s * 1000:.0f} ms"


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


VIEWS: dict[type[Event], tuple[int, Callable[[Any], str]]] = {
    Received: (logging.DEBUG, _received),
    Duplicate: (logging.INFO, _duplicate),
    Planned: (logging.INFO, _planned),
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
}
"""The level and the line of each event; a dropped one is told by the line of its plan."""

GIVEN_UP: tuple[int, Callable[[Any], str]] = (logging.ERROR, _given_up)
"""The same of what was rejected because associations ended under it."""
