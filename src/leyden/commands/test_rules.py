"""`leyden test-rules`: whether the rules do with sample files what is expected of them."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from leyden.commands.explain import printable
from leyden.commands.options import Commands, add_command, configured, load

if TYPE_CHECKING:
    from leyden.operate.cases import Verdict


_RECEIPT = "1577880000000000990000"  # noon of 2020-01-01 (UTC): what follows from it is the same at each run

_NO_SPOOL = Path(os.devnull)  # so there is no key, and UIDs and dates are the same on each machine


def add_to(commands: Commands) -> None:
    text = "check the rules with sample files and what must become of them; exit code 1 if anything differs"
    command = add_command(commands, "test-rules", call, text)
    command.add_argument("--json", action="store_true", help="one JSON document instead of text")
    command.add_argument("cases", nargs="?", type=Path, metavar="CASES", help="the file (default PATH/cases.yml)")


def call(options: argparse.Namespace) -> int:
    import orjson

    from leyden.config.cases import cases
    from leyden.operate.cases import check
    from leyden.plan.match import nothing_known
    from leyden.pseudonyms import Preview

    settings, _ = load(options)
    folder = Path(settings.path)
    wanted = cases(options.cases or folder / "cases.yml", settings.plan.titles, folder)
    by_rules_alone = replace(
        configured(settings), acceptance_of=nothing_known, receipt=_RECEIPT, pseudonymizer=Preview(_NO_SPOOL)
    )
    verdicts = []
    for case in wanted:
        for verdict in check(case, by_rules_alone):
            verdicts.append(verdict)
            if not options.json:
                print("\n".join(_lines(verdict)))
    failed = sum(not verdict.passed for verdict in verdicts)
    if options.json:
        shown = [{**msgspec.to_builtins(verdict), "passed": verdict.passed} for verdict in verdicts]
        print(orjson.dumps(shown).decode())
    else:
        print(f"{len(verdicts) - failed} as expected, {failed} not")
    return 1 if failed else 0


def _lines(verdict: "Verdict") -> Iterator[str]:
    """One line, and a diff if it is not as expected: - what was expected, + what would happen."""
    name = verdict.description or Path(verdict.file).name
    file = f" ({Path(verdict.file).name})" if verdict.description else ""
    yield f"{'ok  ' if verdict.passed else 'FAIL'}  {verdict.where}  {name}{file}"
    for difference in verdict.differences:
        for sign, text in (("-", difference.expected), ("+", difference.got)):
            if text:
                yield f"        {sign} {printable(text)}"
