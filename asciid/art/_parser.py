"""Text with escape sequences to cells, as a terminal or ANSI.SYS shows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asciid.art._art_limits import LIMITS, TooLargeError
from asciid.art._canvas import BLANK_PEN, Canvas
from asciid.art._grid import Grid
from asciid.art._sgr import (
    CONCEAL,
    NEW_PEN,
    Pen,
    apply_sgr,
    is_coloured,
    numbers_in,
    style_of,
    with_true_colour,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.art._art_limits import Limits

__all__ = ["SINGLE", "parse"]

SINGLE = (
    r" -~\u00A0-\u00AC\u00AE-\u02FF\u0370-\u0482\u048A-\u052F\u1E00-\u1FFF"
    r"\u2010-\u2027\u2030-\u205E\u2070-\u20CF\u2100-\u2319\u231C-\u2328\u232B-\u23E8"
    r"\u2400-\u25FC\u2800-\u28FF\U0001FB00-\U0001FBFF"
)
"""Characters that take one column each, as ranges of a class of `re`."""

_MAX_PARAMETERS = 256
"""Characters of parameters beyond which a sequence is dropped."""

_NEW_LINES = r"\n\v\f\x85\u2028\u2029"

# Strings end with ST, and those for the operating system also with BEL; CAN, SUB and
# the ESC of another sequence abort them, as the end of the text does.
_TOKEN = re.compile(
    rf"(?:\x1b\[(?P<sgr>[0-9;]{{0,{_MAX_PARAMETERS}}})m)?(?P<text>[{SINGLE}]+)"
    rf"|(?P<newline>\r?[{_NEW_LINES}])"
    r"|(?P<string>(?:\x1b\]|\x9d)[^\x07\x18\x1a\x1b\x9c]*(?:\x1b\\|[\x07\x18\x1a\x9c])?"
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x18\x1a\x1b\x9c]*(?:\x1b\\|[\x18\x1a\x9c])?)"
    r"|(?:\x1b\[|\x9b)(?P<parameters>[ -?]*)(?P<final>[@-~]?)"
    r"|\x1b(?P<escape>[ -/]*[0-~]?)"
    r"|(?P<control>[\x00-\x1f\x7f-\x9f])"
    rf"|(?P<clusters>[^{SINGLE}{_NEW_LINES}\x00-\x1f\x7f-\x9f]+)"
)

# Control characters within a sequence, which terminals obey before the sequence.
_CONTROLS = r"\x00-\x17\x19\x1c-\x1f\x7f"
_INTERRUPTED = re.compile(rf"(?:\x1b\[?|\x9b)[ -?]*[{_CONTROLS}]")
_SEQUENCE = re.compile(
    rf"(?:\x1b[{_CONTROLS}]*\[|\x9b)[ -?{_CONTROLS}]*[@-~]?|\x1b[ -/{_CONTROLS}]*[0-~]?"
)
_CONTROL = re.compile(f"[{_CONTROLS}]")

_UNSHOWN = dict.fromkeys(
    [
        *(0xAD, 0x61C, 0x180E, 0x200B, 0x200E, 0x200F, 0xFEFF),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xD800, 0xE000),
        *range(0xFFF9, 0xFFFC),
    ]
)
"""Format characters, among them those that change the direction, and surrogates."""

_NONCHARACTERS = dict.fromkeys(
    [
        *range(0xFDD0, 0xFDF0),
        *(plane << 16 | last for plane in range(17) for last in (0xFFFE, 0xFFFF)),
    ],
    "\N{REPLACEMENT CHARACTER}",
)
"""XML does not allow all of them, and HTML none."""

_REPLACED = {**_UNSHOWN, **_NONCHARACTERS}

_ALL = 2
"""The mode of an erasure that erases all."""


def _controls_first(match: re.Match[str]) -> str:
    sequence = match[0][1:]
    controls = "".join(_CONTROL.findall(sequence))
    return controls + match[0][0] + _CONTROL.sub("", sequence)


class _Parser:
    """Reads the tokens of a text, and acts on a canvas."""

    def __init__(self, columns: int | None, limits: Limits) -> None:
        self._columns = columns
        self._canvas = Canvas(columns, limits)
        self._limits = limits
        self._pens = [NEW_PEN]
        self._numbers = {NEW_PEN: BLANK_PEN}
        self._pen = BLANK_PEN
        self._saved = (0, 0, BLANK_PEN)
        self._last = ""
        self.ice_colours = False
        canvas = self._canvas
        self._counted: dict[str, Callable[[int], None]] = {
            "A": lambda count: self._move(0, -count),
            "B": lambda count: self._move(0, count),
            "C": lambda count: self._move(count, 0),
            "D": lambda count: self._move(-count, 0),
            "E": self._move_to_line,
            "F": lambda count: self._move_to_line(-count),
            "G": lambda column: canvas.move(column - 1, canvas.y),
            "I": canvas.tab,
            "L": canvas.insert_rows,
            "M": canvas.delete_rows,
            "P": canvas.delete,
            "X": canvas.erase,
            "Z": lambda count: canvas.tab(-count),
            "@": canvas.insert,
            "`": lambda column: canvas.move(column - 1, canvas.y),
            "a": lambda count: self._move(count, 0),
            "b": self._repeat,
            "d": lambda row: canvas.move(canvas.x, row - 1),
            "e": lambda count: self._move(0, count),
        }
        """What a sequence does with its number, which is 1 where it is not given."""
        self._others: dict[str, Callable[[list[int]], None]] = {
            "H": self._move_to,
            "J": lambda numbers: canvas.erase_in_page(numbers[0]),
            "K": lambda numbers: self._erase_in_line(numbers[0]),
            "f": self._move_to,
            "s": lambda _: self._save(),
            "t": self._true_colour,
            "u": lambda _: self._restore(),
        }

    def feed(self, text: str) -> None:
        """Obey all of the text."""
        canvas = self._canvas
        changes: dict[tuple[int, str], int] = {}
        for match in _TOKEN.finditer(text):
            kind = match.lastgroup
            if kind == "text":
                parameters, self._last = match.group(1, 2)
                if parameters is not None:
                    # What begins with a reset depends on nothing else.
                    before = BLANK_PEN if parameters[:2] == "0;" else self._pen
                    change = (before, parameters)
                    pen = changes.get(change)
                    if pen is None:
                        changes[change] = pen = self._after_sgr(parameters)
                    self._pen = pen
                canvas.write(self._last, self._pen)
            elif kind == "newline":
                canvas.next_line()
            elif kind == "clusters":
                self._last = match["clusters"].translate(_REPLACED)
                canvas.write_clusters(self._last, self._pen)
            elif kind == "final":
                self._sequence(match["parameters"], match["final"])
            elif kind == "escape":
                self._escape(match["escape"])
            elif kind == "control":
                self._control(match["control"])

    def grid(self) -> Grid:
        """Return what is on the canvas."""
        pens = self._pens
        ice = self.ice_colours
        coloured = any(
            is_coloured(pens[number], ice_colours=ice) for number in self._canvas.pens()
        )
        styles = [style_of(pen, coloured=coloured, ice_colours=ice) for pen in pens]
        concealed = {
            number for number, pen in enumerate(pens) if pen.attributes & CONCEAL
        }
        rows = [tuple(runs) for runs in self._canvas.rows(styles, concealed)]
        while rows and not rows[-1]:
            rows.pop()
        width = max((sum(run.columns for run in row) for row in rows), default=1)
        # Blanks may have been the only ones that had a colour.
        coloured = any(run.style.is_coloured for row in rows for run in row)
        return Grid(tuple(rows) or ((),), self._columns or max(width, 1), coloured)

    def _number_of(self, pen: Pen) -> int:
        number = self._numbers.setdefault(pen, len(self._pens))
        if number == len(self._pens):
            self._pens.append(pen)
        return number

    def _after_sgr(self, parameters: str) -> int:
        if len(parameters) > _MAX_PARAMETERS:
            return self._pen
        return self._number_of(apply_sgr(self._pens[self._pen], parameters))

    def _control(self, control: str) -> None:
        canvas = self._canvas
        if control == "\r":
            canvas.x = 0
        elif control == "\b":
            canvas.move(canvas.x - 1, canvas.y)
        elif control == "\t":
            canvas.tab(1)
        elif control >= "\x80":
            self._escape(chr(ord(control) - 0x40))

    def _escape(self, escape: str) -> None:
        """Obey ``ESC escape``, or the C1 control that it stands for."""
        canvas = self._canvas
        if escape == "7":
            self._saved = (canvas.x, canvas.y, self._pen)
        elif escape == "8":
            canvas.x, canvas.y, self._pen = self._saved
        elif escape == "D":
            canvas.move(canvas.x, canvas.y + 1)
        elif escape == "E":
            canvas.next_line()
        elif escape == "M":
            canvas.move(canvas.x, canvas.y - 1)
        elif escape == "c":
            canvas.erase_in_page(_ALL)
            self._pen = BLANK_PEN

    def _sequence(self, parameters: str, final: str) -> None:
        """Obey ``CSI parameters final``, unless it is unknown."""
        if final == "m" and not parameters.strip("0123456789;:"):
            self._pen = self._after_sgr(parameters)
        elif not parameters.strip("0123456789;"):
            numbers = numbers_in(parameters)
            if final in self._counted:
                self._counted[final](max(numbers[0], 1))
            elif final in self._others:
                self._others[final](numbers)
        elif parameters == "?33" and final in ("h", "l"):
            self.ice_colours = final == "h"

    def _move(self, columns: int, rows: int) -> None:
        self._canvas.move(self._canvas.x + columns, self._canvas.y + rows)

    def _move_to(self, numbers: list[int]) -> None:
        row, column = (*numbers, 0)[:2]
        self._canvas.move(max(column, 1) - 1, max(row, 1) - 1)

    def _move_to_line(self, rows: int) -> None:
        self._canvas.move(0, self._canvas.y + rows)

    def _save(self) -> None:
        self._saved = (self._canvas.x, self._canvas.y, self._saved[2])

    def _restore(self) -> None:
        self._canvas.x, self._canvas.y, _ = self._saved

    def _erase_in_line(self, mode: int) -> None:
        ground = Pen(background=self._pens[self._pen].background)
        self._canvas.erase_in_line(mode, self._number_of(ground))

    def _repeat(self, count: int) -> None:
        self._canvas.repeat(self._last[-1:], count, self._pen)

    def _true_colour(self, numbers: list[int]) -> None:
        pen = with_true_colour(self._pens[self._pen], numbers)
        self._pen = self._number_of(pen)


def parse(
    text: str,
    *,
    columns: int | None = None,
    ice_colours: bool = False,
    limits: Limits = LIMITS,
) -> Grid:
    """
    Return the cells that a terminal shows of `text`.

    Art that was made for a screen of `columns` wraps there, as ANSI.SYS wraps; without
    it no line is wrapped.  With `ice_colours`, blinking cells have a bright background
    instead.  Escape sequences that move the cursor, erase, or set colours are obeyed,
    all others dropped whole.  Raises `TooLargeError` beyond `limits`; the time taken is
    linear in them.
    """
    if len(text) > limits.characters:
        raise TooLargeError("characters", limits.characters)
    if columns is not None and not 1 <= columns <= limits.columns:
        raise TooLargeError("columns", limits.columns)
    if _INTERRUPTED.search(text):
        text = _SEQUENCE.sub(_controls_first, text)
    parser = _Parser(columns, limits)
    parser.ice_colours = ice_colours
    parser.feed(text)
    return parser.grid()
