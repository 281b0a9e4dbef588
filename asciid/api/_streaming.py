"""Sends a large image piece by piece, as fast as the client takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from asciid.errors import AsciidError

if TYPE_CHECKING:
    from asciid.api._request import Request
    from asciid.store import IImageReader

__all__ = ["PIECE", "send_range"]

PIECE = 64 * 1024
"""Bytes read and written at a time."""

_log = Logger()


async def send_range(
    request: Request, reader: IImageReader, start: int, end: int
) -> None:
    """
    Write the bytes ``[start, end)`` of an image to `request`; end by cancelling.

    The next piece is read when the transport has room for it, so a slow client
    costs a piece or two of memory.  If a piece cannot be read, the connection
    is closed: the client sees that it has fewer bytes than announced.

    Errors: those of `IImageReader.read` before anything was written.
    """
    following = min(start + PIECE, end)
    piece = await reader.read(start, following)
    gate = _Gate()
    request.registerProducer(gate, True)  # noqa: FBT003 - Twisted's signature
    try:
        request.write(piece)
        while following < end:
            await gate.opened()
            position, following = following, min(following + PIECE, end)
            request.write(await reader.read(position, following))
    except AsciidError:
        _log.failure("An image could not be sent to its end")
        request.loseConnection()
    request.unregisterProducer()


@implementer(IPushProducer)
class _Gate:
    """Tells when the transport has room."""

    def __init__(self) -> None:
        self._opening: Deferred[None] | None = None

    async def opened(self) -> None:
        """Wait until the transport has room."""
        if self._opening is not None:
            await self._opening

    def pauseProducing(self) -> None:
        """See `IPushProducer.pauseProducing`."""
        if self._opening is None:
            self._opening = Deferred()

    def resumeProducing(self) -> None:
        """See `IPushProducer.resumeProducing`."""
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.callback(None)

    def stopProducing(self) -> None:
        """
        See `IProducer.stopProducing`.

        The client has gone; Klein cancels the handler for that.
        """
