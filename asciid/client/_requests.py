"""Requests to one server on treq, with every way to fail given a plain name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import treq
from attrs import frozen
from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
)
from twisted.web.client import (
    URI,
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import (
        IConsumer,
        IReactorTime,
        IStreamClientEndpoint,
    )

__all__ = [
    "LostError",
    "Reply",
    "Requests",
    "UnavailableError",
    "make_agent",
    "server_url",
]

REQUEST_TIMEOUT = 30.0
"""Seconds a request may take, from its start to the last byte of the answer."""

_CONNECT_TIMEOUT = 10.0  # seconds
_ATTEMPT_DELAY = 0.05  # seconds; "localhost" often means ::1 first, without a server
_IDLE_TIMEOUT = 10  # seconds; below what servers allow an idle connection

_LOST = (
    ConnectionClosed,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)

_JSON_HEADERS = Headers({"Content-Type": ["application/json"]})


class UnavailableError(Exception):
    """There is no server to talk to, or it does not answer in time."""


class LostError(Exception):
    """The answer did not arrive whole, or was not HTTP."""


@frozen
class Reply:
    """A response that was received whole."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str:
        """Return the last value of the field `name`, or an empty string."""
        return (self.headers.getRawHeaders(name) or [""])[-1]

    def detail(self) -> str:
        """Return what a problem document (RFC 9457) says, or an empty string."""
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            return ""
        detail = document.get("detail") if isinstance(document, dict) else None
        return detail if isinstance(detail, str) else ""


@implementer(IBodyProducer)
class _BytesProducer:
    """A body that is in memory already, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing was paused."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


@implementer(IAgentEndpointFactory)
@frozen
class _OneEndpoint:
    """The same endpoint for every request, so that none is made per request."""

    endpoint: IStreamClientEndpoint

    def endpointForURI(
        self,
        uri: URI,  # noqa: ARG002 - all are of the one server
    ) -> IStreamClientEndpoint:
        return self.endpoint


class _Encoded(EncodedURL):
    """
    A URL that is a URI already.

    treq has every URL encoded again before each request, and the encoder takes
    an IPv6 address for a name and refuses it.
    """

    def to_uri(self) -> _Encoded:
        return self


def server_url(host: str, port: int) -> EncodedURL:
    """
    Return the URL of the server at `host` (a name or an address) and `port`.

    Raises :exc:`ValueError` when `host` cannot be part of a URL.
    """
    host = host.removeprefix("[").removesuffix("]")
    if ":" in host:
        return _Encoded.from_text(f"http://[{host}]:{port}")
    url = EncodedURL.from_text(f"http://{host}:{port}")
    if not host or url.host != host:
        message = f"{host!r} is not the name of a host"
        raise ValueError(message)
    return _Encoded.from_text(url.to_uri().to_text())


def make_agent(reactor: Any, url: EncodedURL, connections: int) -> IAgent:  # noqa: ANN401 - several reactor interfaces at once
    """Return an agent for `url` that keeps up to `connections` connections open."""
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = connections
    pool.cachedConnectionTimeout = _IDLE_TIMEOUT
    pool.retryAutomatically = False  # a dropped connection is a finding
    endpoint = HostnameEndpoint(
        reactor, url.host, url.port or 80, _CONNECT_TIMEOUT, attemptDelay=_ATTEMPT_DELAY
    )
    agent: IAgent = Agent.usingEndpointFactory(reactor, _OneEndpoint(endpoint), pool)
    return agent


class Requests:
    """
    Sends requests to the server at `url` through `agent`.

    `clock` measures the time a request takes (`REQUEST_TIMEOUT`).  `sent` is
    the number of requests so far.

    The methods raise :exc:`UnavailableError`, :exc:`LostError`, or, when they
    were cancelled, :exc:`~twisted.internet.defer.CancelledError`.
    """

    def __init__(self, clock: IReactorTime, agent: IAgent, url: EncodedURL) -> None:
        self.sent = 0
        # treq asks for more than a clock, but uses it for nothing else.
        self._clock: Any = clock
        self._client = HTTPClient(agent, data_to_body_producer=_BytesProducer)
        self._url = url

    async def post(self, path: tuple[str, ...], document: Mapping[str, Any]) -> Reply:
        """Send `document` as JSON to the path of these segments."""
        body = json.dumps(document, separators=(",", ":")).encode()
        return await self._within_time("POST", path, _JSON_HEADERS, body)

    async def get(self, path: tuple[str, ...]) -> Reply:
        """Ask for what is at the path of these segments."""
        return await self._within_time("GET", path, None, None)

    async def _within_time(
        self,
        method: str,
        path: tuple[str, ...],
        headers: Headers | None,
        body: bytes | None,
    ) -> Reply:
        def out_of_time(_result: object, timeout: float) -> NoReturn:
            message = f"{self._server} did not answer within {timeout:g} s"
            raise UnavailableError(message)

        self.sent += 1
        exchange = Deferred.fromCoroutine(self._exchange(method, path, headers, body))
        return await exchange.addTimeout(REQUEST_TIMEOUT, self._clock, out_of_time)

    async def _exchange(
        self,
        method: str,
        path: tuple[str, ...],
        headers: Headers | None,
        body: bytes | None,
    ) -> Reply:
        try:
            response = await self._client.request(
                method,
                self._url.child(*path),
                headers=headers,
                data=body,
                allow_redirects=False,
                unbuffered=True,
                reactor=self._clock,
            )
            content = await treq.content(response)
        except (ConnectError, DNSLookupError) as error:
            message = f"cannot connect to {self._server}: {error}"
            raise UnavailableError(message) from error
        except _LOST as error:
            reasons = getattr(error, "reasons", ())
            if any(reason.check(CancelledError) for reason in reasons):
                raise CancelledError from error
            message = "the connection was lost before the whole answer was there"
            raise LostError(message) from error
        return Reply(response.code, response.headers, content)

    @property
    def _server(self) -> str:
        return self._url.to_text()
