"""Receives the removals that other nodes commit, by LISTEN and NOTIFY."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import psycopg
from psycopg.pq import ExecStatus
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.task import LoopingCall
from zope.interface import implementer

from asciid.engines._callbacks import do_nothing
from asciid.engines._fault_log import FaultLog
from asciid.engines.postgresql._connecting import Link, one_line
from asciid.engines.postgresql._reconnecting import Reconnecting
from asciid.errors import StoreClosedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg.pq.abc import PGconn
    from twisted.python.failure import Failure

    from asciid.runtime.reactor import Reactor
    from asciid.store.stats import DatabaseStats

__all__ = [
    "LEASE",
    "PING_EVERY",
    "SILENT_AFTER",
    "SOLE_NODE",
    "IListener",
    "Listener",
    "SoleNode",
    "notify",
]

PING_EVERY = 0.25
"""Seconds between two pings."""

LEASE = 0.75
"""
Seconds for which an answered ping shows that no removal was missed, from its sending.

With the time that a removal takes to arrive, other nodes serve a removed image for
less than a second.
"""

SILENT_AFTER = 3.0
"""Seconds without an answer after which the connection is given up."""

_CHANNEL = "asciid_removed"

_HASH = 64
"""Hexadecimal digits of a hash."""

_HASHES = 120
"""Hashes in a payload, which has less than 8,000 bytes."""

_NOTIFY = "SELECT pg_notify(%s, payload) FROM unnest(%s::text[]) AS payload"

OnRemoved: TypeAlias = "Callable[[Sequence[str] | None], object]"
InThread: TypeAlias = "Callable[[Callable[[], Any]], Deferred[Any]]"


def notify(connection: psycopg.Connection[Any], removed: Sequence[str]) -> None:
    """
    Send the hashes of removed images to the listeners, once the transaction commits.

    Errors: `psycopg.Error`.
    """
    payloads = [
        "".join(removed[first : first + _HASHES])
        for first in range(0, len(removed), _HASHES)
    ]
    connection.execute(_NOTIFY, (_CHANNEL, payloads))


class IListener(Protocol):
    """Receives the removals of other nodes."""

    @property
    def is_current(self) -> bool:
        """Whether each removal that was committed a second ago was received."""

    def start(self, on_removed: OnRemoved) -> None:
        """Begin to listen; `on_removed` is as in `IEngine.start`."""

    def stop(self) -> Deferred[None]:
        """Disconnect."""


class SoleNode:
    """The listener of a node that has the database to itself, as in tests."""

    is_current = True

    def start(self, on_removed: OnRemoved) -> None:
        """Do nothing: there are no removals of others."""

    def stop(self) -> Deferred[None]:
        """Do nothing."""
        return succeed(None)


SOLE_NODE = SoleNode()


@implementer(IReadDescriptor)
class _Session:
    """
    A connection on which LISTEN was done, read by the reactor.

    `on_removed` is called with hashes; `on_lost` once the connection cannot be used.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        on_removed: OnRemoved,
        on_lost: Callable[[_Session, str], object],
        monotonic: Callable[[], float],
        stats: DatabaseStats,
    ) -> None:
        self.link = Link(connection)
        self._pgconn: PGconn = connection.pgconn
        self._pgconn.nonblocking = 1
        self._on_removed = on_removed
        self._on_lost = on_lost
        self._monotonic = monotonic
        self._stats = stats
        self._sent: float | None = None
        self.current_until = float("-inf")

    def ping(self) -> None:
        """Ask for an answer, unless one is due."""
        now = self._monotonic()
        if self._sent is None:
            try:
                self._pgconn.send_query(b"SELECT 1")
                self._sent = now
                self._pgconn.flush()
            except psycopg.Error as error:
                self._on_lost(self, one_line(error))
        elif now - self._sent >= SILENT_AFTER:
            self._on_lost(self, f"no answer for {SILENT_AFTER:.0f} seconds")

    def fileno(self) -> int:
        """See `IReadDescriptor`."""
        return self.link.fileno()

    def doRead(self) -> None:
        """See `IReadDescriptor`."""
        try:
            self._pgconn.consume_input()
            self._receive()
        except psycopg.Error as error:
            self._on_lost(self, one_line(error))

    def connectionLost(self, reason: Failure) -> None:
        """See `IReadDescriptor`."""
        self._on_lost(self, reason.getErrorMessage())

    def logPrefix(self) -> str:
        """See `IReadDescriptor`."""
        return "asciid"

    def _receive(self) -> None:
        answered = False
        while not self._pgconn.is_busy():
            result = self._pgconn.get_result()
            if result is None:
                break
            if result.status != ExecStatus.TUPLES_OK:
                raise psycopg.OperationalError(result.error_message.decode())
            answered = True
        # What arrived before the answer is known once it counts.
        while (received := self._pgconn.notifies()) is not None:
            hashes = received.extra.decode("ascii")
            self._on_removed(
                [
                    hashes[first : first + _HASH]
                    for first in range(0, len(hashes), _HASH)
                ]
            )
        if answered and self._sent is not None:
            self.current_until = self._sent + LEASE
            self._stats.round_trips.add(self._monotonic() - self._sent)
            self._sent = None


class Listener:
    """
    Receives the removals of other nodes on a connection of its own.

    NOTIFY alone would not show that it has stopped: a connection may be cut without a
    sign.  So the server is pinged, and what is received is current only for `LEASE`
    seconds after the sending of the last ping that was answered.  When the connection
    is lost, all images may have been removed.

    `connect` makes the connection, in a thread of `in_thread`; `monotonic` is in
    seconds.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        in_thread: InThread,
        stats: DatabaseStats,
        *,
        reactor: Reactor,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connect = connect
        self._in_thread = in_thread
        self._stats = stats
        self._reactor = reactor
        self._monotonic = monotonic
        self._reconnecting = Reconnecting(reactor, self._open)
        self._pinging = LoopingCall(self._ping)
        self._pinging.clock = reactor
        self._session: _Session | None = None
        self._on_removed: OnRemoved = do_nothing
        self._fault_log = FaultLog("listening for removals", monotonic)
        self._stopped = False

    @property
    def is_current(self) -> bool:
        """See `IListener.is_current`."""
        session = self._session
        return session is not None and self._monotonic() < session.current_until

    def start(self, on_removed: OnRemoved) -> None:
        """See `IListener.start`."""
        self._on_removed = on_removed
        self._stats.is_listening = False
        self._reconnecting.begin()
        self._pinging.start(PING_EVERY, now=False)

    def stop(self) -> Deferred[None]:
        """See `IListener.stop`."""
        self._stopped = True
        self._reconnecting.stop()
        if self._pinging.running:
            self._pinging.stop()
        return self._close()

    def _open(self) -> Deferred[bool]:
        return self._in_thread(self._listen).addCallbacks(self._opened, self._failed)

    def _listen(self) -> psycopg.Connection[Any]:
        """Connect and listen, in a thread."""
        connection = self._connect()
        try:
            _check_directness(connection)
            connection.execute(f"LISTEN {_CHANNEL}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _opened(self, connection: psycopg.Connection[Any]) -> bool:
        session = _Session(
            connection, self._on_removed, self._lost, self._monotonic, self._stats
        )
        self._session = session
        if self._stopped:
            self._close()
            return True
        # What was cached before LISTEN may have been removed before it.
        self._on_removed(None)
        self._reactor.addReader(session)
        self._fault_log.succeeded()
        self._stats.is_listening = True
        session.ping()
        return self._session is session

    def _failed(self, failure: Failure) -> bool:
        if not failure.check(StoreClosedError):
            self._fault_log.failed(one_line(failure.value))
        return False

    def _ping(self) -> None:
        if self._session is not None:
            self._session.ping()

    def _lost(self, session: _Session, reason: str) -> None:
        if session is not self._session:
            return
        self._fault_log.failed(reason)
        self._stats.is_listening = False
        self._stats.reconnects += 1
        self._close()
        self._on_removed(None)
        self._reconnecting.begin()

    def _close(self) -> Deferred[None]:
        session, self._session = self._session, None
        if session is None:
            return succeed(None)
        self._reactor.removeReader(session)
        close = session.link.close
        return self._in_thread(close).addErrback(lambda _: close())


def _check_directness(connection: psycopg.Connection[Any]) -> None:
    """
    Check that no pooler answers in the place of the server.

    One would accept LISTEN, answer pings, and drop the notifications of a session that
    it has lent to others.  It cannot name the server's process when a client connects,
    as it has chosen none.

    Errors: `psycopg.Error`.
    """
    cursor = connection.execute("SELECT pg_backend_pid()")
    if cursor.fetchone() != (connection.info.backend_pid,):
        message = (
            "the connection goes through a pooler, which drops notifications: set "
            "--storage-listen to a URL that does not"
        )
        raise psycopg.OperationalError(message)
