"""
Response heads: prepared bytes for each status and set of header fields.

Most responses of a service have one of a few heads, Date and Content-Length
apart.  The rest of the head is made once and kept.
"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

from ._problem import reason_phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "HTML",
    "ID_LINE",
    "KNOWN_NAMES",
    "VARYING",
    "Fields",
    "ResponseHeads",
    "field_name",
    "varying_lines",
]

Fields = tuple[tuple[bytes, bytes], ...]
"""Header fields in order: names in lower case, and values."""

ID_LINE = b"X-Request-Id: %b\r\n"
"""Tells the client the name of its request."""

HTML = (b"content-type", b"text/html")
"""What a body is when its handler does not say: the default of Twisted and Klein."""

VARYING = frozenset(
    {
        b"content-disposition",
        b"content-range",
        b"etag",
        b"last-modified",
        b"link",
        b"location",
        b"repr-digest",
    }
)
"""Fields that differ from one resource to the next: not worth remembering."""

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROLS = bytes([*range(9), *range(10, 32), 127])
_BAD_IN_VALUE = re.compile(b"[" + re.escape(_CONTROLS) + b"]+")
_MAX_KEPT = 512

KNOWN_NAMES: dict[bytes | str, bytes] = {}
"""Names that `field_name` was asked for, and returned in lower case."""
_titles: dict[bytes, bytes] = {}


def field_name(name: bytes | str) -> bytes:
    """
    Return the name of a field in lower case.

    :raises ValueError: when it is not a token (RFC 9110 5.1).
    """
    raw = name.encode("latin-1", "replace") if isinstance(name, str) else bytes(name)
    if _TOKEN.fullmatch(raw) is None:
        message = f"not the name of a header field: {name!r}"
        raise ValueError(message)
    if len(KNOWN_NAMES) < _MAX_KEPT:
        KNOWN_NAMES[name] = raw.lower()
    return raw.lower()


class ResponseHeads:
    """
    Makes response heads; one serves all connections of a factory.

    :param clock: monotonic seconds.
    :param wall_clock: seconds since the epoch, for Date.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        # Starts of usual responses, good for the second of their Date.
        self._usual: dict[tuple[int, bool, Fields], bytes] = {}
        self._kept: dict[tuple[int, bytes | None, Fields], bytes] = {}
        self._date = b""
        self._date_until = float("-inf")

    def date_line(self) -> bytes:
        """Return the Date field line (RFC 9110 6.6.1), made once a second."""
        now = self._clock()
        if now >= self._date_until:
            wall = self._wall_clock()
            self._date = b"Date: %b\r\n" % format_date_time(wall).encode("ascii")
            self._date_until = now + 1 - wall % 1
            self._usual.clear()
        return self._date

    def usual_start(self, status: int, fields: Fields, *, typed: bool) -> bytes:
        """
        Return the status line, the field lines and the Date line.

        :param typed: whether a Content-Type is added where there is none.
        """
        date = self.date_line()
        key = (status, typed, fields)
        start = self._usual.get(key)
        if start is None:
            if typed and all(name != b"content-type" for name, _ in fields):
                fields = (HTML, *fields)
            start = self.start(status, None, fields) + date
            if len(self._usual) < _MAX_KEPT:
                self._usual[key] = start
        return start

    def start(self, status: int, phrase: bytes | None, fields: Fields) -> bytes:
        """
        Return the status line and the field lines, without the empty line.

        :param phrase: the reason phrase, ``None`` for the usual one.
        """
        key = (status, phrase, fields)
        kept = self._kept.get(key)
        if kept is None:
            kept = _format(status, phrase, fields)
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = kept
        return kept

    def error(self, status: int, length: int, name: bytes | None) -> bytes:
        """
        Return the whole head of an error that ends the connection.

        :param length: bytes of the problem document that follows.
        :param name: the name of the request, if it has one.
        """
        fields: Fields = ((b"content-type", b"application/problem+json"),)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            fields += ((b"retry-after", b"1"),)
        return b"%b%b%bContent-Length: %d\r\nConnection: close\r\n\r\n" % (
            self.start(status, None, fields),
            self.date_line(),
            b"" if name is None else ID_LINE % name,
            length,
        )


def _format(status: int, phrase: bytes | None, fields: Fields) -> bytes:
    if phrase is None:
        phrase = reason_phrase(status).encode("ascii")
    # One look at everything: that it needs cleaning is rare.
    everything = b"".join([phrase, *[value for _, value in fields]])
    if len(everything.translate(None, _CONTROLS)) != len(everything):
        phrase = _clean(phrase)
        fields = tuple((name, _clean(value)) for name, value in fields)
    return b"HTTP/1.1 %d %b\r\n%b" % (status, phrase, _lines(fields))


def varying_lines(fields: Mapping[bytes, bytes]) -> bytes:
    """Return the lines of fields that are in `VARYING`."""
    lines = _lines(fields.items())
    # Two in each line are ours.
    if len(lines) - len(lines.translate(None, _CONTROLS)) != 2 * len(fields):
        return _lines((name, _clean(value)) for name, value in fields.items())
    return lines


def _lines(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    known = _titles.get
    return b"".join(
        [b"%b: %b\r\n" % (known(name) or _title(name), value) for name, value in fields]
    )


def _title(name: bytes) -> bytes:
    title = b"-".join(word.capitalize() for word in name.split(b"-"))
    if len(_titles) < _MAX_KEPT:
        _titles[name] = title
    return title


def _clean(value: bytes) -> bytes:
    # A handler may put a client's text into a field; it must not end the line.
    return _BAD_IN_VALUE.sub(b" ", value)
