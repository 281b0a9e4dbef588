"""
One connection: HTTP/1.1 requests in, responses out, in order.

Requests are served one after the other, as RFC 9112 9.3.2 asks for those that
are not safe; what a client sends ahead waits, unparsed and bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from ._body import ChunkedBody, IBody, SizedBody
from ._connection import NEVER, Connection
from ._fields import CHUNKED
from ._head import Probe
from ._incoming import Incoming
from ._observer import Refusal
from ._problem import BodiesLimitError, ConnectionsLimitError, RefusedError
from ._request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred

    from ._factory import KleinFactory
    from ._fields import FieldBlock
    from ._routes import Route

__all__ = ["Channel"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CR = 13
_PIECE = 64 * 1024
"""Bytes of a body, with its framing, that a handler gets at a time."""

_MAX_EMPTY_LINES = 64
"""Those before one request: a client has no use for more than one."""


@implementer(IHalfCloseableProtocol)
class Channel(Connection):
    """
    Serves one connection.

    :ivar heads: makes the heads of responses.
    :ivar routes: finds the routes of requests.
    """

    def __init__(self, factory: KleinFactory) -> None:
        Connection.__init__(self, factory)
        self.heads = factory.heads
        self.routes = factory.routes
        # The request under way; its body, until that is complete, and from then on
        # until the answer is; the head of the next, while there is only a part of it.
        self._request: Request | None = None
        self._incoming: Incoming | None = None
        # Whether a body that is streamed has had its share of this turn.
        self._turn_used = False
        self._received: Incoming | None = None
        self._probe: Probe | None = None
        # Whether the idle time is running; empty lines do not extend it.
        self._idle = True
        self._empty_lines = 0
        # Whether the request under way counts in the client's share of those at work.
        self._at_work = False

    # What the transport calls.

    def connectionMade(self) -> None:
        """Begin to wait for the first request."""
        Connection.connectionMade(self)
        factory = self.factory
        self.deadline = factory.clock() + factory.limits.header_timeout
        self._waiting_since = factory.clock()
        if not factory.admit(self):
            self._refuse(ConnectionsLimitError())

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client."""
        factory = self.factory
        now = factory.clock()
        factory.bytes_in += len(data)
        if now >= factory.sweep_due:
            factory.sweep_late()
        if self._closing:
            self._drop(len(data))
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        turns, share = factory.turns, self._share
        if share is not turns.latest:
            turns.switch(share, now)
        contended = now < turns.contended_until
        incoming = self._incoming
        if contended and share.must_wait(now):
            self._keep(data)
            self._await_turn(incoming)
        elif incoming is not None and incoming.streaming:
            self._keep(data)
            if incoming.wanted:
                self._pump()
        elif self._turn is None and self._ready:
            self._serve(data, now)
        else:
            self._keep(data)
        if contended:
            share.use(factory.clock() - now)
            self._note_work()

    def readConnectionLost(self) -> None:
        """Answer what there is: the client will not send more (RFC 9112 9.6)."""
        self._eof = True
        incoming = self._incoming
        if self._closing:
            self._end_linger()
        elif incoming is not None and incoming.streaming:
            if incoming.wanted:
                self._pump()
        elif self._output.blocked or self._turn is not None:
            pass  # what has come before is served first
        elif incoming is not None:
            self._refuse(RefusedError(400, "The body ended early."))
        elif self._request is None:
            self._starve()

    def writeConnectionLost(self) -> None:
        """Our side is closed; the client may still be sending."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let go of everything."""
        self._release()
        if self._at_work:
            self._end_work()
        request, self._request = self._request, None
        incoming, self._incoming = self._incoming, None
        if request is not None:
            observer = self.factory.observer
            if observer is not None:
                observer.abandoned(request)
            request.connection_lost(reason)
        if incoming is not None:
            incoming.fail(reason)
        self._release_body()
        self.factory.forget(self)

    # What the request calls.

    @property
    def can_persist(self) -> bool:
        """Whether another request may follow the one under way (RFC 9112 9.3)."""
        return not (
            (self._incoming is not None and not self._incoming.done)
            or self._closing
            or self.factory.draining
        )

    def produced(self) -> None:
        """Slow a producer down that has written, or ask it for more."""
        request = self._request
        if request is None:
            return
        if self._at_work:
            self._end_work()
        if self._corked:
            self._flush()
        if self._output.blocked:
            request.pause_producer()
        elif request.pulls and self._turn is None:
            self._later(self._pull)

    def finished(self, *, keep: bool) -> None:
        """Go on to the next request: the answer is complete."""
        request, self._request = self._request, None
        factory = self.factory
        if factory.observer is not None and request is not None:
            factory.observer.answered(request, factory.clock() - request.began)
        self._drop_turn()
        if self._at_work:
            self._end_work()
        if self._incoming is not None:
            self._incoming.stop()
            self._incoming = None
        if self._received is not None:
            self._release_body()
        if not keep:
            self._close(linger=True)
        elif not self._corked:
            self._go_on()

    def read_body(
        self, receive: Callable[[bytes], Deferred[None] | None]
    ) -> Deferred[None]:
        """
        Stream the body of the request under way.

        :raises RuntimeError: when there is none, or it was read already.
        """
        if self._incoming is None:
            message = "the body was read already"
            raise RuntimeError(message)
        deferred = self._incoming.open(receive, self._pump)
        self._pump()
        return deferred

    # What the factory calls.

    def drain(self) -> None:
        """Close at once if nothing is under way."""
        if not (self._request or self._probe or self._turn or self._closing):
            self._close(linger=False)

    def eviction_gain(self, now: float) -> float | None:
        """
        Return for how many seconds the client has let this connection wait.

        None while its request is being worked on.
        """
        request, incoming = self._request, self._incoming
        if incoming is not None:
            # Otherwise its handler is processing what was received.
            return incoming.silence(now) if incoming.wanted else None
        if request is not None and not request.started:
            return None
        if self._output.blocked:
            return now - self._blocked_since
        if request is not None or self._turn is not None:
            return None
        return now - self._waiting_since

    def evict(self) -> None:
        """End, for a connection of another client that has fewer."""
        self.factory.release(self)
        if self._output.blocked:
            self.abort()
        elif self._closing:
            self._end_linger()
        elif self._incoming is not None:
            self._fail_body(ConnectionsLimitError())
        elif self._probe is not None:
            self._refuse(ConnectionsLimitError())
        else:
            self._close(linger=True)

    def _may_linger(self) -> bool:
        return self.factory.may_linger(self)

    def _overdue(self, now: float) -> None:
        incoming = self._incoming
        if incoming is not None:
            self.deadline = now
            if incoming.is_late(now):
                self.factory.slow_bodies += 1
                self._fail_body(RefusedError(408, "The body came too slowly."))
        elif self._probe is not None:
            self._refuse(RefusedError(408, "The header block took too long."))
        elif self._turn is not None:
            self.deadline = now  # what was received waits for its turn
        elif self._request is None:
            self._close(linger=False)

    def _drained(self, now: float) -> None:
        incoming = self._incoming
        if self._request is None or (incoming is not None and not incoming.streaming):
            self._go_on()
        else:
            self._settle(now)
            self._request.resume_producer()

    # Requests.

    def _serve(self, data: bytes, now: float) -> None:
        # Answer the requests in the data; keep what cannot be dealt with yet.
        size = len(data)
        pos = 0
        self._corked = True
        try:
            while pos < size and self._ready:
                if pos and self._is_turn_over(now):
                    self._later(self._begin_in_turn, begins=self._incoming is None)
                    break
                if self._incoming is not None:
                    pos = self._gather(self._incoming, data, pos, now)
                elif data[pos] == _CR and data.startswith(b"\r\n", pos):
                    pos = self._skip_line(pos)
                elif (end := data.find(b"\r\n\r\n", pos)) < 0:
                    self._await_head(data[pos:], now)
                    break
                else:
                    pos = self._begin(data, pos, end + 4)
        except RefusedError as refusal:
            self._refuse(refusal, data[pos : pos + 5])
        self._corked = False
        self._flush()
        if self._closing:
            self._shut()
            return
        if pos < size:
            self._keep(data[pos:])
        elif self._buffer and self._request is None:
            self._later(self._begin_in_turn, begins=True)
        self._settle(now)

    def _is_turn_over(self, began: float) -> bool:
        factory = self.factory
        return factory.clock() - began >= factory.limits.turn

    def _skip_line(self, pos: int) -> int:
        # Go past an empty line before a request (RFC 9112 2.2).
        self._empty_lines += 1
        if self._empty_lines > _MAX_EMPTY_LINES:
            raise RefusedError(400, "Too many empty lines were sent.")
        return pos + 2

    @property
    def _ready(self) -> bool:
        # Whether the next bytes can be dealt with now.
        if self._closing or self._output.blocked:
            return False
        return self._request is None or self._incoming is not None

    def _begin(self, data: bytes, start: int, end: int) -> int:
        # Serve the request whose head is data[start:end]; return where its part
        # of the data ends.
        factory = self.factory
        method, target, block = factory.head_parser.parse(
            data[start:end], secure=self.secure
        )
        self._probe = None
        self._idle = False
        self._empty_lines = 0
        self._request = request = Request(self, method, target, block)
        request.began = factory.clock()
        try:
            request.route, request.values = route, _ = self.routes.find(request)
        except RefusedError:
            request.route = self.routes.nowhere  # observers ask for it
            raise
        except Exception:  # noqa: BLE001  # the error handlers get it
            # Answered when the body is here, like every other request.
            request.failure = Failure()
            request.route = route = self.routes.nowhere
        length = block.length
        if length == 0:
            factory.dispatcher.run(request)
        elif 0 < length <= min(len(data) - end, route.body) and not route.streams:
            request.body = data[end : end + length]
            end += length
            factory.dispatcher.run(request)
        elif self._begin_body(request, block, more=end < len(data)):
            # The handler takes it from the buffer.
            self._buffer = data[end:]
            end = len(data)
            factory.dispatcher.run(request)
        return end

    def _await_head(self, head: bytes, now: float) -> None:
        if head == b"\r":
            return  # half of an empty line, perhaps
        limits = self.factory.limits
        if head.find(b"\r\n", 0, limits.request_line + 2) < 0 and (
            len(head) > limits.request_line
        ):
            raise RefusedError(414, "The request line is too long.")
        if len(head) > limits.header_block:
            raise RefusedError(431, "The header block is too long.")
        if self._probe is None:
            self._probe = Probe()
            self._waiting_since = now
            self.deadline = now + limits.header_timeout
        self._probe.feed(head)

    def _refuse(self, refusal: RefusedError, start: bytes = b"") -> None:
        # Answer in place of the app, and close.  The start of a request that could not
        # be read shows whether the answer may have a body.
        request, self._request = self._request, None
        if self._incoming is not None:
            self._incoming.stop()
        self._incoming = self._probe = None
        factory = self.factory
        status = refusal.status
        body = factory.problem(status, refusal.detail, refusal.problem)
        if request is not None:
            name = request.id
        else:
            name = None if factory.request_ids is None else next(factory.request_ids)
        head = self.heads.error(status, len(body), name)
        if request is not None:
            is_head = request.method == b"HEAD"
        else:
            is_head = (start or self._buffer[:5]) == b"HEAD "
        if is_head:
            body = b""
        if factory.observer is not None:
            factory.observer.refused(
                Refusal(status, len(body), self.peer, name, request, refusal.problem)
            )
        self.send(head + body)
        self._close(linger=True)

    # Bodies.

    def _begin_body(self, request: Request, block: FieldBlock, *, more: bool) -> bool:
        # True when the handler is to be called before the body is here.
        route: Route = request.route
        limits = self.factory.limits
        too_large = block.length > route.body
        refuses = self.factory.refuses_unread
        unread = refuses is not None and request.failure is None and refuses(request)
        if too_large and request.failure is None and not unread:
            raise RefusedError(413, "The body is too large.")
        body: IBody
        if block.length == CHUNKED:
            body = ChunkedBody(route.body, limits)
        else:
            body = SizedBody(block.length)
        expects = block.expects and not more
        # A client that asks first, and to whom the answer is no, need not send.
        refused = expects and request.failure is not None
        streaming = route.streams or too_large or refused or unread
        self._incoming = incoming = Incoming(
            body,
            limits,
            self.factory.bodies,
            client=self.factory.client_of(request),
            evicted=self._evict_body,
            streaming=streaming,
            expects=expects,
        )
        if streaming:
            self._turn_used = False
            request.body = None
        else:
            self._want(incoming)
        return streaming

    def _want(self, incoming: Incoming) -> None:
        incoming.want(self.factory.clock())
        if incoming.expects:
            incoming.expects = False
            self.send(_CONTINUE)  # RFC 9110 10.1.1

    def _gather(self, incoming: Incoming, data: bytes, start: int, now: float) -> int:
        end = incoming.feed(data, start, now)
        request = self._request
        if incoming.done and request is not None:
            self._incoming = None
            self._received = incoming
            request.body = incoming.take()
            incoming.finish()
            self.factory.dispatcher.run(request)
        return end

    def _pump(self) -> None:
        # Give the handler that streams its body what there is of it.
        incoming = self._incoming
        if incoming is None:
            return
        if incoming.done:
            self._incoming = None
            self._received = incoming
            incoming.finish()
            if self._contended:
                self._note_work()
            return
        if self._turn_used:
            self._turn_used = incoming.wanted = False
            self._later(self._pump)
            return
        data = self._take_buffer()
        incoming.expects = incoming.expects and not data
        self._want(incoming)
        self.deadline = now = self.factory.clock()
        try:
            end = self._feed(incoming, data[:_PIECE], now)
        except RefusedError as refusal:
            self._fail_body(refusal)
            return
        self._buffer = data[end:]
        self._turn_used = end < len(data) and not incoming.done
        incoming.hand_over()
        if incoming.wanted and self._turn_used:
            self._pump()
        elif self._eof and incoming.wanted:
            self._fail_body(RefusedError(400, "The body ended early."))

    def _feed(self, incoming: Incoming, data: bytes, now: float) -> int:
        # Decode what can be in one turn; return where decoding stopped.
        end = incoming.feed(data, 0, now)
        while end < len(data) and not (incoming.done or self._is_turn_over(now)):
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
        if self._received is not None:
            self._received.release()
            self._received = None

    # Turns.

    def _await_turn(self, incoming: Incoming | None) -> None:
        # What was received is served when the client has its next turn.
        if self._turn is not None:
            return
        if incoming is not None and incoming.streaming:
            if incoming.wanted:
                incoming.wanted = False
                self._later(self._pump)
        elif self._ready:
            self._later(self._begin_in_turn, begins=incoming is None)

    def _go_on(self) -> None:
        # The connection is free for what was received while it was busy.
        if self._buffer and self._contended:
            self._later(self._begin_in_turn, begins=True)
        else:
            self._continue()

    @property
    def _contended(self) -> bool:
        factory = self.factory
        return factory.clock() < factory.turns.contended_until

    def _begin_in_turn(self) -> None:
        self._continue()
        if self._contended:
            self._note_work()

    def _note_work(self) -> None:
        # A request whose answer waits for the store, and not for its client.
        request = self._request
        if request is None or self._incoming is not None or request.started:
            return
        if not self._at_work:
            self._at_work = True
            self._share.at_work += 1

    def _end_work(self) -> None:
        self._at_work = False
        self.factory.turns.done(self._share)

    def _continue(self) -> None:
        # Serve what has come while the connection was busy.
        if self._closing or self._output.blocked:
            return
        data = self._take_buffer()
        now = self.factory.clock()
        if data:
            self._serve(data, now)
        else:
            self._settle(now)

    def _settle(self, now: float) -> None:
        # What is waited for now, and for how long.
        if self._output.blocked:
            return  # set when that began
        incoming = self._incoming
        if incoming is not None:
            self.deadline = now
            if self._eof and self._turn is None and not incoming.streaming:
                self._refuse(RefusedError(400, "The body ended early."))
        elif self._request is not None or self._turn is not None:
            self.deadline = NEVER
        elif self._eof:
            self._starve()
        elif self._probe is None:
            if self.factory.draining:
                self._close(linger=False)
            elif not self._idle:
                self._idle = True
                self._waiting_since = now
                self.deadline = now + self.factory.limits.idle_timeout

    def _starve(self) -> None:
        # The client has closed its side, and is owed no answer but this.
        if self._probe is not None:
            self._refuse(RefusedError(400, "The request ended early."))
        else:
            self._close(linger=False)

    def _pull(self) -> None:
        request = self._request
        if request is not None and request.pulls and not self._output.blocked:
            request.resume_producer()
