"""
Makes files in the spirit of real art, and knows what they show.

A piece is drawn on a canvas first.  A writer that knows nothing of the parser then
makes a file of it, with the habits of editors of the time: cursor-forward for blanks,
colours set anew or changed, lines that wrap at the last column, rows by absolute
positions.
"""

from __future__ import annotations

import math
import random
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from attrs import define, field, frozen

from tests.art.sauces import record

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KINDS", "PALETTE", "Piece", "Shown", "pieces"]

PALETTE = (
    *(0x000000, 0xAA0000, 0x00AA00, 0xAA5500, 0x0000AA, 0xAA00AA, 0x00AAAA, 0xAAAAAA),
    *(0x555555, 0xFF5555, 0x55FF55, 0xFFFF55, 0x5555FF, 0xFF55FF, 0x55FFFF, 0xFFFFFF),
)
"""The colours of the VGA, 0xRRGGBB, in the order of SGR."""

_GREY, _BLACK = PALETTE[7], PALETTE[0]
_GLYPHS = "☺☻♥♦♣♠•◘♂♀♫☼►◄↕‼¶§▬↨↑↓∟↔▲▼⌂"
_BYTES = {
    **{bytes([byte]).decode("cp437"): byte for byte in range(0x20, 0x100)},
    **{
        glyph: byte
        for glyph, byte in zip(
            "☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼", range(1, 32), strict=True
        )
        if byte not in b"\t\n\r\x1a\x1b"
    },
    "⌂": 0x7F,
}
_SINGLE, _DOUBLE = "┌─┐│└┘", "╔═╗║╚╝"
_SHADES = "░▒▓█"
_WORDS = [
    "fish",
    "sea",
    "moon",
    "wave",
    "night",
    "boat",
    "star",
    "cat",
    "tree",
    "rain",
    "nine",
    "blue",
    "old",
    "salt",
]
_ACCENTED = ["Größe", "über", "naïve", "año", "façade", "Ångström", "voilà"]


class Shown(NamedTuple):
    """
    What a cell shows; of a blank, the colour of the ink does not matter.

    The second cell of a wide character shows no character.
    """

    character: str = " "
    ink: int = _GREY
    ground: int = _BLACK
    blinks: bool = False


@frozen
class Piece:
    """A file, and what it shows."""

    name: str
    data: bytes
    charset: str
    """The charset that must be detected."""
    rows: list[list[Shown]]
    title: str = ""
    columns: int | None = None
    """The width that the file says, if any."""


@define
class _Canvas:
    """Cells with colours, by the numbers of the palette."""

    width: int
    height: int
    random: random.Random
    inks: int = 16
    grounds: int = 8
    blinking: bool = False
    is_ascii: bool = False
    cells: list[list[tuple[str, int, int, bool]]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make all cells blank."""
        self.cells = [[(" ", 7, 0, False)] * self.width for _ in range(self.height)]

    def put(self, x: int, y: int, character: str, ink: int, ground: int = 0) -> None:
        """Set a cell, if it is on the canvas."""
        if 0 <= x < self.width and 0 <= y < self.height:
            blinks = self.blinking and self.random.random() < 0.1
            self.cells[y][x] = (
                character,
                ink % self.inks,
                ground % self.grounds,
                blinks and character != " ",
            )

    def frame(self) -> None:
        """Draw a frame with a title."""
        r = self.random
        width, height = r.randint(6, self.width), r.randint(3, self.height)
        left, top = r.randint(0, self.width - width), r.randint(0, self.height - height)
        corners = r.choice([_SINGLE, _DOUBLE])
        ink, ground = r.randrange(16), r.randrange(16)
        for x in range(left + 1, left + width - 1):
            self.put(x, top, corners[1], ink, ground)
            self.put(x, top + height - 1, corners[1], ink, ground)
        for y in range(top + 1, top + height - 1):
            self.put(left, y, corners[3], ink, ground)
            self.put(left + width - 1, y, corners[3], ink, ground)
        for x, y, corner in (
            (left, top, corners[0]),
            (left + width - 1, top, corners[2]),
            (left, top + height - 1, corners[4]),
            (left + width - 1, top + height - 1, corners[5]),
        ):
            self.put(x, y, corner, ink, ground)
        self.text(left + 2, top + 1, width - 4)

    def text(self, x: int, y: int, width: int) -> None:
        """Write words."""
        known = _WORDS if self.is_ascii else _WORDS + _ACCENTED
        words = " ".join(self.random.choices(known, k=5))[: max(width, 0)]
        ink = self.random.randrange(1, 16)
        for place, character in enumerate(words):
            if character != " ":
                self.put(x + place, y, character, ink)

    def waves(self) -> None:
        """Draw waves of half blocks."""
        r = self.random
        speed, phase = r.uniform(0.05, 0.3), r.uniform(0, 6)
        top, bottom = sorted((r.randrange(self.height), r.randrange(self.height)))
        for y in range(top, bottom + 1):
            for x in range(self.width):
                upper = int(8 + 7.9 * math.sin(x * speed + y * 0.4 + phase))
                lower = int(8 + 7.9 * math.sin(x * speed + y * 0.4 + 0.2 + phase))
                self.put(x, y, r.choice("▀▄"), upper, lower)

    def moon(self) -> None:
        """Draw a disc of shades."""
        r = self.random
        centre = r.randrange(self.width), r.randrange(self.height)
        radius = r.uniform(2, 9)
        ink, ground = r.randrange(16), r.randrange(16)
        for y in range(self.height):
            for x in range(self.width):
                distance = math.hypot((x - centre[0]) / 2, y - centre[1]) / radius
                if distance < 1:
                    self.put(x, y, _SHADES[int(3.99 * (1 - distance))], ink, ground)

    def stars(self) -> None:
        """Scatter glyphs."""
        for _ in range(self.random.randrange(40)):
            x, y = self.random.randrange(self.width), self.random.randrange(self.height)
            self.put(
                x, y, self.random.choice(_GLYPHS + ".*'`"), self.random.randrange(16)
            )

    def draw(self) -> None:
        """Draw something."""
        for draw in self.random.choices(
            [self.frame, self.waves, self.moon, self.stars],
            k=self.random.randint(1, 4),
        ):
            draw()

    def shown(self) -> list[list[Shown]]:
        """Return what the cells show."""
        return [
            [
                Shown(character, PALETTE[ink], PALETTE[ground], blinks)
                for character, ink, ground, blinks in row
            ]
            for row in self.cells
        ]


class _Writer:
    """Writes the cells of a canvas as ANSI.SYS reads them, in CP437."""

    def __init__(self, canvas: _Canvas, *, ice_colours: bool) -> None:
        self._canvas = canvas
        self._random = canvas.random
        self._ice = ice_colours
        self._skips = self._random.random() < 0.6
        self._changes = self._random.random() < 0.5
        self._out: list[bytes] = []
        self._pen = (7, 0, False)

    def written(self) -> bytes:
        """Return the file."""
        r = self._random
        canvas = self._canvas
        order = list(range(canvas.height))
        jumps = canvas.height <= 25 and r.random() < 0.3
        if jumps:
            r.shuffle(order)
        self._out += r.choice([[], [b"\x1b[2J"], [b"\x1b[0m"], [b"\x1b[?7h\x1b[40m"]])
        for y in order:
            if jumps:
                self._out.append(b"\x1b[%d;1H" % (y + 1))
            filled = self._row(y)
            if not jumps and not filled and y + 1 < canvas.height:
                self._out.append(b"\r\n")
        self._out += r.choice([[], [b"\x1b[0m"], [b"\r\n"]])
        return b"".join(self._out)

    def _row(self, y: int) -> bool:
        """Write a row; return whether it reached the last column, and so wrapped."""
        blank = (" ", 7, 0, False)
        row = self._canvas.cells[y]
        end = len(row)
        while end and row[end - 1] == blank:
            end -= 1
        x = 0
        while x < end:
            blanks = x
            while blanks < end and row[blanks] == blank:
                blanks += 1
            if self._skips and blanks - x > 1:
                self._out.append(b"\x1b[%dC" % (blanks - x))
                x = blanks
                continue
            character, ink, ground, blinks = row[x]
            self._select(ink, ground, blinks)
            if self._random.random() < 0.01 and x + 1 < end:
                # Another character first, over which the cursor returns.
                self._out.append(self._random.choice([b"\x1b[s?\x1b[u", b"?\x1b[D"]))
            self._out.append(bytes([_BYTES[character]]))
            x += 1
        return end == len(row)

    def _select(self, ink: int, ground: int, blinks: bool) -> None:  # noqa: FBT001 - a cell
        pen = (ink, ground, blinks)
        if pen == self._pen:
            return
        flashes = blinks or (self._ice and ground > 7)
        old_ink, old_ground, old_blinks = self._pen
        old_flashes = old_blinks or (self._ice and old_ground > 7)
        reset = not self._changes or (ink < 8 <= old_ink) or (old_flashes > flashes)
        codes = ["0"] if reset else []
        if ink > 7 and (reset or old_ink < 8):
            codes.append("1")
        if flashes and (reset or not old_flashes):
            codes.append("5")
        if reset or ink % 8 != old_ink % 8:
            codes.append(f"3{ink % 8}")
        if reset or ground % 8 != old_ground % 8:
            codes.append(f"4{ground % 8}")
        self._out.append(f"\x1b[{';'.join(codes)}m".encode())
        self._pen = pen


def _ans(seed: int) -> Piece:
    r = random.Random(f"ans {seed}")
    ice_colours = seed % 3 == 0
    width = (80, 80, 160, 132, 40)[seed % 5]
    canvas = _Canvas(
        width,
        r.randint(5, 60),
        r,
        grounds=16 if ice_colours else 8,
        blinking=not ice_colours and seed % 4 == 0,
    )
    canvas.draw()
    title = f"{r.choice(_WORDS)} and {r.choice(_ACCENTED)} no. {seed}"
    sauce = record(
        title,
        r.choice(_WORDS),
        "░▒▓ nobody ▓▒░"[: r.randrange(14)],
        date=b"20260105",
        file_size=r.randrange(2**32),
        numbers=(width, canvas.height, 0, 0),
        flags=int(ice_colours),
        font=r.choice([b"", b"IBM VGA", b"IBM VGA50", b"IBM EGA"]),
        comments=[r.choice(_WORDS) for _ in range(r.randrange(3))],
    )
    data = _Writer(canvas, ice_colours=ice_colours).written() + sauce
    name = f"{seed}.{r.choice(['ans', 'ANS', 'ice', 'txt'])}"
    return Piece(
        name, data, _expected_charset(data[: -len(sauce)]), canvas.shown(), title, width
    )


def _expected_charset(text: bytes) -> str:
    """Return what a file has to be taken for whose record or name says CP437."""
    is_ascii = text.isascii() and not any(
        byte < 0x20 and byte not in b"\t\n\r\x1a\x1b" for byte in text
    )
    return "utf-8" if is_ascii and b"\x7f" not in text else "cp437"


def _lines(seed: int, kind: str, width: int, height: int) -> Piece:
    """Return a piece of plain CP437."""
    r = random.Random(f"{kind} {seed}")
    canvas = _Canvas(r.randint(20, width), r.randint(4, height), r)
    canvas.is_ascii = seed % 8 == 0
    if not canvas.is_ascii:
        canvas.draw()
    else:
        canvas.text(0, 0, canvas.width)
        canvas.text(3, 2, canvas.width)
    rows = ["".join(cell[0] for cell in row).rstrip() for row in canvas.cells]
    while len(rows) > 1 and not rows[-1]:
        rows.pop()
    newline = r.choice(["\r\n", "\r\n", "\n"])
    text = newline.join(rows)
    encoded = b"".join(bytes([_BYTES.get(each, 0) or ord(each)]) for each in text)
    title = ""
    end = r.choice(
        [b"", newline.encode(), b"\x1a", b"\r\n\x1a\x1a", b"\r\n\x1ajunk\xdb"]
    )
    if seed % 4 == 1:
        title = f"{kind} {seed}"
        end = record(title, file_type=0, numbers=(80, len(rows), 0, 0))
    shown = [[Shown(each) for each in row] for row in rows]
    name = f"{'FILE_ID' if kind == 'diz' else seed}.{r.choice([kind, kind.upper()])}"
    columns = 80 if title else None
    charset = _expected_charset(encoded + end.partition(b"\x1a")[2] * (not title))
    return Piece(name, encoded + end, charset, shown, title, columns)


def _nfo(seed: int) -> Piece:
    return _lines(seed, "nfo", 79, 80)


def _diz(seed: int) -> Piece:
    return _lines(seed, "diz", 45, 10)


def _utf_8(seed: int) -> Piece:
    """Return lines of characters of many scripts, some of two columns or with marks."""
    r = random.Random(f"utf-8 {seed}")
    rows: list[list[Shown]] = []
    lines = []
    for _ in range(r.randint(1, 30)):
        row: list[Shown] = []
        line = ""
        while len(row) < r.randint(0, 60):
            text, width = r.choice(_CLUSTERS)
            line += text
            row.append(Shown(text))
            row += [Shown("")] * (width - 1)
        rows.append(row)
        lines.append(line)
    mark = r.choice(["", "", "\ufeff"])
    data = (mark + r.choice(["\n", "\r\n"]).join(lines)).encode()
    return Piece(f"{seed}.txt", data, "utf-8", rows)


_CLUSTERS = [
    *((each, 1) for each in "abc /\\_|<>&\"' πλΩ жщЯ ░▒▓█▄▀ ─│┌┐└┘ ♥★◆ ⠿⡇ ½€"),
    *((each, 2) for each in "日本語水魚月한글🐟🌊🌙"),
    *((letter + mark, 1) for letter in "eao" for mark in "\u0301\u0308\u0303"),
]


def _true_colour(seed: int) -> Piece:
    """Return a picture of half blocks in true colours."""
    r = random.Random(f"true colour {seed}")
    width, height = r.randint(10, 90), r.randint(3, 40)
    first, second = r.randrange(2**24), r.randrange(2**24)
    colons = r.random() < 0.3
    rows: list[list[Shown]] = []
    lines = []
    for y in range(height):
        row = []
        line = ""
        for x in range(width):
            ink = (first * (x + 1) + second * y) % 2**24
            ground = (first * (x + 1) + second * (y + 1)) % 2**24
            row.append(Shown("▀", ink, ground))
            for code, colour in (("38", ink), ("48", ground)):
                parts = [code, "2", *map(str, colour.to_bytes(3, "big"))]
                line += f"\x1b[{(':' if colons else ';').join(parts)}m"
            line += "▀"
        rows.append(row)
        lines.append(f"{line}\x1b[0m")
    return Piece(f"{seed}.txt", "\n".join(lines).encode(), "utf-8", rows)


def _braille(seed: int) -> Piece:
    """Return curves of braille dots."""
    r = random.Random(f"braille {seed}")
    width, height = r.randint(10, 100), r.randint(2, 20)
    bits = [[0] * width for _ in range(height)]
    for _ in range(r.randint(1, 4)):
        speed, phase = r.uniform(0.02, 0.2), r.uniform(0, 6)
        for x in range(2 * width):
            y = int((2 * height - 0.01) * (1 + math.sin(x * speed + phase)))
            dots = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
            bits[y // 4][x // 2] |= dots[x % 2][y % 4]
    lines = ["".join(chr(0x2800 + each) for each in row) for row in bits]
    rows = [[Shown(each) for each in line] for line in lines]
    return Piece(f"{seed}.txt", "\n".join(lines).encode(), "utf-8", rows)


KINDS: dict[str, Callable[[int], Piece]] = {
    "ans": _ans,
    "nfo": _nfo,
    "diz": _diz,
    "utf-8": _utf_8,
    "true colour": _true_colour,
    "braille": _braille,
}
"""What makes a piece of each kind, by a number."""


@cache
def pieces(kind: str) -> tuple[Piece, ...]:
    """Return a hundred pieces of a kind."""
    return tuple(map(KINDS[kind], range(100)))
