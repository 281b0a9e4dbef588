"""Figlet art of random words in random fonts, ASCII only, never twice the same."""

from __future__ import annotations

import importlib
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    import random

    from pyfiglet import Figlet

__all__ = ["MAX_ART_SIZE", "Art", "ArtError", "Gallery", "NoFigletError"]

MAX_ART_SIZE = 4096
"""Maximum bytes of a piece of art; larger ones are drawn again."""

_FONTS_PER_GALLERY = 48  # loading a font takes milliseconds: all 500 would take seconds
_ATTEMPTS = 1000
_CONSONANTS = "bcdfghjklmnprstvwz"
_VOWELS = "aeiou"
_CODAS = ("", "l", "m", "n", "r", "s", "t")
_LETTERS = {*_CONSONANTS, *_VOWELS, *_CODAS} - {""}
# (18 * 5 * 7) ** 3 words: two random runs on one storage do not collide.
_SYLLABLES = 3


class NoFigletError(Exception):
    """The optional package pyfiglet is not installed."""

    def __init__(self) -> None:
        super().__init__("needs pyfiglet: pip install 'asciid[simulate]'")


class ArtError(Exception):
    """No new piece of art could be drawn."""


@frozen
class Art:
    """One piece of figlet art."""

    data: bytes
    """The art itself: ASCII, 1 to `MAX_ART_SIZE` bytes."""
    sha256: str
    """SHA-256 of `data`: 64 lower-case hex digits."""
    word: str
    """The word drawn."""
    font: str
    """The figlet font it is drawn in."""


class Gallery:
    """
    Draws art with random numbers of `rng`; the same state gives the same pieces.

    Raises :exc:`NoFigletError` when pyfiglet is missing.
    """

    def __init__(self, rng: random.Random) -> None:
        try:
            self._pyfiglet = importlib.import_module("pyfiglet")
        except ImportError:
            raise NoFigletError from None
        self._rng = rng
        names = _font_names(self._pyfiglet.FigletFont)
        self._fonts = rng.sample(names, min(_FONTS_PER_GALLERY, len(names)))
        self._loaded: dict[str, Any] = {}
        self._drawn: set[str] = set()

    def draw(self) -> Art:
        """
        Return a piece that this gallery has not returned before.

        Raises :exc:`ArtError` after too many attempts in a row without a new piece.
        """
        for _ in range(_ATTEMPTS):
            word = self._word()
            font = self._rng.choice(self._fonts)
            data = self._render(word, font)
            digest = sha256(data).hexdigest()
            if data and digest not in self._drawn:
                self._drawn.add(digest)
                return Art(data, digest, word, font)
        message = f"no new art in {_ATTEMPTS} attempts, {len(self._drawn)} pieces drawn"
        raise ArtError(message)

    def _word(self) -> str:
        choice = self._rng.choice
        return "".join(
            choice(_CONSONANTS) + choice(_VOWELS) + choice(_CODAS)
            for _ in range(_SYLLABLES)
        )

    def _render(self, word: str, font: str) -> bytes:
        """Return the art, or empty bytes if it is not suitable."""
        try:
            if font not in self._loaded:
                self._loaded[font] = self._load(font)
            if self._loaded[font] is None:
                return b""
            text = str(self._loaded[font].renderText(word))
            data = text.encode("ascii")
        # Broken fonts raise many exceptions, such as UnicodeError (a ValueError).
        except (self._pyfiglet.FigletError, LookupError, OSError, ValueError):
            return b""
        return data if text.strip() and len(data) <= MAX_ART_SIZE else b""

    def _load(self, font: str) -> Figlet | None:
        """Return a renderer for `font`, or None if it draws two letters alike."""
        figlet = self._pyfiglet.Figlet(font=font)
        glyphs = {tuple(figlet.Font.chars.get(ord(each), ())) for each in _LETTERS}
        # Otherwise different words give equal art, and two runs collide.
        return figlet if len(glyphs) == len(_LETTERS) else None


@cache
def _font_names(fonts: Any) -> list[str]:  # noqa: ANN401 - pyfiglet has no types
    """Return the names of all fonts: to find them, each of 500 files is opened."""
    return sorted(fonts.getFonts())
