"""The metrics of a running service, as Prometheus gets them over HTTP."""

import urllib.request
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families
from pydicom.data import get_testdata_file

from support.peers import Pacs, run_dcmtk
from support.promtool import promtool
from support.service import Service, free_port, node, wait_for

CT = str(get_testdata_file("CT_small.dcm"))


def test_what_an_object_does_can_be_read_over_http(service: Callable[..., Service], pacs: Callable[..., Pacs]) -> None:
    """After one object has gone all the way, each of its steps is in the metrics, and promtool finds no fault."""
    port = free_port()
    there = pacs("PACS")
    leyden = service(
        node("PACS", there.port, TransferSyntax="JPEG2000Lossless"), api=f"{{enabled: true, port: {port}}}"
    ).start()

    def read() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            return bytes(answer.read())

    def values() -> dict[tuple[str, ...], float]:
        return {
            (sample.name.removeprefix("leyden_"), *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(read().decode())
            for sample in family.samples
        }

    def answers() -> bool:
        try:
            return bool(read())
        except OSError:
            return False

    wait_for(answers, why="the console to answer")
    run_dcmtk("storescu", "-aet", "CT1", "-aec", "PACS", "127.0.0.1", str(leyden.port), CT)
    wait_for(lambda: ("delivered_objects_total", "PACS", "JPEG2000Lossless") in values())
    now = values()
    assert now["up",] == 1
    assert now["received_objects_total", "CT1", "ExplicitVRLittleEndian"] == 1
    assert now["made_objects_total", "JPEG2000Lossless"] == 1
    assert now["delivery_latency_seconds_count", "PACS"] == 1
    assert 0 < now["delivery_latency_seconds_sum", "PACS"] < 60
    assert now["response_seconds_count",] == 1
    assert now["codec_pixel_bytes_total", "JPEG2000Lossless"] == 128 * 128 * 2
    assert now["role_up", "console-0"] == 1
    assert now["config_last_reload_successful",] == 1
    assert promtool("check", "metrics", given=read()) == ""
