"""The main job, timed: a report behind images, one dead destination beside a working one, the codec's rate.

    python perf/main_job.py [--quick] [--rounds 5]

0.5 MB CT by one dcmsend, its start included, through a durable Leyden with two workers. How long does a report take
from the answer to the modality to its PACS, while all those images wait for the codec? How fast are objects delivered
to one destination while the other is off, compared with both on? How many MB/s of pixels pass through receiving, JPEG
2000 lossless and delivering? Receiving alone is measured by ingest.py.
"""

import time
from functools import partial
from pathlib import Path

import objects
import peers
import rig
from support.objects import real
from support.peers import Pacs
from support.service import EXAMPLE_ROUTINGS

BOTH = "- Actions:\n    - Target: LIVING\n    - Target: OTHER\n"
J2K = "JPEG2000Lossless"


def report_behind_images(files: list[Path], folder: Path) -> float:
    """Seconds from the answer to the modality until a report is at its PACS, while `files` wait for the codec."""
    images, reports = Pacs("IMAGEPACS"), Pacs("REPORTPACS")
    nodes = peers.node("IMAGEPACS", images.port, TransferSyntax=J2K, Impersonate="true")
    nodes += peers.node("REPORTPACS", reports.port, Impersonate="true")
    service = peers.Service(folder, nodes, EXAMPLE_ROUTINGS)
    with peers.running(images), peers.running(reports), peers.serving(service):
        peers.dcmsend(service.port, "IMAGEPACS", files)
        peers.dcmsend(service.port, "IMAGEPACS", [real("test-SR.dcm")])
        answered_s = time.monotonic()
        return max(0.0, reports.wait(1)[0].at_s - answered_s)


def living_beside(files: list[Path], other_alive: bool, folder: Path) -> float:
    """Objects a second at LIVING, from the first byte sent to the last delivered, with OTHER alive or off."""
    living, other = (peers.storescp(folder / name, "--ignore") for name in ("living", "other"))
    if other_alive:
        other.start()
    try:
        with peers.running(living), peers.leyden(folder, {"LIVING": living.port, "OTHER": other.port}, BOTH) as service:
            begin_s = time.monotonic()
            peers.dcmsend(service.port, "LIVING", files)
            peers.wait_delivered(service, "LIVING", len(files))
            return len(files) / (time.monotonic() - begin_s)
    finally:
        other.stop()


def compression(files: list[Path], folder: Path) -> float:
    """MB/s of data sets through receive, compress and deliver with as many workers as cores."""
    far = peers.storescp(folder / "far", "--ignore", "+xa")
    service = peers.Service(folder, peers.node("DEST", far.port, TransferSyntax=J2K), arenaMib=256)
    with peers.running(far), peers.serving(service):
        begin_s = time.monotonic()
        peers.dcmsend(service.port, "DEST", files)
        peers.wait_delivered(service, "DEST", len(files))
        return sum(path.stat().st_size for path in files) / 1e6 / (time.monotonic() - begin_s)


def main() -> None:
    with rig.Run(rig.parser(__doc__).parse_args()) as run:
        count = 100 if run.quick else 300
        files = objects.write_files(run.folder / "files", "ct", count)
        run.compare(
            f"a report behind {count} CT that wait for the codec", "s", {"Leyden": partial(report_behind_images, files)}
        )
        dead = "the other one off"
        run.compare(
            f"delivered to the one of two destinations, {count} CT",
            "objects/s",
            {"both alive": partial(living_beside, files, True), dead: partial(living_beside, files, False)},
            ours=(dead,),
        )
        run.compare(f"{count} CT to JPEG 2000 lossless", "MB/s", {"Leyden": partial(compression, files)})


if __name__ == "__main__":
    main()
