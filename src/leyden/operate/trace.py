"""The story of an object: what the journal tells of it, and where it stands in the spool now.

It works with and without a running service, and changes nothing.
"""

import os
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec
import orjson
from msgspec.structs import replace

from leyden.dicom.part10 import HEAD_MAX_BYTES, decode_head
from leyden.errors import Corrupt
from leyden.journal import index
from leyden.journal.accession import keyed
from leyden.journal.segments import FOLDER
from leyden.operate import outboxes
from leyden.operate.outboxes import Outbox
from leyden.operate.waiting import why_it_waits
from leyden.spool import listing, receipts
from leyden.spool.control import Control, Controls, flags_at
from leyden.spool.entry import key, parse
from leyden.spool.listing import Standing
from leyden.spool.lock import holder
from leyden.spool.secret import journal_key, read_secret
from leyden.spool.stage import ENDED, Stage

DELIVERED, DROPPED, GONE = "delivered", "dropped", "gone"
_EARLIER_S = 60.0  # a receiver's clock and the supervisor's are one; this is for a clock that was set


class Place(msgspec.Struct, frozen=True):
    """Where an object stands for a destination ("" before planning). Times are in seconds since 1970; 0 = none.

    `reason`: why it is in rejected/, failed/ or expired/. `why`: why it does not move on from elsewhere just now; "" =
    it is its turn, or nothing is known.
    """

    stage: str
    destination: str
    path: str
    claimant: str = ""
    attempts: int = 0
    due_s: float = 0.0
    reason: str = ""
    why: str = ""


class Story(msgspec.Struct, frozen=True):
    """One object. `events`: as they stand in the journal, the oldest first; none if it has forgotten the object.

    `sop_instance_uid`: as it came; "" if that is not known. `proved`: the destinations for which a receipt, and no
    event, says that it was delivered.
    """

    receipt: str
    sop_instance_uid: str
    events: tuple[index.Document, ...]
    places: tuple[Place, ...] = ()
    proved: tuple[str, ...] = ()

    @property
    def received_s(self) -> float:
        return int(self.receipt[:16]) / 1e6

    def standings(self) -> dict[str, tuple[str, str]]:
        """Destination -> how it stands there, and why.

        It is delivered, dropped, in a stage, or gone: by hand, after it was put aside, or nothing says how. "": there
        is no destination.
        """
        found: dict[str, tuple[str, str]] = {}
        for event in self.events:  # at first, for what came of it may be told before the planner tells of it
            if event["event"] == "planned":
                for delivery in event.get("deliveries", ()):
                    found[delivery["destination"]] = (GONE, "")
                if "dropped_by" in event:
                    found[""] = (DROPPED, event["dropped_by"])
        planned = bool(found)
        for event in self.events:
            title = event.get("destination", "")
            if not title and planned:
                continue  # that it failed before does not count any more
            if event["event"] in ENDED:
                reason = f": {event['reason']}" if event.get("reason") else ""
                found[title] = (GONE, f"{event['event']}{reason}")
            elif event["event"] == "retried":
                found[title] = (GONE, "")
            elif event["event"] == "deleted":
                found[title] = (GONE, f"deleted by {event['who']}")
            elif event["event"] == "moved":
                found.pop(title, None)  # nothing is to come there any more
                found[event["to_destination"]] = (GONE, "")
            elif event["event"] == "byhand" and title in found:
                found[title] = (GONE, f"{event['what']} by hand")
        for title in self.proved:
            found[title] = (DELIVERED, "")
        for event in self.events:
            if event["event"] == "delivered":
                found[event["destination"]] = (DELIVERED, "")
        for place in self.places:
            found[place.destination] = (place.stage, place.reason)
        return found


def by_receipts(root: Path, wanted: Collection[str]) -> list[Story]:
    """The stories of objects, by their receipt ids, the oldest first. Raises OSError."""
    since_s = min((int(receipt[:16]) / 1e6 for receipt in wanted), default=0.0) - _EARLIER_S
    journal = os.fspath(root / FOLDER)
    buckets = {receipt[:8] for receipt in wanted}

    def look(each: Collection[str]) -> dict[str, Story]:
        told: dict[str, list[index.Document]] = {receipt: [] for receipt in each}
        for event in index.find(journal, index.RECEIPT, each, since_s):
            told[event["receipt"]].append(event)
        return {receipt: _story(receipt, events) for receipt, events in told.items()}

    stories = look(wanted)
    places: dict[str, dict[tuple[str, str], Place]] = {receipt: {} for receipt in wanted}
    whys = _Whys(root)
    for found in listing.standing(os.fspath(root), lambda name: name[:22] in places, buckets.__contains__):
        place = _place(root, found, whys)
        places[found.name[:22]][found.destination, place.stage] = place
    left = [
        receipt
        for receipt, story in stories.items()
        if not places[receipt] and any(state == GONE for state, _ in story.standings().values())
    ]
    stories |= look(left) if left else {}  # it was delivered between the two looks
    pairs = {
        (receipt, title)
        for receipt, story in stories.items()
        for title, (state, _) in story.standings().items()
        if state == GONE and not any(destination == title for destination, _ in places[receipt])
    }
    proved = receipts.delivered(root, pairs)
    return [
        replace(
            story,
            sop_instance_uid=story.sop_instance_uid or _uid_in(root, places[receipt].values()),
            places=tuple(places[receipt].values()),
            proved=tuple(title for each, title in sorted(proved) if each == receipt),
        )
        for receipt, story in sorted(stories.items())
        if story.events or places[receipt]
    ]


def _story(receipt: str, events: list[index.Document]) -> Story:
    """Receiver and planner may tell of an object at once, but it was received first."""
    in_order = sorted(events, key=lambda event: (event["event"] != "received", event["at_s"]))
    uid = next((uid for event in in_order if (uid := str(event.get("sop_instance_uid", "")))), "")
    return Story(receipt, uid, tuple(in_order))


def _uid_in(root: Path, places: Iterable[Place]) -> str:
    for place in places:
        try:
            with open(root / place.path, "rb") as file:
                head = decode_head(file.read(HEAD_MAX_BYTES))
        except (OSError, Corrupt):
            continue
        if head is not None:
            return head[0].sop_instance_uid
    return ""


def by_instance(root: Path, uid: str) -> list[Story]:
    """The stories of all objects that hold, or held, a SOP instance. Raises OSError."""
    return by_receipts(root, _receipts(root, index.INSTANCE, uid) or _named(root, slice(23, 31), uid))


def by_study(root: Path, uid: str) -> list[Story]:
    """The stories of the objects of a study that are planned. Raises OSError."""
    return by_receipts(root, _receipts(root, index.STUDY, uid) | _named(root, slice(32, 40), uid))


def by_accession(root: Path, number: str) -> list[Story]:
    """The stories of the objects with an accession number. Raises OSError, also where the key to it is not there."""
    return by_receipts(root, _receipts(root, index.ACCESSION, keyed(number, read_secret(journal_key(root)))))


def _receipts(root: Path, what: str, value: str) -> set[str]:
    return {str(event["receipt"]) for event in index.find(os.fspath(root / FOLDER), what, (value,))}


def _named(root: Path, part: slice, uid: str) -> set[str]:
    """The receipts of what stands in the spool under the key of a UID: what the journal has not, or has lost."""
    wanted = key(uid)
    return {found.name[:22] for found in listing.standing(os.fspath(root), lambda name: name[part] == wanted)}


class _Whys:
    """Why objects wait, as it is at one moment."""

    def __init__(self, root: Path) -> None:
        pid = holder(root)
        self._now_s = time.time()
        self._running = pid is not None
        self._controls = Controls(root)
        self._flags = flags_at(self._controls.flags(), self._now_s)
        self._live = outboxes.read(root, pid) if pid is not None else {}

    def of(self, found: Standing) -> str:
        if found.claimant or found.stage in (*ENDED, Stage.EMBRYO):
            return ""
        control = self._controls.of(found.destination).at(self._now_s) if found.destination else Control()
        outbox = self._live.get(found.destination) or Outbox()
        received_s = int(found.name[:16]) / 1e6
        return why_it_waits(
            found.stage, received_s, control, self._flags, outbox, running=self._running, now_s=self._now_s
        )


def _place(root: Path, found: Standing, whys: _Whys) -> Place:
    entry = parse(found.name)
    return Place(
        str(found.stage),  # a plain text, as a key of JSON has to be
        found.destination,
        os.path.relpath(found.path, root),
        found.claimant,
        entry.attempt if entry else 0,
        float(entry.due_s) if entry else 0.0,
        _reason(found.path) if found.stage in ENDED else "",
        whys.of(found),
    )


def _reason(path: str) -> str:
    """What the note beside a file says."""
    try:
        note: Any = orjson.loads(Path(f"{path}.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return ""
    return str(note.get("reason", "")) if isinstance(note, dict) else ""


def instances(stories: Iterable[Story]) -> dict[str, list[Story]]:
    """SOP Instance UID -> the objects that hold it."""
    found: dict[str, list[Story]] = {}
    for story in stories:
        found.setdefault(story.sop_instance_uid, []).append(story)
    return found
