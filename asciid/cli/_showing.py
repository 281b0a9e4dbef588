"""Shows an image on standard output."""

from __future__ import annotations

import codecs
import io
import os
import re
import sys
from typing import IO, TYPE_CHECKING

from asciid.art.rendering import LIMITS, TooLargeError, parse, to_terminal
from asciid.cli._filter import TerminalFilter

if TYPE_CHECKING:
    from asciid.art.encodings import Origin

__all__ = ["show"]

_PIECE = 64 * 1024
_NO_COLOURS = "\x1b[0m"

_LONGEST = 4 * LIMITS.characters
"""Maximum bytes of an image that may be parsed."""

# What a terminal would obey, but for newlines and tabs: control characters, and those
# that change the direction of text.
_CONTROL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
    r"|\r(?!\n)"
)

_TRUE_COLOUR, _PALETTE, _BASIC = 1 << 24, 256, 16


def show(file: IO[bytes], origin: Origin) -> None:
    """
    Write the text in `file` to standard output, without control characters.

    Art is shown as pages show it, with colours and without cursor movements, by what
    `origin` says.  Plain text is printed as it is, and so is what is too large for
    that, with its colours.
    """
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper):
        # Characters that the terminal's encoding lacks are replaced.
        out.reconfigure(errors="replace")
    data = file.read(_LONGEST + 1)
    text = data.decode("utf-8", "replace") if len(data) <= _LONGEST else ""
    if origin.columns is not None or _CONTROL.search(text):
        try:
            grid = parse(text, columns=origin.columns, ice_colours=origin.ice_colours)
        except TooLargeError:
            pass
        else:
            out.write(to_terminal(grid, colours=_colours()))
            out.flush()
            return
    file.seek(0)
    _copy(file)


def _copy(file: IO[bytes]) -> None:
    """Write the text with its colours."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    safe = TerminalFilter()
    out = sys.stdout
    while piece := file.read(_PIECE):
        out.write(safe.pass_on(decoder.decode(piece)))
    out.write(safe.pass_on(decoder.decode(b"", final=True), last=True))
    if safe.coloured and out.isatty():
        out.write(_NO_COLOURS)
    out.flush()


def _colours() -> int:
    """Return how many colours standard output shows; all if it is no terminal."""
    if not sys.stdout.isatty() or os.environ.get("COLORTERM") in {"truecolor", "24bit"}:
        return _TRUE_COLOUR
    terminal = os.environ.get("TERM", "")
    if terminal in {"", "dumb"}:
        return 0
    return _PALETTE if "256" in terminal else _BASIC
