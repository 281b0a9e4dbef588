"""Deletes the chunks of discarded uploads, a bounded number at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

if TYPE_CHECKING:
    import psycopg

__all__ = ["delete_discarded"]

DISCARD_STEP = 1_000
"""Maximum chunks, and maximum uploads, that one call deletes."""

DISCARD_BYTES = 8 * 1024 * 1024
"""Maximum bytes that one call deletes, but for the first chunk."""

# Two nodes delete different ones at the same time.
_SOME_UPLOADS: LiteralString = """
SELECT shard, upload FROM asciid.discarded LIMIT %s FOR UPDATE SKIP LOCKED
"""
_DELETE_CHUNKS: LiteralString = f"""
WITH chosen AS MATERIALIZED ({_SOME_UPLOADS}), measured AS (
    SELECT found.*, sum(length) OVER (ROWS UNBOUNDED PRECEDING) - length AS before
    FROM (
        SELECT c.shard, c.upload, c.id, octet_length(c.data)::bigint AS length
        FROM chosen s CROSS JOIN LATERAL (
            SELECT * FROM asciid.chunk c
            WHERE c.shard = s.shard AND c.upload = s.upload LIMIT %s
        ) AS c LIMIT %s
    ) AS found
)
DELETE FROM asciid.chunk t USING measured m
WHERE t.shard = m.shard AND t.upload = m.upload AND t.id = m.id AND m.before < %s
"""
_DELETE_UPLOADS: LiteralString = f"""
WITH chosen AS MATERIALIZED ({_SOME_UPLOADS})
DELETE FROM asciid.discarded t USING chosen s
WHERE t.shard = s.shard AND t.upload = s.upload AND NOT EXISTS (
    SELECT FROM asciid.chunk c WHERE c.shard = t.shard AND c.upload = t.upload
)
"""


def delete_discarded(connection: psycopg.Connection[Any]) -> bool:
    """Delete some chunks of discarded uploads; return whether any are left."""
    step = DISCARD_STEP
    connection.execute(_DELETE_CHUNKS, (step, step, step, DISCARD_BYTES))
    connection.execute(_DELETE_UPLOADS, (step,))
    return connection.execute(_SOME_UPLOADS, (1,)).fetchone() is not None
