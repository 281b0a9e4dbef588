"""The transport side of a connection: sending, pausing, and closing."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol

from asciid.http._discard import Discard
from asciid.net.output import Output, output_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IAddress

    from asciid.http._http_server import Server
    from asciid.runtime.client_scheduler import ClientQueue, QueuedCall

__all__ = ["NEVER", "Connection"]

NEVER = float("inf")

_MAPPED = "::ffff:"

_FLUSH = 16 * 1024
"""Bytes of responses that are collected before they are sent together."""

_UNSENT = 256 * 1024
"""Bytes that the kernel holds for a client, besides those it has sent."""


def unmapped(address: IAddress) -> IAddress:
    """
    Return `address`, as IPv4 if it is the IPv4-mapped one of a dual-stack socket.

    Such a socket shows it as ``::ffff:192.0.2.1`` (RFC 4291, section 2.5.5.2).
    """
    if not isinstance(address, IPv6Address):
        return address
    host = address.host
    if not (host.startswith(_MAPPED) and "." in host):
        return address
    return IPv4Address("TCP", host.removeprefix(_MAPPED), address.port)


class Connection(Protocol):
    """
    One connection, without the protocol that is spoken on it.

    :ivar deadline: the monotonic time from which :meth:`check` is to be called.
    :ivar client: the key of the client, by its address.
    :ivar secure: whether the connection is encrypted.
    """

    transport: Any  # transports have no common interface

    def __init__(self, server: Server, client: str) -> None:
        self._server = server
        self.client = client
        self._client_queue: ClientQueue = server.scheduler.queue_of(client)
        self.deadline = NEVER
        self.secure = False
        self._buffer = b""
        self._paused = False
        self._eof = False
        # While corked, responses are collected to be sent together, if there is more to
        # serve.
        self._corked = False
        self._more = False
        self._pending = b""
        # Since when the client has read nothing, and when the write timeout ends.
        self._blocked_since = self._stalled_at = NEVER
        self._queued: QueuedCall | None = None
        # No more requests are served; then, our side is closed as well.
        self._closing = False
        self._shut_down = False
        self._linger = False
        # Bounds what is read after that, while the client may still be sending.
        self._discard: Discard | None = None
        self._half_closes = False

    def connectionMade(self) -> None:
        """Prepare the transport."""
        transport = self.transport
        self.secure = ISSLTransport.providedBy(transport)
        self._output: Output = output_for(transport, self._moved)
        # A UNIX socket's transport claims to be one of TCP.
        self._half_closes = ITCPTransport.providedBy(transport)
        if self._half_closes and isinstance(
            transport.getHost(), IPv4Address | IPv6Address
        ):
            # A response after the first on a connection must not wait for an ACK.
            transport.setTcpNoDelay(True)
            if isinstance(transport, tcp.Server):
                _bound_unsent(transport.getHandle())

    @property
    def host(self) -> IAddress:
        """The local address."""
        return unmapped(self.transport.getHost())

    @property
    def peer(self) -> IAddress:
        """The client's address."""
        return unmapped(self.transport.getPeer())

    @property
    def blocked(self) -> bool:
        """Whether the client reads more slowly than the server writes."""
        return self._output.blocked

    def send(self, data: bytes) -> None:
        """Send after what was sent before; while corked, together with what follows."""
        self._server.bytes_out += len(data)
        if not (self._corked and (self._more or self._pending)):
            self._output.send(data)
            return
        self._pending += data
        if len(self._pending) > _FLUSH:
            self._flush()

    def send_all(self, pieces: Sequence[bytes]) -> None:
        """Send after what was sent before; large pieces are not joined."""
        size = sum(map(len, pieces))
        if size <= _FLUSH:
            self.send(b"".join(pieces))
            return
        self._server.bytes_out += size
        self._flush()
        self._output.send_all(pieces)

    def abort(self) -> None:
        """Reset the connection."""
        self._closing = self._shut_down = True
        self._output.close()
        self.transport.abortConnection()

    def check(self, now: float) -> None:
        """Handle a deadline that has passed (called by the sweep)."""
        self.deadline = NEVER
        discard = self._discard
        if discard is not None:
            if discard.is_over(now):
                self._end_linger()
            else:
                self.deadline = discard.due
        elif self._closing or (self._output.blocked and now >= self._stalled_at):
            self.abort()
        else:
            if self._output.blocked:
                self.deadline = self._stalled_at
            self._overdue(now)

    # What a subclass implements.

    def _overdue(self, now: float) -> None:
        """Handle a deadline of the protocol."""
        raise NotImplementedError

    def _drained(self, now: float) -> None:
        """Continue: the client has read everything that was sent."""
        raise NotImplementedError

    def _may_linger(self) -> bool:
        """Return whether this may be read after its last response."""
        raise NotImplementedError

    # What a subclass uses.

    def _keep(self, data: bytes) -> None:
        # Keep bytes for later, and pause reading when there are enough.
        self._buffer = data
        if len(data) > self._server.limits.read_ahead and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _take_buffer(self) -> bytes:
        data, self._buffer = self._buffer, b""
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()
        return data

    def _flush(self) -> None:
        pending = self._pending
        if pending:
            self._pending = b""
            self._output.send(pending)

    def _later(self, call: Callable[[], None], *, begins: bool = False) -> None:
        # Other clients' calls may be made first.
        def call_now() -> None:
            self._queued = None
            call()

        self._queued = self._server.scheduler.later(
            self._client_queue, call_now, begins=begins
        )

    def _cancel_queued(self) -> None:
        if self._queued is not None:
            self._queued.cancel()
            self._queued = None

    def _moved(self) -> None:
        # The output has become blocked, or has made progress.
        now = self._blocked_since = self._server.clock()
        self._stalled_at = now + self._server.limits.write_timeout
        self.deadline = self._stalled_at
        if self._output.blocked or self._corked:
            return
        if self._closing:
            self._shut()
        else:
            self._drained(now)

    # Closing.

    def _close(self, *, linger: bool) -> None:
        """
        Serve no more requests, and close once everything is sent.

        :param linger: whether the client may still be sending.
        """
        self._closing = True
        self._linger = linger and self._half_closes and not self._eof
        self._buffer = b""
        if not self._corked:
            self._shut()

    def _shut(self) -> None:
        # RFC 9112 9.6: only our side is closed at first; the other one is still read.
        if self._output.blocked or self._shut_down:
            return
        self._shut_down = True
        self._output.release()
        now = self._server.clock()
        if not (self._linger and self._may_linger()):
            self._lose(now)
            return
        brief = self._server.crowded
        self._discard = discard = Discard(self._server.limits, now, brief=brief)
        self.deadline = discard.due
        self._take_buffer()
        if self.secure:
            # TLS's own half-close: what the client sends is still read.
            self.transport.loseConnection()
        else:
            self.transport.loseWriteConnection()

    def _drop(self, size: int) -> None:
        # Bytes that were received after the last response, or while it is being sent.
        if not self._shut_down:
            if not self._paused:
                self._paused = True
                self.transport.pauseProducing()
        elif self._discard is not None and not self._discard.take(size):
            self._end_linger()
        elif self._server.discard_pace.take(size, self._read_on):
            self._paused = True
            self.transport.pauseProducing()

    def _read_on(self) -> None:
        if self._discard is not None:
            self._paused = False
            self.transport.resumeProducing()

    def _end_linger(self) -> None:
        if self._discard is None:
            return
        self._discard = None
        if self.secure:
            self.transport.abortConnection()
        else:
            self._lose(self._server.clock())

    def _lose(self, now: float) -> None:
        self.deadline = now + self._server.limits.linger_pause
        self.transport.loseConnection()

    def _release(self) -> None:
        # The connection is closed.
        self._closing = True
        self._shut_down = True
        self._discard = None
        self.deadline = NEVER
        self._buffer = b""
        self._pending = b""
        self._cancel_queued()
        self._output.close()


def _bound_unsent(handle: socket.socket) -> None:
    # By default, Linux buffers up to 4 MiB for a client that reads nothing.
    # Bytes in flight are not bounded, so throughput stays.
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        handle.setsockopt(socket.IPPROTO_TCP, option, _UNSENT)
