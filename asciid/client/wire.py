"""Requests to one server on treq, without its costs for cookies and URLs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from hyperlink import EncodedURL
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

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IAgent, IBodyProducer, IResponse

    from asciid.runtime.reactor import Reactor

__all__ = ["CUT_OFF", "UNCONNECTED", "Wire", "check_token", "reasons"]

UNCONNECTED = (ConnectError, DNSLookupError)
"""Errors of requests that were never sent."""

_is_token = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch


def check_token(token: str) -> None:
    """
    Raise :exc:`ValueError`, without the token, if it is not one by RFC 6750.

    Other characters cannot be sent, or would start another field.
    """
    if _is_token(token) is None:
        message = "malformed token: letters, digits and -._~+/ with = at the end"
        raise ValueError(message)


CUT_OFF = (
    ConnectionClosed,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
)
"""Errors of requests that were sent, whole or in part."""


def reasons(error: Exception) -> Iterable[Failure]:
    """Return the reasons of a failure that twisted.web reports."""
    known: Iterable[Failure] = getattr(error, "reasons", ())
    return known


class _NoCookies(IndexableCookieJar):
    """A cookie jar that stays empty and costs nothing."""

    def add_cookie_header(self, _request: Request) -> None:
        """Do nothing."""

    def extract_cookies(self, _response: HTTPResponse, _request: Request) -> None:
        """Do nothing."""


class _Ready(EncodedURL):
    """
    A URL of which only the text exists.

    treq needs no more.  Building, checking and rendering a full one takes a tenth of
    the time of a request.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def to_uri(self) -> _Ready:
        """Return the URL itself."""
        return self

    def to_text(self, *_: object, **__: object) -> str:
        """Return the text."""
        return self._text


class Wire:
    """Sends requests to the server at `url` through `agent`."""

    def __init__(self, agent: IAgent, url: EncodedURL) -> None:
        self.url = url
        self._base = url.to_text().rstrip("/")
        self._cookies = _NoCookies()
        self._client = HTTPClient(agent, self._cookies, data_to_body_producer=_as_it_is)

    def url_of(self, *path: str) -> str:
        """Return the URL of a path; its segments must not need encoding."""
        return "/".join((self._base, *path))

    def request(
        self,
        clock: Reactor,
        method: str,
        path: tuple[str, ...],
        headers: Headers | None,
        body: IBodyProducer | None,
    ) -> Deferred[IResponse]:
        """Send a request; fire with the head of the response, also a redirection."""
        response: Deferred[Any] = self._client.request(
            method,
            _Ready(self.url_of(*path)),
            headers=headers,
            data=body,
            cookies=self._cookies,  # otherwise treq makes one per request
            allow_redirects=False,
            unbuffered=True,
            reactor=clock,
        )
        return response


def _as_it_is(body: IBodyProducer) -> IBodyProducer:
    """Return `body`, which is already a body producer."""
    return body
