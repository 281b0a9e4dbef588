"""
Questions to one snapshot of the storage file.

Everything here runs in a thread of the read pool.
"""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from itertools import islice
from typing import TYPE_CHECKING

import lmdb
from attrs import frozen

from asciid.errors import ImageGoneError, ImageIncompleteError, ImageNotFoundError
from asciid.model import ImageSpec, ImageState, UploadStatus
from asciid.store._records import (
    SEAL_ID,
    ImageRecord,
    Seal,
    UploadRecord,
    chunk_id_of,
    chunk_key,
    upload_key,
)
from asciid.store._rules import missing_ranges
from asciid.store._stats import StoreUsage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from hashlib import _Hash

    from asciid.store._databases import Snapshot
    from asciid.store._uploads import Unverified

__all__ = [
    "Found",
    "count",
    "find_complete",
    "hash_with",
    "is_complete",
    "measure",
    "not_found",
    "read_range",
    "read_status",
]

RELIEVE_EVERY = 1024 * 1024
"""Bytes that are hashed between two looks at the memory that they take."""

_KEYS_AT_ONCE = 100
"""So many keys are looked at together; with many more, making them is slower."""


@frozen
class Found:
    """A complete image: what it is, where it is, and its bytes if it is small."""

    spec: ImageSpec
    image: ImageRecord
    completed: float
    stamp: float
    content: bytes | None


def count(snapshot: Snapshot) -> int:
    """Return how many images are registered."""
    return snapshot.transaction.stat(snapshot.databases.images)["entries"]


def measure(snapshot: Snapshot, file_bytes: int, free_bytes: int) -> StoreUsage:
    """Return how much is stored."""
    stat, databases = snapshot.transaction.stat, snapshot.databases
    pending = stat(databases.uploads)["entries"]
    return StoreUsage(
        images=stat(databases.images)["entries"] - pending,
        pending=pending,
        quarantined=stat(databases.quarantined)["entries"],
        file_bytes=file_bytes,
        free_bytes=free_bytes,
    )


def find_complete(snapshot: Snapshot, sha256: str, inline: int) -> Found:
    """
    Find a complete image; take its bytes along if they are at most `inline`.

    Those are checked, for they may be kept in memory when `asciid verify` has long
    put the image aside.

    Errors: `ImageNotFoundError`, `ImageGoneError`, `ImageIncompleteError`,
    `lmdb.CorruptedError` if they are not what was stored.
    """
    image = _find(snapshot, sha256)
    seal = _seal(snapshot, image.number)
    if seal is None:
        raise ImageIncompleteError(sha256)
    content = None
    if image.size <= inline:
        content = read_range(snapshot, sha256, image, 0, image.size)
        if sha256_of(content).hexdigest() != sha256:
            message = "an image is damaged, asciid verify tells which"
            raise lmdb.CorruptedError(message)
    completed, stamp = seal.completed / 1000, seal.stamp / 1000
    return Found(image.spec(sha256), image, completed, stamp, content)


def is_complete(snapshot: Snapshot, sha256: str) -> bool:
    """Tell whether an image is there, and complete."""
    try:
        image = _find(snapshot, sha256)
    except (ImageNotFoundError, ImageGoneError):
        return False
    return _seal(snapshot, image.number) is not None


def read_range(
    snapshot: Snapshot, sha256: str, image: ImageRecord, start: int, end: int
) -> bytes:
    """
    Return the bytes ``[start, end)`` of a complete image.

    Errors: `ImageNotFoundError` if it is no longer there.
    """
    size = image.piece_size
    ids = ImageSpec(sha256, image.size, size).chunks_between(start, end)
    if not ids:
        return b""
    with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
        if not cursor.set_key(chunk_key(image.number, ids[0])):
            raise ImageNotFoundError(sha256)
        pieces = list(islice(cursor.iternext(keys=False, values=True), len(ids)))
        # The last one first: it may be the same as the first.
        pieces[-1] = pieces[-1][: end - ids[-1] * size]
        pieces[0] = pieces[0][start - ids[0] * size :]
        return b"".join(pieces)


def read_status(
    snapshot: Snapshot, sha256: str, expires: Callable[[float], float | None]
) -> UploadStatus:
    """
    Tell what is stored of an image; `expires` is `Aging.upload_expires`.

    Errors: `ImageNotFoundError`, `ImageGoneError`.
    """
    image = _find(snapshot, sha256)
    spec, number = image.spec(sha256), image.number
    seal = _seal(snapshot, number)
    if seal is not None:
        return UploadStatus(
            spec,
            ImageState.COMPLETE,
            received=spec.size,
            created=seal.created / 1000,
            completed=seal.completed / 1000,
        )
    # What is neither sealed nor pending is not registered: this must be there.
    upload = UploadRecord.unpack(
        snapshot.transaction.get(upload_key(number), b"", db=snapshot.databases.uploads)
    )
    missing, cut = missing_ranges(_stored_runs(snapshot, number), spec.chunks)
    return UploadStatus(
        spec,
        ImageState.PENDING,
        received=spec.size - upload.missing,
        created=upload.created / 1000,
        missing=missing,
        missing_cut=cut,
        expires=expires(upload.active / 1000),
    )


def hash_with(
    snapshot: Snapshot, upload: Unverified, chunk_id: int, data: bytes
) -> str:
    """
    Return the SHA-256 of an upload's chunks with `data` in place of a missing one.

    That is the only chunk missing, or the upload is gone and the answer is of
    no use; `Batch.finish` finds out which.
    """
    digest = sha256_of()
    spec, number = upload.spec, upload.number
    with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
        cursor.set_range(chunk_key(number, 0))
        before = islice(cursor.iternext(keys=False, values=True), chunk_id)
        _hash_all(snapshot, digest, before)
        digest.update(data)
        cursor.set_range(chunk_key(number, chunk_id))
        after = spec.chunks - chunk_id - 1
        _hash_all(
            snapshot, digest, islice(cursor.iternext(keys=False, values=True), after)
        )
    return digest.hexdigest()


def _hash_all(snapshot: Snapshot, digest: _Hash, pieces: Iterable[bytes]) -> None:
    size = 0
    for piece in pieces:
        digest.update(piece)
        size += len(piece)
        if size >= RELIEVE_EVERY:
            snapshot.relieve()
            size = 0


def _find(snapshot: Snapshot, sha256: str) -> ImageRecord:
    stored = snapshot.transaction.get(
        bytes.fromhex(sha256), db=snapshot.databases.images
    )
    if stored is None:
        raise not_found(snapshot, sha256)
    return ImageRecord.unpack(stored)


def not_found(snapshot: Snapshot, sha256: str) -> ImageNotFoundError | ImageGoneError:
    """Return what to raise for an image that is not registered."""
    gone = snapshot.transaction.get(bytes.fromhex(sha256), db=snapshot.databases.gone)
    return ImageNotFoundError(sha256) if gone is None else ImageGoneError(sha256)


def _seal(snapshot: Snapshot, number: int) -> Seal | None:
    stored = snapshot.transaction.get(
        chunk_key(number, SEAL_ID), db=snapshot.databases.chunks
    )
    return None if stored is None else Seal.unpack(stored)


def _stored_runs(snapshot: Snapshot, number: int) -> Iterator[tuple[int, int]]:
    """Yield the chunk ids of an upload as runs, in ascending order."""
    prefix = upload_key(number)
    with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
        if not cursor.set_range(prefix):
            return
        walk = cursor.iternext(keys=True, values=False)
        while keys := list(islice(walk, _KEYS_AT_ONCE)):
            own = keys
            if keys[-1][: len(prefix)] != prefix:
                own = [key for key in keys if key[: len(prefix)] == prefix]
            if own:
                yield from _runs(own)
            if len(own) < _KEYS_AT_ONCE:
                return


def _runs(keys: Sequence[bytes | memoryview]) -> Iterator[tuple[int, int]]:
    """Yield the ids in ascending keys of one upload as runs, looking at few keys."""
    first, last = chunk_id_of(keys[0]), chunk_id_of(keys[-1])
    if last - first == len(keys) - 1:
        yield first, last
        return
    middle = len(keys) // 2
    yield from _runs(keys[:middle])
    yield from _runs(keys[middle:])
