"""The writer's cache of pending uploads."""

from __future__ import annotations

from attrs import define, field
from msgspec import Struct

from asciid.engines.lmdb._records import ImageRecord
from asciid.model import ImageSpec
from asciid.store.pending import NO_LIMITS, PendingUploads

__all__ = ["Upload", "WriterMemory"]

REMEMBERED_UPLOAD = 64 * 1024
"""Of images up to so many bytes the writer keeps the chunks, not to read them ..."""

REMEMBERED_BYTES = 16 * 1024 * 1024
"""... as long as those images have no more bytes than this together."""


class Upload(Struct):
    """A pending upload, as this batch leaves it."""

    spec: ImageSpec
    digest: bytes
    """The hash of `spec`."""
    image: ImageRecord
    number: int
    """That of `image`."""
    missing: int
    created: int
    listed: bool = True
    """Whether it is listed once it is complete; of a complete one it says nothing."""
    pieces: dict[int, bytes] | None = None
    """Its chunks so far by their ids, where they are kept in memory."""


@define
class WriterMemory:
    """
    State that the writer caches from one transaction to the next.

    It is valid because no other process commits; a failed transaction clears it.
    """

    next_upload: int | None = None
    uploads: dict[str, Upload] = field(factory=dict)
    pending: PendingUploads[int] = field(factory=lambda: PendingUploads(NO_LIMITS))
    """How many uploads there are, by their numbers."""
    bytes_kept: int = 0
    """The sizes of the uploads whose chunks are kept, added up."""

    def keep(self, upload: Upload) -> None:
        """Cache a new upload, with its chunks if there is room for all of them."""
        self.uploads[upload.spec.sha256] = upload
        size = upload.spec.size
        if size <= REMEMBERED_UPLOAD and self.bytes_kept + size <= REMEMBERED_BYTES:
            upload.pieces = {}
            self.bytes_kept += size

    def drop(self, upload: Upload) -> None:
        """Evict an upload."""
        self.uploads.pop(upload.spec.sha256, None)
        if upload.pieces is not None:
            self.bytes_kept -= upload.spec.size

    def clear(self) -> None:
        """Evict everything."""
        self.next_upload = None
        self.pending.invalidate()
        self.clear_uploads()

    def clear_uploads(self) -> None:
        """Evict the uploads."""
        self.uploads.clear()
        self.bytes_kept = 0
