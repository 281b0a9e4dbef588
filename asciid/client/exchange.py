"""One request and its answer: bodies, and what happens when nothing moves."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import FileBodyProducer, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from asciid.client._exceptions import LostError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IConsumer, IReactorTime
    from twisted.internet.task import Cooperator
    from twisted.python.failure import Failure
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IResponse

    from asciid.client.source import Reader

__all__ = [
    "STALL_TIMEOUT",
    "BytesProducer",
    "Reply",
    "Sink",
    "Watch",
    "WholeProducer",
    "collector",
    "discard_body",
    "read_body",
]

STALL_TIMEOUT = 60.0
"""Seconds in which nothing was sent or received until a request counts as lost."""

ResultT = TypeVar("ResultT")


@frozen
class Reply:
    """A response: its head, and its body unless that went elsewhere."""

    status: int
    headers: Headers
    length: int | None
    """Bytes of the body by its Content-Length; None if the server did not say."""
    body: bytes = b""

    @property
    def successful(self) -> bool:
        """Whether it did what was asked: 2xx (RFC 9110, section 15.3)."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def header(self, name: str) -> str:
        """Return the last value of the field `name`, or an empty string."""
        return (self.headers.getRawHeaders(name) or [""])[-1]


Sink = Callable[[Reply], Callable[[bytes], object]]
"""Given the head of a successful answer, returns what takes its body."""


@implementer(IBodyProducer)
class BytesProducer:
    """A body that is in memory already, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See `IBodyProducer`."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing was paused."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


@implementer(IBodyProducer)
class WholeProducer(FileBodyProducer):
    """A body that is read from a file, piece by piece."""

    def __init__(self, file: Reader, cooperator: Cooperator) -> None:
        super().__init__(file, cooperator=cooperator)
        self._consumer: IConsumer | None = None
        self._written = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See `IBodyProducer`."""
        self._consumer = consumer
        produced: Deferred[None] = super().startProducing(consumer)

        def written(_: None) -> None:
            self._written = True

        return produced.addCallback(written)

    def end(self) -> None:
        """Read no more; a connection that waits for more is ended."""
        if self._consumer is None:
            return
        self.stopProducing()
        # An answer may come before the body's end.  Twisted then closes the
        # connection once all of the body is written, which is never, and nobody
        # else can come near it.
        transport = getattr(self._consumer, "_consumer", None)
        if not self._written and transport is not None:
            transport.abortConnection()


class Watch:
    """Cancels what is waited for when nothing has moved for `STALL_TIMEOUT`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._timer = clock.callLater(STALL_TIMEOUT, self._stalled)
        self._waiting: Deferred[Any] | None = None
        self.stalled = False
        """Whether it came to that."""
        self.cancelled = False
        """Whether somebody else has cancelled it."""

    def over(self, waiting: Deferred[ResultT]) -> Deferred[ResultT]:
        """Watch over `waiting`, and no longer over what was before."""

        def cancel(_: Deferred[ResultT]) -> None:
            # What it fails with does not tell: the search for a host that was
            # cancelled says that there is none.
            self.cancelled = True
            waiting.cancel()

        watched: Deferred[ResultT] = Deferred(cancel)
        waiting.chainDeferred(watched)
        self._waiting = waiting
        return watched

    def moved(self) -> None:
        """Take note that something was sent or received."""
        if self._timer.active():
            self._timer.reset(STALL_TIMEOUT)

    def end(self) -> None:
        """Leave no timer behind."""
        if self._timer.active():
            self._timer.cancel()

    def _stalled(self) -> None:
        self.stalled = True
        if self._waiting is not None:
            self._waiting.cancel()


class _Body(Protocol):
    """Hands on a body as it comes; `done` fires at its end."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self.done: Deferred[None] = Deferred(self._cancelled)

    def dataReceived(self, data: bytes) -> None:
        try:
            self._take(data)
        except Exception:  # noqa: BLE001 - whatever it is goes to who waits
            self._drop()
            if not self.done.called:
                self.done.errback()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(None)
        else:
            self.done.errback(reason)

    def _cancelled(self, _: Deferred[None]) -> None:
        self._drop()

    def _drop(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


def read_body(response: IResponse, take: Callable[[bytes], object]) -> Deferred[None]:
    """
    Hand the body of `response` to `take`; fire at its end.

    Cancelling it, or an exception of `take`, ends the connection.
    """
    body = _Body(take)
    response.deliverBody(body)
    return body.done


def discard_body(response: IResponse) -> None:
    """End the connection of `response` rather than read its body."""
    reading = read_body(response, lambda _: None)
    reading.addErrback(lambda _: None)
    reading.cancel()


def collector(limit: int) -> tuple[list[bytes], Callable[[bytes], object]]:
    """Return a list, and what puts up to `limit` bytes of a body into it."""
    pieces: list[bytes] = []
    size = 0

    def take(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size > limit:
            message = f"an answer of more than {limit} bytes makes no sense"
            raise LostError(message)
        pieces.append(data)

    return pieces, take
