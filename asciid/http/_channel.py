"""
One connection: HTTP/1.1 requests in, responses out, in order.

Requests are served one after the other, as RFC 9112 9.3.2 asks for those that
are not safe; what a client sends ahead waits, unparsed and bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, default_exceptions
from zope.interface import implementer

from ._body import ChunkedBody, IBody, SizedBody
from ._head import CHUNKED, Probe, RefusedError
from ._incoming import Incoming
from ._output import output_for
from ._request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IDelayedCall

    from ._factory import KleinFactory
    from ._head import FieldBlock
    from ._routes import Route

__all__ = ["Channel"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FLUSH = 16 * 1024
"""Bytes of answers that are gathered before they are sent together."""

_CR = 13
_NEVER = float("inf")


@implementer(IHalfCloseableProtocol)
class Channel(Protocol):
    """
    Serves one connection.

    :ivar deadline: the monotonic time from which :meth:`check` must be called.
    :ivar secure: whether the connection is encrypted.
    """

    factory: KleinFactory

    def __init__(self, factory: KleinFactory) -> None:
        self.factory = factory
        self.heads = factory.heads
        self.routes = factory.routes
        self._request: Request | None = None
        self._incoming: Incoming | None = None
        self._probe: Probe | None = None
        self._buffer = b""
        # Answers wait here while the requests of one read are served.
        self._corked = False
        self._pending: list[bytes] = []
        self._pending_size = 0
        self._turn: IDelayedCall | None = None
        self._paused = False
        self._eof = False
        # No more requests are served; then, only waits for the client to leave.
        self._closing = False
        self._linger = False
        self._lingering: int | None = None
        self._half_closes = False
        self.deadline = _NEVER

    # What the transport calls.

    def connectionMade(self) -> None:
        """Begin to wait for the first request."""
        transport = self.transport
        self.secure = ISSLTransport.providedBy(transport)
        self._output = output_for(transport, self._moved)
        # A UNIX socket's transport claims to be one of TCP.
        if ITCPTransport.providedBy(transport) and isinstance(
            transport.getHost(), IPv4Address | IPv6Address
        ):
            # An answer after the first on a connection must not wait for an ACK.
            transport.setTcpNoDelay(True)
            self._half_closes = not self.secure
        factory = self.factory
        self.deadline = factory.clock() + factory.limits.header_timeout
        if not factory.admit(self):
            self._refuse(503, "Too many connections are open; try again soon.")

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client."""
        now = self.factory.tick()
        if self._closing:
            self._discard(len(data))
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        incoming = self._incoming
        if incoming is not None and incoming.streaming:
            self._keep(data)
            if incoming.wanted:
                self._pump()
        elif (
            self._request is not None and incoming is None
        ) or self._turn is not None or self._output.blocked:
            self._keep(data)
        else:
            self._serve(data, now)

    def readConnectionLost(self) -> None:
        """The client has sent all it will ever send (RFC 9112 9.6)."""
        self._eof = True
        if self._closing:
            if self._lingering is not None:
                self._linger = False
                self.transport.loseConnection()
        elif self._request is None and self._probe is None and not self._buffer:
            self._close(linger=False)
        elif self._incoming is not None and self._incoming.streaming:
            if self._incoming.wanted:
                self._pump()
        elif self._incoming is not None or (
            self._request is None and self._probe is not None
        ):
            self._refuse(400, "The request ended early.")

    def writeConnectionLost(self) -> None:
        """Our side is closed; the client may still be sending."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of everything."""
        self._closing = True
        self.deadline = _NEVER
        self._buffer = b""
        self._pending.clear()
        self._output.close()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        request, self._request = self._request, None
        incoming, self._incoming = self._incoming, None
        if request is not None:
            request.connection_lost(reason)
        if incoming is not None:
            incoming.fail(reason)
        self.factory.forget(self)

    # What the request calls.

    @property
    def host(self) -> IAddress:
        """The local address."""
        return self.transport.getHost()

    @property
    def peer(self) -> IAddress:
        """The client's address."""
        return self.transport.getPeer()

    @property
    def blocked(self) -> bool:
        """Whether the client reads more slowly than the handler writes."""
        return self._output.blocked

    @property
    def can_persist(self) -> bool:
        """Whether another request may follow the one under way (RFC 9112 9.3)."""
        return not (
            (self._incoming is not None and not self._incoming.done)
            or self._closing
            or self.factory.draining
        )

    def send(self, data: bytes) -> None:
        """Send a part of the answer."""
        if not self._corked:
            self._output.send(data)
            return
        self._pending.append(data)
        self._pending_size += len(data)
        if self._pending_size > _FLUSH:
            self._flush()

    def produced(self) -> None:
        """A producer has written: slow it down, or ask it for more."""
        request = self._request
        if request is None:
            return
        if self._corked:
            self._flush()
        if self._output.blocked:
            request.pause_producer()
        elif request.pulls and self._turn is None:
            self._later(self._pull)

    def finished(self, *, keep: bool) -> None:
        """The answer is complete."""
        self._request = None
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._incoming is not None:
            self._incoming.stop()
            self._incoming = None
        if not keep:
            self._close(linger=True)
        elif not self._corked:
            self._continue()

    def abort(self) -> None:
        """Break the connection off."""
        self._closing = True
        self._output.close()
        self.transport.abortConnection()

    def read_body(
        self, receive: Callable[[bytes], Deferred[None] | None]
    ) -> Deferred[None]:
        """Stream the body of the request under way."""
        assert self._incoming is not None
        deferred = self._incoming.open(receive, self._pump)
        self._pump()
        return deferred

    # What the sweep calls.

    def check(self, now: float) -> None:
        """A deadline has passed: see which."""
        self.deadline = _NEVER
        if self._lingering is not None and self._linger:
            self._linger = False
            self.deadline = now + self.factory.limits.linger_timeout
            self.transport.loseConnection()
        elif self._closing or self._output.blocked:
            self.abort()
        elif self._incoming is not None:
            if self._incoming.is_late(now):
                self._fail_body(408, "The body came too slowly.")
            else:
                self.deadline = now
        elif self._probe is not None:
            self._refuse(408, "The header block took too long.")
        elif self._request is None:
            self._close(linger=False)

    def drain(self) -> None:
        """Close as soon as nothing is under way."""
        if self._request is None and self._probe is None and not self._buffer:
            self._close(linger=False)

    # Requests.

    def _serve(self, data: bytes, now: float) -> None:
        factory = self.factory
        turns = factory.limits.pipelined
        size = len(data)
        pos = 0
        self._corked = True
        try:
            while pos < size and not self._closing:
                if self._incoming is not None:
                    if self._incoming.streaming:
                        break
                    pos = self._incoming.feed(data, pos, now)
                    self._gathered()
                    continue
                if self._request is not None or self._output.blocked:
                    break
                if data[pos] == _CR and data.startswith(b"\r\n", pos):
                    pos += 2  # RFC 9112 2.2
                    continue
                end = data.find(b"\r\n\r\n", pos) + 4
                if end < 4:  # noqa: PLR2004  # not found
                    self._await_head(data[pos:], now)
                    break
                if not turns:
                    self._later(self._continue)
                    break
                turns -= 1
                method, target, block = factory.head_parser.parse(
                    data[pos:end], secure=self.secure
                )
                pos = end
                self._probe = None
                self._request = request = Request(self, method, target, block)
                route = self._route(request)
                length = block.length
                if length == 0:
                    factory.dispatcher.run(request)
                elif 0 < length <= min(size - pos, route.body) and not route.streams:
                    request.body = data[pos : pos + length]
                    pos += length
                    factory.dispatcher.run(request)
                elif self._begin_body(request, block, more=pos < size):
                    # The handler reads it from the buffer.
                    self._buffer = data[pos:]
                    pos = size
                    factory.dispatcher.run(request)
        except RefusedError as refusal:
            self._refuse(refusal.status, refusal.detail, data[pos : pos + 5])
        self._corked = False
        self._flush()
        if self._closing:
            self._shut()
        elif pos < size:
            self._keep(data[pos:])
            self._settle(now)
        elif self._buffer and self._request is None:
            self._continue()
        else:
            self._settle(now)

    def _route(self, request: Request) -> Route:
        try:
            request.route, request.values = self.routes.find(request)
        except HTTPException:
            # Answered when the body is here, like every other request.
            request.failure = Failure()
            request.route = self.routes.nowhere
        return request.route

    def _begin_body(self, request: Request, block: FieldBlock, *, more: bool) -> bool:
        # True when the handler is to be called before the body is here.
        route = request.route
        limits = self.factory.limits
        body: IBody
        if block.length == CHUNKED:
            body = ChunkedBody(route.body, limits)
        else:
            body = SizedBody(block.length)
        too_large = block.length > route.body
        if too_large and request.failure is None:
            raise RefusedError(413, "The body is too large.")
        streaming = route.streams or too_large
        self._incoming = incoming = Incoming(
            body, limits, streaming=streaming, expects=block.expects and not more
        )
        if streaming:
            request.body = None
        else:
            self._want(incoming)
        return streaming

    def _want(self, incoming: Incoming) -> None:
        incoming.want(self.factory.clock())
        if incoming.expects:
            incoming.expects = False
            self.send(_CONTINUE)  # RFC 9110 10.1.1

    def _gathered(self) -> None:
        incoming, request = self._incoming, self._request
        if incoming is not None and incoming.done and request is not None:
            self._incoming = None
            request.body = incoming.body
            self.factory.dispatcher.run(request)

    def _pump(self) -> None:
        # Give the handler that streams its body what there is of it.
        incoming = self._incoming
        if incoming is None:
            return
        if incoming.done:
            self._incoming = None
            incoming.finish()
            return
        data, self._buffer = self._buffer, b""
        if data:
            incoming.expects = False
        self._want(incoming)
        self._resume_reading()
        now = self.factory.clock()
        try:
            self._buffer = data[incoming.feed(data, 0, now) :]
        except RefusedError as refusal:
            self._fail_body(refusal.status, refusal.detail)
            return
        self.deadline = now
        incoming.hand_over()
        if self._eof and incoming.wanted and not incoming.done:
            self._fail_body(400, "The body ended early.")

    def _fail_body(self, status: int, detail: str) -> None:
        incoming = self._incoming
        if incoming is not None and incoming.streaming:
            incoming.fail(Failure(default_exceptions[status](detail)))
        else:
            self._refuse(status, detail)

    def _await_head(self, head: bytes, now: float) -> None:
        limits = self.factory.limits
        if len(head) > limits.request_line:
            line = head.find(b"\r\n", 0, limits.request_line + 2)
            if line < 0:
                raise RefusedError(414, "The request line is too long.")
        if len(head) > limits.header_block:
            raise RefusedError(431, "The header block is too long.")
        if self._probe is None:
            self._probe = Probe()
            self.deadline = now + limits.header_timeout
        self._probe.feed(head)

    def _refuse(self, status: int, detail: str, start: bytes = b"") -> None:
        factory = self.factory
        request, self._request = self._request, None
        self._incoming = self._probe = None
        body = factory.problem(status, detail)
        extra = ((b"retry-after", b"1"),) if status == 503 else ()  # noqa: PLR2004
        head = self.heads.error(status, body, extra)
        if start == b"HEAD " or (request is not None and request.method == b"HEAD"):
            body = b""
        self.send(head + body)
        self._close(linger=True)

    # Turns.

    def _continue(self) -> None:
        if self._closing or self._output.blocked:
            return
        data, self._buffer = self._buffer, b""
        self._resume_reading()
        now = self.factory.clock()
        if data:
            self._serve(data, now)
        else:
            self._settle(now)

    def _settle(self, now: float) -> None:
        # What is waited for now, and for how long.
        if self._output.blocked or self._probe is not None:
            return  # set when that began
        if self._incoming is not None:
            self.deadline = now
        elif self._request is not None or self._turn is not None:
            self.deadline = _NEVER
        elif self._eof or self.factory.draining:
            self._close(linger=False)
        else:
            self.deadline = now + self.factory.limits.idle_timeout

    def _later(self, call: Callable[[], None]) -> None:
        self._turn = self.factory.reactor.callLater(0, self._take_turn, call)

    def _take_turn(self, call: Callable[[], None]) -> None:
        self._turn = None
        call()

    def _pull(self) -> None:
        request = self._request
        if request is not None and request.pulls and not self._output.blocked:
            request.resume_producer()

    # Bytes.

    def _keep(self, data: bytes) -> None:
        self._buffer = data
        if len(data) > self.factory.limits.read_ahead and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _flush(self) -> None:
        pending = self._pending
        if pending:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            pending.clear()
            self._pending_size = 0
            self._output.send(data)

    def _moved(self) -> None:
        # The output is blocked now, or has moved on.
        now = self.factory.clock()
        self.deadline = now + self.factory.limits.write_timeout
        if self._output.blocked or self._corked:
            return
        if self._closing:
            self._shut()
        elif self._request is not None:
            self._settle(now)
            self._request.resume_producer()
        else:
            self._continue()

    # The end.

    def _close(self, *, linger: bool) -> None:
        self._closing = True
        self._linger = linger
        self._buffer = b""
        if not self._corked:
            self._shut()

    def _shut(self) -> None:
        # RFC 9112 9.6: a close while bytes are unread resets the connection, and
        # the client may lose the answer.  So only our side is closed at first.
        if self._output.blocked or self._lingering is not None:
            return
        limits = self.factory.limits
        self._lingering = limits.linger_bytes
        self.deadline = self.factory.clock() + limits.linger_timeout
        self._output.release()
        if self._linger and self._half_closes and not self._eof:
            self._resume_reading()
            self.transport.loseWriteConnection()
        else:
            self._linger = False
            self.transport.loseConnection()

    def _discard(self, size: int) -> None:
        if self._lingering is None:
            self._keep(b"")
        elif self._linger:
            self._lingering -= size
            if self._lingering < 0:
                self._linger = False
                self.transport.loseConnection()
