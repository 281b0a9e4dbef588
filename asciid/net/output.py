"""
Writes to the socket directly while nothing is queued.

A Twisted transport buffers writes until the next reactor iteration and registers for
write events (two ``epoll_ctl`` calls), which doubles the cost of a small response.  So
for plain TCP the first ``send`` is made here, and only the bytes that the kernel does
not accept are written to the transport.  TLS and other transports are used as usual.
"""

from __future__ import annotations

from collections import deque
from errno import ENOBUFS, ENOMEM
from itertools import islice
from typing import TYPE_CHECKING

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

from asciid.net._event_group import GroupedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from twisted.internet.interfaces import IConsumer

__all__ = ["DirectOutput", "Output", "QueuedOutput", "output_for"]

_NO_MEMORY = frozenset({ENOBUFS, ENOMEM})
"""Temporary errors of a kernel that is short of memory."""

_PIECE = 64 * 1024
"""Bytes per write to a transport: the granularity of progress."""

_SENT_AT_ONCE = 512 * 1024
"""
Bytes of pieces per call of the kernel, which copies them in about 0.2 ms.

Meanwhile the reactor serves nobody else.
"""

_PIECES_AT_ONCE = 64
"""Pieces per call of the kernel; Linux accepts 1,024."""


class Output:
    """
    The sending side of one connection.

    :ivar blocked: whether the peer reads too slowly: bytes sent
        now are queued.
    """

    __slots__ = ("_closed", "_moved", "_queue", "_transport", "blocked")

    def __init__(self, transport: IConsumer, moved: Callable[[], None]) -> None:
        """
        Write to a transport.

        :param moved: called when bytes are queued, and when queued bytes were sent.
        """
        self._transport = transport
        self._moved = moved
        self._queue: deque[memoryview] = deque()
        self._closed = False
        self.blocked = False

    def send(self, data: bytes) -> None:
        """Send, or append to the queue."""
        raise NotImplementedError

    def send_all(self, pieces: Iterable[bytes]) -> None:
        """Send what would take long to join, or append it to the queue."""
        raise NotImplementedError

    def close(self) -> None:
        """Discard the queue: the connection is closed or closing."""
        self._closed = True
        self._queue.clear()
        # Breaks the reference cycle, so that a lost connection is freed at once.
        self._moved = _ignore

    def release(self) -> None:
        """Unregister from the transport, so that it can close; nothing is queued."""

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

    __slots__ = ("_refused", "_socket_send", "_socket_sendmsg")

    def __init__(self, transport: tcp.Connection, moved: Callable[[], None]) -> None:
        super().__init__(transport, moved)
        handle = transport.getHandle()
        self._socket_send = handle.send
        self._socket_sendmsg = handle.sendmsg
        # Whether the kernel has just accepted no more.
        self._refused = False

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
                # The connection is lost; the transport will report it.
                self._transport.write(data)
                return
            sent = 0
        if sent < len(data):
            self._queue.append(memoryview(data)[sent:])
            self._block()

    def send_all(self, pieces: Iterable[bytes]) -> None:
        """See :meth:`Output.send_all`."""
        if self._closed:
            return
        self._queue.extend(map(memoryview, pieces))
        if not self.blocked:
            self._send_queued()
            if self._queue:
                self._block()

    def _block(self) -> None:
        # A pull producer is called whenever the transport's buffer is empty, and at
        # once on registration.
        self.blocked = self._refused = True
        self._transport.registerProducer(self, streaming=False)

    def _send_queued(self) -> None:
        # Send as much of the queue as the kernel accepts, without copying it before.
        queue = self._queue
        batch = []
        room = _SENT_AT_ONCE
        for piece in islice(queue, _PIECES_AT_ONCE):
            batch.append(piece[:room])
            room -= len(piece)
            if room <= 0:
                break
        try:
            sent = self._socket_sendmsg(batch)
        except OSError:
            # A lost connection is reported by the transport, once it has a piece.
            return
        while sent:
            first = queue[0]
            if sent < len(first):
                queue[0] = first[sent:]
                return
            sent -= len(first)
            queue.popleft()

    def resumeProducing(self) -> None:
        """Send on, or unregister (called by the transport)."""
        if self._refused:
            self._refused = False
        elif self._queue:
            self._send_queued()
        if self._queue:
            # The transport calls again once it has sent this.
            self._transport.write(self._next_piece())
        else:
            self.blocked = False
            self._transport.unregisterProducer()
        self._moved()

    def stopProducing(self) -> None:
        """Discard the queue: the connection is lost (called by the transport)."""
        self.close()


@implementer(IPushProducer)
class QueuedOutput(Output):
    """Writes to any transport, while it is not paused."""

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

    def send_all(self, pieces: Iterable[bytes]) -> None:
        """See :meth:`Output.send_all`."""
        for piece in pieces:
            self.send(piece)

    def pauseProducing(self) -> None:
        """Queue from now on (called by the transport)."""
        self.blocked = True
        self._moved()

    def resumeProducing(self) -> None:
        """Resume writing (called by the transport)."""
        self.blocked = False
        self._pump()
        self._moved()

    def stopProducing(self) -> None:
        """Discard the queue: the connection is lost (called by the transport)."""
        self.close()

    def release(self) -> None:
        """See :meth:`Output.release`."""
        self._transport.unregisterProducer()

    def _pump(self) -> None:
        while self._queue and not self.blocked:
            self._transport.write(self._next_piece())


def output_for(transport: IConsumer, moved: Callable[[], None]) -> Output:
    """Return the output for a transport."""
    # Not isinstance: subclasses may send data of their own.
    if (
        type(transport) is GroupedServer or type(transport) is tcp.Server
    ) and not transport.TLS:
        return DirectOutput(transport, moved)
    if type(transport) is unix.Server or type(transport) is unix.Client:
        # No descriptors are sent here, which would have to accompany the bytes.
        return DirectOutput(transport, moved)
    return QueuedOutput(transport, moved)


def _ignore() -> None:
    # Replaces the callback of a closed connection.
    pass
