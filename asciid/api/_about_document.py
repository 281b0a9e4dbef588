"""What is said about an image: the document, and its change."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from asciid.api._conditions import check_write, has_write_condition, unmodified_tag
from asciid.api._schema import parse_about_document

if TYPE_CHECKING:
    from asciid.api._request_interface import Request
    from asciid.model import AboutRecord
    from asciid.store import IImageStore

__all__ = ["change_about", "send_about"]


async def send_about(request: Request, store: IImageStore, sha256: str) -> bytes:
    """
    Set the status and the header fields of a GET or HEAD; return the document.

    Errors: `PreconditionFailedError`, those of `IImageStore.about`.
    """
    record = await store.about(sha256)
    etag = _etag(record.revision)
    unmodified = unmodified_tag(request, etag)
    # It can be changed, and the image be blocked or deleted, at any time.
    request.setHeader(b"Cache-Control", b"no-cache")
    request.setHeader(b"ETag", etag)
    if unmodified is not None:
        request.setResponseCode(304)
        return b""
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"X-Content-Type-Options", b"nosniff")
    return _document(record)


async def change_about(  # noqa: PLR0913 - the request, and what its routes decide
    request: Request,
    store: IImageStore,
    sha256: str,
    body: bytes,
    *,
    key_hash: bytes | None,
    now: float,
) -> bytes:
    """
    Replace what is said about an image; return an empty body.

    `key_hash` is that of the edit key, None if the client may change any image.

    Errors: `MalformedRequestError`, `NotUTF8Error`, `InvalidAboutError`,
    `PreconditionFailedError`, those of `IImageStore.set_about`.
    """
    about = parse_about_document(body, listed=store.listed_by_default, now=now)
    expected = None
    if has_write_condition(request):
        record = await store.about(sha256)
        check_write(request, (_etag(record.revision),))
        expected = record.revision
    revision = await store.set_about(sha256, about, expected, key_hash)
    request.setHeader(b"ETag", _etag(revision))
    request.setResponseCode(204)
    return b""


def _etag(revision: int) -> bytes:
    return b'"%d"' % revision


def _document(record: AboutRecord) -> bytes:
    about = record.about
    expires = about.expires and datetime.fromtimestamp(about.expires / 1000, UTC)
    return msgspec.json.encode(
        {
            "title": about.title,
            "description": about.description,
            "author": about.author,
            "licence": about.licence,
            "tags": about.tags,
            "listed": about.listed,
            "expires": expires or None,
            "charset": record.charset,
        }
    )
