"""Select Graphic Rendition (ECMA-48, section 8.3.117): colours and attributes."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from asciid.art._grid import (
    BLINK,
    BOLD,
    DEFAULT,
    ITALIC,
    STRIKE,
    TRUE_COLOUR,
    UNDERLINE,
    Style,
)
from asciid.art._palette import rgb_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "CONCEAL",
    "NEW_PEN",
    "Pen",
    "apply_sgr",
    "is_coloured",
    "numbers_in",
    "style_of",
    "with_true_colour",
]

FAINT, REVERSE, CONCEAL = (1 << bit for bit in range(8, 11))
"""Attributes of a pen that no style has, beside those of styles."""


class Pen(NamedTuple):
    """What SGR selected: colours as in `Style`, and attributes."""

    foreground: int = DEFAULT
    background: int = DEFAULT
    attributes: int = 0


NEW_PEN = Pen()


class _Change(NamedTuple):
    """What one code changes, or several do together; None changes nothing."""

    foreground: int | None = None
    background: int | None = None
    added: int = 0
    removed: int = 0


_CHANGES = {
    "": _Change(DEFAULT, DEFAULT, removed=-1),
    **{
        str(code): _Change(added=attribute)
        for code, attribute in (
            *((1, BOLD), (2, FAINT), (3, ITALIC), (4, UNDERLINE), (5, BLINK)),
            *((6, BLINK), (7, REVERSE), (8, CONCEAL), (9, STRIKE), (21, UNDERLINE)),
        )
    },
    **{
        str(code): _Change(removed=attributes)
        for code, attributes in (
            *((22, BOLD | FAINT), (23, ITALIC), (24, UNDERLINE), (25, BLINK)),
            *((27, REVERSE), (28, CONCEAL), (29, STRIKE)),
        )
    },
    "39": _Change(foreground=DEFAULT),
    "49": _Change(background=DEFAULT),
    **{str(30 + colour): _Change(foreground=colour) for colour in range(8)},
    **{str(40 + colour): _Change(background=colour) for colour in range(8)},
    **{str(90 + colour): _Change(foreground=8 + colour) for colour in range(8)},
    **{str(100 + colour): _Change(background=8 + colour) for colour in range(8)},
    "4:0": _Change(removed=UNDERLINE),
    **{f"4:{kind}": _Change(added=UNDERLINE) for kind in range(1, 6)},
}
"""By the code as it is written, without zeros in front."""

_FOREGROUND, _BACKGROUND, _UNDERLINE = _EXTENDED = ("38", "48", "58")
"""Codes that are followed by a colour; that of underlines is not shown."""

_INDEXED, _RGB = "5", "2"
"""What follows such a code."""

_BYTES = {"": 0, **{str(number): number for number in range(1, 256)}}
"""The numbers of colours, as they are written without zeros in front."""

_DIGITS = 9
"""A number of more digits is out of every range."""

_GREY, _BLACK = 7, 0
"""Of coloured art, where the default colours are reversed, faint or bold."""
_BRIGHT = 8
"""From a dark colour of the palette to its bright one."""


def numbers_in(parameters: str) -> list[int]:
    """Return numbers that are separated by semicolons; one that is missing is 0."""
    return [
        int(part) if part.isdecimal() and len(part) <= _DIGITS else 0
        for part in parameters.split(";")
    ]


def _colour(parts: Sequence[str]) -> int | None:
    """Return the colour of an index, or of red, green and blue, if they are that."""
    numbers = [_BYTES.get(part.lstrip("0")) for part in parts]
    match numbers:
        case [int(index)]:
            return index
        case [int(red), int(green), int(blue)]:
            return TRUE_COLOUR | red << 16 | green << 8 | blue
        case _:
            return None


def _colour_with_colons(parts: list[str]) -> int | None:
    """Return the colour behind 38 or 48, as ``2::red:green:blue`` or in short forms."""
    kind = parts[0].lstrip("0")
    if kind == _INDEXED:
        return _colour(parts[1:2])
    if kind != _RGB:
        return None
    # A colour space comes first, but many leave it out; tolerances come last.
    return _colour(parts[2:5] if len(parts) > 4 else parts[1:])  # noqa: PLR2004


def _colour_behind(parts: Iterator[str]) -> int | None:
    """Return the colour behind 38 or 48, and take its parts."""
    match next(parts, "").lstrip("0"):
        case "2":
            return _colour(tuple(islice(parts, 3)))
        case "5":
            return _colour(tuple(islice(parts, 1)))
        case _:
            return None


@lru_cache(maxsize=4096)
def _change_of(parameters: str) -> _Change:
    """Return what all codes of ``CSI parameters m`` change together."""
    foreground: int | None = None
    background: int | None = None
    added = removed = 0
    parts = iter(parameters.split(";"))
    for part in parts:
        code = part.lstrip("0")
        change = _CHANGES.get(code)
        if change is not None:
            if change.foreground is not None:
                foreground = change.foreground
            if change.background is not None:
                background = change.background
            added = added & ~change.removed | change.added
            removed |= change.removed
            continue
        code, *behind = code.split(":")
        if code not in _EXTENDED:
            continue
        colour = _colour_with_colons(behind) if behind else _colour_behind(parts)
        if colour is not None and code == _FOREGROUND:
            foreground = colour
        elif colour is not None and code == _BACKGROUND:
            background = colour
    return _Change(foreground, background, added, removed)


def apply_sgr(pen: Pen, parameters: str) -> Pen:
    """
    Return `pen` after ``CSI parameters m``; what is unknown changes nothing.

    `parameters` should be short: what they change is kept.
    """
    foreground, background, added, removed = _change_of(parameters)
    return Pen(
        pen.foreground if foreground is None else foreground,
        pen.background if background is None else background,
        pen.attributes & ~removed | added,
    )


def with_true_colour(pen: Pen, numbers: list[int]) -> Pen:
    """Return `pen` after ``CSI which;red;green;blue t``, PabloDraw's true colours."""
    colour = _colour([str(number) for number in numbers[1:]])
    if colour is None or colour < TRUE_COLOUR:
        return pen
    match numbers[0]:
        case 0:
            return pen._replace(background=colour)
        case 1:
            return pen._replace(foreground=colour)
        case _:
            return pen


def is_coloured(pen: Pen, *, ice_colours: bool) -> bool:
    """Return whether what the pen writes has other colours than ink and ground."""
    shown = FAINT | REVERSE | (BLINK if ice_colours else 0)
    return (
        pen.foreground != DEFAULT
        or pen.background != DEFAULT
        or bool(pen.attributes & shown)
    )


def _faint(colour: int) -> int:
    parts = rgb_of(colour).to_bytes(3, "big")
    return TRUE_COLOUR | int.from_bytes(bytes(part * 2 // 3 for part in parts), "big")


def style_of(pen: Pen, *, coloured: bool, ice_colours: bool) -> Style:
    """
    Return how a pen's text looks.

    Bold text of a dark colour is bright, and not heavier, as on CGA.  In art that is
    `coloured`, the default colours are light grey on black.
    """
    foreground, background, attributes = pen
    if attributes & BOLD:
        if foreground == DEFAULT and coloured:
            foreground = _GREY
        if DEFAULT < foreground < _BRIGHT:
            foreground += _BRIGHT
            attributes &= ~BOLD
    if attributes & BLINK and ice_colours:
        attributes &= ~BLINK
        if background == DEFAULT:
            background = _BLACK
        if background < _BRIGHT:
            background += _BRIGHT
    if attributes & FAINT:
        foreground = _faint(_GREY if foreground == DEFAULT else foreground)
    if attributes & REVERSE:
        foreground, background = (
            _BLACK if background == DEFAULT else background,
            _GREY if foreground == DEFAULT else foreground,
        )
        if foreground < _BRIGHT:
            # What is bold and dark would be bright on a terminal.
            attributes &= ~BOLD
    return Style(foreground, background, attributes & ~(FAINT | REVERSE | CONCEAL))
