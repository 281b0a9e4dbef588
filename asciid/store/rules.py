"""Rules that every store applies, whatever it keeps the bytes in."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from asciid.errors import (
    AboutChangedError,
    ChunkOutOfRangeError,
    ChunkSizeError,
    EditKeyError,
    HashMismatchError,
)
from asciid.model import EMPTY_SHA256, About, AboutRecord, NewImage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asciid.model import ImageSpec

__all__ = [
    "MAX_FOUND",
    "MAX_LISTED",
    "MAX_MISSING_RANGES",
    "MAX_SCANNED",
    "PIECE",
    "check_chunk",
    "check_empty",
    "check_key",
    "check_revision",
    "keeps_record",
    "missing_ranges",
    "record_of",
]

PIECE = 64 * 1024
"""
The chunk size, in bytes, of images that are stored in one request and were not
registered before.
"""

MAX_MISSING_RANGES = 1_000
"""The most ranges of missing chunks that a status names."""

MAX_LISTED = 1_000
"""The most images, or blocked hashes, in the answer to one query."""

MAX_FOUND = 10
"""The most images that `FindPrefix` returns."""

MAX_SCANNED = 10_000
"""
The most records that are read for `FindPrefix`, and for `PickRandom`, where pending or
unlisted images have to be skipped.
"""


def check_chunk(spec: ImageSpec, chunk_id: int, length: int) -> None:
    """
    Refuse a chunk that cannot belong to the image.

    Errors: `ChunkOutOfRangeError`, `ChunkSizeError`.
    """
    left = spec.size - chunk_id * spec.chunk_size
    if chunk_id < 0 or left <= 0:
        raise ChunkOutOfRangeError(chunk_id, spec.chunks)
    expected = min(spec.chunk_size, left)
    if length != expected:
        raise ChunkSizeError(chunk_id, expected=expected, actual=length)


def check_empty(spec: ImageSpec) -> None:
    """
    Refuse the registration of an image of size 0 under another hash than its own.

    Errors: `HashMismatchError`.
    """
    if spec.size == 0 and spec.sha256 != EMPTY_SHA256:
        raise HashMismatchError(spec.sha256, EMPTY_SHA256)


def missing_ranges(
    stored: Iterable[tuple[int, int]], chunks: int, limit: int = MAX_MISSING_RANGES
) -> tuple[tuple[tuple[int, int], ...], bool]:
    """
    Return the gaps between the ids that are stored, out of `chunks` ids.

    `stored` are runs of ids, each its first and its last, in ascending order.
    The second member is whether there are more gaps than `limit`, which are
    left out.  Runs are walked no further than that takes.
    """
    gaps: list[tuple[int, int]] = []
    expected = 0
    for first, last in stored:
        if first != expected:
            if len(gaps) == limit:
                return tuple(gaps), True
            gaps.append((expected, first - 1))
        expected = last + 1
    if expected < chunks:
        if len(gaps) == limit:
            return tuple(gaps), True
        gaps.append((expected, chunks - 1))
    return tuple(gaps), False


def check_key(sha256: str, key_hash: bytes | None, stored: bytes) -> None:
    """
    Refuse the hash of an edit key that is not `stored`; None needs no key.

    Errors: `EditKeyError`, also if nothing is stored.
    """
    if key_hash is None:
        return
    if not stored or not hmac.compare_digest(key_hash, stored):
        raise EditKeyError(sha256)


def check_revision(sha256: str, expected: int | None, current: int) -> None:
    """
    Refuse a change of another revision than the `current` one; None is any.

    Errors: `AboutChangedError`.
    """
    if expected is not None and expected != current:
        raise AboutChangedError(sha256, current)


def keeps_record(before: AboutRecord | None) -> bool:
    """
    Return whether a PUT of an image keeps the record `before` of its registration.

    Only the holder of an edit key may change what is said about an image.  Without a
    key nobody could change it any more: the record is that of the PUT then.
    """
    return before is not None and bool(before.key_hash)


def record_of(
    new: NewImage | None, before: AboutRecord | None, revision: int, *, listed: bool
) -> AboutRecord | None:
    """
    Return what to store beside an image that is uploaded, None for the defaults.

    `before` is what a pending registration has, which is kept if `keeps_record`;
    otherwise that is what `new` brings.  `listed` is whether the image is listed if
    that does not say so.
    """
    if before is not None and keeps_record(before):
        return AboutRecord(before.about, revision, before.key_hash, before.charset)
    if new is None or new == NewImage():
        return None if listed else AboutRecord(About(listed=False), revision)
    about = new.about or About(listed=listed)
    return AboutRecord(about, revision, new.key_hash, new.charset)
