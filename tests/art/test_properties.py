"""Whatever the text is, what is made of it is safe, bounded and the same everywhere."""

from __future__ import annotations

import os
import random

import pyte
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from asciid.art.rendering import parse
from tests.art.checks import check, check_structure
from tests.art.samples import KINDS, pieces

MUTANTS = int(os.environ.get("ASCIID_MUTANTS", "100"))
"""How many files are mutated."""

SEQUENCES = st.one_of(
    st.builds(
        "\x1b[{}{}".format,
        st.lists(st.integers(0, 300).map(str), max_size=6).map(";".join),
        st.sampled_from("ABCDEFGHIJKLMPXZ@`abcdefmmmmmmmmmstu"),
    ),
    st.sampled_from(
        [
            *("\x1b", "\x1b[", "\x9b", "\x1b]", "\x1bP", "\x1b_", "\x9d", "\x90"),
            *("\x1b\\", "\x9c", "\x07", "\x18", "\x1a", "\x1b7", "\x1b8", "\x1bc"),
            *("\x1bD", "\x1bE", "\x1bM", "\x1b(", "\x1b[?33h", "\x1b[38:2::1:2:3m"),
            *("\x1b[38;5;1", "\x1b[1;1;2;3t", "\x1b[999;999H", "\x1b[9999B"),
        ]
    ),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(alphabet="ab <>&\"'\u2580\u2588\u2591\u258c\u2500", max_size=20),
    st.text(
        alphabet="e1\u263a\u0301\u0903\u0e33\u4e2d\u200d\ufe0f\u20e3\U0001f468\U0001f1e9\u05d0\b",
        max_size=20,
    ),
    st.text(alphabet="\t\n\r\b\v\f\0\x85\u2028\u2029", max_size=5),
)
ART = st.lists(st.one_of(SEQUENCES, TEXTS), max_size=30).map("".join)

CONSOLE = st.lists(
    st.one_of(
        st.text(alphabet="abcde", max_size=8),
        st.sampled_from(["\r\n", "\r", "\b", "\t", "\x1bD"]),
        st.builds(
            "\x1b[{}{}".format, st.integers(1, 9), st.sampled_from("ABCDEFG@PXdae")
        ),
        st.builds("\x1b[{};{}H".format, st.integers(0, 20), st.integers(0, 40)),
        st.builds("\x1b[{}{}".format, st.integers(0, 2), st.just("K")),
        st.builds("\x1b[{}{}".format, st.integers(0, 1), st.just("J")),
        st.builds(
            "\x1b[{}m".format,
            st.sampled_from(
                [
                    "",
                    "0",
                    "3",
                    "4",
                    "9",
                    "31",
                    "97",
                    "42",
                    "104",
                    "23",
                    "24",
                    "39",
                    "49",
                ]
            ),
        ),
    ),
    max_size=30,
).map("".join)
"""What any terminal of 200 columns and 100 rows shows alike."""

FRAGMENTS = (
    *("\x1b[", "\x1b", "\x9b", "\x1b]0;", "\x1bP", "\x07", "\x1b\\", "\x18", "m", ";"),
    *("\x1b[31m", "\x1b[1;44m", "\x1b[7m", "\x1b[8m", "\x1b[38;2;1;2;3m", "\x1b[5m"),
    *("\x1b[2J", "\x1b[K", "\x1b[1K", "\x1b[A", "\x1b[9D", "\x1b[99C", "\x1b[5;5H"),
    *("\x1b[s", "\x1b[u", "\x1b[L", "\x1b[P", "\x1b[@", "\x1b[9b", "\t", "\b", "\r"),
    *("<", ">", "&", '"', "</pre><script>", "\0", "\x7f", "\x85", "\u2028", "\u202e"),
    *(
        "\u4e2d",
        "\u0301",
        "\u200d",
        "\ufe0f",
        "\U0001f1e9",
        "\u05d0",
        "\ud800",
        "\ufffe",
    ),
)


_PART = 0.9


def mutate(text: str, source: random.Random) -> str:
    """
    Return a text with some parts changed, moved, repeated, added or cut off.

    Of most texts it is a part of a thousand characters, so that there can be many.
    """
    if source.random() < _PART:
        start = source.randrange(len(text) + 1)
        text = text[start : start + 1000]
    for _ in range(source.randint(1, 8)):
        start = source.randrange(len(text) + 1)
        end = min(start + int(source.expovariate(0.1)), len(text))
        other = source.randrange(len(text) + 1)
        match source.randrange(6):
            case 0:
                text = text[:start] + text[end:]
            case 1:
                text = text[:start] + source.choice(FRAGMENTS) + text[start:]
            case 2:
                text = text[:other] + text[start:end] * 3 + text[other:]
            case 3:
                text = text[:start] + chr(source.randrange(256)) + text[start + 1 :]
            case 4:
                text = text[:start] + chr(source.randrange(0x11000)) + text[start:]
            case 5 if source.random() < 0.2:
                text = text[:start]
            case _:
                text = text[:start] + text[start:end].swapcase() + text[end:]
    return text


class PropertyTests(SynchronousTestCase):
    """Any text."""

    @given(ART, st.sampled_from([None, None, 1, 2, 7, 80]), st.booleans())
    def test_any_text(self, text: str, columns: int | None, ice: bool) -> None:  # noqa: FBT001
        """
        Cells are within the limits.  HTML has only known classes, and says of each cell
        what the cells say; SVG has only known elements; what a terminal gets has no
        sequences but SGR, and has the same cells.
        """
        grid = check(text, columns=columns, ice_colours=ice)
        if grid is not None:
            check_structure(grid)

    @given(CONSOLE)
    def test_terminal(self, text: str) -> None:
        """Cells are those that a terminal emulator shows."""
        screen = pyte.Screen(200, 100)
        pyte.Stream(screen).feed(text)
        expected = [row.rstrip() for row in screen.display]
        while len(expected) > 1 and not expected[-1]:
            expected.pop()
        grid = parse(text)
        rows = ["".join(run.text for run in row).rstrip() for row in grid.rows]
        while len(rows) > 1 and not rows[-1]:
            rows.pop()
        self.assertEqual(rows, expected, repr(text))

    def test_mutants(self) -> None:
        """Damaged files of each kind are shown, without an error or anything else."""
        kinds = list(KINDS)
        for number in range(MUTANTS):
            source = random.Random(number)
            piece = source.choice(pieces(source.choice(kinds)))
            charset = "utf-8" if piece.charset == "utf-8" else "cp437"
            text = mutate(piece.data.decode(charset, "replace"), source)
            columns = source.choice([None, 80, piece.columns])
            grid = check(text, columns=columns, ice_colours=source.random() < 0.5)
            if grid is not None and number % 20 == 0:
                check_structure(grid)
