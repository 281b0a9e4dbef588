"""
Reads the listing, images by the beginning of their hash, and blocked hashes.

Each function has at most a bounded number of rows read, whatever the database's
statistics are: where the order is that of an index, so are the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

import msgspec

from asciid.model import About, AboutRecord, BlockedHash, ImageSpec, ListedImage
from asciid.store.rules import MAX_FOUND, MAX_LISTED, MAX_SCANNED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from asciid.store.queries import (
        FindPrefix,
        ListBlocked,
        ListImages,
        PickRandom,
    )

__all__ = [
    "ABOUT_COLUMNS",
    "JOIN_ABOUT",
    "LISTED_COLUMNS",
    "LISTED_WIDTH",
    "about_of",
    "find_prefix",
    "list_blocked",
    "list_images",
    "listed_image",
    "pick_random",
]

DIGEST_DIGITS = 64
"""Hex digits of a SHA-256."""

MAX_SKIPPED = 1_000
"""How many images are read to find a listed one near a random hash."""

JOIN_ABOUT: LiteralString = """
LEFT JOIN asciid.about a
  ON a.shard = (i.upload & 255)::smallint AND a.upload = i.upload
"""
"""Joins what is stored beside the image ``i`` as ``a``."""

ABOUT_COLUMNS: LiteralString = "a.about, a.revision, a.key_hash, a.charset"
"""The last arguments of `about_of`."""

LISTED_COLUMNS: LiteralString = (
    f"i.upload, i.completed, i.sha256, i.size, i.chunk_size, {ABOUT_COLUMNS}"
)
"""What `listed_image` makes an image of."""

LISTED_WIDTH = 9
"""How many columns these are."""

_LISTED: LiteralString = "i.listed AND i.completed IS NOT NULL"

_LIST = f"""
SELECT {LISTED_COLUMNS} FROM asciid.image i {JOIN_ABOUT}
WHERE {_LISTED} AND (i.completed, i.upload) < (%b::bigint, %b::bigint)
ORDER BY i.completed DESC, i.upload DESC LIMIT %b
"""

_PREFIX = """
SELECT sha256, listed FROM (
  SELECT shard, sha256, listed, completed FROM asciid.image
  WHERE (shard, sha256) >= (%b, %b) AND (shard, sha256) <= (%b, %b)
  ORDER BY shard, sha256 LIMIT %b
) scanned
WHERE completed IS NOT NULL ORDER BY shard, sha256 LIMIT %b
"""

_COUNT_FEW = f"""
SELECT count(*) FROM (
  SELECT FROM asciid.image i WHERE {_LISTED}
  ORDER BY i.completed, i.upload LIMIT %b
) few
"""

_FROM_A_TIME = f"""
SELECT i.sha256 FROM asciid.image i WHERE {_LISTED}
  AND (i.completed, i.upload) >= (%b::bigint, 0)
ORDER BY i.completed, i.upload OFFSET %b LIMIT 1
"""

_FROM_A_HASH = """
SELECT sha256 FROM (
  SELECT shard, sha256, listed, completed FROM asciid.image
  WHERE (shard, sha256) >= (%b, %b) ORDER BY shard, sha256 LIMIT %b
) scanned
WHERE listed AND completed IS NOT NULL ORDER BY shard, sha256 LIMIT 1
"""

_TIMES = f"""
SELECT (SELECT i.completed FROM asciid.image i WHERE {_LISTED}
        ORDER BY i.completed, i.upload LIMIT 1),
       (SELECT i.completed FROM asciid.image i WHERE {_LISTED}
        ORDER BY i.completed DESC, i.upload DESC LIMIT 1)
"""

_BLOCKED = """
SELECT sha256, reason, since FROM asciid.blocked
WHERE (shard, sha256) > (%b, %b) ORDER BY shard, sha256 LIMIT %b
"""

_END = 2**63 - 1
"""After each time and each number."""


def list_images(
    connection: psycopg.Connection[Any], query: ListImages
) -> list[ListedImage]:
    """See `ListImages`."""
    before, found = query.before, list[ListedImage]()
    place = (_END, _END) if before is None else (before.completed, before.number)
    while len(found) < query.limit:
        room = query.limit - len(found)
        rows = _rows(connection, _LIST, (*place, room))
        found.extend(image for row in rows for image in listed_image(row))
        if len(rows) < room:
            break
        number, completed, *_ = rows[-1]
        place = completed, number
    return found


def find_prefix(
    connection: psycopg.Connection[Any], query: FindPrefix
) -> list[tuple[str, bool]]:
    """See `FindPrefix`."""
    first = bytes.fromhex(query.prefix.ljust(DIGEST_DIGITS, "0"))
    last = bytes.fromhex(query.prefix.ljust(DIGEST_DIGITS, "f"))
    bounds = first[0], first, last[0], last
    rows = _rows(connection, _PREFIX, (*bounds, MAX_SCANNED, MAX_FOUND))
    return [(digest.hex(), listed) for digest, listed in rows]


def pick_random(connection: psycopg.Connection[Any], query: PickRandom) -> str | None:
    """
    See `PickRandom`.

    Of few listed images each is as likely as the others.  Of many it is the first after
    a random hash, or, if hardly any of the stored images are listed, one near a random
    time.
    """
    seed = query.seed
    ((count,),) = _rows(connection, _COUNT_FEW, (MAX_LISTED + 1,))
    if not count:
        return None
    if count <= MAX_LISTED:
        return _first(connection, _FROM_A_TIME, (0, seed % count))
    start = seed.to_bytes(32, "big")
    for digest in (start, bytes(32)):
        found = _first(connection, _FROM_A_HASH, (digest[0], digest, MAX_SKIPPED))
        if found is not None:
            return found
    return _near_a_random_time(connection, seed)


def list_blocked(
    connection: psycopg.Connection[Any], query: ListBlocked
) -> list[BlockedHash]:
    """See `ListBlocked`."""
    after = bytes.fromhex(query.after)
    # Before each shard there is.
    shard = after[0] if after else -1
    return [
        BlockedHash(digest.hex(), reason, since)
        for digest, reason, since in _rows(
            connection, _BLOCKED, (shard, after, query.limit)
        )
    ]


def about_of(
    number: int,
    about: bytes | None,
    revision: int,
    key_hash: bytes,
    charset: str,
) -> AboutRecord:
    """
    Return what is stored beside an upload, or the defaults.

    Errors: `msgspec.DecodeError`, `UnicodeDecodeError` if it cannot be read.
    """
    if about is None:
        return AboutRecord(About(), number)
    decoded = msgspec.json.decode(about, type=About)
    return AboutRecord(decoded, revision, key_hash, charset)


def listed_image(row: Sequence[Any]) -> Iterator[ListedImage]:
    """Yield the image of a row of `LISTED_COLUMNS`, unless its record is damaged."""
    number, completed, digest, size, chunk_size, *about = row
    try:
        record = about_of(number, *about)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return  # asciid verify lists it
    spec = ImageSpec(digest.hex(), size, chunk_size)
    yield ListedImage(spec, completed, number, record)


def _near_a_random_time(connection: psycopg.Connection[Any], seed: int) -> str | None:
    ((first, last),) = _rows(connection, _TIMES, ())
    if first is None:
        return None
    # Other bits than those of the time.
    offset = (seed >> 128) % MAX_LISTED
    for start in (first + seed % (last - first + 1), 0):
        found = _first(connection, _FROM_A_TIME, (start, offset))
        if found is not None:
            return found
    return None


def _first(
    connection: psycopg.Connection[Any],
    statement: LiteralString,
    parameters: Sequence[object],
) -> str | None:
    """Return the hash in the first row."""
    rows = _rows(connection, statement, parameters)
    digest: bytes | None = rows[0][0] if rows else None
    return None if digest is None else digest.hex()


def _rows(
    connection: psycopg.Connection[Any],
    statement: LiteralString,
    parameters: Sequence[object],
) -> list[Any]:
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(statement, parameters).fetchall()
