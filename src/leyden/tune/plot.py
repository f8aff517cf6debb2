"""Line charts as SVG: several series over one x axis, several charts side by side in one file.

All x are at the same distance from each other, whatever their values, because association counts and file sizes double.
Deliberately absent: everything else.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import floor, log10
from pathlib import Path

import msgspec

WIDTH, HEIGHT = 560, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 44, 52
LEGEND_LINE = 16
COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#b8860b", "#6a4c93", "#444444", "#00a6a6", "#a0522d")


class Chart(msgspec.Struct, frozen=True):
    """`series`: name -> y at each x; None where there is none."""

    title: str
    x_label: str
    y_label: str
    xs: Sequence[float]
    series: Mapping[str, Sequence[float | None]]


def write(path: Path, charts: Sequence[Chart]) -> None:
    """All charts side by side."""
    height = HEIGHT + LEGEND_LINE * max(len(chart.series) for chart in charts)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * len(charts)}" height="{height}" '
        'font-family="sans-serif" font-size="12" fill="#222">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for n, chart in enumerate(charts):
        parts += [f'<g transform="translate({WIDTH * n},0)">', *_chart(chart), "</g>"]
    path.write_text("\n".join([*parts, "</svg>\n"]))


def step_for(most: float, steps: int = 5) -> float:
    """A round distance for the grid lines up to `most`."""
    rough = (most or 1.0) / steps
    unit = 10.0 ** floor(log10(rough))
    return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)


def _chart(chart: Chart) -> list[str]:
    most = max((y for ys in chart.series.values() for y in ys if y is not None), default=1.0)
    step = step_for(most)
    lines = int(-(-most // step))
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(n: int) -> float:
        return LEFT + wide * (n + 0.5) / len(chart.xs)

    def y_of(y: float) -> float:
        return TOP + high * (1 - y / (step * lines))

    parts = [_text(LEFT, 22, chart.title, size=14)]
    parts.append(_text(LEFT + wide / 2, HEIGHT - 14, chart.x_label, anchor="middle"))
    parts.append(_text(8, TOP - 8, chart.y_label))
    for n in range(lines + 1):
        y = y_of(n * step)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{n * step:g}", anchor="end"))
    parts += [_text(x_of(n), HEIGHT - BOTTOM + 18, f"{x:g}", anchor="middle") for n, x in enumerate(chart.xs)]
    for number, (name, ys) in enumerate(chart.series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = [(x_of(n), y_of(y)) for n, y in enumerate(ys) if y is not None]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        at = HEIGHT + LEGEND_LINE * number
        parts.append(f'<path d="M{LEFT} {at - 4}h20" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(LEFT + 28, at, name))
    return parts


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'
