"""Messages behind their lengths, on a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from twisted.internet import protocol
from twisted.logger import Logger

from asciid.engines._callbacks import do_nothing
from asciid.net.output import Output, output_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.python.failure import Failure

__all__ = ["MAX_MESSAGE", "IEnd", "MessageProtocol", "framed"]

MAX_MESSAGE = 320 * 1024 * 1024
"""
Maximum bytes of a message: a chunk of the largest size that can be set, and
other operations of the same turn of the reactor.
"""

_PREFIX = 4
_encode = msgspec.msgpack.Encoder().encode
_log = Logger()


def framed(message: object) -> bytes:
    """Return a message as it is sent, to one connection or to several."""
    body = _encode(message)
    return len(body).to_bytes(_PREFIX, "big") + body


class IEnd(Protocol):
    """The owner of a connection."""

    def made(self, connection: MessageProtocol, /) -> None:
        """Handle a new connection."""

    def received(self, connection: MessageProtocol, message: Any, /) -> None:  # noqa: ANN401 - of the ends, each its own
        """Handle a message."""

    def lost(self, connection: MessageProtocol, /) -> None:
        """Handle the end of a connection."""


class MessageProtocol(protocol.Protocol):
    """
    One end of a connection; `decoder` decodes the messages of the other end.

    A message that is too long, or invalid, is logged and aborts the connection.
    """

    transport: Any

    def __init__(
        self,
        decoder: msgspec.msgpack.Decoder[Any],
        end: IEnd,
    ) -> None:
        self._decode = decoder.decode
        self._end = end
        self._output: Output
        # The received part of the next message, and the bytes needed.
        self._pieces: list[bytes] = []
        self._length = 0
        self._needed = _PREFIX

    def send(self, message: object) -> None:
        """Send a message."""
        self.send_framed(framed(message))

    def send_framed(self, data: bytes) -> None:
        """Send messages that are `framed`, one after the other."""
        self._output.send(data)

    @property
    def is_slow(self) -> bool:
        """Whether output is blocked, because the other end does not read it."""
        return self._output.blocked

    def connectionMade(self) -> None:
        """See `IEnd.made`."""
        # No backpressure: the other end is a process of the same daemon.
        self._output = output_for(self.transport, do_nothing)
        self._end.made(self)

    def dataReceived(self, data: bytes) -> None:
        """Decode and deliver complete messages."""
        self._pieces.append(data)
        self._length += len(data)
        if self._length < self._needed:
            return
        try:
            for body in self._bodies():
                self._end.received(self, self._decode(body))
        except (ValueError, msgspec.MsgspecError) as error:
            _log.error(
                "disconnecting a process that sent an invalid message: {error}",
                error=error,
            )
            self.abort()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        """See `IEnd.lost`."""
        del reason
        self._output.close()
        self._end.lost(self)

    def close(self) -> None:
        """End the connection once everything is sent."""
        self._output.release()
        self.transport.loseConnection()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abortConnection()

    def _bodies(self) -> Iterator[memoryview]:
        buffer = memoryview(b"".join(self._pieces))
        start, needed = 0, _PREFIX
        while len(buffer) - start >= _PREFIX:
            length = int.from_bytes(buffer[start : start + _PREFIX], "big")
            if length > MAX_MESSAGE:
                message = f"{length} bytes (limit {MAX_MESSAGE})"
                raise ValueError(message)
            needed = _PREFIX + length
            if len(buffer) - start < needed:
                break
            yield buffer[start + _PREFIX : start + needed]
            start, needed = start + needed, _PREFIX
        self._pieces = [bytes(buffer[start:])]
        self._length = len(buffer) - start
        self._needed = needed
