"""Requests to one server on treq, which does for each only what is needed here."""

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
"""What a request fails with that was never sent."""

_is_token = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch


def check_token(token: str) -> None:
    """
    Raise :exc:`ValueError`, without the token, if it is none (RFC 6750, section 2.1).

    What else there is could not be sent, or would begin another field.
    """
    if _is_token(token) is None:
        message = "not a token: letters, digits and -._~+/ with = at the end"
        raise ValueError(message)


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


class _Ready(EncodedURL):
    """
    A URL whose text is there already, and nothing else of it.

    treq asks for no more.  To put one together, check it, and make text of it, takes
    a tenth of what a request does.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def to_uri(self) -> _Ready:
        """Return it: it is one."""
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
        """Return the URL of the path of some segments, which need no encoding."""
        return "/".join((self._base, *path))

    def request(
        self,
        clock: Reactor,
        method: str,
        path: tuple[str, ...],
        headers: Headers | None,
        body: IBodyProducer | None,
    ) -> Deferred[IResponse]:
        """Send a request; fire with the head of the answer, be it a redirection."""
        response: Deferred[Any] = self._client.request(
            method,
            _Ready(self.url_of(*path)),
            headers=headers,
            data=body,
            cookies=self._cookies,  # or one would be made for each request
            allow_redirects=False,
            unbuffered=True,
            reactor=clock,
        )
        return response


def _as_it_is(body: IBodyProducer) -> IBodyProducer:
    """Return what treq is given for a body, which is one already."""
    return body
