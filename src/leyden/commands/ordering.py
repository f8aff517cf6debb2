"""What `leyden pause`, `resume` and `override-schedule` share: for whom, until when, and who asks."""

import argparse
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.commands.options import as_the_service, length_s, load, spool_root
from leyden.errors import ConfigError

if TYPE_CHECKING:
    from leyden.operate.nodes import Asked
    from leyden.spool.control import Control, Flags

FLAGS = {"storageScu": "deliveries", "prepare": "planning and conversion"}  # of spool/control.py; they pause something
_DAY_S = 86400.0
_FORMATS = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


def add_node(parser: argparse.ArgumentParser, *, whole: bool) -> None:
    """NODE; with `whole` also --all, and --flag for a part of the service."""
    parser.add_argument("node", nargs="?" if whole else None, metavar="NODE", help="AE title or alias of a destination")
    if whole:
        parser.add_argument("--all", action="store_true", help=f"the whole service: {in_words(FLAGS)}")
        parser.add_argument(
            "--flag",
            action="append",
            choices=tuple(FLAGS),
            help=f"of the whole service only this: {', '.join(f'{flag} = {words}' for flag, words in FLAGS.items())}",
        )


def in_words(flags: Iterable[str]) -> str:
    """What flags of the whole service pause; those of services that are not there yet pause nothing."""
    given = set(flags)
    return ", ".join(words for flag, words in FLAGS.items() if flag in given)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="what is ordered now, as one JSON document")


def print_ordered(options: argparse.Namespace, title: str, control: "Control", words: str) -> None:
    """What holds for a destination now; `words` for people."""
    import msgspec

    if options.json:
        print(msgspec.json.encode({"node": title, "pause": control.pause, "override": control.override}).decode())
    else:
        print(words)


def print_paused(options: argparse.Namespace, flags: "Flags", words: str) -> None:
    """The same for the whole service."""
    import msgspec

    print(msgspec.json.encode({"paused": flags}).decode() if options.json else words)


def add_until(parser: argparse.ArgumentParser) -> None:
    """--until and --for."""
    how_long = parser.add_mutually_exclusive_group()
    how_long.add_argument(
        "--until",
        type=_moment,
        metavar="TIME",
        help="it ends by itself at 14:30, or '2026-12-24 14:30' (local time)",
    )
    how_long.add_argument(
        "--for", dest="until", type=_from_now, metavar="TIME", help="it ends by itself after 90s, 30min, 2h or 1d"
    )


def asked(options: argparse.Namespace) -> "Asked":
    """Who wants it, until when, and why."""
    from leyden.operate.nodes import Asked
    from leyden.operate.who import who

    return Asked(who(), "command line", getattr(options, "until", None) or 0.0, getattr(options, "reason", None) or "")


def begin(options: argparse.Namespace) -> tuple[Path, Mapping[str, str]]:
    """The spool's root and what each title stands for; from now on this process tells the journal.

    Beside files with errors in them, the titles are those of the service that runs. Raises ConfigError if none does.
    """
    from leyden.journal.lines import set_up
    from leyden.journal.segments import ORDERS
    from leyden.operate import reading
    from leyden.spool.control import Controls

    titles: Mapping[str, str]
    try:
        settings, _ = load(options)
        root, titles = settings.spool_root, settings.plan.titles
    except ConfigError:
        root = begin_anyway(options)
        if (said := reading.read(root)) is None:
            raise
        titles = {title: title for title in said.nodes}
    else:
        as_the_service(root)
        set_up(root, ORDERS, settings.journal)
    left = Controls(root).titles()  # of a node that is gone: its order can be taken back
    return root, {**{title: title for title in left}, **titles}


def begin_anyway(options: argparse.Namespace) -> Path:
    """The same without the titles, and whatever is wrong in the files. Raises ConfigError if config.yml hides it."""
    from leyden.journal.lines import JournalSettings, set_up
    from leyden.journal.segments import FOLDER, ORDERS

    root = spool_root(options)
    as_the_service(root)
    there_is_one = (root / FOLDER).is_dir()  # how large it may be is for others to say: this adds a few lines
    set_up(root, ORDERS, JournalSettings(mib=int(there_is_one)))
    return root


def _from_now(text: str) -> float:
    if not (for_s := length_s(text)):
        raise argparse.ArgumentTypeError(f"{text} is over at once")
    return time.time() + for_s


def _moment(text: str) -> float:
    now_s = time.time()
    if re.fullmatch(r"\d{1,2}:\d{2}", text):
        today = time.strftime("%Y-%m-%d ", time.localtime(now_s))
        at_s = _parsed(today + text, "%Y-%m-%d %H:%M")
        if at_s <= now_s:
            tomorrow = time.strftime("%Y-%m-%d ", time.localtime(_parsed(today + "12:00", _FORMATS[0]) + _DAY_S))
            at_s = _parsed(tomorrow + text, "%Y-%m-%d %H:%M")
        if at_s:
            return at_s
    at_s = max(_parsed(text, each) for each in _FORMATS)
    if not at_s:
        raise argparse.ArgumentTypeError(f"{text} is no time: write 14:30, or '2026-12-24 14:30'")
    if at_s <= now_s:
        raise argparse.ArgumentTypeError(f"{text} is over")
    return at_s


def _parsed(text: str, form: str) -> float:
    """0 = it is none of this form."""
    try:
        return time.mktime(time.strptime(text, form))
    except (ValueError, OverflowError):
        return 0.0
