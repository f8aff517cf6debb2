"""nodes.yml changed for one node: only the values of its keys, so that comments, order and quotes stay.

What comes of it is checked as a whole, by `leyden check` on a folder of links beside it, before it takes the place of
the file. The old one is kept as nodes.yml.before-api.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from leyden.errors import LeydenError
from leyden.tune.write import NotWritten, replace_file, restore_file, with_nodes_keys

FILE = "nodes.yml"
KEPT = ".before-api"
CHECK_WITHIN_S = 20.0
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

Value = bool | int | str | Sequence[str]


class NotChanged(LeydenError):
    """The file stays as it is; the text says why."""


def change(folder: Path, title: str, values: Mapping[str, Value]) -> bool:
    """Write these keys of a node of nodes.yml below `folder`; False: it says just that already.

    Raises NotChanged, OSError. It may take a second.
    """
    path = folder / FILE
    before = path.read_bytes()
    content = before
    try:
        for key, value in values.items():
            content = with_nodes_keys(content, key, {title: written(value)})
    except NotWritten as error:
        raise NotChanged(f"{FILE}: {error}; change it with an editor") from None
    if content == before:
        return False
    if problems := _problems(folder, content):
        raise NotChanged("; ".join(problems))
    if path.read_bytes() != before:
        raise NotChanged(f"{FILE} was changed by somebody else just now")
    replace_file(path, content, KEPT)
    return True


def restore(folder: Path) -> None:
    """Take back the last change(). OSError."""
    restore_file(folder / FILE, b"", KEPT)


def written(value: Value) -> str:
    """A value as YAML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", "''") + "'"
    return f"[{', '.join(written(each) for each in value)}]"


def _problems(folder: Path, content: bytes) -> list[str]:
    """What `leyden check` finds wrong in the folder if nodes.yml has this content. OSError."""
    with tempfile.TemporaryDirectory(prefix="leyden-") as place:
        for name in os.listdir(folder):
            if name != FILE:
                os.symlink(folder.absolute() / name, f"{place}/{name}")
        Path(place, FILE).write_bytes(content)
        try:
            done = subprocess.run(
                [sys.executable, "-P", "-m", "leyden", "--path", place, "check"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=CHECK_WITHIN_S,
            )
        except subprocess.TimeoutExpired:
            return ["it could not be checked in time"]
    if done.returncode == 0:
        return []
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("warning: ", "leyden: "))]
    return lines or ["it could not be checked"]
