"""`leyden queue` on a real service, running and stopped: what it shows, what it does, and what a peer gets then."""

import json
import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from support.objects import make_cts
from support.peers import Pacs, run_dcmtk
from support.service import Service, free_port, node, wait_for

OBJECTS = 4


def send(service: Service, called: str, *files: Path, calling: str = "CT01") -> None:
    done = run_dcmtk(
        "dcmsend", "-dn", "-aet", calling, "-aec", called, "127.0.0.1", str(service.port), *map(str, files)
    )
    assert done.returncode == 0, done.stderr


def listed(service: Service, *words: str) -> dict:
    done = service.leyden("queue", "list", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return make_cts(tmp_path / "cts", OBJECTS)
