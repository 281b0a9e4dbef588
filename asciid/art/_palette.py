"""The 256 colours of terminals, and the nearest of them to any colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.art._grid import TRUE_COLOUR

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PALETTE", "hex_of", "nearest", "rgb_of"]

_LEVELS = (0, 95, 135, 175, 215, 255)
"""Of red, green and blue in xterm's colour cube."""

_VGA = (
    *(0x000000, 0xAA0000, 0x00AA00, 0xAA5500, 0x0000AA, 0xAA00AA, 0x00AAAA, 0xAAAAAA),
    *(0x555555, 0xFF5555, 0x55FF55, 0xFFFF55, 0x5555FF, 0xFF55FF, 0x55FFFF, 0xFFFFFF),
)

PALETTE = (
    *_VGA,
    *(red << 16 | green << 8 | blue for red in _LEVELS for green in _LEVELS
      for blue in _LEVELS),
    *((8 + 10 * step) * 0x010101 for step in range(24)),
)  # fmt: skip
"""0xRRGGBB of each: VGA's 16 colours, then xterm's 6 x 6 x 6 cube and 24 greys."""

_CUBE = 16
"""Where the cube begins, and how many colours VGA has."""
_GREYS = 232
_LAST_GREY = 23


def rgb_of(colour: int) -> int:
    """Return 0xRRGGBB of a colour, which is not `DEFAULT`."""
    return PALETTE[colour] if colour < TRUE_COLOUR else colour - TRUE_COLOUR


def _level(value: int) -> int:
    """Return the index of the nearest level of the cube."""
    return min(range(6), key=lambda index: abs(_LEVELS[index] - value))


def hex_of(colour: int) -> str:
    """Return a colour, which is not `DEFAULT`, as CSS and SVG write it."""
    digits = f"{rgb_of(colour):06x}"
    return f"#{digits[::2] if digits[::2] == digits[1::2] else digits}"


def nearest(colour: int, colours: int = 256) -> int:
    """
    Return the nearest colour of the first `colours`, which are 16, 256 or 2**24.

    `DEFAULT` remains.
    """
    if colour < colours or colours == TRUE_COLOUR:
        return colour
    rgb = red, green, blue = rgb_of(colour).to_bytes(3, "big")
    if colours == _CUBE:
        candidates: Iterable[int] = range(_CUBE)
    else:
        cube = _CUBE + 36 * _level(red) + 6 * _level(green) + _level(blue)
        grey = min(max(round((sum(rgb) / 3 - 8) / 10), 0), _LAST_GREY)
        candidates = (cube, _GREYS + grey)
    return min(
        candidates,
        key=lambda index: sum(
            (one - other) ** 2
            for one, other in zip(rgb, PALETTE[index].to_bytes(3, "big"), strict=True)
        ),
    )
