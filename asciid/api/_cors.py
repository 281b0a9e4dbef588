"""
Access of pages of other sites (CORS, in the Fetch standard).

Any page may read; only pages of configured origins may write.  This protects the users
of browsers; it does not restrict other clients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asciid.api._request_interface import Request

__all__ = ["CORS", "READ_FIELDS", "SHARED"]

_EXPOSED = (
    b"Access-Control-Expose-Headers",
    (
        b"Accept-Ranges, Allow, Asciid-Edit-Key, Content-Disposition, "
        b"Content-Encoding, Content-Range, ETag, Link, Location, Repr-Digest, "
        b"Retry-After, X-Request-Id"
    ),
)
_EXPOSED_BY_WRITES = (_EXPOSED[0], _EXPOSED[1] + b", WWW-Authenticate")

READ_FIELDS = ((b"Access-Control-Allow-Origin", b"*"), _EXPOSED)
"""The fields of every response to GET and HEAD."""

SHARED = frozenset({b"GET", b"HEAD"})
"""The methods to which pages of any site may read the responses."""

_ALLOWED_FIELDS = (
    b"Accept, Asciid-Author, Asciid-Charset, Asciid-Description, Asciid-Edit-Key, "
    b"Asciid-Expires, Asciid-Licence, Asciid-Listed, Asciid-Tags, Asciid-Title, "
    b"Content-Digest, Content-Type, If-Match, If-Modified-Since, If-None-Match, "
    b"If-Range, If-Unmodified-Since, Range, Want-Repr-Digest"
)
_MAX_AGE = b"7200"
"""Seconds for which a browser may cache a preflight; the limit of some browsers."""


class CORS:
    """
    Sets the CORS fields of responses.

    `write_origins` are the origins whose pages may write, in the form of the Origin
    field: ``https://art.example``.  With `tokens`, writes require Authorization.
    """

    def __init__(
        self, write_origins: Iterable[str] = (), *, tokens: bool = False
    ) -> None:
        self._write_origins = {origin.encode("ascii") for origin in write_origins}
        self._exposed = _EXPOSED_BY_WRITES if tokens else _EXPOSED
        # "*" does not include Authorization (Fetch, section 3.2.3).
        self._write_fields = _ALLOWED_FIELDS + b", Authorization" * tokens

    def mark(self, request: Request) -> None:
        """Set the CORS fields of a response of any status."""
        if request.method in SHARED:
            for name, value in READ_FIELDS:
                request.setHeader(name, value)
        elif self._write_origins:
            request.setHeader(b"Vary", b"Origin")
            origin = request.getHeader(b"origin")
            if origin in self._write_origins:
                request.setHeader(b"Access-Control-Allow-Origin", origin)
                request.setHeader(*self._exposed)

    def answer_options(self, request: Request, methods: Iterable[str]) -> None:
        """
        Respond to OPTIONS for a path with `methods`.

        A permitted preflight gets the CORS fields; one that is not gets none, which
        denies it.
        """
        allowed = {method.encode("ascii") for method in methods}
        request.setResponseCode(204)
        request.setHeader(b"Allow", _names(allowed | {b"OPTIONS"}))
        request.setHeader(b"Vary", b"Origin, Access-Control-Request-Method")
        origin = request.getHeader(b"origin")
        wanted = request.getHeader(b"access-control-request-method")
        if origin is None or wanted not in allowed:
            return
        fields = _ALLOWED_FIELDS
        if wanted in SHARED:
            request.setHeader(b"Access-Control-Allow-Origin", b"*")
            allowed &= SHARED
        elif origin in self._write_origins:
            request.setHeader(b"Access-Control-Allow-Origin", origin)
            fields = self._write_fields
        else:
            return
        request.setHeader(b"Access-Control-Allow-Methods", _names(allowed))
        request.setHeader(b"Access-Control-Allow-Headers", fields)
        request.setHeader(b"Access-Control-Max-Age", _MAX_AGE)


def _names(methods: Iterable[bytes]) -> bytes:
    return b", ".join(sorted(methods))
