"""The promises every store keeps."""

# ruff: noqa: N805 - zope.interface shows methods as callers see them, without self

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred

    from asciid.model import ImageSpec, UploadStatus
    from asciid.store.stats import StoreHealth, StoreStats, StoreUsage

__all__ = ["IImageObserver", "IImageReader", "IImageStore", "IImageWriter"]


class IImageObserver(Protocol):
    """Receives which images become complete, and which are deleted."""

    def completed(self, spec: ImageSpec) -> object:
        """Note an image that became complete."""

    def deleted(self, sha256: str) -> object:
        """Note an image or a pending upload that was deleted on request."""


class IImageReader(Interface):
    """A complete image, ready to be read any number of times."""

    spec: ImageSpec = Attribute("The image's `asciid.model.ImageSpec`.")
    completed: float = Attribute(
        "When the image became complete, in seconds since the epoch."
    )
    content: bytes | None = Attribute(
        "All bytes of the image where they are in memory already, else None."
    )

    def read(start: int, end: int) -> Deferred[bytes]:
        """
        Read the bytes ``[start, end)``, where ``0 <= start <= end <= size``.

        Memory is taken for that many bytes: read a large image in pieces.

        Errors: `ImageNotFoundError` if the image was removed since it was opened,
        `StorageFailedError`, `StoreClosedError`.
        """

    def read_ranges(ranges: Sequence[tuple[int, int]]) -> Deferred[Sequence[bytes]]:
        """
        Read several ``(start, end)`` at once, which costs less.

        Errors: those of `read`.
        """


class IImageWriter(Interface):
    """
    An image that is being received in one go; end with `finish` or `abandon`.

    Those two are carried out although their Deferred is cancelled.
    """

    exists: bool = Attribute(
        "Whether the image was complete already: its bytes are then only verified."
    )

    def write(data: bytes) -> Deferred[None]:
        """Take the next bytes; wait for the end before the next ones."""

    def finish() -> Deferred[bool]:
        """
        Verify the image, make it readable, and answer whether it is new.

        It takes the place of a pending registration of the same hash.

        Errors: `HashMismatchError`; nothing is left behind then.
        """

    def abandon() -> Deferred[None]:
        """Discard the written bytes."""


class IImageStore(Interface):
    """
    Images and unfinished uploads.

    Any method that takes a hash may fail with `ImageGoneError` in the place of
    `ImageNotFoundError`, for a while after the image has expired.

    Every method but `stats` and `health` answers a Deferred.  One that
    changes something fires once the change survives a power cut (if the store has a
    disk and syncs it); cancelling its Deferred has no effect on the store.  Besides the
    errors each method names, any may fail with `StorageFailedError` or
    `StoreClosedError`, and one that changes something with `StoreBusyError` or
    `StorageFullError`; nothing was changed then.
    """

    def start() -> Deferred[None]:
        """
        Open the store, creating it where it does not exist.

        Errors: `StoreVersionError`, `OSError`.
        """

    def stop() -> Deferred[None]:
        """Finish accepted work, then close.  Nothing is accepted after."""

    def stats() -> StoreStats:
        """Return counts of events and of waiting work, at once and in any state."""

    def health() -> StoreHealth:
        """
        Return whether the store can do its work, at once and in any state.

        For the disk it is the outcome of the last write.  A call starts a probe, at
        most once a second, for later calls: so recovery of a disk is noticed without
        writes.
        """

    def usage() -> Deferred[StoreUsage]:
        """
        Measure the store, without delaying anything else.

        Errors: `OSError`.
        """

    def register(spec: ImageSpec, client: str = "") -> Deferred[None]:
        """
        Make room for an image; one of size 0 is complete at once.

        `client` names the client, whose pending uploads are bounded; those of the
        empty string are not.

        Errors: `ImageExistsError`, also while the image is incomplete;
        `HashMismatchError` for size 0 with another hash than the empty one;
        `TooManyUploadsError`, `ClientUploadsError`.
        """

    def add_chunk(sha256: str, chunk_id: int, data: bytes) -> Deferred[bool]:
        """
        Store one chunk and return whether it made the image complete.

        `chunk_id` is from 0 and less than 2**63, whatever the image has.

        When it is the last one missing, the image's hash is checked first.  If
        that fails, the upload is discarded, its registration included.

        Errors: `ImageNotFoundError`, `ChunkOutOfRangeError`, `ChunkSizeError`,
        `ChunkExistsError` (also when the image is complete),
        `HashMismatchError`.
        """

    def expire() -> Deferred[int]:
        """
        Remove expired uploads and images; return how many.

        One call scans a bounded part of the store, and the next one continues there: it
        is meant to be called periodically.  Complete images
        are only removed if the store was made with a lifetime for them.
        """

    def delete(sha256: str) -> Deferred[None]:
        """
        Remove an image or a pending upload, as if it had never existed.

        The hash can be registered again at once, and the space is reused.  A
        reader that is under way fails with `ImageNotFoundError`, sooner or later.

        Errors: `ImageNotFoundError`.
        """

    def status(sha256: str) -> Deferred[UploadStatus]:
        """
        Return the status of an image, with at most 1,000 missing ranges.

        Errors: `ImageNotFoundError`.
        """

    def create(sha256: str) -> Deferred[IImageWriter]:
        """Return a writer for an image that is stored as a whole, registered or not."""

    def open(sha256: str) -> Deferred[IImageReader]:
        """
        Return a reader of a complete image.

        Errors: `ImageNotFoundError`, `ImageIncompleteError`.
        """
