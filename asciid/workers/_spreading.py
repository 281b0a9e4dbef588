"""
Ports that are several sockets, between which the kernel spreads connections.

Processes that accept from one socket get them unevenly: whichever wakes up first
takes all that wait.  With SO_REUSEPORT (see socket(7)) each has a socket of its
own, and the kernel draws one for every connection.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from attrs import define
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from zope.interface import implementer

from asciid.net.listener import BACKLOG, DualStackEndpoint, DualStackPort, endpoint_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import (
        IAddress,
        IProtocolFactory,
        IStreamServerEndpoint,
    )

__all__ = ["SilentFactory", "descriptors_of", "spread_endpoint"]


class SilentFactory(Factory):
    """Never makes a protocol: nothing is accepted."""

    noisy = False


def spread_endpoint(
    reactor: Any,  # noqa: ANN401 - several interfaces at once
    description: str,
    count: int,
) -> IStreamServerEndpoint:
    """
    Return the endpoint `description`; one of TCP, or TLS, is `count` sockets.

    Nothing is accepted on them here: see `descriptors_of`.
    """
    spreading = _Spreading(reactor, count)
    if description.isdecimal():

        def open_port(
            number: int, factory: IProtocolFactory, interface: str
        ) -> IListeningPort:
            return spreading.listenTCP(number, factory, BACKLOG, interface)

        return DualStackEndpoint(open_port, int(description))
    return endpoint_from(description, spreading)


def descriptors_of(port: IListeningPort) -> Sequence[int]:
    """
    Accept nothing on `port`; return its descriptors for processes that are to.

    They stay open until it stops to listen.
    """
    ports: Sequence[Any] = port.ports if isinstance(port, _Ports) else [port]
    for one in ports:
        one.stopReading()
        # Twisted would shut it down in the end, for all who have it.
        one._shouldShutdown = False  # noqa: SLF001 - there is no other way
    return [one.fileno() for one in ports]


class _SharedPort(DualStackPort):
    """A port that others may share."""

    def createInternetSocket(self) -> socket.socket:
        created: socket.socket = super().createInternetSocket()
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return created


@implementer(IListeningPort)
@define
class _Ports:
    """Sockets on the same port."""

    ports: Sequence[Any]

    def startListening(self) -> None:
        """Begin to listen."""
        for port in self.ports:
            port.startListening()

    def stopListening(self) -> Deferred[None]:
        """Stop to listen, on all of them."""
        stopping = [maybeDeferred(port.stopListening) for port in self.ports]
        return DeferredList(stopping).addCallback(lambda _: None)

    def getHost(self) -> IAddress:
        """Return the address."""
        address: IAddress = self.ports[0].getHost()
        return address


class _Spreading:
    """The reactor, whose TCP ports are several sockets."""

    def __init__(self, reactor: Any, count: int) -> None:  # noqa: ANN401 - as above
        self._reactor = reactor
        self._count = count

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._reactor, name)

    def listenTCP(
        self,
        port: int,
        factory: IProtocolFactory,
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        number = _free_port(port, interface)
        ports = _Ports(
            [
                _SharedPort(number, factory, backlog, interface, self._reactor)
                for _ in range(self._count)
            ]
        )
        ports.startListening()
        return ports

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,  # noqa: ANN401 - as the interface has it
        backlog: int = 50,
        interface: str = "",
    ) -> IListeningPort:
        # Who accepts does the rest.
        del contextFactory
        return self.listenTCP(port, factory, backlog, interface)


def _free_port(port: int, interface: str) -> int:
    """
    Return `port`, or a free one for 0.

    Errors: `CannotListenError` if anybody listens there, who would not be told of
    the others otherwise.
    """
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    try:
        probe = socket.socket(family)
    except OSError as error:
        raise CannotListenError(interface, port, error) from error
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            probe.bind((interface, port))
            probe.listen()
        except OSError as error:
            raise CannotListenError(interface, port, error) from error
        number: int = probe.getsockname()[1]
        return number
