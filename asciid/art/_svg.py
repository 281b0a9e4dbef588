"""
Cells as SVG, for pages that show it as an image.

There are rectangles and text with attributes; no styles, scripts or references.  Blocks
and lines are rectangles, so that cells join in any font.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asciid.art._blocks import BLOCKS
from asciid.art._grid import BOLD, DEFAULT, ITALIC, STRIKE, UNDERLINE
from asciid.art._palette import hex_of
from asciid.art._shapes import LINES, SEXTANTS, Cell, rectangles_of

if TYPE_CHECKING:
    from asciid.art._grid import Grid, Run, Style
    from asciid.art._shapes import Rectangle

__all__ = ["to_svg"]

_CELL = Cell(8, 16, 1)
_FONT_SIZE = 13.33
"""Monospaced fonts advance about 0.6 of it."""

_FONTS = (
    "ui-monospace,Menlo,Cascadia Mono,Consolas,DejaVu Sans Mono,Liberation Mono,"
    "monospace"
)

_LINES = ((UNDERLINE, _CELL.baseline + 2), (STRIKE, _CELL.height // 2))
"""How far from the top of the cell each line is."""

_PAPER, _INK = "#fff", "#161616"
_SCREEN, _LIGHT = "#000", "#aaa"
"""Ground and ink of art without and with colours, as on the pages."""

_PAINTED = "".join(sorted({*BLOCKS, *LINES, *SEXTANTS}))
# Text stands in one element up to two blanks, which XML would make one.
_PIECE = re.compile(rf"[{_PAINTED}]|[^ {_PAINTED}]+(?: [^ {_PAINTED}]+)*")

_UNPRINTABLE = re.compile("[^\t\n -\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML does not allow, and control characters."""

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def _escape(text: str) -> str:
    text = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
    return re.sub("[&<>]", lambda match: _ENTITIES[match[0]], text)


class _Layer:
    """Rectangles of several colours, as one path for each colour."""

    def __init__(self) -> None:
        self._paths: dict[str, list[str]] = {}
        self._last: dict[tuple[str, int, int], tuple[int, int]] = {}

    def add(self, fill: str, rectangle: Rectangle) -> None:
        """Add a rectangle, or make the one to its left longer."""
        left, top, right, bottom = rectangle
        key = (fill, top, bottom)
        last = self._last.get(key)
        if last is not None:
            if last[0] <= left <= last[1]:
                self._last[key] = (last[0], max(right, last[1]))
                return
            self._close(key, last)
        self._last[key] = (left, right)

    def end_row(self) -> None:
        """Add what cannot become longer."""
        for key, last in self._last.items():
            self._close(key, last)
        self._last.clear()

    def _close(self, key: tuple[str, int, int], last: tuple[int, int]) -> None:
        fill, top, bottom = key
        left, right = last
        self._paths.setdefault(fill, []).append(_path(left, top, right, bottom))

    def elements(self) -> list[str]:
        """Return the paths."""
        return [
            f'<path {fill} d="{"".join(parts)}"/>'
            for fill, parts in self._paths.items()
        ]


class _Drawing:
    """Grounds, shapes and texts of rows."""

    def __init__(self, ink: str) -> None:
        self._ink = ink
        self.grounds = _Layer()
        self.shapes = _Layer()
        self.texts: list[str] = []

    def row(self, runs: tuple[Run, ...], y: int) -> None:
        """Draw a row, from its upper edge on."""
        x = 0
        for run in runs:
            end = x + run.columns * _CELL.width
            if run.style.background != DEFAULT:
                ground = _fill(hex_of(run.style.background))
                self.grounds.add(ground, (x, y, end, y + _CELL.height))
            self._run(run, x, y)
            x = end
        self.grounds.end_row()
        self.shapes.end_row()

    def _run(self, run: Run, x: int, y: int) -> None:
        style = run.style
        ink = self._ink if style.foreground == DEFAULT else hex_of(style.foreground)
        if run.cluster:
            self._text(run.text, run.columns, style, x, y)
        else:
            for match in _PIECE.finditer(run.text):
                piece = match[0]
                left = x + match.start() * _CELL.width
                if piece[0] in _PAINTED:
                    self._shape(piece, ink, left, y)
                else:
                    self._text(piece, len(piece), style, left, y)
        end = x + run.columns * _CELL.width
        for attribute, top in _LINES:
            if style.attributes & attribute:
                self.shapes.add(_fill(ink), (x, y + top, end, y + top + 1))

    def _shape(self, character: str, ink: str, x: int, y: int) -> None:
        block = BLOCKS.get(character)
        fill = _fill(ink, block.opacity if block else 1)
        for left, top, right, bottom in rectangles_of(character, _CELL):
            self.shapes.add(fill, (x + left, y + top, x + right, y + bottom))

    def _text(self, text: str, columns: int, style: Style, x: int, y: int) -> None:
        attributes = f'x="{x}" y="{y + _CELL.baseline}"'
        if columns > 1:
            attributes += f' textLength="{columns * _CELL.width}"'
        if style.foreground != DEFAULT:
            attributes += f' fill="{hex_of(style.foreground)}"'
        if style.attributes & BOLD:
            attributes += ' font-weight="700"'
        if style.attributes & ITALIC:
            attributes += ' font-style="italic"'
        self.texts.append(f"<text {attributes}>{_escape(text)}</text>")


def _path(left: int, top: int, right: int, bottom: int) -> str:
    return f"M{left} {top}h{right - left}v{bottom - top}h{left - right}z"


def _fill(colour: str, opacity: float = 1) -> str:
    if opacity == 1:
        return f'fill="{colour}"'
    return f'fill="{colour}" fill-opacity="{opacity:g}"'


def to_svg(grid: Grid, *, title: str = "", description: str = "") -> str:
    """
    Return an SVG document, of 8 x 16 px a cell.

    `title` and `description` are what screen readers say.  Blinking text is steady.
    """
    ground, ink = (_SCREEN, _LIGHT) if grid.coloured else (_PAPER, _INK)
    drawing = _Drawing(ink)
    for number, row in enumerate(grid.rows):
        drawing.row(row, number * _CELL.height)
    width, height = grid.width * _CELL.width, grid.height * _CELL.height
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    font = f'font-family="{_FONTS}" font-size="{_FONT_SIZE}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>',
        f"<title>{_escape(title)}</title>" if title else "",
        f"<desc>{_escape(description)}</desc>" if description else "",
        # Without smoothing, so that no seams are seen at other sizes.
        '<g shape-rendering="crispEdges">',
        f'<path fill="{ground}" d="{_path(0, 0, width, height)}"/>',
        *drawing.grounds.elements(),
        *drawing.shapes.elements(),
        "</g>",
        f'<g fill="{ink}" {font} direction="ltr" unicode-bidi="bidi-override">',
        *drawing.texts,
        "</g>",
        "</svg>",
    ]
    return "\n".join(filter(None, parts)) + "\n"
