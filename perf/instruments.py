"""Are the instruments faster than what they measure? source.py into sink.py, with nothing of ours between them.

    python perf/instruments.py [--quick]

Beside them: DCMTK's own pair, dcmsend -> storescp --ignore (its start included, as always; above one association
--fork), and each of our two programs with one of theirs. If a figure of another script comes close to `source -> sink`,
the instrument was the limit, not what was measured. Client and server share the cores.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import objects
import peers
import rig
import source

CASES = [("ct", 1), ("ct", 4), ("ct", 16), ("cr", 1), ("cr", 4), ("small", 4)]


def by_source(kind: str, count: int, associations: int, peer: Callable[[Path], peers.Peer], folder: Path) -> float:
    with peers.running(peer(folder)) as far:
        report = source.run(source.Load(far.port, [objects.made(kind)], associations=associations, objects=count))
    peers.must_be_whole(report.objects, count)
    return report.per_s


def by_dcmsend(files: list[Path], associations: int, peer: Callable[[Path], peers.Peer], folder: Path) -> float:
    with peers.running(peer(folder)) as far:
        return len(files) / peers.dcmsend(far.port, "ANY-SCP", files, associations=associations)


def main() -> None:
    with rig.Run(rig.parser(__doc__).parse_args()) as run:
        cases = (
            [("ct", 1), ("ct", 4)]
            if run.quick
            else [("ct", 1), ("ct", 4), ("ct", 16), ("cr", 1), ("cr", 4), ("small", 4)]
        )
        for kind, associations in cases:
            count = {"cr": 100, "small": 3000}.get(kind, 1000)
            files = objects.write_files(run.folder / f"{kind}-files", kind, count)
            fork = ["--fork"] if associations > 1 else []
            ignore = partial(_storescp, ["--ignore", *fork])
            run.compare(
                f"{associations} associations, {kind}",
                "objects/s",
                {
                    "source -> sink": partial(by_source, kind, count, associations, _sink),
                    "dcmsend -> storescp --ignore": partial(by_dcmsend, files, associations, ignore),
                    "dcmsend -> sink": partial(by_dcmsend, files, associations, _sink),
                    "source -> storescp --ignore": partial(by_source, kind, count, associations, ignore),
                    "native loopback": partial(
                        peers.native, "loopback", "objects_per_s", objects=count,
                        size_bytes=objects.made(kind).size_bytes, connections=associations,
                    ),
                },
                ours=["source -> sink"],
            )  # fmt: skip


def _sink(folder: Path) -> peers.Peer:
    return peers.sink()


def _storescp(options: list[str], folder: Path) -> peers.Peer:
    return peers.storescp(folder, *options)


if __name__ == "__main__":
    main()
