"""
Cells as HTML: text, and `span` elements with classes.

- ``f`` and a number in hex: a foreground of the palette; ``f`` and six hex digits: a
  true colour.  ``b``: likewise, a background.
- ``x`` and a character: a block element that is painted, :mod:`asciid.art._blocks`.
- ``n`` and a number: how many columns a span takes, if not one.
- ``tb``, ``ti``, ``tu``, ``ts``: bold, italic, underlined, struck through.

Each span is a box of its exact width, so that no font makes cells drift.  Only art that
is nothing but plain Latin-1 text has no spans.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from asciid.art._blocks import BLOCKS, SHADES
from asciid.art._grid import (
    BOLD,
    DEFAULT,
    ITALIC,
    PLAIN,
    STRIKE,
    TRUE_COLOUR,
    UNDERLINE,
    Style,
)
from asciid.art._palette import hex_of, nearest
from asciid.art.stylesheets import MAX_SPAN

if TYPE_CHECKING:
    from asciid.art._grid import Grid, Run

__all__ = ["classes_of", "stylesheet", "to_html"]

_MAX_DIGITS = 999
"""The largest width or height that classes can express."""

_ATTRIBUTES = {BOLD: "tb", ITALIC: "ti", UNDERLINE: "tu", STRIKE: "ts"}

_LINES = UNDERLINE | STRIKE

_SPANNING = "".join(char for char, block in BLOCKS.items() if block.spans)
_NOT_SPANNING = "".join(char for char, block in BLOCKS.items() if not block.spans)
_KINDS = frozenset(BLOCKS) | {" "}
_REPEATED = frozenset(_SPANNING)
_LATIN = r" -~\u00A0-\u00FF"
_BRAILLE = r"\u2800-\u28FF"
# Latin letters are those of the first font, whose spacing the style sheet of the pages
# makes exact.  Others may be those of any font, wider or narrower than their boxes, as
# often with Braille: the shorter a span, the less they drift.
_PIECE = re.compile(
    rf"[{_LATIN}]{{1,{MAX_SPAN}}}|([{_SPANNING}])\1{{,{MAX_SPAN - 1}}}"
    rf"|[{_NOT_SPANNING}]|[{_BRAILLE}]{{1,4}}"
    rf"|[^{_LATIN}{_BRAILLE}{_SPANNING}{_NOT_SPANNING}]{{1,12}}"
)
_ALL_LATIN = re.compile(f"[{_LATIN}]*")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_SPECIAL = re.compile("[&<>]")


def _escape(text: str) -> str:
    """Escape text; in no attribute does it stand."""
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], text)


def _is_latin(run: Run) -> bool:
    return (
        run.style == PLAIN
        and not run.cluster
        and _ALL_LATIN.fullmatch(run.text) is not None
    )


def _colour_name(colour: int) -> str:
    if colour < TRUE_COLOUR:
        return f"{colour:x}"
    return f"{colour - TRUE_COLOUR:06x}"


class _Writer:
    """Makes the HTML of runs, and keeps what it has made: it repeats."""

    def __init__(self, *, coloured: bool, quantise: bool) -> None:
        self._coloured = coloured
        self._quantise = quantise
        self._runs: dict[Run, str] = {}
        self._classes: dict[Style, dict[str, str]] = {}

    def row(self, runs: tuple[Run, ...]) -> str:
        """Return the HTML of a row."""
        made = self._runs
        parts = []
        for run in runs:
            part = made.get(run)
            if part is None:
                made[run] = part = self._spans(*run)
            parts.append(part)
        return "".join(parts)

    def _spans(
        self,
        text: str,
        columns: int,
        style: Style,
        cluster: bool,  # noqa: FBT001
    ) -> str:
        classes = self._classes.setdefault(style, {})
        if cluster:
            return self._span(text, columns, style, "", classes)
        first = text[0]
        if columns == 1 or (
            first in _REPEATED and columns <= MAX_SPAN and text == first * columns
        ):
            # Most runs of art are so, and need no search.
            kind = first if first in _KINDS else ""
            return self._span(text, columns, style, kind, classes)
        parts = []
        for match in _PIECE.finditer(text):
            piece = match[0]
            kind = piece[0]
            if kind not in BLOCKS:
                kind = "" if piece.strip(" ") else " "
            parts.append(self._span(piece, len(piece), style, kind, classes))
        return "".join(parts)

    def _span(
        self, text: str, columns: int, style: Style, kind: str, classes: dict[str, str]
    ) -> str:
        """Return a span of text: a block or blanks, which are its `kind`, or other."""
        names = classes.get(kind)
        if names is None:
            names = _names_of(
                style, kind, coloured=self._coloured, quantise=self._quantise
            )
            classes[kind] = names
        if not kind:
            text = _escape(text)
        if columns > 1:
            if names:
                return f'<span class="{names}n{columns}">{text}</span>'
            return f"<span class=n{columns}>{text}</span>"
        names = names[:-1]
        if " " in names:
            return f'<span class="{names}">{text}</span>'
        return f"<span class={names}>{text}</span>" if names else f"<span>{text}</span>"


@lru_cache(maxsize=8192)
def _names_of(style: Style, kind: str, *, coloured: bool, quantise: bool) -> str:
    """Return the names of the classes of a span, each with a blank behind it."""
    foreground, background, attributes = style
    if quantise:
        foreground, background = nearest(foreground), nearest(background)
    names = []
    if kind in BLOCKS:
        names.append(BLOCKS[kind].name)
    if foreground != DEFAULT and (kind != " " or attributes & _LINES):
        names.append(f"f{_colour_name(foreground)}")
    if background != DEFAULT:
        if kind != "█":
            names.append(f"b{_colour_name(background)}")
    elif coloured and kind and kind in SHADES:
        # A shade mixes its colours, and that of the page may be any.
        names.append("b0")
    names += [name for attribute, name in _ATTRIBUTES.items() if attributes & attribute]
    return "".join(f"{name} " for name in names)


def to_html(
    grid: Grid,
    *,
    rows: int | None = None,
    columns: int | None = None,
    quantise: bool = False,
) -> str:
    """
    Return the content of a ``<pre>``: text and `span` elements, and a newline per row.

    Only the upper left `rows` and `columns` are shown, if they are given.  With
    `quantise`, true colours become those of the palette, which are in the style sheet
    of all cells; without, they need :func:`stylesheet`.  Blinking text is steady.
    """
    if rows is not None or columns is not None:
        grid = grid.crop(rows or grid.height, columns or grid.width)
    if all(_is_latin(run) for row in grid.rows for run in row):
        return "\n".join("".join(_escape(run.text) for run in row) for row in grid.rows)
    writer = _Writer(coloured=grid.coloured, quantise=quantise)
    return "\n".join(map(writer.row, grid.rows))


def classes_of(
    grid: Grid, *, rows: int | None = None, columns: int | None = None
) -> str:
    """
    Return the classes of the ``<pre>``: ``art``, and the digits of width and height.

    ``ch3 ct1 cu5 rt2 ru5`` is 315 columns and 25 rows.  Both are at most 999.
    """
    names = ["art"]
    width = min(grid.width, columns or _MAX_DIGITS, _MAX_DIGITS)
    height = min(grid.height, rows or _MAX_DIGITS, _MAX_DIGITS)
    for letter, count in (("c", width), ("r", height)):
        names += [
            f"{letter}{place}{digit}"
            for place, digit in zip("htu", f"{count:03}", strict=True)
            if digit != "0"
        ]
    return " ".join(names)


def stylesheet(grid: Grid) -> str:
    """
    Return the CSS of the true colours of `grid`, empty if it has none.

    It belongs behind that of all cells.
    """
    foregrounds = set()
    backgrounds = set()
    for row in grid.rows:
        for run in row:
            foregrounds.add(run.style.foreground)
            backgrounds.add(run.style.background)
    return "\n".join(
        f".{letter}{_colour_name(colour)}{{--{letter}:{hex_of(colour)}}}"
        for letter, colours in (("f", foregrounds), ("b", backgrounds))
        for colour in sorted(colours)
        if colour >= TRUE_COLOUR
    )
