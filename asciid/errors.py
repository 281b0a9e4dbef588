"""
What can go wrong with an image, in the words of the domain.

Nothing here knows of HTTP: :mod:`asciid.api` has the one table that turns
these into responses.  The text of each exception is a sentence for the person
who made the request; it never holds what that person sent, hashes and numbers
apart.
"""

from __future__ import annotations

__all__ = [
    "AsciidError",
    "ChunkExistsError",
    "ChunkOutOfRangeError",
    "ChunkSizeError",
    "ClientUploadsError",
    "HashMismatchError",
    "ImageExistsError",
    "ImageGoneError",
    "ImageIncompleteError",
    "ImageNotFoundError",
    "StorageFailedError",
    "StorageFullError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreVersionError",
    "TooManyUploadsError",
    "WriterGoneError",
]


class AsciidError(Exception):
    """Anything that asciid itself raises on purpose."""


class ImageExistsError(AsciidError):
    """The hash is registered already, complete or not."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Image {sha256} is registered already.")
        self.sha256 = sha256


class ImageNotFoundError(AsciidError):
    """The hash is not registered."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Image {sha256} is not registered.")
        self.sha256 = sha256


class ImageGoneError(AsciidError):
    """The image was removed, because its time was over; it may come again."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Image {sha256} was removed because its time was over.")
        self.sha256 = sha256


class ImageIncompleteError(AsciidError):
    """The image is registered and cannot be read: chunks are missing."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"Image {sha256} is still being uploaded.")
        self.sha256 = sha256


class ChunkExistsError(AsciidError):
    """
    The chunk is stored already.

    ``identical`` tells whether the bytes just sent are those stored.
    """

    def __init__(self, sha256: str, chunk_id: int, *, identical: bool) -> None:
        bytes_are = "the same" if identical else "other"
        super().__init__(
            f"Chunk {chunk_id} of image {sha256} is stored already, "
            f"with {bytes_are} bytes."
        )
        self.sha256 = sha256
        self.chunk_id = chunk_id
        self.identical = identical


class ChunkOutOfRangeError(AsciidError):
    """The image has no chunk of that id."""

    def __init__(self, chunk_id: int, chunks: int) -> None:
        super().__init__(
            f"Chunk id {chunk_id} is out of range: the image has {chunks} "
            f"chunk{'' if chunks == 1 else 's'}, counted from 0."
        )
        self.chunk_id = chunk_id
        self.chunks = chunks


class ChunkSizeError(AsciidError):
    """The chunk does not have the length that its place in the image asks for."""

    def __init__(self, chunk_id: int, *, expected: int, actual: int) -> None:
        super().__init__(
            f"Chunk {chunk_id} must be {expected} bytes long, not {actual}."
        )
        self.chunk_id = chunk_id
        self.expected = expected
        self.actual = actual


class HashMismatchError(AsciidError):
    """The bytes do not have the registered hash; the upload was thrown away."""

    def __init__(self, sha256: str, actual: str) -> None:
        super().__init__(
            f"The bytes received have the SHA-256 {actual}, not {sha256}; "
            "the upload was discarded and can be started again."
        )
        self.sha256 = sha256
        self.actual = actual


class TooManyUploadsError(AsciidError):
    """As many uploads are pending as there may be; nothing was done."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"{limit} uploads are pending, and more may not be.")


class ClientUploadsError(AsciidError):
    """The client has as many uploads pending as it may; nothing was done."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"You have {limit} uploads pending: finish some of them before the next."
        )


class StoreBusyError(AsciidError):
    """Too much is waiting to be written; nothing was done, try again soon."""

    def __init__(self) -> None:
        super().__init__("Too many writes are waiting for the disk; try again soon.")


class StoreClosedError(AsciidError):
    """The store is stopping or stopped; nothing was done."""

    def __init__(self) -> None:
        super().__init__("The service is stopping; try again soon.")


class WriterGoneError(AsciidError):
    """The process that writes has ended; whether it had done this is not known."""

    def __init__(self) -> None:
        super().__init__(
            "The writing process is being replaced, and whether this was stored is "
            "not known; send it again soon."
        )


class StorageFullError(AsciidError):
    """The disk has no room; nothing was stored."""

    def __init__(self) -> None:
        super().__init__("The storage is full; nothing was stored.")


class StorageFailedError(AsciidError):
    """The disk reported an error; nothing was stored."""

    def __init__(self) -> None:
        super().__init__("The storage failed; nothing was stored.")


class StoreVersionError(AsciidError):
    """The storage directory was written in a format this release cannot read."""
