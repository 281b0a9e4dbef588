"""The errors of the client library."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AmbiguousError",
    "ChangedError",
    "ClientError",
    "DamagedError",
    "DownloadBusyError",
    "LostError",
    "NoTLSError",
    "NotFoundError",
    "NotTextError",
    "ProblemError",
    "RedirectedError",
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
    """The base class of the library's errors."""

    passing = False
    """Whether a retry may succeed."""
    retry_after: float | None = None
    """Seconds to wait before a retry, as requested by the server, if at all."""


class LostError(ClientError):
    """
    No complete response: no connection, or it was lost.

    Whether the request was carried out is unknown.
    """

    passing = True


class UntrustedError(ClientError):
    """The server's certificate is not trusted (https)."""


class NoTLSError(ClientError):
    """The optional packages for https are not installed."""

    def __init__(self) -> None:
        super().__init__("https requires more packages: pip install 'asciid[client]'")


class ProblemError(ClientError):
    """
    The server responded with a status other than 2xx.

    `status` is the status, `document` the problem document (RFC 9457), empty if there
    was none.
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
        """The detail of the problem, a sentence."""
        for member in ("detail", "title"):
            text = self.document.get(member)
            if isinstance(text, str) and text:
                return text
        return f"The server responded with status {self.status}."

    @property
    def passing(self) -> bool:  # type: ignore[override] # it depends on the status
        """Whether a retry may succeed."""
        return self.status in _TRY_AGAIN


class NotFoundError(ProblemError):
    """The image does not exist or is incomplete: status 404 or 410."""


class AmbiguousError(ClientError):
    """
    The hashes of several images begin with the given digits.

    `choices` are those that the server names: the listed ones.
    """

    def __init__(self, digits: str, choices: tuple[str, ...]) -> None:
        named = f": {', '.join(choices)}" if choices else ""
        super().__init__(f"several images begin with {digits}, use more digits{named}")
        self.choices = choices


class RefusedError(ProblemError):
    """The server refused the request: any other status below 500."""


class RedirectedError(RefusedError):
    """The server redirected the request to `location`, empty if it sent none: 3xx."""

    def __init__(self, status: int, location: str, body: bytes) -> None:
        super().__init__(status, {})
        self.location = location
        self.body = body


class ServerFailedError(ProblemError):
    """The server failed: a status from 500."""


class DamagedError(ClientError):
    """The received bytes do not have the requested hash."""


class DownloadBusyError(ClientError):
    """Another download to the same file is running."""


class ChangedError(ClientError):
    """The image changed during its upload."""

    def __init__(self) -> None:
        super().__init__("the image changed during the upload")


class NotTextError(ClientError):
    """The image is not UTF-8; `offset` is that of the first invalid byte, from 0."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"not UTF-8 text: invalid byte at offset {offset}")
        self.offset = offset


class SplitCharacterError(ClientError):
    """The requested chunk size splits a character."""


def problem_error(
    status: int, document: Mapping[str, Any], delay: float | None = None
) -> ProblemError:
    """Return the exception for an unsuccessful response."""
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
        return NotFoundError(status, document, delay)
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return RefusedError(status, document, delay)
    return ServerFailedError(status, document, delay)


def retry_after(value: str, date: str) -> float | None:
    """
    Parse a Retry-After field (RFC 9110, section 10.2.3) to seconds.

    `value` is the field, in seconds or as an HTTP date; `date` is the response's Date
    field, so that the local clock does not matter.  None if `value` is invalid.
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
