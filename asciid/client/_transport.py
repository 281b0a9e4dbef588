"""Requests to one server on treq, with timeouts and retries."""

from __future__ import annotations

import json
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

from attrs import evolve
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.task import Cooperator
from twisted.web.client import RequestGenerationFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH

from asciid.client._backoff import Backoff, nothing
from asciid.client._exceptions import (
    ChangedError,
    ClientError,
    LostError,
    RedirectedError,
    UntrustedError,
    problem_error,
    retry_after,
)
from asciid.client.agent import IdentityAgent
from asciid.client.exchange import (
    BytesProducer,
    Reply,
    Watch,
    WholeProducer,
    collector,
    discard_body,
    read_body,
)
from asciid.client.source import Reader, Whole
from asciid.client.wire import CUT_OFF, UNCONNECTED, Wire, reasons

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hyperlink import EncodedURL
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent, IResponse

    from asciid.client._exceptions import ProblemError
    from asciid.client.exchange import Sink

__all__ = ["Transport"]

_LONGEST_ANSWER = 1024 * 1024  # maximum bytes of a status or a problem document
_READING = ("GET", "HEAD")

_CANCELLED = (CancelledError, ConnectingCancelledError)

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Transport:
    """
    Sends requests to the server at `url` through `agent`.

    `clock` is for timeouts.  `backoff` makes a retry policy from a callback that is
    called before each retry.  `token` is sent with every write (RFC 6750, section 2.1).
    """

    def __init__(
        self,
        clock: IReactorTime,
        agent: IAgent,
        url: EncodedURL,
        *,
        token: str | None,
        backoff: Callable[[Callable[[], None]], Backoff],
    ) -> None:
        self._clock = clock
        self._wire = Wire(IdentityAgent(agent), url)
        self._cooperator = Cooperator(scheduler=lambda step: clock.callLater(0, step))
        self._backoff = backoff
        self._writing = {"Authorization": f"Bearer {token}"} if token else {}

    def url(self, *path: str) -> str:
        """Return the URL of the path of these segments."""
        return self._wire.url_of(*path)

    def backoff(self, on_retry: Callable[[], None] = nothing) -> Backoff:
        """Return a new retry policy."""
        return self._backoff(on_retry)

    async def request(
        self,
        method: str,
        path: tuple[str, ...],
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | Whole | None = None,
        *,
        on_retry: Callable[[], None] = nothing,
    ) -> Reply:
        """
        Send a request, with retries; return the response.

        Raises the errors of `once`, after the last attempt.
        """
        backoff = self.backoff(on_retry)
        while True:
            try:
                return await self.once(method, path, headers, body)
            except ClientError as error:
                await backoff.after(error)

    async def once(
        self,
        method: str,
        path: tuple[str, ...],
        headers: Mapping[str, str] = _NO_HEADERS,
        body: bytes | Whole | None = None,
        *,
        sink: Sink | None = None,
    ) -> Reply:
        """
        Send a request; return the complete response.

        `path` has the segments of a path below the server's URL.  The body of a
        successful response is passed to the result of `sink(head)`, or else is in the
        reply.

        Raises :exc:`LostError`, the :exc:`ProblemError` for the status,
        :exc:`ChangedError` if the length of the body changed, and the errors of `sink`
        and its result.  Cancellation closes the connection.
        """
        watch = Watch(self._clock)
        producer = self._producer(body, watch)
        if method not in _READING:
            headers = {**headers, **self._writing}
        fields = Headers({name: [value] for name, value in headers.items()})
        try:
            response = await watch.over(
                self._wire.request(self._clock, method, path, fields, producer)
            )
            return await self._receive(response, watch, sink)
        except (*_CANCELLED, *UNCONNECTED, *CUT_OFF) as error:
            raise self._error(error, watch) from error
        finally:
            watch.end()
            if isinstance(producer, WholeProducer):
                # The response may precede the end of the request.
                producer.end()

    async def _receive(
        self, response: IResponse, watch: Watch, sink: Sink | None
    ) -> Reply:
        watch.moved()
        length = None if response.length is UNKNOWN_LENGTH else response.length
        reply = Reply(response.code, response.headers, length)
        pieces, take = collector(_LONGEST_ANSWER)
        if reply.successful and sink is not None:
            try:
                take = sink(reply)
            except BaseException:
                discard_body(response)
                raise

        def taken(data: bytes) -> None:
            watch.moved()
            take(data)

        if length != 0:
            await watch.over(read_body(response, taken))
        reply = evolve(reply, body=b"".join(pieces))
        if not reply.successful:
            raise _problem(reply)
        return reply

    def _producer(
        self, body: bytes | Whole | None, watch: Watch
    ) -> BytesProducer | WholeProducer | None:
        if not isinstance(body, Whole):
            return BytesProducer(body) if body else None
        return WholeProducer(Reader(body, watch.moved), self._cooperator)

    def _error(self, error: Exception, watch: Watch) -> Exception:
        """Return the error for an exception of the agent."""
        if watch.stalled:
            return LostError(f"{self._server} does not respond")
        if watch.cancelled:
            return CancelledError()
        if isinstance(error, UNCONNECTED):
            return LostError(f"cannot connect to {self._server}: {error}")
        if isinstance(error, RequestGenerationFailed):
            return ChangedError()
        for reason in reasons(error):
            distrust = _distrust(reason)
            if distrust:
                message = f"cannot verify {self._server}: {distrust}"
                return UntrustedError(message)
        return LostError(f"the connection to {self._server} was lost")

    @property
    def _server(self) -> str:
        return self._wire.url.to_text()


def _distrust(reason: Failure) -> str:
    """Return why TLS rejected the certificate; an empty string if it did not."""
    # By name: the packages for https are optional.
    if reason.type is not None and reason.type.__module__.startswith(
        "service_identity."
    ):
        return "certificate for another host"
    if "certificate verify failed" in str(reason.value):
        return "certificate verification failed"
    return ""


def _problem(reply: Reply) -> ProblemError:
    if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
        return RedirectedError(reply.status, reply.header("Location"), reply.body)
    try:
        document = json.loads(reply.body)
    except (ValueError, RecursionError):
        document = None
    delay = retry_after(reply.header("Retry-After"), reply.header("Date"))
    known = document if isinstance(document, dict) else {}
    return problem_error(reply.status, known, delay)
