"""Checks that the records beside images, and those that follow from them, agree."""

from __future__ import annotations

import struct
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import lmdb
from attrs import define, frozen

from asciid.engines._findings import Inconsistent
from asciid.engines.lmdb._about import find_about, put_about
from asciid.engines.lmdb._about_changes import block
from asciid.engines.lmdb._lookup import find_seal
from asciid.engines.lmdb._quarantine import DIGEST_SIZE
from asciid.engines.lmdb._records import (
    DatedAbout,
    ImageRecord,
    pack_blocked,
    place_key,
    place_of,
    unpack_blocked,
    upload_number_of,
)
from asciid.model import About, AboutRecord, BlockedHash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Readable, Snapshot
    from asciid.engines.lmdb._storage_file import StorageFile

__all__ = [
    "RecordChecks",
    "leave_records_in",
    "mend",
    "mend_in",
]

PAGE = 100
"""How many records are read in one transaction."""

LOST_REASON = "the reason was lost"


@frozen
class _Fault:
    inconsistent: Inconsistent
    mend: Callable[[Batch], object]


@define
class RecordChecks:
    """
    One walk over the records of a storage, which may change during it.

    `mend` is called with the name of a database and the key of a record in it, and
    returns False if that has no fault any more.
    """

    storage: StorageFile
    mend: Callable[[str, bytes], bool]

    def run(self) -> Iterator[Inconsistent]:
        """
        Yield images whose records do not agree; those of the old format have none.

        A record on a page that cannot be read is left out: the image is damaged.

        Errors: `lmdb.Error` if the storage cannot be walked at all.
        """
        if self.storage.is_old:
            return
        for name in _CHECKS:
            start = b""
            while True:
                keys = self.storage.read(partial(_keys, name=name, start=start))
                for key, inconsistent in self._faults(name, keys):
                    if self.mend(name, key):
                        yield inconsistent
                if len(keys) < PAGE:
                    break
                start = keys[-1] + b"\0"

    def _faults(self, name: str, keys: list[bytes]) -> list[tuple[bytes, Inconsistent]]:
        try:
            return self.storage.read(partial(_page, name=name, keys=keys))
        except lmdb.Error:
            if len(keys) == 1:
                return []
        # After an error the rest of its transaction fails, too.
        return [fault for key in keys for fault in self._faults(name, [key])]


def mend(batch: Batch, name: str, key: bytes) -> bool:
    """Mend a record; return False, having done nothing, if it has no fault."""
    fault = _fault_of(batch, name, key)
    if fault is not None:
        fault.mend(batch)
    return fault is not None


def mend_in(storage: StorageFile) -> Callable[[str, bytes], bool]:
    """Return a `RecordChecks.mend` for a storage that this process owns."""
    return lambda name, key: storage.execute(lambda batch: mend(batch, name, key))


def leave_records_in(storage: StorageFile) -> Callable[[str, bytes], bool]:
    """Return a `RecordChecks.mend` that changes nothing."""
    return lambda name, key: storage.read(
        lambda snapshot: _fault_of(snapshot, name, key) is not None
    )


def _keys(snapshot: Snapshot, name: str, start: bytes) -> list[bytes]:
    database = getattr(snapshot.databases, name)
    with snapshot.transaction.cursor(database) as cursor:
        if not cursor.set_range(start):
            return []
        keys = islice(cursor.iternext(keys=True, values=False), PAGE)
        return [bytes(key) for key in keys]


def _page(
    snapshot: Snapshot, name: str, keys: list[bytes]
) -> list[tuple[bytes, Inconsistent]]:
    faults = ((key, _fault_of(snapshot, name, key)) for key in keys)
    return [(key, fault.inconsistent) for key, fault in faults if fault is not None]


def _fault_of(where: Readable, name: str, key: bytes) -> _Fault | None:
    value = where.transaction.get(key, db=getattr(where.databases, name))
    return None if value is None else _CHECKS[name](where, key, bytes(value))


def _check_blocked(where: Readable, digest: bytes, value: bytes) -> _Fault | None:
    sha256 = digest.hex()
    try:
        reason = unpack_blocked(digest, value).reason
    except (struct.error, UnicodeDecodeError):

        def restate(batch: Batch) -> None:
            record = pack_blocked(BlockedHash(sha256, LOST_REASON, batch.now))
            batch.put(batch.databases.blocked, digest, record)

        return _fault(digest, "the reason of its block cannot be read", restate)
    if where.transaction.get(digest, db=where.databases.images) is None:
        return None
    again = partial(block, sha256=sha256, reason=reason)
    return _fault(digest, "it is blocked, but stored", again)


def _check_about(where: Readable, key: bytes, value: bytes) -> _Fault | None:
    try:
        about = DatedAbout.unpack(value)
    except struct.error:
        return None  # a fault of the image
    number, digest = upload_number_of(key), about.digest
    image = _image(where, digest)
    if image is None or image.number != number:
        if where.transaction.get(digest, db=where.databases.images) and image is None:
            return None  # a damaged image
        orphan = partial(_delete, name="about", key=key)
        return _fault(digest, "there is an about record, but no image", orphan)
    if not about.deadline:
        return None
    place = place_key(about.deadline, number)
    if where.transaction.get(place, db=where.databases.dated) == digest:
        return None
    record = partial(_put, name="dated", key=place, value=digest)
    return _fault(digest, "its time of expiry is not recorded", record)


def _check_dated(where: Readable, key: bytes, digest: bytes) -> _Fault | None:
    deadline, number = place_of(key)
    image, about = _image(where, digest), _readable_about(where, number)
    if (
        image is not None
        and about is not None
        and (image.number, about.deadline) == (number, deadline)
    ):
        return None
    wrong = partial(_delete, name="dated", key=key)
    return _fault(digest, "a wrong time of expiry is recorded", wrong)


def _check_listing(where: Readable, key: bytes, value: bytes) -> _Fault | None:
    completed, number = place_of(key)
    digest = value[:DIGEST_SIZE]
    remove = partial(_delete, name="listing", key=key)
    image = _image(where, digest)
    if image is None or image.number != number:
        return _fault(digest, "it is listed, but not stored", remove)
    seal = find_seal(where, number)
    if seal is None or seal.completed != completed:
        return _fault(digest, "it is listed with a wrong time", remove)
    about = _readable_about(where, number)
    if about is not None and not about.record.about.listed:
        return _fault(digest, "it is listed against its about record", remove)
    right = image.listed(digest).pack()
    if value == right:
        return None
    correct = partial(_put, name="listing", key=key, value=right)
    return _fault(digest, "it is listed with a wrong size", correct)


def _check_image(where: Readable, digest: bytes, _: bytes) -> _Fault | None:
    image = _image(where, digest)
    if image is None:
        return None  # a damaged image
    number, seal = image.number, find_seal(where, image.number)
    try:
        about = find_about(where, number)
    except struct.error:

        def unlist(batch: Batch) -> None:
            record = AboutRecord(About(listed=False), batch.take_number())
            put_about(batch, number, DatedAbout(0, digest, record))
            if seal is not None:
                _delete(batch, "listing", place_key(seal.completed, number))

        return _fault(digest, "its about record cannot be read", unlist)
    if seal is None or (about is not None and not about.record.about.listed):
        return None
    key = place_key(seal.completed, number)
    listed = image.listed(digest).pack()
    if where.transaction.get(key, db=where.databases.listing) == listed:
        return None
    add = partial(_put, name="listing", key=key, value=listed)
    return _fault(digest, "it is not listed", add)


_CHECKS: Mapping[str, Callable[[Readable, bytes, bytes], _Fault | None]] = {
    "blocked": _check_blocked,
    "about": _check_about,
    "dated": _check_dated,
    "listing": _check_listing,
    "images": _check_image,
}
"""By database, in an order in which no repair leaves a fault for an earlier check."""


def _fault(digest: bytes, reason: str, repair: Callable[[Batch], object]) -> _Fault:
    return _Fault(Inconsistent(digest.hex(), reason), repair)


def _image(where: Readable, digest: bytes) -> ImageRecord | None:
    """Return the record of an image; None if there is none that can be read."""
    stored = where.transaction.get(digest, db=where.databases.images)
    try:
        return None if stored is None else ImageRecord.unpack(stored)
    except struct.error:
        return None


def _readable_about(where: Readable, number: int) -> DatedAbout | None:
    try:
        return find_about(where, number)
    except struct.error:
        return None


def _delete(batch: Batch, name: str, key: bytes) -> None:
    batch.delete(getattr(batch.databases, name), key)


def _put(batch: Batch, name: str, key: bytes, value: bytes) -> None:
    batch.put(getattr(batch.databases, name), key, value)
