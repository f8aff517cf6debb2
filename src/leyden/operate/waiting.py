"""Why something waits, in words: by what operators have ordered and by what the sender says. No I/O."""

import time

from leyden.operate.outboxes import Outbox
from leyden.spool.control import PREPARE, STORAGE_SCU, Control, Flags, Order
from leyden.spool.stage import Stage


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


def why_it_waits(
    stage: Stage, received_s: float, control: Control, flags: Flags, outbox: Outbox, *, running: bool, now_s: float
) -> str:
    """Why an object stands where it does and does not move on just now; "" = it is its turn, or nothing is known.

    `stage`: one in which objects wait. The rest as for why_not_sent().
    """
    if stage in (Stage.NEW, Stage.TRANSFORM):
        why = why_not_planned(flags)
    else:
        why = why_not_sent(control, flags, outbox, running=running, now_s=now_s)
        if not why and stage is Stage.PREPARED and now_s < received_s + outbox.process_delay_s:
            why = f"the rest of its study may still come (processDelay of {outbox.process_delay_s:.3g} s)"
    return why or ("" if running else "no service runs")


def why_not_planned(flags: Flags) -> str:
    """Why nothing is planned or made into another form just now."""
    return f"planning is paused {ordered_by(flags[PREPARE])}" if PREPARE in flags else ""


def ordered_by(order: Order) -> str:
    """Who has ordered something, since and until when, and why."""
    until = f" until {moment(order.until_s)}" if order.until_s else ""
    return f"by {order.who} since {moment(order.since_s)}{until}{f': {order.reason}' if order.reason else ''}"


def moment(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
