"""The Dockerfile and compose.yaml: linted, and every command of the Dockerfile run as it stands, in a small Debian.

No Docker is needed: what a build does is done here step by step. The context is the sdist, unpacked.
"""

import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import compose_spec
import psutil
import pytest
import yaml

from support.debian import TOP, inside, run
from support.namespaces import own_network
from support.service import ENDS_WITHIN_S, wait_for

pytestmark = pytest.mark.timeout(600)  # the first one waits for all that is built

FILE = TOP / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its text on one line."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def last(word: str) -> str:
    return [text for each, text in instructions() if each == word][-1]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in last("ENV").split())


def sent() -> list[str]:
    """What of the context a build gets: .dockerignore leaves out all but this."""
    everything, *rest = (TOP / ".dockerignore").read_text().split()
    assert everything == "*"
    return [line.removeprefix("!") for line in rest if line.startswith("!")]


def test_hadolint_has_nothing_to_say() -> None:
    run([str(Path(sys.executable).with_name("hadolint")), str(FILE)])


def test_compose_is_what_its_specification_allows_and_fits_the_image() -> None:
    """Checked against the Compose specification; user, volumes and port are those of the Dockerfile."""
    document = yaml.safe_load((TOP / "compose.yaml").read_text())
    compose_spec.ComposeSpecification.model_validate(document)
    leyden = document["services"]["leyden"]
    assert leyden["user"] == last("USER") == "1000:1000"
    assert (
        [volume.partition(":")[2] for volume in leyden["volumes"]] == json.loads(last("VOLUME")) == ["/data", "/cache"]
    )
    assert leyden["ports"] == [f"{last('EXPOSE')}:{last('EXPOSE')}"]
    assert int(leyden["stop_grace_period"].rstrip("s")) > 10  # how long a drain may take
    assert leyden["read_only"]


def test_the_image_knows_the_authorities_of_the_system() -> None:
    """`Tls: true`, a webhook and a mail server are checked by them. The Debian of the test below has them anyway."""
    last_stage = FILE.read_text().rpartition("\nFROM ")[2]
    assert "ca-certificates" in last_stage


@pytest.fixture(scope="module")
def image(debian: Path, sdist: Path, wheelhouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build makes. Both stages begin with the same Debian, so the second one takes place in a copy of the first.

    pip finds the wheels in a folder, which shows that a build needs no others.
    """
    context = tmp_path_factory.mktemp("context")
    with tarfile.open(sdist) as archive:
        archive.extractall(context, filter="data")
    (source,) = context.iterdir()
    final = debian.with_name("final")
    shutil.copytree(wheelhouse, debian / "wheels")
    root, clean = debian, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels", "PIP_NO_COMPILE": "1"}
    run(["cp", "--archive", str(debian), str(final)])
    for word, text in instructions():
        match word:
            case "FROM":
                assert text.startswith("debian:12-slim")
                root = debian if text.endswith(" AS build") else final
            case "RUN":
                run(inside(root, ["sh", "-c", text]), env={**clean, **pip})
            case "COPY" if text == ". /src":
                for name in sent():
                    (root / "src" / name).parent.mkdir(parents=True, exist_ok=True)
                    run(["cp", "--archive", str(source / name), str(root / "src" / name)])
            case "COPY":
                assert text == "--from=build /opt/leyden /opt/leyden"
                run(["mv", str(debian / "opt/leyden"), str(root / "opt/leyden")])
    return final


@pytest.fixture
def _network() -> Iterator[None]:
    with own_network():
        yield


def in_container(image: Path, words: list[str]) -> list[str]:
    """A command as compose.yaml has it run: by 1000:1000, without capabilities, all but the volumes read-only."""
    given = [f"{key}={value}" for key, value in environment().items()]
    volumes = json.loads(last("VOLUME"))
    return inside(image, ["env", "-i", *given, *words], user=last("USER").partition(":")[0], writes=volumes)


@pytest.mark.usefixtures("_network")
def test_the_container_is_configured_starts_is_healthy_and_stops(image: Path) -> None:
    """ENTRYPOINT with `init`, then with CMD; HEALTHCHECK says no before and yes then; SIGTERM ends it in good order."""
    entry, command = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    healthcheck = in_container(image, json.loads(last("HEALTHCHECK").partition(" CMD ")[2]))
    first = subprocess.run(in_container(image, [*entry, *command]), capture_output=True, text=True, timeout=60)
    assert (first.returncode, "leyden init --path /data" in first.stderr) == (2, True)
    run(in_container(image, [*entry, "init", "--path", "/data", "--node", "PACS=192.0.2.1:104,HTJ2KLossless"]))
    assert subprocess.run(healthcheck, capture_output=True, timeout=60).returncode == 1
    with subprocess.Popen(in_container(image, [*entry, *command]), stderr=subprocess.DEVNULL) as service:
        try:
            log = image / "data/log/leyden.log"
            wait_for(lambda: log.exists() and " ready: port 1040" in log.read_text(), why="the service to be ready")
            assert "status 0x0000" in run(healthcheck)
            assert "HEALTHCHECK" not in log.read_text()
            assert (image / "cache/new").stat().st_uid == 1000
            psutil.Process(service.pid).children()[0].terminate()
            assert service.wait(ENDS_WITHIN_S) == 0
            assert "stopped; what was not delivered waits in the spool" in log.read_text()
        finally:
            service.kill()
