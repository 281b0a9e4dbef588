"""Draws results as an SVG of horizontal bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from xml.sax.saxutils import escape

import catalog
from session import CONNECTIONS, DOWNLOAD, EMPTY, EXERCISE

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 760
LABEL = 270
BAR = 380
ROW = 22
PANEL_GAP = 44
OURS = "#1b7f5c"
OTHERS = "#9aa5b1"


class Panel(NamedTuple):
    """A group of bars."""

    title: str
    workload: str
    figure: str
    scale: float
    digits: int


PANELS = [
    Panel("Exercise: requests/s", EXERCISE, "requests_per_second", 1, 0),
    Panel("Exercise: µs of CPU per request", EXERCISE, "cpu_us_per_request", 1, 0),
    Panel(
        "Exercise: KB written to disk per image",
        EXERCISE,
        "disk_bytes_per_image",
        1000,
        1,
    ),
    Panel(
        "Downloads of one image: µs of CPU per request",
        DOWNLOAD,
        "cpu_us_per_request",
        1,
        0,
    ),
    Panel("Empty handler: requests/s", EMPTY, "requests_per_second", 1, 0),
    Panel("Empty handler: µs of CPU per request", EMPTY, "cpu_us_per_request", 1, 0),
]


def _bars(results: dict[str, Any], panel: Panel) -> list[tuple[str, float]]:
    values = {
        row["server"]: row[panel.figure] / panel.scale
        for row in results["medians"]
        if row["workload"] == panel.workload
        and row["connections"] == max(CONNECTIONS)
        and panel.figure in row
    }
    return [(key, values[key]) for key in catalog.TITLES if key in values]


def _text(x: float, y: float, text: str, *, style: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(text)}</text>'


def _panel(panel: Panel, bars: list[tuple[str, float]], top: float) -> Iterator[str]:
    yield _text(10, top, panel.title, style='font-weight="bold"')
    largest = max(value for _, value in bars)
    for index, (key, value) in enumerate(bars):
        y = top + 8 + index * ROW
        width = BAR * value / largest
        colour = OURS if key in (catalog.OURS, catalog.EMPTY_OURS) else OTHERS
        end = 'text-anchor="end"'
        yield _text(LABEL - 8, y + 15, catalog.TITLES[key], style=end)
        yield (
            f'<rect x="{LABEL}" y="{y + 3:.0f}" width="{width:.1f}" '
            f'height="{ROW - 6}" fill="{colour}"/>'
        )
        yield _text(LABEL + width + 6, y + 15, f"{value:,.{panel.digits}f}")


def draw(results: dict[str, Any]) -> str:
    """Return an SVG document; loads on most connections only."""
    machine = results["machine"]
    subtitle = (
        f"{max(CONNECTIONS)} connections, median of {results['rounds']} rounds; "
        f"{machine['cpu']}, Python {machine['python']}, commit {machine['commit']}"
    )
    parts = [_text(10, 20, subtitle, style='fill="#555"')]
    top = 52.0
    for panel in PANELS:
        bars = _bars(results, panel)
        if bars:
            parts.extend(_panel(panel, bars, top))
            top += len(bars) * ROW + PANEL_GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
        f'height="{top - 20:.0f}" font-family="sans-serif" font-size="12">'
    )
    background = '<rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, background, *parts, "</svg>\n"])
