"""Tests of the art that simulations upload."""

from __future__ import annotations

import random
import sys
from hashlib import sha256
from string import ascii_lowercase
from types import SimpleNamespace

import pyfiglet
from twisted.trial.unittest import SynchronousTestCase

from asciid.simulate._art import MAX_ART_SIZE, ArtError, Gallery, NoFigletError


class GalleryTests(SynchronousTestCase):
    """Art of a gallery."""

    def test_pieces(self) -> None:
        """Pieces are distinct ASCII of a limited size, with their own hash."""
        gallery = Gallery(random.Random(1))
        pieces = [gallery.draw() for _ in range(200)]
        self.assertEqual(len({piece.sha256 for piece in pieces}), 200)
        for piece in pieces:
            self.assertTrue(piece.data.isascii())
            self.assertTrue(piece.data.strip())
            self.assertLessEqual(len(piece.data), MAX_ART_SIZE)
            self.assertEqual(piece.sha256, sha256(piece.data).hexdigest())

    def test_seed(self) -> None:
        """The same seed draws the same pieces, another seed others."""

        def draw(seed: int) -> list[bytes]:
            gallery = Gallery(random.Random(seed))
            return [gallery.draw().data for _ in range(10)]

        self.assertEqual(draw(5), draw(5))
        self.assertNotEqual(draw(5), draw(6))

    def test_no_pyfiglet(self) -> None:
        """Without pyfiglet the error says what to install."""
        self.patch(sys, "modules", {**sys.modules, "pyfiglet": None})
        error = self.assertRaises(NoFigletError, Gallery, random.Random(1))
        self.assertIn("pip install 'asciid[simulate]'", str(error))


def _glyphs(**some: list[str]) -> dict[int, list[str]]:
    """Return the rows of a font's letters: themselves, but for `some`."""
    letters = {letter: [letter] for letter in ascii_lowercase} | some
    return {ord(letter): rows for letter, rows in letters.items()}


class BadFontTests(SynchronousTestCase):
    """Fonts that are of no use are passed over."""

    def draw_with(self, *renderings: str | Exception) -> list[bytes]:
        """Draw until an error, with fonts that render these in turn."""
        rest = list(renderings)

        class Figlet:
            Font = SimpleNamespace(chars=_glyphs())

            def __init__(self, font: str) -> None:
                self.font = font

            def renderText(self, _text: str) -> str:
                rendering = rest.pop(0) if rest else ""
                if isinstance(rendering, Exception):
                    raise rendering
                return rendering

        self.patch(pyfiglet, "Figlet", Figlet)
        gallery = Gallery(random.Random(1))
        drawn = []
        while True:
            try:
                drawn.append(gallery.draw().data)
            except ArtError as error:
                self.assertIn(f"{len(drawn)} pieces drawn", str(error))
                return drawn

    def test_passed_over(self) -> None:
        """Failing, empty, non-ASCII, huge and repeated art is drawn again."""
        drawn = self.draw_with(
            pyfiglet.FontError("broken"),
            pyfiglet.CharNotPrinted("too narrow"),
            IndexError(),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
            " \n",
            "█\n",
            "x" * (MAX_ART_SIZE + 1),
            "one\n",
            "one\n",
            "x" * MAX_ART_SIZE,
        )
        self.assertEqual(drawn, [b"one\n", b"x" * MAX_ART_SIZE])

    def test_letters_alike(self) -> None:
        """Fonts that draw two letters alike, or not all letters, are not used."""
        alike: list[dict[str, list[str]]] = [{"a": ["b"]}, {"a": [], "b": []}]
        for chars in alike:
            fake = SimpleNamespace(Font=SimpleNamespace(chars=_glyphs(**chars)))
            fake.renderText = lambda word: word
            self.patch(pyfiglet, "Figlet", lambda fake=fake, **_: fake)
            self.assertRaises(ArtError, Gallery(random.Random(1)).draw)
