"""What scale.py and tune_check.py measure is there: each object at each destination, each figure in its column."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from leyden.tune import plot

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "perf"))

import peers
import scale
import tune_check


def test_the_quick_form_with_a_slow_destination(tmp_path: Path) -> None:
    page, svg = tmp_path / "page.md", tmp_path / "plot.svg"
    page.write_text("\n".join(scale.MARKS))
    words = ["--quick", "--rounds", "1", "--destinations", "2", "--svg", svg, "--page", page, "--folder", tmp_path]
    done = subprocess.run(
        [sys.executable, scale.__file__, *map(str, words)], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in page.read_text().splitlines() if line.startswith("| as it came |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:6] == ["as it came", "1", "1", "4", "4", "2, one slow"]
    figures = dict(zip(scale.HEAD[6:], map(float, cells[6:]), strict=True))
    assert min(figures[name] for name in ("objects/s", "receiver, ms", "planner, ms", "sender, ms")) > 0
    assert figures["p50, ms"] <= figures["p95, ms"] <= figures["p99, ms"]
    assert row in done.stdout
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")


def test_what_comes_for_the_first_goes_to_all() -> None:
    nodes, routings = scale.configuration(scale.Cell("HTJ2KLossless", destinations=3, associations=7), [1, 2, 3])
    assert nodes.count("MaxAssociations: 7") == nodes.count("TransferSyntax: HTJ2KLossless") == 3
    assert "AeTitles: [DEST0]" in routings
    assert [routings.count(f"Target: DEST{n}") for n in range(3)] == [0, 1, 1]
    assert scale.configuration(scale.Cell(), [1])[1] == ""


def test_the_story_of_a_load_is_that_of_the_journal(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"event":"received","receipt":"1","at_s":5.0}\n{"event":"received","receipt":"2","at_s":11.0}\n'
        '{"event":"delivered","receipt":"1","at_s":6.0,"destination":"DEST0"}\n'
        '{"event":"delivered","receipt":"2","at_s":11.5,"destination":"DEST0"}\n'
        '{"event":"delivered","receipt":"2","at_s":99.0,"destination":"SLOW"}\n'
    )
    assert scale.told(tmp_path, ["DEST0"], 10.0) == (11.5, [500.0])


def test_every_combination() -> None:
    asked = scale.parse(["--workers", "1,2", "--sources", "1,4,16", "--syntax", "HTJ2KLossless", "--whole"])
    (found,) = scale.cells(asked).values()
    assert len(set(found)) == 6
    assert {cell.syntax for cell in found} == {"HTJ2KLossless"}
    one_by_one = scale.cells(scale.parse(["--workers", "1,2", "--sources", "8"]))
    assert {name: len(each) for name, each in one_by_one.items()} == {"workers": 2, "sources": 1}


def test_a_chart_for_each_dimension(tmp_path: Path) -> None:
    figures = [scale.Figures(100.0, [1.0, 2.0], {})]
    measured = {cell: figures for cells in scale.VARIED.values() for cell in cells}
    charts = scale.charts(scale.VARIED, measured)
    assert len(charts) == 2 * len(scale.VARIED)
    plot.write(tmp_path / "plot.svg", charts)
    lines = list(ElementTree.parse(tmp_path / "plot.svg").getroot().iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == 12  # two charts have a line for each of two syntaxes


def test_the_table_goes_between_its_markers() -> None:
    page = f"before\n{scale.MARKS[0]}\nold\n{scale.MARKS[1]}\nafter\n"
    once = scale.on_page(page, "| new |")
    assert once == f"before\n{scale.MARKS[0]}\n| new |\n{scale.MARKS[1]}\nafter\n"
    assert scale.on_page(once, "| new |") == once
    with pytest.raises(ValueError, match="no <!-- scale -->"):
        scale.on_page("none", "| new |")
    assert scale.MARKS[0] in (peers.HERE.parent / "docs" / "size.md").read_text()


def test_predictions_are_judged_by_their_medians() -> None:
    def seen(*rates: float) -> list[tune_check.Seen]:
        return [tune_check.Seen(rate, 2.0) for rate in rates]

    good = tune_check.Compared(seen(100, 118, 500), seen(90, 100, 110), ["codec", "codec", "cores"])
    assert good.good
    assert good.cells() == ["118", "100", "1.18 (1.11–4.55)", "yes", "codec", "2", "2"]
    assert not tune_check.Compared(seen(79), seen(100), ["disk"]).good
    assert len(good.cells()) + 1 == len(tune_check.HEAD)
