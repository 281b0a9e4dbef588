"""
Characters that are parts of their cells, as rectangles of pixels.

So cells join without seams, whatever the font: blocks, box drawing, braille, sextants.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from attrs import frozen

from asciid.art._blocks import BLOCKS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LINES", "SEXTANTS", "SHAPES", "Cell", "Rectangle", "rectangles_of"]

LINES = frozenset(
    character
    for character in map(chr, range(0x2500, 0x2580))
    if not {"DASH", "ARC", "DIAGONAL"} & set(unicodedata.name(character).split())
)
"""The box drawing characters that consist of straight lines."""

_BRAILLE = 0x2800
_BRAILLE_DOTS = ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3))
"""Column and row of the dot of each bit (Unicode, "Braille Patterns")."""

SEXTANTS = {
    # Parts in reading order are bits; the empty, left, right and full ones are blocks.
    chr(0x1FB00 + place): bits
    for place, bits in enumerate(
        bits for bits in range(1, 63) if bits not in {0b010101, 0b101010}
    )
}
"""The sextants, as bits of the parts that are painted."""

SHAPES = LINES | {chr(_BRAILLE + dots) for dots in range(256)} | {*BLOCKS, *SEXTANTS}
"""The characters that `rectangles_of` knows."""

_LIGHT, _HEAVY, _DOUBLE = "LIGHT", "HEAVY", "DOUBLE"
_WEIGHTS = {"LIGHT": _LIGHT, "SINGLE": _LIGHT, "HEAVY": _HEAVY, "DOUBLE": _DOUBLE}
_ARMS = {
    "UP": ("UP",),
    "DOWN": ("DOWN",),
    "LEFT": ("LEFT",),
    "RIGHT": ("RIGHT",),
    "VERTICAL": ("UP", "DOWN"),
    "HORIZONTAL": ("LEFT", "RIGHT"),
}
_OPPOSITE = {"UP": "DOWN", "DOWN": "UP", "LEFT": "RIGHT", "RIGHT": "LEFT"}

Rectangle = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels; right and bottom are excluded."""


@frozen
class Cell:
    """The size of a cell in pixels, and the thickness of a light line."""

    width: int
    height: int
    line: int

    @property
    def baseline(self) -> int:
        """The distance of the foot of letters from the top."""
        return self.height * 3 // 4


@cache
def _arms(character: str) -> dict[str, str]:
    """
    Return the weight of each arm that the character has, by its direction.

    The character's name has them, such as BOX DRAWINGS DOWN LIGHT AND LEFT HEAVY.  A
    part of the name without a weight has that of the other part.
    """
    arms = {}
    weight = ""
    name = unicodedata.name(character).removeprefix("BOX DRAWINGS ")
    for part in name.split(" AND "):
        words = part.split()
        weight = next((_WEIGHTS[word] for word in words if word in _WEIGHTS), weight)
        for word in words:
            arms.update(dict.fromkeys(_ARMS.get(word, ()), weight))
    return arms


@cache
def rectangles_of(character: str, cell: Cell) -> tuple[Rectangle, ...]:
    """Return what of a cell has the colour of the ink, for one of `SHAPES`."""
    if character in LINES:
        return tuple(_lines(character, cell))
    if block := BLOCKS.get(character):
        return tuple(_part(cell, (8, 8), part) for part in block.rectangles)
    if bits := SEXTANTS.get(character):
        return tuple(
            _part(cell, (2, 3), (bit % 2, bit // 2, bit % 2 + 1, bit // 2 + 1))
            for bit in range(6)
            if bits >> bit & 1
        )
    return tuple(
        # A dot is in the middle of its eighth of the cell, half as wide.
        _part(cell, (8, 16), (4 * x + 1, 4 * y + 1, 4 * x + 3, 4 * y + 3))
        for bit, (x, y) in enumerate(_BRAILLE_DOTS)
        if ord(character) >> bit & 1
    )


def _part(cell: Cell, parts: tuple[int, int], part: Rectangle) -> Rectangle:
    """Return a rectangle that is given in parts of a cell."""
    left, top, right, bottom = part
    across, down = parts
    return (
        left * cell.width // across,
        top * cell.height // down,
        right * cell.width // across,
        bottom * cell.height // down,
    )


def _lines(character: str, cell: Cell) -> Iterator[Rectangle]:
    arms = _arms(character)
    for direction, weight in arms.items():
        upright = direction in {"UP", "DOWN"}
        length, breadth = (
            (cell.height, cell.width) if upright else (cell.width, cell.height)
        )
        for rail in _rails(weight, cell):
            first, last = _edges(weight, rail, cell)
            reach = _reach(direction, rail, arms, cell)
            near, far = breadth // 2 + first, breadth // 2 + last
            start, end = length // 2 + reach, length
            if direction in {"UP", "LEFT"}:
                start, end = 0, start
            yield (near, start, far, end) if upright else (start, near, end, far)


def _edges(weight: str, rail: int, cell: Cell) -> tuple[int, int]:
    """Return where a line begins and ends across, counted from the middle."""
    thickness = cell.line * (2 if weight == _HEAVY else 1)
    return rail - thickness // 2, rail - thickness // 2 + thickness


def _rails(weight: str, cell: Cell) -> tuple[int, ...]:
    """Return the distances of the lines of an arm from the middle of the cell."""
    return (-cell.line, cell.line) if weight == _DOUBLE else (0,)


def _reach(direction: str, rail: int, arms: dict[str, str], cell: Cell) -> int:
    """
    Return where a line of an arm ends, counted from the middle of the cell.

    At a crossing arm on its own side it ends at the first line, else it turns around
    the last one; a single line that goes on crosses all of them.
    """
    before, behind = (
        ("LEFT", "RIGHT") if direction in {"UP", "DOWN"} else ("UP", "DOWN")
    )
    sides = (before, behind) if rail <= 0 else (behind, before)
    crossing = [arms[side] for side in sides if side in arms]
    if not crossing or (rail == 0 and _OPPOSITE[direction] in arms):
        return 0
    edges = [_edges(crossing[0], each, cell) for each in _rails(crossing[0], cell)]
    # A single line turns where there is one arm, an outer one of two where it is outer.
    turns = len(crossing) == 1 if rail == 0 else sides[0] not in arms
    if direction in {"UP", "LEFT"}:
        return edges[-1 if turns else 0][1]
    return edges[0 if turns else -1][0]
