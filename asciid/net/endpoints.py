"""Endpoints on sockets that asciid opens itself or inherits."""

from __future__ import annotations

import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import execute
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from zope.interface import implementer

from asciid.net._event_group import group_connections
from asciid.net.description import Description
from asciid.net.sockets import ListeningSockets, open_sockets

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory
    from twisted.python.failure import Failure

    from asciid.net.tls import Certificate
    from asciid.runtime.reactor import Reactor

__all__ = ["endpoint_from"]


def endpoint_from(
    description: str,
    reactor: Reactor,
    certificate: Certificate | None = None,
    descriptor: int | None = None,
) -> IStreamServerEndpoint:
    """
    Return the endpoint for `description`: a port number, or a Twisted description.

    An endpoint of TLS uses `certificate`.  With `descriptor` it is on that socket,
    which listens already; it is closed once the endpoint listens or has failed to.
    """
    parsed = Description.parse(description)
    endpoint: IStreamServerEndpoint
    if parsed.is_plugin:
        endpoint = serverFromString(reactor, description)
        return endpoint
    open_socket = partial(open_sockets, parsed)
    if descriptor is not None:
        open_socket = partial(_inherit, descriptor)
    endpoint = _SocketEndpoint(reactor, open_socket, certificate)
    if parsed.is_proxied:
        from twisted.protocols.haproxy import proxyEndpoint  # noqa: PLC0415 - rare

        endpoint = proxyEndpoint(endpoint)
    return endpoint


def _inherit(descriptor: int) -> ListeningSockets:
    return ListeningSockets([socket.socket(fileno=descriptor)])


@implementer(IStreamServerEndpoint)
@frozen
class _SocketEndpoint:
    """Listens on the socket that `open_socket` returns, with or without TLS."""

    reactor: Reactor
    open_socket: Callable[[], ListeningSockets]
    certificate: Certificate | None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `IStreamServerEndpoint`."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        if self.certificate is not None:
            # Imports optional packages.
            from twisted.protocols.tls import TLSMemoryBIOFactory  # noqa: PLC0415

            is_client = False
            factory = TLSMemoryBIOFactory(self.certificate, is_client, factory)
        opened = self.open_socket()
        (listening,) = opened.sockets
        port: Any
        if listening.family is socket.AF_UNIX:
            port = _UnixPort(opened, factory, self.reactor)
            port.startListening()
        else:
            # The reactor duplicates it.
            with listening:
                port = self.reactor.adoptStreamPort(
                    listening.fileno(), listening.family, factory
                )
        group_connections(port, self.reactor)
        adopted: IListeningPort = port
        return adopted


class _UnixPort(unix.Port):
    """
    A port on a listening Unix socket that may be shared with other processes.

    Twisted's own port would set its mode to 0666, and at the end shut it down for all
    processes and remove its name.
    """

    _shouldShutdown = False

    def __init__(
        self, opened: ListeningSockets, factory: IProtocolFactory, reactor: Reactor
    ) -> None:
        (self._listening,) = opened.sockets
        name = self._listening.getsockname()
        super().__init__(name, factory, reactor=reactor)
        self._opened = opened
        self._factory = factory

    def startListening(self) -> None:
        """Start accepting connections."""
        self._factory.doStart()
        self.connected = True
        self.socket = self._listening
        self.fileno = self.socket.fileno  # type: ignore[method-assign] # as its parents do
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and remove its name if this process created it."""
        tcp.Port.connectionLost(self, reason)
        self._opened.close()
