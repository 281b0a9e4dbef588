"""
Reads SAUCE records, the metadata at the end of files with ANSI art.

The source is "SAUCE - Standard Architecture for Universal Comment Extensions" by
Olivier Reubens, version 00, revision 5.  Nothing in a record is trusted.
"""

from __future__ import annotations

import datetime as dt
import re
import struct

from attrs import frozen

__all__ = ["MAX_COLUMNS", "SAUCE_SIZE", "Sauce", "split_sauce"]

SAUCE_SIZE = 128
"""Bytes of a record, without its comments."""

MAX_COLUMNS = 999
"""Maximum width in a record that is believed."""

# ID, version, title, author, group, date, size of the file, data type, file type,
# TInfo1 to TInfo4, lines of comments, TFlags, TInfoS.
_RECORD = struct.Struct("<5s2s35s20s20s8sLBBHHHHBB22s")
_ID = b"SAUCE"
_VERSION = b"00"
_COMMENTS_ID = b"COMNT"
_COMMENT_SIZE = 64
_END_OF_TEXT = b"\x1a"

_NONE = 0
_CHARACTER = 1
_WITH_WIDTH = frozenset({0, 1, 2, 4, 5, 8})  # file types of _CHARACTER
_WITH_FLAGS = frozenset({0, 1, 2})
_ICE_COLOURS = 0b1
_LETTER_SPACING = {0b01: 8, 0b10: 9}
_ASPECT = {0b01: True, 0b10: False}
_DATE = re.compile(rb"(\d{4})(\d\d)(\d\d)")


@frozen
class Sauce:
    """A record; texts have no control characters, and are empty if not given."""

    title: str
    author: str
    group: str
    date: dt.date | None
    is_text: bool
    """Whether the file is text, of whatever kind, and not pixels or sound."""
    columns: int | None
    """The width in characters, from 1 to `MAX_COLUMNS`."""
    ice_colours: bool
    """Whether the attribute blink means a bright background."""
    letter_spacing: int | None
    """The width of the font in pixels, 8 or 9."""
    stretched: bool | None
    """Whether it was made for a display whose pixels are taller than wide."""
    font: str
    """The name of the font, such as ``IBM VGA 850``."""
    comments: tuple[str, ...]
    """Up to 255 lines of up to 64 characters."""


def split_sauce(data: bytes | bytearray) -> tuple[int, Sauce | None]:
    """
    Return the length of the content before the record, and the record.

    The ^Z, the comments and the record are not content.  Without a record of version
    00 the content is all of `data`.
    """
    start = len(data) - SAUCE_SIZE
    if start < 0 or not data.startswith(_ID + _VERSION, start):
        return len(data), None
    (_, _, title, author, group, date, _, data_type, file_type, *numbers, font) = (
        _RECORD.unpack_from(data, start)
    )
    width, _, _, _, lines, flags = numbers
    content, comments = _comments(data, start, lines)
    is_character = data_type == _CHARACTER
    if not (is_character and file_type in _WITH_WIDTH and width <= MAX_COLUMNS):
        width = 0
    if not (is_character and file_type in _WITH_FLAGS):
        flags = 0
    sauce = Sauce(
        title=_text(title),
        author=_text(author),
        group=_text(group),
        date=_day(date),
        is_text=data_type in {_NONE, _CHARACTER},
        columns=width or None,
        ice_colours=bool(flags & _ICE_COLOURS),
        letter_spacing=_LETTER_SPACING.get(flags >> 1 & 0b11),
        stretched=_ASPECT.get(flags >> 3 & 0b11),
        font=_text(font),
        comments=comments,
    )
    if data.endswith(_END_OF_TEXT, 0, content):
        content -= 1
    return content, sauce


def _comments(
    data: bytes | bytearray, end: int, lines: int
) -> tuple[int, tuple[str, ...]]:
    """Return where the comments that end at `end` start, and their lines."""
    start = end - len(_COMMENTS_ID) - lines * _COMMENT_SIZE
    if not lines or start < 0 or not data.startswith(_COMMENTS_ID, start):
        return end, ()
    first = start + len(_COMMENTS_ID)
    return start, tuple(
        _text(bytes(data[offset : offset + _COMMENT_SIZE]))
        for offset in range(first, end, _COMMENT_SIZE)
    )


def _text(field: bytes) -> str:
    """Return the text of a field, which ends with spaces or at a NUL."""
    text = field.partition(b"\0")[0].decode("cp437")
    return "".join(each if each.isprintable() else " " for each in text).strip()


def _day(field: bytes) -> dt.date | None:
    match = _DATE.fullmatch(field)
    if match is None:
        return None
    try:
        return dt.date(*map(int, match.groups()))
    except ValueError:
        return None
