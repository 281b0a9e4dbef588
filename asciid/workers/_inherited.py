"""Endpoints on sockets that the parent has bound."""

from __future__ import annotations

import os
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp
from twisted.internet.endpoints import serverFromString

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IListeningPort,
        IProtocolFactory,
        IStreamServerEndpoint,
    )

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
        port: Any = self._adopt(factory)
        # By itself it would remove the name, which the others need: the parent does.
        port.connectionLost = partial(tcp.Port.connectionLost, port)
        adopted: IListeningPort = port
        return adopted

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
        with socket.socket(fileno=os.dup(self._descriptor)) as known:
            family = known.family
        port: IListeningPort = self._reactor.adoptStreamPort(
            self._descriptor, family, factory
        )
        os.close(self._descriptor)
        return port
