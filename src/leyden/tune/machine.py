"""All that is measured of this machine, in some 20 seconds: codecs, disk, and what an object costs each role."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from leyden.dicom.uids import syntax_name
from leyden.errors import LeydenError
from leyden.plan.rules import PlanSettings
from leyden.tune import codec, disk, images, rules, trip
from leyden.tune.load import Template
from leyden.tune.model import Codec, Machine

PREFIX = "tune-"  # of the folder beside the stages of the spool; it is removed at the end
ROOM_BYTES = 2 << 30  # that measuring may take for a while


COLD = 1.1
"""So much longer does a codec take over frames that come from elsewhere than over the same few again and again, which
stay in the caches (DECISIONS.md 211)."""


class Wanted(msgspec.Struct, frozen=True):
    """What is to be measured, on the disk of `folder`.

    `syntaxes`: the UID of each transfer syntax, with the encoder's number for loss. `seconds`: for each figure. `plan`:
    the rules, which cost the planner time; None = there are none.
    """

    folder: Path
    images: Sequence[images.Image]
    syntaxes: Mapping[str, float]
    object_bytes: float
    seconds: float
    sync: bool = True
    plan: PlanSettings | None = None


class Found(msgspec.Struct, frozen=True):
    """`machine` is what the model needs, `codecs` and `disk` the figures behind it: by syntax, objects/s by size.

    `costs`: what an object costs each role, and both ends, if they are on this machine as here.
    """

    machine: Machine
    codecs: Mapping[str, codec.Measured]
    disk: Mapping[int, float]
    costs: trip.Costs


def measure(wanted: Wanted, say: Callable[[str], None] = lambda text: None) -> Found:
    """Measure everything; `say` is told what is measured next. Raises LeydenError, OSError."""
    counted = len(os.sched_getaffinity(0))
    say("the codecs")
    codecs = {
        syntax_name(uid): each
        for uid, each in codec.measure(wanted.images, wanted.syntaxes, counted, wanted.seconds).items()
        if each is not None
    }
    cores = max((each.cores for each in codecs.values()), default=float(counted))
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=wanted.folder) as top:
        free = os.statvfs(top)
        if free.f_bavail * free.f_frsize < ROOM_BYTES:
            raise LeydenError(
                f"{wanted.folder}: less than {ROOM_BYTES >> 30} GiB are free, so nothing is measured there"
            )
        say("the disk")
        sizes = sorted({images.ct_of(0).size_bytes, images.ct_of(trip.large_bytes(wanted.object_bytes)).size_bytes})
        durable = disk.measure(Path(top), sizes, wanted.seconds, sync=wanted.sync)
        say("the trip of an object through a service of its own")
        service = Path(top) / "service"
        service.mkdir(mode=0o700)
        costs = trip.measure(service, wanted.object_bytes, wanted.seconds, sync=wanted.sync)
    roles = dict(costs.roles)
    if wanted.plan is not None:
        roles["planner"] = replace(roles["planner"], object_s=roles["planner"].object_s + rules.cost_s(wanted.plan))
    machine = Machine(
        counted,
        min(cores, float(counted)),
        min(costs.passing_cores or float(counted), float(counted)),
        disk.cost(durable),
        roles,
        {name: _in_service(each.codec) for name, each in codecs.items()},
        lone=costs.lone,
    )
    return Found(machine, codecs, durable, costs)


def _in_service(measured: Codec) -> Codec:
    """What a codec takes in a worker, which has other pixels and other work in between."""
    return replace(measured, alone_mb_s=COLD * measured.alone_mb_s, crowd_mb_s=COLD * measured.crowd_mb_s)


def one_trip(folder: Path, syntax: str, workers: int, template: Template, seconds: float, *, sync: bool) -> float:
    """Objects a second that so many workers make into a syntax, on the disk of `folder`, both ends on this machine.

    Raises LeydenError, OSError.
    """
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder) as top,
        trip.service(Path(top), workers, {trip.MADE: syntax}, sync=sync) as running,
    ):
        return running.paced(trip.MADE, [template], seconds).per_s
