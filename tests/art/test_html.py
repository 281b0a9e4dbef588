"""Cells become text and spans, whose classes the style sheets have."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from twisted.trial.unittest import SynchronousTestCase

from asciid.art._blocks import BLOCKS
from asciid.art._grid import TRUE_COLOUR
from asciid.art._palette import PALETTE, rgb_of
from asciid.art.rendering import (
    classes_of,
    nearest,
    parse,
    stylesheet,
    to_html,
)
from asciid.art.stylesheets import cell_stylesheet


class Reader(HTMLParser):
    """Reads the content of a ``<pre>`` as a browser does."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[tuple[str, tuple[str, ...] | None]] = []
        self._names: tuple[str, ...] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Expect a span with classes at most, and not within another."""
        assert tag == "span"
        assert self._names is None
        assert [name for name, _ in attrs] in (["class"], [])
        self._names = tuple((attrs[0][1] or "").split()) if attrs else ()

    def handle_endtag(self, tag: str) -> None:
        """Expect the end of the span."""
        assert tag == "span"
        assert self._names is not None
        self._names = None

    def handle_data(self, data: str) -> None:
        """Keep text with the classes of its span, or None."""
        self.parts.append((data, self._names))

    def error(self, message: str) -> None:
        """Fail."""
        raise AssertionError(message)


def parts_of(html: str) -> list[tuple[str, tuple[str, ...] | None]]:
    """Return the pieces of text, and the classes of the span of each, or None."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader.parts


class HTMLTests(SynchronousTestCase):
    """The content of a ``<pre>``."""

    def test_plain(self) -> None:
        """Plain text is text."""
        self.assertEqual(
            to_html(parse("a <b> & \xe9\n\n'\"")), "a &lt;b&gt; &amp; \xe9\n\n'\""
        )

    def test_classes(self) -> None:
        """Colours, attributes and the number of columns are classes."""
        for sgr, names in (
            ("31", "f1"),
            ("97;104", "ff bc"),
            ("38;5;16;48;5;255", "f10 bff"),
            ("38;2;1;2;255;48;2;0;0;0", "f0102ff b000000"),
            ("1;3;4;9", "tb ti tu ts"),
            ("5;31", "f1"),
        ):
            html = to_html(parse(f"\x1b[{sgr}mabc"))
            self.assertEqual(html, f'<span class="{names} n3">abc</span>')
        self.assertEqual(to_html(parse("\x1b[31ma")), "<span class=f1>a</span>")

    def test_blanks(self) -> None:
        """Blanks have no foreground, unless a line shows it."""
        self.assertEqual(to_html(parse("\x1b[31;44m ")), "<span class=b4> </span>")
        html = to_html(parse("\x1b[31;4m "))
        self.assertEqual(html, '<span class="f1 tu"> </span>')

    def test_blocks(self) -> None:
        """Blocks are painted; those that fill the width of a cell share a span."""
        self.assertEqual(
            to_html(parse("\u2580\u2580\u2584\u258c\u258c")),
            '<span class="x4 n2">\u2580\u2580</span><span class=x5>\u2584</span>'
            "<span class=x6>\u258c</span><span class=x6>\u258c</span>",
        )
        self.assertEqual(
            to_html(parse("\x1b[31;44m\u2588\u2588")),
            '<span class="x8 f1 n2">\u2588\u2588</span>',
        )

    def test_shades(self) -> None:
        """In coloured art a shade has a ground; plain art has that of the page."""
        self.assertEqual(to_html(parse("\u2591")), "<span class=x1>\u2591</span>")
        self.assertEqual(
            to_html(parse("\x1b[31m\u2592\x1b[42m\u2593")),
            '<span class="x2 f1 b0">\u2592</span><span class="x3 f1 b2">\u2593</span>',
        )

    def test_unusual_characters(self) -> None:
        """Among what a font may lack, all is in boxes of the exact widths."""
        self.assertEqual(
            to_html(parse("a\u2500\u2500b\u4e2de\u0301")),
            "<span>a</span><span class=n2>\u2500\u2500</span><span>b</span>"
            "<span class=n2>\u4e2d</span><span>e\u0301</span>",
        )

    def test_long_runs(self) -> None:
        """A span has no more columns than there are classes for."""
        html = to_html(parse("\x1b[44m" + " " * 170))
        self.assertEqual(
            [names for _, names in parts_of(html)],
            [("b4", "n80"), ("b4", "n80"), ("b4", "n10")],
        )

    def test_long_texts(self) -> None:
        """A font that is not the first one cannot add up what it is too wide."""
        text = "abcdefgh " * 14 + "\u28ff" * 9 + "\u03b1" * 20
        parts = parts_of(to_html(parse(f"\x1b[31m{text}")))
        self.assertEqual("".join(part for part, _ in parts), text)
        for part, names in parts:
            assert names is not None
            most = 4 if part[0] == "\u28ff" else 12 if part[0] == "\u03b1" else 80
            self.assertLessEqual(len(part), most)
            self.assertIn(f"n{len(part)}", (*names, "n1"))

    def test_crop(self) -> None:
        """Of a large piece the upper left part can be shown."""
        grid = parse("abc\ndef\nghi")
        self.assertEqual(to_html(grid, rows=2, columns=2), "ab\nde")
        self.assertEqual(to_html(grid, rows=1), "abc")

    def test_quantised(self) -> None:
        """True colours can be replaced with the nearest ones of the palette."""
        grid = parse("\x1b[38;2;254;1;0;48;5;3mx")
        self.assertEqual(to_html(grid, quantise=True), '<span class="fc4 b3">x</span>')

    def test_classes_of_the_whole(self) -> None:
        """Width and height are digits, of 999 at most."""
        self.assertEqual(classes_of(parse("a")), "art cu1 ru1")
        grid = parse("\n" * 1204 + "x" * 310)
        self.assertEqual(classes_of(grid), "art ch3 ct1 rh9 rt9 ru9")
        self.assertEqual(classes_of(grid, rows=25, columns=80), "art ct8 rt2 ru5")


class StylesheetTests(SynchronousTestCase):
    """The style sheets of cells."""

    def test_every_class(self) -> None:
        """Each class that cells can have has a rule."""
        css = cell_stylesheet()
        grids = [
            parse("".join(f"\x1b[38;5;{n};48;5;{n}mx\x1b[m " for n in range(256))),
            parse("\x1b[1;3;4;9mabc"),
            parse("".join(BLOCKS)),
            parse("\n".join("\x1b[44m" + " " * n for n in range(1, 81))),
        ]
        used = {
            name
            for grid in grids
            for _, names in parts_of(to_html(grid))
            for name in names or ()
        }
        self.assertEqual(len(used), 512 + 4 + len(BLOCKS) + 79)
        self.assertLessEqual(used, set(re.findall(r"\.([\w-]+)", css)))

    def test_true_colours(self) -> None:
        """True colours have a style sheet for the image."""
        grid = parse("\x1b[38;2;1;2;3mx\x1b[48;2;255;0;255my\x1b[31mz")
        self.assertEqual(stylesheet(grid), ".f010203{--f:#010203}\n.bff00ff{--b:#f0f}")
        self.assertEqual(stylesheet(parse("\x1b[31ma")), "")

    def test_syntax(self) -> None:
        """Braces are balanced, and nothing is loaded from elsewhere."""
        css = cell_stylesheet()
        self.assertEqual(css.count("{"), css.count("}"))
        self.assertNotIn("url(", css)
        self.assertTrue(css.isascii())


class PaletteTests(SynchronousTestCase):
    """The 256 colours of terminals."""

    def test_palette(self) -> None:
        """The colours are VGA's and xterm's."""
        self.assertEqual(len(PALETTE), 256)
        for index, rgb in (
            *((0, 0), (1, 0xAA0000), (3, 0xAA5500), (7, 0xAAAAAA), (8, 0x555555)),
            *((15, 0xFFFFFF), (16, 0), (17, 0x00005F), (21, 0x0000FF), (52, 0x5F0000)),
            *((231, 0xFFFFFF), (232, 0x080808), (255, 0xEEEEEE)),
        ):
            self.assertEqual(rgb_of(index), rgb)

    def test_nearest(self) -> None:
        """A colour of cube or greys is its own nearest; others are close."""
        for index in range(16, 256):
            found = nearest(TRUE_COLOUR | PALETTE[index])
            self.assertEqual(rgb_of(found), PALETTE[index])
        for colour in (-1, 0, 3, 255):
            self.assertEqual(nearest(colour), colour)
        self.assertEqual(nearest(TRUE_COLOUR | 0x777777), 243)
        self.assertEqual(nearest(TRUE_COLOUR | 0x010101), 16)
