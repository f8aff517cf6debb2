"""`leyden explain`: what the service would do with files, and why. It changes nothing."""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from leyden.commands.options import Commands, add_command, age_in_words, configured, load, title

if TYPE_CHECKING:
    from leyden.config.settings import Settings
    from leyden.operate.explained import Explained, Rule, Sending

_FORMS = {"make": "made into {}", "ask": "asked first, then made into {}", "as_it_came": "as it came, in {}"}


def add_to(commands: Commands) -> None:
    text = "say what would be done with DICOM files, and why; without a file, list the rules in words"
    command = add_command(commands, "explain", call, text)
    command.add_argument("--from", dest="calling", type=title, metavar="TITLE", help="calling AE title")
    command.add_argument("--to", dest="called", type=title, metavar="TITLE", help="called AE title")
    command.add_argument("--json", action="store_true", help="one JSON document instead of text")
    command.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a DICOM file, or a folder of them")
    command.epilog = (
        "Without --from and --to: the titles that stand in the file (0002,0017 and 0002,0018), or else our own. "
        "It shows values of the files, so patient data."
    )


def call(options: argparse.Namespace) -> int:
    import msgspec

    from leyden.operate.explain import explain
    from leyden.operate.files import files_under

    settings, _ = load(options)
    if not options.files:
        return _list(settings, as_json=options.json)
    of_service = configured(settings)
    found = (
        explain(of_service, path, options.calling or "", options.called or "") for path in files_under(options.files)
    )
    well = True
    ends: Counter[str] = Counter()
    for each in found:
        well = well and each.well
        if options.json:
            print(f"{',' if ends.total() else '['}{msgspec.json.encode(each).decode()}")
        else:
            print("\n".join(_lines(each, time.time())))
        ends.update(["files", *_ends(each)])
    if options.json:
        print("]" if ends else "[]")
    elif ends["files"] != 1:
        count = ends.pop("files", 0)
        print(f"{count} files" + "".join(f"; {times} {end}" for end, times in sorted(ends.items())))
    return 0 if well else 1


def _list(settings: "Settings", *, as_json: bool) -> int:
    """Each rule in words."""
    import msgspec

    from leyden.plan import words

    plan = settings.plan
    rows = [(route.where, words.of_route(route), route.description) for route in plan.routes or ()]
    rows += [(each.where, words.of_mutation(each), each.description) for each in plan.mutations or ()]
    rows += [(each.where, words.of_sorting(each), each.description) for each in plan.sortings or ()]
    if as_json:
        shown = [dict(zip(("where", "text", "description"), row, strict=True)) for row in rows]
        print(msgspec.json.encode(shown).decode())
        return 0
    for where, text, description in rows:
        print(f"{where}{f' ({description})' if description else ''}\n  {text}")
    if not rows:
        print("no rules")
    return 0


def _lines(found: "Explained", now_s: float) -> Iterator[str]:
    yield found.file
    if found.unread:
        yield f"  can't be read: {found.unread}"
        return
    yield f"  {found.calling} sends it to {found.called}, {_whom(found)}"
    yield f"  instance {found.sop_instance_uid or '(none)'} of class {found.sop_class_uid or '(none)'}, {found.syntax}"
    if found.rejected:
        yield f"  not taken: {found.rejected}"
        return
    if found.flaw:
        yield f"  the rules see a part of it only: {found.flaw}"
    for rule in found.rules:
        yield from _rule(rule, "  ")
    for sending in found.deliveries:
        yield from _sending(sending, now_s)
    for saving in found.saves:
        yield f"  is saved as {printable(saving.path)} ({saving.because})"
    if found.dropped_by and found.dropped_by not in {saving.because for saving in found.saves}:
        yield f"  is dropped ({found.dropped_by})"
    for rule in found.mutations:
        yield from _rule(rule, "  ")
    if found.failed:
        yield f"  goes to failed/: {found.failed}"
    if found.postponed:
        yield f"  waits in new/, and is tried again each minute: {found.postponed}"


def _whom(found: "Explained") -> str:
    return f"which stands for the node {found.node}" if found.node else "which is no node: only rules say where it goes"


def _rule(rule: "Rule", indent: str) -> Iterator[str]:
    result = (rule.skipped and f"not asked: {rule.skipped}") or ("holds" if rule.held else "does not hold")
    description = f" ({rule.description})" if rule.description else ""
    yield f"{indent}{rule.where}{description} {result}"
    width = max((len(asked.condition) for asked in rule.conditions), default=0)
    for asked in rule.conditions:
        seen = "(absent)" if asked.seen is None else "\\".join(asked.seen) or "(empty)"
        answer = "yes" if asked.held else "no"
        if asked.unsure:
            answer, seen = "?", asked.unsure
        yield f"{indent}  {answer:<4} {asked.condition:<{min(width, 60)}}  {printable(seen)}"
    if rule.held:
        for action in rule.actions:
            yield f"{indent}  ->   {action}"


def _sending(sending: "Sending", now_s: float) -> Iterator[str]:
    if sending.failure:
        yield f"  does not go to {sending.destination} ({sending.because}), but to failed/: {sending.failure}"
    else:
        yield f"  goes to {sending.destination} ({sending.address}), calling as {sending.calling} ({sending.because})"
    for rule in sending.mutations:
        yield from _rule(rule, "    ")
    if sending.failure:
        return
    width = max((len(change.path) for change in sending.changes), default=0)
    for each in sending.changes:
        yield f"    change {each.path:<{min(width, 60)}}  {_value(each.before)} -> {_value(each.after)}"
    form = _FORMS[sending.form].format(sending.syntax)
    if sending.changes and sending.form == "as_it_came":
        form = f"changed, in the syntax that it came in, {sending.syntax}"
    padded = ", values of odd length padded" if sending.padded else ""
    yield f"    form {form}{padded}{f': {sending.why}' if sending.why else ''}; rank {sending.rank}"
    if sending.seen is None:
        yield f"    what {sending.destination} accepts of this class is not known yet"
        return
    age = age_in_words(max(0.0, now_s - sending.seen.seen_s))
    accepted = ", ".join(sending.seen.accepted) or "nothing"
    refused = f"; to refuse {', '.join(sending.seen.refused)}" if sending.seen.refused else ""
    yield f"    {sending.destination} was seen {age} ago to accept {accepted}{refused}"


def _value(value: str | None) -> str:
    return "(absent)" if value is None else printable(value) or "(empty)"


def _ends(found: "Explained") -> Iterator[str]:
    """What becomes of a file, for the count."""
    for sending in found.deliveries:
        yield "to failed/" if sending.failure else f"to {sending.destination} in {sending.syntax}"
    yield from ("saved" for _ in found.saves)
    for end, reason in (
        ("not readable", found.unread),
        ("not taken", found.rejected),
        ("to failed/", found.failed),
        ("put off", found.postponed),
        ("dropped", "" if found.saves else found.dropped_by),
    ):
        if reason:
            yield end


def printable(text: str) -> str:
    """A value for a terminal: what could steer it becomes a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)
