"""
Changes of the storage, as values: each can be sent to another process or machine.

Anything that a client has changed is one of these.  An `IEngine` carries them out;
the error classes are those of `asciid.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from msgspec import Struct
from twisted.python.failure import Failure

from asciid.model import About, ImageSpec, NewImage

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Abandon",
    "AddChunk",
    "AddPieces",
    "Adopt",
    "AnyOperation",
    "Begin",
    "BlockHash",
    "Completed",
    "DeleteDiscarded",
    "Expired",
    "Finish",
    "Kind",
    "Operation",
    "Outcome",
    "Probe",
    "Put",
    "Register",
    "Remove",
    "RemoveExpired",
    "SetAbout",
    "UnblockHash",
    "Unverified",
    "all_outcomes",
    "single_outcome",
]

Kind = Literal["uploads", "images", "staged", "gone", "dated"]
"""
The kinds of entries that expire: pending uploads and staged images, counted from
their last activity; complete images, from their completion; records of expired images;
and images and uploads with an `About.expires`, from that.
"""


class Completed(Struct, frozen=True, array_like=True, tag=True):
    """An outcome: the operation made an image complete."""

    spec: ImageSpec
    completed: int
    """When, in milliseconds since the epoch."""
    content: bytes | None
    """All bytes of the image, if the engine had them in memory."""
    keeps_record: bool = False
    """
    Whether the image keeps what its registration brought, its edit key included, so
    that `new` of the operation was not stored.
    """


class Unverified(Struct, frozen=True, array_like=True, tag=True):
    """
    An outcome: the chunk is the last one, and was not stored.

    The image is too large to be hashed within an operation: query `HashWith`, then
    apply `Finish`.
    """

    spec: ImageSpec
    number: int
    """The upload, as the engine numbers them."""


class Expired(Struct, frozen=True, array_like=True):
    """Something that may be removed, because it has expired."""

    number: int
    """The upload, as the engine numbers them; 0 for ``gone``."""
    sha256: str
    """Empty for ``staged``."""


class Operation(Struct, frozen=True, array_like=True, tag=True):
    """Something to do in a transaction."""

    adds: ClassVar[bool] = True
    """Whether it takes room on the disk."""

    @property
    def size(self) -> int:
        """The bytes of memory that it holds while it waits."""
        return 0


class Register(Operation, frozen=True):
    """
    See `IImageStore.register`.

    The outcome is None, or `Completed` for an image of size 0.
    """

    spec: ImageSpec
    client: str = ""
    new: NewImage | None = None
    listed: bool = True
    """Whether the image is listed, unless `new` says so."""


class AddChunk(Operation, frozen=True):
    """
    See `IImageStore.add_chunk`.

    The outcome is None, `Completed` or `Unverified`.  A wrong hash discards the
    upload, and the outcome is a `HashMismatchError`.
    """

    sha256: str
    chunk_id: int
    data: bytes

    @property
    def size(self) -> int:
        """See `Operation.size`."""
        return len(self.data)


class Finish(Operation, frozen=True):
    """
    Store the last chunk of an image whose bytes have the hash `actual`.

    If the upload is no longer the one that was hashed, do as `AddChunk`.  The
    outcomes are those of `AddChunk`.
    """

    verified: Unverified
    chunk_id: int
    data: bytes
    actual: str

    @property
    def size(self) -> int:
        """See `Operation.size`."""
        return len(self.data)


class Remove(Operation, frozen=True):
    """See `IImageStore.delete`; the chunks may be left to `DeleteDiscarded`."""

    sha256: str
    key_hash: bytes | None = None

    adds = False


class DeleteDiscarded(Operation, frozen=True):
    """
    Delete a bounded number of chunks of discarded uploads.

    The outcome is whether anything is left.
    """

    adds = False


class Begin(Operation, frozen=True):
    """
    Begin to stage an image that is received in one request, under no hash.

    The outcome is its number.
    """


class AddPieces(Operation, frozen=True):
    """
    Store pieces of a staged image, the first of them as the `first`-th.

    Each has `asciid.store.rules.PIECE` bytes, but for the last one of the image.
    Errors: `StorageFailedError` if the image was abandoned.
    """

    number: int
    first: int
    pieces: list[bytes]

    @property
    def size(self) -> int:
        """See `Operation.size`."""
        return sum(map(len, self.pieces))


class Adopt(Operation, frozen=True):
    """
    Make a staged image, whose hash is `sha256`, the complete image of that hash.

    It takes the place of a pending upload.  The outcome is `Completed`, or None if
    there is a complete image already: the staged one is discarded then.  If the pending
    upload has an edit key, what it brought is kept, and `new` is not stored; otherwise
    `new` takes the place of that.
    Errors: `StorageFailedError` if the image was abandoned; `ImageBlockedError`.
    """

    number: int
    sha256: str
    length: int
    new: NewImage | None = None
    listed: bool = True
    """As in `Register`."""

    adds = False


class Put(Operation, frozen=True):
    """Stage and adopt an image at once, whose content has the hash `sha256`."""

    sha256: str
    content: bytes
    new: NewImage | None = None
    listed: bool = True
    """As in `Register`."""

    @property
    def size(self) -> int:
        """See `Operation.size`."""
        return len(self.content)


class Abandon(Operation, frozen=True):
    """Discard a staged image, unless it was adopted or discarded already."""

    number: int

    adds = False


class RemoveExpired(Operation, frozen=True):
    """
    Remove those of `found` that are still older than `older_than` seconds.

    The outcome is how many those were.
    """

    kind: Kind
    older_than: float
    found: list[Expired]

    adds = False


class SetAbout(Operation, frozen=True):
    """See `IImageStore.set_about`; the outcome is the new revision."""

    sha256: str
    about: About
    revision: int | None = None
    key_hash: bytes | None = None


class BlockHash(Operation, frozen=True):
    """
    See `IImageStore.block`; the chunks may be left to `DeleteDiscarded`.

    The outcome is whether there was an image or a pending upload.
    """

    sha256: str
    reason: str

    adds = False


class UnblockHash(Operation, frozen=True):
    """See `IImageStore.unblock`."""

    sha256: str

    adds = False


class Probe(Operation, frozen=True):
    """
    Change nothing, but fail as an operation would that adds something.

    After a failed commit it commits something, to detect recovery.
    """

    adds = False


AnyOperation = (
    Register
    | AddChunk
    | Finish
    | Remove
    | DeleteDiscarded
    | Begin
    | AddPieces
    | Adopt
    | Put
    | Abandon
    | RemoveExpired
    | SetAbout
    | BlockHash
    | UnblockHash
    | Probe
)
"""All operations of an engine."""

Outcome = None | bool | int | Completed | Unverified
"""The outcome of an operation that succeeded."""


def all_outcomes(outcomes: Sequence[Any]) -> Sequence[Any]:
    """Return the outcomes of a call as they are, for `IEngine.apply`."""
    return outcomes


def single_outcome(outcomes: Sequence[Any]) -> Any:  # noqa: ANN401 - that of the operation
    """Return the outcome of the one operation of a call, for `IEngine.apply`."""
    outcome = outcomes[0]
    return Failure(outcome) if isinstance(outcome, Exception) else outcome
