"""
One write transaction: the operations of a batch on the storage file.

Everything here runs in the writer's thread.
"""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from itertools import islice
from typing import TYPE_CHECKING

from attrs import define, field

from asciid.engines.lmdb._about import about_of, describe, refuse_blocked, undescribe
from asciid.engines.lmdb._databases import Snapshot
from asciid.engines.lmdb._lookup import find_seal, not_found, read_range
from asciid.engines.lmdb._records import (
    FORMAT_KEY,
    FORMAT_VERSION,
    NEXT_UPLOAD_KEY,
    SEAL_ID,
    ImageRecord,
    UploadRecord,
    chunk_key,
    pack_listed,
    pack_seal,
    pack_upload,
    place_key,
    upload_key,
    upload_number_of,
)
from asciid.engines.lmdb._uploads import Upload
from asciid.errors import (
    ChunkExistsError,
    HashMismatchError,
    ImageExistsError,
)
from asciid.store.operations import AddChunk, Completed, Unverified
from asciid.store.rules import check_chunk, check_empty, check_key, record_of
from asciid.store.stats import StoreEvents

if TYPE_CHECKING:
    import lmdb

    from asciid.engines.lmdb._databases import Databases
    from asciid.engines.lmdb._uploads import WriterMemory
    from asciid.store.operations import Finish, Register

__all__ = ["Batch"]

VERIFY_IN_TRANSACTION = 256 * 1024
"""Images up to so many bytes are hashed inside the transaction ..."""

VERIFY_IN_TRANSACTION_CHUNKS = 1_000
"""... unless they are cut into more chunks than this."""

DISCARD_STEP = 1_000
"""Maximum chunks that one operation deletes."""

REMEMBERED_UPLOADS = 10_000
"""How many pending uploads the writer caches between transactions."""


@define(eq=False)
class Batch:
    """
    The operations on one write transaction.

    An operation raises domain errors only before it has changed anything, or
    when the change is meant to stay.  `flush` is to be called after the last one.
    """

    transaction: lmdb.Transaction[bytes]
    databases: Databases
    _memory: WriterMemory
    now: int = field(kw_only=True)
    """The time in milliseconds since the epoch."""
    stamp: int = field(kw_only=True)
    """That of `asciid.engines._stamps`, in milliseconds."""
    _failing: bool = field(kw_only=True)
    """Whether the last commit failed."""
    events: StoreEvents = field(init=False, factory=StoreEvents)
    """Counts of the changes."""
    removed: list[str] = field(init=False, factory=list)
    """The hashes of complete images that were removed."""
    changed: bool = field(init=False, default=False)
    """Whether there is anything to commit."""
    _touched: dict[int, Upload] = field(init=False, factory=dict)
    """Pending uploads whose records `flush` writes, by their numbers."""
    _numbered: bool = field(init=False, default=False)
    """Whether upload numbers were taken, so that `flush` writes the next one."""

    def register(self, it: Register) -> Completed | None:
        """See `Register`."""
        spec, client = it.spec, it.client
        digest = bytes.fromhex(spec.sha256)
        refuse_blocked(self, digest)
        if not spec.size:
            check_empty(spec)
        pending = self._memory.pending
        if pending.total is None:
            pending.total = self.transaction.stat(self.databases.uploads)["entries"]
        refusal = pending.refusal(client, self._is_pending)
        if refusal is not None and not self._is_registered(digest):
            raise refusal
        number = self._next_number()
        image = ImageRecord(number, spec.size, spec.chunk_size, spec.chunk_size)
        if not self.put(self.databases.images, digest, image.pack(), overwrite=False):
            raise ImageExistsError(spec.sha256)
        self._memory.next_upload = number + 1
        self._numbered = True
        self.events.registered += 1
        upload = Upload(
            spec, digest, image, number, missing=spec.size, created=self.now
        )
        record = record_of(it.new, None, number, listed=it.listed)
        if record is not None:
            describe(self, digest, number, record)
            upload.listed = record.about.listed
        if spec.size == 0:
            return self.complete(upload, b"")
        self._memory.keep(upload)
        self._touched[number] = upload
        pending.started(number, client)
        return None

    def add_chunk(self, it: AddChunk) -> Completed | Unverified | None:
        """
        See `AddChunk`.

        `Unverified` means that nothing was stored: hash the image, this chunk
        included, and call `finish`.
        """
        chunk_id, data = it.chunk_id, it.data
        upload = self._memory.uploads.get(it.sha256) or self.find(it.sha256)
        spec = upload.spec
        check_chunk(spec, chunk_id, len(data))
        if upload.missing == len(data) and (
            spec.size > VERIFY_IN_TRANSACTION
            or spec.chunks > VERIFY_IN_TRANSACTION_CHUNKS
        ):
            self._refuse_stored(upload, chunk_id, data)
            # Hashing may take long: this is activity, too.
            self._touched[upload.number] = upload
            return Unverified(spec, upload.number)
        self._put_chunk(upload, chunk_id, data)
        if upload.missing:
            return None
        content = self._join(upload)
        return self._verified(upload, sha256_of(content).hexdigest(), content)

    def finish(self, it: Finish) -> Completed | Unverified | None:
        """See `Finish`."""
        sha256 = it.verified.spec.sha256
        upload = self.find(sha256)
        if upload.number != it.verified.number:
            return self.add_chunk(AddChunk(sha256, it.chunk_id, it.data))
        self._put_chunk(upload, it.chunk_id, it.data)
        return self._verified(upload, it.actual, None)

    def remove(self, sha256: str, key_hash: bytes | None = None) -> None:
        """See `IImageStore.delete`; chunks are left to `delete_discarded`."""
        upload = self.find(sha256)
        if key_hash is not None:
            stored = about_of(self, upload.number).key_hash
            check_key(sha256, key_hash, stored)
        self.discard(upload, chunks=0)
        if not upload.missing:
            self.removed.append(sha256)
        # It may have expired before it was uploaded again.
        self.delete(self.databases.gone, bytes.fromhex(sha256))
        self.events.deleted += 1

    def delete_discarded(self) -> bool:
        """Delete some chunks of discarded uploads; return whether any are left."""
        room = DISCARD_STEP
        with self.transaction.cursor(self.databases.discarded) as cursor:
            while cursor.first():
                if room <= 0:
                    return True
                self.changed = True
                deleted = self._delete_chunks(upload_number_of(cursor.key()), room)
                room -= deleted + 1
                if room >= 0:
                    cursor.delete()
            return False

    def probe(self) -> None:
        """After a failed commit, rewrite a record, to have something to commit."""
        if self._failing:
            self.put(None, FORMAT_KEY, FORMAT_VERSION)

    def flush(self) -> None:
        """Write deferred records; to be called before the commit."""
        if self._touched:
            self._put_touched()
        if self._numbered:
            self.put(None, NEXT_UPLOAD_KEY, upload_key(self._next_number()))
        if len(self._memory.uploads) > REMEMBERED_UPLOADS:
            self._memory.clear_uploads()

    def _put_touched(self) -> None:
        # One call for all of them: their records are neighbours.
        stamp = self.stamp
        records = [
            (
                upload_key(number),
                pack_upload(upload.digest, upload.missing, upload.created, stamp),
            )
            for number, upload in self._touched.items()
        ]
        with self.transaction.cursor(self.databases.uploads) as cursor:
            cursor.putmulti(records)
        self.changed = True

    def find(self, sha256: str) -> Upload:
        """Return the upload of a registered image; complete ones miss nothing."""
        upload = self.find_or_none(sha256)
        if upload is None:
            raise not_found(self, sha256)
        return upload

    def find_or_none(self, sha256: str) -> Upload | None:
        """Return the upload of an image, or None if it is not registered."""
        upload = self._memory.uploads.get(sha256)
        if upload is not None:
            return upload
        digest = bytes.fromhex(sha256)
        stored = self.transaction.get(digest, db=self.databases.images)
        if stored is None:
            return None
        image = ImageRecord.unpack(stored)
        spec = image.spec(sha256)
        pending = self.transaction.get(
            upload_key(image.number), db=self.databases.uploads
        )
        if pending is None:
            return Upload(spec, digest, image, image.number, missing=0, created=0)
        record = UploadRecord.unpack(pending)
        about = about_of(self, image.number).about
        upload = Upload(
            spec,
            digest,
            image,
            image.number,
            record.missing,
            record.created,
            about.listed,
        )
        self._memory.uploads[sha256] = upload
        return upload

    def is_touched(self, number: int) -> bool:
        """Return whether this batch has changed a pending upload."""
        return number in self._touched

    def take_number(self) -> int:
        """Take the next upload number, which is never given again."""
        number = self._next_number()
        self._memory.next_upload = number + 1
        self._numbered = True
        return number

    def skip_numbers(self, below: int) -> None:
        """Give no upload number below `below` from now on."""
        if self._next_number() < below:
            self._memory.next_upload = below
            self._numbered = True

    def complete(
        self, upload: Upload, content: bytes | None, *, keeps_record: bool = False
    ) -> Completed:
        """Seal an upload that was verified; the rest is handed through."""
        self.events.completed += 1
        number, spec = upload.number, upload.spec
        seal = pack_seal(upload.created, self.now, self.stamp)
        self.put(self.databases.chunks, chunk_key(number, SEAL_ID), seal)
        if upload.listed:
            listed = pack_listed(upload.digest, spec.size, spec.chunk_size)
            place = place_key(self.now, number)
            self.put(self.databases.listing, place, listed)
        self._no_longer_pending(upload)
        return Completed(spec, self.now, content, keeps_record)

    def discard(self, upload: Upload, chunks: int = DISCARD_STEP) -> None:
        """
        Remove a registration, and its chunks if they are less than `chunks`.

        More than that many are left to `delete_discarded`.
        """
        self.delete(self.databases.images, upload.digest)
        seal = find_seal(self, upload.number)
        undescribe(self, upload.number, seal and seal.completed)
        self._no_longer_pending(upload)
        if self._delete_chunks(upload.number, chunks) == chunks:
            self.put(self.databases.discarded, upload_key(upload.number), b"")

    def put(
        self,
        database: lmdb._Database | None,
        key: bytes,
        value: bytes,
        *,
        overwrite: bool = True,
    ) -> bool:
        """Write a record; return False if it exists and `overwrite` is not set."""
        stored = self.transaction.put(key, value, overwrite=overwrite, db=database)
        if stored:
            self.changed = True
        return stored

    def delete(self, database: lmdb._Database, key: bytes) -> bool:
        """Delete a record; return whether it existed."""
        deleted = self.transaction.delete(key, db=database)
        if deleted:
            self.changed = True
        return deleted

    def _put_chunk(self, upload: Upload, chunk_id: int, data: bytes) -> None:
        if not upload.missing:
            raise self._exists_in_complete(upload, chunk_id, data)
        number = upload.number
        # Not `put`, which would cost a call for each chunk.
        if not self.transaction.put(
            chunk_key(number, chunk_id),
            data,
            overwrite=False,
            db=self.databases.chunks,
        ):
            self._refuse_stored(upload, chunk_id, data)
        self.changed = True
        self.events.chunks += 1
        upload.missing -= len(data)
        if upload.pieces is not None:
            upload.pieces[chunk_id] = data
        self._touched[number] = upload

    def _refuse_stored(self, upload: Upload, chunk_id: int, data: bytes) -> None:
        """Refuse a chunk that a pending upload has; do nothing if it has not."""
        key = chunk_key(upload.number, chunk_id)
        stored = self.transaction.get(key, db=self.databases.chunks)
        if stored is not None:
            raise ChunkExistsError(
                upload.spec.sha256, chunk_id, identical=stored == data
            )

    def _exists_in_complete(
        self, upload: Upload, chunk_id: int, data: bytes
    ) -> ChunkExistsError:
        # A complete image may be stored in other pieces than its chunks.
        start = chunk_id * upload.spec.chunk_size
        snapshot = Snapshot(self.transaction, self.databases)
        sha256, end = upload.spec.sha256, start + len(data)
        stored = read_range(snapshot, sha256, upload.image, start, end)
        return ChunkExistsError(sha256, chunk_id, identical=stored == data)

    def _join(self, upload: Upload) -> bytes:
        """Return the bytes of an upload that misses nothing."""
        chunks = upload.spec.chunks
        if upload.pieces is not None:
            return b"".join(map(upload.pieces.__getitem__, range(chunks)))
        with self.transaction.cursor(self.databases.chunks) as cursor:
            cursor.set_range(chunk_key(upload.number, 0))
            values = cursor.iternext(keys=False, values=True)
            return b"".join(islice(values, chunks))

    def _verified(
        self, upload: Upload, actual: str, content: bytes | None
    ) -> Completed:
        if actual == upload.spec.sha256:
            return self.complete(upload, content)
        self.discard(upload)
        self.events.rejected += 1
        raise HashMismatchError(upload.spec.sha256, actual)

    def _delete_chunks(self, number: int, limit: int) -> int:
        """Delete an upload's chunks, at most `limit`; return how many those were."""
        prefix = upload_key(number)
        with self.transaction.cursor(self.databases.chunks) as cursor:
            found = cursor.set_range(prefix)
            for deleted in range(limit):
                if not found or cursor.key()[: len(prefix)] != prefix:
                    return deleted
                cursor.delete()
                found = bool(cursor.key())
        return limit

    def _no_longer_pending(self, upload: Upload) -> None:
        number = upload.number
        self._memory.drop(upload)
        begun_here = self._touched.pop(number, None) is not None
        if self.delete(self.databases.uploads, upload_key(number)) or begun_here:
            self._memory.pending.ended(number)

    def _next_number(self) -> int:
        number = self._memory.next_upload
        if number is None:
            stored = self.transaction.get(NEXT_UPLOAD_KEY)
            number = 0 if stored is None else upload_number_of(stored)
            self._memory.next_upload = number
        return number

    def _is_registered(self, digest: bytes) -> bool:
        return self.transaction.get(digest, db=self.databases.images) is not None

    def _is_pending(self, number: int) -> bool:
        return number in self._touched or (
            self.transaction.get(upload_key(number), db=self.databases.uploads)
            is not None
        )
