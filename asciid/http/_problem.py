"""Error responses of the HTTP server itself: problem documents (RFC 9457)."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from werkzeug.exceptions import ServiceUnavailable, default_exceptions

if TYPE_CHECKING:
    from werkzeug.exceptions import HTTPException

__all__ = [
    "BodiesLimitError",
    "ConnectionsLimitError",
    "RefusedError",
    "TooManyConnections",
    "default_problem",
    "reason_phrase",
]


class RefusedError(Exception):
    """
    The server responds to this request itself, and then closes the connection.

    :ivar status: the status code of the response.
    :ivar detail: a sentence for the client's developer.
    :ivar problem: the name of the problem type, ``None`` for ``about:blank``.
    """

    problem: str | None = None

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def as_exception(self) -> HTTPException:
        """Return the exception for a handler that reads the body itself."""
        return default_exceptions[self.status](self.detail)


class BodiesLimitError(RefusedError):
    """The limit on the bytes of request bodies is reached: 503 (RFC 9110 15.6.4)."""

    problem = "too-many-bodies"

    def __init__(self) -> None:
        detail = "Too many request bodies are being received; try again soon."
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, detail)


class TooManyConnections(ServiceUnavailable):
    """A :class:`ConnectionsLimitError` for a handler."""


class ConnectionsLimitError(RefusedError):
    """The limit on connections is reached: 503 (RFC 9110 15.6.4)."""

    problem = "too-many-connections"

    def __init__(self) -> None:
        detail = "Too many connections are open; try again soon."
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, detail)

    def as_exception(self) -> HTTPException:
        """See :meth:`RefusedError.as_exception`."""
        return TooManyConnections(self.detail)


def reason_phrase(status: int) -> str:
    """Return the standard phrase of a status code, empty for an unknown one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def default_problem(
    status: int,
    detail: str,
    _name: str | None = None,
) -> bytes:
    """
    Return a problem document without a type of its own.

    :param status: the status code of the response.
    :param detail: a sentence on this occurrence.
    """
    title = reason_phrase(status)
    document = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": f"{status} {title}",
        "message": detail,
    }
    return json.dumps(document).encode("ascii")
