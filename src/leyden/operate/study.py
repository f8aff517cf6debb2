"""How far a study is: for each destination what was delivered, what waits where, and what is missing."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from leyden.dicom.header import peek
from leyden.errors import Corrupt
from leyden.operate.trace import DELIVERED, DROPPED, GONE, Story, by_study, instances
from leyden.spool import listing
from leyden.spool.stage import ENDED, Stage

NEW_LOOKED_INTO = 10_000
_STUDY_INSTANCE_UID = 0x0020000D


class Missing(msgspec.Struct, frozen=True):
    """An instance that a destination has not got, or not the latest that came of it. `state`: a stage, or gone."""

    sop_instance_uid: str
    receipt: str
    destination: str
    state: str
    reason: str


class Destination(msgspec.Struct):
    """`states`: how many instances are delivered, in which stage, or gone."""

    title: str
    states: dict[str, int] = msgspec.field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return set(self.states) <= {DELIVERED}


class Study(msgspec.Struct, frozen=True):
    """`received` and `dropped` count instances, not objects: one that came twice counts once."""

    uid: str
    received: int
    dropped: int
    destinations: tuple[Destination, ...]
    missing: tuple[Missing, ...]

    @property
    def complete(self) -> bool:
        """Whether something was received, and each destination has all that is meant for it."""
        return self.received > 0 and not self.missing


def study(root: Path, uid: str) -> Study:
    """What is known of a study. Raises OSError."""
    stories = by_study(root, uid)
    known = {story.receipt for story in stories}
    unplanned = [found for found in _unplanned(root, uid) if found.receipt not in known]
    destinations: dict[str, Destination] = {}
    missing: list[Missing] = list(unplanned)
    dropped = 0
    by_instance = instances(stories)
    for instance, objects in by_instance.items():
        titles = sorted({title for each in objects for title in each.standings()})
        dropped += all(state == DROPPED for each in objects for state, _ in each.standings().values())
        for title in titles:
            receipt, state, reason = _best(objects, title)
            if state == DROPPED or (state == GONE and not title and len(titles) > 1):
                continue  # nothing is to come of that one, or another object of the instance came after it
            if title:
                states = destinations.setdefault(title, Destination(title)).states
                states[state] = states.get(state, 0) + 1
            if state != DELIVERED:
                missing.append(Missing(instance, receipt, title, state, reason))
    received = set(by_instance) | {each.sop_instance_uid for each in unplanned}
    in_order = tuple(destinations[title] for title in sorted(destinations))
    return Study(uid, len(received), dropped, in_order, tuple(missing))


def _best(objects: Iterable[Story], title: str) -> tuple[str, str, str]:
    """How an instance stands at a destination, by all objects that hold it: receipt, state and reason.

    One that is still under way counts first, for it is newer than what the destination has.
    """
    found = [(each.receipt, *each.standings()[title]) for each in objects if title in each.standings()]
    return min(found, key=lambda each: (_ORDER.get(each[1], 0), each[0]))


_ORDER = {DELIVERED: 1, **dict.fromkeys(map(str, ENDED), 2), DROPPED: 3, GONE: 4}


def _unplanned(root: Path, uid: str) -> Iterator[Missing]:
    """What is in new/: nothing but the header says to which study it belongs."""
    for count, (place, name) in enumerate(listing.files(f"{root}/{Stage.NEW}", 1)):
        if count >= NEW_LOOKED_INTO:
            return
        try:
            fd = os.open(f"{place}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            size = os.fstat(fd).st_size
            header = peek(lambda offset, length, fd=fd: os.pread(fd, length, offset), size)  # type: ignore[misc]
            if uid in (header.texts(_STUDY_INSTANCE_UID) or ()):
                yield Missing(header.meta.sop_instance_uid, name[:22], "", str(Stage.NEW), "")
        except (OSError, Corrupt):
            continue
        finally:
            os.close(fd)
