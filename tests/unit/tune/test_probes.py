"""The probes measure what they say: figures are those of work that was done. How large they are is not looked at."""

import asyncio
import os
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from msgspec.structs import replace

from leyden.config.load import load
from leyden.deliver.destination import Destination
from leyden.dicom import uids
from leyden.errors import LeydenError, Transient
from leyden.tune import codec, disk, echo, images, rules
from leyden.tune.ends import Scp, send
from leyden.tune.model import Cost
from leyden.tune.processes import spent_s
from support.objects import real
from support.peers import Pacs
from support.service import free_port


def test_codecs_are_measured_alone_and_on_all_cores() -> None:
    wanted = {uids.HTJ2K_LOSSLESS: 0.0, uids.JPEG_BASELINE: 90.0}
    found = codec.measure(images.bundled(), wanted, 2, 0.05)
    assert found[uids.JPEG_BASELINE] is None  # 16 bits
    measured = found[uids.HTJ2K_LOSSLESS]
    assert measured is not None
    assert measured.one.pixel_bytes % (2 * 512 * 512) == 0
    assert measured.one.processor_s > 0
    assert measured.cores > 0
    (image,) = images.bundled()
    frame = codec.frame(uids.HTJ2K_LOSSLESS, image)
    assert frame is not None
    assert measured.codec.ratio == pytest.approx(codec.encode(uids.HTJ2K_LOSSLESS, frame) / len(image.native))


def test_a_child_that_dies_is_an_error() -> None:
    (image,) = images.bundled()
    broken = replace(image, native=image.native[:100])
    with pytest.raises(LeydenError, match="ended by itself"):
        codec.measure([broken], {"1.2.3": 0.0}, 1, 0.05)


def test_the_bundled_image_is_the_real_one_mirrored() -> None:
    ct, (image,) = pydicom.dcmread(real("CT_small.dcm")).pixel_array, images.bundled()
    pixels = np.frombuffer(image.native, "<i2").reshape(512, 512)
    assert (pixels[:128, :128] == ct).all()
    assert (pixels[:128, 128:256] == ct[:, ::-1]).all()
    assert (pixels[128:256, :128] == ct[::-1]).all()


@pytest.mark.parametrize(("size_bytes", "side"), [(0, 128), (500_000, 512), (7_500_000, 1920)])
def test_an_object_of_about_a_size(size_bytes: int, side: int) -> None:
    template = images.ct_of(size_bytes)
    assert 2 * side * side < template.size_bytes < 2 * side * side + 10_000


def test_images_of_files(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM")
    (tmp_path / "empty").write_bytes(b"")
    names = ("CT_small.dcm", "examples_rgb_color.dcm", "MR_small_RLE.dcm", "test-SR.dcm", "MR_truncated.dcm")
    found = images.of_files([tmp_path / "text", tmp_path / "empty", *map(real, names)])
    assert [each.name for each in found] == ["CT_small", "examples_rgb_color"]
    assert [each.described.samples for each in found] == [1, 3]


def test_the_disk_is_measured_by_what_it_keeps(tmp_path: Path) -> None:
    found = disk.measure(tmp_path, (1000, 300_000), 0.1)
    kept = [path.stat().st_size for path in (tmp_path / disk.FOLDER / "new").rglob("*.dcm")]
    assert set(kept) == {1000, 300_000}
    assert len(kept) >= 2 * disk.OBJECTS_MIN
    assert min(found.values()) > 0
    assert not list((tmp_path / disk.FOLDER / "embryo").iterdir())


def test_the_cost_of_the_disk() -> None:
    assert disk.cost({0: 1000.0, 1_000_000: 100.0}) == Cost(0.001, pytest.approx(0.009))


def test_processor_time_of_a_process() -> None:
    before, begin_s = spent_s(os.getpid()), time.process_time()
    while time.process_time() - begin_s < 0.1:
        pass
    assert 0.075 < spent_s(os.getpid()) - before < 5
    with pytest.raises(FileNotFoundError):
        spent_s(2**22 + 1)


def test_both_ends_count_the_same() -> None:
    async def trip() -> tuple[int, float]:
        scp = Scp()
        server, port = await scp.serve()
        await send(port, "ANY", [images.ct_of(0)], 25, 3)
        last_s = await scp.wait("ANY", 25, 10)
        with pytest.raises(Transient, match="25 of 26"):
            await scp.wait("ANY", 26, 0.01)
        server.close()
        return scp.arrived["ANY"], last_s

    arrived, last_s = asyncio.run(trip())
    assert arrived == 25
    assert 0 < last_s <= time.monotonic()


def test_a_round_trip() -> None:
    pacs = Pacs("PACS").start()
    try:
        assert 0 < asyncio.run(echo.round_trip_s(Destination("PACS", "127.0.0.1", pacs.port), calling="US")) < 10
    finally:
        pacs.stop()
    with pytest.raises(Transient):
        asyncio.run(echo.round_trip_s(Destination("PACS", "127.0.0.1", free_port()), calling="US"))


def test_rules_cost_the_planner_time(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("filters: route\n")
    (tmp_path / "nodes.yml").write_text("- AeTitle: PACS\n- AeTitle: OTHER\n")
    rule = "- Conditions:\n    - Tag: 0008,0060\n      MatchExpression: ^M[RX]$\n  Actions:\n    - Target: OTHER\n"
    (tmp_path / "routings.yml").write_text(300 * rule)
    settings, _ = load(tmp_path, {}, {})
    assert rules.cost_s(settings.plan) > 20e-6
    assert rules.cost_s(replace(settings.plan, routes=None)) < rules.cost_s(settings.plan)
    assert rules.cost_s(replace(settings.plan, targets=())) == 0.0
