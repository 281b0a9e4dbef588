"""Takes a whole image from the body of one request."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from asciid.api._conditions import check_write
from asciid.api._digests import ContentDigest
from asciid.api._refusals import (
    ImageTooLargeError,
    MalformedRequestError,
    NotTextError,
)
from asciid.api._schema import is_utf8_text
from asciid.http import read_body

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from asciid.api._request import Request
    from asciid.store import IImageStore, IImageWriter

__all__ = ["receive_image"]


async def receive_image(
    request: Request, store: IImageStore, sha256: str, max_size: int
) -> bool:
    """
    Store the body of `request` as the image `sha256`; tell whether it is new.

    The body goes to the store in pieces, as fast as that takes them, and is
    never held as a whole.  If the client leaves before its end, nothing is
    left behind; once all has come, the image is stored whether the client
    waits or not.

    Errors: `NotTextError`, `MalformedRequestError`, `ImageTooLargeError`,
    `PreconditionFailedError` (RFC 9110, section 13.1.2), `DigestMismatchError`
    (the request's Content-Digest is of another body), those of
    `IImageWriter.finish`, those of `asciid.http.read_body`.
    """
    _check_fields(request)
    digest = ContentDigest(request)
    writer = await store.create(sha256)
    etag = b'"%b"' % sha256.encode("ascii")
    check_write(request, etag if writer.exists else None)
    body = _Body(writer, max_size, digest)
    try:
        await read_body(request, body.receive)
        body.end()
    except BaseException:
        # Also when the client has left, which cancels this.
        await writer.abandon()
        raise
    new = await writer.finish()
    if not new and not writer.exists:
        # Another client was faster.
        check_write(request, etag)
    return new


class _Body:
    """Checks the pieces of a body on their way to the store."""

    def __init__(
        self, writer: IImageWriter, max_size: int, digest: ContentDigest
    ) -> None:
        self._writer = writer
        self._digest = digest
        self._max_size = max_size
        self._size = 0
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def receive(self, piece: bytes) -> Deferred[None]:
        """Take a piece."""
        self._size += len(piece)
        if self._size > self._max_size:
            raise ImageTooLargeError(limit=self._max_size, actual=self._size)
        self._check_text(piece, final=False)
        self._digest.update(piece)
        return self._writer.write(piece)

    def end(self) -> None:
        """Refuse a body that ends within a character or has another digest."""
        self._check_text(b"", final=True)
        self._digest.verify()

    def _check_text(self, piece: bytes, *, final: bool) -> None:
        try:
            self._decode(piece, final)
        except UnicodeDecodeError as error:
            detail = f"The body is not UTF-8: {error}."
            raise MalformedRequestError(detail) from error


def _check_fields(request: Request) -> None:
    if request.getHeader(b"content-range") is not None:
        # RFC 9110, section 14.5: what would be taken for the whole is a part.
        message = "An image is sent as a whole: Content-Range cannot be used."
        raise MalformedRequestError(message)
    encoding = request.getHeader(b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        raise NotTextError
    content_type = request.getHeader(b"content-type")
    if content_type is not None and not is_utf8_text(content_type):
        raise NotTextError
