"""What all calls of the console have at hand."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any, Protocol

import msgspec

from leyden.config.settings import Settings
from leyden.console.access import Access
from leyden.console.call import Asked
from leyden.console.health import Health
from leyden.console.stream import Document, Stream
from leyden.console.walks import Walks
from leyden.form import ladder
from leyden.journal.events import Operated
from leyden.journal.lines import tell
from leyden.operate.counted import Counted
from leyden.outbound.capability_file import SeenCapabilities
from leyden.spool.listing import Count
from leyden.spool.moves import write_whole
from leyden.spool.store import Spool

WHERE = "state/service.console.json"


class Numbers(Protocol):
    """The numbers of the service, for Prometheus."""

    def text(self) -> bytes: ...


def _nothing_yet(_whole: bool) -> dict[str, str]:
    return {}


class Console:
    """The settings in force, the spool, and what was gathered of the journal. `port`: the one that it listens on.

    `document` makes what the page shows. `started_s`: of the service, in seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        port: int = 0,
        started_s: float = 0.0,
        document: Document = _nothing_yet,
        numbers: Numbers | None = None,
        counted: Counted | None = None,
    ) -> None:
        self.settings = settings
        self.port = port
        self.started_s = started_s
        self.numbers = numbers
        self.access = Access(settings.console, settings.spool_root)
        self.health = Health(settings)
        self.walks = Walks()
        self.reloading = asyncio.Lock()
        self.stream = Stream(document)
        self._counted = counted or Counted(settings.spool_root)
        self._seen: dict[str, SeenCapabilities] = {}

    @property
    def root(self) -> Path:
        return self.settings.spool_root

    @property
    def tls(self) -> bool:
        return bool(self.settings.console.certificate)

    @property
    def url(self) -> str:
        """Where it serves: the address that it listens on, and the port that it has got."""
        host = self.settings.console.bind
        return f"http{'s' if self.tls else ''}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def spool(self) -> Spool:
        return Spool(self.root, sync=self.settings.sync_spool)

    def go_by(self, settings: Settings) -> None:
        """From now on; what takes a restart stays as it is."""
        self.settings = settings
        self.access.go_by(settings.console)
        self.health.go_by(settings)

    async def counts(self) -> tuple[Count, ...]:
        """How many objects stand where, a little while ago. OSError."""
        return (await self.walks.do(self._counted.now))[0]

    def acceptance_of(self, destination: str, sop_class: str) -> ladder.Acceptance | None:
        """What a destination was seen to accept lately."""
        seen = self._seen.setdefault(destination, SeenCapabilities(self.root, destination))
        return ladder.fresh(seen.knowledge(), sop_class, time.time())

    def operated(self, asked: Asked[Any, Any], did: str, *, destination: str = "", detail: str = "") -> None:
        """Tell the journal that somebody has done something."""
        tell(Operated("", who=asked.who, through=asked.through, did=did, destination=destination, detail=detail))

    def say_where(self) -> None:
        """Write down where the console serves, for tools that look for it; one that has ended left its own. OSError."""
        write_whole(os.fspath(self.root / WHERE), msgspec.json.encode({"pid": os.getpid(), "url": self.url}))

    async def close(self) -> None:
        self.access.tell_due(all_of_it=True)
        await self.stream.close()
        self.walks.close()
