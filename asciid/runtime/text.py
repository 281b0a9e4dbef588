"""Text that is safe on one line of a log or a terminal."""

from __future__ import annotations

import re

__all__ = ["printable"]

# Characters that move the cursor, end a line for some reader, or cannot be encoded;
# callers handle tabs and line feeds.
_unprintable = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").sub


def printable(text: str) -> str:
    """Return `text` with control characters escaped, tabs and line feeds apart."""
    return _unprintable(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
