"""DELETE of an image."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from asciid.api._conditions import check_write, last_modified
from asciid.api._representation import entity_tags
from asciid.errors import ImageIncompleteError

if TYPE_CHECKING:
    from asciid.api._request_interface import Request
    from asciid.store import IImageStore

__all__ = ["delete_image"]


async def delete_image(
    request: Request, store: IImageStore, sha256: str, key_hash: bytes | None
) -> None:
    """
    Delete an image or a pending upload.

    `key_hash` is that of the edit key, None if the client may delete any image.

    Errors: `PreconditionFailedError` (RFC 9110, section 13.1), those of
    `IImageStore.delete`.
    """
    try:
        reader = await store.open(sha256)
    except ImageIncompleteError:
        check_write(request, ())
    else:
        modified = last_modified(reader.completed, time.time())
        check_write(request, entity_tags(sha256, reader.spec.size), modified)
    await store.delete(sha256, key_hash)
