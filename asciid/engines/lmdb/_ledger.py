"""
The records of one write transaction, and the ones deferred to its end.

Everything here runs in the writer's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.engines.lmdb._databases import Snapshot
from asciid.engines.lmdb._lookup import not_found
from asciid.engines.lmdb._records import (
    FORMAT_KEY,
    FORMAT_VERSION,
    NEXT_UPLOAD_KEY,
    ImageRecord,
    UploadRecord,
    upload_key,
    upload_number_of,
)
from asciid.engines.lmdb._uploads import Upload
from asciid.store.stats import StoreEvents

if TYPE_CHECKING:
    import lmdb

    from asciid.engines.lmdb._databases import Databases
    from asciid.engines.lmdb._uploads import WriterMemory

__all__ = ["REMEMBERED_UPLOADS", "Ledger"]

REMEMBERED_UPLOADS = 10_000
"""How many pending uploads the writer caches between transactions."""


class Ledger:
    """
    Reads and writes records in `transaction`, with the help of `memory`.

    `now` is in milliseconds since the epoch, `stamp` is that of
    `asciid.engines._stamps`, in milliseconds too.  `failing` is whether the last
    commit failed.  `events` counts the changes.
    """

    def __init__(  # noqa: PLR0913 - each is a fact about the batch
        self,
        transaction: lmdb.Transaction[bytes],
        databases: Databases,
        memory: WriterMemory,
        *,
        now: int,
        stamp: int,
        failing: bool = False,
    ) -> None:
        self.transaction = transaction
        self.databases = databases
        self._memory = memory
        self.now = now
        self.stamp = stamp
        self._failing = failing
        self._touched: dict[int, Upload] = {}
        self.events = StoreEvents()
        self.removed: list[str] = []
        """The hashes of complete images that were removed."""
        self._changed = False
        self._numbered = False

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return self._changed

    def is_touched(self, number: int) -> bool:
        """Return whether this batch has changed a pending upload."""
        return number in self._touched

    def flush(self) -> None:
        """Write deferred records; to be called before the commit."""
        for number, upload in self._touched.items():
            record = UploadRecord(
                bytes.fromhex(upload.spec.sha256),
                upload.missing,
                upload.created,
                self.stamp,
            )
            self.put(self.databases.uploads, upload_key(number), record.pack())
        if self._numbered:
            self.put(None, NEXT_UPLOAD_KEY, upload_key(self._next_number()))
        if len(self._memory.uploads) > REMEMBERED_UPLOADS:
            self._memory.clear_uploads()

    def probe(self) -> None:
        """After a failed commit, rewrite a record, to have something to commit."""
        if self._failing:
            self.put(None, FORMAT_KEY, FORMAT_VERSION)

    def take_number(self) -> int:
        """Take the next upload number, which is never given again."""
        number = self._next_number()
        self._memory.next_upload = number + 1
        self._numbered = True
        return number

    def _next_number(self) -> int:
        number = self._memory.next_upload
        if number is None:
            stored = self.transaction.get(NEXT_UPLOAD_KEY)
            number = 0 if stored is None else upload_number_of(stored)
            self._memory.next_upload = number
        return number

    def find(self, sha256: str) -> Upload:
        """Return the upload of a registered image; complete ones miss nothing."""
        upload = self.find_or_none(sha256)
        if upload is None:
            raise not_found(Snapshot(self.transaction, self.databases), sha256)
        return upload

    def find_or_none(self, sha256: str) -> Upload | None:
        """Return the upload of an image, or None if it is not registered."""
        upload = self._memory.uploads.get(sha256)
        if upload is not None:
            return upload
        stored = self.transaction.get(bytes.fromhex(sha256), db=self.databases.images)
        if stored is None:
            return None
        image = ImageRecord.unpack(stored)
        spec = image.spec(sha256)
        pending = self.transaction.get(
            upload_key(image.number), db=self.databases.uploads
        )
        if pending is None:
            return Upload(spec, image, missing=0, created=0)
        record = UploadRecord.unpack(pending)
        upload = Upload(spec, image, record.missing, record.created)
        self._memory.uploads[sha256] = upload
        return upload

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
        self._changed = self._changed or stored
        return stored

    def delete(self, database: lmdb._Database, key: bytes) -> bool:
        """Delete a record; return whether it existed."""
        deleted = self.transaction.delete(key, db=database)
        self._changed = self._changed or deleted
        return deleted

    def _no_longer_pending(self, upload: Upload) -> None:
        number = upload.number
        self._memory.drop(upload)
        begun_here = self._touched.pop(number, None) is not None
        if self.delete(self.databases.uploads, upload_key(number)) or begun_here:
            self._memory.pending.ended(number)

    def _is_registered(self, digest: bytes) -> bool:
        return self.transaction.get(digest, db=self.databases.images) is not None

    def _is_pending(self, number: int) -> bool:
        return number in self._touched or (
            self.transaction.get(upload_key(number), db=self.databases.uploads)
            is not None
        )

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
