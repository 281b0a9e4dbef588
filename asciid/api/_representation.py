"""Header fields of the representations of an image."""

from __future__ import annotations

from functools import cache, lru_cache
from http import HTTPStatus
from wsgiref.handlers import format_date_time

from msgspec import Struct

from asciid.api._conditions import last_modified
from asciid.api._content_codings import ENCODABLE
from asciid.api._cors import READ_FIELDS
from asciid.api._negotiation import CODINGS
from asciid.http import PreparedHead, encode_fields
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

_CONTENT_FIELDS = (
    (b"Content-Type", TEXT),
    # An image that looks like HTML must not run as a page of this origin.
    (b"X-Content-Type-Options", b"nosniff"),
    (
        b"Content-Security-Policy",
        b"default-src 'none'; frame-ancestors 'none'; sandbox",
    ),
)


_LINES = encode_fields(
    (
        (b"Content-Disposition", b'inline; filename="%b.txt"'),
        (b"Last-Modified", b"%b"),
        (b"ETag", b'"%b%b"'),
    )
)
_LINES_WITH_DIGEST = _LINES + encode_fields(((b"Repr-Digest", b"%b"),))
_ETAG_LINE = encode_fields(((b"ETag", b"%b"),))
"""Formats of lines, whose values have no control characters."""


def entity_tags(sha256: str, size: int) -> tuple[bytes, ...]:
    """Return the entity tags of all representations of an image, identity first."""
    name = sha256.encode("ascii")
    codings = CODINGS if size in ENCODABLE else ()
    return (_BARE_TAG % name, *(_CODED_TAG % (name, coding) for coding in codings))


class Representation(Struct, frozen=True):
    """
    A representation of an image, in identity or a content coding.

    Does not require the encoded bytes.
    """

    spec: ImageSpec
    completed: float
    """When the image became complete, in seconds since the epoch."""
    now: float
    coding: bytes | None
    """None for identity."""

    @property
    def modified(self) -> int:
        """Last-Modified in seconds since the epoch."""
        return last_modified(self.completed, self.now)

    @property
    def etag(self) -> bytes:
        """The strong entity tag, with its quotes."""
        name = self.spec.sha256.encode("ascii")
        if self.coding is None:
            return _BARE_TAG % name
        return _CODED_TAG % (name, self.coding)

    def all_tags(self) -> tuple[bytes, ...]:
        """Return the entity tags of all representations of the image."""
        return entity_tags(self.spec.sha256, self.spec.size)

    def head(self, status: int) -> PreparedHead:
        """
        Return the head of a response, without the fields that vary with the image.

        `status` is 200, 206 or 304.
        """
        return _head(status, self.coding, self.spec.size in ENCODABLE)

    def lines(self, digest: bytes | None) -> bytes:
        """
        Return the lines of the fields that vary with the image, for a 200 or 206.

        `digest` is the value of Repr-Digest, None if the client wants none.
        """
        name = self.spec.sha256.encode("ascii")
        coding = b"" if self.coding is None else b"-" + self.coding
        date = _format_date(self.modified)
        if digest is None:
            return _LINES % (name, date, name, coding)
        return _LINES_WITH_DIGEST % (name, date, name, coding, digest)

    def kept_lines(self, etag: bytes) -> bytes:
        """
        Return the lines of the fields that vary with the image, for a 304.

        `etag` is that of the client's representation, which may be another one.
        """
        return _ETAG_LINE % etag


@cache
def _head(status: int, coding: bytes | None, is_negotiated: bool) -> PreparedHead:  # noqa: FBT001 - called for every response
    fields = list(_KEPT_FIELDS)
    if status != HTTPStatus.NOT_MODIFIED:
        fields += _CONTENT_FIELDS
        if coding is None:
            fields.append((b"Accept-Ranges", b"bytes"))
        else:
            # No Accept-Ranges: ranges are of identity, and must not be combined with
            # parts of this coding.
            fields.append((b"Content-Encoding", coding))
    if is_negotiated:
        fields.append((b"Vary", b"Accept-Encoding"))
    return PreparedHead(status, fields)


@lru_cache(maxsize=64)
def _format_date(seconds: int) -> bytes:
    return format_date_time(seconds).encode("ascii")
