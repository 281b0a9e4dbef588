"""Cells become text with colours for a terminal."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from asciid.art.rendering import parse, to_terminal


class TerminalTests(SynchronousTestCase):
    """Lines with SGR sequences."""

    def test_lines(self) -> None:
        """Each row is a line; movements have become blanks."""
        grid = parse("a\x1b[10Cb\r\n\x1b[3;2Hc")
        self.assertEqual(to_terminal(grid), "a          b\n\n c\n")

    def test_colours(self) -> None:
        """Colours are set where they change, and reset at the end of each line."""
        grid = parse("\x1b[31ma\x1b[1mb\nc\x1b[44;3m \x1b[0md")
        self.assertEqual(
            to_terminal(grid),
            "\x1b[0;31ma\x1b[0;91mb\x1b[0m\n\x1b[0;91mc\x1b[0;3;91;44m \x1b[0md\n",
        )

    def test_attributes(self) -> None:
        """Attributes are those of the text."""
        grid = parse("\x1b[1;3;4;5;9ma")
        self.assertEqual(to_terminal(grid), "\x1b[0;1;3;4;5;9ma\x1b[0m\n")

    def test_rounded(self) -> None:
        """A terminal with fewer colours gets the nearest ones."""
        grid = parse("\x1b[38;2;254;84;86;48;5;226ma")
        for colours, sgr in (
            (1 << 24, "38;2;254;84;86;48;5;226"),
            (256, "38;5;203;48;5;226"),
            (16, "91;103"),
        ):
            line = to_terminal(grid, colours=colours)
            self.assertEqual(line, f"\x1b[0;{sgr}ma\x1b[0m\n")

    def test_without_colours(self) -> None:
        """Without colours there are no sequences, and no blanks at the end."""
        grid = parse("\x1b[31ma\x1b[44m  \n\x1b[4m \x1b[mb")
        self.assertEqual(to_terminal(grid, colours=0), "a\n b\n")
