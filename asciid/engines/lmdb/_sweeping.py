"""
Finds and removes expired entries, a bounded number at a time.

The functions on a `Snapshot` run in a thread of the read pool and only read;
those on a `Batch` run in the writer's thread and check again before they remove.
Stamps are those of `asciid.engines._stamps`, in milliseconds.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from asciid.engines.lmdb import _staging
from asciid.engines.lmdb._about import find_about
from asciid.engines.lmdb._records import (
    SEAL_ID,
    ImageRecord,
    Seal,
    UploadRecord,
    chunk_key,
    place_of,
    upload_key,
    upload_number_of,
)
from asciid.store.operations import Expired
from asciid.store.queries import ExpiredPage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import lmdb

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot
    from asciid.engines.lmdb._uploads import Upload
    from asciid.store.operations import Kind, RemoveExpired

__all__ = ["find_expired", "remove_expired"]

PAGE = 1_000
"""How many records are read in one transaction."""


def find_expired(
    snapshot: Snapshot, kind: Kind, start: bytes, before: int
) -> ExpiredPage:
    """Find entries stamped before `before`, among `PAGE` records from `start` on."""
    return _FIND[kind](snapshot, start, before)


def remove_expired(batch: Batch, operation: RemoveExpired) -> int:
    """See `RemoveExpired`."""
    before = batch.stamp - int(operation.older_than * 1000)
    remove = _REMOVE[operation.kind]
    return sum(remove(batch, old, before) for old in operation.found)


def _old_uploads(snapshot: Snapshot, start: bytes, before: int) -> ExpiredPage:
    """Find pending uploads without activity since `before`."""
    records, rest = _records(snapshot, snapshot.databases.uploads, start)
    uploads = ((key, UploadRecord.unpack(value)) for key, value in records)
    found = [
        Expired(upload_number_of(key), upload.digest.hex())
        for key, upload in uploads
        if upload.active < before
    ]
    return ExpiredPage(found, rest)


def _old_images(snapshot: Snapshot, start: bytes, before: int) -> ExpiredPage:
    """Find images complete since before `before`."""
    records, rest = _records(snapshot, snapshot.databases.images, start)
    images = ((key, ImageRecord.unpack(value).number) for key, value in records)
    found = [
        Expired(number, key.hex())
        for key, number in images
        if _completed_before(snapshot, number, before)
    ]
    return ExpiredPage(found, rest)


def _old_staged(snapshot: Snapshot, start: bytes, before: int) -> ExpiredPage:
    """Find staged images that received no byte since `before`."""
    records, rest = _records(snapshot, snapshot.databases.staged, start)
    found = [
        Expired(upload_number_of(key), "")
        for key, stamp in records
        if upload_number_of(stamp) < before
    ]
    return ExpiredPage(found, rest)


def _old_gone(snapshot: Snapshot, start: bytes, before: int) -> ExpiredPage:
    """Find images that expired before `before`."""
    records, rest = _records(snapshot, snapshot.databases.gone, start)
    found = [
        Expired(0, key.hex())
        for key, stamp in records
        if upload_number_of(stamp) < before
    ]
    return ExpiredPage(found, rest)


def _old_dated(snapshot: Snapshot, start: bytes, before: int) -> ExpiredPage:
    """Find images and uploads with a deadline before `before`, which come first."""
    records, rest = _records(snapshot, snapshot.databases.dated, start)
    found = [
        Expired(number, digest.hex())
        for (deadline, number), digest in ((place_of(key), d) for key, d in records)
        if deadline < before
    ]
    return ExpiredPage(found, rest if len(found) == len(records) else b"")


def _remove_staged(batch: Batch, old: Expired, before: int) -> bool:
    """Discard a staged image, if it still received no byte."""
    if not _is_before(batch, batch.databases.staged, upload_key(old.number), before):
        return False
    _staging.abandon(batch, old.number)
    return True


def _remove_gone(batch: Batch, old: Expired, before: int) -> bool:
    """Delete the record of an expired image, if it has not expired again."""
    gone, key = batch.databases.gone, bytes.fromhex(old.sha256)
    return _is_before(batch, gone, key, before) and batch.delete(gone, key)


def _remove_upload(batch: Batch, old: Expired, before: int) -> bool:
    stored = batch.transaction.get(upload_key(old.number), db=batch.databases.uploads)
    # Changes by this batch are not in the record yet.
    if (
        stored is None
        or batch.is_touched(old.number)
        or UploadRecord.unpack(stored).active >= before
    ):
        return False
    _expire(batch, batch.find(old.sha256))
    return True


def _remove_image(batch: Batch, old: Expired, before: int) -> bool:
    image = batch.find_or_none(old.sha256)
    if (
        image is None
        or image.number != old.number
        or not _completed_before(batch, old.number, before)
    ):
        return False
    _expire(batch, image)
    return True


def _remove_dated(batch: Batch, old: Expired, before: int) -> bool:
    """Remove an image or an upload, if its deadline is still before `before`."""
    upload = batch.find_or_none(old.sha256)
    if upload is None or upload.number != old.number:
        return False
    about = find_about(batch, old.number)
    if about is None or not 0 < about.deadline < before:
        return False
    _expire(batch, upload)
    return True


def _expire(batch: Batch, upload: Upload) -> None:
    batch.discard(upload, chunks=0)
    if upload.missing:
        batch.events.expired_uploads += 1
        return
    sha256 = upload.spec.sha256
    batch.removed.append(sha256)
    batch.events.expired_images += 1
    batch.put(batch.databases.gone, bytes.fromhex(sha256), upload_key(batch.stamp))


def _completed_before(where: Batch | Snapshot, number: int, before: int) -> bool:
    key = chunk_key(number, SEAL_ID)
    stored = where.transaction.get(key, db=where.databases.chunks)
    return stored is not None and Seal.unpack(stored).stamp < before


def _is_before(batch: Batch, database: lmdb._Database, key: bytes, before: int) -> bool:
    """Return whether a record still exists, and its stamp is before `before`."""
    stamp = batch.transaction.get(key, db=database)
    return stamp is not None and upload_number_of(stamp) < before


def _records(
    snapshot: Snapshot, database: lmdb._Database, start: bytes
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the records from the key `start` on, and the key to continue from."""
    with snapshot.transaction.cursor(database) as cursor:
        if not cursor.set_range(start):
            return [], b""
        found = [(bytes(key), bytes(value)) for key, value in islice(cursor, PAGE)]
    # No key lies between one and itself with a zero behind it.
    return found, found[-1][0] + b"\0" if len(found) == PAGE else b""


_FIND: Mapping[Kind, Callable[[Snapshot, bytes, int], ExpiredPage]] = {
    "uploads": _old_uploads,
    "images": _old_images,
    "staged": _old_staged,
    "gone": _old_gone,
    "dated": _old_dated,
}

_REMOVE: Mapping[Kind, Callable[[Batch, Expired, int], bool]] = {
    "uploads": _remove_upload,
    "images": _remove_image,
    "staged": _remove_staged,
    "gone": _remove_gone,
    "dated": _remove_dated,
}
