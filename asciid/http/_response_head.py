"""
Encodes the parts of response heads.

Each line but the first begins with the CR LF that ends the one before.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache
from http import HTTPStatus
from itertools import chain
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

from asciid.http._problem import reason_phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = [
    "CONTENT_LENGTH",
    "CONTENT_TYPE",
    "DATE",
    "DEFAULT_TYPE",
    "FRAMING_FIELDS",
    "ID_LINE_START",
    "LINE_STARTS",
    "NO_BODY",
    "ResponseHeads",
    "field_lines",
    "length_line",
    "line_start",
    "status_line",
]

NO_BODY = frozenset({204, 304})
"""Statuses without a body (RFC 9110 15.3.5 and 15.4.5)."""

ID_LINE_START = b"\r\nX-Request-Id: "

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = bytes([*range(9), *range(10, 32), 127])
_BAD_IN_VALUE = re.compile(b"[" + re.escape(_CONTROLS) + b"]+")
_MAX_CACHED = 512

LINE_STARTS: dict[bytes | str, bytes] = {}
"""Results of `line_start`."""


def line_start(name: bytes | str) -> bytes:
    r"""
    Return the start of a field's line, such as ``b"\r\nContent-Type: "``.

    :raises ValueError: when the name is not a token (RFC 9110 5.1).
    """
    raw = name.encode("latin-1", "replace") if isinstance(name, str) else bytes(name)
    if _TOKEN.fullmatch(raw) is None:
        message = f"not the name of a header field: {name!r}"
        raise ValueError(message)
    start = b"\r\n%b: " % b"-".join(word.capitalize() for word in raw.split(b"-"))
    if len(LINE_STARTS) < _MAX_CACHED:
        LINE_STARTS[name] = start
    return start


CONTENT_LENGTH = line_start(b"content-length")
CONTENT_TYPE = line_start(b"content-type")
DATE = line_start(b"date")
DEFAULT_TYPE = CONTENT_TYPE + b"text/html"
"""The type of a body whose handler sets none: the default of Twisted and Klein."""

FRAMING_FIELDS = frozenset(
    {line_start(b"connection"), DATE, line_start(b"transfer-encoding")}
)
"""Fields that the server sends itself, as it does Content-Length."""


@lru_cache(_MAX_CACHED)
def status_line(status: int, phrase: bytes | None = None) -> bytes:
    """
    Return the status line.

    :param phrase: the reason phrase, ``None`` for that of the status.
    """
    text = reason_phrase(status).encode("ascii") if phrase is None else phrase
    return b"HTTP/1.1 %d %b" % (status, _clean(text))


@lru_cache(_MAX_CACHED)
def length_line(length: int) -> bytes:
    """Return the line of Content-Length."""
    return b"\r\nContent-Length: %d" % length


def field_lines(fields: Collection[tuple[bytes, bytes]]) -> bytes:
    """
    Return the lines of fields; control characters in values become spaces.

    :param fields: starts of lines, and values.
    """
    lines = b"".join(chain.from_iterable(fields))
    # Two control characters in each line are its start.
    if len(lines) - len(lines.translate(None, _CONTROLS)) == 2 * len(fields):
        return lines
    return field_lines([(start, _clean(value)) for start, value in fields])


class ResponseHeads:
    """
    Encodes what responses have in common; one serves all connections of a server.

    :param clock: monotonic seconds.
    :param wall_clock: seconds since the epoch, for Date.
    :ivar clock: the first of these.
    :ivar date: the line of Date (RFC 9110 6.6.1); renewed once a second.
    :ivar date_until: the time of the clock from which :meth:`renew_date` must be called
        before it is used.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self._wall_clock = wall_clock
        self.date = b""
        self.date_until = float("-inf")

    def renew_date(self) -> None:
        """Encode Date, for the rest of the second."""
        now = self.clock()
        wall = self._wall_clock()
        self.date = b"\r\nDate: %b" % format_date_time(wall).encode("ascii")
        self.date_until = now + 1 - wall % 1

    def error(self, status: int, length: int, request_id: bytes | None) -> bytes:
        """
        Return the whole head of an error that ends the connection.

        :param length: size of the problem document that follows, in bytes.
        :param request_id: the id of the request, if it has one.
        """
        unavailable = status == HTTPStatus.SERVICE_UNAVAILABLE
        if self.clock() >= self.date_until:
            self.renew_date()
        return b"".join(
            [
                status_line(status),
                b"\r\nContent-Type: application/problem+json",
                b"\r\nX-Content-Type-Options: nosniff",
                b"\r\nRetry-After: 1" if unavailable else b"",
                self.date,
                b"" if request_id is None else ID_LINE_START + request_id,
                b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % length,
            ]
        )


def _clean(value: bytes) -> bytes:
    # A handler may put a client's text into a field; it must not end the line.
    return _BAD_IN_VALUE.sub(b" ", value)
