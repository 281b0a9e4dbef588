"""Block elements (U+2580 to U+259F) as rectangles, which any renderer can paint."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["BLOCKS", "SHADES", "Block"]

Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom, in eighths of a cell."""


class Block(NamedTuple):
    """A character that is painted, and not drawn by a font."""

    name: str
    """Its class in HTML."""
    rectangles: tuple[Rectangle, ...]
    """The parts of the cell that have the colour of the foreground."""
    opacity: float = 1
    """How much of the colour of the foreground they have: less than 1 in shades."""

    @property
    def spans(self) -> bool:
        """Whether a row of several is the same rectangles, only longer."""
        return all(
            left == 0 and right == _CELL for left, _, right, _ in self.rectangles
        )


_CELL = 8
_ALL = ((0, 0, 8, 8),)
_UPPER_LEFT, _UPPER_RIGHT = (0, 0, 4, 4), (4, 0, 8, 4)
_LOWER_LEFT, _LOWER_RIGHT = (0, 4, 4, 8), (4, 4, 8, 8)

SHADES = "░▒▓"

BLOCKS = {
    "░": Block("x1", _ALL, 0.25),
    "▒": Block("x2", _ALL, 0.5),
    "▓": Block("x3", _ALL, 0.75),
    "▀": Block("x4", ((0, 0, 8, 4),)),
    "▄": Block("x5", ((0, 4, 8, 8),)),
    "▌": Block("x6", ((0, 0, 4, 8),)),
    "▐": Block("x7", ((4, 0, 8, 8),)),
    "█": Block("x8", _ALL),
    "▁": Block("xa", ((0, 7, 8, 8),)),
    "▂": Block("xb", ((0, 6, 8, 8),)),
    "▃": Block("xc", ((0, 5, 8, 8),)),
    "▅": Block("xd", ((0, 3, 8, 8),)),
    "▆": Block("xe", ((0, 2, 8, 8),)),
    "▇": Block("xf", ((0, 1, 8, 8),)),
    "▉": Block("xg", ((0, 0, 7, 8),)),
    "▊": Block("xh", ((0, 0, 6, 8),)),
    "▋": Block("xi", ((0, 0, 5, 8),)),
    "▍": Block("xj", ((0, 0, 3, 8),)),
    "▎": Block("xk", ((0, 0, 2, 8),)),
    "▏": Block("xl", ((0, 0, 1, 8),)),
    "▔": Block("xm", ((0, 0, 8, 1),)),
    "▕": Block("xn", ((7, 0, 8, 8),)),
    "▖": Block("xo", (_LOWER_LEFT,)),
    "▗": Block("xp", (_LOWER_RIGHT,)),
    "▘": Block("xq", (_UPPER_LEFT,)),
    "▙": Block("xr", ((0, 0, 4, 8), _LOWER_RIGHT)),
    "▚": Block("xs", (_UPPER_LEFT, _LOWER_RIGHT)),
    "▛": Block("xt", ((0, 0, 8, 4), _LOWER_LEFT)),
    "▜": Block("xu", ((0, 0, 8, 4), _LOWER_RIGHT)),
    "▝": Block("xv", (_UPPER_RIGHT,)),
    "▞": Block("xw", (_UPPER_RIGHT, _LOWER_LEFT)),
    "▟": Block("xx", ((4, 0, 8, 8), _LOWER_LEFT)),
}
