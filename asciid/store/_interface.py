"""The promises every store keeps."""

# ruff: noqa: N805 - zope.interface shows methods as callers see them, without self

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.defer import Deferred

    from asciid.model import (
        About,
        AboutRecord,
        BlockedHash,
        Cursor,
        ImageSpec,
        ListedImage,
        NewImage,
        UploadStatus,
    )
    from asciid.store.stats import StoreHealth, StoreStats, StoreUsage

__all__ = [
    "MAX_KEPT",
    "IImageObserver",
    "IImageReader",
    "IImageStore",
    "IImageWriter",
    "unchanged",
]

ResultT = TypeVar("ResultT")

MAX_KEPT = 512
"""Maximum bytes of `IImageReader.kept`."""


def unchanged(result: ResultT) -> ResultT:
    """Return the result of a write as it is, for `IImageStore.add_chunk`."""
    return result


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
    kept: Any = Attribute(
        "What a caller has set, to find it again as long as the image is in memory; "
        "None before. It takes at most `MAX_KEPT` bytes."
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
        "Whether the image was complete already: its bytes are then only verified. "
        "False if its hash was not given."
    )
    sha256: str = Attribute(
        "The hash that was given, or else that of all bytes; that is empty before "
        "`finish` was called."
    )
    described: bool = Attribute(
        "Whether `finish` has stored what was given besides the bytes, the edit key "
        "included."
    )

    def describe(new: NewImage) -> None:
        """
        Have `finish` store this beside the image, in place of what was given before.

        Errors: `InvalidAboutError`.
        """

    def write(data: bytes) -> Deferred[None]:
        """Take the next bytes; wait for the end before the next ones."""

    def finish() -> Deferred[bool]:
        """
        Verify the image, make it readable, and answer whether it is new.

        It takes the place of a pending registration of the same hash.  What the upload
        brings besides the bytes is stored if the image is new, unless the registration
        has an edit key: what that brought is kept then.

        Errors: `HashMismatchError`, `ImageBlockedError`; nothing is left behind then.
        """

    def abandon() -> Deferred[None]:
        """Discard the written bytes."""


class IImageStore(Interface):
    """
    Images and unfinished uploads.

    Beside an image is stored what its uploader says about it (`About`).  An image is
    listed if that says so; where an upload does not bring it, the store decides.

    Any method that takes a hash may fail with `ImageGoneError` in the place of
    `ImageNotFoundError`, for a while after the image has expired, and with
    `ImageBlockedError` while the hash is blocked, which comes before any other error.

    Every method but `cached`, `stats` and `health` answers a Deferred.  One that
    changes something fires once the change survives a power cut (if the store has a
    disk and syncs it); cancelling its Deferred has no effect on the store.  Besides the
    errors each method names, any may fail with `StorageFailedError`,
    `DatabaseUnavailableError` or `StoreClosedError`, and one that changes something
    with `StoreBusyError`, `StorageFullError` or `WriterUnavailableError`; nothing was
    changed then.  After `CommitFailedError` and `WriterGoneError` that is unknown.
    """

    listed_by_default: bool = Attribute(
        "Whether images are listed whose upload does not bring an `About`."
    )

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

    def register(
        spec: ImageSpec,
        client: str = "",
        new: NewImage | None = None,
        then: Callable[[None], Any] = unchanged,
    ) -> Deferred[Any]:
        """
        Make room for an image; one of size 0 is complete at once.

        `client` names the client, whose pending uploads are bounded; those of the
        empty string are not.  `new` is stored beside the image.  `then` is as in
        `add_chunk`.

        Errors: `ImageExistsError`, also while the image is incomplete;
        `HashMismatchError` for size 0 with another hash than the empty one;
        `TooManyUploadsError`, `ClientUploadsError`; `InvalidAboutError`.
        """

    def add_chunk(
        sha256: str,
        chunk_id: int,
        data: bytes,
        then: Callable[[bool], Any] = unchanged,
    ) -> Deferred[Any]:
        """
        Store one chunk; call `then` with whether it made the image complete.

        `then` is called even if the Deferred was cancelled, but not if the chunk was
        refused.  The Deferred fires with its result, or its exception.

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
        are only removed if the store was made with a lifetime for them, or if their
        `About.expires` has passed.
        """

    def delete(sha256: str, key_hash: bytes | None = None) -> Deferred[None]:
        """
        Remove an image or a pending upload, as if it had never existed.

        The hash can be registered again at once, and the space is reused.  A
        reader that is under way fails with `ImageNotFoundError`, sooner or later.
        `key_hash` is the SHA-256 of the edit key; None if the caller may delete any.

        Errors: `ImageNotFoundError`, `EditKeyError`.
        """

    def status(sha256: str) -> Deferred[UploadStatus]:
        """
        Return the status of an image, with at most 1,000 missing ranges.

        Errors: `ImageNotFoundError`.
        """

    def create(
        sha256: str | None, new: NewImage | None = None
    ) -> Deferred[IImageWriter]:
        """
        Return a writer for an image that is stored as a whole, registered or not.

        `sha256` may be None: the image gets the hash that its bytes have.  `new` is
        stored beside the image.

        Errors: `ImageBlockedError`, `InvalidAboutError`.
        """

    def cached(sha256: str) -> IImageReader | None:
        """
        Return a reader of a complete image that is in memory, at once.

        None if it is not there, or if it may have been removed meanwhile: then `open`
        decides.
        """

    def open(sha256: str) -> Deferred[IImageReader]:
        """
        Return a reader of a complete image, also of one in memory.

        Errors: `ImageNotFoundError`, `ImageIncompleteError`.
        """

    def about(sha256: str) -> Deferred[AboutRecord]:
        """
        Return what is stored beside an image or a pending upload, or the defaults.

        Errors: `ImageNotFoundError`.
        """

    def set_about(
        sha256: str,
        about: About,
        revision: int | None = None,
        key_hash: bytes | None = None,
    ) -> Deferred[int]:
        """
        Replace what is stored about an image or a pending upload.

        Return the new revision.  `revision` is the one to replace, None is any;
        `key_hash` is as in `delete`.

        Errors: `InvalidAboutError`, `ImageNotFoundError`, `EditKeyError`,
        `AboutChangedError`.
        """

    def list_images(before: Cursor | None, limit: int) -> Deferred[list[ListedImage]]:
        """
        Return at most `limit` listed images, the newest first.

        They are those older than the place `before`, or the newest if that is None.
        At most 1,000 are returned.
        """

    def neighbours(
        sha256: str,
    ) -> Deferred[tuple[ListedImage | None, ListedImage | None]]:
        """
        Return the next newer and the next older listed image; of an unlisted one none.

        Errors: `ImageNotFoundError`, `ImageIncompleteError`.
        """

    def find(prefix: str) -> Deferred[list[tuple[str, bool]]]:
        """
        Return complete images whose hash begins with `prefix`, at most 10.

        Each is the hash, and whether the image is listed.  `prefix` has lower-case hex
        digits, at most 64.
        """

    def random() -> Deferred[str]:
        """
        Return the hash of a listed image, drawn at random.

        Errors: `ImageNotFoundError` if there is none.
        """

    def block(sha256: str, reason: str) -> Deferred[bool]:
        """
        Remove an image or a pending upload, and refuse its hash.

        Return whether there was one.

        No process serves the image once the Deferred has fired; a reader that is under
        way fails, sooner or later.  A hash that is blocked already gets the new reason.

        Errors: `ValueError` if `reason` is not one line of at most 500 bytes.
        """

    def unblock(sha256: str) -> Deferred[bool]:
        """Accept a hash again; return whether it was blocked."""

    def blocked(after: str = "", limit: int = 1_000) -> Deferred[list[BlockedHash]]:
        """Return at most `limit` (and 1,000) blocked hashes above `after`, in order."""
