"""PUT of an image."""

from __future__ import annotations

import codecs
import time
from typing import TYPE_CHECKING

from asciid.api._conditions import check_write, has_write_condition, last_modified
from asciid.api._digests import ContentDigest
from asciid.api._refusals import (
    ImageTooLargeError,
    MalformedRequestError,
    NotUTF8Error,
)
from asciid.api._representation import entity_tags
from asciid.api._schema import require_image
from asciid.errors import (
    ImageGoneError,
    ImageIncompleteError,
    ImageNotFoundError,
    StoreBusyError,
)
from asciid.http import STREAMED, read_body

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from asciid.api._request_interface import Request
    from asciid.api._write_shares import SharedWriter
    from asciid.store import IImageStore, IImageWriter

__all__ = ["receive_image"]


async def receive_image(
    request: Request,
    store: IImageStore,
    sha256: str,
    max_size: int,
    shared: SharedWriter,
) -> bool:
    """
    Store the body of `request` as the image `sha256`; return whether it is new.

    The body is passed to the store in pieces, with flow control, and never in memory as
    a whole; `shared` limits it to the client's share of the write queue.  If the client
    disconnects before the end, nothing is stored; afterwards the image is stored even
    if the client disconnects.

    Errors: those of `require_image`, `MalformedRequestError`, `NotUTF8Error`,
    `ImageTooLargeError`, `PreconditionFailedError` (RFC 9110, section 13.1),
    `DigestMismatchError` (the request's Content-Digest is of another body), those
    of `IImageWriter.finish`, those of `asciid.http.read_body`.
    """
    if request.getHeader(b"content-range") is not None:
        # RFC 9110, section 14.5: the body would be a part of the image.
        message = "Content-Range is not supported: send the whole image."
        raise MalformedRequestError(message)
    require_image(request)
    digest = ContentDigest(request)
    writer = await store.create(sha256)
    conditional = has_write_condition(request)
    if conditional:
        await _check_conditions(request, store, sha256)
    body = _Body(writer, max_size, digest, shared)
    reading = read_body(request, body.receive)
    try:
        await reading
        body.end()
    except BaseException:
        # Its failure has frames that refer to it: breaks the reference cycle.
        reading.addErrback(lambda _: None)
        # Also if the client disconnects, which cancels this.
        await writer.abandon()
        raise
    new = await body.finish()
    if conditional and not new and not writer.exists:
        # Another client was faster.
        await _check_conditions(request, store, sha256)
    return new


async def _check_conditions(request: Request, store: IImageStore, sha256: str) -> None:
    try:
        reader = await store.open(sha256)
    except (ImageGoneError, ImageIncompleteError, ImageNotFoundError):
        check_write(request, ())
    else:
        modified = last_modified(reader.completed, time.time())
        check_write(request, entity_tags(sha256, reader.spec.size), modified)


class _Body:
    """Checks the pieces of a body and passes them to the store."""

    def __init__(
        self,
        writer: IImageWriter,
        max_size: int,
        digest: ContentDigest,
        shared: SharedWriter,
    ) -> None:
        self._writer = writer
        self._shared = shared
        self._digest = digest
        self._max_size = max_size
        self._size = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def receive(self, piece: bytes) -> Deferred[None]:
        """Process a piece."""
        size = self._size + len(piece)
        if size > self._max_size:
            raise ImageTooLargeError(limit=self._max_size, actual=size)
        self._check_text(piece, final=False)
        self._size = size
        self._digest.update(piece)
        # The store may now receive the buffered part of the body.
        queued = STREAMED if size > STREAMED else len(piece)
        return self._shared(queued, lambda: self._writer.write(piece))

    def end(self) -> None:
        """Refuse a body that ends inside a character or has another digest."""
        self._check_text(b"", final=True)
        self._digest.verify()

    async def finish(self) -> bool:
        """
        Store the image; return whether it is new.

        Errors: those of `IImageWriter.finish`.
        """
        try:
            return await self._shared(min(self._size, STREAMED), self._writer.finish)
        except StoreBusyError:
            # Nothing may have been written yet.
            await self._writer.abandon()
            raise

    def _check_text(self, piece: bytes, *, final: bool) -> None:
        try:
            self._decoder.decode(piece, final)
        except UnicodeDecodeError as error:
            # Offsets start at the incomplete character of the last piece.
            offset = self._size - len(self._decoder.getstate()[0]) + error.start
            reason = "unfinished character" if final else "invalid byte"
            raise NotUTF8Error(offset, reason) from error
