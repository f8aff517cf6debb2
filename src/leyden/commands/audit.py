"""`leyden audit`: whether the audit log is what was written, and what it tells."""

import argparse
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.commands.options import Commands, add_command, folders, load

if TYPE_CHECKING:
    from leyden.audit.chain import Link
    from leyden.audit.verify import Verified

_EVENT = re.compile(rb'"event":"(\w+)"')
_NOT_SHOWN = ("seq", "writer", "event", "at_s", "mac")


def add_to(commands: Commands) -> None:
    parser = add_command(commands, "audit", call, "check or show the audit log")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    text = "say whether the audit log is complete and as it was written; exit code 1 if it is not"
    verify = actions.add_parser("verify", parents=[folders()], help=text, description=text)
    verify.set_defaults(action=_verify)
    verify.add_argument("--key", type=Path, metavar="FILE", help="the key (default: that of the configuration)")
    verify.add_argument(
        "--expect",
        type=_link,
        metavar="SEQ:MAC",
        help="a record that has to be there, as the collector knows it (default: the one in state/audit.json)",
    )
    text = "show the records, the oldest first; nothing is checked"
    show = actions.add_parser("show", parents=[folders()], help=text, description=text)
    show.set_defaults(action=_show)
    show.add_argument("--event", action="append", metavar="NAME", help="only these, such as delivered or operated")
    show.add_argument("--holding", metavar="TEXT", help="only those that hold this text: a UID, a title, a user")
    for action in (verify, show):
        action.add_argument("--json", action="store_true", help="the same for a program")
        action.add_argument("files", nargs="*", type=Path, metavar="FILE", help="these files instead of all of them")


def call(options: argparse.Namespace) -> int:
    return int(options.action(options))


def _verify(options: argparse.Namespace) -> int:
    import msgspec

    from leyden.audit.keeper import key_path, read_note
    from leyden.audit.verify import verify
    from leyden.spool.secret import read_secret

    settings, _ = load(options)
    root = settings.spool_root
    key_file = Path(options.key or key_path(root, settings.audit))
    try:
        key = read_secret(key_file)
    except FileNotFoundError:
        print(f"leyden: {key_file}, the key of the audit log, is not there: the service makes it", file=sys.stderr)
        return 1
    note = None if options.files else read_note(root)
    first = 0 if options.files else note.first if note else 1
    end = options.expect or (note.end if note is not None and note.seq else None)
    said = verify(key, _files(options, settings.log_dir), first=first, end=end)
    if options.json:
        sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
    else:
        print("\n".join(_in_words(said)))
    return 1 if said.fault else 0


def _in_words(said: "Verified") -> Iterator[str]:
    if said.fault:
        yield f"{said.fault.file}:{said.fault.line}: {said.fault.what}: {said.fault.detail}"
    count = "no record"
    if said.first:
        all_records = said.last - said.first + 1
        opening = all_records - said.records
        count = f"{all_records} records, numbers {said.first} to {said.last}, of which {opening} only begin a file,"
    span = f", {_shown(said.begin_s)} to {_shown(said.end_s)}" if said.end_s else ""
    yield f"{'before that' if said.fault else 'OK'}: {count} in {said.files} file{'' if said.files == 1 else 's'}{span}"
    if not (said.fault or said.to_the_end):
        yield "whether some were cut off at the end can't be told: no record is known that has to be there"


def _show(options: argparse.Namespace) -> int:
    import orjson

    from leyden.audit.files import lines
    from leyden.log import escaped

    wanted, seen = options.event or (), set()
    holding = (options.holding or "").encode()
    for path in _files(options, load(options)[0].log_dir):
        for line in lines(path):
            event = found[1].decode() if (found := _EVENT.search(line)) else ""
            seen.add(event)
            if holding not in line or (wanted and event not in wanted):
                continue
            if options.json:
                sys.stdout.write(line.decode())
                continue
            try:
                record = orjson.loads(line)
                begin = f"{record['seq']}  {_shown(record['at_s'])}  {record['event']}"
            except (orjson.JSONDecodeError, KeyError, TypeError):
                print(f"{path}: a line that is no record")
            else:
                rest = (f"{name}={value}" for name, value in record.items() if name not in _NOT_SHOWN and value != "")
                print(escaped(" ".join((begin, *rest))))  # of texts that peers have given
    for name in wanted:
        if name not in seen:  # misspelt, perhaps: nobody should read that as "it never happened"
            print(f"no record is {name}; there are {', '.join(sorted(seen - {''}))}", file=sys.stderr)
    return 0


def _files(options: argparse.Namespace, log_dir: str) -> list[Path]:
    from leyden.audit.files import files, number_of

    return sorted(options.files, key=number_of) if options.files else files(Path(log_dir))


def _shown(at_s: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at_s))}.{int(at_s % 1 * 1000):03d}"


def _link(text: str) -> "Link":
    from leyden.audit.chain import Link

    seq, _, mac = text.partition(":")
    try:
        return Link(int(seq), bytes.fromhex(mac))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not SEQ:MAC, a number and 64 hex digits") from error
