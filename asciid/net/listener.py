"""A place to listen on, and the way back."""

from __future__ import annotations

import errno
import re
import socket
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.tcp import Port
from zope.interface import implementer

from asciid.net.unix_socket import NameKeeping, StaleReplacing
from asciid.runtime.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import (
        IAddress,
        IListeningPort,
        IProtocolFactory,
    )

    from asciid.runtime.reactor import Reactor

__all__ = [
    "BACKLOG",
    "DualStackEndpoint",
    "DualStackPort",
    "Listener",
    "StartError",
    "endpoint_from",
]

BACKLOG = 1024
"""
Connections that may wait to be accepted; Linux takes up to net.core.somaxconn.

To one that finds the queue full the client says hello again after a second.
Twisted's 50 come in two milliseconds when many clients begin together.
"""

_leaves_backlog_open = re.compile(
    r"(?:tcp6?|ssl|unix):[^:=]*(?::(?!backlog=)\w+=(?:\\.|[^:\\])*)*"
).fullmatch


_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EADDRNOTAVAIL})
"""What a machine says that has no IPv6."""


class DualStackPort(Port):
    """A TCP port that accepts IPv4, too, where it is bound to an address of IPv6."""

    def createInternetSocket(self) -> socket.socket:
        """Return a socket that is not bound yet, whatever net.ipv6.bindv6only is."""
        created: socket.socket = super().createInternetSocket()
        if created.family is socket.AF_INET6:
            created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        return created


@implementer(IStreamServerEndpoint)
@define
class DualStackEndpoint:
    """
    A port on all addresses of the machine, those of IPv6 and those of IPv4.

    Where there is no IPv6, those of IPv4 alone.  `open_port` is called with `port`,
    the factory, and the interface, which is ``::`` or empty.
    """

    open_port: Callable[[int, IProtocolFactory, str], IListeningPort]
    port: int

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `IStreamServerEndpoint`."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        try:
            return self.open_port(self.port, factory, "::")
        except CannotListenError as error:
            if getattr(error.socketError, "errno", None) not in _NO_IPV6:
                raise
            return self.open_port(self.port, factory, "")


def endpoint_from(description: str, reactor: Reactor) -> IStreamServerEndpoint:
    """
    Return the endpoint that `description` is: a port number, or as Twisted reads it.

    Of the endpoints that Twisted brings, one that does not say how many
    connections may wait to be accepted lets `BACKLOG` wait.  A Unix socket takes the
    place of one that nobody answers on.
    """
    if description.isdecimal():

        def open_port(
            number: int, factory: IProtocolFactory, interface: str
        ) -> IListeningPort:
            port: Any = DualStackPort(number, factory, BACKLOG, interface, reactor)
            port.startListening()
            listening: IListeningPort = port
            return listening

        return DualStackEndpoint(open_port, int(description))
    if _leaves_backlog_open(description):
        description += f":backlog={BACKLOG}"
    if description.startswith("unix:"):
        reactor = StaleReplacing(reactor)
    if description.startswith("systemd:"):
        reactor = NameKeeping(reactor)
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    return endpoint


class StartError(SystemExit, Exception):
    """
    The daemon cannot start; the text is one line that says why.

    It is a `SystemExit` so that ``twistd --nodaemon`` exits with code 1 and
    without a traceback, and an `Exception` because only those are told to the
    parent of a ``twistd`` that went to the background.
    """

    def __init__(self, what: str, why: BaseException) -> None:
        line = f"asciid: {what}: {str(why) or type(why).__name__}"
        super().__init__(printable(" ".join(line.split())))
        self.code = 1


@define
class Listener:
    """
    What `factory` makes of connections to `endpoint`.

    `description` is what the user calls the endpoint.
    """

    description: str
    endpoint: IStreamServerEndpoint
    factory: IProtocolFactory
    _port: IListeningPort | None = field(init=False, default=None)

    async def bind(self) -> None:
        """
        Begin to listen.

        Errors: `StartError`.
        """
        try:
            self._port = await self.endpoint.listen(self.factory)
        except Exception as error:
            # Endpoints raise what they like; the setting is what is wrong.
            what = f"cannot listen on {self.description}"
            raise StartError(what, error) from error

    async def stop(self) -> None:
        """Listen no more, if that was begun; connections stay as they are."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)

    def pause(self) -> None:
        """Leave new connections to wait, if the port can."""
        stop_reading = getattr(self._port, "stopReading", None)
        if stop_reading is not None:
            stop_reading()

    def resume(self) -> None:
        """Accept connections again, if it still listens."""
        start_reading = getattr(self._port, "startReading", None)
        if start_reading is not None:
            start_reading()

    @property
    def address(self) -> str:
        """Where it listens, as text; it must have been bound."""
        return _address_text(self.port.getHost())

    @property
    def port(self) -> IListeningPort:
        """The port; it must have been bound."""
        if self._port is None:
            message = "it is not bound"
            raise RuntimeError(message)
        return self._port


def _address_text(address: IAddress) -> str:
    match address:
        case IPv6Address(host=host, port=port):
            return f"[{host}]:{port}"
        case IPv4Address(host=host, port=port):
            return f"{host}:{port}"
        case _:
            return str(address)
