"""
Polls many connections as one event of the reactor.

For each event Twisted sets a log context and makes several checks, which together cost
many times what ``recv`` does.  A group has an epoll instance of its own, which is a
descriptor that any reactor can poll (epoll(7)), and so these costs are paid once for
all of its connections that are ready.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IListeningPort, IReadWriteDescriptor

    from asciid.runtime.reactor import Reactor

__all__ = ["EventGroup", "GroupedServer", "group_connections"]

EPOLLIN: int = getattr(select, "EPOLLIN", 0)
EPOLLOUT: int = getattr(select, "EPOLLOUT", 0)

_EVENTS = 64
"""Maximum events in a turn of the reactor; the kernel rotates those that are ready."""

_READ = 64 * 1024
"""Maximum bytes to read at a time."""

_NOTHING: tuple[Any, int] = (None, 0)

_log = Logger()


def group_connections(port: IListeningPort, reactor: Reactor) -> None:
    """
    Poll the connections that `port` accepts from now on as a group.

    Without epoll, or a reactor that polls descriptors, the reactor polls each.
    """
    if not (
        isinstance(port, tcp.Port)
        and IReactorFDSet.providedBy(reactor)
        and hasattr(select, "epoll")
    ):
        return
    group = EventGroup(reactor)
    construct: Callable[..., tcp.Server] = port.transport
    if construct is tcp.Server:
        construct = GroupedServer

    def transport(*arguments: Any) -> tcp.Server:  # noqa: ANN401 - those of Server
        *others, _ = arguments
        return construct(*others, group)

    # Documented: it is called as the class would be.
    port.transport = transport  # type: ignore[assignment]


class GroupedServer(tcp.Server):
    """A TCP connection that reads in fewer steps than other ones of Twisted."""

    def doRead(self) -> ConnectionLost | ConnectionDone | None:  # type: ignore[override] # as its parent's
        """See `IReadDescriptor`."""
        try:
            data = self.socket.recv(_READ)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        self.protocol.dataReceived(data)
        return None


@implementer(IReadDescriptor)
class EventGroup:
    """
    Stands between transports and the reactor.

    To a transport it is the reactor, with those methods that transports of sockets
    call.  To the reactor it is a reader, while it polls any transport.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._epoll = select.epoll()
        # By descriptor: what is polled, and for which events.
        self._polled: dict[int, tuple[IReadWriteDescriptor, int]] = {}
        self.fileno = self._epoll.fileno
        self.callLater = reactor.callLater

    # What transports call.

    def addReader(self, transport: IReadWriteDescriptor) -> None:
        """See `IReactorFDSet`."""
        self._add(transport, EPOLLIN)

    def addWriter(self, transport: IReadWriteDescriptor) -> None:
        """See `IReactorFDSet`."""
        self._add(transport, EPOLLOUT)

    def removeReader(self, transport: IReadWriteDescriptor) -> None:
        """See `IReactorFDSet`."""
        self._remove(transport, EPOLLIN)

    def removeWriter(self, transport: IReadWriteDescriptor) -> None:
        """See `IReactorFDSet`."""
        self._remove(transport, EPOLLOUT)

    # What the reactor calls.

    def logPrefix(self) -> str:
        """See `ILoggingContext`."""
        return "connections"

    def doRead(self) -> None:
        """Have the transports that are ready read and write, which report errors."""
        for descriptor, events in self._epoll.poll(0, _EVENTS):
            # What is wanted now: a descriptor may have been closed, and even opened
            # again, because of an event before.
            transport, wanted = self._polled.get(descriptor, _NOTHING)
            reading = wanted & EPOLLIN and events != EPOLLOUT
            why: Any = None
            try:
                if reading:
                    why = transport.doRead()
                if why is None and events != EPOLLIN and self._writes(descriptor):
                    reading = False
                    why = transport.doWrite()
            except BaseException as error:  # noqa: BLE001 - as Twisted does
                _log.failure("unexpected error while serving a connection")
                why = error
            if why is not None:
                self._disconnect(transport, Failure(why), reading=bool(reading))

    def connectionLost(self, reason: Failure) -> None:
        """End all connections: the reactor stops."""
        for transport, _ in list(self._polled.values()):
            self._disconnect(transport, reason)

    def _writes(self, descriptor: int) -> bool:
        _, wanted = self._polled.get(descriptor, _NOTHING)
        return bool(wanted & EPOLLOUT)

    def _disconnect(
        self,
        transport: Any,  # noqa: ANN401 - it has more than its interface
        reason: Failure,
        *,
        reading: bool = False,
    ) -> None:
        try:
            self.removeReader(transport)
            if reading and reason.check(ConnectionDone):
                transport.readConnectionLost(reason)  # the client may still read
            else:
                self.removeWriter(transport)
                transport.connectionLost(reason)
        except BaseException:  # noqa: BLE001 - as above
            _log.failure("unexpected error at the end of a connection")

    def _add(self, transport: IReadWriteDescriptor, event: int) -> None:
        descriptor = transport.fileno()
        _, wanted = self._polled.get(descriptor, _NOTHING)
        if wanted & event:
            return
        if wanted:
            self._epoll.modify(descriptor, wanted | event)
        else:
            self._epoll.register(descriptor, event)
            if not self._polled:
                self._reactor.addReader(self)
        self._polled[descriptor] = transport, wanted | event

    def _remove(self, transport: IReadWriteDescriptor, event: int) -> None:
        descriptor = transport.fileno()
        _, wanted = self._polled.get(descriptor, _NOTHING)
        if not wanted & event:
            return
        if wanted != event:
            self._epoll.modify(descriptor, wanted & ~event)
            self._polled[descriptor] = transport, wanted & ~event
            return
        self._epoll.unregister(descriptor)
        del self._polled[descriptor]
        if not self._polled:
            self._reactor.removeReader(self)
