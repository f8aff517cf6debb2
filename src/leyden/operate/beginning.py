"""The first configuration: three files made of a few answers, and what one is told who has none yet."""

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

FILES = ("config.yml", "nodes.yml", "routings.yml")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # needs no quotes in YAML

_CONFIG = """\
# Leyden's own settings. All keys: `man leyden-config`, or docs/configure.md.
# Any AE title may call from any address; a file callers.yml beside this one says who may.
myAeTitle: {title}
scpPort: {port}
filters: route
# A second port, 2762, for what comes encrypted; `leyden certificate new` makes files for a trial.
# tls: {{certificate: tls/leyden.pem, key: tls/leyden.key, authorities: tls/ca.pem}}
"""
_NODES = """\
# The destinations. Leyden answers under the AE title of each; what comes for one goes there.
"""
_NODE = """\
- AeTitle: {title}
  HostName: {host}
  Port: {port}
  NodeRole: Storage
"""
_ROUTINGS = """\
# Rules, for what is to go elsewhere. For example, structured reports to REPORTPACS instead of IMAGEPACS:
#
# - AeTitles: [IMAGEPACS]
#   Conditions:
#     - Tag: 0008,0016
#       MatchExpression: ^1\\.2\\.840\\.10008\\.5\\.1\\.4\\.1\\.1\\.88\\.
#   Actions:
#     - Type: add_destination
#       Target: REPORTPACS
#       RemoveOriginal: true
[]
"""


class FirstNode(msgspec.Struct, frozen=True):
    """A destination; `syntax` as TransferSyntax takes it, "" = as received."""

    title: str
    host: str
    port: int
    syntax: str = ""


class Answers(msgspec.Struct, frozen=True):
    """What the first configuration is made of."""

    nodes: tuple[FirstNode, ...]
    title: str = "LEYDEN"
    port: int = 1040


def texts(answers: Answers) -> dict[str, str]:
    """The three files, by name."""
    nodes = _NODES
    for node in answers.nodes:
        nodes += _NODE.format(title=_scalar(node.title), host=_scalar(node.host), port=node.port)
        nodes += f"  TransferSyntax: {_scalar(node.syntax)}\n" if node.syntax else ""
    config = _CONFIG.format(title=_scalar(answers.title), port=answers.port)
    return dict(zip(FILES, (config, nodes if answers.nodes else f"{nodes}[]\n", _ROUTINGS), strict=True))


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else "'{}'".format(text.replace("'", "''"))


def present(folder: Path) -> tuple[str, ...]:
    """Which of the files are there."""
    return tuple(name for name in FILES if os.path.lexists(folder / name))


def write(folder: Path, files: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Write the files, which then belong to whom the folder belongs to. Raises OSError.

    A file that is there is kept under another name: returns (its name, that one) for each.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat()
    kept = []
    for name, text in files.items():
        path = folder / name
        new = folder / f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            if os.geteuid() == 0:
                os.fchown(fd, owner.st_uid, owner.st_gid)
        if os.path.lexists(path):
            before = _free(path)
            os.link(path, before, follow_symlinks=False)
            kept.append((name, before.name))
        os.replace(new, path)
    return tuple(kept)


def _free(path: Path) -> Path:
    """A name beside it that no file has, and that is not read."""
    number = 1
    while os.path.lexists(other := path.with_name(f"{path.name}.before-{number}")):
        number += 1
    return other


def guide(folder: Path) -> str:
    """What to write, for one who starts Leyden on a folder without a configuration."""
    example = texts(Answers((FirstNode("IMAGEPACS", "192.168.1.200", 104, "JPEG2000Lossless"),)))
    shown = "".join(
        f"\n  {folder / name}\n" + "".join(f"    {line}\n" for line in example[name].splitlines() if line[:1] != "#")
        for name in FILES[:2]
    )
    return f"""\
there is no configuration in {folder} yet: neither config.yml nor nodes.yml.

This asks a few questions and writes it:
  leyden init --path {folder}
So does this, without asking:
  leyden init --path {folder} --node IMAGEPACS=192.168.1.200:104,JPEG2000Lossless
Or write the two files yourself; this is enough for one destination:
{shown}
Then `leyden check --path {folder}` says whether all is well. All keys: `man leyden-config`, docs/configure.md."""
