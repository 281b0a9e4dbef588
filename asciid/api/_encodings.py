"""Images in a content coding, made once for many requests."""

from __future__ import annotations

import gzip
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import zstandard
from attrs import frozen
from twisted.internet.defer import Deferred

from asciid.store import ByteBoundedCache, footprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

    from asciid.runtime.offload import IOffload

__all__ = ["Encoded", "Encodings", "is_encodable"]

# A smaller image gains nothing worth the time; a larger one is not in memory.
_MIN_SIZE = 1024
_MAX_SIZE = 64 * 1024

_CAPACITY = 8 * 1024 * 1024
# What an entry takes besides its content, measured and rounded up.
_OVERHEAD = 512

_MAX_UNDER_WAY = 64
"""Codings that are made or wait for that; past it, images are sent bare."""

# Level 4 of gzip costs a third of the usual 6 and gives nearly as much.  A
# compressor of zstandard is not for several threads, so each call makes its own.
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


def is_encodable(size: int) -> bool:
    """Tell whether an image of `size` bytes may be sent in a content coding."""
    return _MIN_SIZE < size <= _MAX_SIZE


class Encodings:
    """
    Encodes images in a thread, and keeps what was used last, in at most 8 MiB.

    An image is named by its hash, so what is kept is right for as long as it is
    kept, also if the image was deleted and uploaded again.
    """

    def __init__(self, offload: IOffload) -> None:
        self._offload = offload
        self._kept: ByteBoundedCache[Encoded] = ByteBoundedCache(_CAPACITY, _CAPACITY)
        # Key -> the requests that wait for the same coding of the same image.
        self._under_way: dict[str, list[Deferred[Encoded]]] = {}

    @property
    def is_full(self) -> bool:
        """Whether so many codings are under way that no other should begin."""
        return len(self._under_way) >= _MAX_UNDER_WAY

    def kept(self, sha256_hex: str, coding: bytes) -> Encoded | None:
        """Return an image in a coding if that is in memory."""
        return self._kept.get(_key(sha256_hex, coding))

    def encode(
        self, sha256_hex: str, content: bytes, coding: bytes
    ) -> Deferred[Encoded]:
        """
        Return the image `content` in a content coding.

        Requests for the same share one call.  Cancelling the Deferred ends the wait
        for it and not the call, whose result is kept.

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
        # An answer may lead to the cancellation of another.
        waiting = self._under_way[key]
        while waiting:
            waiting.pop(0).callback(outcome)
        del self._under_way[key]


def _key(sha256_hex: str, coding: bytes) -> str:
    return f"{sha256_hex} {coding.decode('ascii')}"


def _encode(content: bytes, coding: bytes) -> Encoded:
    result = _ENCODERS[coding](content)
    return Encoded(result, sha256(result).digest())
