"""The main job by the clock: a report behind images, one dead destination beside a living one, the codec's rate.

    python perf/main_job.py [--rounds 5]

Needs DCMTK and the packages of the tests. Compare only what one run printed, and only as ratios.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.objects import make_cts, real
from support.peers import Pacs, Storescp, run_dcmtk
from support.service import EXAMPLE_ROUTINGS, Service, free_port, node

BOTH = "- Actions:\n    - Target: LIVING\n    - Target: OTHER\n"


def send(port: int, called: str, files: list[Path]) -> float:
    """Seconds that dcmsend needed; it must have been answered Success for all."""
    begin_s = time.monotonic()
    done = run_dcmtk("dcmsend", "-dn", "-aet", "CT01", "-aec", called, "127.0.0.1", str(port), *map(str, files))
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.monotonic() - begin_s


def report_behind_images(folder: Path, files: list[Path]) -> float:
    """Seconds from the answer to the modality until a report is at its PACS, while `files` wait for the codec."""
    images, reports = Pacs("IMAGEPACS").start(), Pacs("REPORTPACS").start()
    nodes = node("IMAGEPACS", images.port, TransferSyntax="JPEG2000Lossless", Impersonate="true")
    leyden = Service(folder, nodes + node("REPORTPACS", reports.port, Impersonate="true"), EXAMPLE_ROUTINGS)
    leyden.start()
    try:
        send(leyden.port, "IMAGEPACS", files)
        send(leyden.port, "IMAGEPACS", [real("test-SR.dcm")])
        answered_s = time.monotonic()
        return max(0.0, reports.wait(1)[0].at_s - answered_s)
    finally:
        leyden.end()
        images.stop()
        reports.stop()


def living_beside(folder: Path, files: list[Path], *, other_alive: bool) -> float:
    """Objects a second at LIVING, from the first byte sent to the last delivered, with OTHER alive or off."""
    living = Storescp(folder / "living", "--ignore").start()
    other = Storescp(folder / "other", "--ignore")
    if other_alive:
        other.start()
    leyden = Service(folder, node("LIVING", living.port) + node("OTHER", other.port), BOTH).start()
    try:
        begin_s = time.monotonic()
        send(leyden.port, "LIVING", files)
        wait_delivered(leyden, "LIVING", len(files))
        return len(files) / (time.monotonic() - begin_s)
    finally:
        leyden.end()
        living.stop()
        other.stop()


def wait_delivered(leyden: Service, destination: str, count: int) -> None:
    """Until the receipts prove `count` deliveries; looks seldom, so as not to be what is measured."""
    wanted = f'"destination":"{destination}"'
    while sum(p.read_text().count(wanted) for p in (leyden.spool / "receipts").glob("*.log")) < count:
        time.sleep(0.05)


def compression(folder: Path, files: list[Path]) -> float:
    """MB/s of pixels through receive, compress and deliver with as many workers as cores."""
    sink = Storescp(folder / "sink", "--ignore", "+xa").start()
    leyden = Service(folder, node("SINK", sink.port, TransferSyntax="JPEG2000Lossless"), arenaMib=256).start()
    try:
        begin_s = time.monotonic()
        send(leyden.port, "SINK", files)
        wait_delivered(leyden, "SINK", len(files))
        return sum(p.stat().st_size for p in files) / 1e6 / (time.monotonic() - begin_s)
    finally:
        leyden.end()
        sink.stop()


def receive(folder: Path, files: list[Path], *, ours: bool) -> float:
    """Objects a second into Leyden (durable) or into storescp (which does not sync)."""
    if not ours:
        sink = Storescp(folder / "plain").start()
        try:
            return len(files) / send(sink.port, "ANY", files)
        finally:
            sink.stop()
    leyden = Service(folder, node("NOWHERE", free_port())).start()
    try:
        return len(files) / send(leyden.port, "NOWHERE", files)
    finally:
        leyden.end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{platform.node()} {platform.release()} Python {platform.python_version()}, TCP_NODELAY=1 for DCMTK")
    with tempfile.TemporaryDirectory(prefix="leyden-perf-") as name:
        top = Path(name)
        files = make_cts(top / "cts", 300)
        columns: dict[str, list[float]] = {}
        for n in range(rounds):
            at = top / str(n)
            measured = {
                "report behind 300 CT, s": report_behind_images(at / "a", files),
                "both destinations alive, objects/s": living_beside(at / "b", files, other_alive=True),
                "the other one off, objects/s": living_beside(at / "c", files, other_alive=False),
                "receive durable, objects/s": receive(at / "d", files, ours=True),
                "storescp receive, no sync, objects/s": receive(at / "e", files, ours=False),
                "J2K lossless through, MB/s": compression(at / "f", files),
            }
            for what, figure in measured.items():
                columns.setdefault(what, []).append(figure)
            print(
                f"round {n + 1}: " + ", ".join(f"{what} {figure:.2f}" for what, figure in measured.items()), flush=True
            )
    print("\n| what | median | least | most |\n|---|---|---|---|")
    for what, figures in columns.items():
        print(f"| {what} | {statistics.median(figures):.2f} | {min(figures):.2f} | {max(figures):.2f} |")


if __name__ == "__main__":
    main()
