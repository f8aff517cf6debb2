"""Moving objects to another destination's queue: each in the form that this one gets, chosen anew.

An object is renamed into the other queue, so it stands in one of them whatever happens. What the other destination has
already (in any stage, or with a receipt) is unlinked here only. Copies that mutations change, or would, are moved only
if both destinations get the same; everything else has to be planned, which means to send the original again. Lossy
copies stay: they were made for the one that asked for them.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from leyden import crash
from leyden.dicom.header import peek
from leyden.dicom.uids import syntax_name
from leyden.errors import Corrupt
from leyden.journal import index
from leyden.journal.events import Moved
from leyden.journal.lines import tell
from leyden.journal.segments import FOLDER
from leyden.operate.select import Item
from leyden.operate.verbs import GONE, Done, Verb, What, do
from leyden.placing import place
from leyden.plan.match import AcceptanceOf, delivery, nothing_known
from leyden.plan.rules import CopyRules, PlanSettings, for_destination
from leyden.spool import ended, listing, moves, receipts
from leyden.spool.entry import Entry, folder, key
from leyden.spool.stage import CLAIMED_FROM, ENDED, Stage
from leyden.spool.store import Placement

MOVE = Verb("move", frozenset((*CLAIMED_FROM, Stage.DEFERRED, *ENDED)))
_EARLIER_S = 60.0


def move(
    root: Path,
    what: What,
    to: str,
    *,
    who: str,
    through: str,
    settings: PlanSettings,
    keep: Callable[[CopyRules], str],
    acceptance_of: AcceptanceOf = nothing_known,
) -> Done:
    """Move objects to the queue of `to`, the AE title of a node.

    `settings`: by which the form is chosen. `keep` makes the rules of a copy durable and returns their hash.
    `acceptance_of`: what `to` was seen to accept of a SOP class. OSError: nothing can be read. ValueError: `to` is no
    node.
    """
    if to not in settings.titles.values():
        raise ValueError(f"{to} is not a node")
    mover = _Mover(root, to, who, settings, keep, acceptance_of)
    return do(root, what, MOVE, mover.act, who, through, to, mover.look)


class _Mover:
    def __init__(
        self,
        root: Path,
        to: str,
        who: str,
        settings: PlanSettings,
        keep: Callable[[CopyRules], str],
        acceptance_of: AcceptanceOf,
    ) -> None:
        self._root = root
        self._to = to
        self._who = who
        self._settings = settings
        self._keep = keep
        self._acceptance_of = acceptance_of
        self._there: set[str] = set()
        self._changed: set[tuple[str, str]] = set()

    def look(self, items: Sequence[Item]) -> None:
        """Find out, for the next objects, which of them `to` has already, and which copies were changed."""
        pairs = {(item.receipt, self._to) for item in items if item.receipt}
        found = listing.present(str(self._root), pairs)
        self._there = {receipt for receipt, _ in found | receipts.delivered(self._root, pairs - found)}
        if pairs and os.path.isdir(f"{self._root}/state/rules"):  # mutations were in force once
            self._changed = _changed(str(self._root), {receipt for receipt, _ in pairs})

    def act(self, item: Item) -> str:
        if item.destination == self._to:
            return f"it is for {self._to} already"
        if item.entry is None or not item.destination:
            return "it is not planned yet"
        stage: Stage | None = None
        if item.receipt not in self._there:
            try:
                found = self._placement(item, item.entry)
            except FileNotFoundError:
                return GONE
            except Corrupt as flaw:
                return f"it can't be read: {flaw}"
            if isinstance(found, str):
                return found
            stage = found.stage
            bucket = f"{self._root}/{found.stage}/{folder(self._to)}/{found.rank}/{found.entry.bucket}"
            if not moves.move(item.path, bucket, found.entry.name):
                return GONE
            self._there.add(item.receipt)  # the copy for a third destination may be the next one
            crash.point("copy-renamed")
        else:
            try:
                os.unlink(item.path)
            except FileNotFoundError:
                return GONE
        if item.stage in ENDED:
            ended.forget(item.path)  # its note
        tell(
            Moved(
                item.receipt,
                destination=item.destination,
                stage=item.stage,
                to_destination=self._to,
                to_stage=stage or "",  # it is there already
                who=self._who,
            )
        )
        return ""

    def _placement(self, item: Item, entry: Entry) -> Placement | str:
        """Where an object goes, or why it stays. Raises Corrupt, OSError."""
        if why := self._unlike(item):
            return why
        edits = entry.edits
        if edits and not self._settings.mutates_first:  # else all copies carry the same
            rules = for_destination(self._settings.mutations or (), self._to)
            edits = self._keep(CopyRules(self._to, self._settings.my_ae_title, rules))
        came_from = ended.origin(item.path, item.destination).stage if item.stage in ENDED else item.stage
        fd = os.open(item.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            header = peek(lambda offset, length: os.pread(fd, length, offset), os.fstat(fd).st_size)
            instance = key(header.meta.sop_instance_uid)
            if not edits and came_from is not Stage.TRANSFORM and entry.sop_key not in ("", instance):
                return f"it is a lossy copy that was made for {item.destination}"
            why = f"moved by {self._who}"
            chosen = delivery(self._settings, header, None, header.uneven, self._acceptance_of, self._to, why)
        finally:
            os.close(fd)
        moved = replace(
            entry,
            syntax="",
            edits=edits,
            attempt=0,
            due_s=0,
            crashes=0,
            unanswered=0,
            retried_s=math.ceil(time.time()) if item.stage in ENDED else entry.retried_s,
            serial=True,  # nobody has looked whether `to` gets another object of the same instance
        )
        return place(moved, chosen, syntax_name(header.meta.transfer_syntax_uid), edits)

    def _unlike(self, item: Item) -> str:
        """Why the copy for its destination is not what `to` gets; "" = it is."""
        if self._settings.mutates_first:
            return ""
        mutations = self._settings.mutations or ()
        here, there = for_destination(mutations, item.destination), for_destination(mutations, self._to)
        by_earlier_rules = not here and (item.receipt, item.destination) in self._changed
        if here == there and not by_earlier_rules:
            return ""
        return f"mutations make another copy for {item.destination} than for {self._to}: have the original sent again"


def _changed(root: str, receipts: set[str]) -> set[tuple[str, str]]:
    """The (receipt, destination) of the copies that mutations have changed, or are to change, as the journal knows."""
    since_s = min(int(receipt[:16]) / 1e6 for receipt in receipts) - _EARLIER_S
    return {
        (event["receipt"], each["destination"])
        for event in index.find(f"{root}/{FOLDER}", index.RECEIPT, receipts, since_s)
        if event["event"] == "planned"
        for each in event.get("deliveries", ())
        if each.get("changed_by")
    }
