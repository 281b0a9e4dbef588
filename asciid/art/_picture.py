"""Paints a grid, with Pillow."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from asciid.art._blocks import BLOCKS
from asciid.art._glyphs import OPAQUE, glyphs_of
from asciid.art._grid import DEFAULT, STRIKE, UNDERLINE
from asciid.art._palette import rgb_of
from asciid.art._shapes import SHAPES, rectangles_of

if TYPE_CHECKING:
    from asciid.art._grid import Grid, Run, Style
    from asciid.art._shapes import Cell

__all__ = ["paint"]

_PAPER, _INK = 0xFFFFFF, 0x161616
_SCREEN, _LIGHT = 0x000000, 0xAAAAAA
"""Ground and ink of art without and with colours, as on the pages."""

_MAX_INDEXES = 256
_MAX_TILES = 4096
"""Painted glyphs that are kept."""
_LEVELS = (16, 8, 4)
"""How many steps from ground to ink there may be in a picture with a palette."""


def paint(grid: Grid, cell: Cell) -> bytes:
    """Return a PNG file; raises :exc:`PNGUnavailableError` without fonts."""
    picture = _Picture(grid, cell)
    picture.paint(grid)
    return picture.encoded()


def _mixed(ground: int, ink: int, share: float) -> int:
    """Return a colour between two, with so much of the ink."""
    return int.from_bytes(
        round(low + (high - low) * share)
        for low, high in zip(
            ground.to_bytes(3, "big"), ink.to_bytes(3, "big"), strict=True
        )
    )


class _Picture:
    """Pixels of a grid: indexes of a palette, or red, green and blue."""

    def __init__(self, grid: Grid, cell: Cell) -> None:
        self._glyphs = glyphs_of(cell)
        self._cell = cell
        self._ground, self._ink = (_SCREEN, _LIGHT) if grid.coloured else (_PAPER, _INK)
        self._indexes: dict[int, int] = {}
        self._shades: dict[tuple[int, int], list[int]] = {}
        self._tiles: dict[tuple[str, int, Style], Image.Image] = {}
        self._levels = self._choose_levels(grid)
        self._image = Image.new(
            "L" if self._levels else "RGB",
            (grid.width * cell.width, grid.height * cell.height),
            self._value(self._ground),
        )
        self._draw = ImageDraw.Draw(self._image)

    def _choose_levels(self, grid: Grid) -> int:
        """Return how many steps a palette has room for; 0 if it has not."""
        colours = {self._ground}
        pairs = set()
        for row in grid.rows:
            for run in row:
                ground, ink = self._colours(run)
                colours |= {ground, ink}
                for character in set(run.text):
                    block = BLOCKS.get(character)
                    if block and block.opacity < 1:
                        colours.add(_mixed(ground, ink, block.opacity))
                    elif character != " " and character not in SHAPES:
                        pairs.add((ground, ink))
        for levels in _LEVELS:
            if len(colours) + len(pairs) * (levels - 2) <= _MAX_INDEXES:
                return levels
        return 0

    def _colours(self, run: Run) -> tuple[int, int]:
        """Return the ground and the ink of a run."""
        ink, ground, _ = run.style
        return (
            self._ground if ground == DEFAULT else rgb_of(ground),
            self._ink if ink == DEFAULT else rgb_of(ink),
        )

    def _value(self, rgb: int) -> int | tuple[int, ...]:
        """Return a pixel of a colour, and add it to the palette."""
        if not self._levels:
            return tuple(rgb.to_bytes(3, "big"))
        return self._indexes.setdefault(rgb, len(self._indexes))

    def paint(self, grid: Grid) -> None:
        """Paint all cells."""
        for y, row in enumerate(grid.rows):
            x = 0
            for run in row:
                self._paint_run(run, x * self._cell.width, y * self._cell.height)
                x += run.columns

    def _paint_run(self, run: Run, left: int, top: int) -> None:
        ground, ink = self._colours(run)
        width, height = run.columns * self._cell.width, self._cell.height
        if ground != self._ground:
            self._fill(left, top, left + width, top + height, ground)
        if run.cluster:
            self._paint_glyph(run.text, run.columns, run, left, top)
        else:
            for place, character in enumerate(run.text):
                if character != " ":
                    x = left + place * self._cell.width
                    self._paint_character(character, run, x, top)
        line = self._cell.line
        for attribute, lines in ((UNDERLINE, 2), (STRIKE, -4)):
            if run.style.attributes & attribute:
                y = top + self._cell.baseline + lines * line
                self._fill(left, y, left + width, y + line, ink)

    def _paint_character(self, character: str, run: Run, left: int, top: int) -> None:
        if character not in SHAPES:
            self._paint_glyph(character, 1, run, left, top)
            return
        ground, ink = self._colours(run)
        block = BLOCKS.get(character)
        if block and block.opacity < 1:
            ink = _mixed(ground, ink, block.opacity)
        for x0, y0, x1, y1 in rectangles_of(character, self._cell):
            self._fill(left + x0, top + y0, left + x1, top + y1, ink)

    def _fill(self, left: int, top: int, right: int, bottom: int, rgb: int) -> None:
        self._draw.rectangle((left, top, right - 1, bottom - 1), fill=self._value(rgb))

    def _paint_glyph(
        self, text: str, columns: int, run: Run, left: int, top: int
    ) -> None:
        glyphs = self._glyphs
        ground, ink = self._colours(run)
        if not self._levels:
            shape = glyphs.shape(text, columns, run.style.attributes)
            self._image.paste(self._value(ink), (left, top), shape)
            return
        key = text, columns, run.style
        tile = self._tiles.get(key)
        if tile is None:
            if len(self._tiles) >= _MAX_TILES:
                self._tiles.clear()
            shape = glyphs.shape(text, columns, run.style.attributes)
            tile = self._tiles[key] = shape.point(self._table(ground, ink))
        self._image.paste(tile, (left, top))

    def _table(self, ground: int, ink: int) -> list[int]:
        """Return the index of each share of the ink, from 0 to 255."""
        table = self._shades.get((ground, ink))
        if table is None:
            last = self._levels - 1
            steps = [
                self._indexes.setdefault(
                    _mixed(ground, ink, step / last), len(self._indexes)
                )
                for step in range(self._levels)
            ]
            table = [steps[round(share * last / OPAQUE)] for share in range(256)]
            self._shades[ground, ink] = table
        return table

    def encoded(self) -> bytes:
        """Return the PNG file."""
        if self._levels:
            palette = b"".join(rgb.to_bytes(3, "big") for rgb in self._indexes)
            self._image.putpalette(palette)
        file = BytesIO()
        self._image.save(file, "PNG")
        return file.getvalue()
