"""
Queries on the storage, as values, independent of the engine.

An `IEngine` answers them; the error classes are those of `asciid.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from asciid.model import (
    AboutRecord,
    BlockedHash,
    Cursor,
    ImageSpec,
    ListedImage,
    UploadStatus,
)
from asciid.store.operations import Expired, Kind, Unverified
from asciid.store.stats import StoreUsage

__all__ = [
    "BRIEF_CHUNKS",
    "ExpiredPage",
    "FindComplete",
    "FindExpired",
    "FindNeighbours",
    "FindPrefix",
    "Found",
    "HashWith",
    "IsComplete",
    "ListBlocked",
    "ListImages",
    "MeasureUsage",
    "PickRandom",
    "Query",
    "ReadAbout",
    "ReadBriefStatus",
    "ReadRanges",
    "ReadStatus",
    "Several",
    "StoredImage",
]

AnswerT = TypeVar("AnswerT")

BRIEF_CHUNKS = 1_000
"""Chunks of an upload whose status takes little time."""


class StoredImage(Struct, frozen=True, array_like=True):
    """A complete image, and how its bytes are found."""

    spec: ImageSpec
    number: int
    """As the engine numbers them: the same hash, stored again, has another one."""
    piece_size: int
    """Bytes of each piece that is stored, but for the last."""
    completed: float
    """When it became complete, in seconds since the epoch."""


class Found(Struct, frozen=True, array_like=True):
    """The answer to `FindComplete`."""

    image: StoredImage
    content: bytes | None
    """All its bytes, if it is small; they were checked against the hash."""


class ExpiredPage(Struct, frozen=True, array_like=True):
    """The answer to `FindExpired`."""

    found: list[Expired]
    rest: bytes
    """Where to continue; empty after the last."""


class Query(Struct, Generic[AnswerT], frozen=True, array_like=True, tag=True):
    """A query, which is answered from one committed state."""


class FindComplete(Query[Found], frozen=True):
    """
    Find a complete image; return its content, too, if it has at most `up_to` bytes.

    Errors: `ImageNotFoundError`, `ImageGoneError`, `ImageBlockedError`,
    `ImageIncompleteError`.
    """

    sha256: str
    up_to: int


class IsComplete(Query[bool], frozen=True):
    """
    Return whether an image is registered and complete.

    Errors: `ImageBlockedError`.
    """

    sha256: str


class ReadRanges(Query[Sequence[bytes]], frozen=True):
    """
    Read the bytes ``[start, end)`` of an image, for each of `ranges`.

    Errors: `ImageNotFoundError` if that image was removed.
    """

    image: StoredImage
    ranges: Sequence[tuple[int, int]]


class ReadStatus(Query[UploadStatus], frozen=True):
    """
    Return the status of an image.

    Errors: `ImageNotFoundError`, `ImageGoneError`, `ImageBlockedError`.
    """

    sha256: str
    lifetime: float
    """Seconds from its last activity for which a pending upload is kept; 0: always."""


class ReadBriefStatus(Query[UploadStatus | None], frozen=True):
    """
    Return the same as `ReadStatus`, if that takes little time.

    For a pending upload of more than `BRIEF_CHUNKS` chunks it may be None.

    Errors: those of `ReadStatus`.
    """

    sha256: str
    lifetime: float


class HashWith(Query[str], frozen=True):
    """
    Return the SHA-256 of an upload's chunks, with `data` as the one that is missing.

    If another is missing, too, the hash is useless: `Finish` fails.
    """

    upload: Unverified
    chunk_id: int
    data: bytes


class MeasureUsage(Query[StoreUsage], frozen=True):
    """
    Return the numbers of images and the sizes.

    Errors: `OSError`.
    """


class FindExpired(Query[ExpiredPage], frozen=True):
    """
    Find entries older than `older_than` seconds among a bounded number of records.

    `start` is the `ExpiredPage.rest` of the page before, or empty.
    """

    kind: Kind
    older_than: float
    start: bytes


class ReadAbout(Query[AboutRecord], frozen=True):
    """See `IImageStore.about`."""

    sha256: str


class ListImages(Query[list[ListedImage]], frozen=True):
    """See `IImageStore.list_images`; `limit` is at most `MAX_LISTED`."""

    before: Cursor | None
    limit: int


class FindNeighbours(Query[tuple[ListedImage | None, ListedImage | None]], frozen=True):
    """See `IImageStore.neighbours`."""

    sha256: str


class FindPrefix(Query[list[tuple[str, bool]]], frozen=True):
    """
    See `IImageStore.find`.

    Of the images whose hash begins so, an engine reads `MAX_SCANNED` at the most.
    """

    prefix: str


class PickRandom(Query[str | None], frozen=True):
    """
    Return the hash of a listed image, or None if there is none.

    Any of them may be drawn.  They need not be equally likely: so many images may be
    unlisted that to draw evenly would read all.  `seed` is drawn for each call.
    """

    seed: int
    """From 0 and less than 2**256."""


class ListBlocked(Query[list[BlockedHash]], frozen=True):
    """See `IImageStore.blocked`; `limit` is at most `MAX_LISTED`."""

    after: str
    limit: int


class Several(Query[list[Any]], frozen=True):
    """
    Answer several short queries from one state.

    The answer has the answer of each, or the domain error that it failed with.
    """

    queries: Sequence[Query[Any]]
