"""What of a text a terminal may be shown."""

from __future__ import annotations

import re

__all__ = ["TerminalFilter"]

# Select Graphic Rendition (ECMA-48, section 8.3.117): colours and the like.
_SGR = r"\x1b\[[0-9;:]*m"
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # all but tab and newline
_SHOWN = re.compile(f"({_SGR})|{_CONTROL}")
_UNFINISHED = re.compile(r"\x1b(\[[0-9;:]*)?\Z")
_LONGEST_SGR = 64


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
