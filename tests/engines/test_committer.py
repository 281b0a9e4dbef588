"""Batches on a database: fences, unknown outcomes, and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as sql
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines.postgresql._committer import (
    CUT_AFTER,
    MAX_BYTES,
    MAX_OPERATIONS,
    RERUN_FOR,
    SETTLE_FOR,
    Committer,
)
from asciid.errors import (
    CommitFailedError,
    DatabaseUnavailableError,
    ImageNotFoundError,
    StorageFailedError,
    StorageFullError,
    StoreVersionError,
)
from asciid.store.operations import AddChunk, Probe, Remove
from asciid.store.pending import NO_LIMITS, PendingUploads
from asciid.store.stats import DatabaseStats
from tests.engines._fake_database import FakeConnection, FakeDatabase, from_server, lost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asciid.engines.postgresql._sql_batch import BatchResult
    from asciid.store.operations import AnyOperation

CAT, DOG = "c" * 64, "d" * 64


class CommitterTestCase(SynchronousTestCase):
    """A committer on a database in memory."""

    def setUp(self) -> None:
        """Open it."""
        self.database = FakeDatabase()
        self.now = 0.0
        self.stops = False
        self.waits: list[float] = []
        self.removed: list[Sequence[str]] = []
        self.lost = 0
        self.committer = self.make()
        self.committer.open()
        self.opened = len(self.database.committed)

    def make(self) -> Committer:
        """Return a committer."""
        return Committer(
            self.database.connect,
            PendingUploads(NO_LIMITS),
            DatabaseStats(),
            lambda seconds: seconds,
            self.wait,
            lambda: self.now,
            self.removed.append,
            self.lose,
            self.database.carry_out,
        )

    def wait(self, seconds: float) -> bool:
        """Let time pass."""
        self.waits.append(seconds)
        self.now += seconds
        return self.stops

    def lose(self) -> None:
        """Count that there is no connection."""
        self.lost += 1

    @property
    def stats(self) -> DatabaseStats:
        """What was counted."""
        return self.committer.stats

    @property
    def connection(self) -> FakeConnection:
        """The last connection."""
        return self.database.connections[-1]

    def at_commit(self, *faults: Any) -> None:  # noqa: ANN401 - see FakeDatabase
        """Have something happen at the next commits."""
        self.database.faults["COMMIT"] = list(faults)

    def remove(self) -> Sequence[Any]:
        """Carry out one operation."""
        return self.committer.execute([Remove(CAT)])

    def assert_committed(self, times: int = 1) -> None:
        """Assert how often the operation was committed."""
        self.assertEqual(self.database.committed, [Remove(CAT)] * times)


def lose_before(connection: FakeConnection) -> None:
    """Lose a connection, whose transaction is rolled back."""
    connection.close()
    raise lost()


def lose_after(connection: FakeConnection) -> None:
    """Lose a connection after it has committed."""
    connection.commit()
    lose_before(connection)


def cancel_wait(connection: FakeConnection) -> None:
    """Commit, with the warning that the wait for the standby was cancelled."""
    connection.warn()


class BatchTests(CommitterTestCase):
    """What is done of a batch, and how it is cut."""

    def test_committed(self) -> None:
        """A batch is one fenced transaction that waits for the standby."""
        self.database.statements.clear()
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        begin, settings, fence, *_, notify, commit = self.database.statements
        self.assertEqual(begin, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
        for setting in (
            "('synchronous_commit', 'on', true)",
            "('statement_timeout', '0', true)",
            "('client_min_messages', 'warning', true)",
        ):
            self.assertIn(setting, settings)
        self.assertIn("UPDATE asciid.node", fence)
        self.assertIn("pg_notify", notify)
        self.assertEqual(commit, "COMMIT")
        self.assertEqual(self.committer.events.deleted, 1)

    def test_removed_before_the_commit(self) -> None:
        """Removals are known before they can be seen."""
        removed: list[Sequence[str]] = []
        self.at_commit(lambda _: removed.extend(self.removed))
        self.remove()
        self.assertEqual(removed, [[CAT]])

    def test_cut(self) -> None:
        """A batch is cut into transactions of bounded numbers and sizes."""
        transactions = self.record_transactions()
        outcomes = self.committer.execute([Probe()] * (MAX_OPERATIONS + 1))
        self.assertEqual(len(outcomes), MAX_OPERATIONS + 1)
        self.assertEqual(transactions, [MAX_OPERATIONS, 1])
        transactions.clear()
        half = AddChunk(CAT, 0, bytes(MAX_BYTES // 2))
        large = AddChunk(CAT, 0, bytes(MAX_BYTES + 1))
        self.committer.execute([half, half, half, large, half])
        self.assertEqual(transactions, [2, 1, 1, 1])
        transactions.clear()
        self.committer.execute([])
        self.assertEqual(transactions, [0])

    def record_transactions(self) -> list[int]:
        """Return a list that gets the number of operations of each transaction."""
        transactions: list[int] = []

        def carry_out(
            connection: object,
            operations: Sequence[AnyOperation],
            pending: object,
            now: Callable[[], int],
        ) -> BatchResult:
            transactions.append(len(operations))
            return self.database.carry_out(connection, operations, pending, now)

        self.committer._carry_out = carry_out
        return transactions

    def test_part_that_fails(self) -> None:
        """A transaction that fails has no effect on the outcomes before it."""
        self.at_commit(lambda _: None, from_server(sql.DiskFull))
        outcomes = self.committer.execute([Probe()] * (MAX_OPERATIONS + 2))
        self.assertEqual(outcomes[:MAX_OPERATIONS], [None] * MAX_OPERATIONS)
        kinds = [type(each) for each in outcomes[MAX_OPERATIONS:]]
        self.assertEqual(kinds, [StorageFullError] * 2)

    def test_clock(self) -> None:
        """The time that is used is that of the database, mapped."""
        self.committer._clock = lambda seconds: seconds + 0.5
        self.committer.execute([])
        self.assertEqual(self.database.times[-1], 1_500)


class UnknownOutcomeTests(CommitterTestCase):
    """Connections that are lost during the commit."""

    def test_committed(self) -> None:
        """What was committed is answered, and does not run again."""
        self.at_commit(lose_after)
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        self.assertEqual(self.stats.settled_committed, 1)
        self.assertEqual(self.stats.reconnects, 1)
        self.assertEqual(self.committer.events.deleted, 1)

    def test_settled_by_a_commit(self) -> None:
        """The outcome is read under the row's lock, and another commit is made."""
        self.at_commit(lose_after)
        self.database.statements.clear()
        self.remove()
        *_, lock, touch, commit = self.database.statements
        self.assertIn("FOR UPDATE", lock)
        self.assertIn("UPDATE asciid.node SET seen", touch)
        self.assertEqual(commit, "COMMIT")

    def test_rolled_back(self) -> None:
        """What was not committed runs again."""
        self.at_commit(lose_before)
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        self.assertEqual(self.stats.settled_rerun, 1)

    def test_lost_again(self) -> None:
        """While it is found out, connections may be lost, and commits cancelled."""
        self.at_commit(lose_after, lose_after, lose_before, cancel_wait, lambda _: None)
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        self.assertEqual(self.stats.settled_committed, 1)
        self.assertEqual(self.stats.unreplicated, 1)
        self.assertEqual(self.database.faults["COMMIT"], [])

    def test_unreachable(self) -> None:
        """It waits for a server, with increasing pauses."""

        def refuse(connection: FakeConnection) -> None:
            self.database.refusals = [lost() for _ in range(8)]
            lose_after(connection)

        self.at_commit(refuse)
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        self.assertEqual(len(self.waits), 8)
        self.assertLess(self.waits[0], 0.1)
        self.assertGreater(self.waits[-1], 0.9)
        self.assertEqual(self.lost, 8)

    def test_unresolved(self) -> None:
        """After a minute the outcome is that it is unknown."""

        def refuse(connection: FakeConnection) -> None:
            self.database.refusals = [lost() for _ in range(1_000)]
            lose_before(connection)

        self.at_commit(refuse)
        self.assertRaises(CommitFailedError, self.remove)
        self.assertGreaterEqual(self.now, SETTLE_FOR)
        self.assertLess(self.now, SETTLE_FOR + 3)
        self.assertEqual(self.stats.unresolved, 1)
        self.database.refusals.clear()
        self.assertEqual(self.remove(), [None])
        self.assert_committed()

    def test_migrated(self) -> None:
        """A database that was migrated meanwhile is not asked."""

        def migrate(connection: FakeConnection) -> None:
            self.database.version += 1
            lose_after(connection)

        self.at_commit(migrate)
        self.assertRaises(CommitFailedError, self.remove)
        self.assertGreaterEqual(self.now, SETTLE_FOR)
        self.assertRaises(DatabaseUnavailableError, self.remove)
        self.assert_committed()
        for one in self.database.connections:
            self.assertTrue(one.closed)

    def test_stopping(self) -> None:
        """A stop does not wait for what cannot be found out at once."""

        def refuse(connection: FakeConnection) -> None:
            self.database.refusals = [lost()]
            lose_after(connection)

        self.stops = True
        self.at_commit(refuse)
        self.assertRaises(CommitFailedError, self.remove)

    def test_row_deleted(self) -> None:
        """Without the row, the outcome is unknown: never that nothing was committed."""

        def forget(connection: FakeConnection) -> None:
            connection.commit()
            self.database.nodes.clear()
            lose_before(connection)

        self.at_commit(forget)
        self.assertRaises(CommitFailedError, self.remove)
        self.assert_committed()
        self.assertEqual(self.remove(), [None])
        self.assertEqual(len(self.database.nodes), 1)

    def test_reported_unknown(self) -> None:
        """A server may say itself that it does not know (SQLSTATE 40003)."""

        def report(connection: FakeConnection) -> None:
            connection.commit()
            raise from_server(sql.StatementCompletionUnknown)

        self.at_commit(report)
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        self.assertEqual(self.stats.settled_committed, 1)

    def test_terminated(self) -> None:
        """An error that ends the connection does not say that nothing was committed."""

        def terminate(connection: FakeConnection) -> None:
            connection.commit()
            raise from_server(sql.AdminShutdown, b"FATAL")

        self.at_commit(terminate)
        self.assertEqual(self.remove(), [None])
        self.assert_committed()

    def test_unforeseen(self) -> None:
        """Nor does an error of the program itself, once COMMIT was sent."""

        def fail(connection: FakeConnection) -> None:
            connection.commit()
            raise MemoryError

        self.at_commit(fail)
        self.assertEqual(self.remove(), [None])
        self.assert_committed()

    def test_rejected(self) -> None:
        """A commit that the server says has failed runs again without a question."""
        self.at_commit(from_server(sql.SerializationFailure))
        self.database.statements.clear()
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        self.assertEqual(self.stats.retries, 1)
        self.assertIn("ROLLBACK", self.database.statements)
        self.assertNotIn("FOR UPDATE", " ".join(self.database.statements))

    def test_cancelled_wait(self) -> None:
        """A commit whose wait for the standby was cancelled is not answered yet."""
        self.at_commit(cancel_wait)
        self.database.statements.clear()
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        self.assertEqual(self.stats.unreplicated, 1)
        self.assertEqual(self.stats.settled_committed, 1)
        self.assertEqual(self.database.statements.count("COMMIT"), 2)

    def test_other_warnings(self) -> None:
        """Other warnings, and those before the commit, are none of that kind."""
        self.at_commit(lambda connection: connection.warn("25001"))
        self.database.faults["WORK"] = [cancel_wait]
        self.remove()
        self.assertEqual(self.stats.unreplicated, 0)


class ErrorTests(CommitterTestCase):
    """Errors before the commit, of which nothing was committed."""

    def test_lost(self) -> None:
        """A lost connection is replaced, and the batch runs again."""
        self.database.faults["WORK"] = [lost()]
        self.assertEqual(self.remove(), [None])
        self.assert_committed()
        self.assertEqual((self.stats.reconnects, self.stats.retries), (1, 1))
        self.assertEqual(self.lost, 0)

    def test_no_primary(self) -> None:
        """Without a server it fails at once, and says that nothing was stored."""
        self.database.faults["WORK"] = [lost()]
        self.database.refusals = [lost()]
        self.assertRaises(DatabaseUnavailableError, self.remove)
        self.assert_committed(0)
        self.assertEqual(self.lost, 2)
        self.assertEqual(len(self.waits), 1)

    def test_standby(self) -> None:
        """A server that became a standby is left for another one."""
        self.database.faults["WORK"] = [from_server(sql.ReadOnlySqlTransaction)]
        self.assertEqual(self.remove(), [None])
        self.assertEqual(len(self.database.connections), 2)

    def test_conflicts(self) -> None:
        """Conflicts are retried on the same connection, for a bounded time."""
        for kind in (
            sql.SerializationFailure,
            sql.DeadlockDetected,
            sql.LockNotAvailable,
            sql.QueryCanceled,
        ):
            self.database.faults["WORK"] = [from_server(kind)]
            self.assertEqual(self.remove(), [None])
        self.assertEqual(len(self.database.connections), 1)
        self.now = 0
        self.database.faults["WORK"] = [from_server(sql.LockNotAvailable)] * 1_000
        self.assertRaises(DatabaseUnavailableError, self.remove)
        self.assertGreaterEqual(self.now, RERUN_FOR)
        self.assertLess(self.now, RERUN_FOR + 3)

    def test_rollback_fails(self) -> None:
        """A connection that cannot roll back is replaced."""
        self.database.faults["WORK"] = [from_server(sql.SerializationFailure)]
        self.database.faults["ROLLBACK"] = [lost()]
        self.assertEqual(self.remove(), [None])
        self.assertEqual(len(self.database.connections), 2)

    def test_full(self) -> None:
        """A full disk of the server is reported as such."""
        self.database.faults["WORK"] = [from_server(sql.DiskFull)]
        self.assertRaises(StorageFullError, self.remove)
        self.assertEqual(self.remove(), [None])

    def test_unexpected(self) -> None:
        """An error that would repeat fails the batch, and is logged once."""
        with capturedLogs() as logs:
            for _ in range(2):
                self.database.faults["WORK"] = [from_server(sql.UndefinedTable)]
                self.assertRaises(StorageFailedError, self.remove)
        texts = [
            formatEvent(each) for each in logs if each["log_level"] is LogLevel.error
        ]
        self.assertEqual(
            texts, ["writing to the database fails: reported by the server"]
        )
        self.assert_committed(0)

    def test_of_the_program(self) -> None:
        """So does one of the program, with its traceback."""
        self.database.faults["WORK"] = [KeyError("x")]
        self.assertRaises(StorageFailedError, self.remove)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(self.remove(), [None])
        self.database.faults["WORK"] = [ImageNotFoundError(CAT)]
        self.assertRaises(ImageNotFoundError, self.remove)

    def test_answered_otherwise(self) -> None:
        """A commit that is answered with anything but COMMIT did not happen."""

        def roll_back(connection: FakeConnection) -> None:
            connection.changes.clear()
            execute = connection._carry_out
            self.patch(connection, "_carry_out", lambda *_: execute("ROLLBACK", ()))

        self.at_commit(roll_back)
        self.database.refusals = []
        self.committer._wait = lambda _: True
        self.assertRaises(DatabaseUnavailableError, self.remove)
        self.assert_committed(0)

    def test_row_deleted(self) -> None:
        """A row that is missing at the beginning of a batch is inserted again."""
        (before,) = self.database.nodes
        self.database.nodes.clear()
        self.assertEqual(self.remove(), [None])
        (after,) = self.database.nodes
        self.assertNotEqual(after, before)

    def test_pending_counts(self) -> None:
        """Counts of pending uploads do not outlive a second, nor a failed batch."""
        invalidated: list[float] = []
        self.patch(
            self.committer.pending, "invalidate", lambda: invalidated.append(self.now)
        )
        for self.now in (10.0, 10.5, 11.0):
            self.committer.execute([])
        self.assertEqual(invalidated, [10.0, 11.0])
        self.database.faults["WORK"] = [from_server(sql.DiskFull)]
        self.assertRaises(StorageFullError, self.remove)
        self.assertEqual(invalidated, [10.0, 11.0, 11.0])


class ConnectionTests(CommitterTestCase):
    """The connection, and the row of the node."""

    def test_version(self) -> None:
        """A database of another release is refused, and disconnected."""
        self.database.version += 1
        with self.assertRaises(StoreVersionError):
            self.make().open()
        self.assertTrue(self.connection.closed)

    def test_unreachable(self) -> None:
        """The error of the first connection has its reason, in one line."""
        self.database.refusals = [lost()]
        with self.assertRaises(psycopg.OperationalError) as raised:
            self.make().open()
        self.assertNotIn("\n", str(raised.exception))

    def test_close(self) -> None:
        """At the end the row is deleted, without waiting for the standby."""
        self.database.statements.clear()
        self.committer.close()
        self.assertEqual(self.database.nodes, {})
        self.assertTrue(self.connection.closed)
        self.assertIn("SET LOCAL synchronous_commit = off", self.database.statements)
        self.committer.close()

    def test_close_without_a_server(self) -> None:
        """If that fails, another node deletes the row some time."""
        self.database.faults["DELETE"] = [lost()]
        self.committer.close()
        self.assertEqual(len(self.database.nodes), 1)
        self.assertTrue(self.connection.closed)

    def test_forget(self) -> None:
        """Rows of others are deleted by age, but for locked ones and the own one."""
        self.committer.forget_other_nodes()
        (statement,) = [
            each
            for each in self.database.statements
            if each.startswith("DELETE FROM asciid.node WHERE id IN")
        ]
        self.assertIn("FOR UPDATE SKIP LOCKED", statement)
        self.assertIn("AND id <> %s", statement)
        self.database.faults["DELETE"] = [lost()]
        self.assertRaises(DatabaseUnavailableError, self.committer.forget_other_nodes)
        self.assertTrue(self.connection.closed)

    def test_hangs(self) -> None:
        """A server that does not answer for long is given up, and not before."""
        self.committer.cut_if_hung()
        cut: list[bool] = []

        def hang(connection: FakeConnection) -> None:
            for seconds in (CUT_AFTER - 1, 1):
                self.now += seconds
                self.committer.cut_if_hung()
                cut.append(connection.is_cut())
            lose_after(connection)

        self.at_commit(hang)
        self.assertEqual(self.remove(), [None])
        self.assertEqual(cut, [False, True])

    def test_replication(self) -> None:
        """It is logged whether there is a synchronous standby, if that changes."""
        with capturedLogs() as logs:
            for standbys in ("*", "", "", None, "*"):
                self.database.standbys = standbys
                self.remove()
        texts = [formatEvent(each) for each in logs]
        without, with_one = texts
        self.assertIn("the database has no synchronous standby", without)
        self.assertIn("commits wait for a synchronous standby", with_one)
        self.assertTrue(self.stats.is_replicated)
