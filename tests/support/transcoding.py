"""The codec path without a service: one worker alone in this process."""

from pathlib import Path

from leyden.dicom.uids import SYNTAXES
from leyden.transcode import job
from leyden.transcode.arena import Arena
from leyden.transcode.frames import Crew
from leyden.transcode.source import Source


def crew_of(arena: Arena, workers: int = 1) -> Crew:
    """A crew that wakes nobody and waits for nobody."""

    def nothing(*_: object) -> None:
        pass

    return Crew(arena, workers, nothing, nothing, nothing, lambda size_bytes: 0, nothing)


def make(path: Path, made: Path, target: str, crew: Crew, terms: job.Terms) -> None:
    """Write `path` in another syntax to `made`; whatever job.make and Source raise."""
    source = Source(path)
    try:
        with open(made, "wb") as out:
            job.make(source, SYNTAXES[target], out, crew, terms)
    finally:
        source.close()
