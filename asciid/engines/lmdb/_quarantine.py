"""
Images that were found to be damaged: putting them aside, and deleting them.

The functions on a `Batch` run inside a write transaction.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from asciid.engines.lmdb._records import ImageRecord, upload_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot

__all__ = ["PURGE_STEP", "deletable", "purge", "put_aside", "restorable", "restore"]

PURGE_STEP = 300
"""How many images leave quarantine in one transaction."""

DIGEST_SIZE = 32
"""Bytes of a SHA-256."""


def put_aside(batch: Batch, digest: bytes, record: bytes) -> bool:
    """
    Take an image out of the ones that are registered; its chunks are kept.

    Return False, having done nothing, if it no longer has that record.
    """
    databases = batch.databases
    if batch.transaction.get(digest, db=databases.images) != record:
        return False
    batch.delete(databases.images, digest)
    batch.removed.append(digest.hex())
    batch.put(databases.quarantined, digest + upload_key(batch.now), record)
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
            found[bytes(key)] = _number(bytes(record))
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
            bytes(key) for key, record in cursor if _number(bytes(record)) is not None
        ]


def restore(batch: Batch, quarantined: Iterable[bytes]) -> int:
    """
    Take images out of quarantine, as they were; return how many.

    One whose hash was registered again meanwhile stays there.
    """
    databases, restored = batch.databases, 0
    for key in quarantined:
        record = batch.transaction.get(key, db=databases.quarantined)
        digest = key[:DIGEST_SIZE]
        if record is not None and batch.put(
            databases.images, digest, record, overwrite=False
        ):
            batch.delete(databases.quarantined, key)
            restored += 1
    return restored


def _number(record: bytes) -> int | None:
    try:
        return ImageRecord.unpack(record).number
    except struct.error:
        return None
