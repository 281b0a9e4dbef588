"""One request and its response: bodies and stall timeouts."""

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
"""Seconds without any bytes sent or received until a request fails."""

ResultT = TypeVar("ResultT")


@frozen
class Reply:
    """A response: its head, and its body unless a sink received that."""

    status: int
    headers: Headers
    length: int | None
    """The Content-Length in bytes, None if missing."""
    body: bytes = b""

    @property
    def successful(self) -> bool:
        """Whether the status is 2xx (RFC 9110, section 15.3)."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    def header(self, name: str) -> str:
        """Return the last value of the field `name`, or an empty string."""
        return (self.headers.getRawHeaders(name) or [""])[-1]


Sink = Callable[[Reply], Callable[[bytes], object]]
"""Returns a consumer of the body for the head of a successful response."""


@implementer(IBodyProducer)
class BytesProducer:
    """A body in memory, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See `IBodyProducer`."""
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: all is written."""

    def resumeProducing(self) -> None:
        """Do nothing: it was never paused."""

    def stopProducing(self) -> None:
        """Do nothing: all is written."""


@implementer(IBodyProducer)
class WholeProducer(FileBodyProducer):
    """A body read from a file in pieces."""

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
        """Stop reading; abort a connection that waits for more."""
        if self._consumer is None:
            return
        self.stopProducing()
        # After a response before the end of the body Twisted closes the connection only
        # once the body is written, which never happens, and has no public way to abort
        # it.
        transport = getattr(self._consumer, "_consumer", None)
        if not self._written and transport is not None:
            transport.abortConnection()


class Watch:
    """Cancels a Deferred when there was no progress for `STALL_TIMEOUT`."""

    def __init__(self, clock: IReactorTime) -> None:
        self._timer = clock.callLater(STALL_TIMEOUT, self._stalled)
        self._waiting: Deferred[Any] | None = None
        self.stalled = False
        """Whether the timeout expired."""
        self.cancelled = False
        """Whether the caller cancelled it."""

    def over(self, waiting: Deferred[ResultT]) -> Deferred[ResultT]:
        """Watch `waiting` in place of an earlier Deferred."""

        def cancel(_: Deferred[ResultT]) -> None:
            # The failure does not show it: a cancelled look-up fails like an unknown
            # host.
            self.cancelled = True
            waiting.cancel()

        watched: Deferred[ResultT] = Deferred(cancel)
        waiting.chainDeferred(watched)
        self._waiting = waiting
        return watched

    def moved(self) -> None:
        """Record progress."""
        if self._timer.active():
            self._timer.reset(STALL_TIMEOUT)

    def end(self) -> None:
        """Cancel the timer."""
        if self._timer.active():
            self._timer.cancel()

    def _stalled(self) -> None:
        self.stalled = True
        if self._waiting is not None:
            self._waiting.cancel()


class _Body(Protocol):
    """Passes on a body as it arrives; `done` fires at its end."""

    def __init__(self, take: Callable[[bytes], object]) -> None:
        self._take = take
        self.done: Deferred[None] = Deferred(self._cancelled)

    def dataReceived(self, data: bytes) -> None:
        try:
            self._take(data)
        except Exception:  # noqa: BLE001 - passed on by `done`
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
    Pass the body of `response` to `take`; fire at its end.

    Cancellation, or an exception of `take`, closes the connection.
    """
    body = _Body(take)
    response.deliverBody(body)
    return body.done


def discard_body(response: IResponse) -> None:
    """Close the connection of `response` without reading its body."""
    reading = read_body(response, lambda _: None)
    reading.addErrback(lambda _: None)
    reading.cancel()


def collector(limit: int) -> tuple[list[bytes], Callable[[bytes], object]]:
    """Return a list, and a function that appends up to `limit` bytes to it."""
    pieces: list[bytes] = []
    size = 0

    def take(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size > limit:
            message = f"response too large (limit {limit} bytes)"
            raise LostError(message)
        pieces.append(data)

    return pieces, take
