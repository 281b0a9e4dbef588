"""Sends parts of a large image piece by piece, as fast as the client takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from asciid.errors import AsciidError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.api._ranges import Part
    from asciid.api._request import Request
    from asciid.store import IImageReader

__all__ = ["PIECE", "send_parts"]

PIECE = 64 * 1024
"""Bytes read and written at a time."""

_log = Logger()


async def send_parts(
    request: Request,
    reader: IImageReader,
    parts: Sequence[Part],
    begin: Callable[[], None],
    end: bytes = b"",
) -> None:
    """
    Write parts of an image to `request`, then `end`; stop by cancelling.

    There must be a part, and none may be empty.  The next piece is read when
    the transport has room for it, so a slow client costs a piece or two of
    memory.  `begin` is called once the first piece is there, to set the header
    fields.  If a later piece cannot be read, the connection is closed: the
    client sees that it has fewer bytes than announced.

    Errors: those of `IImageReader.read` before `begin` was called.
    """
    pieces = _pieces(parts)
    lead, start, stop = next(pieces)
    piece = await reader.read(start, stop)
    begin()
    gate = _Gate()
    request.registerProducer(gate, True)  # noqa: FBT003 - Twisted's signature
    try:
        request.write(lead + piece)
        for lead, start, stop in pieces:
            await gate.opened()
            request.write(lead + await reader.read(start, stop))
        request.write(end)
    except ImageNotFoundError as error:
        # It was deleted meanwhile, or its time was over: nothing is wrong.
        _log.info("A download was cut off: {error}", error=str(error))
        request.loseConnection()
    except AsciidError:
        _log.failure("An image could not be sent to its end")
        request.loseConnection()
    request.unregisterProducer()


def _pieces(parts: Sequence[Part]) -> Iterator[tuple[bytes, int, int]]:
    for part in parts:
        lead = part.lead
        for start in range(part.start, part.end, PIECE):
            yield lead, start, min(start + PIECE, part.end)
            lead = b""


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
