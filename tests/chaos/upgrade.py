"""A spool that an earlier version left when it was killed at work, in every stage (support/recorded_spool.py)."""

import random
from collections import Counter
from pathlib import Path

import orjson

from chaos.scene import Scene
from leyden.spool.format import FORMAT
from support.proof import Rig, count, make_objects, missing, receipts
from support.recorded_spool import OBJECTS, unpack

RECORDED = sorted((Path(__file__).parents[1] / "data").glob("spool-format-*.tar.xz"))
NEW = 60


def play(folder: Path, chance: random.Random) -> dict[str, int]:
    """Each that was recorded. Returns how many objects stood in it. Raises AssertionError."""
    return {recorded.name: upgrade(folder / recorded.stem, recorded) for recorded in RECORDED}


def upgrade(folder: Path, recorded: Path) -> int:
    """What was left is delivered while more comes in: each stage, the rules of copies, what peers took, receipts, the
    journal."""
    folder.mkdir()
    rig = Rig(folder, expiryThreshold=0, storageReceiptExpiryHours=87600)
    unpack(recorded, rig.service.spool)
    left = make_objects(folder / "objects", OBJECTS)
    delivered = {(line["sop_instance_uid"], line["destination"]) for line in receipts(rig.service.spool)}
    stages = {path.relative_to(rig.service.spool).parts[0] for path in rig.service.left()}
    assert stages >= {"new", "transform", "prepared", "deferred", "rejected"}
    assert delivered
    standing = len(rig.service.left())
    rig.objects += left
    rig._made = OBJECTS
    try:
        rig.start_archives()
        rig.service.start()
        load = rig.load(NEW, 4).join()
        rig.service.wait_empty()
        story = orjson.loads(rig.service.leyden("trace", left[0].uid, "--json").stdout)
        assert rig.service.stop() == 0
    finally:
        rig.end()
    assert (rig.service.spool / "format").read_text().startswith(f"{FORMAT}\n")
    found = count(rig.service.spool, rig.archives, rig.objects, Counter({each.uid: 1 for each in left}) + load.sends)
    assert not found.faults
    lost = missing(found, rig.objects, {each.uid for each in rig.objects})
    assert set(lost) == {f"{uid} for {title}" for uid, title in delivered}, "delivered before, and not again"
    assert not found.again
    assert {"received", "delivered"} <= {event["event"] for event in story["objects"][0]["events"]}
    return standing


SCENE = Scene(
    "upgrade",
    play,
    (
        ("a spool that an older version left at work", f"recorded ones, and {NEW} new objects meanwhile",
         "all is delivered that was not, and nothing again", ""),
        ("a spool of a newer version", "a number of the format that is one higher (tests/interop/test_upgrade.py)",
         "the start is refused, and nothing is touched", ""),
    ),
    rounds=5,
)  # fmt: skip
