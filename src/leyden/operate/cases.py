"""Whether the rules do with sample files what a hospital expects of them: `leyden test-rules`.

What is not expected must not happen: a delivery too many is as wrong as one that is missing. What destinations were
seen to accept does not count here, so that the result depends on the configuration only.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from leyden.dicom.uids import syntax_name
from leyden.operate.explain import Configured, explain
from leyden.operate.explained import Explained, Sending
from leyden.operate.files import files_under
from leyden.plan.rules import Place
from leyden.plan.words import of_place


class ExpectedDelivery(msgspec.Struct, frozen=True):
    """A delivery to a node. `syntax`: the UID of the transfer syntax, "" = as it came. None = anything.

    `values`: the values of an element joined by backslashes; None = it is absent.
    """

    destination: str
    syntax: str | None = None
    calling: str | None = None
    values: dict[Place, str | None] = msgspec.field(default_factory=dict)


class Case(msgspec.Struct, frozen=True):
    """A file, or a folder of files, and what has to happen to each. Texts: a part of the reason; "" = any reason.

    `saved`: absolute paths. None = it must not happen.
    """

    where: str
    path: Path
    calling: str = ""
    called: str = ""
    description: str = ""
    deliveries: tuple[ExpectedDelivery, ...] = ()
    saved: tuple[str, ...] = ()
    dropped: str | None = None
    failed: str | None = None
    rejected: str | None = None


class Difference(msgspec.Struct, frozen=True):
    """What was expected, and what would happen instead; "" = nothing."""

    expected: str
    got: str


class Verdict(msgspec.Struct, frozen=True):
    """What came of one file of a case. Without differences, it is as expected."""

    where: str
    description: str
    file: str
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        return not self.differences


def check(case: Case, configured: Configured) -> Iterator[Verdict]:
    """A verdict for each file of the case; at least one."""
    places = frozenset(place for delivery in case.deliveries for place in delivery.values)
    for path in list(files_under([case.path])) or [case.path]:
        found = explain(configured, path, case.calling, case.called, places)
        yield Verdict(case.where, case.description, str(path), tuple(_differences(case, found)))


def _differences(case: Case, found: Explained) -> Iterator[Difference]:
    if found.unread:
        yield Difference("", f"can't be read: {found.unread}")
        return
    yield from _reason("rejected", case.rejected, found.rejected)
    yield from _reason("failed", case.failed, _failed(found))
    yield from _reason("dropped", case.dropped, _dropped(found))
    yield from _deliveries(case, found)
    saved = [saving.path for saving in found.saves]
    yield from (Difference(f"saved as {path}", "") for path in case.saved if path not in saved)
    yield from (
        Difference("", f"saved as {saving.path} ({saving.because})")
        for saving in found.saves
        if saving.path not in case.saved
    )


def _reason(what: str, expected: str | None, got: str) -> Iterator[Difference]:
    if (expected is None) == (not got) and (expected or "") in got:
        return
    yield Difference(
        "" if expected is None else f"{what}: {expected}".rstrip(": "), f"{what}: {got}" if got else f"not {what}"
    )


def _failed(found: Explained) -> str:
    """Why it does not leave: the whole object, or the copies for some destinations."""
    waits = f"waits in new/: {found.postponed}" if found.postponed else ""
    copies = (f"{each.destination}: {each.failure}" for each in found.deliveries if each.failure)
    return found.failed or waits or "; ".join(copies)


def _dropped(found: Explained) -> str:
    """The rule that ended the trip, with its description; a rule that has saved it has not dropped it."""
    if found.dropped_by in {saving.because for saving in found.saves}:
        return ""
    where = found.dropped_by.partition(" ")[0]
    description = next((rule.description for rule in found.rules if rule.where == where), "")
    return f"{found.dropped_by}: {description}" if description else found.dropped_by


def _deliveries(case: Case, found: Explained) -> Iterator[Difference]:
    got = {sending.destination: sending for sending in found.deliveries if not sending.failure}
    for expected in case.deliveries:
        sending = got.pop(expected.destination, None)
        if sending is None:
            yield Difference(f"delivered to {expected.destination}", "")
        else:
            for what, wanted, was in _compared(expected, sending):
                if wanted != was:
                    yield Difference(f"{what} {wanted}", f"{what} {was}")
    yield from (Difference("", f"delivered to {each.destination} ({each.because})") for each in got.values())


def _compared(expected: ExpectedDelivery, sending: Sending) -> Iterator[tuple[str, str, str]]:
    """What was asked for, what was expected and what is so, in words."""
    to = expected.destination
    if expected.syntax is not None:
        as_it_came = sending.form == "as_it_came"
        was = f"as it came ({sending.syntax})" if as_it_came else sending.syntax
        same = as_it_came if not expected.syntax else sending.syntax_uid == expected.syntax
        yield f"{to}: As", was if same else _syntax_words(expected.syntax), was
    if expected.calling is not None:
        yield f"{to}: Calling", expected.calling, sending.calling
    for place, value in expected.values.items():
        texts = sending.values.get(of_place(place))
        was = _value_words(None if texts is None else "\\".join(texts))
        yield f"{to}: {of_place(place)}", _value_words(value), was


def _syntax_words(uid: str) -> str:
    return syntax_name(uid) if uid else "as it came"


def _value_words(value: str | None) -> str:
    return "absent" if value is None else f"'{value}'"
