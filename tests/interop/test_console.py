"""The console of a real service: it tells the truth, does what it is told, and harms nothing when it dies."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.console import TOKEN, bearer
from support.objects import make_cts
from support.peers import Pacs, run_dcmtk
from support.service import Service, files_below, free_port, node, wait_for


def api(**keys: object) -> str:
    """The value of the key api, as YAML in one line."""
    return json.dumps({"enabled": True, "token": TOKEN, "requestsPerSecond": 1000, **keys})


class Box:
    """A service with a console, and a client that holds a token."""

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        self.port = port
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=bearer(TOKEN), timeout=30)

    def start(self) -> "Box":
        self.service.start()
        wait_for(self.answers, why="the console")
        return self

    def answers(self) -> bool:
        try:
            return self.http.get("/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, method: str, path: str, status: int = 200, **keys: Any) -> Any:
        """The data, or the error, of a call."""
        answer = self.http.request(method, path, **keys)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        found = answer.json()
        assert found["ok"] is (status == 200)
        return found["data"] if status == 200 else found["error"]


@pytest.fixture
def box(service: Callable[..., Service]) -> Iterator[Callable[..., Box]]:
    made: list[Box] = []

    def make(nodes: str, *, keys: dict[str, object] | None = None, **config: object) -> Box:
        given = {"port": free_port(), **(keys or {})}
        made.append(Box(service(nodes, api=api(**given), **config), int(str(given["port"]))))
        return made[-1]

    yield make
    for one in made:
        one.http.close()


def store(port: int, files: Sequence[Path], calling: str = "CT01") -> None:
    """By DCMTK, to PACS."""
    done = run_dcmtk("storescu", "-aet", calling, "-aec", "PACS", "127.0.0.1", str(port), *map(str, files))
    assert done.returncode == 0, done.stderr


def told(service: Service, kind: str) -> list[dict[str, Any]]:
    """The events of a kind that stand in the journal, the oldest first."""
    lines = [
        json.loads(line)
        for path in files_below(service.spool / "journal")
        if path.suffix == ".jsonl"
        for line in path.read_bytes().splitlines()
    ]
    return sorted((line for line in lines if line["event"] == kind), key=lambda line: line["at_s"])


def test_health_turns_with_the_receivers(box: Callable[..., Box]) -> None:
    """200 "only while the service can receive": stopped receivers are seen at the front door."""
    it = box(node("PACS", free_port()), receivers=2).start()
    assert it.http.get("/health", headers={"authorization": ""}).json() == {"status": "ok", "reasons": []}
    receivers = [it.service.role(f"receiver-{number}") for number in range(2)]
    for process in receivers:
        process.send_signal(signal.SIGSTOP)
    try:
        wait_for(lambda: it.http.get("/health").status_code == 503, why="health to turn")
        (reason,) = it.http.get("/health").json()["reasons"]
        assert reason == f"no receiver answers on port {it.service.port} within 2 s"
        assert it.http.get("/health/live").status_code == 200
        assert it.http.get("/api/queue/health").json()["status"] == "unhealthy"
    finally:
        for process in receivers:
            process.send_signal(signal.SIGCONT)
    wait_for(lambda: it.http.get("/health").status_code == 200, why="health to turn back")
    assert "HEALTHCHECK" not in it.service.log, "who asks each second does not fill the log"


def test_health_turns_with_the_disk(box: Callable[..., Box], tmp_path: Path) -> None:
    """200 only while "the disk has room": space, and rights to write."""
    place = tmp_path / "small"
    place.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True, capture_output=True)
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("no tmpfs here: that takes root")
    it = None
    try:
        it = box(node("PACS", free_port()), cachePath=str(place / "cache"), minFreeSpace=20, journalMib=1).start()
        assert it.http.get("/health").status_code == 200
        filling = place / "filling"
        filling.write_bytes(bytes(56 << 20))
        wait_for(lambda: it.http.get("/health").status_code == 503, why="health to turn")
        wait_for(
            lambda: any("less than minFreeSpace (20 %)" in each for each in it.http.get("/health").json()["reasons"])
        )
        filling.unlink()
        wait_for(lambda: it.http.get("/health").status_code == 200, why="health to turn back")
        subprocess.run(["mount", "-o", "remount,ro", place], check=False, capture_output=True)
        embryo = place / "cache" / "embryo"
        os.rename(embryo, place / "cache" / "gone")
        wait_for(lambda: "the spool can't be written: No such file or directory" in it.http.get("/health").text)
        os.rename(place / "cache" / "gone", embryo)
    finally:
        if it is not None:
            it.service.end()
        subprocess.run(["umount", "-l", place], check=True)


def test_an_operator_does_by_the_api_what_he_does_at_the_command_line(
    box: Callable[..., Box], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Pause, look, retry, delete, resume; and the journal knows who did it."""
    archive = pacs("PACS")
    it = box(node("PACS", archive.port, Aliases="ARCHIVE")).start()
    assert it.ask("GET", "/api/system/info")["aeTitle"] == "LEYDEN"
    assert it.ask("POST", "/api/nodes/ARCHIVE/echo")["success"] is True
    paused = it.ask("POST", "/api/nodes/PACS/pause", json={"reason": "new archive", "seconds": 3600})
    assert (paused["aeTitle"], paused["pause"]["who"], paused["pause"]["reason"]) == (
        "PACS",
        "config.yml",
        "new archive",
    )
    store(it.service.port, make_cts(tmp_path / "in", 3, rows=16, columns=16))
    wait_for(lambda: it.ask("GET", "/api/queue/items", params={"dest": "ARCHIVE"})["total"] == 3)
    found = it.ask("GET", "/api/queue/items", params={"state": "prepared", "source": "CT01", "limit": 2})
    assert (found["total"], len(found["items"]), found["limit"]) == (3, 2, 2)
    first = it.ask("GET", f"/api/queue/items/{found['items'][0]['id']}")
    assert (first["destination"], first["source"]) == ("PACS", "CT01")
    assert first["tags"]["Modality"] == "CT"
    seen = f'"did":"look at an object","destination":"PACS","detail":"{first["id"]}"'
    journal = it.service.spool / "journal" / "console-0.jsonl"
    assert seen in journal.read_text(), "who sees what identifies a patient is known"
    assert it.ask("GET", "/api/queue/items", params={"search": first["sopInstanceUid"]})["total"] == 1
    assert it.ask("GET", "/api/queue/items", params={"search": first["tags"]["StudyInstanceUID"]})["total"] == 3
    assert it.ask("GET", "/api/queue/items", params={"search": "1.2.3"})["total"] == 0
    of_modality = [it.ask("GET", "/api/queue/items", params={"modality": each})["total"] for each in ("CT", "MR")]
    assert of_modality == [3, 0]
    path = f"/api/queue/items/{first['id']}"
    assert it.ask("POST", f"{path}/retry", 409)["code"] == "not_possible"
    assert it.ask("POST", f"{path}/reject")["count"] == 1
    assert it.ask("GET", path)["state"] == "rejected"
    assert it.ask("POST", "/api/queue/actions/retry-rejected?destination=OTHER", 404)["code"] == "not_found"
    assert it.ask("POST", "/api/queue/actions/retry-rejected?destination=PACS")["count"] == 1
    assert it.ask("DELETE", path)["count"] == 1
    assert it.ask("DELETE", path, 404)["code"] == "not_found"
    assert it.ask("POST", "/api/nodes/PACS/resume")["pause"] is None
    it.service.wait_empty()
    assert len(archive.arrivals) == 2
    study = it.ask("GET", f"/api/studies/{first['tags']['StudyInstanceUID']}")
    assert (study["received"], study["complete"]) == (3, False)
    assert [each["state"] for each in study["missing"]] == ["gone"]
    done = [
        (each["who"], each["through"], each["did"])
        for each in told(it.service, "operated")
        if each["through"] != "supervisor" and each["did"] not in ("start", "look at an object")
    ]
    verbs = ("echo", "pause", "reject", "retry", "delete", "resume")
    assert done == [("config.yml", "api", verb) for verb in verbs]
    assert b"leyden_delivered" in it.http.get("/metrics").content


def test_the_service_pauses_and_reloads_by_the_api(box: Callable[..., Box], tmp_path: Path) -> None:
    """All four flags; a reload says what changes, and what waits for a restart, by its key."""
    it = box(node("PACS", free_port())).start()
    assert it.ask("GET", "/api/service/status")["allPaused"] is False
    assert it.ask("POST", "/api/service/pause")["allPaused"] is True
    assert it.ask("GET", "/api/service/processing-status") == {
        "allPaused": True, "checkedOutItems": 0, "activeJobs": 0, "idle": True,
    }  # fmt: skip
    assert it.ask("POST", "/api/service/resume")["storageScu"] is False
    path = it.service.folder / "config.yml"
    path.write_text(path.read_text().replace(TOKEN, "another-token-of-this-box").replace(f": {it.port}", ": 1"))
    said = it.ask("POST", "/api/service/reload")
    assert said["result"] == "changed"
    assert "config.yml: api.token (not shown) -> (not shown)" in said["changes"]
    assert f"api.port stays {it.port}: it takes a restart to make it 1" in said["warnings"]
    wait_for(lambda: it.http.get("/api/queue/items").status_code == 403, why="the old token to be worth nothing")
    assert it.http.get("/api/queue/items", headers=bearer("another-token-of-this-box")).status_code == 200


def test_a_node_is_changed_in_its_file_while_it_is_drained(box: Callable[..., Box], pacs: Callable[..., Pacs]) -> None:
    """PUT: 409 unless paused and drained; the comments of nodes.yml stay; what is wrong is not written."""
    archive = pacs("PACS")
    it = box(node("PACS", free_port()) + "# the archive\n").start()
    path = it.service.folder / "nodes.yml"
    before = path.read_text()
    wanted = {"role": "Storage", "port": archive.port, "minimumLineSpeed": 100}
    assert it.ask("PUT", "/api/nodes/PACS", 409, json=wanted)["code"] == "not_drained"
    assert path.read_text() == before
    it.ask("POST", "/api/nodes/PACS/pause")
    wrong = wanted | {"transferSyntax": "JPEG9000"}
    wait_for(lambda: it.http.put("/api/nodes/PACS", json=wrong).json()["error"]["code"] == "not_changed")
    assert "JPEG9000" in it.ask("PUT", "/api/nodes/PACS", 409, json=wrong)["message"]
    assert path.read_text() == before
    changed = it.ask("PUT", "/api/nodes/PACS", json=wanted)
    assert changed["node"]["port"] == archive.port
    assert {"node PACS: MinimumLineSpeed 500 -> 100"} < set(changed["changes"])
    assert path.read_text().endswith("# the archive\n")
    assert it.ask("GET", "/api/nodes/PACS")["port"] == archive.port
    it.ask("POST", "/api/nodes/PACS/resume")
    assert it.ask("POST", "/api/nodes/PACS/echo")["success"] is True


def test_a_token_of_the_command_line_is_valid_at_once_and_until_it_is_revoked(box: Callable[..., Box]) -> None:
    """`leyden token new` prints it once; the running console knows it, and forgets it, without a reload."""
    it = box(node("PACS", free_port())).start()
    token = it.service.leyden("token", "new", "Grafana").stdout.strip()
    assert it.http.get("/api/queue/items", headers=bearer(token)).status_code == 200
    assert it.http.post("/api/service/pause", headers=bearer(token)).status_code == 403
    listed = it.service.leyden("token", "list").stdout
    assert "Grafana" in listed
    assert token not in listed
    assert it.service.leyden("token", "new", "Grafana").returncode == 1
    nodes = it.service.folder / "nodes.yml"
    nodes.write_text("- AeTitle: [")  # a token that leaked is taken back whatever is wrong in the files
    assert it.service.leyden("token", "revoke", "Grafana").returncode == 0
    assert it.http.get("/api/queue/items", headers=bearer(token)).status_code == 403
    changed = [(each["did"], each["detail"]) for each in told(it.service, "operated") if "token" in each["did"]]
    assert changed == [("token new", "Grafana, read"), ("token revoke", "Grafana")]
    assert token not in it.service.log


def test_its_death_under_load_harms_nothing(box: Callable[..., Box], pacs: Callable[..., Pacs], tmp_path: Path) -> None:
    """SIGKILL while objects pass through and clients ask: each object arrives, and the console comes again."""
    archive = pacs("PACS")
    it = box(node("PACS", archive.port)).start()
    files = make_cts(tmp_path / "in", 40, rows=64, columns=64)
    for turn in range(4):
        before = it.service.role("console-0")
        pid = before.pid
        store(it.service.port, files[turn * 10 : turn * 10 + 5])
        it.http.get("/api/queue/items")
        before.send_signal(signal.SIGKILL)
        store(it.service.port, files[turn * 10 + 5 : turn * 10 + 10])
        wait_for(lambda old=pid: it.answers() and it.service.role("console-0").pid != old, why="the next console")
    it.service.wait_empty()
    assert len({arrival.sop_instance_uid for arrival in archive.arrivals}) == 40
    assert "planner-0 ended" not in it.service.log


def test_where_it_is_not_asked_for_it_does_not_run(service: Callable[..., Service]) -> None:
    """`api.enabled: false`, or no key at all: there is no console process."""
    port = free_port()
    running = service(node("PACS", free_port()), api=api(port=port, enabled=False)).start()
    assert not [process for process in running.processes() if "console" in process.cmdline()]
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/health")


def test_curl_and_the_log_name_the_port_that_is_taken(box: Callable[..., Box]) -> None:
    """A "busy port: the next"; the log says which one it is."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        it = box(node("PACS", free_port()), keys={"port": port})
        it.service.start()
        line = next((line for line in it.service.lines if "the console serves" in line), "")
        line = line or it.service.wait_line("the console serves")
    url = line.split("serves ")[1].strip()
    assert url != f"http://127.0.0.1:{port}"
    done = subprocess.run(["curl", "-sf", f"{url}/health/live"], capture_output=True, text=True, timeout=30)
    assert done.stdout == "alive\n"
    said = json.loads((it.service.spool / "state" / "service.console.json").read_text())
    assert said == {"pid": it.service.role("console-0").pid, "url": url}
