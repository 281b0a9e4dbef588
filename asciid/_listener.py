"""A place to listen on, and the way back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import serverFromString

from asciid._unix_socket import StaleReplacing

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IListeningPort,
        IProtocolFactory,
        IStreamServerEndpoint,
    )

__all__ = ["BACKLOG", "Listener", "StartError", "endpoint_from"]

BACKLOG = 1024
"""
Connections that may wait to be accepted; Linux takes up to net.core.somaxconn.

To one that finds the queue full the client says hello again after a second.
Twisted's 50 come in two milliseconds when many clients begin together.
"""

_leaves_backlog_open = re.compile(
    r"(?:tcp6?|ssl|unix):[^:=]*(?::(?!backlog=)\w+=(?:\\.|[^:\\])*)*"
).fullmatch


def endpoint_from(description: str, reactor: Any) -> IStreamServerEndpoint:  # noqa: ANN401 - reactors have no common interface
    """
    Return the endpoint that `description` is, as Twisted reads it.

    Of the endpoints that Twisted brings, one that does not say how many
    connections may wait to be accepted lets `BACKLOG` wait.  A Unix socket takes the
    place of one that nobody answers on.
    """
    if _leaves_backlog_open(description):
        description += f":backlog={BACKLOG}"
    if description.startswith("unix:"):
        reactor = StaleReplacing(reactor)
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
        reason = " ".join(str(why).split()) or type(why).__name__
        super().__init__(f"asciid: {what}: {reason}")
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
