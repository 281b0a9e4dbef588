"""
Decodes a JSON object with one long string, in steps.

Decoding a chunk of 1 MiB takes milliseconds, 15 if each character is escaped, and holds
the GIL.
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
"""Maximum bytes of the object without its long string."""

_PIECE = 16 * 1024
"""Bytes of JSON per step."""

_ESCAPE = len(r"\ud83d\ude00")
"""Length of the longest escape in bytes."""

_BACKSLASH = ord("\\")

# Whole strings, and the text between them.
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
    """The random placeholder of the string in `rest`."""
    rest: bytes
    """The object with the placeholder, to be decoded."""
    start: int
    """The offset of the string, and of the placeholder."""
    removed: int
    """Length of the body minus that of `rest` in bytes."""


def take_long_string(body: bytes) -> Generator[None, None, LongString | None]:
    """
    Decode the first string that ends beyond the first `MAX_REST` bytes of `body`.

    Return None if the rest of the body exceeds `MAX_REST` bytes.

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
    # Start of the character at the position; in invalid UTF-8, any position near.
    for start in range(position, position - 4, -1):
        if start >= len(body) or body[start] & _KIND != _CONTINUATION:
            return start
    return position


def _next_piece(body: bytes, start: int) -> tuple[bytes, bool]:
    """Return a piece of a string from `start` on, and whether it is the last."""
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
    # Neither escapes nor surrogate pairs are split.
    end = _escape_start(piece, backslash)
    high = end - len(r"\ud83d")
    if _is_high_surrogate(piece, high, end) and _escape_start(piece, high) == high:
        end = high
    return piece[:end], False


def _string_end(piece: bytes) -> int:
    end = piece.find(b'"')
    if end > 0 and piece[end - 1] == _BACKSLASH:
        # The remaining quotes are not escaped.
        masked = piece.replace(b"\\\\", b"..").replace(b'\\"', b"..")
        end = masked.find(b'"')
    return end


def _escape_start(piece: bytes, backslash: int) -> int:
    """Return the start of the escape sequence of a backslash."""
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
    Check a part of a body at the offset `start`.

    Errors: `UnicodeDecodeError`, with the offset in the body.
    """
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        error.start += start
        raise
