"""Writes what is copied from another storage to a storage file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from asciid.engines.lmdb import _staging
from asciid.engines.lmdb._about import put_about
from asciid.engines.lmdb._file_source import find_uploads
from asciid.engines.lmdb._lookup import find_blocked
from asciid.engines.lmdb._records import (
    SEAL_ID,
    DatedAbout,
    ImageRecord,
    Seal,
    UploadRecord,
    chunk_key,
    pack_blocked,
    place_key,
    upload_key,
    upload_number_of,
)
from asciid.store.transfer import DamagedUploadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot
    from asciid.engines.lmdb._storage_file import StorageFile
    from asciid.model import BlockedHash
    from asciid.store.transfer import GoneHash, Pieces, StoredUpload

__all__ = ["FileTarget"]


@frozen
class FileTarget:
    """The `ICopyTarget` of a storage file that this process owns."""

    storage: StorageFile

    def reserve_numbers(self, below: int) -> None:
        """See `ICopyTarget.reserve_numbers`."""
        self.storage.execute(lambda batch: batch.skip_numbers(below))

    def find(
        self, hashes: Sequence[str]
    ) -> Mapping[str, StoredUpload | DamagedUploadError]:
        """See `ICopyTarget.find`."""
        found = find_uploads(self.storage, [bytes.fromhex(one) for one in hashes])
        return {
            one.sha256 if isinstance(one, DamagedUploadError) else one.spec.sha256: one
            for one in found
        }

    def find_blocked(self, hashes: Sequence[str]) -> Mapping[str, BlockedHash]:
        """See `ICopyTarget.find_blocked`."""
        return self.storage.read(lambda snapshot: _find_blocked(snapshot, hashes))

    def add(self, uploads: Sequence[tuple[StoredUpload, Pieces]]) -> None:
        """See `ICopyTarget.add`."""
        self.storage.execute(lambda batch: _add(batch, uploads))

    def begin(self) -> int:
        """See `ICopyTarget.begin`."""
        return self.storage.execute(_staging.begin)

    def append(self, number: int, pieces: Pieces) -> None:
        """See `ICopyTarget.append`."""
        self.storage.execute(lambda batch: _put_pieces(batch, number, pieces))

    def finish(self, number: int, upload: StoredUpload) -> None:
        """See `ICopyTarget.finish`."""
        self.storage.execute(lambda batch: _finish(batch, number, upload))

    def abandon(self, number: int) -> None:
        """See `ICopyTarget.abandon`."""
        self.storage.execute(lambda batch: _staging.abandon(batch, number))

    def add_blocked(self, blocked: Sequence[BlockedHash]) -> None:
        """See `ICopyTarget.add_blocked`."""
        self.storage.execute(lambda batch: _add_blocked(batch, blocked))

    def add_gone(self, gone: Sequence[GoneHash]) -> None:
        """See `ICopyTarget.add_gone`."""
        self.storage.execute(lambda batch: _add_gone(batch, gone))

    def tidy(self) -> None:
        """See `ICopyTarget.tidy`: nobody else has staged uploads in the file."""
        self.storage.execute(_abandon_all)
        while self.storage.execute(_delete_discarded):
            pass


def _find_blocked(
    snapshot: Snapshot, hashes: Sequence[str]
) -> Mapping[str, BlockedHash]:
    found = ((one, find_blocked(snapshot, bytes.fromhex(one))) for one in hashes)
    return {sha256: blocked for sha256, blocked in found if blocked is not None}


def _add(batch: Batch, uploads: Sequence[tuple[StoredUpload, Pieces]]) -> None:
    for upload, pieces in uploads:
        if _has_room(batch, upload):
            number = batch.take_number()
            _put_pieces(batch, number, pieces)
            _put_records(batch, number, upload)


def _finish(batch: Batch, number: int, upload: StoredUpload) -> None:
    if _has_room(batch, upload):
        batch.delete(batch.databases.staged, upload_key(number))
        _put_records(batch, number, upload)
    else:
        _staging.abandon(batch, number)


def _has_room(batch: Batch, upload: StoredUpload) -> bool:
    """Return whether `upload` may be added; discard a pending one that it replaces."""
    sha256 = upload.spec.sha256
    if find_blocked(batch, bytes.fromhex(sha256)) is not None:
        return False
    existing = batch.find_or_none(sha256)
    if existing is None:
        return True
    if not existing.missing or upload.completed is None:
        return False
    batch.discard(existing)
    return True


def _put_pieces(batch: Batch, number: int, pieces: Pieces) -> None:
    for index, piece in pieces:
        batch.put(batch.databases.chunks, chunk_key(number, index), piece)


def _put_records(batch: Batch, number: int, upload: StoredUpload) -> None:
    spec, databases = upload.spec, batch.databases
    digest = bytes.fromhex(spec.sha256)
    image = ImageRecord(number, spec.size, spec.chunk_size, upload.piece_size)
    batch.put(databases.images, digest, image.pack())
    if upload.record is not None:
        # The stamps of a process that starts later are times since the epoch, too.
        about = DatedAbout(upload.record.about.expires, digest, upload.record)
        put_about(batch, number, about)
    if upload.completed is None:
        pending = UploadRecord(digest, upload.missing, upload.created, upload.active)
        batch.put(databases.uploads, upload_key(number), pending.pack())
        return
    seal = Seal(upload.created, upload.completed, upload.active)
    batch.put(databases.chunks, chunk_key(number, SEAL_ID), seal.pack())
    if upload.is_listed:
        place = place_key(upload.completed, number)
        batch.put(databases.listing, place, image.listed(digest).pack())


def _add_blocked(batch: Batch, blocked: Sequence[BlockedHash]) -> None:
    for one in blocked:
        if batch.find_or_none(one.sha256) is None:
            digest = bytes.fromhex(one.sha256)
            record = pack_blocked(one)
            batch.put(batch.databases.blocked, digest, record, overwrite=False)


def _add_gone(batch: Batch, gone: Sequence[GoneHash]) -> None:
    for one in gone:
        digest, stamp = bytes.fromhex(one.sha256), upload_key(one.removed)
        batch.put(batch.databases.gone, digest, stamp, overwrite=False)


def _abandon_all(batch: Batch) -> None:
    with batch.transaction.cursor(batch.databases.staged) as cursor:
        numbers = [upload_number_of(key) for key in cursor.iternext(values=False)]
    for number in numbers:
        _staging.abandon(batch, number)


def _delete_discarded(batch: Batch) -> bool:
    return batch.delete_discarded()
