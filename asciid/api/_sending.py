"""Streams parts of a large image, with flow control."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from attrs import define, field
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
from asciid.http import write_pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from asciid.api._request_interface import Request

__all__ = ["PIECE", "ReadAhead", "send_parts"]

PIECE = 64 * 1024
"""Bytes per piece, which are in one block of memory; those of a slow client's read."""

MOST_AT_ONCE = 512 * 1024
"""Bytes per read of a fast client."""

QUICK = 0.05
"""
Seconds for which a client may take to receive what was read at once.

A faster client gets twice as much with the next read, a slower one half as much.
"""

_log = Logger()


class IParts(Protocol):
    """What is sent, in parts; an `IImageReader` is one."""

    def read_ranges(
        self, ranges: Sequence[tuple[int, int]]
    ) -> Deferred[Sequence[bytes]]:
        """See `IImageReader.read_ranges`."""


@define(eq=False)
class ReadAhead:
    """
    The memory for reads of more than a piece, which fast downloads share equally.

    A read costs a thread's wake-up and the reactor's, whatever its size: so fast
    clients get more at a time, and the next read is made while they receive.
    `capacity` is in bytes; half of it may be sent in one turn of the reactor, which
    others have to wait for.  `clock` returns monotonic seconds.
    """

    capacity: int = 4 * 1024 * 1024
    clock: Callable[[], float] = time.monotonic
    used: int = field(init=False, default=0)
    downloads: int = field(init=False, default=0)
    """How many take from it."""

    def take(self, wanted: int) -> int:
        """Return how many bytes of `wanted` may be read; 0 if only a piece."""
        size = min(wanted, self.capacity // (2 * max(self.downloads, 1)))
        if size <= PIECE or self.used + size > self.capacity:
            return 0
        self.used += size
        return size

    def give_back(self, taken: int) -> None:
        """Return what `take` returned: that many bytes were sent."""
        self.used -= taken


async def send_parts(  # noqa: PLR0913 - the last two have a default
    request: Request,
    reader: IParts,
    parts: Sequence[Part],
    begin: Callable[[], None],
    end: bytes = b"",
    *,
    read_ahead: ReadAhead | None = None,
) -> None:
    """
    Write parts of an image to `request`, then `end`; cancellable.

    `parts` must not be empty, nor any part.  At first, and to a slow client, `PIECE`
    bytes are read whenever the transport has room, so that it costs twice that in
    memory.  As far as `read_ahead` has memory, fast clients get more.  `begin` is
    called after the first read, to set the header fields.  If a later read fails, the
    connection is closed: the client sees an incomplete body.

    Errors: those of `IImageReader.read_ranges`, before `begin` was called.
    """
    reads = _Reads(reader, parts, read_ahead or ReadAhead(0))
    try:
        pieces = await reads.read()
        begin()
        gate = _Gate()
        request.registerProducer(gate, streaming=True)
        try:
            while pieces:
                write_pieces(request, pieces)
                pieces = []
                reads.read_on()
                if reads.are_incomplete:
                    await gate.opened()
                    reads.sent()
                    pieces = await reads.read()
            request.write(end)
        except (ImageNotFoundError, DatabaseUnavailableError) as error:
            # Deleted or expired meanwhile: not an error. Nor is a failover a defect.
            _log.info("download aborted: {error}", error=str(error))
            request.loseConnection()
        except AsciidError:
            _log.failure("download aborted: read failed")
            request.loseConnection()
        request.unregisterProducer()
    finally:
        reads.close()


class _Reads:
    """The reads of one download: how much each reads, and when."""

    def __init__(
        self, reader: IParts, parts: Sequence[Part], memory: ReadAhead
    ) -> None:
        self._reader = reader
        self._memory = memory
        self._pieces = _cut(parts)
        self._next: Part | None = next(self._pieces)
        self._size = PIECE
        self._is_fast = False
        self._began = 0.0
        self._ahead: Deferred[list[bytes]] | None = None
        # What `ReadAhead.take` returned for what is being sent, and for what is next.
        self._taken = self._taken_ahead = 0

    @property
    def are_incomplete(self) -> bool:
        """Whether there is more to read, or memory to give back once all is sent."""
        return self._next is not None or self._ahead is not None or self._taken > 0

    async def read(self) -> list[bytes]:
        """Return the next pieces to send, in order; an empty list after the last."""
        if self._ahead is None:
            self._taken = self._take()
            return await self._read(self._taken or PIECE)
        reading, self._ahead = self._ahead, None
        self._taken, self._taken_ahead = self._taken_ahead, 0
        return await reading

    def read_on(self) -> None:
        """Begin the next read, for a fast client, while what was read is being sent."""
        self._began = self._memory.clock()
        if self._next is not None:
            self._taken_ahead = self._take()
            if self._taken_ahead:
                reading = self._read(self._taken_ahead)
                self._ahead = Deferred.fromCoroutine(reading)

    def sent(self) -> None:
        """Adapt to the client, which has received what was read."""
        self._memory.give_back(self._taken)
        self._taken = 0
        if self._memory.clock() - self._began <= QUICK:
            self._size = min(2 * self._size, MOST_AT_ONCE)
        else:
            self._size = max(self._size // 2, PIECE)
        self._count(fast=self._size > PIECE)

    def close(self) -> None:
        """End a read that nobody waits for any more."""
        self._memory.give_back(self._taken + self._taken_ahead)
        self._taken = self._taken_ahead = 0
        self._count(fast=False)
        if self._ahead is not None:
            self._ahead.addErrback(lambda _: None)
            self._ahead.cancel()

    def _count(self, *, fast: bool) -> None:
        self._memory.downloads += fast - self._is_fast
        self._is_fast = fast

    def _take(self) -> int:
        return self._memory.take(self._size) if self._is_fast else 0

    async def _read(self, size: int) -> list[bytes]:
        batch: list[Part] = []
        while self._next is not None:
            size -= self._next.end - self._next.start
            if batch and size < 0:
                break
            batch.append(self._next)
            self._next = next(self._pieces, None)
        if not batch:
            return []
        ranges = [(part.start, part.end) for part in batch]
        found = await self._reader.read_ranges(ranges)
        return [
            data
            for part, piece in zip(batch, found, strict=True)
            for data in (part.lead, piece)
            if data
        ]


def _cut(parts: Sequence[Part]) -> Iterator[Part]:
    """Yield pieces, cut where an image that was sent whole is cut when it is stored."""
    for part in parts:
        lead = part.lead
        start = part.start
        while start < part.end:
            end = min(start - start % PIECE + PIECE, part.end)
            yield Part(start, end, lead)
            lead = b""
            start = end


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
