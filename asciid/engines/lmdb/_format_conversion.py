"""
Converts a storage of format 1, which has no listing, to format 2.

Everything here runs in the writer's thread, before anything else uses the storage.
"""

from __future__ import annotations

import struct
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import lmdb
from attrs import define
from twisted.logger import Logger

from asciid.engines.lmdb._lookup import count, find_seal
from asciid.engines.lmdb._quarantine import DIGEST_SIZE
from asciid.engines.lmdb._records import (
    FORMAT_KEY,
    FORMAT_VERSION,
    DatedAbout,
    ImageRecord,
    QuarantineRecord,
    place_key,
    upload_key,
    upload_number_of,
)
from asciid.errors import StoreClosedError
from asciid.model import About, AboutRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from asciid.engines.lmdb._batch import Batch
    from asciid.engines.lmdb._databases import Snapshot
    from asciid.engines.lmdb._environment import Environment

__all__ = ["Conversion"]

PAGE = 1_000
"""How many image records are read in one transaction."""

STEP = 10_000
"""How many records are written in one transaction."""

SORTED = 100_000
"""
How many records are sorted at a time, of about 100 bytes each.  Sorted
ones are written to neighbouring pages.
"""

_log = Logger()

_Image = tuple[bytes, ImageRecord]
"""A hash, and its record."""

_Page = tuple[list[_Image], bytes | None]
"""Images, and the last hash that was read if there may be more."""

_Record = tuple[bytes, bytes]
"""A key, and a value."""

ItemT = TypeVar("ItemT")


@define(eq=False)
class Conversion:
    """
    One conversion of the storage that `environment` has open.

    The new records are written in several transactions, and the last one writes the
    new format.  If this process is killed before, the storage still has format 1, and
    the next conversion deletes the new records first.

    With `listed` complete images are listed, in the order of their completion;
    otherwise an about record of each image says that it is not.  An image of which
    something cannot be read is left out: `asciid verify` reports it.
    """

    environment: Environment
    listed: bool
    stopping: Callable[[], bool]
    """Whether to abort."""

    def run(self) -> None:
        """
        Convert the storage.

        Errors: `StoreClosedError` once `stopping`; `OSError`, `lmdb.Error`.  It still
        has format 1 then.
        """
        images = self._read(count)
        _log.info(
            "converting the storage to format 2: {n} images and uploads", n=images
        )
        self._execute(_clear)
        written = 0
        records = self._places() if self.listed else self._unlisted()
        for step in _batched(records, STEP):
            self._execute(partial(self._put, records=step))
            written += len(step)
        if not self.listed:
            self._execute(_unlist_quarantined)
        self._execute(_mark)
        self.environment.is_old = False
        _log.info(
            "converted the storage to format 2: {n} images {how}",
            n=written,
            how="listed" if self.listed else "not listed",
        )

    def _put(self, batch: Batch, records: Sequence[_Record]) -> None:
        databases = batch.databases
        database = databases.listing if self.listed else databases.about
        for key, value in records:
            batch.put(database, key, value)

    def _places(self) -> Iterator[_Record]:
        """Yield the records of the listing."""
        keys = (
            place + listed
            for page in self._pages()
            for place, listed in self._complete(page)
        )
        size = len(place_key(0, 0))
        for some in _batched(keys, SORTED):
            for key in sorted(some):
                yield key[:size], key[size:]

    def _unlisted(self) -> Iterator[_Record]:
        """Yield a record of ``about`` for each image."""
        keys = (
            upload_key(image.number) + digest
            for page in self._pages()
            for digest, image in page
        )
        size = len(upload_key(0))
        for some in _batched(keys, SORTED):
            for key in sorted(some):
                number, digest = upload_number_of(key[:size]), key[size:]
                yield key[:size], _unlisted(digest, number)

    def _pages(self) -> Iterator[list[_Image]]:
        """Yield all images whose record can be read."""
        start = b""
        while True:
            page: Callable[[Snapshot], _Page] = partial(_page, start=start)
            found, last = self._read(page)
            yield found
            if last is None:
                return
            start = last + b"\0"

    def _complete(self, page: Sequence[_Image]) -> list[_Record]:
        """Return the records of the listing of the images that have a seal."""
        try:
            return self._read(partial(_sealed, images=page))
        except (lmdb.Error, struct.error):
            if len(page) == 1:
                return []
        # After an error the rest of its transaction fails, too.
        return [one for image in page for one in self._complete([image])]

    def _read(self, query: Callable[[Snapshot], ItemT]) -> ItemT:
        if self.stopping():
            raise StoreClosedError
        while True:
            try:
                return self.environment.read(query)
            except lmdb.MapResizedError:
                self.environment.remap(grow=False)

    def _execute(self, task: Callable[[Batch], object]) -> None:
        if self.stopping():
            raise StoreClosedError
        while True:
            try:
                (outcome,) = self.environment.execute([task])
            except (lmdb.MapFullError, lmdb.MapResizedError) as error:
                self.environment.remap(grow=isinstance(error, lmdb.MapFullError))
                continue
            if isinstance(outcome, Exception):
                raise outcome
            return


def _unlisted(digest: bytes, number: int) -> bytes:
    record = AboutRecord(About(listed=False), number)
    return DatedAbout(0, digest, record).pack()


def _clear(batch: Batch) -> None:
    """Delete what a conversion has left that was killed."""
    databases = batch.databases
    for database in (databases.listing, databases.about):
        batch.transaction.drop(database, delete=False)
    batch.changed = True


def _mark(batch: Batch) -> None:
    batch.put(None, FORMAT_KEY, FORMAT_VERSION)


def _unlist_quarantined(batch: Batch) -> None:
    with batch.transaction.cursor(batch.databases.quarantined) as cursor:
        found = list(cursor)
    for key, value in found:
        record = QuarantineRecord.unpack(value)
        try:
            number = ImageRecord.unpack(record.image).number
        except struct.error:
            continue
        about = _unlisted(key[:DIGEST_SIZE], number)
        batch.put(batch.databases.quarantined, key, record._replace(about=about).pack())


def _page(snapshot: Snapshot, start: bytes) -> _Page:
    """Return a page of images, and the last hash if there may be more."""
    found: list[_Image] = []
    read, digest = 0, b""
    with snapshot.transaction.cursor(snapshot.databases.images) as cursor:
        records = islice(cursor, PAGE) if cursor.set_range(start) else ()
        for key, record in records:
            read, digest = read + 1, bytes(key)
            try:
                found.append((digest, ImageRecord.unpack(record)))
            except struct.error:
                continue
    return found, digest if read == PAGE else None


def _sealed(snapshot: Snapshot, images: Iterable[_Image]) -> list[_Record]:
    found = []
    for digest, image in images:
        seal = find_seal(snapshot, image.number)
        if seal is not None:
            place = place_key(seal.completed, image.number)
            found.append((place, image.listed(digest).pack()))
    return found


def _batched(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """Yield the items in lists of at most `size`."""
    walk = iter(items)
    while some := list(islice(walk, size)):
        yield some
