"""The access log: one line per request."""

from __future__ import annotations

import random
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import asdict, frozen
from twisted.logger import Logger
from twisted.web.http import datetimeToLogString

from asciid.http import request_id
from asciid.logs._append import AppendedFile
from asciid.logs._format import json_line, utc_time
from asciid.logs._line_writer import LineWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asciid.http import Refusal, Request
    from asciid.runtime.reactor import Reactor

__all__ = ["LEFT", "AccessLog", "AccessRecord", "access_writer"]

LEFT = 499
"""The status of a request whose client disconnected before the response."""

THE_LOG = "-"
"""The file name that means the log itself."""

_NOTHING = "-"

_log = Logger("asciid.access")

_LONGEST = 1024
"""Maximum characters of a target or a header field; "..." replaces the rest."""

# Tokens in queries (RFC 6750, section 2.3) are not accepted, and edit keys are not, but
# some clients send them.
_hide_secrets = partial(
    re.compile(
        r"((?:^|[?&;])(?:access_token|(?:asciid[-_])?edit[-_]?key)=)[^&;#]*",
        re.IGNORECASE,
    ).sub,
    r"\1***",
)

# Not allowed between quotes in the Combined Log Format.
_unquotable = {
    code: f"\\x{code:02x}"
    for code in range(256)
    if chr(code) in '"\\' or not " " <= chr(code) <= "~"
}


@frozen
class AccessRecord:
    """The record of one request."""

    request_id: str
    client: str
    """The IP address, as reported by trusted proxies."""
    method: str
    """``-`` if the request was incomplete, as for the next two."""
    target: str
    protocol: str
    route: str | None
    """The endpoint, None if no route matches."""
    status: int
    bytes: int
    """Bytes of the response body."""
    seconds: float
    """From the end of the request header to the end of the response."""
    referer: str | None = None
    user_agent: str | None = None

    def combined(self, now: float) -> str:
        """
        Return it in the Combined Log Format of Apache, without a newline.

        `now` is in seconds since the epoch; the time in the line is UTC.
        """
        line = f"{self.method} {self.target} {self.protocol}"
        return (
            f"{self.client} - - {datetimeToLogString(now)} "
            f'"{_quotable(line if self.method != _NOTHING else _NOTHING)}" '
            f"{self.status} {self.bytes or _NOTHING} "
            f'"{_quotable(self.referer or _NOTHING)}" '
            f'"{_quotable(self.user_agent or _NOTHING)}"'
        )

    def members(self) -> dict[str, Any]:
        """Return its members for JSON."""
        return asdict(self, recurse=False)


def access_writer(
    path: Path,
    style: str,
    reactor: Reactor,
    clock: Callable[[], float] = time.time,
) -> Callable[[AccessRecord], object]:
    """
    Return a function that writes records to the file `path`, or ``-`` for the log.

    While `reactor` runs, the file is written in a thread.

    `style` is ``text``, for the Combined Log Format, or ``json``.  `clock` returns
    seconds since the epoch.
    """

    def log_text(access: AccessRecord) -> None:
        _log.info("{line}", line=access.combined(clock()))

    def log_json(access: AccessRecord) -> None:
        _log.info("{method} {target} {status}", **access.members())

    if str(path) == THE_LOG:
        return log_json if style == "json" else log_text
    file = LineWriter(str(path), "access", AppendedFile(path).write)
    file.attach(reactor)

    def write_text(access: AccessRecord) -> None:
        file.write(access.combined(clock()) + "\n")

    def write_json(access: AccessRecord) -> None:
        file.write(json_line({"time": utc_time(clock()), **access.members()}))

    return write_json if style == "json" else write_text


class AccessLog:
    """
    Writes the requests to the access log: an `asciid.http.Observer`.

    `write` writes a record; `client_of` returns the client of a request.  `sample` is
    the fraction of requests to log, chosen by `draw`, which returns numbers from 0 to
    1.
    """

    def __init__(
        self,
        write: Callable[[AccessRecord], object],
        client_of: Callable[[Any], str],
        sample: float = 1.0,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._write = write
        self._client_of = client_of
        self._sample = sample
        self._draw = draw

    def answered(self, request: Request, seconds: float) -> None:
        """See `asciid.http.Observer.answered`."""
        if self._is_taken():
            self._take(request, request.code, request.size, seconds)

    def refused(self, refusal: Refusal) -> None:
        """See `asciid.http.Observer.refused`."""
        if not self._is_taken():
            return
        if refusal.request is not None:
            self._take(refusal.request, refusal.status, refusal.size, 0.0)
            return
        self._write(
            AccessRecord(
                request_id=request_id(refusal),
                client=str(getattr(refusal.peer, "host", "local")),
                method=_NOTHING,
                target=_NOTHING,
                protocol=_NOTHING,
                route=None,
                status=refusal.status,
                bytes=refusal.size,
                seconds=0.0,
            )
        )

    def abandoned(self, request: Request) -> None:
        """See `asciid.http.Observer.abandoned`."""
        if self._is_taken():
            status = request.code if request.started else LEFT
            self._take(request, status, request.size, 0.0)

    def _is_taken(self) -> bool:
        return self._sample >= 1 or self._draw() < self._sample

    def _take(self, request: Request, status: int, size: int, seconds: float) -> None:
        self._write(
            AccessRecord(
                request_id=request_id(request),
                client=self._client_of(request),
                method=request.method.decode("latin-1"),
                target=_shown(request.uri),
                protocol=request.clientproto.decode("latin-1"),
                route=request.route.endpoint,
                status=status,
                bytes=size,
                seconds=round(seconds, 6),
                referer=_field(request, b"referer"),
                user_agent=_field(request, b"user-agent"),
            )
        )


def _field(request: Request, name: bytes) -> str | None:
    value = request.getHeader(name)
    return None if value is None else _shown(value)


def _shown(value: bytes) -> str:
    text = _hide_secrets(value[:_LONGEST].decode("latin-1"))
    return text if len(value) <= _LONGEST else f"{text}..."


def _quotable(text: str) -> str:
    return text.translate(_unquotable)
