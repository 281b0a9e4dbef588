"""What of a text a terminal may be shown."""

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
    """Return a text, which may be a server's, as a line that is safe to show."""
    words = " ".join(text.split())
    return "".join(each if each.isprintable() else "?" for each in words)


def shell_word(text: str) -> str:
    """
    Return an argument as a shell is told it, safe to show.

    What a terminal may not see becomes an escape sequence of ``$'...'``, which is
    POSIX of 2024 and older in bash and zsh.
    """
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character.isprintable() and character not in "'\\":
        return character
    # In bytes: not every name is text.
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))


class TerminalFilter:
    """
    Takes control characters out of a text that comes in pieces.

    Colours stay, and tabs and newlines.  The rest could move the cursor, change
    the title, or have the terminal type what the image's maker likes.
    """

    def __init__(self) -> None:
        self._rest = ""
        self.coloured = False
        """Whether colours were let through."""

    def pass_on(self, text: str, *, last: bool = False) -> str:
        """Return what may be shown of all that came and was not returned before."""
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
