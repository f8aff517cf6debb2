"""`leyden tune` on a real folder: what it measures, what it says, what it writes, and what it leaves alone."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import psutil
import pytest

from support.objects import make_ct
from support.peers import Pacs
from support.service import Service, free_port, node, wait_ended

COMMENTS = "# the box in the cellar\r\nscpPort: {port}  # plain\r\nminFreeSpace: 1\r\nworkers: 300\r\n"


def leyden(*words: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "leyden", *map(str, words)], capture_output=True, text=True, timeout=120,
        env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_folder_with_a_past_is_measured_and_set(tmp_path: Path) -> None:
    """Objects have gone through; then everything is measured, a slow line is supposed, and the advice is written."""
    folder = tmp_path / "service"
    pacs = Pacs("PACS").start()
    service = Service(folder, node("PACS", pacs.port, TransferSyntax="JPEGLSLossless"), workers=1).start()
    try:
        files = [tmp_path / f"{n}.dcm" for n in range(3)]
        for n, path in enumerate(files):
            make_ct(path, n)
        assert leyden("send", f"127.0.0.1:{service.port}", "--called", "PACS", *files).returncode == 0
        pacs.wait(3)
    finally:
        service.end()
    config = "\ufeff" + COMMENTS.format(port=free_port())
    (folder / "config.yml").write_bytes(config.encode())
    nodes = (folder / "nodes.yml").read_bytes()
    images, svg = tmp_path / "images", tmp_path / "plot.svg"
    images.mkdir()
    make_ct(images / "a.dcm", 7, rows=256, columns=256)
    try:
        done = leyden(
            "tune", "--path", folder, images, "--seconds", 0.05, "--probe", "PACS", "--rtt-ms", 4000, "--line-mbit", 8,
            "--arrival", "50/s", "--json", "--write", "--plot", svg, LEYDEN_WORKERS="7",
        )  # fmt: skip
    finally:
        pacs.stop()
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["arrivals"]["peak_per_s"] == 3 / 60
    assert said["round_trips_s"]["PACS"] > 0
    assert set(said["by_syntax"]) == {"as it came", "JPEG2000Lossless", "HTJ2KLossless", "JPEGLSLossless"}
    assert said["expected"]["syntax"] == "JPEGLSLossless"
    assert said["expected"]["bottleneck"] in ("line", "round trip")  # as many associations as make them equal
    assert said["machine"]["roles"].keys() == {"receiver", "planner", "sender", "worker"}
    assert said["peak_per_s"] == 50
    assert said["disk_lasts_s"]["PACS"] > 0
    advice = said["advice"]
    assert (folder / "config.yml").read_bytes() == config.replace("300", str(advice["workers"])).encode()
    assert (folder / "config.yml.before-tune").read_bytes() == config.encode()
    associations = advice["maxAssociations"]["PACS"]
    assert associations > 4
    assert f"MaxAssociations: {associations}\n" in (folder / "nodes.yml").read_text()
    assert (folder / "nodes.yml.before-tune").read_bytes() == nodes
    assert "LEYDEN_WORKERS is set, which wins over workers" in done.stderr
    assert leyden("check", "--path", folder).returncode == 0
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert not list((folder / "cache").glob("tune-*"))
    assert set(os.listdir(folder / "cache")) <= set(os.listdir(service.spool))


def test_a_folder_without_a_past_is_told_in_words(tmp_path: Path) -> None:
    """Nothing is sent to anybody, nothing is written, and the spool is not made."""
    (tmp_path / "config.yml").write_text(f"scpPort: {free_port()}\n")
    (tmp_path / "nodes.yml").write_text(node("PACS", free_port()))
    done = leyden("tune", "--path", tmp_path, "--seconds", 0.05)
    assert done.returncode == 0, done.stderr
    for line in ("Arrivals: the journal knows of none", "PACS: nothing is known", "workers: 1", "as it came"):
        assert line in done.stdout
    assert sorted(os.listdir(tmp_path)) == ["config.yml", "nodes.yml"]


MEASURED_SERVICE = """
import pathlib, sys
from leyden.tune import trip
with trip.service(pathlib.Path(sys.argv[1]), 1, {trip.PASSED: ""}) as running:
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_measurement_that_is_killed_leaves_no_service(tmp_path: Path) -> None:
    """Whatever ends it: nobody would stop that service any more."""
    words = [sys.executable, "-c", MEASURED_SERVICE, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tune:
        assert tune.stdout is not None
        assert tune.stdout.readline() == "ready\n"
        service = psutil.Process(tune.pid).children(recursive=True)
        assert len(service) >= 5
        tune.kill()
    wait_ended(service)


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("--cores", "16", "--write"), 2, "--write sets this machine"),
        (("--probe", "NOBODY"), 2, "no such node"),
        (("--syntax", "JPEG3000"), 2, "makes no such transfer syntax"),
        (("--line-mbit", "0"), 2, "not a number above 0"),
        (("nowhere.dcm",), 1, "nowhere.dcm"),
    ],
)
def test_what_cant_be_is_told_before_anything_is_measured(
    tmp_path: Path, words: tuple[str, ...], code: int, why: str
) -> None:
    """A wrong word costs nobody half a minute."""
    (tmp_path / "config.yml").write_text("scpPort: 1040\n")
    (tmp_path / "nodes.yml").write_text(node("PACS", 104))
    done = leyden("tune", "--path", tmp_path, *words)
    assert done.returncode == code
    assert why in done.stderr
    assert "measuring" not in done.stderr
