"""Text for one line of a log or a terminal."""

from __future__ import annotations

import os
import re

__all__ = ["printable", "reason_of"]

# Characters that move the cursor, end a line for some reader, or cannot be encoded;
# callers handle tabs and line feeds.
_unprintable = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").sub


def printable(text: str) -> str:
    """Return `text` with control characters escaped, tabs and line feeds apart."""
    return _unprintable(_escaped, text)


def reason_of(error: BaseException | None, *, named: str = "") -> str:
    """
    Return what is wrong, in words: of an `OSError` its file and reason, without errno.

    A file that the line names already, `named`, is left out.  Of an error without a
    text the name of its class is returned.
    """
    # That of twisted.internet.error.CannotListenError.
    error = getattr(error, "socketError", error)
    if isinstance(error, OSError) and error.strerror:
        file = error.filename
        if isinstance(file, bytes):
            file = os.fsdecode(file)
        if file is None or str(file) == named:
            return error.strerror
        return f"{file}: {error.strerror}"
    return str(error) or type(error).__name__


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
