"""Records the spool of a service that was killed at work, as a file for tests of later versions.

`python -m support.recorded_spool FILE`, in tests/, for the version that is installed; to be done at each release whose
spool has a new format (CONTRIBUTING.md). In the spool stand objects of proof.py in every stage in which one can wait.
"""

import signal
import sys
import tarfile
import tempfile
from pathlib import Path

from support.peers import Arrival, Pacs
from support.proof import COMPRESSED, Rig
from support.service import wait_for

OBJECTS = 36  # of proof.make_objects(), from number 0
LEFT_OUT = ("lock", "bell", "arena")
TRANSIENT, FOR_GOOD = 0xA700, 0xC001


def record(folder: Path, file: Path) -> None:
    """Have a service work in `folder`, kill it, and pack its spool into `file` (.tar.xz)."""
    rig = Rig(folder)
    compressed = Pacs(COMPRESSED, port=rig.compressed.port, answer=_refuse)
    try:
        compressed.start()
        rig.as_is.start()
        rig.service.start()
        rig.load(12, 2).join()
        wait_for(lambda: _standing(rig, "rejected") == 4 and not _standing(rig, "prepared"))
        compressed.stop()
        rig.as_is.die()
        rig.load(12, 2).join()
        wait_for(lambda: not _standing(rig, "new") and not _standing(rig, "transform"))
        rig.service.role("worker-0").send_signal(signal.SIGSTOP)
        rig.load(6, 2).join()
        wait_for(lambda: not _standing(rig, "new"))
        rig.service.role("planner-0").send_signal(signal.SIGSTOP)
        rig.load(6, 2).join()
        rig.service.kill_all()
        with tarfile.open(file, "w:xz") as packed:
            for path in sorted(rig.service.spool.iterdir()):
                if path.name not in LEFT_OUT:
                    packed.add(path, path.name)
    finally:
        compressed.stop()
        rig.end()


def unpack(file: Path, spool: Path) -> None:
    spool.mkdir(mode=0o700, parents=True)
    with tarfile.open(file) as packed:
        packed.extractall(spool, filter="data")


def _refuse(arrival: Arrival) -> int:
    return TRANSIENT if int(arrival.sop_instance_uid[-1]) % 2 else FOR_GOOD


def _standing(rig: Rig, stage: str) -> int:
    return sum(path.relative_to(rig.service.spool).parts[0] == stage for path in rig.service.left())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder), Path(sys.argv[1]))
