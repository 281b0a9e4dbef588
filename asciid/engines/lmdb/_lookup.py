"""
Reads records from one snapshot of the storage file.

Everything here runs in a thread of the read pool, or in that of the writer.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import lmdb

from asciid.engines.lmdb._directories import DATA_FILE
from asciid.engines.lmdb._records import (
    SEAL_ID,
    ImageRecord,
    Seal,
    chunk_id_of,
    chunk_key,
    unpack_blocked,
    upload_key,
)
from asciid.engines.lmdb._reserve import free_bytes
from asciid.errors import ImageBlockedError, ImageGoneError, ImageNotFoundError
from asciid.model import ImageSpec
from asciid.store.stats import StoreUsage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from asciid.engines.lmdb._databases import Readable, Snapshot
    from asciid.errors import AsciidError
    from asciid.model import BlockedHash

__all__ = [
    "count",
    "find",
    "find_blocked",
    "find_seal",
    "measure",
    "not_found",
    "read_range",
    "read_ranges",
    "stored_runs",
]

_KEYS_AT_ONCE = 100
"""Keys that are read together; with many more, making them is slower."""


def count(snapshot: Snapshot) -> int:
    """Return how many images are registered."""
    return snapshot.transaction.stat(snapshot.databases.images)["entries"]


def measure(snapshot: Snapshot, path: Path) -> StoreUsage:
    """
    Return how much is stored in the directory `path`.

    Errors: `OSError`.
    """
    stat, databases = snapshot.transaction.stat, snapshot.databases
    pending = stat(databases.uploads)["entries"]
    return StoreUsage(
        images=stat(databases.images)["entries"] - pending,
        pending=pending,
        listed=stat(databases.listing)["entries"],
        blocked=stat(databases.blocked)["entries"],
        quarantined=stat(databases.quarantined)["entries"],
        file_bytes=(path / DATA_FILE).stat().st_size,
        free_bytes=free_bytes(path),
    )


def read_range(
    snapshot: Snapshot, sha256: str, image: ImageRecord, start: int, end: int
) -> bytes:
    """
    Return the bytes ``[start, end)`` of a complete image.

    Errors: `ImageNotFoundError` if it is no longer there.
    """
    if start == end:
        return b""
    size = image.piece_size
    first, last = start // size, (end - 1) // size
    with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
        if not cursor.set_key(chunk_key(image.number, first)):
            raise ImageNotFoundError(sha256)
        values = cursor.iternext(keys=False, values=True)
        pieces = list(islice(values, last - first + 1))
        return _join(pieces, start - first * size, end - last * size)


def read_ranges(
    snapshot: Snapshot,
    sha256: str,
    image: ImageRecord,
    ranges: Iterable[tuple[int, int]],
) -> list[bytes]:
    """
    Return the bytes ``[start, end)`` of a complete image, for each of `ranges`.

    Errors: `ImageNotFoundError` if it is no longer there, `lmdb.CorruptedError` if a
    piece is missing.
    """
    size = image.piece_size
    spec = ImageSpec(sha256, image.size, size)
    found = []
    following = -1
    with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
        for start, end in ranges:
            ids = spec.chunks_between(start, end)
            if not ids:
                found.append(b"")
                continue
            if ids[0] != following:
                if not cursor.set_key(chunk_key(image.number, ids[0])):
                    raise ImageNotFoundError(sha256)
                values = cursor.iternext(keys=False, values=True)
            pieces = list(islice(values, len(ids)))
            # An image that is being deleted loses its first pieces first.
            if cursor.key() != chunk_key(image.number, ids[-1]):
                message = "damaged image; asciid verify lists it"
                raise lmdb.CorruptedError(message)
            following = ids[-1] + 1
            found.append(_join(pieces, start - ids[0] * size, end - ids[-1] * size))
    return found


def _join(pieces: list[bytes], start: int, end: int) -> bytes:
    """Return the bytes from `start` in the first piece to `end` in the last."""
    # The last one first: it may be the same as the first.
    pieces[-1] = pieces[-1][:end]
    pieces[0] = pieces[0][start:]
    return b"".join(pieces)


def find(snapshot: Snapshot, sha256: str) -> ImageRecord:
    """
    Return the record of a registered image.

    Errors: `ImageNotFoundError`, `ImageGoneError`, `ImageBlockedError`.
    """
    stored = snapshot.transaction.get(
        bytes.fromhex(sha256), db=snapshot.databases.images
    )
    if stored is None:
        raise not_found(snapshot, sha256)
    return ImageRecord.unpack(stored)


def not_found(where: Readable, sha256: str) -> AsciidError:
    """Return the error for an image that is not registered."""
    digest, databases = bytes.fromhex(sha256), where.databases
    blocked = find_blocked(where, digest)
    if blocked is not None:
        return ImageBlockedError(blocked.reason)
    gone = where.transaction.get(digest, db=databases.gone)
    return ImageNotFoundError(sha256) if gone is None else ImageGoneError(sha256)


def find_blocked(where: Readable, digest: bytes) -> BlockedHash | None:
    """Return the record of a blocked hash, or None."""
    stored = where.transaction.get(digest, db=where.databases.blocked)
    return None if stored is None else unpack_blocked(digest, stored)


def find_seal(where: Readable, number: int) -> Seal | None:
    """Return the seal of an upload, or None if it is not complete."""
    stored = where.transaction.get(
        chunk_key(number, SEAL_ID), db=where.databases.chunks
    )
    return None if stored is None else Seal.unpack(stored)


def stored_runs(
    snapshot: Snapshot, number: int, chunks: int
) -> Iterator[tuple[int, int]]:
    """Yield the chunk ids of an upload of `chunks` as runs, in ascending order."""
    prefix = upload_key(number)
    # No more than there may be: the next ones are those of other uploads.
    at_once = min(_KEYS_AT_ONCE, chunks)
    with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
        if not cursor.set_range(prefix):
            return
        walk = cursor.iternext(keys=True, values=False)
        while keys := list(islice(walk, at_once)):
            own = keys
            if keys[-1][: len(prefix)] != prefix:
                own = [key for key in keys if key[: len(prefix)] == prefix]
            if own:
                yield from _runs(own)
            if len(own) < at_once:
                return


def _runs(keys: Sequence[bytes | memoryview]) -> Iterator[tuple[int, int]]:
    """Yield the ids in ascending keys of one upload as runs, reading few keys."""
    first, last = chunk_id_of(keys[0]), chunk_id_of(keys[-1])
    if last - first == len(keys) - 1:
        yield first, last
        return
    middle = len(keys) // 2
    yield from _runs(keys[:middle])
    yield from _runs(keys[middle:])
