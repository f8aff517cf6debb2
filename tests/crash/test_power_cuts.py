"""Power cuts: that one on an image does lose what is not synced, and what an operator has done outlives it.

What was promised outlives it too: tests/chaos. Skipped where loop mounts are not allowed.
"""

from contextlib import ExitStack
from pathlib import Path

import pytest

from chaos.rig import Rig, Site
from leyden.operate.queue import reject
from leyden.operate.select import Filter
from leyden.spool.stage import Stage
from leyden.spool.store import Spool
from support.faults import Call
from support.volume import Volume


@pytest.mark.parametrize(
    ("what", "lost"), [("as it is", False), ("folders not synced", True), ("syncSpool false", True)]
)
def test_a_power_cut_loses_what_is_not_synced(what: str, lost: bool, tmp_path: Path) -> None:
    """syncSpool "false: earlier, and a power cut may lose objects" (docs/configure.md); true: none.
    A few objects are promised, and the power is cut at once: how many stand in the spool after it?"""
    rig = Rig(tmp_path, Site("ext4", (("syncSpool", "false" if what == "syncSpool false" else "true"),)))
    assert rig.volume is not None
    try:
        with ExitStack() as stack:
            if what == "folders not synced":
                stack.enter_context(rig.faults.rule(Call.FOLDER_SYNC))
            rig.start()
            for destination in rig.destinations.values():  # so that nothing leaves the spool
                destination.die()
            rig.volume.sync()
            rig.load(6)
            rig.wait_promised(6)
            rig.volume.cut()
            rig.kill_all()
        rig.volume.remount()
        content = b"".join(path.read_bytes() for path in rig.service.left() if path.parent.name != "embryo")
        standing = {uid for uid in rig.source.promised if uid.encode() in content}
    finally:
        rig.end()
    assert (standing != rig.source.promised) == lost


def test_what_an_operator_rejected_stays_so_over_a_power_cut(tmp_path: Path) -> None:
    """A start tries again what failed, and what a destination rejected, but not what a person took out."""
    volume = Volume(tmp_path / "image", tmp_path / "spool")
    try:
        spool = Spool(volume.place)
        spool.prepare(["PACS"])
        queue = volume.place / "prepared" / "PACS" / "00" / "17000000"
        queue.mkdir(parents=True)
        for number in range(3):
            (queue / f"170000000000000000000{number}.0a0a0a0a.0b0b0b0b.0c0c0c0c.dcm").write_bytes(b"object")
        volume.sync()
        assert reject(volume.place, Filter(), who="alice", through="command line").count == 3
        volume.cut()
        volume.remount()
        assert spool.retry(Stage.REJECTED, at_start=True) == 0
        assert len(list((volume.place / "rejected" / "PACS").glob("*.dcm"))) == 3
    finally:
        volume.end()
