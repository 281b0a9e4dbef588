"""Checks the bytes of an image as they arrive, and passes them to the store."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from msgspec import Struct

from asciid.api._refusals import ImageTooLargeError, NotUTF8Error
from asciid.errors import StoreBusyError
from asciid.net.body_limits import STREAMED

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from asciid.api._write_shares import SharedWriter
    from asciid.store import IImageWriter

__all__ = ["ImageBody", "Stored"]

_make_decoder = codecs.getincrementaldecoder("utf-8")


class Stored(Struct, frozen=True):
    """The image that a body became."""

    sha256: str
    new: bool
    described: bool
    """Whether what the request brings besides is stored, its edit key included."""


class ImageBody:
    """
    An image that is being received: UTF-8 of at most `max_size` bytes.

    `shared` limits it to the client's share of the write queue.  `advice` is that of
    `NotUTF8Error`.
    """

    def __init__(
        self,
        writer: IImageWriter,
        max_size: int,
        shared: SharedWriter,
        advice: str = "",
    ) -> None:
        self.writer = writer
        self._shared = shared
        self._max_size = max_size
        self._advice = advice
        self._size = 0
        self._decoder = _make_decoder()

    def receive(self, piece: bytes) -> Deferred[None]:
        """
        Process a piece.

        Errors: `ImageTooLargeError`, `NotUTF8Error`, those of `IImageWriter.write`.
        """
        size = self._size + len(piece)
        if size > self._max_size:
            raise ImageTooLargeError(limit=self._max_size, actual=size)
        self._check_text(piece, final=False)
        self._size = size
        # The store may now receive the buffered part of the body.
        queued = STREAMED if size > STREAMED else len(piece)
        return self._shared(queued, lambda: self.writer.write(piece))

    def end(self) -> None:
        """
        Refuse a body that ends inside a character.

        Errors: `NotUTF8Error`.
        """
        self._check_text(b"", final=True)

    async def finish(self) -> Stored:
        """
        Store the image.

        Errors: those of `IImageWriter.finish`.
        """
        try:
            queued = min(self._size, STREAMED)
            new = await self._shared(queued, self.writer.finish)
        except StoreBusyError:
            # Nothing may have been written yet.
            await self.writer.abandon()
            raise
        return Stored(self.writer.sha256, new, self.writer.described)

    def _check_text(self, piece: bytes, *, final: bool) -> None:
        try:
            self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            # Offsets start at the incomplete character of the last piece.
            offset = self._size - len(self._decoder.getstate()[0]) + error.start
            reason = "unfinished character" if final else "invalid byte"
            raise NotUTF8Error(offset, reason, self._advice) from error
