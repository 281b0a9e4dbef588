"""The address of the service in links, and whether a page or a URL is its own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from asciid.api._refusals import MalformedRequestError

if TYPE_CHECKING:
    from asciid.api._request_interface import Request

__all__ = ["PublicAddress"]

# Stricter than Host itself (RFC 9110, section 7.2), as it becomes part of links.
_is_authority = re.compile(
    r"(?:[a-z0-9_.-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?"
).fullmatch
_split_origin = re.compile(
    r"(https?)://([^/?#@\s\\]+)(?=[/?#]|\Z)", re.IGNORECASE
).match
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class PublicAddress:
    """
    The address at which clients reach the service.

    `url` is that of the setting ``public-url``: scheme, host and perhaps a port, with
    no slash at the end.  With None it is what each client sent as Host, with the scheme
    of its connection: nothing that depends on it may be stored by a cache, as a client
    can send any Host.
    """

    def __init__(self, url: str | None = None) -> None:
        self._url = url

    def base_url(self, request: Request) -> str:
        """
        Return the URL of the service without a path, such as ``https://art.example``.

        Errors: `MalformedRequestError` if Host cannot be part of a link.
        """
        if self._url is not None:
            return self._url
        scheme = "https" if request.isSecure() else "http"
        return f"{scheme}://{self._authority(request, scheme)}"

    def cache_control(self, value: bytes) -> bytes:
        """Return the Cache-Control of a response that has `base_url`; else `value`."""
        return b"no-store" if self._url is None else value

    def path_of(self, request: Request, url: str) -> str | None:
        """
        Return the path, with query and fragment, of a URL of this service.

        None for any other URL.

        Errors: those of `base_url`.
        """
        origin = _split_origin(url)
        if origin is None:
            return None
        scheme, authority = origin[1].lower(), origin[2].lower()
        base = f"{scheme}://{authority.removesuffix(_DEFAULT_PORTS[scheme])}"
        return url[origin.end() :] if base == self.base_url(request) else None

    def is_own_origin(self, request: Request, origin: bytes) -> bool:
        """
        Return whether an Origin field (RFC 6454, section 7) names this service.

        That is its public URL, or the Host of the request with either scheme, as a
        proxy may have ended TLS.
        """
        parsed = _split_origin(origin.decode("latin-1"))
        if parsed is None or parsed.end() != len(origin):
            return False
        scheme, authority = parsed[1].lower(), parsed[2].lower()
        bare = authority.removesuffix(_DEFAULT_PORTS[scheme])
        if self._url == f"{scheme}://{bare}":
            return True
        try:
            return bare == self._authority(request, scheme)
        except MalformedRequestError:
            return False

    def _authority(self, request: Request, scheme: str) -> str:
        host = (request.getHeader(b"host") or b"").decode("latin-1").lower()
        if not host:
            # HTTP/1.0 has no Host (RFC 9112, section 3.2).
            address = request.getHost()
            name = getattr(address, "host", "localhost")
            port = getattr(address, "port", None)
            host = f"[{name}]" if ":" in name else name
            host = host if port is None else f"{host}:{port}"
        host = host.removesuffix(_DEFAULT_PORTS[scheme]).removesuffix(":")
        if not _is_authority(host):
            message = "Host is not a host name or address that a link can have."
            raise MalformedRequestError(message)
        return host
