"""The rules by which copies are to be changed, kept in state/rules/ under a hash of what they say.

The planner decides by the rules of today, and a worker may act after the next reload, or after a crash. So the entry
names its rules by their hash, and the file of that name is durable before the entry moves. A file is never changed; one
that no entry names any more is removed at the next start.
"""

import contextlib
import os
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import msgspec

from leyden.errors import Corrupt
from leyden.plan.rules import CopyRules, Mutation, PlanSettings, for_destination
from leyden.spool.moves import make_folder, sync_folder, write_whole


class KeptRules:
    """The rules kept below a spool's root. `sync`: whether they are forced to the disk."""

    def __init__(self, root: Path, sync: bool = True) -> None:
        self._folder = f"{os.fspath(root)}/state/rules"
        self._sync = sync
        self.read = lru_cache(maxsize=64)(self._read)

    def keep(self, rules: CopyRules) -> str:
        """Make rules durable, and return their hash, 16 hex digits. OSError: the disk refuses."""
        document = msgspec.json.encode(rules)
        digest = _digest(document)
        make_folder(self._folder)
        write_whole(f"{self._folder}/{digest}.json", document, sync=self._sync)
        if self._sync:
            sync_folder(self._folder)
            sync_folder(os.path.dirname(self._folder))
        return digest

    def _read(self, digest: str) -> CopyRules:
        """The rules with this hash, read once. FileNotFoundError: they are gone. Corrupt: it is not what was kept."""
        document = Path(f"{self._folder}/{digest}.json").read_bytes()
        if _digest(document) != digest:
            raise Corrupt(f"state/rules/{digest}.json is not what was written")
        return msgspec.json.decode(document, type=CopyRules)

    def everything(self) -> list[CopyRules]:
        """All that can be read."""
        rules = []
        for path in Path(self._folder).glob("*.json"):
            with contextlib.suppress(OSError, Corrupt):
                rules.append(self._read(path.stem))
        return rules

    def renewing(self, settings: PlanSettings) -> Callable[[str, str], str]:
        """For a retry: the hash of the rules of these settings, given that of the rules before, and the destination.

        Rules that no mutation is left of are rules too. If the ones before are lost, and it is not known whose
        mutations they were, their hash stays. OSError: the disk refuses.
        """
        known: dict[str, str] = {}

        def renewed(digest: str, destination: str) -> str:
            try:
                whose = self.read(digest).destination
            except (FileNotFoundError, Corrupt):
                if settings.mutates_first:
                    return digest
                whose = destination
            if whose not in known:
                mutations = for_destination(settings.mutations or (), whose)
                known[whose] = self.keep(CopyRules(whose, settings.my_ae_title, mutations))
            return known[whose]

        return renewed

    def remove_unnamed(self, named: Callable[[], Collection[str]]) -> None:
        """Remove the rules that nothing names. `named` looks for the hashes that something does; it is called only if
        there are rules. OSError: they stay, which does no harm."""
        try:
            found = os.listdir(self._folder)
        except FileNotFoundError:
            return
        kept = named() if found else ()
        for name in found:
            if name.partition(".")[0] not in kept:
                os.unlink(f"{self._folder}/{name}")


def mapping_folders(mutations: Iterable[Mutation]) -> set[Path]:
    """Where the mapping files stand that these rules name."""
    return {Path(edit.mapping).parent for mutation in mutations for edit in mutation.actions if edit.mapping}


def _digest(document: bytes) -> str:
    return blake2b(document, digest_size=8).hexdigest()
