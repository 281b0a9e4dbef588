"""Answers queries on the status of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asciid.engines.postgresql._hash_lookups import IMAGES, REFUSAL, refusal
from asciid.model import ImageSpec, ImageState, UploadStatus
from asciid.store.rules import MAX_MISSING_RANGES, missing_ranges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from asciid.store.queries import ReadBriefStatus, ReadStatus

__all__ = ["read_status"]

# Where the ids that are stored are consecutive, they are not read: of an upload in
# ascending order that is all of the time.  Otherwise they are read in the order of the
# index, and no further than the bound takes; none leaves the database but those beside
# a gap.
_STATUS = f"""
SELECT s.*, CASE WHEN s.high - s.low + 1 > s.stored THEN ARRAY(
  SELECT ARRAY[run.before, run.id]
  FROM (
    SELECT c.id, lag(c.id) OVER (ORDER BY c.id) AS before FROM asciid.chunk c
    WHERE c.shard = (s.upload & 255)::smallint AND c.upload = s.upload
  ) run
  WHERE run.before < run.id - 1 LIMIT {MAX_MISSING_RANGES + 1}
) END
FROM (
  SELECT {REFUSAL}, i.upload,
    i.size, i.chunk_size, i.missing, i.created, i.active, i.completed,
    (i.size - i.missing + i.chunk_size - 1) / i.chunk_size,
    CASE WHEN i.completed IS NULL THEN (
      SELECT c.id FROM asciid.chunk c
      WHERE c.shard = (i.upload & 255)::smallint AND c.upload = i.upload
      ORDER BY c.id LIMIT 1) END,
    CASE WHEN i.completed IS NULL THEN (
      SELECT c.id FROM asciid.chunk c
      WHERE c.shard = (i.upload & 255)::smallint AND c.upload = i.upload
      ORDER BY c.id DESC LIMIT 1) END
  {IMAGES}
) AS s (reason, is_gone, upload, size, chunk_size, missing, created, active, completed,
        stored, low, high)
"""


def read_status(
    connection: psycopg.Connection[Any], query: ReadStatus | ReadBriefStatus
) -> UploadStatus:
    """See `ReadStatus`; an upload of any size takes one statement."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_STATUS, ([bytes.fromhex(query.sha256)], [0]))
        ((reason, is_gone, number, *image),) = cursor.fetchall()
    if number is None:
        raise refusal(query.sha256, reason, is_gone)
    size, chunk_size, lacking, created, active, completed, _, low, high, gaps = image
    spec = ImageSpec(query.sha256, size, chunk_size)
    if completed is not None:
        return UploadStatus(
            spec,
            ImageState.COMPLETE,
            received=size,
            created=created / 1000,
            completed=completed / 1000,
        )
    runs = () if low is None else _runs(low, high, gaps or ())
    missing, cut = missing_ranges(runs, spec.chunks)
    return UploadStatus(
        spec,
        ImageState.PENDING,
        received=size - lacking,
        created=created / 1000,
        missing=missing,
        missing_cut=cut,
        expires=active / 1000 + query.lifetime if query.lifetime else None,
    )


def _runs(
    first: int, last: int, gaps: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """
    Yield runs of ids between `first` and `last`.

    `gaps` are the ids beside each gap, or so many of these that no more are needed.
    """
    for before, after in gaps:
        yield first, before
        first = after
    yield first, last
