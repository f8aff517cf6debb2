"""Which entries of the spool are meant: a filter, and the walk that finds what suits it, the oldest first.

Names decide wherever they can: a name holds keys (hashes) of the instance, the study, the series and the source. A file
is opened for its SOP class and its modality, where its name has no keys (nothing in new/ has any), and before something
is deleted, as two UIDs may have one key. Only so many are opened, and what was not looked into is counted.
It works with and without a running service, and changes nothing. A walk is no snapshot: files move while it runs.
"""

import heapq
import os
from collections.abc import Collection, Iterable, Iterator
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from leyden.dicom.header import peek
from leyden.dicom.part10 import HEAD_MAX_BYTES, FileMeta, decode_head
from leyden.errors import Corrupt
from leyden.journal import index
from leyden.journal.accession import keyed
from leyden.journal.segments import FOLDER
from leyden.spool import ended, listing
from leyden.spool.entry import NO_UID, SEPARATOR, UNRANKED, Entry, folder, is_rank, key, parse, title
from leyden.spool.secret import journal_key, read_secret
from leyden.spool.stage import BY_DESTINATION, CLAIMED_FROM, ENDED, Stage

LOOKED_INTO = 100_000  # files that one walk opens; 5 s and more
STAGES = tuple(stage for stage in Stage if stage is not Stage.EMBRYO)  # in the order of the trip
_IN_QUEUES = (Stage.NEW, *CLAIMED_FROM)  # their buckets are those of the receipts
_BEHIND = "~"  # sorts behind every receipt
_MODALITY = 0x00080060
_STUDY_INSTANCE_UID = 0x0020000D
_SERIES_INSTANCE_UID = 0x0020000E
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

STATES = {
    Stage.NEW: "new", Stage.TRANSFORM: "new", Stage.ASKING: "prepared", Stage.PREPARED: "prepared",
    Stage.DEFERRED: "failed", Stage.FAILED: "failed", Stage.REJECTED: "rejected", Stage.EXPIRED: "rejected",
}  # fmt: skip
"""What DICOM Capacitor calls our stages. Failed is what is tried again by itself, rejected what is not."""


def stages_of(state: str) -> frozenset[Stage]:
    """The stages that a state of DICOM Capacitor stands for; none for any other text."""
    return frozenset(stage for stage, called in STATES.items() if called == state)


class Filter(msgspec.Struct, frozen=True):
    """What is meant: all that is named here must hold; an empty collection says nothing.

    `ids`: see Item.id; a receipt id alone means the object for every destination. `stages`: what a process works on is
    in active/ and in the stage that it was taken from. Destinations and sources are AE titles, modalities values of
    Modality (0008,0060), the others UIDs. The study, series and instance are those by which an object leaves, or the
    journal knows it. `accessions`: by the journal alone. Times are in seconds since 1970. `look_into`: how many files
    may be opened.
    """

    ids: frozenset[str] = frozenset()
    stages: frozenset[Stage] = frozenset()
    destinations: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    studies: frozenset[str] = frozenset()
    series: frozenset[str] = frozenset()
    instances: frozenset[str] = frozenset()
    sop_classes: frozenset[str] = frozenset()
    modalities: frozenset[str] = frozenset()
    accessions: frozenset[str] = frozenset()
    received_before_s: float | None = None
    received_after_s: float | None = None
    look_into: int = LOOKED_INTO

    @property
    def names_all(self) -> bool:
        """Whether it leaves nothing out."""
        return replace(self, look_into=LOOKED_INTO) == Filter()

    def __str__(self) -> str:
        """In words, for the journal; accession numbers are only counted."""
        parts = [
            f"{word} {', '.join(sorted(map(str, values)))}"
            for word, values in (
                ("", self.ids), ("in", self.stages), ("for", self.destinations), ("from", self.sources),
                ("study", self.studies), ("series", self.series), ("instance", self.instances),
                ("SOP class", self.sop_classes), ("modality", self.modalities),
            )
            if values
        ]  # fmt: skip
        parts += [f"{len(self.accessions)} accession numbers"] if self.accessions else []
        parts += [f"received before {self.received_before_s:.0f}"] if self.received_before_s is not None else []
        parts += [f"received after {self.received_after_s:.0f}"] if self.received_after_s is not None else []
        return ", ".join(parts).strip() or "all"


class Item(msgspec.Struct, frozen=True):
    """An object for one destination ("" before planning), and its file. `entry`: what its name says.

    Without a receipt id (the file was put there by hand and is not taken up yet), `entry` is None. `claimant`: who
    works on it now, "" = nobody; it stands in the stage that it was taken from. `name`: its path below the spool's
    root. `source` and `reason` are known in a page: the calling AE title, and why it stands in rejected/, failed/ or
    expired/.
    """

    stage: Stage
    destination: str
    rank: str
    path: str
    name: str
    entry: Entry | None
    claimant: str = ""
    source: str = ""
    reason: str = ""

    @property
    def receipt(self) -> str:
        return self.entry.receipt if self.entry else ""

    @property
    def id(self) -> str:
        """`<receipt id>`, or `<receipt id>@<AE title of the destination>`; without a receipt id, its `name`."""
        if not self.entry:
            return self.name
        return f"{self.receipt}@{self.destination}" if self.destination else self.receipt

    @property
    def state(self) -> str:
        """What DICOM Capacitor calls it."""
        return STATES[self.stage]


class Page(msgspec.Struct, frozen=True):
    """A part of what suits, the oldest first. `total`: how many suit; those that were not looked into may, too."""

    items: tuple[Item, ...]
    total: int
    not_looked_into: int = 0


class _Where(NamedTuple):
    """A folder with objects in it."""

    path: str
    stage: Stage
    destination: str
    rank: str


_Found = tuple[str, int, str]
"""The entry's name, the number of its folder, and the name of the file: what sorts by receipt id."""


class Selection(Iterator[Item]):
    """What suits a filter, the oldest first; `not_looked_into` counts what could not be told without opening more.

    `certain`: where only a key says so, the file has to confirm it. OSError: the spool or the journal can't be read, or
    there is no key to the accession numbers.
    """

    def __init__(self, root: Path, wanted: Filter, certain: bool = False) -> None:
        self._root = os.fspath(root)
        self._wanted = wanted
        self._certain = certain
        self._left = wanted.look_into
        self.not_looked_into = 0
        self._where: list[_Where] = []
        self._receipts = {each[:22] for each in wanted.ids}
        self._buckets = {each[:8] for each in self._receipts} if all(map(str.isdigit, self._receipts)) else None
        self._folders = {folder(title) for title in wanted.destinations if title}
        self._source_keys = frozenset(map(key, wanted.sources))
        self._study_keys = frozenset(map(key, wanted.studies))
        self._series_keys = frozenset(map(key, wanted.series))
        self._sop_keys = frozenset(map(key, wanted.instances))
        self._keyed = bool(wanted.sources or wanted.studies or wanted.series or wanted.instances)
        self._after = "" if wanted.received_after_s is None else f"{int(wanted.received_after_s * 1e6):016d}"
        before_s = wanted.received_before_s
        self._before = _BEHIND if before_s is None else f"{max(0, int(before_s * 1e6)):016d}"
        self._timed = bool(self._after) or before_s is not None
        journal = f"{self._root}/{FOLDER}"
        self._of_studies = _receipts(journal, index.STUDY, wanted.studies)
        self._of_instances = _receipts(journal, index.INSTANCE, wanted.instances)
        self._of_accessions: set[str] | None = None
        if wanted.accessions:
            secret = read_secret(journal_key(root))
            self._of_accessions = _receipts(
                journal, index.ACCESSION, {keyed(each, secret) for each in wanted.accessions}
            )
        self._narrows = self._timed or self._keyed or bool(wanted.ids or wanted.accessions)
        self._items = map(self.item, self.found())

    def __next__(self) -> Item:
        return next(self._items)

    def found(self, ordered: bool = True) -> Iterator[_Found]:
        """The same as raw names, which a million entries can be handled by. Not ordered: a third of the time."""
        runs = list(self._runs())
        found = heapq.merge(*runs) if ordered and len(runs) > 1 else chain.from_iterable(runs)
        opens = self._certain or self._keyed or self._wanted.sop_classes or self._wanted.modalities
        return filter(self._confirmed, found) if opens else found

    def item(self, found: _Found) -> Item:
        name, number, file = found
        where = self._where[number]
        path = f"{where.path}/{file}"
        stage, destination, rank, claimant = where.stage, where.destination, where.rank, ""
        if stage not in BY_DESTINATION:
            origin = file.split(SEPARATOR)[:-1]
            if stage is Stage.ACTIVE:
                claimant = os.path.basename(where.path)
                stage = Stage(origin[0]) if origin and origin[0] in CLAIMED_FROM else stage
            if len(origin) == 3:
                destination, rank = title(origin[1]), origin[2]
        return Item(stage, destination, rank, path, path[len(self._root) + 1 :], parse(name), claimant)

    def folder_of(self, found: _Found) -> str | None:
        """The destination that all objects in the same folder have; None = each may have its own."""
        where = self._where[found[1]]
        return where.destination if where.stage in (Stage.NEW, *BY_DESTINATION) else None

    # -- by names

    def _runs(self) -> Iterator[Iterator[_Found]]:
        """Each run is in order; a folder is listed when its run gets there."""
        stages = self._wanted.stages or frozenset(STAGES)
        for stage in STAGES:
            top = f"{self._root}/{stage}"
            if stage is Stage.ACTIVE:
                if stages & {stage, *CLAIMED_FROM}:
                    for place, found in listing.folders(top, 1):
                        yield self._run(_Where(place, stage, "", UNRANKED), [(place, found)])
            elif stage not in stages:
                continue
            elif stage is Stage.NEW:
                if not self._folders:
                    yield self._run(_Where(top, stage, "", UNRANKED), listing.folders(top, 1, self._has))
            elif stage in BY_DESTINATION:
                for destination in listing.names(top):
                    if not self._folders or destination in self._folders:
                        yield from self._of_destination(stage, f"{top}/{destination}", title(destination))
            else:
                for place, found in listing.folders(top):
                    yield self._run(_Where(place, stage, "", UNRANKED), [(place, found)])

    def _of_destination(self, stage: Stage, top: str, destination: str) -> Iterator[Iterator[_Found]]:
        if stage is Stage.REJECTED:
            for place, found in listing.folders(top):
                yield self._run(_Where(place, stage, destination, UNRANKED), [(place, found)])
            return
        by_hand = _Where(top, stage, destination, UNRANKED)
        yield self._run(by_hand, listing.folders(top, 0))
        for name in listing.names(top):
            where = by_hand._replace(path=f"{top}/{name}", rank=name if is_rank(name) else UNRANKED)
            if stage is Stage.DEFERRED:  # its buckets are those of due times
                for place, found in listing.folders(where.path, 2):
                    yield self._run(where, [(place, found)])
            else:
                yield self._run(where, listing.folders(where.path, 2, self._has))

    def _has(self, bucket: str) -> bool:
        """Whether a bucket of receipts may have what is wanted."""
        return (not self._buckets or bucket in self._buckets) and self._after[:8] <= bucket <= self._before[:8]

    def _run(self, where: _Where, places: Iterable[tuple[str, list[str]]]) -> Iterator[_Found]:
        by_claim = where.stage in (Stage.ACTIVE, *ENDED)
        for place, names in places:
            number = len(self._where)
            self._where.append(where._replace(path=place))
            if by_claim:
                found = [(listing.entry_name(name), number, name) for name in names if self._is_of(where.stage, name)]
            else:
                found = [(name, number, name) for name in names]
            found.sort()
            yield from filter(self._suits, found) if self._narrows else found

    def _is_of(self, stage: Stage, name: str) -> bool:
        """Whether the name of a claim fits the destinations and stages that are wanted."""
        if stage is Stage.REJECTED:
            return True
        origin = name.split(SEPARATOR)[:-1]
        if self._folders and (len(origin) != 3 or origin[1] not in self._folders):
            return False
        stages = self._wanted.stages
        return stage is not Stage.ACTIVE or not stages or stage in stages or bool(origin and origin[0] in stages)

    def _suits(self, found: _Found) -> bool:
        """Whether a name allows that it is wanted."""
        name = found[0]
        if self._timed and not (name[:16].isdigit() and self._after <= name[:16] <= self._before):
            return False
        if self._wanted.ids and not self._is_named(found):
            return False
        receipt = name[:22]
        if self._of_accessions is not None and receipt not in self._of_accessions:
            return False
        if not self._keyed or not _says_all(name):
            return True
        return (
            (not self._source_keys or name[41:49] in self._source_keys)
            and (not self._study_keys or name[32:40] in self._study_keys or receipt in self._of_studies)
            and (not self._sop_keys or name[23:31] in self._sop_keys or receipt in self._of_instances)
            and (not self._series_keys or (name[50:58] in self._series_keys and name[58:59] == "."))
        )

    def _is_named(self, found: _Found) -> bool:
        if found[0][:22] in self._wanted.ids:
            return True
        by_hand = not found[0][:22].isdigit() or parse(found[0]) is None
        return (by_hand or found[0][:22] in self._receipts) and self.item(found).id in self._wanted.ids

    # -- by files

    def _confirmed(self, found: _Found) -> bool:
        """Whether the file says so too, as far as it has to be asked."""
        wanted = self._wanted
        name = found[0]
        # What is still to be changed has the keys of the UIDs by which it will leave.
        by_name = not self._keyed or (_says_all(name) and not (self._certain and ".e" not in name))
        if by_name and not (wanted.sop_classes or wanted.modalities):
            return True
        if self._left <= 0:
            self.not_looked_into += 1
            return False
        self._left -= 1
        try:
            fd = os.open(f"{self._where[found[1]].path}/{found[2]}", _OPEN)
        except OSError:
            return False
        try:
            return self._fits(fd, name[:22], by_name)
        except (OSError, Corrupt):
            return False
        finally:
            os.close(fd)

    def _fits(self, fd: int, receipt: str, by_name: bool) -> bool:
        """Whether a file is wanted. Raises OSError, Corrupt."""
        wanted = self._wanted
        meta = read_head(fd)
        if wanted.sop_classes and meta.sop_class_uid not in wanted.sop_classes:
            return False
        header = cache(lambda: peek(lambda offset, length: os.pread(fd, length, offset), os.fstat(fd).st_size))

        def text(tag: int) -> str:
            return next(iter(header().texts(tag) or ()), "")

        if wanted.modalities and text(_MODALITY) not in wanted.modalities:
            return False
        if by_name:
            return True
        if wanted.sources and meta.sending not in wanted.sources:
            return False
        if wanted.instances and meta.sop_instance_uid not in wanted.instances and receipt not in self._of_instances:
            return False
        of_study = not wanted.studies or receipt in self._of_studies
        of_study = of_study or text(_STUDY_INSTANCE_UID) in wanted.studies
        return of_study and (not wanted.series or text(_SERIES_INSTANCE_UID) in wanted.series)


def has_keys(name: str) -> bool:
    """Whether the name of an entry has keys: it was received, and its header could be read."""
    return name[22:23] == name[31:32] == name[40:41] == name[49:50] == "."


def _says_all(name: str) -> bool:
    """Whether the name says to which study it belongs. Before it is planned it does not."""
    return has_keys(name) and name[32:40] != NO_UID


def _receipts(journal: str, what: str, values: Collection[str]) -> set[str]:
    return {str(event["receipt"]) for event in index.find(journal, what, values)} if values else set()


def read_head(fd: int) -> FileMeta:
    """The file meta information of an open file. Raises OSError, Corrupt."""
    head = decode_head(os.pread(fd, 1024, 0)) or decode_head(os.pread(fd, HEAD_MAX_BYTES, 0))
    if head is None:
        raise Corrupt("the file meta information does not end")
    return head[0]


def head_of(path: str) -> FileMeta:
    """That of a file in the spool. Raises OSError, Corrupt."""
    fd = os.open(path, _OPEN)
    try:
        return read_head(fd)
    finally:
        os.close(fd)


def select(root: Path, wanted: Filter, certain: bool = False) -> Selection:
    """What suits a filter, the oldest first; see Selection. About 3 us an object."""
    return Selection(root, wanted, certain)


def page(root: Path, wanted: Filter, skip: int = 0, limit: int = 100) -> Page:
    """At most `limit` of the objects that suit, behind the oldest `skip`, with source and reason. Raises OSError.

    All names are looked at, about 1.5 us each; files are opened for what is on the page.
    """
    selection = Selection(root, wanted)
    found = selection.found()
    passed = sum(1 for _ in islice(found, skip))
    shown = [selection.item(each) for each in islice(found, limit)]
    total = passed + len(shown) + sum(1 for _ in found)
    sources = Sources()
    items = (replace(each, source=sources.of(each), reason=reason(each)) for each in shown)
    return Page(tuple(items), total, selection.not_looked_into)


def reason(item: Item) -> str:
    """Why it stands in rejected/, failed/ or expired/; "" = it does not, or nothing says why."""
    return str(ended.note(item.path).get("reason", "")) if item.stage in ENDED else ""


class Sources:
    """The calling AE titles that the keys in names stand for: for each key, one file is opened."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, item: Item) -> str:
        """The title; "" if no file can tell."""
        source_key = item.entry.source_key if item.entry else ""
        if source_key not in self._known or not source_key:
            try:
                sending = head_of(item.path).sending
            except (OSError, Corrupt):
                return ""
            if not source_key:
                return sending
            self._known[source_key] = sending
        return self._known[source_key]
