"""What all calls of the console have at hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from leyden.config.settings import Settings
from leyden.console.access import Access
from leyden.console.health import Health
from leyden.spool.store import Spool


class Numbers(Protocol):
    """The numbers of the service, for Prometheus."""

    def text(self) -> bytes: ...


class Shown(Protocol):
    """What the page shows."""

    def document(self) -> Any: ...


@dataclass(slots=True)
class Console:
    """The settings in force, the spool, and what was gathered of the journal. `port` is the one that it listens on."""

    settings: Settings
    access: Access
    health: Health
    port: int = 0
    metrics: Numbers | None = None
    live: Shown | None = None
    started_s: float = 0.0
    streams: set[object] = field(default_factory=set)

    @property
    def root(self) -> Path:
        return self.settings.spool_root

    @property
    def spool(self) -> Spool:
        return Spool(self.root, sync=self.settings.sync_spool)

    def go_by(self, settings: Settings) -> None:
        """From now on; what takes a restart stays as it is."""
        self.settings = settings
        self.access.go_by(settings.console)
        self.health.go_by(settings)
