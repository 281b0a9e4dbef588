"""
Sending: bytes go to the socket at once when nothing is queued before them.

A Twisted transport keeps what is written for the next turn of the reactor and
asks for write events (two ``epoll_ctl`` calls), which costs a small response
about as much as everything else together.  So for plain TCP the first ``send``
is made here; only what the kernel does not take goes through the transport.
TLS and every other transport are written to in the ordinary way.
"""

from __future__ import annotations

from collections import deque
from errno import ENOBUFS, ENOMEM
from typing import TYPE_CHECKING

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IConsumer

__all__ = ["DirectOutput", "Output", "QueuedOutput", "output_for"]

_NO_MEMORY = frozenset({ENOBUFS, ENOMEM})
"""What a kernel that is short of memory says, for a moment."""

_PIECE = 64 * 1024
"""Bytes handed to a transport at a time: what tells progress from a stall."""


class Output:
    """
    The sending side of one connection.

    :ivar blocked: whether the reader is slower than the writer: what is sent
        now will wait.
    """

    __slots__ = ("_closed", "_moved", "_queue", "_transport", "blocked")

    def __init__(self, transport: IConsumer, moved: Callable[[], None]) -> None:
        """
        Send on a transport.

        :param moved: called when bytes have to wait, and when they have moved on.
        """
        self._transport = transport
        self._moved = moved
        self._queue: deque[memoryview] = deque()
        self._closed = False
        self.blocked = False

    def send(self, data: bytes) -> None:
        """Send, or queue behind what is queued already."""
        raise NotImplementedError

    def close(self) -> None:
        """Forget what is queued: the connection is gone or about to be."""
        self._closed = True
        self._queue.clear()
        # No cycle is left: a lost connection is freed at once.
        self._moved = _ignore

    def release(self) -> None:
        """Let go of the transport, so that it can close; nothing is queued."""

    def _next_piece(self) -> bytes:
        first = self._queue[0]
        piece = bytes(first[:_PIECE])
        if len(piece) == len(first):
            self._queue.popleft()
        else:
            self._queue[0] = first[_PIECE:]
        return piece


@implementer(IPullProducer)
class DirectOutput(Output):
    """Sends on the socket of a plain TCP connection."""

    __slots__ = ("_socket_send",)

    def __init__(self, transport: tcp.Connection, moved: Callable[[], None]) -> None:
        super().__init__(transport, moved)
        self._socket_send = transport.getHandle().send

    def send(self, data: bytes) -> None:
        """See :meth:`Output.send`."""
        if self._closed:
            return
        if self.blocked:
            self._queue.append(memoryview(data))
            return
        try:
            sent = self._socket_send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            if error.errno not in _NO_MEMORY:
                # The connection is lost: the transport finds that out by itself,
                # and says so in a turn of its own.
                self._transport.write(data)
                return
            sent = 0
        if sent < len(data):
            self._queue.append(memoryview(data)[sent:])
            # As a pull producer one is told whenever all that was written is
            # out.  Registering asks for the first piece at once.
            self.blocked = True
            self._transport.registerProducer(self, streaming=False)

    def resumeProducing(self) -> None:
        """Hand the next piece over, or end (called by the transport)."""
        if self._queue:
            self._transport.write(self._next_piece())
        else:
            self.blocked = False
            self._transport.unregisterProducer()
        self._moved()

    def stopProducing(self) -> None:
        """Forget the queue: the connection is lost (called by the transport)."""
        self.close()


@implementer(IPushProducer)
class QueuedOutput(Output):
    """Writes to any transport, as long as it takes more."""

    __slots__ = ()

    def __init__(self, transport: IConsumer, moved: Callable[[], None]) -> None:
        super().__init__(transport, moved)
        transport.registerProducer(self, streaming=True)

    def send(self, data: bytes) -> None:
        """See :meth:`Output.send`."""
        if self._closed:
            return
        if len(data) <= _PIECE and not self.blocked:
            self._transport.write(data)
            return
        self._queue.append(memoryview(data))
        self._pump()

    def pauseProducing(self) -> None:
        """Queue from now on (called by the transport)."""
        self.blocked = True
        self._moved()

    def resumeProducing(self) -> None:
        """Write again (called by the transport)."""
        self.blocked = False
        self._pump()
        self._moved()

    def stopProducing(self) -> None:
        """Forget the queue: the connection is lost (called by the transport)."""
        self.close()

    def release(self) -> None:
        """See :meth:`Output.release`."""
        self._transport.unregisterProducer()

    def _pump(self) -> None:
        while self._queue and not self.blocked:
            self._transport.write(self._next_piece())


def output_for(transport: IConsumer, moved: Callable[[], None]) -> Output:
    """Choose how to send on a transport."""
    # Not isinstance: what else it is may have things of its own to send.
    if type(transport) is tcp.Server and not transport.TLS:
        return DirectOutput(transport, moved)
    if type(transport) is unix.Server or type(transport) is unix.Client:
        # Nobody here sends descriptors, which would have to go with the bytes.
        return DirectOutput(transport, moved)
    return QueuedOutput(transport, moved)


def _ignore() -> None:
    # Takes the place of whoever is told no more.
    pass
