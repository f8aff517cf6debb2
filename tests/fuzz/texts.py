"""The target `configuration`: YAML files, from the bytes to what each reader makes of the document.

A seed of the configuration names its file in its first line (`# routings.yml`).
"""

import random
import re
import zlib
from functools import cache
from pathlib import Path

from fuzz.damage import Part, Seed, mutant
from leyden.config.mutations import mutations
from leyden.config.node_tls import ways
from leyden.config.nodes import destinations, served, targets
from leyden.config.report import Report
from leyden.config.routings import routes
from leyden.config.schema import CaseEntry, Config, read
from leyden.config.sortings import sortings
from leyden.config.yaml_text import At, Entries, Items, Node, Text, YamlError, parse

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SMALL_BYTES = 350
_NAME = re.compile(rb"# ([a-z]+\.yml)\n")
ODD = """\
# routings.yml
- AeTitles: [IMAGEPACS, "*CT*"]
  Conditions:
    - {Tag: "0008,0060", Expression: '(CT|MR)'}
    - Tag: 0010,0020
      MatchExpression: [0-9]+
      Negate: True
  Actions:
    - Type: add_destination
      Target: BACKUP
    - Type: save_file
      Target: saved/#{8,18}/$1_:timestamp:
  Description: |
    two lines
    of text
---
# config.yml
scpPort: 11112
myAeTitle: LEYDEN
filters: [route, mutate, sort]
allowedCallingAeTitles: [CT1, 'MR 2']
minFreeSpace: 5%
clientTimeout: 0.5
alerts: {webhook: {url: "https://x.example/", secretFile: k}}
api:
  port: 8080
---
# mutations.yml
- AeTitles: [IMAGEPACS]
  Actions:
    - Type: add_or_update
      Source: {Tag: "0010,0020", Value: "X#{0010,0020}"}
      Destination: {Tag: "0010,0021", Vr: LO}
    - Type: remove
      Destination: {Tag: "0009,xx10", PrivateCreator: GEMS}
    - Type: deidentify
---
# sortings.yml
- AeTitles: [IMAGEPACS]
  Conditions: []
  Actions: [{Tag: "0020,0013", Direction: Ascending}]
---
# nodes.yml
- AeTitle: IMAGEPACS
  HostName: 10.0.0.1
  Port: 104
  TransferSyntax: JPEG2000Lossless
  Aliases: [A, B]
  SopClassPriorities: [1.2.840.10008.5.1.4.1.1.2]
  ProcessSchedule: "08:00-12:00"
- AeTitle: WORK
  NodeRole: Worklist
---
# cases.yml
- File: a.dcm
  To: IMAGEPACS
  Expect:
    Deliveries: [{To: BACKUP, Values: {"0010,0020": X}}]
"""


@cache
def _documents() -> list[Seed]:
    contents = [part.encode() for part in ODD.split("---\n")]
    for path in sorted(EXAMPLES.rglob("*.yml")):
        if path.name in ("config.yml", "nodes.yml", "routings.yml", "mutations.yml", "sortings.yml", "cases.yml"):
            lines = [line for line in path.read_bytes().splitlines(keepends=True) if not line.lstrip().startswith(b"#")]
            contents.append(b"# " + path.name.encode() + b"\n" + b"".join(lines)[:SMALL_BYTES])
    short = [each for content in contents for each in _entries(content)]
    return [Seed(content, _parts(content)) for content in short]


def _entries(data: bytes) -> list[bytes]:
    """A file cut into files of one or two of its entries each: PyYAML takes 1 ms for 20 lines."""
    name, *entries = re.split(rb"^(?=[-\w])", data, flags=re.MULTILINE)
    return [name + b"".join(entries[at : at + 2]) for at in range(0, len(entries), 2)]


def _parts(data: bytes) -> list[Part]:
    """Lines, with what is indented below them, and words."""
    parts: list[Part] = []
    begins = [0, *(found.end() for found in re.finditer(rb"\n", data))]
    for number, begin in enumerate(begins[1:-1], 1):
        line = data[begin : begins[number + 1]]
        indent = len(line) - len(line.lstrip(b" "))
        last = number + 1
        while last < len(begins) - 1 and data[begins[last] : begins[last] + indent + 1] == b" " * (indent + 1):
            last += 1
        parts.append(Part(begin, begin + indent, begins[last]))
        parts += (
            Part(begin + found.start(), begin + found.start(), begin + found.end()) for found in _WORD.finditer(line)
        )
    return parts


_WORD = re.compile(rb"[\w./]+|[\[\]{}:,\"'#*|>-]+")


def document(chance: random.Random) -> bytes:
    return mutant(chance, _documents())


def _sound(node: Node, lines: int, depth: int) -> None:
    assert isinstance(node, Text | Items | Entries)
    assert depth <= 25
    assert 0 <= node.at.line <= lines + 1
    inner = node if isinstance(node, Items) else [*node, *node.values()] if isinstance(node, Entries) else ()
    for each in inner:
        _sound(each, lines, depth + 1)


@cache
def _config() -> Config:
    config = read(Config, Entries(At("config.yml")), Report())
    assert config is not None
    return config


@cache
def _nodes() -> object:
    known = parse(
        b"- {AeTitle: IMAGEPACS, HostName: a, Port: 104}\n- {AeTitle: BACKUP, HostName: b, Port: 104}\n", "nodes.yml"
    )
    return served(known, _config(), Report())


def configuration(data: bytes) -> str:
    """Each file becomes its rules, or a list of mistakes with their places, whatever stands in it."""
    named = _NAME.match(data)
    name = named[1].decode() if named else random.Random(zlib.crc32(data)).choice(["nodes.yml", "routings.yml"])
    lines = len(data) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else data.count(b"\n") + data.count(b"\r") + 1
    report = Report()
    try:
        found = parse(data, name)
    except YamlError as error:
        for each in (error, *error.more):
            assert str(each)
            assert 0 <= each.at.line <= lines + 1
            report.error(each.at, "", str(each))
        found = error.rest
    if found is not None:
        _sound(found, lines, 0)
    _read(name, found, report)
    assert all("\n" not in line for line in (*report.errors, *report.warnings))
    return "refused" if report.errors else "read"


def _read(name: str, found: Node | None, report: Report) -> None:
    known: object = _nodes()
    match name:
        case "nodes.yml":
            made = served(found, _config(), report)
            targets(made)
            if not report.errors:
                found_ways = ways((node for node, _ in made.nodes), Path("/etc/leyden"), {}, report)
                if not report.errors:
                    destinations(made, _config(), found_ways)
        case "routings.yml":
            routes(found, known, "/etc/leyden", report)  # type: ignore[arg-type]
        case "mutations.yml":
            mutations(found, known, "/etc/leyden", report)  # type: ignore[arg-type]
        case "sortings.yml":
            sortings(found, known, report)  # type: ignore[arg-type]
        case "cases.yml":
            for given in found if isinstance(found, Items) else ():
                read(CaseEntry, given, report)
        case _:
            if isinstance(found, Entries):
                read(Config, found, report)
