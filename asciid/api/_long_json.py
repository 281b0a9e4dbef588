"""
Decodes a JSON object with one long string, in steps.

To decode a chunk of 1 MiB takes milliseconds, 15 if each character is escaped, and the
decoder holds the GIL meanwhile.
"""

from __future__ import annotations

import re
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["MAX_REST", "LongString", "MalformedPieceError", "take_long_string"]

MAX_REST = 16 * 1024
"""Bytes of the object beside its long string."""

_PIECE = 16 * 1024
"""Bytes of JSON that are decoded in one step."""

_ESCAPE = len(r"\ud83d\ude00")
"""Bytes of the longest escape."""

_BACKSLASH = ord("\\")

# Whole strings, and what is between them.
_find_whole_strings = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL).match
_is_high_surrogate = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}").fullmatch
_decode_string = msgspec.json.Decoder(str).decode


class MalformedPieceError(Exception):
    """A part of a string is malformed: `piece`, in quotes, at the offset `start`."""

    def __init__(self, piece: bytes, start: int, reason: str) -> None:
        super().__init__(reason)
        self.piece = piece
        self.start = start


@frozen
class LongString:
    """What `take_long_string` returns."""

    content: bytes
    """The string, decoded, in UTF-8."""
    mark: str
    """What has the place of the string in `rest`; no client can know it."""
    rest: bytes
    """The object, short, to be decoded."""
    start: int
    """Where the string, and the mark, begin."""
    removed: int
    """By how many bytes `rest` is shorter than the body."""


def take_long_string(body: bytes) -> Generator[None, None, LongString | None]:
    """
    Decode the first string that is not within the first `MAX_REST` bytes of `body`.

    Return None if beside that string there are more than `MAX_REST` bytes.

    Errors: `UnicodeDecodeError`, with the offset in the body; `MalformedPieceError`.
    """
    found = _find_whole_strings(body, 0, MAX_REST)
    start = found.end() if found is not None else MAX_REST
    if start >= MAX_REST:
        return None
    _check_utf8(body[:start], 0)
    pieces: list[bytes] = []
    position = start + 1
    ended = False
    while not ended:
        yield
        piece, ended = _next_piece(body, position)
        pieces.append(_decode(piece, position))
        position += len(piece)
    position += 1
    if start + len(body) - position > MAX_REST:
        return None
    _check_utf8(body[position:], position)
    mark = token_hex(16)
    rest = b'%b"%b"%b' % (body[:start], mark.encode("ascii"), body[position:])
    content = b"".join(pieces)
    return LongString(content, mark, rest, start, len(body) - len(rest))


# A byte 10xxxxxx continues a character (RFC 3629, section 3).
_KIND = 0b11000000
_CONTINUATION = 0b10000000


def _character_start(body: bytes, position: int) -> int:
    # The start of the character at the position; of what is no UTF-8, any place near.
    for start in range(position, position - 4, -1):
        if start >= len(body) or body[start] & _KIND != _CONTINUATION:
            return start
    return position


def _next_piece(body: bytes, start: int) -> tuple[bytes, bool]:
    """Return a part of a string, from `start` on, and whether the string ends there."""
    piece = body[start : start + _PIECE]
    end = _string_end(piece)
    if end >= 0:
        return piece[:end], True
    if start + _PIECE >= len(body):
        _check_utf8(piece, start)
        raise MalformedPieceError(b'"%b' % piece, start - 1, "Input data was truncated")
    backslash = piece.rfind(b"\\", len(piece) - _ESCAPE)
    if backslash < 0:
        return piece[: _character_start(body, start + len(piece)) - start], False
    # No escape is cut, nor is a surrogate pair.
    end = _escape_start(piece, backslash)
    high = end - len(r"\ud83d")
    if _is_high_surrogate(piece, high, end) and _escape_start(piece, high) == high:
        end = high
    return piece[:end], False


def _string_end(piece: bytes) -> int:
    end = piece.find(b'"')
    if end > 0 and piece[end - 1] == _BACKSLASH:
        # Quotes that are left then are not escaped.
        masked = piece.replace(b"\\\\", b"..").replace(b'\\"', b"..")
        end = masked.find(b'"')
    return end


def _escape_start(piece: bytes, backslash: int) -> int:
    """Return where the escape begins that the backslash belongs to."""
    backslashes = backslash - len(piece[:backslash].rstrip(b"\\"))
    return backslash - backslashes % 2


def _decode(piece: bytes, start: int) -> bytes:
    quoted = b'"%b"' % piece
    try:
        return _decode_string(quoted).encode("utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        _check_utf8(piece, start)
        raise MalformedPieceError(quoted, start - 1, str(error)) from error


def _check_utf8(text: bytes, start: int) -> None:
    """
    Check a part of a body that begins at the offset `start`.

    Errors: `UnicodeDecodeError`, with the offset in the body.
    """
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        error.start += start
        raise
