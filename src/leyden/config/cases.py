"""cases.yml: sample files and what the rules have to do with them (`leyden test-rules`).

Read as the other files are, with every mistake told at once; an unknown key is an error.
"""

from collections.abc import Mapping
from pathlib import Path

from leyden.config import values
from leyden.config.report import Report, did_you_mean
from leyden.config.schema import CaseEntry, ExpectedDeliveryEntry, ExpectEntry, Steps, place, read
from leyden.config.yaml_text import SIZE_LIMIT_BYTES, At, Entries, Items, Node, Text, YamlError, parse
from leyden.errors import ConfigError
from leyden.operate.cases import Case, ExpectedDelivery
from leyden.plan.rules import Place


def cases(path: Path, titles: Mapping[str, str], folder: Path) -> tuple[Case, ...]:
    """The cases in a file. Raises ConfigError with all errors.

    `titles`: every called title -> its node, as in PlanSettings; `folder`: that of the configuration, in which a
    relative path of save_file lies.
    """
    report = Report()
    try:
        with path.open("rb") as stream:
            document = parse(stream.read(SIZE_LIMIT_BYTES + 1), path.name)
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror}",)) from None
    except YamlError as error:
        for each in (error, *error.more):
            report.error(each.at, "", str(each))
        document = error.rest
    if document is not None and not isinstance(document, Items):
        report.error(document.at, "", "must be a list: each case begins with a dash (- File: ...)")
        document = None
    read_ones = (read(CaseEntry, given, report) for given in document or ())
    found = tuple(_case(entry, path.parent, titles, folder, report) for entry in read_ones if entry is not None)
    if not found and not report.errors:
        report.error(At(path.name), "", "holds no case")
    if report.errors:
        raise ConfigError(report.errors, report.warnings)
    return found


def _case(entry: CaseEntry, beside: Path, titles: Mapping[str, str], folder: Path, report: Report) -> Case:
    expected = read(ExpectEntry, entry.expect, report, ("Expect",)) if entry.expect is not None else None
    if entry.file and not (beside / entry.file).exists():
        report.error(entry.file.at, "File", f"{beside / entry.file} is not there")
    if expected is None:
        return Case(str(entry.at), beside)  # a stand-in: the error is told
    if not entry.expect:
        report.error(expected.at, "Expect", "is empty; name what must happen, such as Deliveries")
    return Case(
        where=str(entry.at),
        path=beside / entry.file,
        calling=str(entry.from_ or ""),
        called=str(entry.to or ""),
        description=str(entry.description or ""),
        deliveries=tuple(
            _delivery(given, ("Expect", "Deliveries", n), titles, report) for n, given in enumerate(expected.deliveries)
        ),
        saved=tuple(str(folder / path) for path in expected.saved),
        dropped=_reason(expected.dropped),
        failed=_reason(expected.failed),
        rejected=_reason(expected.rejected),
    )


def _reason(written: Text | None) -> str | None:
    """A part of the reason; "" = any (true). None = it must not happen (false, or no such key)."""
    if written is None or written.strip().lower() == "false":
        return None
    return "" if written.strip().lower() == "true" else written.strip()


def _delivery(given: Node, steps: Steps, titles: Mapping[str, str], report: Report) -> ExpectedDelivery:
    entry = read(ExpectedDeliveryEntry, given, report, steps)
    if entry is None:
        return ExpectedDelivery("")  # a stand-in: the error is told
    node = titles.get(entry.to, "")
    if entry.to and not node:
        message = f"no node named {entry.to}{did_you_mean(entry.to, filter(titles.get, titles))}"
        report.error(entry.to.at, place((*steps, "To")), message)
    return ExpectedDelivery(
        node, entry.as_, None if entry.calling is None else str(entry.calling), _values(entry.values, steps, report)
    )


def _values(given: Entries, steps: Steps, report: Report) -> dict[Place, str | None]:
    found: dict[Place, str | None] = {}
    for key, value in given.items():
        try:
            element = values.element(key)
            if not all(step.item for step in element.within):
                raise ValueError(f"{key}: name one item, such as [1]")
            written = values.text(value)
        except ValueError as error:
            report.error(key.at, place((*steps, "Values")), str(error))
        else:
            found[element] = None if written.blank else str(written)
    return found
