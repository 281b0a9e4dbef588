"""Static documents."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from asciid.api._conditions import unmodified_tag

if TYPE_CHECKING:
    from asciid.api._request_interface import Request

__all__ = ["Document"]


class Document:
    """
    A static document with its header fields.

    `content_type` is the value of Content-Type for the bytes in `content`.
    """

    def __init__(self, content: bytes, content_type: bytes) -> None:
        self._content = content
        self._content_type = content_type
        self._etag = b'"%b"' % sha256(content).hexdigest().encode("ascii")

    def answer(self, request: Request) -> bytes:
        """
        Set the status and the header fields of a GET or HEAD; return the body.

        Errors: `PreconditionFailedError`.
        """
        unmodified = unmodified_tag(request, self._etag)
        request.setHeader(b"ETag", unmodified or self._etag)
        # It changes with releases and settings.
        request.setHeader(b"Cache-Control", b"max-age=300")
        if unmodified is not None:
            request.setResponseCode(304)
            return b""
        request.setHeader(b"Content-Type", self._content_type)
        request.setHeader(b"Content-Length", b"%d" % len(self._content))
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        return self._content
