"""Starts and stops listening on an endpoint."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import maybeDeferred

from asciid.runtime.text import printable, reason_of

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IListeningPort,
        IProtocolFactory,
        IStreamServerEndpoint,
    )

__all__ = ["Listener", "StartError"]


class StartError(SystemExit, Exception):
    """
    The daemon cannot start; the text is one line with the reason.

    It is a `SystemExit` so that ``twistd --nodaemon`` exits with code 1 and without a
    traceback, and an `Exception` because ``twistd`` in the background reports only
    those to its parent process.
    """

    def __init__(self, what: str, why: BaseException) -> None:
        line = f"asciid: {what}: {reason_of(why, named=what.rpartition(' ')[2])}"
        super().__init__(printable(" ".join(line.split())))
        self.code = 1


@define
class Listener:
    """
    A place to listen on.

    `description` names the endpoint in messages.
    """

    description: str
    endpoint: IStreamServerEndpoint
    _port: IListeningPort | None = field(init=False, default=None)

    async def bind(self, factory: IProtocolFactory) -> None:
        """
        Begin to listen; `factory` makes the protocols of connections.

        Errors: `StartError`.
        """
        try:
            self._port = await self.endpoint.listen(factory)
        except Exception as error:
            # Endpoints may raise anything; the setting is wrong then.
            what = f"cannot listen on {self.description}"
            raise StartError(what, error) from error

    async def stop(self) -> None:
        """Stop listening, if listening; open connections are kept."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)

    def pause(self) -> None:
        """Stop accepting connections, if the port supports that; they queue up."""
        stop_reading = getattr(self._port, "stopReading", None)
        if stop_reading is not None:
            stop_reading()

    def resume(self) -> None:
        """Accept connections again, if still listening."""
        start_reading = getattr(self._port, "startReading", None)
        if start_reading is not None:
            start_reading()

    @property
    def address(self) -> str:
        """The address it listens on; it must be bound."""
        return _address_text(self.port.getHost())

    @property
    def port(self) -> IListeningPort:
        """The port; it must be bound."""
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
        case UNIXAddress(name=bytes(name)):
            return f"unix:{os.fsdecode(name)}"
        case _:
            return str(address)
