"""How near does the pipeline come to the codec? dcmsend -> Leyden -> storescp, and OpenJPEG alone on the same images.

    python perf/compress.py [--quick] [--cases ct,cr,stack,large,htj2k,others,mixed] [--rounds 5]

The native limit is native_bench/encode_j2k: the same library file, parameters and pixels as the service has, memory to
memory, one thread a core. The pipeline is durable, with one worker a core. storescp --ignore takes the wanted syntax
and nothing else, so what it counts was compressed. The time is from the start of the client (which is included) to the
arrival of the last object. There are so many images that beginning and end matter little; a table shows these two, and
what processor time was spent on besides the codec.
  ct, cr   0.5 and 7.5 MB to JPEG 2000 lossless; beside it Orthanc with GDCM and IngestTranscoding, a router's Lua rule,
           fed over one association as Leyden is, and over as many as there are cores
  stack    one object of 400 frames: the whole trip, the codec's part of it, and when the first fragment was written.
           Limits: its frames on all cores, and the time of one frame on an idle machine x 400 / cores
  large    one image of 50 MB on all cores and on one: the service, and the codec with threads of its own
  htj2k    CT to HTJ2K lossless, and to JPEG 2000 lossless; to our own sink.py, because storescp 3.6.7 aborts at HTJ2K
  others   single CT one after the other while 1 GB of frames is compressed: from the request to the last byte delivered
  mixed    CT, CR, 30 frames and 50 MB at once: what each worker did while something waited for it. A worker that is
           ready but has no core is not idle; a worker that sleeps is idle, or waits for the disk
In tables of seconds less is better. The native program ends after a minute, so a slow machine needs --quick.
"""

import asyncio
import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import uvloop

import codec
import latency
import objects
import peers
import rig
import roles
import source
from codec import CORES, HTJ2K, J2K
from leyden.dicom import uids

COUNTS = {"ct": 1200, "cr": 100}
QUICK_COUNTS = {"ct": 40, "cr": 4}
MIX = {"ct": 300, "cr": 16, "cine": 6, "large": 2}
QUICK_MIX = {"ct": 20, "cr": 2, "cine": 1}
LEYDEN, LIMIT = "Leyden", f"codec alone, {CORES} threads"
LIMIT_S = 300.0
Rounds = Sequence[Mapping[str, float]]


def columns(rounds: Rounds) -> dict[str, list[float]]:
    """Figures by row, from rounds that give several each."""
    return {row: [each[row] for each in rounds] for row in rounds[0]} if rounds else {}


# -- many images


@dataclass(slots=True)
class Through:
    """Sends so many files through the pipeline; `costs` is what each round spent, by row of its table."""

    files: Sequence[Path]
    costs: list[dict[str, float]] = field(default_factory=list)

    def per_s(self, folder: Path) -> float:
        """Objects a second from the start of the client to the last arrival."""
        count, far = len(self.files), codec.archive(folder)
        with peers.running(far), codec.leyden(folder, far.port) as service:
            before, clients_s, far_process = roles.spent(service), _clients_s(), psutil.Process(far.pid)
            far_s, begin_s = _processor_s(far_process), time.monotonic()
            client_s = peers.dcmsend(service.port, "PACS", self.files)
            arrivals_s = far.wait(count, LIMIT_S)
            spent_s = {
                "client dcmsend": _clients_s() - clients_s,
                **{role: each.processor_s for role, each in roles.between(before, roles.spent(service)).items()},
                "storescp": _processor_s(far_process) - far_s,
            }
        self.costs.append(
            {
                **{f"{name}, processor, ms an object": seconds / count * 1e3 for name, seconds in spent_s.items()},
                "first arrival, s from the client's start": arrivals_s[0] - begin_s,
                "the client's end": client_s,
                "last arrival": arrivals_s[-1] - begin_s,
            }
        )
        return count / (arrivals_s[-1] - begin_s)


def _clients_s() -> float:
    """Processor time of the children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def by_orthanc(files: Sequence[Path], associations: int, folder: Path) -> float:
    far = codec.archive(folder)
    rule = peers.LUA_FORWARD.format(title="PACS")
    router = peers.orthanc(folder, lua=rule, modalities={"PACS": far.port}, transcode=uids.JPEG2000_LOSSLESS)
    with peers.running(far), peers.running(router):
        begin_s = time.monotonic()
        peers.dcmsend(router.port, "PACS", files, associations=associations)
        return len(files) / (far.wait(len(files), LIMIT_S)[-1] - begin_s)


def images(kind: str, run: rig.Run) -> None:
    count = (QUICK_COUNTS if run.quick else COUNTS)[kind]
    alone, ours = codec.Alone.of(run, kind), Through(objects.write_files(run.folder / kind, kind, count))
    codec_ms: list[float] = []

    def limit(_: Path) -> float:
        figures = alone.run(count)
        codec_ms.append(figures.frame_processor_s * 1e3)
        return count / figures.seconds

    run.compare(
        f"{count} {kind} to {J2K}",
        "objects/s",
        {
            LEYDEN: ours.per_s,
            LIMIT: limit,
            "Orthanc, 1 association": partial(by_orthanc, ours.files, 1),
            f"Orthanc, {CORES} associations": partial(by_orthanc, ours.files, CORES),
        },
        ours=(LEYDEN,),
        limits={LEYDEN: LIMIT},
    )
    costs = {"codec alone, processor, ms an object": codec_ms, **columns(ours.costs)}
    run.add(rig.Comparison(f"what {count} {kind} cost", "see the row", costs))


def htj2k(run: rig.Run) -> None:
    count = (QUICK_COUNTS if run.quick else COUNTS)["ct"]
    files = objects.write_files(run.folder / "htj2k", "ct", count)

    def per_s(syntax: str, folder: Path) -> float:
        with peers.running(peers.sink()) as far, codec.leyden(folder, far.port, syntax) as service:
            seconds = one_trip_s(service, files)
            if "as it came" in service.log:
                raise peers.Failed(f"not everything was made into {syntax}")
        return count / seconds

    ways = {syntax: partial(per_s, syntax) for syntax in (HTJ2K, J2K)}
    run.compare(f"{count} ct through the pipeline to sink.py", "objects/s", ways, ours=(HTJ2K,))


# -- one object


def stack(run: rig.Run) -> None:
    kind = "cine" if run.quick else "stack"
    frames, alone = objects.KINDS[kind][4], codec.Alone.of(run, kind)
    files = objects.write_files(run.folder / kind, kind, 1)
    whole, part, first = f"{LEYDEN}, whole trip", f"{LEYDEN}, codec's part", f"{LEYDEN}, first fragment written"
    on_all, one = f"codec alone, {CORES} threads", f"one frame by itself x {frames} / {CORES}"
    grown_mb: list[float] = []

    def ours(folder: Path) -> dict[str, float]:
        far = codec.archive(folder)
        with peers.running(far), codec.leyden(folder, far.port) as service:
            with roles.Watch(service, 0.5) as watch, codec.Making(service.spool) as making:
                trip_s = one_trip_s(service, files)
            grown_mb.append(sum(watch.growth_bytes(role) for role in watch.seen if role.startswith("worker")) / 1e6)
            return {whole: trip_s, part: making.made_s, first: making.first_fragment_s}

    def limits(_: Path) -> dict[str, float]:
        one_s = alone.run(max(8, frames // 10), threads=1).frame_s
        return {on_all: alone.run(frames).seconds, one: one_s * frames / CORES}

    found, missing = rig.alternate({"ours": ours, "limits": limits}, run.rounds, run.folder)
    table = {row: figures for rounds in found.values() for row, figures in columns(rounds).items()}
    run.add(rig.Comparison(f"one object of {frames} frames", "s", table, missing, (whole, part), {whole: one}))
    run.note(f"all workers' own memory grew by {statistics.median(grown_mb):.1f} MB")


def one_trip_s(service: peers.Service, files: Sequence[Path]) -> float:
    """Seconds from the start of the client to the receipt of the last delivery."""
    begin_s = time.time()
    peers.dcmsend(service.port, "PACS", files)
    peers.wait_delivered(service, "PACS", len(files), LIMIT_S)
    return peers.receipts_s(service)[-1] - begin_s


def large(run: rig.Run) -> None:
    alone, files = codec.Alone.of(run, "large"), objects.write_files(run.folder / "large", "large", 1)

    def ours(cores: int, folder: Path) -> float:
        far = codec.archive(folder)
        with peers.running(far), codec.leyden(folder, far.port, workers=cores) as service:
            for process in service.processes():
                process.cpu_affinity(process.cpu_affinity()[:cores])
            return one_trip_s(service, files)

    many, single = f"{LEYDEN}, {CORES} cores", f"{LEYDEN}, 1 core"
    threads, none = f"codec alone, {CORES} threads of its own", "codec alone, no threads"
    ways: rig.Ways[float] = {
        many: partial(ours, CORES),
        single: partial(ours, 1),
        threads: lambda _: alone.run(1, threads=1, codec_threads=CORES).seconds,
        none: lambda _: alone.run(1, threads=1).seconds,
    }
    run.compare("one image of 50 MB", "s", ways, ours=(single, none))


# -- many objects at once


def others(run: rig.Run) -> None:
    kind, count = ("tomo", 8) if run.quick else ("gigabyte", 80)
    big, alone = objects.write_files(run.folder / kind, kind, 1), codec.Alone.of(run, "ct")

    def trips_ms(beside: bool, folder: Path) -> dict[str, float]:
        far_port, gaps_s = peers.free_port(), [random.uniform(0.02, 0.1) for _ in range(count)]
        with codec.leyden(folder, far_port) as service:
            if beside:
                peers.dcmsend(service.port, "PACS", big)
                peers.wait_for(lambda: codec.made_bytes(service.spool), LIMIT_S, "the large object to be in work")
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
                found = loop.run(latency.trips(service.port, far_port, gaps_s))
            if beside and not codec.made_bytes(service.spool):
                raise peers.Failed("the large object was made before the others were through")
        times_ms = sorted((trip.arrived_s - trip.sent_s) * 1e3 for trip in found)
        return {"p50": source.percentile(times_ms, 50), "p99": source.percentile(times_ms, 99), "most": times_ms[-1]}

    size_mb = objects.made(kind).size_bytes / 1e6
    busy, idle, frame = f"while {size_mb:.0f} MB of frames are in work", "alone", "codec alone, one frame"
    ways: rig.Ways[Mapping[str, float]] = {
        busy: partial(trips_ms, True),
        idle: partial(trips_ms, False),
        frame: lambda _: {f"{CORES} at once": alone.run(40).frame_s * 1e3},
    }
    found, missing = rig.alternate(ways, run.rounds, run.folder)
    table = {f"{way}, {row}": ms for way in found for row, ms in columns(found[way]).items()}
    title = f"a CT, one of {count}, request -> last byte at the destination"
    run.add(rig.Comparison(title, "ms", table, missing, (f"{busy}, p99", f"{busy}, p50")))


def mixed(run: rig.Run) -> None:
    mix = QUICK_MIX if run.quick else MIX
    files = [
        path
        for number, (kind, count) in enumerate(mix.items(), 1)
        for path in objects.write_files(run.folder / f"mix-{kind}", kind, count, run=number)
    ]
    random.Random(1).shuffle(files)

    def busy(folder: Path) -> dict[str, float]:
        """Shares of the time during which something waited."""
        far = codec.archive(folder)
        with peers.running(far), codec.leyden(folder, far.port) as service:
            with ThreadPoolExecutor(1) as client:
                sent = client.submit(peers.dcmsend, service.port, "PACS", files)
                peers.wait_for(lambda: codec.waiting(service.spool) > CORES, LIMIT_S, "more than a worker each")
                before, begin_s = roles.spent(service), time.monotonic()
                peers.wait_for(lambda: codec.waiting(service.spool) < CORES, LIMIT_S, "the last ones")
                spent, wall_s = roles.between(before, roles.spent(service)), time.monotonic() - begin_s
            sent.result()
            far.wait(len(files), LIMIT_S)
        workers = {role: each for role, each in spent.items() if role.startswith("worker")}
        shares: dict[str, float] = {}
        for role, each in sorted(workers.items()):
            running, ready = each.processor_s / wall_s, each.ready_s / wall_s
            shares |= {f"{role} running": running, f"{role} ready, no core": ready}
            shares[f"{role} asleep"] = max(0.0, 1 - running - ready)
        shares["workers, of all cores"] = sum(each.processor_s for each in workers.values()) / wall_s / CORES
        shares["workers, running or ready"] = 1 - sum(shares[f"{role} asleep"] for role in workers) / CORES
        return shares

    found, missing = rig.alternate({"mixed": busy}, run.rounds, run.folder)
    words = ", ".join(f"{count} {kind}" for kind, count in mix.items())
    run.add(rig.Comparison(f"workers while something waits: {words}", "share", columns(found["mixed"]), missing))


CASES: Mapping[str, Callable[[rig.Run], None]] = {
    "ct": partial(images, "ct"),
    "cr": partial(images, "cr"),
    "stack": stack,
    "large": large,
    "htj2k": htj2k,
    "others": others,
    "mixed": mixed,
}


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--cases", default=",".join(CASES), help="default %(default)s")
    with rig.Run(parser.parse_args()) as run:
        for case in run.asked.cases.split(","):
            CASES[case](run)


if __name__ == "__main__":
    main()
