"""
PNG files, painted with Pillow, which is an extra.

Blocks, lines and braille are exact parts of their cells; other characters are those of
a monospaced font of the system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.art._art_limits import TooLargeError
from asciid.art._shapes import Cell
from asciid.art._unavailable import PNGUnavailableError

if TYPE_CHECKING:
    from asciid.art._grid import Grid

__all__ = ["MAX_PIXELS", "to_png"]

MAX_PIXELS = 16_000_000
"""Maximum pixels of a picture."""

_DOUBLED = 2_000_000
"""Maximum pixels of a picture whose cells are twice as wide and high."""

_WIDTH, _HEIGHT = 8, 16


def to_png(grid: Grid) -> bytes:
    """
    Return a PNG file.

    A cell is 8 by 16 pixels, or twice that if the picture stays small.  Up to 256
    colours make a picture with a palette.  Blinking text is steady.

    Raises :exc:`asciid.art.TooLargeError` beyond `MAX_PIXELS`, and
    :exc:`PNGUnavailableError`.
    """
    pixels = grid.width * _WIDTH * grid.height * _HEIGHT
    if pixels > MAX_PIXELS:
        what = "pixels"
        raise TooLargeError(what, MAX_PIXELS)
    try:
        from asciid.art._picture import paint  # noqa: PLC0415 - Pillow is an extra
    except ImportError as error:
        message = "PNG needs Pillow: pip install 'asciid[png]'"
        raise PNGUnavailableError(message) from error
    scale = 2 if 4 * pixels <= _DOUBLED else 1
    return paint(grid, Cell(_WIDTH * scale, _HEIGHT * scale, scale))
