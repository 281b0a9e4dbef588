"""Removals of other nodes, by LISTEN and NOTIFY."""

from __future__ import annotations

import socket
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import ExecStatus
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from asciid.engines.postgresql._reconnecting import Reconnecting, delays
from asciid.engines.postgresql._removal_listener import (
    LEASE,
    PING_EVERY,
    SILENT_AFTER,
    SOLE_NODE,
    Listener,
    notify,
)
from asciid.errors import StoreClosedError
from asciid.store.stats import DatabaseStats
from asciid.testing import ManualReactor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CAT, DOG = "c" * 64, "d" * 64
SUCCEEDED, FAILED = True, False


class FakeResult:
    """The result of a ping."""

    def __init__(self, *, succeeds: bool) -> None:
        self.status = ExecStatus.TUPLES_OK if succeeds else ExecStatus.FATAL_ERROR
        self.error_message = b"FATAL:  terminated\n"


class FakeNotification:
    """A notification with hashes."""

    def __init__(self, *hashes: str) -> None:
        self.extra = "".join(hashes).encode()


class FakeConnection:
    """A connection, its libpq, and what the server sends."""

    def __init__(self) -> None:
        self.pgconn = self.info = self
        self.backend_pid = self.answering_pid = 7
        self.nonblocking = 0
        self.pings = 0
        self.results: deque[FakeResult | None] = deque()
        self.notifications: deque[FakeNotification] = deque()
        self.statements: list[str] = []
        self.error: psycopg.Error | None = None
        self.closed = False
        self._ends = socket.socketpair()

    def execute(self, statement: str) -> FakeConnection:
        """Record a statement."""
        if self.error is not None:
            raise self.error
        self.statements.append(statement)
        return self

    def fetchone(self) -> tuple[int]:
        """Return the process id of the server that answers."""
        return (self.answering_pid,)

    def fileno(self) -> int:
        """Return a descriptor."""
        return self._ends[0].fileno()

    def close(self) -> None:
        """Close it."""
        self.closed = True
        for end in self._ends:
            end.close()

    def send_query(self, query: bytes) -> None:
        """Send a ping."""
        assert query == b"SELECT 1"
        if self.error is not None:
            raise self.error
        self.pings += 1

    def flush(self) -> int:
        """Do nothing: everything is sent at once."""
        return 0

    def consume_input(self) -> None:
        """Read, or find that the connection is lost."""
        if self.error is not None:
            raise self.error

    def is_busy(self) -> int:
        """Return whether a result is due."""
        return not self.results

    def get_result(self) -> FakeResult | None:
        """Return the next result."""
        return self.results.popleft()

    def notifies(self) -> FakeNotification | None:
        """Return the next notification."""
        return self.notifications.popleft() if self.notifications else None


class ReadingReactor(ManualReactor):
    """A reactor with descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: object) -> None:
        """Add a descriptor."""
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:  # noqa: ANN401 - Twisted has no type
        """Remove a descriptor, which must still be open."""
        assert reader.fileno() >= 0
        self.readers.discard(reader)


class ListenerTests(SynchronousTestCase):
    """A listener whose connections the test has."""

    def setUp(self) -> None:
        """Listen."""
        self.reactor = ReadingReactor()
        self.connections: list[FakeConnection] = []
        self.refused = False
        self.unpooled = False
        self.removed: list[Sequence[str] | None] = []
        self.stats = DatabaseStats()
        self.listener = Listener(
            self.connect,
            self.in_thread,
            self.stats,
            reactor=self.reactor,
            monotonic=self.reactor.seconds,
        )
        self.listener.start(self.removed.append)
        self.pass_time(0.1)
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Stop listening."""
        self.successResultOf(self.listener.stop())
        for one in self.connections:
            self.assertTrue(one.closed)

    def connect(self) -> Any:  # noqa: ANN401 - as psycopg.connect
        """Make a connection."""
        if self.refused:
            message = "connection refused"
            raise psycopg.OperationalError(message)
        self.connections.append(FakeConnection())
        return self.connections[-1]

    def in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        """Make a call at once."""
        if self.unpooled:
            return fail(StoreClosedError())
        try:
            return succeed(call())
        except psycopg.Error:
            return fail()

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.reactor.pump([0.05] * round(seconds / 0.05))

    @property
    def connection(self) -> FakeConnection:
        """The last connection."""
        return self.connections[-1]

    def receive(self, *notifications: FakeNotification) -> None:
        """Have the reactor read notifications."""
        self.connection.notifications.extend(notifications)
        (reader,) = self.reactor.readers
        reader.doRead()

    def answer(self, *notifications: FakeNotification) -> None:
        """Answer the ping."""
        self.connection.results.extend([FakeResult(succeeds=True), None])
        self.receive(*notifications)

    def lose(self) -> None:
        """Lose the connection."""
        self.connection.error = psycopg.OperationalError("closed")
        (reader,) = self.reactor.readers
        self.assertIsNone(reader.doRead())

    def test_listens(self) -> None:
        """It listens, and clears what was cached before; a ping proves it current."""
        self.assertEqual(self.connection.statements[-1], "LISTEN asciid_removed")
        self.assertEqual(self.removed, [None])
        self.assertFalse(self.listener.is_current)
        self.assertTrue(self.stats.is_listening)
        (reader,) = self.reactor.readers
        verifyObject(IReadDescriptor, reader)
        self.assertEqual(reader.logPrefix(), "asciid")
        self.answer()
        self.assertTrue(self.listener.is_current)
        self.assertEqual(self.stats.round_trips.count, 1)

    def test_received(self) -> None:
        """Hashes are removed; of several in a payload each."""
        self.receive(FakeNotification(CAT, DOG), FakeNotification(CAT))
        self.assertEqual(self.removed[1:], [[CAT, DOG], [CAT]])

    def test_before_the_answer(self) -> None:
        """What arrived with the answer is removed before that counts."""
        current: list[bool] = []
        self.listener._session._on_removed = lambda _: current.append(  # type: ignore[union-attr] # it listens
            self.listener.is_current
        )
        self.answer(FakeNotification(CAT))
        self.assertEqual(current, [False])
        self.assertTrue(self.listener.is_current)

    def test_lease(self) -> None:
        """It is current for a while from when the answered ping was sent."""
        sent = self.reactor.seconds()
        self.answer()
        self.pass_time(PING_EVERY)
        self.assertEqual(self.connection.pings, 2)
        self.pass_time(LEASE - PING_EVERY - 0.1)
        self.assertTrue(self.listener.is_current)
        self.pass_time(0.2)
        self.assertFalse(self.listener.is_current)
        self.assertLess(self.reactor.seconds() - sent, 1)
        # An answer that took so long proves nothing of the present.
        self.pass_time(LEASE)
        self.answer()
        self.assertFalse(self.listener.is_current)
        self.assertEqual(self.connection.pings, 2)
        self.pass_time(PING_EVERY)
        self.answer()
        self.assertTrue(self.listener.is_current)

    def test_silent(self) -> None:
        """A connection without answers is replaced, and the cache is cleared."""
        self.answer()
        self.pass_time(SILENT_AFTER + 1)
        first, second = self.connections
        self.assertTrue(first.closed)
        self.assertEqual(second.pings, 1)
        self.assertEqual(self.removed, [None, None, None])
        self.assertEqual(self.stats.reconnects, 1)
        self.assertFalse(self.listener.is_current)
        self.answer()
        self.assertTrue(self.listener.is_current)

    def test_lost(self) -> None:
        """So is one that is lost while something is read."""
        self.answer()
        (reader,) = self.reactor.readers
        self.lose()
        self.assertFalse(self.listener.is_current)
        self.assertFalse(self.stats.is_listening)
        self.assertEqual(self.reactor.readers, set())
        # The reactor may have noticed it as well.
        reader.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.removed, [None, None])
        self.pass_time(0.2)
        self.assertEqual(len(self.connections), 2)

    def test_disconnected(self) -> None:
        """So is one of which the reactor says so."""
        (reader,) = self.reactor.readers
        reader.connectionLost(Failure(ConnectionDone()))
        self.pass_time(0.2)
        self.assertEqual(len(self.connections), 2)

    def test_lost_ping(self) -> None:
        """So is one on which no ping can be sent."""
        self.answer()
        self.connection.error = psycopg.OperationalError("closed")
        self.pass_time(0.5)
        self.assertEqual(len(self.connections), 2)

    def test_error(self) -> None:
        """So is one on which a ping fails."""
        self.connection.results.append(FakeResult(succeeds=False))
        self.receive()
        self.pass_time(0.2)
        self.assertEqual(len(self.connections), 2)

    def test_partial_answer(self) -> None:
        """The end of a result may arrive later than the result."""
        self.connection.results.append(FakeResult(succeeds=True))
        self.receive()
        self.assertTrue(self.listener.is_current)
        self.connection.results.append(None)
        self.receive()
        self.pass_time(PING_EVERY)
        self.assertEqual(self.connection.pings, 2)

    def test_refused(self) -> None:
        """Connections are tried with increasing pauses, until one is made."""
        tries: list[float] = []
        self.refused = True
        connect = self.listener._connect

        def count() -> Any:  # noqa: ANN401 - as connect
            tries.append(self.reactor.seconds())
            return connect()

        self.listener._connect = count
        self.lose()
        self.pass_time(10)
        pauses = [after - before for before, after in pairwise(tries)]
        self.assertLess(pauses[0], 0.3)
        self.assertGreater(max(pauses), 0.8)
        self.assertLess(max(pauses), 2.2)
        self.refused = False
        self.pass_time(3)
        self.assertEqual(len(self.connections), 2)

    def test_not_listening(self) -> None:
        """A connection on which LISTEN fails is closed."""
        connections: list[FakeConnection] = []

        def connect() -> Any:  # noqa: ANN401 - as psycopg.connect
            connections.append(FakeConnection())
            connections[-1].error = psycopg.OperationalError("no LISTEN here")
            return connections[-1]

        self.listener._connect = connect
        self.lose()
        self.pass_time(1)
        self.assertTrue(connections)
        for one in connections:
            self.assertTrue(one.closed)

    def test_pooler(self) -> None:
        """It does not listen through a pooler, and says what to do instead."""
        connections: list[FakeConnection] = []

        def connect() -> Any:  # noqa: ANN401 - as psycopg.connect
            connections.append(FakeConnection())
            connections[-1].answering_pid += 1
            return connections[-1]

        self.listener._connect = connect
        with capturedLogs() as logs:
            self.lose()
            self.pass_time(1)
        self.assertTrue(connections)
        for one in connections:
            self.assertTrue(one.closed)
            self.assertNotIn("LISTEN asciid_removed", one.statements)
        self.assertFalse(self.stats.is_listening)
        self.assertFalse(self.listener.is_current)
        self.assertTrue([one for one in logs if "--storage-listen" in formatEvent(one)])

    def test_stopped_while_connecting(self) -> None:
        """A connection that is made after the stop is closed."""
        waiting: list[Deferred[Any]] = []

        def in_thread(call: Callable[[], Any]) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            waiting.append(done.addCallback(lambda _: call()))
            return done

        self.lose()
        self.listener._in_thread = in_thread
        self.pass_time(1)
        stopped = self.listener.stop()
        self.successResultOf(stopped)
        connecting = waiting.pop()
        connecting.callback(None)
        closing = waiting.pop()
        closing.callback(None)
        self.assertTrue(self.connection.closed)
        self.assertEqual(self.reactor.readers, set())

    def test_stopped_without_threads(self) -> None:
        """Without a thread, a connection is closed all the same."""
        self.unpooled = True
        self.successResultOf(self.listener.stop())
        self.assertTrue(self.connection.closed)

    def test_no_threads(self) -> None:
        """Threads that are stopping are no failure to log."""
        self.unpooled = True
        self.lose()
        self.pass_time(1)
        self.assertEqual(len(self.connections), 1)
        self.assertEqual(self.listener._fault_log._logged, {"closed"})

    def test_sole_node(self) -> None:
        """A node that is alone has nothing to receive."""
        SOLE_NODE.start(self.removed.append)
        self.assertTrue(SOLE_NODE.is_current)
        self.successResultOf(SOLE_NODE.stop())
        self.assertEqual(self.removed, [None])


class NotifyTests(SynchronousTestCase):
    """What is sent to listeners."""

    def test_payloads(self) -> None:
        """A payload has less than PostgreSQL's limit of 8,000 bytes."""
        sent: list[Any] = []

        class Connection:
            def execute(self, _: str, parameters: Any) -> None:  # noqa: ANN401 - of SQL
                sent.append(parameters)

        connection: Any = Connection()
        hashes = [f"{number:064x}" for number in range(250)]
        notify(connection, hashes)
        ((channel, payloads),) = sent
        self.assertEqual(channel, "asciid_removed")
        self.assertEqual("".join(payloads), "".join(hashes))
        self.assertLess(max(map(len, payloads)), 8_000)
        self.assertEqual(len(payloads), 3)


class ReconnectingTests(SynchronousTestCase):
    """Attempts on the reactor."""

    def setUp(self) -> None:
        """Make one."""
        self.reactor = ManualReactor()
        self.attempts: list[Deferred[bool]] = []
        self.reconnecting = Reconnecting(self.reactor, self.attempt)

    def attempt(self) -> Deferred[bool]:
        """Begin an attempt."""
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def test_until_it_succeeds(self) -> None:
        """One attempt at a time is made, until one succeeds."""
        self.reconnecting.begin()
        self.reconnecting.begin()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(0.1)
        self.reactor.advance(10)
        self.assertEqual(len(self.attempts), 1)
        self.attempts[-1].callback(FAILED)
        self.reactor.advance(0.1)
        self.attempts[-1].errback(StoreClosedError())
        self.assertTrue(self.reconnecting.active)
        self.reactor.advance(0.2)
        self.attempts[-1].callback(SUCCEEDED)
        self.assertFalse(self.reconnecting.active)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reconnecting.begin()
        self.reactor.advance(0.1)
        self.assertEqual(len(self.attempts), 4)

    def test_stop(self) -> None:
        """After the stop none is made."""
        self.reconnecting.begin()
        self.reactor.advance(0.1)
        self.reconnecting.stop()
        self.attempts[-1].callback(FAILED)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        other = Reconnecting(self.reactor, self.attempt)
        other.begin()
        other.stop()
        other.begin()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_delays(self) -> None:
        """Pauses double, at random, up to two seconds."""
        pauses = delays()
        first = [next(pauses) for _ in range(8)]
        for pause, longest in zip(
            first, (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2), strict=True
        ):
            self.assertLessEqual(pause, longest)
            self.assertGreaterEqual(pause, longest / 2)
        self.assertNotEqual(first, [next(delays()) for _ in range(8)])
