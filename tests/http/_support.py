"""Connections in memory to a Klein app behind the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import classImplements

from asciid.http import KleinFactory, Limits

if TYPE_CHECKING:
    from klein import Klein
    from twisted.internet.interfaces import IAddress

    from asciid.http._channel import Channel

__all__ = [
    "HOST",
    "Answer",
    "MemoryTransport",
    "Site",
    "Ticking",
    "Wire",
    "get",
    "parse_answers",
    "post",
]

HOST = b"Host: localhost\r\n"
PEER = IPv4Address("TCP", "192.0.2.1", 5555)
"""Where connections come from, unless a test says otherwise."""


def get(path: bytes, *lines: bytes, method: bytes = b"GET") -> bytes:
    """Return a request without a body."""
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (method, path, HOST, fields)


def post(path: bytes, body: bytes, *lines: bytes, method: bytes = b"POST") -> bytes:
    """Return a request with a body of known length."""
    length = b"Content-Length: %d" % len(body)
    return get(path, length, *lines, method=method) + body


@frozen
class Answer:
    """A response, its body decoded."""

    status: int
    phrase: str
    fields: dict[str, str]
    body: bytes


def parse_answers(data: bytes, *methods: bytes, closed: bool = True) -> list[Answer]:
    """
    Take a stream of responses apart, strictly.

    :param methods: those of the requests, where not GET.
    :param closed: whether nothing more will follow.
    :raises AssertionError: when there is half a response, or something else.
    """
    answers: list[Answer] = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        line, *rest = head.decode("latin-1").split("\r\n")
        version, status, phrase = line.split(" ", 2)
        assert version == "HTTP/1.1", line
        fields = {}
        for text in rest:
            name, colon, value = text.partition(": ")
            assert colon, text
            assert name.lower() not in fields, f"{name} twice"
            fields[name.lower()] = value
        finals = [answer for answer in answers if answer.status >= 200]
        method = methods[len(finals)] if len(finals) < len(methods) else b"GET"
        code = int(status)
        if method == b"HEAD" or code in (204, 304) or code < 200:
            body = b""
        elif "transfer-encoding" in fields:
            assert fields["transfer-encoding"] == "chunked"
            assert "content-length" not in fields
            body, data = _dechunk(data)
        elif "content-length" in fields:
            length = int(fields["content-length"])
            assert len(data) >= length, "cut short"
            body, data = data[:length], data[length:]
        else:
            assert closed, "no end in sight"
            body, data = data, b""
        answers.append(Answer(code, phrase, fields, body))
    return answers


def _dechunk(data: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, data = data.partition(b"\r\n")
        assert end, "cut short"
        size = int(line, 16)
        chunk, data = data[:size], data[size:]
        assert len(chunk) == size, "cut short"
        assert data[:2] == b"\r\n"
        data = data[2:]
        body += chunk
        if not size:
            return body, data


class MemoryTransport(StringTransport):
    """
    A TCP transport without a socket.

    :ivar half_closed: whether our side was closed.
    :ivar closed: whether the connection was closed, by us or by the client.
    :ivar aborted: whether we broke it off.
    :ivar stuck: while true, the client reads nothing.
    """

    def __init__(self, peer: IAddress = PEER) -> None:
        super().__init__(IPv4Address("TCP", "127.0.0.1", 80), peer)
        self.half_closed = self.closed = self.aborted = self.stuck = False
        self.unread = 0
        self.most_unread = 0
        self.no_delay = False
        self.protocol: Any = None

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: FBT001  # ITCPTransport
        """See ``ITCPTransport``."""
        self.no_delay = enabled

    def write(self, data: bytes) -> None:
        """Take bytes, and pause the producer when the client reads none."""
        if self.closed:
            return
        super().write(data)
        if self.stuck:
            self.unread += len(data)
            self.most_unread = max(self.unread, self.most_unread)
            if self.unread > 65536 and self.producer is not None:
                self.producer.pauseProducing()

    def catch_up(self) -> None:
        """Let the client read all there is, and read on."""
        self.unread = 0
        if self.producer is not None:
            self.producer.resumeProducing()

    def loseWriteConnection(self) -> None:
        """See ``ITCPTransport``."""
        self.half_closed = True

    def loseConnection(self) -> None:
        """Close, unless there is a producer, which must come to its end first."""
        assert self.producer is None, "the connection would never close"
        self.disappear(ConnectionDone())

    def abortConnection(self) -> None:
        """See ``ITCPTransport``."""
        self.aborted = True
        self.disappear(ConnectionLost())

    def disappear(self, reason: Exception) -> None:
        """End the connection."""
        if not self.closed:
            self.closed = True
            producer, self.producer = self.producer, None
            if producer is not None:
                producer.stopProducing()
            protocol, self.protocol = self.protocol, None
            protocol.connectionLost(Failure(reason))


classImplements(MemoryTransport, ITCPTransport)  # type: ignore[misc]


@define
class Time:
    """A monotonic clock that is set by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@define
class Ticking:
    """A monotonic clock by which each look at it takes 0.1 ms."""

    now: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        self.now += 0.0001
        return self.now


class Wire:
    """One connection to a site, seen from the client."""

    def __init__(self, site: Site, peer: IAddress) -> None:
        self.site = site
        self.transport = MemoryTransport(peer)
        self.channel: Channel = site.factory.buildProtocol(self.transport.getPeer())
        self.transport.protocol = self.channel
        self.channel.makeConnection(self.transport)

    def send(self, *pieces: bytes) -> Wire:
        """Send bytes, a piece at a time."""
        for piece in pieces:
            if not self.transport.closed:
                self.channel.dataReceived(piece)
        return self

    def half_close(self) -> Wire:
        """Send no more, but read on."""
        if not self.transport.closed:
            self.channel.readConnectionLost()
        return self

    def leave(self) -> None:
        """Disconnect, as after a reset."""
        self.transport.disappear(ConnectionLost())

    def take(self) -> bytes:
        """Return the bytes that have come since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def answers(self, *methods: bytes) -> list[Answer]:
        """Return the responses that have come since the last time."""
        return parse_answers(self.take(), *methods, closed=self.over)

    @property
    def over(self) -> bool:
        """Whether the server will send nothing more."""
        return self.transport.half_closed or self.transport.closed

    @property
    def paused(self) -> bool:
        """Whether the server has stopped to read."""
        state: str = self.transport.producerState
        return state == "paused"


class Site:
    """A Klein app behind the HTTP server, in memory, with clocks set by hand."""

    def __init__(
        self,
        app: Klein,
        limits: Limits | None = None,
        **options: Any,  # noqa: ANN401 - those of the factory
    ) -> None:
        self.reactor = Clock()
        self.time = Time()
        self.factory = KleinFactory(
            app,
            reactor=self.reactor,
            limits=limits or Limits(),
            clock=self.time,
            wall_clock=lambda: 784111777.0,
            **options,
        )
        self.factory.doStart()

    def connect(self, host: str = "192.0.2.1") -> Wire:
        """Open a connection from an address."""
        return self.connect_from(IPv4Address("TCP", host, 5555))

    def connect_from(self, peer: IAddress) -> Wire:
        """Open a connection from any peer."""
        return Wire(self, peer)

    def ask(self, request: bytes, *methods: bytes) -> list[Answer]:
        """Send a request on a connection of its own; return the responses."""
        return self.connect().send(request).answers(*methods)

    def count_turns(self) -> list[float]:
        """Have connections see time pass; return what lists the turns they leave."""
        self.factory.clock = Ticking()
        turns: list[float] = []
        call_later = self.reactor.callLater

        def note(delay: float, *call: Any) -> object:  # noqa: ANN401 - any call
            if not delay:
                turns.append(delay)
            return call_later(delay, *call)

        self.reactor.callLater = note  # type: ignore[method-assign, assignment]
        return turns

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks, a second at a time."""
        while seconds > 0:
            step = min(1.0, seconds)
            self.time.now += step
            self.reactor.advance(step)
            seconds -= step
