"""Style sheet, scripts and icons, which never change under their names."""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import sha256
from mimetypes import guess_type
from typing import TYPE_CHECKING

from attrs import frozen
from werkzeug.exceptions import NotFound

from asciid.api._conditions import unmodified_tag
from asciid.api._negotiation import accepted_codings
from asciid.web.assets import static_files

if TYPE_CHECKING:
    from asciid.api._request_interface import Request

__all__ = ["StaticFiles"]

_FOREVER = b"public, max-age=31536000, immutable"
_A_DAY = b"public, max-age=86400"

_TEXTS = ("text/", "image/svg+xml")
"""Beginnings of the media types that are worth compressing."""


@frozen
class _File:
    """A file, ready to be sent."""

    content: bytes
    gzip: bytes
    """Empty where that would not be shorter."""
    content_type: bytes
    tag: bytes


class StaticFiles:
    """The files of the pages, in memory: some 40 KB."""

    def __init__(self) -> None:
        self._files = {
            name: _ready(name, content) for name, content in static_files().items()
        }

    def answer(self, request: Request, name: str) -> bytes:
        """
        Set the status and the header fields of a GET or HEAD; return the body.

        `name` has a hash of the content, so that it may be cached for ever.

        Errors: `NotFound`, `PreconditionFailedError`.
        """
        if name not in self._files:
            raise NotFound
        return self._answer(request, self._files[name], _FOREVER)

    def answer_icon(self, request: Request) -> bytes:
        """
        Send the icon under the name that browsers guess.

        Errors: `PreconditionFailedError`.
        """
        [icon] = [
            file for name, file in self._files.items() if name.startswith("favicon-")
        ]
        return self._answer(request, icon, _A_DAY)

    def redirect_to_icon(self, request: Request) -> bytes:
        """Redirect to the name of the icon."""
        request.setResponseCode(301)
        request.setHeader(b"Location", b"/favicon.svg")
        request.setHeader(b"Cache-Control", _A_DAY)
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        return b"/favicon.svg\n"

    def _answer(self, request: Request, file: _File, cache_control: bytes) -> bytes:
        accept_encoding = request.getHeader(b"accept-encoding")
        coded = (
            accept_encoding is not None
            and bool(file.gzip)
            and b"gzip" in accepted_codings(accept_encoding).preferred
        )
        plain_tag, coded_tag = b'"%b"' % file.tag, b'"%b-gzip"' % file.tag
        etag = coded_tag if coded else plain_tag
        unmodified = unmodified_tag(
            request, etag, others=lambda: (plain_tag, coded_tag)
        )
        request.setHeader(b"ETag", unmodified or etag)
        request.setHeader(b"Cache-Control", cache_control)
        if file.gzip:
            request.setHeader(b"Vary", b"Accept-Encoding")
        if unmodified is not None:
            request.setResponseCode(304)
            return b""
        content = file.gzip if coded else file.content
        request.setHeader(b"Content-Type", file.content_type)
        request.setHeader(b"Content-Length", b"%d" % len(content))
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Content-Security-Policy", b"default-src 'none'; sandbox")
        if coded:
            request.setHeader(b"Content-Encoding", b"gzip")
        return content


@cache
def _ready(name: str, content: bytes) -> _File:
    kind = guess_type(name)[0] or "application/octet-stream"
    coded = b""
    if kind.startswith(_TEXTS):
        coded = gzip.compress(content, compresslevel=9, mtime=0)
        kind += "; charset=utf-8" * kind.startswith("text/")
    tag = sha256(content).hexdigest()[:32].encode("ascii")
    return _File(
        content,
        coded if len(coded) < len(content) else b"",
        kind.encode("ascii"),
        tag,
    )
