"""Finds expired entries, a bounded number at a time."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, LiteralString

from asciid.engines.postgresql._sql_schema import NOW
from asciid.store.operations import Expired
from asciid.store.queries import ExpiredPage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import psycopg

    from asciid.store.operations import Kind
    from asciid.store.queries import FindExpired

__all__ = ["find_expired"]

PAGE = 1_000
"""How many rows are read at most."""

_PLACE = struct.Struct(">qq")

# Each statement has a place of two members, which it orders by, and pages of rows
# after such a place.  The last column is whether the entry has expired.

# An upload was registered before its last activity.
_UPLOADS: LiteralString = """
SELECT created, upload, upload, sha256, active < %(before)b FROM asciid.image
WHERE completed IS NULL AND created < %(before)b
  AND (created, upload) > (%(first)b::bigint, %(second)b::bigint)
ORDER BY created, upload LIMIT %(page)b
"""

_COMPLETE: LiteralString = """
(SELECT completed, upload, sha256 FROM asciid.image
 WHERE {} AND completed IS NOT NULL AND completed < %(before)b
   AND (completed, upload) > (%(first)b::bigint, %(second)b::bigint)
 ORDER BY completed, upload LIMIT %(page)b)
"""

_IMAGES: LiteralString = f"""
SELECT completed, upload, upload, sha256, true FROM (
  {_COMPLETE.format("listed")} UNION ALL {_COMPLETE.format("NOT listed")}
) complete
ORDER BY completed, upload LIMIT %(page)b
"""

_STAGED: LiteralString = """
SELECT shard, upload, upload, ''::bytea, active < %(before)b FROM asciid.staged
WHERE (shard, upload) > (%(first)b::bigint, %(second)b::bigint)
ORDER BY shard, upload LIMIT %(page)b
"""

_GONE: LiteralString = """
SELECT shard, sha256, 0::bigint, sha256, at < %(before)b FROM asciid.gone
WHERE (shard, sha256) > (%(first)b::bigint, %(second)b::bytea)
ORDER BY shard, sha256 LIMIT %(page)b
"""

_DATED: LiteralString = """
SELECT deadline, upload, upload, sha256, true FROM asciid.image
WHERE deadline IS NOT NULL AND deadline < %(before)b
  AND (deadline, upload) > (%(first)b::bigint, %(second)b::bigint)
ORDER BY deadline, upload LIMIT %(page)b
"""

_STATEMENTS: Mapping[Kind, LiteralString] = {
    "dated": _DATED,
    "gone": _GONE,
    "images": _IMAGES,
    "staged": _STAGED,
    "uploads": _UPLOADS,
}


def find_expired(
    connection: psycopg.Connection[Any],
    query: FindExpired,
    clock: Callable[[float], float],
) -> ExpiredPage:
    """See `FindExpired`; `clock` is that of `answer`."""
    kind = query.kind
    with connection.cursor(binary=True) as cursor:
        ((now,),) = cursor.execute(f"SELECT {NOW}").fetchall()
        before = round(clock(now / 1000) * 1000) - int(query.older_than * 1000)
        first, second = _place_of(kind, query.start)
        cursor.execute(
            _STATEMENTS[kind],
            {"before": before, "first": first, "second": second, "page": PAGE},
        )
        rows = cursor.fetchall()
    found = [
        Expired(number, digest.hex())
        for *_, number, digest, has_expired in rows
        if has_expired
    ]
    return ExpiredPage(found, _rest(kind, rows[-1]) if len(rows) == PAGE else b"")


def _place_of(kind: Kind, start: bytes) -> tuple[int, int | bytes]:
    """Return the place that the page follows."""
    if kind == "gone":
        return (start[0], start) if start else (-1, b"")
    if start:
        first, second = _PLACE.unpack(start)
        return first, second
    return -1, -1


def _rest(kind: Kind, row: Sequence[Any]) -> bytes:
    """Return the `ExpiredPage.rest` behind a row."""
    first, second, *_ = row
    rest: bytes = second if kind == "gone" else _PLACE.pack(first, second)
    return rest
