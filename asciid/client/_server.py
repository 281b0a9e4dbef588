"""The server that is asked, and the connections to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen
from hyperlink import EncodedURL
from twisted.internet.endpoints import HostnameEndpoint
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

__all__ = ["MAX_CONNECTIONS", "make_agent", "server_url"]

MAX_CONNECTIONS = 512
"""The most connections at a time: a process may often open no more than 1,024."""

_CONNECT_TIMEOUT = 10.0  # seconds
_ATTEMPT_DELAY = 0.05  # seconds; "localhost" often means ::1 first, without a server
_IDLE_TIMEOUT = 10  # seconds; below what servers allow an idle connection


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
    """
    Return an agent for `url` that keeps up to `connections` connections open.

    It keeps no more than `MAX_CONNECTIONS`.
    """
    pool = HTTPConnectionPool(reactor)
    pool.maxPersistentPerHost = min(connections, MAX_CONNECTIONS)
    pool.cachedConnectionTimeout = _IDLE_TIMEOUT
    pool.retryAutomatically = False  # a dropped connection is a finding
    endpoint = HostnameEndpoint(
        reactor, url.host, url.port or 80, _CONNECT_TIMEOUT, attemptDelay=_ATTEMPT_DELAY
    )
    agent: IAgent = Agent.usingEndpointFactory(reactor, _OneEndpoint(endpoint), pool)
    return agent
