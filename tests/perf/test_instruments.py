"""The measuring instruments count right: what they sent, what came, what was refused, lost or came twice."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest

from support.objects import make_ct, real
from support.peers import listens
from support.service import free_port, wait_for

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

import objects
import peers
import rig
import source
from leyden.tune import plot
from leyden.tune.load import UID_BYTES, Uids, of_file

PERF = peers.HERE


@contextmanager
def sink(*options: object) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """A port with sink.py behind it, and its counts, which are there after the block."""
    port, counts = free_port(), []
    command = [sys.executable, str(PERF / "sink.py"), "--port", str(port), *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: listens(port), 20, "the sink to listen")
        yield port, counts
    finally:
        process.terminate()
        said, _ = process.communicate(timeout=10)
        counts += [json.loads(line) for line in said.splitlines()[-1:]]


def load(port: int, **keys: Any) -> source.Report:
    return source.run(source.Load(port, [objects.made("small")], **{"objects": 40, **keys}))


def test_everything_arrives_once_under_its_own_uid(tmp_path: Path) -> None:
    with sink("--uids", tmp_path / "came") as (port, counts):
        report = load(port, associations=3, uids=tmp_path / "sent")
    assert report.objects == 40
    assert not report.failures
    assert len(report.response_us) == 40
    came = [line.split()[0] for line in (tmp_path / "came").read_text().splitlines()]
    assert sorted(came) == sorted((tmp_path / "sent").read_text().split())
    assert len(set(came)) == 40
    assert counts[0]["objects"] == 40
    assert counts[0]["bytes"] == 40 * objects.made("small").size_bytes
    assert counts[0]["twice"] == counts[0]["lost"] == 0
    assert counts[0]["associations"] == 3


def test_a_sink_tells_the_order_of_arrival(tmp_path: Path) -> None:
    with sink("--order", tmp_path / "order") as (port, _):
        for number in (7, 8):
            path = make_ct(tmp_path / f"{number}.dcm", number, rows=64)
            words = ["send", f"127.0.0.1:{port}", "--called", "SINK", str(path)]
            subprocess.run([sys.executable, "-m", "leyden", *words], check=True, capture_output=True)
    seven, eight = (json.loads(line) for line in (tmp_path / "order").read_text().splitlines())
    assert [(said["association"], said["uid"], said["number"]) for said in (seven, eight)] == [
        (1, "2.25.1001.7", "7"),
        (2, "2.25.1001.8", "8"),
    ]
    assert {said["series"] for said in (seven, eight)} == {"2.25.1001.1"}
    assert seven["begun_s"] <= seven["ended_s"] <= eight["begun_s"]


def test_one_association_an_object_and_many_contexts() -> None:
    with sink() as (port, counts):
        report = load(port, objects=7, per_association=1, contexts=64)
    assert report.objects == report.opened == counts[0]["associations"] == 7
    assert len(source.contexts([objects.made("ct")], 64)) == 64


def test_refusals_are_counted_by_status() -> None:
    with sink("--status", "A700", "--one-in", 4) as (port, counts):
        report = load(port)
    assert report.failures == {"status 0xA700": 10}
    assert report.objects == 30
    assert counts[0]["refused"] == 10


def test_a_sink_that_dies_leaves_its_object_unanswered() -> None:
    with sink("--die-after", 5) as (port, _):
        report = load(port, objects=6)
    assert report.objects == 5
    assert report.failures == {"ConnectionLost": 1}


def test_a_load_keeps_to_its_timetable() -> None:
    with sink("--delay", 0.01) as (port, _):
        report = load(port, objects=10, associations=2, per_s=50.0)
    assert report.objects == 10
    assert report.seconds >= 9 / 50  # the last one is not due before


def test_several_processes_share_a_load() -> None:
    with sink("--check") as (port, counts):
        words = [f"127.0.0.1:{port}", "small", "--objects", "21", "--associations", "4", "--processes", "2", "--json"]
        done = subprocess.run([sys.executable, str(PERF / "source.py"), *words], capture_output=True, text=True)
    assert json.loads(done.stdout)["objects"] == counts[0]["objects"] == 21
    assert counts[0]["twice"] == 0


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm"])
def test_a_file_gets_a_new_uid_and_nothing_else(tmp_path: Path, name: str) -> None:
    uid = Uids(7).next()
    written = pydicom.dcmread(of_file(real(name)).write(tmp_path / "new.dcm", uid))
    original = pydicom.dcmread(real(name))
    assert written.SOPInstanceUID == uid
    original.SOPInstanceUID = uid
    assert list(written) == list(original)


def test_uids_are_of_one_length_and_well_formed() -> None:
    uids = Uids(2**40, 12)
    made = [uids.next() for _ in range(1000)]
    assert {len(uid) for uid in made} == {UID_BYTES}
    assert len(set(made)) == 1000
    assert int(made[0].removeprefix("2.25.")) < 2**128


def test_made_images_are_read_by_others(tmp_path: Path) -> None:
    [path] = objects.write_files(tmp_path, "small", 1)
    image = pydicom.dcmread(path)
    assert image.pixel_array.shape == (image.Rows, image.Columns)
    assert image.pixel_array.max() < 2**image.BitsStored


def test_a_folder_is_a_load(tmp_path: Path) -> None:
    make_ct(tmp_path / "a.dcm", 1)
    make_ct(tmp_path / "b.dcm", 2)
    assert [template.name for template in objects.templates([str(tmp_path), "small*2"])] == [
        "a.dcm", "b.dcm", "small", "small",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no data sets"):
        objects.templates([str(tmp_path / "empty")])


def test_ratios_are_taken_round_by_round() -> None:
    table = rig.Comparison("t", "u", {"a": [10, 40], "b": [5, 10]}, {"c": "not installed"}, ("a",), {"a": "b"})
    assert table.ratios("a", "b") == [2, 4]
    assert table.ratios("a", "c") == []
    assert "| b | 7.5 | 5 | 10.0 | 3.00 (2.00–4.00) |  |" in table.markdown()
    assert "| c | not installed |" in table.markdown()
    assert table.as_json()["rows"][1]["ratios"] == {"a": 3}


def test_ways_take_turns_and_a_missing_one_is_named(tmp_path: Path) -> None:
    turns: list[str] = []

    def way(name: str) -> float:
        turns.append(name)
        return 1.0

    def none(folder: Path) -> float:
        raise peers.Missing("not installed")

    ways = {"a": lambda _: way("a"), "none": none, "b": lambda _: way("b")}
    figures, missing = rig.alternate(ways, 2, tmp_path)
    assert turns == ["a", "b", "a", "b"]
    assert list(figures) == ["a", "b"]
    assert missing == {"none": "not installed"}
    assert not list(tmp_path.iterdir())


def test_a_plot_is_xml_with_a_line_for_each_series(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    plot.write(path, [plot.Chart("A < B", "x", "y", [1, 4, 16], {"one": [1, 2, 3], "two": [None, 5, 9.5]})])
    lines = ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [3, 2]


@pytest.mark.parametrize(("most", "step"), [(9.5, 2), (0, 0.2), (1234, 500), (40, 10)])
def test_a_grid_has_round_steps(most: float, step: float) -> None:
    assert plot.step_for(most) == pytest.approx(step)
