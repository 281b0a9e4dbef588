"""Images in a content coding, made once for many requests."""

from __future__ import annotations

import gzip
from hashlib import sha256
from typing import TYPE_CHECKING

import zstandard
from attrs import frozen

from asciid.store import ByteBoundedCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from asciid.store import IImageReader

__all__ = ["Encoded", "Encodings", "is_encodable"]

# A smaller image gains nothing worth the time; a larger one would take too
# long on the reactor's thread.
_MIN_SIZE = 1024
_MAX_SIZE = 64 * 1024

_CAPACITY = 8 * 1024 * 1024
# What an entry takes besides its content, measured and rounded up.
_OVERHEAD = 512

# Level 4 of gzip costs a third of the usual 6 and gives nearly as much.
_ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"zstd": zstandard.ZstdCompressor(level=3).compress,
    b"gzip": lambda content: gzip.compress(content, compresslevel=4, mtime=0),
}


@frozen
class Encoded:
    """An image in a content coding."""

    coding: bytes
    """The coding, as in Content-Encoding."""
    content: bytes | None
    """All bytes, or None if they would be no fewer than the bare image has."""
    digest: bytes
    """The SHA-256 of the bytes."""


def is_encodable(size: int) -> bool:
    """Tell whether an image of `size` bytes may be sent in a content coding."""
    return _MIN_SIZE < size <= _MAX_SIZE


class Encodings:
    """Encodes images and keeps what was used last, in at most 8 MiB."""

    def __init__(self) -> None:
        self._kept: ByteBoundedCache[Encoded] = ByteBoundedCache(_CAPACITY, _CAPACITY)

    def encode(self, reader: IImageReader, coding: bytes) -> Encoded | None:
        """
        Return an image in a content coding.

        Return None if the image is too small or too large for that, is not in
        memory, or would not become smaller.
        """
        content = reader.content
        if content is None or not is_encodable(len(content)):
            return None
        key = f"{reader.spec.sha256} {coding.decode('ascii')}"
        encoded = self._kept.get(key)
        if encoded is None:
            encoded = _encode(content, coding)
            size = len(encoded.content or b"")
            self._kept.put(key, encoded, _OVERHEAD + size)
        return None if encoded.content is None else encoded


def _encode(content: bytes, coding: bytes) -> Encoded:
    result = _ENCODERS[coding](content)
    if len(result) >= len(content):
        return Encoded(coding, None, b"")
    return Encoded(coding, result, sha256(result).digest())
