"""The pages against the code: every key of the files, every line of the log above INFO, every folder, every link."""

import difflib
import importlib.util
import logging
import re
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from leyden.config.schema import (
    ActionEntry,
    Api,
    CallerEntry,
    CaseEntry,
    ConditionEntry,
    Config,
    Entry,
    ExpectedDeliveryEntry,
    ExpectEntry,
    JwtEntry,
    NodeEntry,
    RouteEntry,
    SortActionEntry,
    SortingEntry,
)
from leyden.config.settings import AT_START
from leyden.journal.events import Rejected
from leyden.journal.lines import GIVEN_UP, VIEWS
from leyden.spool.store import Spool
from support.log_lines import VARIES, Line, lines_above_info, literals

TOP = Path(__file__).resolve().parents[1]
DOCS = TOP / "docs"
PAGES = sorted([*TOP.glob("*.md"), *DOCS.glob("*.md"), *(TOP / "examples").rglob("*.md"), *(TOP / "perf").glob("*.md")])
PAST = ("CHANGELOG", "DECISIONS", "RESULTS")  # what is told there may be gone
RULES = (RouteEntry, ConditionEntry, ActionEntry, SortingEntry, SortActionEntry)
CASES = (CaseEntry, ExpectEntry, ExpectedDeliveryEntry)
MODELS = (Config, Api, NodeEntry, CallerEntry, JwtEntry, *RULES, *CASES)


def script(name: str) -> ModuleType:
    """A script of docs/, which is no package."""
    specification = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_tables_of_keys_are_those_of_the_schema() -> None:
    """Configure: "every key of every file" (README.md), with the default and the effect that the code has."""
    written = (DOCS / "configure.md").read_text()
    assert written == script("tables").page(written), "docs/configure.md is not up to date: run `python docs/tables.py`"


def test_the_table_of_calls_is_that_of_the_console() -> None:
    """docs/api.md has every call, with what it takes and gives, as the routes and the OpenAPI document are made."""
    written = (DOCS / "api.md").read_text()
    assert written == script("api").page(written), "docs/api.md is not up to date: run `python docs/api.py`"


def test_the_decisions_are_in_order() -> None:
    """Run `python docs/decisions.py`, which sorts the page (CONTRIBUTING.md)."""
    written = (TOP / "DECISIONS.md").read_text()
    assert written == script("decisions").ordered(written), "DECISIONS.md: run `python docs/decisions.py`"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_each_key_is_described(model: type[Entry]) -> None:
    """Configure: "every key of every file" (README.md), those without effect too."""
    cells = set(re.findall(r"^\|(?: [\w.]+ \|)? `(\w+)…?` \|", (DOCS / "configure.md").read_text(), re.MULTILINE))
    keys = {*model.keys(), *model.later, *model.later_families, *model.silent}
    missing = sorted(keys - cells)
    assert not missing, f"docs/configure.md does not name {missing}: give them a setting() in schema.py"


def test_the_keys_that_take_a_restart_are_named() -> None:
    """Those that "take a restart" (docs/operate.md) are the ones that a reload leaves as they are."""
    (line,) = re.findall(
        r"^These keys take a restart: (.*?`)\.", (DOCS / "operate.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert set(re.findall(r"`([\w.]+)`", line)) == set(AT_START.values())


def _rows() -> list[str]:
    """The first cells of the tables of docs/troubleshoot.md that hold a line of the log."""
    return re.findall(r"^\| `([^`]*)` \|", (DOCS / "troubleshoot.md").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    return lines_above_info(TOP / "src" / "leyden")


def test_each_line_above_info_is_explained(lines: list[Line]) -> None:
    """Troubleshoot: "each warning and error of the log, and what to do" (README.md)."""
    rows = set(_rows())
    missing: dict[str, Line] = {}
    for line in lines:
        if re.search(r"[A-Za-z]{3}", line.text) and line.text not in rows:
            missing.setdefault(line.text, line)
    told = "".join(
        f"\n| `{text}` | what it means | what to do |\n    logged in {line.where}{_instead_of(text, rows)}"
        for text, line in missing.items()
    )
    assert not missing, f"docs/troubleshoot.md lacks these rows:{told}"


def test_each_event_above_info_is_explained() -> None:
    """Troubleshoot: "each warning and error of the log, and what to do" (README.md).
    The lines of events are put together in journal/lines.py."""
    rows = set(_rows())
    for kind, (level, line) in [*VIEWS.items(), (Rejected, GIVEN_UP)]:
        if level > logging.INFO:
            fields = {field.name: VARIES for field in msgspec.structs.fields(kind)}
            text = line(kind(**fields))
            assert text in rows, f"docs/troubleshoot.md lacks `{text}`, the row of {kind.__name__}"


def _instead_of(text: str, rows: set[str]) -> str:
    near = difflib.get_close_matches(text, rows, 1, 0.7)
    return f"; perhaps instead of the row `{near[0]}`" if near else ""


def test_each_explained_line_can_be_logged(lines: list[Line]) -> None:
    """The page explains "all lines above INFO" (docs/troubleshoot.md), and none that is gone."""
    said = literals(TOP / "src" / "leyden")
    texts = {line.text for line in lines}
    # What is put together from several texts is looked for by its words.
    known = {part for row in _rows() for part in _parts(row) if any(part in text for text in said)}
    gone = [row for row in _rows() if row not in texts and not known.issuperset(_parts(row))]
    assert not gone, f"docs/troubleshoot.md explains lines that nobody logs: {gone}"


def _parts(row: str) -> list[str]:
    return [part.strip() for part in re.split(r"…|\(\d,\d,\d\)|: ", row)]


def _anchors(page: Path) -> set[str]:
    """The names that the headings of a page can be linked by, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_each_link_leads_somewhere(page: Path) -> None:
    """A link on a page leads to a page, and to a heading, that is there."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not re.match(r"[a-z]+:", link) and not (target.exists() and (not anchor or anchor in _anchors(target))):
            broken.append(link)
    assert not broken


def test_each_page_can_be_reached_from_the_front_page() -> None:
    """The table "Documentation" of README.md leads to every page of docs/."""
    linked = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", (TOP / "README.md").read_text())}
    missing = {str(page.relative_to(TOP)) for page in DOCS.glob("*.md")} - linked
    assert not missing


def test_each_folder_of_the_spool_is_explained(tmp_path: Path) -> None:
    """README.md leads to "All folders" of the spool: docs/operate.md names each and says what stands there."""
    Spool(tmp_path / "cache").prepare(["PACS"])
    told = {name.partition("/")[0] for name in re.findall(r"`([a-z]+/[^`]*)`", (DOCS / "operate.md").read_text())}
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= told


@pytest.mark.parametrize("page", [page for page in PAGES if page.stem not in PAST], ids=lambda page: page.stem)
def test_each_file_that_is_named_is_there(page: Path) -> None:
    """A page that tells of today names no file that is gone."""
    named = set(re.findall(r"\b(?:perf|docs|tests|src|examples)/[\w/]+\.\w+", page.read_text()))
    assert [name for name in named if not (TOP / name).exists()] == []
