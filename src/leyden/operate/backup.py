"""A backup of what makes this service what it is: its configuration, its keys and its switches, but no object.

It works beside files with errors in them, with and without a running service, and changes nothing. The pack is an
ordinary .tar.gz, so that it can be put back without Leyden:

- data/: every file of the folder of the configuration, without the spool and the log if they are in it
- spool/: the keys and tokens in state/, and control/
- elsewhere/: files that the configuration names and that stand somewhere else, under their whole path
- manifest.json: what each file was called, and its SHA-256
"""

import contextlib
import hashlib
import io
import os
import tarfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec
import orjson

from leyden import __version__
from leyden.errors import LeydenError
from leyden.spool.format import FORMAT

FILE_MAX_BYTES = 64 << 20  # of one file; a configuration is far below
FILES_MAX = 10_000
_SECRETS = ("*.key", "*.tokens.json")  # in state/
_PRIVATE_KEY = b"PRIVATE KEY-----"


class NotBackedUp(LeydenError):
    """The folder holds what no configuration does; the message names it."""


class Backup(msgspec.Struct, frozen=True):
    """What was packed: the names in the pack; `secrets` are those of them that hold a secret."""

    path: Path
    files: tuple[str, ...]
    secrets: tuple[str, ...]


def backup(
    folder: Path,
    root: Path,
    log_dir: Path,
    named: Collection[Path],
    to: Path,
    *,
    secret: Collection[Path] = (),
    with_keys: bool = True,
) -> Backup:
    """Pack the configuration in `folder` and what belongs to it in the spool `root` into the new file `to` (0600).

    `log_dir` is left out; `named`: files that the configuration names, `secret`: those that hold a secret, as every
    private key in PEM does. Without `with_keys` no secret is packed. Raises NotBackedUp, FileExistsError, OSError.
    """
    found = list(_files(folder, root, log_dir, named))
    hidden = {path.resolve() for path in secret}
    packed: list[str] = []
    secrets: list[str] = []
    manifest: dict[str, dict[str, object]] = {}
    fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as out, tarfile.open(fileobj=out, mode="w:gz") as pack:
            for name, path in found:
                with contextlib.suppress(FileNotFoundError):  # an editor may be at work
                    content = _content(path)
                    if name.startswith("spool/state/") or path.resolve() in hidden or _PRIVATE_KEY in content:
                        if not with_keys:
                            continue
                        secrets.append(name)
                    _add(pack, name, content, path.stat())
                    packed.append(name)
                    manifest[name] = {"from": str(path), "sha256": hashlib.sha256(content).hexdigest()}
            if not packed:
                raise NotBackedUp(f"neither {folder} nor {root} holds anything to pack")
            about = {"leyden": __version__, "format": FORMAT, "at_s": round(time.time()), "files": manifest}
            _add(pack, "manifest.json", orjson.dumps(about, option=orjson.OPT_INDENT_2))
            out.flush()
        with open(to, "rb") as written:
            os.fsync(written.fileno())
    except BaseException:
        os.unlink(to)
        raise
    return Backup(to, tuple(packed), tuple(secrets))


def _files(folder: Path, root: Path, log_dir: Path, named: Collection[Path]) -> Iterator[tuple[str, Path]]:
    """(name in the pack, file) of everything that belongs to it."""
    left_out = {root.resolve(), log_dir.resolve()}
    number = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if Path(place, each).resolve() not in left_out)
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file():  # no doorbell, and no link to nowhere
                number += 1
                if number > FILES_MAX:
                    raise NotBackedUp(f"{folder} holds over {FILES_MAX} files, so it is no folder of a configuration")
                yield f"data/{path.relative_to(folder)}", path
    for pattern in _SECRETS:
        yield from ((f"spool/state/{path.name}", path) for path in sorted((root / "state").glob(pattern)))
    yield from ((f"spool/control/{path.name}", path) for path in sorted((root / "control").glob("*.json")))
    for path in sorted(named):
        if folder not in path.parents and path.is_file():
            yield f"elsewhere{path}", path


def _content(path: Path) -> bytes:
    with open(path, "rb") as file:
        content = file.read(FILE_MAX_BYTES + 1)
    if len(content) > FILE_MAX_BYTES:
        limit = f"{FILE_MAX_BYTES >> 20} MiB"
        raise NotBackedUp(f"{path} is larger than {limit}, which no file of a configuration is; move it away")
    return content


def _add(pack: tarfile.TarFile, name: str, content: bytes, status: os.stat_result | None = None) -> None:
    """With the time and the mode of the file, but no owner: it is put back by whoever unpacks it."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = status.st_mode & 0o777 if status else 0o600
    entry.mtime = int(status.st_mtime if status else time.time())
    pack.addfile(entry, io.BytesIO(content))
