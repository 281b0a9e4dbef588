"""The rules for what is stored beside an image, and for the reason of a block."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from asciid.errors import InvalidAboutError

if TYPE_CHECKING:
    from asciid.model import About, NewImage

__all__ = [
    "MAX_AUTHOR",
    "MAX_DESCRIPTION",
    "MAX_EXPIRES",
    "MAX_LICENCE",
    "MAX_REASON",
    "MAX_TAG",
    "MAX_TAGS",
    "MAX_TITLE",
    "check_about",
    "check_new",
    "check_reason",
    "fit_line",
]

MAX_TITLE = MAX_AUTHOR = MAX_LICENCE = 200
"""Bytes of UTF-8."""
MAX_DESCRIPTION = 2_000
"""Bytes of UTF-8."""
MAX_TAG = 50
"""Bytes of UTF-8."""
MAX_TAGS = 10
MAX_REASON = 500
"""Bytes of UTF-8."""
MAX_EXPIRES = 253_402_300_799_000
"""The last second of the year 9999, in milliseconds since the epoch."""

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_REFUSED = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: controls, surrogates, separators of lines and paragraphs."""

# RFC 3986, sections 2 and 3, without user information.
_URL = re.compile(
    r"https?://(?:[A-Za-z0-9._~%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?"
    r"(?:[/?#](?:[A-Za-z0-9._~!$&'()*+,;=:@/?#-]|%[0-9A-Fa-f]{2})*)?",
    re.ASCII,
)
_TOKEN = re.compile(r" *([()]|[A-Za-z0-9.:+-]+)", re.ASCII)
_LICENCE_ID = re.compile(
    r"(?:(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+"
    r"|[A-Za-z0-9][A-Za-z0-9.-]*\+?)",
    re.ASCII,
)

_OPERATORS = frozenset({"AND", "OR", "WITH"})


def check_about(about: About) -> None:
    """
    Refuse what breaks a rule.

    Texts have a limit of bytes, no control characters (but a description may have
    line feeds) and nothing that overrides or isolates the direction of text.  There are
    at most `MAX_TAGS` tags, which differ and are not empty.  A licence is an SPDX
    license expression (SPDX 2.3, annex D; identifiers are not looked up) or an http(s)
    URL.

    Errors: `InvalidAboutError`.
    """
    _check_text("title", about.title, MAX_TITLE)
    _check_text("description", about.description, MAX_DESCRIPTION, allowed="\n")
    _check_text("author", about.author, MAX_AUTHOR)
    _check_text("licence", about.licence, MAX_LICENCE)
    if len(about.tags) > MAX_TAGS:
        fault = f"{len(about.tags)} tags (limit {MAX_TAGS})"
        raise InvalidAboutError("tags", fault)
    for tag in about.tags:
        _check_text("tags", tag, MAX_TAG)
        if not tag.strip():
            raise InvalidAboutError("tags", "a tag is empty")
    if len(set(about.tags)) < len(about.tags):
        raise InvalidAboutError("tags", "a tag is repeated")
    if about.licence and not (
        _URL.fullmatch(about.licence) or _is_expression(about.licence)
    ):
        fault = "neither an SPDX license expression nor an http(s) URL"
        raise InvalidAboutError("licence", fault)
    if not 0 <= about.expires <= MAX_EXPIRES:
        fault = f"not between 0 and {MAX_EXPIRES} milliseconds"
        raise InvalidAboutError("expires", fault)


def check_new(new: NewImage | None) -> None:
    """
    Refuse an upload whose `About` breaks a rule.

    Errors: `InvalidAboutError`.
    """
    if new is not None and new.about is not None:
        check_about(new.about)


def check_reason(reason: str) -> None:
    """
    Refuse a reason that is empty, too long, or more than one line of text.

    Errors: `ValueError`.
    """
    fault = "is empty" if not reason.strip() else _text_fault(reason, MAX_REASON)
    if fault is not None:
        message = f"invalid reason: {fault}"
        raise ValueError(message)


def fit_line(text: str) -> str:
    """
    Return as much of a text as a title or an author may have, perhaps nothing.

    It is for texts that nobody wrote as such, as the name of a file.
    """
    kept = "".join(
        character
        for character in text[:MAX_TITLE]
        if character not in _BIDI and unicodedata.category(character) not in _REFUSED
    )
    return kept.encode("utf-8")[:MAX_TITLE].decode("utf-8", "ignore").strip()


def _text_fault(text: str, limit: int, allowed: str = "") -> str | None:
    """
    Return what is wrong with a text of at most `limit` bytes of UTF-8, or None.

    Control characters may be among `allowed`.
    """
    for character in text[: limit + 1]:
        if character in _BIDI:
            return f"U+{ord(character):04X} changes the direction of text"
        if unicodedata.category(character) in _REFUSED and character not in allowed:
            return f"U+{ord(character):04X} is not allowed"
    length = len(text.encode("utf-8", "surrogatepass"))
    return f"{length} bytes (limit {limit})" if length > limit else None


def _check_text(name: str, text: str, limit: int, allowed: str = "") -> None:
    fault = _text_fault(text, limit, allowed)
    if fault is not None:
        raise InvalidAboutError(name, fault)


def _is_expression(text: str) -> bool:
    """Return whether `text` is an SPDX license expression."""
    depth, operand, at = 0, True, 0
    text = text.rstrip(" ")
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return False
        part, at = match[1], match.end()
        if operand and part == "(":
            depth += 1
        elif operand:
            if part in _OPERATORS or not _LICENCE_ID.fullmatch(part):
                return False
            operand = False
        elif part == ")" and depth:
            depth -= 1
        elif part in _OPERATORS:
            operand = True
        else:
            return False
    return not operand and not depth
