"""
Images that come in one request: what the writer does for them.

The bytes are stored under an upload number of their own, which belongs to no
hash until they are verified.  So a body that breaks off, or has another hash,
harms no registration, and one that is right takes the place of a pending one.
Everything here runs in the writer's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.model import ImageSpec
from asciid.store._batch import Completed, Upload
from asciid.store._records import ImageRecord, chunk_key, upload_key, upload_number_of
from asciid.store._rules import PIECE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.store._batch import Batch

__all__ = ["abandon", "abandon_stale", "add", "adopt", "begin", "put"]


def begin(batch: Batch) -> int:
    """Begin an image; return its upload number."""
    number = batch.take_number()
    _touch(batch, number)
    return number


def add(batch: Batch, number: int, first: int, pieces: Sequence[bytes]) -> None:
    """Store pieces of a begun image, the first of them as the `first`-th."""
    _store(batch, number, first, pieces)
    _touch(batch, number)


def adopt(
    batch: Batch, number: int, sha256: str, size: int, content: bytes | None
) -> Completed | None:
    """
    Make a begun image, which has the hash `sha256`, the one of that name.

    Return None if there is a complete one; what was stored is discarded then.
    """
    existing = batch.find_or_none(sha256)
    if existing is not None and not existing.missing:
        abandon(batch, number)
        return None
    chunk_size = PIECE if existing is None else existing.spec.chunk_size
    if existing is not None:
        batch.discard(existing)
    image = ImageRecord(number, size, chunk_size, PIECE)
    batch.put(batch.databases.images, bytes.fromhex(sha256), image.pack())
    batch.delete(batch.databases.staged, upload_key(number))
    created = batch.now if existing is None else existing.created
    upload = Upload(ImageSpec(sha256, size, chunk_size), image, 0, created)
    return batch.complete(upload, content)


def put(batch: Batch, sha256: str, content: bytes) -> Completed | None:
    """Store an image that is all here, and has the hash `sha256`."""
    existing = batch.find_or_none(sha256)
    if existing is not None and not existing.missing:
        return None
    number = batch.take_number()
    pieces = [content[i : i + PIECE] for i in range(0, len(content), PIECE)]
    _store(batch, number, 0, pieces)
    return adopt(batch, number, sha256, len(content), content)


def abandon(batch: Batch, number: int) -> None:
    """Discard a begun image."""
    batch.delete(batch.databases.staged, upload_key(number))
    batch.put(batch.databases.discarded, upload_key(number), b"")


def abandon_stale(batch: Batch, before: int) -> None:
    """Discard what was begun and saw no piece since `before`, in milliseconds."""
    with batch.transaction.cursor(batch.databases.staged) as cursor:
        stale = [
            upload_number_of(key)
            for key, changed in cursor
            if upload_number_of(changed) < before
        ]
    for number in stale:
        abandon(batch, number)


def _store(batch: Batch, number: int, first: int, pieces: Sequence[bytes]) -> None:
    for index, piece in enumerate(pieces, first):
        batch.put(batch.databases.chunks, chunk_key(number, index), piece)


def _touch(batch: Batch, number: int) -> None:
    batch.put(batch.databases.staged, upload_key(number), upload_key(batch.now))
