"""Text with escape sequences becomes the cells that a terminal shows."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase
from wcwidth import wcwidth

from asciid.art._parser import SINGLE
from asciid.art.rendering import (
    BLINK,
    BOLD,
    ITALIC,
    PLAIN,
    STRIKE,
    TRUE_COLOUR,
    UNDERLINE,
    Grid,
    Limits,
    Run,
    Style,
    TooLargeError,
    parse,
)


def lines(grid: Grid) -> list[str]:
    """Return the text of each row."""
    return ["".join(run.text for run in row) for row in grid.rows]


class PlainTests(SynchronousTestCase):
    """Text without escape sequences."""

    def test_lines(self) -> None:
        """Rows are lines, whatever ends them, and as long as they are."""
        for end in ("\n", "\r\n", "\r\r\n", "\v", "\f", "\x85", "\u2028", "\x1bE"):
            grid = parse(f"a{end}{end}{'b' * 500}{end}")
            self.assertEqual(lines(grid), ["a", "", "b" * 500], repr(end))
            self.assertEqual((grid.width, grid.height), (500, 3))
            self.assertFalse(grid.coloured)

    def test_empty(self) -> None:
        """A grid has at least one row and one column."""
        for text in ("", "\n\n", "   \n ", "\x1b[31m", "\u200b"):
            grid = parse(text)
            self.assertEqual((grid.rows, grid.width), (((),), 1), repr(text))

    def test_blanks_at_the_end(self) -> None:
        """Plain blanks at the end of a row are left out, painted ones are not."""
        self.assertEqual(lines(parse(" a  \n \x1b[44m \x1b[0m ")), [" a", "  "])
        self.assertEqual(lines(parse("\x1b[4mab \x1b[0m \n\x1b[31mx  ")), ["ab ", "x"])

    def test_tabs(self) -> None:
        """A tab moves to the next multiple of eight columns."""
        self.assertEqual(
            lines(parse("\ta\tb\n1234567\tc")), [" " * 8 + "a       b", "1234567 c"]
        )

    def test_controls(self) -> None:
        """Carriage return and backspace move; other control characters are dropped."""
        self.assertEqual(lines(parse("abc\rx\n12\b\b\b3\0\a\x0e\x7f4")), ["xbc", "34"])

    def test_simple_characters(self) -> None:
        """Characters that are written without asking for their width have one."""
        single = re.compile(f"[{SINGLE}]")
        for code in (*range(0xD800), *range(0xE000, 0x20000)):
            if single.match(chr(code)):
                self.assertEqual(wcwidth(chr(code)), 1, hex(code))


class WidthTests(SynchronousTestCase):
    """Wide and combining characters, and those that show nothing."""

    def runs(self, text: str, columns: int | None = None) -> list[tuple[str, int]]:
        """Return text and columns of the runs of the first row."""
        return [(run.text, run.columns) for run in parse(text, columns=columns).rows[0]]

    def test_wide(self) -> None:
        """A wide character is a run of its own, of two columns."""
        self.assertEqual(
            self.runs("a\u4e2d\u6587b"),
            [("a", 1), ("\u4e2d", 2), ("\u6587", 2), ("b", 1)],
        )

    def test_combining(self) -> None:
        """Combining marks belong to the character before them, also after SGR."""
        self.assertEqual(self.runs("ae\u0301z"), [("a", 1), ("e\u0301", 1), ("z", 1)])
        self.assertEqual(self.runs("e\x1b[31m\u0301"), [("e\u0301", 1)])
        self.assertEqual(self.runs("\u0301a"), [("a", 1)])
        self.assertEqual(self.runs("a\x1b[9C\u0301"), [("a", 1)])
        self.assertEqual(self.runs("\u4e2d\b\u0301"), [("\u4e2d\u0301", 2)])
        self.assertEqual(self.runs("\u4e2d\x1b[31m\u0301"), [("\u4e2d\u0301", 2)])

    def test_sequences(self) -> None:
        """
        Joined emoji, flags, keycaps and variation selectors are one character, which
        has the style of its first part.
        """
        for text in (
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",
            "\U0001f1e9\U0001f1ea",
            "1\ufe0f\u20e3",
            "\u263a\ufe0f",
            "\U0001f44d\U0001f3fd",
        ):
            self.assertEqual(self.runs(f"{text}x"), [(text, 2), ("x", 1)])
        text = "1\x1b[8m\ufe0f\u20e3\x1b[28mx"
        self.assertEqual(self.runs(text), [("1\ufe0f\u20e3", 2), ("x", 1)])

    def test_directions(self) -> None:
        """Nothing that changes the direction of text, or is invisible, remains."""
        hidden = "\u061c\u200b\u200e\u200f\u202a\u202e\u2066\u2069\ufeff\ufff9\xad"
        self.assertEqual(self.runs("a".join(hidden)), [("a" * (len(hidden) - 1), 10)])
        self.assertEqual(self.runs("\u05d0\u202e\u05d1"), [("\u05d0\u05d1", 2)])

    def test_no_characters(self) -> None:
        """Surrogates are dropped, and noncharacters replaced: no page can have them."""
        self.assertEqual(self.runs("a\ud800\udfffb"), [("ab", 2)])
        self.assertEqual(self.runs("\ufffe\uffff\U0010ffff\ufdd0"), [("\ufffd" * 4, 4)])

    def test_overwritten(self) -> None:
        """What is left of a wide character that was half overwritten is a blank."""
        self.assertEqual(self.runs("\u4e2d\u6587\r\x1b[Cx"), [(" x", 2), ("\u6587", 2)])
        self.assertEqual(self.runs("\u4e2d\u6587\rx"), [("x ", 2), ("\u6587", 2)])
        self.assertEqual(self.runs("\u4e2d\u6587\r\x1b[C\x1b[K"), [])
        self.assertEqual(
            self.runs("\u4e2d\u6587\r\x1b[C\x1b[P"), [(" ", 1), ("\u6587", 2)]
        )
        self.assertEqual(
            self.runs("\u4e2d\u6587\r\x1b[C\x1b[@"), [("   ", 3), ("\u6587", 2)]
        )

    def test_wrapped(self) -> None:
        """A wide character that does not fit into a row begins the next one."""
        grid = parse("a\u4e2d\u4e2d", columns=2)
        self.assertEqual(lines(grid), ["a", "\u4e2d", "\u4e2d"])
        self.assertEqual(lines(parse("\u4e2d", columns=1)), ["\ufffd"])
        self.assertEqual(lines(parse("1\ufe0fx", columns=2)), ["1\ufe0f", "x"])

    def test_combining_where_it_wrapped(self) -> None:
        """A mark belongs to the last character of a row, behind which cursors wrap."""
        self.assertEqual(lines(parse("ae\u0301x", columns=2)), ["ae\u0301", "x"])
        self.assertEqual(
            lines(parse("\u4e2d\u0301x", columns=2)), ["\u4e2d\u0301", "x"]
        )
        self.assertEqual(lines(parse("a\n\u0301x", columns=2)), ["a", "x"])
        self.assertEqual(lines(parse("\u0301x", columns=2)), ["x"])
        self.assertEqual(lines(parse("a1\ufe0fx", columns=2)), ["a1", "x"])


class MovementTests(SynchronousTestCase):
    """Sequences that move the cursor."""

    def test_each(self) -> None:
        """Each sequence moves as ECMA-48 and the consoles of DOS say."""
        for text, expected in (
            ("a\x1b[10Cb", ["a          b"]),
            ("a\x1b[Cb", ["a b"]),
            ("a\x1b[0Cb", ["a b"]),
            ("abc\x1b[2Dx", ["axc"]),
            ("abc\x1b[9Dx", ["xbc"]),
            ("a\n\nb\x1b[2Ac", ["ac", "", "b"]),
            ("a\x1b[2Bb", ["a", "", " b"]),
            ("a\x1b[2Eb\x1b[Fc", ["a", "c", "b"]),
            ("\x1b[3;4Hx\x1b[fy", ["y", "", "   x"]),
            ("\x1b[;3Hx\x1b[2Hy", ["  x", "y"]),
            ("abc\x1b[2Gx\x1b[`y", ["yxc"]),
            ("a\x1b[3dx\x1b[2ay\x1b[ez", ["a", "", " x  y", "     z"]),
            ("a\x1b[2Ib\x1b[Zc", [f"a{' ' * 15}c"]),
            ("a\x1b[scd\x1b[ub", ["abd"]),
            ("\x1b[31ma\x1b7\n\x1b[mb\x1b8c", ["ac", "b"]),
            ("a\x1bDb\x1bMc", ["a c", " b"]),
            ("a\x84b\x8dc\x85d", ["a c", "db"]),
            ("a\x9b5Cb", ["a     b"]),
        ):
            self.assertEqual(lines(parse(text)), expected, repr(text))

    def test_saved_pen(self) -> None:
        """DECSC saves the colours, SCP of ANSI.SYS only the place."""
        first, second = (
            parse(f"\x1b[31m{save}\x1b[32m{restore}x").rows[0][0].style.foreground
            for save, restore in (("\x1b7", "\x1b8"), ("\x1b[s", "\x1b[u"))
        )
        self.assertEqual((first, second), (1, 2))

    def test_wrap(self) -> None:
        """With a number of columns the cursor wraps at once, as with ANSI.SYS."""
        self.assertEqual(lines(parse("abcdef", columns=3)), ["abc", "def"])
        self.assertEqual(lines(parse("abc\r\nd", columns=3)), ["abc", "", "d"])
        self.assertEqual(lines(parse("\x1b[9Cab", columns=3)), ["  a", "b"])
        self.assertEqual(parse("a", columns=80).width, 80)

    def test_far_away(self) -> None:
        """To move costs nothing."""
        grid = parse("\x1b[9999;9999H\x1b[999999999999999999B")
        self.assertEqual((grid.width, grid.height), (1, 1))


class ErasureTests(SynchronousTestCase):
    """Sequences that erase, insert, delete and repeat."""

    def test_each(self) -> None:
        """Each sequence erases, inserts or deletes what ECMA-48 says."""
        start = "abcd\nefgh\nijkl\x1b[2;3H"
        for sequence, expected in (
            ("\x1b[K", ["abcd", "ef", "ijkl"]),
            ("\x1b[1K", ["abcd", "   h", "ijkl"]),
            ("\x1b[2K", ["abcd", "", "ijkl"]),
            ("\x1b[J", ["abcd", "ef"]),
            ("\x1b[1J", ["", "   h", "ijkl"]),
            ("\x1b[2Jx", ["x"]),
            ("\x1b[3Jx", ["x"]),
            ("\x1bcx", ["x"]),
            ("\x1b[Xx", ["abcd", "efxh", "ijkl"]),
            ("\x1b[9X", ["abcd", "ef", "ijkl"]),
            ("\x1b[2@", ["abcd", "ef  gh", "ijkl"]),
            ("\x1b[P", ["abcd", "efh", "ijkl"]),
            ("\x1b[9P", ["abcd", "ef", "ijkl"]),
            ("\x1b[L", ["abcd", "", "efgh", "ijkl"]),
            ("\x1b[M", ["abcd", "ijkl"]),
            ("\x1b[9M", ["abcd"]),
            ("x\x1b[2b", ["abcd", "efxxx", "ijkl"]),
        ):
            self.assertEqual(lines(parse(start + sequence)), expected, repr(sequence))

    def test_beyond_the_text(self) -> None:
        """Nothing is erased, inserted or deleted where nothing was written."""
        for final in "KJ@PXLMb":
            for mode in range(3):
                grid = parse(f"a\x1b[9;9H\x1b[{mode}{final}\x1b[Hb")
                self.assertEqual(lines(grid)[0], "b", (final, mode))

    def test_within_columns(self) -> None:
        """What is inserted moves cells out of the last column."""
        self.assertEqual(lines(parse("abc\x1b[H\x1b[2@", columns=4)), ["  ab"])
        self.assertEqual(lines(parse("ab\x1b[9b", columns=4)), ["abbb"])

    def test_ground(self) -> None:
        """A row of art with columns is erased with the colour of the ground."""
        (row,) = parse("a\x1b[44m\x1b[K", columns=9).rows
        self.assertEqual(row[1], Run(" " * 8, 8, Style(background=4)))
        self.assertEqual(lines(parse("a\x1b[44m\x1b[K")), ["a"])


class SequenceTests(SynchronousTestCase):
    """Sequences that are dropped."""

    def test_dropped(self) -> None:
        """Strings and unknown sequences are dropped whole, also without their end."""
        for sequence in (
            "\x1b]0;title\x07",
            "\x1b]8;;http://example.com\x1b\\",
            "\x9d0;title\x9c",
            "\x1bPq#0;2;0;0;0\x1b\\",
            "\x90q\x9c",
            "\x1b_command\x1b\\",
            "\x1b^message\x1b\\",
            "\x1bXstring\x1b\\",
            "\x1b[?25l",
            "\x1b[>0;276;0c",
            "\x1b[!p",
            "\x1b[1 q",
            "\x1b[5n",
            "\x1b(B",
            "\x1b#8",
            "\x1b%G",
            "\x1b=",
            "\x1b[38;2;1m",
            "\x1b]0;aborted\x18",
            "\x1b[12\x18",
            "\x1b]title\x1b[0m",
            "\x1b[1\x1b[0m",
            "\x1b",
            f"\x1b[{'1' * 9999}C\r\x1b[{'1;' * 9999}m",
        ):
            expected = ["ab"] if not sequence.endswith("C\r") else ["b"]
            if sequence != "\x1b":
                self.assertEqual(
                    lines(parse(f"a{sequence}\x1b[0mb"))[0].replace("a", "")[-1],
                    "b",
                    repr(sequence),
                )
            if "C\r" not in sequence:
                self.assertEqual(lines(parse(f"a{sequence}\x1b[mb")), expected)
                self.assertFalse(parse(f"a{sequence}\x1b[mb").coloured)

    def test_unterminated(self) -> None:
        """A sequence that the end of the text cuts off shows nothing."""
        for sequence in (
            "\x1b",
            "\x1b[",
            "\x1b[31",
            "\x1b[?2",
            "\x1b(",
            "\x9b1;",
            "\x1b]0;title",
            "\x1bPdata\nmore",
            "\x9ecommand",
        ):
            self.assertEqual(lines(parse(f"a{sequence}")), ["a"], repr(sequence))

    def test_interrupted(self) -> None:
        """A control character within a sequence acts before it, as on a terminal."""
        for text in ("a\x1b[3\n1mb", "a\x1b\n[31mb", "a\x9b31\nmb", "a\x1b[\0\n31mb"):
            grid = parse(text)
            self.assertEqual(lines(grid), ["a", "b"], repr(text))
            self.assertEqual(grid.rows[1][0].style.foreground, 1)
        self.assertEqual(lines(parse("a\x1b(\nBb")), ["a", "b"])


class StyleTests(SynchronousTestCase):
    """Colours and attributes."""

    def style(self, *sequences: str, ice_colours: bool = False) -> Style:
        """Return the style of text that follows SGR sequences."""
        text = "".join(f"\x1b[{each}mx\b" for each in sequences)
        grid = parse(f"{text}x", ice_colours=ice_colours)
        ((run,),) = grid.rows
        self.assertEqual(grid.coloured, run.style[:2] != PLAIN[:2])
        return run.style

    def test_long(self) -> None:
        """A sequence with very many parameters changes nothing."""
        long = "0;" * 128 + "1"
        self.assertEqual(self.style("31", long), Style(1))
        self.assertEqual(self.style("31", long, "32", long), Style(2))
        self.assertEqual(self.style("31", long[2:]), Style(attributes=BOLD))

    def test_colours(self) -> None:
        """Colours of all forms, of the foreground and the background."""
        rgb = TRUE_COLOUR | 0x010203
        for sgr, colour in (
            ("31", 1),
            ("0031", 1),
            ("97", 15),
            ("38;5;200", 200),
            ("38:5:200", 200),
            ("38;2;1;2;3", rgb),
            ("38:2:1:2:3", rgb),
            ("38:2::1:2:3", rgb),
            ("38:2:0:1:2:3:0:1", rgb),
            ("38;5;", 0),
            ("38;05;7", 7),
        ):
            self.assertEqual(self.style(sgr), Style(foreground=colour), sgr)
            ground = re.sub("^(0*)3", r"\g<1>4", sgr).replace("97", "107")
            self.assertEqual(self.style(ground), Style(background=colour), ground)
            self.assertEqual(self.style(sgr + ";39"), PLAIN)
            self.assertEqual(self.style(ground + ";49"), PLAIN)
            self.assertEqual(self.style(sgr, ""), PLAIN)

    def test_not_colours(self) -> None:
        """What is not a colour changes nothing, and takes no code that follows."""
        for sgr in (
            *("38;5;256", "38;2;1;2;999", "38;5", "38", "38;2;1;2", "38:5", "38:9:1"),
            *("58;5;3", "58;2;1;2;3", "58:2::1:2:3", "12", "1234567", "4:9", "::"),
        ):
            self.assertEqual(self.style(sgr), PLAIN, sgr)
        self.assertEqual(self.style("58;5;3;32"), Style(foreground=2))
        self.assertEqual(self.style("38;9;32"), Style(foreground=2))

    def test_pablodraw(self) -> None:
        """PabloDraw's sequences for true colours are understood."""
        grid = parse("\x1b[1;1;2;3t\x1b[0;4;5;6tx\x1b[2;1;1;1t\x1b[1;999;1;1t\x1b[8ty")
        rgb, ground = TRUE_COLOUR | 0x010203, TRUE_COLOUR | 0x040506
        self.assertEqual(grid.rows[0], (Run("xy", 2, Style(rgb, ground)),))

    def test_attributes(self) -> None:
        """Attributes are set and cleared."""
        for code, attribute, clear in (
            ("1", BOLD, "22"),
            ("3", ITALIC, "23"),
            ("4", UNDERLINE, "24"),
            ("4:3", UNDERLINE, "4:0"),
            ("21", UNDERLINE, "24"),
            ("5", BLINK, "25"),
            ("6", BLINK, "25"),
            ("9", STRIKE, "29"),
        ):
            self.assertEqual(self.style(code), Style(attributes=attribute), code)
            self.assertEqual(self.style(code, clear), PLAIN)
            self.assertEqual(self.style(f"{code};0"), PLAIN)

    def test_bright(self) -> None:
        """Bold makes a dark colour bright and not heavier, and others heavier."""
        self.assertEqual(self.style("1;31"), Style(9))
        self.assertEqual(self.style("31;1"), Style(9))
        self.assertEqual(self.style("1;92"), Style(10, attributes=BOLD))
        self.assertEqual(self.style("1;44"), Style(15, 4))
        self.assertEqual(self.style("1"), Style(attributes=BOLD))

    def test_faint(self) -> None:
        """Faint text has two thirds of its colour, or of light grey."""
        self.assertEqual(self.style("2;97"), Style(TRUE_COLOUR | 0xAAAAAA))
        self.assertEqual(self.style("2"), Style(TRUE_COLOUR | 0x717171))
        self.assertEqual(self.style("2", "22"), PLAIN)

    def test_reverse(self) -> None:
        """Reverse exchanges the colours, also those that were not set."""
        self.assertEqual(self.style("31;42;7"), Style(2, 1))
        self.assertEqual(self.style("7"), Style(0, 7))
        self.assertEqual(self.style("7", "27"), PLAIN)
        self.assertEqual(self.style("1;7;34"), Style(0, 12))
        self.assertEqual(self.style("1;7;38;5;99;44"), Style(4, 99))
        self.assertEqual(self.style("1;7;34;48;5;99"), Style(99, 12))
        self.assertEqual(self.style("1;7;97;104"), Style(12, 15, BOLD))

    def test_concealed(self) -> None:
        """Of concealed text the ground is shown, and the text is not there."""
        grid = parse("a\x1b[8;41msecret\x1b[28;49mb\x1b[8m\u4e2d")
        self.assertEqual(lines(grid), ["a      b"])
        self.assertEqual(grid.rows[0][1].style, Style(background=1))

    def test_ice_colours(self) -> None:
        """With iCE colours, blinking makes the background bright."""
        self.assertEqual(self.style("5;44", ice_colours=True), Style(background=12))
        self.assertEqual(self.style("5;104", ice_colours=True), Style(background=12))
        self.assertEqual(self.style("5", ice_colours=True), Style(background=8))
        self.assertEqual(self.style("5;44"), Style(background=4, attributes=BLINK))
        ((run,),) = parse("\x1b[?33h\x1b[5;44mx").rows
        self.assertEqual(run.style, Style(background=12))
        ((run,),) = parse("\x1b[5;44mx\x1b[?33l", ice_colours=True).rows
        self.assertEqual(run.style, Style(background=4, attributes=BLINK))

    def test_runs(self) -> None:
        """Cells of equal style are one run, whatever sequences made them so."""
        grid = parse("\x1b[31ma\x1b[0;31mb\x1b[32m\x1b[31mc \x1b[0m  \x1b[44m \x1b[mx")
        self.assertEqual(
            grid.rows[0],
            (Run("abc   ", 6, Style(1)), Run(" ", 1, Style(-1, 4)), Run("x", 1, PLAIN)),
        )

    def test_blanks(self) -> None:
        """Plain blanks are part of the run beside them, unless that shows them."""
        for text, expected in (
            ("  \x1b[31ma", [("  a", 1)]),
            ("a\x1b[31m  \x1b[mb", [("a  b", -1)]),
            ("\x1b[31ma\x1b[32m  \x1b[33mb", [("a  ", 1), ("b", 3)]),
            ("\x1b[4ma\x1b[m b", [("a", -1), (" b", -1)]),
            ("\x1b[31m\u4e2d\x1b[m b", [("\u4e2d", 1), (" b", -1)]),
        ):
            runs = [(run.text, run.style.foreground) for run in parse(text).rows[0]]
            self.assertEqual(runs, expected)


class GridTests(SynchronousTestCase):
    """What a grid knows of itself."""

    def test_colours(self) -> None:
        """A grid lists its colours, and whether one is not in the palette."""
        grid = parse("\x1b[31;44ma\x1b[0mb\x1b[38;5;99mc")
        self.assertEqual(grid.colours(), {1, 4, 99})
        self.assertFalse(grid.has_true_colours)
        self.assertTrue(parse("\x1b[48;2;1;1;1ma").has_true_colours)

    def test_crop(self) -> None:
        """A crop is the upper left part; half a wide character is a blank."""
        grid = parse("ab\x1b[31mcdef\nxyz\n\u4e2d\u4e2d")
        self.assertIs(grid.crop(3, 6), grid)
        self.assertEqual(lines(grid.crop(2, 9)), ["abcdef", "xyz"])
        cropped = grid.crop(9, 3)
        self.assertEqual(lines(cropped), ["abc", "xyz", "\u4e2d "])
        self.assertEqual((cropped.width, cropped.coloured), (3, True))
        self.assertEqual(lines(grid.crop(9, 2)), ["ab", "xy", "\u4e2d"])


class LimitTests(SynchronousTestCase):
    """What is too large is refused."""

    def refused(self, text: str, **limits: int) -> str:
        """Return what there is too much of, which is fine with one more of it."""
        ((name, limit),) = limits.items()
        parse(text, limits=Limits(**{name: limit + 1}))
        error = self.assertRaises(TooLargeError, parse, text, limits=Limits(**limits))
        self.assertEqual(error.limit, limit)
        what: str = error.what
        return what

    def test_each(self) -> None:
        """Each limit is exact, and its error names it."""
        self.assertEqual(self.refused("abcd", characters=3), "characters")
        self.assertEqual(self.refused("abcd", columns=3), "columns")
        self.assertEqual(self.refused("x\ny", rows=1), "rows")
        self.assertEqual(self.refused("ab\ncd", cells=3), "cells")
        self.assertEqual(self.refused("\u4e2d", cells=1), "cells")
        self.assertEqual(self.refused("ab\x1b[H\x1b[2@", cells=3), "cells")
        marks = "code points in a cell"
        self.assertEqual(self.refused("e\u0301\u0301", code_points=2), marks)
        self.assertEqual(self.refused("\u4e2d\u0301\u0301", code_points=2), marks)
        work = "cells skipped, erased or moved"
        self.assertEqual(self.refused("abc\r\x1b[3X", work=18), work)

    def test_columns(self) -> None:
        """Art is not made for no columns, or for more than the limit."""
        for columns in (0, -1, 1000):
            self.assertRaises(TooLargeError, parse, "", columns=columns)

    def test_work(self) -> None:
        """Whatever is repeated without end, the work is bounded."""
        for text in (
            "\x1b[999Cx\x1b[2K\r" * 9999,
            "\x1b[9999Bx\x1b[2J" * 999,
            "x\x1b[999L" * 9999,
            "x\x1b[999@" * 99999,
            "\x1b[9999Bx\x1b[1J" * 999,
            "x\x1b[999b\r" * 9999,
            "\x1b[9999Bx\x1b[H\x1b[9999M" * 999,
            "\x1b[999Cx\r\x1b[P" * 9999,
            "\x1b[999Cx\x1b[1K" * 9999,
        ):
            self.assertRaises(TooLargeError, parse, text)

    def test_animation(self) -> None:
        """Cells that were erased do not count, so an animation can be long."""
        frame = "\x1b[2J" + "\n".join(["x" * 80] * 25)
        grid = parse(frame * 400)
        self.assertEqual((grid.width, grid.height), (80, 25))
