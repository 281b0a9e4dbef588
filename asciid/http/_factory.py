"""The factory: what all connections of one Klein app share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from asciid.net.client_key import client_key
from asciid.net.fair_limit import FairLimit
from asciid.runtime.turns import Turns

from ._channel import Channel
from ._discard import DiscardPace
from ._dispatch import Dispatcher
from ._head import HeadParser
from ._limits import Limits
from ._problem import default_problem
from ._response import ResponseHeads
from ._routes import RouteTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from klein import Klein
    from twisted.internet.interfaces import IAddress, IReactorTime

    from ._observer import Observer
    from ._request import Request
    from ._streaming import AnyRequest

__all__ = ["KleinFactory"]

_log = Logger()


class IAcceptor(Protocol):
    """What accepts connections for a factory."""

    def pause(self) -> None:
        """Accept no more connections for a while; they wait."""

    def resume(self) -> None:
        """Accept those that have waited."""


@implementer(IProtocolNegotiationFactory)
class KleinFactory(ServerFactory):
    """
    Serves a Klein app over HTTP/1.1 on any stream endpoint, TLS included.

    The app's routes are read once, here; later ones are not seen.

    :ivar acceptor: accepts the connections; asked to pause while there is no file
        descriptor for another one.
    :ivar pauses: how often it was.
    :ivar draining: whether :meth:`drain` or :meth:`retire` was called.
    :ivar bytes_in: bytes that came on all connections so far, TLS taken off.
    :ivar bytes_out: bytes that were sent, or queued to be.
    :ivar bodies: the limit on the bytes of request bodies.
    :ivar connections_limit: the limit on connections, those that are only read after
        their last answer left out.
    :ivar slow_bodies: bodies that were refused because they arrived too slowly.
    :ivar sweep_due: the monotonic time by which the next sweep should be over.
    """

    noisy = False  # the service says where it listens

    def __init__(  # noqa: PLR0913  # all but two have a default
        self,
        app: Klein,
        *,
        reactor: IReactorTime,
        limits: Limits | None = None,
        problem: Callable[[int, str, str | None], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        observer: Observer | None = None,
        request_ids: Iterator[bytes] | None = None,
        refuses_unread: Callable[[AnyRequest], bool] | None = None,
        client_of: Callable[[AnyRequest], str] | None = None,
        is_proxy: Callable[[str], bool] = lambda _: False,
        turns: Turns | None = None,
    ) -> None:
        """
        Read the app's routes.

        :param app: a Klein app, bound to an instance or not.
        :param reactor: runs the sweep and long pipelines.
        :param limits: what one client may cost.
        :param problem: makes the JSON body of an error that the front answers
            itself, of the status, a sentence of detail, and the name of the problem
            type, if it has one of its own.
        :param clock: monotonic seconds, for all timeouts.
        :param wall_clock: seconds since the epoch, for Date.
        :param observer: is told of every request.
        :param request_ids: names for the requests that their clients give none;
            then every response tells it, in X-Request-Id.
        :param refuses_unread: tells of a request, whose body is not here yet,
            whether its handler refuses it whatever that is: then the handler is
            called at once, and must not ask for the body.
        :param client_of: returns the key of the client whose share of the limit on
            bodies a request counts for; by default that of its connection.
        :param is_proxy: returns whether an address is that of a proxy; each of its
            connections counts as that of another client.
        :param turns: shares the reactor's time among clients.
        """
        self.reactor = reactor
        self.limits = limits or Limits()
        self.problem = problem or default_problem
        self.clock = clock
        self.turns = turns or Turns(reactor, clock)
        self.observer = observer
        self.request_ids = request_ids
        self.refuses_unread = refuses_unread
        self.bytes_in = self.bytes_out = 0
        self.draining = False
        self.acceptor: IAcceptor | None = None
        self.pauses = 0
        self._full = False
        self.client_of = client_of or _client_of_connection
        self._is_proxy = is_proxy
        self.bodies = FairLimit(self.limits.bodies, clock)
        self.connections_limit = FairLimit(self.limits.connections, clock)
        self._lingering = FairLimit(self.limits.lingering, clock)
        self.discard_pace = DiscardPace(self.limits.linger_rate, reactor)
        self.slow_bodies = 0
        self.head_parser = HeadParser(self.limits)
        self.heads = ResponseHeads(clock, wall_clock)
        self.routes = RouteTable(app, self.limits)
        self.dispatcher = Dispatcher(app, self.problem, self.routes.methods())
        self._connections: set[Channel] = set()
        self._drained: list[Deferred[None]] = []
        self._sweep = LoopingCall(self._look)
        self._sweep.clock = reactor
        self.sweep_due = clock()

    @property
    def body_bytes(self) -> int:
        """The bytes of bodies whose requests are not answered yet."""
        return self.bodies.used

    @property
    def shared_limits(self) -> dict[str, FairLimit]:
        """The limits that clients share, by what they limit."""
        return {"bodies": self.bodies, "connections": self.connections_limit}

    # What Twisted calls.

    def startFactory(self) -> None:
        """Start to watch the timeouts."""
        self._start_sweep()

    def stopFactory(self) -> None:
        """Stop to watch the timeouts, once no connection needs it."""
        if not self._connections and self._sweep.running:
            self._sweep.stop()

    def acceptableProtocols(self) -> list[bytes]:
        """
        Name the protocols to choose from in a TLS handshake (RFC 7301).

        Of a client that offers some the handshake fails if none of them is here.
        """
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> Channel:  # type: ignore[override]  # noqa: ARG002  # channels look like no Protocol of Factory's
        """Make the protocol of one connection."""
        if self.clock() >= self.sweep_due:
            self.sweep_late()
        return Channel(self)

    # What whoever runs the service calls.

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def crowded(self) -> bool:
        """Whether more connections are open than are served."""
        return len(self._connections) > self.limits.connections

    def drain(self) -> Deferred[None]:
        """
        End gracefully.

        Idle connections are closed at once, the others after the answer to the
        request that is under way.

        :return: fires when no connection is left.
        """
        self.draining = True
        for channel in list(self._connections):
            channel.drain()
        return self.retire()

    def retire(self) -> Deferred[None]:
        """
        Let each connection end with the answer to its next request.

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

    # What the channels call.

    def client_at(self, peer: IAddress) -> str:
        """Return the key of the client that a connection is of."""
        host = getattr(peer, "host", None)
        if not isinstance(host, str):
            return "local"
        if self._is_proxy(host):
            return f"{host} {getattr(peer, 'port', 0)}"
        return client_key(host)

    def admit(self, channel: Channel) -> bool:
        """Take a new connection in; false when there are too many."""
        self._connections.add(channel)
        if len(self._connections) >= self.limits.accepted and not self._full:
            self._pause()
        return self.connections_limit.take(channel.client, channel, 1)

    def release(self, channel: Channel) -> None:
        """Count a connection no more, though it is still open."""
        self.connections_limit.give_back(channel.client, channel)
        self._lingering.give_back(channel.client, channel)

    def may_linger(self, channel: Channel) -> bool:
        """Return whether a connection may be read after its last answer."""
        self.connections_limit.give_back(channel.client, channel)
        return self._lingering.take(channel.client, channel, 1)

    def forget(self, channel: Channel) -> None:
        """Forget a connection that is gone."""
        self._connections.discard(channel)
        if self._full and len(self._connections) < self.limits.accepted:
            self._full = False
            if self.acceptor is not None:
                self.acceptor.resume()
        self.release(channel)
        if not self._connections:
            if self._sweep.running and not self.numPorts:
                self._sweep.stop()
            drained, self._drained = self._drained, []
            for deferred in drained:
                deferred.callback(None)

    def _pause(self) -> None:
        self._full = True
        self.pauses += 1
        _log.warn(
            "No more connections are accepted until one of {count} closes: there are "
            "no more file descriptors",
            count=len(self._connections),
        )
        if self.acceptor is not None:
            self.acceptor.pause()

    def sweep_late(self) -> None:
        """
        Sweep now, as the timer has not fired by ``sweep_due``.

        The reactor's timers follow the wall clock: set back by an hour, they do
        not fire for an hour.  Then what the clients send drives the sweep.
        """
        self._look()
        if self._sweep.running:
            self._sweep.reset()

    def _start_sweep(self) -> None:
        if not self._sweep.running:
            interval = self.limits.sweep_interval
            self._sweep.start(interval, now=False).addErrback(
                lambda failure: _log.failure("The sweep failed", failure=failure)
            )

    def _look(self) -> None:
        now = self.clock()
        self.sweep_due = now + 2 * self.limits.sweep_interval
        for channel in list(self._connections):
            if channel.deadline <= now:
                channel.check(now)


def _client_of_connection(request: Request) -> str:
    return request.client_key
