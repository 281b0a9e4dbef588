"""
The domain errors.

They are independent of HTTP: :mod:`asciid.api` maps them to responses.  Their texts are
shown to clients; they never contain data of the request except hashes and numbers.  The
reason of an `ImageBlockedError` is the operator's.
"""

from __future__ import annotations

__all__ = [
    "AboutChangedError",
    "AsciidError",
    "ChunkExistsError",
    "ChunkOutOfRangeError",
    "ChunkSizeError",
    "ClientUploadsError",
    "CommitFailedError",
    "DatabaseUnavailableError",
    "EditKeyError",
    "HashMismatchError",
    "ImageBlockedError",
    "ImageExistsError",
    "ImageGoneError",
    "ImageIncompleteError",
    "ImageNotFoundError",
    "InvalidAboutError",
    "StorageFailedError",
    "StorageFullError",
    "StorageUnreadableError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreVersionError",
    "TooManyUploadsError",
    "WriterGoneError",
    "WriterUnavailableError",
]


class AsciidError(Exception):
    """The base class of asciid's own errors."""


class ImageExistsError(AsciidError):
    """The hash is already registered, complete or pending."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Image {sha256} is already registered.")
        self.sha256 = sha256


class ImageNotFoundError(AsciidError):
    """The hash is not registered; without a hash: no image is listed."""

    def __init__(self, sha256: str = "") -> None:
        super().__init__(
            f"Image {sha256} is not registered." if sha256 else "No image is listed."
        )
        self.sha256 = sha256


class ImageBlockedError(AsciidError):
    """The operator has blocked the hash; it is neither served nor accepted."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"This image is blocked: {reason}")
        self.reason = reason


class ImageGoneError(AsciidError):
    """The image has expired and was deleted; it can be uploaded again."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Image {sha256} has expired.")
        self.sha256 = sha256


class ImageIncompleteError(AsciidError):
    """The image cannot be read: chunks are missing."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Image {sha256} is incomplete: chunks are missing.")
        self.sha256 = sha256


class ChunkExistsError(AsciidError):
    """
    The chunk is already stored.

    ``identical``: whether the bytes sent are those stored.
    """

    def __init__(self, sha256: str, chunk_id: int, *, identical: bool) -> None:
        bytes_are = "the same" if identical else "different"
        super().__init__(
            f"Chunk {chunk_id} of image {sha256} is already stored, "
            f"with {bytes_are} bytes."
        )
        self.sha256 = sha256
        self.chunk_id = chunk_id
        self.identical = identical


class ChunkOutOfRangeError(AsciidError):
    """The image has no chunk with that id."""

    def __init__(self, chunk_id: int, chunks: int) -> None:
        super().__init__(
            f"Chunk id {chunk_id} is out of range: the image has {chunks} "
            f"chunk{'' if chunks == 1 else 's'}, counted from 0."
        )
        self.chunk_id = chunk_id
        self.chunks = chunks


class ChunkSizeError(AsciidError):
    """The chunk has the wrong length for its position in the image."""

    def __init__(self, chunk_id: int, *, expected: int, actual: int) -> None:
        super().__init__(
            f"Chunk {chunk_id} must be {expected} bytes long, not {actual}."
        )
        self.chunk_id = chunk_id
        self.expected = expected
        self.actual = actual


class EditKeyError(AsciidError):
    """The edit key is not the one of the image, or it has none; nothing was done."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"The edit key does not belong to image {sha256}.")
        self.sha256 = sha256


class AboutChangedError(AsciidError):
    """What is stored about the image has another revision; nothing was done."""

    def __init__(self, sha256: str, revision: int) -> None:
        super().__init__(
            f"What is stored about image {sha256} was changed; the current revision is "
            f"{revision}."
        )
        self.sha256 = sha256
        self.revision = revision


class InvalidAboutError(AsciidError):
    """What is to be stored about an image breaks a rule."""

    def __init__(self, name: str, fault: str) -> None:
        super().__init__(f"{name}: {fault}.")
        self.name = name
        """The field of `asciid.model.About`."""
        self.fault = fault


class HashMismatchError(AsciidError):
    """The bytes do not have the registered hash; the upload was discarded."""

    def __init__(self, sha256: str, actual: str) -> None:
        super().__init__(
            f"The bytes received have the SHA-256 {actual}, not {sha256}; "
            "the upload was discarded and can be started again."
        )
        self.sha256 = sha256
        self.actual = actual


class TooManyUploadsError(AsciidError):
    """The limit on pending uploads is reached; nothing was done."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"Pending-upload limit reached ({limit}); retry later.")


class ClientUploadsError(AsciidError):
    """The client's limit on pending uploads is reached; nothing was done."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"Pending-upload limit per client reached ({limit}): finish some uploads "
            "first."
        )


class StoreBusyError(AsciidError):
    """Too much is waiting for a thread; nothing was done; can be retried."""

    def __init__(self) -> None:
        super().__init__("The server is busy; retry later.")


class StoreClosedError(AsciidError):
    """The store is stopping or stopped; nothing was done."""

    def __init__(self) -> None:
        super().__init__("The service is stopping; retry later.")


class WriterGoneError(AsciidError):
    """The writer process exited; whether the operation was committed is unknown."""

    def __init__(self) -> None:
        super().__init__(
            "The writer process is being replaced; whether this was stored is "
            "unknown; retry later."
        )


class WriterUnavailableError(AsciidError):
    """There is no writer process to send the operation to; nothing was stored."""

    def __init__(self) -> None:
        super().__init__(
            "The writer process is being replaced; nothing was stored; retry later."
        )


class DatabaseUnavailableError(AsciidError):
    """The database cannot be reached, or does not answer; nothing was done."""

    def __init__(self) -> None:
        super().__init__(
            "The database is not available; nothing was stored; retry later."
        )


class StorageFullError(AsciidError):
    """The disk is full; nothing was stored."""

    def __init__(self) -> None:
        super().__init__("The storage is full; nothing was stored.")


class StorageFailedError(AsciidError):
    """The disk reported an error before the commit; nothing was stored."""

    text = "The storage failed; nothing was stored."

    def __init__(self) -> None:
        super().__init__(self.text)


class CommitFailedError(StorageFailedError):
    """The disk reported an error during the commit, whose outcome is unknown."""

    text = "The commit failed; whether this was stored is unknown; retry later."


class StorageUnreadableError(StorageFailedError):
    """The disk reported an error during a read."""

    text = "The storage cannot be read; retry later."


class StoreVersionError(AsciidError):
    """The storage has a format that this release cannot read."""
