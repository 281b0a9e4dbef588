"""
What is stored beside images: records of `about`, and those that follow from them.

`describe` and `undescribe` run in the writer's thread, the others only read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from asciid.engines.lmdb._databases import Readable
from asciid.engines.lmdb._records import (
    DatedAbout,
    place_key,
    unpack_blocked,
    upload_key,
)
from asciid.errors import ImageBlockedError
from asciid.model import About, AboutRecord

if TYPE_CHECKING:
    import lmdb

__all__ = [
    "about_of",
    "describe",
    "find_about",
    "put_about",
    "refuse_blocked",
    "undescribe",
]


class Records(Readable, Protocol):
    """A batch, as far as it is needed here."""

    @property
    def now(self) -> int: ...

    @property
    def stamp(self) -> int: ...

    def put(self, database: lmdb._Database, key: bytes, value: bytes, /) -> bool: ...

    def delete(self, database: lmdb._Database, key: bytes, /) -> bool: ...


def find_about(where: Readable, number: int) -> DatedAbout | None:
    """Return the record beside an upload, or None for the defaults."""
    stored = where.transaction.get(upload_key(number), db=where.databases.about)
    return None if stored is None else DatedAbout.unpack(stored)


def about_of(where: Readable, number: int) -> AboutRecord:
    """Return what is stored beside an upload, or the defaults."""
    found = find_about(where, number)
    return AboutRecord(About(), number) if found is None else found.record


def describe(batch: Records, digest: bytes, number: int, record: AboutRecord) -> None:
    """Store the record beside an upload that has none."""
    deadline = 0
    if record.about.expires:
        # A stamp: a system clock that is set does not move it.
        deadline = max(1, batch.stamp + record.about.expires - batch.now)
    put_about(batch, number, DatedAbout(deadline, digest, record))


def put_about(batch: Records, number: int, about: DatedAbout) -> None:
    """Store a record of ``about``, and the one that follows from its deadline."""
    if about.deadline:
        key = place_key(about.deadline, number)
        batch.put(batch.databases.dated, key, about.digest)
    batch.put(batch.databases.about, upload_key(number), about.pack())


def undescribe(batch: Records, number: int, completed: int | None) -> DatedAbout | None:
    """
    Delete the records beside an image or an upload; return the one of ``about``.

    `completed` is the time of completion, None of a pending upload.
    """
    if completed is not None:
        batch.delete(batch.databases.listing, place_key(completed, number))
    found = find_about(batch, number)
    if found is not None:
        batch.delete(batch.databases.about, upload_key(number))
        if found.deadline:
            batch.delete(batch.databases.dated, place_key(found.deadline, number))
    return found


def refuse_blocked(where: Readable, digest: bytes) -> None:
    """
    Refuse a blocked hash.

    Errors: `ImageBlockedError`.
    """
    stored = where.transaction.get(digest, db=where.databases.blocked)
    if stored is not None:
        raise ImageBlockedError(unpack_blocked(digest, stored).reason)
