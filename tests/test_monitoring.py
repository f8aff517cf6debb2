"""examples/monitoring: what Prometheus and Grafana are given names metrics that exist, and is read as it is meant."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from leyden.board import Board
from leyden.config.settings import ConsoleSettings
from leyden.console.metrics import Metrics
from leyden.operate import reading
from leyden.operate.reading import Reading, Result
from leyden.shares import Share, ShareSettings, Walk
from leyden.spool.lock import SpoolLock
from support.promtool import promtool
from support.settings import settings_of

TOP = Path(__file__).resolve().parents[1]
FOLDER = TOP / "examples" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """Every metric: its name as it is asked for -> its type and what it says."""
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "cache").mkdir()
    text = every_metric(folder)
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: (family.type, family.documentation)
        for family in text_string_to_metric_families(text)
    }


def every_metric(folder: Path) -> str:
    """The metrics of a running service with a certificate and shares of the disk: this process is the service."""
    lock = SpoolLock(folder / "cache")
    board = Board([("worker", 0)])
    reading.write(folder / "cache", Reading(1, 1, 1.0, (), Result.STARTED, 1, time.time()))
    try:
        console = ConsoleSettings(certificate="missing.pem")
        settings = settings_of(folder, "PACS", console=console)
        limited = replace(settings, receiver=replace(settings.receiver, shares=ShareSettings(caller_percent=1.0)))
        walk = Walk(os.getpid(), 0.0, 1e9, time.time(), 1, callers=(Share("CT01", "", 1.0, 1.0),))
        (folder / "cache" / "state").mkdir(exist_ok=True)
        (folder / "cache" / "state" / "shares.json").write_bytes(msgspec.json.encode(walk))
        return Metrics(folder / "cache", limited).text().decode()
    finally:
        os.close(board.fd)
        lock.release()


def names(expression: str) -> set[str]:
    found = set(re.findall(r"\bleyden_\w+", expression))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


def expressions(dashboard: Any) -> list[str]:
    """All that the dashboard asks Prometheus for, with values in the places of its variables."""
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    asked += [each["expr"] for each in dashboard["annotations"]["list"]]
    for name, value in (("$__rate_interval", "1m"), ("$instance", ".*"), ("$destination", ".*")):
        asked = [text.replace(name, value) for text in asked]
    assert not [text for text in asked if "$" in text]
    return asked


def test_the_dashboard_asks_for_metrics_that_exist(known: dict[str, Any], tmp_path: Path) -> None:
    asked = expressions(DASHBOARD)
    assert len(asked) > 30
    assert [text for text in asked if not names(text) or not names(text) <= known.keys()] == []
    rules = [{"record": f"asked:{number}", "expr": text} for number, text in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))


def test_each_panel_has_a_place_of_its_own_and_the_chosen_source() -> None:
    panels = DASHBOARD["panels"]
    places = [
        (column, line)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for line in range(place["y"], place["y"] + place["h"])
    ]
    assert len(places) == len(set(places))
    assert max(column for column, _ in places) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    sources = {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"}
    assert sources == {"${datasource}"}


def test_the_alert_rules_hold_what_their_tests_say(known: dict[str, Any], tmp_path: Path) -> None:
    for path in FOLDER.glob("*.yml"):
        shutil.copy(path, tmp_path)
    rules = tmp_path / "rules.yml"
    promtool("check", "rules", str(rules))
    promtool("test", "rules", "rules_test.yml", folder=tmp_path)
    promtool("check", "config", "prometheus.yml", folder=tmp_path)
    assert names(rules.read_text()) <= known.keys()
    tested = (tmp_path / "rules_test.yml").read_text()
    alerts = {rule["alert"] for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]}
    assert {name for name in alerts if name not in tested} == set()


def test_the_page_lists_every_metric_as_the_code_has_it(known: dict[str, tuple[str, str]]) -> None:
    """docs/monitor.md: "every metric"."""
    rows = re.findall(
        r"^\| `(leyden_\w+)` \| (\w+) \| (.*?) \|", (TOP / "docs" / "monitor.md").read_text(), re.MULTILINE
    )
    assert {name: (kind, text) for name, kind, text in rows} == known
