"""
What a copy of a storage reads and writes: values, and the interfaces of both ends.

An engine whose images outlive the process offers both interfaces.  Their methods block
and are for commands, which have no reactor.  Times are in milliseconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from attrs import frozen

from asciid.errors import AsciidError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from asciid.model import AboutRecord, BlockedHash, ImageSpec

__all__ = [
    "DamagedUploadError",
    "GoneHash",
    "ICopySource",
    "ICopyTarget",
    "Pieces",
    "StoredUpload",
]

Pieces: TypeAlias = "Sequence[tuple[int, bytes]]"
"""Ids of pieces in ascending order, and their bytes."""


class DamagedUploadError(AsciidError):
    """What is stored under a hash cannot be copied; the text has the reason."""

    def __init__(self, sha256: str, reason: str) -> None:
        super().__init__(reason)
        self.sha256 = sha256


@frozen
class StoredUpload:
    """A complete image or a pending upload, without its bytes."""

    spec: ImageSpec
    number: int
    """As its engine numbers uploads."""
    piece_size: int
    """Bytes of each piece that is stored, but for the last one of the image."""
    missing: int
    """Bytes that are not stored; 0 of a complete image."""
    created: int
    active: int
    """Time of the last activity, by the clock that ages entries."""
    completed: int | None
    """None of a pending upload."""
    record: AboutRecord | None
    """None for the defaults."""

    @property
    def is_listed(self) -> bool:
        """Whether listings name it."""
        listed = self.record is None or self.record.about.listed
        return self.completed is not None and listed


@frozen
class GoneHash:
    """The record of an image that has expired."""

    sha256: str
    removed: int
    """Time of the removal, by the clock that ages entries."""


class ICopySource(Protocol):
    """
    A storage that is copied; all is read from one state of it.

    Pages have at most some hundred entries.
    """

    @property
    def next_number(self) -> int:
        """A number above those of all uploads and revisions."""

    @property
    def total(self) -> int:
        """How many images and pending uploads there are."""

    def listed(self) -> Iterator[Sequence[StoredUpload]]:
        """
        Yield pages of the listed images, in the order of the listing, oldest first.

        Images whose records are damaged are left out.
        """

    def uploads(self) -> Iterator[Sequence[StoredUpload | DamagedUploadError]]:
        """Yield pages of all images and pending uploads, in the order of the hash."""

    def read(self, uploads: Sequence[StoredUpload]) -> Sequence[Pieces]:
        """
        Return all pieces of each of `uploads`, which are small.

        Errors: `DamagedUploadError`.
        """

    def stream(self, upload: StoredUpload) -> Iterator[Pieces]:
        """
        Yield the pieces of `upload`, a bounded number of bytes and pieces at a time.

        Errors: `DamagedUploadError`.
        """

    def blocked(self) -> Iterator[Sequence[BlockedHash | DamagedUploadError]]:
        """Yield pages of the blocked hashes."""

    def gone(self) -> Iterator[Sequence[GoneHash]]:
        """Yield pages of the records of expired images."""


class ICopyTarget(Protocol):
    """
    A storage that a copy is written to; each method is one durable transaction.

    What the storage has stays: an upload is added unless its hash is blocked, or there
    is one with that hash already.  But a complete image takes the place of a pending
    upload.  The target numbers uploads anew, in the order in which they are added.
    """

    def reserve_numbers(self, below: int) -> None:
        """Give no number below `below` from now on: revisions may have them."""

    def find(
        self, hashes: Sequence[str]
    ) -> Mapping[str, StoredUpload | DamagedUploadError]:
        """Return the images and pending uploads that have one of `hashes`."""

    def find_blocked(self, hashes: Sequence[str]) -> Mapping[str, BlockedHash]:
        """Return which of `hashes` are blocked."""

    def add(self, uploads: Sequence[tuple[StoredUpload, Pieces]]) -> None:
        """Add uploads that are small together, with their verified pieces."""

    def begin(self) -> int:
        """Begin to stage an upload that is large; return its number."""

    def append(self, number: int, pieces: Pieces) -> None:
        """Store pieces of a staged upload."""

    def finish(self, number: int, upload: StoredUpload) -> None:
        """Add a staged upload, whose pieces are stored and verified."""

    def abandon(self, number: int) -> None:
        """Discard a staged upload."""

    def add_blocked(self, blocked: Sequence[BlockedHash]) -> None:
        """Block hashes that are neither blocked nor stored."""

    def add_gone(self, gone: Sequence[GoneHash]) -> None:
        """Store the records of expired images that are not there."""

    def tidy(self) -> None:
        """Delete the bytes of what was replaced or abandoned."""
