"""The API of a real service against its own OpenAPI document: schemathesis makes requests of it, right and wrong."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from support.objects import make_cts
from support.peers import run_dcmtk
from support.service import Service, free_port, node, wait_for

NOT_TRIED = ("get_api_live", "post_api_service_reload", "put_api_nodes_ae")  # endless; a second or more each
EXAMPLES = 8


def test_the_api_does_what_its_document_says(service: Callable[..., Service], tmp_path: Path) -> None:
    """Each answer has a status, a type and a form that the document names; what it allows is taken, what it does not
    is refused; without a token nothing is given that needs one; and nothing is answered 500."""
    tool = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if tool is None:
        assert "CI" not in os.environ, "schemathesis is in the deps of tox.ini"
        pytest.skip("no schemathesis")
    port = free_port()
    api = json.dumps({"enabled": True, "port": port, "requestsPerSecond": 10000})
    box = service(node("PACS", free_port()), api=api).start()
    token = box.leyden("token", "new", "schemathesis", "--role", "operate").stdout.strip()
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": f"Bearer {token}"}, timeout=30)
    wait_for(lambda: _answers(http), why="the console")
    files = map(str, make_cts(tmp_path / "in", 4, rows=16, columns=16))
    assert run_dcmtk("storescu", "-aec", "PACS", "127.0.0.1", str(box.port), *files).returncode == 0
    wait_for(lambda: http.get("/api/queue/items", params={"dest": "PACS"}).json()["data"]["total"] == 4)
    item = http.get("/api/queue/items").json()["data"]["items"][0]["id"]
    study = http.get(f"/api/queue/items/{item}").json()["data"]["tags"]["StudyInstanceUID"]
    (tmp_path / "schemathesis.toml").write_text(
        f'[parameters]\n"path.ae" = "PACS"\n"path.id" = "{item}"\n"path.uid" = "{study}"\n'
    )
    done = subprocess.run(
        [
            *(tool, "--config-file", str(tmp_path / "schemathesis.toml"), "run", f"{http.base_url}/api/openapi.json"),
            *(word for each in NOT_TRIED for word in ("--exclude-operation-id", each)),
            *("--header", f"Authorization: Bearer {token}", "--checks", "all"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--seed", "1"),
            *("--request-timeout", "60", "--suppress-health-check", "all", "--no-shrink", "--warnings", "off"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "a fault of ours" not in box.log
    http.close()


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/health/live").status_code == 200
    except httpx.TransportError:
        return False
