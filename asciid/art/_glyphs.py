"""The shapes of characters in the fonts of the system."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from asciid.art._grid import BOLD, ITALIC
from asciid.art._unavailable import PNGUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asciid.art._shapes import Cell

__all__ = ["OPAQUE", "Glyphs", "glyphs_of"]

OPAQUE = 255
"""How much of a pixel a shape covers at most."""

_SIZE = 13
"""The size in pixels of a font whose characters are 8 pixels wide."""
_KEPT = 4096
_SLANT = 0.2

_FONTS = (
    ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf"),
    ("LiberationMono-Regular.ttf", "LiberationMono-Bold.ttf"),
    ("NotoSansMono-Regular.ttf", "NotoSansMono-Bold.ttf"),
    ("FreeMono.ttf", "FreeMonoBold.ttf"),
    ("consola.ttf", "consolab.ttf"),
    ("Menlo.ttc", "Menlo.ttc"),
)
"""Fonts by preference, regular and bold; Pillow searches the system's directories."""
_WIDE_FONTS = ("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "unifont.otf")
"""Fonts for characters that the first one lacks."""
_MISSING = "\U0010ffff"
"""A character that no font has."""


class Glyphs:
    """The shapes of characters in cells of one size."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._fonts = _fonts(_SIZE * cell.line)
        self._others = list(_other_fonts(_SIZE * cell.line))
        self._kept: dict[tuple[str, int, int], Image.Image] = {}

    def shape(self, text: str, columns: int, attributes: int) -> Image.Image:
        """Return how much of each pixel a character covers, from 0 to 255."""
        key = text, columns, attributes & (BOLD | ITALIC)
        shape = self._kept.get(key)
        if shape is None:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            shape = self._kept[key] = self._drawn(*key)
        return shape

    def _drawn(self, text: str, columns: int, attributes: int) -> Image.Image:
        width, baseline = columns * self._cell.width, self._cell.baseline
        shape = Image.new("L", (width, self._cell.height))
        font = self._font_of(text, attributes)
        left = (width - font.getlength(text)) / 2
        ImageDraw.Draw(shape).text(
            (left, baseline), text, fill=OPAQUE, font=font, anchor="ls"
        )
        if attributes & ITALIC:
            shape = shape.transform(
                shape.size,
                Image.Transform.AFFINE,
                (1, _SLANT, -_SLANT * baseline / 2, 0, 1, 0),
                Image.Resampling.BILINEAR,
            )
        return shape

    def _font_of(self, text: str, attributes: int) -> ImageFont.FreeTypeFont:
        font = self._fonts[bool(attributes & BOLD)]
        fonts = (font, *self._others)
        return next((each for each in fonts if _has(each, text[0])), font)


@lru_cache(maxsize=2)
def glyphs_of(cell: Cell) -> Glyphs:
    """Return the shapes for a size of cells; raises :exc:`PNGUnavailableError`."""
    return Glyphs(cell)


def _fonts(size: int) -> tuple[ImageFont.FreeTypeFont, ImageFont.FreeTypeFont]:
    """Return the regular and the bold font."""
    for regular, bold in _FONTS:
        try:
            font = ImageFont.truetype(regular, size)
        except OSError:
            continue
        try:
            return font, ImageFont.truetype(bold, size)
        except OSError:
            return font, font
    names = ", ".join(regular for regular, _ in _FONTS)
    message = f"PNG needs a font: none of {names} is installed"
    raise PNGUnavailableError(message)


def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    return bytes(font.getmask(character)) != bytes(font.getmask(_MISSING))


def _other_fonts(size: int) -> Iterator[ImageFont.FreeTypeFont]:
    for name in _WIDE_FONTS:
        try:
            yield ImageFont.truetype(name, size)
        except OSError:
            continue
