"""`leyden tune`: measure this machine, say what it can take and how to set it, and set it with --write."""

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from leyden.commands.options import Commands, add_command, age_in_words, load

if TYPE_CHECKING:
    from leyden.config.settings import Settings
    from leyden.deliver.destination import Destination
    from leyden.tune.history import History
    from leyden.tune.machine import Found
    from leyden.tune.model import Advice, Situation, Wishes

CONFIG, NODES = "config.yml", "nodes.yml"


def add_to(commands: Commands) -> None:
    text = "measure this machine, say what it can take, where its bottleneck is, and how to set it"
    command = add_command(commands, "tune", call, text)
    command.add_argument("images", nargs="*", type=Path, metavar="IMAGES", help="files or folders for the codecs")
    command.add_argument("--probe", action="append", default=[], metavar="DEST", help="send a C-ECHO to this node")
    command.add_argument("--seconds", type=_positive, default=0.7, help="for each figure (default %(default)s)")
    command.add_argument("--write", action="store_true", help="put the advice into config.yml and nodes.yml")
    command.add_argument("--plot", type=Path, metavar="FILE.svg", help="throughput against workers, also measured")
    command.add_argument("--json", action="store_true", help="one JSON document instead of text")
    what_if = command.add_argument_group("what if")
    what_if.add_argument("--cores", type=_positive, metavar="N", help="the machine had so many")
    what_if.add_argument("--line-mbit", type=_positive, metavar="N", help="Mbit/s of the line to each destination")
    what_if.add_argument("--rtt-ms", type=_positive, metavar="MS", help="the round trip to each destination")
    what_if.add_argument("--arrival", type=_rate, metavar="N/s", help="so many objects came, all the time")
    what_if.add_argument("--syntax", metavar="NAME", help="the destinations wanted this transfer syntax")
    what_if.add_argument("--object-mib", type=_positive, metavar="MIB", help="the usual size of an object")


def call(options: argparse.Namespace) -> int:
    import orjson

    from leyden.config.load import given
    from leyden.operate.service import status
    from leyden.tune import machine as probes
    from leyden.tune.history import read
    from leyden.tune.model import advise
    from leyden.tune.words import Told, document, lines

    if options.write and options.cores is not None:
        print("leyden tune: --write sets this machine, so it can't go with --cores", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that is put aside is removed
    settings, _ = load(options)
    wishes = _wishes(options)
    history = read(str(settings.spool_root / "journal"))
    images = _images(options.images)
    object_bytes = _object_bytes(options, history)
    echoes = _probe(options, settings)
    if status(settings.spool_root).pid:
        _say(options, "the service is running: while this measures, it is slower, and so are the figures")
    wanted = probes.Wanted(
        _existing(settings.spool_root), images, _syntaxes(settings, wishes), object_bytes, options.seconds,
        settings.sync_spool, settings.plan,
    )  # fmt: skip
    begin_s = time.monotonic()
    found = probes.measure(wanted, lambda text: _say(options, f"measuring {text} ..."))
    took_s = time.monotonic() - begin_s
    frame_bytes = max(len(image.native) for image in images)
    here = _situation(settings, history, echoes, object_bytes, frame_bytes)
    advice = advise(found.machine, here, wishes)
    told = Told(found, took_s, history, echoes, settings.destinations, here, advice, _values_now(settings))
    print(orjson.dumps(document(told)).decode() if options.json else "\n".join(lines(told, age_in_words)))
    if options.plot:
        _plot(options, found, here, wishes, settings)
    if options.write:
        return _write(options, settings, advice, given(options.overrides, os.environ))
    return 0


# -- what is asked for


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _rate(text: str) -> float:
    return _positive(text.removesuffix("/s"))


def _wishes(options: argparse.Namespace) -> "Wishes":
    from leyden.dicom.uids import syntax_by_name, syntax_name
    from leyden.errors import ConfigError
    from leyden.transcode.codecs import encoder
    from leyden.tune.model import Wishes

    name = options.syntax
    if name is not None:
        syntax = syntax_by_name(name)
        if syntax is None or encoder(syntax.uid) is None:
            raise ConfigError((f"--syntax {name}: Leyden makes no such transfer syntax",))
        name = syntax_name(syntax.uid)
    mbit, rtt_ms = options.line_mbit, options.rtt_ms
    return Wishes(
        options.cores, mbit and mbit / 8, rtt_ms and rtt_ms / 1e3, options.arrival, name,
    )  # fmt: skip


def _images(paths: Sequence[Path]) -> list[Any]:
    from leyden.errors import ConfigError
    from leyden.operate.files import files_under
    from leyden.tune import images

    found = images.of_files(files_under(paths)) if paths else images.bundled()
    if not found:
        raise ConfigError((f"no uncompressed DICOM image in {', '.join(map(str, paths))}",))
    return found


def _object_bytes(options: argparse.Namespace, history: "History") -> float:
    from leyden.tune.images import CT_BYTES

    if options.object_mib is not None:
        return float(options.object_mib) * (1 << 20)
    return history.object_bytes or 16.0 * CT_BYTES


def _syntaxes(settings: "Settings", wishes: "Wishes") -> dict[str, float]:
    """The UIDs to measure, with the encoder's number for loss: the usual three, and what the nodes want."""
    from leyden.dicom import uids
    from leyden.transcode.codecs import encoder
    from leyden.transcode.job import Terms

    found = dict.fromkeys((uids.JPEG2000_LOSSLESS, uids.HTJ2K_LOSSLESS, uids.JPEGLS_LOSSLESS), 0.0)
    for each in settings.destinations:
        if each.syntax and encoder(each.syntax) is not None:
            terms = Terms(0, each.ae_title, each.quality, each.compression_ratio, each.near_lossless)
            found[each.syntax] = terms.setting(uids.SYNTAXES[each.syntax])
    if wishes.syntax is not None and (wished := uids.syntax_by_name(wishes.syntax)) is not None:
        found.setdefault(wished.uid, Terms(0).setting(wished))
    return found


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it: before its first start a service has no spool."""
    while not folder.is_dir():
        folder = folder.parent
    return folder


def _say(options: argparse.Namespace, text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _probe(options: argparse.Namespace, settings: "Settings") -> dict[str, float | str]:
    """By AE title: the round trip in seconds, or why there is none. Nothing is sent without consent."""
    import asyncio

    from leyden.errors import ConfigError, Transient
    from leyden.tune.echo import round_trip_s

    named = {title.upper() for title in options.probe}
    known = {each.ae_title.upper() for each in settings.destinations}
    if unknown := sorted(named - known):
        raise ConfigError((f"--probe {', '.join(unknown)}: no such node in {NODES}",))
    found: dict[str, float | str] = {}
    for each in settings.destinations:
        if each.ae_title.upper() not in named and not (not named and _agreed(options, each)):
            continue
        try:
            found[each.ae_title] = asyncio.run(round_trip_s(each, calling=settings.my_ae_title))
        except Transient as error:
            found[each.ae_title] = str(error)
    return found


def _agreed(options: argparse.Namespace, each: "Destination") -> bool:
    if options.json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        said = input(f"Send a C-ECHO to {each.ae_title} ({each.host}:{each.port})? [y/N] ")
    except EOFError:
        return False
    return said.strip().lower() in ("y", "yes")


def _situation(
    settings: "Settings",
    history: "History",
    echoes: Mapping[str, float | str],
    object_bytes: float,
    frame_bytes: int,
) -> "Situation":
    from leyden.dicom.uids import syntax_name
    from leyden.tune.model import AS_IT_CAME, Node, Situation

    nodes = []
    for each in settings.destinations:
        delivered = history.deliveries.get(each.ae_title)
        echo = echoes.get(each.ae_title)
        way = delivered.line if delivered else Node("").line
        if isinstance(echo, float):
            way = replace(way, wait_s=echo)
        if each.maximum_line_speed_kb_per_s:
            way = replace(way, mb_per_s=each.maximum_line_speed_kb_per_s / 1e3)
        syntax = syntax_name(each.syntax) if each.syntax else AS_IT_CAME
        nodes.append(Node(each.ae_title, syntax, history.share(each.ae_title), each.max_associations, way))
    volume = os.statvfs(_existing(settings.spool_root))
    kept_bytes = volume.f_blocks * volume.f_frsize * settings.receiver.min_free_percent / 100
    free_bytes = max(0.0, volume.f_bavail * volume.f_frsize - kept_bytes)
    return Situation(object_bytes, frame_bytes, free_bytes, nodes, history.arrivals)


# -- the plot


def _plot(
    options: argparse.Namespace, found: "Found", here: "Situation", wishes: "Wishes", settings: "Settings"
) -> None:
    """Throughput against workers: predicted, and measured as far as this machine has the cores.

    Both with both ends on this machine, as they are while it is measured.
    """
    from leyden.dicom.uids import JPEG2000_LOSSLESS, syntax_name
    from leyden.tune import images, plot
    from leyden.tune.machine import one_trip
    from leyden.tune.model import advise
    from leyden.tune.trip import large_bytes
    from leyden.tune.words import size_in_words

    syntax = wishes.syntax or next((node.syntax for node in here.nodes if node.syntax), syntax_name(JPEG2000_LOSSLESS))
    near = replace(found.machine, beside=found.costs.beside)
    template = images.ct_of(large_bytes(here.object_bytes))
    local = replace(here, nodes=(), object_bytes=template.size_bytes)
    predicted = advise(near, local, replace(wishes, syntax=syntax, line_mb_per_s=None, rtt_s=None)).by_workers
    measured: list[float | None] = [None] * len(predicted)
    for workers in range(1, min(found.machine.counted, len(predicted)) + 1):
        _say(options, f"measuring {syntax} with {workers} workers ...")
        measured[workers - 1] = one_trip(
            _existing(settings.spool_root), syntax, workers, template, 4 * options.seconds, sync=settings.sync_spool
        )
    rates: dict[str, Sequence[float | None]] = {"measured": measured}
    rates["predicted"] = [each.per_s for each in predicted.values()]
    title = f"{syntax}, objects of {size_in_words(template.size_bytes)}"
    plot.write(options.plot, [plot.Chart(title, "workers", "objects/s", list(predicted), rates)])


# -- the files


def _values_now(settings: "Settings") -> dict[str, int]:
    return {"receivers": settings.receivers, "workers": settings.workers, "arenaMib": settings.arena_mib}


def _write(options: argparse.Namespace, settings: "Settings", advice: "Advice", overridden: Mapping[str, str]) -> int:
    """Put what differs into the files, all or nothing; the exit code."""
    from leyden.config import load as config
    from leyden.errors import ConfigError
    from leyden.tune import write

    folder = Path(settings.path)
    by_files, _ = config.load(folder, {}, {})
    now = _values_now(by_files)
    values = {key: value for key, value in advice.config.items() if value != now[key]}
    set_now = {each.ae_title: each.max_associations for each in by_files.destinations}
    nodes = {title: value for title, value in advice.associations.items() if value != set_now.get(title)}
    try:
        changed = write.changed(folder, {
            CONFIG: lambda content: write.with_keys(content, values) if values else content,
            NODES: lambda content: write.with_nodes_keys(content, "MaxAssociations", nodes) if nodes else content,
        })  # fmt: skip
        kept = write.replace_all(folder, changed, lambda: config.load(folder, {}, {}))
    except (write.NotWritten, ConfigError) as error:
        why = "; ".join(error.problems) if isinstance(error, ConfigError) else str(error)
        print(f"leyden tune: nothing is written: {why}", file=sys.stderr)
        return 1
    for name in changed:
        _say(options, f"{folder / name} is written" + (f"; {kept[name]} is what it was" if name in kept else ""))
    if not changed:
        _say(options, "the files say so already: nothing is written")
    for key in sorted(set(values) & set(overridden)):
        _say(options, f"but {overridden[key]} is set, which wins over {key} in {CONFIG}")
    if values:
        _say(options, f"{', '.join(values)}: at the next start of the service")
    if nodes:
        _say(options, "MaxAssociations: at the next start, or after `leyden reload`")
    return 0
