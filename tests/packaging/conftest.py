"""What is built once for all tests of the packages, whichever process of `pytest -n` comes first."""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.debian import PYTHON, RELEASE, TOP, bootstrap, run

IN_DEBIAN = ("adduser", "ca-certificates", "python3", "python3-venv", "systemd")
_SHARED = "packages"


def _once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder that `make` fills, made by the first process that asks for it."""
    base = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder = base / _SHARED / name
    folder.parent.mkdir(exist_ok=True)
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder.with_suffix(".done")
        if not done.exists():
            make(folder)
            done.touch()
    return folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hundreds of megabytes that nobody looks at again."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]
        shutil.rmtree(factory.getbasetemp() / _SHARED, ignore_errors=True)


@pytest.fixture(scope="session")
def dists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this tree, and the wheel that is made of that sdist alone."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    return _once(tmp_path_factory, "dists", lambda folder: run([*command, str(folder), str(TOP)]))


@pytest.fixture(scope="session")
def wheel(dists: Path) -> Path:
    return next(dists.glob("*.whl"))


@pytest.fixture(scope="session")
def sdist(dists: Path) -> Path:
    return next(dists.glob("*.tar.gz"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The interpreter of an environment with nothing in it but the wheel and what it brings."""

    def make(folder: Path) -> None:
        run([sys.executable, "-m", "venv", str(folder)])
        run([str(folder / "bin/pip"), "install", "--quiet", "--no-compile", str(wheel)])

    return _once(tmp_path_factory, "installed", make) / "bin/python"


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The wheels that Leyden and its build need on Debian, from pip's cache where they are: loaded once."""
    needed = [str(wheel), "hatchling", "pydantic", "pyyaml", "regex", "pydicom"]
    machine = os.uname().machine
    platforms = [f"--platform=manylinux{glibc}_{machine}" for glibc in ("_2_17", "_2_27", "_2_28", "_2_34", "2014")]
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *platforms]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options]
    return _once(tmp_path_factory, "wheels", lambda folder: run([*command, "--dest", str(folder), *needed]))


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Debian for this module alone, as its installer leaves it."""
    base = _once(tmp_path_factory, "debian", lambda folder: bootstrap(folder, RELEASE, IN_DEBIAN))
    root = tmp_path_factory.mktemp("root", numbered=True) / "debian"
    run(["cp", "--archive", "--reflink=auto", str(base), str(root)])
    return root
