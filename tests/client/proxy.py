"""A proxy that resets connections, for tests over real sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

__all__ = ["Proxy"]


class _Up(Protocol):
    """The side of the server."""

    def __init__(self, down: _Down) -> None:
        self.down = down

    def dataReceived(self, data: bytes) -> None:
        """Hand it on, unless the connection is to be cut here."""
        self.down.answered += len(data)
        cut = self.down.proxy.cut_answer
        if cut is not None and self.down.answered > cut:
            self.down.proxy.cuts += 1
            self.down.transport.write(data[: cut - self.down.answered])  # type: ignore[union-attr] # it is connected
            self.down.drop(flush=True)
        else:
            self.down.transport.write(data)  # type: ignore[union-attr] # likewise

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - any
        """End the other side."""
        self.down.drop(flush=True)


class _Down(Protocol):
    """The side of the client."""

    def __init__(self, proxy: Proxy, limit: int | None) -> None:
        self.proxy = proxy
        self.limit = limit
        self.received = 0
        self.answered = 0
        self.waiting: list[bytes] | None = []
        self.up: _Up | None = None
        self.gone = False

    def connectionMade(self) -> None:
        """Connect to the server."""
        self.up = _Up(self)
        endpoint = HostnameEndpoint(self.proxy.reactor, "127.0.0.1", self.proxy.port)
        connecting = connectProtocol(endpoint, self.up)
        connecting.addCallbacks(self._connected, lambda _: self.drop())

    def _connected(self, up: Any) -> None:  # noqa: ANN401 - a protocol
        for data in self.waiting or ():
            up.transport.write(data)
        self.waiting = None
        if self.gone:
            up.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Hand it on, up to where the connection is reset."""
        self.received += len(data)
        if self.limit is not None and self.received > self.limit:
            self.proxy.resets += 1
            self.drop()
        elif self.waiting is not None:
            self.waiting.append(data)
        else:
            assert self.up is not None
            self.up.transport.write(data)  # type: ignore[union-attr] # it is connected

    def drop(self, *, flush: bool = False) -> None:
        """Close both sides, with a reset unless written bytes must arrive."""
        transports: list[Any] = [self.transport]
        if self.up is not None:
            transports.append(self.up.transport)
        for transport in transports:
            if transport is not None:
                (transport.loseConnection if flush else transport.abortConnection)()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - any
        """End the other side."""
        self.gone = True
        if self.up is not None and self.up.transport is not None:
            self.up.transport.abortConnection()  # type: ignore[attr-defined] # TCP has it


class Proxy(Factory):
    """
    A proxy to `port` of 127.0.0.1 that resets connections.

    `limits` says, for each connection, after how many bytes of requests it is
    reset; None is never.  Where `cut_answer` is not None, each connection ends
    after so many bytes of answers.
    """

    def __init__(
        self,
        reactor: Any,  # noqa: ANN401 - of many interfaces
        port: int,
        limits: Callable[[], int | None],
    ) -> None:
        self.reactor = reactor
        self.port = port
        self.limits = limits
        self.cut_answer: int | None = None
        self.connections = 0
        self.resets = 0
        self.cuts = 0

    def buildProtocol(self, addr: object) -> _Down:  # noqa: ARG002 - all are of the test
        """Decide the fate of one more connection."""
        self.connections += 1
        return _Down(self, self.limits())
