"""Counts pending uploads in the database, where they are limited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

from attrs import define, field

from asciid.engines.postgresql._sql_arrays import array_of
from asciid.store.operations import Register

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from asciid.store.operations import AnyOperation
    from asciid.store.pending import PendingUploads

__all__ = ["PendingChecks"]

CHECKED_AT_ONCE = 1_000
"""
Of a client with more uploads, so many are checked at a time, and others the next time.
"""

_COUNT: LiteralString = """
SELECT count(*) FROM (
    SELECT FROM asciid.image WHERE completed IS NULL LIMIT %s
) AS found
"""
_STILL_PENDING: LiteralString = """
SELECT i.upload
FROM (
    SELECT decode(hex, 'hex') AS sha256, upload
    FROM unnest(%s::text[], %s::bigint[]) AS v(hex, upload)
) AS u JOIN asciid.image i
ON i.shard = get_byte(u.sha256, 0) AND i.sha256 = u.sha256 AND i.upload = u.upload
WHERE i.completed IS NULL
"""


_FEW = 1_000
"""A limit that is so low, or lower, is counted in each batch that registers images."""


@define(eq=False)
class PendingChecks:
    """Answers what `PendingUploads` asks of the database."""

    connection: psycopg.Connection[Any]
    pending: PendingUploads[tuple[str, int]]
    _count: psycopg.Cursor[Any] | None = field(init=False, default=None)
    _checked: dict[tuple[str, int], bool] = field(init=False, factory=dict)
    _now: int = field(init=False, default=0)

    def count(self, operations: Sequence[AnyOperation]) -> None:
        """
        Have all pending uploads counted, if that is needed, up to the limit.

        To count many takes long; then those of other nodes are known since the last
        `invalidate`.
        """
        total = self.pending.limits.total
        known = self.pending.total is not None
        if not total or (known and total > _FEW):
            return
        if any(isinstance(it, Register) for it in operations):
            self._count = self.connection.execute(_COUNT, (total + 1,))

    def read(self, now: int) -> None:
        """Read the count; those that are added since are counted by `pending`."""
        self._now = now
        if self._count is not None:
            ((self.pending.total,),) = self._count.fetchall()

    def is_pending(self, key: tuple[str, int]) -> bool:
        """Return whether an upload that this process has begun is still pending."""
        if key not in self._checked:
            owned = self.pending.owned_beside(key)
            self._checked.update(dict.fromkeys(owned, True))
            step = -(-len(owned) // CHECKED_AT_ONCE)
            keys = owned[self._now % step :: step]
            hashes, numbers = zip(*keys, strict=True)
            parameters = array_of(hashes), array_of(numbers)
            cursor = self.connection.execute(_STILL_PENDING, parameters)
            found = {number for (number,) in cursor.fetchall()}
            self._checked.update([(one, one[1] in found) for one in keys])
        return self._checked[key]
