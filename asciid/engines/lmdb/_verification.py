"""Reads every complete image again and checks that its bytes have its hash."""

from __future__ import annotations

import struct
from functools import partial
from hashlib import sha256 as sha256_of
from itertools import islice
from typing import TYPE_CHECKING, Protocol

import lmdb
from attrs import define, field

from asciid.engines._findings import Damaged, StorageDamagedError, most_damaged
from asciid.engines.lmdb._lookup import count, find_seal
from asciid.engines.lmdb._quarantine import (
    PURGE_STEP,
    deletable,
    purge,
    put_aside,
    restorable,
    restore,
)
from asciid.engines.lmdb._records import (
    ImageRecord,
    Seal,
    chunk_key,
    upload_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot
    from asciid.engines.lmdb._storage_file import StorageFile

__all__ = [
    "Verification",
    "leave_in",
    "purge_quarantine",
    "quarantine_in",
    "restore_quarantine",
]

PAGE = 100
"""How many image records are read in one transaction."""

STEP = 1024 * 1024
"""After so many bytes a read transaction ends, so that it keeps no page in use."""


class _Digest(Protocol):
    """A hash object of hashlib."""

    def update(self, data: memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


@define
class _Reading:
    """How far the chunks of one image were read."""

    number: int
    digest: _Digest = field(factory=sha256_of)
    size: int = 0
    chunks: int = 0
    ended: bool = False

    def step(self, snapshot: Snapshot) -> int:
        """Read on for a while; return how many bytes were read."""
        before = self.size
        with snapshot.transaction.cursor(snapshot.databases.chunks) as cursor:
            if not cursor.set_range(chunk_key(self.number, self.chunks)):
                self.ended = True
                return 0
            for key, piece in cursor:
                # The next chunk of this image, or not: then it has no more.
                if key != chunk_key(self.number, self.chunks):
                    self.ended = True
                    break
                self.digest.update(piece)
                self.size += len(piece)
                self.chunks += 1
                if self.size - before >= STEP:
                    break
        return self.size - before


class Pace(Protocol):
    """Counts the bytes that were read, and waits if those were many."""

    def __call__(self, size: int, /) -> None:
        """Count `size` bytes."""


@define
class Verification:
    """
    One walk over the complete images of a storage, which may change during it.

    `pace` is called with the size of every part that was read.  `put_aside` is called
    with the key and the record of a damaged image, and its time of completion or 0, and
    returns False if that image has been removed meanwhile.
    """

    storage: StorageFile
    pace: Pace
    put_aside: Callable[[bytes, bytes, int], bool]
    max_damaged: float = field(default=1.0, kw_only=True)
    """The fraction of the images that may be damaged; see `most_damaged`."""
    images: int = field(init=False, default=0)
    """How many images were read."""
    size: int = field(init=False, default=0)
    """How many bytes they had."""

    def run(self) -> Iterator[Damaged]:
        """
        Yield damaged images.

        Errors: `StorageDamagedError` past `max_damaged`; `lmdb.Error` if the storage
        cannot be walked at all.
        """
        bound = most_damaged(self.storage.read(count), self.max_damaged)
        damaged = 0
        start = b""
        while True:
            page = self.storage.read(partial(_page, start=start))
            for digest, record in page:
                seal, reason = self._check(digest, record)
                if reason is None:
                    continue
                if damaged >= bound and self.max_damaged < 1:
                    raise StorageDamagedError(damaged, self.max_damaged)
                if self.put_aside(digest, record, seal.completed if seal else 0):
                    damaged += 1
                    yield Damaged(digest.hex(), reason)
            if len(page) < PAGE:
                return
            start = page[-1][0] + b"\0"

    def _check(self, digest: bytes, record: bytes) -> tuple[Seal | None, str | None]:
        """Return the seal of an image, and its damage, if it has one."""
        seal = None
        try:
            image = ImageRecord.unpack(record)
            seal, pending = self.storage.read(partial(_state, number=image.number))
            if seal is None:
                damage = None if pending else "it is neither complete nor pending"
                return None, damage
            reading = _Reading(image.number)
            while not reading.ended:
                self.pace(self.storage.read(reading.step))
        except struct.error:
            return seal, "its record cannot be read"
        except lmdb.Error as error:
            return seal, f"it cannot be read: {error}"
        self.images += 1
        self.size += reading.size
        if reading.size != image.size:
            return seal, f"{reading.size} of its {image.size} bytes are there"
        actual = reading.digest.hexdigest()
        if actual == digest.hex():
            return seal, None
        return seal, f"its bytes have the hash {actual}"


def restore_quarantine(storage: StorageFile) -> int:
    """
    Restore all images in quarantine; return how many.

    Errors: `lmdb.Error`.
    """
    keys = storage.read(restorable)
    return sum(
        storage.execute(partial(restore, quarantined=keys[first : first + PURGE_STEP]))
        for first in range(0, len(keys), PURGE_STEP)
    )


def quarantine_in(storage: StorageFile) -> Callable[[bytes, bytes, int], bool]:
    """Return a `Verification.put_aside` for a storage that this process owns."""
    return lambda digest, record, completed: storage.execute(
        # The old format has no room for the time.
        lambda batch: put_aside(
            batch, digest, record, 0 if storage.is_old else completed
        )
    )


def leave_in(storage: StorageFile) -> Callable[[bytes, bytes, int], bool]:
    """Return a `Verification.put_aside` that changes nothing."""
    return lambda digest, record, _: storage.read(
        lambda snapshot: _has(snapshot, digest, record)
    )


def purge_quarantine(storage: StorageFile) -> int:
    """
    Delete all images in quarantine, their chunks included; return how many.

    Errors: `lmdb.Error`.
    """
    entries = list(storage.read(deletable).items())
    for first in range(0, len(entries), PURGE_STEP):
        some = entries[first : first + PURGE_STEP]
        storage.execute(partial(purge, quarantined=some))
    while storage.execute(_delete_discarded):
        pass
    return len(entries)


def _delete_discarded(batch: Batch) -> bool:
    return batch.delete_discarded()


def _page(snapshot: Snapshot, start: bytes) -> list[tuple[bytes, bytes]]:
    with snapshot.transaction.cursor(snapshot.databases.images) as cursor:
        if not cursor.set_range(start):
            return []
        return [(bytes(key), bytes(value)) for key, value in islice(cursor, PAGE)]


def _state(snapshot: Snapshot, number: int) -> tuple[Seal | None, bool]:
    """Return the seal of an upload, if it is complete, and whether it is pending."""
    pending = snapshot.transaction.get(
        upload_key(number), db=snapshot.databases.uploads
    )
    return find_seal(snapshot, number), pending is not None


def _has(snapshot: Snapshot, digest: bytes, record: bytes) -> bool:
    stored = snapshot.transaction.get(digest, db=snapshot.databases.images)
    return stored is not None and bytes(stored) == record
