"""Measures how much is stored, without counting all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from asciid.store.stats import StoreUsage

if TYPE_CHECKING:
    import psycopg

__all__ = ["measure_usage"]

MAX_COUNTED = 10_000
"""
How many entries of a kind are counted.

Of a kind with more, the number is the estimate of the database, which ANALYZE and
VACUUM renew: to count ten million takes seconds, at every scrape of each node.
"""

# Each is counted in the order of an index, and its estimate is the one of that index.
_COUNT: LiteralString = """
(SELECT CASE WHEN entries < %(most)b THEN entries ELSE greatest(entries, (
    SELECT reltuples::bigint FROM pg_class WHERE oid = '{}'::regclass)) END
 FROM (SELECT count(*) AS entries FROM (
   SELECT FROM {} ORDER BY {} LIMIT %(most)b) few) counted)
"""

_LISTED = _COUNT.format(
    "asciid.image_listing",
    "asciid.image WHERE listed AND completed IS NOT NULL",
    "completed, upload",
)
_UNLISTED = _COUNT.format(
    "asciid.image_unlisted",
    "asciid.image WHERE NOT listed AND completed IS NOT NULL",
    "completed, upload",
)
_PENDING = _COUNT.format(
    "asciid.image_pending", "asciid.image WHERE completed IS NULL", "created"
)
_BLOCKED = _COUNT.format("asciid.blocked_pkey", "asciid.blocked", "shard, sha256")
_QUARANTINED = _COUNT.format(
    "asciid.quarantined_pkey", "asciid.quarantined", "shard, sha256, upload"
)

_USAGE = f"""
SELECT {_LISTED}, {_UNLISTED}, {_PENDING}, {_BLOCKED}, {_QUARANTINED}, (
  SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
  WHERE relnamespace = 'asciid'::regnamespace AND relkind = 'r')
"""


def measure_usage(connection: psycopg.Connection[Any]) -> StoreUsage:
    """
    See `MeasureUsage`.

    `StoreUsage.file_bytes` are those of all tables and their indexes.
    """
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_USAGE, {"most": MAX_COUNTED})
        ((listed, unlisted, pending, blocked, quarantined, size),) = cursor.fetchall()
    return StoreUsage(
        images=listed + unlisted,
        pending=pending,
        listed=listed,
        blocked=blocked,
        quarantined=quarantined,
        file_bytes=size,
    )
