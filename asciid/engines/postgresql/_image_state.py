"""What a transaction knows of the hashes and uploads that its operations name."""

from __future__ import annotations

from typing import Any

from attrs import define, field

from asciid.engines.postgresql._damage import damaged
from asciid.errors import (
    AsciidError,
    ImageBlockedError,
    ImageGoneError,
    ImageNotFoundError,
)
from asciid.model import About, AboutRecord, BlockedHash, ImageSpec

__all__ = ["BatchState", "Image", "deadline_of"]


VERIFY_IN_TRANSACTION = 256 * 1024
"""Images up to so many bytes are hashed inside the transaction ..."""

VERIFY_IN_TRANSACTION_CHUNKS = 1_000
"""... unless they are cut into more chunks than this."""


def deadline_of(about: About) -> int | None:
    """Return when an image is to be removed, in milliseconds; None: never."""
    return max(1, about.expires) if about.expires else None


@define(eq=False)
class Image:
    """
    An image, registered or staged; times are in milliseconds.

    Its attributes are the columns of ``asciid.image``.
    """

    spec: ImageSpec
    number: int
    piece_size: int
    missing: int
    """Bytes."""
    created: int
    active: int
    completed: int | None = None
    """None while it is not complete."""
    deadline: int | None = None
    """When `About.expires` passes; None: never."""
    listed: bool = True
    stored: bool = True
    """Whether chunks of it may be in the database."""
    overwrites: bool = False
    """Whether its pieces may be there already: those of a staged one are sent again."""
    changed: bool = False
    """Whether `missing`, `active` or `completed` are to be written."""
    described: bool = False
    """Whether `deadline` and `listed` are to be written, too."""
    pieces: dict[int, bytes] = field(factory=dict)
    """Those that are to be written."""

    @property
    def is_small(self) -> bool:
        """Whether it may be hashed inside the transaction."""
        spec = self.spec
        return (
            spec.size <= VERIFY_IN_TRANSACTION
            and spec.chunks <= VERIFY_IN_TRANSACTION_CHUNKS
        )

    @property
    def columns(self) -> tuple[int | bool | None, ...]:
        """The values of its row, but for the key."""
        return (
            self.number,
            self.spec.size,
            self.spec.chunk_size,
            self.piece_size,
            self.missing,
            self.created,
            self.active,
            self.completed,
            self.deadline,
            self.listed,
        )


@define(eq=False)
class BatchState:
    """
    The state that the operations of a transaction change, one after another.

    It begins with what the database has, and holds the locks of all of that.  What is
    in `changed_…` is to be written.
    """

    now: int
    """Milliseconds since the epoch."""
    rows: dict[str, Image] = field(factory=dict)
    """The rows by hash that the database has."""
    added: dict[str, tuple[Any, ...]] = field(factory=dict)
    """The `Image.columns` of rows by hash that this transaction has added."""
    images: dict[str, Image] = field(factory=dict)
    """Registered and complete images by hash."""
    blocked: dict[str, BlockedHash] = field(factory=dict)
    gone: dict[str, int] = field(factory=dict)
    """When images expired, by hash."""
    abouts: dict[int, AboutRecord] = field(factory=dict)
    """What is stored beside images, by their numbers; others have the defaults."""
    unreadable: set[int] = field(factory=set)
    """Numbers of images of which that is damaged."""
    staged: dict[int, Image] = field(factory=dict)
    """Staged images by number; their specs follow when they are adopted."""
    changed_blocked: set[str] = field(factory=set)
    changed_gone: set[str] = field(factory=set)
    changed_abouts: set[int] = field(factory=set)
    changed_staged: set[int] = field(factory=set)
    has_discarded: bool = False
    """Whether chunks of discarded uploads are left of earlier transactions."""
    discarded: set[int] = field(factory=set)
    """Uploads that may have chunks in the database."""

    def find(self, sha256: str) -> Image:
        """
        Return the image of a hash.

        Errors: `ImageNotFoundError`, `ImageGoneError`, `ImageBlockedError`.
        """
        image = self.images.get(sha256)
        if image is None:
            raise self._absent(sha256)
        return image

    def refuse_blocked(self, sha256: str) -> None:
        """
        Refuse a blocked hash.

        Errors: `ImageBlockedError`.
        """
        blocked = self.blocked.get(sha256)
        if blocked is not None:
            raise ImageBlockedError(blocked.reason)

    def about_of(self, image: Image) -> AboutRecord:
        """
        Return what is stored beside an image, or the defaults.

        Errors: `StorageUnreadableError`.
        """
        if image.number in self.unreadable:
            raise damaged(image.spec.sha256)
        return self.abouts.get(image.number) or AboutRecord(About(), image.number)

    def describe(self, image: Image, record: AboutRecord | None) -> None:
        """Store this beside an image; None for the defaults."""
        if record is None:
            return
        self.abouts[image.number] = record
        self.changed_abouts.add(image.number)
        image.listed = record.about.listed
        image.deadline = deadline_of(record.about)
        image.described = True

    def remove(self, sha256: str) -> Image:
        """Remove the image of a hash; its chunks are left to be deleted."""
        image = self.images.pop(sha256)
        self.discard(image)
        return image

    def discard(self, image: Image) -> None:
        """Leave the chunks of an image to be deleted, and what is beside it."""
        image.pieces = {}
        self.abouts.pop(image.number, None)
        # It may be in the database although it is not in `abouts`.
        self.changed_abouts.add(image.number)
        if image.stored:
            self.discarded.add(image.number)

    def set_gone(self, sha256: str) -> None:
        """Note that a complete image has expired."""
        self.gone[sha256] = self.now
        self.changed_gone.add(sha256)

    def forget_gone(self, sha256: str) -> None:
        """Delete the note of an image that has expired."""
        if self.gone.pop(sha256, None) is not None:
            self.changed_gone.add(sha256)

    def _absent(self, sha256: str) -> AsciidError:
        blocked = self.blocked.get(sha256)
        if blocked is not None:
            return ImageBlockedError(blocked.reason)
        gone = sha256 in self.gone
        return ImageGoneError(sha256) if gone else ImageNotFoundError(sha256)
