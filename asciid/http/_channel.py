"""
One connection: receives HTTP/1.1 requests, sends responses, in order.

Requests are served one after the other, as RFC 9112 9.3.2 requires of those that
are not safe; pipelined ones wait, unparsed and bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from asciid.http._body import ChunkedBody, IBody, SizedBody
from asciid.http._connection import NEVER, Connection
from asciid.http._field_block import CHUNKED
from asciid.http._incoming import Incoming
from asciid.http._observer import Refusal
from asciid.http._problem import BodiesLimitError, ConnectionsLimitError, RefusedError
from asciid.http._request import Request
from asciid.http._request_head import PartialHead

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from asciid.http._field_block import FieldBlock
    from asciid.http._http_server import Server

__all__ = ["Channel"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CR = 13
_PIECE = 64 * 1024
"""Bytes of a body, with its framing, that a handler gets at a time."""

_MAX_EMPTY_LINES = 64
"""Those before one request; no client needs more than one."""


@implementer(IHalfCloseableProtocol)
class Channel(Connection):
    """Serves one connection."""

    def __init__(self, server: Server, client: str) -> None:
        Connection.__init__(self, server, client)
        self.heads = server.heads
        self.routes = server.routes
        self.request_ids = server.request_ids
        # The request in progress; its body, until that is complete, and from then on
        # until the response is; the head of the next, while only part of it is here.
        self._request: Request | None = None
        self._incoming: Incoming | None = None
        # Whether a streamed body has used its time slice.
        self._slice_used = False
        self._received: Incoming | None = None
        self._partial_head: PartialHead | None = None
        # Whether the idle time is running; empty lines do not extend it.
        self._idle = True
        self._empty_lines = 0
        # Whether the request in progress counts as one of the client's.
        self._at_work = False

    # What the transport calls.

    def connectionMade(self) -> None:
        """Wait for the first request."""
        Connection.connectionMade(self)
        server = self._server
        self.deadline = server.clock() + server.limits.header_timeout
        self._waiting_since = server.clock()
        if not server.admit(self):
            self._refuse(ConnectionsLimitError())

    def dataReceived(self, data: bytes) -> None:
        """Receive bytes from the client."""
        server = self._server
        now = server.clock()
        server.bytes_in += len(data)
        if now >= server.sweep_due:
            server.sweep_overdue()
        if self._closing:
            self._drop(len(data))
            return
        scheduler, queue = server.scheduler, self._client_queue
        if queue is not scheduler.latest:
            scheduler.switch(queue, now)
        if (
            self._idle
            and now >= scheduler.contended_until
            and not (self._buffer or self._output.blocked)
        ):
            # The start of most requests: nothing else is in progress.
            self._serve(data, now)
        else:
            self._receive(data, now)

    def _receive(self, data: bytes, now: float) -> None:
        # Serve what was received, or keep it while something else is in progress.
        server = self._server
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        scheduler, queue = server.scheduler, self._client_queue
        contended = now < scheduler.contended_until
        incoming = self._incoming
        if contended and queue.must_wait(now):
            self._keep(data)
            self._enqueue(incoming)
        elif incoming is not None and incoming.streaming:
            self._keep(data)
            if incoming.wanted:
                self._pump()
        elif (
            self._queued is None
            and (self._request is None or incoming is not None)
            and not self._output.blocked
        ):
            self._serve(data, now)
        else:
            self._keep(data)
        if contended:
            queue.use(server.clock() - now)
            self._count_work()

    def readConnectionLost(self) -> None:
        """Serve what was received: the client sends no more (RFC 9112 9.6)."""
        self._eof = True
        incoming = self._incoming
        if self._closing:
            self._end_linger()
        elif incoming is not None and incoming.streaming:
            if incoming.wanted:
                self._pump()
        elif self._output.blocked or self._queued is not None:
            pass  # what was received before is served first
        elif incoming is not None:
            self._refuse(RefusedError(400, "The body ended early."))
        elif self._request is None:
            self._on_eof()

    def writeConnectionLost(self) -> None:
        """Do nothing: the client may still be sending."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Abandon the request in progress."""
        self._release()
        if self._at_work:
            self._end_work()
        request, self._request = self._request, None
        incoming, self._incoming = self._incoming, None
        if request is not None:
            observer = self._server.observer
            if observer is not None:
                observer.abandoned(request)
            request.connection_lost(reason)
        if incoming is not None:
            incoming.fail(reason)
        self._release_body()
        self._server.forget(self)

    # What the request calls.

    def can_persist(self) -> bool:
        """Return whether another request may follow this one (RFC 9112 9.3)."""
        return not (
            (self._incoming is not None and not self._incoming.done)
            or self._closing
            or self._server.draining
        )

    def produced(self) -> None:
        """Pause a producer that has written, or ask it for more."""
        request = self._request
        if request is None:
            return
        if self._at_work:
            self._end_work()
        if self._corked:
            self._flush()
        if self._output.blocked:
            request.pause_producer()
        elif request.pulls and self._queued is None:
            self._later(self._pull)

    def complete(self, last: bytes, keep: bool) -> None:  # noqa: FBT001  # called for each response
        """Send the last bytes of a response, and continue with the next request."""
        server = self._server
        if self._corked and (self._more or self._pending):
            self.send(last)
        elif last:
            server.bytes_out += len(last)
            self._output.send(last)
        request, self._request = self._request, None
        now = server.clock()
        if server.observer is not None and request is not None:
            server.observer.answered(request, now - request.began)
        if self._queued is not None or self._at_work:
            self._leave_queue()
        if self._incoming is not None or self._received is not None:
            self._release_body()
        if not keep:
            self._close(linger=True)
        elif self._corked:
            pass  # the rest of what was received is served next
        elif self._buffer or self._paused:
            self._resume()
        elif not self._closing:
            self._settle(now)

    def read_body(
        self, receive: Callable[[bytes], Deferred[None] | None]
    ) -> Deferred[None]:
        """
        Stream the body of the request in progress.

        :raises RuntimeError: when there is none, or it was read already.
        """
        if self._incoming is None:
            message = "the body was read already"
            raise RuntimeError(message)
        deferred = self._incoming.open(receive, self._pump)
        self._pump()
        return deferred

    # What the server calls.

    def drain(self) -> None:
        """Close at once if no request is in progress."""
        if not (self._request or self._partial_head or self._queued or self._closing):
            self._close(linger=False)

    def eviction_gain(self, now: float) -> float | None:
        """
        Return for how many seconds this connection has waited for the client.

        None while the handler works on its request.
        """
        request, incoming = self._request, self._incoming
        if incoming is not None:
            # Otherwise its handler is processing what was received.
            return incoming.silence(now) if incoming.wanted else None
        if request is not None and not request.started:
            return None
        if self._output.blocked:
            return now - self._blocked_since
        if request is not None or self._queued is not None:
            return None
        return now - self._waiting_since

    def evict(self) -> None:
        """Close, in favour of another client that has fewer connections."""
        self._server.release(self)
        if self._output.blocked:
            self.abort()
        elif self._closing:
            self._end_linger()
        elif self._incoming is not None:
            self._fail_body(ConnectionsLimitError())
        elif self._partial_head is not None:
            self._refuse(ConnectionsLimitError())
        else:
            self._close(linger=True)

    def _may_linger(self) -> bool:
        return self._server.may_linger(self)

    def _overdue(self, now: float) -> None:
        incoming = self._incoming
        if incoming is not None:
            self.deadline = now
            if incoming.is_late(now):
                self._server.slow_bodies += 1
                self._fail_body(RefusedError(408, "The body arrived too slowly."))
        elif self._partial_head is not None:
            self._refuse(RefusedError(408, "The header block took too long."))
        elif self._queued is not None:
            self.deadline = now  # what was received waits in the queue
        elif self._request is None:
            self._close(linger=False)

    def _drained(self, now: float) -> None:
        incoming = self._incoming
        if self._request is None or (incoming is not None and not incoming.streaming):
            self._resume()
        else:
            self._settle(now)
            self._request.resume_producer()

    # Requests.

    def _serve(self, data: bytes, now: float) -> None:
        # Serve the requests in the data; keep what cannot be served yet.
        size = len(data)
        pos = 0
        self._corked = True
        try:
            while pos < size:
                if self._incoming is not None:
                    pos = self._gather(self._incoming, data, pos, now)
                elif data[pos] == _CR and data.startswith(b"\r\n", pos):
                    pos = self._skip_line(pos)
                else:
                    end = data.find(b"\r\n\r\n", pos)
                    if end < 0:
                        self._await_head(data[pos:], now)
                        break
                    pos = self._begin(data, pos, end + 4, now)
                if pos < size and not self._may_go_on(now):
                    break
        except RefusedError as refusal:
            self._refuse(refusal, data[pos : pos + 5])
        self._corked = False
        if self._pending:
            self._flush()
        if self._closing:
            self._shut()
            return
        if pos < size or self._buffer:
            self._park(data[pos:])
        self._settle(now)

    def _park(self, rest: bytes) -> None:
        # Keep what cannot be served yet; what a handler has left can be.
        if rest:
            self._keep(rest)
        elif self._request is None:
            self._later(self._begin_queued, begins=True)

    def _may_go_on(self, began: float) -> bool:
        # Whether the next bytes can be served at once.
        if not self._ready:
            return False
        if self._is_slice_over(began):
            self._later(self._begin_queued, begins=self._incoming is None)
            return False
        return True

    def _is_slice_over(self, began: float) -> bool:
        server = self._server
        return server.clock() - began >= server.limits.time_slice

    def _skip_line(self, pos: int) -> int:
        # Skip an empty line before a request (RFC 9112 2.2).
        self._empty_lines += 1
        if self._empty_lines > _MAX_EMPTY_LINES:
            raise RefusedError(400, "Too many empty lines were sent.")
        return pos + 2

    @property
    def _ready(self) -> bool:
        # Whether the next bytes can be processed now.
        if self._closing or self._output.blocked:
            return False
        return self._request is None or self._incoming is not None

    def _begin(self, data: bytes, start: int, end: int, now: float) -> int:
        # Serve the request whose head is data[start:end]; return where its part
        # of the data ends.
        server = self._server
        line, block = server.head_parser.parse(data[start:end], self.secure)
        self._partial_head = None
        self._idle = False
        self._empty_lines = 0
        self._request = request = Request(self, line, block, now)
        route = request.route
        if route.error is not None and isinstance(route.error, RefusedError):
            self._refuse(route.error)
            return end
        length = block.length
        if length:
            whole = 0 < length <= len(data) - end and length <= route.body
            if whole and (length <= _PIECE or not route.streams):
                request.body = data[end : end + length]
                end += length
            elif self._begin_body(request, block, more=end < len(data)):
                # The handler reads it from the buffer.
                self._buffer = data[end:]
                end = len(data)
            else:
                return end
        self._more = end < len(data)
        server.dispatcher.run(request)
        return end

    def _await_head(self, head: bytes, now: float) -> None:
        if head == b"\r":
            return  # perhaps half of an empty line
        limits = self._server.limits
        if head.find(b"\r\n", 0, limits.request_line + 2) < 0 and (
            len(head) > limits.request_line
        ):
            raise RefusedError(414, "The request line is too long.")
        if len(head) > limits.header_block:
            raise RefusedError(431, "The header block is too long.")
        if self._partial_head is None:
            self._partial_head = PartialHead()
            self._waiting_since = now
            self.deadline = now + limits.header_timeout
        self._partial_head.feed(head)

    def _refuse(self, refusal: RefusedError, start: bytes = b"") -> None:
        # Respond in place of the app, and close.  The start of a request that could not
        # be parsed shows whether the response may have a body.
        request, self._request = self._request, None
        if self._incoming is not None:
            self._incoming.stop()
        self._incoming = self._partial_head = None
        server = self._server
        if request is not None:
            request_id = request.id
            is_head = request.method == b"HEAD"
        else:
            ids = self.request_ids
            request_id = None if ids is None else next(ids)
            is_head = (start or self._buffer[:5]) == b"HEAD "
        status = refusal.status
        body = server.problem(status, refusal.detail, refusal.problem)
        head = self.heads.error(status, len(body), request_id)
        if is_head:
            body = b""
        if server.observer is not None:
            server.observer.refused(
                Refusal(
                    status, len(body), self.peer, request_id, request, refusal.problem
                )
            )
        self.send(head + body)
        self._close(linger=True)

    # Bodies.

    def _begin_body(self, request: Request, block: FieldBlock, *, more: bool) -> bool:
        # Returns whether the handler is to be called before the body is complete.
        route = request.route
        limits = self._server.limits
        too_large = block.length > route.body
        refuses = self._server.refuses_unread
        unread = refuses is not None and route.error is None and refuses(request)
        if too_large and route.error is None and not unread:
            raise RefusedError(413, "The body is too large.")
        decoder: IBody
        if block.length == CHUNKED:
            decoder = ChunkedBody(route.body, limits)
        else:
            decoder = SizedBody(block.length)
        expects = block.expects and not more
        # A client that expects 100 Continue need not send a body that is refused.
        refused = expects and route.error is not None
        streaming = route.streams or too_large or refused or unread
        self._incoming = incoming = Incoming(
            decoder=decoder,
            limits=limits,
            bodies=self._server.bodies,
            client=self._server.client_of(request),
            evicted=self._evict_body,
            streaming=streaming,
            expects=expects,
        )
        if streaming:
            self._slice_used = False
        else:
            self._want(incoming)
        return streaming

    def _want(self, incoming: Incoming, received: bytes = b"") -> None:
        if incoming.want(self._server.clock()) and not received:
            self.send(_CONTINUE)  # RFC 9110 10.1.1

    def _gather(self, incoming: Incoming, data: bytes, start: int, now: float) -> int:
        end = incoming.feed(data, start, now)
        request = self._request
        if incoming.done and request is not None:
            self._incoming = None
            self._received = incoming
            request.body = incoming.take()
            incoming.finish()
            self._more = end < len(data)
            self._server.dispatcher.run(request)
        return end

    def _pump(self) -> None:
        # Pass what was received of the body to the handler that streams it.
        incoming = self._incoming
        if incoming is None:
            return
        if incoming.done:
            self._incoming = None
            self._received = incoming
            incoming.finish()
            if self._contended:
                self._count_work()
            return
        if self._slice_used:
            self._slice_used = False
            incoming.pause()
            self._later(self._pump)
            return
        data = self._take_buffer()
        self._want(incoming, data)
        self.deadline = now = self._server.clock()
        try:
            end = self._feed(incoming, data[:_PIECE], now)
        except RefusedError as refusal:
            self._fail_body(refusal)
            return
        self._buffer = data[end:]
        self._slice_used = end < len(data) and not incoming.done
        incoming.hand_over()
        if incoming.wanted and self._slice_used:
            self._pump()
        elif self._eof and incoming.wanted:
            self._fail_body(RefusedError(400, "The body ended early."))

    def _feed(self, incoming: Incoming, data: bytes, now: float) -> int:
        # Decode for one time slice; return where decoding stopped.
        end = incoming.feed(data, 0, now)
        while end < len(data) and not (incoming.done or self._is_slice_over(now)):
            end = incoming.feed(data, end, now)
        return end

    def _fail_body(self, refusal: RefusedError) -> None:
        incoming = self._incoming
        if incoming is not None and incoming.streaming:
            incoming.fail(Failure(refusal.as_exception()))
        else:
            self._refuse(refusal)

    def _evict_body(self) -> None:
        self._fail_body(BodiesLimitError())

    def _release_body(self) -> None:
        if self._incoming is not None:
            self._incoming.stop()
            self._incoming = None
        if self._received is not None:
            self._received.release()
            self._received = None

    # The queue of the client.

    def _enqueue(self, incoming: Incoming | None) -> None:
        # What was received is served by a later call from the client's queue.
        if self._queued is not None:
            return
        if incoming is not None and incoming.streaming:
            if incoming.wanted:
                incoming.pause()
                self._later(self._pump)
        elif self._ready:
            self._later(self._begin_queued, begins=incoming is None)

    def _resume(self) -> None:
        # Serve what was received while the connection was busy, after the queue.
        if self._buffer and self._contended:
            self._later(self._begin_queued, begins=True)
        else:
            self._continue()

    @property
    def _contended(self) -> bool:
        server = self._server
        return server.clock() < server.scheduler.contended_until

    def _begin_queued(self) -> None:
        self._continue()
        if self._contended:
            self._count_work()

    def _count_work(self) -> None:
        # Count a request whose response waits for the store, not for the client.
        request = self._request
        if request is None or self._incoming is not None or request.started:
            return
        if not self._at_work:
            self._at_work = True
            self._client_queue.begin()

    def _leave_queue(self) -> None:
        self._cancel_queued()
        if self._at_work:
            self._end_work()

    def _end_work(self) -> None:
        self._at_work = False
        self._server.scheduler.done(self._client_queue)

    def _continue(self) -> None:
        # Serve what was received while the connection was busy, at once.
        if self._closing or self._output.blocked:
            return
        data = self._take_buffer()
        now = self._server.clock()
        if data and self._ready:
            self._serve(data, now)
            return
        if data:
            self._keep(data)
        self._settle(now)

    def _settle(self, now: float) -> None:
        # Set what is waited for now, and the deadline.
        if self._output.blocked:
            return  # set when that began
        incoming = self._incoming
        if incoming is not None:
            self.deadline = now
            if self._eof and self._queued is None and not incoming.streaming:
                self._refuse(RefusedError(400, "The body ended early."))
        elif self._request is not None or self._queued is not None:
            self.deadline = NEVER
        elif self._eof:
            self._on_eof()
        elif self._partial_head is None:
            if self._server.draining:
                self._close(linger=False)
            elif not self._idle:
                self._idle = True
                self._waiting_since = now
                self.deadline = now + self._server.limits.idle_timeout

    def _on_eof(self) -> None:
        # The client has closed its side, and has no request in progress.
        if self._partial_head is not None:
            self._refuse(RefusedError(400, "The request ended early."))
        else:
            self._close(linger=False)

    def _pull(self) -> None:
        request = self._request
        if request is not None and request.pulls and not self._output.blocked:
            request.resume_producer()
