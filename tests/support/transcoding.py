"""The codec path without a service: one worker in this process, with neighbours that behave as a test wants."""

from collections.abc import Callable
from pathlib import Path

import msgspec

from leyden.dicom.uids import SYNTAXES
from leyden.transcode import job
from leyden.transcode.arena import Arena
from leyden.transcode.source import Source


def nothing(*_: object) -> None:
    """Wakes nobody, waits for nobody."""


class Bench(msgspec.Struct):
    """A frames.Workplace of which each answer can be replaced."""

    arena: Arena
    workers: int = 1
    wake: Callable[[int], object] = nothing
    sleep: Callable[[float], object] = nothing
    alive: Callable[[int], object] = nothing
    threads: Callable[[int], int] = lambda size_bytes: 0
    between_frames: Callable[[], object] = nothing


def make(path: Path, made: Path, target: str, bench: Bench, terms: job.Terms) -> None:
    """Write `path` in another syntax to `made`. Raises what job.make and Source raise."""
    source = Source(path)
    try:
        with open(made, "wb") as out:
            job.make(source, SYNTAXES[target], out, bench, terms)
    finally:
        source.close()
