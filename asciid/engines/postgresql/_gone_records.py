"""Deletes old records of expired images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from asciid.engines.postgresql._sql_arrays import array_of

if TYPE_CHECKING:
    import psycopg

    from asciid.store.operations import RemoveExpired

__all__ = ["delete_gone"]

_DELETE: LiteralString = """
WITH chosen AS (
    SELECT g.shard, g.sha256
    FROM (SELECT decode(hex, 'hex') AS sha256 FROM unnest(%s::text[]) AS hex) AS h
    JOIN asciid.gone g ON g.shard = get_byte(h.sha256, 0) AND g.sha256 = h.sha256
    WHERE g.at < %s FOR UPDATE OF g SKIP LOCKED
)
DELETE FROM asciid.gone t USING chosen c
WHERE t.shard = c.shard AND t.sha256 = c.sha256 RETURNING true
"""


def delete_gone(
    connection: psycopg.Connection[Any], it: RemoveExpired, now: int
) -> int:
    """
    Delete those that are still old; return how many those were.

    To be called after the transaction has waited for its last lock: others wait for the
    rows that it deletes, and it does not have the rows of ``image`` of their hashes.
    What another node deletes at the same time is left to it.
    """
    hashes = array_of(sorted({old.sha256 for old in it.found}))
    before = now - int(it.older_than * 1000)
    return len(connection.execute(_DELETE, (hashes, before)).fetchall())
