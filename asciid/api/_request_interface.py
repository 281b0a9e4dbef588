"""The interface of requests that the routes use, on any HTTP stack."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IAddress, IPushProducer
    from twisted.web.http_headers import Headers

    from asciid.http import Route

__all__ = ["Request", "RoutedRequest"]


class Request(Protocol):
    """The part of `twisted.web.server.Request` that the routes use."""

    method: bytes
    path: bytes
    content: IO[bytes]

    @property
    def args(self) -> Mapping[bytes, list[bytes]]:
        """The parameters of the query."""

    @property
    def requestHeaders(self) -> Headers:
        """The header fields of the request."""

    def getHeader(self, key: bytes) -> bytes | None:
        """Return the last value of a request header field, or None."""

    def getHost(self) -> IAddress:
        """Return the local address."""

    def isSecure(self) -> bool:
        """Return whether the connection is encrypted."""

    def getClientIP(self) -> str | None:
        """Return the peer's IP address, or None for a Unix socket."""

    def setResponseCode(self, code: int) -> None:
        """Set the response's status."""

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Set a response header field."""

    def write(self, data: bytes) -> None:
        """Send a part of the response body."""

    def registerProducer(
        self,
        producer: IPushProducer,
        streaming: bool,  # noqa: FBT001 - Twisted's signature
    ) -> None:
        """Register a producer for flow control."""

    def unregisterProducer(self) -> None:
        """Unregister the producer."""

    def loseConnection(self) -> None:
        """Close the connection."""


class RoutedRequest(Request, Protocol):
    """A request on asciid's server, which knows its route before the body is read."""

    route: Route
