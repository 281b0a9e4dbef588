"""
The node's row in the database, which fences its batches.

Each batch first updates the row with its number, and so holds the row's lock until its
transaction ends.  If the connection is lost after COMMIT was sent, the outcome is
unknown: a transaction that locks the row waits for the earlier one, and then reads
whether that was committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from attrs import define, field

if TYPE_CHECKING:
    import psycopg

__all__ = ["FORGOTTEN_AFTER", "Fence", "NodeRow", "RowMissingError"]

FORGOTTEN_AFTER = 30 * 24 * 3600
"""
Seconds after which the row of a node that has written nothing is deleted.

A running node writes at least with each `NodeRow.forget_others`.  One that was stopped
for so long finds no row, which it takes for an unknown outcome, and inserts another.
"""

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"

# No statement waits for a lock for longer, which a commit that hangs may hold; a node
# that hangs between two statements holds its locks no longer than the other time.
_SETTINGS = """
SELECT set_config('synchronous_commit', 'on', true),
       set_config('client_min_messages', 'warning', true),
       set_config('statement_timeout', '0', true),
       set_config('lock_timeout', '5s', true),
       set_config('idle_in_transaction_session_timeout', '10s', true)
"""

_INSERT = """
INSERT INTO asciid.node (id, batch, seen)
VALUES (%s, 0, floor(extract(epoch from now()) * 1000)::bigint)
"""
_FENCE = """
UPDATE asciid.node
SET batch = %s, seen = floor(extract(epoch from now()) * 1000)::bigint
WHERE id = %s AND batch < %s
RETURNING seen, current_setting('synchronous_standby_names', true)
"""
_LOCK = "SELECT batch FROM asciid.node WHERE id = %s FOR UPDATE"
_TOUCH = """
UPDATE asciid.node SET seen = floor(extract(epoch from now()) * 1000)::bigint
WHERE id = %s
"""
_DELETE = "DELETE FROM asciid.node WHERE id = %s"
_FORGET = """
DELETE FROM asciid.node WHERE id IN (
    SELECT id FROM asciid.node
    WHERE seen < floor(extract(epoch from now()) * 1000)::bigint - %s AND id <> %s
    ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED
)
"""


class RowMissingError(Exception):
    """The node's row was deleted."""


@define
class Fence:
    """The first statement of a batch, whose result is read when it is needed."""

    _cursor: psycopg.Cursor[Any]
    _row: tuple[int, str | None] | None = None

    @property
    def now(self) -> int:
        """
        The time of the transaction, in milliseconds since the epoch.

        Errors: `RowMissingError`, `psycopg.Error`.
        """
        return self._read()[0]

    @property
    def is_replicated(self) -> bool:
        """
        Whether a synchronous standby is configured.

        Errors: `RowMissingError`, `psycopg.Error`.
        """
        return bool(self._read()[1])

    def _read(self) -> tuple[int, str | None]:
        if self._row is None:
            row = self._cursor.fetchone()
            if row is None:
                raise RowMissingError
            self._row = cast("tuple[int, str | None]", row)
        return self._row


@define(eq=False)
class NodeRow:
    """The row of this process, and the number of its last batch."""

    batch: int = field(init=False, default=0)
    _id: UUID = field(init=False, factory=uuid4)
    _inserted: bool = field(init=False, default=False)

    def insert(self, connection: psycopg.Connection[Any]) -> None:
        """
        Insert the row, unless it was.

        Errors: `psycopg.Error`.
        """
        if self._inserted:
            return
        # If that was tried before, its outcome may be unknown.
        self._id = uuid4()
        begin(connection)
        connection.execute(_INSERT, (self._id,))
        connection.execute("COMMIT")
        self._inserted = True

    def renew(self) -> None:
        """Insert another row the next time, as this one was deleted."""
        self._inserted = False

    def fence(self, connection: psycopg.Connection[Any]) -> Fence:
        """Begin the next batch in a transaction; in pipeline mode nothing is read."""
        begin(connection)
        self.batch += 1
        return Fence(
            connection.execute(_FENCE, (self.batch, self._id, self.batch)),
        )

    def has_committed(self, connection: psycopg.Connection[Any], batch: int) -> bool:
        """
        Return whether a batch of which nothing is under way here was committed.

        This waits until its transaction has ended.  It commits a change of its own: a
        primary that was restarted shows commits that were not replicated, and what
        that commit waits for includes them.

        Errors: `RowMissingError`, `psycopg.Error`.
        """
        begin(connection)
        row = connection.execute(_LOCK, (self._id,)).fetchone()
        if row is None:
            connection.execute("ROLLBACK")
            raise RowMissingError
        connection.execute(_TOUCH, (self._id,))
        connection.execute("COMMIT")
        return int(row[0]) >= batch

    def delete(self, connection: psycopg.Connection[Any]) -> None:
        """
        Delete the row, as the process stops.

        Errors: `psycopg.Error`.
        """
        _begin_unreplicated(connection)
        connection.execute(_DELETE, (self._id,))
        connection.execute("COMMIT")

    def forget_others(self, connection: psycopg.Connection[Any]) -> None:
        """
        Delete rows of nodes that have not written for `FORGOTTEN_AFTER` seconds.

        Errors: `psycopg.Error`.
        """
        _begin_unreplicated(connection)
        connection.execute(_FORGET, (FORGOTTEN_AFTER * 1000, self._id))
        connection.execute("COMMIT")


def begin(connection: psycopg.Connection[Any]) -> None:
    """
    Begin a transaction whose commit waits for the standby, and which nothing cancels.

    The settings hold during COMMIT, too: without a statement timeout, and with warnings
    shown, as one is all that tells a commit whose wait for the standby was cancelled.

    Errors: `psycopg.Error`.
    """
    connection.execute(_BEGIN)
    connection.execute(_SETTINGS)


def _begin_unreplicated(connection: psycopg.Connection[Any]) -> None:
    """Begin a transaction that need not survive, so that its commit does not wait."""
    begin(connection)
    connection.execute("SET LOCAL synchronous_commit = off")
