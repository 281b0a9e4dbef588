"""The URL of a server, and the agent for requests to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from hyperlink import EncodedURL
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    HTTPConnectionPool,
)
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from asciid.client._exceptions import NoTLSError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IBodyProducer, IResponse

    from asciid.runtime.reactor import Reactor

__all__ = ["IdentityAgent", "make_agent", "make_pool", "parse_base_url"]

_CONNECT_TIMEOUT = 10.0  # seconds
_ATTEMPT_DELAY = 0.05  # seconds; "localhost" often resolves to ::1 first
_IDLE_TIMEOUT = 10  # seconds; below the keep-alive timeouts of servers
_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65_535


def parse_base_url(text: str) -> EncodedURL:
    """
    Return the URL of a server, such as ``https://art.example`` or one with a path.

    Raises :exc:`ValueError` if it is not an http or https URL with a host and a valid
    port, or has a query, a fragment or a user.
    """
    url = EncodedURL.from_text(text)
    if url.scheme not in _PORTS or not url.host:
        message = f"{text!r} is not a URL such as http://localhost:4444"
        raise ValueError(message)
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        message = f"invalid port in {text!r} (1 to {_LAST_PORT})"
        raise ValueError(message)
    if url.query or url.fragment or url.userinfo:
        message = f"{text!r} may only have a host, a port and a path"
        raise ValueError(message)
    # The encoder refuses IPv6 addresses.
    host = url.host
    name = "localhost" if ":" in host else host
    url = url.replace(host=name).to_uri()
    if ":" in host:
        url = url.replace(host=host)
    return url.replace(path=tuple(segment for segment in url.path if segment))


@implementer(IAgentEndpointFactory)
@frozen
class _OneEndpoint:
    """Returns one endpoint for all requests."""

    endpoint: IStreamClientEndpoint

    def endpointForURI(self, _: URI) -> IStreamClientEndpoint:
        return self.endpoint


def make_pool(reactor: Reactor, connections: int) -> HTTPConnectionPool:
    """Return a pool of up to `connections` idle connections."""
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = connections
    pool.cachedConnectionTimeout = _IDLE_TIMEOUT
    # Retries are counted and decided by asciid.
    pool.retryAutomatically = False
    return pool


def make_agent(reactor: Reactor, url: EncodedURL, pool: HTTPConnectionPool) -> IAgent:
    """
    Return an agent for the server at `url` with the connection pool `pool`.

    Raises :exc:`NoTLSError` for https without the packages of ``asciid[client]``.
    """
    port = url.port or _PORTS[url.scheme]
    endpoint: IStreamClientEndpoint = HostnameEndpoint(
        reactor, url.host, port, _CONNECT_TIMEOUT, attemptDelay=_ATTEMPT_DELAY
    )
    if url.scheme == "https":
        policy = BrowserLikePolicyForHTTPS()
        try:
            creator = policy.creatorForNetloc(url.host.encode("ascii"), port)
        except NotImplementedError as error:
            raise NoTLSError from error
        endpoint = wrapClientTLS(creator, endpoint)
    agent: IAgent = Agent.usingEndpointFactory(reactor, _OneEndpoint(endpoint), pool)
    return agent


@implementer(IAgent)
@frozen
class IdentityAgent:
    """
    An agent that requests no content coding.

    Resuming a download requires ranges of the identity coding.
    """

    agent: IAgent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See `IAgent`."""
        if headers is not None:  # treq always makes new ones per request
            headers.setRawHeaders(b"Accept-Encoding", [b"identity"])
        return self.agent.request(method, uri, headers, bodyProducer)
