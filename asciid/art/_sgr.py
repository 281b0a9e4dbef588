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
    from collections.abc import Iterator

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
    """What one code changes; None changes nothing."""

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

_FOREGROUND, _BACKGROUND, _UNDERLINE = "38", "48", "58"
"""Codes that are followed by a colour; that of underlines is not shown."""

_DIGITS = 9
"""A number of more digits is out of every range."""

_RGB, _INDEXED = 2, 5
_BYTE = 256
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


def _colour(numbers: list[int]) -> int | None:
    """Return the colour of the numbers behind 38 or 48, if they are one."""
    if any(number >= _BYTE for number in numbers):
        return None
    match numbers:
        case [5, index]:
            return index
        case [2, red, green, blue]:
            return TRUE_COLOUR | red << 16 | green << 8 | blue
        case _:
            return None


def _colour_with_colons(numbers: list[int]) -> int | None:
    """Return the colour behind 38 or 48, as ``2::red:green:blue`` or in short forms."""
    if numbers[:1] == [_RGB]:
        # A colour space comes first, but many leave it out; tolerances come last.
        whole = len(numbers) > 4  # noqa: PLR2004 (kind and three parts of a colour)
        return _colour([_RGB, *(numbers[2:5] if whole else numbers[1:])])
    return _colour(numbers[:2])


def _extended(code: str, parts: Iterator[str]) -> _Change | None:
    """Return the change of a colour whose parts are not in `code` itself."""
    first, colon, rest = code.partition(":")
    if colon:
        colour = _colour_with_colons(numbers_in(rest.replace(":", ";")))
    else:
        kind = next(parts, "")
        count = {str(_RGB): 3, str(_INDEXED): 1}.get(kind.lstrip("0"), 0)
        colour = _colour(numbers_in(";".join([kind, *islice(parts, count)])))
    if colour is None:
        return None
    if first == _FOREGROUND:
        return _Change(foreground=colour)
    return _Change(background=colour) if first == _BACKGROUND else None


@lru_cache(maxsize=4096)
def apply_sgr(pen: Pen, parameters: str) -> Pen:
    """
    Return `pen` after ``CSI parameters m``; what is unknown changes nothing.

    Results are kept: `parameters` should be short.
    """
    foreground, background, attributes = pen
    parts = iter(parameters.split(";"))
    for part in parts:
        code = part.lstrip("0")
        change = _CHANGES.get(code)
        if change is None:
            if code[:2] not in {_FOREGROUND, _BACKGROUND, _UNDERLINE}:
                continue
            change = _extended(code, parts)
            if change is None:
                continue
        if change.foreground is not None:
            foreground = change.foreground
        if change.background is not None:
            background = change.background
        attributes = attributes & ~change.removed | change.added
    return Pen(foreground, background, attributes)


def with_true_colour(pen: Pen, numbers: list[int]) -> Pen:
    """Return `pen` after ``CSI which;red;green;blue t``, PabloDraw's true colours."""
    colour = _colour([_RGB, *numbers[1:]])
    match numbers[0], colour:
        case 0, int():
            return pen._replace(background=colour)
        case 1, int():
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
    return Style(foreground, background, attributes & ~(FAINT | REVERSE | CONCEAL))
