"""`leyden queue`: what an operator sees of the entries of the spool, and does to them."""

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from leyden.commands.options import (
    Commands,
    add_command,
    age_in_words,
    as_the_service,
    configured,
    length_s,
    load,
    spool_root,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from leyden.config.settings import Settings
    from leyden.operate.queue import Done, Filter, Item, Shown, Verb

    Act = Callable[[Path, Settings | None, Filter], Done]

_ID = re.compile(r"\d{22}(@.+)?|.*/.*")
_THROUGH = "command line"


def add_to(commands: Commands) -> None:
    queue = add_command(commands, "queue", _shape, "see what stands in the queue, and work on it")
    queue.add_argument(
        "--shape", action="store_true", help="how old what waits is, by destination: a table, as qshape of Postfix"
    )
    queue.add_argument("--by", choices=("destination", "source"), default="destination", help="the rows of --shape")
    _add_filters(queue)
    verbs = queue.add_subparsers(title="commands", metavar="COMMAND")
    listed = _add_verb(verbs, "list", _list, "list entries, the oldest first")
    listed.add_argument("--skip", type=_count, default=0, metavar="N", help="leave out the oldest N")
    listed.add_argument("--limit", type=_count, default=100, metavar="N", help="so many at most (default 100)")
    shown = add_command(
        verbs, "show", _show, "show one entry: its file meta, what its header says, why it stands there"
    )
    shown.add_argument("id", metavar="ID", help="a receipt id, alone or as RECEIPT@DESTINATION")
    shown.add_argument("--patient", action="store_true", help="also what identifies the patient")
    shown.add_argument("--json", action="store_true", help="one JSON document instead of text")
    retry = "put what stands in rejected/, failed/ or expired/ back into the queue; all, if nothing is named"
    _add_verb(verbs, "retry", _retry, retry)
    _add_verb(verbs, "release", _release, "let what stands in deferred/ go now; all, if nothing is named")
    for name, call, text in (
        ("reject", _reject, "take objects out of the queue, into rejected/"),
        ("move", _move, "move objects to another destination's queue"),
        ("delete", _delete, "delete objects for good"),
        ("export", _export, "copy objects to a folder"),
    ):
        verb = _add_verb(verbs, name, call, text)
        verb.add_argument("--all", action="store_true", help="all there are, if nothing else is named")
        if name == "move":
            verb.add_argument("--to", required=True, metavar="TITLE", help="AE title or alias of the destination")
        if name == "export":
            verb.add_argument("--to", required=True, type=Path, metavar="DIR", help="the folder for the copies")
        else:
            verb.add_argument("--yes", action="store_true", help="do not ask")


def _add_verb(verbs: Commands, name: str, call: Any, text: str) -> argparse.ArgumentParser:
    verb = add_command(verbs, name, call, text)
    verb.add_argument(
        "what", nargs="*", metavar="WHAT", help="destinations (AE titles or aliases), or ids as in a list"
    )
    _add_filters(verb)
    return verb


def _add_filters(parser: argparse.ArgumentParser) -> None:
    several = "; may be given several times"
    which = parser.add_argument_group("only what")
    which.add_argument("--destination", action="append", default=[], metavar="TITLE", help=f"is bound for it{several}")
    which.add_argument("--source", action="append", default=[], metavar="TITLE", help=f"came from it{several}")
    which.add_argument("--state", action="append", default=[], metavar="FOLDER", help=f"stands in this folder{several}")
    which.add_argument("--older", type=length_s, metavar="AGE", help="came longer ago, such as 90s, 30min, 2h, 7d")
    which.add_argument("--younger", type=length_s, metavar="AGE", help="came less long ago")
    which.add_argument("--study", action="append", default=[], metavar="UID", help=f"belongs to it{several}")
    which.add_argument("--series", action="append", default=[], metavar="UID", help=f"belongs to it{several}")
    which.add_argument("--instance", action="append", default=[], metavar="UID", help=f"holds it{several}")
    which.add_argument("--sop-class", action="append", default=[], metavar="UID", help=f"is of it{several}")
    which.add_argument("--modality", action="append", default=[], metavar="CS", help=f"is of it, such as CT{several}")
    which.add_argument(
        "--accession", action="append", default=[], metavar="NUMBER", help="has it, as the journal knows"
    )
    which.add_argument(
        "--look-into", type=_count, metavar="N", help="open so many files at most where names don't tell"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document instead of text")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is no number")
    return int(text)


class _Wrong(Exception):
    """What was asked for can't be meant."""


def _filter(options: argparse.Namespace, root: Path) -> "Filter":
    """Raises _Wrong, ConfigError."""
    from leyden.operate.queue import Filter
    from leyden.operate.select import LOOKED_INTO
    from leyden.spool.stage import Stage

    what = getattr(options, "what", [])
    ids = [each for each in what if _ID.fullmatch(each)]
    titles = [*options.destination, *(each for each in what if each not in ids)]
    folders = [each.rstrip("/") for text in options.state for each in text.split(",")]
    known = [stage for stage in Stage if stage is not Stage.EMBRYO]
    if unknown := [each for each in folders if each not in known]:
        raise _Wrong(f"--state {', '.join(unknown)}: the folders are {', '.join(known)}")
    stages = frozenset(map(Stage, folders))
    now_s = time.time()
    return Filter(
        frozenset(ids),
        stages,
        _destinations(options, root, titles) if titles else frozenset(),
        frozenset(options.source),
        frozenset(options.study),
        frozenset(options.series),
        frozenset(options.instance),
        frozenset(options.sop_class),
        frozenset(options.modality),
        frozenset(options.accession),
        None if options.older is None else now_s - options.older,
        None if options.younger is None else now_s - options.younger,
        LOOKED_INTO if options.look_into is None else options.look_into,
    )


def _destinations(options: argparse.Namespace, root: Path, titles: list[str]) -> frozenset[str]:
    """The destinations that are meant; only an alias needs the YAML files."""
    from leyden.errors import ConfigError
    from leyden.operate.queue import UnknownDestination, destinations

    try:
        return destinations(root, titles)
    except UnknownDestination as error:
        unknown = str(error)
    try:
        return destinations(root, titles, load(options)[0].plan.titles)
    except UnknownDestination as error:
        raise _Wrong(str(error)) from None
    except ConfigError:
        raise _Wrong(f"{unknown} (aliases are not known: there are errors in the configuration)") from None


def _print_json(document: dict[str, Any]) -> None:
    """Titles may be no Unicode, if somebody made the folders by hand."""
    print(json.dumps(document, default=msgspec.to_builtins))


# -- what is seen


def _shape(options: argparse.Namespace) -> int:
    from leyden.log import escaped
    from leyden.operate.queue import shape
    from leyden.operate.shape import WAITING

    if not options.shape:
        print("leyden queue: name a command, or --shape (see `leyden queue --help`)", file=sys.stderr)
        return 2
    root = spool_root(options)
    try:
        wanted = _filter(options, root)
    except _Wrong as error:
        return _wrong(error)
    found = shape(root, wanted if wanted.stages else _of(wanted, WAITING), time.time(), options.by == "source")
    if options.json:
        rows = {row or "-": counts for row, counts in found.rows.items()}
        whole = {"limits_s": found.limits_s, "rows": rows, "not_looked_into": found.not_looked_into}
        _print_json(whole)
        return 0
    heads = [age_in_words(limit_s).replace(".0", "") for limit_s in found.limits_s]
    print(f"{options.by:<18} {'all':>8}" + "".join(f" {'<' + head:>8}" for head in heads) + f" {'older':>8}")
    total = [sum(column) for column in zip(*found.rows.values(), strict=True)]
    for row, counts in [*found.rows.items(), *([("all", total)] if len(found.rows) > 1 else [])]:
        print(f"{escaped(row) or '-':<18} {sum(counts):>8}" + "".join(f" {count or '.':>8}" for count in counts))
    if not found.rows:
        print("nothing waits")
    _print_not_looked_into(found.not_looked_into)
    return 0


def _of(wanted: "Filter", stages: Any) -> "Filter":
    from msgspec.structs import replace

    return replace(wanted, stages=stages)


def _list(options: argparse.Namespace) -> int:
    from leyden.log import escaped
    from leyden.operate.queue import page
    from leyden.operate.waiting import moment

    root = spool_root(options)
    try:
        wanted = _filter(options, root)
    except _Wrong as error:
        return _wrong(error)
    found = page(root, wanted, options.skip, options.limit)
    now_s = time.time()
    if options.json:
        whole = {
            "items": [_document(item, now_s) for item in found.items],
            "total": found.total,
            "skip": options.skip,
            "limit": options.limit,
            "not_looked_into": found.not_looked_into,
        }
        _print_json(whole)
        return 0
    if found.items:
        print(f"{'id':<40} {'state':<10} {'source':<16} {'age':>8}  tries")
    for item in found.items:
        age = age_in_words(max(0.0, now_s - item.entry.received_s)) if item.entry else "-"
        tries = item.entry.attempt if item.entry else 0
        more = f", next {moment(item.entry.due_s)}" if item.entry and item.entry.due_s else ""
        more += f", {item.claimant} works on it" if item.claimant else ""
        more += f": {item.reason}" if item.reason else ""
        print(escaped(f"{item.id:<40} {item.stage:<10} {item.source or '-':<16} {age:>8}  {tries}{more}"))
    behind = f", behind the oldest {options.skip}" if options.skip else ""
    print(f"{len(found.items)} of {found.total}{behind}" if found.total else "no entries")
    _print_not_looked_into(found.not_looked_into)
    return 0


def _document(item: "Item", now_s: float) -> dict[str, Any]:
    entry = item.entry
    return {
        "id": item.id,
        "receipt": item.receipt,
        "state": item.stage,
        "destination": item.destination,
        "source": item.source,
        "received_s": entry.received_s if entry else None,
        "age_s": max(0.0, round(now_s - entry.received_s, 1)) if entry else None,
        "attempts": entry.attempt if entry else 0,
        "next_try_s": entry.due_s or None if entry else None,
        "reason": item.reason,
        "claimant": item.claimant,
        "file": item.name,
    }


def _print_not_looked_into(number: int) -> None:
    if number:
        print(
            f"leyden: {number} files that may suit were not looked into, since only they can tell: narrow it down, or "
            "raise --look-into",
            file=sys.stderr,
        )


def _show(options: argparse.Namespace) -> int:
    from leyden.operate.queue import show

    root = spool_root(options)
    found = show(root, options.id, options.patient)
    now_s = time.time()
    if options.json:
        documents = [
            _document(each.item, now_s)
            | {"bytes": each.bytes, "meta": each.meta, "syntax": each.syntax, "facts": each.facts, "note": each.note,
               "unread": each.unread}
            for each in found
        ]  # fmt: skip
        _print_json({"items": documents})
    for each in () if options.json else found:
        _print_shown(root, each)
    if not found:
        print(f"leyden: {options.id} is not in the queue (`leyden trace --receipt` may know it)", file=sys.stderr)
    return 0 if found else 1


def _print_shown(root: Path, shown: "Shown") -> None:
    from leyden.log import escaped
    from leyden.operate.waiting import moment

    item, entry, meta = shown.item, shown.item.entry, shown.meta
    rows = {"state": f"{item.stage}{f', {item.claimant} works on it' if item.claimant else ''}"}
    rows["destination"] = item.destination or "- (not planned yet)"
    if entry:
        rows["received"] = moment(entry.received_s)
        if entry.attempt:
            rows["tries"] = str(entry.attempt)
        if entry.due_s:
            rows["next try"] = moment(entry.due_s)
    if meta:
        rows |= {"source": f"{meta.sending or '-'}, called {meta.receiving or '-'}", "SOP class": meta.sop_class_uid}
        rows |= {"SOP instance": meta.sop_instance_uid, "syntax": shown.syntax}
    rows |= shown.facts
    rows |= {name: str(value) for name, value in shown.note.items() if name != "origin"}
    if shown.unread:
        rows["unread"] = shown.unread
    rows["file"] = f"{root / item.name}, {shown.bytes} bytes"
    print(escaped(item.id))
    for name, value in rows.items():
        print(escaped(f"  {name:<26} {value}"))


# -- what is done


def _settings(options: argparse.Namespace) -> "tuple[Path, Settings | None]":
    """The spool, and the settings if the YAML files can be read; the journal is written to from now on."""
    import logging

    from leyden import crash
    from leyden.errors import ConfigError
    from leyden.journal.lines import JournalSettings, set_up

    crash.arm("queue")
    logging.getLogger("leyden.journal").addHandler(logging.NullHandler())  # the command prints what it did
    settings: Settings | None = None
    try:
        settings, _ = load(options)
        root = settings.spool_root
    except ConfigError:
        root = spool_root(options)
        print("leyden: there are errors in the configuration (see `leyden check`)", file=sys.stderr)
    as_the_service(root)
    set_up(root, f"queue-{os.getpid()}", settings.journal if settings else JournalSettings(mib=_JOURNAL_MIB))
    return root, settings


_JOURNAL_MIB = 2048  # only the size of segments depends on it


def _do(options: argparse.Namespace, verb: "Verb", words: str, act: "Act", ask: bool = True) -> int:
    """One verb: what is meant, how much that is, whether that is wanted, and what came of it.

    `words`: what the result is called. `act` gets spool, settings and filter.
    """
    from leyden.operate.queue import count

    root, settings = _settings(options)
    try:
        wanted = _filter(options, root)
        if wanted.names_all and not getattr(options, "all", True):
            raise _Wrong(f"name what to {verb.did}, or --all")
        if ask and not options.yes:
            there = count(root, wanted, verb)
            if there.count and (there.count > 1 or verb.did == "delete") and not _agreed(verb.did, there.count):
                print(f"{verb.did}: nothing was done", file=sys.stderr)
                return 1
        done = act(root, settings, wanted)
    except _Wrong as error:
        return _wrong(error)
    return _print_done(options, done, words)


def _agreed(did: str, number: int) -> bool:
    """Whether the operator says yes. Raises _Wrong where nobody can answer."""
    what = f"{did} {number} object{'s' if number > 1 else ''}"
    if not sys.stdin.isatty():
        raise _Wrong(f"this would {what}: say so with --yes")
    return input(f"{what}? [y/N] ").strip().lower() in ("y", "yes")


def _print_done(options: argparse.Namespace, done: "Done", words: str) -> int:
    if options.json:
        _print_json(msgspec.to_builtins(done))
    else:
        print(f"{words}: {done.count}")
    if done.under_way:
        print(f"left alone: {done.under_way} under way, a process works on them", file=sys.stderr)
    for why, number in done.left.items():
        print(f"left as they are: {number}: {why}", file=sys.stderr)
    _print_not_looked_into(done.not_looked_into)
    missing = any(_ID.fullmatch(each) for each in options.what) and not (done.count or done.left or done.under_way)
    if missing:
        print("leyden: nothing in the queue has this id", file=sys.stderr)
    return 0 if done.complete and not missing else 1


def _retry(options: argparse.Namespace) -> int:
    from leyden.kept_rules import KeptRules
    from leyden.operate.queue import RETRY, retry
    from leyden.operate.who import who

    def act(root: Path, settings: "Settings | None", wanted: "Filter") -> "Done":
        if settings is None:
            return retry(root, wanted, who=who(), through=_THROUGH)
        nodes = set(settings.plan.titles.values()) - {""}
        renewed = KeptRules(root, settings.sync_spool).renewing(settings.plan)
        return retry(root, wanted, who=who(), through=_THROUGH, nodes=nodes, renewed=renewed)

    return _do(options, RETRY, "back in the queue", act, ask=False)


def _release(options: argparse.Namespace) -> int:
    from leyden.operate.queue import RELEASE, release

    return _do(options, RELEASE, "released", _plainly(release), ask=False)


def _reject(options: argparse.Namespace) -> int:
    from leyden.operate.queue import REJECT, reject

    return _do(options, REJECT, "rejected", _plainly(reject))


def _delete(options: argparse.Namespace) -> int:
    from leyden.operate.queue import DELETE, delete

    return _do(options, DELETE, "deleted", _plainly(delete))


def _plainly(verb: "Callable[..., Done]") -> "Act":
    """A verb that needs no settings."""
    from leyden.operate.who import who

    return lambda root, _, wanted: verb(root, wanted, who=who(), through=_THROUGH)


def _export(options: argparse.Namespace) -> int:
    from leyden.operate.queue import EXPORT, export
    from leyden.operate.who import who

    def act(root: Path, _: "Settings | None", wanted: "Filter") -> "Done":
        try:
            return export(root, wanted, options.to, who=who(), through=_THROUGH)
        except PermissionError as error:
            whom = "the user of the service, as whom root works here," if os.getuid() == 0 else "you"
            raise _Wrong(f"{whom} may not write {error.filename}; name another folder with --to") from None
        except FileExistsError as error:
            raise _Wrong(f"{error.filename} is there already: name another folder with --to") from None

    return _do(options, EXPORT, f"copied to {options.to}", act, ask=False)


def _move(options: argparse.Namespace) -> int:
    from leyden.kept_rules import KeptRules
    from leyden.operate.queue import MOVE, move
    from leyden.operate.who import who

    settings, _ = load(options)  # without the rules nobody can say in which form it goes
    to = settings.plan.titles.get(options.to)
    if not to:
        nodes = ", ".join(sorted(set(settings.plan.titles.values()) - {""})) or "none"
        return _wrong(_Wrong(f"no destination {options.to}; there are: {nodes}"))

    def act(root: Path, _: "Settings | None", wanted: "Filter") -> "Done":
        return move(
            root,
            wanted,
            to,
            who=who(),
            through=_THROUGH,
            settings=settings.plan,
            keep=KeptRules(root, settings.sync_spool).keep,
            acceptance_of=configured(settings).acceptance_of,
        )

    return _do(options, MOVE, f"moved to {to}", act)


def _wrong(error: Exception) -> int:
    print(f"leyden: {error}", file=sys.stderr)
    return 2
