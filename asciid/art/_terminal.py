"""Cells as text with SGR sequences and nothing else, for terminals."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from asciid.art._grid import (
    BLINK,
    BOLD,
    DEFAULT,
    ITALIC,
    PLAIN,
    STRIKE,
    TRUE_COLOUR,
    UNDERLINE,
)
from asciid.art._palette import nearest, rgb_of

if TYPE_CHECKING:
    from asciid.art._grid import Grid, Run, Style

__all__ = ["to_terminal"]

_ATTRIBUTES = {BOLD: 1, ITALIC: 3, UNDERLINE: 4, BLINK: 5, STRIKE: 9}

_BASIC, _BRIGHT, _PALETTE = 8, 16, 256
"""Numbers of colours."""


@lru_cache(maxsize=4096)
def _sgr(style: Style, colours: int) -> str:
    """Return the sequence that selects a style, whatever was selected before."""
    codes = ["0"]
    codes += [
        str(code)
        for attribute, code in _ATTRIBUTES.items()
        if style.attributes & attribute
    ]
    for colour, base in ((style.foreground, 30), (style.background, 40)):
        if colour != DEFAULT:
            codes.append(_code(nearest(colour, colours), base))
    return f"\x1b[{';'.join(codes)}m" if style != PLAIN else "\x1b[0m"


def _code(colour: int, base: int) -> str:
    if colour < _BASIC:
        return str(base + colour)
    if colour < _BRIGHT:
        return str(base + 60 + colour - _BASIC)
    if colour < TRUE_COLOUR:
        return f"{base + 8};5;{colour}"
    red, green, blue = rgb_of(colour).to_bytes(3, "big")
    return f"{base + 8};2;{red};{green};{blue}"


def _row(runs: tuple[Run, ...], colours: int) -> str:
    parts = []
    selected = PLAIN
    for text, _, style, _ in runs:
        if style != selected:
            parts.append(_sgr(style, colours))
            selected = style
        parts.append(text)
    if selected != PLAIN:
        parts.append(_sgr(PLAIN, colours))
    return "".join(parts)


def to_terminal(grid: Grid, *, colours: int = TRUE_COLOUR) -> str:
    """
    Return the rows as lines, each of which ends with a newline and without colours.

    `colours` is how many the terminal has: 2**24, 256 or 16, to which others are
    rounded, or 0 for text without any sequences.  Cursor movements have become blanks.
    """
    if not colours:
        return "".join(
            "".join(run.text for run in row).rstrip(" ") + "\n" for row in grid.rows
        )
    return "".join(f"{_row(row, colours)}\n" for row in grid.rows)
