"""A spool in a temporary folder, and entries made as a receiver and a planner would."""

import errno
import os
import time
from pathlib import Path

import pytest

from leyden.spool.entry import Entry, ReceiptClock, key
from leyden.spool.stage import Stage
from leyden.spool.store import Spool


class Spooled(Spool):
    """A spool with two ways to fill it."""

    clock: ReceiptClock

    def receive(self, content: bytes = b"dataset", now_s: float | None = None) -> Path:
        """An entry in new/."""
        clock = self.clock if now_s is None else ReceiptClock(1)
        receipt = clock.next(int((time.time() if now_s is None else now_s) * 1e6))
        fd, path = self.embryo(receipt)
        os.write(fd, content)
        os.close(fd)
        place = self.root / "new" / receipt[:8]
        place.mkdir(exist_ok=True)
        return path.rename(place / path.name)

    def put(
        self,
        stage: Stage,
        destination: str = "PACS",
        rank: str = "10",
        sop: str = "1.2.3",
        now_s: float | None = None,
        **more,
    ) -> Entry:
        """An entry that waits in a stage."""
        path = self.receive(now_s=now_s)
        entry = Entry(path.stem, key(sop), key("study"), key("CT1"), **more)
        assert self.plan_one(path, entry, stage, destination, rank)
        return entry

    def first(self, stage: Stage, destination: str = "PACS", claimant: str = "sender-0"):
        """Claim what waits first."""
        return self.claim(next(self.waiting(stage, destination, 1)), claimant)

    def tree(self) -> list[str]:
        """Every file but the notes, relative to the root."""
        found = (p.relative_to(self.root) for p in self.root.rglob("*") if p.is_file())
        return sorted(str(p) for p in found if p.suffix != ".json")


@pytest.fixture
def spool(tmp_path) -> Spooled:
    spool = Spooled(tmp_path / "cache")
    spool.clock = ReceiptClock(0)
    spool.prepare(["PACS", "REPORTS"])
    return spool


@pytest.fixture
def full_disk(monkeypatch) -> list[str]:
    """No folder can be made while the list holds a part of its path."""
    parts: list[str] = []
    real = os.mkdir

    def mkdir(path, *more, **named):
        if any(part in os.fspath(path) for part in parts):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        return real(path, *more, **named)

    monkeypatch.setattr(os, "mkdir", mkdir)
    return parts
