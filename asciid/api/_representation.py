"""The forms in which an image is sent, prepared once for many requests."""

from __future__ import annotations

import gzip
import time
from hashlib import sha256
from typing import TYPE_CHECKING
from wsgiref.handlers import format_date_time

import zstandard
from attrs import define, field, frozen

from asciid.api._cors import READ_FIELDS
from asciid.api._digests import digest_field
from asciid.store import ByteBoundedCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.store import IImageReader

__all__ = ["TEXT", "Image", "Representation", "Representations"]

Fields = tuple[tuple[bytes, bytes], ...]

TEXT = b"text/plain; charset=utf-8"

# A smaller image gains nothing worth the time; a larger one would take too
# long on the reactor's thread.
_MIN_ENCODED = 1024
_MAX_ENCODED = 64 * 1024

_CAPACITY = 16 * 1024 * 1024
# What an image without encoded forms takes, measured and rounded up.
_OVERHEAD = 3 * 1024

_CACHED_FOR_GOOD = (b"Cache-Control", b"public, max-age=31536000, immutable")
_VARIES = (b"Vary", b"Accept-Encoding")
# A text may look like a page to a browser; it must not become one of ours.
_HARMLESS = (
    (b"X-Content-Type-Options", b"nosniff"),
    (
        b"Content-Security-Policy",
        b"default-src 'none'; frame-ancestors 'none'; sandbox",
    ),
)

# Level 4 costs a third of the usual 6 and gives nearly as much.
_ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"zstd": zstandard.ZstdCompressor(level=3).compress,
    b"gzip": lambda content: gzip.compress(content, compresslevel=4, mtime=0),
}


@frozen
class Representation:
    """One form of an image: as it is, or in a content coding."""

    etag: bytes
    """The strong entity tag, with its quotes."""
    digest: bytes
    """The value of Repr-Digest with SHA-256."""
    fields: Fields
    """The header fields of a 200, Repr-Digest apart."""
    kept_fields: Fields
    """The header fields of a 304 (RFC 9110, section 15.4.5)."""
    content: bytes | None = None
    """All bytes of an encoded form; None for the image as it is."""


@define
class Image:
    """What is sent of one complete image."""

    sha256: str
    size: int
    completed: float
    modified: int
    """Last-Modified, in seconds since the epoch."""
    identity: Representation
    """The bare image."""
    encoded: dict[bytes, Representation | None] = field(factory=dict)
    """The other forms by their coding; None where one is not smaller."""

    @property
    def memory(self) -> int:
        """Roughly the bytes it takes."""
        forms = filter(None, self.encoded.values())
        return _OVERHEAD + sum(_OVERHEAD + len(form.content or b"") for form in forms)


class Representations:
    """
    Prepares images and remembers those used last, in at most 16 MiB.

    `clock` tells the time in seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: ByteBoundedCache[Image] = ByteBoundedCache(_CAPACITY, _CAPACITY)

    def of(self, reader: IImageReader) -> Image:
        """Return the image of `reader`, prepared."""
        sha256 = reader.spec.sha256
        image = self._kept.get(sha256)
        # An image can be deleted and come back: the same bytes at another time.
        if image is None or image.completed != reader.completed:
            image = self._prepare(reader)
            self._kept.put(sha256, image, image.memory)
        return image

    def encode(
        self, image: Image, reader: IImageReader, coding: bytes
    ) -> Representation | None:
        """
        Return `image` in a content coding, which is made once.

        Return None if the image is too small or too large for that, or not in
        memory, or would not become smaller.
        """
        content = reader.content
        if content is None or not _is_encodable(image.size):
            return None
        if coding not in image.encoded:
            encoded = _ENCODERS[coding](content)
            image.encoded[coding] = (
                _encoded(image, coding, encoded) if len(encoded) < image.size else None
            )
            self._kept.put(image.sha256, image, image.memory)
        return image.encoded[coding]

    def _prepare(self, reader: IImageReader) -> Image:
        spec = reader.spec
        # Never later than Date (RFC 9110, section 8.8.2.1).
        modified = int(min(reader.completed, self._clock()))
        identity = _bare(spec.sha256, spec.size, modified)
        return Image(spec.sha256, spec.size, reader.completed, modified, identity)


def _is_encodable(size: int) -> bool:
    return _MIN_ENCODED < size <= _MAX_ENCODED


def _bare(image_hash: str, size: int, modified: int) -> Representation:
    etag = b'"%b"' % image_hash.encode("ascii")
    return Representation(
        etag,
        digest_field(b"sha-256", bytes.fromhex(image_hash)),
        (
            (b"Content-Length", b"%d" % size),
            (b"Accept-Ranges", b"bytes"),
            *_common_fields(image_hash, modified),
            *_kept_fields(etag, size),
        ),
        _kept_fields(etag, size),
    )


def _encoded(image: Image, coding: bytes, content: bytes) -> Representation:
    etag = b'"%b-%b"' % (image.sha256.encode("ascii"), coding)
    return Representation(
        etag,
        digest_field(b"sha-256", sha256(content).digest()),
        (
            # Without Accept-Ranges: a range would be one of the bare image, and
            # must not be joined to a part of this.
            (b"Content-Length", b"%d" % len(content)),
            (b"Content-Encoding", coding),
            *_common_fields(image.sha256, image.modified),
            *_kept_fields(etag, image.size),
        ),
        _kept_fields(etag, image.size),
        content,
    )


def _common_fields(image_hash: str, modified: int) -> Fields:
    name = image_hash.encode("ascii")
    return (
        (b"Content-Type", TEXT),
        (b"Content-Disposition", b'inline; filename="%b.txt"' % name),
        (b"Last-Modified", format_date_time(modified).encode("ascii")),
        *_HARMLESS,
    )


def _kept_fields(etag: bytes, size: int) -> Fields:
    varies = (_VARIES,) if _is_encodable(size) else ()
    return ((b"ETag", etag), _CACHED_FOR_GOOD, *varies, *READ_FIELDS)
