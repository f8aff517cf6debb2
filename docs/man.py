"""Writes the manual pages leyden(1) and leyden-config(5): `python docs/man.py FOLDER`.

They are made of the parser of the command line and of config/schema.py, so they say what `leyden --help` and
docs/configure.md say. A wheel carries them (hatch_build.py); no copy of them is kept.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import tables
from leyden import __version__
from leyden.cli import whole_parser


def pages() -> dict[str, str]:
    """The text of each page, by the name of its file."""
    return {"leyden.1": "".join(_commands()), "leyden-config.5": "".join(_keys())}


def _date() -> str:
    """Of the build; SOURCE_DATE_EPOCH makes it the same each time."""
    return time.strftime("%Y-%m-%d", time.gmtime(float(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))


def _head(name: str, section: int, what: str) -> str:
    return (
        f'.TH {name.upper()} {section} {_date()} "Leyden {__version__}"\n.SH NAME\n{_plain(name)} \\- {_plain(what)}\n'
    )


def _commands() -> Iterator[str]:
    parser = whole_parser()
    yield _head("leyden", 1, "store-and-forward DICOM router")
    yield ".SH SYNOPSIS\n.B leyden\n.RI [ options ]\n.RI [ command\n.RI [ options ]]\n"
    yield f".SH DESCRIPTION\n{_plain(str(parser.description))}\n.PP\n{_plain(str(parser.epilog))}\n"
    yield ".SH OPTIONS\n"
    yield from _options(parser)
    yield ".SH COMMANDS\n"
    yield from _of(parser, "")
    yield ".SH EXIT STATUS\n0: well. 1: the answer is no, or a peer cannot be reached.\n"
    yield "2: wrong use, or a mistake in the configuration.\n"
    yield ".SH FILES\n.TP\n.I /var/lib/leyden/data\nThe configuration; the spool is in\n.I cache\nbelow it.\n"
    yield ".TP\n.I /etc/default/leyden\nKeys of config.yml as variables, for the service alone.\n"
    yield ".SH SEE ALSO\n.BR leyden-config (5)\n"


def _of(parser: argparse.ArgumentParser, before: str) -> Iterator[str]:
    """Each command of a parser, and the commands of that."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            told = {choice.dest: choice.help for choice in action._choices_actions}
            for name, command in action.choices.items():
                if name not in told:
                    continue
                whole = f"{before} {name}".strip()
                positional = " ".join(_metavar(each) for each in _shown(command) if not each.option_strings)
                yield f".SS {_plain(whole)} {_plain(positional)}\n{_plain(str(command.description or told[name]))}\n"
                yield from _options(command)
                yield from _of(command, whole)


def _shown(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = (argparse._SubParsersAction, argparse._HelpAction)
    return [each for each in parser._actions if not isinstance(each, hidden) and each.help != argparse.SUPPRESS]


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _shown(parser):
        if action.dest in ("path", "log") and parser.prog != "leyden":
            continue  # those of all commands
        name = ", ".join(action.option_strings) if action.option_strings else _metavar(action)
        value = f" {_metavar(action)}" if action.option_strings and action.nargs != 0 else ""
        text = (action.help or "") % {"default": action.default, "prog": "leyden"} if action.help else ""
        yield f".TP\n.B {_plain(name + value)}\n{_plain(text) or 'See above.'}\n"


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    choices = "|".join(map(str, action.choices)) if action.choices else ""
    return action.metavar or choices or action.dest.upper()


def _keys() -> Iterator[str]:
    yield _head("leyden-config", 5, "the files that Leyden is configured by")
    yield ".SH DESCRIPTION\nAll files are YAML, and stand in the folder that \\-\\-path names.\n"
    yield "A key may be written in any case.\n"
    yield ".B leyden check\nreads them and names every mistake with its line;\n.B leyden init\nwrites the first ones.\n"
    for name, model in tables.MODELS.items():
        yield f".{'SH' if name.endswith('.yml') else 'SS'} {_plain(name)}\n"
        for key, default, unit, effect, _ in tables.keys(model):
            shown = f"{default} {unit}".strip()
            yield f".TP\n.B {_plain(key.strip('`'))}\n{_plain(effect)} (default: {_plain(shown)})\n"
    yield ".SH SEE ALSO\n.BR leyden (1)\n"


def _plain(text: str) -> str:
    """Text that roff shows as it is, on lines that begin with no control character."""
    text = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", text)  # a link of Markdown
    text = " ".join(text.replace("`", "").replace("\\|", "|").split())
    text = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    )
    text = "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in text)
    return f"\\&{text}" if text[:1] == "." else text


def write(folder: Path) -> list[Path]:
    """Write the pages into man1/ and man5/ below the folder."""
    written = []
    for name, text in pages().items():
        path = folder / f"man{name[-1]}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")
        written.append(path)
    return written


if __name__ == "__main__":
    for path in write(Path(sys.argv[1])):
        print(path)
