"""
From text to cells, pages and pictures.

Pure functions.  :func:`parse` makes a :class:`Grid` of text with escape sequences;
:func:`to_html` and the others show it.
"""

from asciid.art._art_limits import LIMITS, Limits, TooLargeError
from asciid.art._grid import (
    BLINK,
    BOLD,
    DEFAULT,
    ITALIC,
    PLAIN,
    STRIKE,
    TRUE_COLOUR,
    UNDERLINE,
    Grid,
    Run,
    Style,
)
from asciid.art._html import classes_of, stylesheet, to_html
from asciid.art._palette import nearest, rgb_of
from asciid.art._parser import parse
from asciid.art._png import to_png
from asciid.art._svg import to_svg
from asciid.art._terminal import to_terminal
from asciid.art._unavailable import PNGUnavailableError

__all__ = [
    "BLINK",
    "BOLD",
    "DEFAULT",
    "ITALIC",
    "LIMITS",
    "PLAIN",
    "STRIKE",
    "TRUE_COLOUR",
    "UNDERLINE",
    "Grid",
    "Limits",
    "PNGUnavailableError",
    "Run",
    "Style",
    "TooLargeError",
    "classes_of",
    "nearest",
    "parse",
    "rgb_of",
    "stylesheet",
    "to_html",
    "to_png",
    "to_svg",
    "to_terminal",
]
