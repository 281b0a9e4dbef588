"""The request that Klein and the route handlers see: what the client sent."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, AnyStr

from klein.app import KleinRequest
from klein.interfaces import IKleinRequest
from twisted.web.http import parse_qs
from twisted.web.http_headers import Headers
from twisted.web.iweb import IRequest
from zope.interface import classImplements

from asciid.http._authority import host_name
from asciid.http._response import Response
from asciid.http._route_table import segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress

    from asciid.http._field_block import FieldBlock
    from asciid.http._request_line import RequestLine
    from asciid.http._response import IChannel

__all__ = ["Request"]

_FORM = b"application/x-www-form-urlencoded"


class Request(Response):
    """
    One request and its response.

    It has what Klein and ordinary route handlers use of
    :class:`twisted.web.iweb.IRequest`.  Sessions, cookies, multipart forms and
    conditional requests are left out.

    :ivar method: such as ``b"GET"``.
    :ivar uri: the target in origin-form, with the query.
    :ivar path: the target without the query, still percent-encoded.
    :ivar began: the monotonic time at which the head was complete.
    :ivar body: the whole body, or ``None`` while it is still being received.
    :ivar route: what serves it.
    :ivar values: those of the variable parts of the path.
    """

    _args: dict[bytes, list[bytes]] | None = None
    _components: dict[object, object] | None = None
    _content: BytesIO | None = None
    _paths: tuple[list[bytes], list[bytes]] | None = None

    def __init__(
        self,
        channel: IChannel,
        line: RequestLine,
        block: FieldBlock,
        began: float,
    ) -> None:
        self._channel = channel
        self._block = block
        self.method = line.method
        self.uri = line.target
        self.path = line.path
        self.began = began
        self.body: bytes | None = None if block.length else b""
        ids = channel.request_ids
        self.id = None if ids is None else block.request_id or next(ids)
        self.started = self.finished = self.gone = False
        self._fields = {}
        self._notices = None
        self._request_headers: Headers | None = None
        self.route, self.values = line.found or channel.routes.find(line, self)

    # What the client sent.

    @property
    def clientproto(self) -> bytes:
        """The version of the request."""
        return b"HTTP/1.1" if self._block.is_http11 else b"HTTP/1.0"

    @property
    def content(self) -> BytesIO:
        """
        The body as a file.

        :raises RuntimeError: while the body is still being received.
        """
        if self._content is None:
            if self.body is None:
                message = "the body is incomplete: use asciid.http.read_body"
                raise RuntimeError(message)
            self._content = BytesIO(self.body)
        return self._content

    @content.setter
    def content(self, content: BytesIO) -> None:
        self._content = content

    @property
    def args(self) -> dict[bytes, list[bytes]]:
        """The query's arguments, and those of a URL-encoded form."""
        if self._args is None:
            args = _arguments(self.uri.partition(b"?")[2])
            if self.body and self.method == b"POST":
                kind = self.getHeader(b"content-type") or b""
                if kind.partition(b";")[0].strip().lower() == _FORM:
                    args |= _arguments(self.body)
            self._args = args
        return self._args

    @property
    def requestHeaders(self) -> Headers:
        """All fields of the request."""
        if self._request_headers is None:
            self._request_headers = headers = Headers()
            for line in self._block.raw.split(b"\r\n")[1:-2]:
                name, _, value = line.partition(b":")
                headers.addRawHeader(name, value.strip(b" \t"))
        return self._request_headers

    def getHeader(self, key: AnyStr) -> AnyStr | None:
        """Return the last value of a field, of the key's type, or ``None``."""
        if self._request_headers is not None or type(key) is not bytes:
            values = self.requestHeaders.getRawHeaders(key)
            return values[-1] if values else None
        # Handlers ask for the same few fields of every request.
        cache = self._block.cache
        return cache[key] if key in cache else self._block.last(key.lower())

    def getAllHeaders(self) -> dict[bytes, bytes]:
        """Return the last value of each field by its name in lower case."""
        headers = self.requestHeaders.getAllRawHeaders()
        return {name.lower(): values[-1] for name, values in headers}

    def getRequestHostname(self) -> bytes:
        """Return the host that the client asked for, else the local address."""
        host: bytes | None = self.getHeader(b"host")
        if host:
            return host_name(host)
        return str(getattr(self.getHost(), "host", "")).encode("ascii")

    def getHost(self) -> IAddress:
        """Return the local address."""
        return self._channel.host

    def getClientAddress(self) -> IAddress:
        """Return the client's address."""
        return self._channel.peer

    client = property(getClientAddress)

    @property
    def client_key(self) -> str:
        """The key of the client, by the address of the connection."""
        return self._channel.client

    def getClientIP(self) -> str | None:
        """Return the client's IP address, ``None`` if it has none."""
        host = getattr(self._channel.peer, "host", None)
        return host if isinstance(host, str) else None

    def isSecure(self) -> bool:
        """Return whether the connection is encrypted."""
        return self._channel.secure

    @property
    def prepath(self) -> list[bytes]:
        """The segments of the path that led to the route, decoded."""
        return self._split_path()[0]

    @property
    def postpath(self) -> list[bytes]:
        """The segments of the path after those of ``prepath``, decoded."""
        return self._split_path()[1]

    def _split_path(self) -> tuple[list[bytes], list[bytes]]:
        if self._paths is None:
            path = segments(self.path)
            consumed = self.route.consumed
            self._paths = path[:consumed], path[consumed:]
        return self._paths

    # Zope components: what Klein keeps with a request.

    def getComponent(self, interface: object, default: object = None) -> object:
        """Return what was set for the interface."""
        if self._components is None:
            self._components = {}
        if interface is IKleinRequest and interface not in self._components:
            self._components[interface] = adapter = KleinRequest(
                self  # type: ignore[arg-type]  # Klein keeps none of it
            )
            adapter.mapper = self._channel.routes.mapper(self)
        return self._components.get(interface, default)

    __conform__ = getComponent

    def setComponent(self, interface: object, component: object) -> None:
        """Keep a component for the interface."""
        if self._components is None:
            self._components = {}
        self._components[interface] = component

    def read_body(
        self, receive: Callable[[bytes], Deferred[None] | None]
    ) -> Deferred[None] | None:
        """Begin :func:`asciid.http.read_body`; ``None`` if the body is all here."""
        return None if self.body is not None else self._channel.read_body(receive)


def _arguments(query: bytes) -> dict[bytes, list[bytes]]:
    args: dict[bytes, list[bytes]] = parse_qs(query, keep_blank_values=True)
    return args


# Lean on purpose: what is left out is named in the class.
classImplements(Request, IRequest)  # type: ignore[misc]
