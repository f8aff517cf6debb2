"""sortings.yml to rules: the whole of a sorting, whom a title means, and one wrong line in every kind of place."""

from pathlib import Path

import pytest

from leyden.config.load import load
from leyden.config.settings import Settings
from leyden.errors import ConfigError
from leyden.plan.rules import Condition, Kind, SortAction, Sorting, SortType

NODES = "- AeTitle: IMAGEPACS\n  Aliases: PACS\n- AeTitle: REPORTPACS\n"
ACTION = "    - SortTag: 20,13\n      SortType: integer\n      SortDirection: desc\n"


def sortings(folder: Path, text: str, filters: str = "sort") -> tuple[Sorting, ...] | None:
    (folder / "config.yml").write_text(f"filters: {filters}\n")
    (folder / "nodes.yml").write_text(NODES)
    (folder / "sortings.yml").write_text(text)
    settings, _ = load(folder, {}, {})
    assert Settings.from_json(settings.to_json()) == settings
    return settings.plan.sortings


def test_a_sorting_is_read_whole(tmp_path: Path) -> None:
    text = f"""\
- Description: newest first
  AeTitles: PACS, REPORTPACS
  Conditions:
    - Tag: Modality
      MatchExpression: CT
  Actions:
{ACTION}      Description: by number
    - Type: sort
      SortTag: SliceLocation
      SortType: string
      SortDirection: asc
"""
    assert sortings(tmp_path, text) == (
        Sorting(
            where="sortings.yml:1",
            ae_titles=("IMAGEPACS", "REPORTPACS"),
            conditions=(Condition("00080060", Kind.LITERAL, "CT"),),
            actions=(
                SortAction("00200013", SortType.INTEGER, True, "by number"),
                SortAction("00201041", SortType.STRING, False),
            ),
            description="newest first",
        ),
    )


def test_an_empty_file_is_a_filter_without_rules(tmp_path: Path) -> None:
    assert sortings(tmp_path, "") == ()


def test_the_filters_are_kept_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    sortings(tmp_path, "", "route, sort")
    assert load(tmp_path, {}, {})[0].plan.filters == ("route", "sort")
    _, warnings = load(tmp_path, {"filters": "sort, route"}, {})
    assert any("sort orders what leaves" in line for line in warnings)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Actions: []", "sortings.yml:1: must be a list"),
        ("- AeTitles: PACS", "sortings.yml:1: Actions: is missing"),
        ("- Actions: []", "sortings.yml:1: Actions: needs at least one entry"),
        (f"- AeTitles: PASC\n  Actions:\n{ACTION}", "sortings.yml:1: AeTitles[0]: no node named PASC"),
        (f"- AeTitels: PACS\n  Actions:\n{ACTION}", "sortings.yml:1: AeTitels: unknown key (did you mean AeTitles?)"),
        (f"- Conditions:\n    - Tag: 8\n  Actions:\n{ACTION}", "sortings.yml:2: Conditions[0].Tag: '8' is no tag"),
        (f"- Actions:\n{ACTION.replace('20,13', '20')}", "sortings.yml:2: Actions[0].SortTag: '20' is no tag"),
        (
            f"- Actions:\n{ACTION.replace('20,13', 'Source')}",
            "sortings.yml:2: Actions[0].SortTag: Source is no element",
        ),
        (f"- Actions:\n{ACTION.replace('integer', 'Integer')}", "sortings.yml:3: Actions[0].SortType: must be integer"),
        (f"- Actions:\n{ACTION.replace('integer', 'date')}", "sortings.yml:3: Actions[0].SortType: must be integer or"),
        (
            f"- Actions:\n{ACTION.replace('desc', 'DESC')}",
            "sortings.yml:4: Actions[0].SortDirection: must be asc or desc",
        ),
        (f"- Actions:\n{ACTION}      Type: shuffle\n", "sortings.yml:5: Actions[0].Type: must be one of sort"),
        (
            "- Actions:\n    - SortType: string\n      SortDirection: asc\n",
            "sortings.yml:2: Actions[0].SortTag: is miss",
        ),
    ],
)
def test_one_wrong_line(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sortings(tmp_path, text)
    (found,) = caught.value.problems
    assert found.startswith(problem)
