"""
Finding and removing what is past its time, a bounded part at a time.

The functions on a `Snapshot` run in a thread of the read pool and only look;
those on a `Batch` run in the writer's thread and look again before they remove.
Stamps are those of `asciid.store._aging`, in milliseconds.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from attrs import frozen

from asciid.store import _staging
from asciid.store._records import (
    SEAL_ID,
    ImageRecord,
    Seal,
    UploadRecord,
    chunk_key,
    upload_key,
    upload_number_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import lmdb

    from asciid.store._batch import Batch
    from asciid.store._databases import Snapshot

__all__ = [
    "Old",
    "Page",
    "has_discarded",
    "old_gone",
    "old_images",
    "old_staged",
    "old_uploads",
    "remove_gone",
    "remove_images",
    "remove_staged",
    "remove_uploads",
]

PAGE = 1_000
"""How many records are looked at in one transaction."""


@frozen
class Old:
    """An upload or an image that may be removed."""

    number: int
    sha256: str


@frozen
class Page:
    """What was found, and the key from which to look on; none after the last."""

    found: Sequence[Old]
    rest: bytes


def old_uploads(snapshot: Snapshot, start: bytes, before: int) -> Page:
    """Find pending uploads without activity since `before`."""
    records, rest = _records(snapshot, snapshot.databases.uploads, start)
    uploads = ((key, UploadRecord.unpack(value)) for key, value in records)
    found = [
        Old(upload_number_of(key), upload.digest.hex())
        for key, upload in uploads
        if upload.active < before
    ]
    return Page(found, rest)


def old_images(snapshot: Snapshot, start: bytes, before: int) -> Page:
    """Find images complete since before `before`."""
    records, rest = _records(snapshot, snapshot.databases.images, start)
    images = ((key, ImageRecord.unpack(value).number) for key, value in records)
    found = [
        Old(number, key.hex())
        for key, number in images
        if _completed_before(snapshot, number, before)
    ]
    return Page(found, rest)


def old_staged(snapshot: Snapshot, start: bytes, before: int) -> Page:
    """Find images that were coming in one request, and saw no byte since `before`."""
    records, rest = _records(snapshot, snapshot.databases.staged, start)
    found = [
        Old(upload_number_of(key), "")
        for key, stamp in records
        if upload_number_of(stamp) < before
    ]
    return Page(found, rest)


def old_gone(snapshot: Snapshot, start: bytes, before: int) -> Page:
    """Find images that have been gone since before `before`."""
    records, rest = _records(snapshot, snapshot.databases.gone, start)
    found = [
        Old(0, key.hex()) for key, stamp in records if upload_number_of(stamp) < before
    ]
    return Page(found, rest)


def has_discarded(snapshot: Snapshot) -> bool:
    """Tell whether chunks of discarded uploads are left."""
    transaction, discarded = snapshot.transaction, snapshot.databases.discarded
    return transaction.stat(discarded)["entries"] > 0


def remove_uploads(batch: Batch, old: Sequence[Old], before: int) -> list[Old]:
    """Discard those uploads that still saw no activity; return which."""
    return [upload for upload in old if _remove_upload(batch, upload, before)]


def remove_images(batch: Batch, old: Sequence[Old], before: int) -> list[Old]:
    """Discard those images that are still the old ones; return which."""
    return [image for image in old if _remove_image(batch, image, before)]


def remove_staged(batch: Batch, old: Sequence[Old], before: int) -> list[Old]:
    """Discard those staged images that still saw no byte; return which."""
    removed = [
        image
        for image in old
        if _is_before(batch, batch.databases.staged, upload_key(image.number), before)
    ]
    for image in removed:
        _staging.abandon(batch, image.number)
    return removed


def remove_gone(batch: Batch, old: Sequence[Old], before: int) -> list[Old]:
    """Forget those images that have not gone once more; return which."""
    gone = batch.databases.gone
    removed = [
        image
        for image in old
        if _is_before(batch, gone, bytes.fromhex(image.sha256), before)
    ]
    for image in removed:
        batch.delete(gone, bytes.fromhex(image.sha256))
    return removed


def _remove_upload(batch: Batch, old: Old, before: int) -> bool:
    stored = batch.transaction.get(upload_key(old.number), db=batch.databases.uploads)
    # What this batch did to the upload is not in its record yet.
    if (
        stored is None
        or batch.is_touched(old.number)
        or UploadRecord.unpack(stored).active >= before
    ):
        return False
    batch.discard(batch.find(old.sha256), chunks=0)
    batch.events.expired_uploads += 1
    return True


def _remove_image(batch: Batch, old: Old, before: int) -> bool:
    image = batch.find_or_none(old.sha256)
    if (
        image is None
        or image.number != old.number
        or not _completed_before(batch, old.number, before)
    ):
        return False
    batch.discard(image, chunks=0)
    batch.removed.append(old.sha256)
    batch.events.expired_images += 1
    batch.put(batch.databases.gone, bytes.fromhex(old.sha256), upload_key(batch.stamp))
    return True


def _completed_before(where: Batch | Snapshot, number: int, before: int) -> bool:
    key = chunk_key(number, SEAL_ID)
    stored = where.transaction.get(key, db=where.databases.chunks)
    return stored is not None and Seal.unpack(stored).stamp < before


def _is_before(batch: Batch, database: lmdb._Database, key: bytes, before: int) -> bool:
    """Tell whether a record is still there, and its stamp is before `before`."""
    stamp = batch.transaction.get(key, db=database)
    return stamp is not None and upload_number_of(stamp) < before


def _records(
    snapshot: Snapshot, database: lmdb._Database, start: bytes
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the records from the key `start` on, and the key to go on from."""
    with snapshot.transaction.cursor(database) as cursor:
        if not cursor.set_range(start):
            return [], b""
        found = [(bytes(key), bytes(value)) for key, value in islice(cursor, PAGE)]
    # No key lies between one and itself with a zero behind it.
    return found, found[-1][0] + b"\0" if len(found) == PAGE else b""
