"""The engine on a database that is lost, hangs, or removes images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from psycopg import errors as sql
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from asciid.engines._batching import ReadPool
from asciid.engines.postgresql import SOLE_NODE, Connector, Database, PostgreSQLEngine
from asciid.engines.postgresql._database_reads import (
    READ_TIMEOUT,
    UNAVAILABLE_TIMEOUT,
    DatabaseReads,
)
from asciid.engines.postgresql._postgresql_engine import HANGS_AFTER, WATCH_EVERY
from asciid.errors import (
    DatabaseUnavailableError,
    ImageNotFoundError,
    StorageUnreadableError,
    StoreClosedError,
    StoreVersionError,
)
from asciid.store.operations import Probe, Remove
from asciid.store.queries import Several
from asciid.store.stats import DatabaseStats
from asciid.testing import ImmediateThreadPool, ManualReactor, ManualThreadPool
from tests.engines._fake_database import FakeConnection, FakeDatabase, from_server, lost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

CAT = "c" * 64


class EngineTests(SynchronousTestCase):
    """An engine on a database in memory, whose threads run at once."""

    def setUp(self) -> None:
        """Start it."""
        self.database = FakeDatabase()
        self.patch(Connector, "connect", lambda _: self.database.connect())
        self.reactor = ManualReactor()
        self.pool, self.read_pool = ManualThreadPool(), ImmediateThreadPool()
        self.removed: list[Sequence[str] | None] = []
        self.engine = PostgreSQLEngine(
            Database("postgresql://asciid@db.example/asciid"),
            reactor=self.reactor,
            monotonic=self.reactor.seconds,
            writer_pool=self.pool,
            read_pool=self.read_pool,
            listener=SOLE_NODE,
        )
        self.engine._committer._carry_out = self.database.carry_out
        self.engine._committer._wait = lambda _: False
        self.engine._reads._answer = lambda *_: None

    def start(self) -> None:
        """Start it."""
        self.finish(self.engine.start(self.removed.append, list))
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop it."""
        self.finish(self.engine.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        for one in self.database.connections:
            self.assertTrue(one.closed)

    def turn(self) -> None:
        """Let the reactor and the writer's thread do what they can at once."""
        for _ in range(6):
            self.reactor.advance(0)
            self.pool.step()

    def finish(self, awaited: Deferred[Any]) -> Any:  # noqa: ANN401 - any result
        """Return the result of a Deferred that fires without time passing."""
        for _ in range(20):
            self.turn()
        return self.successResultOf(awaited)

    def apply(self, *operations: Any) -> Any:  # noqa: ANN401 - any outcomes
        """Carry out operations."""
        return self.finish(self.engine.apply(operations))

    def ready(self) -> tuple[bool, bool]:
        """Return whether the engine writes and reads."""
        health = self.engine.health()
        self.turn()
        return health.writes, health.reads

    def assert_refused(self) -> None:
        """Assert that writes are refused at once."""
        error = self.failureResultOf(self.engine.apply([Probe()]))
        self.assertIsInstance(error.value, DatabaseUnavailableError)

    def lose(self, *, tries: int) -> None:
        """Lose the database for some attempts to connect."""
        self.database.faults["WORK"] = [lost()]
        self.database.refusals = [lost() for _ in range(tries)]

    def test_removed(self) -> None:
        """Own removals are known once the outcome is, and not between."""
        self.start()
        self.assertTrue(self.engine.removals_known)
        removing = self.engine.apply([Remove(CAT)])
        removing.addCallback(lambda _: self.assertEqual(self.removed, []))
        self.reactor.advance(0)
        self.pool.step()
        self.assertFalse(self.engine.removals_known)
        self.finish(removing)
        self.assertTrue(self.engine.removals_known)
        self.assertEqual(self.removed, [[CAT]])

    def test_no_primary(self) -> None:
        """Without a primary writes fail at once, until one is there again."""
        self.start()
        self.assertEqual(self.ready(), (True, True))
        self.lose(tries=3)
        (outcome,) = self.apply(Probe())
        self.assertIsInstance(outcome, DatabaseUnavailableError)
        self.assert_refused()
        self.assertEqual(self.ready()[0], False)
        for _ in range(40):
            self.reactor.advance(0.1)
            self.turn()
        self.assertEqual(self.apply(Probe()), [None])
        self.ready()
        self.reactor.advance(1)
        self.assertEqual(self.ready(), (True, True))

    def test_hangs(self) -> None:
        """While a batch hangs, what waits fails, and more is refused."""
        self.start()
        told: list[bool] = []

        def note(_: object, *, writes_fail: bool) -> None:
            told.append(writes_fail)

        # Reads are given up earlier.
        self.patch(DatabaseReads, "cut_if_hung", note)
        seen: list[object] = []

        def hang(_: FakeConnection) -> None:
            # What is raised here would be taken for an error of the connection.
            waiting = self.engine.apply([Probe()])
            self.reactor.advance(HANGS_AFTER - 1)
            seen.append(waiting.called)
            self.reactor.advance(1 + WATCH_EVERY)
            for refused in (waiting, self.engine.apply([Probe()])):
                refused.addErrback(lambda failure: seen.append(failure.type))
            seen.append(self.engine.health().writes)

        self.database.faults["COMMIT"] = [hang]
        self.assertEqual(self.apply(Probe()), [None])
        error = DatabaseUnavailableError
        self.assertEqual(seen, [False, error, error, False])
        self.assertEqual((told[0], told[-1]), (False, True))
        for _ in range(10):
            self.reactor.advance(0.3)
            self.turn()
        self.assertEqual(self.apply(Probe()), [None])

    def test_unreplicated(self) -> None:
        """Health and statistics say that there is no synchronous standby."""
        self.database.standbys = ""
        with capturedLogs() as logs:
            self.start()
        warnings = [each for each in logs if each["log_level"] is LogLevel.warn]
        self.assertEqual(len(warnings), 1)
        self.assertFalse(self.engine.health().is_replicated)
        stats = self.engine.stats().database
        assert stats is not None
        self.assertFalse(stats.is_replicated)

    def test_version(self) -> None:
        """A database of another version ends the start, and the threads."""
        self.database.version += 1
        starting = self.engine.start(self.removed.append, list)
        for _ in range(20):
            self.turn()
        self.failureResultOf(starting, StoreVersionError)
        self.assertTrue(self.pool.stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_tidy(self) -> None:
        """The node's row is kept, and those of others are deleted by age."""
        self.start()
        self.database.statements.clear()
        self.finish(self.engine.tidy())
        texts = " ".join(self.database.statements)
        self.assertIn("UPDATE asciid.node SET batch", texts)
        self.assertIn("DELETE FROM asciid.node WHERE id IN", texts)

    def test_stopped(self) -> None:
        """What was accepted before the stop is carried out, and nothing after it."""
        self.start()
        accepted = self.engine.apply([Remove(CAT)])
        stopping = self.engine.stop()
        self.failureResultOf(self.engine.apply([Probe()]), StoreClosedError)
        self.finish(stopping)
        self.assertEqual(self.successResultOf(accepted), [None])
        self.assertEqual(self.database.nodes, {})
        self.failureResultOf(self.engine.ask(Several(())), StoreClosedError)


class ReadsTests(SynchronousTestCase):
    """Queries on a database in memory."""

    def setUp(self) -> None:
        """Make a pool."""
        self.now = 0.0
        self.database = FakeDatabase()
        self.reactor = ManualReactor()
        self.stats = DatabaseStats()
        pool = ReadPool(reactor=self.reactor, pool=ImmediateThreadPool())
        self.answers: list[Any] = []
        self.reads = DatabaseReads(
            self.database.connect,
            pool,
            self.reactor,
            self.stats,
            lambda seconds: seconds,
            lambda: self.now,
            self.answer,
        )
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop it."""
        self.successResultOf(self.reads.stop())
        for one in self.database.connections:
            self.assertTrue(one.closed)

    def answer(
        self,
        connection: Any,  # noqa: ANN401 - as psycopg's
        query: object,
        clock: object,
        note: Callable[[], object],
    ) -> Any:  # noqa: ANN401 - any answer
        """Return the next answer, or raise it."""
        del query, clock
        self.note = note
        answer = self.answers.pop(0) if self.answers else "answer"
        if callable(answer):
            return answer(connection)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def ask(self) -> Deferred[Any]:
        """Ask something."""
        asked = self.reads.ask(Several(()))
        self.reactor.advance(0)
        return asked

    def test_connection(self) -> None:
        """A thread keeps its connection."""
        for _ in range(2):
            self.assertEqual(self.successResultOf(self.ask()), "answer")
        self.assertEqual(len(self.database.connections), 1)

    def test_lost(self) -> None:
        """A query on a lost connection is answered on another one."""
        for error in (lost(), from_server(sql.SerializationFailure)):
            self.answers = [error]
            self.assertEqual(self.successResultOf(self.ask()), "answer")
        self.assertEqual(len(self.database.connections), 3)
        self.assertEqual(self.stats.reconnects, 2)
        self.answers = [lost(), lost()]
        self.failureResultOf(self.ask(), DatabaseUnavailableError)

    def test_errors(self) -> None:
        """Domain errors leave the connection alone; others replace it."""
        self.answers = [ImageNotFoundError(CAT)]
        self.failureResultOf(self.ask(), ImageNotFoundError)
        self.assertEqual(len(self.database.connections), 1)
        self.answers = [from_server(sql.UndefinedTable)]
        self.failureResultOf(self.ask(), StorageUnreadableError)
        self.answers = [KeyError()]
        self.failureResultOf(self.ask(), KeyError)
        self.ask()
        self.assertEqual(len(self.database.connections), 3)
        self.answers = [lost(), from_server(sql.UndefinedTable)]
        self.failureResultOf(self.ask(), StorageUnreadableError)

    def test_no_primary(self) -> None:
        """Without a server queries fail at once, until there is one again."""
        self.database.refusals = [lost() for _ in range(3)]
        self.failureResultOf(self.ask(), DatabaseUnavailableError)
        self.assertFalse(self.reads.available)
        connected = len(self.database.refusals)
        self.failureResultOf(self.ask(), DatabaseUnavailableError)
        self.assertEqual(len(self.database.refusals), connected)
        for _ in range(20):
            self.reactor.advance(0.2)
        self.assertTrue(self.reads.available)
        self.assertEqual(self.successResultOf(self.ask()), "answer")

    def test_version(self) -> None:
        """A database of another version is not read."""
        self.database.version += 1
        self.failureResultOf(self.ask(), DatabaseUnavailableError)
        self.assertFalse(self.reads.available)
        self.assertTrue(self.database.connections[-1].closed)
        self.database.version -= 1
        self.reactor.advance(1)
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(self.ask()), "answer")

    def test_check_fails(self) -> None:
        """It is available only if a statement succeeds."""
        self.database.refusals = [lost()]
        self.failureResultOf(self.ask(), DatabaseUnavailableError)
        self.database.faults["SELECT"] = [lost()]
        for _ in range(20):
            self.reactor.advance(0.2)
        self.assertTrue(self.reads.available)
        self.assertEqual(self.database.faults["SELECT"], [])

    def test_hangs_without_a_server(self) -> None:
        """While no connection can be made, or writes fail, it is given up earlier."""
        self.ask()
        cut: list[bool] = []

        def hang(connection: FakeConnection, *, writes_fail: bool) -> None:
            if not writes_fail:
                self.reads._reconnecting.begin()
            for seconds in (UNAVAILABLE_TIMEOUT - 1, 1):
                self.now += seconds
                self.reads.cut_if_hung(writes_fail=writes_fail)
                cut.append(connection.is_cut())
            connection.close()
            raise lost()

        for writes_fail in (True, False):
            self.answers = [partial(hang, writes_fail=writes_fail)]
            self.ask()
            self.assertEqual(cut, [False, True])
            cut.clear()

    def test_hangs(self) -> None:
        """A query without an answer for long is given up; progress is an answer."""
        self.ask()
        self.reads.cut_if_hung()
        cut: list[bool] = []

        def hang(connection: FakeConnection) -> None:
            self.now += READ_TIMEOUT - 1
            self.note()
            for seconds in (READ_TIMEOUT - 1, 1):
                self.now += seconds
                self.reads.cut_if_hung()
                cut.append(connection.is_cut())
            connection.close()
            raise lost()

        self.answers = [hang]
        self.assertEqual(self.successResultOf(self.ask()), "answer")
        self.assertEqual(cut, [False, True])
