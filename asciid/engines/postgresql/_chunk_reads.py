"""Reads the bytes of images, of large ones in bounded pieces."""

from __future__ import annotations

from hashlib import sha256 as sha256_of
from typing import TYPE_CHECKING, Any

from attrs import frozen

from asciid.engines._callbacks import do_nothing
from asciid.engines.postgresql._damage import damaged
from asciid.engines.postgresql._sql_schema import SHARD_OF_UPLOAD
from asciid.errors import ImageNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from asciid.store.queries import HashWith, ReadRanges

__all__ = ["Chunks", "hash_with", "read_ranges"]

MAX_BYTES = 1024 * 1024
"""Bytes that one statement reads at most, unless one chunk has more."""

MAX_ROWS = 10_000
"""Chunks that one statement reads at most."""

# The database reads no more of a chunk than the range has of it.
_RANGES = """
SELECT w.at, (
  SELECT string_agg(substr(c.data,
    greatest(w.first - c.id * i.piece_size, 0)::int + 1,
    (least(w.last - c.id * i.piece_size, i.piece_size)
     - greatest(w.first - c.id * i.piece_size, 0))::int), '' ORDER BY c.id)
  FROM asciid.chunk c
  WHERE c.shard = (i.upload & 255)::smallint AND c.upload = i.upload
    AND c.id BETWEEN w.first / i.piece_size AND (w.last - 1) / i.piece_size
)
FROM (
  SELECT upload, piece_size FROM asciid.image
  WHERE shard = %b AND sha256 = %b AND upload = %b
) i
CROSS JOIN unnest(%b::bigint[], %b::bigint[]) WITH ORDINALITY AS w (first, last, at)
"""
"""The bytes ``[first, last)`` for each range; nothing if the image was removed."""

_CHUNKS = """
SELECT id, data FROM asciid.chunk
WHERE shard = %b AND upload = %b AND id >= %b AND id < %b ORDER BY id
"""


def read_ranges(connection: psycopg.Connection[Any], query: ReadRanges) -> list[bytes]:
    """
    See `ReadRanges`.

    Errors: `StorageUnreadableError` if bytes are missing.
    """
    image, ranges = query.image, query.ranges
    sha256, digest = image.spec.sha256, bytes.fromhex(image.spec.sha256)
    first, last = ([each[side] for each in ranges] for side in (0, 1))
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_RANGES, (digest[0], digest, image.number, first, last))
        rows = cursor.fetchall()
    if ranges and not rows:
        raise ImageNotFoundError(sha256)
    found = [b""] * len(ranges)
    for at, data in rows:
        found[at - 1] = data or b""
    for (start, end), data in zip(ranges, found, strict=True):
        if len(data) != end - start:
            raise damaged(sha256)
    return found


def hash_with(
    connection: psycopg.Connection[Any],
    query: HashWith,
    progress: Callable[[], object] = do_nothing,
) -> str:
    """See `HashWith`; `progress` is called before each statement."""
    upload, chunk_id = query.upload, query.chunk_id
    chunks = Chunks(connection, upload.number, upload.spec.chunk_size, progress)
    digest = sha256_of()
    for _, data in chunks.between(0, chunk_id):
        digest.update(data)
    digest.update(query.data)
    for _, data in chunks.between(chunk_id + 1, upload.spec.chunks):
        digest.update(data)
    return digest.hexdigest()


@frozen
class Chunks:
    """
    The chunks of an upload, of `size` bytes each.

    `progress` is called before each statement.
    """

    connection: psycopg.Connection[Any]
    number: int
    size: int
    progress: Callable[[], object] = do_nothing

    def between(self, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield id and bytes of those with the ids ``[first, last)`` that are there."""
        step = max(1, min(MAX_ROWS, MAX_BYTES // self.size))
        with self.connection.cursor(binary=True) as cursor:
            for start in range(first, last, step):
                end = min(start + step, last)
                self.progress()
                key = self.number & SHARD_OF_UPLOAD, self.number
                cursor.execute(_CHUNKS, (*key, start, end))
                yield from cursor.fetchall()
