"""Reads a storage file from beginning to end, to copy it into another storage."""

from __future__ import annotations

import struct
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import lmdb
from attrs import frozen

from asciid.engines.lmdb._about import find_about
from asciid.engines.lmdb._lookup import count, find_seal
from asciid.engines.lmdb._quarantine import DIGEST_SIZE
from asciid.engines.lmdb._records import (
    NEXT_UPLOAD_KEY,
    SEAL_ID,
    ImageRecord,
    UploadRecord,
    chunk_id_of,
    chunk_key,
    place_of,
    unpack_blocked,
    upload_key,
    upload_number_of,
)
from asciid.store.transfer import (
    DamagedUploadError,
    GoneHash,
    StoredUpload,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asciid.engines.lmdb._databases import Readable, Snapshot
    from asciid.engines.lmdb._storage_file import StorageFile
    from asciid.model import BlockedHash
    from asciid.store.transfer import Pieces

__all__ = ["FileSource", "find_uploads"]

PAGE = 500
"""How many records are read in one transaction."""

STEP = 4 * 1024 * 1024
"""After so many bytes of an image a read transaction ends ..."""

STEP_PIECES = 4_000
"""... or after so many pieces."""

_UNREADABLE = "its records cannot be read"


@frozen
class FileSource:
    """The `ICopySource` of a storage file, which this process owns."""

    storage: StorageFile

    @property
    def next_number(self) -> int:
        """See `ICopySource.next_number`."""
        return self.storage.read(_next_number)

    @property
    def total(self) -> int:
        """See `ICopySource.total`."""
        return self.storage.read(count)

    def listed(self) -> Iterator[Sequence[StoredUpload]]:
        """See `ICopySource.listed`."""
        for page in self._pages("listing"):
            found = find_uploads(
                self.storage, [value[:DIGEST_SIZE] for _, value in page]
            )
            there = [one for one in found if isinstance(one, StoredUpload)]
            # A listing that disagrees with the images is left to the walk by hash.
            places = {place_of(key) for key, _ in page}
            yield [
                one
                for one in there
                if one.is_listed and (one.completed, one.number) in places
            ]

    def uploads(self) -> Iterator[Sequence[StoredUpload | DamagedUploadError]]:
        """See `ICopySource.uploads`."""
        for page in self._pages("images"):
            yield find_uploads(self.storage, [key for key, _ in page])

    def read(self, uploads: Sequence[StoredUpload]) -> Sequence[Pieces]:
        """See `ICopySource.read`."""
        try:
            return self.storage.read(
                lambda snapshot: [_all_pieces(snapshot, upload) for upload in uploads]
            )
        except lmdb.Error as error:
            raise _unreadable(uploads[0].spec.sha256, error) from error

    def stream(self, upload: StoredUpload) -> Iterator[Pieces]:
        """See `ICopySource.stream`."""
        number, first = upload.number, 0
        while True:
            query = partial(_pieces, number=number, first=first, limit=STEP_PIECES)
            try:
                pieces = self.storage.read(query)
            except lmdb.Error as error:
                raise _unreadable(upload.spec.sha256, error) from error
            if not pieces:
                return
            yield pieces
            first = pieces[-1][0] + 1

    def blocked(self) -> Iterator[Sequence[BlockedHash | DamagedUploadError]]:
        """See `ICopySource.blocked`."""
        for page in self._pages("blocked"):
            yield [_blocked(key, value) for key, value in page]

    def gone(self) -> Iterator[Sequence[GoneHash]]:
        """See `ICopySource.gone`."""
        for page in self._pages("gone"):
            yield [GoneHash(key.hex(), upload_number_of(value)) for key, value in page]

    def _pages(self, name: str) -> Iterator[Sequence[tuple[bytes, bytes]]]:
        """Yield all records of a database."""
        start = b""
        while page := self.storage.read(partial(_records, name=name, start=start)):
            yield page
            # No key lies between one and itself with a zero behind it.
            start = page[-1][0] + b"\0"


def find_uploads(
    storage: StorageFile, digests: Sequence[bytes]
) -> Sequence[StoredUpload | DamagedUploadError]:
    """Return what is stored under `digests`, leaving out those that are not."""
    try:
        return storage.read(lambda snapshot: _find_all(snapshot, digests))
    except lmdb.Error as error:
        if len(digests) == 1:
            reason = f"{_UNREADABLE}: {error}"
            return [DamagedUploadError(digests[0].hex(), reason)]
    # After an error the rest of its transaction fails, too.
    return [found for digest in digests for found in find_uploads(storage, [digest])]


def _find(where: Readable, digest: bytes) -> StoredUpload | None:
    """
    Return the image or the pending upload with that hash, or None.

    Errors: `DamagedUploadError` if its records cannot be read or do not agree.
    """
    stored = where.transaction.get(digest, db=where.databases.images)
    if stored is None:
        return None
    sha256 = digest.hex()
    try:
        image = ImageRecord.unpack(stored)
        seal = find_seal(where, image.number)
        about = find_about(where, image.number)
        key = upload_key(image.number)
        pending = where.transaction.get(key, db=where.databases.uploads)
        upload = None if pending is None else UploadRecord.unpack(pending)
    except struct.error as error:
        raise DamagedUploadError(sha256, _UNREADABLE) from error
    if min(image.chunk_size, image.piece_size) < 1:
        raise DamagedUploadError(sha256, _UNREADABLE)
    record = None if about is None else about.record
    spec, number, piece_size = image.spec(sha256), image.number, image.piece_size
    if seal is not None:
        times = seal.created, seal.stamp, seal.completed
        return StoredUpload(spec, number, piece_size, 0, *times, record)
    if upload is None:
        reason = "it is neither complete nor pending"
        raise DamagedUploadError(sha256, reason)
    return StoredUpload(
        spec,
        number,
        piece_size,
        upload.missing,
        upload.created,
        upload.active,
        None,
        record,
    )


def _find_all(
    snapshot: Snapshot, digests: Sequence[bytes]
) -> Sequence[StoredUpload | DamagedUploadError]:
    found: list[StoredUpload | DamagedUploadError] = []
    for digest in digests:
        try:
            upload = _find(snapshot, digest)
        except DamagedUploadError as error:
            found.append(error.with_traceback(None))
            continue
        if upload is not None:
            found.append(upload)
    return found


def _blocked(digest: bytes, value: bytes) -> BlockedHash | DamagedUploadError:
    try:
        return unpack_blocked(digest, value)
    except (struct.error, UnicodeDecodeError):
        reason = "the reason of its block cannot be read"
        return DamagedUploadError(digest.hex(), reason)


def _all_pieces(snapshot: Snapshot, upload: StoredUpload) -> Pieces:
    """Return the pieces of a small upload, and one more if there are too many."""
    expected = -(-upload.spec.size // upload.piece_size)
    return _pieces(snapshot, upload.number, 0, expected + 1)


def _pieces(snapshot: Snapshot, number: int, first: int, limit: int) -> Pieces:
    """Return up to `limit` pieces of an upload from the id `first` on, or `STEP`."""
    pieces: list[tuple[int, bytes]] = []
    size, end = 0, chunk_key(number, SEAL_ID)
    with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
        if not cursor.set_range(chunk_key(number, first)):
            return pieces
        for key, piece in islice(cursor, limit):
            if bytes(key) >= end:
                break
            pieces.append((chunk_id_of(key), bytes(piece)))
            size += len(piece)
            if size >= STEP:
                break
    snapshot.relieve()
    return pieces


def _unreadable(sha256: str, error: lmdb.Error) -> DamagedUploadError:
    return DamagedUploadError(sha256, f"it cannot be read: {error}")


def _records(snapshot: Snapshot, name: str, start: bytes) -> list[tuple[bytes, bytes]]:
    database = getattr(snapshot.databases, name)
    with snapshot.transaction.cursor(database) as cursor:
        if not cursor.set_range(start):
            return []
        return [(bytes(key), bytes(value)) for key, value in islice(cursor, PAGE)]


def _next_number(snapshot: Snapshot) -> int:
    stored = snapshot.transaction.get(NEXT_UPLOAD_KEY)
    return 0 if stored is None else upload_number_of(stored)
