"""Endpoints on sockets that asciid opens itself, or inherits."""

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
    Return the endpoint that `description` is: a port number, or as Twisted reads it.

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
    """Accepts on the socket that `open_socket` returns, with TLS or without."""

    reactor: Reactor
    open_socket: Callable[[], ListeningSockets]
    certificate: Certificate | None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `IStreamServerEndpoint`."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        if self.certificate is not None:
            # What this imports is optional.
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
        adopted: IListeningPort = port
        return adopted


class _UnixPort(unix.Port):
    """
    A port on a Unix socket that listens already, and that others may have, too.

    The socket that Twisted adopts is opened to every user, and at the end shut down for
    all processes that have it, and its name removed.
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
        """Begin to accept connections."""
        self._factory.doStart()
        self.connected = True
        self.socket = self._listening
        self.fileno = self.socket.fileno  # type: ignore[method-assign] # as its parents do
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and remove its name if this process has made it."""
        tcp.Port.connectionLost(self, reason)
        self._opened.close()
