"""
Queries on the storage, as values, independent of the engine.

An `IEngine` answers them; the error classes are those of `asciid.errors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from asciid.model import ImageSpec, UploadStatus
from asciid.store.operations import Expired, Kind, Unverified
from asciid.store.stats import StoreUsage

__all__ = [
    "ExpiredPage",
    "FindComplete",
    "FindExpired",
    "Found",
    "HashWith",
    "IsComplete",
    "MeasureUsage",
    "Query",
    "ReadRanges",
    "ReadStatus",
    "Several",
    "StoredImage",
]

AnswerT = TypeVar("AnswerT")


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

    Errors: `ImageNotFoundError`, `ImageGoneError`, `ImageIncompleteError`.
    """

    sha256: str
    up_to: int


class IsComplete(Query[bool], frozen=True):
    """Return whether an image is registered and complete."""

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

    Errors: `ImageNotFoundError`, `ImageGoneError`.
    """

    sha256: str
    lifetime: float
    """Seconds from its last activity for which a pending upload is kept; 0: always."""


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


class Several(Query[list[Any]], frozen=True):
    """
    Answer several short queries from one state.

    The answer has the answer of each, or the domain error that it failed with.
    """

    queries: Sequence[Query[Any]]
