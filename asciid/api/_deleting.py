"""Removes an image on behalf of one request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.api._conditions import check_write
from asciid.errors import ImageIncompleteError

if TYPE_CHECKING:
    from asciid.api._request import Request
    from asciid.store import IImageStore

__all__ = ["delete_image"]


async def delete_image(request: Request, store: IImageStore, sha256: str) -> None:
    """
    Remove an image or a pending upload.

    Errors: `PreconditionFailedError` (RFC 9110, section 13.1), those of
    `IImageStore.delete`.
    """
    etag = None
    try:
        await store.open(sha256)
    except ImageIncompleteError:
        pass  # nothing is there that a condition could be on
    else:
        etag = b'"%b"' % sha256.encode("ascii")
    check_write(request, etag)
    await store.delete(sha256)
