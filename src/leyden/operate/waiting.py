"""Why something waits, in words: by what operators have ordered and by what the sender says. No I/O."""

import time

from leyden.operate.outboxes import Outbox
from leyden.spool.control import PREPARE, STORAGE_SCU, Control, Flags, Order


def why_not_sent(control: Control, flags: Flags, outbox: Outbox, *, running: bool, now_s: float) -> str:
    """Why nothing is sent to a destination just now; "" = nothing is known against it.

    `control` and `flags`: what holds now. `outbox`: what the sender says, if it runs.
    """
    if STORAGE_SCU in flags:
        return f"the whole service is paused {ordered_by(flags[STORAGE_SCU])}"
    if control.pause is not None:
        return f"paused {ordered_by(control.pause)}"
    if not running:
        return ""
    if outbox.closed_by:
        return f"closed by {outbox.closed_by}"
    if outbox.next_try_s > now_s:
        return f"next try at {moment(outbox.next_try_s)}: {outbox.last_error}"
    if waiting := [caller for caller, until_s in outbox.callers.items() if until_s > now_s]:
        until_s = min(outbox.callers[caller] for caller in waiting)
        return f"it refuses {', '.join(waiting[:3])} as a caller; next try at {moment(until_s)}"
    return ""


def why_not_planned(flags: Flags) -> str:
    """Why nothing is planned or made into another form just now."""
    return f"planning is paused {ordered_by(flags[PREPARE])}" if PREPARE in flags else ""


def ordered_by(order: Order) -> str:
    """Who has ordered something, since and until when, and why."""
    until = f" until {moment(order.until_s)}" if order.until_s else ""
    return f"by {order.who} since {moment(order.since_s)}{until}{f': {order.reason}' if order.reason else ''}"


def moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
