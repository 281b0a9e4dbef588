"""Rules that every store applies, whatever it keeps the bytes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asciid.errors import ChunkOutOfRangeError, ChunkSizeError, HashMismatchError
from asciid.model import EMPTY_SHA256

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asciid.model import ImageSpec

__all__ = [
    "MAX_MISSING_RANGES",
    "PIECE",
    "check_chunk",
    "check_empty",
    "missing_ranges",
]

PIECE = 64 * 1024
"""
The chunk size, in bytes, of images that are stored in one request and were not
registered before.
"""

MAX_MISSING_RANGES = 1_000
"""The most ranges of missing chunks that a status names."""


def check_chunk(spec: ImageSpec, chunk_id: int, length: int) -> None:
    """
    Refuse a chunk that cannot belong to the image.

    Errors: `ChunkOutOfRangeError`, `ChunkSizeError`.
    """
    if not 0 <= chunk_id < spec.chunks:
        raise ChunkOutOfRangeError(chunk_id, spec.chunks)
    expected = spec.chunk_length(chunk_id)
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
