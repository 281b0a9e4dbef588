"""
Stores images that are received in one request.

The bytes are stored under an upload number of their own, which belongs to no
hash until they are verified.  So a body that breaks off, or has another hash,
harms no registration, and one that is right takes the place of a pending one.
Everything here runs in the writer's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.engines.lmdb._about import describe, find_about, refuse_blocked
from asciid.engines.lmdb._records import ImageRecord, chunk_key, upload_key
from asciid.engines.lmdb._uploads import Upload
from asciid.errors import StorageFailedError
from asciid.model import ImageSpec
from asciid.store.operations import Put
from asciid.store.rules import PIECE, keeps_record, record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asciid.engines.lmdb._batch import Batch
    from asciid.store.operations import Adopt, Completed

__all__ = ["abandon", "add", "adopt", "begin", "put"]


def begin(batch: Batch) -> int:
    """Begin an image; return its upload number."""
    number = batch.take_number()
    _touch(batch, number)
    return number


def add(batch: Batch, number: int, first: int, pieces: Sequence[bytes]) -> None:
    """
    Store pieces of a begun image, the first of them as the `first`-th.

    Errors: `StorageFailedError` if it was abandoned.
    """
    _require(batch, number)
    _store(batch, number, first, pieces)
    _touch(batch, number)


def adopt(batch: Batch, it: Adopt) -> Completed | None:
    """
    See `Adopt`.

    Errors: `ImageBlockedError`; `StorageFailedError` if the image was abandoned.
    """
    refuse_blocked(batch, bytes.fromhex(it.sha256))
    _require(batch, it.number)
    existing = batch.find_or_none(it.sha256)
    if existing is not None and not existing.missing:
        abandon(batch, it.number)
        return None
    batch.delete(batch.databases.staged, upload_key(it.number))
    spec = ImageSpec(it.sha256, it.length, PIECE)
    return _become(batch, it, it.number, spec, existing)


def put(batch: Batch, it: Put) -> Completed | None:
    """
    See `Put`.

    Errors: `ImageBlockedError`.
    """
    existing = batch.find_or_none(it.sha256)
    if existing is not None and not existing.missing:
        return None
    if existing is None:
        refuse_blocked(batch, bytes.fromhex(it.sha256))
    content = it.content
    number = batch.take_number()
    pieces = [content[i : i + PIECE] for i in range(0, len(content), PIECE)]
    _store(batch, number, 0, pieces)
    spec = ImageSpec(it.sha256, len(content), PIECE)
    return _become(batch, it, number, spec, existing)


def abandon(batch: Batch, number: int) -> None:
    """Discard a begun image, unless it was adopted or discarded already."""
    if batch.delete(batch.databases.staged, upload_key(number)):
        batch.put(batch.databases.discarded, upload_key(number), b"")


def _store(batch: Batch, number: int, first: int, pieces: Sequence[bytes]) -> None:
    for index, piece in enumerate(pieces, first):
        batch.put(batch.databases.chunks, chunk_key(number, index), piece)


def _become(
    batch: Batch, it: Adopt | Put, number: int, spec: ImageSpec, pending: Upload | None
) -> Completed:
    """Complete an image, in the place of a pending registration if there is one."""
    created, before = batch.now, None
    digest = bytes.fromhex(spec.sha256)
    if pending is not None:
        created = pending.created
        spec = ImageSpec(spec.sha256, spec.size, pending.spec.chunk_size)
        found = find_about(batch, pending.number)
        before = found and found.record
        batch.discard(pending)
    image = ImageRecord(number, spec.size, spec.chunk_size, PIECE)
    batch.put(batch.databases.images, digest, image.pack())
    record = record_of(it.new, before, number, listed=it.listed)
    upload = Upload(spec, digest, image, number, missing=0, created=created)
    if record is not None:
        describe(batch, digest, number, record)
        upload.listed = record.about.listed
    content = it.content if type(it) is Put else None
    return batch.complete(upload, content, keeps_record=keeps_record(before))


def _touch(batch: Batch, number: int) -> None:
    batch.put(batch.databases.staged, upload_key(number), upload_key(batch.stamp))


def _require(batch: Batch, number: int) -> None:
    """Refuse an image that expired while it was received."""
    if batch.transaction.get(upload_key(number), db=batch.databases.staged) is None:
        raise StorageFailedError
