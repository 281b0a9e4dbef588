"""Makes untrusted text safe for a terminal."""

from __future__ import annotations

import os
import re
import shlex

__all__ = ["TerminalFilter", "one_line", "shell_word"]

# Select Graphic Rendition (ECMA-48, section 8.3.117): colours and the like.
_SGR = r"\x1b\[[0-9;:]*m"
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # all but tab and newline
_SHOWN = re.compile(f"({_SGR})|{_CONTROL}")
_UNFINISHED = re.compile(r"\x1b(\[[0-9;:]*)?\Z")
_LONGEST_SGR = 64


def one_line(text: str) -> str:
    """Return untrusted text as one line of printable characters."""
    words = " ".join(text.split())
    return "".join(each if each.isprintable() else "?" for each in words)


def shell_word(text: str) -> str:
    """
    Return an argument quoted for a shell, in printable characters.

    Other characters become escape sequences in ``$'...'`` (POSIX.1-2024, bash, zsh).
    """
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character.isprintable() and character not in "'\\":
        return character
    # os.fsencode: file names need not be valid UTF-8.
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))


class TerminalFilter:
    """
    Removes control characters from a text received in pieces.

    Keeps colours, tabs and newlines.  Others could move the cursor, change the title,
    or inject input into the terminal.
    """

    def __init__(self) -> None:
        self._rest = ""
        self.coloured = False
        """Whether the text had colours."""

    def pass_on(self, text: str, *, last: bool = False) -> str:
        """Return the filtered text; an unfinished escape sequence is held back."""
        text = self._rest + text
        self._rest = ""
        unfinished = _UNFINISHED.search(text)
        if unfinished and not last and len(unfinished[0]) < _LONGEST_SGR:
            text, self._rest = text[: unfinished.start()], unfinished[0]
        return _SHOWN.sub(self._kept, text)

    def _kept(self, match: re.Match[str]) -> str:
        sequence = match[1] or ""
        self.coloured = self.coloured or bool(sequence)
        return sequence
