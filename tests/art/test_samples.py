"""Files in the spirit of real art: decoded, parsed and painted without loss."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image
from twisted.trial.unittest import SynchronousTestCase

from asciid.art.encodings import Origin, decode
from asciid.art.rendering import BLINK, DEFAULT, parse, rgb_of, to_png
from tests._thoroughness import some_of
from tests.art.samples import KINDS, PALETTE, Shown, pieces

if TYPE_CHECKING:
    from asciid.art.rendering import Grid
    from tests.art.samples import Piece

GREY, BLACK = PALETTE[7], PALETTE[0]


def grid_of(piece: Piece) -> Grid:
    """Decode a piece as an upload does, and parse it by what is kept beside it."""
    decoded = decode(piece.data, "auto", piece.name)
    origin = Origin.parse(str(decoded.origin))
    return parse(
        decoded.text.encode().decode(),
        columns=origin.columns,
        ice_colours=origin.ice_colours,
    )


def shown_by(grid: Grid) -> list[list[Shown]]:
    """Return what the cells of a grid show."""
    rows = []
    for runs in grid.rows:
        row: list[Shown] = []
        for text, columns, style, cluster in runs:
            ink, ground, attributes = style
            shown = [text, *[""] * (columns - 1)] if cluster else text
            row += [
                Shown(
                    character,
                    GREY if ink == DEFAULT else rgb_of(ink),
                    BLACK if ground == DEFAULT else rgb_of(ground),
                    bool(attributes & BLINK),
                )
                for character in shown
            ]
        rows.append(row)
    return rows


def normal(rows: list[list[Shown]]) -> list[list[Shown]]:
    """Return rows without what cannot be seen: ink of blanks, and blanks at the end."""
    seen = []
    for row in rows:
        cells = [
            Shown(" ", GREY, cell.ground) if cell.character in " \xa0" else cell
            for cell in row
        ]
        while cells and cells[-1] == Shown():
            cells.pop()
        seen.append(cells)
    while seen and not seen[-1]:
        seen.pop()
    return seen


class SampleTests(SynchronousTestCase):
    """A hundred files of each kind."""

    def test_decoded(self) -> None:
        """Charset, title and width are those of the file."""
        for kind in KINDS:
            for piece in pieces(kind):
                decoded = decode(piece.data, "auto", piece.name)
                self.assertEqual(decoded.charset, piece.charset, (kind, piece.name))
                title = decoded.sauce.title if decoded.sauce else ""
                self.assertEqual(title, piece.title)
                columns = decoded.sauce.columns if decoded.sauce else None
                self.assertEqual(columns, piece.columns)
                self.assertNotIn("\x1a", decoded.text)

    def test_cells(self) -> None:
        """Each cell shows what was drawn: character, colours, blinking."""
        for kind in KINDS:
            for piece in some_of(pieces(kind)):
                shown, drawn = normal(shown_by(grid_of(piece))), normal(piece.rows)
                self.assertTrue(shown == drawn, first_difference(piece, shown, drawn))

    def test_painted(self) -> None:
        """In a PNG file the corners of each cell with a block have its colours."""
        for kind in KINDS:
            for piece in some_of(pieces(kind)[::10]):
                grid = grid_of(piece)
                image = Image.open(BytesIO(to_png(grid))).convert("RGB")
                pixels = image.load()
                assert pixels is not None
                width = image.width // grid.width
                height = image.height // grid.height
                for y, row in enumerate(normal(piece.rows)):
                    for x, cell in enumerate(row):
                        upper, lower = corners_of(cell, coloured=grid.coloured)
                        if upper is None:
                            continue
                        left, top = x * width, y * height
                        found = (
                            pixels[left, top],
                            pixels[left + width - 1, top + height - 1],
                        )
                        self.assertEqual(found, (upper, lower), (piece.name, x, y))

    def test_kinds(self) -> None:
        """The samples have what real files have."""
        ans = pieces("ans")
        for sequence in (rb"C", rb"H", b"\x1b[s", b"\x1b[D", b";5;", b"\xdf", b"COMNT"):
            self.assertGreater(sum(sequence in piece.data for piece in ans), 9)
        self.assertGreater(sum(piece.columns == 160 for piece in ans), 9)
        bright = {PALETTE[number] for number in range(8, 16)}
        iced = [
            piece
            for piece in ans
            if bright & {cell.ground for row in piece.rows for cell in row}
        ]
        self.assertGreater(len(iced), 9)
        for kind in ("nfo", "diz"):
            made = pieces(kind)
            self.assertGreater(sum(piece.charset == "utf-8" for piece in made), 3)
            self.assertGreater(sum(piece.charset == "cp437" for piece in made), 50)
            self.assertGreater(sum(bool(piece.title) for piece in made), 9)


def corners_of(
    cell: Shown, *, coloured: bool
) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Return the colours of the first and last pixel of a cell with a block."""
    ink, ground = cell.ink, cell.ground
    if not coloured:
        ink, ground = 0x161616, 0xFFFFFF
    share = {"█": 1, " ": 0, "░": 0.25, "▒": 0.5, "▓": 0.75}.get(cell.character)
    if share is not None:
        mixed = tuple(
            round(low + (high - low) * share)
            for low, high in zip(rgb(ground), rgb(ink), strict=True)
        )
        return mixed, mixed
    if cell.character == "▀":
        return rgb(ink), rgb(ground)
    if cell.character == "▄":
        return rgb(ground), rgb(ink)
    return None, None


def rgb(colour: int) -> tuple[int, ...]:
    """Return red, green and blue."""
    return tuple(colour.to_bytes(3, "big"))


def first_difference(
    piece: Piece, shown: list[list[Shown]], drawn: list[list[Shown]]
) -> str:
    """Describe where two grids differ."""
    if len(shown) != len(drawn):
        return f"{piece.name}: {len(shown)} rows for {len(drawn)}"
    for y, (one, other) in enumerate(zip(shown, drawn, strict=True)):
        for x, (cell, meant) in enumerate(zip(one, other, strict=False)):
            if cell != meant:
                return f"{piece.name}: {cell} for {meant} at {x}, {y}"
        if len(one) != len(other):
            return f"{piece.name}: row {y} has {len(one)} cells for {len(other)}"
    return piece.name
