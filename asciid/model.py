"""
Images, uploads and the arithmetic of chunks.

Everything here is an immutable value or a pure function: no IO, no clock.

A *chunk* is a run of an image's bytes.  Chunk ``i`` of an image of ``size``
bytes cut every ``chunk_size`` bytes holds the bytes
``[i * chunk_size, min((i + 1) * chunk_size, size))``; ids count from 0.
"""

from __future__ import annotations

import enum
from hashlib import sha256

from attrs import field, frozen

__all__ = [
    "EMPTY_SHA256",
    "MAX_CHUNKS",
    "ImageSpec",
    "ImageState",
    "UploadStatus",
]

EMPTY_SHA256 = sha256(b"").hexdigest()
"""The hash of the only image that has no chunks."""

MAX_CHUNKS = 2**32 - 1
"""The most chunks an image may have: ids are stored in 32 bits, one is kept."""


@frozen
class ImageSpec:
    """What a client states about an image when it registers it."""

    sha256: str
    """SHA-256 of the image's bytes: 64 lower-case hex digits."""
    size: int
    """Length of the image in bytes, from 0."""
    chunk_size: int
    """Length in bytes of every chunk but the last, from 1."""

    @property
    def chunks(self) -> int:
        """The number of chunks: ``ceil(size / chunk_size)``."""
        return -(-self.size // self.chunk_size)

    def chunk_length(self, chunk_id: int) -> int:
        """Return the length in bytes of chunk `chunk_id`, which must exist."""
        return min(self.chunk_size, self.size - chunk_id * self.chunk_size)

    def chunks_between(self, start: int, end: int) -> range:
        """
        Return the ids of the chunks that hold the bytes ``[start, end)``.

        `start` and `end` must satisfy ``0 <= start <= end <= size``.
        """
        if start == end:
            return range(0)
        return range(start // self.chunk_size, -(-end // self.chunk_size))


class ImageState(enum.Enum):
    """How far an image has come."""

    PENDING = "pending"
    """Registered; chunks are missing."""
    COMPLETE = "complete"
    """Every byte is stored and the hash was checked: it can be downloaded."""


@frozen
class UploadStatus:
    """What is stored of a registered image at one moment."""

    spec: ImageSpec
    state: ImageState
    received: int
    """Bytes stored."""
    created: float
    """When it was registered, in seconds since the epoch."""
    completed: float | None = None
    """When it became complete, in seconds since the epoch."""
    missing: tuple[tuple[int, int], ...] = field(default=())
    """Ids of the chunks not stored, as ascending inclusive ``(first, last)``."""
    missing_cut: bool = False
    """Whether `missing` was cut short: more is missing than it names."""
    expires: float | None = None
    """
    When a pending upload is thrown away unless there is activity before, in
    seconds since the epoch; None is never.
    """
