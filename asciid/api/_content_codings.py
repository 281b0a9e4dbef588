"""A cache of images in content codings."""

from __future__ import annotations

import gzip
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import zstandard
from attrs import frozen
from twisted.internet.defer import Deferred

from asciid.runtime.cache import ByteBoundedCache, footprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from asciid.runtime.offload import IOffload

__all__ = ["ENCODABLE", "Encoded", "Encodings"]

ENCODABLE = range(1_400, 64 * 1024 + 1)
"""
Bytes of an image that may be sent in a content coding.

A smaller one takes about one packet in any coding, and compressing it costs more than
all of the response; larger ones are not in memory.
"""

_CAPACITY = 8 * 1024 * 1024
# Overhead of an entry, measured and rounded up.
_OVERHEAD = 512

_MAX_UNDER_WAY = 64
"""Maximum compressions running or queued; beyond it, images are sent uncompressed."""

# gzip level 4 takes a third of the time of 6, with nearly the same result.  A zstandard
# compressor is not thread-safe, so each call makes its own.
_ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"zstd": partial(zstandard.compress, level=3),
    b"gzip": partial(gzip.compress, compresslevel=4, mtime=0),
}


@frozen
class Encoded:
    """The bytes of an image in a content coding."""

    content: bytes
    digest: bytes
    """The SHA-256 of the content."""


class Encodings:
    """
    Encodes images in a thread, with an LRU cache of 8 MiB.

    Images are named by their hash, so entries never become invalid, even if the image
    was deleted and uploaded again.
    """

    def __init__(self, offload: IOffload) -> None:
        self._offload = offload
        self._kept: ByteBoundedCache[Encoded] = ByteBoundedCache(_CAPACITY, _CAPACITY)
        # Key -> the requests that wait for it.
        self._under_way: dict[str, list[Deferred[Encoded]]] = {}

    @property
    def is_full(self) -> bool:
        """Whether the limit on compressions is reached."""
        return len(self._under_way) >= _MAX_UNDER_WAY

    def kept(self, sha256_hex: str, coding: bytes) -> Encoded | None:
        """Return an image in a coding from the cache, if it is there."""
        return self._kept.get(_key(sha256_hex, coding))

    def encode(
        self, sha256_hex: str, content: bytes, coding: bytes
    ) -> Deferred[Encoded]:
        """
        Return the image `content` in a content coding.

        Concurrent requests share one compression.  Cancelling the Deferred does not
        cancel the compression, whose result is cached.

        Errors: those of `IOffload.in_thread`.
        """
        key = _key(sha256_hex, coding)
        waiting = self._under_way.get(key)
        answer: Deferred[Encoded] = Deferred(lambda it: self._leave(key, it))
        if waiting is not None:
            waiting.append(answer)
            return answer
        self._under_way[key] = [answer]
        encoding = self._offload.in_thread(lambda: _encode(content, coding))
        encoding.addCallback(self._keep, key)
        encoding.addBoth(lambda outcome: self._answer(outcome, key))
        return answer

    def _leave(self, key: str, answer: Deferred[Encoded]) -> None:
        self._under_way[key].remove(answer)

    def _keep(self, encoded: Encoded, key: str) -> Encoded:
        size = footprint(len(encoded.content), _OVERHEAD)
        self._kept.put(key, encoded, size)
        return encoded

    def _answer(self, outcome: Encoded | Failure, key: str) -> None:
        # A callback may cancel another waiter.
        waiting = self._under_way[key]
        while waiting:
            waiting.pop(0).callback(outcome)
        del self._under_way[key]


def _key(sha256_hex: str, coding: bytes) -> str:
    return f"{sha256_hex} {coding.decode('ascii')}"


def _encode(content: bytes, coding: bytes) -> Encoded:
    result = _ENCODERS[coding](content)
    return Encoded(result, sha256(result).digest())
