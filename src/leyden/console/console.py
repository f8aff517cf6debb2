"""What all calls of the console have at hand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from leyden.config.settings import Settings
from leyden.console.access import Access
from leyden.console.health import Health
from leyden.console.stream import Stream
from leyden.spool.store import Spool


class Numbers(Protocol):
    """The numbers of the service, for Prometheus."""

    def text(self) -> bytes: ...


@dataclass(slots=True)
class Console:
    """The settings in force, the spool, and what was gathered of the journal. `port` is the one that it listens on."""

    settings: Settings
    access: Access
    health: Health
    stream: Stream
    numbers: Numbers | None = None
    port: int = 0
    started_s: float = 0.0

    @property
    def root(self) -> Path:
        return self.settings.spool_root

    @property
    def tls(self) -> bool:
        return bool(self.settings.console.certificate)

    @property
    def spool(self) -> Spool:
        return Spool(self.root, sync=self.settings.sync_spool)

    def go_by(self, settings: Settings) -> None:
        """From now on; what takes a restart stays as it is."""
        self.settings = settings
        self.access.go_by(settings.console)
        self.health.go_by(settings)
