"""Sends parts of a large image piece by piece, as fast as the client takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from asciid.api._ranges import Part
from asciid.errors import AsciidError, ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.api._request_interface import Request
    from asciid.store import IImageReader

__all__ = ["PIECE", "send_parts"]

PIECE = 64 * 1024
"""Bytes of an image that are read and written at a time."""

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

    There must be a part, and none may be empty.  The next pieces are read when
    the transport has room for them, `PIECE` bytes at a time, so a slow client costs
    twice that in memory.  `begin` is called once the first of them are there, to set
    the header fields.  If a later piece cannot be read, the connection is closed: the
    client sees that it has fewer bytes than announced.

    Errors: those of `IImageReader.read` before `begin` was called.
    """
    batches = _batches(parts)
    data = await _read(reader, next(batches))
    begin()
    gate = _Gate()
    request.registerProducer(gate, streaming=True)
    try:
        request.write(data)
        for batch in batches:
            await gate.opened()
            request.write(await _read(reader, batch))
        request.write(end)
    except ImageNotFoundError as error:
        # It was deleted meanwhile, or its time was over: nothing is wrong.
        _log.info("A download was cut off: {error}", error=str(error))
        request.loseConnection()
    except AsciidError:
        _log.failure("An image could not be sent to its end")
        request.loseConnection()
    request.unregisterProducer()


async def _read(reader: IImageReader, batch: list[Part]) -> bytes:
    if len(batch) == 1:
        [part] = batch
        return part.lead + await reader.read(part.start, part.end)
    pieces = await reader.read_ranges([(part.start, part.end) for part in batch])
    return b"".join(
        [
            data
            for part, piece in zip(batch, pieces, strict=True)
            for data in (part.lead, piece)
        ]
    )


def _batches(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield what is read at a time: as many pieces as have `PIECE` bytes together."""
    batch: list[Part] = []
    size = 0
    for piece in _pieces(parts):
        length = piece.end - piece.start
        if batch and size + length > PIECE:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += length
    yield batch


def _pieces(parts: Sequence[Part]) -> Iterator[Part]:
    for part in parts:
        lead = part.lead
        for start in range(part.start, part.end, PIECE):
            yield Part(start, min(start + PIECE, part.end), lead)
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
