"""Endpoints on sockets that the parent has bound."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.endpoints import serverFromString

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IListeningPort,
        IProtocolFactory,
        IStreamServerEndpoint,
    )
    from twisted.python.failure import Failure

__all__ = ["inherited_endpoint"]


def inherited_endpoint(
    reactor: Any,  # noqa: ANN401 - several interfaces at once
    description: str,
    descriptor: int,
) -> IStreamServerEndpoint:
    """
    Return the endpoint `description` on a socket that listens already.

    `descriptor` is given up once that was adopted.
    """
    if description.isdecimal():
        # The family is that of the socket.
        description = f"tcp:{description}"
    adopting = _Adopting(reactor, descriptor)
    endpoint: IStreamServerEndpoint = serverFromString(adopting, description)
    return endpoint


class _Adopting:
    """The reactor, whose every listening socket is the one that was inherited."""

    def __init__(self, reactor: Any, descriptor: int) -> None:  # noqa: ANN401 - as above
        self._reactor = reactor
        self._descriptor = descriptor

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._reactor, name)

    def listenTCP(
        self,
        port: int,
        factory: IProtocolFactory,
        backlog: int = 0,
        interface: str = "",
    ) -> IListeningPort:
        del port, backlog, interface
        return self._adopt(factory)

    def listenUNIX(
        self,
        address: str,
        factory: IProtocolFactory,
        backlog: int = 0,
        mode: int = 0,
        wantPID: bool = False,  # noqa: FBT001, FBT002 - as the interface has it
    ) -> IListeningPort:
        del address, backlog, mode, wantPID
        return self._adopt(factory)

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: Any,  # noqa: ANN401 - as the interface has it
        backlog: int = 0,
        interface: str = "",
    ) -> IListeningPort:
        # Needed for TLS alone, and so is what it imports.
        from twisted.protocols.tls import TLSMemoryBIOFactory  # noqa: PLC0415

        del port, backlog, interface
        return self._adopt(TLSMemoryBIOFactory(contextFactory, False, factory))  # noqa: FBT003 - is no client

    def _adopt(self, factory: IProtocolFactory) -> IListeningPort:
        listening = socket.socket(fileno=self._descriptor)
        port: Any
        if listening.family is socket.AF_UNIX:
            port = _SharedPort(listening, factory, self)
            port.startListening()
        else:
            with listening:
                port = self._reactor.adoptStreamPort(
                    listening.fileno(), listening.family, factory
                )
        adopted: IListeningPort = port
        return adopted


class _SharedPort(unix.Port):
    """
    A Unix socket on which other processes listen, too.

    Its name, and who may open it, is the parent's to say.  What Twisted adopts it
    opens to everybody, and in the end shuts it down for all, and removes the name.
    """

    _shouldShutdown = False

    def __init__(
        self,
        listening: socket.socket,
        factory: IProtocolFactory,
        reactor: Any,  # noqa: ANN401 - several interfaces at once
    ) -> None:
        super().__init__(listening.getsockname(), factory, reactor=reactor)
        self._listening = listening
        self._served = factory

    def startListening(self) -> None:
        """Begin to accept connections."""
        self._served.doStart()
        self.connected = True
        self.socket = self._listening
        self.fileno = self.socket.fileno  # type: ignore[method-assign] # as its parents do
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Let go of the socket alone."""
        tcp.Port.connectionLost(self, reason)
