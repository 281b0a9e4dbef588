"""
What is done to the storage file, as values: each can be sent to another process.

An operation is called with the batch that it is a part of, in the thread of the
writer.  Anything that comes from a client and changes the store is one of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct

from asciid.model import ImageSpec
from asciid.store import _staging
from asciid.store._uploads import Completed, Unverified

if TYPE_CHECKING:
    from asciid.store._batch import Batch

__all__ = [
    "Abandon",
    "AddChunk",
    "AddPieces",
    "Adopt",
    "AnyOperation",
    "Begin",
    "DeleteDiscarded",
    "Finish",
    "Operation",
    "Outcome",
    "Probe",
    "Put",
    "Register",
    "Remove",
]


class Operation(Struct, frozen=True, array_like=True, tag=True):
    """Something to do in a transaction."""

    adds: ClassVar[bool] = True
    """Whether it takes room on the disk."""

    @property
    def size(self) -> int:
        """The bytes of memory that it holds while it waits."""
        return 0

    def __call__(self, batch: Batch) -> Any:  # noqa: ANN401 - each has its own type
        """Do it."""
        raise NotImplementedError


class Register(Operation, frozen=True):
    """See `Batch.register`."""

    spec: ImageSpec
    client: str = ""

    def __call__(self, batch: Batch) -> Completed | None:
        return batch.register(self.spec, self.client)


class AddChunk(Operation, frozen=True):
    """See `Batch.add_chunk`."""

    sha256: str
    chunk_id: int
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def __call__(self, batch: Batch) -> Completed | Unverified | None:
        return batch.add_chunk(self.sha256, self.chunk_id, self.data)


class Finish(Operation, frozen=True):
    """See `Batch.finish`."""

    verified: Unverified
    chunk_id: int
    data: bytes
    actual: str

    @property
    def size(self) -> int:
        return len(self.data)

    def __call__(self, batch: Batch) -> Completed | Unverified | None:
        return batch.finish(self.verified, self.chunk_id, self.data, self.actual)


class Remove(Operation, frozen=True):
    """See `Batch.remove`."""

    sha256: str

    adds = False

    def __call__(self, batch: Batch) -> None:
        batch.remove(self.sha256)


class DeleteDiscarded(Operation, frozen=True):
    """See `Batch.delete_discarded`."""

    adds = False

    def __call__(self, batch: Batch) -> bool:
        return batch.delete_discarded()


class Begin(Operation, frozen=True):
    """See `_staging.begin`."""

    def __call__(self, batch: Batch) -> int:
        return _staging.begin(batch)


class AddPieces(Operation, frozen=True):
    """See `_staging.add`."""

    number: int
    first: int
    pieces: list[bytes]

    @property
    def size(self) -> int:
        return sum(map(len, self.pieces))

    def __call__(self, batch: Batch) -> None:
        _staging.add(batch, self.number, self.first, self.pieces)


class Adopt(Operation, frozen=True):
    """See `_staging.adopt`."""

    number: int
    sha256: str
    length: int

    adds = False

    def __call__(self, batch: Batch) -> Completed | None:
        return _staging.adopt(batch, self.number, self.sha256, self.length)


class Put(Operation, frozen=True):
    """See `_staging.put`."""

    sha256: str
    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def __call__(self, batch: Batch) -> Completed | None:
        return _staging.put(batch, self.sha256, self.content)


class Abandon(Operation, frozen=True):
    """See `_staging.abandon`."""

    number: int

    adds = False

    def __call__(self, batch: Batch) -> None:
        _staging.abandon(batch, self.number)


class Probe(Operation, frozen=True):
    """See `Ledger.probe`."""

    adds = False

    def __call__(self, batch: Batch) -> None:
        batch.probe()


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
    | Probe
)
"""What another process may ask for."""

Outcome = None | bool | int | Completed | Unverified
"""What they answer."""
