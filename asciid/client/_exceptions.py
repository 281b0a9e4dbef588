"""What can go wrong between a client and a server, each as a type of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ChangedError",
    "ClientError",
    "DamagedError",
    "DownloadBusyError",
    "LostError",
    "NoTLSError",
    "NotFoundError",
    "NotTextError",
    "ProblemError",
    "RefusedError",
    "ServerFailedError",
    "SplitCharacterError",
    "UntrustedError",
    "problem_error",
    "retry_after",
]

_TRY_AGAIN = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class ClientError(Exception):
    """Anything that the library raises on purpose."""

    passing = False
    """Whether the same request may well succeed a little later."""
    retry_after: float | None = None
    """Seconds that the server asks to wait before the next try, if it does."""


class LostError(ClientError):
    """
    There was no whole answer: no server, no connection, or none that lasted.

    The request may have been carried out, or not.
    """

    passing = True


class UntrustedError(ClientError):
    """The server's certificate is not one to trust (https)."""


class NoTLSError(ClientError):
    """The optional packages for https are not installed."""

    def __init__(self) -> None:
        super().__init__("https needs more packages: pip install 'asciid[client]'")


class ProblemError(ClientError):
    """
    The server answered with another status than 200 to 299.

    `status` is that status, and `document` the problem document (RFC 9457) in
    the answer, empty if there was none.
    """

    def __init__(
        self,
        status: int,
        document: Mapping[str, Any],
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.document = document
        self.retry_after = retry_after
        super().__init__(self.detail)

    @property
    def name(self) -> str:
        """The last segment of the problem's type, such as ``image-not-found``."""
        return str(self.document.get("type", "")).rpartition("/")[2]

    @property
    def detail(self) -> str:
        """What the server says, in a sentence."""
        for member in ("detail", "title"):
            text = self.document.get(member)
            if isinstance(text, str) and text:
                return text
        return f"The server answered with status {self.status}."

    @property
    def passing(self) -> bool:  # type: ignore[override] # it depends on the status
        """Whether the same request may well succeed a little later."""
        return self.status in _TRY_AGAIN


class NotFoundError(ProblemError):
    """There is no such image, or not all of it: status 404 or 410."""


class RefusedError(ProblemError):
    """The server does not want the request: any other status below 500."""


class ServerFailedError(ProblemError):
    """The server could not do it: a status from 500."""


class DamagedError(ClientError):
    """The bytes that were received do not have the hash that was asked for."""


class DownloadBusyError(ClientError):
    """Another download is writing the same file."""


class ChangedError(ClientError):
    """What is being uploaded is no longer what it was at the beginning."""

    def __init__(self) -> None:
        super().__init__("the image has changed while it was being uploaded")


class NotTextError(ClientError):
    """What is to be uploaded is not UTF-8."""


class SplitCharacterError(ClientError):
    """The chunk size that was asked for would cut a character in two."""


def problem_error(
    status: int, document: Mapping[str, Any], delay: float | None = None
) -> ProblemError:
    """Return the exception for an answer that was not successful."""
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return NotFoundError(status, document, delay)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return RefusedError(status, document, delay)
    return ServerFailedError(status, document, delay)


def retry_after(value: str, date: str) -> float | None:
    """
    Return the seconds to wait by a Retry-After field (RFC 9110, section 10.2.3).

    `value` is the field, in seconds or an HTTP date; `date` is the answer's Date
    field, which makes a date mean the same whatever the clock here says.  What
    is neither is None.
    """
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        now = datetime.now(UTC)
    if until.tzinfo is None or now.tzinfo is None:
        return None
    return max(0.0, (until - now).total_seconds())
