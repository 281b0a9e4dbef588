"""Checks of everything that is made of a text, whatever the text is."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from wcwidth import iter_graphemes

from asciid.art._blocks import BLOCKS, SHADES
from asciid.art.rendering import (
    BOLD,
    DEFAULT,
    ITALIC,
    LIMITS,
    PLAIN,
    STRIKE,
    TRUE_COLOUR,
    UNDERLINE,
    Grid,
    Style,
    TooLargeError,
    parse,
    to_html,
    to_svg,
    to_terminal,
)
from tests.art.test_html import parts_of
from tests.art.test_svg import check_svg

if TYPE_CHECKING:
    from asciid.art.rendering import Run

__all__ = ["check", "check_structure"]

_PRINTABLE = (
    r"[^\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufeff\ufffe\uffff{}]"
)
_TEXT = rf"(?:{_PRINTABLE.format('<>&')}|&(?:amp|lt|gt);)"
_HTML = re.compile(
    rf"(?:{_TEXT}|\n|<span(?: class=(?:[a-z0-9]+|\"[a-z0-9 ]+\"))?>{_TEXT}+</span>)*"
)
_SVG = re.compile(
    r"<svg xmlns=\"http://www\.w3\.org/2000/svg\" role=\"img\" [a-zA-Z0-9=\" ]+>\n"
    r"<g shape-rendering=\"crispEdges\">\n"
    r"(?:<path fill=\"#[0-9a-f]{3,6}\"(?: fill-opacity=\"0\.\d+\")? "
    r"d=\"[Mhvz0-9 -]+\"/>\n)+"
    r"</g>\n<g [a-zA-Z0-9=\" #.,-]+>\n"
    r"(?:<text x=\"\d+\" y=\"\d+\"(?: textLength=\"\d+\")?(?: fill=\"#[0-9a-f]{3,6}\")?"
    rf"(?: font-weight=\"700\")?(?: font-style=\"italic\")?>{_TEXT}+</text>\n)*"
    r"</g>\n</svg>\n"
)
_TERMINAL = re.compile(rf"(?:\x1b\[[0-9;]+m|\n|{_PRINTABLE.format('')})*")

_ATTRIBUTES = {"tb": BOLD, "ti": ITALIC, "tu": UNDERLINE, "ts": STRIKE}

_Cell = tuple[str, Style]


def check(
    text: str, *, columns: int | None = None, ice_colours: bool = False
) -> Grid | None:
    """Fail unless all that is made of a text is well-formed; return the cells."""
    try:
        grid = parse(text, columns=columns, ice_colours=ice_colours)
    except TooLargeError:
        return None
    _check_grid(grid, columns)
    assert _HTML.fullmatch(to_html(grid))
    assert _SVG.fullmatch(to_svg(grid))
    shown = to_terminal(grid)
    assert _TERMINAL.fullmatch(shown)
    assert "\x1b" not in to_terminal(grid, colours=0)
    if all(_has_clear_cells(row) for row in grid.rows):
        again = parse(shown)
        assert again.rows == grid.rows
        assert again.coloured == grid.coloured
    return grid


def _has_clear_cells(row: tuple[Run, ...]) -> bool:
    """Whether no two cells would be one character if one were written after another."""
    cells = [cell for run in row for cell in ([run.text] if run.cluster else run.text)]
    return list(iter_graphemes("".join(cells))) == cells


def check_structure(grid: Grid) -> None:
    """Fail unless parsers of HTML and XML find in the output what is in the cells."""
    check_svg(to_svg(grid))
    rows: list[list[_Cell]] = [[]]
    for text, names in parts_of(to_html(grid)):
        if names is not None:
            rows[-1] += _cells_of(text, names)
            continue
        first, *others = text.split("\n")
        rows[-1] += _seen(first, len(first), PLAIN)
        rows += [_seen(each, len(each), PLAIN) for each in others]
    expected = [
        [
            cell
            for run in row
            for cell in _seen(run.text, run.columns, run.style, coloured=grid.coloured)
        ]
        for row in grid.rows
    ]
    assert rows == expected, (rows, expected)


def _check_grid(grid: Grid, columns: int | None) -> None:
    assert 1 <= grid.height <= LIMITS.rows
    widths = [sum(run.columns for run in row) for row in grid.rows]
    assert sum(widths) <= LIMITS.cells
    assert grid.width == (columns or max(*widths, 1))
    assert max(widths) <= grid.width
    for row in grid.rows:
        for run in row:
            assert run.text
            if run.cluster:
                assert run.columns in {1, 2}
                assert len(run.text) <= LIMITS.code_points
            else:
                assert run.columns == len(run.text)
        for one, other in pairwise(row):
            assert one.cluster or other.cluster or one.style != other.style
        if row and not row[-1].style.shows_blanks:
            assert not row[-1].text.endswith(" ") or row[-1].cluster
    assert grid.rows[-1] or grid.height == 1


def _colour(digits: str) -> int:
    return int(digits, 16) | (TRUE_COLOUR if len(digits) == 6 else 0)


def _cells_of(text: str, names: tuple[str, ...]) -> list[_Cell]:
    """Return what the classes of a span say of each column."""
    foreground = background = DEFAULT
    attributes = 0
    columns = 1
    for name in names:
        if name in _ATTRIBUTES:
            attributes |= _ATTRIBUTES[name]
        elif name[0] == "f":
            foreground = _colour(name[1:])
        elif name[0] == "b":
            background = _colour(name[1:])
        elif name[0] == "n":
            columns = int(name[1:])
        else:
            assert BLOCKS[text[0]].name == name
    assert len(set(text)) == 1 or not names or not names[0].startswith("x")
    return _seen(text, columns, Style(foreground, background, attributes))


def _seen(
    text: str, columns: int, style: Style, *, coloured: bool = False
) -> list[_Cell]:
    """Return each column with what can be seen of its style."""
    characters = list(text) if len(text) == columns else [text] * columns
    cells = []
    for character in characters:
        foreground, background, attributes = style
        attributes &= BOLD | ITALIC | UNDERLINE | STRIKE
        if character == " " and not attributes & (UNDERLINE | STRIKE):
            foreground = DEFAULT
        if character == "\u2588":
            background = DEFAULT
        if character in SHADES and background == DEFAULT and coloured:
            background = 0
        cells.append((character, Style(foreground, background, attributes)))
    return cells
