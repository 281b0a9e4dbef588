"""What the routes ask of a request, on whichever HTTP stack they run."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twisted.internet.interfaces import IPushProducer
    from twisted.web.http_headers import Headers

__all__ = ["Request"]


class Request(Protocol):
    """The part of `twisted.web.server.Request` that the routes use."""

    method: bytes
    content: IO[bytes]

    @property
    def requestHeaders(self) -> Headers:
        """All header fields of the request, every line of each."""

    def getHeader(self, key: bytes) -> bytes | None:
        """Return the value of the last line of a request header field, or None."""

    def getClientIP(self) -> str | None:
        """Return the peer's IP address, or None if it has none."""

    def setResponseCode(self, code: int) -> None:
        """Set the response's status."""

    def setHeader(self, name: bytes, value: bytes) -> None:
        """Set a response header field."""

    def write(self, data: bytes) -> None:
        """Send a part of the response's body."""

    def registerProducer(
        self,
        producer: IPushProducer,
        streaming: bool,  # noqa: FBT001 - Twisted's signature
    ) -> None:
        """Let `producer` know when the transport has room."""

    def unregisterProducer(self) -> None:
        """Let the producer be."""

    def loseConnection(self) -> None:
        """Close the connection."""
