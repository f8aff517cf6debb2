"""What an operator orders for one destination or for the whole service: pause, resume, override its schedule.

It works with and without a running service, which takes an order over within a second; what is under way is finished.
Each verb returns what holds then, and is told to the journal, so its process must have called journal.lines.set_up().
Every `who` is a user or the holder of a token, every `through` how he came: command line, api or page. Times are
seconds since 1970.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from leyden.errors import UnknownNode
from leyden.journal.events import Operated
from leyden.journal.lines import tell
from leyden.log import escaped
from leyden.operate import outboxes
from leyden.spool import control, doorbell, listing
from leyden.spool.control import FLAGS, Control, Controls, Flags, Order
from leyden.spool.lock import holder
from leyden.spool.stage import SENT_FROM

_LONGEST_CHARS = 200  # of who and why


class Asked(msgspec.Struct, frozen=True):
    """Who asks for something, how, until when it is to hold (0 = until it is taken back), and why."""

    who: str
    through: str
    until_s: float = 0.0
    reason: str = ""


def resolved(name: str, titles: Mapping[str, str]) -> str:
    """The title of the node that a title or an alias stands for.

    `titles` maps every called title to its node ("" = our own), as in PlanSettings. Raises UnknownNode.
    """
    if title := titles.get(name):
        return title
    nodes = sorted(set(titles.values()) - {""})
    there_are = f"there are: {', '.join(nodes)}" if nodes else "nodes.yml names no Storage node"
    raise UnknownNode(f"no destination {name}; {there_are}")


def pause(root: Path, title: str, asked: Asked) -> Control:
    """Send nothing more to a destination until resume(), or until the time is over. Raises OSError."""
    order = _order(asked)
    return _change(root, title, asked, "pause", lambda now: replace(now, pause=order))


def resume(root: Path, title: str, asked: Asked) -> Control:
    """Send to a destination again, if it was paused. Raises OSError."""
    return _change(root, title, asked, "resume", lambda now: replace(now, pause=None))


def override_schedule(root: Path, title: str, asked: Asked) -> Control:
    """Send at any time of the day, whatever ProcessSchedule says; a pause and ProcessNetworks still hold. OSError."""
    order = _order(asked)
    return _change(root, title, asked, "override-schedule", lambda now: replace(now, override=order))


def end_override(root: Path, title: str, asked: Asked) -> Control:
    """Go by ProcessSchedule again. Raises OSError."""
    return _change(root, title, asked, "end override-schedule", lambda now: replace(now, override=None))


def pause_service(root: Path, asked: Asked, flags: Iterable[str] = FLAGS) -> Flags:
    """Pause what these flags name (control.FLAGS) for all nodes; receiving and queueing go on.

    Raises OSError; ValueError for a flag that does not exist.
    """
    order = _order(asked)
    wanted = dict.fromkeys(_known(flags), order)
    return _change_flags(root, asked, "pause", tuple(wanted), lambda now: now | wanted)


def resume_service(root: Path, asked: Asked, flags: Iterable[str] = FLAGS) -> Flags:
    """Go on with what these flags name. What is paused for a single node stays paused. Raises as pause_service()."""
    ended = _known(flags)
    return _change_flags(
        root, asked, "resume", ended, lambda now: {name: each for name, each in now.items() if name not in ended}
    )


def controls(root: Path, titles: Iterable[str]) -> dict[str, Control]:
    """What holds now for each of these nodes. A file that can't be read is logged, and counts as empty."""
    found, now_s = Controls(root), time.time()
    return {title: found.of(title).at(now_s) for title in titles}


def flags(root: Path) -> Flags:
    """What holds now for the whole service: the flags that are paused, each with its order."""
    return control.flags_at(Controls(root).flags(), time.time())


def under_way(root: Path, title: str) -> int:
    """How many objects the sender has in hand for a destination just now: they are claimed to be sent."""
    return sum(whose == title and stage in SENT_FROM for stage, whose, _ in listing.claims(str(root)))


def drained(root: Path, title: str) -> bool:
    """Whether a node is paused, the running service (if there is one) knows that, and nothing is under way to it."""
    if controls(root, (title,))[title].pause is None:
        return False
    if (pid := holder(root)) is not None:
        outbox = outboxes.read(root, pid).get(title)
        if outbox is None or not outbox.closed_by or outbox.in_hand:
            return False
    return not under_way(root, title)


def _order(asked: Asked) -> Order:
    who, reason = escaped(asked.who)[:_LONGEST_CHARS], escaped(asked.reason)[:_LONGEST_CHARS]
    return Order(who, round(time.time(), 3), asked.until_s, reason)


def _known(flags: Iterable[str]) -> tuple[str, ...]:
    found = tuple(flags)
    for flag in found:
        if flag not in FLAGS:
            raise ValueError(f"no flag {flag}; there are: {', '.join(FLAGS)}")
    return found


def _change(root: Path, title: str, asked: Asked, did: str, how: Callable[[Control], Control]) -> Control:
    changed = control.change(root, title, how)
    doorbell.ring(root, "sender")
    tell_operated(asked, did, title)
    return changed.at(time.time())


def _change_flags(root: Path, asked: Asked, did: str, flags: Iterable[str], how: Callable[[Flags], Flags]) -> Flags:
    changed = control.change_flags(root, how)
    for role in listing.names(f"{root}/bell"):
        doorbell.ring(root, role)
    tell_operated(asked, f"{did} the service", what=" ".join(flags))
    return control.flags_at(changed, time.time())


def tell_operated(asked: Asked, did: str, title: str = "", what: str = "") -> None:
    """Tell the journal that somebody has had something done."""
    until = time.strftime("until %Y-%m-%d %H:%M:%S", time.localtime(asked.until_s)) if asked.until_s else ""
    detail = "; ".join(filter(None, (what, until, escaped(asked.reason)[:_LONGEST_CHARS])))
    tell(Operated("", who=asked.who, through=asked.through, did=did, destination=title, detail=detail))
