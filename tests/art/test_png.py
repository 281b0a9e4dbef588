"""PNG files: what is in each cell of a picture."""

from __future__ import annotations

import sys
import unicodedata
from io import BytesIO
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from twisted.trial.unittest import SynchronousTestCase

from asciid.art import _glyphs, _picture
from asciid.art._png import MAX_PIXELS
from asciid.art._shapes import SHAPES, Cell, rectangles_of
from asciid.art.encodings import decode
from asciid.art.rendering import PNGUnavailableError, TooLargeError, parse, to_png

RED, BLUE = (0xAA, 0, 0), (0, 0, 0xAA)
PAPER, INK = (255, 255, 255), (0x16, 0x16, 0x16)
BLACK, LIGHT = (0, 0, 0), (0xAA, 0xAA, 0xAA)
ON_BLUE = "\x1b[31;44m"
SCALE = 2
"""Pictures of few cells have cells of 16 by 32 pixels."""

Pixel = tuple[int, ...]


def picture(text: str) -> Image.Image:
    """Return the picture of a text."""
    image = Image.open(BytesIO(to_png(parse(text))))
    assert image.format == "PNG"
    return image


def cell(image: Image.Image, x: int, y: int = 0, columns: int = 1) -> Image.Image:
    """Return a cell of a picture that is not large."""
    width, height = 8 * SCALE, 16 * SCALE
    left, top = x * width, y * height
    return image.convert("RGB").crop((left, top, left + columns * width, top + height))


def pixels(image: Image.Image) -> set[Pixel]:
    """Return the colours of a picture."""
    return set(image.convert("RGB").getdata())


class PictureTests(SynchronousTestCase):
    """Pictures of grids."""

    def test_size(self) -> None:
        """Cells are 8 by 16 pixels, and twice that in small pictures."""
        self.assertEqual(picture("abc\nd").size, (3 * 16, 2 * 32))
        self.assertEqual(picture("\n".join(["x" * 100] * 50)).size, (800, 800))

    def test_ground(self) -> None:
        """Art with colours is on black, other art on white."""
        self.assertEqual(pixels(cell(picture("█ "), 0)), {INK})
        plain = picture("█ █")
        self.assertEqual(pixels(cell(plain, 1)), {PAPER})
        coloured = picture("\x1b[31m█\x1b[0m █")
        self.assertEqual(pixels(cell(coloured, 0)), {RED})
        self.assertEqual(pixels(cell(coloured, 1)), {BLACK})
        self.assertEqual(pixels(cell(coloured, 2)), {LIGHT})

    def test_blocks(self) -> None:
        """Blocks are exact parts of a cell, in two colours and no others."""
        for character, box in (
            ("█", (0, 0, 16, 32)),
            ("▀", (0, 0, 16, 16)),
            ("▄", (0, 16, 16, 32)),
            ("▌", (0, 0, 8, 32)),
            ("▐", (8, 0, 16, 32)),
            ("▁", (0, 28, 16, 32)),
            ("▎", (0, 0, 4, 32)),
            ("▗", (8, 16, 16, 32)),
        ):
            shown = cell(picture(f"{ON_BLUE}{character}"), 0)
            expected = Image.new("RGB", shown.size, BLUE)
            expected.paste(RED, box)
            self.assertEqual(shown.tobytes(), expected.tobytes(), character)

    def test_shades(self) -> None:
        """Shades are mixed from both colours."""
        for character, share in (("░", 0.25), ("▒", 0.5), ("▓", 0.75)):
            mixed = (round(0xAA * share), 0, round(0xAA * (1 - share)))
            shown = pixels(cell(picture(f"{ON_BLUE}{character}"), 0))
            self.assertEqual(shown, {mixed}, character)

    def test_no_seams(self) -> None:
        """Neighbouring blocks and lines join."""
        for text in ("█" * 9, "█\n" * 9, "\x1b[44m" + " " * 9):
            self.assertEqual(len(pixels(picture(text.strip("\n")))), 1)
        for text, box in (("─" * 9, (0, 15, 144, 17)), ("│\n" * 9, (7, 0, 9, 288))):
            shown = picture(text.strip("\n")).convert("RGB")
            self.assertEqual(pixels(shown.crop(box)), {INK})
            self.assertEqual(pixels(shown), {INK, PAPER})

    def test_text(self) -> None:
        """Text is drawn by a font, in its colours and those between."""
        shown = cell(picture(f"{ON_BLUE}W"), 0)
        self.assertIn(BLUE, pixels(shown))
        self.assertIn(RED, pixels(shown))
        for red, green, blue in pixels(shown):
            self.assertEqual(green, 0)
            self.assertApproximates(red + blue, 0xAA, 1)

    def test_attributes(self) -> None:
        """Bold, italic, underlined and struck text look different."""
        looks = {
            cell(picture(f"\x1b[31;{code}mW"), 0).tobytes() for code in "01349"
        } - {cell(picture("\x1b[31m "), 0).tobytes()}
        self.assertEqual(len(looks), 5)
        shown = cell(picture("\x1b[4;31m \x1b[44m "), 0)
        self.assertEqual(pixels(shown), {RED, BLACK})

    def test_wide(self) -> None:
        """A wide character has two cells; a combining mark has none."""
        shown = picture("日本\x1b[31m█")
        self.assertEqual(pixels(cell(shown, 4)), {RED})
        self.assertGreater(len(pixels(cell(shown, 0, columns=2))), 1)
        accented, plain = picture("e\u0301█"), picture("e█")
        self.assertEqual(accented.size, plain.size)
        self.assertNotEqual(cell(accented, 0).tobytes(), cell(plain, 0).tobytes())

    def test_cp437(self) -> None:
        """Each glyph of CP437 is drawn, and all look different."""
        codes = set(range(1, 256)) - {*b"\t\n\r\x1a\x1b \xff"}
        text = decode(bytes(sorted(codes)), "cp437").text
        shown = picture(text)
        looks = {cell(shown, x).tobytes(): each for x, each in enumerate(text)}
        self.assertEqual("".join(looks.values()), text)
        unknown = cell(picture("\U0010fffd"), 0).tobytes()
        self.assertNotIn(unknown, looks)

    def test_palette(self) -> None:
        """Up to 256 colours make a picture with a palette, more one without."""
        self.assertEqual(picture("cat").mode, "P")
        many = "".join(f"\x1b[38;5;{each}m█" for each in range(16, 256))
        self.assertEqual(picture(many).mode, "P")
        text = "".join(f"\x1b[38;5;{each}ma" for each in range(16, 256))
        self.assertEqual(picture(text).mode, "RGB")
        true = "".join(f"\x1b[38;2;1;2;{each}m█" for each in range(256)) + "\x1b[31m█"
        shown = picture(true)
        self.assertEqual(shown.mode, "RGB")
        self.assertEqual(pixels(cell(shown, 7)), {(1, 2, 7)})
        self.assertEqual(pixels(cell(shown, 256)), {RED})

    def test_small(self) -> None:
        """Simple art is a small file."""
        self.assertLess(len(to_png(parse("+--+\n|  |\n+--+\n" * 9))), 3_000)

    def test_too_large(self) -> None:
        """More pixels than the limit are refused before anything is painted."""
        rows = MAX_PIXELS // (900 * 8 * 16) + 1
        grid = parse(f"{'x' * 900}\n" + "x\n" * (rows - 1))
        self.assertRaises(TooLargeError, to_png, grid)

    def test_no_pillow(self) -> None:
        """Without Pillow there is one error, which says what to install."""
        with patch.dict(sys.modules, {"asciid.art._picture": None}):
            error = self.assertRaises(PNGUnavailableError, to_png, parse("x"))
        self.assertIn("asciid[png]", str(error))

    def test_no_font(self) -> None:
        """Without a font there is one error; the next one of the list will do."""
        self.patch(_glyphs, "_FONTS", (("none.ttf", "none.ttf"),))
        _glyphs.glyphs_of.cache_clear()
        self.addCleanup(_glyphs.glyphs_of.cache_clear)
        error = self.assertRaises(PNGUnavailableError, to_png, parse("x"))
        self.assertIn("none.ttf", str(error))
        found = ("none.ttf", "none.ttf"), ("DejaVuSansMono.ttf", "none.ttf")
        self.patch(_glyphs, "_FONTS", found)
        self.assertGreater(len(pixels(picture("x"))), 1)

    def test_many_glyphs(self) -> None:
        """Glyphs that are kept are bounded, and the picture is the same."""
        text = "The quick brown fox"
        before = to_png(parse(text))
        self.patch(_glyphs, "_KEPT", 3)
        self.patch(_picture, "_MAX_TILES", 3)
        _glyphs.glyphs_of.cache_clear()
        self.assertEqual(to_png(parse(text)), before)

    def test_other_font(self) -> None:
        """A character that the first font lacks is drawn by one that has it."""
        missing = cell(picture("\u269e"), 0).tobytes()
        self.patch(_glyphs, "_WIDE_FONTS", ("none.ttf", "DejaVuSans.ttf"))
        _glyphs.glyphs_of.cache_clear()
        self.addCleanup(_glyphs.glyphs_of.cache_clear)
        self.assertTrue(missing != cell(picture("\u269e"), 0).tobytes())

    @settings(max_examples=30)
    @given(
        st.lists(
            st.one_of(
                st.text(max_size=9),
                st.sampled_from(
                    ["\x1b[1;31m", "\x1b[38;2;1;2;3m", "\x1b[3;4;9m", "\n"]
                ),
                st.sampled_from(sorted(SHAPES)),
            ),
            max_size=30,
        )
    )
    def test_any_text(self, pieces: list[str]) -> None:
        """Any text has a picture of the size of its cells."""
        grid = parse("".join(pieces))
        shown = Image.open(BytesIO(to_png(grid)))
        self.assertEqual(shown.size, (grid.width * 16, grid.height * 32))


class ShapeTests(SynchronousTestCase):
    """Characters that are painted as rectangles."""

    def ink(self, character: str, scale: int) -> Image.Image:
        """Return what of a cell is painted."""
        size = Cell(8 * scale, 16 * scale, scale)
        image = Image.new("1", (size.width, size.height))
        for left, top, right, bottom in rectangles_of(character, size):
            self.assertTrue(0 <= left < right <= size.width, character)
            self.assertTrue(0 <= top < bottom <= size.height, character)
            image.paste(1, (left, top, right, bottom))
        return image

    def test_edges(self) -> None:
        """A line reaches the edges that its name says, where its neighbour's begins."""
        for scale in (1, 2):
            width, height = 8 * scale, 16 * scale
            edges: dict[tuple[str, int], set[bytes]] = {}
            for character in SHAPES:
                name = unicodedata.name(character)
                if not name.startswith("BOX DRAWINGS"):
                    continue
                image = self.ink(character, scale)
                expected = arms_in(name.removeprefix("BOX DRAWINGS "))
                for arm, box in (
                    ("LEFT", (0, 0, 1, height)),
                    ("RIGHT", (width - 1, 0, width, height)),
                    ("UP", (0, 0, width, 1)),
                    ("DOWN", (0, height - 1, width, height)),
                ):
                    edge = image.crop(box)
                    weight = expected.get(arm, 0)
                    self.assertEqual(edge.getbbox() is not None, bool(weight), name)
                    axis = "x" if arm in {"LEFT", "RIGHT"} else "y"
                    edges.setdefault((axis, weight), set()).add(edge.tobytes())
            self.assertEqual({len(looks) for looks in edges.values()}, {1})
            self.assertEqual(len(edges), 8)

    def test_connected(self) -> None:
        """The arms of a character with corners are joined, for doubles both lines."""
        for character, drawing in (
            ("┌", "........ ........ ....####"),
            ("╔", "........ ...##### ...#.... ...#.### ...#.#.."),
            ("╬", "...#.#.. ####.### ........ ####.### ...#.#.."),
            ("╪", "....#... ######## ....#... ######## ....#..."),
            ("╤", "........ ######## ........ ######## ....#..."),
            ("╘", "....#... ....#### ....#... ....#### ........"),
            ("╖", "........ ######.. ...#.#.. ...#.#.."),
            ("╢", "...#.#.. ####.#.. ...#.#.. ...#.#.."),
            ("╫", "...#.#.. ######## ...#.#.."),
        ):
            image = self.ink(character, 1)
            rows = [
                "".join(".#"[bool(image.getpixel((x, y)))] for x in range(8))
                for y in range(16)
            ]
            shown = " ".join(rows)
            self.assertIn(drawing, shown, f"{character} is\n" + "\n".join(rows))

    def test_braille(self) -> None:
        """Each dot of a braille pattern is where its number says."""
        for bit, place in enumerate(
            [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)]
        ):
            image = self.ink(chr(0x2800 + (1 << bit)), 1)
            box = image.getbbox()
            assert box is not None
            x, y = place
            self.assertEqual(box, (4 * x + 1, 4 * y + 1, 4 * x + 3, 4 * y + 3))
        self.assertIs(self.ink("\u2800", 1).getbbox(), None)

    def test_sextants(self) -> None:
        """The numbers in the name of a sextant are its parts."""
        for code in range(0x1FB00, 0x1FB3C):
            numbers = unicodedata.name(chr(code)).removeprefix("BLOCK SEXTANT-")
            image = self.ink(chr(code), 2)
            for number in range(1, 7):
                x, y = (number - 1) % 2 * 8 + 4, (number - 1) // 2 * 11 + 5
                painted = bool(image.getpixel((x, y)))
                self.assertEqual(painted, str(number) in numbers, hex(code))


def arms_in(name: str) -> dict[str, int]:
    """Return the weight of each direction that a name has."""
    arms = {}
    weights = {"LIGHT": 1, "SINGLE": 1, "HEAVY": 2, "DOUBLE": 3}
    both = {"HORIZONTAL": ("LEFT", "RIGHT"), "VERTICAL": ("UP", "DOWN")}
    first = next(word for word in name.split() if word in weights)
    for part in name.split(" AND "):
        words = part.split()
        own = next((word for word in words if word in weights), first)
        for word in set(words) - set(weights):
            for arm in both.get(word, (word,)):
                arms[arm] = weights[own]
    return arms
