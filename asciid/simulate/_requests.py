"""Requests to one server on treq, with few kinds of errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import treq
from attrs import field, frozen
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from asciid.client import LostError
from asciid.client.exchange import BytesProducer, Reply
from asciid.client.wire import CUT_OFF, UNCONNECTED, Wire, reasons

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hyperlink import EncodedURL
    from twisted.internet.interfaces import (
        IConsumer,
        IDelayedCall,
        IReactorTime,
    )
    from twisted.web.iweb import IAgent

__all__ = [
    "MAX_CONNECTIONS",
    "Requests",
    "Timed",
    "UnavailableError",
]

REQUEST_TIMEOUT = 30.0
"""Maximum seconds from the start of a request to the end of the response."""

MAX_CONNECTIONS = 512
"""Maximum connections; the usual limit of descriptors is 1,024."""

_CUT_AFTER = (
    0.02  # seconds for written bytes to be sent before the connection is dropped
)


class UnavailableError(Exception):
    """The server is unreachable, or does not respond in time."""


@frozen
class Timed(Reply):
    """A complete response."""

    seconds: float = field(kw_only=True)
    """Seconds from the request, including connecting, to the end of `body`."""

    def detail(self) -> str:
        """Return the detail of the problem document (RFC 9457), or an empty string."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return ""
        detail = document.get("detail") if isinstance(document, dict) else None
        return detail if isinstance(detail, str) else ""


@implementer(IBodyProducer)
class _CutProducer:
    """Writes half of a body, then fails the request and its connection."""

    def __init__(self, body: bytes, clock: IReactorTime) -> None:
        self._half = body[: len(body) // 2]
        self._clock = clock
        self._cut: IDelayedCall | None = None
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        def cut() -> None:
            self._cut = None
            produced.errback(LostError("cut off"))

        produced: Deferred[None] = Deferred(lambda _: self.stopProducing())
        consumer.write(self._half)
        self._cut = self._clock.callLater(_CUT_AFTER, cut)
        return produced

    def pauseProducing(self) -> None:
        """Do nothing: all is written."""

    def resumeProducing(self) -> None:
        """Do nothing: it was never paused."""

    def stopProducing(self) -> None:
        """Leave the connection alone."""
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None


class Requests:
    """
    Sends requests to the server at `url` through `agent`.

    `clock` is for the timeout (`REQUEST_TIMEOUT`).  `sent` is the number of requests so
    far.  At most `MAX_CONNECTIONS` run at a time; others are queued.  `token` is sent
    with writes (RFC 6750, section 2.1).

    The methods raise :exc:`UnavailableError`, :exc:`LostError`, or, if cancelled,
    :exc:`~twisted.internet.defer.CancelledError`.
    """

    def __init__(
        self,
        clock: IReactorTime,
        agent: IAgent,
        url: EncodedURL,
        token: str | None = None,
    ) -> None:
        self.sent = 0
        self._clock = clock
        self._wire = Wire(agent, url)
        self._server = url.to_text()
        self._writing = Headers({"Content-Type": ["application/json"]})
        if token:
            self._writing.setRawHeaders("Authorization", [f"Bearer {token}"])
        self._connections = DeferredSemaphore(MAX_CONNECTIONS)

    async def post(self, path: tuple[str, ...], document: Mapping[str, Any]) -> Timed:
        """POST `document` as JSON to the path of these segments."""
        body = BytesProducer(msgspec.json.encode(document))
        return await self._in_turn("POST", path, self._writing, body)

    async def post_half(
        self, path: tuple[str, ...], document: Mapping[str, Any]
    ) -> Timed | None:
        """
        Send the first half of a POST, then drop the connection.

        Returns a response to the incomplete request, if any.  Does not raise
        :exc:`LostError`.
        """
        body = _CutProducer(msgspec.json.encode(document), self._clock)
        try:
            return await self._in_turn("POST", path, self._writing, body)
        except LostError:
            return None
        finally:
            body.stopProducing()

    async def get(self, path: tuple[str, ...]) -> Timed:
        """GET the path of these segments."""
        return await self._in_turn("GET", path, None, None)

    async def _in_turn(
        self,
        method: str,
        path: tuple[str, ...],
        headers: Headers | None,
        body: IBodyProducer | None,
    ) -> Timed:
        def out_of_time(_result: object, timeout: float) -> NoReturn:
            message = f"{self._server} did not respond within {timeout:g} s"
            raise UnavailableError(message)

        connections = self._connections
        await connections.acquire()
        try:
            self.sent += 1
            exchange = Deferred.fromCoroutine(
                self._exchange(method, path, headers, body)
            )
            return await exchange.addTimeout(REQUEST_TIMEOUT, self._clock, out_of_time)
        finally:
            connections.release()

    async def _exchange(
        self,
        method: str,
        path: tuple[str, ...],
        headers: Headers | None,
        body: IBodyProducer | None,
    ) -> Timed:
        started = self._clock.seconds()
        try:
            response = await self._wire.request(
                self._clock, method, path, headers, body
            )
            content = await treq.content(response)
        except UNCONNECTED as error:
            message = f"cannot connect to {self._server}: {error}"
            raise UnavailableError(message) from error
        except CUT_OFF as error:
            if any(reason.check(CancelledError) for reason in reasons(error)):
                raise CancelledError from error
            message = "the connection was lost before the end of the response"
            raise LostError(message) from error
        seconds = self._clock.seconds() - started
        return Timed(
            response.code, response.headers, len(content), content, seconds=seconds
        )
