"""
Images that were found to be damaged: putting them aside, and deleting them.

The functions on a `Batch` run inside a write transaction.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from asciid.engines.lmdb._about import put_about, undescribe
from asciid.engines.lmdb._lookup import find_blocked
from asciid.engines.lmdb._records import (
    DatedAbout,
    ImageRecord,
    QuarantineRecord,
    place_key,
    upload_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot

__all__ = ["PURGE_STEP", "deletable", "purge", "put_aside", "restorable", "restore"]

PURGE_STEP = 300
"""How many images leave quarantine in one transaction."""

DIGEST_SIZE = 32
"""Bytes of a SHA-256."""


def put_aside(batch: Batch, digest: bytes, record: bytes, completed: int) -> bool:
    """
    Take an image out of the ones that are registered; its chunks are kept.

    What is stored beside it is kept with it.  `completed` is the time of completion in
    milliseconds since the epoch, 0 if that cannot be read.  It is not read here: where
    a page is damaged, the transaction would fail.

    Return False, having done nothing, if it no longer has that record.
    """
    databases = batch.databases
    if batch.transaction.get(digest, db=databases.images) != record:
        return False
    batch.delete(databases.images, digest)
    batch.removed.append(digest.hex())
    key, number, value = digest + upload_key(batch.now), _number(record), record
    if number is not None:
        about = undescribe(batch, number, completed)
        packed = b"" if about is None else about.pack()
        value = QuarantineRecord(record, completed, packed).pack()
    batch.put(databases.quarantined, key, value)
    return True


def deletable(snapshot: Snapshot) -> dict[bytes, int | None]:
    """
    Return the keys in quarantine, and the upload number whose chunks to delete.

    That is None where the damaged record names an upload that an intact image has,
    too.
    """
    databases = snapshot.databases
    found: dict[bytes, int | None] = {}
    with snapshot.transaction.cursor(databases.quarantined) as cursor:
        for key, record in cursor:
            found[bytes(key)] = _quarantined_number(bytes(record))
    numbers = set(found.values())
    with snapshot.transaction.cursor(databases.images) as cursor:
        values = cursor.iternext(keys=False, values=True)
        used = numbers & {_number(bytes(record)) for record in values} if found else ()
    return {key: None if number in used else number for key, number in found.items()}


def purge(batch: Batch, quarantined: Iterable[tuple[bytes, int | None]]) -> None:
    """Take images out of quarantine; their chunks are deleted as discarded ones."""
    for key, number in quarantined:
        batch.delete(batch.databases.quarantined, key)
        if number is not None:
            batch.put(batch.databases.discarded, upload_key(number), b"")


def restorable(snapshot: Snapshot) -> list[bytes]:
    """Return the keys in quarantine whose records can be read."""
    with snapshot.transaction.cursor(snapshot.databases.quarantined) as cursor:
        return [
            bytes(key)
            for key, record in cursor
            if _quarantined_number(bytes(record)) is not None
        ]


def restore(batch: Batch, quarantined: Iterable[bytes]) -> int:
    """
    Take images out of quarantine, as they were; return how many.

    One whose hash was registered again meanwhile, or blocked, stays there.
    """
    databases, restored = batch.databases, 0
    for key in quarantined:
        stored = batch.transaction.get(key, db=databases.quarantined)
        digest = key[:DIGEST_SIZE]
        if stored is None or find_blocked(batch, digest) is not None:
            continue
        record = QuarantineRecord.unpack(stored)
        if batch.put(databases.images, digest, record.image, overwrite=False):
            batch.delete(databases.quarantined, key)
            _describe(batch, digest, record)
            restored += 1
    return restored


def _describe(batch: Batch, digest: bytes, record: QuarantineRecord) -> None:
    """Store again what was stored beside an image."""
    image, listed = ImageRecord.unpack(record.image), True
    if record.about:
        about = DatedAbout.unpack(record.about)
        put_about(batch, image.number, about)
        listed = about.record.about.listed
    # Otherwise asciid verify lists it.
    if listed and record.completed:
        place = place_key(record.completed, image.number)
        batch.put(batch.databases.listing, place, image.listed(digest).pack())


def _number(record: bytes) -> int | None:
    try:
        return ImageRecord.unpack(record).number
    except struct.error:
        return None


def _quarantined_number(value: bytes) -> int | None:
    return _number(QuarantineRecord.unpack(value).image)
