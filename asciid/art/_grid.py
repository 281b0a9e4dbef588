"""Cells of art: colours, styles, runs of equal style, and grids of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BLINK",
    "BOLD",
    "DEFAULT",
    "ITALIC",
    "PLAIN",
    "STRIKE",
    "TRUE_COLOUR",
    "UNDERLINE",
    "Grid",
    "Run",
    "Style",
]

DEFAULT = -1
"""The colour of ink, or of the ground, of whatever shows the art."""

TRUE_COLOUR = 1 << 24
"""Added to 0xRRGGBB; smaller colours, from 0 to 255, are those of the palette."""

BOLD, ITALIC, UNDERLINE, STRIKE, BLINK = (1 << bit for bit in range(5))


class Style(NamedTuple):
    """
    How a cell looks.

    Reverse, faint and concealed text, bright colours by the attribute bold, and iCE
    colours are resolved: nothing but these values matters.
    """

    foreground: int = DEFAULT
    """`DEFAULT`, a colour of the palette, or `TRUE_COLOUR` with 0xRRGGBB."""
    background: int = DEFAULT
    """Likewise."""
    attributes: int = 0
    """The sum of `BOLD`, `ITALIC`, `UNDERLINE`, `STRIKE` and `BLINK`, as they apply."""

    @property
    def shows_blanks(self) -> bool:
        """Whether a blank looks different from a cell that was never written."""
        return bool(
            self.background != DEFAULT or self.attributes & (UNDERLINE | STRIKE)
        )

    @property
    def is_coloured(self) -> bool:
        """Whether it has a colour that is not `DEFAULT`."""
        return self.foreground != DEFAULT or self.background != DEFAULT


PLAIN = Style()


class Run(NamedTuple):
    """
    Cells of equal style, side by side.

    The text is printable: it has no control characters, and nothing that changes the
    direction of text.
    """

    text: str
    """One character for each column, or a single cluster."""
    columns: int
    """How many columns it takes."""
    style: Style
    cluster: bool = False
    """Whether it is one character, of one or two columns and perhaps several code
    points: a wide character, or one with combining marks."""


@frozen
class Grid:
    """
    A piece of art as cells.

    Rows end where nothing but plain blanks follows, and may be empty.
    """

    rows: tuple[tuple[Run, ...], ...]
    """From top to bottom, each from left to right without gaps; at least one."""
    width: int
    """Columns, from 1: those that it was made for, or those of its longest row."""
    coloured: bool
    """Whether it has colours, and so needs a black ground."""

    @property
    def height(self) -> int:
        """The number of rows, from 1."""
        return len(self.rows)

    def colours(self) -> set[int]:
        """Return the colours that the cells have, without `DEFAULT`."""
        styles = {run.style for row in self.rows for run in row}
        return {
            colour
            for style in styles
            for colour in (style.foreground, style.background)
            if colour != DEFAULT
        }

    @property
    def has_true_colours(self) -> bool:
        """Whether it has colours that are not in the palette."""
        return any(colour >= TRUE_COLOUR for colour in self.colours())

    def crop(self, rows: int, columns: int) -> Grid:
        """
        Return the upper left part, of at most so many rows and columns, from 1.

        A wide character that is cut in half becomes a blank.
        """
        if rows >= self.height and columns >= self.width:
            return self
        cropped = self.rows[:rows]
        if columns < self.width:
            cropped = tuple(tuple(_cut(row, columns)) for row in cropped)
        return Grid(cropped, min(self.width, columns), self.coloured)


def _cut(row: tuple[Run, ...], columns: int) -> Iterator[Run]:
    for run in row:
        if run.columns < columns:
            yield run
            columns -= run.columns
            continue
        if run.columns > columns:
            text = " " if run.cluster else run.text[:columns]
            run = Run(text, columns, run.style)  # noqa: PLW2901 - what is left of it
        yield run
        return
