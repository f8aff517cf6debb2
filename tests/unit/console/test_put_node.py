"""A node that is changed by the API is told to the journal, also where the service does not say what came of it."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from leyden.console import node_file
from leyden.console.calls import nodes
from leyden.deliver.destination import Destination
from leyden.operate.service import Reloading
from support.console import TOKEN, bearer, serving, sha256


def test_a_change_that_the_service_does_not_answer_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str, str]] = []
    monkeypatch.setattr(nodes, "drained", lambda *_: True)
    monkeypatch.setattr(node_file, "change", lambda *_: True)
    monkeypatch.setattr(nodes, "reload", lambda *_: Reloading(1))
    with serving(tmp_path, token=sha256(TOKEN)) as web, web.client(headers=bearer(TOKEN)) as client:
        console = web.console
        console.settings = replace(console.settings, destinations=(Destination("PACS", "127.0.0.1", 104),))
        monkeypatch.setattr(
            console, "operated", lambda asked, did, destination, detail: told.append((asked.who, did, destination))
        )
        assert client.put("/api/nodes/PACS", json={"role": "Storage", "port": 105}).status_code == 504
    assert told == [("config.yml", "change node", "PACS")]
