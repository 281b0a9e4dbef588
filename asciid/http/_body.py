"""
Decoders of request bodies (RFC 9112 6 and 7).

They accept bytes in any pieces and never keep more than one unfinished line.  They,
and not llhttp, find the end of a body: its Python wrapper does not report at which byte
a message ended, so what follows could not be counted against the limits of the next
request.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Protocol

from asciid.http._problem import RefusedError

if TYPE_CHECKING:
    from asciid.http._limits import Limits

__all__ = ["ChunkedBody", "IBody", "SizedBody"]

# Possessive, so without backtracking.
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]++|\\[\t -~\x80-\xff])*+"'
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]++)"
    rb"(?:[ \t]*+;[ \t]*+"
    + _TOKEN
    + rb"(?:[ \t]*+=[ \t]*+(?:"
    + _TOKEN
    + rb"|"
    + _QUOTED
    + rb"))?+)*+"
)
_TRAILER_LINE = re.compile(_TOKEN + rb":[\t -~\x80-\xff]*")
_MAX_SIZE_DIGITS = 15  # below 2**60
_PLAIN_SIZE = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,7})\r\n")
_STEPS = 100
"""Chunks, or parts of their framing, that are decoded in one call."""

# What the next line of a chunked body is.
_SIZE, _DATA_END, _TRAILER = range(3)

# What the start of an incomplete line must match, by state.
_STARTS = (
    re.compile(rb"[0-9A-Fa-f]"),
    re.compile(rb"\r\Z"),
    re.compile(rb"[^\x00-\x08\x0a-\x0c\x0e-\x1f ]"),
)


class IBody(Protocol):
    """Decodes one body."""

    done: bool

    def feed(self, data: bytes, start: int, out: list[bytes]) -> int:
        """
        Decode from ``start`` on, and append the content to ``out``.

        :return: where decoding stopped: at the end of the data or of the body, or
            before, to bound the time of a call.
        :raises RefusedError: when the framing is malformed or a limit is exceeded.
        """


class SizedBody:
    """A body of known length."""

    __slots__ = ("done", "remaining")

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.done = length == 0

    def feed(self, data: bytes, start: int, out: list[bytes]) -> int:
        """See :meth:`IBody.feed`."""
        end = min(len(data), start + self.remaining)
        if end > start:
            out.append(data[start:end])
            self.remaining -= end - start
            self.done = not self.remaining
        return end


class ChunkedBody:
    """
    A chunked body; extensions and trailer fields are checked and discarded.

    :param limit: maximum size of the content, in bytes.
    """

    __slots__ = ("_left", "_limit", "_line", "_overhead", "_state", "done")

    def __init__(self, limit: int, limits: Limits) -> None:
        self.done = False
        self._limit = limit
        self._overhead = limits.chunk_overhead
        self._line = b""
        self._left = 0
        self._state = _SIZE

    def feed(self, data: bytes, start: int, out: list[bytes]) -> int:
        """See :meth:`IBody.feed`."""
        steps = _STEPS
        while start < len(data) and steps and not self.done:
            steps -= 1
            if self._state is _SIZE and not self._line:
                chunk = _PLAIN_SIZE.match(data, start)
                if chunk is not None:
                    first = chunk.end()
                    last = first + int(chunk[1], 16)
                    if data.startswith(b"\r\n", last):
                        # Nearly every chunk: it is complete.
                        self._take(last - first)
                        out.append(data[first:last])
                        start = last + 2
                        continue
            if self._left:
                end = min(len(data), start + self._left)
                out.append(data[start:end])
                self._left -= end - start
            else:
                found = data.find(b"\n", start)
                end = len(data) if found < 0 else found + 1
                self._line += data[start:end]
                self._check_line(whole=found >= 0)
            start = end
        return start

    def _check_line(self, *, whole: bool) -> None:
        line = self._line
        if len(line) > self._overhead + _MAX_SIZE_DIGITS:
            raise RefusedError(413, "The chunk extensions or trailers are too long.")
        if not whole:
            if not _STARTS[self._state].match(line):
                raise RefusedError(400, "The framing of a chunk is malformed.")
            return
        self._line = b""
        if line[-2:] != b"\r\n":
            raise RefusedError(400, "A line of the body does not end in CRLF.")
        line = line[:-2]
        if self._state is _SIZE:
            self._size_line(line)
        elif self._state is _DATA_END:
            if line:
                raise RefusedError(400, "A chunk is longer than its size.")
            self._state = _SIZE
        elif not line:
            self.done = True
        elif _TRAILER_LINE.fullmatch(line) is None:
            raise RefusedError(400, "A trailer field is malformed.")
        else:
            self._spend(len(line) + 2)

    def _size_line(self, line: bytes) -> None:
        found = _CHUNK_LINE.fullmatch(line)
        if found is None:
            raise RefusedError(400, "A chunk size is malformed.")
        digits = found[1].lstrip(b"0")
        self._spend(len(line) - (len(digits) or 1))
        size = (
            int(digits or b"0", 16) if len(digits) <= _MAX_SIZE_DIGITS else sys.maxsize
        )
        self._take(size)
        self._left = size
        self._state = _DATA_END if size else _TRAILER

    def _take(self, size: int) -> None:
        self._limit -= size
        if self._limit < 0:
            raise RefusedError(413, "The body is too large.")

    def _spend(self, size: int) -> None:
        self._overhead -= size
        if self._overhead < 0:
            raise RefusedError(413, "The chunk extensions or trailers are too long.")
