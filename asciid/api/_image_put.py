"""PUT of an image."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from asciid.api._about_fields import parse_about, sent_fields, sent_origin
from asciid.api._conditions import check_write, has_write_condition, last_modified
from asciid.api._creation import Created
from asciid.api._digests import ContentDigest
from asciid.api._edit_keys import new_edit_key
from asciid.api._image_body import ImageBody
from asciid.api._representation import entity_tags
from asciid.api._schema import require_image
from asciid.errors import ImageGoneError, ImageIncompleteError, ImageNotFoundError
from asciid.http import read_body
from asciid.model import About, NewImage

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from asciid.api._request_interface import Request
    from asciid.api._write_shares import SharedWriter
    from asciid.store import IImageStore

__all__ = ["receive_image"]


async def receive_image(
    request: Request,
    store: IImageStore,
    sha256: str,
    max_size: int,
    shared: SharedWriter,
) -> Created:
    """
    Store the body of `request` as the image `sha256`.

    The body is passed to the store in pieces, with flow control, and never in memory as
    a whole; `shared` limits it to the client's share of the write queue.  If the client
    disconnects before the end, nothing is stored; afterwards the image is stored even
    if the client disconnects.

    Errors: those of `require_image`, `MalformedRequestError`, `NotUTF8Error`,
    `ImageTooLargeError`, `InvalidAboutError`, `PreconditionFailedError` (RFC 9110,
    section 13.1), `DigestMismatchError` (the request's Content-Digest is of another
    body), those of `IImageWriter.finish`, those of `asciid.http.read_body`.
    """
    require_image(request)
    digest = ContentDigest(request)
    key = new_edit_key()
    fields = sent_fields(request)
    about = None
    if fields:
        about = parse_about(fields, About(listed=store.listed_by_default), time.time())
    writer = await store.create(
        sha256, NewImage(about, key.key_hash, sent_origin(request))
    )
    conditional = has_write_condition(request)
    if conditional:
        await _check_conditions(request, store, sha256)
    body = ImageBody(writer, max_size, shared)

    def receive(piece: bytes) -> Deferred[None]:
        digest.update(piece)
        return body.receive(piece)

    reading = read_body(request, receive)
    try:
        await reading
        body.end()
        digest.verify()
    except BaseException:
        # Its failure has frames that refer to it: breaks the reference cycle.
        reading.addErrback(lambda _: None)
        # Also if the client disconnects, which cancels this.
        await writer.abandon()
        raise
    stored = await body.finish()
    if conditional and not stored.new and not writer.exists:
        # Another client was faster.
        await _check_conditions(request, store, sha256)
    return Created(sha256, stored.new, key if stored.described else None)


async def _check_conditions(request: Request, store: IImageStore, sha256: str) -> None:
    try:
        reader = await store.open(sha256)
    except (ImageGoneError, ImageIncompleteError, ImageNotFoundError):
        check_write(request, ())
    else:
        modified = last_modified(reader.completed, time.time())
        check_write(request, entity_tags(sha256, reader.spec.size), modified)
