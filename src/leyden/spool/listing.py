"""Walks over the spool that change nothing: which entries stand where, by their names alone.

A walk is no snapshot: files move and vanish while it runs, and that is no error. Folders are walked in the direction
in which entries move, so that an entry that moves on during the walk is seen at least once, perhaps twice.
Deliberately absent: opening a file.
"""

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice

import msgspec

from leyden.spool.entry import SEPARATOR, Entry, folder, is_bucket, of_source, parse, title
from leyden.spool.stage import BY_DESTINATION, CLAIMED_FROM, Stage

_RECEIPT = slice(0, 22)
_SOP_KEY = slice(23, 31)
_STUDY_KEY = slice(32, 40)
_SERIES_KEY = slice(50, 58)
_TO_EDIT = re.compile(r"\.e[0-9a-f]{16}\.")  # a part of the name of an entry
_NOT_OBJECTS = (".json", ".plan", ".making")
_AFTER_ALL = "9" * 23  # sorts after every receipt
_TRIP = (
    Stage.EMBRYO, Stage.NEW, Stage.ASKING, Stage.TRANSFORM, Stage.ACTIVE, Stage.PREPARED, Stage.DEFERRED,
    Stage.REJECTED, Stage.FAILED, Stage.EXPIRED,
)  # fmt: skip
_CLAIMED_BETWEEN = (
    Stage.ACTIVE, Stage.ASKING, Stage.ACTIVE, Stage.TRANSFORM, Stage.ACTIVE, Stage.PREPARED, Stage.ACTIVE,
    Stage.DEFERRED,
)  # fmt: skip
_BEFORE_MADE = (Stage.ASKING, Stage.TRANSFORM)

BucketFilter = Callable[[str], bool]


def _any_bucket(_bucket: str) -> bool:
    return True


class Count(msgspec.Struct, frozen=True):
    """How many objects stand in a stage for a destination ("" in stages before planning)."""

    stage: Stage
    destination: str
    files: int
    oldest_received_s: float | None


def is_object(name: str) -> bool:
    """Whether a file of this name holds an instance: it is not hidden, and not one of the spool's own notes."""
    return name[0] != "." and not name.endswith(_NOT_OBJECTS)


def names(path: str) -> list[str]:
    """The names in a folder, sorted, without hidden ones; [] if there is no such folder."""
    try:
        return sorted(name for name in os.listdir(path) if name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []


def folders(path: str, depth: int = 3, wanted: BucketFilter = _any_bucket) -> Iterator[tuple[str, list[str]]]:
    """A folder and those below it, buckets in their order, as (its path, the names of the objects in it, in no order).

    `wanted` says which buckets are looked into. About 0.3 us a name.
    """
    here, below = _bucket(path) if is_bucket(os.path.basename(path)) else _folder(path)
    if here:
        yield path, here
    for name in sorted(below) if depth else ():
        if not is_bucket(name) or wanted(name):
            yield from folders(f"{path}/{name}", depth - 1, wanted)


def _bucket(path: str) -> tuple[list[str], list[str]]:
    """The objects in a bucket, and the folders that somebody put there. Whatever has the name of an entry is a file."""
    try:
        found = [name for name in os.listdir(path) if name[0] != "." and not name.endswith(_NOT_OBJECTS)]
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    below = [name for name in found if not name.endswith(".dcm") and _is_folder(f"{path}/{name}")]
    return [name for name in found if name not in below] if below else found, below


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _folder(path: str) -> tuple[list[str], list[str]]:
    """The objects in a folder, and the folders in it."""
    here, below = [], []
    try:
        with os.scandir(path) as found:
            for each in found:
                if each.is_dir(follow_symlinks=False):
                    below.append(each.name)
                elif is_object(each.name):
                    here.append(each.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return here, below


def files(path: str, depth: int = 3, wanted: BucketFilter = _any_bucket) -> Iterator[tuple[str, str]]:
    """Every object below a folder, as (its folder, its name). `wanted` says which buckets are looked into."""
    for place, found in folders(path, depth, wanted):
        for name in found:
            yield place, name


def received_before(path: str, receipt: str, limit: int) -> Counter[str]:
    """How many objects below a folder have a receipt that is lower, by the key of their source ("" = not known).

    It stops counting at about `limit`. About 1 us each.
    """
    found: Counter[str] = Counter()
    for _, names_here in folders(path, 1):
        before = (name for name in names_here if name[_RECEIPT] < receipt)
        found.update(map(of_source, islice(before, limit - found.total())))
        if found.total() >= limit:
            break
    return found


def claims(root: str) -> Iterator[tuple[str, str, str]]:
    """(stage, destination, entry name) of everything that is claimed."""
    for _, name in files(f"{root}/{Stage.ACTIVE}", 1):
        parts = name.split(SEPARATOR)
        if len(parts) == 4:
            yield parts[0], title(parts[1]), parts[3]


def counts(root: str) -> list[Count]:
    """How many objects stand where, in the order of the trip. About 0.5 us each."""
    found: dict[tuple[Stage, str], tuple[int, str]] = {}

    def add(stage: Stage, destination: str, entries: Sequence[str]) -> None:
        number, oldest = found.get((stage, destination), (0, _AFTER_ALL))
        found[stage, destination] = number + len(entries), min(oldest, _oldest(entries))

    for stage in _TRIP:
        if stage in BY_DESTINATION:
            for each in names(f"{root}/{stage}"):
                for _, here in folders(f"{root}/{stage}/{each}"):
                    add(stage, title(each), here if stage is not Stage.REJECTED else list(map(entry_name, here)))
        else:
            for _, here in folders(f"{root}/{stage}"):
                by_destination: dict[str, list[str]] = {}
                for name in here:
                    *origin, last = name.split(SEPARATOR)
                    by_destination.setdefault(title(origin[1]) if len(origin) == 3 else "", []).append(last)
                for destination, entries in by_destination.items():
                    add(stage, destination, entries)
    return [
        Count(stage, destination, number, int(oldest[:16]) / 1e6 if len(oldest) == 22 else None)
        for (stage, destination), (number, oldest) in found.items()
    ]


def entry_name(name: str) -> str:
    """The name of the entry, where that of the file is a claim's."""
    return name.rpartition(SEPARATOR)[2]


def _oldest(entries: Sequence[str]) -> str:
    """The lowest receipt; _AFTER_ALL if none of them has one."""
    first = min(entries)[_RECEIPT]
    if _is_receipt(first):
        return first
    return min((name[_RECEIPT] for name in entries if _is_receipt(name[_RECEIPT])), default=_AFTER_ALL)


def _is_receipt(text: str) -> bool:
    return len(text) == 22 and text.isascii() and text.isdigit()


def on_the_way(root: str, destination: str, wanted: BucketFilter, made: bool = False) -> Iterator[str]:
    """The names of the entries that are bound for a destination and neither delivered nor given up.

    `wanted` says which buckets are looked into. `made`: only entries that are past transform/ and asking/.
    """
    place = folder(destination)
    for stage in _CLAIMED_BETWEEN:
        if stage is Stage.ACTIVE:
            for claimed, whose, name in claims(root):
                if whose == destination and not (made and claimed in _BEFORE_MADE):
                    yield name
        elif not (made and stage in _BEFORE_MADE):
            # The bucket of a deferred entry is that of its due time, which says nothing about its age.
            buckets = _any_bucket if stage is Stage.DEFERRED else wanted
            for _, name in files(f"{root}/{stage}/{place}", wanted=buckets):
                yield name


def held_back(root: str, destination: str, entries: Iterable[Entry]) -> set[str]:
    """The receipts of those entries for which an older one of the same instance is on its way to the destination."""
    younger: dict[str, list[str]] = {}
    for entry in entries:
        if entry.sop_key:
            younger.setdefault(entry.sop_key, []).append(entry.receipt)
    held: set[str] = set()
    if younger:
        last = max(receipt for receipts in younger.values() for receipt in receipts)
        for name in on_the_way(root, destination, lambda bucket: bucket <= last[:8]):
            for receipt in younger.get(name[_SOP_KEY], ()):
                if name[_RECEIPT] < receipt:
                    held.add(receipt)
    return held


def not_made(root: str, destination: str) -> dict[str, str]:
    """Of what waits to be made or asked for: the series (Entry.series) -> the oldest receipt of it.

    What is not asked for before an older one of its instance has gone does not count: that one must not wait for it.
    """
    oldest: dict[str, str] = {}
    serial: list[Entry] = []

    def see(name: str) -> None:
        series, receipt = name[_STUDY_KEY] + name[_SERIES_KEY], name[_RECEIPT]
        oldest[series] = min(receipt, oldest.get(series, receipt))

    for stage in (Stage.ASKING, Stage.ACTIVE, Stage.TRANSFORM, Stage.ACTIVE):
        if stage is Stage.ACTIVE:
            for claimed, whose, name in claims(root):
                if whose == destination and claimed in _BEFORE_MADE:
                    see(name)
        else:
            for _, name in files(f"{root}/{stage}/{folder(destination)}"):
                entry = parse(name) if stage is Stage.ASKING and name.endswith(".s.dcm") else None
                if entry is None:
                    see(name)
                else:
                    serial.append(entry)
    held = held_back(root, destination, serial)
    for entry in serial:
        if entry.receipt not in held:
            see(entry.name)
    return oldest


def present(
    root: str, wanted: Collection[tuple[str, str]], made: bool = False, edited: bool = False
) -> set[tuple[str, str]]:
    """Those of the wanted (receipt, destination) that have an entry in any stage; `made` as in on_the_way().

    `edited`: only entries that are not to be edited any more.
    """
    found: set[tuple[str, str]] = set()
    buckets = {receipt[:8] for receipt, _ in wanted}

    def see(name: str, destination: str) -> None:
        if (name[_RECEIPT], destination) in wanted and not (edited and _TO_EDIT.search(name)):
            found.add((name[_RECEIPT], destination))

    for destination in {destination for _, destination in wanted}:
        for name in on_the_way(root, destination, buckets.__contains__, made):
            see(name, destination)
        for _, name in files(f"{root}/{Stage.REJECTED}/{folder(destination)}"):
            see(entry_name(name), destination)
    for stage in (Stage.FAILED, Stage.EXPIRED) if wanted else ():
        for _, name in files(f"{root}/{stage}"):
            parts = name.split(SEPARATOR)
            if len(parts) == 4:
                see(parts[3], title(parts[1]))
    return found


class Standing(msgspec.Struct, frozen=True):
    """An object in the spool: where it stands, for which destination ("" before planning), and its file.

    `name` is that of its entry. `claimant`: who works on it, "" = nobody. Such an object stands in the stage that it
    was claimed from.
    """

    stage: Stage
    destination: str
    name: str
    path: str
    claimant: str = ""


def standing(root: str, suits: Callable[[str], bool], wanted: BucketFilter = _any_bucket) -> Iterator[Standing]:
    """The objects whose entry's name suits. `wanted`: the buckets of their receipts; others are not looked into."""
    for stage in _TRIP[1:]:
        # The bucket of a deferred entry is that of its due time, which says nothing about its age.
        for place, name in files(f"{root}/{stage}", wanted=_any_bucket if stage is Stage.DEFERRED else wanted):
            *origin, last = name.split(SEPARATOR)
            if not suits(last):
                continue
            path = f"{place}/{name}"
            if stage is Stage.ACTIVE and len(origin) == 3:
                yield Standing(Stage(origin[0]), title(origin[1]), last, path, os.path.basename(place))
            elif stage in BY_DESTINATION:
                yield Standing(stage, title(os.path.relpath(place, f"{root}/{stage}").partition("/")[0]), last, path)
            else:
                yield Standing(stage, title(origin[1]) if len(origin) == 3 else "", last, path)


def edits(root: str) -> set[str]:
    """The `edits` of all entries, wherever they stand, and of all plans that are not carried out yet. OSError."""
    found: set[str] = set()

    def stop(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for place, folders, files_here in os.walk(root, onerror=stop):
        if place == root:
            folders[:] = [stage for stage in folders if stage in _TRIP]
        for name in files_here:
            text = name
            if name.endswith(".plan"):
                with contextlib.suppress(FileNotFoundError), open(f"{place}/{name}", encoding="utf-8") as plan:
                    text = plan.read()
            found.update(each[2:-1] for each in _TO_EDIT.findall(text))
    return found


def bound(root: str) -> Iterator[tuple[str, str]]:
    """(destination, sop key) of every entry that is planned and neither delivered nor given up."""
    for stage in (*CLAIMED_FROM, Stage.DEFERRED):
        for each in names(f"{root}/{stage}"):
            destination = title(each)
            for _, name in files(f"{root}/{stage}/{each}"):
                yield destination, name[_SOP_KEY]
    for _, destination, name in claims(root):
        yield destination, name[_SOP_KEY]
