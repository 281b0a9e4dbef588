"""Requests to one server on treq, which does for each only what is needed here."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from http.client import HTTPResponse
    from urllib.request import Request

    from hyperlink import EncodedURL
    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IAgent, IBodyProducer, IResponse

__all__ = ["CUT_OFF", "UNCONNECTED", "Wire", "reasons"]

_URLS = 4096  # those kept: above the number of images on their way at a time

UNCONNECTED = (ConnectError, DNSLookupError)
"""What a request fails with that was never sent."""

CUT_OFF = (
    ConnectionClosed,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)
"""What a request fails with that was sent in part, or whose answer was."""


def reasons(error: Exception) -> Iterable[Failure]:
    """Return why a request failed, as far as twisted.web knows."""
    known: Iterable[Failure] = getattr(error, "reasons", ())
    return known


class _NoCookies(IndexableCookieJar):
    """A jar that stays empty, and so costs nothing to look into."""

    def add_cookie_header(self, _request: Request) -> None:
        """Add nothing."""

    def extract_cookies(self, _response: HTTPResponse, _request: Request) -> None:
        """Keep nothing."""


class Wire:
    """
    Sends requests to the server at `url` through `agent`.

    `url_of` returns the URL of the path of some segments below it.
    """

    def __init__(self, agent: IAgent, url: EncodedURL) -> None:
        self.url = url
        # To put a URL together takes a tenth of what a request does.
        self.url_of = lru_cache(_URLS)(url.child)
        self._client = HTTPClient(agent, _NoCookies(), data_to_body_producer=_as_it_is)

    def request(
        self,
        clock: Any,  # noqa: ANN401 - IReactorTime; treq asks for more, and uses no more
        method: str,
        path: tuple[str, ...],
        headers: Headers | None,
        body: IBodyProducer | None,
    ) -> Deferred[IResponse]:
        """Send a request; fire with the head of the answer, be it a redirection."""
        response: Deferred[Any] = self._client.request(
            method,
            self.url_of(*path),
            headers=headers,
            data=body,
            allow_redirects=False,
            unbuffered=True,
            reactor=clock,
        )
        return response


def _as_it_is(body: IBodyProducer) -> IBodyProducer:
    """Return what treq is given for a body, which is one already."""
    return body
