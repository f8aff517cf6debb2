"""Leyden as a service of systemd: its unit, which is the text in leyden.service, its user and its folders."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from string import Template

import msgspec

from leyden.errors import LeydenError

STATE, LOGS = Path("/var/lib/leyden"), Path("/var/log/leyden")
UNIT = Path("/etc/systemd/system/leyden.service")
_MADE_HERE = "# Made by `leyden install-service`."
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@")
_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))  # what ProtectHome hides
_OWN = (Path("/tmp"), Path("/var/tmp"))  # of which PrivateTmp gives the service one of its own
_HIGHEST_LOW_PORT = 1023
_RUNNING = Path("/run/systemd/system")  # sd_booted(3)


class NotInstalled(LeydenError):
    """The service can't be installed, or removed, this way; the text says why and what helps."""


class Site(msgspec.Struct, frozen=True):
    """What the unit of this machine depends on: absolute paths, and the ports that the service opens.

    `written`: further folders that it writes to, such as those of save_file rules.
    """

    command: Path
    path: Path = STATE / "data"
    spool: Path = STATE / "data" / "cache"
    log_dir: Path = LOGS
    user: str = "leyden"
    ports: tuple[int, ...] = ()
    written: tuple[Path, ...] = ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that it writes to, the outer ones only."""
        named = sorted({self.path, self.spool, self.log_dir, *self.written})
        return tuple(each for each in named if not any(other in each.parents for other in named))


def unit(site: Site) -> str:
    """The unit. NotInstalled: it could not work with these folders."""
    for folder in (*site.folders, site.command):
        if any(folder.is_relative_to(own) for own in _OWN):
            raise NotInstalled(f"{folder}: a service has a /tmp of its own (PrivateTmp) and would not see it")
    if any(site.command.is_relative_to(home) for home in _HOMES):
        raise NotInstalled(f"{site.command}: the service can't read a home directory; install Leyden in /opt/leyden")
    state = [each for each in site.folders if each.is_relative_to(STATE)]
    logs = [each for each in site.folders if each.is_relative_to(LOGS)]
    others = [each for each in site.folders if each not in state and each not in logs]
    writes = [
        *(["StateDirectory=leyden leyden/data", "StateDirectoryMode=0700"] if state else []),
        *(["LogsDirectory=leyden", "LogsDirectoryMode=0700"] if logs else []),
        *(f"ReadWritePaths={_word(each)}" for each in others),
    ]
    low = any(0 < port <= _HIGHEST_LOW_PORT for port in site.ports)
    capability = "CAP_NET_BIND_SERVICE" if low else ""  # to open a port below 1024
    bounds = [f"CapabilityBoundingSet={capability}", *([f"AmbientCapabilities={capability}"] if low else [])]
    at_home = any(each.is_relative_to(home) for each in others for home in _HOMES)
    return Template(Path(__file__).with_name("leyden.service").read_text(encoding="utf-8")).substitute(
        folders=" ".join(map(_word, site.folders)),
        user=site.user,
        command=_word(site.command).replace("$", "$$"),
        path=_word(site.path).replace("$", "$$"),
        log_dir=_word(site.log_dir).replace("$", "$$"),
        writes="\n".join(writes),
        home="read-only" if at_home else "true",
        capabilities="\n".join(bounds),
        calls=" capset" if low else "",  # with which the roles give the capability up
    )


def _word(path: Path) -> str:
    """A path as a word of a unit (systemd.syntax(7)). NotInstalled: it holds what can't be written there."""
    text = str(path)
    if not text.isprintable():
        raise NotInstalled(f"{text!r} can't be written into a unit; choose another folder")
    if set(text) <= _SAFE:
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{quoted}"'


def command() -> Path:
    """`leyden` of this installation. NotInstalled: there is none, as where it runs from its sources."""
    # Not resolved: where a link such as /opt/leyden leads to another version later, the unit follows it.
    called = Path(sys.argv[0]).absolute()
    found = called if called.name == "leyden" else Path(sys.executable).with_name("leyden")
    if not os.access(found, os.X_OK):
        raise NotInstalled(f"{found} is not there: install Leyden first (pip install, in a venv in /opt/leyden)")
    python = Path(os.path.realpath(sys.executable))
    if any(python.is_relative_to(home) for home in _HOMES):
        why = f"{python}, which runs Leyden, is in a home directory, which the service can't read"
        raise NotInstalled(f"{why}: make the venv in /opt/leyden with /usr/bin/python3")
    return found


def install(site: Site, root: Path) -> tuple[str, ...]:
    """Make the user, the folders and the unit, below `root`. What is there already stays as it is, but for the unit.

    Returns a line for each thing that was done. NotInstalled, OSError.
    """
    text = unit(site)
    place = _below(root, UNIT)
    if place.exists() and not place.read_text(encoding="utf-8", errors="replace").startswith(_MADE_HERE):
        raise NotInstalled(f"{place} was not made by this command: move it away first")
    done = _make_user(site.user, root)
    owner = _owner(site.user, root)
    for folder in (STATE, *site.folders, site.path, site.spool) if site.path.is_relative_to(STATE) else site.folders:
        done += _make_folder(_below(root, folder), owner)
    place.parent.mkdir(parents=True, exist_ok=True)
    before = place.read_text(encoding="utf-8") if place.exists() else ""
    if before != text:
        new = place.with_name(f".{place.name}.new")
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        os.replace(new, place)
        done.append(f"{'replaced' if before else 'wrote'} {place}")
    return (*done, *_systemctl(root, "daemon-reload"))


def uninstall(root: Path) -> tuple[str, ...]:
    """Stop the service and remove its unit. The user and all folders stay. NotInstalled, OSError."""
    place = _below(root, UNIT)
    if not place.exists():
        raise NotInstalled(f"{place} is not there: no service was installed")
    if not place.read_text(encoding="utf-8", errors="replace").startswith(_MADE_HERE):
        raise NotInstalled(f"{place} was not made by `leyden install-service`, so it is left alone")
    done = _systemctl(root, "disable", "--now", UNIT.name)
    place.unlink()
    return (*done, f"removed {place}", *_systemctl(root, "daemon-reload"))


def want_root() -> None:
    """NotInstalled: this is not root, who alone can make users and write units."""
    if os.geteuid() != 0:
        raise NotInstalled("only root can install or remove the service: use sudo; --dry-run shows the unit")


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _make_user(user: str, root: Path) -> list[str]:
    if _entry(user, root) is not None:
        return []
    words = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", str(STATE)]
    prefix = [] if root == Path("/") else ["--prefix", str(root)]
    _run([*words, "--shell", "/usr/sbin/nologin", *prefix, user])
    return [f"made the user {user}"]


def _entry(user: str, root: Path) -> tuple[int, int] | None:
    """Its numbers, by the users of `root`."""
    if root == Path("/"):
        try:
            found = pwd.getpwnam(user)
        except KeyError:
            return None
        return found.pw_uid, found.pw_gid
    lines = (root / "etc/passwd").read_text(encoding="utf-8").splitlines()
    fields = next((line.split(":") for line in lines if line.startswith(f"{user}:")), None)
    return None if fields is None else (int(fields[2]), int(fields[3]))


def _owner(user: str, root: Path) -> tuple[int, int]:
    found = _entry(user, root)
    if found is None:
        raise NotInstalled(f"the user {user} could not be made")
    return found


def _make_folder(folder: Path, owner: tuple[int, int]) -> list[str]:
    """Make it for the service alone. One that is there stays as it is; that it belongs to another one is said."""
    if folder.exists():
        status = folder.stat()
        uid, gid = owner
        return [] if status.st_uid == uid else [f"{folder} belongs to another user; run: chown -R {uid}:{gid} {folder}"]
    folder.mkdir(mode=0o700, parents=True)
    os.chown(folder, *owner)
    return [f"made {folder}"]


def _systemctl(root: Path, *words: str) -> list[str]:
    if root != Path("/") or not _RUNNING.is_dir() or shutil.which("systemctl") is None:
        return []
    _run(["systemctl", *words])
    return [f"systemctl {' '.join(words)}"]


def _run(words: list[str]) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise NotInstalled(f"{words[0]} is not there") from None
    except subprocess.CalledProcessError as error:
        raise NotInstalled(f"{' '.join(words)}: {error.stderr.strip()}") from None
