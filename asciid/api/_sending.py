"""Streams parts of a large image, with flow control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from asciid.api._ranges import Part
from asciid.errors import (
    AsciidError,
    DatabaseUnavailableError,
    ImageNotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.api._request_interface import Request

__all__ = ["PIECE", "send_parts"]

PIECE = 64 * 1024
"""Bytes per read and write."""

_log = Logger()


class IParts(Protocol):
    """What is sent, in parts; an `IImageReader` is one."""

    def read(self, start: int, end: int) -> Deferred[bytes]:
        """See `IImageReader.read`."""

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """See `IImageReader.read_ranges`."""


async def send_parts(
    request: Request,
    reader: IParts,
    parts: Sequence[Part],
    begin: Callable[[], None],
    end: bytes = b"",
) -> None:
    """
    Write parts of an image to `request`, then `end`; cancellable.

    `parts` must not be empty, nor any part.  Pieces of `PIECE` bytes are read while the
    transport has room, so a slow client costs twice that in memory.  `begin` is called
    after the first read, to set the header fields.  If a later read fails, the
    connection is closed: the client sees an incomplete body.

    Errors: those of `IImageReader.read`, before `begin` was called.
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
    except (ImageNotFoundError, DatabaseUnavailableError) as error:
        # Deleted or expired meanwhile: not an error. Nor is a failover a defect.
        _log.info("download aborted: {error}", error=str(error))
        request.loseConnection()
    except AsciidError:
        _log.failure("download aborted: read failed")
        request.loseConnection()
    request.unregisterProducer()


async def _read(reader: IParts, batch: list[Part]) -> bytes:
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
    """Yield the pieces of each read, up to `PIECE` bytes in total."""
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
    """A push producer that waits until the transport has room."""

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

        The client disconnected; Klein cancels the handler.
        """
