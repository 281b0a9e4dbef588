"""
Reads the listing, images by the beginning of their hash, and blocked hashes.

Everything here runs in a thread of the read pool.
"""

from __future__ import annotations

import struct
from itertools import chain, islice
from typing import TYPE_CHECKING

from asciid.engines.lmdb._about import about_of, find_about
from asciid.engines.lmdb._lookup import find, find_seal
from asciid.engines.lmdb._records import (
    ImageRecord,
    ListedRecord,
    place_key,
    place_of,
    unpack_blocked,
)
from asciid.errors import ImageIncompleteError
from asciid.model import ListedImage
from asciid.store.rules import MAX_FOUND, MAX_LISTED, MAX_SCANNED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from asciid.engines.lmdb._databases import Snapshot
    from asciid.model import BlockedHash, Cursor

__all__ = [
    "find_neighbours",
    "find_prefix",
    "list_blocked",
    "list_images",
    "pick_random",
]

DIGEST_DIGITS = 64
"""Hex digits of a SHA-256."""

MAX_SKIPPED = 1_000
"""How many images are read to find a listed one near a random hash."""


def list_images(
    snapshot: Snapshot, before: Cursor | None, limit: int
) -> list[ListedImage]:
    """See `ListImages`."""
    with snapshot.transaction.cursor(snapshot.databases.listing) as cursor:
        found = cursor.last()
        if found and before is not None:
            key = place_key(before.completed, before.number)
            found = cursor.prev() if cursor.set_range(key) else cursor.last()
        if not found:
            return []
        return list(islice(_listed(snapshot, cursor.iterprev()), limit))


def find_neighbours(
    snapshot: Snapshot, sha256: str
) -> tuple[ListedImage | None, ListedImage | None]:
    """See `FindNeighbours`."""
    image = find(snapshot, sha256)
    seal = find_seal(snapshot, image.number)
    if seal is None:
        raise ImageIncompleteError(sha256)
    own = place_key(seal.completed, image.number)
    with snapshot.transaction.cursor(snapshot.databases.listing) as cursor:
        if not cursor.set_key(own):
            return None, None
        newer = _first(snapshot, cursor.iternext() if cursor.next() else ())
        cursor.set_key(own)
        older = _first(snapshot, cursor.iterprev() if cursor.prev() else ())
    return newer, older


def find_prefix(snapshot: Snapshot, prefix: str) -> list[tuple[str, bool]]:
    """See `FindPrefix`."""
    first = bytes.fromhex(prefix.ljust(DIGEST_DIGITS, "0"))
    last = bytes.fromhex(prefix.ljust(DIGEST_DIGITS, "f"))
    found: list[tuple[str, bool]] = []
    for digest, number in islice(_images(snapshot, first), MAX_SCANNED):
        if digest > last or len(found) == MAX_FOUND:
            break
        if find_seal(snapshot, number) is not None:
            listed = about_of(snapshot, number).about.listed
            found.append((digest.hex(), listed))
    return found


def pick_random(snapshot: Snapshot, seed: int) -> str | None:
    """
    See `PickRandom`.

    Of few listed images each is as likely as the others.  Of many it is the first after
    a random hash, or, if hardly any of the stored images are listed, one near a random
    time.
    """
    listing = snapshot.databases.listing
    count = snapshot.transaction.stat(listing)["entries"]
    if count <= MAX_LISTED:
        places = _places(snapshot, place_key(0, 0))
        return _one_of([digest for _, digest in places], seed)
    start = seed.to_bytes(32, "big")
    images = chain(_images(snapshot, start), _images(snapshot, bytes(32)))
    for digest, number in islice(images, MAX_SKIPPED):
        about = find_about(snapshot, number)
        if about is not None and not about.record.about.listed:
            continue
        if find_seal(snapshot, number) is not None:
            return digest.hex()
    return _near_a_random_time(snapshot, seed)


def list_blocked(snapshot: Snapshot, after: str, limit: int) -> list[BlockedHash]:
    """See `ListBlocked`."""
    # Nothing lies between a key and itself with a zero behind it.
    start = bytes.fromhex(after) + b"\0" if after else b""
    with snapshot.transaction.cursor(snapshot.databases.blocked) as cursor:
        if not cursor.set_range(start):
            return []
        return [unpack_blocked(key, value) for key, value in islice(cursor, limit)]


def _near_a_random_time(snapshot: Snapshot, seed: int) -> str | None:
    with snapshot.transaction.cursor(snapshot.databases.listing) as cursor:
        cursor.first()
        first, _ = place_of(cursor.key())
        cursor.last()
        last, _ = place_of(cursor.key())
    start = place_key(first + seed % (last - first + 1), 0)
    places = chain(_places(snapshot, start), _places(snapshot, place_key(0, 0)))
    digests = [digest for _, digest in islice(places, MAX_LISTED)]
    # Other bits than those of the time.
    return _one_of(digests, seed >> 128)


def _one_of(digests: Sequence[bytes], seed: int) -> str | None:
    return digests[seed % len(digests)].hex() if digests else None


def _places(snapshot: Snapshot, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and hashes of the listing, from the key `start` on."""
    with snapshot.transaction.cursor(snapshot.databases.listing) as cursor:
        if cursor.set_range(start):
            for key, value in cursor:
                yield bytes(key), ListedRecord.unpack(value).digest


def _images(snapshot: Snapshot, start: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield hashes of images and their upload numbers, from the hash `start` on."""
    with snapshot.transaction.cursor(snapshot.databases.images) as cursor:
        if cursor.set_range(start):
            for digest, record in cursor:
                yield bytes(digest), ImageRecord.unpack(record).number


def _listed(
    snapshot: Snapshot, places: Iterable[tuple[bytes, bytes]]
) -> Iterator[ListedImage]:
    """Yield the images at places of the listing."""
    for key, value in places:
        completed, number = place_of(key)
        try:
            spec = ListedRecord.unpack(value).spec
            about = about_of(snapshot, number)
        except struct.error:
            continue  # asciid verify mends it
        yield ListedImage(spec, completed, number, about)


def _first(
    snapshot: Snapshot, places: Iterable[tuple[bytes, bytes]]
) -> ListedImage | None:
    return next(_listed(snapshot, places), None)
