"""Header fields of the representations of an image."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

from asciid.api._content_codings import is_encodable
from asciid.api._cors import READ_FIELDS
from asciid.api._negotiation import CODINGS

if TYPE_CHECKING:
    from asciid.api._request_interface import Request
    from asciid.model import ImageSpec

__all__ = ["TEXT", "Representation", "entity_tags"]

TEXT = b"text/plain; charset=utf-8"

_BARE_TAG = b'"%b"'
_CODED_TAG = b'"%b-%b"'
"""Content coding -> format of the entity tag."""

_KEPT_FIELDS = (
    (b"Cache-Control", b"public, max-age=31536000, immutable"),
    *READ_FIELDS,
)
"""Fields that a 304 has, too (RFC 9110, section 15.4.5)."""

_CONSTANT_FIELDS = (
    (b"Content-Type", TEXT),
    # An image that looks like HTML must not run as a page of this origin.
    (b"X-Content-Type-Options", b"nosniff"),
    (
        b"Content-Security-Policy",
        b"default-src 'none'; frame-ancestors 'none'; sandbox",
    ),
    *_KEPT_FIELDS,
)


def entity_tags(sha256: str, size: int) -> tuple[bytes, ...]:
    """Return the entity tags of all representations of an image, identity first."""
    name = sha256.encode("ascii")
    codings = CODINGS if is_encodable(size) else ()
    return (_BARE_TAG % name, *(_CODED_TAG % (name, coding) for coding in codings))


class Representation:
    """
    A representation of an image, in identity or a content coding.

    `sha256` is the hash of the image, `modified` the Last-Modified in seconds since the
    epoch; `coding` is None for identity.  Does not require the encoded bytes.
    """

    __slots__ = ("_name", "_size", "coding", "etag", "modified", "sha256")

    def __init__(self, spec: ImageSpec, modified: int, coding: bytes | None) -> None:
        self.sha256 = spec.sha256
        self._name = name = spec.sha256.encode("ascii")
        self._size = spec.size
        self.coding = coding
        self.modified = modified
        self.etag = _BARE_TAG % name if coding is None else _CODED_TAG % (name, coding)

    def all_tags(self) -> tuple[bytes, ...]:
        """Return the entity tags of all representations of the image."""
        return entity_tags(self.sha256, self._size)

    def set_fields(self, request: Request, length: int | None) -> None:
        """
        Set the header fields of a 200 or 206, except digests.

        `length` is that of the body, None if unknown.
        """
        set_header = request.setHeader
        for name, value in _CONSTANT_FIELDS:
            set_header(name, value)
        if length is not None:
            set_header(b"Content-Length", b"%d" % length)
        set_header(b"Content-Disposition", b'inline; filename="%b.txt"' % self._name)
        set_header(b"Last-Modified", _format_date(self.modified))
        if self.coding is None:
            set_header(b"Accept-Ranges", b"bytes")
        else:
            # No Accept-Ranges: ranges are of identity, and must not be combined with
            # parts of this coding.
            set_header(b"Content-Encoding", self.coding)
        self._set_validators(request, self.etag)

    def set_kept_fields(self, request: Request, etag: bytes) -> None:
        """
        Set the header fields of a 304 (RFC 9110, section 15.4.5).

        `etag` is that of the client's representation, which may be another one.
        """
        for name, value in _KEPT_FIELDS:
            request.setHeader(name, value)
        self._set_validators(request, etag)

    def _set_validators(self, request: Request, etag: bytes) -> None:
        request.setHeader(b"ETag", etag)
        if is_encodable(self._size):
            request.setHeader(b"Vary", b"Accept-Encoding")


@lru_cache(maxsize=64)
def _format_date(seconds: int) -> bytes:
    return format_date_time(seconds).encode("ascii")
