"""
Images, uploads and the arithmetic of chunks.

Immutable values and pure functions: no IO, no clock.

A *chunk* is a contiguous part of an image.  Chunk ``i`` of an image of ``size`` bytes
with a given ``chunk_size`` holds the bytes ``[i * chunk_size, min((i + 1) * chunk_size,
size))``; ids count from 0.
"""

from __future__ import annotations

import enum
from hashlib import sha256

from attrs import field, frozen
from msgspec import Struct

__all__ = [
    "EMPTY_SHA256",
    "MAX_CHUNKS",
    "About",
    "AboutRecord",
    "BlockedHash",
    "Cursor",
    "ImageSpec",
    "ImageState",
    "ListedImage",
    "NewImage",
    "UploadStatus",
]

EMPTY_SHA256 = sha256(b"").hexdigest()
"""The hash of the empty image, which has no chunks."""

MAX_CHUNKS = 2**32 - 1
"""Maximum chunks of an image: ids have 32 bits, of which one value is reserved."""


class ImageSpec(Struct, frozen=True):
    """The parameters of a registration."""

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
    """The state of an image."""

    PENDING = "pending"
    """Registered; chunks are missing."""
    COMPLETE = "complete"
    """All bytes are stored and the hash is verified: it can be downloaded."""


@frozen
class UploadStatus:
    """The status of a registered image."""

    spec: ImageSpec
    state: ImageState
    received: int
    """Bytes stored."""
    created: float
    """Time of registration, in seconds since the epoch."""
    completed: float | None = None
    """Time of completion, in seconds since the epoch."""
    missing: tuple[tuple[int, int], ...] = field(default=())
    """Ids of the missing chunks, as ascending inclusive ``(first, last)``."""
    missing_cut: bool = False
    """Whether `missing` is truncated."""
    expires: float | None = None
    """
    When a pending upload expires without further activity, in seconds since the epoch;
    None: never.
    """


class About(Struct, frozen=True):
    """What the uploader says about an image; see `asciid.store._about_rules`."""

    title: str = ""
    description: str = ""
    """The alternative text; may have several lines."""
    author: str = ""
    licence: str = ""
    """An SPDX license expression, or an http(s) URL."""
    tags: tuple[str, ...] = ()
    listed: bool = True
    """Whether listings, the feed and random draws name the image."""
    expires: int = 0
    """
    When the image is to be deleted, in milliseconds since the epoch; 0: as the server
    is configured.
    """


class NewImage(Struct, frozen=True, array_like=True):
    """What an upload brings besides the bytes."""

    about: About | None = None
    """None: the defaults, or what a pending registration brought."""
    key_hash: bytes = b""
    """SHA-256 of the edit key; empty: there is none."""
    charset: str = ""
    """The charset that the bytes were transcoded from; empty: sent as UTF-8."""


class AboutRecord(Struct, frozen=True, array_like=True):
    """What is stored beside an image."""

    about: About
    revision: int
    """Another one with each change, and never used again for the same hash."""
    key_hash: bytes = b""
    """As in `NewImage`."""
    charset: str = ""
    """As in `NewImage`."""


class Cursor(Struct, frozen=True, array_like=True):
    """A place in the listing, which is ordered by time of completion, then number."""

    completed: int
    """Milliseconds since the epoch."""
    number: int


class ListedImage(Struct, frozen=True, array_like=True):
    """A complete image that is listed."""

    spec: ImageSpec
    completed: int
    """When it became complete, in milliseconds since the epoch."""
    number: int
    """The upload, as the engine numbers them."""
    record: AboutRecord

    @property
    def cursor(self) -> Cursor:
        """Its place in the listing."""
        return Cursor(self.completed, self.number)


class BlockedHash(Struct, frozen=True, array_like=True):
    """A hash that is refused."""

    sha256: str
    reason: str
    """One line, which is shown to clients."""
    since: int
    """When it was blocked first, in milliseconds since the epoch."""
