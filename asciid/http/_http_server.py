"""What all connections of a Klein app share: limits, routes, counters, the sweep."""

from __future__ import annotations

import time
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from attrs import Factory, define
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from asciid.http._discard import DiscardPace
from asciid.http._dispatch import Dispatcher
from asciid.http._limits import Limits
from asciid.http._problem import default_problem
from asciid.http._request_head import HeadParser
from asciid.http._response_head import ResponseHeads
from asciid.http._route_table import RouteTable
from asciid.net.client_key import client_key
from asciid.net.fair_limit import FairLimit, IHolder
from asciid.runtime.client_scheduler import ClientScheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from klein import Klein
    from twisted.internet.interfaces import IAddress, IReactorTime

    from asciid.http._observer import Observer
    from asciid.http._streaming import AnyRequest

__all__ = ["IAcceptor", "IConnection", "Server"]

_log = Logger()


class IAcceptor(Protocol):
    """Accepts connections for a server."""

    def pause(self) -> None:
        """Accept no more connections; they wait in the backlog."""

    def resume(self) -> None:
        """Accept connections again."""


class IConnection(IHolder, Protocol):
    """
    A connection, as its server sees it.

    :ivar client: the key of the client.
    :ivar deadline: the monotonic time from which :meth:`check` is to be called.
    """

    client: str
    deadline: float

    def check(self, now: float) -> None:
        """Handle a deadline that has passed."""

    def drain(self) -> None:
        """Close if no request is in progress."""


@define(eq=False, slots=False)
class Server:
    """
    What the connections of a Klein app share; its routes are read at construction.

    :ivar bytes_in: bytes received on all connections so far, after TLS decryption.
    :ivar bytes_out: bytes sent, or queued to be, before TLS encryption.
    :ivar bodies: the limit on the bytes of request bodies.
    :ivar connections_limit: the limit on connections, those excepted that are only read
        after their last response.
    :ivar slow_bodies: bodies that were refused because they arrived too slowly.
    :ivar pauses: number of times that the acceptor was paused.
    :ivar draining: whether :meth:`drain` or :meth:`retire` was called.
    :ivar sweep_due: the monotonic time by which the next sweep should be over.
    """

    app: Klein
    """Bound to an instance or not."""

    reactor: IReactorTime
    """Runs the sweep and long pipelines."""

    limits: Limits = Factory(Limits)
    """Bounds on what one client may use."""

    problem: Callable[[int, str, str | None], bytes] = default_problem
    """
    Returns the JSON body of an error response of the server itself, given the status, a
    sentence of detail, and the name of the problem type, if it has one of its own.
    """

    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds, for all timeouts."""

    wall_clock: Callable[[], float] = time.time
    """Seconds since the epoch, for Date."""

    observer: Observer | None = None
    """Is notified of the end of every request."""

    request_ids: Iterator[bytes] | None = None
    """Ids for requests whose clients send none; if given, responses have the ids."""

    refuses_unread: Callable[[AnyRequest], bool] | None = None
    """
    Returns of a request whose body is not received yet whether its handler refuses it
    whatever that is: then the handler is called at once, and must not read the body.
    """

    client_of: Callable[[AnyRequest], str] = attrgetter("client_key")
    """
    Returns the key of the client whose share of the limit on bodies a request counts
    for; by default that of its connection.
    """

    is_proxy: Callable[[str], bool] = lambda _: False
    """
    Returns whether an address is that of a proxy; each of its connections counts as
    that of another client.
    """

    scheduler: ClientScheduler = Factory(
        lambda self: ClientScheduler(self.reactor, self.clock), takes_self=True
    )
    """Shares the reactor's time among clients."""

    acceptor: IAcceptor | None = None
    """Is paused while there is no file descriptor for another connection."""

    def __attrs_post_init__(self) -> None:
        """Construct what the connections share."""
        limits, clock = self.limits, self.clock
        self.bytes_in = self.bytes_out = 0
        self.slow_bodies = self.pauses = 0
        self.draining = False
        self.bodies = FairLimit(limits.bodies, clock)
        self.connections_limit = FairLimit(limits.connections, clock)
        self._lingering = FairLimit(limits.lingering, clock)
        self.discard_pace = DiscardPace(limits.linger_rate, self.reactor)
        self.head_parser = HeadParser(limits)
        self.heads = ResponseHeads(clock, self.wall_clock)
        self.routes = RouteTable(self.app, limits)
        self.dispatcher = Dispatcher(self.app, self.problem, self.routes.methods())
        self._connections: set[IConnection] = set()
        self._full = False
        self._drained: list[Deferred[None]] = []
        self._sweep = LoopingCall(self._check_deadlines)
        self._sweep.clock = self.reactor
        self._sweep_wanted = False
        self.sweep_due = clock()

    @property
    def shared_limits(self) -> dict[str, FairLimit]:
        """The limits that clients share, by what they limit."""
        return {"bodies": self.bodies, "connections": self.connections_limit}

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._connections)

    @property
    def crowded(self) -> bool:
        """Whether more connections are open than are served."""
        return len(self._connections) > self.limits.connections

    def drain(self) -> Deferred[None]:
        """
        Stop gracefully.

        Idle connections are closed at once, the others after the response to the
        request in progress.

        :return: fires when no connection is left.
        """
        self.draining = True
        for connection in list(self._connections):
            connection.drain()
        return self.retire()

    def retire(self) -> Deferred[None]:
        """
        Let each connection end with the response to its next request.

        An idle one is not closed before: its client may be about to send one,
        which would be lost (RFC 9112, section 9.6).

        :return: fires when no connection is left.
        """
        self.draining = True
        if not self._connections:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def start_sweep(self) -> None:
        """Start checking timeouts."""
        self._sweep_wanted = True
        if not self._sweep.running:
            interval = self.limits.sweep_interval
            self._sweep.start(interval, now=False).addErrback(
                lambda failure: _log.failure(
                    "cannot check the timeouts of connections", failure=failure
                )
            )

    def stop_sweep(self) -> None:
        """Stop checking timeouts, once no connection is left."""
        self._sweep_wanted = False
        self._stop_idle_sweep()

    def sweep_overdue(self) -> None:
        """
        Sweep now, as the timer has not fired by ``sweep_due``.

        The reactor's timers follow the wall clock: set back by an hour, they do
        not fire for an hour.  Then what the clients send drives the sweep.
        """
        self._check_deadlines()
        if self._sweep.running:
            self._sweep.reset()

    # What connections call.

    def client_at(self, peer: IAddress | None) -> str:
        """Return the key of the client at an address."""
        host = getattr(peer, "host", None)
        if not isinstance(host, str):
            return "local"
        if self.is_proxy(host):
            return f"{host} {getattr(peer, 'port', 0)}"
        return client_key(host)

    def admit(self, connection: IConnection) -> bool:
        """Add a new connection; return false when there are too many."""
        self._connections.add(connection)
        if len(self._connections) >= self.limits.accepted and not self._full:
            self._pause()
        return self.connections_limit.take(connection.client, connection, 1)

    def release(self, connection: IConnection) -> None:
        """Count a connection no longer, though it is still open."""
        self.connections_limit.give_back(connection.client, connection)
        self._lingering.give_back(connection.client, connection)

    def may_linger(self, connection: IConnection) -> bool:
        """Return whether a connection may be read after its last response."""
        self.connections_limit.give_back(connection.client, connection)
        return self._lingering.take(connection.client, connection, 1)

    def forget(self, connection: IConnection) -> None:
        """Remove a connection that is closed."""
        self._connections.discard(connection)
        if self._full and len(self._connections) < self.limits.accepted:
            self._full = False
            if self.acceptor is not None:
                self.acceptor.resume()
        self.release(connection)
        if not self._connections:
            self._stop_idle_sweep()
            drained, self._drained = self._drained, []
            for deferred in drained:
                deferred.callback(None)

    def _pause(self) -> None:
        self._full = True
        self.pauses += 1
        _log.warn(
            "out of file descriptors: accepting no connections until one of {count} "
            "closes",
            count=len(self._connections),
        )
        if self.acceptor is not None:
            self.acceptor.pause()

    def _stop_idle_sweep(self) -> None:
        if self._sweep.running and not (self._sweep_wanted or self._connections):
            self._sweep.stop()

    def _check_deadlines(self) -> None:
        now = self.clock()
        self.sweep_due = now + 2 * self.limits.sweep_interval
        for connection in list(self._connections):
            if connection.deadline <= now:
                connection.check(now)
